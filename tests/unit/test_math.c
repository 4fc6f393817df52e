/* SPDX-License-Identifier: MIT */
/*
 * The elementary functions against long double, over sweeps and at the edges, and one hash of all
 * the bits: that one must be the same on every machine.
 */
#include <math.h>
#include <stdio.h>

#include "kernels/math.h"

static int failures;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                     \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

static uint64_t state = 0x9e3779b97f4a7c15u;
static uint64_t hash = 0xcbf29ce484222325u;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static double between(double low, double high)
{
	return low + (high - low) * (double)(next() >> 11) * 0x1p-53;
}

static double noted(double x)
{
	hash = (hash ^ dn_double_bits(x)) * 0x100000001b3u;
	return x;
}

/* Distance of @got from the exact @want in units of the last place of a double at @want. */
static double ulps(double got, long double want)
{
	int exponent;

	if (isnan(got) || isnan(want))
		return isnan(got) && isnan(want) ? 0 : INFINITY;
	if (isinf(got) || fabsl(want) > DBL_MAX)
		return (long double)got == (isinf((double)want) ? (double)want : want) ? 0
										       : INFINITY;
	if (want == 0)
		return got == 0 ? 0 : INFINITY;
	(void)frexpl(want, &exponent);
	if (exponent < DBL_MIN_EXP)
		exponent = DBL_MIN_EXP;
	return (double)fabsl(ldexpl((long double)got - want, DBL_MANT_DIG - exponent));
}

struct worst {
	double exp, exp_denormal, log, sin, cos, tanh, pow;
};

static void more(double *worst, double x)
{
	if (x > *worst)
		*worst = x;
}

static void sweep_sincos(struct worst *worst, double x)
{
	double s, c;

	dn_sincos(x, &s, &c);
	more(&worst->sin, ulps(noted(s), sinl(x)));
	more(&worst->cos, ulps(noted(c), cosl(x)));
}

static void sweep(struct worst *worst)
{
	for (int i = 0; i < 250000; i++) {
		double x = between(-708, 709.5);

		more(&worst->exp, ulps(noted(dn_exp(x)), expl(x)));
		x = between(-1, 1);
		more(&worst->exp, ulps(noted(dn_exp(x)), expl(x)));
		x = between(-745.2, -708);
		more(&worst->exp_denormal, ulps(noted(dn_exp(x)), expl(x)));
		x = dn_bits_double(next() % 0x7ff0000000000000u);
		more(&worst->log, ulps(noted(dn_log(x)), logl(x)));
		x = between(0.5, 2);
		more(&worst->log, ulps(noted(dn_log(x)), logl(x)));
		x = between(-3, 3);
		more(&worst->tanh, ulps(noted(dn_tanh(x)), tanhl(x)));
		x = dn_bits_double(next() % dn_double_bits(30.0));
		more(&worst->tanh, ulps(noted(dn_tanh(x)), tanhl(x)));
		sweep_sincos(worst, between(-10, 10));
		sweep_sincos(worst, between(-DN_SINCOS_MAX, DN_SINCOS_MAX));
		/* Next to a multiple of pi/2, where a poor reduction loses everything. */
		x = (double)(next() % 5000000) * 1.5707963267948966;
		sweep_sincos(worst, x);
	}
}

/* What rope asks for: theta from 1e3 to 1e9, each exponent of each usual head size. */
static void sweep_rope(struct worst *worst)
{
	static const int sizes[] = { 32, 64, 80, 96, 128, 256, 512 };
	static const double thetas[] = { 1e3, 1e4, 1e5, 5e5, 1e6, 5e6, 1e7, 1e8, 1e9, 10000.5 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
		for (size_t t = 0; t < sizeof(thetas) / sizeof(thetas[0]); t++)
			for (int i = 0; i < sizes[s]; i += 2) {
				double y = -(double)i / sizes[s];
				long double want = powl(thetas[t], y);
				double got = noted(dn_pow(thetas[t], y));

				more(&worst->pow, (double)fabsl((got - want) / want));
			}
}

static void edges(void)
{
	double inf = dn_bits_double(0x7ff0000000000000u);
	double nan = dn_bits_double(0x7ff8000000000000u);
	double s, c;

	CHECK(dn_exp(0.0) == 1.0 && dn_exp(-0.0) == 1.0);
	CHECK(dn_exp(inf) == inf && dn_exp(-inf) == 0.0 && isnan(dn_exp(nan)));
	CHECK(dn_exp(709.78) < inf && dn_exp(709.79) == inf && dn_exp(1e300) == inf);
	CHECK(dn_exp(-745.13) == 0x1p-1074 && dn_exp(-745.14) == 0.0 && dn_exp(-1e300) == 0.0);
	CHECK(dn_exp(0x1p-1074) == 1.0);
	CHECK(dn_exp_weight(0.0) == 1.0 && dn_exp_weight(-inf) == 0.0);
	CHECK(dn_exp_weight(nan) == 0.0 && dn_exp_weight(-709.0) == 0.0);
	CHECK(dn_exp_weight(-3.5) == dn_exp(-3.5));
	CHECK(dn_log(1.0) == 0.0 && dn_log(0.0) == -inf && dn_log(-0.0) == -inf);
	CHECK(dn_log(inf) == inf && isnan(dn_log(-1.0)) && isnan(dn_log(-inf)));
	CHECK(isnan(dn_log(nan)));
	CHECK(ulps(dn_log(0x1p-1074), logl(0x1p-1074L)) <= 1.0);
	CHECK(ulps(dn_log(DBL_MAX), logl(DBL_MAX)) <= 1.0);
	CHECK(ulps(dn_log(0x1.fffffffffffffp-1), logl(0x1.fffffffffffffp-1L)) <= 1.0);
	dn_sincos(-0.0, &s, &c);
	CHECK(s == 0.0 && signbit(s) && c == 1.0);
	dn_sincos(0x1p-1074, &s, &c);
	CHECK(s == 0x1p-1074 && c == 1.0);
	dn_sincos(0x1.0000000000001p23, &s, &c);
	CHECK(isnan(s) && isnan(c));
	dn_sincos(-inf, &s, &c);
	CHECK(isnan(s) && isnan(c));
	dn_sincos(nan, &s, &c);
	CHECK(isnan(s) && isnan(c));
	CHECK(dn_pow(nan, 0.0) == 1.0 && dn_pow(2.0, 0.0) == 1.0 && isnan(dn_pow(-2.0, 0.5)));
	CHECK(dn_pow(0.0, 2.0) == 0.0 && dn_pow(1.0, 1e300) == 1.0);
	CHECK(dn_tanh(inf) == 1.0 && dn_tanh(-inf) == -1.0 && isnan(dn_tanh(nan)));
	CHECK(dn_tanh(0.0) == 0.0 && signbit(dn_tanh(-0.0)) && dn_tanh(0x1p-1074) == 0x1p-1074);
	CHECK(dn_tanh(-0.3) == -dn_tanh(0.3) && dn_tanh(-5.0) == -dn_tanh(5.0));
}

int main(void)
{
	struct worst worst = { 0 };

	edges();
	sweep(&worst);
	sweep_rope(&worst);
	printf("ulp: exp %.3f (denormal %.3f) log %.3f sin %.3f cos %.3f tanh %.3f\n", worst.exp,
	       worst.exp_denormal, worst.log, worst.sin, worst.cos, worst.tanh);
	printf("pow for rope: %.2e; hash %016llx\n", worst.pow, (unsigned long long)hash);
	if (LDBL_MANT_DIG <= DBL_MANT_DIG) {
		printf("no long double wider than double here: the bounds are not checked\n");
	} else {
		CHECK(worst.exp <= 1.05);
		CHECK(worst.exp_denormal <= 1.05);
		CHECK(worst.log <= 1.0);
		CHECK(worst.sin <= 1.0);
		CHECK(worst.cos <= 1.0);
		CHECK(worst.tanh <= 2.0);
		CHECK(worst.pow <= 1e-14);
	}
	CHECK(hash == 0x400d04f72d401398u);
	return failures != 0;
}
