/* SPDX-License-Identifier: MIT */
/* dunlin health: whether a server answers, for containers that have no other program. */

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/types.h>
#include <openssl/x509_vfy.h>

#include "cli/cli.h"
#include "server/listen.h"
#include "server/serve.h"

#define HTTP_PREFIX  "http://"
#define HTTPS_PREFIX "https://"
/* "HTTP/1.1 200": what is read of an answer. */
#define STATUS_AT     9
#define STATUS_LENGTH 12

struct values {
	const char *ca;
	bool ready;
	uint32_t timeout;
};

static const struct dn_option options[] = {
	{ .name = "ready",
	  .kind = DN_OPTION_FLAG,
	  .offset = offsetof(struct values, ready),
	  .help = "ask whether a model is loaded too, not only whether it answers" },
	{ .name = "ca",
	  .kind = DN_OPTION_TEXT,
	  .offset = offsetof(struct values, ca),
	  .argument = "FILE",
	  .help = "whose certificates are good, of https:// (default: any)" },
	{ .name = "timeout",
	  .kind = DN_OPTION_U32,
	  .offset = offsetof(struct values, timeout),
	  .min = 1,
	  .max = 3600,
	  .argument = "SECONDS",
	  .help = "to give up after (default: 3)" },
};

static void set_defaults(void *data)
{
	struct values *values = data;

	values->timeout = 3;
}

static int wait_for(int fd, short events, uint64_t until_ns)
{
	struct pollfd one = { .fd = fd, .events = events };
	int r;

	do {
		const uint64_t now = dn_cli_now();

		r = poll(&one, 1, now < until_ns ? (int)((until_ns - now) / 1000000) + 1 : 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r > 0 ? 0 : -ETIMEDOUT;
}

static int connect_to(const struct sockaddr *address, socklen_t size, uint64_t until_ns,
		      int *ret_fd)
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
		r = wait_for(fd, POLLOUT, until_ns);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error != 0)
			return error != 0 ? -error : -errno;
	}
	*ret_fd = dn_steal_fd(&fd);
	return 0;
}

static int connect_unix(const char *path, uint64_t until_ns, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	return connect_to((const struct sockaddr *)&address, sizeof(address), until_ns, ret_fd);
}

static int connect_tcp(const char *server, uint64_t until_ns, int *ret_fd, struct dn_error *err)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	const char *port = "";
	char host[256] = "";
	int r = dn_listen_split(server, host, sizeof(host), &port, err);

	if (r < 0)
		return r;
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (r != 0)
		return dn_error_set(err, EADDRNOTAVAIL, "'%.120s': %s", server, gai_strerror(r));
	r = -EADDRNOTAVAIL;
	for (const struct addrinfo *info = list; info && r < 0; info = info->ai_next)
		r = connect_to(info->ai_addr, info->ai_addrlen, until_ns, ret_fd);
	freeaddrinfo(list);
	return r < 0 ? dn_error_errno(err, -r, "connect to '%.120s'", server) : 0;
}

static int connect_server(const char *server, uint64_t until_ns, int *ret_fd, struct dn_error *err)
{
	int r;

	if (strncmp(server, DN_LISTEN_UNIX, strlen(DN_LISTEN_UNIX)) != 0)
		return connect_tcp(server, until_ns, ret_fd, err);
	r = connect_unix(server + strlen(DN_LISTEN_UNIX), until_ns, ret_fd);
	return r < 0 ? dn_error_errno(err, -r, "connect to '%.120s'", server) : 0;
}

/**
 * struct peer - a connection
 * @ssl: NULL: without TLS
 */
struct peer {
	int fd;
	SSL_CTX *context;
	SSL *ssl;
};

static void peer_done(struct peer *peer)
{
	SSL_free(peer->ssl);
	SSL_CTX_free(peer->context);
	if (peer->fd >= 0)
		close(peer->fd);
}

/* After a call of OpenSSL's that did not succeed: waits for what it needs. */
static int wait_ssl(const struct peer *peer, int result, uint64_t until_ns)
{
	switch (SSL_get_error(peer->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return wait_for(peer->fd, POLLIN, until_ns);
	case SSL_ERROR_WANT_WRITE:
		return wait_for(peer->fd, POLLOUT, until_ns);
	default:
		return -EPROTONOSUPPORT;
	}
}

/* Whose certificate it is to be; an address is one by its bytes. */
static bool expect(struct peer *peer, const char *host)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(peer->ssl);

	SSL_set_verify(peer->ssl, SSL_VERIFY_PEER, NULL);
	return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1 ||
	       (SSL_set1_host(peer->ssl, host) == 1 &&
		SSL_set_tlsext_host_name(peer->ssl, host) == 1);
}

static int begin_tls(struct peer *peer, const char *server, const char *ca, uint64_t until_ns,
		     struct dn_error *err)
{
	const char *port;
	char host[256];
	int result;
	int r = dn_listen_split(server, host, sizeof(host), &port, err);

	if (r < 0)
		return r;
	peer->context = SSL_CTX_new(TLS_client_method());
	if (peer->context && ca && SSL_CTX_load_verify_file(peer->context, ca) != 1)
		return dn_error_set(err, EINVAL, "'%.160s' has no certificates", ca);
	peer->ssl = peer->context ? SSL_new(peer->context) : NULL;
	if (!peer->ssl || SSL_set_fd(peer->ssl, peer->fd) != 1 || (ca && !expect(peer, host)))
		return dn_error_memory(err, "TLS", 1);
	for (;;) {
		result = SSL_connect(peer->ssl);
		if (result == 1)
			return 0;
		r = wait_ssl(peer, result, until_ns);
		if (r == -EPROTONOSUPPORT)
			return dn_error_set(err, EBADMSG,
					    "no TLS with '%.120s': it speaks another protocol, or "
					    "one of the two does not trust the other",
					    server);
		if (r < 0)
			return dn_error_errno(err, -r, "ask '%.120s'", server);
	}
}

static int send_text(const struct peer *peer, const char *text, size_t size)
{
	if (peer->ssl)
		return SSL_write(peer->ssl, text, (int)size) == (int)size ? 0 : -EBADMSG;
	return send(peer->fd, text, size, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Return: bytes; 0 at the end; -EAGAIN where it has waited, and is to be called again. */
static ssize_t receive(const struct peer *peer, char *text, size_t size, uint64_t until_ns)
{
	ssize_t n;
	int r;

	if (peer->ssl) {
		n = SSL_read(peer->ssl, text, (int)size);
		if (n > 0)
			return n;
		r = wait_ssl(peer, (int)n, until_ns);
		return r == -EPROTONOSUPPORT ? 0 : r < 0 ? r : -EAGAIN;
	}
	r = wait_for(peer->fd, POLLIN, until_ns);
	if (r < 0)
		return r;
	n = recv(peer->fd, text, size, 0);
	return n < 0 ? -errno : n;
}

/* The status of GET @path; the request is small enough to be sent at once. */
static int ask(const struct peer *peer, const char *path, uint64_t until_ns, int *ret_status)
{
	char text[128];
	size_t got = 0;
	int r;
	const int length =
		snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);

	r = send_text(peer, text, (size_t)length);
	if (r < 0)
		return r;
	while (got < STATUS_LENGTH) {
		const ssize_t n = receive(peer, text + got, STATUS_LENGTH - got, until_ns);

		if (n == -EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EBADMSG;
		got += (size_t)n;
	}
	text[got] = '\0';
	if (strncmp(text, "HTTP/1.", 7) != 0 || text[STATUS_AT - 1] != ' ')
		return -EBADMSG;
	*ret_status = (int)strtol(text + STATUS_AT, NULL, 10);
	return 0;
}

static int look(const char *server, bool tls, const struct values *values, struct dn_error *err)
{
	const uint64_t until = dn_cli_now() + values->timeout * UINT64_C(1000000000);
	const char *path = values->ready ? "/ready" : "/health";
	DN_AUTO(peer_done) struct peer peer = { .fd = -1 };
	int status = 0;
	int r = connect_server(server, until, &peer.fd, err);

	if (r >= 0 && tls)
		r = begin_tls(&peer, server, values->ca, until, err);
	if (r < 0 || peer.fd < 0)
		return r;
	r = ask(&peer, path, until, &status);
	if (r == -EBADMSG)
		return dn_error_set(err, EBADMSG, "what listens at '%.120s' does not speak HTTP",
				    server);
	if (r < 0)
		return dn_error_errno(err, -r, "ask '%.120s'", server);
	if (status != 200)
		return dn_error_set(
			err, EAGAIN, "'%.120s' answers %d to %s%s", server, status, path,
			status == 503 ? ": no model is loaded (yet), or it is ending" : "");
	printf("%s\n", values->ready ? "ready" : "ok");
	return 0;
}

static int run(struct dn_invocation *invocation)
{
	const char *given = invocation->n_args > 0 ? invocation->args[0] : DN_SERVE_DEFAULT_LISTEN;
	struct dn_error err = DN_ERROR_INIT;
	const bool tls = strncmp(given, HTTPS_PREFIX, strlen(HTTPS_PREFIX)) == 0;
	int r;

	/* A server that hangs up on TLS is an answer too. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* As the server's log writes it. */
	if (tls)
		given += strlen(HTTPS_PREFIX);
	else if (strncmp(given, HTTP_PREFIX, strlen(HTTP_PREFIX)) == 0)
		given += strlen(HTTP_PREFIX);
	r = look(given, tls, invocation->values, &err);
	return r < 0 ? dn_cli_fail(invocation->verb, r, &err) : DN_EXIT_OK;
}

const struct dn_verb dn_verb_health = {
	.name = "health",
	.arguments = "[SERVER]",
	.summary = "Ask a server whether it is well.",
	.details = "SERVER is HOST:PORT, https://HOST:PORT or unix:PATH "
		   "(default: " DN_SERVE_DEFAULT_LISTEN ").\n"
		   "Exits with 0 where it is well, 1 where it is not or does not answer.\n",
	.options = options,
	.n_options = DN_ARRAY_SIZE(options),
	.max_args = 1,
	.values_size = sizeof(struct values),
	.defaults = set_defaults,
	.run = run,
};
