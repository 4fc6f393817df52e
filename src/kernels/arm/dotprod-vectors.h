/* SPDX-License-Identifier: MIT */
/* The dot product of the levels that have SDOT: four columns of four rows times a lane of X. */
#ifndef DUNLIN_KERNELS_DOTPROD_VECTORS_H
#define DUNLIN_KERNELS_DOTPROD_VECTORS_H

#include "kernels/arm/neon-vectors.h"

/* Two chains hide the latency of the instruction; integer sums have no order to keep. */
static inline ivec dot_nibbles(const ivec w[8], const int8_t *x, ivec start)
{
	const ivec x0 = vld1q_s8(x);
	const ivec x1 = vld1q_s8(x + 16);
	int32x4_t even = vreinterpretq_s32_s8(start);
	int32x4_t odd = vdupq_n_s32(0);

	even = vdotq_laneq_s32(even, w[0], x0, 0);
	odd = vdotq_laneq_s32(odd, w[4], x1, 0);
	even = vdotq_laneq_s32(even, w[1], x0, 1);
	odd = vdotq_laneq_s32(odd, w[5], x1, 1);
	even = vdotq_laneq_s32(even, w[2], x0, 2);
	odd = vdotq_laneq_s32(odd, w[6], x1, 2);
	even = vdotq_laneq_s32(even, w[3], x0, 3);
	odd = vdotq_laneq_s32(odd, w[7], x1, 3);
	return vreinterpretq_s8_s32(vaddq_s32(even, odd));
}
#define dot_bytes dot_nibbles

static inline ivec dot_half(const ivec w[4], const int8_t *x, ivec start)
{
	const ivec x0 = vld1q_s8(x);
	int32x4_t sum = vreinterpretq_s32_s8(start);

	sum = vdotq_laneq_s32(sum, w[0], x0, 0);
	sum = vdotq_laneq_s32(sum, w[1], x0, 1);
	sum = vdotq_laneq_s32(sum, w[2], x0, 2);
	return vreinterpretq_s8_s32(vdotq_laneq_s32(sum, w[3], x0, 3));
}

#endif /* DUNLIN_KERNELS_DOTPROD_VECTORS_H */
