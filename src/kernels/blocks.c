/* SPDX-License-Identifier: MIT */

#include "kernels/blocks.h"

#include <string.h>

#include "kernels/half.h"

static float half_at(const uint8_t *at)
{
	uint16_t half;

	memcpy(&half, at, sizeof(half));
	return dn_half_to_float(half);
}

/* Low nibbles are columns 0 to 15, high ones 16 to 31. */
static void unpack_nibbles(const uint8_t *quants, int offset, int8_t *out)
{
	for (int i = 0; i < 16; i++) {
		out[i] = (int8_t)((quants[i] & 15) - offset);
		out[i + 16] = (int8_t)((quants[i] >> 4) - offset);
	}
}

/*
 * Q4_K: d, dmin; twelve bytes of 6-bit scales and minima; 64 columns in 32 bytes, the low nibbles
 * first. Scale i below 4 is the low six bits of byte i, the others have four bits in bytes 8 to 11
 * and two on top of bytes 0 to 3; minima likewise in bytes 4 to 7 and the high nibbles.
 */
static void unpack_q4_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *packed = bytes + 4;
	const uint8_t *quants = bytes + 16 + index / 2 * 32;
	const uint32_t k = index % 4;
	uint32_t scale = packed[k] & 63;
	uint32_t minimum = packed[k + 4] & 63;

	if (index >= 4) {
		scale = (packed[k + 8] & 15U) | (uint32_t)packed[k] >> 6 << 4;
		minimum = (uint32_t)packed[k + 8] >> 4 | (uint32_t)packed[k + 4] >> 6 << 4;
	}
	for (int i = 0; i < DN_BLOCK; i++)
		block->quants[i] = (int8_t)(index % 2 ? quants[i] >> 4 : quants[i] & 15);
	block->scales[0] = block->scales[1] = half_at(bytes) * (float)scale;
	block->minimum = 0.0f - half_at(bytes + 2) * (float)minimum;
}

/*
 * Q6_K: 128 bytes of low nibbles, 64 of two high bits, sixteen int8 scales, d. A half of 128
 * columns has 64 bytes of nibbles, low ones for its first 64 columns, and 32 bytes whose four
 * pairs of bits belong to its four runs of 32 columns.
 */
static void unpack_q6_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint32_t run = index % 4;
	const uint8_t *low = bytes + index / 4 * 64 + run % 2 * 32;
	const uint8_t *high = bytes + 128 + index / 4 * 32;
	const int8_t *scales = (const int8_t *)bytes + 192 + (size_t)index * 2;

	for (int i = 0; i < DN_BLOCK; i++) {
		int nibble = run < 2 ? low[i] & 15 : low[i] >> 4;

		block->quants[i] = (int8_t)((nibble | (high[i] >> 2 * run & 3) << 4) - 32);
	}
	block->scales[0] = half_at(bytes + 208) * (float)scales[0];
	block->scales[1] = half_at(bytes + 208) * (float)scales[1];
	block->minimum = 0.0f;
}

void dn_block_unpack(enum dn_type type, const uint8_t *bytes, uint32_t index,
		     struct dn_block *ret_block)
{
	switch (type) {
	case DN_TYPE_Q4_K:
		unpack_q4_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q6_K:
		unpack_q6_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q4_0:
		unpack_nibbles(bytes + 2, 8, ret_block->quants);
		break;
	case DN_TYPE_Q4_1:
		unpack_nibbles(bytes + 4, 0, ret_block->quants);
		break;
	default: /* Q8_0 */
		memcpy(ret_block->quants, bytes + 2, DN_BLOCK);
		break;
	}
	ret_block->scales[0] = ret_block->scales[1] = half_at(bytes);
	ret_block->minimum = type == DN_TYPE_Q4_1 ? half_at(bytes + 2) : 0.0f;
}
