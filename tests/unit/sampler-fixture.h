/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same each time, and samplers that must open. */
#ifndef TESTS_UNIT_SAMPLER_FIXTURE_H
#define TESTS_UNIT_SAMPLER_FIXTURE_H

#include <stdint.h>

#include <cmocka.h>

#include <dunlin/sampler.h>

static uint64_t state = 0x2545f4914f6cdd1du;

static inline uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static inline float between(double low, double high)
{
	return (float)(low + (high - low) * (double)(next() >> 11) * 0x1p-53);
}

static inline struct dn_sampler *new_sampler(const struct dn_sampler_options *options,
					     uint32_t vocabulary)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sampler *sampler = NULL;

	if (dn_sampler_new(options, vocabulary, &sampler, &err) < 0)
		fail_msg("%s", err.message);
	return sampler;
}

static inline uint32_t sample(struct dn_sampler *sampler, const float *logits)
{
	struct dn_sample ret;

	dn_sampler_sample(sampler, logits, 0, 0, &ret);
	return ret.token;
}

/* No filter, no penalty, temperature 1. */
static inline struct dn_sampler_options plain_options(void)
{
	struct dn_sampler_options options;

	dn_sampler_options_init(&options);
	options.temperature = 1.0f;
	options.top_k = 0;
	options.top_p = 1.0f;
	options.min_p = 0.0f;
	return options;
}

#endif
