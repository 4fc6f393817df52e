/* SPDX-License-Identifier: MIT */

#include "kernels/relay.h"

#include <string.h>

#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/shape.h"

bool dn_type_computes(enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

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
static inline __attribute__((always_inline)) void
relay_lane(const uint8_t *row, size_t n_blocks, uint32_t lane, uint8_t *out, const uint32_t words,
	   const uint32_t halves, const bool behind)
{
	const size_t bytes = 4 * words + 2 * halves;

	for (size_t b = 0; b < n_blocks; b++, row += bytes, out += bytes * DN_GROUP) {
		const uint8_t *word = row + (behind ? 0 : 2 * halves);
		const uint8_t *half = row + (behind ? 4 * words : 0);
		uint8_t *to = out + (size_t)4 * lane;

		for (uint32_t j = 0; j < words; j++)
			memcpy(to + (size_t)4 * DN_GROUP * j, word + 4 * j, 4);
		to = out + (size_t)4 * DN_GROUP * words + (size_t)2 * lane;
		for (uint32_t j = 0; j < halves; j++)
			memcpy(to + (size_t)2 * DN_GROUP * j, half + 2 * j, 2);
	}
}

void dn_relay_group(enum dn_type type, uint32_t columns, const void *rows, uint32_t n_rows,
		    void *out)
{
	const struct dn_shape shape = dn_type_shape(type);
	const size_t row_bytes = dn_relay_row_bytes(type, columns);
	const size_t n_blocks = columns / dn_type_info(type)->columns;
	const uint8_t *row = rows;

	if (n_rows < DN_GROUP)
		memset(out, 0, dn_relay_group_bytes(type, columns));
	for (uint32_t lane = 0; lane < n_rows; lane++, row += row_bytes) {
		/* The short ones by their numbers, so that nothing is left of the loops. */
		if (shape.words == 4 && shape.halves == 2)
			relay_lane(row, n_blocks, lane, out, 4, 2, false);
		else if (shape.words == 4)
			relay_lane(row, n_blocks, lane, out, 4, 1, false);
		else if (shape.words == 5 && shape.halves == 2)
			relay_lane(row, n_blocks, lane, out, 5, 2, false);
		else if (shape.words == 5)
			relay_lane(row, n_blocks, lane, out, 5, 1, false);
		else if (shape.words == 8)
			relay_lane(row, n_blocks, lane, out, 8, 1, false);
		else
			relay_lane(row, n_blocks, lane, out, shape.words, shape.halves,
				   shape.behind);
	}
}

static void unrelay_lane(const uint8_t *group, size_t n_blocks, uint32_t lane, uint8_t *row,
			 const struct dn_shape *shape)
{
	const size_t bytes = 4U * shape->words + 2U * shape->halves;

	for (size_t b = 0; b < n_blocks; b++, row += bytes, group += bytes * DN_GROUP) {
		uint8_t *word = row + (shape->behind ? 0 : 2 * shape->halves);
		uint8_t *half = row + (shape->behind ? 4 * shape->words : 0);
		const uint8_t *from = group + (size_t)4 * lane;

		for (uint32_t j = 0; j < shape->words; j++)
			memcpy(word + (size_t)4 * j, from + (size_t)4 * DN_GROUP * j, 4);
		from = group + (size_t)4 * DN_GROUP * shape->words + (size_t)2 * lane;
		for (uint32_t j = 0; j < shape->halves; j++)
			memcpy(half + (size_t)2 * j, from + (size_t)2 * DN_GROUP * j, 2);
	}
}

void dn_unrelay_group(enum dn_type type, uint32_t columns, const void *group, uint32_t n_rows,
		      void *rows)
{
	const struct dn_shape shape = dn_type_shape(type);
	const size_t row_bytes = dn_relay_row_bytes(type, columns);
	const size_t n_blocks = columns / dn_type_info(type)->columns;

	for (uint32_t lane = 0; lane < n_rows; lane++)
		unrelay_lane(group, n_blocks, lane, (uint8_t *)rows + lane * row_bytes, &shape);
}

void dn_relay_block(const struct dn_matrix *matrix, uint32_t row, uint32_t column, uint8_t *out)
{
	const struct dn_shape shape = dn_type_shape(matrix->type);
	const struct dn_type_info *info = dn_type_info(matrix->type);
	const uint32_t lane = row % DN_GROUP;
	const uint8_t *from = matrix->data + (size_t)(row / DN_GROUP) * matrix->group_bytes +
			      (size_t)column / info->columns * info->bytes * DN_GROUP;
	uint8_t *words = out + (shape.behind ? 0 : 2 * shape.halves);
	uint8_t *halves = out + (shape.behind ? 4 * shape.words : 0);

	for (uint32_t j = 0; j < shape.words; j++)
		memcpy(words + (size_t)4 * j, from + (size_t)4 * (DN_GROUP * j + lane), 4);
	from += (size_t)4 * DN_GROUP * shape.words;
	for (uint32_t j = 0; j < shape.halves; j++)
		memcpy(halves + (size_t)2 * j, from + (size_t)2 * (DN_GROUP * j + lane), 2);
}

static void row_of_floats(const struct dn_matrix *matrix, uint32_t row, uint32_t first, uint32_t n,
			  float *out)
{
	const size_t lane = row % DN_GROUP;
	const uint8_t *group = matrix->data + (size_t)(row / DN_GROUP) * matrix->group_bytes;

	for (uint32_t c = 0; c < n; c++) {
		const size_t at = ((size_t)first + c) * DN_GROUP + lane;

		if (matrix->type == DN_TYPE_F32)
			out[c] = ((const float *)group)[at];
		else if (matrix->type == DN_TYPE_F16)
			out[c] = dn_half_to_float(((const uint16_t *)group)[at]);
		else
			out[c] = dn_bfloat_to_float(((const uint16_t *)group)[at]);
	}
}

void dn_relay_part(const struct dn_matrix *matrix, uint32_t row, uint32_t first, uint32_t n,
		   float *out)
{
	const uint32_t columns = dn_type_info(matrix->type)->columns;
	uint8_t bytes[DN_FILE_BLOCK_MAX];
	struct dn_block block;

	if (columns == 1) {
		row_of_floats(matrix, row, first, n, out);
		return;
	}
	for (uint32_t c = first; c < first + n; c += DN_BLOCK) {
		if (c == first || c % columns == 0)
			dn_relay_block(matrix, row, c, bytes);
		dn_block_unpack(matrix->type, bytes, c % columns / DN_BLOCK, &block);
		for (uint32_t i = 0; i < DN_BLOCK; i++)
			out[c - first + i] = block.scales[i / 16] * (float)block.quants[i] +
					     block.minima[i / 16];
	}
}

void dn_relay_row(const struct dn_matrix *matrix, uint32_t row, float *out)
{
	dn_relay_part(matrix, row, 0, matrix->columns, out);
}
