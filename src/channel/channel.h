/* SPDX-License-Identifier: MIT */
/*
 * The wire between two processes: frames of a fixed size over a SOCK_SEQPACKET pair, with at most
 * one descriptor attached to each. What is in a frame is not this file's business.
 */
#ifndef DUNLIN_CHANNEL_CHANNEL_H
#define DUNLIN_CHANNEL_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include <dunlin/error.h>

#define DN_CHANNEL_FRAME_MAX 65536

/**
 * struct dn_channel - one end
 * @fd: the socket, owned; for poll(). Close-on-exec
 * @reset: the other end went away without reading all that was sent
 */
struct dn_channel {
	int fd;
	bool reset;
};

#define DN_CHANNEL_INIT { .fd = -1 }

/* Makes both ends. */
DN_MUST_CHECK int dn_channel_pair(struct dn_channel *ret_ours, struct dn_channel *ret_theirs,
				  struct dn_error *err);

/* Takes a descriptor that this process was started with; refuses what is no such socket. */
DN_MUST_CHECK int dn_channel_open(int fd, struct dn_channel *ret_channel, struct dn_error *err);

/* Closes it; the other end sees an orderly end once it has read what was sent. */
void dn_channel_done(struct dn_channel *channel);
#define DN_AUTO_CHANNEL DN_AUTO(dn_channel_done)

/**
 * dn_channel_send() - send one frame, waiting for room
 * @size: 1 to DN_CHANNEL_FRAME_MAX
 * @fd: goes along as a copy, stays the caller's; -1: none
 *
 * Return: 0, -EPIPE when the other end is gone, or another negative errno.
 */
DN_MUST_CHECK int dn_channel_send(struct dn_channel *channel, const void *frame, size_t size,
				  int fd, struct dn_error *err);

/* As dn_channel_send(), but -EAGAIN, with @err as it was, where that would wait. */
DN_MUST_CHECK int dn_channel_try_send(struct dn_channel *channel, const void *frame, size_t size,
				      int fd, struct dn_error *err);

/**
 * dn_channel_receive() - receive one frame of exactly @size bytes, waiting for it
 * @frame: written to on failure too
 * @ret_fd: the descriptor that came along, owned by the caller, close-on-exec; -1: none. NULL: a
 *	frame with a descriptor is refused
 *
 * A packet of another size, with several descriptors, with an attachment of another kind, or with
 * more than there was room for, is refused; every descriptor that came with it is closed.
 *
 * Return: 1 with a frame; 0 at the end; -EBADMSG for a refused packet; -ECONNRESET at the end when
 * the other side left frames unread; another negative errno.
 */
DN_MUST_CHECK int dn_channel_receive(struct dn_channel *channel, void *frame, size_t size,
				     int *ret_fd, struct dn_error *err);

/* As dn_channel_receive(), but -EAGAIN, with @err as it was, where that would wait. */
DN_MUST_CHECK int dn_channel_try_receive(struct dn_channel *channel, void *frame, size_t size,
					 int *ret_fd, struct dn_error *err);

#endif /* DUNLIN_CHANNEL_CHANNEL_H */
