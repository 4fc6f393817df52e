/* SPDX-License-Identifier: MIT */
/* Every 64-bit Arm: products of bytes in 16 bits, widened and added in pairs. */

#include "kernels/arm/neon-vectors.h"

#define TILE	   4
#define DOT_SIGNED 1

static inline int8x16_t ivec_four(const int8_t *x)
{
	int32_t four;

	memcpy(&four, x, sizeof(four));
	return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Sixteen bits hold eight products of 5 bits, four of 6 bits, two of 128 * 127. */
static inline __attribute__((always_inline)) ivec dot(const ivec *w, const int8_t *x, ivec start,
						      const uint32_t words, const uint32_t bits)
{
	const uint32_t fit = bits <= 5 ? 8 : bits == 6 ? 4 : 2;
	int32x4_t low = vdupq_n_s32(0);
	int32x4_t high = vdupq_n_s32(0);

#pragma GCC unroll 8
	for (uint32_t i = 0; i < words; i += fit) {
		int8x16_t four = ivec_four(x + 4 * i);
		int16x8_t a = vmull_s8(vget_low_s8(w[i]), vget_low_s8(four));
		int16x8_t b = vmull_high_s8(w[i], four);

#pragma GCC unroll 8
		for (uint32_t j = i + 1; j < DN_MIN(words, i + fit); j++) {
			four = ivec_four(x + 4 * j);
			a = vmlal_s8(a, vget_low_s8(w[j]), vget_low_s8(four));
			b = vmlal_high_s8(b, w[j], four);
		}
		low = i ? vpadalq_s16(low, a) : vpaddlq_s16(a);
		high = i ? vpadalq_s16(high, b) : vpaddlq_s16(b);
	}
	return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(start), vpaddq_s32(low, high)));
}

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	int16x8_t s = vmlal_s8(vreinterpretq_s16_s8(sum), vget_low_s8(w), vget_low_s8(x));

	return vreinterpretq_s8_s16(vmlal_high_s8(s, w, x));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_neon = DN_KERNELS_TABLE(DN_LEVEL_NEON, "neon", true);
