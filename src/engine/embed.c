/* SPDX-License-Identifier: MIT */
/* Embeddings of texts: the rows of their tokens, pooled; and the scores of rerankers. */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "kernels/math.h"

/* A call of dn_context_embed(). @rows: where the next texts' rows go. */
struct embedding {
	struct dn_context *context;
	enum dn_pooling pooling;
	uint32_t columns;
	bool normalise;
	float *rows;
};

int dn_model_embeds(const struct dn_model *m, enum dn_pooling pooling, uint32_t *ret_columns,
		    struct dn_error *err)
{
	const struct dn_hparams *h = &m->hparams;
	int r = dn_model_runs(m, err);

	if (r < 0)
		return r;
	if (pooling == DN_POOLING_DEFAULT)
		pooling = h->pooling;
	if (pooling > DN_POOLING_DEFAULT)
		return dn_error_set(err, EINVAL, "pooling %u is not known", (unsigned int)pooling);
	if (pooling == DN_POOLING_CLS && !h->bidirectional)
		return dn_error_set(err, ENOTSUP,
				    "pooling 'cls' takes the first token's row, which in a model "
				    "of architecture '%s' knows nothing of the others: use 'last' "
				    "or 'mean'",
				    m->architecture);
	if (pooling == DN_POOLING_RANK && !m->globals.rank_output.w.rows)
		return dn_error_set(err, ENOTSUP,
				    "pooling 'rank' needs a classification head, and the file has "
				    "no tensor 'cls.output.weight': it is no reranker");
	*ret_columns = pooling == DN_POOLING_RANK ? m->globals.rank_output.w.rows : h->dim;
	return 0;
}

uint32_t dn_context_embed_length(const struct dn_context *c)
{
	return c->model->hparams.bidirectional ? DN_MIN(c->length, c->batch) : c->length;
}

/* To length one; what has no length stays. */
static void normalise(const struct embedding *e, float *row)
{
	double sum = 0.0;

	for (uint32_t i = 0; e->normalise && i < e->columns; i++)
		sum += (double)row[i] * (double)row[i];
	if (sum > 0.0)
		e->context->kernels->scale(row, (float)(1.0 / sqrt(sum)), e->columns);
}

/* The rows of a step that belong to one text, of which @done tokens came before. */
static void pool_run(const struct embedding *e, const struct dn_embed_item *item,
		     const struct dn_run *run, uint32_t done, float *row)
{
	const struct dn_kernels *k = e->context->kernels;
	const uint32_t dim = e->columns;
	const float *x = e->context->step.x + (size_t)run->first * dim;
	const bool ends = done + run->n == item->n_tokens;

	if (e->pooling == DN_POOLING_NONE) {
		row += (size_t)done * dim;
		memcpy(row, x, (size_t)run->n * dim * sizeof(*row));
		for (uint32_t i = 0; i < run->n; i++)
			normalise(e, row + (size_t)i * dim);
		return;
	}
	if (e->pooling == DN_POOLING_MEAN) {
		if (done == 0)
			memset(row, 0, dim * sizeof(*row));
		for (uint32_t i = 0; i < run->n; i++)
			k->add_scaled(row, x + (size_t)i * dim, 1.0f, dim);
		if (ends)
			k->scale(row, 1.0f / (float)item->n_tokens, dim);
	} else if (e->pooling == DN_POOLING_CLS && done == 0) {
		memcpy(row, x, dim * sizeof(*row));
	} else if (e->pooling == DN_POOLING_LAST && ends) {
		memcpy(row, x + (size_t)(run->n - 1) * dim, dim * sizeof(*row));
	}
	if (ends)
		normalise(e, row);
}

static void tanh_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;

	(void)unused;
	s->kernels->softcap(s->x + (size_t)row * dim, 1.0f, dim);
}

static void softmax(float *scores, uint32_t n)
{
	double sum = 0.0;
	float most = scores[0];

	for (uint32_t i = 1; i < n; i++)
		most = DN_MAX(most, scores[i]);
	for (uint32_t i = 0; i < n; i++)
		sum += dn_exp((double)scores[i] - (double)most);
	for (uint32_t i = 0; i < n; i++)
		scores[i] = (float)(dn_exp((double)scores[i] - (double)most) / sum);
}

/* The head reads an encoder's first row, which stands for the whole, and else the last one. */
static void rank(const struct embedding *e)
{
	static const struct dn_norm none;
	struct dn_step *s = &e->context->step;
	const struct dn_globals *g = &s->model->globals;
	const uint32_t dim = s->model->hparams.dim;

	for (uint32_t i = 0; i < s->n_runs; i++) {
		const struct dn_run *run = &s->runs[i];
		const uint32_t at = run->first + (s->model->hparams.bidirectional ? 0 : run->n - 1);

		if (at != i)
			memcpy(s->x + (size_t)i * dim, s->x + (size_t)at * dim,
			       dim * sizeof(*s->x));
	}
	s->n = s->n_runs;
	if (g->rank_dense.w.rows) {
		dn_block_norm(s, &none);
		dn_products_add(s, &g->rank_dense, &s->normed, s->x, dim);
		dn_products_run(s);
		dn_for_rows(s, s->n, tanh_row, NULL, dim);
	}
	dn_block_norm(s, &none);
	dn_products_add(s, &g->rank_output, &s->normed, e->rows, e->columns);
	dn_products_run(s);
	for (uint32_t i = 0; s->model->hparams.rank_softmax && i < s->n; i++)
		softmax(e->rows + (size_t)i * e->columns, e->columns);
}

/* How many rows a text's embedding has. */
static uint32_t rows_of(const struct embedding *e, const struct dn_embed_item *item)
{
	return e->pooling == DN_POOLING_NONE ? item->n_tokens : 1;
}

/* What a step has computed: the next tokens of a long text, or @n whole texts. */
static void deliver(const struct embedding *e, const struct dn_embed_item *items, size_t n,
		    uint32_t done)
{
	struct dn_step *s = &e->context->step;
	float *row = e->rows;

	dn_block_final(s);
	if (e->pooling == DN_POOLING_RANK) {
		if (done + s->runs[0].n == items[0].n_tokens)
			rank(e);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		pool_run(e, &items[i], &s->runs[i], done, row);
		row += (size_t)rows_of(e, &items[i]) * e->columns;
	}
}

/* One text in as many steps as it takes, or several in one. */
static int embed_together(struct embedding *e, const struct dn_embed_item *items, size_t n,
			  struct dn_error *err)
{
	struct dn_context *c = e->context;
	struct dn_batch_item batch[DN_EMBED_TEXTS];
	uint32_t seconds[DN_EMBED_TEXTS];
	uint32_t done = 0;
	int r = 0;

	while (r >= 0 && done < items[0].n_tokens) {
		const uint32_t chunk = DN_MIN(items[0].n_tokens - done, c->batch);

		for (size_t i = 0; i < n; i++) {
			batch[i] = (struct dn_batch_item){ c->texts[i], items[i].tokens + done,
							   n > 1 ? items[i].n_tokens : chunk,
							   DN_LOGITS_NONE };
			seconds[i] = items[i].second;
		}
		r = dn_context_compute(c, batch, seconds, n, err);
		if (r >= 0)
			deliver(e, items, n, done);
		done += chunk;
	}
	for (size_t i = 0; i < n; i++) {
		(void)dn_sequence_cut(c->texts[i], 0);
		e->rows += (size_t)rows_of(e, &items[i]) * e->columns;
	}
	return r;
}

/* How many of the next texts one step takes: at least one. */
static size_t count_together(struct dn_context *c, const struct dn_embed_item *items, size_t n)
{
	uint64_t needs[DN_POOL_COUNT] = { 0 };
	uint64_t tokens = 0;
	size_t fit = 0;

	for (; fit < DN_MIN(n, (size_t)DN_EMBED_TEXTS); fit++) {
		bool room = true;

		tokens += items[fit].n_tokens;
		dn_sequence_needs(c->texts[fit], items[fit].n_tokens, needs);
		for (int p = 0; p < DN_POOL_COUNT; p++)
			room &= needs[p] <= c->kv.pools[p].n_free;
		if (tokens > c->batch || !room)
			break;
	}
	return DN_MAX(fit, (size_t)1);
}

static int check_texts(const struct dn_context *c, const struct dn_embed_item *items, size_t n,
		       struct dn_error *err)
{
	const uint32_t most = dn_context_embed_length(c);

	for (size_t i = 0; i < n; i++) {
		if (items[i].n_tokens == 0)
			return dn_error_set(err, EINVAL, "text %zu has no tokens", i);
		if (items[i].n_tokens > most)
			return dn_error_set(err, ENOBUFS,
					    "text %zu has %u tokens, the context room for %u", i,
					    items[i].n_tokens, most);
	}
	return 0;
}

static int make_texts(struct dn_context *c, struct dn_error *err)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < DN_EMBED_TEXTS; i++)
		if (!c->texts[i])
			r = dn_sequence_make(c, &c->texts[i], err);
	return r;
}

int dn_context_embed(struct dn_context *c, const struct dn_embed_item *items, size_t n_items,
		     const struct dn_embed_options *options, float *ret_rows, struct dn_error *err)
{
	struct embedding e = { c, DN_POOLING_DEFAULT, 0, true, ret_rows };
	size_t done = 0;
	int r;

	if (options && options->struct_size != sizeof(*options))
		return dn_error_set(err, EINVAL, "options of %zu bytes; this library's have %zu",
				    options->struct_size, sizeof(*options));
	if (options) {
		e.pooling = options->pooling;
		e.normalise = options->normalise;
	}
	r = dn_model_embeds(c->model, e.pooling, &e.columns, err);
	if (r >= 0)
		r = check_texts(c, items, n_items, err);
	if (r >= 0)
		r = make_texts(c, err);
	if (e.pooling == DN_POOLING_DEFAULT)
		e.pooling = c->model->hparams.pooling;
	while (r >= 0 && done < n_items) {
		const size_t n = count_together(c, items + done, n_items - done);

		r = embed_together(&e, items + done, n, err);
		done += n;
	}
	return r;
}
