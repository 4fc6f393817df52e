/* SPDX-License-Identifier: MIT */
/* Blocks of calls: JSON in several wrappings, and Qwen's elements. */

#include "server/chat/decode.h"

#include <string.h>

#define DEEPSEEK_BEGIN "<｜tool▁call▁begin｜>"
#define DEEPSEEK_SEP   "<｜tool▁sep｜>"
#define DEEPSEEK_END   "<｜tool▁call▁end｜>"

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void dn_cursor_skip_space(struct dn_cursor *c)
{
	while (c->at < c->end && is_space(*c->at))
		c->at++;
}

static void trim(struct dn_cursor *c)
{
	dn_cursor_skip_space(c);
	while (c->end > c->at && is_space(c->end[-1]))
		c->end--;
}

bool dn_cursor_take(struct dn_cursor *c, const char *word)
{
	const size_t size = strlen(word);

	if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0)
		return false;
	c->at += size;
	return true;
}

bool dn_cursor_until(struct dn_cursor *c, const char *word, struct dn_cursor *ret_part)
{
	const char *at = memmem(c->at, (size_t)(c->end - c->at), word, strlen(word));

	if (!at)
		return false;
	*ret_part = (struct dn_cursor){ c->at, at };
	c->at = at + strlen(word);
	return true;
}

json_t *dn_cursor_json(struct dn_cursor *c)
{
	json_error_t error;
	const size_t size = (size_t)(c->end - c->at);
	const size_t flags = JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL;
	json_t *json = json_loadb(c->at, size, flags, &error);

	/* A number that no integer has takes the others of its value with it. */
	if (!json && json_error_code(&error) == json_error_numeric_overflow)
		json = json_loadb(c->at, size, flags | JSON_DECODE_INT_AS_REAL, &error);
	if (json)
		c->at += error.position;
	return json;
}

bool dn_calls_add(json_t *calls, const char *name, size_t size, json_t *arguments)
{
	json_t *object = arguments ? arguments : json_object();
	json_t *text;

	if (size == 0 || size > DN_CHAT_NAME_MAX || !json_is_object(object) ||
	    json_array_size(calls) >= DN_CHAT_CALLS_MAX) {
		json_decref(object);
		return false;
	}
	text = json_stringn(name, size);
	if (!text || strlen(json_string_value(text)) != size) {
		json_decref(text);
		json_decref(object);
		return false;
	}
	return json_array_append_new(
		       calls, json_pack("{s:o, s:o}", "name", text, "arguments", object)) == 0;
}

json_t *dn_calls_end(json_t *calls, bool good)
{
	if (good && json_array_size(calls) > 0)
		return calls;
	json_decref(calls);
	return NULL;
}

/* {"name", "arguments" or "parameters"}, perhaps within "function"; arguments may be JSON as text. */
static bool add_object(json_t *calls, const json_t *object)
{
	const json_t *function = json_object_get(object, "function");
	const json_t *from = json_is_object(function) ? function : object;
	const json_t *name = json_object_get(from, "name");
	json_t *arguments = json_object_get(from, "arguments");

	if (!arguments)
		arguments = json_object_get(from, "parameters");
	if (json_is_null(arguments))
		arguments = NULL;
	if (!json_is_string(name))
		return false;
	if (json_is_string(arguments)) {
		arguments = json_loads(json_string_value(arguments), 0, NULL);
		if (!arguments)
			return false;
	} else {
		json_incref(arguments);
	}
	return dn_calls_add(calls, json_string_value(name), json_string_length(name), arguments);
}

static bool add_value(json_t *calls, const json_t *value)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return json_is_object(value) && add_object(calls, value);
	json_array_foreach(value, i, item)
	{
		if (!json_is_object(item) || !add_object(calls, item))
			return false;
	}
	return true;
}

/* Values one behind the other. */
static bool add_values(json_t *calls, struct dn_cursor *c)
{
	for (;;) {
		json_t *value;
		bool good;

		while (c->at < c->end && (is_space(*c->at) || *c->at == ';' || *c->at == ','))
			c->at++;
		if (c->at == c->end)
			return true;
		value = dn_cursor_json(c);
		good = value && add_value(calls, value);
		json_decref(value);
		if (!good)
			return false;
	}
}

json_t *dn_chat_decode_json(const char *block, size_t size, const json_t *tools)
{
	struct dn_cursor c = { block, block + size };
	json_t *calls = json_array();

	(void)tools;
	return dn_calls_end(calls, add_values(calls, &c));
}

/* What a tool's schema says of an argument; NULL: nothing. */
static const json_t *argument_schema(const json_t *tools, const struct dn_cursor *name,
				     const char *key)
{
	const json_t *tool;
	size_t i;

	json_array_foreach(tools, i, tool)
	{
		const json_t *function = json_object_get(tool, "function");
		const json_t *known = json_object_get(function, "name");
		const json_t *schema = json_object_get(function, "parameters");

		if (json_string_length(known) == (size_t)(name->end - name->at) &&
		    memcmp(json_string_value(known), name->at, json_string_length(known)) == 0)
			return json_object_get(json_object_get(schema, "properties"), key);
	}
	return NULL;
}

static bool is_word(const json_t *json, const char *word)
{
	return json_is_string(json) && strcmp(json_string_value(json), word) == 0;
}

/* Whether a text can be the value; then only null is none. */
static bool takes_text(const json_t *schema)
{
	const json_t *type = json_object_get(schema, "type");
	const json_t *any = json_object_get(schema, "anyOf");
	const json_t *one;
	size_t i;

	if (is_word(type, "string"))
		return true;
	json_array_foreach(type, i, one)
	{
		if (is_word(one, "string"))
			return true;
	}
	json_array_foreach(any, i, one)
	{
		if (is_word(json_object_get(one, "type"), "string"))
			return true;
	}
	return false;
}

static json_t *element_value(struct dn_cursor value, const json_t *schema)
{
	json_t *json = NULL;

	if (value.at < value.end && *value.at == '\n')
		value.at++;
	if (value.at < value.end && value.end[-1] == '\n')
		value.end--;
	if (!is_word(json_object_get(schema, "type"), "string"))
		json = json_loadb(value.at, (size_t)(value.end - value.at), JSON_DECODE_ANY, NULL);
	if (json && !json_is_null(json) && takes_text(schema)) {
		json_decref(json);
		json = NULL;
	}
	return json ? json : json_stringn(value.at, (size_t)(value.end - value.at));
}

static bool add_argument(json_t *arguments, struct dn_cursor *c, const struct dn_cursor *name,
			 const json_t *tools)
{
	char key[DN_CHAT_NAME_MAX + 1];
	struct dn_cursor part;
	size_t size;

	if (!dn_cursor_until(c, ">", &part))
		return false;
	size = (size_t)(part.end - part.at);
	if (size == 0 || size > DN_CHAT_NAME_MAX)
		return false;
	memcpy(key, part.at, size);
	key[size] = '\0';
	if (!dn_cursor_until(c, "</parameter>", &part))
		return false;
	return json_object_set_new(arguments, key,
				   element_value(part, argument_schema(tools, name, key))) == 0;
}

/* <function=NAME> <parameter=KEY>VALUE</parameter>… </function> */
static bool add_elements(json_t *calls, struct dn_cursor *c, const json_t *tools)
{
	while (dn_cursor_take(c, "<function=")) {
		json_t *arguments = json_object();
		struct dn_cursor name;
		bool good = dn_cursor_until(c, ">", &name);

		dn_cursor_skip_space(c);
		while (good && dn_cursor_take(c, "<parameter=")) {
			good = add_argument(arguments, c, &name, tools);
			dn_cursor_skip_space(c);
		}
		/* Some leave it out. */
		if (good)
			good = dn_cursor_take(c, "</function>") || c->at == c->end;
		if (!good) {
			json_decref(arguments);
			return false;
		}
		if (!dn_calls_add(calls, name.at, (size_t)(name.end - name.at), arguments))
			return false;
		dn_cursor_skip_space(c);
	}
	return c->at == c->end;
}

json_t *dn_chat_decode_hermes(const char *block, size_t size, const json_t *tools)
{
	struct dn_cursor c = { block, block + size };
	json_t *calls = json_array();

	dn_cursor_skip_space(&c);
	return dn_calls_end(calls, c.at < c.end && *c.at == '<' ? add_elements(calls, &c, tools)
								: add_values(calls, &c));
}

/* NAME[ARGS]{…}, perhaps with [CALL_ID]… before [ARGS]; older ones NAME{…}. */
static bool add_named(json_t *calls, struct dn_cursor *c)
{
	struct dn_cursor name = *c;
	json_t *arguments;

	while (c->at < c->end && *c->at != '[' && *c->at != '{')
		c->at++;
	name.end = c->at;
	trim(&name);
	if (dn_cursor_take(c, "[CALL_ID]"))
		while (c->at < c->end && *c->at != '[')
			c->at++;
	(void)dn_cursor_take(c, "[ARGS]");
	arguments = dn_cursor_json(c);
	return arguments && dn_calls_add(calls, name.at, (size_t)(name.end - name.at), arguments);
}

json_t *dn_chat_decode_mistral(const char *block, size_t size, const json_t *tools)
{
	struct dn_cursor c = { block, block + size };
	json_t *calls = json_array();
	bool good = true;

	(void)tools;
	trim(&c);
	if (c.at < c.end && (*c.at == '[' || *c.at == '{'))
		return dn_calls_end(calls, add_values(calls, &c));
	while (good && c.at < c.end) {
		(void)dn_cursor_take(&c, "[TOOL_CALLS]");
		good = add_named(calls, &c);
		dn_cursor_skip_space(&c);
	}
	return dn_calls_end(calls, good);
}

/* A type, a separator, the name and fenced JSON; since V3.1 the name, a separator and JSON. */
static bool add_deepseek(json_t *calls, struct dn_cursor part)
{
	struct dn_cursor name;
	json_t *arguments;

	if (!dn_cursor_until(&part, DEEPSEEK_SEP, &name))
		return false;
	dn_cursor_skip_space(&part);
	if (part.at < part.end && *part.at != '{') {
		if (!dn_cursor_until(&part, "\n", &name))
			return false;
		dn_cursor_skip_space(&part);
		(void)dn_cursor_take(&part, "```json");
		dn_cursor_skip_space(&part);
	}
	trim(&name);
	arguments = dn_cursor_json(&part);
	return arguments && dn_calls_add(calls, name.at, (size_t)(name.end - name.at), arguments);
}

json_t *dn_chat_decode_deepseek(const char *block, size_t size, const json_t *tools)
{
	struct dn_cursor c = { block, block + size };
	struct dn_cursor part;
	json_t *calls = json_array();
	bool good = true;

	(void)tools;
	dn_cursor_skip_space(&c);
	while (good && dn_cursor_take(&c, DEEPSEEK_BEGIN)) {
		if (!dn_cursor_until(&c, DEEPSEEK_END, &part)) {
			part = c;
			c.at = c.end;
		}
		good = add_deepseek(calls, part);
		dn_cursor_skip_space(&c);
	}
	return dn_calls_end(calls, good && c.at == c.end);
}
