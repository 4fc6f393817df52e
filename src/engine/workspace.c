/* SPDX-License-Identifier: MIT */
/* The arrays of a step, laid out one behind the other by the widest layer. */

#include <stddef.h>

#include "engine/adapter.h"
#include "engine/context.h"

#define LINEARS_MAX 4U /* products with adapters that are one job */
#define UP_GROUPS   4U /* of a whole batch, that a thread adds at once on an adapter's way up */

/*
 * Gives out 64-byte aligned places; with no base it only counts. Counts cannot overflow: the
 * bounds of hparams.c, recurrent layers and plan.c keep a row below 2^24 elements of 8 bytes and
 * rows below 2^22, so an array is below 2^50 bytes and the three dozen of them far below 2^64.
 */
struct layout {
	uint8_t *base;
	uint64_t used;
	uint32_t parts; /* of the rows: see struct dn_rows */
};

/* The widest of what layers need. */
struct widths {
	uint32_t heads; /* elements of all heads of a row */
	uint32_t qkv;
	uint32_t attended; /* what the projection back reads */
	uint32_t hidden;
	uint32_t mixed;
	uint32_t gates;
	uint32_t head_dim;
	size_t parts; /* of attention's spans, of all heads of a row */
};

static void *place(struct layout *l, uint64_t n, size_t size)
{
	void *at = l->base ? l->base + l->used : NULL;

	l->used += DN_ROUND_UP(n * size, (uint64_t)64);
	return at;
}

static void place_rows(struct layout *l, struct dn_rows *rows, uint64_t n, uint32_t columns)
{
	const uint32_t padded = DN_ROUND_UP(columns, (uint32_t)DN_BLOCK);
	const uint64_t elements = n * padded * l->parts;

	rows->parts = l->parts;
	rows->padded = padded;
	rows->values = place(l, n * padded, sizeof(float));
	rows->quants = place(l, elements, sizeof(int8_t));
	rows->scales = place(l, elements / DN_BLOCK, sizeof(float));
	rows->sums = place(l, elements / DN_BLOCK, sizeof(float));
	rows->biases = place(l, elements / DN_BLOCK, sizeof(int32_t));
	rows->pairs = place(l, elements / DN_BLOCK, 2 * sizeof(int16_t));
}

static void widen(struct widths *w, const struct dn_layer *l)
{
	const struct dn_recurrent *r = &l->recurrent;
	const uint32_t heads = l->n_heads * l->head_dim;
	const uint32_t queries = l->gated ? 2 * heads : heads;

	w->qkv = DN_MAX(w->qkv, queries + 2 * l->n_kv_heads * l->head_dim);
	w->attended = DN_MAX(w->attended, heads);
	w->hidden = DN_MAX(w->hidden, l->ffn_dim);
	if (l->n_heads) {
		w->head_dim = DN_MAX(w->head_dim, l->head_dim);
		w->parts = DN_MAX(w->parts, l->n_heads * dn_attention_part(l->head_dim));
	}
	if (!r->channels)
		return;
	w->attended = DN_MAX(w->attended, r->out.w.columns);
	w->hidden = DN_MAX(w->hidden, r->gate.w.rows);
	w->mixed = DN_MAX(w->mixed, DN_MAX(r->in.w.rows, r->channels));
	w->gates = DN_MAX(w->gates, 2 * r->heads);
}

static void place_experts(struct layout *l, struct dn_expert_rows *e, const struct dn_hparams *h,
			  uint64_t n)
{
	const uint64_t rows = n * h->experts_used;

	if (!h->experts)
		return;
	place_rows(l, &e->in, rows, h->dim);
	place_rows(l, &e->hidden, rows, h->expert_dim);
	e->up = place(l, rows * h->expert_dim, sizeof(float));
	e->out = place(l, rows * h->dim, sizeof(float));
	e->logits = place(l, n * h->experts, sizeof(float));
	e->chosen = place(l, rows, sizeof(uint32_t));
	e->weights = place(l, rows, sizeof(float));
	e->places = place(l, rows, sizeof(uint32_t));
	e->begins = place(l, h->experts + 1U, sizeof(uint32_t));
}

/*
 * Which experts a row goes to is decided by who is a little ahead: an error of 8-bit activations
 * sends some rows elsewhere, so that models with experts have theirs in two parts.
 */
static uint32_t parts_of(const struct dn_hparams *h)
{
	return h->experts ? 2 : 1;
}

static void place_apart(struct layout *l, struct dn_context *c, const struct widths *w)
{
	const struct dn_hparams *h = &c->model->hparams;
	const uint64_t experts = (uint64_t)h->experts_used * DN_MAX(2 * h->expert_dim, h->dim);
	const uint64_t dense = DN_MAX(DN_MAX(w->qkv, h->dim), h->experts); /* the router's too */
	const uint64_t row = DN_MAX(dense, experts);

	if (l->parts > 1)
		c->step.apart =
			place(l, 2 * DN_MAX(c->batch * row, (uint64_t)c->outputs * h->vocabulary),
			      sizeof(float));
}

/* With one thread nobody shares. */
static void place_attention(struct layout *l, struct dn_context *c, const struct widths *w,
			    uint32_t threads)
{
	const uint64_t spans = DN_DIV_ROUND_UP(c->length, DN_ATTENTION_SPAN);
	struct dn_step *s = &c->step;

	s->attention_stride = DN_ROUND_UP(dn_attention_scratch(w->head_dim), (size_t)16);
	s->attention_scratch = place(l, (uint64_t)threads * s->attention_stride, sizeof(float));
	if (threads > 1)
		s->attention_parts = place(l, DN_SHARED_TOKENS * spans * w->parts, sizeof(float));
}

static void place_recurrent(struct layout *l, struct dn_step *s, const struct widths *w, uint64_t n)
{
	s->mixed_stride = w->mixed;
	s->gates_stride = w->gates;
	s->mixed = place(l, n * w->mixed, sizeof(float));
	s->convolved = place(l, n * w->mixed, sizeof(float));
	s->gates = place(l, n * w->gates, sizeof(float));
}

/* What adapters take down of a step's rows and up again: see products.c. */
static void place_low(struct layout *l, struct dn_context *c, uint32_t threads)
{
	const uint64_t rank = dn_adapters_rank(c->model);
	struct dn_step *s = &c->step;

	if (!rank)
		return;
	s->low = place(l, c->batch * LINEARS_MAX * rank, sizeof(float));
	s->low_stride = (size_t)UP_GROUPS * DN_GROUP * DN_MAX(c->batch, (uint32_t)DN_GROUP);
	s->low_scratch = place(l, (uint64_t)threads * s->low_stride, sizeof(float));
}

uint64_t dn_workspace_lay(struct dn_context *c, uint32_t threads, uint8_t *base)
{
	const struct dn_hparams *h = &c->model->hparams;
	struct widths w = { .hidden = h->per_layer_dim, .head_dim = 1 };
	struct dn_step *s = &c->step;
	struct layout l = { base, 0, parts_of(h) };
	const uint64_t n = c->batch;

	for (uint32_t i = 0; i < h->n_layers; i++)
		widen(&w, &c->model->layers[i]);
	s->rows = place(&l, n, sizeof(*s->rows));
	s->runs = place(&l, n, sizeof(*s->runs));
	s->products = place(&l, DN_MAX(2U * h->experts, LINEARS_MAX * (1 + c->model->n_adapters)),
			    sizeof(*s->products));
	s->x = place(&l, n * h->dim, sizeof(float));
	place_rows(&l, &s->normed, n, h->dim);
	place_rows(&l, &s->attended, n, w.attended);
	place_rows(&l, &s->hidden, n, w.hidden);
	s->qkv_stride = w.qkv;
	s->qkv = place(&l, n * w.qkv, sizeof(float));
	s->up_stride = w.hidden;
	s->up = place(&l, n * w.hidden, sizeof(float));
	place_recurrent(&l, s, &w, n);
	s->per_layer = place(&l, n * h->n_layers * h->per_layer_dim, sizeof(float));
	place_experts(&l, &s->experts, h, n);
	place_apart(&l, c, &w);
	place_low(&l, c, threads);
	for (int i = 0; i < DN_ROPE_COUNT; i++) {
		s->cosines[i] = place(&l, n * h->ropes[i].dims / 2, sizeof(float));
		s->sines[i] = place(&l, n * h->ropes[i].dims / 2, sizeof(float));
		c->frequencies[i] = place(&l, h->ropes[i].dims / 2, sizeof(double));
	}
	place_attention(&l, c, &w, threads);
	c->logits = place(&l, (uint64_t)c->outputs * h->vocabulary, sizeof(float));
	return l.used;
}
