/* SPDX-License-Identifier: MIT */
/* Texts and ids: requests that a worker answers at once, between two steps. */

#include <stdlib.h>
#include <string.h>

#include "server/front/front.h"
#include "server/front/large-answer.h"

/**
 * struct query - one that waits for its answer
 * @answer: sends what a frame's attachment is
 */
struct query {
	struct dn_front *front;
	struct dn_http_connection *connection;
	struct dn_model_link *model;
	struct dn_ask ask;
	uint32_t expected;
	void (*answer)(struct dn_http_connection *connection, const struct dn_mapped *mapped);
};

static void end_query(struct query *query)
{
	dn_http_on_left(query->connection, NULL, NULL);
	dn_models_cancel(&query->ask);
	free(query);
}

static void left(void *data)
{
	struct query *query = data;

	dn_models_cancel(&query->ask);
	free(query);
}

static void fail(struct query *query, const struct dn_api_error *error)
{
	dn_api_reply_error(query->connection, error);
	end_query(query);
}

static void ask_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	fail(ask->owner, error);
}

static void got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	struct query *query = ask->owner;
	struct dn_api_error error;

	(void)last;
	if (frame->type != query->expected ||
	    dn_mapped_open(fd, frame->attachment, &mapped, NULL) < 0) {
		(void)dn_api_fail(&error, 500, NULL, "the worker answered what it was not asked");
		fail(query, &error);
		return;
	}
	query->answer(query->connection, &mapped);
	end_query(query);
}

/* @data: borrowed. */
static void ask(struct query *query, const void *data, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_api_error error;

	query->ask.got = got;
	query->ask.failed = ask_failed;
	query->ask.owner = query;
	query->ask.frame.attachment = size;
	dn_http_on_left(query->connection, left, query);
	if (size > DN_FRAME_ATTACHED_TEXT_MAX) {
		(void)dn_api_fail(&error, 413, NULL, "the text is too large");
		fail(query, &error);
	} else if (dn_attach(data, size, &query->ask.attachment, &err) < 0) {
		(void)dn_api_fail(&error, 503, NULL, "%s", err.message);
		fail(query, &error);
	} else if (!dn_models_ask(query->model, &query->ask, &error)) {
		fail(query, &error);
	}
}

/* NULL where the body is wrong: that is answered then. @ret_body: owned by the caller. */
static struct query *begin(struct dn_front *front, struct dn_http_connection *connection,
			   enum dn_frame_type type, json_t **ret_body)
{
	struct query *query = calloc(1, sizeof(*query));
	struct dn_api_error error;
	json_t *body = NULL;

	(void)dn_api_fail(&error, 503, NULL, "out of memory");
	if (query)
		body = dn_api_body(dn_http_request(connection), &error);
	if (body)
		query->model = dn_front_model(front, dn_http_request(connection), body, &error);
	if (!body || !query->model) {
		json_decref(body);
		free(query);
		dn_api_reply_error(connection, &error);
		return NULL;
	}
	query->front = front;
	query->connection = connection;
	query->ask.attachment = -1;
	query->ask.client = dn_front_client(front, dn_http_request(connection)).client;
	dn_frame_init(&query->ask.frame, type, 1);
	*ret_body = body;
	return query;
}

static void refuse(struct query *query, json_t *body, const struct dn_api_error *error)
{
	json_decref(body);
	dn_api_reply_error(query->connection, error);
	free(query);
}

/* POST /tokenize {"content": text, "parse_special": bool} -> {"tokens": [id, …], "count": n} */

static void answer_tokens(struct dn_http_connection *connection, const struct dn_mapped *mapped)
{
	const uint32_t *ids = mapped->data;
	const size_t n = mapped->size / sizeof(*ids);
	struct dn_large_answer answer;
	bool whole;

	dn_large_answer_begin(&answer, connection);
	whole = dn_large_answer_printf(&answer, "{\"tokens\":[");
	for (size_t i = 0; whole && i < n; i++)
		whole = dn_large_answer_printf(&answer, "%s%u", i > 0 ? "," : "", ids[i]);
	dn_large_answer_give(&answer,
			     whole && dn_large_answer_printf(&answer, "],\"count\":%zu}", n));
	dn_large_answer_done(&answer);
}

void dn_front_tokenize(struct dn_front *front, struct dn_http_connection *connection)
{
	static const struct dn_api_field special = { "parse_special", DN_API_BOOL, 0, 0, 0 };
	struct dn_api_error error;
	const json_t *content;
	json_t *body;
	struct query *query = begin(front, connection, DN_FRAME_TOKENIZE, &body);

	if (!query)
		return;
	content = json_object_get(body, "content");
	if (!json_is_string(content)) {
		(void)dn_api_bad(&error, "content", "'content' is to be a text");
		refuse(query, body, &error);
		return;
	}
	if (!dn_api_fields(body, &special, 1, &query->ask.frame.u.encode.special, &error)) {
		refuse(query, body, &error);
		return;
	}
	query->expected = DN_FRAME_TOKENS;
	query->answer = answer_tokens;
	ask(query, json_string_value(content), json_string_length(content));
	json_decref(body);
}

/* POST /detokenize {"tokens": [id, …]} -> {"content": text} */

static void answer_text(struct dn_http_connection *connection, const struct dn_mapped *mapped)
{
	dn_api_reply(connection, 200,
		     json_pack("{s:o}", "content", dn_api_text(mapped->data, mapped->size)));
}

void dn_front_detokenize(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	DN_AUTO_FREE uint32_t *ids = NULL;
	const json_t *tokens;
	json_t *body;
	size_t n;
	struct query *query = begin(front, connection, DN_FRAME_DETOKENIZE, &body);

	if (!query)
		return;
	tokens = json_object_get(body, "tokens");
	if (json_is_array(tokens))
		ids = dn_api_ids(tokens, "tokens", &n, &error);
	else
		(void)dn_api_bad(&error, "tokens", "'tokens' is to be a list of ids");
	if (!ids) {
		refuse(query, body, &error);
		return;
	}
	query->ask.frame.u.encode.special = 1;
	query->expected = DN_FRAME_TEXT;
	query->answer = answer_text;
	ask(query, ids, n * sizeof(*ids));
	json_decref(body);
}
