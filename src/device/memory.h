/* SPDX-License-Identifier: MIT */
/* How much memory there is, how much of it this process may have, and in which pages. */
#ifndef DUNLIN_DEVICE_MEMORY_H
#define DUNLIN_DEVICE_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

#include <dunlin/error.h>

/**
 * struct dn_memory - bytes; 0 and "" where the kernel does not say
 * @total, @available: of the machine (MemTotal, MemAvailable)
 * @limit: the tightest memory limit among the cgroups; 0: none
 * @usable: what can still be taken without swapping or being killed: the least of @available and,
 *	for each cgroup, its limit less what is in use and cannot be reclaimed
 * @thp: "always", "madvise" or "never": transparent huge pages for anonymous memory
 * @thp_defrag: what an allocation does to get one
 * @thp_shmem: the same as @thp for shared memory (memfd)
 * @huge_size, @huge_total, @huge_free: hugetlb pages: bytes of one, and counts
 * @overcommit: /proc/sys/vm/overcommit_memory; 2: promises are counted; -1: unknown
 */
struct dn_memory {
	uint64_t total;
	uint64_t available;
	uint64_t swap_total;
	uint64_t swap_free;
	uint64_t limit;
	uint64_t usable;
	uint32_t page_size;
	char thp[16];
	char thp_defrag[16];
	char thp_shmem[16];
	uint64_t huge_size;
	uint64_t huge_total;
	uint64_t huge_free;
	int overcommit;
};

/**
 * dn_memory_read() - fill @ret_memory
 * @root: put before /proc and /sys; "" for this machine
 *
 * Return: 0, or -ENOMEM.
 */
DN_MUST_CHECK int dn_memory_read(const char *root, struct dn_memory *ret_memory,
				 struct dn_error *err);

/**
 * struct dn_memory_use - what one process holds, in bytes
 * @pss: each page shared by n processes counts as one n-th: these add up
 * @anonymous: of @pss, memory of its own; @file and @shared: page cache, and memfds
 */
struct dn_memory_use {
	uint64_t rss;
	uint64_t pss;
	uint64_t anonymous;
	uint64_t file;
	uint64_t shared;
};

/**
 * dn_memory_of_process() - the memory of @pid (0: this one) from its smaps_rollup
 *
 * Return: 0, -ENOENT (gone, or a kernel before 4.14), -EACCES (another user's, or jailed without
 * `measurable`), -EBADMSG.
 */
DN_MUST_CHECK int dn_memory_of_process(const char *root, pid_t pid, struct dn_memory_use *ret_use,
				       struct dn_error *err);

#endif /* DUNLIN_DEVICE_MEMORY_H */
