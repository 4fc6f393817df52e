/* SPDX-License-Identifier: MIT */
/* What the files of HTTP share: a connection from its first byte to its end. */
#ifndef DUNLIN_SERVER_FRONT_HTTP_INTERNAL_H
#define DUNLIN_SERVER_FRONT_HTTP_INTERNAL_H

/* IWYU pragma: begin_exports */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>
#include <http_parser.h>
#include <openssl/types.h>

#include "server/front/http.h"
/* IWYU pragma: end_exports */

struct evconnlistener;

#define DN_HTTP_LISTENERS_MAX 16

enum dn_http_state {
	DN_HTTP_HEAD, /* waits for a request, or has a part of its head */
	DN_HTTP_BODY,
	DN_HTTP_HANDLING, /* until it is answered */
	DN_HTTP_FLUSH,	  /* sends what is left, and closes */
	DN_HTTP_LINGER,	  /* has closed its side; reads to the end */
	DN_HTTP_DEAD,
};

/* Where a chunked body is (RFC 9112, 7.1). */
enum dn_http_chunk {
	DN_CHUNK_SIZE,	 /* hexadecimal digits, perhaps extensions, CR LF */
	DN_CHUNK_DATA,	 /* so many bytes */
	DN_CHUNK_END,	 /* CR LF */
	DN_CHUNK_TRAILER /* lines, the last of them empty */
};

/**
 * struct dn_http_connection - one client
 * @before, @after: in the list of all, those idle for longest first
 * @searched: bytes of a head without its end
 * @body_left: bytes to come, of the body or of its chunk
 * @began: a byte of the next request has come
 * @complete: all of the request has
 * @fault: of what the parser gave: memory, or a limit
 * @value_last: the last piece of a head was of a value
 * @extra: headers of the answer
 * @ssl: of @bev, which owns it; NULL: there is no TLS
 * @subject: of the client's certificate, once @identified
 */
struct dn_http_connection {
	struct dn_http *http;
	struct dn_http_connection *before;
	struct dn_http_connection *after;
	struct bufferevent *bev;
	SSL *ssl;
	struct event *closed;
	struct event *timer;
	enum dn_http_state state;
	http_parser parser;
	struct dn_http_request request;
	size_t searched;
	size_t lingered;
	enum dn_http_chunk chunk;
	uint64_t body_left;
	size_t trailer_bytes;
	uint64_t peer;
	uint64_t address;
	char subject[DN_HTTP_SUBJECT_MAX];
	bool identified;
	bool local;
	bool began;
	bool complete;
	bool keep_alive;
	bool answered;
	bool chunked; /* the answer */
	bool chunks;  /* the request */
	bool fault;
	bool value_last;
	bool may_cache;
	int status;
	uint64_t sent;
	size_t reserved; /* of answers that are made or unread */
	struct dn_buffer extra;
	dn_http_left *left;
	void *left_data;
};

struct dn_http_listener {
	struct dn_http *http;
	struct evconnlistener *listener;
	bool tls;
};

struct dn_http {
	struct event_base *base;
	struct dn_http_limits limits;
	struct dn_http_handlers handlers;
	struct dn_http_listener listeners[DN_HTTP_LISTENERS_MAX];
	size_t n_listeners;
	SSL_CTX *tls;
	struct dn_http_connection *first;
	struct dn_http_connection *last;
	struct dn_http_connection *dead;
	struct event *reaper;
	uint32_t n;
	uint32_t busy;
	size_t bodies;
	size_t answers;
	bool draining;
};

/* http.c */
void dn_http_kill(struct dn_http_connection *connection);
void dn_http_set_timer(struct dn_http_connection *connection, uint32_t ms);
/* The answer is on its way: waits for the next request, or ends. */
void dn_http_next(struct dn_http_connection *connection);

/* http-tls.c: a connection that begins with a handshake; takes @fd over where there is one. */
struct bufferevent *dn_http_tls_new(struct dn_http *http, int fd, SSL **ret_ssl);
/* Whom the client's certificate names, before the first request is read. */
void dn_http_tls_identify(struct dn_http_connection *connection);
/* No more is sent: says so, that nobody may cut an answer short unseen. */
void dn_http_tls_end(struct dn_http_connection *connection);
/* The handshake came to nothing, or what came behind it is none. */
void dn_http_tls_failed(struct dn_http_connection *connection);

/* http-request.c: frees what a request has, for the next one. */
void dn_http_clear_request(struct dn_http_connection *connection);
/*
 * A head with its empty line, which is read, checked and told of; refused where it is none. What is
 * left to do is in the connection's state.
 */
void dn_http_take_head(struct dn_http_connection *connection, const char *head, size_t size);

/**
 * dn_http_take_body() - bytes of a body
 * @ret_used: how many were its own; the rest is the next request's
 *
 * Return: true where more may come, or all has (@connection->complete); false where the request was
 * refused.
 */
bool dn_http_take_body(struct dn_http_connection *connection, const char *data, size_t size,
		       size_t *ret_used);

/* http-answer.c: all that was answered is read. */
void dn_http_release(struct dn_http_connection *connection);
/* http-answer.c: a request that is none, or breaks a limit: says so, and closes. */
void dn_http_refuse(struct dn_http_connection *connection, int status, const char *message);

#endif /* DUNLIN_SERVER_FRONT_HTTP_INTERNAL_H */
