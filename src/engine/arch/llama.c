/* SPDX-License-Identifier: MIT */
/*
 * The llama family: Llama 1 to 3, Mistral, SmolLM2, TinyLlama. Pre-norm, grouped-query attention
 * with rotary positions on neighbouring pairs, SwiGLU (Touvron and others 2023).
 */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_refuse_above(m, "expert_count", 0, err);
	if (r >= 0)
		r = dn_bind_globals(m, err);
	if (r >= 0)
		r = dn_bind_rope_factors(m, err);
	return r < 0 ? r : dn_bind_layers(m, err);
}

const struct dn_arch dn_arch_llama = {
	.name = "llama",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = false,
};
