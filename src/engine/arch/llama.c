/* SPDX-License-Identifier: MIT */
/*
 * The llama family: Llama 1 to 3, Mistral, SmolLM2, TinyLlama. Pre-norm, grouped-query attention
 * with rotary positions on neighbouring pairs, SwiGLU (Touvron and others 2023).
 */

#include "engine/arch/blocks.h"
#include "engine/model.h"

static int bind_layer(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	const struct dn_hparams *h = &m->hparams;
	const uint32_t q_rows = h->n_heads * h->head_dim;
	const uint32_t kv_rows = h->n_kv_heads * h->head_dim;
	struct dn_layer *l = &m->layers[i];
	int r;

	r = dn_bind_vector(m, "blk.%u.attn_norm.weight", i, h->dim, &l->attention_norm, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.attn_q.weight", i, q_rows, h->dim, &l->q, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.attn_k.weight", i, kv_rows, h->dim, &l->k, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.attn_v.weight", i, kv_rows, h->dim, &l->v, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.attn_output.weight", i, h->dim, q_rows,
				   &l->attention_output, err);
	if (r >= 0)
		r = dn_bind_vector(m, "blk.%u.ffn_norm.weight", i, h->dim, &l->ffn_norm, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.ffn_gate.weight", i, h->ffn_dim, h->dim, &l->gate,
				   err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.ffn_up.weight", i, h->ffn_dim, h->dim, &l->up, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "blk.%u.ffn_down.weight", i, h->dim, h->ffn_dim, &l->down,
				   err);
	return r;
}

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	if (r >= 0 && dn_bind_has(m, "rope_freqs.weight", 0))
		r = dn_bind_vector(m, "rope_freqs.weight", 0, m->hparams.rope_dims / 2,
				   &m->globals.rope_factors, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++)
		r = bind_layer(m, i, err);
	return r;
}

static void layer(struct dn_step *s, uint32_t i)
{
	const struct dn_layer *l = &s->model->layers[i];

	dn_block_norm(s, l->attention_norm);
	dn_block_project_qkv(s, &l->q, &l->k, &l->v);
	dn_block_rope(s);
	dn_block_attend(s, i);
	dn_block_project_attention(s, &l->attention_output);
	dn_block_norm(s, l->ffn_norm);
	dn_block_swiglu(s, &l->gate, &l->up, &l->down);
}

const struct dn_arch dn_arch_llama = {
	.name = "llama",
	.bind = bind,
	.layer = layer,
	.rope_halves = false,
};
