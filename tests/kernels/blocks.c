/* SPDX-License-Identifier: MIT */
/* Blocks of files against values that another implementation made. */

#include "kernels/blocks.h"

#include <string.h>

#include "block-values.h"
#include "harness.h"
#include "kernels/half.h"
#include "kernels/shape.h"

static const struct known {
	enum dn_type type;
	const float *values;
	size_t n_values;
} known[] = {
	{ DN_TYPE_Q4_0, q4_0, DN_ARRAY_SIZE(q4_0) },
	{ DN_TYPE_Q4_1, q4_1, DN_ARRAY_SIZE(q4_1) },
	{ DN_TYPE_Q5_0, q5_0, DN_ARRAY_SIZE(q5_0) },
	{ DN_TYPE_Q5_1, q5_1, DN_ARRAY_SIZE(q5_1) },
	{ DN_TYPE_Q8_0, q8_0, DN_ARRAY_SIZE(q8_0) },
	{ DN_TYPE_IQ4_NL, iq4_nl, DN_ARRAY_SIZE(iq4_nl) },
	{ DN_TYPE_Q2_K, q2_k, DN_ARRAY_SIZE(q2_k) },
	{ DN_TYPE_Q3_K, q3_k, DN_ARRAY_SIZE(q3_k) },
	{ DN_TYPE_Q4_K, q4_k, DN_ARRAY_SIZE(q4_k) },
	{ DN_TYPE_Q5_K, q5_k, DN_ARRAY_SIZE(q5_k) },
	{ DN_TYPE_Q6_K, q6_k, DN_ARRAY_SIZE(q6_k) },
	{ DN_TYPE_IQ4_XS, iq4_xs, DN_ARRAY_SIZE(iq4_xs) },
};

static void fill_block(enum dn_type type, uint8_t *bytes)
{
	static const float scales[2] = { -0.5f, 0.25f };
	size_t offsets[2];
	const size_t n_halves = half_offsets(type, offsets);

	random_seed(type);
	for (uint32_t i = 0; i < dn_type_info(type)->bytes; i++)
		bytes[i] = (uint8_t)random_u32();
	for (size_t i = 0; i < n_halves && i < DN_ARRAY_SIZE(scales); i++) {
		const uint16_t half = dn_float_to_half(scales[i]);

		memcpy(bytes + offsets[i], &half, sizeof(half));
	}
}

static void check_known(const struct known *k)
{
	const struct dn_type_info *info = dn_type_info(k->type);
	uint8_t *bytes = place(0, info->bytes, 0);
	struct dn_block block;

	EXPECT(k->n_values == info->columns, "%s: %zu values", info->name, k->n_values);
	fill_block(k->type, bytes);
	for (uint32_t c = 0; c < k->n_values; c++) {
		const uint32_t i = c % DN_BLOCK;
		float value;

		if (i == 0)
			dn_block_unpack(k->type, bytes, c / DN_BLOCK, &block);
		value = block.scales[i / 16] * (float)block.quants[i] + block.minima[i / 16];
		EXPECT(value == k->values[c], "%s: column %u is %g, not %g", info->name, c,
		       (double)value, (double)k->values[c]);
	}
}

/* Every type has a table above, or is one of floats. */
static void check_complete(enum dn_type type)
{
	const struct dn_type_info *info = dn_type_info(type);
	const struct dn_shape shape = dn_type_shape(type);
	bool found = shape.runs == 0;

	for (size_t i = 0; i < DN_ARRAY_SIZE(known); i++)
		found = found || known[i].type == type;
	EXPECT(found, "%s: no known values", info->name);
	EXPECT(dn_type_computes(type), "%s: no product", info->name);
	EXPECT(4 * shape.words + 2 * shape.halves == info->bytes, "%s: %u words, %u halves",
	       info->name, shape.words, shape.halves);
	EXPECT(info->columns == (shape.runs ? shape.runs * DN_BLOCK : 1), "%s: %u runs", info->name,
	       shape.runs);
}

void check_blocks(const char *unused)
{
	(void)unused;
	for (uint32_t type = 0; type < DN_TYPE_COUNT; type++)
		if (dn_type_info(type))
			check_complete((enum dn_type)type);
	for (size_t i = 0; i < DN_ARRAY_SIZE(known); i++)
		check_known(&known[i]);
}
