/* SPDX-License-Identifier: MIT */
/* The DRY penalty: breakers in the text, repetitions among the tokens. */

#include "engine/sampler/dry.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "kernels/math.h"

/* Powers stop where float32 ends: log(FLT_MAX). */
#define POWER_LOG_MAX 88.7228391

static bool is_on(const struct dn_sampler_options *options)
{
	return options->dry_multiplier > 0.0f && options->dry_penalty_last > 0;
}

size_t dn_dry_memory(const struct dn_sampler_options *options, uint32_t vocabulary)
{
	size_t last = options->dry_penalty_last;

	if (!is_on(options))
		return 0;
	return 2 * last * sizeof(uint32_t) + (last + vocabulary) * sizeof(uint16_t);
}

static void add_breaker(struct dn_dry *dry, const char *text)
{
	struct dn_breaker *breaker = &dry->breakers[dry->n_breakers++];
	uint32_t border = 0;

	breaker->size = (uint8_t)strlen(text);
	memcpy(breaker->text, text, breaker->size);
	for (uint32_t i = 1; i < breaker->size; i++) {
		while (border > 0 && text[i] != text[border])
			border = breaker->border[border - 1];
		border += text[i] == text[border];
		breaker->border[i] = (uint8_t)border;
	}
}

uint16_t *dn_dry_init(struct dn_dry *dry, const struct dn_sampler_options *options,
		      uint32_t vocabulary, void *arrays)
{
	*dry = (struct dn_dry){ .since = UINT32_MAX };
	if (!is_on(options))
		return arrays;
	dry->tokenizer = options->tokenizer;
	dry->last = options->dry_penalty_last;
	dry->allowed_length = options->dry_allowed_length;
	dry->multiplier = (double)options->dry_multiplier;
	dry->base = (double)options->dry_base;
	dry->tokens = arrays;
	dry->repeats = (uint16_t *)(dry->tokens + (size_t)2 * dry->last);
	dry->longest = dry->repeats + dry->last;
	/* Without text there is nothing that a breaker could be found in. */
	for (size_t i = 0; options->tokenizer && i < options->n_dry_breakers; i++)
		add_breaker(dry, options->dry_breakers[i]);
	return dry->longest + vocabulary;
}

/* Whether @breaker ends anywhere in @text, which goes on from the text before. */
static bool ends_in(struct dn_breaker *breaker, const char *text, size_t size)
{
	uint32_t matched = breaker->matched;
	bool ended = false;

	for (size_t i = 0; i < size; i++) {
		while (matched > 0 && text[i] != breaker->text[matched])
			matched = breaker->border[matched - 1];
		matched += text[i] == breaker->text[matched];
		if (matched < breaker->size)
			continue;
		ended = true;
		matched = breaker->border[matched - 1];
	}
	breaker->matched = (uint8_t)matched;
	return ended;
}

static bool holds_breaker(const struct dn_dry *dry, uint32_t token)
{
	for (uint32_t i = 0; i < dry->n_breakers; i++) {
		struct dn_breaker breaker = dry->breakers[i];
		size_t size = 0;
		const char *text = dn_tokenizer_bytes(dry->tokenizer, token, &size);

		breaker.matched = 0;
		if (text && ends_in(&breaker, text, size))
			return true;
	}
	return false;
}

static bool break_ends(struct dn_dry *dry, uint32_t token)
{
	bool ended = false;

	for (uint32_t i = 0; i < dry->n_breakers; i++) {
		size_t size = 0;
		const char *text = dn_tokenizer_bytes(dry->tokenizer, token, &size);

		if (text && ends_in(&dry->breakers[i], text, size))
			ended = true;
	}
	return ended;
}

void dn_dry_accept(struct dn_dry *dry, uint32_t token)
{
	if (dry->last == 0)
		return;
	if (dry->end == 2 * dry->last) {
		memcpy(dry->tokens, dry->tokens + dry->last, dry->last * sizeof(*dry->tokens));
		dry->end = dry->last;
	}
	dry->tokens[dry->end++] = token;
	if (break_ends(dry, token))
		dry->since = 0;
	else if (dry->since < UINT32_MAX)
		dry->since++;
}

bool dn_dry_applies(const struct dn_dry *dry)
{
	return dry->last > 0 && dry->end > 1 && dry->since >= dry->allowed_length;
}

/*
 * For each place @k before the newest token, how many tokens up to there are also the newest ones:
 * the Z function of the tokens read backwards (Gusfield, "Algorithms on Strings, Trees, and
 * Sequences", 1997, 1.4). @left to @right is the match found so far that goes back furthest.
 */
static void find_repeats(const uint32_t *newest, uint32_t n, uint16_t *repeats)
{
	uint32_t left = 0;
	uint32_t right = 0;

	for (uint32_t k = 1; k < n; k++) {
		uint32_t length = k < right ? DN_MIN(right - k, (uint32_t)repeats[k - left]) : 0;

		while (k + length < n &&
		       *(newest - length) == *(newest - (size_t)k - (size_t)length))
			length++;
		repeats[k] = (uint16_t)length;
		if (k + length > right) {
			left = k;
			right = k + length;
		}
	}
}

static float penalised(const struct dn_dry *dry, float logit, uint32_t length)
{
	double exponent = (double)(length - dry->allowed_length) * dn_log(dry->base);
	double x = (double)logit - dry->multiplier * dn_exp(DN_MIN(exponent, POWER_LOG_MAX));

	/* What was possible stays so: the least float, not minus infinity. */
	if (!(logit > -INFINITY))
		return logit;
	return x > -(double)FLT_MAX ? (float)x : -FLT_MAX;
}

void dn_dry_apply(struct dn_dry *dry, float *logits)
{
	uint32_t n = DN_MIN(dry->end, dry->last);
	const uint32_t *newest = dry->tokens + dry->end - 1;

	find_repeats(newest, n, dry->repeats);
	for (uint32_t k = 1; k < n; k++) {
		uint32_t length = DN_MIN((uint32_t)dry->repeats[k], dry->since);
		uint16_t *longest = &dry->longest[*(newest - k + 1)];

		/* One more, since 0 is none. */
		if (length >= dry->allowed_length && length + 1 > *longest)
			*longest = (uint16_t)(length + 1);
	}
	for (uint32_t k = 1; k < n; k++) {
		uint32_t token = *(newest - k + 1);
		uint32_t length = dry->longest[token];

		dry->longest[token] = 0;
		if (length > 0 && !holds_breaker(dry, token))
			logits[token] = penalised(dry, logits[token], length - 1);
	}
}
