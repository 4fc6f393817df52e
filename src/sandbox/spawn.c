/* SPDX-License-Identifier: MIT */
/*
 * dn_clone() and exec: a few milliseconds are the whole budget of a start, and a fork would copy
 * the page tables of the parent. The child touches nothing but its stack and its kernel state.
 */

#include "sandbox/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "sandbox/namespaces.h"

#define VARIABLES_MAX 32
#define VARIABLE_MAX  4096

/* Where the child keeps what it needs until exec, above all targets. */
#define STATUS_FD  DN_SPAWN_TARGETS
#define PROGRAM_FD (DN_SPAWN_TARGETS + 1)
#define SPARE_FD   (DN_SPAWN_TARGETS + 2)

static const char *const default_environment[] = {
	"DUNLIN_CPU",	"LANG",		 "TZ", "ASAN_OPTIONS", "LSAN_OPTIONS",
	"TSAN_OPTIONS", "UBSAN_OPTIONS", NULL,
};

/* Everything the child needs, laid out before it exists. */
struct plan {
	const struct dn_spawn_options *options;
	uid_t user;
	gid_t group;
	int read_fd;   /* the parent's end of: */
	int status_fd; /* the child's end: closes at exec, or carries a struct failure */
	struct dn_namespaces namespaces;
	char namespaces_variable[sizeof(DN_NAMESPACES_VARIABLE) + DN_NAMESPACES_TEXT_MAX];
	size_t variable_count;
	char *environment[VARIABLES_MAX + 2]; /* one for the above, and the NULL */
};

struct failure {
	int code;
	int step;
};

enum step {
	STEP_PARENT,
	STEP_SESSION,
	STEP_DESCRIPTORS,
	STEP_PLACES, /* from here on the status pipe is STATUS_FD */
	STEP_DIRECTORY,
	STEP_EXEC,
};

static const char *step_words(int step)
{
	switch (step) {
	case STEP_PARENT:
		return "bind the child to this process";
	case STEP_SESSION:
		return "start a session";
	case STEP_DESCRIPTORS:
	case STEP_PLACES:
		return "hand over the descriptors";
	case STEP_DIRECTORY:
		return "change to /";
	default:
		return "execute it";
	}
}

static void free_environment(struct plan *plan)
{
	for (size_t i = 0; i < plan->variable_count; i++)
		free(plan->environment[i]);
}

static int copy_environment(struct plan *plan, struct dn_error *err)
{
	const char *const *names = plan->options->environment;

	if (!names)
		names = default_environment;
	for (; *names; names++) {
		const char *value = getenv(*names);
		size_t name_size = strlen(*names);
		size_t size;
		char *copy;

		if (!value)
			continue;
		size = name_size + 1 + strlen(value) + 1;
		if (size > VARIABLE_MAX || plan->variable_count == VARIABLES_MAX)
			return dn_error_set(err, E2BIG,
					    "environment variable %s is too long or one too many",
					    *names);
		copy = malloc(size);
		if (!copy)
			return dn_error_memory(err, "an environment variable", size);
		memcpy(copy, *names, name_size);
		copy[name_size] = '=';
		memcpy(copy + name_size + 1, value, size - name_size - 1);
		plan->environment[plan->variable_count++] = copy;
	}
	return 0;
}

static int check_descriptors(const struct dn_spawn_options *options, struct dn_error *err)
{
	bool used[DN_SPAWN_TARGETS] = { false };

	for (size_t i = 0; i < options->descriptor_count; i++) {
		int target = options->descriptors[i].target;

		if (target < 0 || target >= DN_SPAWN_TARGETS || used[target])
			return dn_error_set(err, EINVAL,
					    "spawn: target %d is named twice or not in 0 to %d",
					    target, DN_SPAWN_TARGETS - 1);
		if (options->descriptors[i].fd < 0)
			return dn_error_set(err, EBADF, "spawn: no descriptor for target %d",
					    target);
		used[target] = true;
	}
	return 0;
}

/* From here to run_child(): in the child, on the parent's memory. */

static void close_from(int first)
{
	struct rlimit limit;
	int last;

	if (syscall(SYS_close_range, (unsigned int)first, UINT_MAX, 0) == 0)
		return;
	/* Before Linux 5.9. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		limit.rlim_cur = 1024;
	last = (int)DN_MIN(limit.rlim_cur, (rlim_t)INT_MAX);
	for (int fd = first; fd < last; fd++)
		close(fd);
}

static int place_descriptors(const struct plan *plan, int *ret_step)
{
	const struct dn_spawn_options *options = plan->options;
	int moved[DN_SPAWN_TARGETS];
	bool used[DN_SPAWN_TARGETS] = { false };
	int status = fcntl(plan->status_fd, F_DUPFD_CLOEXEC, SPARE_FD);
	int program = -1;

	if (status < 0)
		return -errno;
	if (!options->path) {
		program = fcntl(options->program_fd, F_DUPFD_CLOEXEC, SPARE_FD);
		if (program < 0)
			return -errno;
	}
	/* First out of the way of all targets, then into place: any permutation works. */
	for (size_t i = 0; i < options->descriptor_count; i++) {
		moved[i] = fcntl(options->descriptors[i].fd, F_DUPFD_CLOEXEC, SPARE_FD);
		if (moved[i] < 0)
			return -errno;
	}
	if (dup3(status, STATUS_FD, O_CLOEXEC) < 0)
		return -errno;
	*ret_step = STEP_PLACES;
	for (size_t i = 0; i < options->descriptor_count; i++) {
		if (dup2(moved[i], options->descriptors[i].target) < 0)
			return -errno;
		used[options->descriptors[i].target] = true;
	}
	if (program >= 0 && dup3(program, PROGRAM_FD, O_CLOEXEC) < 0)
		return -errno;
	close_from(program >= 0 ? SPARE_FD : PROGRAM_FD);
	for (int fd = 0; fd < DN_SPAWN_TARGETS; fd++) {
		if (!used[fd])
			close(fd);
	}
	/* A program that opens a file would else find it under a standard number. */
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		if (!used[fd] && open("/dev/null", O_RDWR | O_NOCTTY) != fd)
			return -EIO;
	}
	return 0;
}

static void reset_signals(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		(void)sigaction(i, &action, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int bind_to_parent(const struct plan *plan)
{
	struct pollfd pipe = { .fd = plan->status_fd };

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	/*
	 * The parent may have ended before: then the signal never comes, but the pipe has no other
	 * end any more. From a PID namespace, getppid() would not tell.
	 */
	close(plan->read_fd);
	return poll(&pipe, 1, 0) != 0 ? -ESRCH : 0;
}

static int prepare_child(const struct plan *plan, int *ret_step)
{
	int r;

	*ret_step = STEP_PARENT;
	r = bind_to_parent(plan);
	if (r < 0)
		return r;
	dn_namespaces_prepare(&plan->namespaces, plan->user, plan->group);
	*ret_step = STEP_SESSION;
	if (setsid() < 0)
		return -errno;
	*ret_step = STEP_DESCRIPTORS;
	r = place_descriptors(plan, ret_step);
	if (r < 0)
		return r;
	*ret_step = STEP_DIRECTORY;
	return chdir("/") < 0 ? -errno : 0;
}

static int run_child(void *data)
{
	const struct plan *plan = data;
	const struct dn_spawn_options *options = plan->options;
	struct failure failure = { 0 };
	int r = prepare_child(plan, &failure.step);

	if (r == 0) {
		failure.step = STEP_EXEC;
		reset_signals();
		if (options->path)
			(void)execve(options->path, options->arguments, plan->environment);
		else
			(void)syscall(SYS_execveat, PROGRAM_FD, "", options->arguments,
				      plan->environment, AT_EMPTY_PATH);
		r = -errno;
	}
	failure.code = -r;
	(void)!write(failure.step >= STEP_PLACES ? STATUS_FD : plan->status_fd, &failure,
		     sizeof(failure));
	_exit(127);
}

/* From here on in the parent again. */

static pid_t start_in(struct plan *plan, const struct dn_namespaces *namespaces)
{
	char text[DN_NAMESPACES_TEXT_MAX];

	plan->namespaces = *namespaces;
	if (namespaces->asked) {
		dn_namespaces_write(namespaces, text);
		(void)snprintf(plan->namespaces_variable, sizeof(plan->namespaces_variable),
			       DN_NAMESPACES_VARIABLE "=%s", text);
		plan->environment[plan->variable_count] = plan->namespaces_variable;
	}
	return dn_clone(dn_namespaces_flags(namespaces), run_child, plan);
}

/* In all namespaces at once; where that is refused, in those that are permitted, or in none. */
static pid_t start(struct plan *plan, bool no_namespaces)
{
	struct dn_namespaces namespaces = dn_namespaces_expect(plan->options->namespaces);
	pid_t pid;

	if (no_namespaces)
		dn_namespaces_refuse(&namespaces, EACCES);
	pid = start_in(plan, &namespaces);
	if (pid < 0 && dn_namespaces_flags(&namespaces)) {
		dn_namespaces_try(&namespaces);
		pid = start_in(plan, &namespaces);
	}
	if (pid < 0 && dn_namespaces_flags(&namespaces)) {
		dn_namespaces_refuse(&namespaces, errno);
		pid = start_in(plan, &namespaces);
	}
	return pid;
}

static int read_failure(int fd, struct failure *ret_failure)
{
	ssize_t n;

	do {
		n = read(fd, ret_failure, sizeof(*ret_failure));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(*ret_failure);
}

static int start_and_check(struct plan *plan, bool no_namespaces, struct dn_child *ret_child,
			   struct dn_error *err)
{
	const char *name = plan->options->path ? plan->options->path : plan->options->arguments[0];
	DN_AUTO_FD int read_end = -1;
	DN_AUTO_FD int write_end = -1;
	struct failure failure;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return dn_error_errno(err, errno, "start '%s'", name);
	read_end = fds[0];
	write_end = fds[1];
	plan->read_fd = read_end;
	plan->status_fd = write_end;
	pid = start(plan, no_namespaces);
	if (pid < 0)
		return dn_error_errno(err, errno, "start '%s'", name);
	close(dn_steal_fd(&write_end));

	if (read_failure(read_end, &failure)) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		return dn_error_errno(err, failure.code ? failure.code : EIO, "start '%s': %s",
				      name, step_words(failure.step));
	}
	ret_child->pid = pid;
	ret_child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	ret_child->namespaces = plan->namespaces;
	return 0;
}

int dn_spawn(const struct dn_spawn_options *options, struct dn_child *ret_child,
	     struct dn_error *err)
{
	struct plan plan = { .options = options, .user = geteuid(), .group = getegid() };
	int r;

	if (!options->arguments || !options->arguments[0])
		return dn_error_set(err, EINVAL, "spawn: no arguments");
	/* It is executed from "/". */
	if (options->path && options->path[0] != '/')
		return dn_error_set(err, EINVAL, "spawn: '%s' is not an absolute path",
				    options->path);
	r = check_descriptors(options, err);
	if (r < 0)
		return r;
	r = copy_environment(&plan, err);
	if (r == 0)
		r = start_and_check(&plan, false, ret_child, err);
	/* Root may execute the program of a user; root of a user namespace may not. */
	if (r == -EACCES && (plan.namespaces.held & DN_SPAWN_USER))
		r = start_and_check(&plan, true, ret_child, err);
	free_environment(&plan);
	return r;
}
