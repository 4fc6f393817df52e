/* SPDX-License-Identifier: MIT */
/* Armv8.6's matrix product (SMMLA) for tiles of rows of X; SDOT for a single one. */

#include "kernels/arm/dotprod-vectors.h"

#define TILE	 8
#define HAS_PAIR 1

/* Words j and j + 1, zipped, are eight columns of rows 0 and 1, then of rows 2 and 3. */
static inline void pair_weights(ivec w[8])
{
	for (int j = 0; j < 8; j += 2) {
		int32x4_t a = vreinterpretq_s32_s8(w[j]);
		int32x4_t b = vreinterpretq_s32_s8(w[j + 1]);

		w[j] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
		w[j + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
	}
}

/* Two rows of weights times two of X an instruction; the result is two by two. */
static inline void pair_dot(const ivec *w, const int8_t *x0, const int8_t *x1, ivec s[2],
			    const uint32_t words)
{
	int32x4_t rows01 = vdupq_n_s32(0);
	int32x4_t rows23 = vdupq_n_s32(0);
	int32x4_t first;
	int32x4_t second;

	for (uint32_t j = 0; j < words; j += 2) {
		int8x16_t x = vcombine_s8(vld1_s8(x0 + 4 * j), vld1_s8(x1 + 4 * j));

		rows01 = vmmlaq_s32(rows01, w[j], x);
		rows23 = vmmlaq_s32(rows23, w[j + 1], x);
	}
	first = vuzp1q_s32(rows01, rows23);
	second = vuzp2q_s32(rows01, rows23);
	s[0] = vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(s[0]), first));
	s[1] = vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(s[1]), second));
}

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return vreinterpretq_s8_s32(vmmlaq_s32(vreinterpretq_s32_s8(sum), w, x));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_i8mm = DN_KERNELS_TABLE(DN_LEVEL_I8MM, "i8mm", true);
