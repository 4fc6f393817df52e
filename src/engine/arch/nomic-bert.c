/* SPDX-License-Identifier: MIT */
/*
 * Nomic's BERT (Nussbaum and others 2024): rotary positions, SwiGLU, and no biases but the norms'.
 * Those with experts in some of their layers are not run.
 */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_refuse_above(m, "moe_every_n_layers", 0, err);
	if (r >= 0)
		r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = dn_bind_encoder(m, err);
	for (uint32_t i = 0; r >= 0 && i < m->hparams.n_layers; i++)
		r = dn_bind_encoder_layer(m, i, true, err);
	return r;
}

const struct dn_arch dn_arch_nomic_bert = {
	.name = "nomic-bert",
	.bind = bind,
	.embed = dn_block_embed_encoder,
	.layer = dn_layer_encoder,
	.rope_halves = true,
};
