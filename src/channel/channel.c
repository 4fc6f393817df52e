/* SPDX-License-Identifier: MIT */
/* Frames over SOCK_SEQPACKET: the kernel keeps their borders, unix(7) carries the descriptors. */

#include "channel/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/base.h"

// NOLINTBEGIN(misc-include-cleaner): the home of SOL_SOCKET differs by architecture

/* Room for more than is allowed, so that a surplus is seen and closed rather than guessed. */
#define DESCRIPTORS_SEEN 8

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_SEEN)];
};

int dn_channel_pair(struct dn_channel *ret_ours, struct dn_channel *ret_theirs,
		    struct dn_error *err)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return dn_error_errno(err, errno, "make a channel");
	*ret_ours = (struct dn_channel){ .fd = fds[0] };
	*ret_theirs = (struct dn_channel){ .fd = fds[1] };
	return 0;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

int dn_channel_open(int fd, struct dn_channel *ret_channel, struct dn_error *err)
{
	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_SEQPACKET)
		return dn_error_set(err, ENOTSOCK,
				    "descriptor %d is no channel: this program is started by "
				    "dunlin, not by hand",
				    fd);
	*ret_channel = (struct dn_channel){ .fd = fd };
	return 0;
}

void dn_channel_done(struct dn_channel *channel)
{
	if (!channel)
		return;
	if (channel->fd >= 0)
		close(channel->fd);
	*channel = (struct dn_channel)DN_CHANNEL_INIT;
}

static int send_frame(struct dn_channel *channel, const void *frame, size_t size, int fd, int flags,
		      struct dn_error *err)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)frame, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	/* An empty packet would read as the end. */
	if (size == 0 || size > DN_CHANNEL_FRAME_MAX)
		return dn_error_set(err, EMSGSIZE, "channel: frame of %zu bytes (1 to %d)", size,
				    DN_CHANNEL_FRAME_MAX);
	if (fd >= 0) {
		struct cmsghdr *header = &control.align;

		memset(&control, 0, sizeof(control));
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int));
	}
	do {
		n = sendmsg(channel->fd, &message, MSG_NOSIGNAL | flags);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN)
		return flags & MSG_DONTWAIT ? -EAGAIN
					    : dn_error_set(err, ETIMEDOUT,
							   "channel: the other end does not read");
	if (errno == EPIPE || errno == ECONNRESET)
		return dn_error_set(err, EPIPE, "channel: the other end is gone");
	return dn_error_errno(err, errno, "channel: send a frame of %zu bytes", size);
}

int dn_channel_send(struct dn_channel *channel, const void *frame, size_t size, int fd,
		    struct dn_error *err)
{
	return send_frame(channel, frame, size, fd, 0, err);
}

int dn_channel_try_send(struct dn_channel *channel, const void *frame, size_t size, int fd,
			struct dn_error *err)
{
	return send_frame(channel, frame, size, fd, MSG_DONTWAIT, err);
}

/*
 * Takes the descriptors of @message: the first into @ret_fd, the rest closed. Returns how many
 * came, or -EBADMSG when something else came.
 */
static int take_descriptors(struct msghdr *message, int *ret_fd)
{
	bool foreign = false;
	int count = 0;
	int fd;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
	     header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
			foreign = true;
			continue;
		}
		for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len;
		     at += sizeof(int)) {
			memcpy(&fd, CMSG_DATA(header) + at, sizeof(int));
			if (count++ == 0)
				*ret_fd = fd;
			else
				close(fd);
		}
	}
	return foreign ? -EBADMSG : count;
}

static int check_frame(const struct msghdr *message, size_t got, size_t size, int descriptors,
		       bool takes_descriptor, struct dn_error *err)
{
	if (descriptors < 0)
		return dn_error_set(err, EBADMSG, "channel: attachment of an unknown kind");
	if (message->msg_flags & MSG_CTRUNC)
		return dn_error_set(err, EBADMSG,
				    "channel: attachments cut (too many, or no descriptors left)");
	if (descriptors > 1)
		return dn_error_set(err, EBADMSG, "channel: %d descriptors on one frame",
				    descriptors);
	if (descriptors == 1 && !takes_descriptor)
		return dn_error_set(err, EBADMSG, "channel: a descriptor where none is expected");
	if (got != size || (message->msg_flags & MSG_TRUNC))
		return dn_error_set(err, EBADMSG, "channel: packet of %s%zu bytes, not %zu",
				    message->msg_flags & MSG_TRUNC ? "more than " : "", got, size);
	return 1;
}

/* One packet: its bytes, or a negative errno. A reset is kept for the end: frames may follow. */
static ssize_t receive_packet(struct dn_channel *channel, struct msghdr *message, int flags)
{
	struct msghdr fresh = *message;
	ssize_t n;

	for (;;) {
		*message = fresh;
		n = recvmsg(channel->fd, message, MSG_CMSG_CLOEXEC | flags);
		if (n >= 0)
			return n;
		if (errno == ECONNRESET && !channel->reset)
			channel->reset = true;
		else if (errno != EINTR)
			return -errno;
	}
}

static int receive_frame(struct dn_channel *channel, void *frame, size_t size, int *ret_fd,
			 int flags, struct dn_error *err)
{
	struct iovec part = { .iov_base = frame, .iov_len = size };
	union control control;
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	DN_AUTO_FD int fd = -1;
	int descriptors;
	ssize_t n;
	int r;

	if (size == 0 || size > DN_CHANNEL_FRAME_MAX)
		return dn_error_set(err, EMSGSIZE, "channel: frame of %zu bytes (1 to %d)", size,
				    DN_CHANNEL_FRAME_MAX);
	n = receive_packet(channel, &message, flags);
	if (n == -EAGAIN && (flags & MSG_DONTWAIT))
		return -EAGAIN;
	if (n < 0)
		return dn_error_errno(err, (int)-n, "channel: receive a frame");
	descriptors = take_descriptors(&message, &fd);
	if (n == 0 && descriptors == 0 && !(message.msg_flags & MSG_CTRUNC)) {
		if (!channel->reset)
			return 0;
		return dn_error_set(err, ECONNRESET,
				    "channel: the other end went away without reading all");
	}
	r = check_frame(&message, (size_t)n, size, descriptors, ret_fd != NULL, err);
	if (r > 0 && ret_fd)
		*ret_fd = dn_steal_fd(&fd);
	return r;
}

int dn_channel_receive(struct dn_channel *channel, void *frame, size_t size, int *ret_fd,
		       struct dn_error *err)
{
	return receive_frame(channel, frame, size, ret_fd, 0, err);
}

int dn_channel_try_receive(struct dn_channel *channel, void *frame, size_t size, int *ret_fd,
			   struct dn_error *err)
{
	return receive_frame(channel, frame, size, ret_fd, MSG_DONTWAIT, err);
}

// NOLINTEND(misc-include-cleaner)
