/* SPDX-License-Identifier: MIT */

#include "server/front/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <http_parser.h>

#include "server/front/chunks.h"

/* What a client may send ahead of its answer; more waits in the kernel. */
#define READ_AHEAD ((size_t)64 << 10)
/* A client that was refused while it sends gets so long, and so much, to see why. */
#define LINGER_MS     2000
#define LINGER_BYTES  ((size_t)1 << 20)
#define LISTENERS_MAX 16
#define EXTRA_MAX     1024

enum state {
	STATE_HEAD, /* waits for a request, or has a part of its head */
	STATE_BODY,
	STATE_HANDLING, /* until it is answered */
	STATE_FLUSH,	/* sends what is left, and closes */
	STATE_LINGER,	/* has closed its side; reads to the end */
	STATE_DEAD,
};

struct dn_http_connection {
	struct dn_http *http;
	struct dn_http_connection *before; /* in the list of all, those idle for longest first */
	struct dn_http_connection *after;
	struct bufferevent *bev;
	struct event *closed;
	struct event *timer;
	enum state state;
	http_parser parser;
	struct dn_http_request request;
	size_t searched; /* bytes of a head without its end */
	struct dn_chunks chunks;
	size_t lingered;
	uint64_t peer;
	bool local;
	bool began;    /* a byte of the next request has come */
	bool complete; /* all of the request has */
	bool keep_alive;
	bool answered;
	bool chunked;
	bool body_chunked; /* the request's */
	bool fault;	   /* of what the parser gave: memory, or a limit */
	bool value_last;   /* the last piece was of a value */
	int status;
	uint64_t sent;
	struct dn_buffer extra; /* headers of the answer */
	dn_http_left *left;
	void *left_data;
};

struct dn_http {
	struct event_base *base;
	struct dn_http_limits limits;
	struct dn_http_handlers handlers;
	struct evconnlistener *listeners[LISTENERS_MAX];
	size_t n_listeners;
	struct dn_http_connection *first;
	struct dn_http_connection *last;
	struct dn_http_connection *dead;
	struct event *reaper;
	uint32_t n;
	uint32_t busy;
	size_t bodies;
	bool draining;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

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

/* Requests. */

static void clear_request(struct dn_http_connection *c)
{
	struct dn_http_request *request = &c->request;

	for (size_t i = 0; i < request->n_headers; i++) {
		free(request->headers[i].name);
		free(request->headers[i].value);
	}
	free(request->path);
	c->http->bodies -= request->body.size;
	dn_buffer_done(&request->body);
	*request = (struct dn_http_request){ .body = DN_BUFFER_INIT(c->http->limits.body_bytes) };
	dn_buffer_done(&c->extra);
	c->complete = c->answered = c->chunked = c->body_chunked = c->fault = c->value_last = false;
	c->chunks = (struct dn_chunks){ .state = DN_CHUNKS_SIZE_FIRST };
	c->searched = 0;
	c->status = 0;
	c->sent = 0;
	c->left = NULL;
}

struct dn_http_request *dn_http_request(struct dn_http_connection *c)
{
	return &c->request;
}

const char *dn_http_header(const struct dn_http_request *request, const char *name)
{
	for (size_t i = 0; i < request->n_headers; i++)
		if (strcmp(request->headers[i].name, name) == 0)
			return request->headers[i].value;
	return NULL;
}

size_t dn_http_header_count(const struct dn_http_request *request, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < request->n_headers; i++)
		n += strcmp(request->headers[i].name, name) == 0;
	return n;
}

/* Appends to a string that pieces of a head make. */
static bool extend(char **text, const char *at, size_t size)
{
	const size_t had = *text ? strlen(*text) : 0;
	char *longer = realloc(*text, had + size + 1);

	if (!longer)
		return false;
	memcpy(longer + had, at, size);
	longer[had + size] = '\0';
	*text = longer;
	return true;
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
	struct dn_http_connection *c = parser->data;

	c->fault |= !extend(&c->request.path, at, size);
	return c->fault;
}

static int on_header_field(http_parser *parser, const char *at, size_t size)
{
	struct dn_http_connection *c = parser->data;
	struct dn_http_request *request = &c->request;

	if (request->n_headers == 0 || c->value_last) {
		if (request->n_headers == DN_HTTP_HEADERS_MAX) {
			c->fault = true;
			return 1;
		}
		request->headers[request->n_headers].name = NULL;
		request->headers[request->n_headers++].value = NULL;
		c->value_last = false;
	}
	c->fault |= !extend(&request->headers[request->n_headers - 1].name, at, size);
	return c->fault;
}

static int on_header_value(http_parser *parser, const char *at, size_t size)
{
	struct dn_http_connection *c = parser->data;
	struct dn_http_request *request = &c->request;

	if (request->n_headers == 0)
		return 0;
	c->value_last = true;
	c->fault |= !extend(&request->headers[request->n_headers - 1].value, at, size);
	return c->fault;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
	struct dn_http_connection *c = parser->data;
	struct dn_http *http = c->http;

	if (http->bodies + size > http->limits.bodies_bytes ||
	    dn_buffer_append(&c->request.body, at, size) < 0) {
		c->fault = true;
		return 1;
	}
	http->bodies += size;
	return 0;
}

static int on_message_complete(http_parser *parser)
{
	struct dn_http_connection *c = parser->data;

	c->complete = true;
	/* What follows is the next request, and has to wait. */
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* The first line has two spaces, and no other blank. */
static bool is_strict_line(const char *head, size_t size)
{
	size_t spaces = 0;

	for (size_t i = 0; i < size && head[i] != '\r'; i++) {
		if (head[i] == '\t')
			return false;
		spaces += head[i] == ' ';
	}
	return spaces == 2 && head[0] != ' ';
}

/*
 * What two servers may read in two ways: line ends without CR, CR alone, folded lines, NUL, space
 * before the colon, which the parser all knows how to forgive.
 */
static bool is_strict(const char *head, size_t size)
{
	bool in_name = false; /* the first line has none */

	if (!is_strict_line(head, size))
		return false;
	for (size_t i = 0; i < size; i++) {
		const char c = head[i];

		if (c == '\0' || (c == '\n' && (i == 0 || head[i - 1] != '\r')) ||
		    (c == '\r' && (i + 1 == size || head[i + 1] != '\n')))
			return false;
		if (i > 0 && head[i - 1] == '\n') {
			if (c == ' ' || c == '\t')
				return false;
			in_name = true;
		}
		if (in_name && (c == ' ' || c == '\t'))
			return false;
		if (c == ':' || c == '\r')
			in_name = false;
	}
	return true;
}

/* Endings. */

static void set_timer(struct dn_http_connection *c, uint32_t ms)
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
static void kill_connection(struct dn_http_connection *c)
{
	struct dn_http *http = c->http;
	const struct timeval at_once = { 0, 0 };

	if (c->state == STATE_DEAD)
		return;
	if (c->state == STATE_HANDLING) {
		http->busy--;
		tell_left(c);
		tell_ended(c);
	}
	c->state = STATE_DEAD;
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
	clear_request(c);
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
	c->state = STATE_LINGER;
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	set_timer(c, LINGER_MS);
	(void)bufferevent_enable(c->bev, EV_READ);
	process(c);
}

static void flush(struct dn_http_connection *c)
{
	c->state = STATE_FLUSH;
	if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0)
		linger(c);
}

/* The answer is on its way: what comes next? */
static void next_request(struct dn_http_connection *c)
{
	const bool busy = c->state == STATE_HANDLING;

	c->left = NULL;
	if (busy)
		c->http->busy--;
	tell_ended(c);
	if (!c->keep_alive || c->http->draining || !c->complete) {
		flush(c);
		return;
	}
	clear_request(c);
	c->began = false;
	c->state = STATE_HEAD;
	unlink_connection(c);
	append_connection(c);
	set_timer(c, c->http->limits.idle_ms);
	/* Not from here: whoever answered may be deep in calls of this connection. */
	if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
		bufferevent_trigger(c->bev, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
}

/* Answers. */

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

bool dn_http_answered(const struct dn_http_connection *c)
{
	return c->answered || c->state == STATE_DEAD;
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
	if (length >= 0)
		(void)evbuffer_add_printf(out, "Content-Length: %lld\r\n", length);
	else if (c->chunked)
		(void)evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
	(void)evbuffer_add_printf(out,
				  "%sX-Request-Id: %s\r\nX-Content-Type-Options: nosniff\r\n"
				  "Cache-Control: no-store\r\nConnection: %s\r\n\r\n",
				  c->extra.data ? c->extra.data : "", c->request.id,
				  c->keep_alive ? "keep-alive" : "close");
}

void dn_http_reply(struct dn_http_connection *c, int status, const char *type, const void *body,
		   size_t size)
{
	const bool head_only = c->request.method && strcmp(c->request.method, "HEAD") == 0;

	if (dn_http_answered(c))
		return;
	send_head(c, status, type, (long long)size);
	if (size > 0 && !head_only)
		(void)evbuffer_add(bufferevent_get_output(c->bev), body, size);
	c->sent = size;
	next_request(c);
}

void dn_http_begin(struct dn_http_connection *c, int status, const char *type)
{
	const int one = 1;

	if (dn_http_answered(c))
		return;
	(void)setsockopt(bufferevent_getfd(c->bev), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	send_head(c, status, type, -1);
}

bool dn_http_write(struct dn_http_connection *c, const void *data, size_t size)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	if (c->state == STATE_DEAD)
		return false;
	if (size == 0)
		return true;
	if (c->chunked)
		(void)evbuffer_add_printf(out, "%zx\r\n", size);
	(void)evbuffer_add(out, data, size);
	if (c->chunked)
		(void)evbuffer_add(out, "\r\n", 2);
	c->sent += size;
	if (evbuffer_get_length(out) <= c->http->limits.unsent_bytes)
		return true;
	kill_connection(c);
	return false;
}

void dn_http_end(struct dn_http_connection *c)
{
	if (c->state == STATE_DEAD)
		return;
	if (c->chunked)
		(void)evbuffer_add(bufferevent_get_output(c->bev), "0\r\n\r\n", 5);
	next_request(c);
}

void dn_http_abort(struct dn_http_connection *c)
{
	if (c->state == STATE_DEAD)
		return;
	/* Without a last chunk, or before the announced length. */
	c->keep_alive = false;
	next_request(c);
}

/* A request that was none: says so, and closes. */
static void refuse(struct dn_http_connection *c, int status, const char *message)
{
	struct dn_http *http = c->http;
	DN_AUTO_FREE char *body = NULL;

	c->keep_alive = false;
	c->complete = false;
	if (!c->request.method)
		c->request.method = "-";
	if (http->handlers.fault)
		body = http->handlers.fault(http->handlers.context, status, message);
	if (c->state != STATE_HANDLING)
		http->busy++;
	c->state = STATE_HANDLING;
	dn_http_reply(c, status, body ? "application/json" : NULL, body, body ? strlen(body) : 0);
}

/* Bytes in. */

static void name_request(struct dn_http_request *request)
{
	uint64_t number = 0;

	(void)!getrandom(&number, sizeof(number), 0);
	(void)snprintf(request->id, sizeof(request->id), "req_%016llx", (unsigned long long)number);
}

static void lower(char *text)
{
	for (; text && *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text - 'A' + 'a');
}

static void refuse_parsed(struct dn_http_connection *c)
{
	const enum http_errno code = HTTP_PARSER_ERRNO(&c->parser);
	char message[128];

	if (c->fault && c->state == STATE_BODY)
		refuse(c, 413, "the body is larger than this server takes");
	else if (c->fault)
		refuse(c, 431, "the head has too many fields, or too long ones");
	else {
		(void)snprintf(message, sizeof(message), "not HTTP/1.1: %s",
			       http_errno_description(code));
		refuse(c, 400, message);
	}
}

/* Whether the head is one that this server goes on with. */
static bool good_head(struct dn_http_connection *c)
{
	struct dn_http_request *request = &c->request;
	const http_parser *parser = &c->parser;
	const bool has_length = parser->content_length != UINT64_MAX;
	char *query;

	for (size_t i = 0; i < request->n_headers; i++) {
		lower(request->headers[i].name);
		if (!request->headers[i].value && !extend(&request->headers[i].value, "", 0)) {
			refuse(c, 503, "out of memory");
			return false;
		}
	}
	request->method = http_method_str((enum http_method)parser->method);
	if (parser->http_major != 1) {
		refuse(c, 505, "HTTP/1.1 or 1.0, please");
		return false;
	}
	if (!request->path || request->path[0] != '/') {
		refuse(c, 400, "the target is no path");
		return false;
	}
	query = strpbrk(request->path, "?#");
	if (query)
		*query = '\0';
	if (parser->upgrade && !c->complete) {
		refuse(c, 400, "nothing to upgrade to");
		return false;
	}
	if (dn_http_header_count(request, "transfer-encoding") > 0 &&
	    (dn_http_header_count(request, "transfer-encoding") > 1 ||
	     dn_http_header_count(request, "content-length") > 0 || parser->http_minor == 0 ||
	     strcasecmp(dn_http_header(request, "transfer-encoding"), "chunked") != 0)) {
		refuse(c, 400, "a body is either 'chunked' or of a Content-Length");
		return false;
	}
	if (dn_http_header_count(request, "content-length") > 1 ||
	    dn_http_header_count(request, "host") > 1) {
		refuse(c, 400, "two fields of a name of which there is one");
		return false;
	}
	if (has_length && !c->complete && parser->content_length > c->http->limits.body_bytes) {
		refuse(c, 413, "the body is larger than this server takes");
		return false;
	}
	return true;
}

static void handle(struct dn_http_connection *c)
{
	if (c->state != STATE_HANDLING)
		c->http->busy++;
	c->state = STATE_HANDLING;
	(void)evtimer_del(c->timer);
	c->http->handlers.handle(c->http->handlers.context, c);
}

static void take_head(struct dn_http_connection *c, size_t size)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const char *head = (const char *)evbuffer_pullup(in, (ev_ssize_t)size);
	const char *expect;
	size_t n;

	name_request(&c->request);
	c->request.peer = c->peer;
	c->request.local = c->local;
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	if (!head || !is_strict(head, size)) {
		(void)evbuffer_drain(in, size);
		refuse(c, 400,
		       "not HTTP/1.1: lines end with CR and LF, two spaces are in the first, and "
		       "none in a name");
		return;
	}
	n = http_parser_execute(&c->parser, &settings, head, size);
	(void)evbuffer_drain(in, size);
	if (n != size && !c->complete) {
		refuse_parsed(c);
		return;
	}
	c->keep_alive = http_should_keep_alive(&c->parser) && !c->parser.upgrade;
	if (!good_head(c))
		return;
	c->state = STATE_BODY;
	c->body_chunked = dn_http_header(&c->request, "transfer-encoding") != NULL;
	if (c->http->handlers.check)
		c->http->handlers.check(c->http->handlers.context, c);
	if (dn_http_answered(c) || c->state != STATE_BODY)
		return;
	if (c->complete) {
		handle(c);
		return;
	}
	set_timer(c, c->http->limits.body_ms);
	expect = dn_http_header(&c->request, "expect");
	if (expect && strcasecmp(expect, "100-continue") == 0)
		(void)bufferevent_write(c->bev, go_on, sizeof(go_on) - 1);
}

/* Return: whether there is more to do. */
static bool process_head(struct dn_http_connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const size_t size = evbuffer_get_length(in);
	struct evbuffer_ptr from;
	struct evbuffer_ptr end;
	char first[2];

	if (size == 0)
		return false;
	/* An empty line before a request is to be passed over (RFC 9112, 2.2). */
	if (!c->began && size >= 2 && evbuffer_copyout(in, first, 2) == 2 && first[0] == '\r' &&
	    first[1] == '\n') {
		c->began = true;
		(void)evbuffer_drain(in, 2);
		return true;
	}
	if (c->request.begun_ns == 0) {
		c->request.begun_ns = now_ns();
		set_timer(c, c->http->limits.head_ms);
	}
	c->began = true;
	if (evbuffer_ptr_set(in, &from, c->searched, EVBUFFER_PTR_SET) < 0)
		return false;
	end = evbuffer_search(in, "\r\n\r\n", 4, &from);
	if (end.pos < 0 && size <= DN_HTTP_HEAD_MAX) {
		c->searched = size > 3 ? size - 3 : 0;
		return false;
	}
	if (end.pos < 0 || (size_t)end.pos + 4 > DN_HTTP_HEAD_MAX) {
		refuse(c, 431, "the head is longer than 16 KiB");
		return false;
	}
	take_head(c, (size_t)end.pos + 4);
	return true;
}

/* Return: whether it was taken. */
static bool take_chunks(struct dn_http_connection *c, const char *data, size_t size)
{
	size_t at = 0;

	while (at < size && !c->complete) {
		const char *piece;
		size_t piece_size;
		const ssize_t n = dn_chunks_take(&c->chunks, data + at, size - at,
						 c->http->limits.body_bytes, &piece, &piece_size);

		if (n == -EBADMSG) {
			refuse(c, 400, "the body is not 'chunked' as RFC 9112 has it");
			return false;
		}
		if (n < 0 || (piece_size > 0 && on_body(&c->parser, piece, piece_size) != 0)) {
			refuse(c, 413, "the body is larger than this server takes");
			return false;
		}
		at += (size_t)n;
		c->complete = c->chunks.state == DN_CHUNKS_DONE;
	}
	(void)evbuffer_drain(bufferevent_get_input(c->bev), at);
	if (c->complete)
		handle(c);
	return true;
}

static bool process_body(struct dn_http_connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	const size_t size = evbuffer_get_contiguous_space(in);
	const char *data = (const char *)evbuffer_pullup(in, (ev_ssize_t)size);
	size_t n;

	if (size == 0)
		return false;
	if (c->body_chunked)
		return take_chunks(c, data, size);
	n = http_parser_execute(&c->parser, &settings, data, size);
	(void)evbuffer_drain(in, n);
	if (c->complete)
		handle(c);
	else if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK)
		refuse_parsed(c);
	return true;
}

static void process(struct dn_http_connection *c)
{
	bool more = true;

	while (more) {
		struct evbuffer *in = bufferevent_get_input(c->bev);

		switch (c->state) {
		case STATE_HEAD:
			more = process_head(c);
			break;
		case STATE_BODY:
			more = process_body(c);
			break;
		case STATE_LINGER:
			c->lingered += evbuffer_get_length(in);
			(void)evbuffer_drain(in, evbuffer_get_length(in));
			if (c->lingered > LINGER_BYTES)
				kill_connection(c);
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
	if (c->state == STATE_FLUSH)
		linger(c);
}

static void on_event(struct bufferevent *bev, short what, void *data)
{
	struct dn_http_connection *c = data;

	(void)bev;
	/* The end of what it sends is none of what it reads: on_closed() is who decides. */
	if ((what & BEV_EVENT_EOF) && c->state == STATE_FLUSH)
		return;
	kill_connection(c);
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
	if (c->state != STATE_FLUSH)
		kill_connection(c);
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
	struct dn_http_connection *c = data;

	(void)fd;
	(void)what;
	if ((c->state == STATE_HEAD && c->began) || c->state == STATE_BODY)
		refuse(c, 408, "the request took too long to come");
	else
		kill_connection(c);
}

/* Connections. */

/* FNV-1a: no secret, only a number for an address. */
static uint64_t number_of(const void *bytes, size_t size)
{
	uint64_t number = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		number = (number ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
	return number ? number : 1;
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

	c->peer = 1;
	c->local = true;
	if (getpeername(fd, &address.any, &size) < 0)
		return;
	if (address.any.sa_family == AF_INET) {
		c->peer = number_of(&address.four.sin_addr, sizeof(address.four.sin_addr));
		c->local = false;
	} else if (address.any.sa_family == AF_INET6) {
		c->peer = number_of(&address.six.sin6_addr, 8);
		c->local = false;
	}
}

/* The one that has been idle for longest. */
static bool make_place(struct dn_http *http)
{
	for (struct dn_http_connection *c = http->first; c; c = c->after)
		if (c->state == STATE_HEAD || c->state == STATE_LINGER) {
			kill_connection(c);
			return true;
		}
	return false;
}

int dn_http_accept(struct dn_http *http, int fd)
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
	c->bev = bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE);
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
	bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, READ_AHEAD);
	(void)bufferevent_set_timeouts(c->bev, NULL, &write);
	(void)event_add(c->closed, NULL);
	set_timer(c, http->limits.idle_ms);
	(void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	return 0;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
		      int size, void *data)
{
	(void)listener;
	(void)address;
	(void)size;
	(void)!dn_http_accept(data, fd);
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
	http_parser_set_max_header_size((uint32_t)DN_HTTP_HEAD_MAX);
	return http;
}

int dn_http_listen(struct dn_http *http, int fd)
{
	struct evconnlistener *listener;

	if (http->n_listeners == LISTENERS_MAX) {
		close(fd);
		return -E2BIG;
	}
	listener = evconnlistener_new(http->base, on_accept, http,
				      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	http->listeners[http->n_listeners++] = listener;
	return 0;
}

static void stop_listening(struct dn_http *http)
{
	while (http->n_listeners > 0)
		evconnlistener_free(http->listeners[--http->n_listeners]);
}

void dn_http_drain(struct dn_http *http)
{
	struct dn_http_connection *c = http->first;

	http->draining = true;
	stop_listening(http);
	while (c) {
		struct dn_http_connection *after = c->after;

		if (c->state == STATE_HEAD && !c->began)
			kill_connection(c);
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
		kill_connection(http->first);
	reap(-1, 0, http);
	event_free(http->reaper);
	free(http);
}
