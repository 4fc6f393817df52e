/* SPDX-License-Identifier: MIT */
/* The prompt that a chat becomes, and how many tokens it has: nothing is computed. */

#include <stdlib.h>
#include <string.h>

#include "server/front/anthropic.h"
#include "server/front/front.h"
#include "server/front/messages.h"

/**
 * struct rendering - one that waits for the worker
 * @body: of a chat
 * @count: the answer is how many tokens; else the text
 */
struct rendering {
	struct dn_http_connection *connection;
	struct dn_model_link *model;
	struct dn_ask ask;
	json_t *body;
	bool count;
};

static void free_rendering(struct rendering *r)
{
	dn_models_cancel(&r->ask);
	json_decref(r->body);
	free(r);
}

static void left(void *data)
{
	free_rendering(data);
}

static void fail(struct rendering *r, const struct dn_api_error *error)
{
	dn_http_on_left(r->connection, NULL, NULL);
	dn_api_reply_error(r->connection, error);
	free_rendering(r);
}

static void reply(struct rendering *r, json_t *json)
{
	dn_http_on_left(r->connection, NULL, NULL);
	dn_api_reply(r->connection, 200, json);
	free_rendering(r);
}

/* @data: borrowed. */
static void ask(struct rendering *r, const void *data, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_api_error error;

	r->ask.frame.attachment = size;
	if (size > DN_FRAME_ATTACHED_TEXT_MAX) {
		(void)dn_api_fail(&error, 413, NULL, "the text is too large");
		fail(r, &error);
	} else if (dn_attach(data, size, &r->ask.attachment, &err) < 0) {
		(void)dn_api_fail(&error, 503, NULL, "%s", err.message);
		fail(r, &error);
	} else if (!dn_models_ask(r->model, &r->ask, &error)) {
		fail(r, &error);
	}
}

static void ask_form(struct rendering *r)
{
	struct dn_api_error error;

	dn_models_ask_form(&r->ask.frame);
	if (!dn_models_ask(r->model, &r->ask, &error))
		fail(r, &error);
}

static void ask_worker(struct rendering *r)
{
	DN_AUTO_FREE char *text = NULL;
	struct dn_api_error error;
	json_t *variables = dn_front_messages(r->body, dn_models_form(r->model), &error);

	if (!variables) {
		fail(r, &error);
		return;
	}
	text = json_dumps(variables, JSON_COMPACT);
	json_decref(variables);
	if (!text) {
		(void)dn_api_fail(&error, 503, NULL, "out of memory");
		fail(r, &error);
		return;
	}
	/* In the text alone, nobody could tell the template's control tokens from a user's words. */
	dn_frame_init(&r->ask.frame, r->count ? DN_FRAME_TOKENIZE : DN_FRAME_RENDER, 1);
	if (r->count)
		r->ask.frame.u.encode.prompt_kind = DN_PROMPT_CHAT;
	else
		r->ask.frame.u.encode.now = -1;
	ask(r, text, strlen(text));
}

static void failed(struct dn_ask *one, const struct dn_api_error *error)
{
	struct rendering *r = one->owner;

	if (one->frame.type == DN_FRAME_DESCRIBE && error->status == 400) {
		dn_models_keep_form(r->model, NULL, -1);
		ask_worker(r);
		return;
	}
	fail(r, error);
}

static void got(struct dn_ask *one, const struct dn_frame *frame, int fd, bool last)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct rendering *r = one->owner;
	const uint32_t asked = one->frame.type;
	struct dn_api_error error;

	(void)last;
	if (frame->type != (asked == DN_FRAME_TOKENIZE ? DN_FRAME_TOKENS : DN_FRAME_TEXT) ||
	    (asked != DN_FRAME_DESCRIBE &&
	     dn_mapped_open(fd, frame->attachment, &mapped, NULL) < 0)) {
		(void)dn_api_fail(&error, 500, NULL, "the worker answered what it was not asked");
		fail(r, &error);
	} else if (asked == DN_FRAME_DESCRIBE) {
		dn_models_keep_form(r->model, frame, fd);
		ask_worker(r);
	} else if (asked == DN_FRAME_TOKENIZE) {
		reply(r, json_pack("{s:I}", "input_tokens",
				   (json_int_t)(mapped.size / sizeof(uint32_t))));
	} else {
		reply(r, json_pack("{s:o}", "prompt", dn_api_text(mapped.data, mapped.size)));
	}
}

static void begin(struct dn_front *front, struct dn_http_connection *connection,
		  json_t *(*translate)(const json_t *body, struct dn_api_error *error))
{
	struct rendering *r = calloc(1, sizeof(*r));
	struct dn_api_error error;
	json_t *body = NULL;

	(void)dn_api_fail(&error, 503, NULL, "out of memory");
	if (!r) {
		dn_api_reply_error(connection, &error);
		return;
	}
	r->connection = connection;
	r->count = translate != NULL;
	r->ask.attachment = -1;
	r->ask.client = dn_front_client(front, dn_http_request(connection)).client;
	r->ask.got = got;
	r->ask.failed = failed;
	r->ask.owner = r;
	body = dn_api_body(dn_http_request(connection), &error);
	if (body)
		r->body = translate ? translate(body, &error) : json_incref(body);
	json_decref(body);
	if (r->body)
		r->model = dn_front_model(front, dn_http_request(connection), r->body, &error);
	if (!r->model) {
		dn_api_reply_error(connection, &error);
		free_rendering(r);
		return;
	}
	dn_http_on_left(connection, left, r);
	if (r->model->has_form)
		ask_worker(r);
	else
		ask_form(r);
}

/* POST /apply-template {"messages": […]} -> {"prompt": text} */
void dn_front_apply_template(struct dn_front *front, struct dn_http_connection *connection)
{
	begin(front, connection, NULL);
}

/* POST /v1/messages/count_tokens */
void dn_front_count_tokens(struct dn_front *front, struct dn_http_connection *connection)
{
	begin(front, connection, dn_anthropic_translate_count);
}
