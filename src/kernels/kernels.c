/* SPDX-License-Identifier: MIT */
/* Which level runs: the strongest that CPU and operating system have, capped by DUNLIN_CPU. */

#include "kernels/kernels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/level.h"
#include "kernels/probe.h"
#include "kernels/relay.h"

static const char *const level_names[DN_LEVEL_COUNT] = {
	[DN_LEVEL_REF] = "ref",
	[DN_LEVEL_SCALAR] = "scalar",
	[DN_LEVEL_AVX2] = "avx2",
	[DN_LEVEL_AVXVNNI] = "avxvnni",
	[DN_LEVEL_AVX512VNNI] = "avx512vnni",
	[DN_LEVEL_AMX] = "amx",
	[DN_LEVEL_NEON] = "neon",
	[DN_LEVEL_DOTPROD] = "dotprod",
	[DN_LEVEL_I8MM] = "i8mm",
};

/* From weakest to strongest; only what this build has. */
static const struct dn_kernels *const tables[] = {
	&dn_kernels_ref,  &dn_kernels_scalar,
#ifdef DN_HAVE_X86
	&dn_kernels_avx2, &dn_kernels_avxvnni, &dn_kernels_avx512vnni,
#endif
#ifdef DN_HAVE_AMX
	&dn_kernels_amx,
#endif
#ifdef DN_HAVE_ARM
	&dn_kernels_neon, &dn_kernels_dotprod, &dn_kernels_i8mm,
#endif
};

const char *dn_level_name(enum dn_level level)
{
	return (unsigned int)level < DN_LEVEL_COUNT ? level_names[level] : "unknown";
}

const struct dn_kernels *dn_kernels_at(enum dn_level level)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(tables); i++)
		if (tables[i]->level == level && dn_cpu_has_level(level))
			return tables[i];
	return NULL;
}

/* The position of a level by name in @tables' order of strength, or -1. */
static int level_by_name(const char *name)
{
	for (int i = 0; i < DN_LEVEL_COUNT; i++)
		if (strcmp(level_names[i], name) == 0)
			return i;
	return -1;
}

static int unknown_level(const char *name, const char *from, struct dn_error *err)
{
	char list[160] = "";
	size_t used = 0;

	for (int i = 0; i < DN_LEVEL_COUNT; i++)
		if (dn_kernels_at((enum dn_level)i))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 used ? ", " : "", level_names[i]);
	if (level_by_name(name) < 0)
		return dn_error_set(err, EINVAL, "%s names no kernel level: '%s'; this CPU has %s",
				    from, name, list);
	return dn_error_set(err, ENOTSUP,
			    "this CPU or build lacks the kernel level '%s'; it has %s", name, list);
}

int dn_kernels_select(const char *name, const struct dn_kernels **ret_kernels, struct dn_error *err)
{
	const char *cap = getenv("DUNLIN_CPU");
	int limit = DN_LEVEL_COUNT - 1;
	int level;

	if (cap && *cap) {
		limit = level_by_name(cap);
		if (limit < 0)
			return unknown_level(cap, "DUNLIN_CPU", err);
	}
	if (name && *name) {
		level = level_by_name(name);
		if (level < 0 || !dn_kernels_at((enum dn_level)level))
			return unknown_level(name, "the option", err);
		limit = DN_MIN(limit, level);
	}
	for (level = limit; level >= 0; level--) {
		*ret_kernels = dn_kernels_at((enum dn_level)level);
		if (*ret_kernels)
			return 0;
	}
	return unknown_level(level_names[limit], "DUNLIN_CPU", err);
}

#define RATE_ROUNDS  5
#define RATE_SECONDS 2e-3

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Others may use the machine: the best of some rounds. */
static double best_rate(uint64_t (*run)(const struct dn_kernels *kernels, void *data),
			const struct dn_kernels *kernels, void *data)
{
	double best = 0.0;

	for (int round = 0; round < RATE_ROUNDS; round++) {
		const double from = now();
		uint64_t operations = 0;
		double seconds;

		do {
			operations += run(kernels, data);
			seconds = now() - from;
		} while (seconds < RATE_SECONDS);
		best = DN_MAX(best, (double)operations / seconds);
	}
	return best;
}

static uint64_t run_alone(const struct dn_kernels *kernels, void *unused)
{
	(void)unused;
	return kernels->multiply_alone(2000);
}

double dn_kernels_int8_peak(const struct dn_kernels *kernels)
{
	return best_rate(run_alone, kernels, NULL);
}

#define RATE_COLUMNS 1024U
#define RATE_GROUPS  4U
#define RATE_N	     96U
#define RATE_BLOCKS  (RATE_N * RATE_COLUMNS / DN_BLOCK)

static uint64_t run_product(const struct dn_kernels *kernels, void *product)
{
	kernels->product(product, 0, RATE_GROUPS);
	return 2ULL * RATE_COLUMNS * RATE_N * RATE_GROUPS * DN_GROUP;
}

double dn_kernels_product_rate(const struct dn_kernels *kernels)
{
	static _Alignas(64) uint8_t weights[RATE_GROUPS * DN_GROUP * (RATE_COLUMNS / 32) * 18];
	static _Alignas(64) int8_t quants[RATE_N * RATE_COLUMNS];
	static float values[RATE_N * RATE_COLUMNS];
	static float scales[RATE_BLOCKS];
	static int32_t biases[RATE_BLOCKS];
	static int16_t pairs[2 * RATE_BLOCKS];
	float y[RATE_N * RATE_GROUPS * DN_GROUP];
	const struct dn_matrix w = { .type = DN_TYPE_Q4_0,
				     .rows = RATE_GROUPS * DN_GROUP,
				     .columns = RATE_COLUMNS,
				     .group_bytes = sizeof(weights) / RATE_GROUPS,
				     .data = weights };
	const struct dn_activations x = { .columns = RATE_COLUMNS,
					  .values = values,
					  .stride = RATE_COLUMNS,
					  .quants = quants,
					  .quants_stride = RATE_COLUMNS,
					  .scales = scales,
					  .sums = scales,
					  .biases = biases,
					  .pairs = pairs };
	struct dn_product p = { &w, &x, RATE_N, y, RATE_GROUPS * DN_GROUP };

	/* Memory that nobody has written is one page of zeros, many times over. */
	memset(weights, 0x11, sizeof(weights));
	memset(quants, 1, sizeof(quants));

	return best_rate(run_product, kernels, &p);
}
