/* SPDX-License-Identifier: MIT */
/*
 * Products. The portable level computes all rows of X once; every level then computes the first n
 * of them, so that equal bits also show that a row does not depend on how many others there are.
 */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "kernels/half.h"
#include "kernels/level.h"
#include "kernels/relay.h"
#include "kernels/shape.h"

#define N_MAX	    70
#define COLUMNS_MAX 2304

enum {
	PLACE_WEIGHTS,
	PLACE_X,
	PLACE_QUANTS,
	PLACE_SCALES,
	PLACE_SUMS,
	PLACE_BIASES,
	PLACE_PAIRS,
	PLACE_Y
};

static const uint16_t scale_fills[] = {
	0x0000, /* zero */
	0x0001, /* the smallest denormal */
	0x83ff, /* the largest denormal, negative */
	0x7bff, /* 65504 */
	0x7c00, /* infinity */
	0x7e01, /* no number */
};

static const char *const x_fills[] = { "random", "zero",     "huge",  "tiny",	 "alternating",
				       "one",	 "infinite", "mixed", "constant" };

struct input {
	enum dn_type type;
	uint32_t rows;
	uint32_t columns;
	unsigned int round;
	struct dn_matrix w;
	struct dn_activations x;
	float want[N_MAX * 64];
};

/* A block of the file: quants of all bits, or the extremes; scales of all kinds in turn. */
static void fill_block(uint8_t *block, enum dn_type type, unsigned int round)
{
	const struct dn_type_info *info = dn_type_info(type);
	const uint8_t extremes[] = { 0x00, 0xff, 0x80, 0x7f };
	size_t offsets[2];
	const size_t halves = half_offsets(type, offsets);

	const uint32_t extreme = random_below(8);

	for (uint32_t i = 0; i < info->bytes; i++)
		block[i] = extreme < 4 ? extremes[extreme] : (uint8_t)random_u32();
	for (size_t i = 0; i < halves; i++) {
		/* Signs and exponents of numbers as models have them. */
		uint16_t half = (uint16_t)((random_u32() & 0x83ff) | (6 + random_below(9)) << 10);

		if (round % 4 == 3 && random_below(4) == 0)
			half = scale_fills[random_below(DN_ARRAY_SIZE(scale_fills))];
		memcpy(block + offsets[i], &half, sizeof(half));
	}
	if (type == DN_TYPE_F32) {
		float value = random_unit() * (round % 4 == 3 ? 0x1p120f : 1.0f);

		memcpy(block, &value, sizeof(value));
	} else if (type == DN_TYPE_BF16) {
		uint32_t bits = dn_float_bits(random_unit());

		/* Numbers as models have them; in some rounds any, infinite ones too. */
		if (round % 4 != 3)
			memcpy(block, (uint8_t *)&bits + 2, 2);
	}
}

static void fill_weights(struct input *in)
{
	static uint8_t file[DN_GROUP * COLUMNS_MAX * 4];
	const size_t group_bytes = dn_relay_group_bytes(in->type, in->columns);
	const size_t row_bytes = dn_relay_row_bytes(in->type, in->columns);
	const uint32_t groups = DN_DIV_ROUND_UP(in->rows, DN_GROUP);
	uint8_t *data = place(PLACE_WEIGHTS, groups * group_bytes, 0);

	for (uint32_t group = 0; group < groups; group++) {
		uint32_t n = DN_MIN(in->rows - group * DN_GROUP, (uint32_t)DN_GROUP);

		for (size_t i = 0; i < n * row_bytes; i += dn_type_info(in->type)->bytes)
			fill_block(file + i, in->type, in->round);
		dn_relay_group(in->type, in->columns, file, n, data + group * group_bytes);
	}
	in->w = (struct dn_matrix){ .type = in->type,
				    .rows = in->rows,
				    .columns = in->columns,
				    .group_bytes = group_bytes,
				    .data = data };
}

static float x_value(unsigned int fill, uint32_t row, uint32_t column)
{
	switch (fill) {
	case 1:
		return 0.0f;
	case 2:
		return random_unit() * 0x1p120f;
	case 3:
		return random_unit() * 0x1p-126f;
	case 4:
		return column % 2 ? -3.0f : 3.0f;
	case 5:
		return column == row ? 1000.0f : 0.0f;
	case 6: /* in one row only: the others must not notice */
		return row == 3 && column == 0 ? INFINITY : random_unit();
	case 7:
		return ldexpf(random_unit(), (int)random_below(40) - 20);
	case 8:
		return row % 2 ? -3.0f : 3.0f;
	default:
		return random_unit();
	}
}

static void fill_activations(struct input *in)
{
	const bool quantised = dn_type_shape(in->type).runs > 0;
	const size_t stride = in->columns + (in->round % 2 ? 3 : 0);
	const size_t quants_stride = in->columns + (in->round % 2 ? DN_BLOCK : 0);
	const size_t n_blocks = in->columns / DN_BLOCK;
	const size_t block_stride = quants_stride / DN_BLOCK;
	const size_t n_scales = (N_MAX - 1) * block_stride + n_blocks;
	const unsigned int fill = in->round % DN_ARRAY_SIZE(x_fills);
	float *values = place(PLACE_X, ((N_MAX - 1) * stride + in->columns) * sizeof(float),
			      in->round % 5 * sizeof(float));
	int8_t *quants;
	float *scales;
	float *sums;
	int32_t *biases;
	int16_t *pairs;

	for (uint32_t n = 0; n < N_MAX; n++)
		for (uint32_t c = 0; c < in->columns; c++)
			values[n * stride + c] = x_value(fill, n, c);
	in->x = (struct dn_activations){ .columns = in->columns };
	if (!quantised) {
		in->x.values = values;
		in->x.stride = stride;
		return;
	}
	quants = place(PLACE_QUANTS, (N_MAX - 1) * quants_stride + in->columns, in->round % 7);
	scales = place(PLACE_SCALES, n_scales * sizeof(float), 0);
	sums = place(PLACE_SUMS, n_scales * sizeof(float), 0);
	biases = place(PLACE_BIASES, n_scales * sizeof(int32_t), 0);
	pairs = place(PLACE_PAIRS, n_scales * 2 * sizeof(int16_t), 0);
	for (uint32_t n = 0; n < N_MAX; n++)
		dn_kernels_scalar.quantise(values + n * stride, in->columns,
					   quants + n * quants_stride, scales + n * block_stride,
					   sums + n * block_stride, biases + n * block_stride,
					   pairs + n * block_stride * 2);
	in->x.quants = quants;
	in->x.quants_stride = quants_stride;
	in->x.scales = scales;
	in->x.sums = sums;
	in->x.biases = biases;
	in->x.pairs = pairs;
}

struct call {
	const struct dn_kernels *kernels;
	const struct dn_product *product;
	uint32_t first;
	uint32_t count;
};

static void call_product(void *data)
{
	const struct call *call = data;

	call->kernels->product(call->product, call->first, call->count);
}

#define UNTOUCHED 0x1.23456p-20f

/* One call: what it must write is right, what it must not is as it was. */
static void compare(const struct input *in, const struct level *level, uint32_t n, uint32_t first,
		    uint32_t count)
{
	const size_t y_stride = in->rows + random_below(3) * 5;
	const size_t size = (n - 1) * y_stride + in->rows;
	float *y = place(PLACE_Y, size * sizeof(float), 0);
	struct dn_product product = { &in->w, &in->x, n, y, y_stride, random_below(2) };
	struct call call = { level->kernels, &product, first, count };
	const char *damage;

	for (size_t i = 0; i < size; i++)
		y[i] = UNTOUCHED;
	if (!survives(call_product, &call)) {
		fail("%s %s %ux%u n=%u groups %u+%u round %u: left its buffers", level->name,
		     dn_type_info(in->type)->name, in->rows, in->columns, n, first, count,
		     in->round);
		return;
	}
	for (size_t i = 0; i < size; i++) {
		const size_t row = i % y_stride;
		const bool ours = row >= (size_t)first * DN_GROUP &&
				  row < (size_t)(first + count) * DN_GROUP && row < in->rows;
		const float want = ours ? in->want[i / y_stride * in->rows + row] : UNTOUCHED;

		if (first_difference(&y[i], &want, 1) == 1)
			continue;
		fail("%s %s %ux%u n=%u groups %u+%u round %u (x %s): y[%zu][%zu] is %a, not %a",
		     level->name, dn_type_info(in->type)->name, in->rows, in->columns, n, first,
		     count, in->round, x_fills[in->round % DN_ARRAY_SIZE(x_fills)], i / y_stride,
		     row, (double)y[i], (double)want);
		return;
	}
	damage = places_intact();
	EXPECT(!damage, "%s %s %ux%u n=%u round %u: %s", level->name, dn_type_info(in->type)->name,
	       in->rows, in->columns, n, in->round, damage);
}

/* Every n at small sizes; at large ones those around the borders of tiles and of few rows. */
static uint32_t next_n(uint32_t n, uint32_t columns)
{
	static const uint32_t borders[] = {
		12, 15, 16, 17, 18, 31, 32, 33, 47, 48, 63, 64, 65, 70
	};

	if (columns <= 64 || n < 9)
		return n + 1;
	for (size_t i = 0; i < DN_ARRAY_SIZE(borders); i++)
		if (borders[i] > n)
			return borders[i];
	return N_MAX + 1;
}

static void check_shape(enum dn_type type, uint32_t rows, uint32_t columns, unsigned int round)
{
	static const uint32_t ns[] = { 1, 5, 33, 48 };
	static struct input in;
	const uint32_t groups = DN_DIV_ROUND_UP(rows, DN_GROUP);
	struct dn_product all = { &in.w, &in.x, N_MAX, in.want, rows };

	in.type = type;
	in.rows = rows;
	in.columns = columns;
	in.round = round;
	random_seed(((uint64_t)type << 32 | rows << 16 | columns) * 64 + round);
	fill_weights(&in);
	fill_activations(&in);
	dn_kernels_scalar.product(&all, 0, groups);
	for (const struct level *level = levels(); level->name; level++) {
		for (uint32_t n = 1; n <= N_MAX; n = next_n(n, columns))
			compare(&in, level, n, 0, groups);
		for (uint32_t first = 0; groups > 1 && first < groups; first++)
			for (size_t i = 0; i < DN_ARRAY_SIZE(ns); i++)
				compare(&in, level, ns[i], first,
					ns[i] > 5 && first + 2 <= groups ? 2 : 1);
	}
}

/* Each fill of X has its turn; in a wide matrix under an emulator, a third of them, others by shape. */
static void check_rounds(enum dn_type type, uint32_t rows, uint32_t columns)
{
	const unsigned int fills = DN_ARRAY_SIZE(x_fills);
#ifdef DN_TEST_EMULATED
	const unsigned int rounds = fills;
	const unsigned int step = columns > 64 ? 3 : 1;
#else
	const unsigned int rounds = columns > 512 ? fills : 3 * fills;
	const unsigned int step = 1;
#endif

	for (unsigned int i = (rows + columns) % step; i < rounds; i += step)
		check_shape(type, rows, columns, i);
}

/* The type by name, or all. */
void check_product(const char *type)
{
	static const uint32_t rows[] = { 1, 7, 15, 16, 17, 33 };
	static const uint32_t columns[] = { 1,	 3,   5,   33,	32,   64,
					    256, 512, 576, 768, 1056, COLUMNS_MAX };

	bool found = false;

	for (uint32_t t = 0; t < DN_TYPE_COUNT; t++) {
		const struct dn_type_info *info = dn_type_info(t);

		if (!info || !dn_type_computes((enum dn_type)t) ||
		    (type && strcmp(type, info->name) != 0))
			continue;
		found = true;
		for (size_t r = 0; r < DN_ARRAY_SIZE(rows); r++)
			for (size_t c = 0; c < DN_ARRAY_SIZE(columns); c++)
				if (columns[c] % info->columns == 0)
					check_rounds((enum dn_type)t, rows[r], columns[c]);
	}
	EXPECT(found, "no type '%s'", type ? type : "any");
}
