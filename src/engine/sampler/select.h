/* SPDX-License-Identifier: MIT */
/*
 * Which stretch of a list of logits is kept. Every filter of the sampler keeps a stretch of the
 * same order (larger logit first, of equal ones the lower position first), most of them its head,
 * so that all of them together are one window, and what is inside can be walked by position,
 * unsorted. No filter needs a list of candidates, none has a bound on how many there are.
 *
 * Probabilities are counted in integers: the weight of a logit is exp(logit - largest) in units of
 * 2^-43. Sums of integers have no order of summation, so that every machine, vector width and
 * selection method finds the same border and draws the same token.
 */
#ifndef DUNLIN_ENGINE_SAMPLER_SELECT_H
#define DUNLIN_ENGINE_SAMPLER_SELECT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* Sums of this many weights, each at most 2^43, are at most 2^63. */
#define DN_SELECT_MAX	((uint32_t)1 << 20)
#define DN_SELECT_BINS	2048
#define DN_SELECT_BLOCK 256

/**
 * struct dn_window - which logits are inside
 * @low: those above it and below @high are inside
 * @high: see @low
 * @last: of those equal to @low, the ones up to this position
 * @first: of those equal to @high, the ones from this position on
 */
struct dn_window {
	float low;
	float high;
	uint32_t last;
	uint32_t first;
};

#define DN_WINDOW_ALL ((struct dn_window){ -INFINITY, INFINITY, UINT32_MAX, 0 })

static inline bool dn_inside(const struct dn_window *window, float logit, uint32_t position)
{
	return (logit > window->low || (logit == window->low && position <= window->last)) &&
	       (logit < window->high || (logit == window->high && position >= window->first));
}

/* Raises the low end, where that narrows the window. */
static inline void dn_window_raise(struct dn_window *window, float low, uint32_t last)
{
	if (low > window->low || (low == window->low && last < window->last)) {
		window->low = low;
		window->last = last;
	}
}

/* Raises the low end to the smallest float that is not below @limit. */
void dn_window_floor(struct dn_window *window, double limit);

/* Copies @n logits; NaN becomes minus infinity and plus infinity the largest float. */
void dn_logits_clean(const float *from, float *to, uint32_t n);

/* The largest of @n clean logits, and the lowest position that has it. @n at least 1. */
uint32_t dn_logits_argmax(const float *logits, uint32_t n, float *ret_max);

/* Weights of @n <= DN_SELECT_BLOCK logits, of exp((logit - max) * inverse_temperature). */
void dn_weights(const float *logits, uint32_t n, float max, double inverse_temperature,
		uint64_t *ret_weights);

/*
 * Weights of the block of logits that begins at @at, 0 for those outside @window; returns their
 * sum. Where it is 0 @ret_weights may be untouched.
 */
uint64_t dn_weigh_block(const float *logits, uint32_t n, uint32_t at,
			const struct dn_window *window, float max, double inverse_temperature,
			uint64_t *ret_weights);

/* Sum of the weights inside @window. */
uint64_t dn_select_sum(const float *logits, uint32_t n, const struct dn_window *window, float max,
		       double inverse_temperature);

/**
 * struct dn_moments - the distribution inside a window, at temperature 1
 * @sum: of the weights
 * @below: mean of logit - max by these weights; summed in 16 lanes and then in their order
 * @count: how many of those inside are above minus infinity
 *
 * The entropy in nats is log(@sum 2^-43) - @below.
 */
struct dn_moments {
	uint64_t sum;
	double below;
	uint32_t count;
};

void dn_select_moments(const float *logits, uint32_t n, const struct dn_window *window, float max,
		       struct dn_moments *ret_moments);

/* The head of the order that is the @k largest of @n clean logits; 1 <= @k <= @n. */
struct dn_window dn_select_count(const float *logits, uint32_t n, uint32_t k,
				 uint64_t bins[DN_SELECT_BINS]);

/*
 * Narrows @window to the shortest head of it whose weights reach @target, at least 1. False, and
 * @window as it was, where all inside it do not reach that. @max: the largest logit inside.
 */
bool dn_select_share(const float *logits, uint32_t n, struct dn_window *window, float max,
		     uint64_t target, uint64_t bins[DN_SELECT_BINS]);

/*
 * Narrows @window to the logits nearest to @centre: the fewest distances whose weights reach
 * @target, at least 1. Distances are float32, rounded once; logits at equal distances are kept or
 * left out together. @max: the largest logit inside, and afterwards still of those. Returns the
 * largest distance; infinity, and nothing changed, where all inside do not reach the target.
 */
float dn_select_near(const float *logits, uint32_t n, struct dn_window *window, float *max,
		     double centre, uint64_t target, uint64_t bins[DN_SELECT_BINS]);

#endif /* DUNLIN_ENGINE_SAMPLER_SELECT_H */
