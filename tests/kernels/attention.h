/* SPDX-License-Identifier: MIT */
/* Inputs of attention, for the checks of bits and of accuracy. */
#ifndef DUNLIN_TESTS_KERNELS_ATTENTION_H
#define DUNLIN_TESTS_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

#define ATTENTION_BLOCKS_MAX 40

struct attention_case {
	struct dn_attention a;
	uint32_t n_blocks;
	const uint8_t *blocks[ATTENTION_BLOCKS_MAX];
};

/* Sets rows, begins and ends; needs n_blocks. */
void attention_window(struct attention_case *c, uint32_t n_rows);
/* Fills cache and queries; needs head_dim, type, scale and the window. */
void attention_fill(struct attention_case *c, float magnitude);
/* Into @out[n_rows][head_dim]; false where a buffer was left. */
bool attention_run(struct attention_case *c, const struct dn_kernels *kernels, float *out);

#endif /* DUNLIN_TESTS_KERNELS_ATTENTION_H */
