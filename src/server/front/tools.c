/* SPDX-License-Identifier: MIT */
/* The tools of a request, and what is said of them to models whose templates know none. */

#include <stdlib.h>
#include <string.h>

#include "server/front/messages.h"

#define TOOLS_MAX 128
#define TEXT_MAX  ((size_t)64 << 20)

static bool check_tool(const json_t *tool, size_t at, struct dn_api_error *error)
{
	const char *type = json_string_value(json_object_get(tool, "type"));
	const json_t *function = json_object_get(tool, "function");
	const json_t *name = json_object_get(function, "name");
	const json_t *schema = json_object_get(function, "parameters");

	if (!json_is_object(tool) || !type || strcmp(type, "function") != 0)
		return dn_api_bad(error, "tools",
				  "item %zu of 'tools' is no function: this server has no tools of "
				  "its own",
				  at);
	if (!json_is_string(name) || json_string_length(name) == 0 ||
	    json_string_length(name) > DN_CHAT_NAME_MAX ||
	    strlen(json_string_value(name)) != json_string_length(name))
		return dn_api_bad(error, "tools",
				  "the function of item %zu of 'tools' has no 'name' of 1 to %d "
				  "bytes",
				  at, DN_CHAT_NAME_MAX);
	if (schema && !json_is_null(schema) && !json_is_object(schema))
		return dn_api_bad(error, "tools",
				  "the 'parameters' of item %zu of 'tools' are no object", at);
	return true;
}

void dn_tools_done(struct dn_tools *tools)
{
	json_decref(tools->list);
	tools->list = NULL;
	tools->named = NULL;
}

bool dn_tools_read(const json_t *body, struct dn_tools *ret_tools, struct dn_api_error *error)
{
	static const struct dn_api_field parallel = { "parallel_tool_calls", DN_API_BOOL, 0, 0, 0 };
	json_t *list = json_object_get(body, "tools");
	struct dn_tools tools = { .list = NULL };
	uint32_t many = 1;
	const json_t *tool;
	size_t i;

	if (list && !json_is_null(list) &&
	    (!json_is_array(list) || json_array_size(list) > TOOLS_MAX))
		return dn_api_bad(error, "tools", "'tools' is to be a list of at most %d tools",
				  TOOLS_MAX);
	json_array_foreach(list, i, tool)
	{
		if (!check_tool(tool, i, error))
			return false;
	}
	if (!dn_api_fields(body, &parallel, 1, &many, error))
		return false;
	if (json_array_size(list) > 0)
		tools.list = json_incref(list);
	tools.calls_max = many ? 0 : 1;
	if (!dn_tools_read_choice(json_object_get(body, "tool_choice"), &tools, error)) {
		dn_tools_done(&tools);
		return false;
	}
	*ret_tools = tools;
	return true;
}

/* The form is Hermes', which most models have seen. */
static const char before_tools[] =
	"You may call functions. These are their signatures, one a line:\n<tools>\n";
static const char behind_tools[] =
	"</tools>\nTo call a function, write its name and its arguments as JSON, and nothing "
	"else:\n" DN_CHAT_CALL_OPEN
	"\n{\"name\": <name>, \"arguments\": <object>}\n" DN_CHAT_CALL_CLOSE
	"\nTo call several, write several of these.\n\n";

static bool append_dump(struct dn_buffer *text, const json_t *json)
{
	DN_AUTO_FREE char *dump = json_dumps(json, JSON_ENCODE_ANY);

	return dump && dn_buffer_append_text(text, dump) == 0 &&
	       dn_buffer_append(text, "\n", 1) == 0;
}

static bool set_content(json_t *message, const struct dn_buffer *text)
{
	return json_object_set_new(message, "content",
				   json_stringn(text->data ? text->data : "", text->size)) == 0;
}

static bool append_content(struct dn_buffer *text, const json_t *message)
{
	const json_t *content = json_object_get(message, "content");

	return json_string_length(content) == 0 ||
	       dn_buffer_append(text, json_string_value(content), json_string_length(content)) == 0;
}

static bool tell_of_tools(json_t *message, const json_t *tools)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(TEXT_MAX);
	const json_t *tool;
	size_t i;

	if (dn_buffer_append_text(&text, before_tools) < 0)
		return false;
	json_array_foreach(tools, i, tool)
	{
		if (!append_dump(&text, tool))
			return false;
	}
	return dn_buffer_append_text(&text, behind_tools) == 0 && append_content(&text, message) &&
	       set_content(message, &text);
}

static bool tell_of_calls(json_t *message)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(TEXT_MAX);
	const json_t *call;
	size_t i;

	if (!append_content(&text, message))
		return false;
	json_array_foreach(json_object_get(message, "tool_calls"), i, call)
	{
		if (dn_buffer_printf(&text, "%s%s\n", text.size > 0 ? "\n" : "",
				     DN_CHAT_CALL_OPEN) < 0 ||
		    !append_dump(&text, json_object_get(call, "function")) ||
		    dn_buffer_append_text(&text, DN_CHAT_CALL_CLOSE) < 0)
			return false;
	}
	(void)json_object_del(message, "tool_calls");
	return set_content(message, &text);
}

/* What came of a call is the user's to say; several are one message, for roles have to take turns. */
static bool tell_of_result(json_t *message, json_t *before)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(TEXT_MAX);

	if ((before && (!append_content(&text, before) || dn_buffer_append(&text, "\n", 1) < 0)) ||
	    dn_buffer_append_text(&text, "<tool_response>\n") < 0 ||
	    !append_content(&text, message) ||
	    dn_buffer_append_text(&text, "\n</tool_response>") < 0)
		return false;
	return set_content(before ? before : message, &text) &&
	       json_object_set_new(message, "role", json_string("user")) == 0;
}

bool dn_tools_put_in_words(json_t *messages, const json_t *tools)
{
	json_t *results = NULL; /* the message that has those that were just before */
	size_t i = 0;

	while (i < json_array_size(messages)) {
		json_t *message = json_array_get(messages, i);
		const char *role = json_string_value(json_object_get(message, "role"));

		if (role && strcmp(role, "tool") == 0) {
			if (!tell_of_result(message, results))
				return false;
			if (results) {
				(void)json_array_remove(messages, i);
				continue;
			}
			results = message;
		} else {
			results = NULL;
			if (json_array_size(json_object_get(message, "tool_calls")) > 0 &&
			    !tell_of_calls(message))
				return false;
		}
		i++;
	}
	return json_array_size(tools) == 0 || tell_of_tools(json_array_get(messages, 0), tools);
}

bool dn_tools_put_in_system(json_t *messages, const json_t *tools)
{
	const char *role = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
	DN_AUTO_FREE char *text = json_dumps(tools, 0);

	if (!role || strcmp(role, "system") != 0) {
		if (json_array_insert_new(
			    messages, 0, json_pack("{s:s, s:s}", "role", "system", "content", "")) <
		    0)
			return false;
	}
	return text &&
	       json_object_set_new(json_array_get(messages, 0), "tools", json_string(text)) == 0;
}
