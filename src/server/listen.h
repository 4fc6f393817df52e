/* SPDX-License-Identifier: MIT */
/* Listening sockets: made, or handed over by systemd (sd_listen_fds(3)). */
#ifndef DUNLIN_SERVER_LISTEN_H
#define DUNLIN_SERVER_LISTEN_H

/* IWYU pragma: begin_exports */
#include "base/base.h"
/* IWYU pragma: end_exports */

/* Before the path of a UNIX socket. */
#define DN_LISTEN_UNIX	   "unix:"
#define DN_LISTEN_NAME_MAX 160

/**
 * dn_listen_open() - listen at HOST:PORT, [HOST]:PORT or unix:PATH
 * @ret_fd: not blocking, close-on-exec
 * @tls: of a port, for its name
 * @ret_name: where it listens now (a port of 0 is one that was free): DN_LISTEN_NAME_MAX bytes
 *
 * A socket file that nobody listens at any more is replaced.
 */
DN_MUST_CHECK int dn_listen_open(const char *address, bool tls, int *ret_fd, char *ret_name,
				 struct dn_error *err);

/* Whether others than this machine reach an address, or one that its name has; opens nothing. */
DN_MUST_CHECK int dn_listen_is_beyond(const char *address, bool *ret_beyond, struct dn_error *err);
/* The same of a socket. */
bool dn_listen_socket_is_beyond(int fd);
/* Whether it has a path, and no port. */
bool dn_listen_is_local(int fd);

/* Closes a socket that was made here, and removes its file, where it has one. */
void dn_listen_close(int fd);

/**
 * dn_listen_split() - the two halves of HOST:PORT or [HOST]:PORT
 * @host: of @size bytes; may become ""
 * @ret_port: in @address; digits
 */
DN_MUST_CHECK int dn_listen_split(const char *address, char *host, size_t size,
				  const char **ret_port, struct dn_error *err);

/* Takes what systemd handed over: at most @max descriptors. Returns how many there are. */
uint32_t dn_listen_inherited(int *fds, uint32_t max);

#endif /* DUNLIN_SERVER_LISTEN_H */
