/* SPDX-License-Identifier: MIT */
/* Activations to bytes: the same bits at every level, and what the header promises. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "kernels/level.h"

#define COLUMNS_MAX (67 * DN_BLOCK)
#define BLOCKS_MAX  (COLUMNS_MAX / DN_BLOCK)

enum { PLACE_X, PLACE_QUANTS, PLACE_SCALES, PLACE_SUMS, PLACE_BIASES, PLACE_PAIRS };

struct output {
	int8_t *quants;
	float *scales;
	float *sums;
	int32_t *biases;
	int16_t *pairs;
};

struct call {
	const struct dn_kernels *kernels;
	const float *x;
	uint32_t columns;
	struct output out;
};

static void run(void *data)
{
	const struct call *c = data;

	c->kernels->quantise(c->x, c->columns, c->out.quants, c->out.scales, c->out.sums,
			     c->out.biases, c->out.pairs);
}

static float value(unsigned int round, uint32_t i)
{
	static const float bits[] = { INFINITY, -INFINITY, NAN, 0x1p-149f, 3.4e38f, -0.0f };

	switch (round) {
	case 0:
		return 0.0f;
	case 1:
		return random_unit() * 0x1p127f;
	case 2: /* around where a block counts as zero */
		return ldexpf(random_unit(), -90 - (int)random_below(60));
	case 3: /* ties: with a maximum of 127, halves */
		return i % DN_BLOCK == 0 ? 127.0f : (float)(int)random_below(254) / 2.0f - 63.5f;
	case 4:
		return i % 2 ? 1.0f : -1.0f;
	case 5:
		return random_below(40) ? random_unit() : bits[random_below(DN_ARRAY_SIZE(bits))];
	default:
		return ldexpf(random_unit(), (int)(round * random_below(4)));
	}
}

/* What does not need another implementation to be seen. */
static void check_promises(const struct call *c, const char *level, unsigned int round)
{
	for (uint32_t b = 0; b < c->columns / DN_BLOCK; b++) {
		const float *x = c->x + (size_t)b * DN_BLOCK;
		const int8_t *quants = c->out.quants + (size_t)b * DN_BLOCK;
		const double scale = (double)c->out.scales[b];
		double largest = 0.0;
		int32_t halves[2] = { 0, 0 };
		int32_t sum;
		bool finite = true;

		for (uint32_t i = 0; i < DN_BLOCK; i++) {
			finite = finite && isfinite(x[i]);
			largest = fmax(largest, fabs((double)x[i]));
			halves[i / 16] += quants[i];
		}
		sum = halves[0] + halves[1];
		for (uint32_t i = 0; finite && i < DN_BLOCK; i++) {
			double error = fabs((double)x[i] - scale * quants[i]);

			/* Half a step; a block below 2^-100 may be zero. */
			EXPECT(quants[i] >= -127, "%s round %u: a quant of -128", level, round);
			EXPECT(error <= scale * 0.5001 + 0x1p-100,
			       "%s round %u: %a became %d steps of %a", level, round, (double)x[i],
			       quants[i], scale);
		}
		if (finite && largest > 0x1p-99)
			EXPECT(fabs(scale * 127.0 / largest - 1.0) < 2e-7,
			       "%s round %u: scale %a of a maximum %a", level, round, scale,
			       largest);
		EXPECT(c->out.biases[b] == -8 * sum, "%s round %u: bias", level, round);
		EXPECT(c->out.pairs[2 * b] == halves[0] && c->out.pairs[2 * b + 1] == halves[1],
		       "%s round %u: pair", level, round);
		EXPECT(c->out.sums[b] == c->out.scales[b] * (float)sum, "%s round %u: sum", level,
		       round);
	}
}

static void check_one(uint32_t columns, unsigned int round)
{
	static int8_t quants[COLUMNS_MAX];
	static float scales[BLOCKS_MAX];
	static float sums[BLOCKS_MAX];
	static int32_t biases[BLOCKS_MAX];
	static int16_t pairs[2 * BLOCKS_MAX];
	const uint32_t n_blocks = columns / DN_BLOCK;
	float *x = place(PLACE_X, columns * sizeof(float), 0);
	struct call want = {
		&dn_kernels_scalar, x, columns, { quants, scales, sums, biases, pairs }
	};

	random_seed((uint64_t)columns << 16 | round);
	for (uint32_t i = 0; i < columns; i++)
		x[i] = value(round, i);
	run(&want);
	check_promises(&want, "scalar", round);
	for (const struct level *level = levels(); level->name; level++) {
		struct call got = { level->kernels, x, columns, { 0 } };
		const char *damage;

		got.out.quants = place(PLACE_QUANTS, columns, round % 3);
		got.out.scales = place(PLACE_SCALES, n_blocks * sizeof(float), 0);
		got.out.sums = place(PLACE_SUMS, n_blocks * sizeof(float), 0);
		got.out.biases = place(PLACE_BIASES, n_blocks * sizeof(int32_t), 0);
		got.out.pairs = place(PLACE_PAIRS, n_blocks * 2 * sizeof(int16_t), 0);
		if (!survives(run, &got)) {
			fail("%s columns %u: left its buffers", level->name, columns);
			continue;
		}
		EXPECT(memcmp(got.out.quants, quants, columns) == 0 &&
			       memcmp(got.out.scales, scales, n_blocks * sizeof(float)) == 0 &&
			       memcmp(got.out.sums, sums, n_blocks * sizeof(float)) == 0 &&
			       memcmp(got.out.biases, biases, n_blocks * sizeof(int32_t)) == 0 &&
			       memcmp(got.out.pairs, pairs, n_blocks * 2 * sizeof(int16_t)) == 0,
		       "%s columns %u round %u: not the bits of scalar", level->name, columns,
		       round);
		damage = places_intact();
		EXPECT(!damage, "%s columns %u: %s", level->name, columns, damage);
	}
}

void check_quantise(const char *unused)
{
	(void)unused;
	for (uint32_t n_blocks = 1; n_blocks <= BLOCKS_MAX; n_blocks++)
		for (unsigned int round = 0; round < 12; round++)
			check_one(n_blocks * DN_BLOCK, round);
}
