/* SPDX-License-Identifier: MIT */
/* The processor as this process may use it. */
#ifndef DUNLIN_DEVICE_CPU_H
#define DUNLIN_DEVICE_CPU_H

#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#define DN_CPU_MODEL_MAX  96
#define DN_CPU_SPREAD_MAX 64

/* What matters to the kernels; bits of dn_cpu.features. */
enum dn_cpu_feature {
	DN_CPU_SSE42,
	DN_CPU_AVX,
	DN_CPU_AVX2,
	DN_CPU_FMA,
	DN_CPU_F16C,
	DN_CPU_AVX_VNNI,
	DN_CPU_AVX512F,
	DN_CPU_AVX512BW,
	DN_CPU_AVX512VL,
	DN_CPU_AVX512_VNNI,
	DN_CPU_AVX512_BF16,
	DN_CPU_AMX_INT8,
	DN_CPU_ASIMD,
	DN_CPU_FP16,
	DN_CPU_DOTPROD,
	DN_CPU_I8MM,
	DN_CPU_BF16,
	DN_CPU_SVE,
	DN_CPU_SVE2,
	DN_CPU_FEATURES
};

/**
 * struct dn_cpu - what /proc/cpuinfo, /sys and the cgroups say; 0 and "" where they do not
 * @model: as the kernel or the device tree names it; printable
 * @online: CPUs that run
 * @allowed: of these, what the affinity of this process leaves
 * @cores: physical cores among the allowed
 * @quota_milli: CPU time of the tightest cgroup in thousandths of a CPU; 0: no limit
 * @threads: how many threads a step should have by default: cores, bounded by the quota
 * @max_mhz: highest frequency of the first CPU
 * @l1d, @l2, @l3: bytes of one cache of the first allowed CPU
 * @l3_total: bytes of all distinct last-level caches (L3) of the allowed CPUs
 * @features: bit per enum dn_cpu_feature that all CPUs have
 */
struct dn_cpu {
	char model[DN_CPU_MODEL_MAX];
	uint32_t online;
	uint32_t allowed;
	uint32_t cores;
	uint32_t quota_milli;
	uint32_t threads;
	uint32_t max_mhz;
	uint64_t l1d;
	uint64_t l2;
	uint64_t l3;
	uint64_t l3_total;
	uint32_t features;
};

/**
 * dn_cpu_read() - fill @ret_cpu
 * @root: put before /proc and /sys; "" for this machine
 *
 * What cannot be read stays 0; @threads is at least 1 and at most 64.
 *
 * Return: 0 or -ENOMEM.
 */
DN_MUST_CHECK int dn_cpu_read(const char *root, struct dn_cpu *ret_cpu, struct dn_error *err);

/**
 * dn_cpu_spread() - the allowed CPUs in the order in which threads that stay on one want them
 * @ret_cpus: room for @max, of which at most DN_CPU_SPREAD_MAX are used
 *
 * One hardware thread of each physical core before any second one; of these the strongest first,
 * where the kernel tells them apart (cpu_capacity).
 *
 * Return: how many there are; 0 where nothing can be read.
 */
uint32_t dn_cpu_spread(const char *root, uint16_t *ret_cpus, uint32_t max);

/* "avx2" and the like. */
const char *dn_cpu_feature_name(enum dn_cpu_feature feature);

#endif /* DUNLIN_DEVICE_CPU_H */
