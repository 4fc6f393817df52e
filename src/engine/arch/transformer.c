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

void dn_layer_transformer(struct dn_step *s, uint32_t i)
{
	dn_layer_attention(s, i);
	dn_layer_feed_forward(s, i);
}
