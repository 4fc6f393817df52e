/* SPDX-License-Identifier: MIT */
/*
 * EMBED: texts to rows of floats. A request is worked off as many texts at a time as a step takes,
 * each tokenised when its turn comes, so that a request of any size takes the memory of one step.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/internal.h"

/* Texts of one step. */
#define TOGETHER_MAX 32U

/**
 * struct dn_embed_request - what is left of a request
 * @lengths: uint32[n_texts] inside @mapped
 * @next: where the next text begins
 * @query: of pairs; without data there is none
 * @done, @total: texts, or pairs
 * @columns: of a row
 * @items: the next texts; their @n_tokens tokens lie in the place's, one behind the other
 * @cut: which of them were too long
 * @n_ready: how many of them the coming step takes: all, or all but the last
 * @rows: float32[texts of a step, or tokens of one, columns]
 */
struct dn_embed_request {
	struct dn_mapped mapped;
	struct dn_frame_embed how;
	const uint32_t *lengths;
	const char *next;
	struct dn_text query;
	uint32_t done;
	uint32_t total;
	uint32_t columns;
	struct dn_embed_item items[TOGETHER_MAX];
	bool cut[TOGETHER_MAX];
	uint32_t n_items;
	uint32_t n_ready;
	uint32_t n_tokens;
	float *rows;
};

void dn_embed_request_free(struct dn_embed_request *request)
{
	if (!request)
		return;
	dn_mapped_done(&request->mapped);
	free(request->rows);
	free(request);
}

/* Count, lengths and texts must fill the attachment. */
static int take_texts(struct dn_embed_request *q, struct dn_error *err)
{
	const uint32_t *words = q->mapped.data;
	const size_t words_max = q->mapped.size / sizeof(uint32_t);
	const uint32_t first = q->how.kind == DN_EMBED_PAIRS ? 1 : 0;
	uint64_t bytes = 0;
	uint32_t n;

	if (words_max == 0 || words[0] == 0 || words[0] > words_max - 1 ||
	    words[0] > DN_EMBED_TEXTS_MAX)
		return dn_error_set(err, EBADMSG, "the texts' count does not fit the attachment");
	n = words[0];
	for (uint32_t i = 0; i < n; i++) {
		if (q->how.kind == DN_EMBED_TOKENS && words[1 + i] % sizeof(uint32_t) != 0)
			return dn_error_set(err, EBADMSG, "text %u is %u bytes: no ids", i + 1,
					    words[1 + i]);
		bytes += words[1 + i];
	}
	if (bytes != q->mapped.size - (1 + (size_t)n) * sizeof(uint32_t))
		return dn_error_set(err, EBADMSG, "the texts' lengths do not fit the attachment");
	if (n == first)
		return dn_error_set(err, EINVAL, "a query without documents");
	q->lengths = words + 1 + first;
	q->next = (const char *)(words + 1 + n);
	if (first) {
		q->query = (struct dn_text){ q->next, words[1] };
		q->next += words[1];
	}
	q->total = n - first;
	return 0;
}

/* A text that is ids already; one that is too long is cut, or not looked at. */
static int copy_ids(const struct dn_worker *worker, const struct dn_embed_request *q, size_t n,
		    uint32_t *tokens, size_t most, size_t *ret_count, bool *ret_cut,
		    struct dn_error *err)
{
	*ret_cut = q->how.truncate && n > most;
	*ret_count = *ret_cut ? most : n;
	if (*ret_count > most)
		return 0;
	memcpy(tokens, q->next, *ret_count * sizeof(*tokens));
	return dn_worker_check_ids(worker, tokens, *ret_count, err);
}

/* Puts the tokens of the next text behind those that wait. */
static int take_next(struct dn_worker *worker, struct dn_place *place, struct dn_error *err)
{
	struct dn_embed_request *q = place->embed;
	const uint32_t at = q->done + q->n_items;
	const size_t most = dn_context_embed_length(worker->context);
	uint32_t *tokens = place->tokens + q->n_tokens;
	struct dn_embed_text text = { .query = q->query,
				      .text = { q->next, q->lengths[at] },
				      .truncate = q->how.truncate };
	size_t second = 0;
	size_t n = 0;
	int r;

	if (q->how.kind == DN_EMBED_TOKENS)
		r = copy_ids(worker, q, q->lengths[at] / sizeof(*tokens), tokens, most, &n,
			     &q->cut[q->n_items], err);
	else
		r = dn_worker_encode_embed(worker, &text, tokens, most, &n, &q->cut[q->n_items],
					   &second, err);
	if (r < 0)
		return r;
	if (n == 0)
		return dn_error_set(err, EINVAL, "text %u is empty", at + 1);
	if (n > most && q->how.truncate)
		return dn_error_set(err, E2BIG,
				    "the query leaves no room for documents: the context has room "
				    "for %zu tokens",
				    most);
	if (n > most)
		return dn_error_set(err, E2BIG,
				    "text %u has %zu tokens, the context room for %zu: shorten it, "
				    "ask for a larger context, or have it truncated",
				    at + 1, n, most);
	q->items[q->n_items++] = (struct dn_embed_item){
		.tokens = tokens,
		.n_tokens = (uint32_t)n,
		.second = (uint32_t)second,
	};
	q->n_tokens += (uint32_t)n;
	q->next += q->lengths[at];
	return 0;
}

/* Texts for a step: as many as fit, or one. The last one may be there already for the next step. */
static int fill(struct dn_worker *worker, struct dn_place *place, struct dn_error *err)
{
	struct dn_embed_request *q = place->embed;
	const uint32_t most = q->how.pooling == DN_POOLING_NONE ? 1 : TOGETHER_MAX;
	int r = 0;

	while (r >= 0 && q->n_items < most && q->n_tokens < worker->batch &&
	       q->done + q->n_items < q->total)
		r = take_next(worker, place, err);
	if (r < 0)
		return r;
	q->n_ready = q->n_items;
	if (q->n_items > 1 && q->n_tokens > worker->batch)
		q->n_ready--;
	return 0;
}

/* What did not fit any more begins the next step. */
static void carry(struct dn_place *place)
{
	struct dn_embed_request *q = place->embed;
	const uint32_t left = q->n_items - q->n_ready;

	if (left > 0) {
		q->items[0] = q->items[q->n_ready];
		q->cut[0] = q->cut[q->n_ready];
		memmove(place->tokens, q->items[0].tokens,
			q->items[0].n_tokens * sizeof(*place->tokens));
		q->items[0].tokens = place->tokens;
	}
	q->done += q->n_ready;
	q->n_items = left;
	q->n_tokens = left ? q->items[0].n_tokens : 0;
	q->n_ready = 0;
}

static void answer(struct dn_worker *worker, struct dn_place *place)
{
	struct dn_embed_request *q = place->embed;
	struct dn_frame_embedded *out = &worker->out.u.embedded;

	dn_frame_init(&worker->out, DN_FRAME_EMBEDDED, place->request);
	*out = (struct dn_frame_embedded){
		.first = q->done,
		.count = q->n_ready,
		.total = q->total,
		.rows = q->how.pooling == DN_POOLING_NONE ? q->items[0].n_tokens : q->n_ready,
		.columns = q->columns,
	};
	for (uint32_t i = 0; i < q->n_ready; i++) {
		out->tokens += q->items[i].n_tokens;
		out->truncated += q->cut[i];
	}
	dn_worker_send_bytes(worker, &worker->out, q->rows,
			     (size_t)out->rows * q->columns * sizeof(float));
}

/* The requests take turns: a query need not wait until a whole library has been embedded. */
static struct dn_place *whose_turn(struct dn_worker *worker)
{
	for (uint32_t i = 1; i <= worker->n_places; i++) {
		uint32_t at = (worker->embed_turn + i) % worker->n_places;

		if (worker->places[at].state == DN_PLACE_EMBED) {
			worker->embed_turn = at;
			return &worker->places[at];
		}
	}
	return NULL;
}

void dn_worker_embed_step(struct dn_worker *worker)
{
	struct dn_place *place = whose_turn(worker);
	struct dn_embed_options options = { .struct_size = sizeof(options) };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_embed_request *q;
	uint64_t request;
	int r = 0;

	if (!place)
		return;
	q = place->embed;
	request = place->request;
	options.pooling = (enum dn_pooling)q->how.pooling;
	options.normalise = q->how.normalise;
	if (q->n_ready == 0)
		r = fill(worker, place, &err);
	if (r >= 0)
		r = dn_context_embed(worker->context, q->items, q->n_ready, &options, q->rows,
				     &err);
	/* A full cache: what is kept goes; who generates will end. */
	if (r == -ENOSPC && (dn_place_evict(worker) || dn_worker_holders(worker) > 0))
		return;
	if (r >= 0) {
		answer(worker, place);
		carry(place);
	}
	if (r < 0 || q->done == q->total)
		dn_place_free(place);
	if (r < 0)
		dn_worker_send_error(worker, request, r, &err);
}

static int need_embeddings(const struct dn_worker *worker, struct dn_embed_request *q,
			   struct dn_error *err)
{
	struct dn_model_info info;
	int r;

	if (!worker->context)
		return dn_error_set(err, EINVAL, "no weights are loaded");
	r = q->how.kind == DN_EMBED_TOKENS ? 0 : dn_worker_need_tokenizer(worker, err);
	if (r < 0)
		return r;
	dn_model_get_info(worker->model, &info);
	if (q->how.pooling == DN_POOLING_DEFAULT)
		q->how.pooling = info.pooling;
	return dn_model_embeds(worker->model, (enum dn_pooling)q->how.pooling, &q->columns, err);
}

/* Fills @q with what the frame asks for. */
static int prepare(struct dn_worker *worker, struct dn_embed_request *q,
		   const struct dn_frame *frame, int fd, struct dn_error *err)
{
	size_t rows = TOGETHER_MAX;
	int r;

	q->how = frame->u.embed;
	r = dn_mapped_open(fd, frame->attachment, &q->mapped, err);
	if (r >= 0)
		r = take_texts(q, err);
	if (r >= 0)
		r = need_embeddings(worker, q, err);
	if (r < 0)
		return r;
	if (q->how.pooling == DN_POOLING_NONE)
		rows = dn_context_embed_length(worker->context);
	q->rows = calloc(rows * q->columns, sizeof(*q->rows));
	return q->rows ? 0 : dn_error_memory(err, "embeddings", rows * q->columns * sizeof(float));
}

int dn_worker_embed(struct dn_worker *worker, const struct dn_frame *frame, int *fd,
		    struct dn_error *err)
{
	struct dn_embed_request *q = calloc(1, sizeof(*q));
	struct dn_place *place;
	int r;

	if (!q)
		return dn_error_memory(err, "a request", sizeof(*q));
	r = prepare(worker, q, frame, *fd, err);
	/* Behind what fills a step, one text more. */
	if (r >= 0)
		r = dn_place_new(worker, worker->batch + dn_context_embed_length(worker->context),
				 &place, err);
	if (r < 0) {
		dn_embed_request_free(q);
		return r;
	}
	place->embed = q;
	place->request = frame->request;
	place->kind = DN_PLACE_TEXTS;
	place->state = DN_PLACE_EMBED;
	return 0;
}
