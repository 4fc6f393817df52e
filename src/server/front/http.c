/* SPDX-License-Identifier: MIT */
/* Connections: how they come, wait, and end. */

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include <event2/listener.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "server/front/http-internal.h"

/* What a client may send ahead of its answer; more waits in the kernel. */
#define READ_AHEAD ((size_t)64 << 10)
/* A client that was refused while it sends gets so long, and so much, to see why. */
#define LINGER_MS    2000
#define LINGER_BYTES ((size_t)1 << 20)

/* Who cannot be told from others; 0 and 1 are no client's number. */
#define NOBODY 2U
/* What a handshake begins with (RFC 8446, 5.1), and no request. */
#define HANDSHAKE_BYTE '\x16'

static void process(struct dn_http_connection *c);

/* The list. */

static void unlink_connection(struct dn_http_connection *c)
{
	*(c->before ? &c->before->after : &c->http->first) = c->after;
	*(c->after ? &c->after->before : &c->http->last) = c->before;
	c->before = c->after = NULL;
}

static void append_connection(struct dn_http_connection *c)
{
	c->before = c->http->last;
	c->after = NULL;
	*(c->before ? &c->before->after : &c->http->first) = c;
	c->http->last = c;
}

/* Endings. */

void dn_http_set_timer(struct dn_http_connection *c, uint32_t ms)
{
	const struct timeval after = { ms / 1000, (suseconds_t)(ms % 1000) * 1000 };

	(void)evtimer_add(c->timer, &after);
}

static void tell_left(struct dn_http_connection *c)
{
	dn_http_left *left = c->left;

	c->left = NULL;
	if (left)
		left(c->left_data);
}

static void tell_ended(struct dn_http_connection *c)
{
	if (c->http->handlers.ended && c->request.method)
		c->http->handlers.ended(c->http->handlers.context, &c->request, c->status, c->sent);
}

/* From any depth of calls: what it has is freed by the loop. */
void dn_http_kill(struct dn_http_connection *c)
{
	struct dn_http *http = c->http;
	const struct timeval at_once = { 0, 0 };

	if (c->state == DN_HTTP_DEAD)
		return;
	if (c->state == DN_HTTP_HANDLING) {
		http->busy--;
		tell_left(c);
		tell_ended(c);
	}
	c->state = DN_HTTP_DEAD;
	http->n--;
	unlink_connection(c);
	(void)bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	(void)evtimer_del(c->timer);
	(void)event_del(c->closed);
	c->after = http->dead;
	http->dead = c;
	(void)evtimer_add(http->reaper, &at_once);
}

static void free_connection(struct dn_http_connection *c)
{
	dn_http_clear_request(c);
	dn_http_release(c);
	if (c->closed)
		event_free(c->closed);
	if (c->timer)
		event_free(c->timer);
	if (c->bev)
		bufferevent_free(c->bev);
	free(c);
}

static void reap(evutil_socket_t fd, short what, void *data)
{
	struct dn_http *http = data;

	(void)fd;
	(void)what;
	while (http->dead) {
		struct dn_http_connection *c = http->dead;

		http->dead = c->after;
		free_connection(c);
	}
}

static void linger(struct dn_http_connection *c)
{
	/* To close at once would reset, and take what was sent from a client that has not read it. */
	c->state = DN_HTTP_LINGER;
	if (c->ssl)
		dn_http_tls_end(c);
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	dn_http_set_timer(c, LINGER_MS);
	(void)bufferevent_enable(c->bev, EV_READ);
	process(c);
}

static void flush(struct dn_http_connection *c)
{
	c->state = DN_HTTP_FLUSH;
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		linger(c);
}

void dn_http_next(struct dn_http_connection *c)
{
	const bool busy = c->state == DN_HTTP_HANDLING;

	c->left = NULL;
	if (busy)
		c->http->busy--;
	tell_ended(c);
	if (!c->keep_alive || c->http->draining || !c->complete) {
		flush(c);
		return;
	}
	dn_http_clear_request(c);
	c->began = false;
	c->state = DN_HTTP_HEAD;
	unlink_connection(c);
	append_connection(c);
	dn_http_set_timer(c, c->http->limits.idle_ms);
	/* Not from here: whoever answered may be deep in calls of this connection. */
	if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
		bufferevent_trigger(c->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

/* Bytes in. */

static void handle(struct dn_http_connection *c)
{
	if (c->state != DN_HTTP_HANDLING)
		c->http->busy++;
	c->state = DN_HTTP_HANDLING;
	(void)evtimer_del(c->timer);
	c->http->handlers.handle(c->http->handlers.context, c);
}

/* Whether answers wait that nobody reads: then none is added to them. */
static bool is_behind(const struct dn_http_connection *c)
{
	return evbuffer_get_length(bufferevent_get_output(c->bev)) > c->http->limits.unsent_bytes;
}

/* Return: whether there is more to do. */
static bool process_head(struct dn_http_connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const size_t size = evbuffer_get_length(in);
	struct evbuffer_ptr from;
	struct evbuffer_ptr end;
	const char *head;
	char first[2];

	if (size == 0 || is_behind(c))
		return false;
	if (c->ssl && !c->identified)
		dn_http_tls_identify(c);
	/* An empty line before a request is to be passed over (RFC 9112, 2.2). */
	if (!c->began && size >= 2 && evbuffer_copyout(in, first, 2) == 2 && first[0] == '\r' &&
	    first[1] == '\n') {
		c->began = true;
		(void)evbuffer_drain(in, 2);
		return true;
	}
	if (c->request.begun_ns == 0) {
		c->request.begun_ns = dn_clock_ns();
		dn_http_set_timer(c, c->http->limits.head_ms);
	}
	c->began = true;
	if (c->searched == 0 && evbuffer_copyout(in, first, 1) == 1 && first[0] == HANDSHAKE_BYTE) {
		dn_http_refuse(c, 400, "this is plain HTTP, without TLS: http://");
		return false;
	}
	if (evbuffer_ptr_set(in, &from, c->searched, EVBUFFER_PTR_SET) < 0)
		return false;
	end = evbuffer_search(in, "\r\n\r\n", 4, &from);
	if (end.pos < 0 && size <= DN_HTTP_HEAD_BYTES) {
		c->searched = size > 3 ? size - 3 : 0;
		return false;
	}
	if (end.pos < 0 || (size_t)end.pos + 4 > DN_HTTP_HEAD_BYTES) {
		dn_http_refuse(c, 431, "the head is longer than 16 KiB");
		return false;
	}
	head = (const char *)evbuffer_pullup(in, end.pos + 4);
	if (head)
		dn_http_take_head(c, head, (size_t)end.pos + 4);
	else
		dn_http_refuse(c, 503, "out of memory");
	(void)evbuffer_drain(in, (size_t)end.pos + 4);
	if (c->state != DN_HTTP_BODY)
		return true;
	if (c->complete)
		handle(c);
	else
		dn_http_set_timer(c, c->http->limits.body_ms);
	return true;
}

static bool process_body(struct dn_http_connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const size_t size = evbuffer_get_length(in);
	const char *data = size > 0 ? (const char *)evbuffer_pullup(in, -1) : NULL;
	size_t used = 0;

	if (!data || !dn_http_take_body(c, data, size, &used))
		return false;
	(void)evbuffer_drain(in, used);
	if (c->complete)
		handle(c);
	return used > 0;
}

static void process(struct dn_http_connection *c)
{
	bool more = true;

	while (more) {
		struct evbuffer *in = bufferevent_get_input(c->bev);

		switch (c->state) {
		case DN_HTTP_HEAD:
			more = process_head(c);
			break;
		case DN_HTTP_BODY:
			more = process_body(c);
			break;
		case DN_HTTP_LINGER:
			c->lingered += evbuffer_get_length(in);
			(void)evbuffer_drain(in, evbuffer_get_length(in));
			if (c->lingered > LINGER_BYTES)
				dn_http_kill(c);
			more = false;
			break;
		default:
			more = false;
		}
	}
}

static void on_read(struct bufferevent *bev, void *data)
{
	(void)bev;
	process(data);
}

static void on_written(struct bufferevent *bev, void *data)
{
	struct dn_http_connection *c = data;

	(void)bev;
	if (c->state != DN_HTTP_HANDLING)
		dn_http_release(c);
	if (c->state == DN_HTTP_FLUSH)
		linger(c);
	else if (c->state == DN_HTTP_HEAD)
		process(c);
}

static void on_event(struct bufferevent *bev, short what, void *data)
{
	struct dn_http_connection *c = data;

	(void)bev;
	if (what & BEV_EVENT_CONNECTED) {
		/* Its first request may have come along. */
		if (c->state == DN_HTTP_HEAD && !c->began)
			dn_http_set_timer(c, c->http->limits.idle_ms);
		return;
	}
	if (c->ssl && (what & BEV_EVENT_ERROR))
		dn_http_tls_failed(c);
	/* The end of what it sends is none of what it reads: on_closed() is who decides. */
	if ((what & BEV_EVENT_EOF) && c->state == DN_HTTP_FLUSH)
		return;
	dn_http_kill(c);
}

/*
 * The other side has closed, whatever of it still waits to be read. A client that only shuts its
 * sending side down cannot be told from one that has left, so it has left.
 */
static void on_closed(evutil_socket_t fd, short what, void *data)
{
	struct dn_http_connection *c = data;

	(void)fd;
	(void)what;
	if (c->state != DN_HTTP_FLUSH)
		dn_http_kill(c);
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
	struct dn_http_connection *c = data;

	(void)fd;
	(void)what;
	if ((c->state == DN_HTTP_HEAD && c->began) || c->state == DN_HTTP_BODY)
		dn_http_refuse(c, 408, "the request took too long to come");
	else
		dn_http_kill(c);
}

/* Connections. */

/* What a number is of: users and addresses may have the same bytes, and are not the same client. */
enum party {
	PARTY_USER = 1,
	PARTY_IPV4 = 4,
	PARTY_IPV6 = 6,
};

/* By SHA-256, since who has a network of his own may choose its addresses. @size: 16 at most */
static uint64_t number_of(enum party party, const void *bytes, size_t size)
{
	uint8_t text[1 + sizeof(struct in6_addr)] = { (uint8_t)party };
	uint8_t digest[SHA256_DIGEST_LENGTH];
	uint64_t number;

	memcpy(text + 1, bytes, size);
	SHA256(text, 1 + size, digest);
	memcpy(&number, digest, sizeof(number));
	return DN_MAX(number, (uint64_t)NOBODY);
}

static void identify_local(struct dn_http_connection *c, int fd)
{
	struct ucred who = { .pid = 0 };
	socklen_t size = sizeof(who);

	c->local = true;
	c->peer = c->address = NOBODY;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.pid != 0)
		c->peer = c->address = number_of(PARTY_USER, &who.uid, sizeof(who.uid));
}

/* A network of its own has the /64 of IPv6: its addresses share their turns, and nothing else. */
static void identify_six(struct dn_http_connection *c, const struct sockaddr_in6 *six)
{
	const uint8_t *bytes = six->sin6_addr.s6_addr;

	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		c->peer = c->address = number_of(PARTY_IPV4, bytes + 12, 4);
		return;
	}
	c->peer = number_of(PARTY_IPV6, bytes, 8);
	c->address = number_of(PARTY_IPV6, bytes, 16) ^ six->sin6_scope_id;
}

static void identify(struct dn_http_connection *c, int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
		struct sockaddr_storage room;
	} address = { .room = { 0 } };
	socklen_t size = sizeof(address);

	if (getpeername(fd, &address.any, &size) == 0 && address.any.sa_family == AF_INET)
		c->peer = c->address = number_of(PARTY_IPV4, &address.four.sin_addr,
						 sizeof(address.four.sin_addr));
	else if (address.any.sa_family == AF_INET6)
		identify_six(c, &address.six);
	else
		identify_local(c, fd);
}

/* The one that has been idle for longest. */
static bool make_place(struct dn_http *http)
{
	for (struct dn_http_connection *c = http->first; c; c = c->after)
		if (c->state == DN_HTTP_HEAD || c->state == DN_HTTP_LINGER) {
			dn_http_kill(c);
			return true;
		}
	return false;
}

static struct bufferevent *make_bev(struct dn_http_connection *c, int fd, bool tls)
{
	if (tls)
		return dn_http_tls_new(c->http, fd, &c->ssl);
	return bufferevent_socket_new(c->http->base, fd, BEV_OPT_CLOSE_ON_FREE);
}

int dn_http_accept(struct dn_http *http, int fd, bool tls)
{
	const struct timeval write = { http->limits.write_ms / 1000,
				       (suseconds_t)(http->limits.write_ms % 1000) * 1000 };
	struct dn_http_connection *c;

	if (http->n >= http->limits.connections && !make_place(http)) {
		close(fd);
		return -EAGAIN;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->http = http;
	c->request.body.max = http->limits.body_bytes;
	c->bev = make_bev(c, fd, tls);
	if (!c->bev)
		close(fd);
	c->timer = evtimer_new(http->base, on_timer, c);
	c->closed = event_new(http->base, fd, EV_CLOSED, on_closed, c);
	if (!c->bev || !c->timer || !c->closed) {
		free_connection(c);
		return -ENOMEM;
	}
	identify(c, fd);
	append_connection(c);
	http->n++;
	if (http->handlers.opened)
		http->handlers.opened(http->handlers.context);
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, READ_AHEAD);
	(void)bufferevent_set_timeouts(c->bev, NULL, &write);
	(void)event_add(c->closed, NULL);
	/* A handshake is to be done in the time of a head. */
	dn_http_set_timer(c, tls ? http->limits.head_ms : http->limits.idle_ms);
	(void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	return 0;
}

/* No descriptor is left: who has been idle for longest gives one back. */
static void on_accept_error(struct evconnlistener *listener, void *data)
{
	const struct dn_http_listener *own = data;

	(void)listener;
	(void)make_place(own->http);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int size, void *data)
{
	const struct dn_http_listener *own = data;

	(void)listener;
	(void)address;
	(void)size;
	(void)!dn_http_accept(own->http, fd, own->tls);
}

struct dn_http *dn_http_new(struct event_base *base, const struct dn_http_limits *limits,
			    const struct dn_http_handlers *handlers)
{
	struct dn_http *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	http->base = base;
	http->limits = *limits;
	http->handlers = *handlers;
	http->reaper = evtimer_new(base, reap, http);
	if (!http->reaper) {
		free(http);
		return NULL;
	}
	http_parser_set_max_header_size((uint32_t)DN_HTTP_HEAD_BYTES);
	return http;
}

int dn_http_listen(struct dn_http *http, int fd, bool tls)
{
	struct dn_http_listener *own;

	if (http->n_listeners == DN_HTTP_LISTENERS_MAX) {
		close(fd);
		return -E2BIG;
	}
	own = &http->listeners[http->n_listeners];
	own->http = http;
	own->tls = tls;
	own->listener = evconnlistener_new(http->base, on_accept, own,
					   LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!own->listener) {
		close(fd);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(own->listener, on_accept_error);
	http->n_listeners++;
	return 0;
}

void dn_http_set_tls(struct dn_http *http, SSL_CTX *context)
{
	SSL_CTX_free(http->tls);
	http->tls = context;
}

static void stop_listening(struct dn_http *http)
{
	while (http->n_listeners > 0)
		evconnlistener_free(http->listeners[--http->n_listeners].listener);
}

void dn_http_drain(struct dn_http *http)
{
	struct dn_http_connection *c = http->first;

	http->draining = true;
	stop_listening(http);
	while (c) {
		struct dn_http_connection *after = c->after;

		if (c->state == DN_HTTP_HEAD && !c->began)
			dn_http_kill(c);
		c = after;
	}
}

uint32_t dn_http_connections(const struct dn_http *http)
{
	return http->n;
}

uint32_t dn_http_busy(const struct dn_http *http)
{
	return http->busy;
}

void dn_http_free(struct dn_http *http)
{
	if (!http)
		return;
	stop_listening(http);
	while (http->first)
		dn_http_kill(http->first);
	reap(-1, 0, http);
	event_free(http->reaper);
	SSL_CTX_free(http->tls);
	free(http);
}
