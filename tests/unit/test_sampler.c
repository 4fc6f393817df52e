/* SPDX-License-Identifier: MIT */
/*
 * The sampler against a slow, plain model of what its header says (sort, filter, draw), against
 * sequences from an independent program, and against the distribution it should have.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dunlin/sampler.h>

#include "base/base.h"
#include "engine/sampler/select.h"
#include "sampler-fixture.h"

static bool fail_allocation;
static unsigned int allocations;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	return fail_allocation ? NULL : __real_calloc(count, size);
}

/* The model: candidates in a sorted array, one step after the other. */

struct candidate {
	float logit;
	uint32_t id;
};

struct model {
	struct dn_sampler_options options;
	uint32_t n;
	uint64_t random[4];
	uint32_t accepted[8192];
	uint32_t n_accepted;
	struct candidate *candidates;
};

static uint64_t model_random(uint64_t s[4])
{
	uint64_t sum = s[0] + s[3];
	uint64_t result = ((sum << 23) | (sum >> 41)) + s[0];
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = (s[3] << 45) | (s[3] >> 19);
	return result;
}

static void model_init(struct model *model, const struct dn_sampler_options *options, uint32_t n)
{
	uint64_t seed = options->seed;

	memset(model, 0, sizeof(*model));
	model->options = *options;
	model->n = n;
	model->candidates = malloc(n * sizeof(*model->candidates));
	assert_non_null(model->candidates);
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		model->random[i] = z ^ (z >> 31);
	}
}

static int by_logit(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;

	if (x->logit < y->logit || x->logit > y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_id(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t model_weight(float logit, float max, double temperature)
{
	return (uint64_t)rint(exp(((double)logit - (double)max) / temperature) * 0x1p43);
}

static uint32_t model_count(const struct model *model, uint32_t id)
{
	uint32_t last = DN_MIN(model->n_accepted, model->options.penalty_last);
	uint32_t count = 0;

	for (uint32_t i = 0; i < last; i++)
		count += model->accepted[model->n_accepted - 1 - i] == id;
	return count;
}

static float model_logit(const struct model *model, float logit, uint32_t id)
{
	const struct dn_sampler_options *options = &model->options;
	uint32_t count = model_count(model, id);
	double x;

	if (isnan(logit))
		logit = -INFINITY;
	for (size_t i = 0; i < options->n_biases; i++)
		if (options->biases[i].token == id)
			logit = options->biases[i].bias <= -100 ? -INFINITY
								: logit + options->biases[i].bias;
	logit = fminf(logit, FLT_MAX);
	if (!count)
		return logit;
	x = (double)logit;
	x = x > 0 ? x / (double)options->repeat_penalty : x * (double)options->repeat_penalty;
	x -= count * (double)options->frequency_penalty + (double)options->presence_penalty;
	return fminf((float)x, FLT_MAX);
}

static uint32_t model_filter(const struct model *model, uint32_t kept)
{
	const struct dn_sampler_options *options = &model->options;
	const struct candidate *candidates = model->candidates;
	float max = candidates[0].logit;

	if (options->top_k)
		kept = DN_MIN(kept, options->top_k);
	if (options->top_p < 1.0f) {
		uint64_t total = 0, sum = 0, target;
		uint32_t i;

		for (i = 0; i < kept; i++)
			total += model_weight(candidates[i].logit, max, 1.0);
		target = (uint64_t)((double)options->top_p * (double)total);
		for (i = 0; i < kept && (i == 0 || sum < target); i++)
			sum += model_weight(candidates[i].logit, max, 1.0);
		kept = i;
	}
	if (options->min_p > 0.0f)
		while ((double)candidates[kept - 1].logit <
		       (double)max + log((double)options->min_p))
			kept--;
	return kept;
}

static uint32_t model_sample(struct model *model, const float *logits)
{
	struct candidate *candidates = model->candidates;
	double temperature = (double)model->options.temperature;
	uint64_t total = 0, sum = 0, at;
	uint32_t kept = model->n;
	float max;

	for (uint32_t i = 0; i < model->n; i++)
		candidates[i] = (struct candidate){ model_logit(model, logits[i], i), i };
	qsort(candidates, model->n, sizeof(*candidates), by_logit);
	max = candidates[0].logit;
	if (isinf(max))
		return 0;
	if (temperature == 0)
		return candidates[0].id;
	kept = model_filter(model, kept);
	qsort(candidates, kept, sizeof(*candidates), by_id);
	for (uint32_t i = 0; i < kept; i++)
		total += model_weight(candidates[i].logit, max, temperature);
	at = (uint64_t)(((unsigned __int128)model_random(model->random) * total) >> 64);
	for (uint32_t i = 0; i < kept; i++) {
		sum += model_weight(candidates[i].logit, max, temperature);
		if (at < sum)
			return candidates[i].id;
	}
	fail();
	return 0;
}

/* Kinds of logits: even, bell-like, many ties, a few values with NaN and infinities, rising. */
static void fill(float *logits, uint32_t n, unsigned int kind)
{
	for (uint32_t i = 0; i < n; i++) {
		float x = 0;

		switch (kind % 6) {
		case 0:
			x = between(-20, 20);
			break;
		case 1:
			for (int j = 0; j < 6; j++)
				x += between(-4, 4);
			break;
		case 2:
			x = floorf(between(-3, 3));
			break;
		case 3:
			x = between(-5, 5);
			if (next() % 7 == 0)
				x = NAN;
			if (next() % 11 == 0)
				x = -INFINITY;
			if (next() % 3 == 0)
				x = next() % 2 ? 0.0f : -0.0f;
			break;
		case 4:
			x = (float)i * 0.01f;
			break;
		default:
			x = between(-1e-3, 1e-3);
			break;
		}
		logits[i] = x;
	}
	if (kind % 6 == 3 && next() % 8 == 0)
		logits[next() % n] = INFINITY;
}

static void random_options(struct dn_sampler_options *options, struct dn_logit_bias *biases,
			   uint32_t n)
{
	static const uint32_t ks[] = { 0, 1, 2, 40, 255, 256, 257, 1000, 4096, 4097, 100000 };
	static const float ps[] = { 0.0f, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f, 1.0f, 1.0f };
	static const float mins[] = { 0.0f, 0.0f, 0.001f, 0.05f, 0.5f, 1.0f };
	static const float temperatures[] = { 0.0f, 1e-30f, 0.1f, 0.7f, 0.8f, 1.0f, 2.0f, 100.0f };

	dn_sampler_options_init(options);
	options->seed = next();
	options->top_k = ks[next() % DN_ARRAY_SIZE(ks)];
	options->top_p = ps[next() % DN_ARRAY_SIZE(ps)];
	options->min_p = mins[next() % DN_ARRAY_SIZE(mins)];
	options->temperature = temperatures[next() % DN_ARRAY_SIZE(temperatures)];
	options->penalty_last = (uint32_t)(next() % 20);
	if (next() % 2) {
		options->repeat_penalty = between(0.5, 2);
		options->frequency_penalty = between(-1, 1);
		options->presence_penalty = between(-1, 1);
	}
	options->n_biases = next() % 4;
	options->biases = biases;
	for (size_t i = 0; i < options->n_biases; i++) {
		biases[i].token = (uint32_t)((i * 7 + 3) % n);
		biases[i].bias = next() % 2 ? -100.0f : between(-10, 10);
		if (n < 32)
			options->n_biases = DN_MIN(options->n_biases, 1);
	}
}

static void compare_with_model(uint32_t n, unsigned int kind, int tokens)
{
	struct dn_logit_bias biases[4];
	struct dn_sampler_options options;
	struct dn_sampler *sampler;
	static struct model model;
	float *logits = malloc(n * sizeof(*logits));

	assert_non_null(logits);
	random_options(&options, biases, n);
	sampler = new_sampler(&options, n);
	model_init(&model, &options, n);
	for (int i = 0; i < tokens; i++) {
		uint32_t want, got;

		fill(logits, n, kind);
		want = model_sample(&model, logits);
		got = sample(sampler, logits);
		if (got != want)
			fail_msg("n %u kind %u temperature %g top_k %u top_p %g min_p %g: %u, not "
				 "%u",
				 n, kind % 6, (double)options.temperature, options.top_k,
				 (double)options.top_p, (double)options.min_p, got, want);
		/* Also tokens that are likely to be seen again. */
		got = next() % 2 ? got : (uint32_t)(next() % DN_MIN(n, 10));
		dn_sampler_accept(sampler, got);
		model.accepted[model.n_accepted++] = got;
	}
	dn_sampler_free(sampler);
	free(model.candidates);
	free(logits);
}

static void test_as_the_model_does(void **unused)
{
	static const uint32_t sizes[] = { 1, 2, 3, 15, 16, 17, 255, 256, 257, 300, 1000, 5000 };

	(void)unused;
	for (unsigned int i = 0; i < 2000; i++)
		compare_with_model(sizes[next() % DN_ARRAY_SIZE(sizes)], i, 12);
	for (unsigned int i = 0; i < 12; i++)
		compare_with_model(262144, i, 2);
}

/* From a program in another language with 50-digit arithmetic, made from the header's words. */
static void test_known_sequences(void **unused)
{
	static const struct {
		uint64_t seed;
		uint32_t n, top_k;
		float temperature, top_p, min_p;
		uint32_t want[12];
	} cases[] = {
		{ 1,
		  1000,
		  40,
		  0.8f,
		  0.95f,
		  0.05f,
		  { 808, 753, 95, 717, 154, 544, 989, 448, 47, 143, 986, 340 } },
		{ 42,
		  1000,
		  0,
		  1.0f,
		  0.9f,
		  0.0f,
		  { 816, 329, 986, 685, 797, 568, 112, 593, 175, 936, 535, 813 } },
		{ 7,
		  300,
		  0,
		  1.5f,
		  1.0f,
		  0.0f,
		  { 20, 54, 205, 115, 295, 126, 235, 76, 287, 21, 19, 37 } },
		{ 123456789012345,
		  5000,
		  300,
		  0.7f,
		  1.0f,
		  0.1f,
		  { 1706, 736, 95, 4862, 2505, 167, 1369, 4521, 4356, 864, 2712, 83 } },
	};

	(void)unused;
	for (size_t c = 0; c < DN_ARRAY_SIZE(cases); c++) {
		struct dn_sampler_options options = plain_options();
		struct dn_sampler *sampler;
		static float logits[5000];

		options.seed = cases[c].seed;
		options.top_k = cases[c].top_k;
		options.temperature = cases[c].temperature;
		options.top_p = cases[c].top_p;
		options.min_p = cases[c].min_p;
		sampler = new_sampler(&options, cases[c].n);
		for (uint32_t step = 0; step < 12; step++) {
			for (uint32_t i = 0; i < cases[c].n; i++)
				logits[i] =
					(float)((i + 1) * 2654435761u * (step + 1) >> 20) / 256.0f -
					4.0f;
			assert_int_equal(sample(sampler, logits), cases[c].want[step]);
		}
		dn_sampler_free(sampler);
	}
}

static void test_distribution(void **unused)
{
	struct dn_sampler_options options = plain_options();
	float logits[10];
	double p[10], total = 0, chi = 0;
	unsigned int seen[10] = { 0 };
	struct dn_sampler *sampler;
	const int draws = 200000;

	(void)unused;
	options.temperature = 0.5f;
	options.seed = 99;
	for (int i = 0; i < 10; i++) {
		logits[i] = (float)(i % 4) * 0.4f - 0.1f * (float)i;
		p[i] = exp((double)logits[i] / 0.5);
		total += p[i];
	}
	sampler = new_sampler(&options, 10);
	for (int i = 0; i < draws; i++)
		seen[sample(sampler, logits)]++;
	for (int i = 0; i < 10; i++) {
		double want = p[i] / total * draws;

		chi += (seen[i] - want) * (seen[i] - want) / want;
	}
	/* 9 degrees of freedom: above 27.9 once in a thousand seeds; below 0.98 as rarely. */
	assert_true(chi < 27.9 && chi > 0.98);
	dn_sampler_free(sampler);
}

static void test_nothing_possible(void **unused)
{
	float logits[40];
	struct dn_sampler_options options = plain_options();
	struct dn_sample ret;

	(void)unused;
	for (int greedy = 0; greedy < 2; greedy++)
		for (int nan = 0; nan < 2; nan++) {
			struct dn_sampler *sampler;

			options.temperature = greedy ? 0.0f : 1.0f;
			for (int i = 0; i < 40; i++)
				logits[i] = nan && i % 2 == 0 ? NAN : -INFINITY;
			sampler = new_sampler(&options, 40);
			dn_sampler_sample(sampler, logits, 3, 1, &ret);
			assert_int_equal(ret.token, 0);
			assert_int_equal(ret.n_top, 3);
			assert_true(isinf(ret.logprob) && ret.logprob < 0);
			assert_true(isinf(ret.top[0].logprob) && ret.top[0].logprob < 0);
			logits[33] = -50.0f;
			assert_int_equal(sample(sampler, logits), 33);
			assert_true(isinf(dn_logprob(logits, 40, 3)));
			assert_true(dn_logprob(logits, 40, 33) == 0.0);
			dn_sampler_free(sampler);
		}
	assert_true(isinf(dn_logprob(logits, 40, 40)));
}

static void test_one_token(void **unused)
{
	struct dn_sampler_options options;
	struct dn_sampler *sampler;
	struct dn_sample ret;
	float logit = 3.0f;

	(void)unused;
	dn_sampler_options_init(&options);
	sampler = new_sampler(&options, 1);
	dn_sampler_sample(sampler, &logit, DN_TOP_LOGPROBS_MAX, 1, &ret);
	assert_int_equal(ret.token, 0);
	assert_int_equal(ret.n_top, 1);
	assert_true(ret.logprob == 0.0f && ret.top[0].logprob == 0.0f);
	dn_sampler_free(sampler);
}

static int compare_candidates(const void *a, const void *b)
{
	return by_logit(a, b);
}

static void test_logprobs(void **unused)
{
	static const uint32_t sizes[] = { 2, 7, 20, 21, 257, 5000, 50000 };
	struct dn_logit_bias bias = { 1, -100.0f };
	struct dn_sampler_options options = plain_options();

	(void)unused;
	options.biases = &bias;
	options.n_biases = 1;
	for (unsigned int round = 0; round < 70; round++) {
		uint32_t n = sizes[round % 7];
		float *logits = malloc(n * sizeof(*logits));
		struct candidate *sorted = malloc(n * sizeof(*sorted));
		struct dn_sampler *sampler = new_sampler(&options, n);
		struct dn_sample ret;
		long double sum = 0;

		assert_true(logits && sorted);
		fill(logits, n, round % 3);
		for (uint32_t i = 0; i < n; i++) {
			sorted[i] = (struct candidate){ logits[i], i };
			sum += expl((long double)logits[i]);
		}
		qsort(sorted, n, sizeof(*sorted), compare_candidates);
		dn_sampler_sample(sampler, logits, 20, 0, &ret);
		assert_int_equal(ret.n_top, DN_MIN(n, 20));
		for (uint32_t i = 0; i < ret.n_top; i++) {
			double want = (double)(sorted[i].logit - logl(sum));

			/* Of the model's own logits: the bias that forbids token 1 is not seen. */
			assert_int_equal(ret.top[i].token, sorted[i].id);
			assert_true(fabs((double)ret.top[i].logprob - want) < 1e-5);
			assert_true(fabs(dn_logprob(logits, n, sorted[i].id) - want) < 1e-12);
		}
		assert_int_not_equal(ret.token, 1);
		assert_true(ret.logprob == (float)dn_logprob(logits, n, ret.token));
		dn_sampler_free(sampler);
		free(logits);
		free(sorted);
	}
}

static void refused(const struct dn_sampler_options *options, uint32_t vocabulary, const char *name)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sampler *sampler = NULL;

	assert_int_equal(dn_sampler_new(options, vocabulary, &sampler, &err), -EINVAL);
	assert_null(sampler);
	assert_non_null(strstr(err.message, name));
}

#define REFUSED(field, value, name)                                                                \
	do {                                                                                       \
		struct dn_sampler_options wrong_ = plain_options();                                \
		wrong_.field = (value);                                                            \
		refused(&wrong_, 10, name);                                                        \
	} while (0)

static void test_refuses(void **unused)
{
	struct dn_logit_bias biases[DN_LOGIT_BIAS_MAX + 1] = { { 10, 0.0f } };
	struct dn_sampler_options options = plain_options();
	struct dn_sampler *sampler = NULL;

	(void)unused;
	REFUSED(temperature, -0.1f, "temperature must be 0 to 100");
	REFUSED(temperature, NAN, "temperature");
	REFUSED(temperature, INFINITY, "temperature");
	REFUSED(top_p, 1.1f, "top_p must be 0 to 1");
	REFUSED(top_p, NAN, "top_p");
	REFUSED(min_p, -1.0f, "min_p");
	REFUSED(repeat_penalty, 0.0f, "repeat_penalty");
	REFUSED(frequency_penalty, NAN, "frequency_penalty");
	REFUSED(presence_penalty, -INFINITY, "presence_penalty");
	REFUSED(penalty_last, 4097, "penalty_last must be 0 to 4096, not 4097");
	REFUSED(struct_size, 8, "8 bytes");
	refused(&options, 0, "vocabulary");
	refused(&options, DN_SELECT_MAX + 1, "vocabulary");
	options.biases = biases;
	options.n_biases = 1;
	refused(&options, 10, "logit_bias[0]: token must be 0 to 9, not 10");
	biases[0] = (struct dn_logit_bias){ 9, NAN };
	refused(&options, 10, "logit_bias[0]: bias");
	options.n_biases = DN_LOGIT_BIAS_MAX + 1;
	refused(&options, 10, "64");
	options.n_biases = 1;
	options.biases = NULL;
	refused(&options, 10, "logit_bias");
	options.n_biases = 0;
	fail_allocation = true;
	assert_int_equal(dn_sampler_new(&options, 10, &sampler, NULL), -ENOMEM);
	fail_allocation = false;
	assert_null(sampler);
	assert_null(dn_sampler_free(NULL));
}

static void test_allocates_once(void **unused)
{
	struct dn_sampler_options options = plain_options();
	struct dn_sampler *sampler;
	static float logits[3000];
	struct dn_sample ret;

	(void)unused;
	allocations = 0;
	sampler = new_sampler(&options, 3000);
	assert_int_equal(allocations, 1);
	for (unsigned int i = 0; i < 12; i++) {
		fill(logits, 3000, i);
		dn_sampler_sample(sampler, logits, 20, 1, &ret);
		dn_sampler_accept(sampler, ret.token);
	}
	dn_sampler_accept(sampler, 3000); /* not a token of the vocabulary: ignored */
	assert_int_equal(allocations, 1);
	dn_sampler_free(sampler);
}

/* A mask comes before all else: whatever is on, only its tokens are chosen. */
static void test_allowed(void **unused)
{
	enum { VOCABULARY = 200 };
	const struct dn_logit_bias biases[] = { { 70, -100.0f }, { 3, 100.0f } };
	const uint64_t one[] = { 0, UINT64_C(1) << 6, 0, 0 };
	float logits[VOCABULARY];

	(void)unused;
	for (unsigned int kind = 0; kind < 8; kind++) {
		struct dn_sampler_options options = plain_options();
		struct dn_sampler *sampler;

		options.temperature = kind == 0 ? 0.0f : 1.5f;
		options.top_k = kind == 1 ? 5 : 0;
		options.typical_p = kind == 2 ? 0.5f : 1.0f;
		options.xtc_probability = kind == 3 ? 1.0f : 0.0f;
		options.mirostat = kind > 3 && kind < 6 ? kind - 3 : 0;
		options.top_n_sigma = kind == 6 ? 1.0f : 0.0f;
		options.repeat_penalty = kind == 7 ? 1.5f : 1.0f;
		options.biases = biases;
		options.n_biases = kind == 6 ? 2 : 0;
		sampler = new_sampler(&options, VOCABULARY);
		for (unsigned int i = 0; i < 200; i++) {
			const uint64_t mask[] = { next() & next(), next(), UINT64_MAX, 0 };
			struct dn_sample ret;
			uint32_t token;

			fill(logits, VOCABULARY, i % 12);
			dn_sampler_allow(sampler, mask, 150);
			dn_sampler_sample(sampler, logits, 3, 1, &ret);
			token = ret.token;
			assert_true(token < 150);
			assert_true(mask[token / 64] >> (token % 64) & 1);
			dn_sampler_accept(sampler, token);
			/* The model's own, of all tokens. */
			assert_int_equal(ret.n_top, 3);
		}
		/* The one that is left, though a bias forbids it. */
		dn_sampler_allow(sampler, one, VOCABULARY);
		assert_int_equal(sample(sampler, logits), 70);
		dn_sampler_allow(sampler, NULL, 0);
		assert_true(sample(sampler, logits) < VOCABULARY);
		dn_sampler_free(sampler);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_model_does), cmocka_unit_test(test_known_sequences),
		cmocka_unit_test(test_distribution),	  cmocka_unit_test(test_nothing_possible),
		cmocka_unit_test(test_one_token),	  cmocka_unit_test(test_logprobs),
		cmocka_unit_test(test_refuses),		  cmocka_unit_test(test_allocates_once),
		cmocka_unit_test(test_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
