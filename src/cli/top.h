/* SPDX-License-Identifier: MIT */
/* What the files of "dunlin top" share: samples of a server, figures from two of them, lines of text. */
#ifndef DUNLIN_CLI_TOP_H
#define DUNLIN_CLI_TOP_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/base.h"
#include "base/buffer.h"
/* IWYU pragma: end_exports */

#define DN_TOP_BUCKETS_MAX 64
#define DN_TOP_RATES	   60 /* that the curve shows */

enum dn_top_value {
	DN_TOP_FIRST_TOKENS,
	DN_TOP_BETWEEN_TOKENS,
	DN_TOP_STEPS,
	DN_TOP_STEP_TOKENS,
	DN_TOP_STEP_CPU,
	DN_TOP_CPU,
	DN_TOP_FRONT_RESTARTS,
	DN_TOP_VALUES
};

enum dn_top_histogram { DN_TOP_FIRST, DN_TOP_BETWEEN, DN_TOP_QUEUE, DN_TOP_HISTOGRAMS };

/* A histogram of /metrics: how many were at most so long. */
struct dn_top_buckets {
	double le[DN_TOP_BUCKETS_MAX];
	double count[DN_TOP_BUCKETS_MAX];
	size_t n;
};

/* What /metrics said at a time. */
struct dn_top_sample {
	uint64_t at_ns;
	double values[DN_TOP_VALUES];
	struct dn_top_buckets histograms[DN_TOP_HISTOGRAMS];
};

/* From a text of any kind, NUL-terminated: what is not known, or no sample, is passed over. */
void dn_top_read_sample(const char *metrics, struct dn_top_sample *ret_sample);

/**
 * struct dn_top_figures - between two samples; NAN where nothing happened that would tell
 * @cores: of the processor that all processes together used
 */
struct dn_top_figures {
	double seconds;
	double tokens_per_second;
	double first_token_s[2]; /* half of them, and 95 of 100, were no longer */
	double between_tokens_s[2];
	double queue_s[2];
	double cores;
	double cpu_per_token_s;
};

void dn_top_compare(const struct dn_top_sample *now, const struct dn_top_sample *before,
		    struct dn_top_figures *ret_figures);
/* Whether the server began anew in between, so that the two cannot be compared. */
bool dn_top_began_anew(const struct dn_top_sample *now, const struct dn_top_sample *before);

/**
 * struct dn_top_view - what is shown
 * @where: the server's name
 * @props: of /props; NULL: none came
 * @fault: why there is nothing to show; "": there is
 * @rates: tokens per second, the newest last
 * @columns: that a line may have; 0: any number
 * @live: on a terminal that is drawn anew
 * @bold: headings are
 */
struct dn_top_view {
	const char *where;
	const json_t *props;
	const char *fault;
	struct dn_top_sample sample;
	struct dn_top_figures figures;
	double rates[DN_TOP_RATES];
	size_t n_rates;
	size_t columns;
	size_t rows;
	bool live;
	bool bold;
};

/* Return: 0, or a negative errno where memory is short. */
DN_MUST_CHECK int dn_top_print(const struct dn_top_view *view, struct dn_buffer *out);
/* The same as JSON, owned by the caller; NULL where memory is short. */
json_t *dn_top_json(const struct dn_top_view *view);

#endif /* DUNLIN_CLI_TOP_H */
