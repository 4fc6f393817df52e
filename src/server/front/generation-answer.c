/* SPDX-License-Identifier: MIT */
/* What a worker says of a choice, on its way to the client: pieces, then an end. */

#include "server/front/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "server/front/large-answer.h"

#define MS UINT64_C(1000000)
/* Of a token's entry among log-probabilities, as JSON values: some 700 with its bytes. */
#define LOGPROB_BYTES 768

struct dn_usage dn_generation_usage(const struct dn_generation *g)
{
	struct dn_usage usage = { 0, 0, 0, 0 };

	for (uint32_t i = 0; i < g->n_choices; i++) {
		/* Several answers to a prompt count it once. */
		if (i % g->n == 0) {
			usage.prompt += g->choices[i].end.prompt_tokens;
			usage.cached += g->choices[i].end.reused_tokens;
		}
		usage.output += g->choices[i].end.output_tokens;
		usage.reasoning += g->choices[i].n_thought;
	}
	return usage;
}

/* Of the first choice, in milliseconds; the same are in the header Server-Timing. */
json_t *dn_generation_timings(const struct dn_generation *g)
{
	const struct dn_frame_done *end = &g->choices[0].end;
	const double waited = (double)(g->sent_ns - g->begun_ns);

	return json_pack("{s:f, s:f, s:f, s:f, s:b}", "queue_ms",
			 (waited + (double)end->queue_ns) / (double)MS, "prefill_ms",
			 (double)(end->prefill_ns - end->queue_ns) / (double)MS, "first_token_ms",
			 g->first_ns ? (double)(g->first_ns - g->begun_ns) / (double)MS : 0.0,
			 "decode_ms", (double)end->decode_ns / (double)MS, "deadline_passed",
			 end->reason == DN_FINISH_DEADLINE);
}

static json_t *buffer_text(const struct dn_buffer *buffer)
{
	return dn_api_text(buffer->data ? buffer->data : "", buffer->size);
}

json_t *dn_choice_text(const struct dn_choice *choice)
{
	return buffer_text(&choice->text);
}

json_t *dn_choice_reasoning(const struct dn_choice *choice)
{
	return buffer_text(&choice->reasoning);
}

/* A stream that cannot go on is cut. */
static bool cut(struct dn_generation *g)
{
	dn_http_on_left(g->connection, NULL, NULL);
	dn_http_abort(g->connection);
	dn_generation_free(g);
	return false;
}

bool dn_generation_send(struct dn_generation *g, const char *event, json_t *json)
{
	DN_AUTO_BUFFER struct dn_buffer out = DN_BUFFER_INIT((size_t)64 << 20);
	DN_AUTO_FREE char *text = json ? json_dumps(json, DN_API_DUMP) : NULL;
	int r = text ? 0 : -1;

	json_decref(json);
	if (r == 0 && event)
		r = dn_buffer_printf(&out, "event: %s\n", event);
	if (r >= 0 && !g->format->lines)
		r = dn_buffer_append(&out, "data: ", 6);
	if (r >= 0)
		r = dn_buffer_append_text(&out, text);
	if (r >= 0)
		r = dn_buffer_append(&out, "\n\n", g->format->lines ? 1 : 2);
	return r < 0 ? cut(g) : dn_http_write(g->connection, out.data, out.size);
}

/* The head of the stream, and its first events. */
static bool begin_stream(struct dn_generation *g)
{
	if (g->begun)
		return true;
	g->begun = true;
	dn_http_begin(g->connection, 200,
		      g->format->lines ? "application/x-ndjson"
				       : "text/event-stream; charset=utf-8");
	return !g->format->begin || g->format->begin(g);
}

static void add_server_timing(const struct dn_generation *g)
{
	const struct dn_frame_done *end = &g->choices[0].end;

	dn_http_add_header(
		g->connection, "Server-Timing", "queue;dur=%.3f, prefill;dur=%.3f, decode;dur=%.3f",
		((double)(g->sent_ns - g->begun_ns) + (double)end->queue_ns) / (double)MS,
		(double)(end->prefill_ns - end->queue_ns) / (double)MS,
		(double)end->decode_ns / (double)MS);
}

static void finish(struct dn_generation *g)
{
	dn_generation_log(g, "done");
	if (g->stream && !g->format->end(g))
		return;
	dn_http_on_left(g->connection, NULL, NULL);
	if (g->stream) {
		dn_http_end(g->connection);
	} else {
		add_server_timing(g);
		dn_api_reply(g->connection, 200, g->format->whole(g));
	}
	dn_generation_free(g);
}

static const char *finish_word(const struct dn_choice *choice)
{
	const uint32_t reason = choice->end.reason;

	if (reason != DN_FINISH_EOS && reason != DN_FINISH_STOP)
		return "length";
	return json_array_size(choice->calls) > 0 ? "tool_calls" : "stop";
}

static void count_token(struct dn_choice *choice)
{
	struct dn_metrics *metrics = choice->generation->front->metrics;
	const uint64_t now = dn_clock_ns();

	if (choice->last_ns)
		dn_metrics_observe(metrics, DN_HISTOGRAM_BETWEEN_TOKENS, now - choice->last_ns);
	else
		dn_metrics_observe(metrics, DN_HISTOGRAM_FIRST_TOKEN,
				   now - choice->generation->begun_ns);
	if (!choice->generation->first_ns)
		choice->generation->first_ns = now;
	choice->last_ns = now;
	choice->n_tokens++;
	choice->n_thought += dn_chat_parser_in_reasoning(&choice->parser);
	dn_metrics_add(metrics, DN_COUNTER_OUTPUT_TOKENS, 1);
	dn_account_charge(choice->generation->account, 1);
}

static bool add_call(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	char id[48];

	if (choice->parser.form.short_ids) {
		dn_generation_make_id("", id, sizeof(id));
		id[9] = '\0';
	} else {
		dn_generation_make_id("call_", id, sizeof(id));
	}
	return json_array_append_new(choice->calls,
				     json_pack("{s:s, s:s, s:s%}", "id", id, "name", piece->name,
					       "arguments", piece->text, piece->size)) == 0;
}

static bool keep_text(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	const struct dn_generation *g = choice->generation;

	if (piece->part == DN_CHAT_CALL)
		return add_call(choice, piece);
	if (g->stream && !g->format->keeps)
		return true;
	return dn_buffer_append(piece->part == DN_CHAT_TEXT ? &choice->text : &choice->reasoning,
				piece->text, piece->size) == 0;
}

static bool fail_memory(struct dn_generation *g)
{
	struct dn_api_error error;

	(void)dn_api_fail(&error, 503, NULL, "out of memory");
	dn_generation_fail(g, &error);
	return false;
}

/* Return: false where the generation is gone; so do those below. */
static bool take_piece(struct dn_choice *choice, const struct dn_chat_piece *piece)
{
	struct dn_generation *g = choice->generation;

	if (!keep_text(choice, piece))
		return fail_memory(g);
	return !g->stream || (begin_stream(g) && g->format->piece(choice, piece));
}

static bool take_pieces(struct dn_choice *choice, uint32_t *ret_n)
{
	struct dn_chat_piece piece;
	uint32_t n = 0;

	while (dn_chat_parser_next(&choice->parser, &piece)) {
		n++;
		if (!take_piece(choice, &piece))
			return false;
	}
	*ret_n = n;
	return true;
}

static bool take_text(struct dn_choice *choice, const char *text, size_t size, uint32_t *ret_n)
{
	const struct dn_chat_piece piece = { .part = DN_CHAT_TEXT, .text = text, .size = size };

	*ret_n = size > 0;
	if (size == 0)
		return true;
	if (!choice->generation->format->chat)
		return take_piece(choice, &piece);
	if (dn_chat_parser_feed(&choice->parser, text, size) < 0)
		return fail_memory(choice->generation);
	return take_pieces(choice, ret_n);
}

/* Return: false where the generation is gone. */
static bool add_logprobs(struct dn_choice *choice, const struct dn_frame_output *output)
{
	struct dn_generation *g = choice->generation;
	struct dn_api_error error;

	if (!g->stream &&
	    !dn_http_reserve(g->connection, (1 + output->n_top) * (size_t)LOGPROB_BYTES)) {
		(void)dn_large_answer_refused(g->connection, &error);
		dn_generation_fail(g, &error);
		return false;
	}
	g->format->add_logprobs(choice, output);
	return true;
}

static void got_output(struct dn_choice *choice, const struct dn_frame_output *output)
{
	static const struct dn_chat_piece nothing = { .part = DN_CHAT_TEXT, .text = "" };
	struct dn_generation *g = choice->generation;
	uint32_t n;

	if (output->token != DN_TOKEN_NONE) {
		count_token(choice);
		if (choice->logprobs && !add_logprobs(choice, output))
			return;
	}
	if (!take_text(choice, output->text, output->text_size, &n))
		return;
	/* Logprobs do not wait for text. */
	if (n == 0 && g->stream && choice->logprobs && output->token != DN_TOKEN_NONE)
		(void)take_piece(choice, &nothing);
}

static void got_accepted(struct dn_choice *choice, const struct dn_frame_accepted *accepted)
{
	const struct dn_generation *g = choice->generation;

	choice->accepted = *accepted;
	dn_metrics_add(g->front->metrics, DN_COUNTER_PROMPT_TOKENS, accepted->prompt_tokens);
	/* Several answers to a prompt count it once. */
	if (choice->index % g->n == 0)
		dn_account_charge(g->account, accepted->prompt_tokens);
}

static void count_done(const struct dn_choice *choice)
{
	const struct dn_generation *g = choice->generation;
	struct dn_metrics *metrics = g->front->metrics;

	dn_metrics_add(metrics, DN_COUNTER_CACHED_TOKENS, choice->end.reused_tokens);
	dn_metrics_observe(metrics, DN_HISTOGRAM_QUEUE,
			   choice->end.queue_ns + (g->sent_ns - g->begun_ns));
}

static void got_done(struct dn_choice *choice, const struct dn_frame_done *done)
{
	struct dn_generation *g = choice->generation;
	uint32_t n;

	choice->end = *done;
	count_done(choice);
	if (g->submit.keep)
		dn_front_keep_prefix(g->front, g->model, choice->ask.frame.request, g->submit.space,
				     done);
	if (g->format->chat) {
		dn_chat_parser_end(&choice->parser);
		if (!take_pieces(choice, &n))
			return;
	}
	choice->done = true;
	choice->finish = finish_word(choice);
	g->n_done++;
	if (g->stream && !(begin_stream(g) && g->format->finish(choice)))
		return;
	if (g->n_done == g->n_choices)
		finish(g);
}

void dn_generation_got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct dn_choice *choice = ask->owner;
	struct dn_api_error error;

	(void)fd;
	(void)last;
	switch (frame->type) {
	case DN_FRAME_ACCEPTED:
		got_accepted(choice, &frame->u.accepted);
		break;
	case DN_FRAME_OUTPUT:
		got_output(choice, &frame->u.output);
		break;
	case DN_FRAME_DONE:
		got_done(choice, &frame->u.done);
		break;
	default:
		(void)dn_api_fail(&error, 500, NULL, "the worker answered what it was not asked");
		dn_generation_fail(choice->generation, &error);
	}
}
