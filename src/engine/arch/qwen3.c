/* SPDX-License-Identifier: MIT */
/* Qwen 3: every head's queries and keys are normed before they turn; dense, or with experts. */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	/* The reranker's two outputs are logits of yes and no. */
	m->hparams.rank_softmax = true;
	r = dn_bind_globals(m, err);
	if (r >= 0)
		r = dn_bind_rank_head(m, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++) {
		r = dn_bind_attention(m, i, err);
		if (r >= 0)
			r = dn_bind_head_norms(m, i, err);
		if (r >= 0)
			r = dn_bind_ffn(m, i, err);
	}
	return r;
}

const struct dn_arch dn_arch_qwen3 = {
	.name = "qwen3",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = true,
};

static int bind_experts(struct dn_model *m, uint32_t i, struct dn_error *err)
{
	const struct dn_hparams *h = &m->hparams;
	struct dn_experts *e = &m->layers[i].experts;
	int r;

	r = dn_bind_norm(m, "blk.%u.ffn_norm", i, h->dim, &m->layers[i].ffn_norm, err);
	if (r >= 0)
		r = dn_bind_linear(m, "blk.%u.ffn_gate_inp", i, h->experts, h->dim, &e->router,
				   err);
	if (r >= 0)
		r = dn_bind_experts(m, "blk.%u.ffn_gate_exps.weight", i, h->experts, h->expert_dim,
				    h->dim, &e->gate, err);
	if (r >= 0)
		r = dn_bind_experts(m, "blk.%u.ffn_up_exps.weight", i, h->experts, h->expert_dim,
				    h->dim, &e->up, err);
	if (r >= 0)
		r = dn_bind_experts(m, "blk.%u.ffn_down_exps.weight", i, h->experts, h->dim,
				    h->expert_dim, &e->down, err);
	return r;
}

static int bind_moe(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	r = dn_bind_expert_shape(m, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++) {
		m->layers[i].ffn_dim = 0;
		r = dn_bind_attention(m, i, err);
		if (r >= 0)
			r = dn_bind_head_norms(m, i, err);
		if (r >= 0)
			r = bind_experts(m, i, err);
	}
	return r;
}

static void layer_moe(struct dn_step *s, uint32_t i)
{
	dn_layer_attention(s, i);
	dn_block_norm(s, &s->model->layers[i].ffn_norm);
	dn_block_experts(s, i);
}

const struct dn_arch dn_arch_qwen3moe = {
	.name = "qwen3moe",
	.bind = bind_moe,
	.layer = layer_moe,
	.rope_halves = true,
};
