/* SPDX-License-Identifier: MIT */

#include "kernels/relay.h"

#include <string.h>

#include "kernels/half.h"

/**
 * struct block_shape - how a type's block in the file becomes a part of a group
 * @halves: F16 scales (and minima) at the head of the block
 * @words: words of quants behind them
 */
struct block_shape {
	uint8_t halves;
	uint8_t words;
};

static struct block_shape block_shape(enum dn_type type)
{
	switch (type) {
	case DN_TYPE_Q4_0:
		return (struct block_shape){ 1, 4 };
	case DN_TYPE_Q4_1:
		return (struct block_shape){ 2, 4 };
	case DN_TYPE_Q8_0:
		return (struct block_shape){ 1, 8 };
	case DN_TYPE_F16:
		return (struct block_shape){ 1, 0 };
	case DN_TYPE_F32:
		return (struct block_shape){ 0, 1 };
	default:
		return (struct block_shape){ 0, 0 };
	}
}

bool dn_type_computes(enum dn_type type)
{
	struct block_shape shape = block_shape(type);

	return shape.halves + shape.words > 0;
}

size_t dn_relay_row_bytes(enum dn_type type, uint32_t columns)
{
	const struct dn_type_info *info = dn_type_info(type);

	return (size_t)columns / info->columns * info->bytes;
}

size_t dn_relay_group_bytes(enum dn_type type, uint32_t columns)
{
	return dn_relay_row_bytes(type, columns) * DN_GROUP;
}

/* One row's blocks into its lane of the group. Inlined for each shape, so the loops unroll. */
static inline __attribute__((always_inline)) void relay_lane(const uint8_t *row, size_t n_blocks,
							     uint32_t lane, uint8_t *out,
							     const uint32_t halves,
							     const uint32_t words)
{
	const size_t in_bytes = 2 * halves + 4 * words;

	for (size_t b = 0; b < n_blocks; b++, row += in_bytes, out += in_bytes * DN_GROUP) {
		uint8_t *scales = out + (size_t)4 * DN_GROUP * words;

		for (uint32_t j = 0; j < words; j++)
			memcpy(out + (size_t)4 * (DN_GROUP * j + lane), row + 2 * halves + 4 * j,
			       4);
		for (uint32_t j = 0; j < halves; j++)
			memcpy(scales + (size_t)2 * (DN_GROUP * j + lane), row + 2 * j, 2);
	}
}

void dn_relay_group(enum dn_type type, uint32_t columns, const void *rows, uint32_t n_rows,
		    void *out)
{
	const struct block_shape shape = block_shape(type);
	const size_t row_bytes = dn_relay_row_bytes(type, columns);
	const size_t n_blocks = columns / dn_type_info(type)->columns;
	const uint8_t *row = rows;

	if (n_rows < DN_GROUP)
		memset(out, 0, dn_relay_group_bytes(type, columns));
	for (uint32_t lane = 0; lane < n_rows; lane++, row += row_bytes) {
		if (shape.words == 4 && shape.halves == 2)
			relay_lane(row, n_blocks, lane, out, 2, 4);
		else if (shape.words == 4)
			relay_lane(row, n_blocks, lane, out, 1, 4);
		else if (shape.words == 8)
			relay_lane(row, n_blocks, lane, out, 1, 8);
		else
			relay_lane(row, n_blocks, lane, out, shape.halves, shape.words);
	}
}

static float half_at(const uint8_t *at)
{
	uint16_t half;

	memcpy(&half, at, sizeof(half));
	return dn_half_to_float(half);
}

void dn_relay_row(const struct dn_matrix *matrix, uint32_t row, float *out)
{
	const struct block_shape shape = block_shape(matrix->type);
	const uint32_t lane = row % DN_GROUP;
	const uint8_t *block = matrix->data + (size_t)(row / DN_GROUP) * matrix->group_bytes;
	const size_t block_bytes = (size_t)DN_GROUP * (2U * shape.halves + 4U * shape.words);
	const uint32_t block_columns = dn_type_info(matrix->type)->columns;

	for (uint32_t c = 0; c < matrix->columns; c += block_columns, block += block_bytes) {
		const uint8_t *scales = block + (size_t)4 * DN_GROUP * shape.words;
		float scale = shape.halves ? half_at(scales + (size_t)2 * lane) : 1.0f;
		float minimum =
			shape.halves == 2 ? half_at(scales + (size_t)2 * (DN_GROUP + lane)) : 0.0f;

		switch (matrix->type) {
		case DN_TYPE_F32:
			memcpy(&out[c], block + (size_t)4 * lane, 4);
			break;
		case DN_TYPE_F16:
			out[c] = scale;
			break;
		default:
			for (uint32_t i = 0; i < DN_BLOCK; i++) {
				uint32_t k = shape.words == 4 ? i % 16 : i;
				uint8_t byte = block[4 * (DN_GROUP * (k / 4) + lane) + k % 4];
				int quant = shape.words == 8 ? (int8_t)byte
					    : i < 16	     ? byte & 15
							     : byte >> 4;

				if (matrix->type == DN_TYPE_Q4_0)
					quant -= 8;
				out[c + i] = scale * (float)quant + minimum;
			}
		}
	}
}
