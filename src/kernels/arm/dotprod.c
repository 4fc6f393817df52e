/* SPDX-License-Identifier: MIT */
/* Armv8.2 with the dot product (SDOT). */

#include "kernels/arm/dotprod-vectors.h"

#define TILE 8

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), w, x));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

/* A sum is of four rows of weights by one of X. */
#define FORMS	1
#define FACTORS 1

static inline void panel_place(int8_t *to, const int8_t *a, const int8_t *b)
{
	memcpy(to, a, DN_BLOCK);
	memcpy(to + DN_BLOCK, b, DN_BLOCK);
}

static inline void panel_factor(float *to, uint32_t t, float value)
{
	to[t] = value;
}

static inline void panel_weights(ivec w[8])
{
	(void)w;
}

static inline void panel_forms(vec to[FORMS], vec v)
{
	to[0] = v;
}

INLINE void panel_dot(const ivec *w, const int8_t *x, ivec s[2], const uint32_t words,
		      const uint32_t half)
{
#pragma GCC unroll 2
	for (uint32_t i = 0; i < 2; i++, x += DN_BLOCK) {
		int32x4_t sum = dot_four(w, x + 16 * half, vdupq_n_s32(0));

		if (words == 8)
			sum = dot_four(w + 4, x + 16, sum);
		s[i] = vreinterpretq_s8_s32(sum);
	}
}

/* Four rows' factors in a vector: the instructions take one of its lanes. */
static inline float panel_lane(const float *x, uint32_t pair, uint32_t i)
{
	return vec_load(x + pair / 2 * 4)[pair % 2 * 2 + i];
}

static inline vec panel_scale(const vec w[FORMS], const float *x, uint32_t pair, uint32_t i)
{
	return vec_mul(w[0], vec_set1(panel_lane(x, pair, i)));
}

static inline vec panel_add(vec acc, const vec w[FORMS], const float *x, uint32_t pair, uint32_t i)
{
	return vec_fma(w[0], vec_set1(panel_lane(x, pair, i)), acc);
}

static inline void panel_begin(vec acc[2])
{
	(void)acc;
}

static inline void panel_end(vec acc[2])
{
	(void)acc;
}

#include "kernels/arm/panels.inc.h"

const struct dn_kernels dn_kernels_dotprod = DN_KERNELS_TABLE(DN_LEVEL_DOTPROD, "dotprod", true);
