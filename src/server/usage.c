/* SPDX-License-Identifier: MIT */

#include "server/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NS_A_SECOND UINT64_C(1000000000)

static bool read_small(const char *path, char *out, size_t size)
{
	DN_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

struct dn_usage dn_usage_of(pid_t pid)
{
	struct dn_usage usage = { 0, 0 };
	unsigned long long resident = 0;
	unsigned long long user = 0;
	unsigned long long system = 0;
	const char *behind;
	char path[64];
	char text[1024];

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (read_small(path, text, sizeof(text)) && sscanf(text, "%*u %llu", &resident) == 1)
		usage.resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	/* Behind the name, which may hold anything. */
	if (read_small(path, text, sizeof(text)) && (behind = strrchr(text, ')')) &&
	    sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		   &system) == 2)
		usage.cpu_ns = (user + system) * (NS_A_SECOND / (uint64_t)sysconf(_SC_CLK_TCK));
	return usage;
}

uint64_t dn_usage_of_ended(void)
{
	struct rusage usage = { 0 };

	(void)getrusage(RUSAGE_CHILDREN, &usage);
	return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_A_SECOND +
	       ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000;
}
