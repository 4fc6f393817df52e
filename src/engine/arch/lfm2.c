/* SPDX-License-Identifier: MIT */
/*
 * LFM2: most layers are a short convolution between two gates that come from the same row, some
 * are attention with normed queries and keys (Liquid AI 2025).
 */

#include <stddef.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "engine/arch/recurrent.h"

static int bind_convolution(struct dn_model *m, uint32_t i, uint32_t taps, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_recurrent *c = &m->layers[i].recurrent;
	int r;

	c->channels = dim;
	c->convolution.w.columns = taps;
	r = dn_bind_norm(m, "blk.%u.attn_norm", i, dim, &m->layers[i].attention_norm, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.shortconv.in_proj", i, 3 * dim, dim, &c->in, err);
	if (r >= 0)
		r = dn_bind_convolution(m, "blk.%u.shortconv.conv", i, c, err);
	return r < 0 ? r
		     : dn_bind_linear(m, "blk.%u.shortconv.out_proj", i, dim, dim, &c->out, err);
}

static int bind(struct dn_model *m, struct dn_error *err)
{
	uint32_t taps = 0;
	int r;

	r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = dn_bind_refuse_above(m, "attention.sliding_window", 0, err);
	if (r >= 0)
		r = dn_bind_u32(m, "shortconv.l_cache", 2, DN_TAPS_MAX, &taps, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++) {
		if (m->layers[i].n_kv_heads) {
			r = dn_bind_attention(m, i, err);
			if (r >= 0)
				r = dn_bind_head_norms(m, i, err);
		} else {
			r = bind_convolution(m, i, taps, err);
		}
		if (r >= 0)
			r = dn_bind_ffn(m, i, err);
	}
	return r;
}

/* A row is three parts: the gate in front, the gate behind, what goes through. */
static void gate_in_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;
	float *mixed = s->mixed + row * s->mixed_stride;

	(void)unused;
	s->kernels->multiply(mixed, mixed, mixed + (size_t)2 * dim, dim);
}

static void gate_out_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;

	(void)unused;
	s->kernels->multiply(s->attended.values + (size_t)row * s->attended.padded,
			     s->mixed + row * s->mixed_stride + dim,
			     s->convolved + row * s->mixed_stride, dim);
	dn_rows_quantise(s, &s->attended, row, dim);
}

static void short_convolution(struct dn_step *s, const struct dn_recurrent *c)
{
	dn_products_add(s, &c->in, &s->normed, s->mixed, s->mixed_stride);
	dn_products_run(s);
	dn_for_rows(s, s->n, gate_in_row, NULL, c->channels);
	dn_convolve(s, c, 0);
	dn_for_rows(s, s->n, gate_out_row, NULL, c->channels);
}

static void layer(struct dn_step *s, uint32_t i)
{
	dn_layer_hybrid(s, i, short_convolution);
}

const struct dn_arch dn_arch_lfm2 = {
	.name = "lfm2",
	.bind = bind,
	.layer = layer,
	.rope_halves = true,
};
