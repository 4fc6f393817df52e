/* SPDX-License-Identifier: MIT */

#include "server/front/anthropic.h"

#include <string.h>

#define TEXT_MAX ((size_t)64 << 20)

/* Fields that both have, by the same name or another. */
static const char *const same[][2] = {
	{ "model", "model" },
	{ "max_tokens", "max_tokens" },
	{ "stop_sequences", "stop" },
	{ "temperature", "temperature" },
	{ "top_p", "top_p" },
	{ "top_k", "top_k" },
	{ "stream", "stream" },
	{ "priority", "priority" },
	{ "deadline_ms", "deadline_ms" },
	{ "first_token_deadline_ms", "first_token_deadline_ms" },
	{ "seed", "seed" },
	{ "chat_template_kwargs", "chat_template_kwargs" },
};

const char *dn_anthropic_field(const char *of_chat)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(same); i++)
		if (strcmp(same[i][1], of_chat) == 0)
			return same[i][0];
	return NULL;
}

static const char *type_of(const json_t *block)
{
	const char *type = json_string_value(json_object_get(block, "type"));

	return type ? type : "";
}

static bool refuse_block(const char *type, struct dn_api_error *error)
{
	return dn_api_bad(error, "messages", "a block is '%.32s': this server takes text alone",
			  type);
}

/* Text, or blocks of text; NULL with @error. */
static json_t *read_text(const json_t *content, const char *param, struct dn_api_error *error)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(TEXT_MAX);
	const json_t *block;
	size_t i;

	if (json_is_string(content))
		return json_incref((json_t *)content);
	if (content && !json_is_array(content) && !json_is_null(content)) {
		(void)dn_api_bad(error, param, "'%s' is to be a text, or a list of blocks", param);
		return NULL;
	}
	json_array_foreach(content, i, block)
	{
		const json_t *one = json_object_get(block, "text");

		if (strcmp(type_of(block), "text") != 0 || !json_is_string(one)) {
			(void)refuse_block(type_of(block), error);
			return NULL;
		}
		if ((i > 0 && dn_buffer_append(&text, "\n", 1) < 0) ||
		    dn_buffer_append(&text, json_string_value(one), json_string_length(one)) < 0)
			return NULL;
	}
	return json_stringn(text.data ? text.data : "", text.size);
}

static bool append_part(json_t *parts, const json_t *block)
{
	return json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text",
						      json_object_get(block, "text"))) == 0;
}

/* What the model called. */
static bool append_call(json_t *calls, const json_t *block, struct dn_api_error *error)
{
	json_t *input = json_object_get(block, "input");

	if (!json_is_string(json_object_get(block, "name")) ||
	    !json_is_string(json_object_get(block, "id")) || (input && !json_is_object(input)))
		return dn_api_bad(error, "messages",
				  "a block of 'tool_use' needs 'id', 'name' and 'input'");
	return json_array_append_new(calls,
				     json_pack("{s:O, s:s, s:{s:O, s:o}}", "id",
					       json_object_get(block, "id"), "type", "function",
					       "function", "name", json_object_get(block, "name"),
					       "arguments",
					       input ? json_incref(input) : json_object())) == 0;
}

/* What came of it is a message of its own, before the user's words. */
static bool append_result(json_t *messages, const json_t *block, struct dn_api_error *error)
{
	json_t *id = json_object_get(block, "tool_use_id");
	json_t *text = read_text(json_object_get(block, "content"), "messages", error);

	if (!text)
		return false;
	if (!json_is_string(id)) {
		json_decref(text);
		return dn_api_bad(error, "messages",
				  "a block of 'tool_result' needs 'tool_use_id'");
	}
	return json_array_append_new(messages, json_pack("{s:s, s:O, s:o}", "role", "tool",
							 "tool_call_id", id, "content", text)) == 0;
}

struct blocks {
	json_t *messages;
	json_t *parts;
	json_t *calls;
	json_t *reasoning;
};

static bool read_block(struct blocks *to, const json_t *block, struct dn_api_error *error)
{
	const char *type = type_of(block);

	if (strcmp(type, "text") == 0 && json_is_string(json_object_get(block, "text")))
		return append_part(to->parts, block);
	if (strcmp(type, "tool_use") == 0)
		return append_call(to->calls, block, error);
	if (strcmp(type, "tool_result") == 0)
		return append_result(to->messages, block, error);
	if (strcmp(type, "thinking") == 0) {
		to->reasoning = json_object_get(block, "thinking");
		return true;
	}
	/* Nobody else can read it. */
	if (strcmp(type, "redacted_thinking") == 0)
		return true;
	return refuse_block(type, error);
}

static bool read_blocks(json_t *messages, const char *role, const json_t *blocks,
			struct dn_api_error *error)
{
	struct blocks to = { messages, json_array(), json_array(), NULL };
	const json_t *block;
	json_t *message;
	bool good = true;
	size_t i;

	json_array_foreach(blocks, i, block)
	{
		good = read_block(&to, block, error);
		if (!good)
			break;
	}
	if (good && (json_array_size(to.parts) > 0 || json_array_size(to.calls) > 0)) {
		message = json_pack("{s:s, s:O}", "role", role, "content", to.parts);
		if (json_array_size(to.calls) > 0)
			(void)json_object_set(message, "tool_calls", to.calls);
		if (json_is_string(to.reasoning))
			(void)json_object_set(message, "reasoning_content", to.reasoning);
		good = json_array_append_new(messages, message) == 0;
	}
	json_decref(to.parts);
	json_decref(to.calls);
	return good;
}

static bool read_message(json_t *messages, const json_t *message, size_t at,
			 struct dn_api_error *error)
{
	const char *role = json_string_value(json_object_get(message, "role"));
	json_t *content = json_object_get(message, "content");

	if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 &&
		      strcmp(role, "system") != 0))
		return dn_api_bad(error, "messages",
				  "the 'role' of message %zu is neither 'user' nor 'assistant'",
				  at);
	if (json_is_string(content))
		return json_array_append_new(messages, json_pack("{s:s, s:O}", "role", role,
								 "content", content)) == 0;
	if (!json_is_array(content) || json_array_size(content) == 0)
		return dn_api_bad(error, "messages",
				  "the 'content' of message %zu is neither text nor blocks", at);
	return read_blocks(messages, role, content, error);
}

static json_t *read_messages(const json_t *body, struct dn_api_error *error)
{
	const json_t *given = json_object_get(body, "messages");
	json_t *system = read_text(json_object_get(body, "system"), "system", error);
	json_t *messages = json_array();
	const json_t *message;
	bool good = system != NULL;
	size_t i;

	if (good && json_string_length(system) > 0)
		good = json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "system",
								 "content", system)) == 0;
	json_decref(system);
	if (good && (!json_is_array(given) || json_array_size(given) == 0))
		good = dn_api_bad(error, "messages", "'messages' is to be a list of messages");
	json_array_foreach(given, i, message)
	{
		good = good && read_message(messages, message, i, error);
	}
	if (good)
		return messages;
	json_decref(messages);
	return NULL;
}

static json_t *read_tools(const json_t *given, struct dn_api_error *error)
{
	json_t *tools = json_array();
	const json_t *tool;
	size_t i;

	if (given && !json_is_null(given) && !json_is_array(given))
		(void)dn_api_bad(error, "tools", "'tools' is to be a list of tools");
	json_array_foreach(given, i, tool)
	{
		json_t *schema = json_object_get(tool, "input_schema");
		json_t *name = json_object_get(tool, "name");

		if (!json_is_string(name) || !json_is_object(schema)) {
			(void)dn_api_bad(error, "tools",
					 "tool %zu needs 'name' and 'input_schema': this server "
					 "has no tools of its own",
					 i);
			json_decref(tools);
			return NULL;
		}
		if (json_array_append_new(tools,
					  json_pack("{s:s, s:{s:O, s:O*, s:O}}", "type", "function",
						    "function", "name", name, "description",
						    json_object_get(tool, "description"),
						    "parameters", schema)) < 0)
			break;
	}
	if (i == json_array_size(given) && (!given || json_is_null(given) || json_is_array(given)))
		return tools;
	json_decref(tools);
	return NULL;
}

static bool read_choice(json_t *chat, const json_t *choice, struct dn_api_error *error)
{
	const char *type = type_of(choice);
	json_t *word = NULL;

	if (!choice || json_is_null(choice))
		return true;
	if (strcmp(type, "auto") == 0 || strcmp(type, "none") == 0)
		word = json_string(type);
	else if (strcmp(type, "any") == 0)
		word = json_string("required");
	else if (strcmp(type, "tool") == 0)
		word = json_pack("{s:s, s:{s:O*}}", "type", "function", "function", "name",
				 json_object_get(choice, "name"));
	else
		return dn_api_bad(error, "tool_choice",
				  "the 'type' of 'tool_choice' is 'auto', 'any', 'tool' or 'none'");
	if (json_is_true(json_object_get(choice, "disable_parallel_tool_use")))
		(void)json_object_set_new(chat, "parallel_tool_calls", json_false());
	return json_object_set_new(chat, "tool_choice", word) == 0;
}

/* Models reason by what their templates are told; without a word of it they do not. */
static bool read_thinking(json_t *chat, const json_t *thinking, struct dn_api_error *error)
{
	const char *type = type_of(thinking);
	json_t *variables = json_object_get(chat, "chat_template_kwargs");

	if (thinking && !json_is_null(thinking) && strcmp(type, "enabled") != 0 &&
	    strcmp(type, "adaptive") != 0 && strcmp(type, "disabled") != 0)
		return dn_api_bad(
			error, "thinking",
			"the 'type' of 'thinking' is 'enabled', 'adaptive' or 'disabled'");
	variables = json_is_object(variables) ? json_copy(variables) : json_object();
	if (!json_object_get(variables, "enable_thinking"))
		(void)json_object_set_new(variables, "enable_thinking",
					  json_boolean(type[0] == 'e' || type[0] == 'a'));
	return json_object_set_new(chat, "chat_template_kwargs", variables) == 0;
}

static bool has_text(const json_t *content)
{
	const json_t *part;
	size_t i;

	json_array_foreach(content, i, part)
	{
		if (json_string_length(json_object_get(part, "text")) > 0)
			return true;
	}
	return json_string_length(content) > 0;
}

/* A last message of the model's is how its answer begins; without text, it has none to begin with. */
static bool read_beginning(json_t *chat, json_t *messages)
{
	const size_t at = json_array_size(messages) - 1;
	const json_t *last = json_array_get(messages, at);
	const char *role = json_string_value(json_object_get(last, "role"));

	if (!role || strcmp(role, "assistant") != 0 || json_object_get(last, "tool_calls"))
		return true;
	if (!has_text(json_object_get(last, "content")))
		return json_array_remove(messages, at) == 0;
	return json_object_set_new(chat, "continue_final_message", json_true()) == 0;
}

static json_t *translate(const json_t *body, struct dn_api_error *error)
{
	const json_t *stop = json_object_get(body, "stop_sequences");
	json_t *chat = json_object();
	json_t *messages;
	json_t *tools = NULL;

	if (stop && !json_is_null(stop) && !json_is_array(stop)) {
		(void)dn_api_bad(error, "stop_sequences", "'stop_sequences' is to be a list");
		json_decref(chat);
		return NULL;
	}
	(void)dn_api_fail(error, 503, NULL, "out of memory");
	for (size_t i = 0; i < DN_ARRAY_SIZE(same); i++) {
		json_t *value = json_object_get(body, same[i][0]);

		if (value && json_object_set(chat, same[i][1], value) < 0) {
			json_decref(chat);
			return NULL;
		}
	}
	messages = read_messages(body, error);
	if (messages)
		tools = read_tools(json_object_get(body, "tools"), error);
	if (tools && json_object_set_new(chat, "messages", messages) == 0 &&
	    json_object_set_new(chat, "tools", tools) == 0 && read_beginning(chat, messages) &&
	    read_choice(chat, json_object_get(body, "tool_choice"), error) &&
	    read_thinking(chat, json_object_get(body, "thinking"), error))
		return chat;
	if (!tools)
		json_decref(messages);
	json_decref(chat);
	return NULL;
}

json_t *dn_anthropic_translate(const json_t *body, struct dn_api_error *error)
{
	if (!json_is_integer(json_object_get(body, "max_tokens"))) {
		(void)dn_api_bad(error, "max_tokens", "'max_tokens' is to be a whole number");
		return NULL;
	}
	return translate(body, error);
}

json_t *dn_anthropic_translate_count(const json_t *body, struct dn_api_error *error)
{
	return translate(body, error);
}
