/* SPDX-License-Identifier: MIT */
/* Connections that do not wait longer than they may. */

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "fetch/fetch.h"

#define MS UINT64_C(1000000)

int dn_fetch_wait(const struct dn_fetch *fetch, int fd, short events)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = events },
		{ .fd = fetch->wake_fd, .events = POLLIN },
	};
	int r;

	do {
		const uint64_t now = dn_clock_ns();
		int left = -1;

		if (fetch->until_ns > 0)
			left = now < fetch->until_ns ? (int)((fetch->until_ns - now) / MS) + 1 : 0;
		r = poll(fds, fetch->wake_fd >= 0 ? 2 : 1, left);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	return fds[1].revents ? -EINTR : 0;
}

static int connect_to(struct dn_fetch *fetch, const struct sockaddr *address, socklen_t size)
{
	DN_AUTO_FD int fd =
		socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t length = sizeof(int);
	int error = 0;
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, address, size) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		r = dn_fetch_wait(fetch, fd, POLLOUT);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0)
			return error != 0 ? -error : -errno;
	}
	fetch->fd = dn_steal_fd(&fd);
	return 0;
}

static int connect_unix(struct dn_fetch *fetch, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	_Static_assert(sizeof(((struct dn_fetch_server *)0)->path) <= sizeof(address.sun_path),
		       "every path fits");
	memcpy(address.sun_path, path, strlen(path));
	return connect_to(fetch, (const struct sockaddr *)&address, sizeof(address));
}

static int connect_tcp(struct dn_fetch *fetch, const struct dn_fetch_server *server,
		       struct dn_error *err)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int r = getaddrinfo(server->host, server->port, &hints, &list);

	if (r != 0)
		return dn_error_set(err, EADDRNOTAVAIL, "'%.120s': %s", server->name,
				    gai_strerror(r));
	r = -EADDRNOTAVAIL;
	for (const struct addrinfo *info = list; info && r < 0 && r != -EINTR && r != -ETIMEDOUT;
	     info = info->ai_next)
		r = connect_to(fetch, info->ai_addr, info->ai_addrlen);
	freeaddrinfo(list);
	return r < 0 ? dn_error_errno(err, -r, "connect to '%.120s'", server->name) : 0;
}

int dn_fetch_connect(struct dn_fetch *fetch, const struct dn_fetch_server *server,
		     struct dn_error *err)
{
	int r;

	if (server->path[0] == '\0')
		return connect_tcp(fetch, server, err);
	r = connect_unix(fetch, server->path);
	return r < 0 ? dn_error_errno(err, -r, "connect to '%.120s'", server->name) : 0;
}
