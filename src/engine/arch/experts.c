/* SPDX-License-Identifier: MIT */
/*
 * A mixture of experts. Rows are put in the order of the experts that they chose, so that each
 * expert's weights are read once a step; what they give is added to a row in the order of its own
 * choice, best first, whoever else was in the step.
 */

#include <string.h>

#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "kernels/math.h"

/* The @used best of a row's logits, of equal ones the first, and their softmax among each other. */
static void choose_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const float *logits = s->experts.logits + (size_t)row * h->experts;
	uint32_t *chosen = s->experts.chosen + (size_t)row * h->experts_used;
	float *weights = s->experts.weights + (size_t)row * h->experts_used;
	uint32_t n = 0;
	double sum = 0.0;

	(void)unused;
	for (uint32_t e = 0; e < h->experts; e++) {
		uint32_t at = n;

		while (at > 0 && logits[chosen[at - 1]] < logits[e])
			at--;
		if (at == h->experts_used)
			continue;
		n = DN_MIN(n + 1, h->experts_used);
		memmove(&chosen[at + 1], &chosen[at], (n - at - 1) * sizeof(*chosen));
		chosen[at] = e;
	}
	for (uint32_t i = 0; i < n; i++)
		sum += dn_exp((double)logits[chosen[i]] - (double)logits[chosen[0]]);
	for (uint32_t i = 0; i < n; i++)
		weights[i] = (float)(dn_exp((double)logits[chosen[i]] - (double)logits[chosen[0]]) /
				     sum);
}

/* Where each choice's row goes: behind those of lower experts and of earlier rows. */
static void place_rows(struct dn_step *s)
{
	const struct dn_hparams *h = &s->model->hparams;
	struct dn_expert_rows *e = &s->experts;
	const uint32_t n = s->n * h->experts_used;

	memset(e->begins, 0, (h->experts + 1U) * sizeof(*e->begins));
	for (uint32_t i = 0; i < n; i++)
		e->begins[e->chosen[i] + 1]++;
	for (uint32_t i = 0; i < h->experts; i++)
		e->begins[i + 1] += e->begins[i];
	for (uint32_t i = 0; i < n; i++)
		e->places[i] = e->begins[e->chosen[i]]++;
	/* Filling has moved each begin to its end: the next one's begin. */
	memmove(e->begins + 1, e->begins, h->experts * sizeof(*e->begins));
	e->begins[0] = 0;
}

static void gather_row(struct dn_step *s, const void *unused, uint32_t choice)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_rows *from = &s->normed;
	struct dn_rows *to = &s->experts.in;
	const size_t row = choice / h->experts_used;
	const size_t place = s->experts.places[choice];
	const size_t elements = (size_t)from->parts * from->padded;
	const size_t at = row * elements;
	const size_t out = place * elements;
	const size_t blocks = elements / DN_BLOCK;

	(void)unused;
	memcpy(to->values + place * to->padded, from->values + row * from->padded,
	       from->padded * sizeof(*to->values));
	memcpy(to->quants + out, from->quants + at, elements * sizeof(*to->quants));
	memcpy(to->scales + out / DN_BLOCK, from->scales + at / DN_BLOCK,
	       blocks * sizeof(*to->scales));
	memcpy(to->sums + out / DN_BLOCK, from->sums + at / DN_BLOCK, blocks * sizeof(*to->sums));
	memcpy(to->biases + out / DN_BLOCK, from->biases + at / DN_BLOCK,
	       blocks * sizeof(*to->biases));
	memcpy(to->pairs + out / DN_BLOCK * 2, from->pairs + at / DN_BLOCK * 2,
	       blocks * 2 * sizeof(*to->pairs));
}

/* The matrix of one expert. */
static struct dn_matrix matrix_of(const struct dn_matrix *all, uint32_t experts, uint32_t expert)
{
	struct dn_matrix w = *all;

	w.rows = all->rows / experts;
	w.data = all->data + (size_t)expert * (w.rows / DN_GROUP) * w.group_bytes;
	return w;
}

static void add_products(struct dn_step *s, const struct dn_matrix *all, const struct dn_rows *rows,
			 float *y, size_t y_stride)
{
	const uint32_t experts = s->model->hparams.experts;

	for (uint32_t e = 0; e < experts; e++) {
		const uint32_t first = s->experts.begins[e];
		const struct dn_matrix w = matrix_of(all, experts, e);

		if (s->experts.begins[e + 1] > first)
			dn_products_add_rows(s, &w, rows, first, s->experts.begins[e + 1] - first,
					     y + first * y_stride, y_stride);
	}
}

static void activate_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	struct dn_expert_rows *e = &s->experts;
	float *hidden = e->hidden.values + (size_t)row * e->hidden.padded;

	(void)unused;
	s->kernels->activate(h->activation, hidden, hidden, e->up + (size_t)row * h->expert_dim,
			     h->expert_dim);
	dn_rows_quantise(s, &e->hidden, row, h->expert_dim);
}

static void combine_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_expert_rows *e = &s->experts;

	(void)unused;
	for (uint32_t i = row * h->experts_used; i < (row + 1) * h->experts_used; i++)
		s->kernels->add_scaled(s->x + (size_t)row * h->dim,
				       e->out + (size_t)e->places[i] * h->dim,
				       e->weights[i] * h->residual_scale, h->dim);
}

void dn_block_experts(struct dn_step *s, uint32_t layer)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_experts *w = &s->model->layers[layer].experts;
	struct dn_expert_rows *e = &s->experts;
	const uint32_t n = s->n * h->experts_used;

	dn_products_add(s, &w->router, &s->normed, e->logits, h->experts);
	dn_products_run(s);
	dn_for_rows(s, s->n, choose_row, NULL, h->experts * h->experts_used);
	place_rows(s);
	dn_for_rows(s, n, gather_row, NULL, h->dim);
	add_products(s, &w->gate, &e->in, e->hidden.values, e->hidden.padded);
	add_products(s, &w->up, &e->in, e->up, h->expert_dim);
	dn_products_run(s);
	dn_for_rows(s, n, activate_row, NULL, h->expert_dim);
	add_products(s, &w->down, &e->hidden, e->out, h->dim);
	dn_products_run(s);
	dn_for_rows(s, s->n, combine_row, NULL, h->dim);
}
