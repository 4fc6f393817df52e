/* SPDX-License-Identifier: MIT */

#include "server/front/responses.h"

#include <string.h>

/* Fields that both have, by the same name or another. */
static const char *const same[][2] = {
	{ "model", "model" },
	{ "max_output_tokens", "max_completion_tokens" },
	{ "temperature", "temperature" },
	{ "top_p", "top_p" },
	{ "top_k", "top_k" },
	{ "stream", "stream" },
	{ "parallel_tool_calls", "parallel_tool_calls" },
	{ "seed", "seed" },
	{ "stop", "stop" },
	{ "priority", "priority" },
	{ "deadline_ms", "deadline_ms" },
	{ "first_token_deadline_ms", "first_token_deadline_ms" },
	{ "chat_template_kwargs", "chat_template_kwargs" },
};

/* Those that are read from another's parts. */
static const char *const others[][2] = {
	{ "input", "messages" },
	{ "text.format", "response_format" },
	{ "reasoning.effort", "reasoning_effort" },
};

const char *dn_responses_field(const char *of_chat)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(same); i++)
		if (strcmp(same[i][1], of_chat) == 0)
			return same[i][0];
	for (size_t i = 0; i < DN_ARRAY_SIZE(others); i++)
		if (strcmp(others[i][1], of_chat) == 0)
			return others[i][0];
	return NULL;
}

/* What would need answers that are kept. */
static const char *const stateful[] = { "previous_response_id", "conversation", "prompt" };

static bool check_state(const json_t *body, struct dn_api_error *error)
{
	static const struct dn_api_field fields[] = {
		{ "store", DN_API_BOOL, 0, 0, 0 },
		{ "background", DN_API_BOOL, 0, 0, sizeof(uint32_t) },
	};
	uint32_t asked[DN_ARRAY_SIZE(fields)] = { 0, 0 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(stateful); i++) {
		const json_t *value = json_object_get(body, stateful[i]);

		if (value && !json_is_null(value))
			return dn_api_bad(error, stateful[i],
					  "this server keeps no responses, so '%s' names none: "
					  "send all of the conversation as 'input'",
					  stateful[i]);
	}
	if (!dn_api_fields(body, fields, DN_ARRAY_SIZE(fields), asked, error))
		return false;
	if (asked[1])
		return dn_api_bad(error, "background",
				  "this server keeps no responses, so none can come later");
	return true;
}

static const char *type_of(const json_t *item)
{
	return json_string_value(json_object_get(item, "type"));
}

static bool is_text(const char *type)
{
	return type && (strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0 ||
			strcmp(type, "text") == 0 || strcmp(type, "reasoning_text") == 0 ||
			strcmp(type, "summary_text") == 0);
}

/* A text, or parts by the names that chats have for them; NULL with @error. */
static json_t *read_content(json_t *content, struct dn_api_error *error)
{
	json_t *parts = json_array();
	const json_t *part;
	size_t i;

	if (json_is_string(content)) {
		json_decref(parts);
		return json_incref(content);
	}
	if (!json_is_array(content))
		(void)dn_api_bad(error, "input",
				 "the 'content' of an item is neither text nor parts");
	json_array_foreach(content, i, part)
	{
		const char *type = type_of(part);
		json_t *text = json_object_get(part, "text");

		if (type && strcmp(type, "refusal") == 0)
			text = json_object_get(part, "refusal");
		else if (!is_text(type))
			text = NULL;
		if (!json_is_string(text)) {
			(void)dn_api_bad(error, "input",
					 "a part of the input is '%.32s': this server takes text "
					 "alone",
					 type ? type : "untyped");
			json_decref(parts);
			return NULL;
		}
		(void)json_array_append_new(parts,
					    json_pack("{s:s, s:O}", "type", "text", "text", text));
	}
	if (json_is_array(content))
		return parts;
	json_decref(parts);
	return NULL;
}

static bool is_assistant(const char *role)
{
	return role && strcmp(role, "assistant") == 0;
}

/* The last message, where it is the model's; NULL: it is another's, or there is none. */
static json_t *last_of_model(const json_t *messages)
{
	json_t *last = json_array_get(messages, json_array_size(messages) - 1);

	return is_assistant(json_string_value(json_object_get(last, "role"))) ? last : NULL;
}

/* Whether all that the model's message has is its reasoning: what it then said is a further item. */
static bool is_reasoning(const json_t *message)
{
	const json_t *content = json_object_get(message, "content");

	return json_object_get(message, "reasoning_content") &&
	       !json_object_get(message, "tool_calls") && json_is_string(content) &&
	       json_string_length(content) == 0;
}

static bool add_message(json_t *messages, const json_t *item, struct dn_api_error *error)
{
	const char *role = json_string_value(json_object_get(item, "role"));
	json_t *before = last_of_model(messages);
	json_t *content;

	if (!role)
		return dn_api_bad(error, "input", "a message of the input has no 'role'");
	content = read_content(json_object_get(item, "content"), error);
	if (!content)
		return false;
	if (is_assistant(role) && is_reasoning(before))
		return json_object_set_new(before, "content", content) == 0;
	return json_array_append_new(
		       messages, json_pack("{s:s, s:o}", "role", role, "content", content)) == 0;
}

/* The message that calls are put into. */
static json_t *assistant(json_t *messages)
{
	json_t *last = last_of_model(messages);

	if (last)
		return last;
	if (json_array_append_new(messages,
				  json_pack("{s:s, s:s}", "role", "assistant", "content", "")) < 0)
		return NULL;
	return json_array_get(messages, json_array_size(messages) - 1);
}

static bool add_call(json_t *messages, const json_t *item, struct dn_api_error *error)
{
	json_t *id = json_object_get(item, "call_id");
	json_t *name = json_object_get(item, "name");
	json_t *arguments = json_object_get(item, "arguments");
	json_t *message;

	if (!json_is_string(id) || !json_is_string(name) || !json_is_string(arguments))
		return dn_api_bad(error, "input",
				  "a 'function_call' needs 'call_id', 'name' and 'arguments'");
	message = assistant(messages);
	if (message && !json_object_get(message, "tool_calls"))
		(void)json_object_set_new(message, "tool_calls", json_array());
	return message && json_array_append_new(json_object_get(message, "tool_calls"),
						json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", id,
							  "type", "function", "function", "name",
							  name, "arguments", arguments)) == 0;
}

static bool add_result(json_t *messages, const json_t *item, struct dn_api_error *error)
{
	json_t *id = json_object_get(item, "call_id");
	json_t *content;

	if (!json_is_string(id))
		return dn_api_bad(error, "input", "a 'function_call_output' needs 'call_id'");
	content = read_content(json_object_get(item, "output"), error);
	return content && json_array_append_new(messages, json_pack("{s:s, s:O, s:o}", "role",
								    "tool", "tool_call_id", id,
								    "content", content)) == 0;
}

/* Reasoning that came from here, on its way back. */
static bool add_reasoning(json_t *messages, const json_t *item)
{
	const json_t *part = json_array_get(json_object_get(item, "content"), 0);
	json_t *text = json_object_get(part, "text");
	json_t *message;

	if (!json_is_string(text))
		return true;
	message = json_pack("{s:s, s:s, s:O}", "role", "assistant", "content", "",
			    "reasoning_content", text);
	return json_array_append_new(messages, message) == 0;
}

static bool add_item(json_t *messages, const json_t *item, struct dn_api_error *error)
{
	const char *type = type_of(item);

	if (!json_is_object(item) || (json_object_get(item, "type") && !type))
		return dn_api_bad(error, "input",
				  "an item of the input is no object with a 'type'");
	if (!type || strcmp(type, "message") == 0)
		return add_message(messages, item, error);
	if (strcmp(type, "function_call") == 0)
		return add_call(messages, item, error);
	if (strcmp(type, "function_call_output") == 0)
		return add_result(messages, item, error);
	if (strcmp(type, "reasoning") == 0)
		return add_reasoning(messages, item);
	return dn_api_bad(error, "input",
			  "an item of the input is '%.32s', which this server does not "
			  "know",
			  type);
}

static bool add_text(json_t *messages, const char *role, json_t *text)
{
	return json_array_append_new(messages,
				     json_pack("{s:s, s:O}", "role", role, "content", text)) == 0;
}

static json_t *read_input(const json_t *body, struct dn_api_error *error)
{
	json_t *instructions = json_object_get(body, "instructions");
	json_t *input = json_object_get(body, "input");
	json_t *messages = json_array();
	const json_t *item;
	bool good = true;
	size_t i;

	if (json_is_string(instructions))
		good = add_text(messages, "system", instructions);
	else if (instructions && !json_is_null(instructions))
		good = dn_api_bad(error, "instructions", "'instructions' is to be a text");
	if (good && json_is_string(input))
		good = add_text(messages, "user", input);
	else if (good && (!json_is_array(input) || json_array_size(input) == 0))
		good = dn_api_bad(error, "input", "'input' is to be a text, or a list of items");
	json_array_foreach(input, i, item)
	{
		good = good && add_item(messages, item, error);
	}
	if (good)
		return messages;
	json_decref(messages);
	return NULL;
}

static json_t *read_tools(const json_t *given, struct dn_api_error *error)
{
	json_t *tools = json_array();
	bool good = !given || json_is_null(given) || json_is_array(given);
	const json_t *tool;
	size_t i;

	if (!good)
		(void)dn_api_bad(error, "tools", "'tools' is to be a list of tools");
	json_array_foreach(given, i, tool)
	{
		const char *type = type_of(tool);
		json_t *function;

		if (!type || strcmp(type, "function") != 0) {
			good = dn_api_bad(error, "tools",
					  "tool %zu is no function: this server has no tools of "
					  "its own",
					  i);
			break;
		}
		function = json_copy((json_t *)tool);
		(void)json_object_del(function, "type");
		(void)json_array_append_new(
			tools, json_pack("{s:s, s:o}", "type", "function", "function", function));
	}
	if (good)
		return tools;
	json_decref(tools);
	return NULL;
}

/* {"type": "function", "name": …} is a level less deep than in chats. */
static json_t *named_choice(const json_t *choice)
{
	return json_pack("{s:O*, s:{s:O*}}", "type", json_object_get(choice, "type"), "function",
			 "name", json_object_get(choice, "name"));
}

/* So is what is allowed: {"type": "allowed_tools", "mode": …, "tools": […]} */
static json_t *allowed_choice(const json_t *choice)
{
	const json_t *given = json_object_get(choice, "tools");
	json_t *tools = json_is_array(given) ? json_array() : NULL;
	const json_t *tool;
	size_t i;

	json_array_foreach(given, i, tool)
	{
		(void)json_array_append_new(tools, named_choice(tool));
	}
	return json_pack("{s:s, s:{s:O*, s:o*}}", "type", "allowed_tools", "allowed_tools", "mode",
			 json_object_get(choice, "mode"), "tools", tools);
}

static bool read_choice(json_t *chat, json_t *choice)
{
	const char *type = type_of(choice);

	if (json_is_object(choice))
		return json_object_set_new(chat, "tool_choice",
					   type && strcmp(type, "allowed_tools") == 0
						   ? allowed_choice(choice)
						   : named_choice(choice)) == 0;
	return !choice || json_object_set(chat, "tool_choice", choice) == 0;
}

/* The same as 'response_format', where a schema is a level deeper. */
static bool read_format(json_t *chat, const json_t *text, struct dn_api_error *error)
{
	json_t *format = json_object_get(text, "format");
	const char *type = type_of(format);
	json_t *schema;

	if (text && !json_is_null(text) && !json_is_object(text))
		return dn_api_bad(error, "text", "'text' is to be an object");
	if (!format || json_is_null(format))
		return true;
	if (!type || strcmp(type, "json_schema") != 0)
		return json_object_set(chat, "response_format", format) == 0;
	schema = json_copy(format);
	(void)json_object_del(schema, "type");
	return json_object_set_new(chat, "response_format",
				   json_pack("{s:s, s:o}", "type", type, "json_schema", schema)) ==
	       0;
}

static bool read_reasoning(json_t *chat, const json_t *reasoning, struct dn_api_error *error)
{
	json_t *effort = json_object_get(reasoning, "effort");

	if (reasoning && !json_is_null(reasoning) && !json_is_object(reasoning))
		return dn_api_bad(error, "reasoning", "'reasoning' is to be an object");
	return !effort || json_object_set(chat, "reasoning_effort", effort) == 0;
}

static bool fill(json_t *chat, const json_t *body, struct dn_api_error *error)
{
	json_t *messages;
	json_t *tools;

	for (size_t i = 0; i < DN_ARRAY_SIZE(same); i++) {
		json_t *value = json_object_get(body, same[i][0]);

		if (value && json_object_set(chat, same[i][1], value) < 0)
			return false;
	}
	messages = read_input(body, error);
	if (!messages || json_object_set_new(chat, "messages", messages) < 0)
		return false;
	tools = read_tools(json_object_get(body, "tools"), error);
	return tools && json_object_set_new(chat, "tools", tools) == 0 &&
	       read_choice(chat, json_object_get(body, "tool_choice")) &&
	       read_format(chat, json_object_get(body, "text"), error) &&
	       read_reasoning(chat, json_object_get(body, "reasoning"), error);
}

json_t *dn_responses_translate(const json_t *body, struct dn_api_error *error)
{
	json_t *chat = json_object();

	(void)dn_api_fail(error, 503, NULL, "out of memory");
	if (check_state(body, error) && fill(chat, body, error))
		return chat;
	json_decref(chat);
	return NULL;
}
