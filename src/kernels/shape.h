/* SPDX-License-Identifier: MIT */
/* What the layout in memory and the products have to know of each type, in one table. */
#ifndef DUNLIN_KERNELS_SHAPE_H
#define DUNLIN_KERNELS_SHAPE_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include "kernels/types.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_shape - the parts of a block, and what 32 columns of it are made of
 * @runs: of 32 columns in a block; 0 where the elements are floats
 * @words: of four bytes
 * @halves: of two bytes: F16 scales and the like
 * @behind: in the file the halves follow the words; else they come first
 * @bits: of a quant, from which follows how many products fit in 16 bits; 8: a signed byte
 * @offset: what a quant's bits, taken as an unsigned number, lie above its value
 * @scales: of 32 columns: 1, or 2 where sixteen columns share one
 * @minima: 0; 1; or 2, one for each scale
 */
struct dn_shape {
	uint8_t runs;
	uint8_t words;
	uint8_t halves;
	bool behind;
	uint8_t bits;
	uint8_t offset;
	uint8_t scales;
	uint8_t minima;
};

/* All zero for a type that products cannot read. A constant where @type is one. */
static inline __attribute__((always_inline)) struct dn_shape dn_type_shape(enum dn_type type)
{
	switch (type) {
	case DN_TYPE_F32:
		return (struct dn_shape){ .words = 1 };
	case DN_TYPE_F16:
	case DN_TYPE_BF16:
		return (struct dn_shape){ .halves = 1 };
	case DN_TYPE_Q4_0:
		return (struct dn_shape){ 1, 4, 1, false, 4, 8, 1, 0 };
	case DN_TYPE_Q4_1:
		return (struct dn_shape){ 1, 4, 2, false, 4, 0, 1, 1 };
	case DN_TYPE_Q5_0:
		return (struct dn_shape){ 1, 5, 1, false, 5, 16, 1, 0 };
	case DN_TYPE_Q5_1:
		return (struct dn_shape){ 1, 5, 2, false, 5, 0, 1, 1 };
	case DN_TYPE_Q8_0:
		return (struct dn_shape){ 1, 8, 1, false, 8, 0, 1, 0 };
	case DN_TYPE_Q2_K:
		return (struct dn_shape){ 8, 20, 2, true, 2, 0, 2, 2 };
	case DN_TYPE_Q3_K:
		return (struct dn_shape){ 8, 27, 1, true, 3, 4, 2, 0 };
	case DN_TYPE_Q4_K:
		return (struct dn_shape){ 8, 35, 2, false, 4, 0, 1, 1 };
	case DN_TYPE_Q5_K:
		return (struct dn_shape){ 8, 43, 2, false, 5, 0, 1, 1 };
	case DN_TYPE_Q6_K:
		return (struct dn_shape){ 8, 52, 1, true, 6, 32, 2, 0 };
	case DN_TYPE_IQ4_NL:
		return (struct dn_shape){ 1, 4, 1, false, 8, 0, 1, 0 };
	case DN_TYPE_IQ4_XS: /* the second half is the scales' high bits */
		return (struct dn_shape){ 8, 33, 2, false, 8, 0, 1, 0 };
	default:
		return (struct dn_shape){ 0 };
	}
}

/* Where the four bits of IQ4_NL and IQ4_XS are a place in this table of signed bytes. */
#define DN_IQ4_VALUES { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 }

#endif /* DUNLIN_KERNELS_SHAPE_H */
