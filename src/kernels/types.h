/* SPDX-License-Identifier: MIT */
/* Element types of weights. */
#ifndef DUNLIN_KERNELS_TYPES_H
#define DUNLIN_KERNELS_TYPES_H

#include <stdint.h>

/* The numbers are those of GGUF's tensor types. */
enum dn_type {
	DN_TYPE_F32 = 0,
	DN_TYPE_F16 = 1,
	DN_TYPE_Q4_0 = 2,
	DN_TYPE_Q4_1 = 3,
	DN_TYPE_Q5_0 = 6,
	DN_TYPE_Q5_1 = 7,
	DN_TYPE_Q8_0 = 8,
	DN_TYPE_Q2_K = 10,
	DN_TYPE_Q3_K = 11,
	DN_TYPE_Q4_K = 12,
	DN_TYPE_Q5_K = 13,
	DN_TYPE_Q6_K = 14,
	DN_TYPE_IQ4_NL = 20,
	DN_TYPE_IQ4_XS = 23,
	DN_TYPE_BF16 = 30,
	DN_TYPE_COUNT = 31,
};

/**
 * struct dn_type_info - the shape of a type's blocks in a file
 * @name: as users write it; NULL for a number without a type
 * @columns: elements a block
 * @bytes: bytes a block
 */
struct dn_type_info {
	const char *name;
	uint16_t columns;
	uint16_t bytes;
};

/* NULL for a number that is none of ours. */
const struct dn_type_info *dn_type_info(uint32_t type);

#endif /* DUNLIN_KERNELS_TYPES_H */
