/* SPDX-License-Identifier: MIT */
/*
 * The jail of a server's front, tried from inside: what it must not do ends it, what an event loop
 * with connections needs works, and libevent itself serves in it.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>

#include "base/base.h"
#include "sandbox/jail-internal.h"
#include "sandbox/jail.h"
#include "sandbox/spawn.h"

#define DID_IT	  0
#define REFUSED	  40
#define BROKEN	  41
#define NO_JAIL	  42
#define FILES	  100
#define LISTEN_FD 5

typedef int attempt(void);

/* A listener, and a connection to it that waits to be accepted; made before the jail. */
static int listening = -1;
static int waiting = -1;
static struct sockaddr_in address;

static void make_sockets(void)
{
	socklen_t size = sizeof(address);

	listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address = (struct sockaddr_in){ .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listening, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listening, 8), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&address, &size), 0);
	waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(waiting, (const struct sockaddr *)&address, size), 0);
}

static int in_jail(attempt *what)
{
	const struct dn_jail_options options = { .profile = DN_JAIL_FRONT, .files = FILES };
	int status = -1;
	pid_t pid;

	make_sockets();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct dn_jail_report report;

		_exit(dn_jail_enter(&options, &report, NULL) < 0 ? NO_JAIL : what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(listening);
	(void)close(waiting);
	return status;
}

static int answer(long result)
{
	return result >= 0 ? DID_IT : errno == EACCES || errno == EPERM ? REFUSED : BROKEN;
}

/* What must not be possible. */

static int try_socket(void)
{
	return answer(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int try_socketpair(void)
{
	int fds[2];

	return answer(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
}

static int try_connect(void)
{
	return answer(connect(waiting, (const struct sockaddr *)&address, sizeof(address)));
}

static int try_bind(void)
{
	return answer(bind(waiting, (const struct sockaddr *)&address, sizeof(address)));
}

static int try_listen(void)
{
	return answer(listen(listening, 1));
}

static int try_exec(void)
{
	char *const arguments[] = { "true", NULL };

	return answer(execve("/bin/true", arguments, NULL));
}

static int try_attach_program(void)
{
	int fd = -1;

	return answer(setsockopt(waiting, SOL_SOCKET, SO_ATTACH_BPF, &fd, sizeof(fd)));
}

static int try_upper_protocol(void)
{
	return answer(setsockopt(waiting, IPPROTO_TCP, TCP_ULP, "tls", 3));
}

/* The number of an allowed option, at another level. */
static int try_other_level(void)
{
	int on = 1;

	return answer(setsockopt(waiting, IPPROTO_IP, SO_KEEPALIVE, &on, sizeof(on)));
}

static int try_executable_mapping(void)
{
	void *data = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return answer(data == MAP_FAILED ? -1 : 0);
}

static int try_io_uring(void)
{
	return answer(syscall(SYS_io_uring_setup, 1, NULL));
}

static int try_open(void)
{
	return answer(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int try_fork(void)
{
	return answer(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static void *nothing(void *data)
{
	return data;
}

static int try_thread(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, nothing, NULL) ? REFUSED : DID_IT;
}

static int try_kill_parent(void)
{
	return answer(syscall(SYS_kill, getpid(), 0));
}

static int try_lock_memory(void)
{
	/* The sanitizers make the C library's do nothing. */
	return answer(syscall(SYS_mlockall, MCL_CURRENT));
}

static void assert_killed(attempt *const *attempts, size_t count)
{
	struct dn_jail_report report;

	dn_jail_probe(&report);
	if (report.measures[DN_JAIL_SECCOMP].state != DN_JAIL_HELD) {
		print_message("skipped: %s\n", report.measures[DN_JAIL_SECCOMP].reason);
		skip();
	}
	for (size_t i = 0; i < count; i++) {
		int status = in_jail(attempts[i]);

		if (WIFEXITED(status))
			fail_msg("attempt %zu lived on: %d", i, WEXITSTATUS(status));
		assert_int_equal(WTERMSIG(status), SIGSYS);
	}
}

static void test_forbidden(void **state)
{
	static attempt *const attempts[] = {
		try_socket,	    try_socketpair,  try_connect,     try_bind,
		try_listen,	    try_exec,	     try_io_uring,    try_attach_program,
		try_upper_protocol, try_other_level, try_lock_memory, try_executable_mapping,
	};

	(void)state;
	assert_killed(attempts, DN_ARRAY_SIZE(attempts));
}

/* The list of sanitizer builds is wider here. */
static void test_forbidden_in_release(void **state)
{
	static attempt *const attempts[] = { try_open, try_fork, try_thread, try_kill_parent };

	(void)state;
	if (DN_JAIL_SANITIZER)
		skip();
	assert_killed(attempts, DN_ARRAY_SIZE(attempts));
}

/* What a front needs. */

static int use_connection(void)
{
	const struct linger linger = { 0 };
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	struct iovec part = { .iov_base = (char[4]){ "pong" }, .iov_len = 4 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	int on = 1;
	int fd = accept4(listening, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
	char bytes[4];

	if (fd < 0 || getpeername(fd, (struct sockaddr *)&peer, &size) < 0 ||
	    getsockname(fd, (struct sockaddr *)&peer, &size) < 0)
		return BROKEN;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		return BROKEN;
	size = sizeof(on);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &on, &size) < 0 || on != 0)
		return BROKEN;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return BROKEN;
	if (send(waiting, "ping", 4, MSG_NOSIGNAL) != 4 || recv(fd, bytes, 4, 0) != 4)
		return BROKEN;
	if (writev(fd, &part, 1) != 4 || readv(waiting, &part, 1) != 4)
		return BROKEN;
	if (sendmsg(fd, &message, MSG_NOSIGNAL) != 4 || recvmsg(waiting, &message, 0) != 4)
		return BROKEN;
	return shutdown(fd, SHUT_WR) < 0 || close(fd) < 0 ? BROKEN : DID_IT;
}

static int use_events(void)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 1000000 } };
	struct epoll_event event = { .events = EPOLLIN };
	int loop = epoll_create1(EPOLL_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int wake = eventfd(1, EFD_CLOEXEC);
	int fds[2];

	if (loop < 0 || timer < 0 || wake < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return BROKEN;
	if (timerfd_settime(timer, 0, &soon, NULL) < 0 ||
	    epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event) < 0)
		return BROKEN;
	return epoll_wait(loop, &event, 1, 5000) == 1 ? DID_IT : BROKEN;
}

static int use_attachment(void)
{
	int fd = memfd_create("prompt", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *data;

	if (fd < 0 || ftruncate(fd, 5000) < 0)
		return BROKEN;
	data = mmap(NULL, 5000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return BROKEN;
	data[4999] = 1;
	if (munmap(data, 5000) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return BROKEN;
	data = mmap(NULL, 5000, PROT_READ, MAP_PRIVATE, fd, 0);
	return data != MAP_FAILED && data[4999] == 1 ? DID_IT : BROKEN;
}

static void once(void)
{
}

static int use_libc(void)
{
	pthread_once_t done = PTHREAD_ONCE_INIT;
	unsigned char random[16];

	if (pthread_once(&done, once) || syscall(SYS_getrandom, random, 16, 0) != 16)
		return BROKEN;
	for (size_t i = 1; i < 1000; i++)
		free(malloc(i * 1000));
	return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? BROKEN : DID_IT;
}

static int use_limits(void)
{
	int made = 0;

	while (made < 1000 && eventfd(0, EFD_CLOEXEC) >= 0)
		made++;
	return errno == EMFILE && made > FILES / 2 && made < FILES ? DID_IT : BROKEN;
}

static void test_needed(void **state)
{
	static attempt *const attempts[] = { use_connection, use_events, use_attachment, use_libc,
					     use_limits };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(attempts); i++) {
		int status = in_jail(attempts[i]);

		if (WIFSIGNALED(status))
			fail_msg("attempt %zu: killed by signal %d", i, WTERMSIG(status));
		assert_int_equal(WEXITSTATUS(status), DID_IT);
	}
}

/* libevent, as a front uses it: the child. */

static struct {
	int connections;
	bool ending; /* with the last of them */
} front;

static void hang_up(struct bufferevent *connection, short what, void *base)
{
	(void)what;
	bufferevent_free(connection);
	front.connections--;
	if (front.ending && front.connections == 0)
		(void)event_base_loopexit(base, NULL);
}

static void echo(struct bufferevent *connection, void *base)
{
	struct evbuffer *in = bufferevent_get_input(connection);
	char first = 0;

	(void)evbuffer_copyout(in, &first, 1);
	if (first == '!') {
		front.ending = true;
		hang_up(connection, 0, base);
	} else {
		(void)bufferevent_write_buffer(connection, in);
	}
}

static void welcome(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer,
		    int size, void *base)
{
	const struct timeval minute = { .tv_sec = 60 };
	struct bufferevent *connection;

	(void)listener;
	(void)peer;
	(void)size;
	connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!connection)
		return;
	front.connections++;
	bufferevent_setcb(connection, echo, NULL, hang_up, base);
	(void)bufferevent_set_timeouts(connection, &minute, &minute);
	(void)bufferevent_enable(connection, EV_READ | EV_WRITE);
}

/* Everything is made inside: the strictest order. */
static int serve_echo(void)
{
	const struct dn_jail_options options = { .profile = DN_JAIL_FRONT };
	const unsigned int flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
	struct dn_jail_report report;
	struct event_base *base;
	struct evconnlistener *listener;

	if (dn_jail_enter(&options, &report, NULL) < 0)
		return 1;
	(void)evutil_make_socket_nonblocking(LISTEN_FD);
	base = event_base_new();
	listener = base ? evconnlistener_new(base, welcome, base, flags, 0, LISTEN_FD) : NULL;
	if (!listener || strcmp(event_base_get_method(base), "epoll") != 0)
		return 2;
	if (event_base_dispatch(base) < 0)
		return 3;
	evconnlistener_free(listener);
	event_base_free(base);
	return 0;
}

static int greet(void)
{
	/* Where the front died before it accepted, nobody would ever answer. */
	const struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void serve_in(uint32_t namespaces)
{
	char *const arguments[] = { (char[]){ "test" }, (char[]){ "echo" }, NULL };
	const struct dn_spawn_descriptor descriptors[] = { { STDERR_FILENO, STDERR_FILENO },
							   { listening, LISTEN_FD } };
	const struct dn_spawn_options options = {
		.path = "/proc/self/exe",
		.arguments = arguments,
		.descriptors = descriptors,
		.descriptor_count = 2,
		.namespaces = namespaces,
	};
	struct dn_child child = DN_CHILD_INIT;
	struct dn_child_end end;
	char bytes[8];
	int fds[4];

	assert_int_equal(dn_spawn(&options, &child, NULL), 0);
	for (size_t i = 0; i < DN_ARRAY_SIZE(fds); i++)
		fds[i] = greet();
	for (size_t i = 0; i < DN_ARRAY_SIZE(fds); i++)
		assert_int_equal(send(fds[i], &"one two "[i], 4, MSG_NOSIGNAL), 4);
	for (size_t i = 0; i < DN_ARRAY_SIZE(fds); i++) {
		assert_int_equal(recv(fds[i], bytes, 4, MSG_WAITALL), 4);
		assert_memory_equal(bytes, &"one two "[i], 4);
	}
	for (size_t i = 1; i < DN_ARRAY_SIZE(fds); i++)
		(void)close(fds[i]);
	assert_int_equal(send(fds[0], "!", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(dn_child_wait(&child, 30000, &end, NULL), 1);
	(void)close(fds[0]);
	assert_string_equal(end.words, "exit code 0");
}

static void test_libevent(void **state)
{
	(void)state;
	make_sockets();
	(void)close(waiting);
	serve_in(0);
	serve_in(DN_SPAWN_ALL);
	(void)close(listening);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_forbidden_in_release),
		cmocka_unit_test(test_needed),
		cmocka_unit_test(test_libevent),
	};

	if (argc == 2 && strcmp(argv[1], "echo") == 0)
		return serve_echo();
	return cmocka_run_group_tests_name("front jail", tests, NULL, NULL);
}
