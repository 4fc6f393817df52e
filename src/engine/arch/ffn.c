/* SPDX-License-Identifier: MIT */
/* The feed-forward part of a layer, gated (Shazeer 2020) or not. */

#include <stddef.h>

#include "engine/arch/blocks.h"
#include "engine/arch/products.h"

static void activate_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_layer *l = argument;
	float *hidden = s->hidden.values + (size_t)row * s->hidden.padded;
	const float *up = l->gate.w.rows ? s->up + row * s->up_stride : NULL;

	s->kernels->activate(s->model->hparams.activation, hidden, hidden, up, l->ffn_dim);
	dn_rows_quantise(s, &s->hidden, row, l->ffn_dim);
}

void dn_block_ffn(struct dn_step *s, uint32_t layer)
{
	const struct dn_layer *l = &s->model->layers[layer];

	if (l->gate.w.rows) {
		dn_products_add(s, &l->gate, &s->normed, s->hidden.values, s->hidden.padded);
		dn_products_add(s, &l->up, &s->normed, s->up, s->up_stride);
	} else {
		dn_products_add(s, &l->up, &s->normed, s->hidden.values, s->hidden.padded);
	}
	dn_products_run(s);
	dn_for_rows(s, s->n, activate_row, l, l->ffn_dim);
}
