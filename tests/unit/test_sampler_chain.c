/* SPDX-License-Identifier: MIT */
/*
 * The filters, the dynamic temperature and mirostat against plain models of what sampler.h says:
 * every token a candidate in a sorted array, doubles, libm. And what they are for: which tokens
 * come, and how often.
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

#include "engine/sampler/internal.h"
#include "sampler-fixture.h"

#define N_MAX	20000
#define FAR_MAX 60000

static unsigned int allocations;
static size_t allocated;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	allocations++;
	allocated = count * size;
	return __real_calloc(count, size);
}

/* The model: candidates that are left, the largest first, with their probabilities. */
struct candidate {
	double logit;
	double p;
	double score;
	uint32_t id;
};

static struct candidate candidates[FAR_MAX];
static uint32_t n_left;

static int by_logit(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;

	if (x->logit != y->logit)
		return x->logit > y->logit ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_score(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;

	return x->score < y->score ? -1 : x->score > y->score;
}

static void softmax(double temperature)
{
	double sum = 0;

	for (uint32_t i = 0; i < n_left; i++)
		sum += exp((candidates[i].logit - candidates[0].logit) / temperature);
	for (uint32_t i = 0; i < n_left; i++)
		candidates[i].p =
			exp((candidates[i].logit - candidates[0].logit) / temperature) / sum;
}

static double entropy(void)
{
	double sum = 0;

	for (uint32_t i = 0; i < n_left; i++)
		sum -= candidates[i].p > 0 ? candidates[i].p * log(candidates[i].p) : 0;
	return sum;
}

static void model_begin(const float *logits, uint32_t n)
{
	n_left = 0;
	for (uint32_t i = 0; i < n; i++)
		if (logits[i] > -INFINITY)
			candidates[n_left++] =
				(struct candidate){ .logit = (double)logits[i], .id = i };
	qsort(candidates, n_left, sizeof(candidates[0]), by_logit);
}

static void model_sigma(double n)
{
	double mean = 0, square = 0;
	double max = candidates[0].logit;

	for (uint32_t i = 0; i < n_left; i++)
		mean += candidates[i].logit / n_left;
	for (uint32_t i = 0; i < n_left; i++)
		square += (candidates[i].logit - mean) * (candidates[i].logit - mean) / n_left;
	while (candidates[n_left - 1].logit < max - n * sqrt(square))
		n_left--;
}

static void model_typical(double share)
{
	double h, sum = 0;
	uint32_t i;

	softmax(1.0);
	h = entropy();
	for (i = 0; i < n_left; i++)
		candidates[i].score = fabs(-log(candidates[i].p) - h);
	qsort(candidates, n_left, sizeof(candidates[0]), by_score);
	for (i = 0; i < n_left && (i == 0 || sum < share); i++)
		sum += candidates[i].p;
	n_left = i;
	qsort(candidates, n_left, sizeof(candidates[0]), by_logit);
}

static void model_top_p(double share)
{
	double sum = 0;
	uint32_t i;

	softmax(1.0);
	for (i = 0; i < n_left && (i == 0 || sum < share); i++)
		sum += candidates[i].p;
	n_left = i;
}

static void model_min_p(double part)
{
	while (candidates[n_left - 1].logit < candidates[0].logit + log(part))
		n_left--;
}

static void model_xtc(double threshold)
{
	uint32_t likely = 0;

	softmax(1.0);
	/* What has no probability in units of 2^-43 is not there. */
	while (likely < n_left && candidates[likely].p >= threshold &&
	       exp(candidates[likely].logit - candidates[0].logit) >= 0x1p-44)
		likely++;
	if (likely < 2)
		return;
	n_left -= likely - 1;
	memmove(candidates, candidates + likely - 1, n_left * sizeof(candidates[0]));
}

static void model_filter(const struct dn_sampler_options *options, bool xtc)
{
	if (options->top_n_sigma > 0)
		model_sigma((double)options->top_n_sigma);
	if (options->top_k)
		n_left = DN_MIN(n_left, options->top_k);
	if (options->typical_p > 0 && options->typical_p < 1)
		model_typical((double)options->typical_p);
	if (options->top_p < 1)
		model_top_p((double)options->top_p);
	if (options->min_p > 0)
		model_min_p((double)options->min_p);
	if (xtc)
		model_xtc((double)options->xtc_threshold);
}

static double model_temperature(const struct dn_sampler_options *options)
{
	double middle = (double)options->temperature;
	double low = fmax(0, middle - (double)options->dynatemp_range);
	double high = middle + (double)options->dynatemp_range;

	if (!(options->dynatemp_range > 0) || n_left < 2)
		return middle;
	softmax(1.0);
	return low +
	       (high - low) * pow(entropy() / log(n_left), (double)options->dynatemp_exponent);
}

/* Bell-like, even, a few far above the rest, flat, and with impossible tokens. */
static void fill(float *logits, uint32_t n, unsigned int kind)
{
	for (uint32_t i = 0; i < n; i++) {
		float x = 0;

		switch (kind % 5) {
		case 0:
			for (int j = 0; j < 6; j++)
				x += between(-3, 3);
			break;
		case 1:
			x = between(-20, 20);
			break;
		case 2:
			x = between(-8, -4) + (next() % 40 == 0 ? between(0, 14) : 0);
			break;
		case 3:
			x = between(-1e-3, 1e-3);
			break;
		default:
			x = next() % 3 && i > 0 ? -INFINITY : between(90, 110);
			break;
		}
		logits[i] = x;
	}
}

static void random_options(struct dn_sampler_options *options)
{
	static const uint32_t ks[] = { 0, 0, 0, 1, 2, 40, 300, 5000 };
	static const float shares[] = { 0.0f, 0.05f, 0.3f, 0.7f, 0.95f, 0.999f, 1.0f, 1.0f };
	static const float parts[] = { 0.0f, 0.0f, 0.0f, 0.001f, 0.05f, 0.9f };
	static const float sigmas[] = { -1.0f, 0.0f, 0.0f, 0.5f, 1.0f, 3.0f };
	static const float thresholds[] = { 0.0f, 1e-4f, 0.01f, 0.1f, 0.5f };

	*options = plain_options();
	options->seed = next();
	options->top_k = ks[next() % DN_ARRAY_SIZE(ks)];
	options->typical_p = shares[next() % DN_ARRAY_SIZE(shares)];
	options->top_p = shares[next() % DN_ARRAY_SIZE(shares)];
	options->min_p = parts[next() % DN_ARRAY_SIZE(parts)];
	options->top_n_sigma = sigmas[next() % DN_ARRAY_SIZE(sigmas)];
	options->xtc_threshold = thresholds[next() % DN_ARRAY_SIZE(thresholds)];
	options->xtc_probability = next() % 2 ? 1.0f : 0.0f;
	options->temperature = next() % 4 ? between(0.1, 2) : 1.0f;
	options->dynatemp_range = next() % 2 ? between(0, 2) : 0.0f;
	/* Smaller exponents magnify what the units of 2^-43 leave of a tiny entropy. */
	options->dynatemp_exponent = next() % 2 ? between(0.5, 3) : 1.0f;
}

/* The window and the temperature that come out must give each token the model's probability. */
static void compare(const struct dn_sampler_options *options, const float *logits, uint32_t n)
{
	struct dn_sampler *sampler = new_sampler(options, n);
	struct dn_view view = { .logits = sampler->logits, .n = n, .window = DN_WINDOW_ALL };
	uint32_t inside = 0;
	double temperature;

	dn_logits_clean(logits, sampler->logits, n);
	(void)dn_logits_argmax(sampler->logits, n, &view.max);
	dn_filter(sampler, &view);
	temperature = dn_temperature(sampler, &view);
	model_begin(logits, n);
	model_filter(options, options->xtc_probability > 0);
	if (fabs(temperature - model_temperature(options)) > 1e-6)
		fail_msg("n %u temperature %.12g, not %.12g", n, temperature,
			 model_temperature(options));
	assert_true((double)view.max == candidates[0].logit);
	for (uint32_t i = 0; i < view.n; i++)
		inside += view.logits[i] > -INFINITY && dn_inside(&view.window, view.logits[i], i);
	if (inside != n_left)
		fail_msg("n %u: %u are inside, not %u; top_k %u typical %g top_p %g min_p %g "
			 "sigma %g threshold %g",
			 n, inside, n_left, options->top_k, (double)options->typical_p,
			 (double)options->top_p, (double)options->min_p,
			 (double)options->top_n_sigma, (double)options->xtc_threshold);
	/* As many, and each of these: the same. */
	for (uint32_t i = 0; i < view.n; i++) {
		struct candidate wanted = { .logit = (double)view.logits[i],
					    .id = view.ids ? view.ids[i] : i };

		if (view.logits[i] > -INFINITY && dn_inside(&view.window, view.logits[i], i))
			assert_non_null(
				bsearch(&wanted, candidates, n_left, sizeof(wanted), by_logit));
	}
	dn_sampler_free(sampler);
}

static void test_filters(void **unused)
{
	static const uint32_t sizes[] = { 1, 2, 3, 17, 256, 300, 5000, N_MAX };
	static float logits[N_MAX];

	(void)unused;
	for (unsigned int i = 0; i < 3000; i++) {
		struct dn_sampler_options options;
		uint32_t n = sizes[i % 60 == 0 ? next() % 8 : next() % 6];

		random_options(&options);
		fill(logits, n, (unsigned int)next());
		compare(&options, logits, n);
	}
	/* Each filter alone on more than can be gathered. */
	for (unsigned int i = 0; i < 40; i++) {
		struct dn_sampler_options options = plain_options();

		switch (i % 4) {
		case 0:
			options.typical_p = between(0.01, 0.99);
			break;
		case 1:
			options.xtc_probability = 1.0f;
			options.xtc_threshold = between(0, 1e-3);
			break;
		case 2:
			options.dynatemp_range = between(0, 1);
			break;
		default:
			options.top_n_sigma = between(0.1, 2);
			break;
		}
		fill(logits, N_MAX, i / 4);
		compare(&options, logits, N_MAX);
	}
}

/*
 * The most typical tokens where they are sought last: more than ten nats below the largest, which
 * is itself among the least typical.
 */
static void test_typical_far_below(void **unused)
{
	static float logits[FAR_MAX];
	struct dn_sampler_options options = plain_options();

	(void)unused;
	for (unsigned int i = 0; i < 8; i++) {
		for (uint32_t j = 0; j < FAR_MAX; j++)
			logits[j] = between(-11, -9.95);
		logits[i * 1000] = 0.0f;
		options.typical_p = 0.05f + 0.1f * (float)i;
		compare(&options, logits, FAR_MAX);
	}
}

/* Tokens as often as they should: two distributions where XTC is a matter of chance. */
static void test_draws(void **unused)
{
	enum { N = 12 };
	const int draws = 200000;
	struct dn_sampler_options options = plain_options();
	unsigned int seen[N] = { 0 };
	double want[N] = { 0 };
	float logits[N];
	double chi = 0;
	int freedom = -1;
	struct dn_sampler *sampler;

	(void)unused;
	for (int i = 0; i < N; i++)
		logits[i] = 0.35f * (float)((i * 5) % N);
	options.seed = 7;
	options.temperature = 0.9f;
	options.typical_p = 0.97f;
	options.xtc_probability = 0.3f;
	options.xtc_threshold = 0.12f;
	options.dynatemp_range = 0.4f;
	for (int xtc = 0; xtc < 2; xtc++) {
		model_begin(logits, N);
		model_filter(&options, xtc);
		softmax(model_temperature(&options));
		for (uint32_t i = 0; i < n_left; i++)
			want[candidates[i].id] += draws * candidates[i].p * (xtc ? 0.3 : 0.7);
	}
	sampler = new_sampler(&options, N);
	for (int i = 0; i < draws; i++)
		seen[sample(sampler, logits)]++;
	for (int i = 0; i < N; i++) {
		if (want[i] == 0)
			assert_int_equal(seen[i], 0);
		if (want[i] == 0)
			continue;
		chi += (seen[i] - want[i]) * (seen[i] - want[i]) / want[i];
		freedom++;
	}
	/* Above twice the degrees of freedom and 13 more less than once in a thousand seeds. */
	assert_true(freedom >= 7);
	assert_true(chi < 2 * freedom + 13);
	dn_sampler_free(sampler);
}

static void test_equal_logits(void **unused)
{
	struct dn_sampler_options options = plain_options();
	float logits[8] = { 3, 3, 3, 0, 0, 0, -4, -4 };
	float same[8] = { 2, 2, 2, 2, 2, 2, 2, 2 };
	struct dn_sampler *sampler;
	unsigned int seen[8] = { 0 };

	(void)unused;
	/* XTC keeps the last in the order: of equal ones the highest id. */
	options.xtc_probability = 1.0f;
	options.xtc_threshold = 0.2f;
	options.temperature = 0.0f;
	sampler = new_sampler(&options, 8);
	for (int i = 0; i < 10; i++)
		assert_int_equal(sample(sampler, logits), 2);
	dn_sampler_free(sampler);
	options.temperature = 1.0f;
	sampler = new_sampler(&options, 8);
	for (int i = 0; i < 2000; i++)
		assert_true(sample(sampler, logits) >= 2);
	dn_sampler_free(sampler);

	/* Equally typical tokens stay together. */
	options.xtc_probability = 0.0f;
	options.typical_p = 0.01f;
	sampler = new_sampler(&options, 8);
	for (int i = 0; i < 2000; i++)
		seen[sample(sampler, same)]++;
	for (int i = 0; i < 8; i++)
		assert_true(seen[i] > 100);
	for (int i = 0; i < 2000; i++)
		assert_true(sample(sampler, logits) < 3);
	dn_sampler_free(sampler);
}

/* The most likely token of what is kept, where the temperature is 0 or comes down to it. */
static void test_greedy(void **unused)
{
	struct dn_sampler_options options = plain_options();
	float logits[6] = { 1.0f, 5.0f, 4.9f, 4.8f, 0.0f, -INFINITY };
	struct dn_sampler *sampler;

	(void)unused;
	options.temperature = 0.0f;
	options.xtc_probability = 1.0f;
	options.xtc_threshold = 0.1f;
	sampler = new_sampler(&options, 6);
	assert_int_equal(sample(sampler, logits), 3);
	dn_sampler_free(sampler);
	options.xtc_probability = 0.0f;
	options.dynatemp_range = 1e-6f;
	options.dynatemp_exponent = 100.0f;
	sampler = new_sampler(&options, 6);
	for (int i = 0; i < 100; i++)
		assert_int_equal(sample(sampler, logits), 1);
	dn_sampler_free(sampler);
}

/* What is off leaves every choice as it was. */
static void test_off(void **unused)
{
	static float logits[6000];
	struct dn_sampler_options base[2] = { plain_options() };

	(void)unused;
	dn_sampler_options_init(&base[1]);
	for (unsigned int which = 0; which < 20; which++) {
		struct dn_sampler_options options = base[which % 2];
		struct dn_sampler *plain = new_sampler(&options, 6000);
		struct dn_sampler *off;

		options.typical_p = which % 4 < 2 ? 0.0f : 1.0f;
		options.top_n_sigma = which % 3 ? -1.0f : 0.0f;
		options.xtc_probability = which % 5 ? 1.0f : 0.0f;
		options.xtc_threshold = which % 5 ? 0.500001f : 0.0f;
		options.dynatemp_exponent = 7.0f;
		options.dry_multiplier = which % 7 ? 0.0f : 1.0f;
		options.dry_penalty_last = which % 7 ? 64 : 0;
		options.mirostat_tau = 1.0f;
		off = new_sampler(&options, 6000);
		for (unsigned int i = 0; i < 40; i++) {
			uint32_t token;

			fill(logits, 6000, i);
			token = sample(plain, logits);
			assert_int_equal(sample(off, logits), token);
			assert_memory_equal(plain->logits, off->logits, sizeof(logits));
			dn_sampler_accept(plain, token % 3);
			dn_sampler_accept(off, token % 3);
		}
		dn_sampler_free(plain);
		dn_sampler_free(off);
	}
}

static void set_one(struct dn_sampler_options *options, unsigned int which)
{
	switch (which % 8) {
	case 0:
		options->typical_p = 0.5f;
		break;
	case 1:
		options->xtc_probability = 1.0f;
		options->xtc_threshold = 0.0f;
		break;
	case 2:
		options->top_n_sigma = 0.001f;
		break;
	case 3:
		options->dynatemp_range = 100.0f;
		break;
	case 4:
		options->mirostat = 1;
		break;
	case 5:
		options->mirostat = 2;
		break;
	case 6:
		options->mirostat = 1 + which / 8 % 2;
		options->mirostat_tau = which / 16 % 2 ? 0.0f : 100.0f;
		options->mirostat_eta = 10.0f;
		break;
	default:
		options->dry_multiplier = 100.0f;
		options->dry_allowed_length = 0;
		options->typical_p = 0.0001f;
		options->xtc_probability = 0.5f;
		options->top_n_sigma = 100.0f;
		break;
	}
}

static void test_not_numbers(void **unused)
{
	static float logits[500];

	(void)unused;
	for (unsigned int which = 0; which < 64; which++) {
		struct dn_sampler_options options = plain_options();
		struct dn_sampler *sampler, *again;

		set_one(&options, which);
		sampler = new_sampler(&options, 500);
		again = new_sampler(&options, 500);
		for (unsigned int i = 0; i < 60; i++) {
			bool possible = false;
			uint32_t token;

			for (uint32_t j = 0; j < 500; j++) {
				uint64_t r = next() % 100;

				logits[j] = r < 30   ? NAN
					    : r < 60 ? -INFINITY
					    : r < 62 ? -FLT_MAX
						     : between(-50, 50);
				if (i % 3 == 0 || (i % 3 == 1 && j != 77))
					logits[j] = j % 2 ? NAN : -INFINITY;
				if (i % 9 == 2 && r > 97)
					logits[j] = j % 2 ? INFINITY : FLT_MAX;
				possible |= logits[j] > -INFINITY;
			}
			token = sample(sampler, logits);
			assert_true(possible ? logits[token] > -INFINITY : token == 0);
			/* And the same seed gives the same tokens. */
			assert_int_equal(sample(again, logits), token);
			dn_sampler_accept(sampler, token);
			dn_sampler_accept(again, token);
		}
		dn_sampler_free(sampler);
		dn_sampler_free(again);
	}
}

/*
 * These tokens came from this code, so they say nothing of its being right; they say that each
 * compiler and machine gives the same.
 */
static void test_same_everywhere(void **unused)
{
	static float logits[5000];
	uint64_t hash = 0xcbf29ce484222325u;

	(void)unused;
	for (unsigned int which = 0; which < 32; which++) {
		struct dn_sampler_options options = plain_options();
		struct dn_sampler *sampler;

		set_one(&options, which);
		options.seed = which;
		options.temperature = which % 3 ? 1.0f : 0.7f;
		options.dynatemp_range = which % 5 ? options.dynatemp_range : 0.5f;
		sampler = new_sampler(&options, 5000);
		for (uint32_t step = 0; step < 30; step++) {
			uint32_t token;

			for (uint32_t i = 0; i < 5000; i++)
				logits[i] =
					(float)((i + 1) * 2654435761u * (step + 1) >> 20) / 256.0f -
					4.0f;
			token = sample(sampler, logits);
			dn_sampler_accept(sampler, token % 4);
			hash = (hash ^ token) * 0x100000001b3u;
		}
		dn_sampler_free(sampler);
	}
	assert_true(hash == 0x9eed7d8e5725e90du);
}

/* The published formulas over the sorted candidates; returns how many are kept. */
static uint32_t model_mirostat(const struct dn_sampler_options *options, double mu, uint32_t n)
{
	double products = 0, squares = 0, s, epsilon, k;
	uint32_t kept = 0;

	softmax((double)options->temperature);
	if (options->mirostat == 2) {
		while (kept < n_left && -log2(candidates[kept].p) <= mu)
			kept++;
		return DN_MAX(kept, 1);
	}
	for (uint32_t i = 0; i < 99 && i + 1 < n_left; i++) {
		double t = log((i + 2.0) / (i + 1.0));

		products += t * log(candidates[i].p / candidates[i + 1].p);
		squares += t * t;
	}
	s = products / squares;
	epsilon = s - 1;
	k = pow(epsilon * pow(2, mu) / (1 - pow(n, -epsilon)), 1 / s);
	return k < 1 ? 1 : k > n_left ? n_left : (uint32_t)k;
}

/* Each step: the token is one that is kept, and the limit moves by its surprise among those. */
static void follow_mirostat(const struct dn_sampler_options *options, uint32_t n, unsigned int kind)
{
	static float logits[N_MAX];
	struct dn_sampler *sampler = new_sampler(options, n);
	double mu = 2 * (double)options->mirostat_tau;

	for (int step = 0; step < 40; step++) {
		double sum = 0, p = 0;
		uint32_t kept, token;

		fill(logits, n, kind);
		model_begin(logits, n);
		kept = model_mirostat(options, mu, n);
		token = sample(sampler, logits);
		for (uint32_t i = 0; i < kept; i++) {
			sum += candidates[i].p;
			p = candidates[i].id == token ? candidates[i].p : p;
		}
		assert_true(p > 0);
		mu -= (double)options->mirostat_eta *
		      (-log2(p / sum) - (double)options->mirostat_tau);
		if (fabs(sampler->surprise_limit - mu) > 1e-6)
			fail_msg("step %d: mu %.12g, not %.12g", step, sampler->surprise_limit, mu);
		/* What rounding differs by does not add up. */
		mu = sampler->surprise_limit;
	}
	dn_sampler_free(sampler);
}

static void test_mirostat(void **unused)
{
	static const float taus[] = { 0.5f, 3.0f, 5.0f, 9.0f };

	(void)unused;
	for (unsigned int i = 0; i < 64; i++) {
		struct dn_sampler_options options = plain_options();

		options.mirostat = 1 + i % 2;
		options.mirostat_tau = taus[i / 2 % 4];
		options.temperature = i % 3 ? 1.0f : 0.7f;
		options.seed = i;
		/* Not the flat kind: its logits are too near each other for the same k. */
		follow_mirostat(&options, i % 5 ? 300 : 5000, i / 8 % 3);
	}
}

/* On Zipf's distribution the mean surprise comes near the target. */
static void test_mirostat_converges(void **unused)
{
	static float logits[10000];

	(void)unused;
	for (uint32_t i = 0; i < 10000; i++)
		logits[i] = -1.05f * logf((float)(i + 1));
	for (uint32_t version = 1; version <= 2; version++)
		for (uint32_t tau = 2; tau <= 6; tau += 2) {
			struct dn_sampler_options options = plain_options();
			struct dn_sampler *sampler;
			double sum = 0;

			options.mirostat = version;
			options.mirostat_tau = (float)tau;
			sampler = new_sampler(&options, 10000);
			for (int i = 0; i < 3000; i++) {
				double before = sampler->surprise_limit;

				(void)sample(sampler, logits);
				if (i >= 500)
					sum += tau + (before - sampler->surprise_limit) / 0.1;
			}
			assert_true(fabs(sum / 2500 - tau) < 0.05);
			dn_sampler_free(sampler);
		}
}

static void test_mirostat_edges(void **unused)
{
	static float logits[300];
	struct dn_sampler_options options = plain_options();

	(void)unused;
	for (uint32_t version = 1; version <= 2; version++) {
		unsigned int seen = 0;
		struct dn_sampler *sampler;

		/* Flat: all tokens have the same surprise, 8.23 bits. */
		options.mirostat = version;
		options.mirostat_tau = 6.0f;
		memset(logits, 0, sizeof(logits));
		sampler = new_sampler(&options, 300);
		for (int i = 0; i < 50; i++)
			seen += sample(sampler, logits) != 0;
		assert_true(seen > 0);
		dn_sampler_free(sampler);
		/* A target of nothing at all: the most likely token. */
		options.mirostat_tau = 0.0f;
		logits[200] = 1.0f;
		sampler = new_sampler(&options, 300);
		for (int i = 0; i < 50; i++)
			assert_int_equal(sample(sampler, logits), 200);
		dn_sampler_free(sampler);
		sampler = new_sampler(&options, 1);
		assert_int_equal(sample(sampler, logits), 0);
		dn_sampler_free(sampler);
	}
}

static void test_memory(void **unused)
{
	static float logits[3000];
	struct dn_sampler_options options = plain_options();
	struct dn_sampler *sampler;

	(void)unused;
	for (unsigned int which = 0; which < 16; which++) {
		set_one(&options, which);
		options.dry_penalty_last = which * 13;
		allocations = 0;
		sampler = new_sampler(&options, 3000 - which);
		assert_int_equal(allocations, 1);
		assert_int_equal(allocated, dn_sampler_memory(&options, 3000 - which));
		for (unsigned int i = 0; i < 20; i++) {
			fill(logits, 3000, i);
			dn_sampler_accept(sampler, sample(sampler, logits));
		}
		assert_int_equal(allocations, 1);
		dn_sampler_free(sampler);
	}
}

static void refused(const struct dn_sampler_options *options, const char *name)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sampler *sampler = NULL;

	assert_int_equal(dn_sampler_new(options, 10, &sampler, &err), -EINVAL);
	assert_null(sampler);
	if (!strstr(err.message, name))
		fail_msg("'%s' says nothing of %s", err.message, name);
}

#define REFUSED(field, value, name)                                                                \
	do {                                                                                       \
		struct dn_sampler_options wrong_ = plain_options();                                \
		wrong_.field = (value);                                                            \
		refused(&wrong_, name);                                                            \
	} while (0)

static void test_refuses(void **unused)
{
	static const char *const empty[] = { "" };
	char text[DN_DRY_BREAKER_BYTES_MAX + 2] = { 0 };
	const char *const long_one[] = { "a", text };
	struct dn_sampler_options options = plain_options();

	(void)unused;
	REFUSED(typical_p, 1.5f, "typical_p must be 0 to 1, not 1.5");
	REFUSED(typical_p, NAN, "typical_p");
	REFUSED(top_n_sigma, -2.0f, "top_n_sigma must be -1 to 100");
	REFUSED(xtc_probability, -0.1f, "xtc_probability");
	REFUSED(xtc_threshold, INFINITY, "xtc_threshold");
	REFUSED(dry_multiplier, -1.0f, "dry_multiplier must be 0 to 100");
	REFUSED(dry_base, 0.9f, "dry_base must be 1 to 100, not 0.9");
	REFUSED(dry_allowed_length, 32769, "dry_allowed_length must be 0 to 32768, not 32769");
	REFUSED(dry_penalty_last, 32769, "dry_penalty_last");
	REFUSED(n_dry_breakers, DN_DRY_BREAKERS_MAX + 1, "dry_breakers must be 0 to 16, not 17");
	REFUSED(dry_breakers, NULL, "dry_breakers");
	REFUSED(mirostat, 3, "mirostat must be 0 to 2, not 3");
	REFUSED(mirostat_tau, NAN, "mirostat_tau");
	REFUSED(mirostat_eta, 11.0f, "mirostat_eta must be 0 to 10");
	REFUSED(dynatemp_range, -1.0f, "dynatemp_range");
	REFUSED(dynatemp_exponent, 1000.0f, "dynatemp_exponent must be 0 to 100");
	options.dry_breakers = empty;
	options.n_dry_breakers = 1;
	refused(&options, "dry_breakers[0] must be 1 to 64 bytes");
	memset(text, 'a', DN_DRY_BREAKER_BYTES_MAX + 1);
	options.dry_breakers = long_one;
	options.n_dry_breakers = 2;
	refused(&options, "dry_breakers[1]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),	       cmocka_unit_test(test_typical_far_below),
		cmocka_unit_test(test_draws),	       cmocka_unit_test(test_equal_logits),
		cmocka_unit_test(test_greedy),	       cmocka_unit_test(test_off),
		cmocka_unit_test(test_not_numbers),    cmocka_unit_test(test_same_everywhere),
		cmocka_unit_test(test_mirostat),       cmocka_unit_test(test_mirostat_converges),
		cmocka_unit_test(test_mirostat_edges), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
