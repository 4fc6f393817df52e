/* SPDX-License-Identifier: MIT */
/* Real-time rights that are there, and that are not; each in a process of its own. */

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/realtime.h"

enum { GOOD, BAD, NOT_HERE };

static int in_child(int (*function)(void))
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(function());
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void drop_rights(rlim_t priority)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };
	struct rlimit limit = { priority, priority };

	(void)setrlimit(RLIMIT_RTPRIO, &limit);
	(void)syscall(SYS_capset, &header, none);
}

static int refused(void)
{
	static const char *const words[] = { "RLIMIT_RTPRIO", "ulimit -r",
					     "LimitRTPRIO=", "setcap" };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_realtime found;

	drop_rights(0);
	if (dn_realtime_enter(&err) != -EPERM || sched_getscheduler(0) != SCHED_OTHER)
		return BAD;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strstr(err.message, words[i]))
			return BAD;
	dn_realtime_probe(&found);
	return !found.scheduling && strcmp(found.reason, err.message) == 0 ? GOOD : BAD;
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(in_child(refused), GOOD);
}

/* RLIMIT_RTPRIO alone is enough: what 'ulimit -r 1' gives. */
static int granted_by_limit(void)
{
	struct sched_param param = { 0 };
	struct rlimit limit = { 0, 0 };

	drop_rights(1);
	if (getrlimit(RLIMIT_RTPRIO, &limit) < 0 || limit.rlim_cur < 1)
		return NOT_HERE;
	if (dn_realtime_enter(NULL) < 0)
		return BAD;
	(void)sched_getparam(0, &param);
	return sched_getscheduler(0) == SCHED_FIFO && param.sched_priority == 1 ? GOOD : BAD;
}

static int granted(void)
{
	struct sched_param param = { .sched_priority = 1 };
	struct rlimit locked = { 4096, 0 };

	if (sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		return NOT_HERE;
	param.sched_priority = 0;
	(void)sched_setscheduler(0, SCHED_OTHER, &param);
	if (getrlimit(RLIMIT_MEMLOCK, &locked) < 0)
		return BAD;
	locked.rlim_cur = locked.rlim_max > 4096 ? 4096 : locked.rlim_max;
	if (setrlimit(RLIMIT_MEMLOCK, &locked) < 0 || dn_realtime_enter(NULL) < 0)
		return BAD;
	(void)sched_getparam(0, &param);
	/* What it may lock is all that it ever may. */
	if (locked.rlim_max != RLIM_INFINITY && dn_realtime_lockable() < locked.rlim_max)
		return BAD;
	return sched_getscheduler(0) == SCHED_FIFO && param.sched_priority == 1 ? GOOD : BAD;
}

static void test_granted(void **state)
{
	int by_capability = in_child(granted);
	int by_limit = in_child(granted_by_limit);

	(void)state;
	if (by_capability == NOT_HERE && by_limit == NOT_HERE)
		skip();
	assert_int_not_equal(by_capability, BAD);
	assert_int_not_equal(by_limit, BAD);
}

static int probe(void)
{
	struct rlimit before = { 0, 0 };
	struct rlimit after = { 0, 0 };
	struct dn_realtime found;

	if (getrlimit(RLIMIT_MEMLOCK, &before) < 0)
		return BAD;
	dn_realtime_probe(&found);
	if (getrlimit(RLIMIT_MEMLOCK, &after) < 0)
		return BAD;
	return sched_getscheduler(0) == SCHED_OTHER && before.rlim_cur == after.rlim_cur &&
			       before.rlim_max == after.rlim_max &&
			       found.scheduling == (found.reason[0] == '\0')
		       ? GOOD
		       : BAD;
}

static void test_probe_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(in_child(probe), GOOD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_granted),
		cmocka_unit_test(test_probe_changes_nothing),
	};

	return cmocka_run_group_tests_name("realtime", tests, NULL, NULL);
}
