/* SPDX-License-Identifier: MIT */
/* SmolLM3: llama whose every fourth layer has no positions (Yang and others 2025, "RoPE to NoPE"). */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	for (uint32_t i = 3; i < m->hparams.n_layers; i += 4)
		m->layers[i].rope = DN_ROPE_NONE;
	r = dn_bind_globals(m, err);
	return r < 0 ? r : dn_bind_layers(m, err);
}

const struct dn_arch dn_arch_smollm3 = {
	.name = "smollm3",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = false,
};
