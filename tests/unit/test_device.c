/* SPDX-License-Identifier: MIT */
/* Other machines, as trees of files; and this one, against what other calls say of it. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "device/accelerator.h"
#include "device/bandwidth.h"
#include "device/cpu-list.h"
#include "device/cpu.h"
#include "device/kernel.h"
#include "device/memory.h"
#include "device/source.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

/* A tree that vanishes with its test. */
static char tree[PATH_MAX];

static int set_up(void **state)
{
	const char *folder = getenv("TMPDIR");

	(void)state;
	(void)snprintf(tree, sizeof(tree), "%s/dunlin-device-XXXXXX", folder ? folder : P_tmpdir);
	return mkdtemp(tree) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	return nftw(tree, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
	char full[PATH_MAX * 2];
	FILE *file;

	(void)snprintf(full, sizeof(full), "%s%s", tree, path);
	for (char *at = strchr(full + strlen(tree) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		(void)mkdir(full, 0700);
		*at = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static struct dn_cpu read_cpu(void)
{
	struct dn_cpu cpu;

	assert_int_equal(dn_cpu_read(tree, &cpu, NULL), 0);
	return cpu;
}

static struct dn_memory read_memory(void)
{
	struct dn_memory memory;

	assert_int_equal(dn_memory_read(tree, &memory, NULL), 0);
	return memory;
}

/* Four cores of two threads each, of which a cpuset leaves the first six CPUs. */
static void put_desktop(void)
{
	char path[128], text[32];

	put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Desktop\033[2J CPU @ 4GHz\n"
			     "flags\t\t: fpu sse4_2 avx avx2 fma f16c avx_vnni avx2x\n\n"
			     "processor\t: 1\nmodel name\t: other\n"
			     "flags\t\t: fpu sse4_2 avx avx2 fma f16c\n");
	put("/sys/devices/system/cpu/online", "0-7\n");
	put("/proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-5,9\n");
	for (int i = 0; i < 8; i++) {
		(void)snprintf(path, sizeof(path),
			       "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
		(void)snprintf(text, sizeof(text), "%d,%d\n", i % 4, i % 4 + 4);
		put(path, text);
	}
	for (int i = 0; i < 8; i++) {
		static const char *const files[][3] = {
			{ "Data", "1", "48K" },
			{ "Instruction", "1", "32K" },
			{ "Unified", "2", "1280K" },
			{ "Unified", "3", "12M" },
		};

		for (int index = 0; index < 4; index++) {
			static const char *const names[] = { "type", "level", "size" };

			for (int j = 0; j < 3; j++) {
				(void)snprintf(path, sizeof(path),
					       "/sys/devices/system/cpu/cpu%d/cache/index%d/%s", i,
					       index, names[j]);
				put(path, files[index][j]);
			}
		}
		(void)snprintf(path, sizeof(path),
			       "/sys/devices/system/cpu/cpu%d/cache/index3/shared_cpu_list", i);
		put(path, i % 4 < 2 ? "0-1,4-5" : "2-3,6-7");
	}
}

static void test_desktop(void **state)
{
	struct dn_cpu cpu;

	(void)state;
	put_desktop();
	cpu = read_cpu();
	/* What a terminal would act on does not get through. */
	assert_null(strchr(cpu.model, '\033'));
	assert_non_null(strstr(cpu.model, "CPU @ 4GHz"));
	assert_int_equal(cpu.online, 8);
	assert_int_equal(cpu.allowed, 6);
	/* CPUs 0 and 4, 1 and 5 are the same cores. */
	assert_int_equal(cpu.cores, 4);
	assert_int_equal(cpu.threads, 4);
	assert_int_equal(cpu.quota_milli, 0);
	assert_int_equal(cpu.l1d, 48 * KIB);
	assert_int_equal(cpu.l2, 1280 * KIB);
	assert_int_equal(cpu.l3, 12 * MIB);
	assert_int_equal(cpu.l3_total, 24 * MIB);
	/* avx_vnni is on one CPU only; "avx2x" is not avx2. */
	assert_int_equal(cpu.features, 1U << DN_CPU_SSE42 | 1U << DN_CPU_AVX | 1U << DN_CPU_AVX2 |
					       1U << DN_CPU_FMA | 1U << DN_CPU_F16C);
}

/* What @max of them are, as "0 1 4 "; and that no more is written. */
static const char *spread(uint32_t max)
{
	static char text[256];
	uint16_t cpus[DN_CPU_SPREAD_MAX + 1];
	uint32_t n;

	memset(cpus, 0xff, sizeof(cpus));
	n = dn_cpu_spread(tree, cpus, max);
	assert_true(n <= max);
	assert_int_equal(cpus[n], 0xffff);
	text[0] = '\0';
	for (uint32_t i = 0; i < n; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u ", cpus[i]);
	return text;
}

static void test_spread(void **state)
{
	char path[128];

	(void)state;
	assert_string_equal(spread(8), "");
	put_desktop();
	/* Each core once, then the second threads of those that have one left. */
	assert_string_equal(spread(8), "0 1 2 3 4 5 ");
	assert_string_equal(spread(5), "0 1 2 3 4 ");
	assert_string_equal(spread(0), "");
	/* Neighbours in number that share a core do not come one behind the other. */
	for (int i = 0; i < 4; i++) {
		char text[32];

		(void)snprintf(path, sizeof(path),
			       "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
		(void)snprintf(text, sizeof(text), "%d-%d\n", i / 2 * 2, i / 2 * 2 + 1);
		put(path, text);
	}
	put("/proc/self/status", "Cpus_allowed_list:\t0-3\n");
	assert_string_equal(spread(8), "0 2 1 3 ");
	put("/proc/self/status", "Cpus_allowed_list:\t1-3\n");
	assert_string_equal(spread(8), "1 2 3 ");
	/* The strong cores of a big.LITTLE pair first. */
	for (int i = 0; i < 8; i++) {
		(void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpu_capacity", i);
		put(path, i < 2 ? "414\n" : "1024\n");
	}
	put("/proc/self/status", "Cpus_allowed_list:\t0,2,5,7\n");
	assert_string_equal(spread(8), "2 5 7 0 ");
}

static void test_arm_board(void **state)
{
	struct dn_cpu cpu;

	(void)state;
	put("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd crc32 asimdhp asimddp\n"
			     "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nRevision\t: c04170\n");
	put("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0");
	put("/sys/devices/system/cpu/online", "0-3\n");
	put("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "2400000\n");
	cpu = read_cpu();
	assert_string_equal(cpu.model, "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)");
	assert_int_equal(cpu.max_mhz, 2400);
	assert_int_equal(cpu.threads, 4);
	assert_int_equal(cpu.features,
			 1U << DN_CPU_ASIMD | 1U << DN_CPU_FP16 | 1U << DN_CPU_DOTPROD);
	for (int i = 0; i < DN_CPU_FEATURES; i++)
		assert_string_not_equal(dn_cpu_feature_name((enum dn_cpu_feature)i), "unknown");
}

static void test_quota(void **state)
{
	(void)state;
	put_desktop();
	/* Version 2: the tightest of a group and those above it. */
	put("/proc/self/cgroup", "0::/user.slice/a.service\n");
	put("/sys/fs/cgroup/user.slice/a.service/cpu.max", "max 100000\n");
	assert_int_equal(read_cpu().quota_milli, 0);
	put("/sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
	assert_int_equal(read_cpu().quota_milli, 2500);
	/* A third thread would be stopped half of the time. */
	assert_int_equal(read_cpu().threads, 2);
	put("/sys/fs/cgroup/user.slice/a.service/cpu.max", "50000 100000\n");
	assert_int_equal(read_cpu().quota_milli, 500);
	assert_int_equal(read_cpu().threads, 1);

	/* Version 1, in a container: its path is not below the mount. */
	put("/proc/self/cgroup", "4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n");
	put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
	put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
	assert_int_equal(read_cpu().quota_milli, 3000);
	put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
	assert_int_equal(read_cpu().quota_milli, 0);
}

static void test_memory(void **state)
{
	struct dn_memory memory;

	(void)state;
	put("/proc/meminfo", "MemTotal:        8000 kB\nMemFree:  1 kB\nMemAvailable:  6000 kB\n"
			     "SwapTotal: 100 kB\nSwapFree: 50 kB\nHugePages_Total:  4\n"
			     "HugePages_Free:  3\nHugepagesize:  2048 kB\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	put("/sys/kernel/mm/transparent_hugepage/defrag", "always defer [defer+madvise] never\n");
	put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "[never] no bracket\n");
	put("/proc/sys/vm/overcommit_memory", "2\n");
	memory = read_memory();
	assert_int_equal(memory.total, 8000 * KIB);
	assert_int_equal(memory.available, 6000 * KIB);
	assert_int_equal(memory.usable, 6000 * KIB);
	assert_int_equal(memory.limit, 0);
	assert_int_equal(memory.swap_free, 50 * KIB);
	assert_int_equal(memory.huge_size, 2 * MIB);
	assert_int_equal(memory.huge_total, 4);
	assert_int_equal(memory.huge_free, 3);
	assert_string_equal(memory.thp, "madvise");
	assert_string_equal(memory.thp_defrag, "defer+madvise");
	assert_string_equal(memory.thp_shmem, "never");
	assert_int_equal(memory.overcommit, 2);
	assert_int_equal(memory.page_size, sysconf(_SC_PAGESIZE));
}

static void test_memory_limits(void **state)
{
	struct dn_memory memory;

	(void)state;
	put("/proc/meminfo", "MemTotal: 8192 kB\nMemAvailable: 6144 kB\n");
	put("/proc/self/cgroup", "0::/a/b\n");
	put("/sys/fs/cgroup/a/b/memory.max", "max\n");
	put("/sys/fs/cgroup/a/memory.max", "4194304\n");
	put("/sys/fs/cgroup/a/memory.current", "3145728\n");
	put("/sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1048576\nactive_file 7\n");
	memory = read_memory();
	assert_int_equal(memory.limit, 4 * MIB);
	/* 4 MiB less 3, of which 1 can be reclaimed. */
	assert_int_equal(memory.usable, 2 * MIB);
	put("/sys/fs/cgroup/a/memory.high", "2097152\n");
	memory = read_memory();
	assert_int_equal(memory.limit, 2 * MIB);
	assert_int_equal(memory.usable, 0);

	put("/proc/self/cgroup", "9:memory:/x\n");
	put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
	assert_int_equal(read_memory().limit, 0);
	put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "5242880\n");
	put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "1048576\n");
	memory = read_memory();
	assert_int_equal(memory.limit, 5 * MIB);
	assert_int_equal(memory.usable, 4 * MIB);
}

/* Nothing there, nothing readable, nonsense everywhere: zeros, and one thread. */
static void test_broken(void **state)
{
	struct dn_cpu cpu = read_cpu();
	struct dn_memory memory = read_memory();
	struct dn_kernel kernel;
	char *noise = malloc(70000);

	(void)state;
	assert_int_equal(cpu.threads, 1);
	assert_int_equal(cpu.online, 0);
	assert_int_equal(memory.total, 0);
	assert_int_equal(memory.overcommit, -1);
	assert_string_equal(memory.thp, "");

	assert_non_null(noise);
	memset(noise, '9', 69999);
	noise[69999] = '\0';
	put("/proc/cpuinfo", "model name\nflags\t\t\nflags\n:::\n\n:");
	put("/proc/meminfo", "MemTotal: 99999999999999999999 kB\nMemAvailable: kB\nSwapTotal");
	put("/proc/self/status", "Cpus_allowed_list:\t5-2\n");
	put("/proc/self/cgroup", "0\n:\n::\n0::/../../etc\n0::relative\n7:cpu\n");
	put("/sys/devices/system/cpu/online", "0-99999999999\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "]always[\n");
	put("/sys/fs/cgroup/cpu.max", "100000 0\n");
	put("/sys/fs/cgroup/memory.max", noise);
	put("/proc/sys/vm/overcommit_memory", "");
	cpu = read_cpu();
	memory = read_memory();
	assert_int_equal(cpu.threads, 1);
	assert_int_equal(cpu.quota_milli, 0);
	assert_int_equal(cpu.features, 0);
	assert_int_equal(memory.total, 0);
	assert_int_equal(memory.limit, 0);
	assert_string_equal(memory.thp, "");
	free(noise);

	/* A folder where a file should be. */
	put("/sys/devices/system/cpu/possible/x", "");
	assert_int_equal(dn_source_line(tree, "/sys/devices/system/cpu/possible", cpu.model,
					sizeof(cpu.model)),
			 -EISDIR);
	(void)dn_kernel_read(tree, &kernel, NULL);
	assert_int_equal(kernel.accelerator_count, 0);
	assert_false(kernel.pressure);
}

static void test_cpu_lists(void **state)
{
	static const char *const wrong[] = { "",    ",",   "1,",   "a",	     "1-",  "-1",
					     "2-1", "1 2", "4096", "0-5000", "1,,2" };
	struct dn_cpu_list list;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(wrong); i++)
		assert_false(dn_cpu_list_parse(wrong[i], &list));
	assert_true(dn_cpu_list_parse("0-3,8,4095\n", &list));
	assert_int_equal(dn_cpu_list_count(&list), 6);
	assert_int_equal(dn_cpu_list_first(&list), 0);
	assert_true(dn_cpu_list_has(&list, 8));
	assert_false(dn_cpu_list_has(&list, 7));
	assert_false(dn_cpu_list_has(&list, 100000));
	memset(&list, 0, sizeof(list));
	assert_int_equal(dn_cpu_list_first(&list), DN_CPU_LIST_MAX);
}

static void test_accelerators(void **state)
{
	struct dn_kernel kernel;

	(void)state;
	put("/dev/accel/accel0", "");
	put("/dev/accel/accel3", "");
	put("/sys/class/accel/accel0/device/uevent", "DRIVER=rocket\nOF_NAME=npu\n");
	put("/dev/accel1", "");
	put("/dev/dri/card0", "");
	put("/dev/dri/renderD129", "");
	put("/sys/class/drm/renderD129/device/uevent", "DRIVER=panthor\033[2J\n");
	put("/proc/pressure/memory", "some avg10=0.00\n");
	(void)dn_kernel_read(tree, &kernel, NULL);
	assert_int_equal(kernel.accelerator_count, 4);
	assert_string_equal(kernel.accelerators[0].device, "/dev/accel/accel0");
	assert_string_equal(kernel.accelerators[0].name, "rocket");
	assert_string_equal(kernel.accelerators[1].device, "/dev/accel/accel3");
	assert_string_equal(kernel.accelerators[1].name, "unknown");
	assert_string_equal(kernel.accelerators[2].device, "/dev/accel1");
	assert_string_equal(kernel.accelerators[3].device, "/dev/dri/renderD129");
	assert_null(strchr(kernel.accelerators[3].name, '\033'));
	assert_non_null(strstr(kernel.accelerators[3].name, "panthor"));
	assert_true(kernel.pressure);
}

/* More nodes than there is room for. */
static void test_many_accelerators(void **state)
{
	struct dn_accelerator found[DN_ACCELERATORS_MAX + 1];

	(void)state;
	assert_int_equal(dn_accelerators_find(tree, found), 0);
	for (int i = 0; i < DN_ACCELERATORS_MAX + 4; i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "/dev/dri/renderD%d", 128 + i);
		put(path, "");
	}
	memset(found, 0x5a, sizeof(found));
	assert_int_equal(dn_accelerators_find(tree, found), DN_ACCELERATORS_MAX);
	assert_string_equal(found[DN_ACCELERATORS_MAX - 1].device, "/dev/dri/renderD143");
	assert_int_equal(found[DN_ACCELERATORS_MAX].device[0], 0x5a);
}

static void test_process_memory(void **state)
{
	struct dn_memory_use use;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	put("/proc/77/smaps_rollup", "55-7f ---p 0 00:00 0 [rollup]\nRss:  300 kB\nPss:  200 kB\n"
				     "Pss_Dirty: 7 kB\nPss_Anon: 50 kB\nPss_File: 100 kB\n"
				     "Pss_Shmem: 25 kB\n");
	put("/proc/78/smaps_rollup", "Rss:  300 kB\n");
	assert_int_equal(dn_memory_of_process(tree, 77, &use, NULL), 0);
	assert_int_equal(use.rss, 300 * KIB);
	assert_int_equal(use.pss, 200 * KIB);
	assert_int_equal(use.anonymous, 50 * KIB);
	assert_int_equal(use.file, 100 * KIB);
	assert_int_equal(use.shared, 25 * KIB);
	assert_int_equal(dn_memory_of_process(tree, 78, &use, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "/proc/78/smaps_rollup"));
	assert_int_equal(dn_memory_of_process(tree, 79, &use, &err), -ENOENT);
}

/* This machine, whatever it is, agrees with what system calls say. */
static void test_this_machine(void **state)
{
	struct dn_cpu cpu;
	struct dn_memory memory;
	struct dn_memory_use before, after;
	struct dn_kernel kernel;
	struct utsname name;
	cpu_set_t set;
	char *block;

	(void)state;
	assert_int_equal(dn_cpu_read("", &cpu, NULL), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	assert_int_equal(cpu.allowed, CPU_COUNT(&set));
	assert_true(cpu.threads >= 1 && cpu.threads <= cpu.allowed);
	assert_true(cpu.cores >= 1 && cpu.cores <= cpu.allowed);
	assert_true(cpu.online >= cpu.allowed);
	assert_int_equal(dn_memory_read("", &memory, NULL), 0);
	assert_true(memory.total > 16 * MIB);
	assert_true(memory.available <= memory.total);
	assert_true(memory.usable <= memory.available);
	(void)dn_kernel_read("", &kernel, NULL);
	assert_int_equal(uname(&name), 0);
	assert_string_equal(kernel.release, name.release);
	assert_true(kernel.limits.files > 0);

	if (dn_memory_of_process("", 0, &before, NULL) < 0)
		skip(); /* before 4.14, or emulated */
	block = malloc(20 * MIB);
	assert_non_null(block);
	memset(block, 1, 20 * MIB);
	assert_int_equal(dn_memory_of_process("", 0, &after, NULL), 0);
	assert_true(after.pss >= before.pss + 19 * MIB);
	assert_true(after.pss <= before.pss + 40 * MIB);
	free(block);
}

static void test_bandwidth(void **state)
{
	struct dn_bandwidth bandwidth;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	assert_int_equal(dn_bandwidth_measure(0, MIB, 1, &bandwidth, &err), -EINVAL);
	assert_int_equal(dn_bandwidth_measure(65, MIB, 1, &bandwidth, NULL), -EINVAL);
	assert_int_equal(dn_bandwidth_measure(1, MIB - 1, 1, &bandwidth, NULL), -EINVAL);
	for (uint32_t threads = 1; threads <= 3; threads++) {
		assert_int_equal(dn_bandwidth_measure(threads, 8 * MIB + 77, 5, &bandwidth, NULL),
				 0);
		assert_true(bandwidth.passes >= 3);
		/* No memory is faster than this: a figure above it means that nothing was read. */
		assert_true(bandwidth.best > 0.01 && bandwidth.best < 20000);
		assert_true(bandwidth.median > 0 && bandwidth.median <= bandwidth.best);
	}
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_desktop),
		CASE(test_spread),
		CASE(test_arm_board),
		CASE(test_quota),
		CASE(test_memory),
		CASE(test_memory_limits),
		CASE(test_broken),
		CASE(test_accelerators),
		CASE(test_many_accelerators),
		CASE(test_process_memory),
		cmocka_unit_test(test_cpu_lists),
		cmocka_unit_test(test_this_machine),
		cmocka_unit_test(test_bandwidth),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
