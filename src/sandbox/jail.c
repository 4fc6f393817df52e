/* SPDX-License-Identifier: MIT */
/* The measures of a jail, in the order in which they do not stand in each other's way. */

#include "sandbox/jail.h"
#include "base/base.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "sandbox/jail-internal.h"
#include "sandbox/namespaces.h"

/* Linux 6.3; absent from older headers. */
#define MDWE_SET	     65
#define MDWE_GET	     66
#define MDWE_REFUSE_EXEC     1UL
#define PURPOSE(name, words) { (name), (words) }

static const struct {
	const char *name;
	const char *purpose;
} measures[DN_JAIL_MEASURES] = {
	[DN_JAIL_NO_CAPABILITIES] = PURPOSE("capabilities", "root's powers are given up"),
	[DN_JAIL_NO_NEW_PRIVILEGES] = PURPOSE("no_new_privs", "no program can give powers back"),
	[DN_JAIL_NO_CORE] = PURPOSE("no_core", "prompts do not end up in core files"),
	[DN_JAIL_NO_TRACING] = PURPOSE("no_tracing", "other programs of the user cannot look in"),
	[DN_JAIL_LIMITS] = PURPOSE("limits", "few descriptors, no message queues"),
	[DN_JAIL_MEMORY_LIMIT] = PURPOSE("memory_limit", "address space ends at a given size"),
	[DN_JAIL_NO_NEW_CODE] = PURPOSE("no_new_code", "memory never becomes executable"),
	[DN_JAIL_LANDLOCK_FILES] = PURPOSE("landlock_files", "no path can be opened or changed"),
	[DN_JAIL_LANDLOCK_NETWORK] = PURPOSE("landlock_network", "no TCP in or out"),
	[DN_JAIL_LANDLOCK_SCOPE] = PURPOSE("landlock_scope", "no signals to other processes"),
	[DN_JAIL_SECCOMP] = PURPOSE("seccomp", "a system call outside a short list ends it"),
	[DN_JAIL_USER_NAMESPACE] = PURPOSE("user_namespace", "it has no power outside of it"),
	[DN_JAIL_MOUNT_NAMESPACE] = PURPOSE("mount_namespace", "its file system is empty"),
	[DN_JAIL_PID_NAMESPACE] = PURPOSE("pid_namespace", "it sees no other process"),
	[DN_JAIL_NETWORK_NAMESPACE] = PURPOSE("network_namespace", "it has no interface"),
	[DN_JAIL_IPC_NAMESPACE] = PURPOSE("ipc_namespace", "it shares no queue, no semaphore"),
};

const char *dn_jail_measure_name(enum dn_jail_measure measure)
{
	return (unsigned int)measure < DN_JAIL_MEASURES ? measures[measure].name : "unknown";
}

const char *dn_jail_measure_purpose(enum dn_jail_measure measure)
{
	return (unsigned int)measure < DN_JAIL_MEASURES ? measures[measure].purpose : "";
}

const char *dn_jail_state_name(enum dn_jail_state state)
{
	switch (state) {
	case DN_JAIL_ABSENT:
		return "absent";
	case DN_JAIL_HELD:
		return "held";
	case DN_JAIL_NOT_ASKED:
		return "not asked";
	}
	return "unknown";
}

const char *dn_jail_list_name(enum dn_jail_list list)
{
	switch (list) {
	case DN_JAIL_LIST_NONE:
		return "none";
	case DN_JAIL_LIST_RELEASE:
		return "release";
	case DN_JAIL_LIST_SANITIZER:
		return "sanitizer";
	}
	return "unknown";
}

static void note(struct dn_jail_report *report, enum dn_jail_measure measure,
		 enum dn_jail_state state, const char *format, va_list args)
{
	report->measures[measure].state = state;
	(void)vsnprintf(report->measures[measure].reason, DN_JAIL_REASON_MAX, format, args);
}

void dn_jail_held(struct dn_jail_report *report, enum dn_jail_measure measure, const char *format,
		  ...)
{
	va_list args;

	va_start(args, format);
	note(report, measure, DN_JAIL_HELD, format, args);
	va_end(args);
}

void dn_jail_absent(struct dn_jail_report *report, enum dn_jail_measure measure, const char *format,
		    ...)
{
	va_list args;

	va_start(args, format);
	note(report, measure, DN_JAIL_ABSENT, format, args);
	va_end(args);
}

void dn_jail_not_asked(struct dn_jail_report *report, enum dn_jail_measure measure)
{
	report->measures[measure].state = DN_JAIL_NOT_ASKED;
	report->measures[measure].reason[0] = '\0';
}

/* What the C library would fetch from the file system, or open, at a later moment. */
static void prepare_libc(void)
{
	/* localtime() reads /etc/localtime once, and then only when TZ changes. */
	tzset();
#ifdef __GLIBC__
	/*
	 * A second arena makes free() open /proc/sys/vm/overcommit_memory, and malloc() of older
	 * versions /sys/devices/system/cpu/online. A worker allocates before its steps, not in
	 * them: one arena is no loss.
	 */
	(void)mallopt(M_ARENA_MAX, 1);
#endif
}

static void drop_capabilities(struct dn_jail_report *report)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (syscall(SYS_capset, &header, none) == 0)
		dn_jail_held(report, DN_JAIL_NO_CAPABILITIES, "%s", "");
	else
		dn_jail_absent(report, DN_JAIL_NO_CAPABILITIES, "capset: %s", strerror(errno));
}

static void drop_new_privileges(struct dn_jail_report *report)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		dn_jail_held(report, DN_JAIL_NO_NEW_PRIVILEGES, "%s", "");
	else
		dn_jail_absent(report, DN_JAIL_NO_NEW_PRIVILEGES, "prctl: %s", strerror(errno));
}

static void drop_core(struct dn_jail_report *report)
{
	/*
	 * core(5): with 0, a core_pattern that pipes to a program still gets the core; 1 is the
	 * value that stops the pipe too, and no core fits into one byte.
	 */
	struct rlimit one = { 1, 1 };
	struct rlimit now;

	/* An outer limit of 0 cannot be raised; the pipe is then stopped by no_tracing. */
	if (getrlimit(RLIMIT_CORE, &now) == 0 && now.rlim_max < 1)
		one.rlim_cur = one.rlim_max = 0;
	if (setrlimit(RLIMIT_CORE, &one) == 0)
		dn_jail_held(report, DN_JAIL_NO_CORE, "%s", "");
	else
		dn_jail_absent(report, DN_JAIL_NO_CORE, "setrlimit: %s", strerror(errno));
}

static void drop_tracing(const struct dn_jail_options *options, struct dn_jail_report *report)
{
	if (options->measurable) {
		dn_jail_not_asked(report, DN_JAIL_NO_TRACING);
		return;
	}
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		dn_jail_absent(report, DN_JAIL_NO_TRACING, "prctl: %s", strerror(errno));
	else if (report->measures[DN_JAIL_USER_NAMESPACE].state == DN_JAIL_HELD)
		/* user_namespaces(7): who made it has all capabilities in it, CAP_SYS_PTRACE too. */
		dn_jail_absent(report, DN_JAIL_NO_TRACING,
			       "the user who made its user namespace may attach to it");
	else
		dn_jail_held(report, DN_JAIL_NO_TRACING, "%s", "");
}

/* Sets both limits to @value, or to the hard limit where that is lower already. */
static int lower_limit(int resource, rlim_t value)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
		return -errno;
	limit.rlim_max = DN_MIN(limit.rlim_max, value);
	limit.rlim_cur = limit.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &limit) < 0 ? -errno : 0;
}

/*
 * RLIMIT_FSIZE stays: it would also bound the attachments, and what is prepared; no file can be
 * opened.
 * RLIMIT_NPROC stays where there are threads: it counts those of all processes of the user.
 */
static void lower_limits(const struct dn_jail_options *options, struct dn_jail_report *report)
{
	rlim_t files = options->files ? options->files : DN_JAIL_DEFAULT_FILES;
	int r = lower_limit(RLIMIT_NOFILE, files);

	if (r == 0)
		r = lower_limit(RLIMIT_MSGQUEUE, 0);
	if (r == 0 && options->profile == DN_JAIL_FRONT && !DN_JAIL_SANITIZER)
		r = lower_limit(RLIMIT_NPROC, 0);
	if (r == 0)
		dn_jail_held(report, DN_JAIL_LIMITS, "at most %llu descriptors",
			     (unsigned long long)files);
	else
		dn_jail_absent(report, DN_JAIL_LIMITS, "setrlimit: %s", strerror(-r));
}

static int limit_memory(const struct dn_jail_options *options, struct dn_jail_report *report,
			struct dn_error *err)
{
	int r;

	if (!options->memory) {
		dn_jail_not_asked(report, DN_JAIL_MEMORY_LIMIT);
		return 0;
	}
	if (DN_JAIL_SANITIZER) {
		dn_jail_absent(report, DN_JAIL_MEMORY_LIMIT,
			       "a sanitizer maps terabytes of shadow memory");
		return 0;
	}
	r = lower_limit(RLIMIT_AS, options->memory);
	if (r < 0) {
		dn_jail_absent(report, DN_JAIL_MEMORY_LIMIT, "setrlimit: %s", strerror(-r));
		return dn_error_errno(err, -r, "jail: limit the address space to %llu bytes",
				      (unsigned long long)options->memory);
	}
	dn_jail_held(report, DN_JAIL_MEMORY_LIMIT, "%llu bytes",
		     (unsigned long long)options->memory);
	return 0;
}

static void refuse_new_code(struct dn_jail_report *report)
{
	if (prctl(MDWE_SET, MDWE_REFUSE_EXEC, 0, 0, 0) == 0)
		dn_jail_held(report, DN_JAIL_NO_NEW_CODE, "%s", "");
	else if (errno == EINVAL)
		dn_jail_absent(report, DN_JAIL_NO_NEW_CODE,
			       "the kernel lacks PR_SET_MDWE (6.3); seccomp covers most of it");
	else
		dn_jail_absent(report, DN_JAIL_NO_NEW_CODE, "prctl: %s", strerror(errno));
}

static int check_required(const struct dn_jail_options *options,
			  const struct dn_jail_report *report, struct dn_error *err)
{
	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++) {
		if ((options->required & (1U << i)) && report->measures[i].state != DN_JAIL_HELD)
			return dn_error_set(err, ENOTSUP, "jail: %s is required but absent: %s",
					    measures[i].name,
					    report->measures[i].reason[0]
						    ? report->measures[i].reason
						    : "the options leave it out");
	}
	return 0;
}

int dn_jail_enter(const struct dn_jail_options *options, struct dn_jail_report *ret_report,
		  struct dn_error *err)
{
	static const struct dn_jail_options defaults = { 0 };
	int r;

	if (!options)
		options = &defaults;
	memset(ret_report, 0, sizeof(*ret_report));
	for (unsigned int i = 0; i < DN_JAIL_MEASURES; i++)
		dn_jail_absent(ret_report, (enum dn_jail_measure)i, "not reached");

	prepare_libc();
	/* While it has the right to mount, and before Landlock takes it. */
	dn_namespaces_enter(ret_report);
	drop_new_privileges(ret_report);
	drop_capabilities(ret_report);
	drop_core(ret_report);
	drop_tracing(options, ret_report);
	lower_limits(options, ret_report);
	refuse_new_code(ret_report);
	r = dn_landlock_enter(ret_report, err);
	if (r < 0)
		return r;
	r = limit_memory(options, ret_report, err);
	if (r < 0)
		return r;
	/* Last: the list has none of the calls above. */
	r = dn_seccomp_enter(options->profile, ret_report, err);
	if (r < 0)
		return r;
	return check_required(options, ret_report, err);
}

void dn_jail_probe(struct dn_jail_report *ret_report)
{
	memset(ret_report, 0, sizeof(*ret_report));
	dn_jail_held(ret_report, DN_JAIL_NO_CAPABILITIES, "%s", "");
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0)
		dn_jail_held(ret_report, DN_JAIL_NO_NEW_PRIVILEGES, "%s", "");
	else
		dn_jail_absent(ret_report, DN_JAIL_NO_NEW_PRIVILEGES, "the kernel lacks it (3.5)");
	dn_jail_held(ret_report, DN_JAIL_NO_CORE, "%s", "");
	dn_jail_held(ret_report, DN_JAIL_NO_TRACING, "%s", "");
	dn_jail_held(ret_report, DN_JAIL_LIMITS, "at most %d descriptors", DN_JAIL_DEFAULT_FILES);
	dn_jail_not_asked(ret_report, DN_JAIL_MEMORY_LIMIT);
	if (prctl(MDWE_GET, 0, 0, 0, 0) >= 0)
		dn_jail_held(ret_report, DN_JAIL_NO_NEW_CODE, "%s", "");
	else
		dn_jail_absent(ret_report, DN_JAIL_NO_NEW_CODE,
			       "the kernel lacks PR_SET_MDWE (6.3)");
	dn_landlock_probe(ret_report);
	dn_seccomp_probe(ret_report);
	dn_namespaces_probe(ret_report);
}
