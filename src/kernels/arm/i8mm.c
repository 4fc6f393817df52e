/* SPDX-License-Identifier: MIT */
/* Armv8.6's matrix product (SMMLA) for panels of rows of X; SDOT for a single one. */

#include "kernels/arm/dotprod-vectors.h"

#define TILE	      8
#define ALONE_COLUMNS 8

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return vreinterpretq_s8_s32(vmmlaq_s32(vreinterpretq_s32_s8(sum), w, x));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

/* A sum is of two rows of weights by two of X, the rows of X side by side. */
#define FORMS	2
#define FACTORS 2

/* Eight columns of one row, then of the other. */
static inline void panel_place(int8_t *to, const int8_t *a, const int8_t *b)
{
	for (int i = 0; i < 2; i++) {
		const int64x2_t va = vreinterpretq_s64_s8(vld1q_s8(a + 16 * i));
		const int64x2_t vb = vreinterpretq_s64_s8(vld1q_s8(b + 16 * i));

		vst1q_s8(to + 32 * i, vreinterpretq_s8_s64(vzip1q_s64(va, vb)));
		vst1q_s8(to + 32 * i + 16, vreinterpretq_s8_s64(vzip2q_s64(va, vb)));
	}
}

static inline void panel_factor(float *to, uint32_t t, float value)
{
	to[t / 2 * 4 + t % 2] = value;
	to[t / 2 * 4 + t % 2 + 2] = value;
}

/* Words j and j + 1, zipped, are eight columns of rows 0 and 1, then of rows 2 and 3. */
static inline void panel_weights(ivec w[8])
{
	for (int j = 0; j < 8; j += 2) {
		const int32x4_t a = vreinterpretq_s32_s8(w[j]);
		const int32x4_t b = vreinterpretq_s32_s8(w[j + 1]);

		w[j] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
		w[j + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
	}
}

static inline void panel_forms(vec to[FORMS], vec v)
{
	to[0] = vzip1q_f32(v, v);
	to[1] = vzip2q_f32(v, v);
}

INLINE void panel_dot(const ivec *w, const int8_t *x, ivec s[2], const uint32_t words,
		      const uint32_t half)
{
	int32x4_t rows01 = vdupq_n_s32(0);
	int32x4_t rows23 = vdupq_n_s32(0);

#pragma GCC unroll 4
	for (uint32_t j = 0; j < words; j += 2) {
		const int8x16_t both = vld1q_s8(x + 32 * half + 8 * j);

		rows01 = vmmlaq_s32(rows01, w[j], both);
		rows23 = vmmlaq_s32(rows23, w[j + 1], both);
	}
	s[0] = vreinterpretq_s8_s32(rows01);
	s[1] = vreinterpretq_s8_s32(rows23);
}

static inline vec panel_scale(const vec w[FORMS], const float *x, uint32_t pair, uint32_t i)
{
	return vec_mul(w[i], vec_load(x + (size_t)4 * pair));
}

static inline vec panel_add(vec acc, const vec w[FORMS], const float *x, uint32_t pair, uint32_t i)
{
	return vec_fma(w[i], vec_load(x + (size_t)4 * pair), acc);
}

static inline void panel_begin(vec acc[2])
{
	const vec first = acc[0];

	acc[0] = vzip1q_f32(first, acc[1]);
	acc[1] = vzip2q_f32(first, acc[1]);
}

static inline void panel_end(vec acc[2])
{
	const vec first = acc[0];

	acc[0] = vuzp1q_f32(first, acc[1]);
	acc[1] = vuzp2q_f32(first, acc[1]);
}

#include "kernels/arm/panels.inc.h"

const struct dn_kernels dn_kernels_i8mm = DN_KERNELS_TABLE(DN_LEVEL_I8MM, "i8mm", true);
