/* SPDX-License-Identifier: MIT */
/*
 * DRY against a plain model: breakers by strstr() in the whole text, repetitions by comparing at
 * every place. Tokens are of a small vocabulary, so that texts repeat themselves.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dunlin/sampler.h>

#include "engine/sampler/internal.h"
#include "tokenizer-maker.h"

#define TEXT_MAX   8192
#define TOKENS_MAX 700

static struct maker maker;
static struct dn_gguf *gguf;
static struct dn_tokenizer *tokenizer;
static uint64_t state = 0x2545f4914f6cdd1du;

static uint32_t below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % n;
}

/* Bytes, and tokens that hold breakers or parts of them. */
static int setup(void **unused)
{
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;

	(void)unused;
	maker_init(&maker, "gpt-2");
	maker_merge(&maker, "a", "b");
	maker_merge(&maker, "b", ":");
	maker_merge(&maker, "#", "#");
	maker_merge(&maker, "##", "#");
	maker_merge(&maker, "a", "#");
	maker_merge(&maker, "ab", "b:");
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	if (dn_tokenizer_new(gguf, NULL, &tokenizer, &err) < 0)
		fail_msg("%s", err.message);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	tokenizer = dn_tokenizer_free(tokenizer);
	gguf = dn_gguf_free(gguf);
	return 0;
}

static uint32_t random_token(uint32_t letters)
{
	static const char bytes[] = "abcd#:\n\"*";

	return below(8) == 0 ? 256 + below(maker.n_tokens - 256)
			     : (unsigned char)bytes[below(letters)];
}

static struct dn_sampler_options dry_options(void)
{
	struct dn_sampler_options options;

	dn_sampler_options_init(&options);
	options.temperature = 0.0f;
	options.dry_multiplier = 0.8f;
	options.tokenizer = tokenizer;
	return options;
}

static struct dn_sampler *new_sampler(const struct dn_sampler_options *options)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sampler *sampler = NULL;

	if (dn_sampler_new(options, maker.n_tokens, &sampler, &err) < 0)
		fail_msg("%s", err.message);
	return sampler;
}

/* What was accepted: ids, their text, and where in it each token ends. */
struct history {
	uint32_t tokens[TOKENS_MAX];
	uint32_t ends[TOKENS_MAX];
	uint32_t n;
	char text[TEXT_MAX];
};

static void history_add(struct history *history, uint32_t token)
{
	uint32_t at = history->n ? history->ends[history->n - 1] : 0;
	size_t size = 0;
	const char *bytes = dn_tokenizer_bytes(tokenizer, token, &size);

	memcpy(history->text + at, bytes, size);
	history->text[at + size] = '\0';
	history->tokens[history->n] = token;
	history->ends[history->n++] = at + (uint32_t)size;
}

/* Tokens behind the one in which the last breaker ends. */
static uint32_t model_since(const struct history *history, const struct dn_sampler_options *options)
{
	uint32_t last = 0;
	uint32_t i = history->n;

	for (size_t b = 0; b < options->n_dry_breakers; b++) {
		const char *found = history->text;

		for (; (found = strstr(found, options->dry_breakers[b])); found++)
			last = DN_MAX(last, (uint32_t)(found - history->text) +
						    (uint32_t)strlen(options->dry_breakers[b]));
	}
	if (last == 0)
		return UINT32_MAX;
	while (i > 0 && history->ends[i - 1] >= last)
		i--;
	return history->n - i - 1;
}

static bool model_exempt(uint32_t token, const struct dn_sampler_options *options)
{
	char text[256] = "";
	size_t size = 0;
	const char *bytes = dn_tokenizer_bytes(tokenizer, token, &size);

	memcpy(text, bytes, size);
	for (size_t b = 0; b < options->n_dry_breakers; b++)
		if (strstr(text, options->dry_breakers[b]))
			return true;
	return false;
}

/* What each token loses: for each place where it stood, how far back the texts agree. */
static void model_penalties(const struct history *history, const struct dn_sampler_options *options,
			    double *penalties)
{
	uint32_t from = history->n - DN_MIN(history->n, options->dry_penalty_last);
	uint32_t limit = model_since(history, options);

	memset(penalties, 0, maker.n_tokens * sizeof(*penalties));
	for (uint32_t at = from + 1; at < history->n; at++) {
		uint32_t token = history->tokens[at];
		uint32_t length = 0;
		double penalty;

		while (at > from + length &&
		       history->tokens[at - 1 - length] == history->tokens[history->n - 1 - length])
			length++;
		length = DN_MIN(length, limit);
		if (length < options->dry_allowed_length || model_exempt(token, options))
			continue;
		penalty = (double)options->dry_multiplier *
			  fmin(pow((double)options->dry_base,
				   (double)(length - options->dry_allowed_length)),
			       exp(88.7228391));
		penalties[token] = fmax(penalties[token], penalty);
	}
}

static unsigned int compare(struct dn_sampler *sampler, const struct history *history,
			    const struct dn_sampler_options *options)
{
	float logits[MAKER_TOKENS_MAX] = { 0 };
	double penalties[MAKER_TOKENS_MAX];
	unsigned int penalised = 0;

	for (uint32_t i = 0; i < maker.n_tokens; i++)
		logits[i] = i % 9 == 8 ? -INFINITY : (float)i * 0.01f;
	model_penalties(history, options, penalties);
	if (dn_dry_applies(&sampler->dry))
		dn_dry_apply(&sampler->dry, logits);
	for (uint32_t i = 0; i < maker.n_tokens; i++) {
		float before = i % 9 == 8 ? -INFINITY : (float)i * 0.01f;
		double want = (double)before - penalties[i];

		penalised += penalties[i] > 0;
		if (penalties[i] > 0 ? fabs((double)logits[i] - want) > 1e-6 * (1 + fabs(want))
				     : logits[i] != before)
			fail_msg("token %u after %u: %g, not %g", i, history->n, (double)logits[i],
				 want);
	}
	return penalised;
}

static void test_as_the_model_does(void **unused)
{
	static const char *const sets[][3] = {
		{ "\n", ":", "\"" },
		{ "###", "ab:", "#a" },
		{ "aab", "aaab", "b\nb" },
		{ "" },
	};
	static const uint32_t lasts[] = { 1, 2, 3, 10, 64, 300, 1000 };
	static struct history history;
	unsigned int penalised = 0;

	(void)unused;
	for (unsigned int round = 0; round < 400; round++) {
		struct dn_sampler_options options = dry_options();
		uint32_t letters = 1 + below(9);
		struct dn_sampler *sampler;

		options.dry_breakers = sets[round % 4];
		options.n_dry_breakers = round % 4 == 3 ? 0 : 3;
		options.dry_penalty_last = lasts[below(7)];
		options.dry_allowed_length = below(5);
		options.dry_base = 1.0f + 0.25f * (float)below(4);
		sampler = new_sampler(&options);
		history.n = 0;
		for (int i = 0; i < 600; i++) {
			uint32_t token = random_token(letters);

			/* Mostly a copy of what was: long repetitions. */
			if (history.n > 30 && below(20) != 0)
				token = history.tokens[history.n - 17 - round % 13];
			dn_sampler_accept(sampler, token);
			history_add(&history, token);
			if (i % 7 == 0)
				penalised += compare(sampler, &history, &options);
		}
		dn_sampler_free(sampler);
	}
	assert_true(penalised > 10000);
}

/* What the penalty is for: after "abcd abc" comes anything but "d". */
static void test_breaks_a_loop(void **unused)
{
	struct dn_sampler_options options = dry_options();
	float logits[MAKER_TOKENS_MAX] = { 0 };
	struct dn_sample ret;

	(void)unused;
	for (int breaker = 0; breaker < 3; breaker++) {
		struct dn_sampler *sampler = new_sampler(&options);
		const char *text = breaker == 1 ? "abcdab:c" : breaker == 2 ? "abc:abc" : "abcdabc";

		for (; *text != '\0'; text++)
			dn_sampler_accept(sampler, (unsigned char)*text);
		logits['d'] = 0.7f;
		logits[':'] = breaker == 2 ? 0.75f : 0.0f;
		logits['x'] = 0.1f;
		dn_sampler_sample(sampler, logits, 0, 0, &ret);
		/* 0.8 * 1.75 for three tokens; nothing across a breaker, nothing for a breaker. */
		assert_int_equal(ret.token, breaker == 0 ? 'x' : breaker == 1 ? 'd' : ':');
		dn_sampler_free(sampler);
	}
}

static void test_limits(void **unused)
{
	struct dn_sampler_options options = dry_options();
	float logits[MAKER_TOKENS_MAX] = { 0 };
	struct dn_sampler *sampler;

	(void)unused;
	/* A power beyond float32 leaves the token possible. */
	options.dry_multiplier = 100.0f;
	options.dry_base = 100.0f;
	options.dry_penalty_last = 1000;
	sampler = new_sampler(&options);
	for (int i = 0; i < 500; i++)
		dn_sampler_accept(sampler, 'a');
	logits['b'] = -INFINITY;
	dn_dry_apply(&sampler->dry, logits);
	assert_true(logits['a'] == -FLT_MAX);
	assert_true(isinf(logits['b']) && logits['b'] < 0);
	assert_true(logits['c'] == 0.0f);
	dn_sampler_free(sampler);

	/* Without a vocabulary there is no text, and no breaker. */
	options = dry_options();
	options.tokenizer = NULL;
	sampler = new_sampler(&options);
	for (const char *text = "ab:ab"; *text != '\0'; text++)
		dn_sampler_accept(sampler, (unsigned char)*text);
	logits[':'] = 1.0f;
	dn_dry_apply(&sampler->dry, logits);
	assert_true(fabsf(logits[':'] - 0.2f) < 1e-6f);
	dn_sampler_free(sampler);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_model_does),
		cmocka_unit_test(test_breaks_a_loop),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
