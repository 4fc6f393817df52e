/* SPDX-License-Identifier: MIT */

#include "engine/rope.h"

#include <errno.h>

#include "kernels/math.h"

#define TWO_PI 0x1.921fb54442d18p+2

/* The pair that turns @turns times over the original context, as a fraction. */
static double turning_pair(const struct dn_rope *r, double turns)
{
	return r->dims * dn_log(r->original / (turns * TWO_PI)) / (2.0 * dn_log(r->base));
}

/* The same within the pairs, also where it is infinite or no number: at a base of 1. */
static double bounded_pair(const struct dn_rope *r, double turns)
{
	return DN_MIN(DN_MAX(turning_pair(r, turns), 0.0), (double)r->dims - 1.0);
}

/* How much of pair @i's angle is left unscaled: 1 for fast ones, 0 for slow ones. */
static double unscaled_part(const struct dn_rope *r, uint32_t i)
{
	double low = bounded_pair(r, r->fast);
	double high = bounded_pair(r, r->slow);
	double at;

	/* To whole pairs, as models were trained. */
	low = (double)(int64_t)low;
	high = (double)(int64_t)high + ((double)(int64_t)high < high);
	at = ((double)i - low) / DN_MAX(high - low, 0.001);
	return 1.0 - DN_MIN(DN_MAX(at, 0.0), 1.0);
}

int dn_rope_frequencies(const struct dn_rope *r, uint32_t context, double *ret_frequencies,
			struct dn_error *err)
{
	const float *factors = r->factors;

	if (!factors)
		factors = (double)context > r->original ? r->long_factors : r->short_factors;
	for (uint32_t i = 0; i < r->dims / 2; i++) {
		const double factor = factors ? (double)factors[i] : 1.0;
		double frequency = dn_pow(r->base, -2.0 * i / r->dims) / factor;
		double part = r->yarn > 0.0 ? r->yarn * unscaled_part(r, i) : 0.0;

		if (part > 0.0)
			frequency = frequency / r->scale * (1.0 - part) + frequency * part;
		else
			frequency = frequency / r->scale;
		/* Also where the factor is zero or no number. */
		if (!(frequency >= 0.0 && frequency * context <= DN_SINCOS_MAX))
			return dn_error_set(err, EINVAL,
					    "positions up to %u at scale %g and factor %g (element "
					    "%u of the file's rope factors) turn too far",
					    context, r->scale, factor, i);
		ret_frequencies[i] = frequency;
	}
	return 0;
}

void dn_rope_angles(const struct dn_rope *r, const double *frequencies, uint32_t position,
		    float *cosines, float *sines)
{
	for (uint32_t i = 0; i < r->dims / 2; i++) {
		double sine;
		double cosine;

		dn_sincos(position * frequencies[i], &sine, &cosine);
		sines[i] = (float)(sine * r->magnitude);
		cosines[i] = (float)(cosine * r->magnitude);
	}
}
