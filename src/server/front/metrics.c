/* SPDX-License-Identifier: MIT */

#include "server/front/metrics.h"

#include <stdlib.h>

#define NS 1e-9

/* Upper bounds of the histograms' buckets in seconds: from a token of a small model to a queue. */
static const double bounds[] = {
	0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15,
	0.2,	0.3,   0.5,   0.75,  1,	    1.5,    2,	  3,	 5,    7.5,  10,   30,	  60,
};

#define BUCKETS	     (sizeof(bounds) / sizeof(bounds[0]))
#define STATUSES_MAX 32

struct histogram {
	uint64_t buckets[BUCKETS];
	uint64_t count;
	uint64_t ns;
};

struct dn_metrics {
	struct histogram histograms[DN_HISTOGRAMS];
	uint64_t counters[DN_COUNTERS];
	struct {
		int status;
		uint64_t count;
	} statuses[STATUSES_MAX];
};

struct description {
	const char *name;
	const char *help;
	double unit;
};

static const struct description histograms[] = {
	[DN_HISTOGRAM_FIRST_TOKEN] = { "dunlin_first_token_seconds",
				       "From a request's first byte to its first token." },
	[DN_HISTOGRAM_BETWEEN_TOKENS] = { "dunlin_between_tokens_seconds",
					  "From a token to the next of the same answer." },
	[DN_HISTOGRAM_QUEUE] = { "dunlin_queue_seconds",
				 "From a request's last byte to its first step." },
};

static const struct description counters[] = {
	[DN_COUNTER_PROMPT_TOKENS] = { "dunlin_prompt_tokens_total", "Tokens of prompts.", 1 },
	[DN_COUNTER_CACHED_TOKENS] = { "dunlin_cached_tokens_total",
				       "Tokens of prompts that were in the cache already.", 1 },
	[DN_COUNTER_OUTPUT_TOKENS] = { "dunlin_output_tokens_total", "Tokens of answers.", 1 },
	[DN_COUNTER_STEP_TOKENS] = { "dunlin_step_tokens_total",
				     "Tokens computed, of prompts and of answers.", 1 },
	[DN_COUNTER_STEP_CPU_NS] = { "dunlin_step_cpu_seconds_total",
				     "CPU time of steps: by dunlin_step_tokens_total, that of a "
				     "token.",
				     NS },
	[DN_COUNTER_STEP_NS] = { "dunlin_step_seconds_total", "Time of steps.", NS },
	[DN_COUNTER_STEPS] = { "dunlin_steps_total", "Steps.", 1 },
};

struct dn_metrics *dn_metrics_new(void)
{
	return calloc(1, sizeof(struct dn_metrics));
}

void dn_metrics_free(struct dn_metrics *metrics)
{
	free(metrics);
}

void dn_metrics_observe(struct dn_metrics *metrics, enum dn_histogram which, uint64_t ns)
{
	struct histogram *histogram = &metrics->histograms[which];

	for (size_t i = 0; i < BUCKETS; i++)
		if ((double)ns * NS <= bounds[i]) {
			histogram->buckets[i]++;
			break;
		}
	histogram->count++;
	histogram->ns += ns;
}

void dn_metrics_add(struct dn_metrics *metrics, enum dn_counter counter, uint64_t amount)
{
	metrics->counters[counter] += amount;
}

void dn_metrics_answered(struct dn_metrics *metrics, int status)
{
	for (size_t i = 0; i < STATUSES_MAX; i++)
		if (metrics->statuses[i].status == status || metrics->statuses[i].count == 0) {
			metrics->statuses[i].status = status;
			metrics->statuses[i].count++;
			return;
		}
}

int dn_metrics_print_head(struct dn_buffer *out, const char *name, const char *type,
			  const char *help)
{
	return dn_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

int dn_metrics_print_value(struct dn_buffer *out, const char *name, const char *type,
			   const char *help, double value)
{
	const int r = dn_metrics_print_head(out, name, type, help);

	return r < 0 ? r : dn_buffer_printf(out, "%s %.9g\n", name, value);
}

static int print_histogram(const struct histogram *histogram, const struct description *as,
			   struct dn_buffer *out)
{
	uint64_t below = 0;
	int r = dn_metrics_print_head(out, as->name, "histogram", as->help);

	for (size_t i = 0; i < BUCKETS && r >= 0; i++) {
		below += histogram->buckets[i];
		r = dn_buffer_printf(out, "%s_bucket{le=\"%g\"} %llu\n", as->name, bounds[i],
				     (unsigned long long)below);
	}
	if (r < 0)
		return r;
	return dn_buffer_printf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n",
				as->name, (unsigned long long)histogram->count, as->name,
				(double)histogram->ns * NS, as->name,
				(unsigned long long)histogram->count);
}

int dn_metrics_print(const struct dn_metrics *metrics, struct dn_buffer *out)
{
	int r = dn_metrics_print_head(out, "dunlin_requests_total", "counter",
				      "Requests, by HTTP status.");

	for (size_t i = 0; i < STATUSES_MAX && metrics->statuses[i].count && r >= 0; i++)
		r = dn_buffer_printf(out, "dunlin_requests_total{status=\"%d\"} %llu\n",
				     metrics->statuses[i].status,
				     (unsigned long long)metrics->statuses[i].count);
	for (size_t i = 0; i < DN_HISTOGRAMS && r >= 0; i++)
		r = print_histogram(&metrics->histograms[i], &histograms[i], out);
	for (size_t i = 0; i < DN_COUNTERS && r >= 0; i++)
		r = dn_metrics_print_value(out, counters[i].name, "counter", counters[i].help,
					   (double)metrics->counters[i] * counters[i].unit);
	return r;
}
