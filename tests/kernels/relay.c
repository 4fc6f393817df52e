/* SPDX-License-Identifier: MIT */
/* The layout of weights: what a row gives back is what the file's blocks mean; no byte is lost. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "kernels/half.h"
#include "kernels/level.h"
#include "kernels/relay.h"

enum { PLACE_FILE, PLACE_GROUP, PLACE_ROW };

static double half_at(const uint8_t *at)
{
	return (double)dn_half_to_float((uint16_t)(at[0] | at[1] << 8));
}

/* Bytes 4 to 15 pack eight scales and eight minima of 6 bits, the last four in two pieces. */
static double plain_q4_k(const uint8_t *block, uint32_t i)
{
	const uint8_t *packed = block + 4;
	const uint32_t part = i / 32;
	const int quant = block[16 + i / 64 * 32 + i % 32] >> part % 2 * 4 & 15;
	const int scale =
		part < 4 ? packed[part] % 64 : packed[part + 4] % 16 + packed[part - 4] / 64 * 16;
	const int minimum =
		part < 4 ? packed[part + 4] % 64 : packed[part + 4] / 16 + packed[part] / 64 * 16;

	return half_at(block) * scale * quant - half_at(block + 2) * minimum;
}

/* ql[128], qh[64], scales[16], d: halves of 128 columns, in each four runs of 32. */
static double plain_q6_k(const uint8_t *block, uint32_t i)
{
	const uint32_t run = i % 128 / 32;
	const int low = block[i / 128 * 64 + run % 2 * 32 + i % 32] >> run / 2 * 4 & 15;
	const int high = block[128 + i / 128 * 32 + i % 32] >> run * 2 & 3;

	return half_at(block + 208) * (int8_t)block[192 + i / 16] * (low + high * 16 - 32);
}

/* Column @c of a row, as the GGUF documentation has the blocks. */
static double plain(enum dn_type type, const uint8_t *row, uint32_t c)
{
	const struct dn_type_info *info = dn_type_info(type);
	const uint8_t *block = row + c / info->columns * info->bytes;
	const uint32_t i = c % info->columns;
	float value;

	switch (type) {
	case DN_TYPE_F32:
		memcpy(&value, block, sizeof(value));
		return (double)value;
	case DN_TYPE_F16:
		return half_at(block);
	case DN_TYPE_Q8_0:
		return half_at(block) * (int8_t)block[2 + i];
	case DN_TYPE_Q4_0:
		return half_at(block) * ((block[2 + i % 16] >> i / 16 * 4 & 15) - 8);
	case DN_TYPE_Q4_K:
		return plain_q4_k(block, i);
	case DN_TYPE_Q6_K:
		return plain_q6_k(block, i);
	default:
		return half_at(block) * (block[4 + i % 16] >> i / 16 * 4 & 15) + half_at(block + 2);
	}
}

static void check_group(enum dn_type type, uint32_t columns, uint32_t n_rows)
{
	const char *name = dn_type_info(type)->name;
	const size_t row_bytes = dn_relay_row_bytes(type, columns);
	const size_t group_bytes = dn_relay_group_bytes(type, columns);
	uint8_t *file = place(PLACE_FILE, n_rows * row_bytes, 0);
	uint8_t *group = place(PLACE_GROUP, group_bytes, 0);
	float *row = place(PLACE_ROW, columns * sizeof(float), 0);
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
	for (uint32_t r = 0; r < n_rows; r++) {
		dn_relay_row(&matrix, r, row);
		for (uint32_t c = 0; c < columns; c++) {
			const float want = (float)plain(type, file + r * row_bytes, c);

			EXPECT(row[c] == want || (isnan(row[c]) && isnan(want)),
			       "%s %ux%u: [%u][%u] is %a, not %a", name, n_rows, columns, r, c,
			       (double)row[c], (double)want);
		}
	}
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
	EXPECT(!dn_type_computes(DN_TYPE_Q2_K), "Q2_K has no product");
}
