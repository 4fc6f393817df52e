/* SPDX-License-Identifier: MIT */
/* A model with its memory: threads, cache, workspace; and one step's view of them. */
#ifndef DUNLIN_ENGINE_CONTEXT_H
#define DUNLIN_ENGINE_CONTEXT_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/kv.h"
#include "engine/model.h"
#include "engine/prefetch.h"
#include "engine/thread.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

/* Sequences that may exist for each whole context that the cache has room for. */
#define DN_SEQUENCES_PER_CONTEXT 4
/* Texts that are embedded in one step at most; each has a sequence of its own beside those. */
#define DN_EMBED_TEXTS 32

/* Rows of a step at most, whose spans of the cache are shared among threads. */
#define DN_SHARED_TOKENS 4U

/* One token of a step: whose it is, and where it stands. */
struct dn_row {
	struct dn_sequence *sequence;
	uint32_t run;
	uint32_t token;
	uint32_t position;
	bool wanted; /* its logits are */
};

/* The rows of a step that belong to one sequence, in the order of their positions. */
struct dn_run {
	struct dn_sequence *sequence;
	uint32_t first;
	uint32_t n;
	uint32_t second; /* position where a pair's second text begins; 0: there is one */
	struct dn_checkpoint *checkpoint; /* whose state is to be kept; NULL: none */
};

/**
 * struct dn_rows - quantised rows beside their float32 form; as struct dn_activations, writable
 * @parts: quantised rows for each one: 2 where the second is what the first has lost, so that
 *	both together are as good as 16 bits
 * @padded: the widest row rounded up to DN_BLOCK: the stride of both forms
 */
struct dn_rows {
	uint32_t parts;
	float *values;
	int8_t *quants;
	float *scales;
	float *sums;
	int32_t *biases;
	int16_t *pairs;
	uint32_t padded;
};

/* A product of a step on its way to the threads: see products.h. */
struct dn_product_item {
	struct dn_matrix w;
	struct dn_activations x;
	struct dn_product product;
	float *y; /* where both parts' products are summed up to; NULL: they are one */
	size_t y_stride;
	const float *bias;
	const struct dn_low_rank *adapters;
	float *low; /* what goes up again: float32[n, rank] of each adapter */
	uint32_t first_piece;
	uint32_t groups_per_piece;
};

/* Rows in the order of the experts that they go to: see experts.c. */
struct dn_expert_rows {
	struct dn_rows in;
	struct dn_rows hidden;
	float *up;
	float *out;
	float *logits;	  /* float32[n, experts] */
	uint32_t *chosen; /* uint32[n, experts_used], best first */
	float *weights;	  /* of the chosen */
	uint32_t *places; /* where each chosen one's row stands in @in */
	uint32_t *begins; /* of each expert's rows, and the end: [experts + 1] */
};

/**
 * struct dn_step - the workspace of a step, and what is in it now
 * @types: of weights, as bits, that steps had so far
 * @prefetch: those that products ask for ahead of time
 * @n: rows in use
 * @low: products of adapters on their way up, @low_used of it in use
 * @low_scratch: what they add to a piece, @low_stride elements for each thread
 * @x: the residual stream, float32[n, dim]
 * @normed, @attended, @hidden: what products read
 * @qkv: float32[n, qkv_stride]: queries, keys, values of a layer, one behind the other
 * @up: float32[n, up_stride]
 * @cosines, @sines: for each rope, float32[n, dims / 2] of the rows' positions
 * @attention_parts: dn_attention_part() floats of each span, of each head of DN_SHARED_TOKENS rows
 * @mixed, @convolved: of recurrent layers, float32[n, mixed_stride] each
 * @gates: float32[n, 2 * heads]
 * @per_layer: float32[n, n_layers * per_layer_dim]
 */
struct dn_step {
	const struct dn_model *model;
	const struct dn_kernels *kernels;
	struct dn_pool *pool;
	struct dn_kv *kv;
	uint32_t types;
	uint32_t prefetch;
	uint32_t n;
	struct dn_row *rows;
	uint32_t n_runs;
	struct dn_run *runs;
	uint32_t n_products;
	struct dn_product_item *products;
	float *apart; /* products of rows in two parts, before they are summed */
	size_t apart_used;
	float *low;
	size_t low_used;
	float *low_scratch;
	size_t low_stride;
	float *x;
	struct dn_rows normed;
	struct dn_rows attended;
	struct dn_rows hidden;
	float *qkv;
	size_t qkv_stride;
	float *up;
	size_t up_stride;
	float *cosines[DN_ROPE_COUNT];
	float *sines[DN_ROPE_COUNT];
	float *mixed;
	float *convolved;
	size_t mixed_stride;
	float *gates;
	size_t gates_stride;
	float *per_layer;
	struct dn_expert_rows experts;
	float *attention_scratch; /* dn_attention_scratch() for each thread */
	size_t attention_stride;
	float *attention_parts;
};

struct dn_context {
	struct dn_model *model;
	const struct dn_kernels *kernels;
	struct dn_pool *pool;
	struct dn_kv kv;
	struct dn_step step;
	struct dn_prefetch prefetch;
	uint32_t length;
	uint32_t batch;
	uint32_t outputs;
	uint32_t n_sequences;
	uint32_t max_sequences;
	uint64_t n_steps;
	struct dn_sequence *texts[DN_EMBED_TEXTS]; /* empty between calls; made by the first */
	double *frequencies[DN_ROPE_COUNT];	   /* radians a position, for each pair */
	float *logits;
	uint8_t *workspace;
	size_t workspace_bytes;
};

/**
 * dn_workspace_lay() - give every array of a step its place (workspace.c)
 * @base: start of the workspace, or NULL to count only
 *
 * Return: bytes in all.
 */
uint64_t dn_workspace_lay(struct dn_context *context, uint32_t threads, uint8_t *base);

/**
 * dn_context_compute() - a step without what its rows are for: x holds them as the last layer
 * leaves them
 * @seconds: for each item as struct dn_embed_item has it, or NULL
 */
DN_MUST_CHECK int dn_context_compute(struct dn_context *context, const struct dn_batch_item *items,
				     const uint32_t *seconds, size_t n_items, struct dn_error *err);

/* A sequence beside those that dn_sequence_new() counts. */
DN_MUST_CHECK int dn_sequence_make(struct dn_context *context, struct dn_sequence **ret_sequence,
				   struct dn_error *err);

/* Options with every default filled in; the message names the option that is out of range. */
DN_MUST_CHECK int dn_context_options_fill(const struct dn_model *model,
					  const struct dn_context_options *options,
					  struct dn_context_options *ret_filled,
					  struct dn_error *err);

/* Makes the context of filled options @context tokens long, and what follows from that. */
void dn_context_options_shrink(const struct dn_model *model,
			       const struct dn_context_options *options,
			       struct dn_context_options *filled, uint32_t context);

/* Bytes of a sequence in a context of @length tokens. */
static inline size_t dn_sequence_bytes(uint32_t length)
{
	return sizeof(struct dn_sequence) +
	       2 * (size_t)DN_DIV_ROUND_UP(length, DN_KV_BLOCK) * sizeof(uint8_t *);
}

#endif /* DUNLIN_ENGINE_CONTEXT_H */
