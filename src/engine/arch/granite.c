/* SPDX-License-Identifier: MIT */
/*
 * Granite 3 and 4: llama with factors on the embedding, the scores, what is added to the residual
 * stream, and the logits. The hybrids have Mamba 2 (Dao and Gu 2024) in most layers in place of
 * attention; those with experts are not run.
 */

#include <stdio.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "engine/arch/recurrent.h"
#include "kernels/math.h"

static int bind_scales(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	float divisor = 1.0f;
	float attention = 0.0f;
	int r;

	r = dn_bind_f32(m, "logit_scale", 1e-6, 1e6, &divisor, err);
	if (r >= 0)
		r = dn_bind_f32(m, "residual_scale", 0.0, 1e6, &h->residual_scale, err);
	if (r >= 0)
		r = dn_bind_f32(m, "embedding_scale", 0.0, 1e6, &h->embedding_scale, err);
	if (r >= 0)
		r = dn_bind_f32(m, "attention.scale", 0.0, 1e6, &attention, err);
	/* 0 stands for what is usual. */
	h->attention_scale = attention > 0.0f ? attention : h->attention_scale;
	h->residual_scale = h->residual_scale > 0.0f ? h->residual_scale : 1.0f;
	h->embedding_scale = h->embedding_scale > 0.0f ? h->embedding_scale : 1.0f;
	h->logit_scale = 1.0f / divisor;
	return r;
}

/* Positions play no role in files that say so. */
static int bind_positions(struct dn_model *m, struct dn_error *err)
{
	bool rotary = true;
	char key[64];
	int r;

	(void)snprintf(key, sizeof(key), "%s.rope.scaling.finetuned", m->arch->name);
	r = dn_gguf_get_bool(m->gguf, key, &rotary, err);
	for (uint32_t i = 0; r >= 0 && !rotary && i < m->hparams.n_layers; i++)
		m->layers[i].rope = DN_ROPE_NONE;
	return r < 0 ? r : 0;
}

static int bind_begin(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = bind_scales(m, err);
	if (r >= 0)
		r = bind_positions(m, err);
	return r < 0 ? r : dn_bind_globals(m, err);
}

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = bind_begin(m, err);
	if (r >= 0)
		r = dn_bind_rope_factors(m, err);
	return r < 0 ? r : dn_bind_layers(m, err);
}

const struct dn_arch dn_arch_granite = {
	.name = "granite",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = false,
};

/* Columns of what ssm_in gives: gate, values, keys, queries, time steps. */
static uint32_t inner(const struct dn_recurrent *d)
{
	return d->heads * d->values;
}

static int bind_mamba(struct dn_model *m, uint32_t i, const struct dn_recurrent *shape,
		      struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_recurrent *d = &m->layers[i].recurrent;
	int r;

	*d = *shape;
	r = dn_bind_norm(m, "blk.%u.attn_norm", i, dim, &m->layers[i].attention_norm, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ssm_in", i, inner(d) + d->channels + d->heads, dim,
				   &d->in, err);
	if (r >= 0)
		r = dn_bind_convolution(m, "blk.%u.ssm_conv1d", i, d, err);
	if (r >= 0)
		r = dn_bind_vector(m, "blk.%u.ssm_dt.bias", i, d->heads, &d->time_bias, err);
	/* One number a head, in files as rows of one column. */
	if (r >= 0)
		r = dn_bind_rows_vector(m, "blk.%u.ssm_a", i, 1, d->heads, &d->a, err);
	if (r >= 0)
		r = dn_bind_rows_vector(m, "blk.%u.ssm_d", i, 1, d->heads, &d->d, err);
	if (r >= 0)
		r = dn_bind_rows_vector(m, "blk.%u.ssm_norm.weight", i, inner(d) / d->groups,
					d->groups, &d->norm, err);
	return r < 0 ? r : dn_bind_linear(m, "blk.%u.ssm_out", i, dim, inner(d), &d->out, err);
}

static int bind_hybrid(struct dn_model *m, struct dn_error *err)
{
	struct dn_recurrent shape;
	int r;

	r = dn_bind_recurrent_shape(m, &shape, err);
	if (r < 0)
		return r;
	shape.channels = inner(&shape) + 2 * shape.groups * shape.keys;
	r = bind_begin(m, err);
	if (r >= 0)
		r = dn_bind_rope_factors(m, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++) {
		r = m->layers[i].n_kv_heads ? dn_bind_attention(m, i, err)
					    : bind_mamba(m, i, &shape, err);
		if (r >= 0)
			r = dn_bind_ffn(m, i, err);
	}
	return r;
}

static void prepare_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_recurrent *d = argument;
	float *mixed = s->convolved + row * s->mixed_stride;
	const float *steps = s->mixed + row * s->mixed_stride + inner(d) + d->channels;
	float *gates = s->gates + row * s->gates_stride;

	s->kernels->activate(DN_ACTIVATION_SILU, mixed, mixed, NULL, d->channels);
	for (uint32_t h = 0; h < d->heads; h++) {
		double step = dn_softplus((double)steps[h] + (double)d->time_bias[h]);

		gates[h] = (float)dn_exp((double)d->a[h] * step);
		gates[d->heads + h] = (float)step;
	}
}

static void finish_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_recurrent *d = argument;
	const uint32_t group = inner(d) / d->groups;
	const float *values = s->convolved + row * s->mixed_stride;
	const float *gate = s->mixed + row * s->mixed_stride;
	float *out = s->attended.values + (size_t)row * s->attended.padded;

	for (uint32_t h = 0; h < d->heads; h++)
		s->kernels->add_scaled(out + (size_t)h * d->values, values + (size_t)h * d->values,
				       d->d[h], d->values);
	s->kernels->activate(DN_ACTIVATION_SILU, out, gate, out, inner(d));
	for (uint32_t g = 0; g < d->groups; g++)
		s->kernels->rms_norm(out + (size_t)g * group, out + (size_t)g * group,
				     d->norm + (size_t)g * group, group, s->model->hparams.epsilon);
	dn_rows_quantise(s, &s->attended, row, inner(d));
}

static void mamba(struct dn_step *s, const struct dn_recurrent *d)
{
	const struct dn_scan scan = {
		.layer = d,
		.values_at = 0,
		.keys_at = inner(d),
		.queries_at = inner(d) + d->groups * d->keys,
		.grouped = true,
	};

	dn_products_add(s, &d->in, &s->normed, s->mixed, s->mixed_stride);
	dn_products_run(s);
	dn_convolve(s, d, inner(d));
	dn_for_rows(s, s->n, prepare_row, d, 4 * d->channels);
	dn_scan_run(s, &scan);
	dn_for_rows(s, s->n, finish_row, d, 2 * inner(d));
}

static void layer_hybrid(struct dn_step *s, uint32_t i)
{
	dn_layer_hybrid(s, i, mamba);
}

const struct dn_arch dn_arch_granitehybrid = {
	.name = "granitehybrid",
	.bind = bind_hybrid,
	.layer = layer_hybrid,
	.rope_halves = false,
};
