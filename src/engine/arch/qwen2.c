/* SPDX-License-Identifier: MIT */
/* Qwen 2 and 2.5: llama with biases on queries, keys and values. */

#include "engine/arch/bind.h"
#include "engine/arch/blocks.h"

static int bind(struct dn_model *m, struct dn_error *err)
{
	int r;

	r = dn_bind_globals(m, err);
	return r < 0 ? r : dn_bind_layers(m, err);
}

const struct dn_arch dn_arch_qwen2 = {
	.name = "qwen2",
	.bind = bind,
	.layer = dn_layer_transformer,
	.rope_halves = true,
};
