/* SPDX-License-Identifier: MIT */
/*
 * Gemma 4: as Gemma 3, with heads of two sizes, the last layers reading the keys and values of
 * earlier ones, values normed, no scale on scores, only part of a long head turning (by infinite
 * factors on the rest), and an embedding of its own for every layer (as Gemma 3n has it).
 */

#include <errno.h>
#include <math.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"
#include "engine/arch/products.h"
#include "kernels/relay.h"

#define PER_LAYER_MAX 4096U

/* Shapes of the layers with a window, which differ from the others'. */
static int bind_window_layers(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	struct dn_rope *rope = &h->ropes[DN_ROPE_WINDOW];
	uint32_t head_dim = h->head_dim;
	uint32_t value_dim;
	int r;

	r = dn_bind_windows(m, 6, err);
	if (r >= 0)
		r = dn_bind_optional_u32(m, "attention.key_length_swa", 2, 512, &head_dim, err);
	value_dim = head_dim;
	if (r >= 0)
		r = dn_bind_optional_u32(m, "attention.value_length_swa", 2, 512, &value_dim, err);
	if (r >= 0 && value_dim != head_dim)
		return dn_error_set(err, ENOTSUP,
				    "attention.value_length_swa is %u where keys have %u",
				    value_dim, head_dim);
	*rope = h->ropes[DN_ROPE_GLOBAL];
	rope->dims = head_dim;
	rope->base = 10000.0;
	rope->scale = 1.0;
	if (r >= 0)
		r = dn_bind_optional_u32(m, "rope.dimension_count_swa", 2, head_dim, &rope->dims,
					 err);
	if (r >= 0)
		r = dn_bind_f64(m, "rope.freq_base_swa", 1.0, 1e12, &rope->base, err);
	if (r >= 0 && rope->dims % 2)
		return dn_error_set(err, EINVAL, "rope.dimension_count_swa is odd");
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++)
		if (m->layers[i].window)
			m->layers[i].head_dim = head_dim;
	return r < 0 ? r : 0;
}

/* The last layers read what the last layer of their kind before them stored. */
static int share_caches(struct dn_model *m, struct dn_error *err)
{
	uint32_t shared = 0;
	uint32_t first;
	int r;

	r = dn_bind_optional_u32(m, "attention.shared_kv_layers", 0, m->hparams.n_layers - 1,
				 &shared, err);
	if (r < 0)
		return r;
	first = m->hparams.n_layers - shared;
	for (uint32_t i = first; i < m->hparams.n_layers; i++) {
		struct dn_layer *l = &m->layers[i];
		uint32_t from = first;

		while (from > 0 && (m->layers[from - 1].window != l->window ||
				    m->layers[from - 1].n_kv_heads != l->n_kv_heads))
			from--;
		if (from == 0)
			return dn_error_set(err, EINVAL,
					    "layer %u shares keys with no layer before it", i);
		l->cache = from - 1;
	}
	return 0;
}

/* Without them all of a head would turn, to an answer that looks like one. */
static int bind_rope_factors(struct dn_model *m, struct dn_error *err)
{
	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		if (!m->layers[i].window && !dn_bind_has(m, "rope_freqs.weight", 0))
			return dn_error_set(err, EINVAL,
					    "the file lacks tensor 'rope_freqs.weight'");
	return dn_bind_rope_factors(m, err);
}

static int bind_per_layer(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	struct dn_globals *g = &m->globals;
	const uint32_t all = h->n_layers * h->per_layer_dim;
	int r;

	if (!h->per_layer_dim)
		return 0;
	if (h->per_layer_dim % DN_BLOCK)
		return dn_error_set(err, ENOTSUP,
				    "embedding_length_per_layer_input is %u, no multiple of %d",
				    h->per_layer_dim, DN_BLOCK);
	r = dn_bind_matrix(m, "per_layer_token_embd.weight", 0, h->vocabulary, all,
			   &g->per_layer_embedding, err);
	if (r >= 0)
		r = dn_bind_linear(m, "per_layer_model_proj", 0, all, h->dim, &g->per_layer_project,
				   err);
	if (r >= 0)
		r = dn_bind_vector(m, "per_layer_proj_norm.weight", 0, h->per_layer_dim,
				   &g->per_layer_norm, err);
	return r;
}

static int bind_layer(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	const struct dn_hparams *h = &m->hparams;
	struct dn_layer *l = &m->layers[i];
	int r;

	r = dn_bind_attention(m, i, err);
	if (r >= 0)
		r = dn_bind_head_norms(m, i, err);
	if (r >= 0)
		r = dn_bind_norm(m, "blk.%u.post_attention_norm", i, h->dim,
				 &l->attention_post_norm, err);
	if (r >= 0)
		r = dn_bind_ffn(m, i, err);
	if (r >= 0)
		r = dn_bind_norm(m, "blk.%u.post_ffw_norm", i, h->dim, &l->ffn_post_norm, err);
	if (r >= 0)
		r = dn_bind_optional_vector(m, "blk.%u.layer_output_scale.weight", i, 1,
					    &l->output_scale, err);
	if (r < 0 || !h->per_layer_dim)
		return r;
	r = dn_bind_linear(m, "blk.%u.inp_gate", i, h->per_layer_dim, h->dim, &l->per_layer_gate,
			   err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.proj", i, h->dim, h->per_layer_dim,
				   &l->per_layer_project, err);
	return r < 0 ? r : dn_bind_norm(m, "blk.%u.post_norm", i, h->dim, &l->per_layer_norm, err);
}

static int bind(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	h->embedding_scale = sqrtf((float)h->dim);
	h->activation = DN_ACTIVATION_GELU;
	h->attention_scale = 1.0f;
	h->value_norm = true;
	r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = dn_bind_f32(m, "final_logit_softcapping", 0.0, 1e6, &h->logit_softcap, err);
	if (r >= 0)
		r = dn_bind_optional_u32(m, "embedding_length_per_layer_input", 0, PER_LAYER_MAX,
					 &h->per_layer_dim, err);
	if (r >= 0)
		r = bind_window_layers(m, err);
	if (r >= 0)
		r = share_caches(m, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	if (r >= 0)
		r = bind_rope_factors(m, err);
	if (r >= 0)
		r = bind_per_layer(m, err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++)
		r = bind_layer(m, i, err);
	return r;
}

/* What each layer gets of a token: its own embedding, and a projection of the common one. */
static void per_layer_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_globals *g = &s->model->globals;
	const uint32_t all = h->n_layers * h->per_layer_dim;
	float *projected = s->per_layer + (size_t)row * all;
	float *embedded = s->up + row * s->up_stride;

	(void)unused;
	s->kernels->scale(projected, 1.0f / sqrtf((float)h->dim), all);
	for (uint32_t i = 0; i < h->n_layers; i++) {
		float *part = projected + (size_t)i * h->per_layer_dim;

		s->kernels->rms_norm(part, part, g->per_layer_norm, h->per_layer_dim, h->epsilon);
		dn_relay_part(&g->per_layer_embedding, s->rows[row].token, i * h->per_layer_dim,
			      h->per_layer_dim, embedded);
		s->kernels->add_scaled(part, embedded, sqrtf((float)h->per_layer_dim),
				       h->per_layer_dim);
	}
	s->kernels->scale(projected, sqrtf(0.5f), all);
}

static void embed(struct dn_step *s)
{
	const struct dn_hparams *h = &s->model->hparams;
	const struct dn_norm none = { NULL, NULL };
	const uint32_t all = h->n_layers * h->per_layer_dim;

	dn_block_embed(s);
	if (!all)
		return;
	dn_block_norm(s, &none);
	dn_products_add(s, &s->model->globals.per_layer_project, &s->normed, s->per_layer, all);
	dn_products_run(s);
	dn_for_rows(s, s->n, per_layer_row, NULL, all);
}

static void gate_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const uint32_t layer = *(const uint32_t *)argument;
	const size_t at = ((size_t)row * h->n_layers + layer) * h->per_layer_dim;
	float *hidden = s->hidden.values + (size_t)row * s->hidden.padded;

	s->kernels->activate(h->activation, hidden, hidden, s->per_layer + at, h->per_layer_dim);
	dn_rows_quantise(s, &s->hidden, row, h->per_layer_dim);
}

static void scale_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;

	s->kernels->scale(s->x + (size_t)row * dim, *(const float *)argument, dim);
}

static void layer(struct dn_step *s, uint32_t i)
{
	const struct dn_layer *l = &s->model->layers[i];
	const struct dn_norm none = { NULL, NULL };

	dn_layer_transformer(s, i);
	if (l->per_layer_gate.w.rows) {
		dn_block_norm(s, &none);
		dn_products_add(s, &l->per_layer_gate, &s->normed, s->hidden.values,
				s->hidden.padded);
		dn_products_run(s);
		dn_for_rows(s, s->n, gate_row, &i, s->model->hparams.per_layer_dim);
		dn_block_add(s, &l->per_layer_project, &s->hidden, &l->per_layer_norm);
	}
	if (l->output_scale)
		dn_for_rows(s, s->n, scale_row, l->output_scale, s->model->hparams.dim);
}

const struct dn_arch dn_arch_gemma4 = {
	.name = "gemma4",
	.bind = bind,
	.embed = embed,
	.layer = layer,
	.rope_halves = true,
};
