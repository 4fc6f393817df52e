/* SPDX-License-Identifier: MIT */
/* What the processor is, how much of it is ours. */

#include "device/cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/base.h"
#include "base/text.h"
#include "device/cgroup.h"
#include "device/cpu-list.h"
#include "device/source.h"

#define THREADS_MAX   64
#define BEST_CAPACITY 1024U

/* Our names, which are the kernels' levels, and those of /proc/cpuinfo. */
static const struct {
	const char *name;
	const char *in_cpuinfo;
} features[DN_CPU_FEATURES] = {
	[DN_CPU_SSE42] = { "sse4.2", "sse4_2" },
	[DN_CPU_AVX] = { "avx", "avx" },
	[DN_CPU_AVX2] = { "avx2", "avx2" },
	[DN_CPU_FMA] = { "fma", "fma" },
	[DN_CPU_F16C] = { "f16c", "f16c" },
	[DN_CPU_AVX_VNNI] = { "avx_vnni", "avx_vnni" },
	[DN_CPU_AVX512F] = { "avx512f", "avx512f" },
	[DN_CPU_AVX512BW] = { "avx512bw", "avx512bw" },
	[DN_CPU_AVX512VL] = { "avx512vl", "avx512vl" },
	[DN_CPU_AVX512_VNNI] = { "avx512_vnni", "avx512_vnni" },
	[DN_CPU_AVX512_BF16] = { "avx512_bf16", "avx512_bf16" },
	[DN_CPU_AMX_INT8] = { "amx_int8", "amx_int8" },
	[DN_CPU_ASIMD] = { "asimd", "asimd" },
	[DN_CPU_FP16] = { "fp16", "asimdhp" },
	[DN_CPU_DOTPROD] = { "dotprod", "asimddp" },
	[DN_CPU_I8MM] = { "i8mm", "i8mm" },
	[DN_CPU_BF16] = { "bf16", "bf16" },
	[DN_CPU_SVE] = { "sve", "sve" },
	[DN_CPU_SVE2] = { "sve2", "sve2" },
};

/* The Arm cores that devices have; others are named by their numbers. */
static const struct {
	uint32_t part;
	const char *name;
} arm_parts[] = {
	{ 0xd03, "Cortex-A53" },   { 0xd04, "Cortex-A35" },  { 0xd05, "Cortex-A55" },
	{ 0xd07, "Cortex-A57" },   { 0xd08, "Cortex-A72" },  { 0xd09, "Cortex-A73" },
	{ 0xd0a, "Cortex-A75" },   { 0xd0b, "Cortex-A76" },  { 0xd0c, "Neoverse-N1" },
	{ 0xd0d, "Cortex-A77" },   { 0xd40, "Neoverse-V1" }, { 0xd41, "Cortex-A78" },
	{ 0xd42, "Cortex-A78AE" }, { 0xd46, "Cortex-A510" }, { 0xd47, "Cortex-A710" },
	{ 0xd49, "Neoverse-N2" },  { 0xd4f, "Neoverse-V2" }, { 0xd80, "Cortex-A520" },
};

const char *dn_cpu_feature_name(enum dn_cpu_feature feature)
{
	return (unsigned int)feature < DN_CPU_FEATURES ? features[feature].name : "unknown";
}

static uint32_t parse_features(const char *line, size_t size)
{
	uint32_t found = 0;

	for (size_t at = 0; at < size;) {
		size_t word;

		while (at < size && (line[at] == ' ' || line[at] == '\t'))
			at++;
		for (word = at; at < size && line[at] != ' ' && line[at] != '\t'; at++)
			;
		for (unsigned int i = 0; i < DN_CPU_FEATURES; i++) {
			if (strlen(features[i].in_cpuinfo) == at - word &&
			    memcmp(features[i].in_cpuinfo, line + word, at - word) == 0)
				found |= 1U << i;
		}
	}
	return found;
}

/* All cores of a big and little pair must have what a thread may use on any of them. */
static uint32_t common_features(const char *cpuinfo)
{
	uint32_t common = UINT32_MAX;

	for (const char *line = cpuinfo; *line;) {
		size_t size = strcspn(line, "\n");
		const char *colon = memchr(line, ':', size);

		if (colon &&
		    (strncmp(line, "flags\t", 6) == 0 || strncmp(line, "Features\t", 9) == 0))
			common &= parse_features(colon + 1, size - (size_t)(colon + 1 - line));
		line += size;
		line += *line == '\n';
	}
	return common == UINT32_MAX ? 0 : common;
}

static void read_arm_model(const char *root, const char *cpuinfo, char *model, size_t size)
{
	char board[64] = "";
	char text[32] = "";
	const char *name = NULL;
	unsigned long part = 0;

	if (dn_source_field(cpuinfo, "CPU part", text, sizeof(text)))
		part = strtoul(text, NULL, 16);
	for (size_t i = 0; i < DN_ARRAY_SIZE(arm_parts); i++) {
		if (arm_parts[i].part == part)
			name = arm_parts[i].name;
	}
	(void)dn_source_line(root, "/proc/device-tree/model", board, sizeof(board));
	if (name && board[0])
		(void)snprintf(model, size, "%s (%s)", name, board);
	else if (name || board[0])
		(void)snprintf(model, size, "%s", name ? name : board);
	else if (part)
		(void)snprintf(model, size, "Arm part 0x%lx", part);
}

static int read_cpuinfo(const char *root, struct dn_cpu *cpu, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(DN_SOURCE_MAX);
	char model[DN_CPU_MODEL_MAX] = "";
	int r = dn_source_read(root, "/proc/cpuinfo", &buffer);

	if (r == -ENOMEM)
		return dn_error_memory(err, "/proc/cpuinfo", DN_SOURCE_MAX);
	if (r < 0)
		return 0;
	if (!dn_source_field(buffer.data, "model name", model, sizeof(model)))
		read_arm_model(root, buffer.data, model, sizeof(model));
	(void)dn_text_printable(model, strlen(model), cpu->model, sizeof(cpu->model));
	cpu->features = common_features(buffer.data);
	return 0;
}

/* The affinity of this process; sched_getaffinity() where /proc does not tell. */
static bool read_allowed(const char *root, struct dn_cpu_list *ret_list)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	char text[1024];
	cpu_set_t set;

	if (dn_source_read(root, "/proc/self/status", &buffer) == 0 &&
	    dn_source_field(buffer.data, "Cpus_allowed_list", text, sizeof(text)) &&
	    dn_cpu_list_parse(text, ret_list))
		return true;
	if (root[0] || sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	memset(ret_list, 0, sizeof(*ret_list));
	for (uint32_t i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &set))
			dn_cpu_list_add(ret_list, i);
	}
	return true;
}

static bool read_list(const char *root, uint32_t cpu, const char *name,
		      struct dn_cpu_list *ret_list)
{
	char path[256];
	char text[1024];

	(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/%s", cpu, name);
	return dn_source_line(root, path, text, sizeof(text)) == 0 &&
	       dn_cpu_list_parse(text, ret_list);
}

/* A core counts once, by the first of its hardware threads that is allowed. */
static uint32_t count_cores(const char *root, const struct dn_cpu_list *allowed)
{
	uint32_t cores = 0;

	for (uint32_t i = 0; i < DN_CPU_LIST_MAX; i++) {
		struct dn_cpu_list siblings;

		if (!dn_cpu_list_has(allowed, i))
			continue;
		if (read_list(root, i, "topology/thread_siblings_list", &siblings)) {
			dn_cpu_list_intersect(&siblings, allowed);
			if (dn_cpu_list_first(&siblings) < i)
				continue;
		}
		cores++;
	}
	return cores;
}

static void add_cache(const char *root, uint32_t number, int index, bool first,
		      const struct dn_cpu_list *allowed, struct dn_cpu *cpu)
{
	char path[128];
	char type[32];
	uint64_t level = 0;
	uint64_t bytes = 0;
	struct dn_cpu_list shared;
	int n = snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/cache/index%d/", number,
			 index);
	char *tail = path + n;
	size_t room = sizeof(path) - (size_t)n;

	(void)snprintf(tail, room, "type");
	if (dn_source_line(root, path, type, sizeof(type)) < 0 || strcmp(type, "Instruction") == 0)
		return;
	(void)snprintf(tail, room, "level");
	if (dn_source_number(root, path, &level) < 0)
		return;
	(void)snprintf(tail, room, "size");
	if (dn_source_number(root, path, &bytes) < 0)
		return;
	if (first && level == 1)
		cpu->l1d = bytes;
	else if (first && level == 2)
		cpu->l2 = bytes;
	else if (first && level == 3)
		cpu->l3 = bytes;
	if (level != 3)
		return;
	(void)snprintf(path, sizeof(path), "cache/index%d/shared_cpu_list", index);
	if (read_list(root, number, path, &shared)) {
		dn_cpu_list_intersect(&shared, allowed);
		if (dn_cpu_list_first(&shared) < number)
			return;
	}
	if (!dn_add_ok(cpu->l3_total, bytes, &cpu->l3_total))
		cpu->l3_total = UINT64_MAX;
}

static void read_caches(const char *root, const struct dn_cpu_list *allowed, struct dn_cpu *cpu)
{
	uint32_t first = dn_cpu_list_first(allowed);

	for (uint32_t i = first; i < DN_CPU_LIST_MAX; i++) {
		for (int index = 0; dn_cpu_list_has(allowed, i) && index < 5; index++)
			add_cache(root, i, index, i == first, allowed, cpu);
	}
}

/* cpu.max: "200000 100000" or "max 100000"; version 1 has two files, -1 for no limit. */
static void visit_quota(void *data, const char *root, const char *directory, int version)
{
	uint32_t *least = data;
	char path[DN_CGROUP_PATH_MAX + 32];
	char line[64];
	const char *rest = line;
	uint64_t quota, period, milli;

	(void)snprintf(path, sizeof(path), "%s/%s", directory,
		       version == 2 ? "cpu.max" : "cpu.cfs_quota_us");
	if (dn_source_line(root, path, line, sizeof(line)) < 0 ||
	    !dn_source_parse(line, &quota, &rest))
		return;
	if (version == 2) {
		rest += strspn(rest, " ");
		if (!dn_source_parse(rest, &period, NULL))
			return;
	} else {
		(void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", directory);
		if (dn_source_number(root, path, &period) < 0)
			return;
	}
	if (period == 0 || !dn_mul_ok(quota, UINT64_C(1000), &milli))
		return;
	milli = DN_MAX(milli / period, UINT64_C(1));
	if (milli < UINT32_MAX && (*least == 0 || milli < *least))
		*least = (uint32_t)milli;
}

static uint32_t default_threads(const struct dn_cpu *cpu)
{
	uint32_t threads = DN_MAX(cpu->cores, 1U);

	/* A thread beyond the quota would be stopped in the middle of a step: round down. */
	if (cpu->quota_milli)
		threads = DN_MIN(threads, DN_MAX(cpu->quota_milli / 1000, 1U));
	return DN_MIN(threads, (uint32_t)THREADS_MAX);
}

static void read_usable(const char *root, struct dn_cpu_list *ret_online,
			struct dn_cpu_list *ret_allowed)
{
	char line[1024];

	if (dn_source_line(root, "/sys/devices/system/cpu/online", line, sizeof(line)) < 0 ||
	    !dn_cpu_list_parse(line, ret_online))
		memset(ret_online, 0, sizeof(*ret_online));
	if (!read_allowed(root, ret_allowed))
		*ret_allowed = *ret_online;
	/* Cpus_allowed_list may name CPUs that could be plugged in. */
	if (dn_cpu_list_count(ret_online))
		dn_cpu_list_intersect(ret_allowed, ret_online);
	else
		*ret_online = *ret_allowed;
}

/* How many of the allowed hardware threads of the same core come before this one. */
static uint32_t rank_in_core(const char *root, uint32_t cpu, const struct dn_cpu_list *allowed)
{
	struct dn_cpu_list siblings;
	uint32_t rank = 0;

	if (!read_list(root, cpu, "topology/thread_siblings_list", &siblings))
		return 0;
	for (uint32_t i = 0; i < cpu; i++)
		rank += dn_cpu_list_has(&siblings, i) && dn_cpu_list_has(allowed, i);
	return rank;
}

/* What the kernel thinks a CPU can do, 1024 for the best; all alike where it does not say. */
static uint32_t capacity_of(const char *root, uint32_t cpu)
{
	char path[128];
	uint64_t capacity;

	(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/cpu_capacity", cpu);
	if (dn_source_number(root, path, &capacity) < 0)
		return BEST_CAPACITY;
	return (uint32_t)DN_MIN(capacity, (uint64_t)BEST_CAPACITY);
}

uint32_t dn_cpu_spread(const char *root, uint16_t *ret_cpus, uint32_t max)
{
	uint32_t keys[DN_CPU_SPREAD_MAX];
	struct dn_cpu_list online, allowed;
	uint32_t n = 0;

	max = DN_MIN(max, (uint32_t)DN_CPU_SPREAD_MAX);
	read_usable(root, &online, &allowed);
	for (uint32_t i = 0; i < DN_CPU_LIST_MAX; i++) {
		uint32_t key, at;

		if (!dn_cpu_list_has(&allowed, i))
			continue;
		key = rank_in_core(root, i, &allowed) * (BEST_CAPACITY + 1) + BEST_CAPACITY -
		      capacity_of(root, i);
		/* Into its place behind those that are as good: insertion keeps their order. */
		for (at = n; at > 0 && keys[at - 1] > key; at--)
			;
		if (at == max)
			continue;
		n = DN_MIN(n + 1, max);
		memmove(&keys[at + 1], &keys[at], (n - 1 - at) * sizeof(keys[0]));
		memmove(&ret_cpus[at + 1], &ret_cpus[at], (n - 1 - at) * sizeof(ret_cpus[0]));
		keys[at] = key;
		ret_cpus[at] = (uint16_t)i;
	}
	return n;
}

int dn_cpu_read(const char *root, struct dn_cpu *ret_cpu, struct dn_error *err)
{
	struct dn_cpu cpu = { .model = "" };
	struct dn_cpu_list online, allowed;
	uint64_t khz;
	int r = read_cpuinfo(root, &cpu, err);

	if (r < 0)
		return r;
	read_usable(root, &online, &allowed);
	cpu.online = dn_cpu_list_count(&online);
	cpu.allowed = dn_cpu_list_count(&allowed);
	cpu.cores = count_cores(root, &allowed);
	read_caches(root, &allowed, &cpu);
	if (dn_source_number(root, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", &khz) ==
	    0)
		cpu.max_mhz = (uint32_t)DN_MIN(khz / 1000, (uint64_t)UINT32_MAX);
	dn_cgroup_visit(root, "cpu", visit_quota, &cpu.quota_milli);
	cpu.threads = default_threads(&cpu);
	*ret_cpu = cpu;
	return 0;
}
