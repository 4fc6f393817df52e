/* SPDX-License-Identifier: MIT */
/* Samples of /metrics, in the text format of Prometheus, and what two of them tell. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top.h"

#define BUCKET "_bucket{le=\""

static const char *const value_names[DN_TOP_VALUES] = {
	[DN_TOP_FIRST_TOKENS] = "dunlin_first_token_seconds_count",
	[DN_TOP_BETWEEN_TOKENS] = "dunlin_between_tokens_seconds_count",
	[DN_TOP_STEPS] = "dunlin_steps_total",
	[DN_TOP_STEP_TOKENS] = "dunlin_step_tokens_total",
	[DN_TOP_STEP_CPU] = "dunlin_step_cpu_seconds_total",
	[DN_TOP_CPU] = "dunlin_cpu_seconds_total",
	[DN_TOP_FRONT_RESTARTS] = "dunlin_front_restarts_total",
};

static const char *const histogram_names[DN_TOP_HISTOGRAMS] = {
	[DN_TOP_FIRST] = "dunlin_first_token_seconds",
	[DN_TOP_BETWEEN] = "dunlin_between_tokens_seconds",
	[DN_TOP_QUEUE] = "dunlin_queue_seconds",
};

/* What no counter would say counts as nothing. */
static double number(const char *text)
{
	const double value = strtod(text, NULL);

	return isfinite(value) && value >= 0 ? value : 0;
}

static void read_bucket(const char *line, const char *name, struct dn_top_buckets *buckets)
{
	const size_t size = strlen(name);
	const char *le = line + size + strlen(BUCKET);
	const char *end;

	if (strncmp(line, name, size) != 0 || strncmp(line + size, BUCKET, strlen(BUCKET)) != 0)
		return;
	end = strstr(le, "\"} ");
	if (!end || memchr(le, '\n', (size_t)(end - le)) || buckets->n == DN_TOP_BUCKETS_MAX)
		return;
	buckets->le[buckets->n] = strncmp(le, "+Inf", 4) == 0 ? HUGE_VAL : number(le);
	buckets->count[buckets->n++] = number(end + 3);
}

static void read_line(const char *line, struct dn_top_sample *sample)
{
	for (size_t i = 0; i < DN_TOP_VALUES; i++) {
		const size_t size = strlen(value_names[i]);

		if (strncmp(line, value_names[i], size) == 0 && line[size] == ' ')
			sample->values[i] = number(line + size + 1);
	}
	for (size_t i = 0; i < DN_TOP_HISTOGRAMS; i++)
		read_bucket(line, histogram_names[i], &sample->histograms[i]);
}

void dn_top_read_sample(const char *metrics, struct dn_top_sample *ret_sample)
{
	memset(ret_sample, 0, sizeof(*ret_sample));
	while (*metrics) {
		const size_t size = strcspn(metrics, "\n");

		read_line(metrics, ret_sample);
		metrics += size + (metrics[size] == '\n');
	}
}

/* How many more are in a bucket, and those below it. */
static double more(const struct dn_top_buckets *now, const struct dn_top_buckets *before, size_t i)
{
	const double had = i < before->n ? before->count[i] : 0;

	return now->count[i] > had ? now->count[i] - had : 0;
}

/* The time that @part of what happened in between did not pass, even within a bucket. */
static double percentile(const struct dn_top_buckets *now, const struct dn_top_buckets *before,
			 double part)
{
	const double wanted = now->n > 0 ? more(now, before, now->n - 1) * part : 0;
	double below = 0;
	double low = 0;

	if (!(wanted > 0))
		return NAN;
	for (size_t i = 0; i < now->n; i++) {
		const double count = more(now, before, i);

		if (count >= wanted && count > below)
			return isinf(now->le[i]) ? low
						 : low + (now->le[i] - low) * (wanted - below) /
								   (count - below);
		low = isinf(now->le[i]) ? low : now->le[i];
		below = DN_MAX(below, count);
	}
	return low;
}

static double difference(const struct dn_top_sample *now, const struct dn_top_sample *before,
			 enum dn_top_value value)
{
	const double d = now->values[value] - before->values[value];

	return d > 0 ? d : 0;
}

bool dn_top_began_anew(const struct dn_top_sample *now, const struct dn_top_sample *before)
{
	return now->values[DN_TOP_STEPS] < before->values[DN_TOP_STEPS] ||
	       now->values[DN_TOP_FIRST_TOKENS] < before->values[DN_TOP_FIRST_TOKENS];
}

static void both(const struct dn_top_sample *now, const struct dn_top_sample *before,
		 enum dn_top_histogram which, double *out)
{
	out[0] = percentile(&now->histograms[which], &before->histograms[which], 0.5);
	out[1] = percentile(&now->histograms[which], &before->histograms[which], 0.95);
}

void dn_top_compare(const struct dn_top_sample *now, const struct dn_top_sample *before,
		    struct dn_top_figures *ret_figures)
{
	const double seconds =
		now->at_ns > before->at_ns ? (double)(now->at_ns - before->at_ns) * 1e-9 : 0;
	const double computed = difference(now, before, DN_TOP_STEP_TOKENS);
	struct dn_top_figures f = { .seconds = seconds };

	/* Counted as they come; dunlin_output_tokens_total knows of whole answers alone. */
	f.tokens_per_second = seconds > 0 ? (difference(now, before, DN_TOP_FIRST_TOKENS) +
					     difference(now, before, DN_TOP_BETWEEN_TOKENS)) /
						    seconds
					  : 0;
	f.cores = seconds > 0 ? difference(now, before, DN_TOP_CPU) / seconds : 0;
	f.cpu_per_token_s =
		computed > 0 ? difference(now, before, DN_TOP_STEP_CPU) / computed : NAN;
	both(now, before, DN_TOP_FIRST, f.first_token_s);
	both(now, before, DN_TOP_BETWEEN, f.between_tokens_s);
	both(now, before, DN_TOP_QUEUE, f.queue_s);
	*ret_figures = f;
}
