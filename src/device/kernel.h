/* SPDX-License-Identifier: MIT */
/* What the running kernel offers, and what this process may ask of it. */
#ifndef DUNLIN_DEVICE_KERNEL_H
#define DUNLIN_DEVICE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "device/accelerator.h"

/* The soft limit of a resource; UINT64_MAX: unlimited. */
struct dn_limits {
	uint64_t locked_memory;
	uint64_t files;
	uint64_t realtime_priority;
	uint64_t processes;
	uint64_t address_space;
};

/**
 * struct dn_kernel - found by asking, not by version numbers
 * @seccomp: a filter can end a whole process
 * @landlock_abi: 0: none
 * @memfd: sealed memory can be made
 * @pressure: /proc/pressure (PSI) can be read
 * @io_uring: this process could use it (Dunlin's workers never do)
 */
struct dn_kernel {
	char release[96];
	char machine[32];
	bool seccomp;
	uint32_t landlock_abi;
	bool memfd;
	bool pidfd;
	bool pressure;
	bool io_uring;
	uint32_t accelerator_count;
	struct dn_accelerator accelerators[DN_ACCELERATORS_MAX];
	struct dn_limits limits;
};

/**
 * dn_kernel_read() - fill @ret_kernel
 * @root: put before /proc, /sys and /dev; "" for this machine. System calls ask this kernel.
 *
 * Return: 0.
 */
int dn_kernel_read(const char *root, struct dn_kernel *ret_kernel, struct dn_error *err);

#endif /* DUNLIN_DEVICE_KERNEL_H */
