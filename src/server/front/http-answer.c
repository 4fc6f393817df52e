/* SPDX-License-Identifier: MIT */
/* Answers, whole or in pieces. */

#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server/front/http-internal.h"

#define EXTRA_MAX 1024
/* Answers up to here are not counted. */
#define SMALL_BYTES ((size_t)64 << 10)

static const char *reason(int status)
{
	switch (status) {
#define XX(number, name, text)                                                                     \
	case number:                                                                               \
		return #text;
		HTTP_STATUS_MAP(XX)
#undef XX
	default:
		return "Unknown";
	}
}

void dn_http_on_left(struct dn_http_connection *c, dn_http_left *left, void *data)
{
	c->left = left;
	c->left_data = data;
}

void dn_http_add_header(struct dn_http_connection *c, const char *name, const char *format, ...)
{
	char value[512];
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(value, sizeof(value), format, list);
	va_end(list);
	if (n < 0 || (size_t)n >= sizeof(value) || strpbrk(value, "\r\n"))
		return;
	c->extra.max = EXTRA_MAX;
	/* An answer without it is better than none. */
	(void)!dn_buffer_printf(&c->extra, "%s: %s\r\n", name, value);
}

/*
 * With TLS, what is added to nothing is sent at once, each piece a record: it is held until all of
 * it is there. What waits already goes on to.
 */
static bool hold(struct dn_http_connection *c)
{
	return c->ssl && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0 &&
	       bufferevent_disable(c->bev, EV_WRITE) == 0;
}

static void let_go(struct dn_http_connection *c, bool held)
{
	if (held)
		(void)bufferevent_enable(c->bev, EV_WRITE);
}

void dn_http_allow_cache(struct dn_http_connection *c)
{
	c->may_cache = true;
}

bool dn_http_answered(const struct dn_http_connection *c)
{
	return c->answered || c->state == DN_HTTP_DEAD;
}

/* @length: of the body, or -1 where its end is not known. */
static void send_head(struct dn_http_connection *c, int status, const char *type, long long length)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	const bool may_chunk = c->parser.http_major == 1 && c->parser.http_minor >= 1;

	c->answered = true;
	c->status = status;
	c->chunked = length < 0 && may_chunk;
	if ((length < 0 && !may_chunk) || c->http->draining || !c->complete)
		c->keep_alive = false;
	(void)evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n", status, reason(status));
	if (type)
		(void)evbuffer_add_printf(out, "Content-Type: %s\r\n", type);
	/* 304 would have to have the length of what it stands for. */
	if (length >= 0 && status != 304)
		(void)evbuffer_add_printf(out, "Content-Length: %lld\r\n", length);
	else if (c->chunked)
		(void)evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
	(void)evbuffer_add_printf(out,
				  "%sX-Request-Id: %s\r\nX-Content-Type-Options: nosniff\r\n"
				  "Cache-Control: %s\r\nConnection: %s\r\n\r\n",
				  c->extra.data ? c->extra.data : "", c->request.id,
				  c->may_cache ? "no-cache" : "no-store",
				  c->keep_alive ? "keep-alive" : "close");
}

bool dn_http_reserve(struct dn_http_connection *c, size_t bytes)
{
	if (bytes > c->http->limits.answers_bytes - c->http->answers)
		return false;
	c->http->answers += bytes;
	c->reserved += bytes;
	return true;
}

bool dn_http_reserves_all(const struct dn_http_connection *c)
{
	return c->reserved == c->http->answers;
}

void dn_http_release(struct dn_http_connection *c)
{
	c->http->answers -= c->reserved;
	c->reserved = 0;
}

static void free_body(const void *body, size_t size, void *data)
{
	(void)body;
	(void)size;
	free(data);
}

/* @own: @body is freed once it is sent. */
static void reply(struct dn_http_connection *c, int status, const char *type, const void *body,
		  size_t size, void *own)
{
	const bool head_only = c->request.method && strcmp(c->request.method, "HEAD") == 0;
	struct evbuffer *out = bufferevent_get_output(c->bev);
	const bool held = hold(c);

	send_head(c, status, type, (long long)size);
	if (own &&
	    (size == 0 || head_only || evbuffer_add_reference(out, body, size, free_body, own) < 0))
		free(own);
	else if (!own && size > 0 && !head_only)
		(void)evbuffer_add(out, body, size);
	let_go(c, held);
	c->sent = size;
	dn_http_next(c);
}

void dn_http_reply(struct dn_http_connection *c, int status, const char *type, const void *body,
		   size_t size)
{
	if (dn_http_answered(c))
		return;
	if (size > SMALL_BYTES && !dn_http_reserve(c, size))
		dn_http_refuse(c, 503, "too many large answers at once: try again");
	else
		reply(c, status, type, body, size, NULL);
}

void dn_http_give(struct dn_http_connection *c, int status, const char *type,
		  struct dn_buffer *body)
{
	const size_t size = body->size;
	char *data = dn_buffer_steal(body);

	if (dn_http_answered(c))
		free(data);
	else
		reply(c, status, type, data, size, data);
}

void dn_http_begin(struct dn_http_connection *c, int status, const char *type)
{
	const int one = 1;
	bool held;

	if (dn_http_answered(c))
		return;
	(void)setsockopt(bufferevent_getfd(c->bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	held = hold(c);
	send_head(c, status, type, -1);
	let_go(c, held);
}

bool dn_http_write(struct dn_http_connection *c, const void *data, size_t size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);
	bool held;

	if (c->state == DN_HTTP_DEAD)
		return false;
	if (size == 0)
		return true;
	held = hold(c);
	if (c->chunked)
		(void)evbuffer_add_printf(out, "%zx\r\n", size);
	(void)evbuffer_add(out, data, size);
	if (c->chunked)
		(void)evbuffer_add(out, "\r\n", 2);
	let_go(c, held);
	c->sent += size;
	if (evbuffer_get_length(out) <= c->http->limits.unsent_bytes)
		return true;
	dn_http_kill(c);
	return false;
}

void dn_http_end(struct dn_http_connection *c)
{
	if (c->state == DN_HTTP_DEAD)
		return;
	if (c->chunked)
		(void)evbuffer_add(bufferevent_get_output(c->bev), "0\r\n\r\n", 5);
	dn_http_next(c);
}

void dn_http_abort(struct dn_http_connection *c)
{
	if (c->state == DN_HTTP_DEAD)
		return;
	/* Without a last chunk, or before the announced length. */
	c->keep_alive = false;
	dn_http_next(c);
}

void dn_http_refuse(struct dn_http_connection *c, int status, const char *message)
{
	struct dn_http *http = c->http;
	DN_AUTO_FREE char *body = NULL;

	c->keep_alive = false;
	c->complete = false;
	if (!c->request.method)
		c->request.method = "-";
	if (http->handlers.fault)
		body = http->handlers.fault(http->handlers.context, &c->request, status, message);
	if (c->state != DN_HTTP_HANDLING)
		http->busy++;
	c->state = DN_HTTP_HANDLING;
	if (status == 503)
		dn_http_add_header(c, "Retry-After", "1");
	dn_http_reply(c, status, body ? "application/json" : NULL, body, body ? strlen(body) : 0);
}
