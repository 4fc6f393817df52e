/* SPDX-License-Identifier: MIT */
/* Little things about the machine that several verbs ask. */

#include <time.h>

#include "cli/cli.h"
#include "device/cpu.h"

uint64_t dn_cli_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint32_t dn_cli_default_threads(void)
{
	struct dn_cpu cpu;
	struct dn_error ignored = DN_ERROR_INIT;

	if (dn_cpu_read("", &cpu, &ignored) < 0)
		return 1;
	return DN_MIN(cpu.threads, 16U);
}
