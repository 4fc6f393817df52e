/* SPDX-License-Identifier: MIT */
/*
 * namespaces(7) around a jailed process, as far as they are permitted.
 *
 * User, PID, network and IPC namespaces are made by the start itself, with clone(). The mount
 * namespace cannot be: after exec the dynamic loader needs the libraries, so only the program can
 * give the file system up. The start leaves it the right to (CAP_SYS_ADMIN, as a rule only in its
 * own user namespace), and says what it has in a variable; dn_jail_enter() makes the mount
 * namespace, empties the root in it, and then drops the right with all others. As it makes the
 * namespace anew, a false word in the variable cannot empty anyone else's root.
 *
 * No user or group is mapped into the user namespace: the process is nobody in it (65534), and
 * whose descriptors it has is no secret that it could use.
 *
 * A user namespace has its price: whoever made it may do everything in it, so that other programs
 * of the same user, outside of any jail, can attach to the process (DN_JAIL_NO_TRACING is absent).
 *
 * UTS and cgroup namespaces would hide a name and a path that the jail does not let be asked for.
 */

#include "sandbox/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "sandbox/jail-internal.h"
#include "sandbox/jail.h"
#include "sandbox/spawn.h"

/* The C library has no lazy binding to do here, and the functions keep no large arrays. */
#define STACK_SIZE 32768

/*
 * The sanitizers keep account of a process's memory and threads, and one process cannot do it for
 * two: there the new process has a copy.
 */
#define SHARED_MEMORY (DN_JAIL_SANITIZER ? 0 : CLONE_VM)

/* In the order of enum dn_spawn_namespace: the user namespace gives the right to the others. */
static const struct {
	int flag;
	enum dn_jail_measure measure;
} kinds[DN_SPAWN_KINDS] = {
	{ CLONE_NEWUSER, DN_JAIL_USER_NAMESPACE }, { CLONE_NEWNS, DN_JAIL_MOUNT_NAMESPACE },
	{ CLONE_NEWPID, DN_JAIL_PID_NAMESPACE },   { CLONE_NEWNET, DN_JAIL_NETWORK_NAMESPACE },
	{ CLONE_NEWIPC, DN_JAIL_IPC_NAMESPACE },
};

#define MOUNT_KIND 1

/* AddressSanitizer would put the stack where it does not look for one. */
__attribute__((no_sanitize_address)) pid_t dn_clone(int flags, int (*run)(void *data), void *data)
{
	/* It grows downwards wherever Dunlin runs. This frame stays until the process is off it. */
	char stack[STACK_SIZE] __attribute__((aligned(16)));
	sigset_t all, before;
	pid_t pid;
	int code;

	/* No handler of ours may run in the new process while it is on our memory. */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(run, stack + sizeof(stack), SHARED_MEMORY | CLONE_VFORK | SIGCHLD | flags,
		    data);
	code = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = code;
	return pid;
}

static void refuse(struct dn_namespaces *namespaces, unsigned int kind, int code)
{
	namespaces->held &= ~(1U << kind);
	namespaces->refused[kind] = code;
}

void dn_namespaces_refuse(struct dn_namespaces *namespaces, int code)
{
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (namespaces->held & (1U << i))
			refuse(namespaces, i, code);
	}
}

/* Whether a program that this one executes could make a mount namespace without more ado. */
static bool may_mount(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return syscall(SYS_capget, &header, now) == 0 && (now[0].effective & (1U << CAP_SYS_ADMIN));
}

struct dn_namespaces dn_namespaces_expect(uint32_t asked)
{
	struct dn_namespaces namespaces = { .asked = asked & DN_SPAWN_ALL };

	namespaces.held = namespaces.asked;
	if ((asked & (DN_SPAWN_USER | DN_SPAWN_MOUNT)) == DN_SPAWN_MOUNT && !may_mount())
		refuse(&namespaces, MOUNT_KIND, EPERM);
	return namespaces;
}

int dn_namespaces_flags(const struct dn_namespaces *namespaces)
{
	int flags = 0;

	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (namespaces->held & (1U << i))
			flags |= kinds[i].flag;
	}
	return flags & ~CLONE_NEWNS;
}

/* One line of a file of our own /proc; where that is refused, there is no map. */
static void tell_kernel(const char *path, const char *line)
{
	DN_AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, line, strlen(line));
}

/* Only for keep_proc(): who has no number in a user namespace cannot make a directory in it. */
static void map_ids(uid_t user, gid_t group)
{
	char line[64];

	tell_kernel("/proc/self/setgroups", "deny");
	(void)snprintf(line, sizeof(line), "%u %u 1", user, user);
	tell_kernel("/proc/self/uid_map", line);
	(void)snprintf(line, sizeof(line), "%u %u 1", group, group);
	tell_kernel("/proc/self/gid_map", line);
}

void dn_namespaces_prepare(const struct dn_namespaces *namespaces, uid_t user, gid_t group)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	if (DN_JAIL_SANITIZER && (namespaces->held & DN_SPAWN_USER))
		map_ids(user, group);
	if (!(namespaces->held & DN_SPAWN_MOUNT))
		return;
	/* exec takes all capabilities from who is not root, but for the ambient ones. */
	if (syscall(SYS_capget, &header, now) < 0)
		return;
	now[0].inheritable |= 1U << CAP_SYS_ADMIN;
	if (syscall(SYS_capset, &header, now) == 0)
		(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
}

/* Sanitizers read /proc/self at the end, by its own number: no build for users does this. */
static void keep_proc(void)
{
	if (mkdir("proc", 0555) < 0)
		return;
	/* A new one shows the processes of our PID namespace, if that is ours to show. */
	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		(void)mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL);
}

/*
 * Puts an empty, read-only file system in place of the root, in a mount namespace of its own.
 * *ret_step is the call that failed; what it did until then stays.
 */
static int empty_root(const char **ret_step)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	*ret_step = "unshare";
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	/* Nothing of what follows may reach the namespace that this one is a copy of. */
	*ret_step = "mount";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	/* Any directory would do, as all of them go; /dev is there in every container. */
	if (mount("none", "/dev", "tmpfs", flags | (DN_JAIL_SANITIZER ? 0 : MS_RDONLY),
		  "size=4k,nr_inodes=4,mode=0755") < 0)
		return -errno;
	*ret_step = "chdir";
	if (chdir("/dev") < 0)
		return -errno;
	if (DN_JAIL_SANITIZER)
		keep_proc();
	/* pivot_root(2): the old root comes to lie on the new one, where it is taken away. */
	*ret_step = "pivot_root";
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return -errno;
	*ret_step = "umount";
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	*ret_step = "chdir";
	return chdir("/") < 0 ? -errno : 0;
}

/* In a process of its own. */
struct trial {
	struct dn_namespaces namespaces;
	bool made; /* all but the mount namespace are there already */
	int fd;	   /* where the answer goes */
};

static int run_trial(void *data)
{
	struct trial *trial = data;
	struct dn_namespaces found = dn_namespaces_expect(trial->namespaces.asked);
	const char *step;

	for (unsigned int i = 0; i < DN_SPAWN_KINDS && !trial->made; i++) {
		if ((found.asked & (1U << i)) && kinds[i].flag != CLONE_NEWNS &&
		    unshare(kinds[i].flag) < 0)
			refuse(&found, i, errno);
	}
	if (found.asked & DN_SPAWN_MOUNT) {
		int r = empty_root(&step);

		found.held |= DN_SPAWN_MOUNT;
		found.refused[MOUNT_KIND] = 0;
		if (r < 0)
			refuse(&found, MOUNT_KIND, -r);
	}
	(void)!write(trial->fd, &found, sizeof(found));
	_exit(0);
}

/* Runs the trial in a process with @flags; false where there is no such process, or no answer. */
static bool try_with(int flags, struct trial *trial)
{
	DN_AUTO_FD int read_end = -1;
	DN_AUTO_FD int write_end = -1;
	struct dn_namespaces found;
	int fds[2];
	bool good;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	read_end = fds[0];
	write_end = fds[1];
	trial->fd = write_end;
	trial->made = flags != 0;
	pid = dn_clone(flags, run_trial, trial);
	if (pid < 0)
		return false;
	close(dn_steal_fd(&write_end));
	good = read(read_end, &found, sizeof(found)) == sizeof(found);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (good)
		trial->namespaces = found;
	return good;
}

void dn_namespaces_try(struct dn_namespaces *namespaces)
{
	struct trial trial = { .namespaces = *namespaces };

	if (try_with(0, &trial)) {
		*namespaces = trial.namespaces;
		return;
	}
	namespaces->held = namespaces->asked;
	dn_namespaces_refuse(namespaces, EAGAIN);
}

void dn_namespaces_write(const struct dn_namespaces *namespaces, char text[DN_NAMESPACES_TEXT_MAX])
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		int n = (namespaces->asked & (1U << i))
				? snprintf(text + at, DN_NAMESPACES_TEXT_MAX - at, "%s%d",
					   i ? "," : "", namespaces->refused[i])
				: snprintf(text + at, DN_NAMESPACES_TEXT_MAX - at, "%s-",
					   i ? "," : "");

		/* An errno has four digits at most. */
		at += n > 0 ? (size_t)n : 0;
	}
}

bool dn_namespaces_read(const char *text, struct dn_namespaces *ret_namespaces)
{
	struct dn_namespaces namespaces = { 0 };

	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		char *end = NULL;

		if (i > 0 && *text++ != ',')
			return false;
		if (*text == '-') {
			text++;
			continue;
		}
		if (*text < '0' || *text > '9')
			return false;
		namespaces.refused[i] = (int)strtol(text, &end, 10);
		namespaces.asked |= 1U << i;
		if (namespaces.refused[i] == 0)
			namespaces.held |= 1U << i;
		text = end;
	}
	if (*text != '\0')
		return false;
	*ret_namespaces = namespaces;
	return true;
}

static const char *refusal(int code)
{
	switch (code) {
	case EPERM:
	case EACCES:
		return "not permitted (a container, an LSM or a sysctl refuses it)";
	case EINVAL:
		return "the kernel is built without it";
	case ENOSPC:
	case EUSERS:
		return "user.max_*_namespaces is reached";
	default:
		return strerror(code);
	}
}

static void mark(struct dn_jail_report *report, const struct dn_namespaces *namespaces)
{
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (!(namespaces->asked & (1U << i)))
			dn_jail_not_asked(report, kinds[i].measure);
		else if (namespaces->held & (1U << i))
			dn_jail_held(report, kinds[i].measure, "%s", "");
		else
			dn_jail_absent(report, kinds[i].measure, "%s",
				       refusal(namespaces->refused[i]));
	}
}

/* The first process of a PID namespace gets no signal that it has no handler for. */
static void end_as_aborted(int signal)
{
	_exit(DN_CHILD_SIGNALLED + signal);
}

void dn_namespaces_enter(struct dn_jail_report *report)
{
	struct dn_namespaces namespaces = { 0 };
	const char *text = getenv(DN_NAMESPACES_VARIABLE);
	const char *step = "";
	int r;

	if (text)
		(void)dn_namespaces_read(text, &namespaces);
	(void)unsetenv(DN_NAMESPACES_VARIABLE);
	mark(report, &namespaces);
	if (namespaces.held & DN_SPAWN_PID)
		(void)signal(SIGABRT, end_as_aborted);
	if (!(namespaces.held & DN_SPAWN_MOUNT))
		return;
	r = empty_root(&step);
	if (r < 0)
		dn_jail_absent(report, DN_JAIL_MOUNT_NAMESPACE, "%s: %s", step, refusal(-r));
	else if (DN_JAIL_SANITIZER)
		dn_jail_held(report, DN_JAIL_MOUNT_NAMESPACE, "sanitizer build: /proc can be read");
}

void dn_namespaces_probe(struct dn_jail_report *report)
{
	struct trial trial = { .namespaces = dn_namespaces_expect(DN_SPAWN_ALL) };

	if (!try_with(dn_namespaces_flags(&trial.namespaces), &trial))
		dn_namespaces_try(&trial.namespaces);
	mark(report, &trial.namespaces);
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (trial.namespaces.held & (1U << i))
			dn_jail_held(report, kinds[i].measure, "of processes that ask for it");
	}
}
