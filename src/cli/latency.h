/* SPDX-License-Identifier: MIT */
/* Times between tokens, and what of them matters: not the mean, but what stands out. */
#ifndef DUNLIN_CLI_LATENCY_H
#define DUNLIN_CLI_LATENCY_H

#include <stdio.h>

/* IWYU pragma: begin_exports */
#include <jansson.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

#define DN_LATENCY_MAX ((size_t)1 << 20)

/**
 * struct dn_latency - milliseconds from a token to the next
 * @gaps: room for @capacity, @n taken; sorted by dn_latency_sort()
 * @first: from a prompt to its first token, one for each of @n_first answers
 * @last_ns: when the last token came; 0: the next one is an answer's first
 */
struct dn_latency {
	double *gaps;
	size_t n;
	size_t capacity;
	double *first;
	size_t n_first;
	size_t first_capacity;
	uint64_t asked_ns;
	uint64_t last_ns;
};

/* @answers of @tokens each; -E2BIG where that is more than DN_LATENCY_MAX. */
DN_MUST_CHECK int dn_latency_init(struct dn_latency *latency, uint32_t answers, uint32_t tokens,
				  struct dn_error *err);
void dn_latency_done(struct dn_latency *latency);
/* A prompt goes out; a token came. Times in nanoseconds. */
void dn_latency_ask(struct dn_latency *latency, uint64_t now_ns);
void dn_latency_token(struct dn_latency *latency, uint64_t now_ns);
/* Forgets what was taken. */
void dn_latency_reset(struct dn_latency *latency);

/* Before anything below. */
void dn_latency_sort(struct dn_latency *latency);
/**
 * dn_latency_percentile() - the least that at least @percent of the times do not exceed
 * @percent: above 0, at most 100
 * @ret_ms: set where there are enough of them: one in (100 - @percent) % must have been seen
 */
DN_MUST_CHECK bool dn_latency_percentile(const struct dn_latency *latency, double percent,
					 double *ret_ms);
/* How many times a percentile takes. */
size_t dn_latency_needed(double percent);

/* For a person. */
void dn_latency_print(const struct dn_latency *latency);
/* NULL where memory is short. */
json_t *dn_latency_json(const struct dn_latency *latency);
/* A picture: the percentiles, each further nine as wide as the one before. */
void dn_latency_svg(const struct dn_latency *latency, const char *title, FILE *out);

/* For qsort(). */
int dn_compare_doubles(const void *a, const void *b);

#endif /* DUNLIN_CLI_LATENCY_H */
