/* SPDX-License-Identifier: MIT */
/*
 * What llama.cpp's kernels reach on one thread, as JSON; built and run by bench/compare-kernels. With
 * --count KIND TYPE N REPETITIONS, a product alone, for bench/arm-kernels; KIND counts the kinds of
 * memory below from 0.
 *
 * The shapes are those of bench/kernels.c. A product is a graph of one operation, which quantises
 * its activations too. Weights lie in each kind of memory that the library has kernels for (plain,
 * repacked, AMX tiles), and the best of them counts.
 */

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#define ROWS	  1536
#define COLUMNS	  576
#define COLUMNS_K 512
#define ROUNDS	  9
#define MIN_TIME  2e-3
#define KINDS_MAX 8
#define TENSORS	  8

static const enum ggml_type types[] = {
	GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,	  GGML_TYPE_Q5_1,
	GGML_TYPE_Q8_0, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K,	  GGML_TYPE_Q4_K,
	GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS,
};

struct bench {
	ggml_backend_t backend;
	ggml_backend_buffer_type_t kinds[KINDS_MAX];
	size_t n_kinds;
	bool first;
	unsigned long repetitions; /* 0: as many as it takes to know the time */
};

/* Of this thread: what others do on the core does not count. */
static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double best_time(struct bench *bench, struct ggml_cgraph *graph)
{
	double best = (double)INFINITY;

	for (unsigned long left = bench->repetitions; left > 0; left--)
		if (ggml_backend_graph_compute(bench->backend, graph) != GGML_STATUS_SUCCESS)
			exit(1);
	if (bench->repetitions > 0)
		return 0;

	for (int round = 0; round < ROUNDS; round++) {
		double from = now();
		double seconds = 0;
		unsigned int n = 0;

		while (seconds < MIN_TIME) {
			if (ggml_backend_graph_compute(bench->backend, graph) !=
			    GGML_STATUS_SUCCESS)
				return (double)INFINITY;
			n++;
			seconds = now() - from;
		}
		best = fmin(best, seconds / n);
	}
	return best;
}

/* @quick: some bytes; quantising is a search for some types, and slow where instructions are counted. */
static void fill(struct ggml_tensor *tensor, bool quick)
{
	const int64_t n = ggml_nelements(tensor);
	const size_t bytes = ggml_nbytes(tensor);
	float *values = malloc((size_t)n * sizeof(float));
	void *data = malloc(bytes);
	uint32_t state = 1;

	if (!values || !data) {
		perror("peer-kernels: memory");
		exit(1);
	}
	for (int64_t i = 0; i < n; i++) {
		state = state * 1664525 + 1013904223;
		values[i] = (float)(int32_t)state * 0x1p-31f;
	}
	if (quick)
		memset(data, 0x11, bytes);
	else if (tensor->type == GGML_TYPE_F32)
		memcpy(data, values, bytes);
	else
		(void)ggml_quantize_chunk(tensor->type, values, data, 0, tensor->ne[1],
					  tensor->ne[0], NULL);
	ggml_backend_tensor_set(tensor, data, 0, bytes);
	free(values);
	free(data);
}

/* Seconds of a product with the weights in one kind of memory; infinite where it has no kernel. */
static double time_product(struct bench *bench, ggml_backend_buffer_type_t kind,
			   enum ggml_type type, int64_t columns, int64_t n)
{
	struct ggml_init_params params = {
		.mem_size = TENSORS * ggml_tensor_overhead() + ggml_graph_overhead(),
		.no_alloc = true,
	};
	struct ggml_context *weights = ggml_init(params);
	struct ggml_context *rest = ggml_init(params);
	struct ggml_tensor *w = ggml_new_tensor_2d(weights, type, columns, ROWS);
	struct ggml_tensor *x = ggml_new_tensor_2d(rest, GGML_TYPE_F32, columns, n);
	struct ggml_tensor *y = ggml_mul_mat(rest, w, x);
	struct ggml_cgraph *graph = ggml_new_graph(rest);
	ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(weights, kind);
	ggml_backend_buffer_t others = ggml_backend_alloc_ctx_tensors(rest, bench->backend);
	double seconds = (double)INFINITY;

	ggml_build_forward_expand(graph, y);
	if (buffer && others && ggml_backend_supports_op(bench->backend, y)) {
		fill(w, bench->repetitions > 0);
		fill(x, bench->repetitions > 0);
		seconds = best_time(bench, graph);
	}
	ggml_backend_buffer_free(buffer);
	ggml_backend_buffer_free(others);
	ggml_free(weights);
	ggml_free(rest);
	return seconds;
}

static int64_t columns_of(enum ggml_type type)
{
	return ggml_blck_size(type) > COLUMNS / 3 ? COLUMNS_K : COLUMNS;
}

static void bench_type(struct bench *bench, enum ggml_type type)
{
	static const int64_t ns[] = { 1, 24, 256 };
	const int64_t columns = columns_of(type);
	char name[32];

	(void)snprintf(name, sizeof(name), "%s", ggml_type_name(type));
	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	for (size_t i = 0; i < sizeof(ns) / sizeof(*ns); i++) {
		ggml_backend_buffer_type_t best_kind = NULL;
		double best = (double)INFINITY;

		for (size_t k = 0; k < bench->n_kinds; k++) {
			double seconds = time_product(bench, bench->kinds[k], type, columns, ns[i]);

			if (seconds < best) {
				best = seconds;
				best_kind = bench->kinds[k];
			}
		}
		if (!best_kind)
			continue;
		(void)printf(
			"%s\n    {\"task\": \"%s n=%d\", \"seconds\": %.5g, \"memory\": \"%s\"}",
			bench->first ? "" : ",", name, (int)ns[i], best,
			ggml_backend_buft_name(best_kind));
		bench->first = false;
	}
}

static void find_kinds(struct bench *bench)
{
	ggml_backend_dev_t device = ggml_backend_get_device(bench->backend);
	ggml_backend_dev_get_extra_bufts_t extra =
		(ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
			ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
	ggml_backend_buffer_type_t *more = extra ? extra(device) : NULL;

	bench->kinds[bench->n_kinds++] = ggml_backend_get_default_buffer_type(bench->backend);
	while (more && *more && bench->n_kinds < KINDS_MAX)
		bench->kinds[bench->n_kinds++] = *more++;
}

/* @words: KIND TYPE N REPETITIONS. Ends with 3 where the kind has no kernel for the type. */
static int count_product(struct bench *bench, char *const *words)
{
	const unsigned long kind = strtoul(words[0], NULL, 10);

	bench->repetitions = strtoul(words[3], NULL, 10);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if (strcasecmp(ggml_type_name(types[i]), words[1]) != 0)
			continue;
		return kind < bench->n_kinds &&
				       isfinite(time_product(bench, bench->kinds[kind], types[i],
							     columns_of(types[i]),
							     strtol(words[2], NULL, 10)))
			       ? 0
			       : 3;
	}
	return 2;
}

int main(int argc, char **argv)
{
	struct bench bench = { .backend = ggml_backend_cpu_init(), .first = true };

	if (!bench.backend)
		return 1;
	ggml_backend_cpu_set_n_threads(bench.backend, 1);
	find_kinds(&bench);
	if (argc == 6 && strcmp(argv[1], "--count") == 0)
		return count_product(&bench, argv + 2);
	(void)printf("{\n  \"kernels\": [");
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		bench_type(&bench, types[i]);
	(void)printf("\n  ]\n}\n");
	ggml_backend_free(bench.backend);
	return 0;
}
