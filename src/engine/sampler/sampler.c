/* SPDX-License-Identifier: MIT */
/*
 * How the next token is chosen. All filters become one window in the order of the logits (see
 * select.h); the draw then walks what is inside it by token id, in integer weights.
 */

#include <dunlin/sampler.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler/internal.h"

/* What dynamic temperatures come down to without being 0; options cannot be below it. */
#define TEMPERATURE_MIN 1e-45

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
uint64_t dn_next_random(uint64_t s[4])
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

size_t dn_sampler_memory(const struct dn_sampler_options *options, uint32_t vocabulary)
{
	return sizeof(struct dn_sampler) + (size_t)vocabulary * sizeof(float) +
	       dn_dry_memory(options, vocabulary) + (size_t)vocabulary * sizeof(uint16_t);
}

int dn_sampler_new(const struct dn_sampler_options *options, uint32_t vocabulary,
		   struct dn_sampler **ret_sampler, struct dn_error *err)
{
	struct dn_sampler *sampler;
	size_t memory;
	uint64_t seed;
	int r;

	r = dn_sampler_check(options, vocabulary, err);
	if (r < 0)
		return r;
	memory = dn_sampler_memory(options, vocabulary);
	sampler = calloc(1, memory);
	if (!sampler)
		return dn_error_memory(err, "the sampler", memory);
	sampler->options = *options;
	sampler->vocabulary = vocabulary;
	sampler->logits = (float *)(sampler + 1);
	sampler->counts =
		dn_dry_init(&sampler->dry, options, vocabulary, sampler->logits + vocabulary);
	sampler->surprise_limit = 2.0 * (double)options->mirostat_tau;
	if (options->n_biases)
		memcpy(sampler->biases, options->biases,
		       options->n_biases * sizeof(sampler->biases[0]));
	sampler->options.biases = sampler->biases;
	sampler->options.dry_breakers = NULL; /* were borrowed for this call */
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

	if (token >= sampler->vocabulary)
		return;
	dn_dry_accept(&sampler->dry, token);
	if (last == 0)
		return;
	if (sampler->n_recent == last)
		sampler->counts[sampler->recent[sampler->next_recent]]--;
	else
		sampler->n_recent++;
	sampler->recent[sampler->next_recent] = token;
	sampler->counts[token]++;
	sampler->next_recent = sampler->next_recent + 1 == last ? 0 : sampler->next_recent + 1;
}

struct dn_drawn dn_draw(struct dn_sampler *sampler, const struct dn_view *view, double temperature)
{
	double inverse = 1.0 / temperature;
	uint64_t weights[DN_SELECT_BLOCK];
	uint32_t block = 0;
	uint32_t i = 0;
	uint64_t sum = 0;
	uint64_t rest;

	for (uint32_t at = 0; at < view->n; at += DN_SELECT_BLOCK) {
		sampler->sums[at / DN_SELECT_BLOCK] = dn_weigh_block(
			view->logits, view->n, at, &view->window, view->max, inverse, weights);
		sum += sampler->sums[at / DN_SELECT_BLOCK];
	}
	/* Below the sum: the walks end inside. */
	rest = multiply_high(dn_next_random(sampler->random), sum);
	for (; rest >= sampler->sums[block]; block++)
		rest -= sampler->sums[block];
	(void)dn_weigh_block(view->logits, view->n, block * DN_SELECT_BLOCK, &view->window,
			     view->max, inverse, weights);
	for (; rest >= weights[i]; i++)
		rest -= weights[i];
	block = block * DN_SELECT_BLOCK + i;
	return (struct dn_drawn){
		.token = view->ids ? view->ids[block] : block,
		.weight = weights[i],
		.sum = sum,
	};
}

/* The first of what is inside. */
static uint32_t first_of(const struct dn_view *view)
{
	uint32_t i = 0;

	while (!(view->logits[i] == view->max && dn_inside(&view->window, view->max, i)))
		i++;
	return view->ids ? view->ids[i] : i;
}

/* The most likely tokens of clean logits in order; their logits in place of log-probabilities. */
static uint32_t list_top(struct dn_sampler *sampler, uint32_t n_top, struct dn_logprob *top)
{
	uint32_t n = DN_MIN(DN_MIN(n_top, DN_TOP_LOGPROBS_MAX), sampler->vocabulary);
	struct dn_window head =
		dn_select_count(sampler->logits, sampler->vocabulary, n, sampler->bins);
	uint32_t used = 0;

	for (uint32_t id = 0; id < sampler->vocabulary && used < n; id++) {
		float logit = sampler->logits[id];
		uint32_t place = used;

		if (!dn_inside(&head, logit, id))
			continue;
		for (; place > 0 && top[place - 1].logprob < logit; place--)
			top[place] = top[place - 1];
		top[place] = (struct dn_logprob){ id, logit };
		used++;
	}
	return used;
}

/* Whether the model's own logits decide, and the largest of them is the token. */
static bool is_argmax(const struct dn_sampler *sampler)
{
	const struct dn_sampler_options *options = &sampler->options;

	return !(options->temperature > 0.0f) && !(options->dynatemp_range > 0.0f) &&
	       !options->n_biases && !dn_has_penalties(sampler) && !dn_dry_applies(&sampler->dry) &&
	       !dn_is_typical(options) && !dn_is_xtc(options);
}

void dn_sampler_allow(struct dn_sampler *sampler, const uint64_t *mask, uint32_t n_tokens)
{
	sampler->allowed = mask;
	sampler->n_allowed = n_tokens;
}

/* Where no token is possible the first is as good as any. */
static uint32_t first_allowed(const struct dn_sampler *sampler)
{
	const uint32_t end = DN_MIN(sampler->n_allowed, sampler->vocabulary);

	for (uint32_t i = 0; sampler->allowed && i < end; i++)
		if (sampler->allowed[i / 64] >> (i % 64) & 1)
			return i;
	return 0;
}

static uint32_t choose(struct dn_sampler *sampler, const float *logits)
{
	struct dn_view view = {
		.logits = sampler->logits,
		.n = sampler->vocabulary,
		.window = DN_WINDOW_ALL,
	};
	double temperature;
	uint32_t best;

	if (!sampler->allowed && is_argmax(sampler)) {
		best = dn_logits_argmax(logits, sampler->vocabulary, &view.max);
		if (view.max > -INFINITY && view.max < INFINITY)
			return best;
	}
	dn_logits_clean(logits, sampler->logits, sampler->vocabulary);
	if (sampler->allowed)
		dn_apply_mask(sampler);
	dn_apply_biases(sampler);
	if (dn_has_penalties(sampler))
		dn_apply_penalties(sampler);
	if (dn_dry_applies(&sampler->dry))
		dn_dry_apply(&sampler->dry, sampler->logits);
	best = dn_logits_argmax(sampler->logits, sampler->vocabulary, &view.max);
	if (!(view.max > -INFINITY))
		return first_allowed(sampler);
	if (sampler->options.mirostat)
		return sampler->options.temperature > 0.0f ? dn_mirostat(sampler, &view) : best;
	dn_filter(sampler, &view);
	temperature = dn_temperature(sampler, &view);
	if (temperature < TEMPERATURE_MIN)
		return first_of(&view);
	return dn_draw(sampler, &view, temperature).token;
}

void dn_sampler_sample(struct dn_sampler *sampler, const float *logits, uint32_t n_top,
		       int want_logprob, struct dn_sample *ret_sample)
{
	double log_sum = 0;
	float max = -INFINITY;

	ret_sample->logprob = 0;
	ret_sample->n_top = 0;
	if (n_top || want_logprob)
		log_sum = dn_log_sum(logits, sampler->vocabulary, &max);
	if (n_top) {
		dn_logits_clean(logits, sampler->logits, sampler->vocabulary);
		ret_sample->n_top = list_top(sampler, n_top, ret_sample->top);
	}
	for (uint32_t i = 0; i < ret_sample->n_top; i++)
		ret_sample->top[i].logprob =
			(float)dn_logprob_of(ret_sample->top[i].logprob, max, log_sum);
	ret_sample->token = choose(sampler, logits);
	if (n_top || want_logprob)
		ret_sample->logprob = (float)dn_logprob_of(logits[ret_sample->token], max, log_sum);
}
