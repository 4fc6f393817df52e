/* SPDX-License-Identifier: MIT */
/* Masks, biases, and penalties of recent tokens. */

#include <float.h>
#include <math.h>

#include "engine/sampler/internal.h"

#define COUNT_MARK 0x8000u

bool dn_has_penalties(const struct dn_sampler *sampler)
{
	const struct dn_sampler_options *options = &sampler->options;

	return sampler->n_recent &&
	       (options->repeat_penalty < 1.0f || options->repeat_penalty > 1.0f ||
		options->frequency_penalty < 0.0f || options->frequency_penalty > 0.0f ||
		options->presence_penalty < 0.0f || options->presence_penalty > 0.0f);
}

static float penalised(const struct dn_sampler_options *options, float logit, uint16_t count)
{
	double x = (double)logit;

	if (x > 0)
		x /= (double)options->repeat_penalty;
	else
		x *= (double)options->repeat_penalty;
	x -= (double)count * (double)options->frequency_penalty + (double)options->presence_penalty;
	/* The doubles are far from overflow; the float is kept clean. */
	return x < (double)FLT_MAX ? (float)x : FLT_MAX;
}

void dn_apply_penalties(struct dn_sampler *sampler)
{
	for (uint32_t i = 0; i < sampler->n_recent; i++) {
		uint32_t token = sampler->recent[i];

		if (sampler->counts[token] & COUNT_MARK)
			continue;
		sampler->logits[token] = penalised(&sampler->options, sampler->logits[token],
						   sampler->counts[token]);
		sampler->counts[token] |= COUNT_MARK;
	}
	for (uint32_t i = 0; i < sampler->n_recent; i++)
		sampler->counts[sampler->recent[i]] &= (uint16_t)~COUNT_MARK;
}

void dn_apply_biases(struct dn_sampler *sampler)
{
	for (size_t i = 0; i < sampler->options.n_biases; i++) {
		const struct dn_logit_bias *bias = &sampler->biases[i];
		float *logit = &sampler->logits[bias->token];
		float sum = *logit + bias->bias;

		*logit = bias->bias <= -100.0f ? -INFINITY : DN_MIN(sum, FLT_MAX);
	}
}

void dn_apply_mask(struct dn_sampler *sampler)
{
	const uint32_t end = DN_MIN(sampler->n_allowed, sampler->vocabulary);

	for (uint32_t i = end; i < sampler->vocabulary; i++)
		sampler->logits[i] = -INFINITY;
	for (uint32_t at = 0; at < end; at += 64) {
		const uint32_t n = DN_MIN(end - at, 64U);
		uint64_t forbidden = ~sampler->allowed[at / 64];

		if (n < 64)
			forbidden &= (UINT64_C(1) << n) - 1;
		/* Of most words all are allowed, or few. */
		if (forbidden == UINT64_MAX)
			for (uint32_t i = 0; i < 64; i++)
				sampler->logits[at + i] = -INFINITY;
		else
			for (; forbidden; forbidden &= forbidden - 1)
				sampler->logits[at + (uint32_t)__builtin_ctzll(forbidden)] =
					-INFINITY;
	}
}
