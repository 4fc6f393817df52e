/* SPDX-License-Identifier: MIT */
/*
 * sched(7), SCHED_FIFO. Policy and limits go from a process to the program that it starts, and
 * from a thread to those that it makes. So a worker gets them from its parent, and its jail can
 * take every capability away before a byte from outside is read. For that, SCHED_RESET_ON_FORK is
 * left out: the worker's jail keeps it from making processes of its own.
 */

#include "device/realtime.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#define REMEDY                                                                                     \
	"allow it with 'ulimit -r 1' (limits.conf: rtprio), LimitRTPRIO=1 in a systemd unit, or "  \
	"'setcap cap_sys_nice+ep' on the program"

static bool may_set_priorities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[0].effective & (1U << CAP_SYS_NICE)) != 0;
}

static int refused(struct dn_error *err, int code)
{
	struct rlimit limit;

	if (code != EPERM)
		return dn_error_errno(err, code, "real-time scheduling (SCHED_FIFO)");
	if (may_set_priorities() || (getrlimit(RLIMIT_RTPRIO, &limit) == 0 && limit.rlim_cur > 0))
		return dn_error_set(
			err, EPERM,
			"real-time scheduling is refused although CAP_SYS_NICE or "
			"RLIMIT_RTPRIO would allow it: the cgroup has no real-time budget "
			"(cpu.rt_runtime_us), or a filter of system calls forbids it");
	return dn_error_set(err, EPERM,
			    "real-time scheduling is refused: RLIMIT_RTPRIO is 0 and there is no "
			    "CAP_SYS_NICE; " REMEDY);
}

static void raise_lockable(void)
{
	struct rlimit most = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit now;

	/* CAP_SYS_RESOURCE lifts the hard limit; without it the soft one goes up to that. */
	if (setrlimit(RLIMIT_MEMLOCK, &most) == 0 || getrlimit(RLIMIT_MEMLOCK, &now) < 0)
		return;
	now.rlim_cur = now.rlim_max;
	(void)setrlimit(RLIMIT_MEMLOCK, &now);
}

uint64_t dn_realtime_lockable(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 0;
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

static void set_priority(int above_lowest)
{
	const struct sched_param param = {
		.sched_priority = sched_get_priority_min(SCHED_FIFO) + above_lowest,
	};

	(void)sched_setparam(0, &param);
}

void dn_realtime_raise(uint32_t cpu, struct dn_realtime_cpus *ret_before)
{
	const size_t size = sizeof(ret_before->sets);
	struct dn_realtime_cpus others;

	CPU_ZERO_S(size, ret_before->sets);
	(void)sched_getaffinity(0, size, ret_before->sets);
	others = *ret_before;
	CPU_CLR_S(cpu, size, others.sets);
	if (CPU_COUNT_S(size, others.sets) > 0)
		(void)sched_setaffinity(0, size, others.sets);
	set_priority(1);
}

void dn_realtime_lower(const struct dn_realtime_cpus *before)
{
	const size_t size = sizeof(before->sets);

	if (CPU_COUNT_S(size, before->sets) > 0)
		(void)sched_setaffinity(0, size, before->sets);
	set_priority(0);
}

int dn_realtime_enter(struct dn_error *err)
{
	struct sched_param lowest = { .sched_priority = sched_get_priority_min(SCHED_FIFO) };

	if (sched_setscheduler(0, SCHED_FIFO, &lowest) < 0)
		return refused(err, errno);
	raise_lockable();
	return 0;
}

void dn_realtime_probe(struct dn_realtime *ret_realtime)
{
	struct dn_error err = DN_ERROR_INIT;
	struct sched_param before = { 0 };
	struct rlimit lockable = { 0, 0 };
	int policy = sched_getscheduler(0);

	*ret_realtime = (struct dn_realtime){ .reason = "" };
	(void)sched_getparam(0, &before);
	(void)getrlimit(RLIMIT_MEMLOCK, &lockable);
	if (dn_realtime_enter(&err) == 0) {
		ret_realtime->scheduling = true;
		(void)sched_setscheduler(0, policy < 0 ? SCHED_OTHER : policy, &before);
	} else {
		memcpy(ret_realtime->reason, err.message, sizeof(ret_realtime->reason));
		raise_lockable();
	}
	ret_realtime->lockable = dn_realtime_lockable();
	(void)setrlimit(RLIMIT_MEMLOCK, &lockable);
}
