/* SPDX-License-Identifier: MIT */
/* Features of the kernel, each asked for in the way its manual page tells. */

#include "device/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "device/accelerator.h"
#include "device/source.h"

#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_GET_VERSION	1U

static bool has_seccomp(void)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

static uint32_t landlock_abi(void)
{
	long abi = syscall(LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_GET_VERSION);

	return abi > 0 ? (uint32_t)abi : 0;
}

static bool has_memfd(void)
{
	DN_AUTO_FD int fd = memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0;
}

static bool has_pidfd(void)
{
	DN_AUTO_FD int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	return fd >= 0;
}

/* With no room for its answer, a call that is there says EFAULT or EINVAL. */
static bool has_io_uring(const char *root)
{
	uint64_t disabled = 0;

	if (dn_source_number(root, "/proc/sys/kernel/io_uring_disabled", &disabled) == 0 &&
	    disabled == 2)
		return false;
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == EFAULT || errno == EINVAL);
}

static uint64_t limit_of(int resource)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
		return 0;
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

int dn_kernel_read(const char *root, struct dn_kernel *ret_kernel, struct dn_error *err)
{
	struct dn_kernel kernel = { .release = "" };
	struct utsname name;
	char line[32];

	(void)err;
	if (uname(&name) == 0) {
		(void)snprintf(kernel.release, sizeof(kernel.release), "%s", name.release);
		(void)snprintf(kernel.machine, sizeof(kernel.machine), "%.31s", name.machine);
	}
	kernel.seccomp = has_seccomp();
	kernel.landlock_abi = landlock_abi();
	kernel.memfd = has_memfd();
	kernel.pidfd = has_pidfd();
	/* With CONFIG_PSI_DEFAULT_DISABLED the file is there, and reading it fails. */
	kernel.pressure = dn_source_line(root, "/proc/pressure/memory", line, sizeof(line)) == 0;
	kernel.io_uring = has_io_uring(root);
	kernel.accelerator_count = dn_accelerators_find(root, kernel.accelerators);
	kernel.limits = (struct dn_limits){
		.locked_memory = limit_of(RLIMIT_MEMLOCK),
		.files = limit_of(RLIMIT_NOFILE),
		.realtime_priority = limit_of(RLIMIT_RTPRIO),
		.processes = limit_of(RLIMIT_NPROC),
		.address_space = limit_of(RLIMIT_AS),
	};
	*ret_kernel = kernel;
	return 0;
}
