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

/* x = rows of the embedding. */
void dn_block_embed(struct dn_step *step, const struct dn_matrix *embedding);
/* normed = rms_norm(x) * weight */
void dn_block_norm(struct dn_step *step, const float *weight);
/* q, k, v = products of normed, in one go */
void dn_block_project_qkv(struct dn_step *step, const struct dn_matrix *wq,
			  const struct dn_matrix *wk, const struct dn_matrix *wv);
/* Rotates every head of q and k by its row's position. */
void dn_block_rope(struct dn_step *step);
/* Stores k and v of the rows in the cache, then attended = attention of q over it. */
void dn_block_attend(struct dn_step *step, uint32_t layer);
/* x += product of attended */
void dn_block_project_attention(struct dn_step *step, const struct dn_matrix *wo);
/* x += down(silu(gate(normed)) * up(normed)) */
void dn_block_swiglu(struct dn_step *step, const struct dn_matrix *gate, const struct dn_matrix *up,
		     const struct dn_matrix *down);
/* The wanted rows of x, normed, times the output matrix: @logits, float32[wanted, vocabulary]. */
void dn_block_logits(struct dn_step *step, const float *norm, const struct dn_matrix *output,
		     float *logits);

#endif /* DUNLIN_ENGINE_BLOCKS_H */
