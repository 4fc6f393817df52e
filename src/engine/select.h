/* SPDX-License-Identifier: MIT */
/*
 * Where a list of logits is cut off. Every filter of the sampler keeps a head of the same order
 * (larger logit first, of equal ones the lower position first), so that all of them together are
 * one border, and what is inside can be walked by position, unsorted.
 *
 * Probabilities are counted in integers: the weight of a logit is exp(logit - largest) in units of
 * 2^-43. Sums of integers have no order of summation, so that every machine, vector width and
 * selection method finds the same border and draws the same token.
 */
#ifndef DUNLIN_ENGINE_SELECT_H
#define DUNLIN_ENGINE_SELECT_H

#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* Sums of this many weights, each at most 2^43, are at most 2^63. */
#define DN_SELECT_MAX	((uint32_t)1 << 20)
#define DN_SELECT_BINS	2048
#define DN_SELECT_BLOCK 256

/**
 * struct dn_border - which logits are inside
 * @logit: those above it are inside
 * @last: of those equal to @logit, the ones up to this position
 */
struct dn_border {
	float logit;
	uint32_t last;
};

static inline bool dn_inside(const struct dn_border *border, float logit, uint32_t position)
{
	return logit > border->logit || (logit == border->logit && position <= border->last);
}

/* Copies @n logits; NaN becomes minus infinity and plus infinity the largest float. */
void dn_logits_clean(const float *from, float *to, uint32_t n);

/* The largest of @n clean logits, and the lowest position that has it. @n at least 1. */
uint32_t dn_logits_argmax(const float *logits, uint32_t n, float *ret_max);

/* Weights of @n <= DN_SELECT_BLOCK logits, of exp((logit - max) * inverse_temperature). */
void dn_weights(const float *logits, uint32_t n, float max, double inverse_temperature,
		uint64_t *ret_weights);

/*
 * Weights of the block of logits that begins at @at, 0 for those outside @border; returns their
 * sum. Where it is 0 @ret_weights may be untouched.
 */
uint64_t dn_weigh_block(const float *logits, uint32_t n, uint32_t at,
			const struct dn_border *border, float max, double inverse_temperature,
			uint64_t *ret_weights);

/* The border of the @k largest of @n clean logits; 1 <= @k <= @n. */
struct dn_border dn_select_count(const float *logits, uint32_t n, uint32_t k,
				 uint64_t bins[DN_SELECT_BINS]);

/*
 * Narrows @border to the shortest head of the order whose weights reach @share (0 to 1) of the
 * weights inside @border; at least the first. @max: the largest logit, not minus infinity.
 */
struct dn_border dn_select_share(const float *logits, uint32_t n, struct dn_border border,
				 float max, double share, uint64_t bins[DN_SELECT_BINS]);

#endif /* DUNLIN_ENGINE_SELECT_H */
