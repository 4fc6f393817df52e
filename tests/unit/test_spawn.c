/* SPDX-License-Identifier: MIT */
/*
 * Starting programs: this one starts itself, and the child reports through its exit code what it
 * found. 0 is "all as promised".
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "sandbox/spawn.h"

#define SELF "/proc/self/exe"

extern char **environ;

/* The children, by name. */

static int child_descriptors(void)
{
	char byte = 0;

	for (int fd = 0; fd < 4096; fd++) {
		bool open = fcntl(fd, F_GETFD) >= 0;

		if (open != (fd <= 2 || fd == 5 || fd == 63))
			return 1;
	}
	/* 5 is the end of the pipe that has an "x" in it, 63 the other end. */
	if (read(5, &byte, 1) != 1 || byte != 'x')
		return 2;
	if (write(63, "y", 1) != 1)
		return 3;
	/* The null device: nothing to read. */
	return read(0, &byte, 1) == 0 ? 0 : 4;
}

static int child_surroundings(void)
{
	sigset_t blocked;
	struct sigaction action;
	char here[64];
	int at_death = 0;

	if (!getcwd(here, sizeof(here)) || strcmp(here, "/") != 0)
		return 1;
	if (getsid(0) != getpid())
		return 2;
	if (sigprocmask(SIG_SETMASK, NULL, &blocked) < 0 || sigismember(&blocked, SIGTERM))
		return 3;
	if (sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler != SIG_DFL)
		return 4;
	if (prctl(PR_GET_PDEATHSIG, &at_death) < 0 || at_death != SIGKILL)
		return 5;
	if (getenv("PATH") || getenv("HOME") || getenv("LD_PRELOAD"))
		return 6;
	return getenv("DUNLIN_CPU") && strcmp(getenv("DUNLIN_CPU"), "scalar") == 0 ? 0 : 7;
}

static int run_as_child(const char *name)
{
	if (strcmp(name, "descriptors") == 0)
		return child_descriptors();
	if (strcmp(name, "surroundings") == 0)
		return child_surroundings();
	if (strcmp(name, "code") == 0)
		return 42;
	if (strcmp(name, "sleep") == 0)
		return (int)sleep(60);
	if (strcmp(name, "sigsys") == 0)
		(void)raise(SIGSYS);
	return 99;
}

static int start(char *name, const struct dn_spawn_descriptor *descriptors, size_t count,
		 struct dn_child *ret_child, struct dn_error *err)
{
	char program[] = "test_spawn";
	char word[] = "child";
	char *const arguments[] = { program, word, name, NULL };
	const struct dn_spawn_options options = {
		.path = SELF,
		.arguments = arguments,
		.descriptors = descriptors,
		.descriptor_count = count,
	};

	return dn_spawn(&options, ret_child, err);
}

static struct dn_child_end run(char *name, const struct dn_spawn_descriptor *descriptors,
			       size_t count)
{
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end = { 0 };
	struct dn_error err = DN_ERROR_INIT;

	if (start(name, descriptors, count, &child, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(dn_child_wait(&child, 30000, &end, NULL), 1);
	assert_int_equal(child.pid, -1);
	assert_int_equal(child.pidfd, -1);
	return end;
}

/* Targets that cross each other, and open descriptors that must not be seen. */
static void test_descriptors(void **state)
{
	char name[] = "descriptors";
	struct dn_child_end end;
	int pipes[2], extra[40];
	int five = -1;
	char byte = 0;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(extra); i++)
		extra[i] = dup(2);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(write(pipes[1], "x", 1), 1);
	/* The write end becomes number 5 here, and 63 there; the read end becomes 5 there. */
	five = dup(5);
	assert_int_equal(dup2(pipes[1], 5), 5);
	{
		const struct dn_spawn_descriptor list[] = { { 5, 63 }, { pipes[0], 5 } };

		end = run(name, list, 2);
	}
	assert_string_equal(end.words, "exit code 0");
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	(void)dup2(five, 5);
	(void)close(five);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	for (size_t i = 0; i < DN_ARRAY_SIZE(extra); i++)
		(void)close(extra[i]);
}

static void test_surroundings(void **state)
{
	char name[] = "surroundings";
	struct dn_child_end end;
	sigset_t some, before;

	(void)state;
	assert_int_equal(setenv("DUNLIN_CPU", "scalar", 1), 0);
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &some, &before);
	end = run(name, NULL, 0);
	(void)sigprocmask(SIG_SETMASK, &before, &some);
	assert_string_equal(end.words, "exit code 0");
	/* Ours are as they were. */
	assert_true(sigismember(&some, SIGTERM));
	assert_false(sigismember(&some, SIGINT));
	assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_IGN);
}

static void assert_not_started(const char *path, int code, const char *word)
{
	char *const arguments[] = { (char[]){ "program" }, NULL };
	const struct dn_spawn_options options = { .path = path, .arguments = arguments };
	struct dn_child child = DN_CHILD_INIT;
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_spawn(&options, &child, &err), -code);
	assert_int_equal(child.pid, -1);
	assert_non_null(strstr(err.message, word));
	/* Nothing is left to be waited for. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_not_started(void **state)
{
	const struct dn_spawn_descriptor twice[] = { { 0, 3 }, { 1, 3 } };
	const struct dn_spawn_descriptor high[] = { { 0, DN_SPAWN_TARGETS } };
	const struct dn_spawn_descriptor closed[] = { { 4000, 3 } };
	struct dn_child child = DN_CHILD_INIT;
	struct dn_error err = DN_ERROR_INIT;
	char name[] = "code";

	(void)state;
	assert_not_started("/nowhere/program", ENOENT, "'/nowhere/program'");
	assert_not_started("/dev/null", EACCES, "execute it");
	assert_not_started("program", EINVAL, "absolute");
	assert_int_equal(start(name, twice, 2, &child, NULL), -EINVAL);
	assert_int_equal(start(name, high, 1, &child, NULL), -EINVAL);
	assert_int_equal(start(name, closed, 1, &child, &err), -EBADF);
	assert_non_null(strstr(err.message, "descriptors"));
}

static void test_from_descriptor(void **state)
{
	char *const arguments[] = { (char[]){ "p" }, (char[]){ "child" }, (char[]){ "code" },
				    NULL };
	DN_AUTO_FD int self = open(SELF, O_RDONLY | O_CLOEXEC);
	const struct dn_spawn_options options = { .program_fd = self, .arguments = arguments };
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end;

	(void)state;
	assert_int_equal(dn_spawn(&options, &child, NULL), 0);
	assert_int_equal(dn_child_wait(&child, -1, &end, NULL), 1);
	assert_int_equal(end.code, 42);
	assert_int_equal(end.signal, 0);
	assert_string_equal(end.words, "exit code 42");
}

static void test_ends_in_words(void **state)
{
	char sleeper[] = "sleep";
	char sigsys[] = "sigsys";
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end;

	(void)state;
	end = run(sigsys, NULL, 0);
	assert_int_equal(end.signal, SIGSYS);
	assert_non_null(strstr(end.words, "a system call outside its list"));

	assert_int_equal(start(sleeper, NULL, 0, &child, NULL), 0);
	assert_int_equal(dn_child_wait(&child, 0, &end, NULL), 0);
	assert_int_equal(dn_child_wait(&child, 20, &end, NULL), 0);
	assert_int_equal(kill(child.pid, SIGKILL), 0);
	assert_int_equal(dn_child_wait(&child, 30000, &end, NULL), 1);
	assert_int_equal(end.signal, SIGKILL);
	assert_non_null(strstr(end.words, "out of memory"));
	assert_int_equal(dn_child_wait(&child, 0, &end, NULL), -ECHILD);
}

static void test_done_leaves_none(void **state)
{
	char name[] = "sleep";
	struct dn_child child = DN_CHILD_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(start(name, NULL, 0, &child, NULL), 0);
	pid = child.pid;
	dn_child_done(&child);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	dn_child_done(&child);
}

/* A worker does not outlive the program that started it. */
static void test_ends_with_parent(void **state)
{
	int pipes[2];
	pid_t grandchild = 0;
	pid_t pid;

	(void)state;
	/* Orphans come to us, so that their end can be seen. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		char name[] = "sleep";
		struct dn_child child = DN_CHILD_INIT;

		if (start(name, NULL, 0, &child, NULL) == 0)
			(void)!write(pipes[1], &child.pid, sizeof(child.pid));
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	{
		struct dn_child orphan = { .pid = grandchild, .pidfd = -1 };
		struct dn_child_end end;

		assert_int_equal(dn_child_wait(&orphan, 10000, &end, NULL), 1);
		assert_int_equal(end.signal, SIGKILL);
	}
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptors),	 cmocka_unit_test(test_surroundings),
		cmocka_unit_test(test_not_started),	 cmocka_unit_test(test_from_descriptor),
		cmocka_unit_test(test_ends_in_words),	 cmocka_unit_test(test_done_leaves_none),
		cmocka_unit_test(test_ends_with_parent),
	};

	if (argc == 3 && strcmp(argv[1], "child") == 0)
		return run_as_child(argv[2]);
	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
