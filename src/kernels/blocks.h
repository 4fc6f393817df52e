/* SPDX-License-Identifier: MIT */
/* Blocks of quantised weights as they lie in a file, in portable C: what each type means. */
#ifndef DUNLIN_KERNELS_BLOCKS_H
#define DUNLIN_KERNELS_BLOCKS_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

#define DN_FILE_BLOCK_MAX 256 /* bytes of the largest block of any type, rounded up */

/**
 * struct dn_block - 32 columns of a row: value = scale * quant + minimum
 * @scales, @minima: of the first and of the last sixteen columns
 */
struct dn_block {
	int8_t quants[DN_BLOCK];
	float scales[2];
	float minima[2];
};

/**
 * dn_block_unpack() - 32 columns of a block of a file
 * @type: a quantised type that dn_type_computes()
 * @bytes: the block, as many bytes as the type's
 * @index: which 32 of the block's columns
 */
void dn_block_unpack(enum dn_type type, const uint8_t *bytes, uint32_t index,
		     struct dn_block *ret_block);

#endif /* DUNLIN_KERNELS_BLOCKS_H */
