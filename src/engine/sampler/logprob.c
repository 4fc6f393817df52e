/* SPDX-License-Identifier: MIT */
/* Log-probabilities from the model's own logits, clean or not. */

#include <math.h>

#include "engine/sampler/internal.h"
#include "kernels/math.h"

static float clean(float logit)
{
	dn_logits_clean(&logit, &logit, 1);
	return logit;
}

static float largest(const float *logits, uint32_t n)
{
	float block[DN_SELECT_BLOCK];
	float max = -INFINITY;
	float block_max;

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK) {
		uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);

		dn_logits_clean(logits + at, block, count);
		(void)dn_logits_argmax(block, count, &block_max);
		max = block_max > max ? block_max : max;
	}
	return max;
}

/* log of the sum of exp(logit - max), in 16 lanes and then in their order. */
static double sum_exp(const float *logits, uint32_t n, float max)
{
	float block[DN_SELECT_BLOCK];
	double terms[DN_SELECT_BLOCK];
	double lanes[16] = { 0 };
	double sum = 0;

	for (uint32_t at = 0; at < n; at += DN_SELECT_BLOCK) {
		uint32_t count = DN_MIN(n - at, DN_SELECT_BLOCK);

		dn_logits_clean(logits + at, block, count);
		for (uint32_t i = 0; i < count; i++)
			terms[i] = dn_exp_weight((double)block[i] - (double)max);
		for (uint32_t i = count; i < DN_SELECT_BLOCK; i++)
			terms[i] = 0;
		for (uint32_t i = 0; i < DN_SELECT_BLOCK; i += 16)
			for (uint32_t j = 0; j < 16; j++)
				lanes[j] += terms[i + j];
	}
	for (uint32_t j = 0; j < 16; j++)
		sum += lanes[j];
	return dn_log(sum);
}

double dn_log_sum(const float *logits, uint32_t n, float *ret_max)
{
	*ret_max = largest(logits, n);
	return *ret_max > -INFINITY ? sum_exp(logits, n, *ret_max) : 0.0;
}

double dn_logprob_of(float logit, float max, double log_sum)
{
	/* Where no token is possible, none has a probability. */
	if (!(max > -INFINITY))
		return -(double)INFINITY;
	return ((double)clean(logit) - (double)max) - log_sum;
}

double dn_logprob(const float *logits, uint32_t vocabulary, uint32_t token)
{
	double log_sum;
	float max;

	if (token >= vocabulary)
		return -(double)INFINITY;
	log_sum = dn_log_sum(logits, vocabulary, &max);
	return dn_logprob_of(logits[token], max, log_sum);
}
