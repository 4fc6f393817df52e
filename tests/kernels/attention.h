/* SPDX-License-Identifier: MIT */
/* Inputs of attention, for the checks of bits and of accuracy. */
#ifndef DUNLIN_TESTS_KERNELS_ATTENTION_H
#define DUNLIN_TESTS_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

#define ATTENTION_BLOCKS_MAX 40

/* @scratch: each byte of it before; 0: 0xff, of which all floats are no numbers */
struct attention_case {
	struct dn_attention a;
	uint32_t n_blocks;
	uint8_t scratch;
	uint8_t *cache; /* set by attention_fill() */
	const uint8_t *blocks[ATTENTION_BLOCKS_MAX];
};

/* Sets rows, begins and ends; needs n_blocks. */
void attention_window(struct attention_case *c, uint32_t n_rows);
/* Fills cache and queries; needs head_dim, type, scale and the window. */
void attention_fill(struct attention_case *c, float magnitude);
/* Into @out[n_rows][head_dim]; false where a buffer was left. */
bool attention_run(struct attention_case *c, const struct dn_kernels *kernels, float *out);

#endif /* DUNLIN_TESTS_KERNELS_ATTENTION_H */
