/* SPDX-License-Identifier: MIT */
/*
 * Gemma 2 and 3: embeddings scaled by sqrt(dim), norms before and behind each part of a layer,
 * GELU, most layers see a window. Gemma 2 caps its scores and logits; Gemma 3 norms queries and
 * keys, and turns positions in windows by a base of their own (Gemma teams 2024, 2025).
 */

#include <math.h>

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

#define LAYERS_OF_27B_2 46U
#define LAYERS_OF_27B_3 62U

static int bind_caps(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	r = dn_bind_f32(m, "attn_logit_softcapping", 0.0, 1e6, &h->attention_softcap, err);
	if (r >= 0)
		r = dn_bind_f32(m, "final_logit_softcapping", 0.0, 1e6, &h->logit_softcap, err);
	return r;
}

/* Layers of windows turn at @base and unscaled where the file does not say otherwise. */
static int bind_window_rope(struct dn_model *m, double base, double scale, struct dn_error *err)
{
	struct dn_rope *ropes = m->hparams.ropes;

	ropes[DN_ROPE_WINDOW] = ropes[DN_ROPE_GLOBAL];
	ropes[DN_ROPE_WINDOW].base = base;
	ropes[DN_ROPE_WINDOW].scale = scale;
	return dn_bind_f64(m, "rope.freq_base_swa", 1.0, 1e12, &ropes[DN_ROPE_WINDOW].base, err);
}

static int bind_layer(struct dn_model *m, uint32_t i, bool head_norms, struct dn_error *err)
{
	const uint32_t dim = m->hparams.dim;
	struct dn_layer *l = &m->layers[i];
	int r;

	r = dn_bind_attention(m, i, err);
	if (r >= 0 && head_norms)
		r = dn_bind_head_norms(m, i, err);
	if (r >= 0)
		r = dn_bind_norm(m, "blk.%u.post_attention_norm", i, dim, &l->attention_post_norm,
				 err);
	if (r >= 0)
		r = dn_bind_ffn(m, i, err);
	return r < 0 ? r : dn_bind_norm(m, "blk.%u.post_ffw_norm", i, dim, &l->ffn_post_norm, err);
}

static int bind_all(struct dn_model *m, bool head_norms, uint32_t layers_of_27b,
		    struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	h->embedding_scale = sqrtf((float)h->dim);
	h->activation = DN_ACTIVATION_GELU;
	/* The largest of a generation scales by the width of a head's share, not of a head. */
	if (h->n_layers == layers_of_27b)
		h->attention_scale = 1.0f / sqrtf((float)h->dim / (float)h->n_heads);
	r = dn_bind_globals(m, err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++)
		r = bind_layer(m, i, head_norms, err);
	return r;
}

static int bind_2(struct dn_model *m, struct dn_error *err)
{
	const struct dn_rope *rope = &m->hparams.ropes[DN_ROPE_GLOBAL];
	int r;

	m->hparams.window = 4096;
	m->hparams.attention_softcap = 50.0f;
	m->hparams.logit_softcap = 30.0f;
	r = bind_caps(m, err);
	if (r >= 0)
		r = bind_window_rope(m, rope->base, rope->scale, err);
	if (r >= 0)
		r = dn_bind_windows(m, 2, err);
	return r < 0 ? r : bind_all(m, false, LAYERS_OF_27B_2, err);
}

static int bind_3(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = bind_caps(m, err);
	if (r >= 0)
		r = bind_window_rope(m, 10000.0, 1.0, err);
	if (r >= 0)
		r = dn_bind_windows(m, 6, err);
	return r < 0 ? r : bind_all(m, true, LAYERS_OF_27B_3, err);
}

const struct dn_arch dn_arch_gemma2 = {
	.name = "gemma2",
	.bind = bind_2,
	.layer = dn_layer_transformer,
	.rope_halves = true,
};

const struct dn_arch dn_arch_gemma3 = {
	.name = "gemma3",
	.bind = bind_3,
	.layer = dn_layer_transformer,
	.rope_halves = true,
};
