/* SPDX-License-Identifier: MIT */
/*
 * Programs started in namespaces: this one starts itself, and the child reports through its exit
 * code what it found in there. Where a kind is not permitted, its case is skipped, and the start
 * must have said so. The whole is run once more where all, or some, are refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "base/base.h"
#include "sandbox/jail-internal.h"
#include "sandbox/jail.h"
#include "sandbox/namespaces.h"
#include "sandbox/spawn.h"

#define OTHER_FD 5
#define WAIT_MS	 30000

static const struct {
	int flag;
	enum dn_jail_measure measure;
} kinds[DN_SPAWN_KINDS] = {
	{ CLONE_NEWUSER, DN_JAIL_USER_NAMESPACE }, { CLONE_NEWNS, DN_JAIL_MOUNT_NAMESPACE },
	{ CLONE_NEWPID, DN_JAIL_PID_NAMESPACE },   { CLONE_NEWNET, DN_JAIL_NETWORK_NAMESPACE },
	{ CLONE_NEWIPC, DN_JAIL_IPC_NAMESPACE },
};

/* The children, by name; @number is what the case hands over. */

static int child_user(int number)
{
	(void)number;
	/* Nobody, or, where the sanitizers had it mapped, itself: without power outside. */
	if (!DN_JAIL_SANITIZER && getuid() != 65534)
		return 1;
	if (sethostname("jailed", 6) == 0 || errno != EPERM)
		return 2;
	/* No other number is there to become. */
	return setuid(12345) < 0 ? 0 : 3;
}

static int child_pid(int parent)
{
	if (getpid() != 1 || getppid() != 0)
		return 1;
	if (kill(parent, 0) == 0 || errno != ESRCH)
		return 2;
	/* Nobody is there to be asked. */
	return kill(-1, 0) < 0 && errno == ESRCH ? 0 : 3;
}

static int child_network(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct ifreq request = { .ifr_name = "lo" };
	struct if_nameindex *all = if_nameindex();
	DN_AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int count = 0;

	if (!all || fd < 0)
		return 1;
	for (const struct if_nameindex *one = all; one->if_index; one++)
		count += strcmp(one->if_name, "lo") != 0;
	if_freenameindex(all);
	if (count > 0)
		return 2;
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0 || (request.ifr_flags & IFF_UP))
		return 3;
	address.sin_port = htons((uint16_t)port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? 0 : 4;
}

static int child_ipc(int id)
{
	struct shmid_ds status;

	return shmctl(id, IPC_STAT, &status) < 0 && errno == EINVAL ? 0 : 1;
}

/* Neither Landlock nor seccomp: the root alone. */
static int child_files(int number)
{
	static const char *const paths[] = { "/etc/passwd", "/bin", "/usr", "/dev/null",
					     "/../etc",	    "/sys", "etc",  "../../etc" };
	struct dn_jail_report report = { 0 };

	(void)number;
	dn_namespaces_enter(&report);
	if (report.measures[DN_JAIL_MOUNT_NAMESPACE].state != DN_JAIL_HELD)
		return 1;
	for (size_t i = 0; i < DN_ARRAY_SIZE(paths); i++) {
		if (open(paths[i], O_RDONLY | O_CLOEXEC) >= 0 || errno != ENOENT)
			return 2 + (int)i;
	}
	if (DN_JAIL_SANITIZER)
		return 0;
	if (open("/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0 || errno != EROFS)
		return 20;
	if (mkdir("/folder", 0700) == 0 || open("/proc", O_RDONLY | O_CLOEXEC) >= 0)
		return 21;
	/* There is no way back, whatever the rights. */
	return chdir("..") == 0 && open("etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? 0 : 22;
}

/* Sends its report, and tries what ends it. */
static int child_jailed(int end)
{
	struct dn_jail_report report;

	if (dn_jail_enter(NULL, &report, NULL) < 0 || getenv(DN_NAMESPACES_VARIABLE))
		return 1;
	if (write(OTHER_FD, &report, sizeof(report)) != sizeof(report))
		return 2;
	if (end == SIGSYS)
		(void)!socket(AF_INET, SOCK_STREAM, 0);
	else if (end == SIGABRT)
		abort();
	else if (end == SIGSEGV)
		*(volatile int *)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) =
			1;
	return 0;
}

static int child_accept(int number)
{
	const struct dn_jail_options options = { .profile = DN_JAIL_FRONT };
	struct dn_jail_report report;
	char bytes[4];
	int fd;

	(void)number;
	if (dn_jail_enter(&options, &report, NULL) < 0)
		return 1;
	fd = accept4(OTHER_FD, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0 || recv(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
		return 2;
	return send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == sizeof(bytes) ? 0 : 3;
}

/* Its report is all that it says. */
static int child_waits(int number)
{
	struct dn_jail_report report;

	(void)number;
	if (dn_jail_enter(NULL, &report, NULL) < 0)
		return 1;
	(void)!write(OTHER_FD, &report, sizeof(report));
	for (;;)
		(void)poll(NULL, 0, -1);
}

static int child_sleep(int number)
{
	(void)number;
	return (int)sleep(60);
}

static const struct {
	const char *name;
	int (*run)(int number);
} children[] = {
	{ "user", child_user },	    { "pid", child_pid },     { "network", child_network },
	{ "ipc", child_ipc },	    { "files", child_files }, { "jailed", child_jailed },
	{ "accept", child_accept }, { "sleep", child_sleep }, { "waits", child_waits },
};

static int run_as_child(const char *name, const char *number)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(children); i++) {
		if (strcmp(children[i].name, name) == 0)
			return children[i].run(atoi(number));
	}
	return 99;
}

/* With @fd, if there is one, as OTHER_FD. */
static int start(const char *name, int number, uint32_t namespaces, int fd,
		 struct dn_child *ret_child)
{
	char words[2][16];
	char *const arguments[] = { (char[]){ "test" }, (char[]){ "child" }, words[0], words[1],
				    NULL };
	const struct dn_spawn_descriptor descriptors[] = { { STDERR_FILENO, STDERR_FILENO },
							   { fd, OTHER_FD } };
	const struct dn_spawn_options options = {
		.path = "/proc/self/exe",
		.arguments = arguments,
		.descriptors = descriptors,
		.descriptor_count = fd >= 0 ? 2 : 1,
		.namespaces = namespaces,
	};

	(void)snprintf(words[0], sizeof(words[0]), "%s", name);
	(void)snprintf(words[1], sizeof(words[1]), "%d", number);
	return dn_spawn(&options, ret_child, NULL);
}

static void assert_all_told(const struct dn_namespaces *namespaces, uint32_t asked)
{
	assert_int_equal(namespaces->asked, asked);
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (asked & (1U << i))
			assert_int_equal(namespaces->refused[i] == 0, (namespaces->held >> i) & 1);
	}
}

/* The end of the child in all namespaces; skips where @kind is not permitted. */
static struct dn_child_end run(const char *name, int number, uint32_t kind, int fd)
{
	struct dn_child child = DN_CHILD_INIT;
	struct dn_namespaces namespaces;
	struct dn_child_end end = { 0 };

	assert_int_equal(start(name, number, DN_SPAWN_ALL, fd, &child), 0);
	namespaces = child.namespaces;
	assert_all_told(&namespaces, DN_SPAWN_ALL);
	assert_int_equal(dn_child_wait(&child, WAIT_MS, &end, NULL), 1);
	if ((namespaces.held & kind) != kind) {
		print_message("skipped: not permitted here: %x of %x\n", kind & ~namespaces.held,
			      kind);
		skip();
	}
	return end;
}

static void assert_fine(const char *name, int number, uint32_t kind)
{
	struct dn_child_end end = run(name, number, kind, -1);

	assert_string_equal(end.words, "exit code 0");
}

/* Without its namespace the child sees what it must not see in it: the case can fail. */
static void assert_told_apart(const char *name, int number)
{
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end = { 0 };

	assert_int_equal(start(name, number, 0, -1, &child), 0);
	assert_int_equal(child.namespaces.asked, 0);
	assert_int_equal(dn_child_wait(&child, WAIT_MS, &end, NULL), 1);
	assert_int_not_equal(end.code, 0);
	assert_int_equal(end.signal, 0);
}

static void test_user(void **state)
{
	(void)state;
	/* Who is nobody already is no other in there. */
	if (geteuid() == 0)
		assert_told_apart("user", 0);
	assert_fine("user", 0, DN_SPAWN_USER);
}

static void test_pid(void **state)
{
	(void)state;
	assert_told_apart("pid", getpid());
	assert_fine("pid", getpid(), DN_SPAWN_PID);
}

static void test_files(void **state)
{
	struct dn_jail_report report;

	(void)state;
	/* An LSM may grant the namespace, and refuse to mount in it. */
	dn_jail_probe(&report);
	if (report.measures[DN_JAIL_MOUNT_NAMESPACE].state != DN_JAIL_HELD) {
		print_message("skipped: %s\n", report.measures[DN_JAIL_MOUNT_NAMESPACE].reason);
		skip();
	}
	assert_told_apart("files", 0);
	assert_fine("files", 0, DN_SPAWN_MOUNT);
	/* Ours is still there. */
	assert_int_equal(access("/etc/passwd", R_OK), 0);
}

static int listener(struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_address = (struct sockaddr_in){ .sin_family = AF_INET };
	ret_address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (const struct sockaddr *)ret_address, size), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
	return fd;
}

static void test_network(void **state)
{
	struct sockaddr_in address;
	DN_AUTO_FD int fd = listener(&address);

	(void)state;
	assert_told_apart("network", ntohs(address.sin_port));
	assert_fine("network", ntohs(address.sin_port), DN_SPAWN_NETWORK);
}

/* From outside into a process without a network. */
static void test_inherited_listener(void **state)
{
	struct dn_child child = DN_CHILD_INIT;
	struct sockaddr_in address;
	DN_AUTO_FD int fd = listener(&address);
	DN_AUTO_FD int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = 20 };
	struct dn_child_end end;
	char bytes[4] = "";

	(void)state;
	(void)setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(start("accept", 0, DN_SPAWN_ALL, fd, &child), 0);
	assert_int_equal(connect(client, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(client, "ping", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(recv(client, bytes, sizeof(bytes), MSG_WAITALL), 4);
	assert_memory_equal(bytes, "ping", 4);
	assert_int_equal(dn_child_wait(&child, WAIT_MS, &end, NULL), 1);
	assert_string_equal(end.words, "exit code 0");
}

static void test_ipc(void **state)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0666);
	struct dn_child_end end;

	(void)state;
	if (id < 0)
		skip();
	/* Marked now, it goes with the last process that has it mapped: us. */
	assert_true(shmat(id, NULL, 0) != (void *)-1);
	(void)shmctl(id, IPC_RMID, NULL);
	assert_told_apart("ipc", id);
	end = run("ipc", id, DN_SPAWN_IPC, -1);
	assert_string_equal(end.words, "exit code 0");
}

/* The report, as a child in @asked makes it, beside what the start said; then its end. */
static struct dn_child_end run_jailed(uint32_t asked, int end_by, struct dn_namespaces *ret_start,
				      struct dn_jail_report *ret_report)
{
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end = { 0 };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(start("jailed", end_by, asked, fds[1], &child), 0);
	(void)close(fds[1]);
	*ret_start = child.namespaces;
	assert_int_equal(read(fds[0], ret_report, sizeof(*ret_report)), sizeof(*ret_report));
	(void)close(fds[0]);
	assert_int_equal(dn_child_wait(&child, WAIT_MS, &end, NULL), 1);
	return end;
}

static void assert_report_agrees(uint32_t asked)
{
	struct dn_jail_report report;
	struct dn_namespaces namespaces;
	struct dn_child_end end = run_jailed(asked, 0, &namespaces, &report);

	assert_string_equal(end.words, "exit code 0");
	assert_all_told(&namespaces, asked);
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		uint32_t state = report.measures[kinds[i].measure].state;
		const char *reason = report.measures[kinds[i].measure].reason;

		if (!(asked & (1U << i)))
			assert_int_equal(state, DN_JAIL_NOT_ASKED);
		else if (!(namespaces.held & (1U << i)))
			assert_int_equal(state, DN_JAIL_ABSENT);
		else if (kinds[i].flag != CLONE_NEWNS)
			assert_int_equal(state, DN_JAIL_HELD);
		if (state == DN_JAIL_ABSENT)
			assert_true(strlen(reason) > 5);
	}
	assert_int_equal(report.measures[DN_JAIL_NO_CAPABILITIES].state, DN_JAIL_HELD);
	assert_int_equal(report.measures[DN_JAIL_NO_TRACING].state,
			 (namespaces.held & DN_SPAWN_USER) ? DN_JAIL_ABSENT : DN_JAIL_HELD);
}

/* Each alone, with the one that gives the right to it; all; none. */
static void test_report(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		assert_report_agrees(1U << i);
		assert_report_agrees(DN_SPAWN_USER | 1U << i);
	}
	assert_report_agrees(DN_SPAWN_ALL);
	assert_report_agrees(0);
}

/* A first process of a PID namespace is spared most signals: not these. */
static void test_ends(void **state)
{
	struct dn_jail_report report;
	struct dn_namespaces namespaces;
	struct dn_child_end end;

	(void)state;
	end = run_jailed(DN_SPAWN_ALL, SIGSYS, &namespaces, &report);
	if (report.measures[DN_JAIL_SECCOMP].state == DN_JAIL_HELD) {
		assert_int_equal(end.signal, SIGSYS);
		assert_non_null(strstr(end.words, "a system call outside its list"));
	}
	end = run_jailed(DN_SPAWN_ALL, SIGABRT, &namespaces, &report);
	assert_non_null(strstr(end.words, "it found itself broken"));
	if (DN_JAIL_SANITIZER)
		return;
	end = run_jailed(DN_SPAWN_ALL, SIGSEGV, &namespaces, &report);
	assert_int_equal(end.signal, SIGSEGV);
}

/* The word of the report on tracing, from outside and without privileges. */
static bool can_attach(uint32_t namespaces)
{
	struct dn_jail_report report;
	struct dn_child child = DN_CHILD_INIT;
	int fds[2], status = -1;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(start("waits", 0, namespaces, fds[1], &child), 0);
	assert_int_equal(read(fds[0], &report, sizeof(report)), sizeof(report));
	pid = fork();
	if (pid == 0)
		_exit(ptrace(PTRACE_SEIZE, child.pid, NULL, NULL) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	dn_child_done(&child);
	(void)close(fds[0]);
	(void)close(fds[1]);
	/* An LSM such as Yama may refuse what the namespace would allow. */
	if (status == 0)
		assert_int_equal(report.measures[DN_JAIL_NO_TRACING].state, DN_JAIL_ABSENT);
	return status == 0;
}

static void test_tracing(void **state)
{
	(void)state;
	if (dn_namespaces_expect(DN_SPAWN_MOUNT).held) {
		print_message("skipped: root may attach to everything\n");
		skip();
	}
	assert_false(can_attach(0));
	(void)can_attach(DN_SPAWN_ALL);
}

static void test_done_leaves_none(void **state)
{
	struct dn_child child = DN_CHILD_INIT;
	pid_t pid;

	(void)state;
	assert_int_equal(start("sleep", 0, DN_SPAWN_ALL, -1, &child), 0);
	pid = child.pid;
	dn_child_done(&child);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

/* From another PID namespace, too, a child does not outlive the program that started it. */
static void test_ends_with_parent(void **state)
{
	struct dn_child orphan = DN_CHILD_INIT;
	struct dn_child_end end;
	int fds[2];
	pid_t pid;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct dn_child child = DN_CHILD_INIT;

		if (start("sleep", 0, DN_SPAWN_ALL, -1, &child) == 0)
			(void)!write(fds[1], &child.pid, sizeof(child.pid));
		_exit(0);
	}
	assert_int_equal(read(fds[0], &orphan.pid, sizeof(orphan.pid)), sizeof(orphan.pid));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(dn_child_wait(&orphan, WAIT_MS, &end, NULL), 1);
	assert_int_equal(end.signal, SIGKILL);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* Said by someone else, the variable empties no root but the one of who believes it. */
static void test_false_word(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct dn_jail_report report = { 0 };

		(void)setenv(DN_NAMESPACES_VARIABLE, "0,0,0,0,0", 1);
		dn_namespaces_enter(&report);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(access("/etc/passwd", R_OK), 0);
}

static void test_variable(void **state)
{
	static const char *const wrong[] = { "",	 "0",	      "0,0,0,0",    "0,0,0,0,0,0",
					     "0,0,0,0,", "0,0,x,0,0", "-1,0,0,0,0", "0 0 0 0 0" };
	struct dn_namespaces before = { .asked = DN_SPAWN_ALL ^ DN_SPAWN_PID,
					.held = DN_SPAWN_USER | DN_SPAWN_IPC,
					.refused = { [1] = EPERM, [3] = ENOSPC } };
	struct dn_namespaces after = { 0 };
	char text[DN_NAMESPACES_TEXT_MAX];

	(void)state;
	dn_namespaces_write(&before, text);
	assert_string_equal(text, "0,1,-,28,0");
	assert_true(dn_namespaces_read(text, &after));
	assert_memory_equal(&before, &after, sizeof(before));
	for (size_t i = 0; i < DN_ARRAY_SIZE(wrong); i++)
		assert_false(dn_namespaces_read(wrong[i], &after));
}

#ifdef HAVE_SECCOMP
/* As a container does it: EPERM to whoever asks for one of @flags. */
static void refuse_namespaces(int flags)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		const uint64_t flag = (uint64_t)(unsigned int)(flags & kinds[i].flag);

		if (!flag)
			continue;
		(void)seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
		(void)seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
	}
	if (seccomp_load(filter) < 0)
		_exit(90);
	seccomp_release(filter);
}

/* 0 where a child that asks for all has all of @expected and nothing else, and works. */
static int under_refusal(int flags, uint32_t expected)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		struct dn_jail_report report;
		struct dn_namespaces namespaces;
		struct dn_child_end end;

		refuse_namespaces(flags);
		end = run_jailed(DN_SPAWN_ALL, 0, &namespaces, &report);
		if (end.code != 0 || end.signal != 0 || namespaces.asked != DN_SPAWN_ALL)
			_exit(91);
		if (namespaces.held != expected)
			_exit(92);
		for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
			bool held = report.measures[kinds[i].measure].state == DN_JAIL_HELD;

			if (held != ((expected >> i) & 1))
				_exit(93 + (int)i);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}
#endif

static void test_refused(void **state)
{
	(void)state;
#ifdef HAVE_SECCOMP
	const int all = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC;
	const bool root = dn_namespaces_expect(DN_SPAWN_MOUNT).held != 0;
	struct dn_jail_report report;

	assert_int_equal(under_refusal(all, 0), 0);
	dn_jail_probe(&report);
	for (unsigned int i = 0; i < DN_SPAWN_KINDS; i++) {
		if (report.measures[kinds[i].measure].state != DN_JAIL_HELD)
			skip();
	}
	/* Each one alone; without the user namespace, root has the others still. */
	assert_int_equal(under_refusal(CLONE_NEWPID, DN_SPAWN_ALL ^ DN_SPAWN_PID), 0);
	assert_int_equal(under_refusal(CLONE_NEWNET, DN_SPAWN_ALL ^ DN_SPAWN_NETWORK), 0);
	assert_int_equal(under_refusal(CLONE_NEWIPC, DN_SPAWN_ALL ^ DN_SPAWN_IPC), 0);
	assert_int_equal(under_refusal(CLONE_NEWUSER, root ? DN_SPAWN_ALL ^ DN_SPAWN_USER : 0), 0);
#else
	skip();
#endif
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_pid),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_network),
		cmocka_unit_test(test_inherited_listener),
		cmocka_unit_test(test_ipc),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_tracing),
		cmocka_unit_test(test_done_leaves_none),
		cmocka_unit_test(test_ends_with_parent),
		cmocka_unit_test(test_false_word),
		cmocka_unit_test(test_variable),
		cmocka_unit_test(test_refused),
	};

	if (argc == 4 && strcmp(argv[1], "child") == 0)
		return run_as_child(argv[2], argv[3]);
	return cmocka_run_group_tests_name("namespaces", tests, NULL, NULL);
}
