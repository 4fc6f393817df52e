/* SPDX-License-Identifier: MIT */
/* OpenAI's Responses API: whole answers of items, and streams of their events. Nothing is kept. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/front/generation.h"
#include "server/front/responses.h"

/* Of the request, given back as they came, or null. */
static const char *const echoed[] = {
	"instructions", "max_output_tokens", "metadata", "reasoning", "temperature", "top_p",
	"user",
};

/* An item's id is that of the response, with another head and its number. */
static const char *item_id(const struct dn_choice *choice, const char *head, uint32_t at, char *out,
			   size_t size)
{
	(void)snprintf(out, size, "%s_%s%02x", head, strchr(choice->generation->id, '_') + 1, at);
	return out;
}

static json_t *text_part(json_t *text)
{
	return json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text", text,
			 "annotations", "logprobs");
}

static json_t *thought_part(json_t *text)
{
	return json_pack("{s:s, s:o}", "type", "reasoning_text", "text", text);
}

/* Whether the answer was ended before it was whole. */
static bool is_cut(const struct dn_choice *choice)
{
	return choice->done && strcmp(choice->finish, "length") == 0;
}

static const char *status_of(const struct dn_choice *choice)
{
	return !choice->done ? "in_progress" : is_cut(choice) ? "incomplete" : "completed";
}

/* @part: NULL: the item is empty yet; @last: it is the one that an answer is cut in. */
static json_t *item_json(const struct dn_choice *choice, bool thinks, uint32_t at, json_t *part,
			 bool last)
{
	char id[64];
	json_t *parts = json_array();
	const char *status = !part		      ? "in_progress"
			     : last && is_cut(choice) ? "incomplete"
						      : "completed";

	if (part)
		(void)json_array_append_new(parts, part);
	if (thinks)
		return json_pack("{s:s, s:s, s:s, s:[], s:o}", "id",
				 item_id(choice, "rs", at, id, sizeof(id)), "type", "reasoning",
				 "status", status, "summary", "content", parts);
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id",
			 item_id(choice, "msg", at, id, sizeof(id)), "type", "message", "status",
			 status, "role", "assistant", "content", parts);
}

static json_t *call_json(const struct dn_choice *choice, const json_t *call, uint32_t at, bool done)
{
	char id[64];

	return json_pack(
		"{s:s, s:s, s:s, s:O, s:O, s:o}", "id", item_id(choice, "fc", at, id, sizeof(id)),
		"type", "function_call", "status", done ? "completed" : "in_progress", "call_id",
		json_object_get(call, "id"), "name", json_object_get(call, "name"), "arguments",
		done ? json_incref(json_object_get(call, "arguments")) : json_string(""));
}

static json_t *usage_json(const struct dn_generation *g)
{
	const struct dn_usage usage = dn_generation_usage(g);

	return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", usage.prompt,
			 "input_tokens_details", "cached_tokens", usage.cached, "output_tokens",
			 usage.output, "output_tokens_details", "reasoning_tokens", usage.reasoning,
			 "total_tokens", usage.prompt + usage.output);
}

/* What is the same of every response to a request. */
static void add_request(const struct dn_generation *g, json_t *response)
{
	json_t *tools = json_object_get(g->given, "tools");
	json_t *choice = json_object_get(g->given, "tool_choice");
	json_t *text = json_object_get(g->given, "text");

	for (size_t i = 0; i < DN_ARRAY_SIZE(echoed); i++) {
		json_t *value = json_object_get(g->given, echoed[i]);

		(void)json_object_set_new(response, echoed[i],
					  value ? json_incref(value) : json_null());
	}
	(void)json_object_set_new(response, "tools",
				  json_is_array(tools) ? json_incref(tools) : json_array());
	(void)json_object_set_new(response, "tool_choice",
				  choice && !json_is_null(choice) ? json_incref(choice)
								  : json_string("auto"));
	(void)json_object_set_new(response, "text",
				  json_is_object(text)
					  ? json_incref(text)
					  : json_pack("{s:{s:s}}", "format", "type", "text"));
	(void)json_object_set_new(response, "parallel_tool_calls",
				  json_boolean(g->tools.calls_max != 1));
}

/* @output: taken over. */
static json_t *response_json(const struct dn_generation *g, json_t *output)
{
	const struct dn_choice *choice = &g->choices[0];
	json_t *response = json_pack(
		"{s:s, s:s, s:I, s:s, s:b, s:n, s:o, s:s, s:o, s:n, s:b, s:s, s:o}", "id", g->id,
		"object", "response", "created_at", (json_int_t)g->created, "status",
		status_of(choice), "background", 0, "error", "incomplete_details",
		is_cut(choice) ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(),
		"model", g->model->name, "output", output, "previous_response_id", "store", 0,
		"truncation", "disabled", "usage", choice->done ? usage_json(g) : json_null());

	if (response)
		add_request(g, response);
	return response;
}

static json_t *output_json(const struct dn_choice *choice)
{
	const bool calls = json_array_size(choice->calls) > 0;
	const bool speaks = choice->text.size > 0;
	json_t *output = json_array();
	const json_t *call;
	uint32_t at = 0;
	size_t i;

	if (choice->reasoning.size > 0)
		(void)json_array_append_new(output,
					    item_json(choice, true, at++,
						      thought_part(dn_choice_reasoning(choice)),
						      !speaks && !calls));
	if (speaks)
		(void)json_array_append_new(
			output,
			item_json(choice, false, at++, text_part(dn_choice_text(choice)), !calls));
	json_array_foreach(choice->calls, i, call)(void)
		json_array_append_new(output, call_json(choice, call, at++, true));
	return output;
}

/* When all is there; takes @output over. */
static json_t *done_json(const struct dn_generation *g, json_t *output)
{
	json_t *response = response_json(g, output);

	if (response)
		(void)json_object_set_new(response, "timings", dn_generation_timings(g));
	return response;
}

static json_t *whole(struct dn_generation *g)
{
	return done_json(g, output_json(&g->choices[0]));
}

/* Streams: an item is open at a time, and its number is that of the item before and one. */

/* Takes @event over. */
static json_t *number_event(struct dn_generation *g, const char *type, json_t *event)
{
	if (event) {
		(void)json_object_set_new(event, "type", json_string(type));
		(void)json_object_set_new(event, "sequence_number", json_integer(g->sequence++));
	}
	return event;
}

static bool send_event(struct dn_generation *g, const char *type, json_t *event)
{
	return dn_generation_send(g, type, number_event(g, type, event));
}

static bool begin(struct dn_generation *g)
{
	return send_event(g, "response.created",
			  json_pack("{s:o}", "response", response_json(g, json_array()))) &&
	       send_event(g, "response.in_progress",
			  json_pack("{s:o}", "response", response_json(g, json_array())));
}

/* What all events of a part of the open item have. */
static json_t *part_event(const struct dn_choice *choice)
{
	const uint32_t at = choice->n_parts - 1;
	char id[64];

	return json_pack(
		"{s:s, s:i, s:i}", "item_id",
		item_id(choice, choice->part == DN_CHAT_TEXT ? "msg" : "rs", at, id, sizeof(id)),
		"output_index", (int)at, "content_index", 0);
}

static bool send_item(struct dn_choice *choice, const char *type, uint32_t at, json_t *item)
{
	return send_event(choice->generation, type,
			  json_pack("{s:i, s:o}", "output_index", (int)at, "item", item));
}

static bool send_part(struct dn_choice *choice, const char *type, json_t *part)
{
	json_t *event = part_event(choice);

	if (event)
		(void)json_object_set_new(event, "part", part);
	return send_event(choice->generation, type, event);
}

static bool open_item(struct dn_choice *choice, enum dn_chat_part part)
{
	const bool thinks = part == DN_CHAT_REASONING;

	choice->part = (int)part;
	choice->n_parts++;
	return send_item(choice, "response.output_item.added", choice->n_parts - 1,
			 item_json(choice, thinks, choice->n_parts - 1, NULL, false)) &&
	       send_part(choice, "response.content_part.added",
			 thinks ? thought_part(json_string("")) : text_part(json_string("")));
}

/* What the open item has of its text. */
static json_t *open_text(const struct dn_choice *choice)
{
	const struct dn_buffer *all =
		choice->part == DN_CHAT_REASONING ? &choice->reasoning : &choice->text;

	return all->data ? dn_api_text(all->data + choice->offset, all->size - choice->offset)
			 : json_string("");
}

static bool end_item(struct dn_choice *choice, uint32_t at, json_t *item)
{
	if (item)
		(void)json_array_append(choice->items, item);
	return send_item(choice, "response.output_item.done", at, item);
}

static bool close_item(struct dn_choice *choice)
{
	const bool thinks = choice->part == DN_CHAT_REASONING;
	json_t *(*part)(json_t *text) = thinks ? thought_part : text_part;
	const uint32_t at = choice->n_parts - 1;
	json_t *text;
	json_t *event;
	bool alive;

	if (choice->part < 0)
		return true;
	text = open_text(choice);
	event = part_event(choice);
	if (event)
		(void)json_object_set(event, "text", text);
	if (event && !thinks)
		(void)json_object_set_new(event, "logprobs", json_array());
	alive = send_event(choice->generation,
			   thinks ? "response.reasoning_text.done" : "response.output_text.done",
			   event) &&
		send_part(choice, "response.content_part.done", part(json_incref(text))) &&
		end_item(choice, at, item_json(choice, thinks, at, part(json_incref(text)), true));
	json_decref(text);
	if (alive)
		choice->part = -1;
	return alive;
}

static bool send_call(struct dn_choice *choice)
{
	const json_t *call = json_array_get(choice->calls, json_array_size(choice->calls) - 1);
	json_t *arguments = json_object_get(call, "arguments");
	struct dn_generation *g = choice->generation;
	uint32_t at;
	char id[64];

	if (!close_item(choice))
		return false;
	at = choice->n_parts++;
	(void)item_id(choice, "fc", at, id, sizeof(id));
	return send_item(choice, "response.output_item.added", at,
			 call_json(choice, call, at, false)) &&
	       send_event(g, "response.function_call_arguments.delta",
			  json_pack("{s:s, s:i, s:O}", "item_id", id, "output_index", (int)at,
				    "delta", arguments)) &&
	       send_event(g, "response.function_call_arguments.done",
			  json_pack("{s:s, s:i, s:O, s:O}", "item_id", id, "output_index", (int)at,
				    "arguments", arguments, "name",
				    json_object_get(call, "name"))) &&
	       end_item(choice, at, call_json(choice, call, at, true));
}

static bool piece(struct dn_choice *choice, const struct dn_chat_piece *what)
{
	const bool thinks = what->part == DN_CHAT_REASONING;
	json_t *event;

	if (what->part == DN_CHAT_CALL)
		return send_call(choice);
	if (choice->part != (int)what->part) {
		if (!close_item(choice))
			return false;
		choice->offset = (thinks ? &choice->reasoning : &choice->text)->size - what->size;
		if (!open_item(choice, what->part))
			return false;
	}
	event = part_event(choice);
	if (event) {
		(void)json_object_set_new(event, "delta", dn_api_text(what->text, what->size));
		if (!thinks)
			(void)json_object_set_new(event, "logprobs", json_array());
	}
	return send_event(choice->generation,
			  thinks ? "response.reasoning_text.delta" : "response.output_text.delta",
			  event);
}

static bool finish(struct dn_choice *choice)
{
	return close_item(choice);
}

static bool end_stream(struct dn_generation *g)
{
	const struct dn_choice *choice = &g->choices[0];
	json_t *response = done_json(g, json_incref(choice->items));

	return send_event(g, is_cut(choice) ? "response.incomplete" : "response.completed",
			  json_pack("{s:o}", "response", response));
}

/* With the items that were whole by then. */
static json_t *fail(struct dn_generation *g, const struct dn_api_error *error)
{
	json_t *response = response_json(g, json_incref(g->choices[0].items));

	if (response) {
		(void)json_object_set_new(response, "status", json_string("failed"));
		(void)json_object_set_new(response, "error",
					  json_pack("{s:s, s:s}", "code",
						    error->code ? error->code : error->type,
						    "message", error->message));
	}
	return number_event(g, "response.failed", json_pack("{s:o}", "response", response));
}

static const struct dn_generation_format format = {
	.prefix = "resp_",
	.chat = true,
	.keeps = true,
	.translate = dn_responses_translate,
	.field = dn_responses_field,
	.read_prompts = dn_generation_read_chat,
	.begin = begin,
	.piece = piece,
	.finish = finish,
	.end = end_stream,
	.fail = fail,
	.whole = whole,
};

/* POST /v1/responses */
void dn_front_responses(struct dn_front *front, struct dn_http_connection *connection)
{
	dn_generation_start(front, connection, &format);
}
