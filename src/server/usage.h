/* SPDX-License-Identifier: MIT */
/* What a process uses, as /proc tells everybody. */
#ifndef DUNLIN_SERVER_USAGE_H
#define DUNLIN_SERVER_USAGE_H

/* IWYU pragma: begin_exports */
#include <sys/types.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_usage - of a process, all its threads
 * @resident: bytes
 * @cpu_ns: user and system time
 */
struct dn_usage {
	uint64_t resident;
	uint64_t cpu_ns;
};

/* Zero where there is no such process. */
struct dn_usage dn_usage_of(pid_t pid);

/* CPU time in ns of children that ended, and were waited for. */
uint64_t dn_usage_of_ended(void);

#endif /* DUNLIN_SERVER_USAGE_H */
