/* SPDX-License-Identifier: MIT */
/* Anthropic's Messages API: whole answers of blocks, and streams of their events. */

#include <stdlib.h>
#include <string.h>

#include "server/front/anthropic.h"
#include "server/front/generation.h"

static const char *stop_reason(const struct dn_choice *choice)
{
	if (strcmp(choice->finish, "tool_calls") == 0)
		return "tool_use";
	if (choice->end.reason == DN_FINISH_STOP)
		return "stop_sequence";
	return strcmp(choice->finish, "stop") == 0 ? "end_turn" : "max_tokens";
}

/* Which it was is known where there is but one. */
static const char *stop_sequence(const struct dn_choice *choice)
{
	const struct dn_frame_submit *submit = &choice->generation->submit;

	return choice->end.reason == DN_FINISH_STOP && submit->n_stop == 1 ? submit->stop : NULL;
}

static json_t *usage_json(uint32_t prompt, uint32_t cached, uint32_t output)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "input_tokens", (json_int_t)prompt - cached,
			 "cache_read_input_tokens", (json_int_t)cached,
			 "cache_creation_input_tokens", (json_int_t)0, "output_tokens",
			 (json_int_t)output);
}

static json_t *message_json(const struct dn_generation *g, json_t *content, json_t *usage,
			    const char *reason, const char *sequence)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s?, s:s?, s:o}", "id", g->id, "type",
			 "message", "role", "assistant", "model", g->model->name, "content",
			 content, "stop_reason", reason, "stop_sequence", sequence, "usage", usage);
}

/* The arguments of a call, as the object that they are. */
static json_t *input_json(const json_t *call)
{
	json_t *input = json_loads(json_string_value(json_object_get(call, "arguments")), 0, NULL);

	return input ? input : json_object();
}

static json_t *whole(struct dn_generation *g)
{
	struct dn_choice *choice = &g->choices[0];
	json_t *content = json_array();
	const json_t *call;
	size_t i;

	if (choice->reasoning.size > 0)
		(void)json_array_append_new(
			content, json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
					   dn_choice_reasoning(choice), "signature", ""));
	if (choice->text.size > 0)
		(void)json_array_append_new(content, json_pack("{s:s, s:o}", "type", "text", "text",
							       dn_choice_text(choice)));
	json_array_foreach(choice->calls, i, call)(void) json_array_append_new(
		content, json_pack("{s:s, s:O, s:O, s:o}", "type", "tool_use", "id",
				   json_object_get(call, "id"), "name",
				   json_object_get(call, "name"), "input", input_json(call)));
	return message_json(g, content,
			    usage_json(choice->end.prompt_tokens, choice->end.reused_tokens,
				       choice->end.output_tokens),
			    stop_reason(choice), stop_sequence(choice));
}

/* Streams: a block is open at a time. */

static bool begin(struct dn_generation *g)
{
	const struct dn_frame_accepted *accepted = &g->choices[0].accepted;
	json_t *message = message_json(
		g, json_array(), usage_json(accepted->prompt_tokens, accepted->reused_tokens, 0),
		NULL, NULL);

	return dn_generation_send(
		g, "message_start",
		json_pack("{s:s, s:o}", "type", "message_start", "message", message));
}

static bool close_block(struct dn_choice *choice)
{
	if (choice->part < 0)
		return true;
	choice->part = -1;
	return dn_generation_send(choice->generation, "content_block_stop",
				  json_pack("{s:s, s:i}", "type", "content_block_stop", "index",
					    (int)choice->n_parts - 1));
}

/* Takes @block over: the block without what comes in deltas. */
static bool open_block(struct dn_choice *choice, enum dn_chat_part part, json_t *block)
{
	struct dn_generation *g = choice->generation;

	if (!close_block(choice)) {
		json_decref(block);
		return false;
	}
	choice->part = (int)part;
	return dn_generation_send(g, "content_block_start",
				  json_pack("{s:s, s:i, s:o}", "type", "content_block_start",
					    "index", (int)choice->n_parts++, "content_block",
					    block));
}

/* Takes @text over. */
static bool send_delta(struct dn_choice *choice, const char *type, const char *key, json_t *text)
{
	return dn_generation_send(
		choice->generation, "content_block_delta",
		json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta", "index",
			  (int)choice->n_parts - 1, "delta", "type", type, key, text));
}

static bool send_call(struct dn_choice *choice)
{
	const json_t *call = json_array_get(choice->calls, json_array_size(choice->calls) - 1);

	return open_block(choice, DN_CHAT_CALL,
			  json_pack("{s:s, s:O, s:O, s:{}}", "type", "tool_use", "id",
				    json_object_get(call, "id"), "name",
				    json_object_get(call, "name"), "input")) &&
	       send_delta(choice, "input_json_delta", "partial_json",
			  json_incref(json_object_get(call, "arguments")));
}

static bool piece(struct dn_choice *choice, const struct dn_chat_piece *what)
{
	const bool thinks = what->part == DN_CHAT_REASONING;

	if (what->part == DN_CHAT_CALL)
		return send_call(choice);
	if (choice->part != (int)what->part &&
	    !open_block(choice, what->part,
			thinks ? json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "",
					   "signature", "")
			       : json_pack("{s:s, s:s}", "type", "text", "text", "")))
		return false;
	return send_delta(choice, thinks ? "thinking_delta" : "text_delta",
			  thinks ? "thinking" : "text", dn_api_text(what->text, what->size));
}

static bool finish(struct dn_choice *choice)
{
	const struct dn_frame_done *end = &choice->end;

	if (!close_block(choice))
		return false;
	return dn_generation_send(
		choice->generation, "message_delta",
		json_pack("{s:s, s:{s:s, s:s?}, s:o}", "type", "message_delta", "delta",
			  "stop_reason", stop_reason(choice), "stop_sequence",
			  stop_sequence(choice), "usage",
			  usage_json(end->prompt_tokens, end->reused_tokens, end->output_tokens)));
}

static bool end_stream(struct dn_generation *g)
{
	return dn_generation_send(g, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static const struct dn_generation_format format = {
	.prefix = "msg_",
	.chat = true,
	.translate = dn_anthropic_translate,
	.field = dn_anthropic_field,
	.read_prompts = dn_generation_read_chat,
	.begin = begin,
	.piece = piece,
	.finish = finish,
	.end = end_stream,
	.whole = whole,
};

/* POST /v1/messages */
void dn_front_anthropic(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &format);
}
