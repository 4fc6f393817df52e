/* SPDX-License-Identifier: MIT */
/* What happened, counted, in the text format of Prometheus. */
#ifndef DUNLIN_SERVER_FRONT_METRICS_H
#define DUNLIN_SERVER_FRONT_METRICS_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include "base/buffer.h"
/* IWYU pragma: end_exports */

enum dn_histogram {
	DN_HISTOGRAM_FIRST_TOKEN,
	DN_HISTOGRAM_BETWEEN_TOKENS,
	DN_HISTOGRAM_QUEUE,
	DN_HISTOGRAMS
};

enum dn_counter {
	DN_COUNTER_PROMPT_TOKENS,
	DN_COUNTER_CACHED_TOKENS,
	DN_COUNTER_OUTPUT_TOKENS,
	DN_COUNTER_STEP_TOKENS, /* computed in steps, of prompts and answers */
	DN_COUNTER_STEP_CPU_NS,
	DN_COUNTER_STEP_NS,
	DN_COUNTER_STEPS,
	DN_COUNTERS
};

struct dn_metrics;

struct dn_metrics *dn_metrics_new(void);
void dn_metrics_free(struct dn_metrics *metrics);
void dn_metrics_observe(struct dn_metrics *metrics, enum dn_histogram histogram, uint64_t ns);
void dn_metrics_add(struct dn_metrics *metrics, enum dn_counter counter, uint64_t amount);
/* A request was answered. */
void dn_metrics_answered(struct dn_metrics *metrics, int status);
DN_MUST_CHECK int dn_metrics_print(const struct dn_metrics *metrics, struct dn_buffer *out);
/* What stands before a metric's samples. */
DN_MUST_CHECK int dn_metrics_print_head(struct dn_buffer *out, const char *name, const char *type,
					const char *help);
/* A gauge or counter that somebody else knows. */
DN_MUST_CHECK int dn_metrics_print_value(struct dn_buffer *out, const char *name, const char *type,
					 const char *help, double value);

#endif /* DUNLIN_SERVER_FRONT_METRICS_H */
