/* SPDX-License-Identifier: MIT */
/*
 * The jail, tried from inside: each case is a child that enters it and then does one thing. What
 * must not be possible ends in SIGSYS; what a worker needs must still work.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "base/base.h"
#include "sandbox/jail-internal.h"
#include "sandbox/jail.h"

#define DID_IT	 0  /* the thing tried succeeded */
#define REFUSED	 40 /* the thing tried failed with EACCES or EPERM */
#define BROKEN	 41 /* something that must work does not */
#define NO_JAIL	 42
#define SLEEP_MS 1

typedef int attempt(void);

static const struct dn_jail_options strict = { 0 };

/* Status, as of waitpid(), of a child that enters the jail and then makes the attempt. */
static int in_jail(const struct dn_jail_options *options, attempt *what)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct dn_jail_report report;

		_exit(dn_jail_enter(options, &report, NULL) < 0 ? NO_JAIL : what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void skip_without(enum dn_jail_measure measure)
{
	struct dn_jail_report report;

	dn_jail_probe(&report);
	if (report.measures[measure].state == DN_JAIL_HELD)
		return;
	print_message("skipped: %s: %s\n", dn_jail_measure_name(measure),
		      report.measures[measure].reason);
	skip();
}

static void assert_killed(attempt *what)
{
	int status = in_jail(&strict, what);

	if (WIFEXITED(status))
		fail_msg("lived on, and ended with code %d", WEXITSTATUS(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void assert_fine(attempt *what)
{
	int status = in_jail(&strict, what);

	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), DID_IT);
}

static int answer(long result)
{
	if (result >= 0)
		return DID_IT;
	return errno == EACCES || errno == EPERM ? REFUSED : BROKEN;
}

/* What must not be possible. */

static int try_open(void)
{
	return answer(open("/etc/passwd", O_RDONLY));
}

static int try_create(void)
{
	return answer(open("/dunlin-test-jail", O_WRONLY | O_CREAT, 0600));
}

static int try_socket(void)
{
	return answer(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_exec(void)
{
	char *const arguments[] = { "true", NULL };

	return answer(execve("/bin/true", arguments, NULL));
}

static int try_fork(void)
{
	return answer(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int try_kill_parent(void)
{
	return answer(kill(getppid(), 0));
}

static int try_tgkill_other(void)
{
	return answer(syscall(SYS_tgkill, 1, 1, 0));
}

static int try_ptrace(void)
{
	return answer(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_executable_mapping(void)
{
	void *data = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return answer(data == MAP_FAILED ? -1 : 0);
}

static int try_make_executable(void)
{
	void *data = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return BROKEN;
	return answer(mprotect(data, 4096, PROT_READ | PROT_EXEC));
}

static int try_io_uring(void)
{
	return answer(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_dup(void)
{
	return answer(fcntl(0, F_DUPFD, 0));
}

static int try_raise_limit(void)
{
	struct rlimit limit = { 1024, 1024 };

	return answer(setrlimit(RLIMIT_NOFILE, &limit));
}

static int try_chmod(void)
{
	return answer(syscall(SYS_fchmod, 0, 0600));
}

#if defined(__x86_64__)
/* ARCH_GET_FS: of arch_prctl(), only the request for tiles is allowed. */
static int try_arch_prctl(void)
{
	unsigned long base;

	return answer(syscall(SYS_arch_prctl, 0x1003, &base));
}

/* The same processor, another table of numbers: 41 is socket in the 64-bit one. */
static int try_x32(void)
{
	return answer(syscall(0x40000000 | SYS_getppid));
}
#endif

static void test_forbidden(void **state)
{
	static attempt *const attempts[] = {
		try_socket, try_exec,	    try_executable_mapping, try_io_uring, try_tgkill_other,
		try_dup,    try_chmod,	    try_make_executable,
#if defined(__x86_64__)
		try_x32,    try_arch_prctl,
#endif
	};

	(void)state;
	skip_without(DN_JAIL_SECCOMP);
	for (size_t i = 0; i < DN_ARRAY_SIZE(attempts); i++)
		assert_killed(attempts[i]);
}

/* The list of sanitizer builds is wider here; Landlock has the second word. */
static void test_forbidden_in_release(void **state)
{
	static attempt *const attempts[] = { try_open,	 try_create,	  try_fork,
					     try_ptrace, try_kill_parent, try_raise_limit };

	(void)state;
	skip_without(DN_JAIL_SECCOMP);
	if (DN_JAIL_SANITIZER)
		skip();
	for (size_t i = 0; i < DN_ARRAY_SIZE(attempts); i++)
		assert_killed(attempts[i]);
}

/* Landlock alone, as it holds where seccomp is missing or wider. */
static int status_under_landlock(attempt *what)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct dn_jail_report report = { 0 };

		(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		_exit(dn_landlock_enter(&report, NULL) < 0 ? NO_JAIL : what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int try_list_root(void)
{
	return answer(open("/", O_RDONLY | O_DIRECTORY));
}

static int try_connect(void)
{
	/* 127.0.0.1, port 9: refused by the rules before anyone is asked. */
	const unsigned char address[16] = { AF_INET & 0xff, 0, 0, 9, 127, 0, 0, 1 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		return BROKEN;
	return answer(connect(fd, (const struct sockaddr *)(const void *)address, sizeof(address)));
}

static void test_landlock_alone(void **state)
{
	static attempt *const attempts[] = { try_open, try_create, try_list_root, try_exec };
	struct dn_jail_report report;

	(void)state;
	skip_without(DN_JAIL_LANDLOCK_FILES);
	for (size_t i = 0; i < DN_ARRAY_SIZE(attempts); i++) {
		int status = status_under_landlock(attempts[i]);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), REFUSED);
	}
	dn_jail_probe(&report);
	if (report.measures[DN_JAIL_LANDLOCK_NETWORK].state == DN_JAIL_HELD)
		assert_int_equal(WEXITSTATUS(status_under_landlock(try_connect)), REFUSED);
	if (report.measures[DN_JAIL_LANDLOCK_SCOPE].state == DN_JAIL_HELD)
		assert_int_equal(WEXITSTATUS(status_under_landlock(try_kill_parent)), REFUSED);
}

/* What a worker needs. */

static void *count(void *data)
{
	char *blocks[32];

	/* With an arena of its own, a thread that frees this much makes glibc open a file. */
	for (size_t i = 0; i < DN_ARRAY_SIZE(blocks); i++) {
		blocks[i] = malloc(100000);
		if (!blocks[i])
			return NULL;
		memset(blocks[i], 1, 1000);
	}
	for (size_t i = DN_ARRAY_SIZE(blocks); i-- > 0;)
		free(blocks[i]);
	++*(int *)data;
	return NULL;
}

static int use_threads(void)
{
	pthread_t threads[3];
	int counts[3] = { 0 };

	for (int i = 0; i < 3; i++) {
		if (pthread_create(&threads[i], NULL, count, &counts[i]))
			return BROKEN;
	}
	for (int i = 0; i < 3; i++) {
		if (pthread_join(threads[i], NULL) || counts[i] != 1)
			return BROKEN;
	}
	return DID_IT;
}

static int use_memory(void)
{
	const size_t size = (size_t)8 << 20;
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return BROKEN;
	(void)madvise(data, size, MADV_HUGEPAGE);
	data[size - 1] = 1;
	data = mremap(data, size, 2 * size, MREMAP_MAYMOVE);
	if (data == MAP_FAILED || data[size - 1] != 1)
		return BROKEN;
	if (mprotect(data, size, PROT_READ) < 0 || munmap(data, 2 * size) < 0)
		return BROKEN;
	for (size_t i = 1; i < 1000; i++)
		free(malloc(i * 1000));
	return DID_IT;
}

static int use_memfd(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat status;
	char byte = 1;

	if (fd < 0 || ftruncate(fd, 5000) < 0 || pwrite(fd, &byte, 1, 4999) != 1)
		return BROKEN;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE) < 0 || fstat(fd, &status) < 0)
		return BROKEN;
	return status.st_size == 5000 && close(fd) == 0 ? DID_IT : BROKEN;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* What the C library does behind the back of a program. */
static int use_libc(void)
{
	enum { COUNT = 5000 };
	struct timespec pause = { .tv_nsec = SLEEP_MS * 1000000 };
	time_t now = time(NULL);
	struct tm broken_down;
	int *numbers = calloc(COUNT, sizeof(*numbers));
	char text[64];

	if (!numbers || !localtime_r(&now, &broken_down))
		return BROKEN;
	for (int i = 0; i < COUNT; i++)
		numbers[i] = COUNT - i;
	qsort(numbers, COUNT, sizeof(*numbers), compare);
	if (numbers[0] != 1 || strftime(text, sizeof(text), "%c %Z", &broken_down) == 0)
		return BROKEN;
	free(numbers);
	if (nanosleep(&pause, NULL) < 0)
		return BROKEN;
	(void)fprintf(stderr, "%s", "");
	(void)printf("%s", "");
	(void)fflush(stdout);
	(void)pthread_setname_np(pthread_self(), "jailed");
	return strlen(strerror(ENOENT)) ? DID_IT : BROKEN;
}

static int use_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (signal(SIGUSR1, SIG_IGN) == SIG_ERR || raise(SIGUSR1) != 0)
		return BROKEN;
	return pthread_sigmask(SIG_BLOCK, &set, NULL) ? BROKEN : DID_IT;
}

static int use_cpu_set(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return BROKEN;
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? BROKEN : DID_IT;
}

#if defined(__x86_64__)
/* ARCH_REQ_XCOMP_PERM for the data of AMX's tiles: a CPU without them refuses, nobody dies. */
static int use_tiles(void)
{
	return syscall(SYS_arch_prctl, 0x1023, 18) < 0 && errno == ENOSYS ? BROKEN : DID_IT;
}
#endif

static void test_needed(void **state)
{
	static attempt *const attempts[] = {
		use_threads, use_memory, use_memfd, use_libc, use_signals, use_cpu_set,
#if defined(__x86_64__)
		use_tiles,
#endif
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(attempts); i++)
		assert_fine(attempts[i]);
}

static int do_abort(void)
{
	abort();
}

static void test_abort_is_seen_as_such(void **state)
{
	int status;

	(void)state;
	status = in_jail(&strict, do_abort);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_false(WCOREDUMP(status));
}

/* 64 descriptors: the 65th memfd is refused. */
static int count_descriptors(void)
{
	int made = 0;

	while (made < 1000 && memfd_create("x", MFD_CLOEXEC) >= 0)
		made++;
	return errno == EMFILE && made > 8 && made < DN_JAIL_DEFAULT_FILES ? DID_IT : BROKEN;
}

static int use_too_much(void)
{
	void *data = mmap(NULL, (size_t)2 << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return data == MAP_FAILED && errno == ENOMEM ? DID_IT : BROKEN;
}

static void test_limits(void **state)
{
	const struct dn_jail_options small = { .memory = (uint64_t)1 << 30 };
	int status;

	(void)state;
	assert_fine(count_descriptors);
	if (DN_JAIL_SANITIZER)
		return;
	status = in_jail(&small, use_too_much);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), DID_IT);
}

/* From outside: the kernel's own word on what holds. */
static void test_seen_from_outside(void **state)
{
	char path[64], line[256];
	int pipes[2];
	int found = 0;
	FILE *file;
	pid_t pid;

	(void)state;
	skip_without(DN_JAIL_SECCOMP);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct dn_jail_report report;
		char byte = dn_jail_enter(NULL, &report, NULL) == 0;

		(void)!write(pipes[1], &byte, 1);
		for (;;)
			(void)poll(NULL, 0, -1);
	}
	assert_int_equal(read(pipes[0], line, 1), 1);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		found += strcmp(line, "NoNewPrivs:\t1\n") == 0;
		found += strcmp(line, "Seccomp:\t2\n") == 0;
		found += strcmp(line, "CapEff:\t0000000000000000\n") == 0;
		found += strcmp(line, "CapPrm:\t0000000000000000\n") == 0;
	}
	(void)fclose(file);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	assert_int_equal(found, 4);
}

/* The report says what the probe promised; a required measure that is left out is an error. */
static void test_report(void **state)
{
	struct dn_jail_report promised;
	int status = -1;
	pid_t pid;

	(void)state;
	dn_jail_probe(&promised);
	pid = fork();
	if (pid == 0) {
		struct dn_jail_report report;

		if (dn_jail_enter(NULL, &report, NULL) < 0)
			_exit(NO_JAIL);
		/* Namespaces are the start's to make, and this is none. */
		for (int i = 0; i < DN_JAIL_USER_NAMESPACE; i++) {
			if (report.measures[i].state != promised.measures[i].state)
				_exit(100 + i);
		}
		_exit(report.list == promised.list && report.landlock_abi == promised.landlock_abi
			      ? DID_IT
			      : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), DID_IT);

	for (int i = 0; i < DN_JAIL_MEASURES; i++) {
		assert_string_not_equal(dn_jail_measure_name((enum dn_jail_measure)i), "unknown");
		assert_true(strlen(dn_jail_measure_purpose((enum dn_jail_measure)i)) > 5);
		if (promised.measures[i].state == DN_JAIL_ABSENT)
			assert_true(strlen(promised.measures[i].reason) > 5);
	}
	assert_string_equal(dn_jail_list_name((enum dn_jail_list)promised.list),
			    promised.list == DN_JAIL_LIST_NONE ? "none"
			    : DN_JAIL_SANITIZER		       ? "sanitizer"
							       : "release");
}

static void test_required(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		const struct dn_jail_options options = { .required = 1U << DN_JAIL_NO_TRACING,
							 .measurable = true };
		struct dn_jail_report report;
		struct dn_error err = DN_ERROR_INIT;
		int r = dn_jail_enter(&options, &report, &err);

		_exit(r == -ENOTSUP && strstr(err.message, "no_tracing") ? DID_IT : BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), DID_IT);
}

/* A misspelt name would be passed over in silence: here it is not. */
static void test_names_are_system_calls(void **state)
{
	(void)state;
#if defined(HAVE_SECCOMP) && defined(__x86_64__)
	for (const struct dn_seccomp_group *group = dn_seccomp_groups; group->name; group++) {
		for (size_t i = 0; i < group->rule_count; i++) {
			if (seccomp_syscall_resolve_name(group->rules[i].call) < 0)
				fail_msg("no system call '%s'", group->rules[i].call);
		}
	}
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_forbidden_in_release),
		cmocka_unit_test(test_landlock_alone),
		cmocka_unit_test(test_needed),
		cmocka_unit_test(test_abort_is_seen_as_such),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_seen_from_outside),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_required),
		cmocka_unit_test(test_names_are_system_calls),
	};

	return cmocka_run_group_tests_name("jail", tests, NULL, NULL);
}
