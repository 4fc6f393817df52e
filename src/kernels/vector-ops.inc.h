/* SPDX-License-Identifier: MIT */
/*
 * The float32 operations of a level, written once in terms of its vectors; attention.inc.h and
 * recurrent.inc.h go on from here.
 *
 * The including file defines before: VEC (lanes, 1 to 16), `vec` and vec_load, vec_store, vec_set1,
 * vec_add, vec_sub, vec_mul, vec_div, vec_fma (fused), vec_max, vec_min, vec_keep_ge(v, x, t) (v
 * where x >= t, else 0), vec_any_gt(a, b) (whether a > b somewhere), vec_shift_exponent(p, t) (adds
 * the low bits of t, as an integer, to the exponent of p), vec_load_half, vec_store_half,
 * vec_load_bytes (int8); and ROWS, the query rows whose sums fit its registers with two vectors
 * each, at most 8; where four vectors of some fewer fit, WIDE_ROWS. With HAS_QUANTISE_BLOCK, it has
 * largest_of_block() and quantise_block() too.
 *
 * Sums are kept in sixteen lanes whatever VEC is, in PARTS vectors, and added up by lanes_sum().
 */

#define INLINE static inline __attribute__((always_inline))

#ifndef WIDE_ROWS
#define WIDE_ROWS 0
#endif

#define LANES 16
#define PARTS (LANES / VEC)

/* ((l0 + l8) + (l4 + l12)) + …: the one order in which lanes are added. Changes @sums. */
static inline float lanes_sum(vec sums[PARTS])
{
	float sum[VEC];

	for (int n = PARTS / 2; n > 0; n /= 2)
		for (int p = 0; p < n; p++)
			sums[p] = vec_add(sums[p], sums[p + n]);
	vec_store(sum, sums[0]);
#pragma GCC unroll 4
	for (int width = VEC / 2; width > 0; width /= 2)
#pragma GCC unroll 8
		for (int i = 0; i < width; i++)
			sum[i] += sum[i + width];
	return sum[0];
}

/*
 * e^x of @bounded, which is @x within -87 to 88: x = n ln 2 + r with ln 2 in two parts (Cody and
 * Waite 1980), |r| <= ln 2 / 2, the polynomial of degree 6 is Taylor's with its error (1.5e-8
 * relative at the ends) below half a unit of float32's last place. 0 where @x is below -87, where
 * the result would leave the normal numbers, or no number. The largest error is about 1 unit.
 */
INLINE vec exp_bounded(vec bounded, vec x)
{
	const vec magic = vec_set1(0x1.8p23f);
	vec t = vec_fma(bounded, vec_set1(0x1.715476p+0f), magic);
	vec n = vec_sub(t, magic);
	vec r = vec_fma(n, vec_set1(-0x1.62e4p-1f), bounded);
	vec p;

	r = vec_fma(n, vec_set1(-0x1.7f7d1cp-20f), r);
	p = vec_fma(r, vec_set1(0x1.a01a02p-13f), vec_set1(0x1.6c16c2p-10f));
	p = vec_fma(p, r, vec_set1(0x1.111112p-7f));
	p = vec_fma(p, r, vec_set1(0x1.555556p-5f));
	p = vec_fma(p, r, vec_set1(0x1.555556p-3f));
	p = vec_fma(p, r, vec_set1(0.5f));
	p = vec_fma(p, r, vec_set1(1.0f));
	p = vec_fma(p, r, vec_set1(1.0f));
	return vec_keep_ge(vec_shift_exponent(p, t), x, vec_set1(-87.0f));
}

/* Above 88 the result saturates at e^88. */
static inline vec vec_exp(vec x)
{
	return exp_bounded(vec_min(vec_max(x, vec_set1(-87.0f)), vec_set1(88.0f)), x);
}

/* The same bits where x is not above 0. */
static inline vec vec_exp_negative(vec x)
{
	return exp_bounded(vec_max(x, vec_set1(-87.0f)), x);
}

static inline float exp_one(float x)
{
	float lanes[VEC];

	vec_store(lanes, vec_exp(vec_set1(x)));
	return lanes[0];
}

/* A row's last elements are padded with zeros and take the same operations as the others. */
#define FOR_VECTORS(n, i) for (uint32_t i = 0; i < (n); i += VEC)

static inline vec load_some(const float *x, uint32_t left)
{
	float padded[VEC] = { 0 };

	if (left >= VEC)
		return vec_load(x);
	memcpy(padded, x, left * sizeof(float));
	return vec_load(padded);
}

/* A number in the lanes that load_some() fills. */
static inline vec load_some_of(float x, uint32_t left)
{
	float padded[VEC] = { 0 };

	if (left >= VEC)
		return vec_set1(x);
	for (uint32_t i = 0; i < left; i++)
		padded[i] = x;
	return vec_load(padded);
}

static inline void store_some(float *y, vec v, uint32_t left)
{
	float padded[VEC];

	if (left >= VEC) {
		vec_store(y, v);
		return;
	}
	vec_store(padded, v);
	memcpy(y, padded, left * sizeof(float));
}

static void add_scaled(float *y, const float *x, float scale, uint32_t n)
{
	const vec factor = vec_set1(scale);

	FOR_VECTORS(n, i)
	store_some(y + i, vec_fma(load_some(x + i, n - i), factor, load_some(y + i, n - i)), n - i);
}

static void multiply(float *y, const float *a, const float *b, uint32_t n)
{
	FOR_VECTORS(n, i)
	store_some(y + i, vec_mul(load_some(a + i, n - i), load_some(b + i, n - i)), n - i);
}

static void scale_by(float *x, float factor, uint32_t n)
{
	FOR_VECTORS(n, i)
	store_some(x + i, vec_mul(load_some(x + i, n - i), vec_set1(factor)), n - i);
}

/* 1 - 2 / (1 + e^2x): near zero the error is absolute, a unit of 1's last place. */
static inline vec vec_tanh(vec x)
{
	const vec one = vec_set1(1.0f);
	vec e = vec_exp(vec_mul(x, vec_set1(2.0f)));

	return vec_sub(one, vec_div(vec_set1(2.0f), vec_add(one, e)));
}

static inline vec vec_softcap(vec x, float cap)
{
	return vec_mul(vec_set1(cap), vec_tanh(vec_div(x, vec_set1(cap))));
}

static void softcap(float *x, float cap, uint32_t n)
{
	FOR_VECTORS(n, i)
	store_some(x + i, vec_softcap(load_some(x + i, n - i), cap), n - i);
}

static inline vec vec_sigmoid(vec x)
{
	const vec one = vec_set1(1.0f);

	return vec_div(one, vec_add(one, vec_exp(vec_sub(vec_set1(0.0f), x))));
}

static inline vec vec_silu(vec x)
{
	return vec_div(x, vec_add(vec_set1(1.0f), vec_exp(vec_sub(vec_set1(0.0f), x))));
}

/* x / 2 (1 + tanh u) is x / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3). */
static inline vec vec_gelu(vec x)
{
	vec square = vec_mul(x, x);
	vec u = vec_mul(x, vec_fma(square, vec_set1(-0x1.2444f2p-4f), vec_set1(-0x1.988454p+0f)));

	return vec_div(x, vec_add(vec_set1(1.0f), vec_exp(u)));
}

/*
 * x Phi(x) = max(x, 0) - |x| / 2 erfc(|x| / sqrt 2), and erfc z is e^-z^2 times a polynomial in
 * 1 / (1 + p z), 7.1.26 of Abramowitz and Stegun's Handbook, with an error of 1.5e-7.
 */
static inline vec vec_gelu_erf(vec x)
{
	const vec zero = vec_set1(0.0f);
	const vec one = vec_set1(1.0f);
	vec magnitude = vec_max(x, vec_sub(zero, x));
	vec z = vec_mul(magnitude, vec_set1(0x1.6a09e6p-1f));
	vec t = vec_div(one, vec_fma(z, vec_set1(0.3275911f), one));
	vec p = vec_fma(t, vec_set1(1.061405429f), vec_set1(-1.453152027f));
	vec tail;

	p = vec_fma(p, t, vec_set1(1.421413741f));
	p = vec_fma(p, t, vec_set1(-0.284496736f));
	p = vec_fma(p, t, vec_set1(0.254829592f));
	tail = vec_mul(vec_mul(p, t), vec_exp(vec_sub(zero, vec_mul(z, z))));
	return vec_sub(vec_max(x, zero), vec_mul(vec_mul(magnitude, vec_set1(0.5f)), tail));
}

static inline vec vec_activate(const enum dn_activation activation, vec x)
{
	switch (activation) {
	case DN_ACTIVATION_SILU:
		return vec_silu(x);
	case DN_ACTIVATION_GELU:
		return vec_gelu(x);
	case DN_ACTIVATION_GELU_ERF:
		return vec_gelu_erf(x);
	default:
		return vec_sigmoid(x);
	}
}

INLINE void activate_with(const enum dn_activation activation, float *y, const float *x,
			  const float *up, uint32_t n)
{
	FOR_VECTORS(n, i)
	{
		vec v = vec_activate(activation, load_some(x + i, n - i));

		if (up)
			v = vec_mul(v, load_some(up + i, n - i));
		store_some(y + i, v, n - i);
	}
}

static void activate(enum dn_activation activation, float *y, const float *x, const float *up,
		     uint32_t n)
{
	switch (activation) {
	case DN_ACTIVATION_SILU:
		activate_with(DN_ACTIVATION_SILU, y, x, up, n);
		break;
	case DN_ACTIVATION_GELU:
		activate_with(DN_ACTIVATION_GELU, y, x, up, n);
		break;
	case DN_ACTIVATION_GELU_ERF:
		activate_with(DN_ACTIVATION_GELU_ERF, y, x, up, n);
		break;
	case DN_ACTIVATION_SIGMOID:
		activate_with(DN_ACTIVATION_SIGMOID, y, x, up, n);
		break;
	}
}

/* Sum over a row of (x - offset)^2, or with @power 1 of x, in sixteen lanes. */
INLINE float row_sum(const float *x, uint32_t n, float offset, const int power)
{
	vec sums[PARTS];

	for (int p = 0; p < PARTS; p++)
		sums[p] = vec_set1(0.0f);
	for (uint32_t i = 0; i < n; i += LANES) {
		for (uint32_t p = 0; p < PARTS && i + p * VEC < n; p++) {
			const uint32_t left = n - i - p * VEC;
			vec v = load_some(x + i + p * VEC, left);

			if (power == 1) {
				sums[p] = vec_add(sums[p], v);
				continue;
			}
			/* What fills up the last vector stays out of the sum. */
			v = vec_sub(v, load_some_of(offset, left));
			sums[p] = vec_fma(v, v, sums[p]);
		}
	}
	return lanes_sum(sums);
}

static void rms_norm(float *y, const float *x, const float *weight, uint32_t n, float epsilon)
{
	const float scale = 1.0f / sqrtf(row_sum(x, n, 0.0f, 2) / (float)n + epsilon);

	FOR_VECTORS(n, i)
	{
		vec v = vec_mul(load_some(x + i, n - i), vec_set1(scale));

		if (weight)
			v = vec_mul(v, load_some(weight + i, n - i));
		store_some(y + i, v, n - i);
	}
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, uint32_t n,
		       float epsilon)
{
	const float mean = row_sum(x, n, 0.0f, 1) / (float)n;
	const float scale = 1.0f / sqrtf(row_sum(x, n, mean, 2) / (float)n + epsilon);

	FOR_VECTORS(n, i)
	{
		vec v = vec_sub(load_some(x + i, n - i), vec_set1(mean));

		v = vec_mul(vec_mul(v, vec_set1(scale)), load_some(weight + i, n - i));
		if (bias)
			v = vec_add(v, load_some(bias + i, n - i));
		store_some(y + i, v, n - i);
	}
}

static void rope(float *x, uint32_t n_pairs, const float *cosines, const float *sines, bool halves)
{
	const uint32_t step = halves ? 1 : 2;
	const uint32_t other = halves ? n_pairs : 1;

	for (uint32_t i = 0; i < n_pairs; i++) {
		float a = x[(size_t)step * i];
		float b = x[(size_t)step * i + other];

		x[(size_t)step * i] = a * cosines[i] - b * sines[i];
		x[(size_t)step * i + other] = a * sines[i] + b * cosines[i];
	}
}

#ifndef HAS_QUANTISE_BLOCK
/* Magnitudes order like their bits, and an integer maximum has no order to keep. */
INLINE float largest_of_block(const float *x)
{
	uint32_t largest = 0;
	float value;

	for (int i = 0; i < DN_BLOCK; i++) {
		uint32_t magnitude;

		memcpy(&magnitude, &x[i], sizeof(magnitude));
		magnitude &= 0x7fffffff;
		largest = largest > magnitude ? largest : magnitude;
	}
	memcpy(&value, &largest, sizeof(value));
	return value;
}

/* Of sixteen quants, as sums of unsigned bytes in words: no loop that compilers could spoil. */
INLINE int32_t sum_of_half(const int8_t *quants)
{
	const uint64_t every_other = UINT64_C(0x00ff00ff00ff00ff);
	uint64_t words[2];
	uint64_t sums = 0;

	memcpy(words, quants, sizeof(words));
	for (int i = 0; i < 2; i++) {
		const uint64_t above = words[i] ^ UINT64_C(0x8080808080808080);

		sums += (above & every_other) + (above >> 8 & every_other);
	}
	return (int32_t)(sums * UINT64_C(0x0001000100010001) >> 48) - 16 * 128;
}

/* x * inverse as quants, and the sums of the first sixteen and of the others. */
INLINE void quantise_block(const float *x, float inverse, int8_t *quants, int32_t halves[2])
{
	for (int i = 0; i < DN_BLOCK; i++) {
		/* The adder rounds to nearest even at the place of the units. */
		const float shifted = x[i] * inverse + 0x1.8p23f;
		int32_t quant;

		memcpy(&quant, &shifted, sizeof(quant));
		quants[i] = (int8_t)(quant - 0x4b400000);
	}
	halves[0] = sum_of_half(quants);
	halves[1] = sum_of_half(quants + DN_BLOCK / 2);
}
#endif

static void quantise(const float *x, uint32_t columns, int8_t *quants, float *scales, float *sums,
		     int32_t *biases, int16_t *pairs)
{
	for (uint32_t b = 0; b < columns / DN_BLOCK; b++, x += DN_BLOCK, quants += DN_BLOCK) {
		const float largest = largest_of_block(x);
		const float inverse = largest > 0x1p-100f ? 127.0f / largest : 0.0f;
		const float scale = inverse != 0.0f ? largest / 127.0f : 0.0f;
		int32_t halves[2] = { 0, 0 };

		/* What is no number would leave its bits. */
		if (inverse == 0.0f)
			memset(quants, 0, DN_BLOCK);
		else
			quantise_block(x, inverse, quants, halves);
		scales[b] = scale;
		sums[b] = scale * (float)(halves[0] + halves[1]);
		biases[b] = -8 * (halves[0] + halves[1]);
		pairs[2 * b] = (int16_t)halves[0];
		pairs[2 * b + 1] = (int16_t)halves[1];
	}
}

/* IWYU pragma: begin_keep */
#include "kernels/attention.inc.h"
#include "kernels/recurrent.inc.h"
/* IWYU pragma: end_keep */
