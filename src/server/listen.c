/* SPDX-License-Identifier: MIT */

#include "server/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG		1024
#define INHERITED_FIRST 3 /* SD_LISTEN_FDS_START */
#define PORT_MAX	65535U

/* Whether the file of a socket is a leftover: nobody answers. */
static bool is_stale(const struct sockaddr_un *address)
{
	DN_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

static int listen_unix(const char *path, int *ret_fd, struct dn_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	DN_AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (strlen(path) == 0 || strlen(path) >= sizeof(address.sun_path))
		return dn_error_set(err, EINVAL, "listen at unix:%.120s: a path of 1 to %zu bytes",
				    path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0)
		return dn_error_errno(err, errno, "listen at unix:%.120s", path);
	r = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	if (r < 0 && errno == EADDRINUSE && is_stale(&address) && unlink(path) == 0)
		r = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return dn_error_errno(err, errno, "listen at unix:%.120s", path);
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

int dn_listen_split(const char *address, char *host, size_t size, const char **ret_port,
		    struct dn_error *err)
{
	const char *colon = strrchr(address, ':');
	size_t length = colon ? (size_t)(colon - address) : 0;

	/* getaddrinfo() would take what is above for another port. */
	if (!colon || colon[1] == '\0' || colon[1 + strspn(colon + 1, "0123456789")] != '\0' ||
	    strlen(colon + 1) > 5 || strtoul(colon + 1, NULL, 10) > PORT_MAX)
		return dn_error_set(err, EINVAL,
				    "'%.120s' is no HOST:PORT, [ADDRESS]:PORT or unix:PATH",
				    address);
	*ret_port = colon + 1;
	if (length >= 2 && address[0] == '[' && colon[-1] == ']') {
		address++;
		length -= 2;
	}
	if (length >= size)
		return dn_error_set(err, ENAMETOOLONG, "'%.120s': the name is too long", address);
	memcpy(host, address, length);
	host[length] = '\0';
	return 0;
}

static int listen_at(const struct addrinfo *info, int *ret_fd)
{
	DN_AUTO_FD int fd =
		socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
		       info->ai_protocol);
	const int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

static void name_socket(int fd, const char *address, bool tls, char *name)
{
	struct sockaddr_storage bound;
	socklen_t size = sizeof(bound);
	char host[64];
	char port[8];

	(void)snprintf(name, DN_LISTEN_NAME_MAX, "%.150s", address);
	if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0 &&
	    getnameinfo((struct sockaddr *)&bound, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		(void)snprintf(name, DN_LISTEN_NAME_MAX,
			       strchr(host, ':') ? "%s://[%s]:%s" : "%s://%s:%s",
			       tls ? "https" : "http", host, port);
}

/* The addresses of a name, to be freed with freeaddrinfo(). */
static int resolve(const char *address, struct addrinfo **ret_list, struct dn_error *err)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE,
	};
	const char *port = "";
	char host[256] = "";
	int r = dn_listen_split(address, host, sizeof(host), &port, err);

	if (r < 0)
		return dn_error_prefix(err, r, "listen");
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, ret_list);
	if (r != 0)
		return dn_error_set(err, EADDRNOTAVAIL, "listen at '%.120s': %s", address,
				    gai_strerror(r));
	return 0;
}

static int listen_tcp(const char *address, bool tls, int *ret_fd, char *ret_name,
		      struct dn_error *err)
{
	struct addrinfo *list = NULL;
	int r = resolve(address, &list, err);

	if (r < 0)
		return r;
	r = -EADDRNOTAVAIL;
	for (const struct addrinfo *info = list; info && r < 0; info = info->ai_next)
		r = listen_at(info, ret_fd);
	freeaddrinfo(list);
	if (r < 0)
		return dn_error_errno(err, -r, "listen at '%.120s'", address);
	name_socket(*ret_fd, address, tls, ret_name);
	return 0;
}

static bool is_path(const char *address)
{
	return strncmp(address, DN_LISTEN_UNIX, strlen(DN_LISTEN_UNIX)) == 0;
}

int dn_listen_open(const char *address, bool tls, int *ret_fd, char *ret_name, struct dn_error *err)
{
	if (!is_path(address))
		return listen_tcp(address, tls, ret_fd, ret_name, err);
	(void)snprintf(ret_name, DN_LISTEN_NAME_MAX, "%.150s", address);
	return listen_unix(address + strlen(DN_LISTEN_UNIX), ret_fd, err);
}

/* Whether packets from elsewhere get to an address. */
static bool is_beyond(const struct sockaddr *address)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	switch (address->sa_family) {
	case AF_UNIX:
		return false;
	case AF_INET:
		memcpy(&four, address, sizeof(four));
		return ntohl(four.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
	case AF_INET6:
		memcpy(&six, address, sizeof(six));
		if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
			return six.sin6_addr.s6_addr[12] != IN_LOOPBACKNET;
		return !IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
	default:
		return true;
	}
}

int dn_listen_is_beyond(const char *address, bool *ret_beyond, struct dn_error *err)
{
	struct addrinfo *list = NULL;
	bool beyond = false;
	int r = is_path(address) ? 0 : resolve(address, &list, err);

	if (r < 0)
		return r;
	for (const struct addrinfo *info = list; info; info = info->ai_next)
		beyond |= is_beyond(info->ai_addr);
	if (list)
		freeaddrinfo(list);
	*ret_beyond = beyond;
	return 0;
}

static bool get_name(int fd, struct sockaddr_storage *name)
{
	socklen_t size = sizeof(*name);

	memset(name, 0, sizeof(*name));
	return getsockname(fd, (struct sockaddr *)name, &size) == 0;
}

bool dn_listen_socket_is_beyond(int fd)
{
	struct sockaddr_storage name;

	return !get_name(fd, &name) || is_beyond((const struct sockaddr *)&name);
}

bool dn_listen_is_local(int fd)
{
	struct sockaddr_storage name;

	return get_name(fd, &name) && name.ss_family == AF_UNIX;
}

void dn_listen_close(int fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t size = sizeof(address) - 1; /* so that a path ends */

	/* What it was bound to, and not what was asked for: that may be another server's. */
	if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
	    address.sun_family == AF_UNIX && address.sun_path[0] != '\0')
		(void)unlink(address.sun_path);
	close(fd);
}

uint32_t dn_listen_inherited(int *fds, uint32_t max)
{
	const char *pid = getenv("LISTEN_PID");
	const char *count = getenv("LISTEN_FDS");
	uint32_t n = 0;
	long given;

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
		return 0;
	given = strtol(count, NULL, 10);
	for (int fd = INHERITED_FIRST; fd < INHERITED_FIRST + given && n < max; fd++) {
		const int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
		    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			continue;
		fds[n++] = fd;
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return n;
}
