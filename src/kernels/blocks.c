/* SPDX-License-Identifier: MIT */

#include "kernels/blocks.h"

#include <string.h>

#include "kernels/half.h"
#include "kernels/shape.h"

static float half_at(const uint8_t *at)
{
	uint16_t half;

	memcpy(&half, at, sizeof(half));
	return dn_half_to_float(half);
}

static void set_scale(struct dn_block *block, float scale, float minimum)
{
	block->scales[0] = block->scales[1] = scale;
	block->minima[0] = block->minima[1] = minimum;
}

/* Low nibbles are columns 0 to 15, high ones 16 to 31. */
static void unpack_nibbles(const uint8_t *quants, int offset, int8_t *out)
{
	for (int i = 0; i < 16; i++) {
		out[i] = (int8_t)((quants[i] & 15) - offset);
		out[i + 16] = (int8_t)((quants[i] >> 4) - offset);
	}
}

/* Q5_0 and Q5_1: in front of the nibbles each column's fifth bit, in the columns' order. */
static void unpack_fifths(const uint8_t *quants, int offset, int8_t *out)
{
	unpack_nibbles(quants + 4, offset, out);
	for (int i = 0; i < DN_BLOCK; i++)
		out[i] = (int8_t)(out[i] + (quants[i / 8] >> i % 8 & 1) * 16);
}

/* IQ4_NL and IQ4_XS: nibbles as in Q4_0, places in a table. */
static void unpack_places(const uint8_t *quants, int8_t *out)
{
	static const int8_t values[16] = DN_IQ4_VALUES;

	unpack_nibbles(quants, 0, out);
	for (int i = 0; i < DN_BLOCK; i++)
		out[i] = values[out[i]];
}

/*
 * Q2_K: sixteen bytes, one for each sixteen columns, with a scale in the low and a minimum in the
 * high nibble; halves of 128 columns in 32 bytes each, whose four pairs of bits belong to the
 * half's four runs of 32 columns; d, dmin.
 */
static void unpack_q2_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *quants = bytes + 16 + index / 4 * 32;

	for (int i = 0; i < DN_BLOCK; i++)
		block->quants[i] = (int8_t)(quants[i] >> index % 4 * 2 & 3);
	for (uint32_t i = 0; i < 2; i++) {
		const uint8_t packed = bytes[2 * index + i];

		block->scales[i] = half_at(bytes + 80) * (float)(packed & 15);
		block->minima[i] = 0.0f - half_at(bytes + 82) * (float)(packed >> 4);
	}
}

/*
 * Q3_K: 32 bytes whose bit i is the third bit of run i of 32 columns; pairs of bits as in Q2_K;
 * twelve bytes of 6-bit scales, 32 too large; d. Of scale i the low four bits are in byte i % 8 of
 * the twelve, in the high nibble from 8 on, and the high two in byte 8 + i % 4, from bit i / 4 * 2.
 */
static void unpack_q3_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *quants = bytes + 32 + index / 4 * 32;
	const uint8_t *packed = bytes + 96;

	for (int i = 0; i < DN_BLOCK; i++)
		block->quants[i] = (int8_t)((quants[i] >> index % 4 * 2 & 3) +
					    (bytes[i] >> index & 1) * 4 - 4);
	for (uint32_t i = 0; i < 2; i++) {
		const uint32_t s = 2 * index + i;
		const int low = packed[s % 8] >> s / 8 * 4 & 15;
		const int high = packed[8 + s % 4] >> s / 4 * 2 & 3;

		block->scales[i] = half_at(bytes + 108) * (float)(low + high * 16 - 32);
		block->minima[i] = 0.0f;
	}
}

/*
 * Q4_K and Q5_K: d, dmin; twelve bytes of 6-bit scales and minima. Scale i below 4 is the low six
 * bits of byte i, the others have four bits in bytes 8 to 11 and two on top of bytes 0 to 3; minima
 * likewise in bytes 4 to 7 and the high nibbles.
 */
static void unpack_packed_scales(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *packed = bytes + 4;
	const uint32_t k = index % 4;
	uint32_t scale = packed[k] & 63;
	uint32_t minimum = packed[k + 4] & 63;

	if (index >= 4) {
		scale = (packed[k + 8] & 15U) | (uint32_t)packed[k] >> 6 << 4;
		minimum = (uint32_t)packed[k + 8] >> 4 | (uint32_t)packed[k + 4] >> 6 << 4;
	}
	set_scale(block, half_at(bytes) * (float)scale, 0.0f - half_at(bytes + 2) * (float)minimum);
}

/* Behind that 64 columns in 32 bytes, the low nibbles first. */
static void unpack_q4_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *quants = bytes + 16 + index / 2 * 32;

	for (int i = 0; i < DN_BLOCK; i++)
		block->quants[i] = (int8_t)(quants[i] >> index % 2 * 4 & 15);
	unpack_packed_scales(bytes, index, block);
}

/* Q5_K: and between the two 32 bytes whose bit i is the fifth bit of run i of 32 columns. */
static void unpack_q5_k(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const uint8_t *quants = bytes + 48 + index / 2 * 32;
	const uint8_t *fifths = bytes + 16;

	for (int i = 0; i < DN_BLOCK; i++)
		block->quants[i] =
			(int8_t)((quants[i] >> index % 2 * 4 & 15) + (fifths[i] >> index & 1) * 16);
	unpack_packed_scales(bytes, index, block);
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
	block->minima[0] = block->minima[1] = 0.0f;
}

/*
 * IQ4_XS: d; sixteen bits with two high bits of each of eight scales, four bytes with a nibble of
 * each; sixteen bytes for each 32 columns. The scales are 32 too large.
 */
static void unpack_iq4_xs(const uint8_t *bytes, uint32_t index, struct dn_block *block)
{
	const int low = bytes[4 + index / 2] >> index % 2 * 4 & 15;
	const int high = bytes[2 + index / 4] >> index % 4 * 2 & 3;

	unpack_places(bytes + 8 + (size_t)16 * index, block->quants);
	set_scale(block, half_at(bytes) * (float)(low + high * 16 - 32), 0.0f);
}

void dn_block_unpack(enum dn_type type, const uint8_t *bytes, uint32_t index,
		     struct dn_block *ret_block)
{
	switch (type) {
	case DN_TYPE_Q2_K:
		unpack_q2_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q3_K:
		unpack_q3_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q4_K:
		unpack_q4_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q5_K:
		unpack_q5_k(bytes, index, ret_block);
		return;
	case DN_TYPE_Q6_K:
		unpack_q6_k(bytes, index, ret_block);
		return;
	case DN_TYPE_IQ4_XS:
		unpack_iq4_xs(bytes, index, ret_block);
		return;
	case DN_TYPE_Q4_0:
		unpack_nibbles(bytes + 2, 8, ret_block->quants);
		break;
	case DN_TYPE_Q4_1:
		unpack_nibbles(bytes + 4, 0, ret_block->quants);
		break;
	case DN_TYPE_Q5_0:
		unpack_fifths(bytes + 2, 16, ret_block->quants);
		break;
	case DN_TYPE_Q5_1:
		unpack_fifths(bytes + 4, 0, ret_block->quants);
		break;
	case DN_TYPE_IQ4_NL:
		unpack_places(bytes + 2, ret_block->quants);
		break;
	default: /* Q8_0 */
		memcpy(ret_block->quants, bytes + 2, DN_BLOCK);
		break;
	}
	set_scale(ret_block, half_at(bytes),
		  dn_type_shape(type).minima ? half_at(bytes + 2) : 0.0f);
}
