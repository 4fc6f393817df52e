/* SPDX-License-Identifier: MIT */
/* A model with its memory: threads, cache, workspace; and one step's view of them. */
#ifndef DUNLIN_ENGINE_CONTEXT_H
#define DUNLIN_ENGINE_CONTEXT_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/kv.h"
#include "engine/model.h"
#include "engine/thread.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

/* Sequences that may exist for each whole context that the cache has room for. */
#define DN_SEQUENCES_PER_CONTEXT 4

/* One token of a step: whose it is, and where it stands. */
struct dn_row {
	struct dn_sequence *sequence;
	uint32_t token;
	uint32_t position;
	bool wanted; /* its logits are */
};

/* Quantised rows beside their float32 form; the arrays of struct dn_activations, writable. */
struct dn_rows {
	float *values;
	int8_t *quants;
	float *scales;
	float *sums;
	int32_t *biases;
	uint32_t columns;
	uint32_t padded; /* columns rounded up to DN_BLOCK: the stride of both forms */
};

/**
 * struct dn_step - the workspace of a step, and what is in it now
 * @n: rows in use
 * @x: the residual stream, float32[n, dim]
 * @normed, @attended, @hidden: what products read
 * @q, @k, @v, @up: what they write
 * @cosines, @sines: float32[n, rope_dims / 2] for the rows' positions
 */
struct dn_step {
	const struct dn_model *model;
	const struct dn_kernels *kernels;
	struct dn_pool *pool;
	struct dn_kv *kv;
	uint32_t n;
	struct dn_row *rows;
	float *x;
	struct dn_rows normed;
	struct dn_rows attended;
	struct dn_rows hidden;
	float *q;
	float *k;
	float *v;
	float *up;
	float *cosines;
	float *sines;
	float *attention_scratch; /* dn_attention_scratch() for each thread */
	size_t attention_stride;
};

struct dn_context {
	struct dn_model *model;
	const struct dn_kernels *kernels;
	struct dn_pool *pool;
	struct dn_kv kv;
	struct dn_step step;
	struct dn_memory_plan plan;
	uint32_t length;
	uint32_t batch;
	uint32_t outputs;
	uint32_t n_sequences;
	uint32_t max_sequences;
	uint64_t n_steps;
	double *frequencies; /* radians a position, for each pair */
	float *logits;
	uint8_t *workspace;
	size_t workspace_bytes;
};

/**
 * dn_workspace_lay() - give every array of a step its place
 * @base: start of the workspace, or NULL to count only
 *
 * Return: bytes in all.
 */
uint64_t dn_workspace_lay(struct dn_context *context, uint32_t threads, uint8_t *base);

/* Options with every default filled in; the message names the option that is out of range. */
DN_MUST_CHECK int dn_context_options_fill(const struct dn_model *model,
					  const struct dn_context_options *options,
					  struct dn_context_options *ret_filled,
					  struct dn_error *err);
/* Blocks of the cache that filled options ask for. */
uint32_t dn_context_blocks(const struct dn_context_options *filled);

#endif /* DUNLIN_ENGINE_CONTEXT_H */
