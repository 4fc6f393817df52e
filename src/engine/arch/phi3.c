/* SPDX-License-Identifier: MIT */
/*
 * Phi 3 and 3.5, Phi 4: queries, keys and values are one matrix, gate and up are one matrix, and
 * angles have factors of their own for contexts beyond the first training's (LongRoPE, Ding and
 * others 2024). The sliding window that some files name is not used by the models' own code for
 * contexts within it.
 */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_globals(m, err);
	if (r >= 0)
		r = dn_bind_rope_factors(m, err);
	return r < 0 ? r : dn_bind_layers(m, err);
}

const struct dn_arch dn_arch_phi3 = {
	.name = "phi3",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = true,
};
