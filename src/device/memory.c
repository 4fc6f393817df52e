/* SPDX-License-Identifier: MIT */
/* /proc/meminfo, the cgroups' memory controller, and huge pages. */

#include "device/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "base/base.h"
#include "device/cgroup.h"
#include "device/source.h"

/* The word in brackets: "always [madvise] never". */
static void read_choice(const char *root, const char *path, char *word, size_t size)
{
	char line[128];
	const char *open, *close;

	word[0] = '\0';
	if (dn_source_line(root, path, line, sizeof(line)) < 0)
		return;
	open = strchr(line, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close)
		(void)snprintf(word, size, "%.*s", (int)(close - open - 1), open + 1);
}

static bool read_in(const char *root, const char *directory, const char *name, uint64_t *ret_value)
{
	char path[DN_CGROUP_PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return dn_source_number(root, path, ret_value) == 0;
}

/* File pages that nobody used lately go as soon as somebody needs room. */
static uint64_t read_reclaimable(const char *root, const char *directory, int version)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	char path[DN_CGROUP_PATH_MAX + 64];
	uint64_t value = 0;

	(void)snprintf(path, sizeof(path), "%s/memory.stat", directory);
	if (dn_source_read(root, path, &buffer) < 0 ||
	    !dn_source_field_number(buffer.data,
				    version == 2 ? "inactive_file" : "total_inactive_file", &value))
		return 0;
	return value;
}

static void visit_limit(void *data, const char *root, const char *directory, int version)
{
	struct dn_memory *memory = data;
	uint64_t limit = UINT64_MAX;
	uint64_t high, used, reclaimable, left;

	if (version == 2) {
		/* Text ("max") instead of a number is no limit. */
		if (!read_in(root, directory, "memory.max", &limit))
			limit = UINT64_MAX;
		/* Above this one a process is not killed, but slowed until it hardly runs. */
		if (read_in(root, directory, "memory.high", &high))
			limit = DN_MIN(limit, high);
	} else if (!read_in(root, directory, "memory.limit_in_bytes", &limit)) {
		return;
	}
	/* Version 1 says "no limit" as the largest number of whole pages. */
	if (limit >= INT64_MAX - UINT64_C(0xffffff))
		return;
	if (memory->limit == 0 || limit < memory->limit)
		memory->limit = limit;
	if (!read_in(root, directory, version == 2 ? "memory.current" : "memory.usage_in_bytes",
		     &used))
		return;
	reclaimable = read_reclaimable(root, directory, version);
	used -= DN_MIN(used, reclaimable);
	left = limit > used ? limit - used : 0;
	memory->usable = DN_MIN(memory->usable, left);
}

static int read_meminfo(const char *root, struct dn_memory *memory, struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	int r = dn_source_read(root, "/proc/meminfo", &buffer);

	if (r == -ENOMEM)
		return dn_error_memory(err, "/proc/meminfo", buffer.max);
	if (r < 0)
		return 0;
	(void)dn_source_field_number(buffer.data, "MemTotal", &memory->total);
	/* Before Linux 3.14 only what is free is known. */
	if (!dn_source_field_number(buffer.data, "MemAvailable", &memory->available))
		(void)dn_source_field_number(buffer.data, "MemFree", &memory->available);
	(void)dn_source_field_number(buffer.data, "SwapTotal", &memory->swap_total);
	(void)dn_source_field_number(buffer.data, "SwapFree", &memory->swap_free);
	(void)dn_source_field_number(buffer.data, "Hugepagesize", &memory->huge_size);
	(void)dn_source_field_number(buffer.data, "HugePages_Total", &memory->huge_total);
	(void)dn_source_field_number(buffer.data, "HugePages_Free", &memory->huge_free);
	return 0;
}

int dn_memory_read(const char *root, struct dn_memory *ret_memory, struct dn_error *err)
{
	struct dn_memory memory = { .overcommit = -1 };
	uint64_t mode;
	int r = read_meminfo(root, &memory, err);

	if (r < 0)
		return r;
	memory.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	memory.usable = memory.available;
	dn_cgroup_visit(root, "memory", visit_limit, &memory);
	read_choice(root, "/sys/kernel/mm/transparent_hugepage/enabled", memory.thp,
		    sizeof(memory.thp));
	read_choice(root, "/sys/kernel/mm/transparent_hugepage/defrag", memory.thp_defrag,
		    sizeof(memory.thp_defrag));
	read_choice(root, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", memory.thp_shmem,
		    sizeof(memory.thp_shmem));
	if (dn_source_number(root, "/proc/sys/vm/overcommit_memory", &mode) == 0 && mode <= 2)
		memory.overcommit = (int)mode;
	*ret_memory = memory;
	return 0;
}

int dn_memory_of_process(const char *root, pid_t pid, struct dn_memory_use *ret_use,
			 struct dn_error *err)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT(65536);
	struct dn_memory_use use = { 0 };
	char path[64] = "/proc/self/smaps_rollup";
	int r;

	if (pid)
		(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	r = dn_source_read(root, path, &buffer);
	if (r < 0)
		return dn_error_errno(err, -r, "memory of a process: read '%s'", path);
	if (!dn_source_field_number(buffer.data, "Rss", &use.rss) ||
	    !dn_source_field_number(buffer.data, "Pss", &use.pss))
		return dn_error_set(err, EBADMSG, "memory of a process: '%s' has no Rss and Pss",
				    path);
	/* Since Linux 5.9. */
	(void)dn_source_field_number(buffer.data, "Pss_Anon", &use.anonymous);
	(void)dn_source_field_number(buffer.data, "Pss_File", &use.file);
	(void)dn_source_field_number(buffer.data, "Pss_Shmem", &use.shared);
	*ret_use = use;
	return 0;
}
