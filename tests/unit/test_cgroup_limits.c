/* SPDX-License-Identifier: MIT */
/* Limits by control groups: on trees that only look like /proc and /sys, and on this machine's. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "device/cgroup-limits.h"

#define GROUP  "dunlin-test"
#define MEMORY ((uint64_t)64 << 20)
#define BOTH   (1U << DN_CGROUP_MEMORY | 1U << DN_CGROUP_PIDS)

static char tree[128];

static void make_tree(void)
{
	const char *folder = getenv("TMPDIR");

	(void)snprintf(tree, sizeof(tree), "%s/dunlin-cgroup-XXXXXX", folder ? folder : P_tmpdir);
	assert_non_null(mkdtemp(tree));
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

static void remove_tree(void)
{
	assert_int_equal(nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* A file below the tree, with the folders above it. */
static void put(const char *path, const char *text)
{
	char full[512];
	FILE *file;

	(void)snprintf(full, sizeof(full), "%s%s", tree, path);
	for (char *at = strchr(full + strlen(tree) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
		*at = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	(void)fputs(text, file);
	(void)fclose(file);
}

static void assert_file(const char *path, const char *expected)
{
	char full[512];
	char text[64] = "";
	FILE *file;

	(void)snprintf(full, sizeof(full), "%s%s", tree, path);
	file = fopen(full, "r");
	assert_non_null(file);
	(void)!fgets(text, sizeof(text), file);
	(void)fclose(file);
	assert_string_equal(text, expected);
}

/* The kernel makes the files of a group with it; a tree must have them before. */
static void put_version_2(const char *group, const char *controllers)
{
	static const char *const files[] = { "cgroup.procs",
					     "cgroup.subtree_control",
					     "dunlin-supervisor/cgroup.procs",
					     GROUP "/cgroup.procs",
					     GROUP "/memory.max",
					     GROUP "/memory.swap.max",
					     GROUP "/memory.oom.group",
					     GROUP "/pids.max" };
	char path[256];

	(void)snprintf(path, sizeof(path), "0::%s\n", group);
	put("/proc/self/cgroup", path);
	for (size_t i = 0; i < DN_ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/%s", group, files[i]);
		put(path, "");
	}
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.controllers", group);
	put(path, controllers);
}

static void assert_absent(const struct dn_cgroup_limits *limits, const char *word)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_cgroup_group group;

	for (unsigned int i = 0; i < DN_CGROUP_CONTROLLERS; i++) {
		assert_string_equal(limits->controllers[i].base, "");
		assert_non_null(strstr(limits->controllers[i].reason, word));
	}
	assert_int_equal(dn_cgroup_group_new(limits, GROUP, MEMORY, 3, &group, &err), -ENOTSUP);
	assert_non_null(strstr(err.message, word));
	assert_int_equal(group.held, 0);
	/* It can be used, and does nothing. */
	assert_int_equal(dn_cgroup_group_add(&group, getpid(), NULL), 0);
	dn_cgroup_group_done(&group);
}

static void test_version_2(void **state)
{
	struct dn_cgroup_limits limits;
	struct dn_cgroup_group group;

	(void)state;
	make_tree();
	put_version_2("/", "cpuset cpu io memory pids\n");
	dn_cgroup_limits_open(tree, &limits);
	assert_int_equal(limits.version, 2);
	assert_string_equal(limits.controllers[DN_CGROUP_MEMORY].reason, "");
	assert_file("/sys/fs/cgroup/dunlin-supervisor/cgroup.procs", "0");
	assert_int_equal(dn_cgroup_group_new(&limits, GROUP, MEMORY, 3, &group, NULL), 0);
	assert_int_equal(group.held, BOTH);
	assert_file("/sys/fs/cgroup/" GROUP "/memory.max", "67108864");
	assert_file("/sys/fs/cgroup/" GROUP "/memory.swap.max", "0");
	assert_file("/sys/fs/cgroup/" GROUP "/memory.oom.group", "1");
	assert_file("/sys/fs/cgroup/" GROUP "/pids.max", "3");
	assert_int_equal(dn_cgroup_group_add(&group, 1234, NULL), 0);
	assert_file("/sys/fs/cgroup/" GROUP "/cgroup.procs", "1234");
	dn_cgroup_group_done(&group);
	dn_cgroup_limits_done(&limits);
	assert_file("/sys/fs/cgroup/cgroup.procs", "0");
	remove_tree();
}

/* A group below the top: root has no business in it, unless systemd says so. */
static void test_delegation(void **state)
{
	struct dn_cgroup_limits limits;
	char path[256];

	(void)state;
	make_tree();
	put_version_2("/system.slice/dunlin.service", "memory pids\n");
	(void)snprintf(path, sizeof(path), "%s/sys/fs/cgroup/system.slice/dunlin.service", tree);
	if (geteuid() == 0) {
		dn_cgroup_limits_open(tree, &limits);
		assert_absent(&limits, "Delegate");
		if (setxattr(path, "trusted.delegate", "1", 1, 0) < 0) {
			print_message("skipped: no trusted attributes here\n");
			remove_tree();
			skip();
		}
	}
	dn_cgroup_limits_open(tree, &limits);
	assert_string_equal(limits.controllers[DN_CGROUP_MEMORY].base, path);
	assert_string_equal(limits.controllers[DN_CGROUP_PIDS].base, path);
	remove_tree();
}

static void test_one_controller(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_cgroup_limits limits;
	struct dn_cgroup_group group;

	(void)state;
	make_tree();
	put_version_2("/", "memory\n");
	dn_cgroup_limits_open(tree, &limits);
	assert_non_null(strstr(limits.controllers[DN_CGROUP_PIDS].reason, "no controller 'pids'"));
	assert_int_equal(dn_cgroup_group_new(&limits, GROUP, MEMORY, 3, &group, &err), -ENOTSUP);
	assert_int_equal(group.held, 1U << DN_CGROUP_MEMORY);
	assert_int_equal(dn_cgroup_group_new(&limits, GROUP, MEMORY, 0, &group, &err), 0);
	assert_int_equal(dn_cgroup_group_new(&limits, "../x", MEMORY, 0, &group, &err), -EINVAL);
	assert_int_equal(dn_cgroup_group_new(&limits, "", MEMORY, 0, &group, &err), -EINVAL);
	remove_tree();
}

static void test_version_1(void **state)
{
	struct dn_cgroup_limits limits;
	struct dn_cgroup_group group;

	(void)state;
	make_tree();
	/* The hierarchy of version 2 is there, without controllers. */
	put("/proc/self/cgroup", "8:pids:/a\n4:memory:/b/c\n1:name=systemd:/\n0::/\n");
	put("/sys/fs/cgroup/unified/cgroup.procs", "");
	put("/sys/fs/cgroup/unified/cgroup.controllers", "\n");
	put("/sys/fs/cgroup/pids/a/cgroup.procs", "");
	put("/sys/fs/cgroup/pids/a/" GROUP "/pids.max", "");
	put("/sys/fs/cgroup/pids/a/" GROUP "/cgroup.procs", "");
	put("/sys/fs/cgroup/memory/b/c/cgroup.procs", "");
	put("/sys/fs/cgroup/memory/b/c/" GROUP "/memory.limit_in_bytes", "");
	put("/sys/fs/cgroup/memory/b/c/" GROUP "/memory.swappiness", "");
	put("/sys/fs/cgroup/memory/b/c/" GROUP "/cgroup.procs", "");
	dn_cgroup_limits_open(tree, &limits);
	assert_int_equal(limits.version, 1);
	assert_int_equal(dn_cgroup_group_new(&limits, GROUP, MEMORY, 3, &group, NULL), 0);
	assert_int_equal(group.held, BOTH);
	assert_file("/sys/fs/cgroup/memory/b/c/" GROUP "/memory.limit_in_bytes", "67108864");
	assert_file("/sys/fs/cgroup/memory/b/c/" GROUP "/memory.swappiness", "0");
	assert_file("/sys/fs/cgroup/pids/a/" GROUP "/pids.max", "3");
	assert_int_equal(dn_cgroup_group_add(&group, 77, NULL), 0);
	assert_file("/sys/fs/cgroup/memory/b/c/" GROUP "/cgroup.procs", "77");
	assert_file("/sys/fs/cgroup/pids/a/" GROUP "/cgroup.procs", "77");
	dn_cgroup_group_done(&group);
	dn_cgroup_limits_done(&limits);
	remove_tree();
}

static void test_none(void **state)
{
	struct dn_cgroup_limits limits;

	(void)state;
	make_tree();
	dn_cgroup_limits_open(tree, &limits);
	assert_int_equal(limits.version, 0);
	assert_absent(&limits, "no control groups");
	put("/proc/self/cgroup", "0::/\n");
	dn_cgroup_limits_open(tree, &limits);
	assert_absent(&limits, "no control groups");
	remove_tree();
}

/* In the group: waits until it is in, takes three times what it may. */
static void take_too_much(int fd)
{
	const size_t size = 3 * MEMORY;
	char byte;
	char *data;

	if (read(fd, &byte, 1) != 1)
		_exit(1);
	data = malloc(size);
	if (!data)
		_exit(2);
	for (size_t i = 0; i < size; i += 4096)
		((volatile char *)data)[i] = 1;
	_exit(3);
}

static void start_too_many(int fd)
{
	int started = 0;
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(1);
	while (started < 10) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			(void)pause();
			_exit(0);
		}
		started++;
	}
	(void)signal(SIGTERM, SIG_IGN);
	(void)kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
	_exit(started);
}

static int status_in_group(const struct dn_cgroup_group *group, void (*what)(int fd))
{
	int status = -1;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setpgid(0, 0);
		what(fds[0]);
	}
	assert_int_equal(dn_cgroup_group_add(group, pid, NULL), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(fds[0]);
	(void)close(fds[1]);
	return status;
}

static void test_this_machine(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_cgroup_limits limits;
	struct dn_cgroup_group group;
	char directory[2][DN_CGROUP_PATH_MAX];
	char name[32];
	int status;

	(void)state;
	dn_cgroup_limits_open("", &limits);
	(void)snprintf(name, sizeof(name), GROUP "-%d", (int)getpid());
	if (dn_cgroup_group_new(&limits, name, MEMORY, 3, &group, &err) < 0)
		print_message("not all of it here: %s\n", err.message);
	memcpy(directory, group.directory, sizeof(directory));
	if (group.held & (1U << DN_CGROUP_PIDS)) {
		status = status_in_group(&group, start_too_many);
		assert_true(WIFEXITED(status));
		/* The thread sanitizer has a thread in it too. */
		assert_in_range(WEXITSTATUS(status), 1, 2);
	}
	if (group.held & (1U << DN_CGROUP_MEMORY)) {
		status = status_in_group(&group, take_too_much);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGKILL);
	}
	dn_cgroup_group_done(&group);
	dn_cgroup_limits_done(&limits);
	for (size_t i = 0; i < DN_ARRAY_SIZE(directory); i++) {
		if (directory[i][0])
			assert_int_equal(access(directory[i], F_OK), -1);
	}
	if (!directory[0][0] && !directory[1][0])
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_2),      cmocka_unit_test(test_delegation),
		cmocka_unit_test(test_one_controller), cmocka_unit_test(test_version_1),
		cmocka_unit_test(test_none),	       cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests_name("cgroup limits", tests, NULL, NULL);
}
