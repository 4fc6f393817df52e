/* SPDX-License-Identifier: MIT */
/* What the doctor found, for a person and for a program, and what it recommends. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor.h"

static void advise(struct dn_findings *findings, bool when, const char *words)
{
	if (when && findings->n_advice < DN_DOCTOR_ADVICE_MAX)
		findings->advice[findings->n_advice++] = words;
}

static bool has(const struct dn_findings *findings, enum dn_cpu_feature feature)
{
	return findings->cpu.features & (1U << feature);
}

static bool is(const struct dn_findings *findings, const char *level)
{
	return findings->level && strcmp(findings->level, level) == 0;
}

void dn_doctor_advise(struct dn_findings *f)
{
	const struct dn_cpu *cpu = &f->cpu;

	advise(f, !f->level, "No kernels can be used: see DUNLIN_CPU.");
	advise(f, getenv("DUNLIN_CPU") != NULL,
	       "DUNLIN_CPU is set and may hold the kernels below what the CPU can do.");
	advise(f, is(f, "scalar") && !has(f, DN_CPU_AVX2) && !has(f, DN_CPU_ASIMD),
	       "The CPU has no vector instructions that Dunlin knows (AVX2, NEON): it will be "
	       "slow.");
	advise(f, is(f, "avx2"),
	       "The CPU has no 8-bit dot product (AVX-VNNI, AVX-512 VNNI): prefill takes longer.");
	advise(f, is(f, "neon"),
	       "The CPU has no 8-bit dot product (dotprod, i8mm): prefill takes longer.");
	advise(f, strcmp(f->memory.thp, "never") == 0,
	       "Huge pages are off; 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' "
	       "makes reading weights faster.");
	advise(f, cpu->quota_milli > 0 && cpu->quota_milli < cpu->cores * 1000,
	       "A cgroup gives less CPU time than the cores have: more of it means more tokens.");
	advise(f, cpu->allowed < cpu->online,
	       "The affinity of this process leaves out CPUs that run.");
	advise(f, f->memory.overcommit == 2,
	       "vm.overcommit_memory is 2: a model may be refused although memory is free.");
	advise(f, f->kernel.landlock_abi == 0,
	       "The kernel does not use Landlock: paths are closed to workers by seccomp alone.");
	advise(f, f->jail.measures[DN_JAIL_USER_NAMESPACE].state == DN_JAIL_ABSENT,
	       "User namespaces are not permitted: Landlock and seccomp alone keep processes "
	       "apart.");
	advise(f, f->kernel.accelerator_count > 0,
	       "There are accelerators; this version does not use them.");
	advise(f, f->jail_error[0] != '\0', "No worker could be started: nothing will run.");
}

static double mib(uint64_t bytes)
{
	return (double)bytes / 0x1p20;
}

static const char *or_unknown(const char *text)
{
	return text[0] != '\0' ? text : "unknown";
}

static void print_cpu(const struct dn_findings *f)
{
	const struct dn_cpu *cpu = &f->cpu;

	printf("CPU            %s\n", or_unknown(cpu->model));
	printf("features      ");
	for (unsigned int i = 0; i < DN_CPU_FEATURES; i++)
		if (cpu->features & (1U << i))
			printf(" %s", dn_cpu_feature_name((enum dn_cpu_feature)i));
	printf("\nkernels        %s\n", f->level ? f->level : f->level_error);
	printf("cores          %u of %u CPUs allowed, %u physical; %u threads by default\n",
	       cpu->allowed, cpu->online, cpu->cores, dn_cli_default_threads());
	if (cpu->quota_milli > 0)
		printf("CPU quota      %.3f CPUs\n", cpu->quota_milli / 1000.0);
	printf("caches         L1 %.0f KiB, L2 %.0f KiB, L3 %.0f MiB\n", (double)cpu->l1d / 1024,
	       (double)cpu->l2 / 1024, mib(cpu->l3_total));
}

static void print_memory(const struct dn_findings *f)
{
	const struct dn_memory *memory = &f->memory;

	printf("memory         %.0f MiB, %.0f MiB available, %.0f MiB usable here\n",
	       mib(memory->total), mib(memory->available), mib(memory->usable));
	if (memory->limit > 0)
		printf("memory limit   %.0f MiB (cgroup)\n", mib(memory->limit));
	printf("huge pages     transparent: %s; shared: %s; reserved: %llu of %.0f MiB\n",
	       or_unknown(memory->thp), or_unknown(memory->thp_shmem),
	       (unsigned long long)memory->huge_total, mib(memory->huge_size));
}

static void print_limit(const char *name, uint64_t value)
{
	if (value == UINT64_MAX)
		printf(" %s unlimited", name);
	else
		printf(" %s %llu", name, (unsigned long long)value);
}

static void print_kernel(const struct dn_findings *f)
{
	const struct dn_kernel *kernel = &f->kernel;

	printf("Linux          %s, %s; seccomp %s, Landlock %u, memfd %s, pidfd %s, PSI %s\n",
	       kernel->release, kernel->machine, kernel->seccomp ? "yes" : "no",
	       kernel->landlock_abi, kernel->memfd ? "yes" : "no", kernel->pidfd ? "yes" : "no",
	       kernel->pressure ? "yes" : "no");
	printf("limits        ");
	print_limit("files", kernel->limits.files);
	print_limit("locked memory", kernel->limits.locked_memory);
	print_limit("address space", kernel->limits.address_space);
	print_limit("processes", kernel->limits.processes);
	printf("\nreal time      %s; lockable",
	       f->realtime.scheduling ? "granted" : f->realtime.reason);
	print_limit("memory", f->realtime.lockable);
	printf("\naccelerators  ");
	for (uint32_t i = 0; i < kernel->accelerator_count; i++)
		printf(" %s (%s)", kernel->accelerators[i].device, kernel->accelerators[i].name);
	printf("%s\n", kernel->accelerator_count ? "" : " none");
}

void dn_doctor_print(const struct dn_findings *f)
{
	print_cpu(f);
	print_memory(f);
	print_kernel(f);
	printf("sandbox        %s\n", f->jail_error[0] ? f->jail_error : "of a worker:");
	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		enum dn_jail_measure measure = (enum dn_jail_measure)i;
		const char *reason = f->jail.measures[i].reason;

		printf("  %-20s %-9s %s%s%s\n", dn_jail_measure_name(measure),
		       dn_jail_state_name((enum dn_jail_state)f->jail.measures[i].state),
		       dn_jail_measure_purpose(measure), reason[0] ? ": " : "", reason);
	}
	if (f->n_advice > 0)
		printf("advice\n");
	for (size_t i = 0; i < f->n_advice; i++)
		printf("  - %s\n", f->advice[i]);
}

static json_t *cpu_json(const struct dn_findings *f)
{
	const struct dn_cpu *cpu = &f->cpu;
	json_t *features = json_array();

	for (unsigned int i = 0; i < DN_CPU_FEATURES; i++)
		if (cpu->features & (1U << i) &&
		    json_array_append_new(features, json_string(dn_cpu_feature_name(
							    (enum dn_cpu_feature)i))) < 0) {
			json_decref(features);
			return NULL;
		}
	return json_pack("{s:s, s:o, s:s?, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I}", "model",
			 cpu->model, "features", features, "level", f->level, "online",
			 (int)cpu->online, "allowed", (int)cpu->allowed, "cores", (int)cpu->cores,
			 "threads", (int)dn_cli_default_threads(), "quota_milli",
			 (int)cpu->quota_milli, "max_mhz", (int)cpu->max_mhz, "l1d_bytes",
			 (json_int_t)cpu->l1d, "l2_bytes", (json_int_t)cpu->l2, "l3_bytes",
			 (json_int_t)cpu->l3_total);
}

static json_t *memory_json(const struct dn_memory *memory)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:i, s:s, s:s, s:I, s:I, s:I, s:i}", "total_bytes",
			 (json_int_t)memory->total, "available_bytes",
			 (json_int_t)memory->available, "usable_bytes", (json_int_t)memory->usable,
			 "limit_bytes", (json_int_t)memory->limit, "page_bytes",
			 (int)memory->page_size, "transparent_huge_pages", memory->thp,
			 "shared_huge_pages", memory->thp_shmem, "huge_page_bytes",
			 (json_int_t)memory->huge_size, "huge_pages",
			 (json_int_t)memory->huge_total, "huge_pages_free",
			 (json_int_t)memory->huge_free, "overcommit", memory->overcommit);
}

/* Unlimited has no number in JSON. */
static json_t *limit_json(uint64_t value)
{
	return value > INT64_MAX ? json_null() : json_integer((json_int_t)value);
}

static json_t *kernel_json(const struct dn_kernel *kernel)
{
	json_t *accelerators = json_array();
	const struct dn_limits *limits = &kernel->limits;

	for (uint32_t i = 0; i < kernel->accelerator_count; i++)
		if (json_array_append_new(accelerators,
					  json_pack("{s:s, s:s}", "device",
						    kernel->accelerators[i].device, "driver",
						    kernel->accelerators[i].name)) < 0) {
			json_decref(accelerators);
			return NULL;
		}
	return json_pack(
		"{s:s, s:s, s:b, s:i, s:b, s:b, s:b, s:b, s:o, s:{s:o, s:o, s:o, s:o, s:o}}",
		"release", kernel->release, "machine", kernel->machine, "seccomp", kernel->seccomp,
		"landlock_abi", (int)kernel->landlock_abi, "memfd", kernel->memfd, "pidfd",
		kernel->pidfd, "pressure", kernel->pressure, "io_uring", kernel->io_uring,
		"accelerators", accelerators, "limits", "files", limit_json(limits->files),
		"locked_memory_bytes", limit_json(limits->locked_memory), "address_space_bytes",
		limit_json(limits->address_space), "processes", limit_json(limits->processes),
		"realtime_priority", limit_json(limits->realtime_priority));
}

static json_t *realtime_json(const struct dn_realtime *realtime)
{
	return json_pack("{s:b, s:s?, s:o}", "scheduling", realtime->scheduling, "reason",
			 realtime->scheduling ? NULL : realtime->reason, "lockable_bytes",
			 limit_json(realtime->lockable));
}

static json_t *jail_json(const struct dn_findings *f)
{
	json_t *jail = json_object();

	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		const char *state =
			dn_jail_state_name((enum dn_jail_state)f->jail.measures[i].state);

		if (json_object_set_new(jail, dn_jail_measure_name((enum dn_jail_measure)i),
					json_pack("{s:s, s:s}", "state", state, "reason",
						  f->jail.measures[i].reason)) < 0) {
			json_decref(jail);
			return NULL;
		}
	}
	return jail;
}

static json_t *advice_json(const struct dn_findings *f)
{
	json_t *advice = json_array();

	for (size_t i = 0; i < f->n_advice; i++)
		if (json_array_append_new(advice, json_string(f->advice[i])) < 0) {
			json_decref(advice);
			return NULL;
		}
	return advice;
}

int dn_doctor_print_json(const struct dn_findings *f, struct dn_error *err)
{
	json_t *json = json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:o, s:s?, s:o}", "version", DN_VERSION, "cpu",
		cpu_json(f), "memory", memory_json(&f->memory), "kernel", kernel_json(&f->kernel),
		"realtime", realtime_json(&f->realtime), "sandbox", jail_json(f), "worker_error",
		f->jail_error[0] != '\0' ? f->jail_error : NULL, "advice", advice_json(f));
	int r = json ? dn_cli_write_json(json, JSON_INDENT(2), err)
		     : dn_error_memory(err, "JSON output", 0);

	json_decref(json);
	return r;
}
