/* SPDX-License-Identifier: MIT */
/*
 * BERT (Devlin and others 2018), as in MiniLM, BGE, E5, GTE and their rerankers. Positions are
 * learned, so that there are no more of them than the file has rows. The activation is GELU with
 * the error function, which these models were trained with; llama.cpp has its tanh form instead,
 * in half precision: its vectors are up to 1e-3 away from these.
 */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	struct dn_hparams *h = &m->hparams;
	int r;

	h->activation = DN_ACTIVATION_GELU_ERF;
	h->ropes[DN_ROPE_GLOBAL].dims = 0;
	r = dn_bind_encoder(m, err);
	if (r >= 0)
		r = dn_bind_matrix(m, "position_embd.weight", 0, h->trained_context, h->dim,
				   &m->globals.positions, err);
	if (r >= 0)
		r = dn_bind_rank_head(m, err);
	for (uint32_t i = 0; r >= 0 && i < h->n_layers; i++) {
		m->layers[i].rope = DN_ROPE_NONE;
		r = dn_bind_encoder_layer(m, i, false, err);
	}
	return r;
}

const struct dn_arch dn_arch_bert = {
	.name = "bert",
	.bind = bind,
	.embed = dn_block_embed_encoder,
	.layer = dn_layer_encoder,
};
