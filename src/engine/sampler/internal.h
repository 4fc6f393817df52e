/* SPDX-License-Identifier: MIT */
/* What the sampler's files share. */
#ifndef DUNLIN_ENGINE_SAMPLER_INTERNAL_H
#define DUNLIN_ENGINE_SAMPLER_INTERNAL_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/sampler.h>

#include "base/base.h"
#include "engine/sampler/dry.h"
#include "engine/sampler/select.h"
/* IWYU pragma: end_exports */

#define DN_PENALTY_LAST_MAX 4096

/* Where so few are left, they are gathered, so that later filters do not walk the vocabulary. */
#define DN_GATHER_MAX 4096

struct dn_sampler {
	struct dn_sampler_options options;
	struct dn_logit_bias biases[DN_LOGIT_BIAS_MAX];
	uint32_t vocabulary;
	uint64_t random[4];
	const uint64_t *allowed; /* NULL: all */
	uint32_t n_allowed;	 /* tokens that it is about; others are not allowed */
	double surprise_limit;	 /* mirostat's mu, in bits */
	struct dn_dry dry;
	/* The last tokens, and how often each token is among them. */
	uint32_t recent[DN_PENALTY_LAST_MAX];
	uint32_t n_recent;
	uint32_t next_recent;
	uint16_t *counts; /* [vocabulary] */
	float *logits;	  /* [vocabulary] */
	float gathered[DN_GATHER_MAX];
	uint32_t gathered_ids[DN_GATHER_MAX];
	uint64_t bins[DN_SELECT_BINS];
	uint64_t sums[DN_SELECT_MAX / DN_SELECT_BLOCK]; /* of a block's weights */
};

/**
 * struct dn_view - what a filter sees, and narrows
 * @logits, @n: clean
 * @ids: what the positions stand for; NULL: the positions themselves
 * @max: the largest logit inside @window, above minus infinity
 */
struct dn_view {
	const float *logits;
	const uint32_t *ids;
	uint32_t n;
	struct dn_window window;
	float max;
};

/* A drawn token, and its part of the weights it was drawn from. */
struct dn_drawn {
	uint32_t token;
	uint64_t weight;
	uint64_t sum;
};

/* options.c: 0, or -EINVAL naming the option. */
DN_MUST_CHECK int dn_sampler_check(const struct dn_sampler_options *options, uint32_t vocabulary,
				   struct dn_error *err);

/* penalties.c */
bool dn_has_penalties(const struct dn_sampler *sampler);
void dn_apply_penalties(struct dn_sampler *sampler);
void dn_apply_biases(struct dn_sampler *sampler);
/* Those that are not allowed become minus infinity. */
void dn_apply_mask(struct dn_sampler *sampler);

/* Filters that may leave out the most likely token; whether they are on. */
static inline bool dn_is_typical(const struct dn_sampler_options *options)
{
	return options->typical_p > 0.0f && options->typical_p < 1.0f;
}

static inline bool dn_is_xtc(const struct dn_sampler_options *options)
{
	return options->xtc_probability > 0.0f && options->xtc_threshold <= 0.5f;
}

/* filter.c: top-n-sigma to XTC, in their order. */
void dn_filter(struct dn_sampler *sampler, struct dn_view *view);
/* Between the range's ends by the entropy of what is inside; 0: the first one. */
double dn_temperature(const struct dn_sampler *sampler, const struct dn_view *view);

/* mirostat.c: narrows @view by either version, draws from it, and learns from what it drew. */
uint32_t dn_mirostat(struct dn_sampler *sampler, struct dn_view *view);

/* sampler.c */
uint64_t dn_next_random(uint64_t state[4]);
/* One random number; walks what is inside the window by position. @temperature above 0. */
struct dn_drawn dn_draw(struct dn_sampler *sampler, const struct dn_view *view, double temperature);

/* logprob.c: the largest and the logarithm of the sum of exp(logit - largest); 0 where none. */
double dn_log_sum(const float *logits, uint32_t n, float *ret_max);
/* Of one logit by these; minus infinity where no token is possible. */
double dn_logprob_of(float logit, float max, double log_sum);

#endif /* DUNLIN_ENGINE_SAMPLER_INTERNAL_H */
