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

void dn_generation_free(struct dn_generation *g)
{
	dn_models_cancel(&g->question);
	for (uint32_t i = 0; i < g->n_choices; i++) {
		struct dn_choice *choice = &g->choices[i];

		dn_models_cancel(&choice->ask);
		dn_chat_parser_done(&choice->parser);
		dn_buffer_done(&choice->text);
		dn_buffer_done(&choice->reasoning);
		json_decref(choice->calls);
		json_decref(choice->items);
		json_decref(choice->logprobs);
	}
	drop_prompts(g);
	json_decref(g->body);
	json_decref(g->given);
	dn_tools_done(&g->tools);
	free(g->grammar_text);
	free(g);
}

void dn_generation_log(const struct dn_generation *g, const char *how)
{
	char model[DN_LOG_VALUE_SIZE(DN_CONTROL_NAME_MAX)];
	uint64_t cached = 0;
	uint64_t output = 0;
	uint64_t prompt = 0;
	const uint64_t end = dn_clock_ns();

	for (uint32_t i = 0; i < g->n_choices; i++) {
		const struct dn_choice *choice = &g->choices[i];

		/* What was computed counts, whether it came to an end or not. */
		prompt += choice->accepted.prompt_tokens;
		cached += choice->done ? choice->end.reused_tokens : choice->accepted.reused_tokens;
		output += choice->n_tokens;
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

	dn_generation_log(g, "left");
	dn_generation_free(g);
}

/* Ends a stream. An event's name is its type, in APIs whose events have one. */
static void end_with(struct dn_generation *g, const struct dn_api_error *error)
{
	DN_AUTO_BUFFER struct dn_buffer event = DN_BUFFER_INIT((size_t)64 << 20);
	json_t *json = g->format->fail ? g->format->fail(g, error)
				       : dn_api_error_json(dn_http_request(g->connection), error);
	const char *type = json_string_value(json_object_get(json, "type"));
	DN_AUTO_FREE char *text = json ? json_dumps(json, DN_API_DUMP) : NULL;

	if (text && (!type || dn_buffer_printf(&event, "event: %s\n", type) >= 0) &&
	    dn_buffer_printf(&event, g->format->lines ? "%s\n" : "data: %s\n\n", text) >= 0)
		(void)dn_http_write(g->connection, event.data, event.size);
	json_decref(json);
	dn_http_end(g->connection);
}

/* In the words of the request, which is what its client can change. */
static struct dn_api_error as_sent(const struct dn_generation *g, const struct dn_api_error *error)
{
	const char *name = g->format->field ? g->format->field(error->param) : NULL;
	struct dn_api_error renamed = *error;

	if (name)
		dn_api_rename_field(&renamed, name);
	return renamed;
}

void dn_generation_fail(struct dn_generation *g, const struct dn_api_error *error)
{
	const struct dn_api_error sent = as_sent(g, error);

	dn_http_on_left(g->connection, NULL, NULL);
	dn_generation_log(g, sent.code ? sent.code : "error");
	if (g->begun)
		end_with(g, &sent);
	else
		dn_api_reply_error(g->connection, &sent);
	dn_generation_free(g);
}

/* Asks. */

static void ask_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	struct dn_choice *choice = ask->owner;

	dn_generation_fail(choice->generation, error);
}

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
	const struct dn_chat_form *form = dn_models_form(g->model);

	dn_frame_init(&choice->ask.frame, DN_FRAME_SUBMIT, 1);
	choice->ask.frame.u.submit = g->submit;
	choice->ask.frame.u.submit.prompt_kind = prompt->kind;
	choice->ask.frame.u.submit.seed += at % g->n;
	if (g->in_reasoning && g->grammar.kind)
		dn_frame_set_text(choice->ask.frame.u.submit.grammar_behind, DN_FRAME_BEHIND_BYTES,
				  form->think_close, strlen(form->think_close));
	choice->ask.priority = g->submit.priority;
	choice->ask.client = g->submit.client;
	choice->ask.deadline_ns = g->submit.first_deadline_ns ? g->submit.first_deadline_ns
							      : g->submit.end_deadline_ns;
	choice->ask.got = dn_generation_got;
	choice->ask.failed = ask_failed;
	choice->ask.owner = choice;
	return attach(prompt, &choice->ask, error) && attach_grammar(g, &choice->ask, error) &&
	       dn_models_ask(g->model, &choice->ask, error);
}

static void ask_all(struct dn_generation *g)
{
	const struct dn_chat_form *form = dn_models_form(g->model);
	struct dn_api_error error;

	g->sent_ns = dn_clock_ns();
	for (uint32_t i = 0; g->format->chat && i < g->n_choices; i++) {
		struct dn_chat_parser *parser = &g->choices[i].parser;

		dn_chat_parser_begin(parser, form, g->tools.list, g->tools.calls_max,
				     g->in_reasoning);
		parser->offered_only = g->tools.only;
		if (g->tools.json)
			dn_chat_parser_expect_json(parser, g->tools.forced != DN_TOOLS_FREE);
	}
	for (uint32_t i = 0; i < g->n_choices; i++)
		if (!ask_choice(g, i, &error)) {
			dn_generation_fail(g, &error);
			return;
		}
	drop_prompts(g);
}

/*
 * Before the prompts: what the model's chats look like, whether the prompt begins the reasoning, and
 * the texts of tokens. Each is asked where it is needed, and not known.
 */

static void next_question(struct dn_generation *g);

static void question_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	struct dn_generation *g = ask->owner;

	/* Not every worker can say what its template is. */
	if (ask->frame.type == DN_FRAME_DESCRIBE && error->status == 400) {
		dn_models_keep_form(g->model, NULL, -1);
		next_question(g);
		return;
	}
	dn_generation_fail(g, error);
}

static bool take_answer(struct dn_generation *g, const struct dn_frame *frame, int fd)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };

	if (frame->type != DN_FRAME_TEXT)
		return false;
	switch (g->question.frame.type) {
	case DN_FRAME_DESCRIBE:
		dn_models_keep_form(g->model, frame, fd);
		return true;
	case DN_FRAME_RENDER:
		if (dn_mapped_open(fd, frame->attachment, &mapped, NULL) < 0)
			return false;
		g->in_reasoning = dn_chat_form_in_reasoning(dn_models_form(g->model), mapped.data,
							    mapped.size);
		return true;
	default:
		return dn_models_keep_vocabulary(g->model, frame, fd);
	}
}

static void got_answer(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct dn_generation *g = ask->owner;
	struct dn_api_error error;

	(void)last;
	if (take_answer(g, frame, fd)) {
		next_question(g);
		return;
	}
	(void)dn_api_fail(&error, 500, NULL, "the worker answered what it was not asked");
	dn_generation_fail(g, &error);
}

static void ask_question(struct dn_generation *g, enum dn_frame_type type,
			 const struct dn_prompt *prompt)
{
	struct dn_ask *ask = &g->question;
	struct dn_api_error error;

	dn_frame_init(&ask->frame, type, 1);
	if (type == DN_FRAME_DESCRIBE)
		dn_models_ask_form(&ask->frame);
	if (type == DN_FRAME_RENDER)
		ask->frame.u.encode.now = -1;
	ask->client = g->submit.client;
	ask->priority = g->submit.priority;
	ask->deadline_ns = g->submit.first_deadline_ns ? g->submit.first_deadline_ns
						       : g->submit.end_deadline_ns;
	ask->got = got_answer;
	ask->failed = question_failed;
	ask->owner = g;
	if ((prompt && !attach(prompt, ask, &error)) || !dn_models_ask(g->model, ask, &error))
		dn_generation_fail(g, &error);
}

static bool begin_choices(struct dn_generation *g, struct dn_api_error *error)
{
	const struct dn_chat_form *form = dn_models_form(g->model);

	if (!g->format->read_prompts(g, g->body, error))
		return false;
	for (uint32_t i = 0; i < g->n_prompts * g->n; i++) {
		struct dn_choice *choice = &g->choices[i];

		choice->generation = g;
		choice->index = i;
		choice->ask.attachment = choice->ask.grammar_text = -1;
		choice->text.max = choice->reasoning.max = (size_t)64 << 20;
		choice->calls = json_array();
		choice->items = json_array();
		choice->logprobs = g->logprobs ? json_array() : NULL;
		choice->part = -1;
	}
	g->n_choices = g->n_prompts * g->n;
	/* Others are not for people to read. */
	g->submit.show_special =
		g->format->chat && form->control && (g->tools.list || form->think_open);
	return true;
}

/* Its first question is what waits until the model is loaded, whether the answer is known or not. */
static bool only_loads(const struct dn_generation *g)
{
	return g->format->loaded && !json_object_get(g->body, "messages");
}

static void reply_loaded(struct dn_generation *g)
{
	dn_http_on_left(g->connection, NULL, NULL);
	dn_generation_log(g, "loaded");
	dn_api_reply(g->connection, 200, g->format->loaded(g));
	dn_generation_free(g);
}

static void next_question(struct dn_generation *g)
{
	const bool begun = g->question.frame.type != 0;
	const bool rendered = g->question.frame.type == DN_FRAME_RENDER ||
			      g->question.frame.type == DN_FRAME_VOCABULARY;
	struct dn_api_error error;

	if (g->format->chat && (!g->model->has_form || (!begun && only_loads(g)))) {
		ask_question(g, DN_FRAME_DESCRIBE, NULL);
		return;
	}
	if (only_loads(g)) {
		reply_loaded(g);
		return;
	}
	if (g->n_choices == 0 && !begin_choices(g, &error)) {
		dn_generation_fail(g, &error);
		return;
	}
	if (g->format->chat && dn_models_form(g->model)->think_open && !rendered &&
	    g->prompts[0].kind == DN_PROMPT_CHAT)
		ask_question(g, DN_FRAME_RENDER, &g->prompts[0]);
	else if (g->logprobs && g->model->n_vocabulary == 0 &&
		 g->question.frame.type != DN_FRAME_VOCABULARY)
		ask_question(g, DN_FRAME_VOCABULARY, NULL);
	else
		ask_all(g);
}

/* Beginning. */

void dn_generation_make_id(const char *prefix, char *out, size_t size)
{
	uint64_t number[2] = { 0, 0 };

	(void)!getrandom(number, sizeof(number), 0);
	(void)snprintf(out, size, "%s%016llx%08llx", prefix, (unsigned long long)number[0],
		       (unsigned long long)(number[1] & 0xffffffffU));
}

static bool read_body(struct dn_generation *g, struct dn_api_error *error)
{
	g->given = dn_api_body(dn_http_request(g->connection), error);
	if (!g->given)
		return false;
	dn_front_note_unknown(g->front, dn_http_request(g->connection), g->given);
	g->body = g->format->translate ? g->format->translate(g->given, error)
				       : json_incref(g->given);
	if (!g->body)
		return false;
	g->model = dn_front_model(g->front, dn_http_request(g->connection), g->body, error);
	return g->model && dn_generation_read(g, g->body, error);
}

void dn_generation_start(struct dn_front *front, struct dn_http_connection *connection,
			 const struct dn_generation_format *format)
{
	const struct dn_http_request *request = dn_http_request(connection);
	struct dn_generation *g = calloc(1, sizeof(*g) + DN_CHOICES_MAX * sizeof(struct dn_choice));
	struct dn_api_error error;

	(void)dn_api_fail(&error, 503, NULL, "out of memory");
	if (!g) {
		dn_api_reply_error(connection, &error);
		return;
	}
	g->front = front;
	g->connection = connection;
	g->format = format;
	g->account = request->owner;
	g->begun_ns = request->begun_ns;
	g->created = (int64_t)time(NULL);
	g->question.attachment = -1;
	dn_generation_make_id(format->prefix, g->id, sizeof(g->id));
	if (!read_body(g, &error)) {
		error = as_sent(g, &error);
		dn_generation_free(g);
		dn_api_reply_error(connection, &error);
		return;
	}
	dn_http_on_left(connection, client_left, g);
	next_question(g);
}
