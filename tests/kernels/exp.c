/* SPDX-License-Identifier: MIT */
/* The exponential of vector-ops.inc.h, in the portable level's own code under another name. */

#define dn_kernels_scalar dn_kernels_scalar_for_exp
#include "kernels/ref/scalar.c" // NOLINT(bugprone-suspicious-include): its vec_exp is static

#include <stdio.h>

#include "harness.h"

/* Distance in units of the last place of the exact result. */
static double ulps(float got, double want)
{
	int exponent;

	(void)frexp(want, &exponent);
	return fabs((double)got - want) / ldexp(1.0, exponent - 24);
}

void check_exp(const char *unused)
{
	double worst = 0.0;
	float worst_at = 0.0f;

	(void)unused;
	/* All floats of both signs, in steps that share no factor with a period of theirs. */
	for (uint32_t bits = 0x30000000; bits < 0x42b00000; bits += 211) {
		for (int sign = 0; sign < 2; sign++) {
			const float x = dn_bits_float(bits | (uint32_t)sign << 31);
			const double want = exp((double)x);
			const double error = ulps(vec_exp(x), want);

			if (x < -87.0f || error <= worst || isnan(worst))
				continue;
			worst = error;
			worst_at = x;
		}
	}
	(void)printf("exp: at most %.3f units of the last place, at %a\n", worst, (double)worst_at);
	EXPECT(worst < 1.0, "exp: %f units at %a", worst, (double)worst_at);
	EXPECT(vec_exp(0.0f) == 1.0f && vec_exp(-0.0f) == 1.0f, "exp(0) is not 1");
	EXPECT(vec_exp(-INFINITY) == 0.0f && vec_exp(-87.01f) == 0.0f, "exp(-inf) is not 0");
	EXPECT(vec_exp(NAN) == 0.0f, "exp of no number is not 0");
	EXPECT(vec_exp(INFINITY) == vec_exp(88.0f) && isfinite(vec_exp(INFINITY)),
	       "exp(inf) does not saturate");
}
