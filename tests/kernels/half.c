/* SPDX-License-Identifier: MIT */
/* binary16 and bfloat16: all 65,536 values; to binary16 every border between two of them. */

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "kernels/level.h"

#define N_HALVES 65536

enum { PLACE_IN, PLACE_OUT };

/* From the standard's definition, not from bits. */
static double half_value(uint32_t half)
{
	const int exponent = (int)(half >> 10 & 31);
	const double mantissa = (double)(half & 1023);
	double value;

	if (exponent == 31)
		value = mantissa > 0.0 ? (double)NAN : (double)INFINITY;
	else if (exponent == 0)
		value = ldexp(mantissa, -24);
	else
		value = ldexp(1024.0 + mantissa, exponent - 25);
	return half & 0x8000 ? -value : value;
}

static double bfloat_value(uint32_t bfloat)
{
	const int exponent = (int)(bfloat >> 7 & 255);
	const double mantissa = (double)(bfloat & 127);
	double value;

	if (exponent == 255)
		value = mantissa > 0.0 ? (double)NAN : (double)INFINITY;
	else if (exponent == 0)
		value = ldexp(mantissa, -133);
	else
		value = ldexp(128.0 + mantissa, exponent - 134);
	return bfloat & 0x8000 ? -value : value;
}

/* Weights of one column times 1: a product's result is the weight as a level loads it. */
static void check_loads(const struct dn_kernels *kernels, enum dn_type type)
{
	static float y[N_HALVES];
	uint16_t *halves = place(PLACE_IN, N_HALVES * sizeof(*halves), 0);
	const float one = 1.0f;
	const struct dn_matrix w = { type, N_HALVES, 1, DN_GROUP * 2, (const void *)halves };
	const struct dn_activations x = { .columns = 1, .values = &one, .stride = 1 };
	const struct dn_product p = { &w, &x, 1, y, N_HALVES };

	for (uint32_t i = 0; i < N_HALVES; i++)
		halves[i] = (uint16_t)i;
	kernels->product(&p, 0, N_HALVES / DN_GROUP);
	for (uint32_t i = 0; i < N_HALVES; i++) {
		const float want = (float)(type == DN_TYPE_F16 ? half_value(i) : bfloat_value(i));

		EXPECT(y[i] == want || (isnan(y[i]) && isnan(want)), "%s: %s %04x read as %a",
		       kernels->name, dn_type_info(type)->name, i, (double)y[i]);
	}
}

struct rounding {
	float value;
	uint16_t want;
};

/* At the middle of two neighbours to the even one, just below and above to the nearer one. */
static size_t borders(uint32_t half, struct rounding out[4])
{
	const uint32_t sign = half & 0x8000;
	const double here = fabs(half_value(half));
	/* Above 65504 the next would be 65536: what rounds to it is infinite. */
	const double next = (half & 0x7fff) == 0x7bff ? 65536.0 : fabs(half_value(half + 1));
	const float s = sign ? -1.0f : 1.0f;
	const float middle = (float)((here + next) / 2.0);
	const uint16_t above = (uint16_t)(half + 1);

	if ((half & 0x7fff) >= 0x7c00)
		return 0;
	out[0] = (struct rounding){ s * (float)here, (uint16_t)half };
	out[1] = (struct rounding){ s * nextafterf(middle, 0.0f), (uint16_t)half };
	out[2] = (struct rounding){ s * middle, half & 1 ? above : (uint16_t)half };
	out[3] = (struct rounding){ s * nextafterf(middle, INFINITY), above };
	return 4;
}

static void check_stores(const struct dn_kernels *kernels)
{
	for (uint32_t half = 0; half < N_HALVES; half++) {
		struct rounding at[4];
		float values[4];
		uint16_t *out = place(PLACE_OUT, 16 * sizeof(*out), 0);
		const size_t n = borders(half, at);

		for (size_t i = 0; i < n; i++)
			values[i] = at[i].value;
		if (n)
			kernels->store_value(out, 0, values, (uint32_t)n, DN_KV_F16);
		for (size_t i = 0; i < n; i++) {
			/* The cache saturates. */
			const uint16_t want =
				(at[i].want & 0x7fff) == 0x7c00 ? at[i].want - 1 : at[i].want;

			EXPECT(out[i] == want, "%s: %a became %04x, not %04x", kernels->name,
			       (double)values[i], out[i], want);
		}
	}
}

static void check_no_numbers(const struct dn_kernels *kernels)
{
	uint16_t *out = place(PLACE_OUT, 16 * sizeof(*out), 0);
	const float values[] = { NAN, -NAN, INFINITY, -INFINITY, 3e38f, dn_bits_float(0x7f800001) };

	kernels->store_value(out, 0, values, DN_ARRAY_SIZE(values), DN_KV_F16);
	EXPECT((out[0] & 0x7fff) > 0x7c00 && (out[1] & 0x7fff) > 0x7c00 &&
		       (out[5] & 0x7fff) > 0x7c00,
	       "%s: no number became one", kernels->name);
	EXPECT(out[2] == 0x7bff && out[3] == 0xfbff && out[4] == 0x7bff,
	       "%s: infinity is not the largest half", kernels->name);
}

void check_half(const char *unused)
{
	const struct dn_kernels *portable[] = { &dn_kernels_ref, &dn_kernels_scalar };

	(void)unused;
	for (size_t i = 0; i < DN_ARRAY_SIZE(portable); i++) {
		check_loads(portable[i], DN_TYPE_F16);
		check_loads(portable[i], DN_TYPE_BF16);
		check_stores(portable[i]);
		check_no_numbers(portable[i]);
	}
	for (const struct level *level = levels(); level->name; level++) {
		check_loads(level->kernels, DN_TYPE_F16);
		check_loads(level->kernels, DN_TYPE_BF16);
		check_stores(level->kernels);
		check_no_numbers(level->kernels);
	}
}
