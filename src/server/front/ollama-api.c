/* SPDX-License-Identifier: MIT */
/* ollama's /api/chat and /api/generate: lines of JSON, unless the request wants one answer. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "server/front/generation.h"
#include "server/front/ollama.h"

/**
 * struct option - one of 'options'
 * @chat: what it is called in a chat
 * @min, @max: of a chat; ollama takes any number, and what is beyond is the nearest; both 0: it has none
 * @off: what is not above 0 is as if it were not there
 */
struct option {
	const char *name;
	const char *chat;
	double min;
	double max;
	bool off;
};

static const struct option options[] = {
	{ "temperature", "temperature", 0, 2, false },
	{ "top_p", "top_p", 0, 1, false },
	{ "top_k", "top_k", 0, DN_LOAD_CONTEXT_MAX, false },
	{ "min_p", "min_p", 0, 1, false },
	{ "seed", "seed", 0, 0, false },
	{ "stop", "stop", 0, 0, false },
	{ "repeat_penalty", "repetition_penalty", 0.01, 100, true },
	{ "presence_penalty", "presence_penalty", -2, 2, false },
	{ "frequency_penalty", "frequency_penalty", -2, 2, false },
	{ "num_predict", "max_tokens", 1, DN_LOAD_CONTEXT_MAX, true },
};

static const char *const same[] = {
	"tools",
	"stream",
	"priority",
	"deadline_ms",
	"first_token_deadline_ms",
	"chat_template_kwargs",
};

json_t *dn_ollama_model(const json_t *body)
{
	json_t *given = json_object_get(body, "model");
	const char *name = json_string_value(given ? given : json_object_get(body, "name"));
	const size_t size = name ? strlen(name) : 0;

	if (!name)
		return json_incref(given);
	/* Its clients put it behind names that have none. */
	return size > 7 && strcmp(name + size - 7, ":latest") == 0 ? json_stringn(name, size - 7)
								   : json_string(name);
}

void dn_ollama_time(char *out, size_t size)
{
	const time_t now = time(NULL);
	struct tm tm;

	if (!gmtime_r(&now, &tm) || strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
}

/* What a field of a chat is called here; NULL: the same. */
static const char *field(const char *of_chat)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(options); i++)
		if (strcmp(options[i].chat, of_chat) == 0)
			return options[i].name;
	if (strcmp(of_chat, "reasoning_effort") == 0)
		return "think";
	return strcmp(of_chat, "response_format") == 0 ? "format" : NULL;
}

static bool read_option(json_t *chat, const struct option *option, json_t *value)
{
	const double number = json_number_value(value);
	const double nearest = number < option->min ? option->min : option->max;

	if (!json_is_number(value) || (option->min == 0 && option->max == 0))
		return json_object_set(chat, option->chat, value) == 0;
	if (option->off && number <= 0)
		return true;
	if (number >= option->min && number <= option->max)
		return json_object_set(chat, option->chat, value) == 0;
	return json_object_set_new(chat, option->chat,
				   json_is_integer(value) ? json_integer((json_int_t)nearest)
							  : json_real(nearest)) == 0;
}

static bool read_options(json_t *chat, const json_t *given, struct dn_api_error *error)
{
	if (given && !json_is_null(given) && !json_is_object(given))
		return dn_api_bad(error, "options", "'options' is to be an object");
	for (size_t i = 0; i < DN_ARRAY_SIZE(options); i++) {
		json_t *value = json_object_get(given, options[i].name);

		if (value && !read_option(chat, &options[i], value))
			return false;
	}
	return true;
}

static bool read_format(json_t *chat, json_t *format, struct dn_api_error *error)
{
	const char *word = json_string_value(format);

	if (!format || json_is_null(format) || (word && word[0] == '\0'))
		return true;
	if (word && strcmp(word, "json") == 0)
		return json_object_set_new(chat, "response_format",
					   json_pack("{s:s}", "type", "json_object")) == 0;
	if (!json_is_object(format))
		return dn_api_bad(error, "format", "'format' is to be 'json' or a schema");
	return json_object_set_new(chat, "response_format",
				   json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema",
					     "json_schema", "name", "format", "schema", format)) ==
	       0;
}

static bool read_think(json_t *chat, json_t *think, struct dn_api_error *error)
{
	json_t *variables = json_object_get(chat, "chat_template_kwargs");

	if (!think || json_is_null(think))
		return true;
	if (json_is_string(think))
		return json_object_set(chat, "reasoning_effort", think) == 0;
	if (!json_is_boolean(think))
		return dn_api_bad(error, "think", "'think' is to be true or false");
	variables = json_is_object(variables) ? json_copy(variables) : json_object();
	(void)json_object_set(variables, "enable_thinking", think);
	return json_object_set_new(chat, "chat_template_kwargs", variables) == 0;
}

static bool has_images(const json_t *object)
{
	return json_array_size(json_object_get(object, "images")) > 0;
}

static bool fill(json_t *chat, const json_t *body, struct dn_api_error *error)
{
	json_t *model = dn_ollama_model(body);

	(void)dn_api_fail(error, 503, NULL, "out of memory");
	if (has_images(body))
		return dn_api_bad(error, "images", "this server takes no images");
	if (model && json_object_set_new(chat, "model", model) < 0)
		return false;
	for (size_t i = 0; i < DN_ARRAY_SIZE(same); i++) {
		json_t *value = json_object_get(body, same[i]);

		if (value && json_object_set(chat, same[i], value) < 0)
			return false;
	}
	return read_options(chat, json_object_get(body, "options"), error) &&
	       read_format(chat, json_object_get(body, "format"), error) &&
	       read_think(chat, json_object_get(body, "think"), error);
}

/* What it calls 'thinking' and 'tool_name' by the names that templates know. */
static bool add_message(json_t *messages, const json_t *message, struct dn_api_error *error)
{
	json_t *thinking = json_object_get(message, "thinking");
	json_t *name = json_object_get(message, "tool_name");
	json_t *copy;

	if (has_images(message))
		return dn_api_bad(error, "messages", "this server takes no images");
	copy = json_copy((json_t *)message);
	if (copy && thinking) {
		(void)json_object_set(copy, "reasoning_content", thinking);
		(void)json_object_del(copy, "thinking");
	}
	if (copy && name)
		(void)json_object_set(copy, "name", name);
	return json_array_append_new(messages, copy) == 0;
}

/* Whether there is no such text or list, or nothing in it. */
static bool is_empty(const json_t *value, json_type type)
{
	return !value || json_is_null(value) ||
	       (json_typeof(value) == type && json_string_length(value) == 0 &&
		json_array_size(value) == 0);
}

/* Without messages it has the model loaded. */
static json_t *translate_chat(const json_t *body, struct dn_api_error *error)
{
	const json_t *given = json_object_get(body, "messages");
	json_t *chat = json_object();
	json_t *messages;
	bool good = fill(chat, body, error);
	const json_t *message;
	size_t i;

	if (good && is_empty(given, JSON_ARRAY))
		return chat;
	messages = json_array();
	json_array_foreach(given, i, message)
	{
		good = good && add_message(messages, message, error);
	}
	if (json_object_set_new(chat, "messages", messages) == 0 && good)
		return chat;
	json_decref(chat);
	return NULL;
}

/* A prompt is a chat of one message, unless it is raw; without one it has the model loaded. */
static json_t *translate_generate(const json_t *body, struct dn_api_error *error)
{
	json_t *prompt = json_object_get(body, "prompt");
	json_t *system = json_object_get(body, "system");
	const bool raw = json_is_true(json_object_get(body, "raw"));
	json_t *chat = json_object();
	json_t *messages;

	if (!fill(chat, body, error) ||
	    (!is_empty(prompt, JSON_STRING) && !json_is_string(prompt) &&
	     !dn_api_bad(error, "prompt", "'prompt' is to be a text")) ||
	    (json_string_length(json_object_get(body, "suffix")) > 0 &&
	     !dn_api_bad(error, "suffix", "this server does not do 'suffix'"))) {
		json_decref(chat);
		return NULL;
	}
	if (is_empty(prompt, JSON_STRING))
		return chat;
	messages = json_pack("[{s:s, s:O}]", "role", "user", "content", prompt);
	if (json_string_length(system) > 0)
		(void)json_array_insert_new(
			messages, 0, json_pack("{s:s, s:O}", "role", "system", "content", system));
	(void)json_object_set_new(chat, "messages", messages);
	if (raw)
		(void)json_object_set(chat, "prompt", prompt);
	return chat;
}

static bool read_generate(struct dn_generation *g, const json_t *body, struct dn_api_error *error)
{
	const json_t *prompt = json_object_get(body, "prompt");
	char *copy;

	if (!prompt)
		return dn_generation_read_chat(g, body, error);
	copy = strdup(json_string_value(prompt));
	return dn_generation_add_prompt(g, DN_PROMPT_TEXT, copy, copy ? strlen(copy) : 0, error);
}

/* Answers. */

static json_t *line(const struct dn_generation *g, bool done)
{
	char now[32];

	dn_ollama_time(now, sizeof(now));
	return json_pack("{s:s, s:s, s:b}", "model", g->model->name, "created_at", now, "done",
			 done);
}

static void add_end(const struct dn_generation *g, json_t *json)
{
	const struct dn_choice *choice = &g->choices[0];
	const struct dn_frame_done *end = &choice->end;

	if (json)
		(void)json_object_update_new(
			json, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "done_reason",
					strcmp(choice->finish, "length") == 0 ? "length" : "stop",
					"total_duration", (json_int_t)(dn_clock_ns() - g->begun_ns),
					"load_duration", (json_int_t)0, "prompt_eval_count",
					(json_int_t)end->prompt_tokens, "prompt_eval_duration",
					(json_int_t)(end->prefill_ns - end->queue_ns), "eval_count",
					(json_int_t)end->output_tokens, "eval_duration",
					(json_int_t)end->decode_ns));
}

/* Its calls have objects as arguments. */
static json_t *calls_json(const struct dn_choice *choice, size_t first)
{
	json_t *list = json_array();

	for (size_t i = first; i < json_array_size(choice->calls); i++) {
		const json_t *call = json_array_get(choice->calls, i);
		json_t *arguments =
			json_loads(json_string_value(json_object_get(call, "arguments")), 0, NULL);

		(void)json_array_append_new(
			list, json_pack("{s:O, s:{s:O, s:o}}", "id", json_object_get(call, "id"),
					"function", "name", json_object_get(call, "name"),
					"arguments", arguments ? arguments : json_object()));
	}
	return list;
}

static json_t *message_json(json_t *content)
{
	return json_pack("{s:s, s:o}", "role", "assistant", "content", content);
}

static bool chat_piece(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	json_t *text = dn_api_text(piece->text, piece->size);
	const bool says = piece->part == DN_CHAT_TEXT;
	json_t *message = message_json(says ? json_incref(text) : json_string(""));
	json_t *json = line(choice->generation, false);

	if (message && piece->part == DN_CHAT_REASONING)
		(void)json_object_set(message, "thinking", text);
	if (message && piece->part == DN_CHAT_CALL)
		(void)json_object_set_new(message, "tool_calls",
					  calls_json(choice, json_array_size(choice->calls) - 1));
	json_decref(text);
	if (json)
		(void)json_object_set_new(json, "message", message);
	return dn_generation_send(choice->generation, NULL, json);
}

static bool generate_piece(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	json_t *json = line(choice->generation, false);
	const bool says = piece->part == DN_CHAT_TEXT;

	if (json) {
		(void)json_object_set_new(json, "response",
					  says ? dn_api_text(piece->text, piece->size)
					       : json_string(""));
		if (piece->part == DN_CHAT_REASONING)
			(void)json_object_set_new(json, "thinking",
						  dn_api_text(piece->text, piece->size));
	}
	return dn_generation_send(choice->generation, NULL, json);
}

static bool finish(struct dn_choice *choice)
{
	(void)choice;
	return true;
}

static bool end_chat(struct dn_generation *g)
{
	json_t *json = line(g, true);

	if (json)
		(void)json_object_set_new(json, "message", message_json(json_string("")));
	add_end(g, json);
	return dn_generation_send(g, NULL, json);
}

static bool end_generate(struct dn_generation *g)
{
	json_t *json = line(g, true);

	if (json)
		(void)json_object_set_new(json, "response", json_string(""));
	add_end(g, json);
	return dn_generation_send(g, NULL, json);
}

static json_t *whole_chat(struct dn_generation *g)
{
	const struct dn_choice *choice = &g->choices[0];
	json_t *message = message_json(dn_choice_text(choice));
	json_t *json = line(g, true);

	if (message && choice->reasoning.size > 0)
		(void)json_object_set_new(message, "thinking", dn_choice_reasoning(choice));
	if (message && json_array_size(choice->calls) > 0)
		(void)json_object_set_new(message, "tool_calls", calls_json(choice, 0));
	if (json)
		(void)json_object_set_new(json, "message", message);
	add_end(g, json);
	return json;
}

static json_t *whole_generate(struct dn_generation *g)
{
	const struct dn_choice *choice = &g->choices[0];
	json_t *json = line(g, true);

	if (json) {
		(void)json_object_set_new(json, "response", dn_choice_text(choice));
		if (choice->reasoning.size > 0)
			(void)json_object_set_new(json, "thinking", dn_choice_reasoning(choice));
	}
	add_end(g, json);
	return json;
}

static json_t *loaded_chat(struct dn_generation *g)
{
	json_t *json = line(g, true);

	if (json)
		(void)json_object_update_new(json, json_pack("{s:o, s:s}", "message",
							     message_json(json_string("")),
							     "done_reason", "load"));
	return json;
}

static json_t *loaded_generate(struct dn_generation *g)
{
	json_t *json = line(g, true);

	if (json)
		(void)json_object_update_new(
			json, json_pack("{s:s, s:s}", "response", "", "done_reason", "load"));
	return json;
}

static const struct dn_generation_format chat_format = {
	.prefix = "chat-",
	.chat = true,
	.lines = true,
	.streams = true,
	.translate = translate_chat,
	.field = field,
	.read_prompts = dn_generation_read_chat,
	.piece = chat_piece,
	.finish = finish,
	.end = end_chat,
	.whole = whole_chat,
	.loaded = loaded_chat,
};

static const struct dn_generation_format generate_format = {
	.prefix = "generate-",
	.chat = true,
	.lines = true,
	.streams = true,
	.translate = translate_generate,
	.field = field,
	.read_prompts = read_generate,
	.piece = generate_piece,
	.finish = finish,
	.end = end_generate,
	.whole = whole_generate,
	.loaded = loaded_generate,
};

/* POST /api/chat */
void dn_front_ollama_chat(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &chat_format);
}

/* POST /api/generate */
void dn_front_ollama_generate(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &generate_format);
}
