/* SPDX-License-Identifier: MIT */
/* The layout of weights: what a row gives back is what the file's blocks mean; no byte is lost. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/relay.h"

enum { PLACE_FILE, PLACE_GROUP, PLACE_ROW, PLACE_BLOCK, PLACE_BACK };

/* Column @c of a row of the file; blocks.c knows whether that is what the format means. */
static float plain(enum dn_type type, const uint8_t *row, uint32_t c)
{
	const struct dn_type_info *info = dn_type_info(type);
	const uint8_t *bytes = row + c / info->columns * info->bytes;
	const uint32_t i = c % info->columns;
	struct dn_block block;
	uint16_t half;
	float value;

	if (type == DN_TYPE_F32) {
		memcpy(&value, bytes, sizeof(value));
		return value;
	}
	memcpy(&half, bytes, sizeof(half));
	if (type == DN_TYPE_F16)
		return dn_half_to_float(half);
	if (type == DN_TYPE_BF16)
		return dn_bfloat_to_float(half);
	dn_block_unpack(type, bytes, i / DN_BLOCK, &block);
	return block.scales[i / 16 % 2] * (float)block.quants[i % DN_BLOCK] +
	       block.minima[i / 16 % 2];
}

/* A row's values, and its blocks' bytes. */
static void check_row(const struct dn_matrix *matrix, uint32_t r, const uint8_t *file)
{
	const struct dn_type_info *info = dn_type_info(matrix->type);
	float *row = place(PLACE_ROW, matrix->columns * sizeof(float), 0);
	uint8_t *block = place(PLACE_BLOCK, info->bytes, 0);

	dn_relay_row(matrix, r, row);
	for (uint32_t c = 0; c < matrix->columns; c++) {
		const float want = plain(matrix->type, file, c);

		EXPECT(row[c] == want || (isnan(row[c]) && isnan(want)),
		       "%s %ux%u: [%u][%u] is %a, not %a", info->name, matrix->rows,
		       matrix->columns, r, c, (double)row[c], (double)want);
	}
	for (uint32_t c = 0; c < matrix->columns; c += info->columns) {
		dn_relay_block(matrix, r, c, block);
		EXPECT(memcmp(block, file + c / info->columns * info->bytes, info->bytes) == 0,
		       "%s %ux%u: another block at [%u][%u]", info->name, matrix->rows,
		       matrix->columns, r, c);
	}
}

static void check_group(enum dn_type type, uint32_t columns, uint32_t n_rows)
{
	const char *name = dn_type_info(type)->name;
	const size_t row_bytes = dn_relay_row_bytes(type, columns);
	const size_t group_bytes = dn_relay_group_bytes(type, columns);
	uint8_t *file = place(PLACE_FILE, n_rows * row_bytes, 0);
	uint8_t *group = place(PLACE_GROUP, group_bytes, 0);
	uint8_t *back = place(PLACE_BACK, n_rows * row_bytes, 0);
	const struct dn_matrix matrix = { type, n_rows, columns, group_bytes, group };
	int counts[256] = { 0 };
	const char *damage;

	for (size_t i = 0; i < n_rows * row_bytes; i++) {
		file[i] = (uint8_t)random_u32();
		counts[file[i]]++;
	}
	memset(group, 0xee, group_bytes);
	dn_relay_group(type, columns, file, n_rows, group);
	EXPECT(group_bytes == DN_GROUP * row_bytes, "%s: a group of %zu bytes", name, group_bytes);
	counts[0] += (int)((DN_GROUP - n_rows) * row_bytes);
	for (size_t i = 0; i < group_bytes; i++)
		counts[group[i]]--;
	for (int i = 0; i < 256; i++)
		EXPECT(counts[i] == 0, "%s %ux%u: byte %02x %+d times", name, n_rows, columns,
		       (unsigned int)i, -counts[i]);
	for (uint32_t r = 0; r < n_rows; r++)
		check_row(&matrix, r, file + r * row_bytes);
	dn_unrelay_group(type, columns, group, n_rows, back);
	EXPECT(memcmp(back, file, n_rows * row_bytes) == 0, "%s %ux%u: other rows come back", name,
	       n_rows, columns);
	damage = places_intact();
	EXPECT(!damage, "%s %ux%u: %s", name, n_rows, columns, damage);
}

void check_relay(const char *unused)
{
	(void)unused;
	random_seed(1);
	for (int type = 0; type < DN_TYPE_COUNT; type++) {
		const struct dn_type_info *info = dn_type_info((uint32_t)type);

		if (!info || !dn_type_computes((enum dn_type)type))
			continue;
		for (uint32_t blocks = 1; blocks <= (info->columns == 1 ? 96 : 3); blocks++)
			for (uint32_t n = 1; n <= DN_GROUP; n++)
				check_group((enum dn_type)type, blocks * info->columns, n);
	}
	EXPECT(!dn_type_computes(DN_TYPE_COUNT), "a number without a type has a product");
}
