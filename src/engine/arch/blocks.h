/* SPDX-License-Identifier: MIT */
/*
 * The blocks that families are made of. Each reads and writes the arrays of a step, for all of its
 * rows, and runs on the step's threads; a result never depends on how rows or threads were cut.
 */
#ifndef DUNLIN_ENGINE_BLOCKS_H
#define DUNLIN_ENGINE_BLOCKS_H

/* IWYU pragma: begin_exports */
#include "engine/context.h"
/* IWYU pragma: end_exports */

/* stream.c: the residual stream. */

/* x = rows of the embedding, times the model's scale. */
void dn_block_embed(struct dn_step *step);
/* normed = norm(x); with an empty norm x as it is. */
void dn_block_norm(struct dn_step *step, const struct dn_norm *norm);
/* x = norm(x) */
void dn_block_norm_stream(struct dn_step *step, const struct dn_norm *norm);
/* x += the model's residual scale * norm(w rows); an empty norm is none. */
void dn_block_add(struct dn_step *step, const struct dn_linear *w, const struct dn_rows *rows,
		  const struct dn_norm *norm);
/* The wanted rows of x, normed, times the output matrix: @logits, float32[wanted, vocabulary]. */
void dn_block_logits(struct dn_step *step, float *logits);

/* The rows of x, normed as the output matrix would read them: what embeddings are made of. */
void dn_block_final(struct dn_step *step);

/* attention.c: attended = attention of normed over the cache, which gets its keys and values. */
void dn_block_attention(struct dn_step *step, uint32_t layer);

/* ffn.c: hidden = activation(gate normed) * (up normed), or without a gate activation(up normed). */
void dn_block_ffn(struct dn_step *step, uint32_t layer);
/* experts.c: x += the mixture of the experts that each row of normed chooses (Shazeer 2017). */
void dn_block_experts(struct dn_step *step, uint32_t layer);

/*
 * transformer.c: a layer is attention and feed-forward, each with its norm before and its way back
 * into the stream; what a layer's weights leave empty is left out.
 */
void dn_layer_transformer(struct dn_step *step, uint32_t layer);
void dn_layer_attention(struct dn_step *step, uint32_t layer);
void dn_layer_feed_forward(struct dn_step *step, uint32_t layer);
/* The same with @recur, which leaves what it gives in attended, in layers that have no heads. */
void dn_layer_hybrid(struct dn_step *step, uint32_t layer,
		     void (*recur)(struct dn_step *step, const struct dn_recurrent *layer));

/* encoder.c: the sum of tokens', types' and positions' embeddings, normed. */
void dn_block_embed_encoder(struct dn_step *step);
/* x = norm(x + attention(x)); x = norm(x + feed-forward(x)) */
void dn_layer_encoder(struct dn_step *step, uint32_t layer);

#endif /* DUNLIN_ENGINE_BLOCKS_H */
