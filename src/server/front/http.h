/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.1 (RFC 9112) over libevent's bufferevents, with TLS in them or not: bytes become requests,
 * within limits of size and of time, and answers become bytes. http-parser takes the heads and bodies apart; what it lets
 * through and another server between might read otherwise is refused here.
 */
#ifndef DUNLIN_SERVER_FRONT_HTTP_H
#define DUNLIN_SERVER_FRONT_HTTP_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "base/base.h"
#include "base/buffer.h"
/* IWYU pragma: end_exports */

struct event_base;
struct dn_http;
struct dn_http_connection;

#define DN_HTTP_HEAD_BYTES  ((size_t)16 << 10)
#define DN_HTTP_HEADERS_MAX 64
#define DN_HTTP_ID_MAX	    24
#define DN_HTTP_SUBJECT_MAX 64

/**
 * struct dn_http_limits - all of them are kept at all times
 * @connections: beyond these the one that has been idle for the longest is closed; where none is
 *	idle, the new one
 * @body_bytes: of a request
 * @bodies_bytes: of all requests together that are not yet answered
 * @answers_bytes: of all whole answers together, from where they are made to where they are read;
 *	small ones are not counted
 * @unsent_bytes: of a streamed answer that its client has not read: more, and it is closed
 * @head_ms: from a request's first byte to the end of its head; the same for a handshake of TLS
 * @body_ms: from there to the end of its body
 * @idle_ms: between requests
 * @write_ms: in which a client that is to read must have read something
 */
struct dn_http_limits {
	uint32_t connections;
	size_t body_bytes;
	size_t bodies_bytes;
	size_t answers_bytes;
	size_t unsent_bytes;
	uint32_t head_ms;
	uint32_t body_ms;
	uint32_t idle_ms;
	uint32_t write_ms;
};

/**
 * struct dn_http_request - borrowed from its connection until that is answered
 * @id: for logs and for the client (X-Request-Id)
 * @method: "GET", …
 * @path: without the query
 * @headers: names in lower case, in the order of their coming
 * @peer: a number for who sent it, for turns: of an address, in IPv6 of its /64; of a user where
 *	the socket is in the file system
 * @address: the same, but of the whole address: who shares it shares what was asked
 * @subject: whom the client's certificate names, whose numbers the two above then are; "": none
 * @owner: the handlers', NULL at first, for them to drop when it has ended
 * @local: through a socket in the file system
 * @secure: by TLS
 * @begun_ns: of CLOCK_MONOTONIC: when its first byte came
 */
struct dn_http_request {
	char id[DN_HTTP_ID_MAX];
	const char *method;
	char *path;
	struct {
		char *name;
		char *value;
	} headers[DN_HTTP_HEADERS_MAX];
	size_t n_headers;
	struct dn_buffer body;
	uint64_t peer;
	uint64_t address;
	const char *subject;
	void *owner;
	bool local;
	bool secure;
	uint64_t begun_ns;
};

/**
 * struct dn_http_handlers - who answers
 * @opened: a connection has come. NULL: nobody wants to know
 * @check: when the head has come; answers (dn_http_reply()) what is refused. NULL: nothing is
 * @handle: when all has come; answers now or later
 * @fault: a request that was no HTTP, or broke a limit, as far as it came: the body of the answer,
 *	owned by the caller of it (free()); NULL: none
 * @ended: an answer was sent or given up; once for each request that was handled
 * @failed: a handshake came to nothing; for the log. NULL: nobody wants to know
 */
struct dn_http_handlers {
	void *context;
	void (*opened)(void *context);
	void (*check)(void *context, struct dn_http_connection *connection);
	void (*handle)(void *context, struct dn_http_connection *connection);
	char *(*fault)(void *context, const struct dn_http_request *request, int status,
		       const char *message);
	void (*ended)(void *context, struct dn_http_request *request, int status, uint64_t bytes);
	void (*failed)(void *context, const char *why);
};

/* @limits and @handlers are copied. NULL where memory is short. */
struct dn_http *dn_http_new(struct event_base *base, const struct dn_http_limits *limits,
			    const struct dn_http_handlers *handlers);
/* Closes everything. */
void dn_http_free(struct dn_http *http);
/*
 * Takes connections of a listening socket, which it takes over; where @tls is set, those that there
 * is nothing to make handshakes with for are closed. Return: 0 or a negative errno.
 */
DN_MUST_CHECK int dn_http_listen(struct dn_http *http, int fd, bool tls);
/* What handshakes are made with from now on; taken over. Connections that are there stay as they are. */
void dn_http_set_tls(struct dn_http *http, SSL_CTX *context);
/* No more connections, and those that are idle are closed; the others are when they are answered. */
void dn_http_drain(struct dn_http *http);
/* Connections that are open, and those of them that wait for an answer. */
uint32_t dn_http_connections(const struct dn_http *http);
uint32_t dn_http_busy(const struct dn_http *http);

/* A connection that is there already, for tests and fuzzers; takes @fd over. */
DN_MUST_CHECK int dn_http_accept(struct dn_http *http, int fd, bool tls);

struct dn_http_request *dn_http_request(struct dn_http_connection *connection);
/* NULL where it did not come; of several, the first. @name in lower case. */
const char *dn_http_header(const struct dn_http_request *request, const char *name);
/* How many of that name there are. */
size_t dn_http_header_count(const struct dn_http_request *request, const char *name);

/* Called when the client left, or was given up, before its answer was whole. */
typedef void dn_http_left(void *data);
void dn_http_on_left(struct dn_http_connection *connection, dn_http_left *left, void *data);

/* A further header of the answer, before it begins. Values with line ends are left out. */
void dn_http_add_header(struct dn_http_connection *connection, const char *name, const char *format,
			...) DN_PRINTF(3, 4);
/* The answer may be kept by who asks each time whether it still holds; else it may not be kept. */
void dn_http_allow_cache(struct dn_http_connection *connection);
bool dn_http_answered(const struct dn_http_connection *connection);
/*
 * Before @bytes more are allocated for an answer that is being made. They count until it is read. Return:
 * false where all answers together would be too large.
 */
DN_MUST_CHECK bool dn_http_reserve(struct dn_http_connection *connection, size_t bytes);
/* Whether no other answer counts: then this one is too large by itself. */
bool dn_http_reserves_all(const struct dn_http_connection *connection);
/* The whole answer. @body: borrowed */
void dn_http_reply(struct dn_http_connection *connection, int status, const char *type,
		   const void *body, size_t size);
/* The same, of what dn_http_reserve() counted already; @body is empty after. */
void dn_http_give(struct dn_http_connection *connection, int status, const char *type,
		  struct dn_buffer *body);
/* An answer of pieces, each sent at once. */
void dn_http_begin(struct dn_http_connection *connection, int status, const char *type);
/* Return: false where the client is gone, or was just given up. */
bool dn_http_write(struct dn_http_connection *connection, const void *data, size_t size);
void dn_http_end(struct dn_http_connection *connection);
/* Ends an answer that cannot be brought to its end, so that the client sees that it is cut. */
void dn_http_abort(struct dn_http_connection *connection);

#endif /* DUNLIN_SERVER_FRONT_HTTP_H */
