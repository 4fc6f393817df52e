/* SPDX-License-Identifier: MIT */
/* Little things about the machine that several verbs ask. */

#include <sched.h>
#include <time.h>

#include "cli/cli.h"

uint64_t dn_cli_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint32_t dn_cli_default_threads(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 1;
	return (uint32_t)DN_MIN(CPU_COUNT(&set), 16);
}
