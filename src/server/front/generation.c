/* SPDX-License-Identifier: MIT */

#include "server/front/generation.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"

#define MS UINT64_C(1000000)

/* The life of a generation. */

static void drop_prompts(struct dn_generation *g)
{
	for (uint32_t i = 0; i < g->n_prompts; i++)
		free(g->prompts[i].data);
	g->n_prompts = 0;
}

static void free_generation(struct dn_generation *g)
{
	dn_models_cancel(&g->vocabulary);
	for (uint32_t i = 0; i < g->n_choices; i++) {
		dn_models_cancel(&g->choices[i].ask);
		dn_buffer_done(&g->choices[i].text);
		json_decref(g->choices[i].logprobs);
	}
	drop_prompts(g);
	free(g->grammar_text);
	free(g);
}

static void log_end(const struct dn_generation *g, const char *how)
{
	char model[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];
	uint64_t cached = 0;
	uint64_t output = 0;
	uint64_t prompt = 0;
	const uint64_t end = dn_clock_ns();

	for (uint32_t i = 0; i < g->n_choices; i++) {
		prompt += g->choices[i].end.prompt_tokens;
		cached += g->choices[i].end.reused_tokens;
		output += g->choices[i].end.output_tokens;
	}
	dn_log_event("info", "generation",
		     "request=%s model=%s end=%s choices=%u prompt_tokens=%llu cached_tokens=%llu "
		     "output_tokens=%llu first_token_ms=%.1f total_ms=%.1f",
		     dn_http_request(g->connection)->id,
		     dn_log_value(g->model->name, model, sizeof(model)), how, g->n_choices,
		     (unsigned long long)prompt, (unsigned long long)cached,
		     (unsigned long long)output,
		     g->first_ns ? (double)(g->first_ns - g->begun_ns) / (double)MS : 0.0,
		     (double)(end - g->begun_ns) / (double)MS);
}

static void client_left(void *data)
{
	struct dn_generation *g = data;

	log_end(g, "left");
	free_generation(g);
}

static json_t *usage_json(const struct dn_generation *g)
{
	json_int_t prompt = 0;
	json_int_t cached = 0;
	json_int_t output = 0;

	for (uint32_t i = 0; i < g->n_choices; i++) {
		/* Several answers to a prompt count it once. */
		if (i % g->n == 0) {
			prompt += g->choices[i].end.prompt_tokens;
			cached += g->choices[i].end.reused_tokens;
		}
		output += g->choices[i].end.output_tokens;
	}
	return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", prompt, "completion_tokens",
			 output, "total_tokens", prompt + output, "prompt_tokens_details",
			 "cached_tokens", cached);
}

/* Of the first choice, in milliseconds; the same are in the header Server-Timing. */
static json_t *timings_json(const struct dn_generation *g)
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

static json_t *envelope(const struct dn_generation *g, const char *object, json_t *choices)
{
	char fingerprint[64];

	/* The same bits come of the same program at the same level. */
	(void)snprintf(fingerprint, sizeof(fingerprint), "%.40s %.15s", g->front->start.program,
		       g->model->worker.loaded.level);
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", g->id, "object", object, "created",
			 (json_int_t)g->created, "model", g->model->name, "system_fingerprint",
			 fingerprint, "choices", choices);
}

/* Takes @json over. Return: false where the client is gone: then the generation is, too. */
static bool send_event(struct dn_generation *g, json_t *json)
{
	DN_AUTO_BUFFER struct dn_buffer event = DN_BUFFER_INIT((size_t)64 << 20);
	DN_AUTO_FREE char *text = json ? json_dumps(json, DN_API_DUMP) : NULL;

	json_decref(json);
	if (!text || dn_buffer_append(&event, "data: ", 6) < 0 ||
	    dn_buffer_append_text(&event, text) < 0 || dn_buffer_append(&event, "\n\n", 2) < 0) {
		dn_http_on_left(g->connection, NULL, NULL);
		dn_http_abort(g->connection);
		free_generation(g);
		return false;
	}
	return dn_http_write(g->connection, event.data, event.size);
}

static json_t *choice_event(const struct dn_generation *g, json_t *choice)
{
	json_t *event = envelope(g, g->format->chunk_object, json_pack("[o]", choice));

	if (event && g->include_usage)
		(void)json_object_set_new(event, "usage", json_null());
	return event;
}

static bool send_choice(struct dn_generation *g, json_t *choice)
{
	return send_event(g, choice_event(g, choice));
}

/* The head of the stream, and the first event of each choice. */
static bool begin_stream(struct dn_generation *g)
{
	if (g->begun)
		return true;
	g->begun = true;
	dn_http_begin(g->connection, 200, "text/event-stream; charset=utf-8");
	for (uint32_t i = 0; g->format->begin && i < g->n_choices; i++)
		if (!send_choice(g, g->format->begin(&g->choices[i])))
			return false;
	return true;
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

static void finish_whole(struct dn_generation *g)
{
	json_t *choices = json_array();
	json_t *json;

	for (uint32_t i = 0; i < g->n_choices; i++)
		(void)json_array_append_new(choices, g->format->whole(&g->choices[i]));
	json = envelope(g, g->format->object, choices);
	if (json) {
		(void)json_object_set_new(json, "usage", usage_json(g));
		(void)json_object_set_new(json, "timings", timings_json(g));
	}
	add_server_timing(g);
	dn_api_reply(g->connection, 200, json);
}

/* Return: false where the generation is gone. */
static bool finish_stream(struct dn_generation *g)
{
	json_t *json;

	if (g->include_usage) {
		json = envelope(g, g->format->chunk_object, json_array());
		if (json) {
			(void)json_object_set_new(json, "usage", usage_json(g));
			(void)json_object_set_new(json, "timings", timings_json(g));
		}
		if (!send_event(g, json))
			return false;
	}
	if (!dn_http_write(g->connection, "data: [DONE]\n\n", 14))
		return false;
	dn_http_end(g->connection);
	return true;
}

static void finish(struct dn_generation *g)
{
	log_end(g, "done");
	if (g->stream && !finish_stream(g))
		return;
	dn_http_on_left(g->connection, NULL, NULL);
	if (!g->stream)
		finish_whole(g);
	free_generation(g);
}

static void fail(struct dn_generation *g, const struct dn_api_error *error)
{
	dn_http_on_left(g->connection, NULL, NULL);
	log_end(g, error->code ? error->code : "error");
	if (!g->begun) {
		dn_api_reply_error(g->connection, error);
	} else {
		DN_AUTO_BUFFER struct dn_buffer event = DN_BUFFER_INIT(8192);
		json_t *json = dn_api_error_json(error);
		DN_AUTO_FREE char *text = json ? json_dumps(json, DN_API_DUMP) : NULL;

		json_decref(json);
		if (text && dn_buffer_printf(&event, "data: %s\n\n", text) >= 0)
			(void)dn_http_write(g->connection, event.data, event.size);
		dn_http_end(g->connection);
	}
	free_generation(g);
}

/* Frames of the worker. */

static const char *finish_word(enum dn_finish_reason reason)
{
	return reason == DN_FINISH_EOS || reason == DN_FINISH_STOP ? "stop" : "length";
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
}

static void got_output(struct dn_choice *choice, const struct dn_frame_output *output)
{
	struct dn_generation *g = choice->generation;

	if (output->token != DN_TOKEN_NONE) {
		count_token(choice);
		if (choice->logprobs)
			g->format->add_logprobs(choice, output);
	}
	if (!g->stream) {
		if (dn_buffer_append(&choice->text, output->text, output->text_size) < 0) {
			struct dn_api_error error;

			(void)dn_api_fail(&error, 503, NULL, "out of memory");
			fail(g, &error);
		}
		return;
	}
	if (output->text_size == 0 && !(choice->logprobs && output->token != DN_TOKEN_NONE))
		return;
	if (begin_stream(g))
		(void)send_choice(g, g->format->piece(choice, output->text, output->text_size));
}

static void count_done(const struct dn_choice *choice)
{
	const struct dn_generation *g = choice->generation;
	struct dn_metrics *metrics = g->front->metrics;

	dn_metrics_add(metrics, DN_COUNTER_PROMPT_TOKENS, choice->end.prompt_tokens);
	dn_metrics_add(metrics, DN_COUNTER_CACHED_TOKENS, choice->end.reused_tokens);
	dn_metrics_add(metrics, DN_COUNTER_OUTPUT_TOKENS, choice->end.output_tokens);
	dn_metrics_observe(metrics, DN_HISTOGRAM_QUEUE,
			   choice->end.queue_ns + (g->sent_ns - g->begun_ns));
}

static void got_done(struct dn_choice *choice, const struct dn_frame_done *done)
{
	struct dn_generation *g = choice->generation;
	json_t *piece;

	choice->end = *done;
	choice->done = true;
	choice->finish = finish_word((enum dn_finish_reason)done->reason);
	g->n_done++;
	count_done(choice);
	if (g->submit.keep)
		dn_front_keep_prefix(g->front, g->model, choice->ask.frame.request, g->submit.space,
				     done);
	if (g->stream) {
		if (!begin_stream(g))
			return;
		piece = choice_event(g, g->format->piece(choice, "", 0));
		if (piece && g->n_done == g->n_choices && !g->include_usage)
			(void)json_object_set_new(piece, "timings", timings_json(g));
		if (!send_event(g, piece))
			return;
	}
	if (g->n_done == g->n_choices)
		finish(g);
}

static void got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct dn_choice *choice = ask->owner;
	struct dn_api_error error;

	(void)fd;
	(void)last;
	switch (frame->type) {
	case DN_FRAME_ACCEPTED:
		break;
	case DN_FRAME_OUTPUT:
		got_output(choice, &frame->u.output);
		break;
	case DN_FRAME_DONE:
		got_done(choice, &frame->u.done);
		break;
	default:
		(void)dn_api_fail(&error, 500, NULL, "the worker answered what it was not asked");
		fail(choice->generation, &error);
	}
}

static void ask_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	struct dn_choice *choice = ask->owner;

	fail(choice->generation, error);
}

/* Asks. */

static bool attach(const struct dn_prompt *prompt, struct dn_ask *ask, struct dn_api_error *error)
{
	struct dn_error err = DN_ERROR_INIT;

	if (prompt->size > DN_FRAME_ATTACHED_TEXT_MAX)
		return dn_api_fail(error, 413, "prompt_too_large", "the prompt is too large");
	ask->frame.attachment = prompt->size;
	if (dn_attach(prompt->data, prompt->size, &ask->attachment, &err) < 0)
		return dn_api_fail(error, 503, "overloaded", "%s", err.message);
	return true;
}

static bool attach_grammar(const struct dn_generation *g, struct dn_ask *ask,
			   struct dn_api_error *error)
{
	struct dn_error err = DN_ERROR_INIT;

	if (!g->grammar.kind)
		return true;
	ask->grammar = g->grammar;
	ask->grammar_field = g->grammar_field;
	ask->grammar_size = g->grammar_text ? strlen(g->grammar_text) : 0;
	if (dn_attach(g->grammar_text, ask->grammar_size, &ask->grammar_text, &err) < 0) {
		close(ask->attachment);
		ask->attachment = -1;
		return dn_api_fail(error, 503, "overloaded", "%s", err.message);
	}
	return true;
}

static bool ask_choice(struct dn_generation *g, uint32_t at, struct dn_api_error *error)
{
	struct dn_choice *choice = &g->choices[at];
	const struct dn_prompt *prompt = &g->prompts[at / g->n];

	dn_frame_init(&choice->ask.frame, DN_FRAME_SUBMIT, 1);
	choice->ask.frame.u.submit = g->submit;
	choice->ask.frame.u.submit.prompt_kind = prompt->kind;
	choice->ask.frame.u.submit.seed += at % g->n;
	choice->ask.priority = g->submit.priority;
	choice->ask.client = g->submit.client;
	choice->ask.deadline_ns = g->submit.first_deadline_ns ? g->submit.first_deadline_ns
							      : g->submit.end_deadline_ns;
	choice->ask.got = got;
	choice->ask.failed = ask_failed;
	choice->ask.owner = choice;
	return attach(prompt, &choice->ask, error) && attach_grammar(g, &choice->ask, error) &&
	       dn_models_ask(g->model, &choice->ask, error);
}

static void ask_all(struct dn_generation *g)
{
	struct dn_api_error error;

	g->sent_ns = dn_clock_ns();
	for (uint32_t i = 0; i < g->n_choices; i++)
		if (!ask_choice(g, i, &error)) {
			fail(g, &error);
			return;
		}
	drop_prompts(g);
}

static void got_vocabulary(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct dn_generation *g = ask->owner;
	struct dn_api_error error;

	(void)last;
	if (frame->type != DN_FRAME_TEXT || !dn_models_keep_vocabulary(g->model, frame, fd)) {
		(void)dn_api_fail(&error, 500, NULL, "the worker's vocabulary is none");
		fail(g, &error);
		return;
	}
	ask_all(g);
}

static void vocabulary_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	fail(ask->owner, error);
}

static void ask_vocabulary(struct dn_generation *g)
{
	struct dn_api_error error;

	dn_frame_init(&g->vocabulary.frame, DN_FRAME_VOCABULARY, 1);
	g->vocabulary.got = got_vocabulary;
	g->vocabulary.failed = vocabulary_failed;
	g->vocabulary.owner = g;
	if (!dn_models_ask(g->model, &g->vocabulary, &error))
		fail(g, &error);
}

static void make_id(struct dn_generation *g)
{
	uint64_t number[2] = { 0, 0 };

	(void)!getrandom(number, sizeof(number), 0);
	(void)snprintf(g->id, sizeof(g->id), "%s-%016llx%08llx", g->format->prefix,
		       (unsigned long long)number[0],
		       (unsigned long long)(number[1] & 0xffffffffU));
}

static void start(struct dn_generation *g)
{
	g->n_choices = g->n_prompts * g->n;
	for (uint32_t i = 0; i < g->n_choices; i++) {
		struct dn_choice *choice = &g->choices[i];

		choice->generation = g;
		choice->index = i;
		choice->ask.attachment = choice->ask.grammar_text = -1;
		choice->text.max = (size_t)64 << 20;
		choice->logprobs = g->logprobs ? json_array() : NULL;
	}
	dn_http_on_left(g->connection, client_left, g);
	if (g->logprobs && g->model->n_vocabulary == 0)
		ask_vocabulary(g);
	else
		ask_all(g);
}

static void generate(struct dn_front *front, struct dn_http_connection *connection,
		     const struct dn_generation_format *format)
{
	const struct dn_http_request *request = dn_http_request(connection);
	struct dn_generation *g = calloc(1, sizeof(*g) + DN_CHOICES_MAX * sizeof(struct dn_choice));
	struct dn_api_error error;
	json_t *body;

	(void)dn_api_fail(&error, 503, NULL, "out of memory");
	if (!g) {
		dn_api_reply_error(connection, &error);
		return;
	}
	g->front = front;
	g->connection = connection;
	g->format = format;
	g->begun_ns = request->begun_ns;
	g->created = (int64_t)time(NULL);
	g->vocabulary.attachment = -1;
	make_id(g);
	body = dn_api_body(request, &error);
	if (body)
		g->model = dn_front_model(front, body, &error);
	if (!g->model || !dn_generation_read(g, body, &error)) {
		json_decref(body);
		free_generation(g);
		dn_api_reply_error(connection, &error);
		return;
	}
	json_decref(body);
	start(g);
}

void dn_front_chat(struct dn_front *front, struct dn_http_connection *connection)
{
	generate(front, connection, &dn_chat_format);
}

void dn_front_completion(struct dn_front *front, struct dn_http_connection *connection)
{
	generate(front, connection, &dn_completion_format);
}
