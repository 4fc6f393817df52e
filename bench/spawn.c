/* SPDX-License-Identifier: MIT */
/* What namespaces add to the start of a program: /bin/true, in turns, with none, each, and all. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"
#include "sandbox/spawn.h"

#define TURNS 300

static const struct {
	const char *name;
	uint32_t namespaces;
} sets[] = {
	{ "none", 0 },
	{ "user", DN_SPAWN_USER },
	{ "user, pid", DN_SPAWN_USER | DN_SPAWN_PID },
	{ "user, ipc", DN_SPAWN_USER | DN_SPAWN_IPC },
	{ "user, network", DN_SPAWN_USER | DN_SPAWN_NETWORK },
	{ "all", DN_SPAWN_ALL },
};

static double now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a;
	double right = *(const double *)b;

	return (left > right) - (left < right);
}

static int turn(uint32_t namespaces, double *ret_us)
{
	char *const arguments[] = { (char[]){ "true" }, NULL };
	const struct dn_spawn_options options = {
		.path = "/bin/true",
		.arguments = arguments,
		.namespaces = namespaces,
	};
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end;
	struct dn_error err = DN_ERROR_INIT;
	double begin = now_us();

	if (dn_spawn(&options, &child, &err) < 0 || dn_child_wait(&child, -1, &end, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.message);
		return -1;
	}
	*ret_us = now_us() - begin;
	return 0;
}

int main(void)
{
	static double us[DN_ARRAY_SIZE(sets)][TURNS];

	for (size_t i = 0; i < TURNS; i++) {
		for (size_t set = 0; set < DN_ARRAY_SIZE(sets); set++) {
			if (turn(sets[set].namespaces, &us[set][i]) < 0)
				return EXIT_FAILURE;
		}
	}
	printf("%-16s %10s %10s\n", "start to end", "median us", "p90 us");
	for (size_t set = 0; set < DN_ARRAY_SIZE(sets); set++) {
		qsort(us[set], TURNS, sizeof(us[set][0]), compare);
		printf("%-16s %10.0f %10.0f\n", sets[set].name, us[set][TURNS / 2],
		       us[set][TURNS * 9 / 10]);
	}
	return EXIT_SUCCESS;
}
