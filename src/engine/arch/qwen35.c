/* SPDX-License-Identifier: MIT */
/*
 * Qwen 3.5: three layers of gated delta net (Yang, Kautz, Hatamizadeh 2024) to one of attention
 * whose output has a gate. Only the text is run; position sections for images are all the same
 * position in it.
 */

#include <math.h>
#include <stddef.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "engine/arch/recurrent.h"
#include "kernels/math.h"

static int bind_recurrent(struct dn_model *m, uint32_t i, const struct dn_recurrent *shape,
			  struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	const uint32_t values = shape->heads * shape->values;
	struct dn_recurrent *d = &m->layers[i].recurrent;
	int r;

	*d = *shape;
	m->layers[i].n_heads = m->layers[i].n_kv_heads = 0;
	r = dn_bind_norm(m, "blk.%u.attn_norm", i, dim, &m->layers[i].attention_norm, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.attn_qkv", i, d->channels, dim, &d->in, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.attn_gate", i, values, dim, &d->gate, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ssm_alpha", i, d->heads, dim, &d->alpha, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ssm_beta", i, d->heads, dim, &d->beta, err);
	if (r >= 0)
		r = dn_bind_convolution(m, "blk.%u.ssm_conv1d", i, d, err);
	if (r >= 0)
		r = dn_bind_vector(m, "blk.%u.ssm_a", i, d->heads, &d->a, err);
	if (r >= 0)
		r = dn_bind_vector(m, "blk.%u.ssm_dt.bias", i, d->heads, &d->time_bias, err);
	if (r >= 0)
		r = dn_bind_vector(m, "blk.%u.ssm_norm.weight", i, d->values, &d->norm, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ssm_out", i, dim, values, &d->out, err);
	return r;
}

/* @shape: NULL where the layer is not recurrent */
static int bind_layer(struct dn_model *m, uint32_t i, const struct dn_recurrent *shape,
		      struct dn_error *err)
{
	struct dn_layer *l = &m->layers[i];
	int r;

	if (!shape) {
		l->gated = true;
		r = dn_bind_attention(m, i, err);
		if (r >= 0)
			r = dn_bind_head_norms(m, i, err);
	} else {
		r = bind_recurrent(m, i, shape, err);
	}
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_gate", i, l->ffn_dim, m->hparams.dim, &l->gate,
				   err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_up", i, l->ffn_dim, m->hparams.dim, &l->up, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_down", i, m->hparams.dim, l->ffn_dim, &l->down,
				   err);
	return r < 0 ? r
		     : dn_bind_norm(m, "blk.%u.post_attention_norm", i, m->hparams.dim,
				    &l->ffn_norm, err);
}

static int bind(struct dn_model *m, struct dn_error *err)
{
	bool recurrent[DN_LAYERS_MAX];
	struct dn_recurrent shape;
	uint32_t interval = 4;
	int r;

	r = dn_bind_recurrent_shape(m, &shape, err);
	if (r >= 0)
		r = dn_bind_optional_u32(m, "full_attention_interval", 1, DN_LAYERS_MAX, &interval,
					 err);
	if (r >= 0)
		r = dn_bind_pattern(m, "attention.recurrent_layers", interval, recurrent, err);
	if (r < 0)
		return r;
	shape.channels = 2 * shape.groups * shape.keys + shape.heads * shape.values;
	r = dn_bind_globals(m, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++)
		r = bind_layer(m, i, recurrent[i] ? &shape : NULL, err);
	return r;
}

/* x / sqrt(sum x^2 + epsilon) * scale */
static void unit_length(const struct dn_step *s, float *x, uint32_t n, float scale)
{
	const float root = (float)n;

	s->kernels->rms_norm(x, x, NULL, n, s->model->hparams.epsilon / root);
	s->kernels->scale(x, scale, n);
}

static void prepare_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_recurrent *d = argument;
	float *mixed = s->convolved + row * s->mixed_stride;
	float *gates = s->gates + row * s->gates_stride;
	const double root = 1.0 / sqrt((double)d->keys);

	s->kernels->activate(DN_ACTIVATION_SILU, mixed, mixed, NULL, d->channels);
	for (uint32_t g = 0; g < d->groups; g++) {
		/* Queries also by 1 / sqrt(keys), as in attention. */
		unit_length(s, mixed + (size_t)g * d->keys, d->keys, (float)(root * root));
		unit_length(s, mixed + ((size_t)d->groups + g) * d->keys, d->keys, (float)root);
	}
	for (uint32_t h = 0; h < d->heads; h++) {
		double rate = dn_softplus((double)gates[h] + (double)d->time_bias[h]);

		gates[h] = (float)dn_exp((double)d->a[h] * rate);
	}
	s->kernels->activate(DN_ACTIVATION_SIGMOID, gates + d->heads, gates + d->heads, NULL,
			     d->heads);
}

static void finish_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_recurrent *d = argument;
	float *out = s->attended.values + (size_t)row * s->attended.padded;
	const float *gate = s->hidden.values + (size_t)row * s->hidden.padded;
	const uint32_t n = d->heads * d->values;

	for (uint32_t h = 0; h < d->heads; h++)
		s->kernels->rms_norm(out + (size_t)h * d->values, out + (size_t)h * d->values,
				     d->norm, d->values, s->model->hparams.epsilon);
	s->kernels->activate(DN_ACTIVATION_SILU, out, gate, out, n);
	dn_rows_quantise(s, &s->attended, row, n);
}

static void delta_net(struct dn_step *s, const struct dn_recurrent *d)
{
	const uint32_t keys = d->groups * d->keys;
	const struct dn_scan scan = {
		.layer = d,
		.queries_at = 0,
		.keys_at = keys,
		.values_at = 2 * keys,
		.delta = true,
	};

	dn_products_add(s, &d->in, &s->normed, s->mixed, s->mixed_stride);
	dn_products_add(s, &d->gate, &s->normed, s->hidden.values, s->hidden.padded);
	dn_products_add(s, &d->alpha, &s->normed, s->gates, s->gates_stride);
	dn_products_add(s, &d->beta, &s->normed, s->gates + d->heads, s->gates_stride);
	dn_products_run(s);
	dn_convolve(s, d, 0);
	dn_for_rows(s, s->n, prepare_row, d, 4 * d->channels);
	dn_scan_run(s, &scan);
	dn_for_rows(s, s->n, finish_row, d, 2 * d->heads * d->values);
}

static void layer(struct dn_step *s, uint32_t i)
{
	dn_layer_hybrid(s, i, delta_net);
}

const struct dn_arch dn_arch_qwen35 = {
	.name = "qwen35",
	.bind = bind,
	.layer = layer,
	.rope_halves = true,
};
