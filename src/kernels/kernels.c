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

#define PEAK_COLUMNS 256U
#define PEAK_N	     96U
#define PEAK_REPEATS 1000U
#define PEAK_ROUNDS  5

/*
 * The products of a level on data that stays in the first cache: what the arithmetic alone can
 * do, measured with the very instructions that run, not with ones that nothing uses.
 */
double dn_kernels_int8_peak(const struct dn_kernels *kernels)
{
	static _Alignas(64) uint8_t weights[DN_GROUP * (PEAK_COLUMNS / 32) * 18];
	static _Alignas(64) int8_t quants[PEAK_N * PEAK_COLUMNS];
	static float scales[PEAK_N * PEAK_COLUMNS / DN_BLOCK];
	static int32_t biases[PEAK_N * PEAK_COLUMNS / DN_BLOCK];
	static float values[PEAK_N * PEAK_COLUMNS];
	float y[PEAK_N * DN_GROUP];
	const struct dn_matrix w = { .type = DN_TYPE_Q4_0,
				     .rows = DN_GROUP,
				     .columns = PEAK_COLUMNS,
				     .group_bytes = sizeof(weights),
				     .data = weights };
	const struct dn_activations x = { .columns = PEAK_COLUMNS,
					  .values = values,
					  .stride = PEAK_COLUMNS,
					  .quants = quants,
					  .quants_stride = PEAK_COLUMNS,
					  .scales = scales,
					  .sums = scales,
					  .biases = biases };
	const struct dn_product p = { .w = &w, .x = &x, .n = PEAK_N, .y = y, .y_stride = DN_GROUP };
	const uint32_t repeats =
		kernels->level <= DN_LEVEL_SCALAR ? PEAK_REPEATS / 100 : PEAK_REPEATS;
	double best = 0.0;

	for (int round = 0; round < PEAK_ROUNDS; round++) {
		struct timespec from;
		struct timespec to;
		double seconds;

		(void)clock_gettime(CLOCK_MONOTONIC, &from);
		for (uint32_t i = 0; i < repeats; i++)
			kernels->product(&p, 0, 1);
		(void)clock_gettime(CLOCK_MONOTONIC, &to);
		seconds = (double)(to.tv_sec - from.tv_sec) +
			  1e-9 * (double)(to.tv_nsec - from.tv_nsec);
		if (seconds > 0.0)
			best = DN_MAX(best,
				      2.0 * PEAK_COLUMNS * PEAK_N * DN_GROUP * repeats / seconds);
	}
	return best;
}
