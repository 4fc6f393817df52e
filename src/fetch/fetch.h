/* SPDX-License-Identifier: MIT */
/*
 * Requests to an HTTP/1.1 server (RFC 9112) and what is read of its answers, as it comes: one request
 * a connection, nothing cached, no redirections, at most so many bytes at once.
 */
#ifndef DUNLIN_FETCH_FETCH_H
#define DUNLIN_FETCH_FETCH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <dunlin/error.h>
#include <http_parser.h>
#include <openssl/types.h>

#include "base/base.h"
#include "base/buffer.h"
/* IWYU pragma: end_exports */

/* Before the path of a UNIX socket. */
#define DN_FETCH_UNIX	  "unix:"
#define DN_FETCH_HOST_MAX 256

/**
 * struct dn_fetch_server - where a server is
 * @name: for messages
 * @authority: for the field 'Host'
 * @host, @port: "" and "": it has a socket file
 * @path: of the socket file
 * @tls: https
 * @ca: file with whose certificates are good; borrowed; NULL: the system's
 * @any_certificate: without @ca, all are, which is for requests that tell nothing
 */
struct dn_fetch_server {
	char name[DN_FETCH_HOST_MAX + 16];
	char authority[DN_FETCH_HOST_MAX + 16];
	char host[DN_FETCH_HOST_MAX];
	char port[6];
	char path[108];
	bool tls;
	const char *ca;
	bool any_certificate;
};

/**
 * dn_fetch_server_parse() - a server as its user names it
 * @text: HOST:PORT, http://HOST[:PORT] or https:// (a base URL's "/v1" may follow), or unix:PATH
 *
 * Return: 0; -EINVAL.
 */
DN_MUST_CHECK int dn_fetch_server_parse(const char *text, struct dn_fetch_server *ret_server,
					struct dn_error *err);

/**
 * struct dn_fetch_request - what is asked; all borrowed
 * @key: of the API; NULL: none
 * @body: JSON; NULL: none
 * @timeout_ms: for all of it; 0: as long as it takes
 */
struct dn_fetch_request {
	const char *method;
	const char *path;
	const char *key;
	const void *body;
	size_t size;
	uint32_t timeout_ms;
};

/**
 * struct dn_fetch - a request, and its answer so far
 * @ssl: of @tls; NULL: without TLS
 * @wake_fd: when it can be read, who waits gets -EINTR; -1: nothing wakes it
 * @until_ns: of CLOCK_MONOTONIC; 0: no end
 * @status: of HTTP, once the head has come
 * @body: what came of it, from @taken on not yet taken
 * @whole: all of the answer has come
 * @fault: of what the parser gave: a negative errno
 */
struct dn_fetch {
	int fd;
	SSL_CTX *tls;
	SSL *ssl;
	int wake_fd;
	uint64_t until_ns;
	http_parser parser;
	int status;
	bool has_head;
	bool whole;
	int fault;
	struct dn_buffer body;
	size_t taken;
	char name[DN_FETCH_HOST_MAX + 16];
};

/* @max_bytes: of the answer that are not yet taken. */
void dn_fetch_init(struct dn_fetch *fetch, size_t max_bytes);
/* Closes the connection, which ends what the server does for it. */
void dn_fetch_done(struct dn_fetch *fetch);
#define DN_AUTO_FETCH DN_AUTO(dn_fetch_done)

/**
 * dn_fetch_begin() - ask, and wait for the answer's head
 *
 * Return: 0 with @fetch->status; -EINTR where it was woken; -ETIMEDOUT; -EBADMSG where it is no
 * HTTP; what connect() says.
 */
DN_MUST_CHECK int dn_fetch_begin(struct dn_fetch *fetch, const struct dn_fetch_server *server,
				 const struct dn_fetch_request *request, struct dn_error *err);
/* Wait for more of the body. Return: 1 where some came; 0 at its end; a negative errno as above. */
DN_MUST_CHECK int dn_fetch_read(struct dn_fetch *fetch, struct dn_error *err);
/* All of the body, which is then in @fetch->body, terminated. Return: 0 or a negative errno. */
DN_MUST_CHECK int dn_fetch_read_all(struct dn_fetch *fetch, struct dn_error *err);
/*
 * Takes the next whole line, without its end; borrowed until the next read. Return: NULL where there
 * is none yet.
 */
char *dn_fetch_line(struct dn_fetch *fetch, size_t *ret_size);

/* response.c: what came of an answer, and its end; also for fuzzers, who have no connection. */
DN_MUST_CHECK int dn_fetch_take(struct dn_fetch *fetch, const char *data, size_t size,
				struct dn_error *err);
DN_MUST_CHECK int dn_fetch_take_end(struct dn_fetch *fetch, struct dn_error *err);

/* connect.c: sets @fetch->fd. */
DN_MUST_CHECK int dn_fetch_connect(struct dn_fetch *fetch, const struct dn_fetch_server *server,
				   struct dn_error *err);
/* Until the connection has @events. Return: 0, -EINTR, -ETIMEDOUT or what poll() says. */
DN_MUST_CHECK int dn_fetch_wait(const struct dn_fetch *fetch, int fd, short events);

/* tls.c: on a connection that is there; dn_fetch_done() ends it. */
DN_MUST_CHECK int dn_fetch_begin_tls(struct dn_fetch *fetch, const struct dn_fetch_server *server,
				     struct dn_error *err);
void dn_fetch_end_tls(struct dn_fetch *fetch);
/* Return: bytes; -EAGAIN, and what to wait for; another negative errno. Of receive, 0 at the end. */
ssize_t dn_fetch_tls_send(struct dn_fetch *fetch, const void *data, size_t size, short *ret_wait);
ssize_t dn_fetch_tls_receive(struct dn_fetch *fetch, void *data, size_t size, short *ret_wait);

#endif /* DUNLIN_FETCH_FETCH_H */
