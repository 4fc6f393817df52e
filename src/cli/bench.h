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

struct dn_bench_options {
	struct dn_model_options model;
	uint32_t prompt;
	uint32_t generate;
	uint32_t repetitions;
	bool json;
	bool latency;
	const char *svg; /* a file for the picture of @latency */
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
	uint64_t peak_bytes;
	double read_bandwidth; /* bytes a second, all threads; 0: not known */
	double int8_peak;      /* operations a second, all threads; 0: not known */
	double product_rate;   /* of matrix products alone, likewise */
};

/* Measures what the machine can do, with as many threads. */
DN_MUST_CHECK int dn_bench_machine(struct dn_bench_result *result, struct dn_error *err);
DN_MUST_CHECK int dn_bench_print(const struct dn_bench_options *bench,
				 const struct dn_bench_result *result);
DN_MUST_CHECK int dn_bench_print_json(const struct dn_bench_options *bench,
				      const struct dn_bench_result *result, struct dn_error *err);

#endif /* DUNLIN_CLI_BENCH_H */
