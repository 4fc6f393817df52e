/* SPDX-License-Identifier: MIT */
/*
 * What each level of kernels reaches on one thread: bench-kernels [--json] [NAME...], of a type's
 * products, quantise or attention. With --count LEVEL TYPE N REPETITIONS, a product alone, for who
 * counts its instructions.
 *
 * Levels are measured in turn, round after round, and the best round counts: on a machine that
 * others use too, a level's ratio to the next is worth more than its figure. Matrix-vector figures
 * are bytes of weights read, matrix-matrix ones operations (a multiply-add is two).
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "kernels/kernels.h"
#include "kernels/relay.h"

#define COLUMNS	  576
#define ROWS	  1536
#define N_MAX	  256
#define LARGE	  ((size_t)98 << 20)
#define BEHIND	  ((size_t)64 << 10) /* kernels prefetch behind the weights; it need not exist */
#define ROUNDS	  9
#define MIN_TIME  2e-3
#define HEAD_DIM  64
#define POSITIONS 4096

/* One thing to time; its figure is @work / seconds / @unit. */
struct task {
	const char *name;
	const char *unit_name;
	double unit;
	double work;
	void (*run)(const struct dn_kernels *kernels, void *data);
	void *data;
};

struct bench {
	bool json;
	bool first;
	uint8_t *weights;
	float *values;
	int8_t *quants;
	float *scales;
	float *sums;
	int32_t *biases;
	int16_t *pairs;
	float *y;
	float *scratch;
};

/* Of this thread: what others do on the core does not count. */
static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double time_once(const struct task *task, const struct dn_kernels *kernels)
{
	double from = now();
	double seconds = 0.0;
	unsigned int n = 0;

	while (seconds < MIN_TIME) {
		task->run(kernels, task->data);
		n++;
		seconds = now() - from;
	}
	return seconds / n;
}

/* What a level's instruction for products of bytes makes without loads, scales or conversions. */
static void measure_peaks(struct bench *bench)
{
	for (int i = DN_LEVEL_SCALAR + 1; i < DN_LEVEL_COUNT; i++) {
		const struct dn_kernels *kernels = dn_kernels_at((enum dn_level)i);
		double peak;

		if (!kernels)
			continue;
		peak = dn_kernels_int8_peak(kernels) / 1e12;
		if (bench->json)
			(void)printf("%s\n    {\"task\": \"int8 alone\", \"level\": \"%s\", "
				     "\"rate\": %.5g, \"unit\": \"TOP/s\"}",
				     bench->first ? "" : ",", kernels->name, peak);
		else
			(void)printf("%-24s %-11s %9.3f TOP/s\n", "int8 alone", kernels->name,
				     peak);
		bench->first = false;
	}
}

static void measure(struct bench *bench, const struct task *task)
{
	double best[DN_LEVEL_COUNT];
	double base = 0.0;

	for (int i = 0; i < DN_LEVEL_COUNT; i++)
		best[i] = (double)INFINITY;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = DN_LEVEL_SCALAR; i < DN_LEVEL_COUNT; i++) {
			const struct dn_kernels *kernels = dn_kernels_at((enum dn_level)i);

			/* Portable products are slow: one round shows what they do. */
			if (kernels && (i > DN_LEVEL_SCALAR || round == 0))
				best[i] = fmin(best[i], time_once(task, kernels));
		}
	}
	base = best[DN_LEVEL_SCALAR];
	for (int i = DN_LEVEL_SCALAR; i < DN_LEVEL_COUNT; i++) {
		const double rate = task->work / best[i] / task->unit;

		if (!isfinite(best[i]))
			continue;
		if (bench->json)
			(void)printf(
				"%s\n    {\"task\": \"%s\", \"level\": \"%s\", \"rate\": %.5g, "
				"\"unit\": \"%s\", \"seconds\": %.5g, \"to_scalar\": %.4g}",
				bench->first ? "" : ",", task->name,
				dn_level_name((enum dn_level)i), rate, task->unit_name, best[i],
				base / best[i]);
		else
			(void)printf("%-24s %-11s %9.3f %-7s %7.1f x scalar\n", task->name,
				     dn_level_name((enum dn_level)i), rate, task->unit_name,
				     base / best[i]);
		bench->first = false;
	}
}

struct product_task {
	struct dn_product product;
	uint32_t n_groups;
};

static void run_product(const struct dn_kernels *kernels, void *data)
{
	const struct product_task *task = data;

	kernels->product(&task->product, 0, task->n_groups);
}

/* Random quants, F16 scales that are small numbers: time does not depend on more. */
static void fill_weights(uint8_t *weights, enum dn_type type, size_t bytes)
{
	uint32_t state = 1;

	for (size_t i = 0; i + 4 <= bytes; i += 4) {
		float value;

		/* Any two bytes below 0x7c00 are a finite half, any float of them small. */
		state = state * 1664525 + 1013904223;
		value = (float)(int32_t)state * 0x1p-31f;
		if (type == DN_TYPE_F32) {
			memcpy(weights + i, &value, 4);
		} else if (type == DN_TYPE_BF16) { /* the upper halves of such floats */
			memcpy(weights + i, (const uint8_t *)&value + 2, 2);
			memcpy(weights + i + 2, (const uint8_t *)&value + 2, 2);
		} else {
			uint32_t word = state & 0x3bff3bff;

			memcpy(weights + i, &word, 4);
		}
	}
}

static uint32_t columns_of(enum dn_type type)
{
	return dn_type_info(type)->columns > COLUMNS / 3 ? 512 : COLUMNS;
}

static struct dn_activations activations(const struct bench *b, uint32_t columns)
{
	return (struct dn_activations){ columns,   b->values, columns,	 b->quants, columns,
					b->scales, b->sums,   b->biases, b->pairs };
}

static void bench_products(struct bench *b, enum dn_type type, uint32_t columns)
{
	static const uint32_t ns[] = { 1, 24, 256 };
	const struct dn_activations x = activations(b, columns);
	struct dn_matrix w = { .type = type, .rows = ROWS, .columns = columns, .data = b->weights };
	struct product_task large = { .product = { &w, &x, 1, b->y, 0 } };
	struct product_task product = { .n_groups = ROWS / DN_GROUP };
	struct task task = { .run = run_product, .data = &product };
	char name[64];

	w.group_bytes = dn_relay_group_bytes(type, columns);
	fill_weights(b->weights, type, LARGE);
	task.name = name;
	for (size_t i = 0; i < DN_ARRAY_SIZE(ns); i++) {
		const bool vector = ns[i] == 1;

		product.product = (struct dn_product){ &w, &x, ns[i], b->y, ROWS, true };
		(void)snprintf(name, sizeof(name), "%s n=%u", dn_type_info(type)->name, ns[i]);
		task.unit = vector ? 1e9 : 1e12;
		task.unit_name = vector ? "GB/s" : "TOP/s";
		task.work = vector ? (double)w.group_bytes * product.n_groups
				   : 2.0 * ROWS * columns * ns[i];
		measure(b, &task);
	}
	large.n_groups = (uint32_t)(LARGE / w.group_bytes);
	w.rows = large.n_groups * DN_GROUP;
	large.product.y_stride = w.rows;
	task.data = &large;
	task.unit = 1e9;
	task.unit_name = "GB/s";
	task.work = (double)w.group_bytes * large.n_groups;
	for (int prefetch = 1; prefetch >= 0; prefetch--) {
		large.product.prefetch = prefetch;
		(void)snprintf(name, sizeof(name), "%s n=1 of 98 MiB%s", dn_type_info(type)->name,
			       prefetch ? "" : ", no prefetch");
		measure(b, &task);
	}
}

static void run_quantise(const struct dn_kernels *kernels, void *data)
{
	struct bench *b = data;

	kernels->quantise(b->values, COLUMNS * 16, b->quants, b->scales, b->sums, b->biases,
			  b->pairs);
}

static void *memory(size_t bytes)
{
	void *at = mmap(NULL, bytes + BEHIND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	if (at == MAP_FAILED) {
		perror("bench-kernels: memory");
		exit(1);
	}
	(void)madvise(at, bytes, MADV_HUGEPAGE);
	return at;
}

struct attention_task {
	struct dn_attention *attention;
	uint32_t heads;
};

static void run_attention(const struct dn_kernels *kernels, void *data)
{
	const struct attention_task *task = data;
	struct dn_attention *a = task->attention;
	const size_t part = dn_kv_head_bytes(a->head_dim, a->type);

	for (uint32_t head = 0; head < task->heads; head++) {
		a->keys = head * 2 * part;
		a->values = a->keys + part;
		kernels->attend(a);
	}
}

/* Blocks of keys and values that differ: as many as there are values for. */
#define UNLIKE_BLOCKS (N_MAX * 1024 / (2 * DN_KV_BLOCK * HEAD_DIM))

/* Keys and values between -1 and 1; those of all heads are alike. */
static void fill_cache(struct bench *b, enum dn_kv_type type, size_t part, uint32_t heads)
{
	const struct dn_kernels *kernels = dn_kernels_at(DN_LEVEL_SCALAR);

	for (uint32_t block = 0; block < POSITIONS / DN_KV_BLOCK; block++) {
		uint8_t *at = b->weights + (size_t)block * heads * 2 * part;
		const float *row =
			b->values + (size_t)(block % UNLIKE_BLOCKS) * 2 * DN_KV_BLOCK * HEAD_DIM;

		for (uint32_t slot = 0; slot < DN_KV_BLOCK; slot++, row += (size_t)2 * HEAD_DIM) {
			kernels->store_key(at, slot, row, HEAD_DIM, type);
			kernels->store_value(at + part, slot, row + HEAD_DIM, HEAD_DIM, type);
		}
		for (uint32_t head = 1; head < heads; head++)
			memcpy(at + head * 2 * part, at, 2 * part);
	}
}

/*
 * A decode step's rows of a KV head, or a tile of prefill's, over a cache of a long conversation;
 * with many heads, as a model has them in all its layers, it lies in memory.
 */
static void bench_attention(struct bench *b, uint32_t n_rows, enum dn_kv_type type, bool large)
{
	static const char *const names[] = {
		[DN_KV_F16] = "F16", [DN_KV_F32] = "F32", [DN_KV_Q8_0] = "Q8_0"
	};
	static const uint8_t *blocks[POSITIONS / DN_KV_BLOCK];
	const size_t part = dn_kv_head_bytes(HEAD_DIM, type);
	const size_t head_bytes = 2 * part * DN_ARRAY_SIZE(blocks);
	const uint32_t heads = large ? (uint32_t)(LARGE / head_bytes) : 1;
	const bool few = n_rows < DN_ATTENTION_ROWS;
	struct dn_attention a = { .blocks = blocks,
				  .type = type,
				  .head_dim = HEAD_DIM,
				  .scale = 0.125f,
				  .n_rows = n_rows,
				  .scratch = b->scratch };
	struct attention_task data = { &a, heads };
	char name[64];
	struct task task = { .name = name,
			     .unit_name = few ? "GB/s" : "GFLOP/s",
			     .unit = 1e9,
			     .work = few ? (double)(heads * head_bytes)
					 : 4.0 * n_rows * POSITIONS * HEAD_DIM * heads,
			     .run = run_attention,
			     .data = &data };

	for (size_t i = 0; i < DN_ARRAY_SIZE(blocks); i++)
		blocks[i] = b->weights + i * heads * 2 * part;
	fill_cache(b, type, part, heads);
	for (uint32_t r = 0; r < n_rows; r++) {
		a.q[r] = b->values + (size_t)r * HEAD_DIM;
		a.out[r] = b->y + (size_t)r * HEAD_DIM;
		a.end[r] = POSITIONS;
	}
	(void)snprintf(name, sizeof(name), "attention %s rows=%u%s", names[type], n_rows,
		       large ? " of 98 MiB" : "");
	measure(b, &task);
}

static void bench_attentions(struct bench *b)
{
	const enum dn_kv_type cached[] = { DN_KV_F32, DN_KV_F16, DN_KV_Q8_0 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(cached); i++) {
		bench_attention(b, 1, cached[i], false);
		bench_attention(b, 3, cached[i], false);
		bench_attention(b, 3, cached[i], true);
		bench_attention(b, DN_ATTENTION_ROWS, cached[i], false);
	}
}

static void bench_quantise(struct bench *b)
{
	const struct task task = { "quantise", "GB/s", 1e9, 4.0 * COLUMNS * 16, run_quantise, b };

	measure(b, &task);
}

static bool has_name(char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names != NULL;
}

/* What is named, or all: products of types, the quantiser of their vectors, and attention. */
static int bench_named(struct bench *b, char *const *names)
{
	static const struct {
		const char *name;
		void (*run)(struct bench *b);
	} others[] = { { "quantise", bench_quantise }, { "attention", bench_attentions } };
	size_t n_found = 0;
	size_t n_names = 0;

	while (names[n_names])
		n_names++;
	for (uint32_t type = 0; type < DN_TYPE_COUNT; type++) {
		const struct dn_type_info *info = dn_type_info(type);

		if (!info || !dn_type_computes((enum dn_type)type) ||
		    (n_names > 0 && !has_name(names, info->name)))
			continue;
		bench_products(b, (enum dn_type)type, columns_of((enum dn_type)type));
		n_found++;
	}
	for (size_t i = 0; i < DN_ARRAY_SIZE(others); i++) {
		if (n_names == 0 || has_name(names, others[i].name)) {
			others[i].run(b);
			n_found++;
		}
	}
	if (n_found >= n_names)
		return 0;
	(void)fprintf(stderr, "bench-kernels: one of those names is unknown\n");
	return 2;
}

/* @words: LEVEL TYPE N REPETITIONS */
static int count_product(struct bench *b, char *const *words)
{
	const struct dn_kernels *kernels = NULL;
	const unsigned long n = strtoul(words[2], NULL, 10);
	enum dn_type type = DN_TYPE_F32;
	struct product_task task = { .n_groups = ROWS / DN_GROUP };
	struct dn_matrix w = { .rows = ROWS, .data = b->weights };
	struct dn_activations x;
	uint32_t columns;

	for (int i = 0; i < DN_LEVEL_COUNT; i++)
		if (strcmp(dn_level_name((enum dn_level)i), words[0]) == 0)
			kernels = dn_kernels_at((enum dn_level)i);
	for (uint32_t i = 0; i < DN_TYPE_COUNT; i++)
		if (dn_type_info((enum dn_type)i) &&
		    strcmp(dn_type_info((enum dn_type)i)->name, words[1]) == 0)
			type = (enum dn_type)i;
	if (!kernels || type == DN_TYPE_F32 || n == 0 || n > N_MAX) {
		(void)fprintf(stderr, "bench-kernels: no such level here, type or number\n");
		return 2;
	}
	columns = columns_of(type);
	w.type = type;
	w.columns = columns;
	w.group_bytes = dn_relay_group_bytes(type, columns);
	fill_weights(b->weights, type, w.group_bytes * task.n_groups);
	x = activations(b, columns);
	task.product = (struct dn_product){ &w, &x, (uint32_t)n, b->y, ROWS, true };
	for (unsigned long left = strtoul(words[3], NULL, 10); left > 0; left--)
		run_product(kernels, &task);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench b = { .json = argc > 1 && strcmp(argv[1], "--json") == 0, .first = true };
	const bool counts = argc == 6 && strcmp(argv[1], "--count") == 0;
	char *const *names = argv + 1 + b.json;
	int r;

	if (argc > 1 && !b.json && !counts && argv[1][0] == '-') {
		(void)fprintf(stderr, "usage: bench-kernels [--json] [NAME...]\n"
				      "       bench-kernels --count LEVEL TYPE N REPETITIONS\n");
		return 2;
	}
	b.weights = memory(LARGE);
	b.scratch = memory(dn_attention_scratch(HEAD_DIM) * sizeof(float));
	b.values = memory((size_t)N_MAX * 1024 * sizeof(float));
	b.quants = memory((size_t)N_MAX * 1024);
	b.scales = memory((size_t)N_MAX * 1024 / DN_BLOCK * sizeof(float));
	b.sums = memory((size_t)N_MAX * 1024 / DN_BLOCK * sizeof(float));
	b.biases = memory((size_t)N_MAX * 1024 / DN_BLOCK * sizeof(int32_t));
	b.pairs = memory((size_t)N_MAX * 1024 / DN_BLOCK * 2 * sizeof(int16_t));
	b.y = memory(LARGE / 32); /* a float for each row of Q2_K's, and N_MAX times ROWS */
	fill_weights((void *)b.values, DN_TYPE_F32, (size_t)N_MAX * 1024 * sizeof(float));
	dn_kernels_at(DN_LEVEL_SCALAR)
		->quantise(b.values, N_MAX * 1024, b.quants, b.scales, b.sums, b.biases, b.pairs);
	if (b.json)
		(void)printf("{\n  \"kernels\": [");
	if (!counts)
		measure_peaks(&b);
	r = counts ? count_product(&b, argv + 2) : bench_named(&b, names);
	if (b.json)
		(void)printf("\n  ]\n}\n");
	return r;
}
