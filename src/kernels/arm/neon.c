/* SPDX-License-Identifier: MIT */
/* Every 64-bit Arm: products of bytes in 16 bits, widened and added in pairs. */

#include "kernels/arm/neon-vectors.h"

#define TILE 4

static inline int8x16_t ivec_four(const int8_t *x)
{
	int32_t four;

	memcpy(&four, x, sizeof(four));
	return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Eight products of 15 * 127 stay below 32,768: one widening addition a block. */
static inline ivec dot_nibbles(const ivec w[8], const int8_t *x, ivec start)
{
	int8x16_t four = ivec_four(x);
	int16x8_t low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(four));
	int16x8_t high = vmull_high_s8(w[0], four);

	for (int j = 1; j < 8; j++) {
		four = ivec_four(x + 4 * j);
		low = vmlal_s8(low, vget_low_s8(w[j]), vget_low_s8(four));
		high = vmlal_high_s8(high, w[j], four);
	}
	return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(start),
					      vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))));
}

/* Two products of 128 * 127 just fit 16 bits. */
static inline ivec dot_bytes(const ivec w[8], const int8_t *x, ivec start)
{
	int32x4_t low = vdupq_n_s32(0);
	int32x4_t high = vdupq_n_s32(0);

	for (int j = 0; j < 8; j += 2) {
		int8x16_t four = ivec_four(x + 4 * j);
		int8x16_t next = ivec_four(x + 4 * j + 4);
		int16x8_t a = vmull_s8(vget_low_s8(w[j]), vget_low_s8(four));
		int16x8_t b = vmull_high_s8(w[j], four);

		low = vpadalq_s16(low, vmlal_s8(a, vget_low_s8(w[j + 1]), vget_low_s8(next)));
		high = vpadalq_s16(high, vmlal_high_s8(b, w[j + 1], next));
	}
	return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(start), vpaddq_s32(low, high)));
}

/* Four products of 63 * 127 fit 16 bits. */
static inline ivec dot_half(const ivec w[4], const int8_t *x, ivec start)
{
	int8x16_t four = ivec_four(x);
	int16x8_t low = vmull_s8(vget_low_s8(w[0]), vget_low_s8(four));
	int16x8_t high = vmull_high_s8(w[0], four);

	for (int j = 1; j < 4; j++) {
		four = ivec_four(x + 4 * j);
		low = vmlal_s8(low, vget_low_s8(w[j]), vget_low_s8(four));
		high = vmlal_high_s8(high, w[j], four);
	}
	return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(start),
					      vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_neon = DN_KERNELS_TABLE(DN_LEVEL_NEON, "neon", true);
