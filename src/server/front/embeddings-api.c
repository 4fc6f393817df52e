/* SPDX-License-Identifier: MIT */
/* Texts as vectors, by OpenAI's API and by ollama's; documents in the order of a query, by Jina's. */

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dunlin/model.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "server/front/embed-texts.h"
#include "server/front/front.h"
#include "server/front/large-answer.h"
#include "server/front/ollama.h"

/* Of a float with nine digits: its sign, point, exponent and the comma before it. */
#define NUMBER_MAX 16

struct ranked {
	double score;
	uint32_t index;
};

/**
 * struct embedding - a request that waits for its rows
 * @take: a row of the answer
 * @answer: of all of them
 * @documents: borrowed from @body
 * @vectors: the answer, as far as it is made; not of scores
 * @dimensions: of a vector; 0: all
 */
struct embedding {
	struct dn_http_connection *connection;
	struct dn_model_link *model;
	struct dn_ask ask;
	json_t *body;
	bool (*take)(struct embedding *e, uint32_t at, const float *row, uint32_t columns);
	void (*answer)(struct embedding *e);
	json_t *documents;
	struct dn_large_answer vectors;
	struct ranked *ranked;
	uint32_t n;
	uint32_t dimensions;
	uint32_t top;
	uint32_t give_back;
	bool base64;
	uint64_t tokens;
	uint64_t begun_ns;
};

static void free_embedding(struct embedding *e)
{
	dn_models_cancel(&e->ask);
	json_decref(e->body);
	dn_large_answer_done(&e->vectors);
	free(e->ranked);
	free(e);
}

static void left(void *data)
{
	free_embedding(data);
}

static void fail(struct embedding *e, const struct dn_api_error *error)
{
	dn_http_on_left(e->connection, NULL, NULL);
	dn_api_reply_error(e->connection, error);
	free_embedding(e);
}

static void ask_failed(struct dn_ask *ask, const struct dn_api_error *error)
{
	fail(ask->owner, error);
}

static bool take_rows(struct embedding *e, const struct dn_frame *frame, int fd,
		      struct dn_api_error *error)
{
	const struct dn_frame_embedded *embedded = &frame->u.embedded;
	DN_AUTO_MAPPED struct dn_mapped mapped = { NULL, 0 };
	const float *rows;

	if (frame->type != DN_FRAME_EMBEDDED || embedded->rows != embedded->count ||
	    embedded->total != e->n || embedded->columns == 0 ||
	    dn_mapped_open(fd, frame->attachment, &mapped, NULL) < 0)
		return dn_api_fail(error, 500, NULL, "the worker answered what it was not asked");
	rows = mapped.data;
	e->tokens += embedded->tokens;
	dn_account_charge(dn_http_request(e->connection)->owner, embedded->tokens);
	for (uint32_t i = 0; i < embedded->count; i++)
		if (!e->take(e, embedded->first + i, rows + (size_t)i * embedded->columns,
			     embedded->columns))
			return dn_large_answer_refused(e->connection, error);
	return true;
}

static void got(struct dn_ask *ask, const struct dn_frame *frame, int fd, bool last)
{
	struct embedding *e = ask->owner;
	struct dn_api_error error;

	if (frame->type == DN_FRAME_EMBEDDED && e->dimensions > frame->u.embedded.columns) {
		(void)dn_api_bad(&error, "dimensions", "'dimensions' is %u; the model has %u",
				 e->dimensions, frame->u.embedded.columns);
		fail(e, &error);
	} else if (!take_rows(e, frame, fd, &error)) {
		fail(e, &error);
	} else if (last) {
		dn_http_on_left(e->connection, NULL, NULL);
		e->answer(e);
		free_embedding(e);
	}
}

/* Vectors. */

/* A copy of length 1: what is cut off was a part of it. Owned by the caller. */
static float *cut_row(const float *row, uint32_t n, bool cut)
{
	float *copy = malloc(n * sizeof(*copy));
	double squares = 0;

	if (!copy)
		return NULL;
	for (uint32_t i = 0; i < n; i++) {
		/* JSON has no other numbers. */
		copy[i] = isfinite(row[i]) ? row[i] : 0;
		squares += (double)copy[i] * (double)copy[i];
	}
	for (uint32_t i = 0; cut && squares > 0 && i < n; i++)
		copy[i] = (float)((double)copy[i] / sqrt(squares));
	return copy;
}

static bool append_base64(struct embedding *e, const float *row, uint32_t n)
{
	const size_t size = n * sizeof(*row);

	struct dn_buffer *text = &e->vectors.text;

	if (!dn_large_answer_reserve(&e->vectors, 4 * (size / 3 + 1) + 3))
		return false;
	text->data[text->size++] = '"';
	text->size += (size_t)EVP_EncodeBlock((unsigned char *)text->data + text->size,
					      (const unsigned char *)row, (int)size);
	text->data[text->size++] = '"';
	return true;
}

static bool append_floats(struct embedding *e, const float *row, uint32_t n)
{
	struct dn_buffer *text = &e->vectors.text;

	if (!dn_large_answer_reserve(&e->vectors, n * (size_t)NUMBER_MAX + 2))
		return false;
	/* Nine digits are a float. */
	for (uint32_t i = 0; i < n; i++)
		text->size += (size_t)snprintf(text->data + text->size, NUMBER_MAX + 1, "%c%.9g",
					       i > 0 ? ',' : '[', (double)row[i]);
	text->data[text->size++] = ']';
	return true;
}

static bool append_vector(struct embedding *e, const float *row, uint32_t columns)
{
	const uint32_t n = e->dimensions ? e->dimensions : columns;
	DN_AUTO_FREE float *copy = cut_row(row, n, n < columns);

	if (!copy)
		return false;
	return e->base64 ? append_base64(e, copy, n) : append_floats(e, copy, n);
}

static bool take_vector(struct embedding *e, uint32_t at, const float *row, uint32_t columns)
{
	return dn_large_answer_printf(&e->vectors,
				      "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":",
				      at > 0 ? "," : "{\"object\":\"list\",\"data\":[", at) &&
	       append_vector(e, row, columns) && dn_large_answer_printf(&e->vectors, "}");
}

static void answer_vectors(struct embedding *e)
{
	const unsigned long long tokens = e->tokens;

	dn_large_answer_give(
		&e->vectors,
		dn_large_answer_printf(&e->vectors, "],\"model\":") &&
			dn_large_answer_quote(&e->vectors, e->model->name) &&
			dn_large_answer_printf(
				&e->vectors,
				",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
				tokens, tokens));
}

static bool take_bare_vector(struct embedding *e, uint32_t at, const float *row, uint32_t columns)
{
	return dn_large_answer_printf(&e->vectors, "%s", at > 0 ? "," : "{\"embeddings\":[") &&
	       append_vector(e, row, columns);
}

static void answer_ollama(struct embedding *e)
{
	dn_large_answer_give(
		&e->vectors,
		dn_large_answer_printf(&e->vectors, "],\"model\":") &&
			dn_large_answer_quote(&e->vectors, e->model->name) &&
			dn_large_answer_printf(&e->vectors,
					       ",\"total_duration\":%llu,\"load_duration\":0,"
					       "\"prompt_eval_count\":%llu}",
					       (unsigned long long)(dn_clock_ns() - e->begun_ns),
					       (unsigned long long)e->tokens));
}

/* Scores. */

/* The first score counts: of a model with several, such as yes and no, it says yes. */
static bool take_score(struct embedding *e, uint32_t at, const float *row, uint32_t columns)
{
	(void)columns;
	e->ranked[at] = (struct ranked){ isfinite(row[0]) ? (double)row[0] : -HUGE_VAL, at };
	return true;
}

/* Best first; of the same score in their order. */
static int compare(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;

	if (x->score > y->score || x->score < y->score)
		return x->score > y->score ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static json_t *document_json(json_t *document)
{
	return json_is_string(document) ? json_pack("{s:O}", "text", document)
					: json_incref(document);
}

static void answer_scores(struct embedding *e)
{
	const uint32_t n = e->top ? DN_MIN(e->top, e->n) : e->n;
	json_t *results = json_array();

	qsort(e->ranked, e->n, sizeof(*e->ranked), compare);
	for (uint32_t i = 0; i < n; i++) {
		const struct ranked *ranked = &e->ranked[i];
		json_t *result =
			json_pack("{s:i, s:o}", "index", (int)ranked->index, "relevance_score",
				  isfinite(ranked->score) ? json_real(ranked->score) : json_null());

		if (result && e->give_back)
			(void)json_object_set_new(
				result, "document",
				document_json(json_array_get(e->documents, ranked->index)));
		(void)json_array_append_new(results, result);
	}
	dn_api_reply(e->connection, 200,
		     json_pack("{s:s, s:s, s:o, s:{s:I, s:I}}", "object", "list", "model",
			       e->model->name, "results", results, "usage", "prompt_tokens",
			       (json_int_t)e->tokens, "total_tokens", (json_int_t)e->tokens));
}

/* Requests. */

static struct embedding *begin(struct dn_front *front, struct dn_http_connection *connection,
			       struct dn_api_error *error)
{
	struct embedding *e = calloc(1, sizeof(*e));

	(void)dn_api_fail(error, 503, NULL, "out of memory");
	if (!e)
		return NULL;
	e->connection = connection;
	e->begun_ns = dn_clock_ns();
	e->ask.attachment = -1;
	e->ask.client = dn_front_client(front, dn_http_request(connection)).client;
	e->ask.got = got;
	e->ask.failed = ask_failed;
	e->ask.owner = e;
	dn_frame_init(&e->ask.frame, DN_FRAME_EMBED, 1);
	e->ask.frame.u.embed = (struct dn_frame_embed){
		.pooling = DN_POOLING_DEFAULT,
		.normalise = 1,
	};
	dn_large_answer_begin(&e->vectors, connection);
	e->body = dn_api_body(dn_http_request(connection), error);
	dn_front_note_unknown(front, dn_http_request(connection), e->body);
	return e;
}

static bool send_texts(struct embedding *e, const struct dn_embed_texts *texts,
		       struct dn_api_error *error)
{
	return dn_embed_texts_attach(texts, &e->ask, error) &&
	       dn_models_ask(e->model, &e->ask, error);
}

/* Takes @e over, which may be NULL. */
static void end(struct dn_http_connection *connection, struct embedding *e, bool good,
		const struct dn_api_error *error)
{
	if (good) {
		dn_http_on_left(connection, left, e);
		return;
	}
	dn_api_reply_error(connection, error);
	if (e)
		free_embedding(e);
}

static bool read_encoding(struct embedding *e, struct dn_api_error *error)
{
	const json_t *format = json_object_get(e->body, "encoding_format");
	const char *word = json_string_value(format);

	if (!format || json_is_null(format))
		return true;
	if (!word || (strcmp(word, "float") != 0 && strcmp(word, "base64") != 0))
		return dn_api_bad(error, "encoding_format",
				  "'encoding_format' is 'float' or 'base64'");
	e->base64 = strcmp(word, "base64") == 0;
	return true;
}

static bool read_vectors(struct embedding *e, struct dn_front *front, struct dn_api_error *error)
{
	static const struct dn_api_field fields[] = {
		{ "dimensions", DN_API_U32, 1, 65536, offsetof(struct embedding, dimensions) },
	};
	struct dn_embed_texts texts;
	bool good;

	e->model = dn_front_model(front, dn_http_request(e->connection), e->body, error);
	if (!e->model || !dn_api_fields(e->body, fields, DN_ARRAY_SIZE(fields), e, error) ||
	    !read_encoding(e, error))
		return false;
	dn_embed_texts_init(&texts);
	good = dn_embed_texts_read(&texts, json_object_get(e->body, "input"), error);
	if (good) {
		e->n = texts.n;
		e->ask.frame.u.embed.kind = texts.ids ? DN_EMBED_TOKENS : DN_EMBED_EACH;
		good = send_texts(e, &texts, error);
	}
	dn_embed_texts_done(&texts);
	return good;
}

/* POST /v1/embeddings */
void dn_front_embeddings(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	struct embedding *e = begin(front, connection, &error);

	if (e) {
		e->take = take_vector;
		e->answer = answer_vectors;
	}
	end(connection, e, e && e->body && read_vectors(e, front, &error), &error);
}

static bool read_ollama(struct embedding *e, struct dn_front *front, struct dn_api_error *error)
{
	const struct dn_api_field truncate = { "truncate", DN_API_BOOL, 0, 0, 0 };
	json_t *model = dn_ollama_model(e->body);

	e->ask.frame.u.embed.truncate = 1;
	(void)json_object_del(e->body, "encoding_format");
	if (model)
		(void)json_object_set_new(e->body, "model", model);
	return dn_api_fields(e->body, &truncate, 1, &e->ask.frame.u.embed.truncate, error) &&
	       read_vectors(e, front, error);
}

/* POST /api/embed */
void dn_front_ollama_embed(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	struct embedding *e = begin(front, connection, &error);

	if (e) {
		e->take = take_bare_vector;
		e->answer = answer_ollama;
	}
	end(connection, e, e && e->body && read_ollama(e, front, &error), &error);
}

static bool read_documents(struct embedding *e, struct dn_embed_texts *texts,
			   struct dn_api_error *error)
{
	const json_t *document;
	size_t i;

	if (!json_is_string(json_object_get(e->body, "query")))
		return dn_api_bad(error, "query", "'query' is to be a text");
	if (!json_is_array(e->documents) || json_array_size(e->documents) == 0 ||
	    json_array_size(e->documents) > DN_EMBED_INPUTS_MAX)
		return dn_api_bad(error, "documents",
				  "'documents' is to be a list of 1 to %d texts",
				  DN_EMBED_INPUTS_MAX);
	if (!dn_embed_texts_add_text(texts, json_object_get(e->body, "query"), "query", error))
		return false;
	json_array_foreach(e->documents, i, document)
	{
		const json_t *text =
			json_is_object(document) ? json_object_get(document, "text") : document;

		if (!dn_embed_texts_add_text(texts, text, "documents", error))
			return false;
	}
	e->n = texts->n - 1;
	e->ranked = calloc(e->n, sizeof(*e->ranked));
	return e->ranked || dn_api_fail(error, 503, NULL, "out of memory");
}

static bool read_rerank(struct embedding *e, struct dn_front *front, struct dn_api_error *error)
{
	static const struct dn_api_field fields[] = {
		{ "top_n", DN_API_U32, 1, DN_EMBED_TEXTS_MAX, offsetof(struct embedding, top) },
		{ "return_documents", DN_API_BOOL, 0, 0, offsetof(struct embedding, give_back) },
	};
	struct dn_embed_texts texts;
	bool good;

	e->model = dn_front_model(front, dn_http_request(e->connection), e->body, error);
	if (!e->model || !dn_api_fields(e->body, fields, DN_ARRAY_SIZE(fields), e, error))
		return false;
	e->ask.frame.u.embed = (struct dn_frame_embed){
		.kind = DN_EMBED_PAIRS,
		.pooling = DN_POOLING_RANK,
		.truncate = 1,
	};
	e->documents = json_object_get(e->body, "documents");
	dn_embed_texts_init(&texts);
	good = read_documents(e, &texts, error) && send_texts(e, &texts, error);
	dn_embed_texts_done(&texts);
	return good;
}

/* POST /v1/rerank */
void dn_front_rerank(struct dn_front *front, struct dn_http_connection *connection)
{
	struct dn_api_error error;
	struct embedding *e = begin(front, connection, &error);

	if (e) {
		e->take = take_score;
		e->answer = answer_scores;
	}
	end(connection, e, e && e->body && read_rerank(e, front, &error), &error);
}
