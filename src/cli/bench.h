/* SPDX-License-Identifier: MIT */
/* What the files of "dunlin bench" share. */
#ifndef DUNLIN_CLI_BENCH_H
#define DUNLIN_CLI_BENCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/latency.h"
/* IWYU pragma: end_exports */

#define DN_BENCH_REPETITIONS_MAX 100
#define DN_BENCH_SEQUENCES_MAX	 32
/* Numbers of prompts that are the same in every run: of the depth, then of each sequence. */
#define DN_BENCH_RUN_DEPTH     (DN_BENCH_REPETITIONS_MAX + 1)
#define DN_BENCH_RUN_SEQUENCES (DN_BENCH_REPETITIONS_MAX + 2)

struct dn_bench_options {
	struct dn_model_options model;
	uint32_t prompt;
	uint32_t generate;
	uint32_t repetitions;
	uint32_t depth; /* tokens before the answer; 0: those of the prompt */
	uint32_t sequences;
	bool json;
	bool latency;
	const char *svg; /* a file for the picture of @latency */
};

/**
 * struct dn_bench_answer - a request for an answer of greedy tokens
 * @n_prompt: ids, as they are
 * @keep: its sequence, for another to continue from
 * @continues: a kept request; 0: none
 */
struct dn_bench_answer {
	const uint32_t *prompt;
	uint32_t n_prompt;
	uint32_t n_tokens;
	bool keep;
	uint64_t continues;
};

struct dn_spread {
	double median;
	double min;
	double max;
	double spread; /* (max - min) / median */
};

struct dn_bench_result {
	struct dn_frame_loaded loaded;
	uint32_t threads;
	double start_ms;  /* from the worker's start to a loaded model */
	double verify_ms; /* that a prepared model's seal took of it, side by side; 0: none */
	struct dn_spread prefill; /* tokens a second */
	bool decodes;		  /* else the next two say nothing */
	struct dn_spread decode;
	struct dn_spread cpu_per_token; /* seconds */
	uint64_t minor_faults;		/* while it decoded, all runs together */
	uint64_t major_faults;
	struct dn_latency latency; /* empty without --latency; owned */
	struct dn_spread batched;  /* tokens a second of all sequences; none where they are one */
	uint64_t peak_bytes;
	double read_bandwidth; /* bytes a second, all threads; 0: not known */
	double int8_peak;      /* operations a second, all threads; 0: not known */
	double product_rate;   /* of matrix products alone, likewise */
};

/* Sends the request and does not wait for its answer. */
DN_MUST_CHECK int dn_bench_submit(struct dn_client *client, const struct dn_bench_answer *answer,
				  uint64_t *ret_request, struct dn_error *err);

/**
 * dn_bench_batch() - answers of all sequences at once (bench-batch.c)
 * @ids: room for what is before an answer
 * @requests: those of the run before, or zeroes; what they kept is used again
 * @ret_rate: tokens a second of all of them
 */
DN_MUST_CHECK int dn_bench_batch(struct dn_client *client, const struct dn_bench_options *bench,
				 uint32_t *ids, uint64_t requests[DN_BENCH_SEQUENCES_MAX],
				 double *ret_rate, struct dn_error *err);
/* Ids that repeat after a long time only: no two @run share a prefix. */
void dn_bench_fill_prompt(uint32_t *ids, uint32_t n, uint32_t vocabulary, uint32_t run);

/* Measures what the machine can do, with as many threads. */
DN_MUST_CHECK int dn_bench_machine(struct dn_bench_result *result, struct dn_error *err);
DN_MUST_CHECK int dn_bench_print(const struct dn_bench_options *bench,
				 const struct dn_bench_result *result);
DN_MUST_CHECK int dn_bench_print_json(const struct dn_bench_options *bench,
				      const struct dn_bench_result *result, struct dn_error *err);

#endif /* DUNLIN_CLI_BENCH_H */
