/* SPDX-License-Identifier: MIT */
/*
 * A control group for each process that this one starts, with limits of memory and of processes,
 * where such groups may be made: version 2 below a delegated group, or the hierarchies of version 1.
 */
#ifndef DUNLIN_DEVICE_CGROUP_LIMITS_H
#define DUNLIN_DEVICE_CGROUP_LIMITS_H

#include <stdint.h>
#include <sys/types.h>

#include <dunlin/error.h>

#include "device/cgroup.h"

enum dn_cgroup_controller { DN_CGROUP_MEMORY, DN_CGROUP_PIDS, DN_CGROUP_CONTROLLERS };

#define DN_CGROUP_REASON_MAX 128

/**
 * struct dn_cgroup_limits - where groups can be made
 * @version: 2, 1, or 0: nowhere
 * @base: for each controller the directory; "" where it cannot be used, then @reason says why
 * @leaf: version 2: the group below @base in which this process now is; "": it did not move
 */
struct dn_cgroup_limits {
	int version;
	struct {
		char base[DN_CGROUP_PATH_MAX];
		char reason[DN_CGROUP_REASON_MAX];
	} controllers[DN_CGROUP_CONTROLLERS];
	char leaf[DN_CGROUP_PATH_MAX];
};

/**
 * struct dn_cgroup_group - the group of one process
 * @held: bits (1 << controller) of the limits that are in force
 */
struct dn_cgroup_group {
	uint32_t held;
	char directory[DN_CGROUP_CONTROLLERS][DN_CGROUP_PATH_MAX];
};

/**
 * dn_cgroup_limits_open() - find, and make ready, where groups can be made
 * @root: put before /proc and /sys; "" for this machine
 *
 * In version 2 a group has either processes or groups with limits: this process moves into a leaf
 * of its own. That is done only where the group is its to divide: it is the top of what can be
 * seen (a container), it was given to a user who is not root, or systemd says Delegate=.
 *
 * Nothing is fatal: where it fails, @ret_limits has the reasons, and a group has no limits.
 */
void dn_cgroup_limits_open(const char *root, struct dn_cgroup_limits *ret_limits);

/* Moves this process back, as far as that is possible; all groups were removed before. */
void dn_cgroup_limits_done(struct dn_cgroup_limits *limits);

/**
 * dn_cgroup_group_new() - make a group
 * @name: a file name without '/', of a group that is not there now
 * @memory: bytes, without swap; 0: no limit
 * @processes: threads count too; 0: no limit
 *
 * Return: 0 with all limits that were asked for in force; a negative errno where one is not: the
 * others are (see @ret_group->held), and @ret_group is to be used and removed all the same.
 */
DN_MUST_CHECK int dn_cgroup_group_new(const struct dn_cgroup_limits *limits, const char *name,
				      uint64_t memory, uint32_t processes,
				      struct dn_cgroup_group *ret_group, struct dn_error *err);

/* Moves a process in, with all of its threads: best before it has memory of its own. */
DN_MUST_CHECK int dn_cgroup_group_add(const struct dn_cgroup_group *group, pid_t pid,
				      struct dn_error *err);

/* Removes the group; its processes have ended, and were waited for. */
void dn_cgroup_group_done(struct dn_cgroup_group *group);

#endif /* DUNLIN_DEVICE_CGROUP_LIMITS_H */
