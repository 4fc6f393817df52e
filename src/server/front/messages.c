/* SPDX-License-Identifier: MIT */
/* The messages of a chat, checked, as the variables of a chat template. */

#include "server/front/messages.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX 4096

static bool no_memory(struct dn_api_error *error)
{
	return dn_api_fail(error, 503, NULL, "out of memory");
}

/* What a part is that is no text. */
static bool refuse_part(const char *type, size_t at, struct dn_api_error *error)
{
	if (type && strstr(type, "image"))
		return dn_api_bad(error, "messages",
				  "part %zu of a message is an image: this server takes text alone",
				  at);
	if (type && strstr(type, "audio"))
		return dn_api_bad(error, "messages",
				  "part %zu of a message is audio: this server takes text alone",
				  at);
	return dn_api_bad(error, "messages",
			  "part %zu of a message is no text: this server takes text alone", at);
}

/* The texts of an array of parts, one a line; NULL with @error. */
static json_t *join_parts(const json_t *parts, struct dn_api_error *error)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT((size_t)64 << 20);
	const json_t *part;
	size_t i;

	json_array_foreach(parts, i, part)
	{
		const char *type = json_string_value(json_object_get(part, "type"));
		const bool refusal = type && strcmp(type, "refusal") == 0;
		const json_t *value = json_object_get(part, refusal ? "refusal" : "text");

		if (!type || (strcmp(type, "text") != 0 && !refusal) || !json_is_string(value)) {
			(void)refuse_part(type, i, error);
			return NULL;
		}
		if ((i > 0 && dn_buffer_append(&text, "\n", 1) < 0) ||
		    dn_buffer_append(&text, json_string_value(value), json_string_length(value)) <
			    0) {
			(void)no_memory(error);
			return NULL;
		}
	}
	return json_stringn(text.data ? text.data : "", text.size);
}

static bool read_content(json_t *message, size_t at, struct dn_api_error *error)
{
	const json_t *content = json_object_get(message, "content");
	json_t *joined;

	if (json_is_string(content))
		return true;
	if (content && !json_is_null(content) && !json_is_array(content))
		return dn_api_bad(error, "messages",
				  "the content of message %zu is neither text nor parts", at);
	joined = json_is_array(content) ? join_parts(content, error) : json_string("");
	return joined && json_object_set_new(message, "content", joined) == 0;
}

/* Some templates want ids of nine letters and digits: the same id gives the same. */
static json_t *short_id(const char *id)
{
	uint32_t hash = 2166136261U; /* FNV-1a */
	char text[16];

	if (strlen(id) == 9)
		return json_string(id);
	for (; *id; id++)
		hash = (hash ^ (unsigned char)*id) * 16777619U;
	(void)snprintf(text, sizeof(text), "%09u", hash % 1000000000U);
	return json_string(text);
}

/* The arguments of a call as the template wants them: as text, or as what the text says. */
static json_t *arguments_of(json_t *given, const struct dn_chat_form *form)
{
	json_t *parsed;

	if (form->arguments_text) {
		DN_AUTO_FREE char *text =
			json_is_string(given) ? NULL : json_dumps(given, JSON_ENCODE_ANY);

		return text ? json_string(text) : json_incref(given);
	}
	if (!json_is_string(given))
		return given ? json_incref(given) : json_object();
	if (json_string_length(given) == 0)
		return json_object();
	parsed = json_loadb(json_string_value(given), json_string_length(given), JSON_DECODE_ANY,
			    NULL);
	return parsed ? parsed : json_incref(given);
}

static bool is_null(const json_t *value)
{
	return !value || json_is_null(value);
}

static bool is_call(const json_t *call)
{
	const json_t *function = json_object_get(call, "function");
	const json_t *arguments = json_object_get(function, "arguments");
	const json_t *type = json_object_get(call, "type");
	const json_t *id = json_object_get(call, "id");

	return json_is_string(json_object_get(function, "name")) &&
	       (!arguments || json_is_string(arguments) || json_is_object(arguments)) &&
	       (is_null(id) || json_is_string(id)) &&
	       (is_null(type) ||
		(json_is_string(type) && strcmp(json_string_value(type), "function") == 0));
}

static json_t *read_call(const json_t *call, const struct dn_chat_form *form)
{
	const json_t *function = json_object_get(call, "function");
	const char *id = json_string_value(json_object_get(call, "id"));

	if (!is_call(call))
		return NULL;
	return json_pack("{s:o*, s:s, s:{s:O, s:o}}", "id",
			 !id		   ? NULL
			 : form->short_ids ? short_id(id)
					   : json_string(id),
			 "type", "function", "function", "name", json_object_get(function, "name"),
			 "arguments", arguments_of(json_object_get(function, "arguments"), form));
}

static bool read_calls(json_t *message, size_t at, const struct dn_chat_form *form,
		       struct dn_api_error *error)
{
	const json_t *calls = json_object_get(message, "tool_calls");
	const json_t *call;
	json_t *list;
	size_t i;

	if (!calls)
		return true;
	if (!json_is_array(calls))
		return dn_api_bad(error, "messages", "the 'tool_calls' of message %zu are no list",
				  at);
	if (json_array_size(calls) == 0)
		return json_object_del(message, "tool_calls") == 0;
	list = json_array();
	json_array_foreach(calls, i, call)
	{
		if (json_array_append_new(list, read_call(call, form)) < 0) {
			json_decref(list);
			return dn_api_bad(error, "messages",
					  "call %zu of message %zu is no call of a function", i,
					  at);
		}
	}
	return json_object_set_new(message, "tool_calls", list) == 0;
}

/* The name of the function whose call has an id, of the messages before; NULL: there is none. */
static const char *name_of_call(const json_t *messages, const char *id)
{
	for (size_t i = json_array_size(messages); i > 0; i--) {
		const json_t *calls =
			json_object_get(json_array_get(messages, i - 1), "tool_calls");
		const json_t *call;
		size_t k;

		json_array_foreach(calls, k, call)
		{
			const char *one = json_string_value(json_object_get(call, "id"));

			if (one && strcmp(one, id) == 0)
				return json_string_value(
					json_object_get(json_object_get(call, "function"), "name"));
		}
	}
	return NULL;
}

/* Templates tell results by the call's id, or by its name. */
static bool read_result(json_t *message, const json_t *before, const struct dn_chat_form *form)
{
	const char *id = json_string_value(json_object_get(message, "tool_call_id"));
	const char *name;

	if (id && form->short_ids && json_object_set_new(message, "tool_call_id", short_id(id)) < 0)
		return false;
	id = json_string_value(json_object_get(message, "tool_call_id"));
	name = id && !json_object_get(message, "name") ? name_of_call(before, id) : NULL;
	return !name || json_object_set_new(message, "name", json_string(name)) == 0;
}

/* Newer roles by the names that templates know. */
static bool read_role(json_t *message)
{
	const char *role = json_string_value(json_object_get(message, "role"));
	const char *known = strcmp(role, "developer") == 0  ? "system"
			    : strcmp(role, "function") == 0 ? "tool"
							    : NULL;

	return !known || json_object_set_new(message, "role", json_string(known)) == 0;
}

static void drop_nulls(json_t *message)
{
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(message, next, key, value)
	{
		if (json_is_null(value))
			(void)json_object_del(message, key);
	}
}

/* A copy of a message as templates want it, behind those @before; NULL with @error. */
static json_t *read_message(const json_t *message, const json_t *before,
			    const struct dn_chat_form *form, struct dn_api_error *error)
{
	const size_t at = json_array_size(before);
	json_t *copy;

	if (!json_is_object(message) || !json_is_string(json_object_get(message, "role"))) {
		(void)dn_api_bad(error, "messages", "message %zu is no object with a 'role'", at);
		return NULL;
	}
	(void)no_memory(error);
	copy = json_copy((json_t *)message);
	if (copy)
		drop_nulls(copy);
	if (!copy || !read_content(copy, at, error) || !read_role(copy) ||
	    !read_calls(copy, at, form, error) || !read_result(copy, before, form)) {
		json_decref(copy);
		return NULL;
	}
	return copy;
}

static json_t *read_messages(const json_t *messages, const struct dn_chat_form *form,
			     struct dn_api_error *error)
{
	const json_t *message;
	json_t *list = json_array();
	size_t i;

	(void)no_memory(error);
	json_array_foreach(messages, i, message)
	{
		json_t *copy = read_message(message, list, form, error);

		if (!copy || json_array_append_new(list, copy) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Further variables: the request's own, and those that stand for fields of the API. */
static bool add_variables(json_t *variables, const json_t *body, struct dn_api_error *error)
{
	const json_t *own = json_object_get(body, "chat_template_kwargs");
	json_t *effort = json_object_get(body, "reasoning_effort");
	const char *key;
	json_t *value;

	if (own && !json_is_null(own) && !json_is_object(own))
		return dn_api_bad(error, "chat_template_kwargs",
				  "'chat_template_kwargs' is to be an object");
	if (effort && !json_is_null(effort) && !json_is_string(effort))
		return dn_api_bad(error, "reasoning_effort", "'reasoning_effort' is to be a word");
	(void)no_memory(error);
	if (json_is_string(effort)) {
		if (json_object_set(variables, "reasoning_effort", effort) < 0)
			return false;
		if (strcmp(json_string_value(effort), "none") == 0 &&
		    json_object_set_new(variables, "enable_thinking", json_false()) < 0)
			return false;
	}
	json_object_foreach((json_t *)own, key, value)
	{
		if (strcmp(key, "messages") == 0 || strcmp(key, "tools") == 0)
			return dn_api_bad(error, "chat_template_kwargs",
					  "'%s' has a field of its own", key);
		if (json_object_set(variables, key, value) < 0)
			return false;
	}
	return true;
}

static bool add_tools(json_t *variables, json_t *messages, json_t *tools,
		      const struct dn_chat_form *form)
{
	if (!form->shows_tools)
		return dn_tools_put_in_words(messages, tools);
	if (!tools)
		return true;
	return form->system_tools ? dn_tools_put_in_system(messages, tools)
				  : json_object_set(variables, "tools", tools) == 0;
}

/* Whether the answer begins a message, or goes on with the last. */
static bool add_beginning(json_t *variables, const json_t *body, struct dn_api_error *error)
{
	static const struct dn_api_field field = { "continue_final_message", DN_API_BOOL, 0, 0, 0 };
	uint32_t goes_on = 0;

	return dn_api_fields(body, &field, 1, &goes_on, error) &&
	       json_object_set_new(variables, "add_generation_prompt", json_boolean(!goes_on)) ==
		       0 &&
	       (!goes_on || json_object_set_new(variables, field.name, json_true()) == 0);
}

json_t *dn_front_messages(const json_t *body, const struct dn_chat_form *form,
			  struct dn_api_error *error)
{
	const json_t *messages = json_object_get(body, "messages");
	struct dn_tools tools;
	json_t *variables;
	json_t *list;

	if (!json_is_array(messages) || json_array_size(messages) == 0 ||
	    json_array_size(messages) > MESSAGES_MAX) {
		(void)dn_api_bad(error, "messages",
				 "'messages' is to be a list of 1 to %d messages", MESSAGES_MAX);
		return NULL;
	}
	if (!dn_tools_read(body, &tools, error))
		return NULL;
	list = read_messages(messages, form, error);
	if (!list) {
		dn_tools_done(&tools);
		return NULL;
	}
	variables = json_pack("{s:O}", "messages", list);
	(void)no_memory(error);
	if (!variables || !add_beginning(variables, body, error) ||
	    !add_tools(variables, list, tools.list, form) ||
	    !add_variables(variables, body, error)) {
		json_decref(variables);
		variables = NULL;
	}
	json_decref(list);
	dn_tools_done(&tools);
	return variables;
}
