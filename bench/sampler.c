/* SPDX-License-Identifier: MIT */
/*
 * What choosing a token costs, with the default options and with each sampler, for vocabularies of
 * 49,152 and 262,144 tokens. The logits are bell-shaped with a few hundred far above the rest, as
 * a model's are. CPU time of the thread: the fastest of many, and the median.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <dunlin/sampler.h>

#include "base/base.h"

#define ROUNDS 100

static uint64_t state = 0x2545f4914f6cdd1du;

static float uniform(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (float)(state >> 40) * 0x1p-24f;
}

static void fill(float *logits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		logits[i] = 0;
		for (int j = 0; j < 6; j++)
			logits[i] += 3.5f * (uniform() - 0.5f);
	}
	for (int i = 0; i < 300; i++)
		logits[(uint32_t)(uniform() * (float)n) % n] += 14.0f * uniform();
}

static int64_t cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
	const int64_t *x = a;
	const int64_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void defaults(struct dn_sampler_options *options)
{
	(void)options;
}

static void greedy(struct dn_sampler_options *options)
{
	options->temperature = 0.0f;
}

static void no_top_k(struct dn_sampler_options *options)
{
	options->top_k = 0;
}

static void top_p_alone(struct dn_sampler_options *options)
{
	options->top_k = 0;
	options->min_p = 0.0f;
}

static void temperature_alone(struct dn_sampler_options *options)
{
	top_p_alone(options);
	options->top_p = 1.0f;
}

static void top_n_sigma(struct dn_sampler_options *options)
{
	temperature_alone(options);
	options->top_n_sigma = 1.0f;
}

static void typical(struct dn_sampler_options *options)
{
	options->typical_p = 0.9f;
}

static void typical_alone(struct dn_sampler_options *options)
{
	temperature_alone(options);
	options->typical_p = 0.9f;
}

static void xtc(struct dn_sampler_options *options)
{
	options->xtc_probability = 1.0f;
}

static void xtc_alone(struct dn_sampler_options *options)
{
	temperature_alone(options);
	options->xtc_probability = 1.0f;
}

static void dynamic(struct dn_sampler_options *options)
{
	options->dynatemp_range = 0.5f;
}

static void dynamic_alone(struct dn_sampler_options *options)
{
	temperature_alone(options);
	options->dynatemp_range = 0.5f;
}

static void mirostat1(struct dn_sampler_options *options)
{
	options->mirostat = 1;
}

static void mirostat2(struct dn_sampler_options *options)
{
	options->mirostat = 2;
}

static void dry(struct dn_sampler_options *options)
{
	options->dry_multiplier = 0.8f;
}

static void dry_far(struct dn_sampler_options *options)
{
	dry(options);
	options->dry_penalty_last = DN_DRY_LAST_MAX;
}

static const struct {
	const char *name;
	void (*set)(struct dn_sampler_options *options);
} cases[] = {
	{ "default", defaults },
	{ "greedy", greedy },
	{ "top-k off", no_top_k },
	{ "top-p 0.95 alone", top_p_alone },
	{ "temperature alone", temperature_alone },
	{ "top-n-sigma 1 alone", top_n_sigma },
	{ "default, typical 0.9", typical },
	{ "typical 0.9 alone", typical_alone },
	{ "default, XTC", xtc },
	{ "XTC alone", xtc_alone },
	{ "default, dynatemp", dynamic },
	{ "dynatemp alone", dynamic_alone },
	{ "mirostat 1", mirostat1 },
	{ "mirostat 2", mirostat2 },
	{ "default, DRY", dry },
	{ "default, DRY over 32,768", dry_far },
};

static int measure(const float *logits, uint32_t n, size_t which)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sampler_options options;
	struct dn_sampler *sampler;
	struct dn_sample sample;
	int64_t times[ROUNDS];
	int64_t median;

	dn_sampler_options_init(&options);
	cases[which].set(&options);
	if (dn_sampler_new(&options, n, &sampler, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.message);
		return -1;
	}
	/* A text that repeats itself, for DRY. */
	for (uint32_t i = 0; i < DN_DRY_LAST_MAX; i++)
		dn_sampler_accept(sampler, i % 1000);
	for (int i = 0; i < ROUNDS; i++) {
		times[i] = cpu_ns();
		dn_sampler_sample(sampler, logits, 0, 0, &sample);
		times[i] = cpu_ns() - times[i];
	}
	dn_sampler_free(sampler);
	qsort(times, ROUNDS, sizeof(times[0]), compare_times);
	median = times[ROUNDS / 2];
	printf("%7" PRIu32 "  %-25s best %7.1f us, median %7.1f us\n", n, cases[which].name,
	       (double)times[0] / 1e3, (double)median / 1e3);
	return 0;
}

int main(void)
{
	static const uint32_t sizes[] = { 49152, 262144 };

	for (size_t s = 0; s < DN_ARRAY_SIZE(sizes); s++) {
		float *logits = malloc(sizes[s] * sizeof(*logits));
		int r = logits ? 0 : -1;

		if (logits)
			fill(logits, sizes[s]);
		for (size_t c = 0; c < DN_ARRAY_SIZE(cases) && r == 0; c++)
			r = measure(logits, sizes[s], c);
		free(logits);
		if (r < 0)
			return 1;
	}
	return 0;
}
