/* SPDX-License-Identifier: MIT */
/* Chats, as OpenAI's API has them, and what completions have in common with them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/front/generation.h"

json_t *dn_generation_token(const struct dn_generation *g, uint32_t token)
{
	size_t size;
	const char *bytes = dn_models_token(g->model, token, &size);

	return dn_api_text(bytes, size);
}

double dn_generation_logprob(float logprob)
{
	/* JSON has no infinity; the API's own stand-in. */
	return logprob < -9999.0F ? -9999.0 : (double)logprob;
}

/* Around choices. */

json_t *dn_openai_envelope(const struct dn_generation *g, const char *object, json_t *choices)
{
	char fingerprint[64];

	/* The same bits come of the same program at the same level. */
	(void)snprintf(fingerprint, sizeof(fingerprint), "%.40s %.15s", g->front->start.program,
		       g->model->worker.loaded.level);
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", g->id, "object", object, "created",
			 (json_int_t)g->created, "model", g->model->name, "system_fingerprint",
			 fingerprint, "choices", choices);
}

json_t *dn_openai_usage(const struct dn_generation *g)
{
	const struct dn_usage usage = dn_generation_usage(g);

	return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", usage.prompt,
			 "completion_tokens", usage.output, "total_tokens",
			 usage.prompt + usage.output, "prompt_tokens_details", "cached_tokens",
			 usage.cached);
}

bool dn_openai_send_choice(const struct dn_choice *choice, json_t *json)
{
	struct dn_generation *g = choice->generation;
	json_t *event = dn_openai_envelope(g, g->format->chunk_object, json_pack("[o]", json));

	if (event && g->include_usage)
		(void)json_object_set_new(event, "usage", json_null());
	else if (event && g->n_done == g->n_choices)
		(void)json_object_set_new(event, "timings", dn_generation_timings(g));
	return dn_generation_send(g, NULL, event);
}

bool dn_openai_end(struct dn_generation *g)
{
	json_t *json;

	if (g->include_usage) {
		json = dn_openai_envelope(g, g->format->chunk_object, json_array());
		if (json) {
			(void)json_object_set_new(json, "usage", dn_openai_usage(g));
			(void)json_object_set_new(json, "timings", dn_generation_timings(g));
		}
		if (!dn_generation_send(g, NULL, json))
			return false;
	}
	return dn_http_write(g->connection, "data: [DONE]\n\n", 14);
}

json_t *dn_openai_whole(struct dn_generation *g, json_t *(*choice_json)(struct dn_choice *choice))
{
	json_t *choices = json_array();
	json_t *json;

	for (uint32_t i = 0; i < g->n_choices; i++)
		(void)json_array_append_new(choices, choice_json(&g->choices[i]));
	json = dn_openai_envelope(g, g->format->object, choices);
	if (json) {
		(void)json_object_set_new(json, "usage", dn_openai_usage(g));
		(void)json_object_set_new(json, "timings", dn_generation_timings(g));
	}
	return json;
}

/* Chats. */

bool dn_generation_read_chat(struct dn_generation *g, const json_t *body,
			     struct dn_api_error *error)
{
	json_t *variables = dn_front_messages(body, dn_models_form(g->model), error);
	char *text;

	if (!variables)
		return false;
	text = json_dumps(variables, JSON_COMPACT);
	json_decref(variables);
	return dn_generation_add_prompt(g, DN_PROMPT_CHAT, text, text ? strlen(text) : 0, error);
}

static bool read_chat_logprobs(struct dn_generation *g, const json_t *body,
			       struct dn_api_error *error)
{
	struct {
		uint32_t logprobs;
		uint32_t top;
	} fields = { 0, 0 };
	static const struct dn_api_field known[] = {
		{ "logprobs", DN_API_BOOL, 0, 0, 0 },
		{ "top_logprobs", DN_API_U32, 0, DN_FRAME_TOP_MAX, sizeof(uint32_t) },
	};

	if (!dn_api_fields(body, known, DN_ARRAY_SIZE(known), &fields, error))
		return false;
	if (fields.top && !fields.logprobs)
		return dn_api_bad(error, "top_logprobs", "'top_logprobs' needs 'logprobs'");
	g->logprobs = fields.logprobs ? 1 + fields.top : 0;
	return true;
}

static json_t *token_bytes(const struct dn_generation *g, uint32_t token)
{
	size_t size;
	const char *bytes = dn_models_token(g->model, token, &size);
	json_t *list = json_array();

	for (size_t i = 0; i < size; i++)
		(void)json_array_append_new(list, json_integer((unsigned char)bytes[i]));
	return list;
}

static json_t *chat_token(const struct dn_generation *g, uint32_t token, float logprob)
{
	return json_pack("{s:o, s:f, s:o}", "token", dn_generation_token(g, token), "logprob",
			 dn_generation_logprob(logprob), "bytes", token_bytes(g, token));
}

static void add_chat_logprobs(struct dn_choice *choice, const struct dn_frame_output *output)
{
	const struct dn_generation *g = choice->generation;
	json_t *entry = chat_token(g, output->token, output->logprob);
	json_t *top = json_array();

	for (uint32_t i = 0; i < output->n_top; i++)
		(void)json_array_append_new(
			top, chat_token(g, output->top[i].token, output->top[i].logprob));
	(void)json_object_set_new(entry, "top_logprobs", top);
	(void)json_array_append_new(choice->logprobs, entry);
}

/* Those that are not yet sent, and none are left. */
static json_t *take_chat_logprobs(struct dn_choice *choice)
{
	json_t *content = choice->logprobs;

	if (!content || json_array_size(content) == 0)
		return json_null();
	choice->logprobs = json_array();
	return json_pack("{s:o, s:n}", "content", content, "refusal");
}

static json_t *chunk(struct dn_choice *choice, json_t *delta)
{
	return json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)choice->index, "delta", delta,
			 "logprobs", take_chat_logprobs(choice), "finish_reason", choice->finish);
}

static bool begin_chat(struct dn_generation *g)
{
	for (uint32_t i = 0; i < g->n_choices; i++) {
		json_t *delta = json_pack("{s:s, s:s}", "role", "assistant", "content", "");

		if (!dn_openai_send_choice(&g->choices[i], chunk(&g->choices[i], delta)))
			return false;
	}
	return true;
}

/* The last of the calls, of which the name is told first. */
static bool send_call(struct dn_choice *choice)
{
	const int at = (int)json_array_size(choice->calls) - 1;
	const json_t *call = json_array_get(choice->calls, (size_t)at);
	json_t *delta = json_pack("{s:[{s:i, s:O, s:s, s:{s:O, s:s}}]}", "tool_calls", "index", at,
				  "id", json_object_get(call, "id"), "type", "function", "function",
				  "name", json_object_get(call, "name"), "arguments", "");

	if (!dn_openai_send_choice(choice, chunk(choice, delta)))
		return false;
	delta = json_pack("{s:[{s:i, s:{s:O}}]}", "tool_calls", "index", at, "function",
			  "arguments", json_object_get(call, "arguments"));
	return dn_openai_send_choice(choice, chunk(choice, delta));
}

static bool chat_piece(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	const char *key = piece->part == DN_CHAT_TEXT ? "content" : "reasoning_content";
	json_t *delta;

	if (piece->part == DN_CHAT_CALL)
		return send_call(choice);
	delta = piece->size > 0 ? json_pack("{s:o}", key, dn_api_text(piece->text, piece->size))
				: json_object();
	return dn_openai_send_choice(choice, chunk(choice, delta));
}

static bool finish_chat(struct dn_choice *choice)
{
	return dn_openai_send_choice(choice, chunk(choice, json_object()));
}

static json_t *calls_json(const struct dn_choice *choice)
{
	json_t *list = json_array();
	json_t *call;
	size_t i;

	json_array_foreach(choice->calls, i, call)(void) json_array_append_new(
		list,
		json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", json_object_get(call, "id"), "type",
			  "function", "function", "name", json_object_get(call, "name"),
			  "arguments", json_object_get(call, "arguments")));
	return list;
}

static json_t *chat_choice(struct dn_choice *choice)
{
	const bool calls = json_array_size(choice->calls) > 0;
	json_t *content = calls && choice->text.size == 0 ? json_null() : dn_choice_text(choice);
	json_t *message =
		json_pack("{s:s, s:o, s:n}", "role", "assistant", "content", content, "refusal");

	if (message && choice->reasoning.size > 0)
		(void)json_object_set_new(message, "reasoning_content",
					  dn_choice_reasoning(choice));
	if (message && calls)
		(void)json_object_set_new(message, "tool_calls", calls_json(choice));
	return json_pack("{s:i, s:o, s:o, s:s}", "index", (int)choice->index, "message", message,
			 "logprobs", take_chat_logprobs(choice), "finish_reason", choice->finish);
}

static json_t *whole_chat(struct dn_generation *g)
{
	return dn_openai_whole(g, chat_choice);
}

static const struct dn_generation_format chat_format = {
	.object = "chat.completion",
	.chunk_object = "chat.completion.chunk",
	.prefix = "chatcmpl-",
	.chat = true,
	.read_prompts = dn_generation_read_chat,
	.read_logprobs = read_chat_logprobs,
	.begin = begin_chat,
	.piece = chat_piece,
	.finish = finish_chat,
	.end = dn_openai_end,
	.whole = whole_chat,
	.add_logprobs = add_chat_logprobs,
};

/* POST /v1/chat/completions */
void dn_front_chat(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &chat_format);
}
