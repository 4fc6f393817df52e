/* SPDX-License-Identifier: MIT */
/*
 * Elementary functions in double, with the same bits on every machine and with every libc: only
 * + - * / and comparisons on IEEE doubles, in a written order (the build forbids fusing them).
 *
 * Polynomials are Chebyshev fits made for the intervals here (scripts/math-coefficients), near
 * enough to minimax that what is left is rounding. The bounds below are checked against long
 * double by tests/unit/test_math.c.
 */
#ifndef DUNLIN_KERNELS_MATH_H
#define DUNLIN_KERNELS_MATH_H

#include <float.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "doubles are kept in wider registers here: compile with -msse2 -mfpmath=sse"
#endif

static inline uint64_t dn_double_bits(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static inline double dn_bits_double(uint64_t bits)
{
	double x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* Adding and subtracting it rounds to an integer; the sum's low bits are that integer. */
#define DN_ROUND_MAGIC 0x1.8p52

/*
 * exp x = 2^k m, m returned, k in the low bits of *ret_k (what is above them is to be shifted
 * out). x = k ln 2 + r, with ln 2 in two parts of which the first times k is exact (Cody and Waite,
 * "Software Manual for the Elementary Functions", 1980); exp r = 1 + r + r^2 (1/2 + r R(r)),
 * where the lone r is taken in its two parts.
 */
static inline double dn_exp_split(double x, uint64_t *ret_k)
{
	double shifted = x * 0x1.71547652b82fep+0 + DN_ROUND_MAGIC;
	double k = shifted - DN_ROUND_MAGIC;
	double high = x - k * 0x1.62e42fee00000p-1; /* exact */
	double low = k * 0x1.a39ef35793c76p-33;
	double r = high - low;
	double p;

	p = 0x1.af237d22526dfp-26;
	p = p * r + 0x1.2880501c9131ap-22;
	p = p * r + 0x1.71de17dd67496p-19;
	p = p * r + 0x1.a019c99a94203p-16;
	p = p * r + 0x1.a01a01a4b4782p-13;
	p = p * r + 0x1.6c16c173921fdp-10;
	p = p * r + 0x1.1111111110e69p-7;
	p = p * r + 0x1.5555555554cb3p-5;
	p = p * r + 0x1.5555555555555p-3;
	p = 0.5 + r * p;
	*ret_k = dn_double_bits(shifted);
	return 1.0 + (high - (low - r * r * p));
}

/* exp of what is between -708 and 709, without a branch: a loop over it becomes vectors. */
static inline double dn_exp_unchecked(double x)
{
	uint64_t k;
	double m = dn_exp_split(x, &k);

	return m * dn_bits_double((k + 1023) << 52);
}

/* exp of x <= 0 for sums of probabilities: 0 below -708. Also without a branch. NaN: 0. */
static inline double dn_exp_weight(double x)
{
	double inside = x > -708.0 ? x : -708.0;
	double e = dn_exp_unchecked(inside);

	return x > -708.0 ? e : 0.0;
}

/* Within 1.05 ulp, denormal results included. */
double dn_exp(double x);

/* Natural logarithm, within 1 ulp. log 0 = -inf; of less than 0: NaN. */
double dn_log(double x);

/*
 * Sine and cosine, each within 1 ulp for |x| <= DN_SINCOS_MAX (token positions times rope
 * frequencies). Beyond it, and for NaN: NaN, because a silent loss of digits would be worse.
 */
#define DN_SINCOS_MAX 0x1p23
void dn_sincos(double x, double *ret_sin, double *ret_cos);

/*
 * x to the power of y for x > 0, as exp(y log x): relative error below (2 + |y log x|) 2^-52,
 * which is under 1e-14 for every rope frequency. NaN for x < 0.
 */
double dn_pow(double x, double y);

/* Hyperbolic tangent, within 2 ulp. */
double dn_tanh(double x);

#endif /* DUNLIN_KERNELS_MATH_H */
