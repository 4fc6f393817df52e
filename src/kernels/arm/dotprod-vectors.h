/* SPDX-License-Identifier: MIT */
/* The dot product of the levels that have SDOT: four columns of four rows times a lane of X. */
#ifndef DUNLIN_KERNELS_DOTPROD_VECTORS_H
#define DUNLIN_KERNELS_DOTPROD_VECTORS_H

#include "kernels/arm/neon-vectors.h"

#define PARTS_AT_ONCE 2
#define DOT_SIGNED    0 /* a single row of X has few sums, and tiles take offsets off themselves */

/* See panels.inc.h. */
#define HAS_TILES	1
#define TILES_MIN(type) 2
#define TILES_MINIMA	2
#define TILES_SCRATCH	((size_t)92 << 10)

/* Sixteen columns. */
static inline int32x4_t dot_four(const ivec w[4], const int8_t *x, int32x4_t sum)
{
	const int8x16_t lanes = vld1q_s8(x);

	sum = vdotq_laneq_s32(sum, w[0], lanes, 0);
	sum = vdotq_laneq_s32(sum, w[1], lanes, 1);
	sum = vdotq_laneq_s32(sum, w[2], lanes, 2);
	return vdotq_laneq_s32(sum, w[3], lanes, 3);
}

/* Behind each other: what hides the latency is another part, or what the words are made of. */
static inline ivec dot(const ivec *w, const int8_t *x, ivec start, const uint32_t words,
		       const uint32_t bits)
{
	int32x4_t sum = dot_four(w, x, vreinterpretq_s32_s8(start));

	(void)bits;
	if (words == 8)
		sum = dot_four(w + 4, x + 16, sum);
	return vreinterpretq_s8_s32(sum);
}

#endif /* DUNLIN_KERNELS_DOTPROD_VECTORS_H */
