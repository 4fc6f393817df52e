/* SPDX-License-Identifier: MIT */
/* The channel against a peer that keeps to nothing: every refusal leaves no descriptor behind. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "channel/channel.h"

#define FRAME 256

struct ends {
	struct dn_channel ours, theirs;
	size_t descriptors; /* open before the test */
};

static size_t count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	(void)closedir(folder);
	return count;
}

static int set_up(void **state)
{
	static struct ends ends;

	ends.descriptors = count_descriptors();
	*state = &ends;
	return dn_channel_pair(&ends.ours, &ends.theirs, NULL);
}

/* Every test ends with as many descriptors as it began with. */
static int tear_down(void **state)
{
	struct ends *ends = *state;

	dn_channel_done(&ends->ours);
	dn_channel_done(&ends->theirs);
	return count_descriptors() == ends->descriptors ? 0 : -1;
}

/* What a hostile peer sends: any bytes, any number of descriptors. */
static void send_raw(struct ends *ends, size_t size, int descriptors)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 32)];
	} control = { .bytes = { 0 } };
	char data[2 * FRAME] = { 0 };
	struct iovec part = { data, size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	int fds[32] = { 0 };
	size_t bytes = sizeof(int) * (size_t)descriptors;

	if (descriptors) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(bytes);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(&control.align), fds, bytes);
	}
	assert_int_equal(sendmsg(ends->theirs.fd, &message, 0), (ssize_t)size);
}

static void assert_refused(struct ends *ends, const char *word)
{
	struct dn_error err = DN_ERROR_INIT;
	size_t before = count_descriptors();
	char frame[FRAME];
	int fd = -2;

	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, &err), -EBADMSG);
	assert_non_null(strstr(err.message, word));
	assert_int_equal(fd, -2);
	assert_int_equal(count_descriptors(), before);
}

static void test_round_trips(void **state)
{
	struct ends *ends = *state;
	char frame[FRAME];
	char back[FRAME];

	for (int i = 0; i < 1000; i++) {
		int fd = -2;

		memset(frame, i, sizeof(frame));
		assert_int_equal(dn_channel_send(&ends->ours, frame, FRAME, i % 3 ? -1 : 0, NULL),
				 0);
		assert_int_equal(dn_channel_receive(&ends->theirs, back, FRAME, &fd, NULL), 1);
		assert_memory_equal(frame, back, FRAME);
		assert_int_equal(fd >= 0, i % 3 == 0);
		if (fd >= 0) {
			assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
			assert_int_equal(close(fd), 0);
		}
	}
}

static void test_attachment_is_the_same_file(void **state)
{
	struct ends *ends = *state;
	char frame[FRAME] = "frame";
	char byte = 0;
	int pipes[2];
	int fd = -1;

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(dn_channel_send(&ends->ours, frame, FRAME, pipes[1], NULL), 0);
	assert_int_equal(dn_channel_receive(&ends->theirs, frame, FRAME, &fd, NULL), 1);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	(void)close(fd);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
}

static void test_wrong_packets(void **state)
{
	struct ends *ends = *state;
	char frame[FRAME];
	int fd;

	send_raw(ends, FRAME - 1, 0);
	assert_refused(ends, "255 bytes, not 256");
	send_raw(ends, FRAME + 1, 0);
	assert_refused(ends, "more than");
	send_raw(ends, FRAME - 1, 1);
	assert_refused(ends, "255 bytes");
	send_raw(ends, 0, 1);
	assert_refused(ends, "0 bytes");
	send_raw(ends, FRAME, 2);
	assert_refused(ends, "2 descriptors");
	send_raw(ends, FRAME, 8);
	assert_refused(ends, "8 descriptors");
	/* More than there is room for: cut by the kernel. */
	send_raw(ends, FRAME, 32);
	assert_refused(ends, "attachments cut");

	/* Refusals do not stick: what follows is received. */
	send_raw(ends, FRAME, 0);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 1);
}

static void test_unexpected_descriptor(void **state)
{
	struct ends *ends = *state;
	size_t before = count_descriptors();
	char frame[FRAME];

	send_raw(ends, FRAME, 1);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, NULL, NULL), -EBADMSG);
	assert_int_equal(count_descriptors(), before);
}

/* Credentials instead of a descriptor. */
static void test_foreign_attachment(void **state)
{
	struct ends *ends = *state;
	int on = 1;

	assert_int_equal(setsockopt(ends->ours.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	send_raw(ends, FRAME, 1);
	assert_refused(ends, "unknown kind");
}

static void test_sizes(void **state)
{
	struct ends *ends = *state;
	char frame[FRAME] = "";

	assert_int_equal(dn_channel_send(&ends->ours, frame, 0, -1, NULL), -EMSGSIZE);
	assert_int_equal(dn_channel_send(&ends->ours, frame, DN_CHANNEL_FRAME_MAX + 1, -1, NULL),
			 -EMSGSIZE);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, 0, NULL, NULL), -EMSGSIZE);
}

static void test_orderly_end(void **state)
{
	struct ends *ends = *state;
	char frame[FRAME] = "last";
	int fd;

	assert_int_equal(dn_channel_send(&ends->theirs, frame, FRAME, -1, NULL), 0);
	dn_channel_done(&ends->theirs);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 1);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 0);
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 0);
	/* No SIGPIPE: this program would not get here. */
	assert_int_equal(dn_channel_send(&ends->ours, frame, FRAME, -1, NULL), -EPIPE);
}

/* Killed with a frame unread: what it had sent still arrives, then the loss is told. */
static void test_peer_killed(void **state)
{
	struct ends *ends = *state;
	struct dn_error err = DN_ERROR_INIT;
	char frame[FRAME] = "one";
	int fd;
	pid_t pid;

	assert_int_equal(dn_channel_send(&ends->ours, frame, FRAME, -1, NULL), 0);
	assert_int_equal(dn_channel_send(&ends->ours, frame, FRAME, -1, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dn_channel_done(&ends->ours);
		(void)!dn_channel_receive(&ends->theirs, frame, FRAME, &fd, NULL);
		(void)!dn_channel_send(&ends->theirs, frame, FRAME, -1, NULL);
		(void)kill(getpid(), SIGKILL);
	}
	dn_channel_done(&ends->theirs);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	memset(frame, 0, sizeof(frame));
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 1);
	assert_string_equal(frame, "one");
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, &err), -ECONNRESET);
	assert_non_null(strstr(err.message, "went away"));
}

static void test_without_waiting(void **state)
{
	struct ends *ends = *state;
	struct dn_error err = DN_ERROR_INIT;
	struct pollfd one = { .fd = ends->ours.fd, .events = POLLIN };
	char frame[FRAME] = "";
	int sent = 0;
	int fd;

	assert_int_equal(dn_channel_try_receive(&ends->ours, frame, FRAME, &fd, &err), -EAGAIN);
	assert_int_equal(err.code, 0);
	assert_int_equal(poll(&one, 1, 0), 0);
	while (dn_channel_try_send(&ends->theirs, frame, FRAME, -1, &err) == 0)
		sent++;
	assert_int_equal(err.code, 0);
	/* Room for a batch of tokens, at least. */
	assert_true(sent >= 16);
	assert_int_equal(poll(&one, 1, 0), 1);
	while (sent-- > 0)
		assert_int_equal(dn_channel_try_receive(&ends->ours, frame, FRAME, &fd, NULL), 1);
	assert_int_equal(dn_channel_try_receive(&ends->ours, frame, FRAME, &fd, NULL), -EAGAIN);
}

static void on_alarm(int number)
{
	(void)number;
}

/* A signal in the middle of waiting is nobody's business. */
static void test_interrupted(void **state)
{
	struct ends *ends = *state;
	struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART */
	char frame[FRAME] = "after";
	int fd;
	pid_t pid;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		for (int i = 0; i < 5; i++) {
			(void)usleep(10000);
			(void)kill(getppid(), SIGUSR1);
		}
		(void)!dn_channel_send(&ends->theirs, frame, FRAME, -1, NULL);
		_exit(0);
	}
	assert_int_equal(dn_channel_receive(&ends->ours, frame, FRAME, &fd, NULL), 1);
	while (waitpid(pid, NULL, 0) < 0)
		assert_int_equal(errno, EINTR);
}

static void test_open(void **state)
{
	struct ends *ends = *state;
	struct dn_channel channel = DN_CHANNEL_INIT;
	struct dn_error err = DN_ERROR_INIT;
	int pipes[2];
	int stream[2];

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
	assert_int_equal(dn_channel_open(pipes[0], &channel, &err), -ENOTSOCK);
	assert_int_equal(dn_channel_open(stream[0], &channel, NULL), -ENOTSOCK);
	assert_int_equal(dn_channel_open(9999, &channel, NULL), -ENOTSOCK);
	assert_int_equal(dn_channel_open(ends->ours.fd, &channel, NULL), 0);
	assert_int_equal(channel.fd, ends->ours.fd);
	for (int i = 0; i < 2; i++) {
		(void)close(pipes[i]);
		(void)close(stream[i]);
	}
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_round_trips),
		CASE(test_attachment_is_the_same_file),
		CASE(test_wrong_packets),
		CASE(test_unexpected_descriptor),
		CASE(test_foreign_attachment),
		CASE(test_sizes),
		CASE(test_orderly_end),
		CASE(test_peer_killed),
		CASE(test_without_waiting),
		CASE(test_interrupted),
		CASE(test_open),
	};

	return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
