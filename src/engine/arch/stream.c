/* SPDX-License-Identifier: MIT */
/* The residual stream: how it begins, how layers read it and add to it, how it ends as logits. */

#include <string.h>

#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "kernels/relay.h"

static void embed_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	float *x = s->x + (size_t)row * h->dim;

	(void)unused;
	dn_relay_row(&s->model->globals.embedding, s->rows[row].token, x);
}

static void scale_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;

	(void)unused;
	s->kernels->scale(s->x + (size_t)row * h->dim, h->embedding_scale, h->dim);
}

void dn_block_embed(struct dn_step *s)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_globals *g = &s->model->globals;

	dn_for_rows(s, s->n, embed_row, NULL, h->dim);
	if (g->embedding_adapters)
		dn_products_look_up(s, g->embedding_adapters, s->x, h->dim);
	if (h->embedding_scale != 1.0f)
		dn_for_rows(s, s->n, scale_row, NULL, h->dim);
}

static void norm(const struct dn_step *s, float *y, const float *x, const struct dn_norm *norm)
{
	const struct dn_hparams *h = &s->model->hparams;

	if (h->layer_norms)
		s->kernels->layer_norm(y, x, norm->weight, norm->bias, h->dim, h->epsilon);
	else
		s->kernels->rms_norm(y, x, norm->weight, h->dim, h->epsilon);
}

static void norm_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_norm *how = argument;
	const uint32_t dim = s->model->hparams.dim;
	float *y = s->normed.values + (size_t)row * s->normed.padded;
	const float *x = s->x + (size_t)row * dim;

	if (how->weight)
		norm(s, y, x, how);
	else
		memcpy(y, x, dim * sizeof(*y));
	dn_rows_quantise(s, &s->normed, row, dim);
}

void dn_block_norm(struct dn_step *s, const struct dn_norm *how)
{
	dn_for_rows(s, s->n, norm_row, how, s->model->hparams.dim);
}

static void norm_stream_row(struct dn_step *s, const void *argument, uint32_t row)
{
	float *x = s->x + (size_t)row * s->model->hparams.dim;

	norm(s, x, x, argument);
}

void dn_block_norm_stream(struct dn_step *s, const struct dn_norm *how)
{
	dn_for_rows(s, s->n, norm_stream_row, how, s->model->hparams.dim);
}

static void add_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_norm *how = argument;
	float *y = s->normed.values + (size_t)row * h->dim;

	if (how->weight)
		norm(s, y, y, how);
	s->kernels->add_scaled(s->x + (size_t)row * h->dim, y, h->residual_scale, h->dim);
}

void dn_block_add(struct dn_step *s, const struct dn_linear *w, const struct dn_rows *rows,
		  const struct dn_norm *how)
{
	/* What was normed has been read, so that its rows may hold what comes back. */
	dn_products_add(s, w, rows, s->normed.values, w->w.rows);
	dn_products_run(s);
	dn_for_rows(s, s->n, add_row, how, w->w.rows);
}

void dn_block_final(struct dn_step *s)
{
	if (s->model->globals.output_norm.weight)
		dn_block_norm_stream(s, &s->model->globals.output_norm);
}

static void finish_logits(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	float *logits = *(float *const *)argument + (size_t)row * h->vocabulary;

	if (h->logit_scale != 1.0f)
		s->kernels->scale(logits, h->logit_scale, h->vocabulary);
	if (h->logit_softcap > 0.0f)
		s->kernels->softcap(logits, h->logit_softcap, h->vocabulary);
}

void dn_block_logits(struct dn_step *s, float *logits)
{
	const struct dn_globals *g = &s->model->globals;
	const struct dn_hparams *h = &s->model->hparams;
	uint32_t wanted = 0;

	for (uint32_t row = 0; row < s->n; row++) {
		if (!s->rows[row].wanted)
			continue;
		if (wanted != row)
			memcpy(s->x + (size_t)wanted * h->dim, s->x + (size_t)row * h->dim,
			       h->dim * sizeof(*s->x));
		wanted++;
	}
	if (wanted == 0)
		return;
	s->n = wanted;
	dn_block_norm(s, &g->output_norm);
	dn_products_add(s, &g->output, &s->normed, logits, g->output.w.rows);
	dn_products_run(s);
	if (h->logit_scale != 1.0f || h->logit_softcap > 0.0f)
		dn_for_rows(s, s->n, finish_logits, &logits, h->vocabulary);
}
