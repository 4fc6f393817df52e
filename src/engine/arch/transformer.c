/* SPDX-License-Identifier: MIT */

#include "engine/arch/blocks.h"

void dn_layer_attention(struct dn_step *s, uint32_t i)
{
	const struct dn_layer *l = &s->model->layers[i];

	dn_block_norm(s, &l->attention_norm);
	dn_block_attention(s, i);
	dn_block_add(s, &l->attention_output, &s->attended, &l->attention_post_norm);
}

void dn_layer_feed_forward(struct dn_step *s, uint32_t i)
{
	const struct dn_layer *l = &s->model->layers[i];

	dn_block_norm(s, &l->ffn_norm);
	dn_block_ffn(s, i);
	dn_block_add(s, &l->down, &s->hidden, &l->ffn_post_norm);
}

void dn_layer_hybrid(struct dn_step *s, uint32_t i,
		     void (*recur)(struct dn_step *step, const struct dn_recurrent *layer))
{
	const struct dn_layer *l = &s->model->layers[i];

	if (l->n_heads) {
		dn_layer_attention(s, i);
	} else {
		dn_block_norm(s, &l->attention_norm);
		recur(s, &l->recurrent);
		dn_block_add(s, &l->recurrent.out, &s->attended, &l->attention_post_norm);
	}
	dn_layer_feed_forward(s, i);
}

void dn_layer_transformer(struct dn_step *s, uint32_t i)
{
	dn_layer_attention(s, i);
	dn_layer_feed_forward(s, i);
}
