/* SPDX-License-Identifier: MIT */
/*
 * How the next token is chosen. All filters become one border in the order of the logits (see
 * select.h); the draw then walks what is inside it by token id, in integer weights.
 */

#include <dunlin/sampler.h>

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/select.h"
#include "kernels/math.h"

#define PENALTY_LAST_MAX 4096
#define COUNT_MARK	 0x8000u

/* After top-k, this many are gathered, so that the other filters do not walk the vocabulary. */
#define GATHER_MAX 4096

struct dn_sampler {
	struct dn_sampler_options options;
	struct dn_logit_bias biases[DN_LOGIT_BIAS_MAX];
	uint32_t vocabulary;
	uint64_t random[4];
	/* The last tokens, and how often each token is among them. */
	uint32_t recent[PENALTY_LAST_MAX];
	uint32_t n_recent;
	uint32_t next_recent;
	uint16_t *counts; /* [vocabulary] */
	float *logits;	  /* [vocabulary] */
	float gathered[GATHER_MAX];
	uint32_t gathered_ids[GATHER_MAX];
	uint64_t bins[DN_SELECT_BINS];
	uint64_t sums[DN_SELECT_MAX / DN_SELECT_BLOCK]; /* of a block's weights */
};

/* Logits with the ids that their positions stand for; NULL: the positions themselves. */
struct view {
	const float *logits;
	const uint32_t *ids;
	uint32_t n;
	struct dn_border border;
	float max;
};

void dn_sampler_options_init(struct dn_sampler_options *options)
{
	*options = (struct dn_sampler_options){
		.struct_size = sizeof(*options),
		.temperature = 0.8f,
		.top_k = 40,
		.top_p = 0.95f,
		.min_p = 0.05f,
		.repeat_penalty = 1.0f,
		.penalty_last = 64,
	};
}

/* Comparisons with NaN are false: it is outside of every range. */
static int check_range(struct dn_error *err, const char *name, float value, float low, float high)
{
	if (value >= low && value <= high)
		return 0;
	return dn_error_set(err, EINVAL, "%s must be %g to %g, not %g", name, (double)low,
			    (double)high, (double)value);
}

static int check_biases(const struct dn_sampler_options *options, uint32_t vocabulary,
			struct dn_error *err)
{
	if (options->n_biases > DN_LOGIT_BIAS_MAX)
		return dn_error_set(err, EINVAL, "logit_bias must have 0 to %d entries, not %zu",
				    DN_LOGIT_BIAS_MAX, options->n_biases);
	if (options->n_biases && !options->biases)
		return dn_error_set(err, EINVAL, "logit_bias has a count but no entries");
	for (size_t i = 0; i < options->n_biases; i++) {
		const struct dn_logit_bias *bias = &options->biases[i];

		if (bias->token >= vocabulary)
			return dn_error_set(err, EINVAL,
					    "logit_bias[%zu]: token must be 0 to %u, not %u", i,
					    vocabulary - 1, bias->token);
		if (!(bias->bias <= 100.0f))
			return dn_error_set(err, EINVAL,
					    "logit_bias[%zu]: bias must be at most 100, not %g", i,
					    (double)bias->bias);
	}
	return 0;
}

static int check_options(const struct dn_sampler_options *options, uint32_t vocabulary,
			 struct dn_error *err)
{
	int r;

	if (options->struct_size != sizeof(*options))
		return dn_error_set(err, EINVAL, "sampler options of %zu bytes, %zu are known",
				    options->struct_size, sizeof(*options));
	if (vocabulary < 1 || vocabulary > DN_SELECT_MAX)
		return dn_error_set(err, EINVAL, "vocabulary must be 1 to %u tokens, not %u",
				    DN_SELECT_MAX, vocabulary);
	r = check_range(err, "temperature", options->temperature, 0.0f, 100.0f);
	if (r == 0)
		r = check_range(err, "top_p", options->top_p, 0.0f, 1.0f);
	if (r == 0)
		r = check_range(err, "min_p", options->min_p, 0.0f, 1.0f);
	if (r == 0)
		r = check_range(err, "repeat_penalty", options->repeat_penalty, 0.01f, 100.0f);
	if (r == 0)
		r = check_range(err, "frequency_penalty", options->frequency_penalty, -100.0f,
				100.0f);
	if (r == 0)
		r = check_range(err, "presence_penalty", options->presence_penalty, -100.0f,
				100.0f);
	if (r < 0)
		return r;
	if (options->penalty_last > PENALTY_LAST_MAX)
		return dn_error_set(err, EINVAL, "penalty_last must be 0 to %d, not %u",
				    PENALTY_LAST_MAX, options->penalty_last);
	return check_biases(options, vocabulary, err);
}

/* splitmix64 (Steele, Lea, Flood 2014), which Blackman and Vigna advise for seeding xoshiro. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t x, unsigned int left)
{
	return x << left | x >> (64 - left);
}

/* xoshiro256++ 1.0 (Blackman and Vigna, "Scrambled linear pseudorandom number generators"). */
static uint64_t next_random(uint64_t s[4])
{
	uint64_t result = rotate(s[0] + s[3], 23) + s[0];
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

/* floor(a b / 2^64), without a 128-bit type: 32-bit machines have none. */
static uint64_t multiply_high(uint64_t a, uint64_t b)
{
	uint64_t a0 = (uint32_t)a, a1 = a >> 32;
	uint64_t b0 = (uint32_t)b, b1 = b >> 32;
	uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
	uint64_t other = a0 * b1 + (uint32_t)middle;

	return a1 * b1 + (middle >> 32) + (other >> 32);
}

size_t dn_sampler_memory(uint32_t vocabulary)
{
	return sizeof(struct dn_sampler) +
	       (size_t)DN_MIN(vocabulary, DN_SELECT_MAX) * (sizeof(float) + sizeof(uint16_t));
}

int dn_sampler_new(const struct dn_sampler_options *options, uint32_t vocabulary,
		   struct dn_sampler **ret_sampler, struct dn_error *err)
{
	struct dn_sampler *sampler;
	uint64_t seed;
	int r;

	r = check_options(options, vocabulary, err);
	if (r < 0)
		return r;
	sampler = calloc(1, dn_sampler_memory(vocabulary));
	if (!sampler)
		return dn_error_memory(err, "the sampler", dn_sampler_memory(vocabulary));
	sampler->options = *options;
	sampler->vocabulary = vocabulary;
	sampler->logits = (float *)(sampler + 1);
	sampler->counts = (uint16_t *)(sampler->logits + vocabulary);
	if (options->n_biases)
		memcpy(sampler->biases, options->biases,
		       options->n_biases * sizeof(sampler->biases[0]));
	sampler->options.biases = sampler->biases;
	seed = options->seed;
	for (int i = 0; i < 4; i++)
		sampler->random[i] = splitmix(&seed);
	*ret_sampler = sampler;
	return 0;
}

struct dn_sampler *dn_sampler_free(struct dn_sampler *sampler)
{
	free(sampler);
	return NULL;
}

void dn_sampler_accept(struct dn_sampler *sampler, uint32_t token)
{
	uint32_t last = sampler->options.penalty_last;

	if (token >= sampler->vocabulary || last == 0)
		return;
	if (sampler->n_recent == last)
		sampler->counts[sampler->recent[sampler->next_recent]]--;
	else
		sampler->n_recent++;
	sampler->recent[sampler->next_recent] = token;
	sampler->counts[token]++;
	sampler->next_recent = sampler->next_recent + 1 == last ? 0 : sampler->next_recent + 1;
}

static bool has_penalties(const struct dn_sampler *sampler)
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

static void apply_penalties(struct dn_sampler *sampler)
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

static void apply_biases(struct dn_sampler *sampler)
{
	for (size_t i = 0; i < sampler->options.n_biases; i++) {
		const struct dn_logit_bias *bias = &sampler->biases[i];
		float *logit = &sampler->logits[bias->token];
		float sum = *logit + bias->bias;

		*logit = bias->bias <= -100.0f ? -INFINITY : DN_MIN(sum, FLT_MAX);
	}
}

/* Copies what is inside the border, by position, to where the next filters find it. */
static void gather(struct dn_sampler *sampler, struct view *view)
{
	uint32_t used = 0;

	for (uint32_t at = 0; at < view->n; at += DN_SELECT_BLOCK) {
		uint32_t end = DN_MIN(view->n, at + DN_SELECT_BLOCK);
		uint32_t any = 0;

		for (uint32_t i = at; i < end; i++)
			any |= view->logits[i] >= view->border.logit;
		for (uint32_t i = at; any && i < end; i++) {
			if (!dn_inside(&view->border, view->logits[i], i))
				continue;
			sampler->gathered[used] = view->logits[i];
			sampler->gathered_ids[used++] = i;
		}
	}
	view->logits = sampler->gathered;
	view->ids = sampler->gathered_ids;
	view->n = used;
	view->border = (struct dn_border){ -INFINITY, UINT32_MAX };
}

static void filter_min_p(struct view *view, double min_p)
{
	double least = (double)view->max + dn_log(min_p);
	float border = (float)least;

	/* The smallest float that is not below the limit. */
	if ((double)border < least)
		border = nextafterf(border, INFINITY);
	if (border > view->border.logit)
		view->border = (struct dn_border){ border, UINT32_MAX };
}

static void filter(struct dn_sampler *sampler, struct view *view)
{
	const struct dn_sampler_options *options = &sampler->options;

	if (options->top_k && options->top_k < view->n) {
		view->border =
			dn_select_count(view->logits, view->n, options->top_k, sampler->bins);
		if (options->top_k <= GATHER_MAX)
			gather(sampler, view);
	}
	if (options->top_p < 1.0f)
		view->border = dn_select_share(view->logits, view->n, view->border, view->max,
					       (double)options->top_p, sampler->bins);
	if (options->min_p > 0.0f)
		filter_min_p(view, (double)options->min_p);
}

/* One random number a token; walks what is inside the border by id. */
static uint32_t draw(struct dn_sampler *sampler, const struct view *view)
{
	double inverse = 1.0 / (double)sampler->options.temperature;
	uint64_t weights[DN_SELECT_BLOCK];
	uint32_t block = 0;
	uint32_t i = 0;
	uint64_t sum = 0;
	uint64_t rest;

	for (uint32_t at = 0; at < view->n; at += DN_SELECT_BLOCK) {
		sampler->sums[at / DN_SELECT_BLOCK] = dn_weigh_block(
			view->logits, view->n, at, &view->border, view->max, inverse, weights);
		sum += sampler->sums[at / DN_SELECT_BLOCK];
	}
	/* Below the sum: the walks end inside. */
	rest = multiply_high(next_random(sampler->random), sum);
	for (; rest >= sampler->sums[block]; block++)
		rest -= sampler->sums[block];
	(void)dn_weigh_block(view->logits, view->n, block * DN_SELECT_BLOCK, &view->border,
			     view->max, inverse, weights);
	for (; rest >= weights[i]; i++)
		rest -= weights[i];
	i += block * DN_SELECT_BLOCK;
	return view->ids ? view->ids[i] : i;
}

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
static double log_sum(const float *logits, uint32_t n, float max)
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

static double logprob(float logit, float max, double log_of_sum)
{
	/* Where no token is possible, none has a probability. */
	if (!(max > -INFINITY))
		return -(double)INFINITY;
	return ((double)clean(logit) - (double)max) - log_of_sum;
}

double dn_logprob(const float *logits, uint32_t vocabulary, uint32_t token)
{
	float max;

	if (token >= vocabulary)
		return -(double)INFINITY;
	max = largest(logits, vocabulary);
	return logprob(logits[token], max,
		       max > -INFINITY ? log_sum(logits, vocabulary, max) : 0.0);
}

/* The most likely tokens of clean logits in order; their logits in place of log-probabilities. */
static uint32_t list_top(struct dn_sampler *sampler, uint32_t n_top, struct dn_logprob *top)
{
	uint32_t n = DN_MIN(DN_MIN(n_top, DN_TOP_LOGPROBS_MAX), sampler->vocabulary);
	struct dn_border border =
		dn_select_count(sampler->logits, sampler->vocabulary, n, sampler->bins);
	uint32_t used = 0;

	for (uint32_t id = 0; id < sampler->vocabulary && used < n; id++) {
		float logit = sampler->logits[id];
		uint32_t place = used;

		if (!dn_inside(&border, logit, id))
			continue;
		for (; place > 0 && top[place - 1].logprob < logit; place--)
			top[place] = top[place - 1];
		top[place] = (struct dn_logprob){ id, logit };
		used++;
	}
	return used;
}

static uint32_t choose(struct dn_sampler *sampler, const float *logits)
{
	struct view view = {
		.logits = sampler->logits,
		.n = sampler->vocabulary,
		.border = { -INFINITY, UINT32_MAX },
	};
	bool greedy = !(sampler->options.temperature > 0.0f);
	uint32_t best;

	if (greedy && !has_penalties(sampler) && !sampler->options.n_biases) {
		best = dn_logits_argmax(logits, sampler->vocabulary, &view.max);
		if (view.max > -INFINITY && view.max < INFINITY)
			return best;
	}
	dn_logits_clean(logits, sampler->logits, sampler->vocabulary);
	apply_biases(sampler);
	if (has_penalties(sampler))
		apply_penalties(sampler);
	best = dn_logits_argmax(sampler->logits, sampler->vocabulary, &view.max);
	/* Where no token is possible the first is as good as any. */
	if (!(view.max > -INFINITY))
		return 0;
	if (greedy)
		return best;
	filter(sampler, &view);
	return draw(sampler, &view);
}

void dn_sampler_sample(struct dn_sampler *sampler, const float *logits, uint32_t n_top,
		       int want_logprob, struct dn_sample *ret_sample)
{
	double log_of_sum = 0;
	float max = -INFINITY;

	ret_sample->logprob = 0;
	ret_sample->n_top = 0;
	if (n_top || want_logprob)
		max = largest(logits, sampler->vocabulary);
	if (max > -INFINITY)
		log_of_sum = log_sum(logits, sampler->vocabulary, max);
	if (n_top) {
		dn_logits_clean(logits, sampler->logits, sampler->vocabulary);
		ret_sample->n_top = list_top(sampler, n_top, ret_sample->top);
	}
	for (uint32_t i = 0; i < ret_sample->n_top; i++)
		ret_sample->top[i].logprob =
			(float)logprob(ret_sample->top[i].logprob, max, log_of_sum);
	ret_sample->token = choose(sampler, logits);
	if (n_top || want_logprob)
		ret_sample->logprob = (float)logprob(logits[ret_sample->token], max, log_of_sum);
}
