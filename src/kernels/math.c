/* SPDX-License-Identifier: MIT */
/* Elementary functions in double; math.h says what they promise. */

#include <float.h>

#include "kernels/math.h"

#define QUIET_NAN 0x7ff8000000000000u
#define INFINITE  0x7ff0000000000000u

double dn_exp(double x)
{
	uint64_t k;
	double m;

	if (x != x)
		return x;
	if (x > 709.782712893384)
		return dn_bits_double(INFINITE);
	if (x < -745.1332191019412)
		return 0.0;
	if (x >= -708.0 && x <= 709.0)
		return dn_exp_unchecked(x);
	/* Near the ends 2^k is not a normal double: two steps, of which only the last rounds. */
	m = dn_exp_split(x, &k);
	if (x > 0)
		return m * dn_bits_double((k - 64 + 1023) << 52) * 0x1p64;
	return m * dn_bits_double((k + 64 + 1023) << 52) * 0x1p-64;
}

/*
 * x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); with s = f / (2 + f),
 * log(1 + f) = 2 s + s z R(z), z = s^2: the series of 2 atanh s. That it is summed as
 * f - (f^2/2 - s (f^2/2 + z R)), which keeps the large part f exact, is the idea of Sun's fdlibm.
 */
double dn_log(double x)
{
	uint64_t bits = dn_double_bits(x);
	double f, s, z, r, half, n;
	int k = 0;

	if (x != x || x == dn_bits_double(INFINITE))
		return x;
	if (x == 0)
		return -dn_bits_double(INFINITE);
	if (x < 0)
		return dn_bits_double(QUIET_NAN);
	if (x < DBL_MIN) {
		bits = dn_double_bits(x * 0x1p54);
		k = -54;
	}
	/* 0x6a09e… is the mantissa of sqrt(2): above it, the next power of two is nearer. */
	bits += 0x3ff0000000000000u - 0x3fe6a09e667f3bcdu;
	k += (int)(bits >> 52) - 1023;
	bits = (bits & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu;
	f = dn_bits_double(bits) - 1.0;
	s = f / (2.0 + f);
	z = s * s;
	r = 0x1.2b5888923b9b5p-3;
	r = r * z + 0x1.39fe5b636d6b3p-3;
	r = r * z + 0x1.7462b4d1bf4b4p-3;
	r = r * z + 0x1.c71c62e4f889ap-3;
	r = r * z + 0x1.2492492df1b31p-2;
	r = r * z + 0x1.99999999952dep-2;
	r = r * z + 0x1.5555555555558p-1;
	half = 0.5 * f * f;
	n = (double)k;
	return n * 0x1.62e42fee00000p-1 -
	       ((half - (s * (half + z * r) + n * 0x1.a39ef35793c76p-33)) - f);
}

/* a + b = sum + *ret_rest exactly (Knuth's two-sum; Moller 1965). */
static inline double two_sum(double a, double b, double *ret_rest)
{
	double sum = a + b;
	double from_b = sum - a;

	*ret_rest = (a - (sum - from_b)) + (b - from_b);
	return sum;
}

/*
 * x = k pi/2 + r + rest, |r| <= pi/4 and a little. Cody-Waite with pi/2 in three parts of 30 bits
 * and one of 53: for |k| < 2^23 the first three products are exact, and what their differences
 * round away is carried along. No double below 2^24 is nearer than 2^-60 to a multiple of pi/2,
 * and the whole is good to 2^-118.
 */
static unsigned int reduce(double x, double *ret_r, double *ret_rest)
{
	double shifted = x * 0x1.45f306dc9c883p-1 + DN_ROUND_MAGIC;
	double k = shifted - DN_ROUND_MAGIC;
	double lost1, lost2, lost3, r;

	r = x - k * 0x1.921fb54000000p+0; /* exact */
	r = two_sum(r, -(k * 0x1.10b4611800000p-30), &lost1);
	r = two_sum(r, -(k * 0x1.313198a000000p-61), &lost2);
	r = two_sum(r, (lost1 + lost2) - k * 0x1.701b839a25205p-92, &lost3);
	*ret_r = r;
	*ret_rest = lost3;
	return (unsigned int)dn_double_bits(shifted) & 3;
}

/* sin(r + rest) for |r| <= pi/4: r + r^3 S(r^2), and the rest by the slope cos r = 1 - r^2/2. */
static double sin_near_zero(double r, double rest)
{
	double z = r * r;
	double p;

	p = 0x1.5e0b1974de176p-33;
	p = p * z + -0x1.ae600b014833dp-26;
	p = p * z + 0x1.71de379688b0ep-19;
	p = p * z + -0x1.a01a019e83a9dp-13;
	p = p * z + 0x1.1111111110bb2p-7;
	p = p * z + -0x1.5555555555555p-3;
	return r + (z * r * p + rest * (1.0 - 0.5 * z));
}

/* cos(r + rest): 1 - r^2/2 + r^4 C(r^2) - r rest, with what 1 - r^2/2 rounds away put back. */
static double cos_near_zero(double r, double rest)
{
	double z = r * r;
	double half = 0.5 * z;
	double head = 1.0 - half;
	double p;

	p = -0x1.907da2e3b0622p-37;
	p = p * z + 0x1.1eeb68e8843f9p-29;
	p = p * z + -0x1.27e4fa17d95a2p-22;
	p = p * z + 0x1.a01a019f4eaf8p-16;
	p = p * z + -0x1.6c16c16c16967p-10;
	p = p * z + 0x1.5555555555555p-5;
	return head + (((1.0 - head) - half) + (z * z * p - r * rest));
}

void dn_sincos(double x, double *ret_sin, double *ret_cos)
{
	double r, rest, s, c;
	unsigned int quadrant;

	if (!(x >= -DN_SINCOS_MAX && x <= DN_SINCOS_MAX)) {
		*ret_sin = *ret_cos = dn_bits_double(QUIET_NAN);
		return;
	}
	if (x > -0x1p-30 && x < 0x1p-30) {
		*ret_sin = x; /* keeps the sign of zero, and denormals */
		*ret_cos = 1.0;
		return;
	}
	quadrant = reduce(x, &r, &rest);
	s = sin_near_zero(r, rest);
	c = cos_near_zero(r, rest);
	*ret_sin = quadrant & 1 ? c : s;
	*ret_cos = quadrant & 1 ? s : c;
	if (quadrant & 2)
		*ret_sin = -*ret_sin;
	if ((quadrant + 1) & 2)
		*ret_cos = -*ret_cos;
}

double dn_pow(double x, double y)
{
	if (y == 0)
		return 1.0; /* as C has it, even for NaN */
	return dn_exp(y * dn_log(x));
}

/* Below 0.55 the odd polynomial x + x^3 T(x^2), above it 1 - 2 / (exp 2x + 1) (Cody and Waite). */
double dn_tanh(double x)
{
	double magnitude = x < 0 ? -x : x;
	double z = x * x;
	double p;

	if (x != x || magnitude < 0x1p-30)
		return x;
	if (magnitude < 0.55) {
		p = -0x1.59962093e21d0p-16;
		p = p * z + 0x1.64f707d11ba4fp-14;
		p = p * z + -0x1.ec0e9550d42c9p-13;
		p = p * z + 0x1.34c57de48a611p-11;
		p = p * z + -0x1.7d97cb7a94b76p-10;
		p = p * z + 0x1.d6d338edc6017p-9;
		p = p * z + -0x1.226e32eebbb26p-7;
		p = p * z + 0x1.664f48770be76p-6;
		p = p * z + -0x1.ba1ba1b9feb3cp-5;
		p = p * z + 0x1.1111111111032p-3;
		p = p * z + -0x1.5555555555555p-2;
		return x + x * z * p;
	}
	p = magnitude > 22.0 ? 1.0 : 1.0 - 2.0 / (dn_exp(2.0 * magnitude) + 1.0);
	return x < 0 ? -p : p;
}
