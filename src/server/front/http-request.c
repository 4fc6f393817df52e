/* SPDX-License-Identifier: MIT */
/* Heads of requests: http-parser takes them apart, and what it forgives is refused. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "server/front/http-internal.h"

void dn_http_clear_request(struct dn_http_connection *c)
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
	c->complete = c->answered = c->chunked = c->chunks = c->fault = c->value_last = false;
	c->may_cache = false;
	c->searched = c->trailer_bytes = 0;
	c->chunk = DN_CHUNK_SIZE;
	c->body_left = 0;
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

/* Bodies are http-body.c's: for the parser there is none. */
static int on_headers_complete(http_parser *parser)
{
	(void)parser;
	return 1;
}

static int on_message_complete(http_parser *parser)
{
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
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

static bool refused(struct dn_http_connection *c, int status, const char *message)
{
	dn_http_refuse(c, status, message);
	return false;
}

/* "http://host/path" becomes "/path"; the host, which goes before 'Host', has to be the same. */
static bool cut_host(struct dn_http_connection *c)
{
	const char *host = dn_http_header(&c->request, "host");
	char *path = c->request.path;
	size_t size;

	if (!path || strncasecmp(path, "http://", 7) != 0)
		return true;
	path += 7;
	size = strcspn(path, "/?#");
	if (!host || strlen(host) != size || strncasecmp(path, host, size) != 0)
		return refused(c, 400, "the target is of another server than 'Host'");
	if (path[size] == '/')
		memmove(c->request.path, path + size, strlen(path + size) + 1);
	else
		memcpy(c->request.path, "/", 2);
	return true;
}

/* The query goes, and %xx are decoded. */
static bool read_path(struct dn_http_connection *c)
{
	char *path = c->request.path;
	char *query;
	char *to;

	if (!cut_host(c))
		return false;
	query = path ? strpbrk(path, "?#") : NULL;
	if (query)
		*query = '\0';
	if (!path || path[0] != '/')
		return refused(c, 400, "the target is no path");
	to = path;
	for (const char *from = path; *from; from++) {
		char digits[3] = "";
		char *end = digits;
		long value = (unsigned char)*from;

		if (*from == '%') {
			memcpy(digits, from + 1, strnlen(from + 1, 2));
			value = strtol(digits, &end, 16);
			if (end != digits + 2 || value == 0 || digits[0] == '+' || digits[0] == '-')
				return refused(c, 400, "the target has a '%' that is none");
			from += 2;
		}
		*to++ = (char)value;
	}
	*to = '\0';
	return true;
}

static bool check_framing(struct dn_http_connection *c)
{
	const struct dn_http_request *request = &c->request;
	const size_t encodings = dn_http_header_count(request, "transfer-encoding");
	const bool has_length = c->parser.content_length != UINT64_MAX;

	if (dn_http_header_count(request, "content-length") > 1 ||
	    dn_http_header_count(request, "host") > 1)
		return refused(c, 400, "two fields of a name of which there is one");
	if (encodings > 0 &&
	    (encodings > 1 || has_length || dn_http_header(request, "content-length") ||
	     c->parser.http_minor == 0 ||
	     strcasecmp(dn_http_header(request, "transfer-encoding"), "chunked") != 0))
		return refused(c, 400, "a body is either 'chunked' or of a Content-Length");
	c->chunks = encodings > 0;
	c->body_left = has_length ? c->parser.content_length : 0;
	c->complete = !c->chunks && c->body_left == 0;
	if (!c->chunks && c->body_left > c->http->limits.body_bytes)
		return refused(c, 413, "the body is larger than this server takes");
	return true;
}

/* Whether the head is one that this server goes on with. */
static bool good_head(struct dn_http_connection *c)
{
	struct dn_http_request *request = &c->request;
	const http_parser *parser = &c->parser;

	for (size_t i = 0; i < request->n_headers; i++) {
		lower(request->headers[i].name);
		if (!request->headers[i].value && !extend(&request->headers[i].value, "", 0))
			return refused(c, 503, "out of memory");
	}
	request->method = http_method_str((enum http_method)parser->method);
	if (!read_path(c))
		return false;
	if (parser->http_major != 1)
		return refused(c, 505, "HTTP/1.1 or 1.0, please");
	if (parser->http_minor >= 1 && !dn_http_header(request, "host"))
		return refused(c, 400, "the request has no 'Host'");
	return check_framing(c);
}

void dn_http_take_head(struct dn_http_connection *c, const char *head, size_t size)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const char *expect;
	enum http_errno code;
	char message[128];

	name_request(&c->request);
	c->request.peer = c->peer;
	c->request.address = c->address;
	c->request.subject = c->subject;
	c->request.local = c->local;
	c->request.secure = c->ssl != NULL;
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
	if (!is_strict(head, size)) {
		dn_http_refuse(c, 400,
			       "not HTTP/1.1: lines end with CR and LF, and no name with a space");
		return;
	}
	(void)http_parser_execute(&c->parser, &settings, head, size);
	code = HTTP_PARSER_ERRNO(&c->parser);
	if (c->fault) {
		dn_http_refuse(c, 431, "the head has too many fields, or too long ones");
		return;
	}
	if (code != HPE_PAUSED && !(code == HPE_OK && c->parser.upgrade)) {
		(void)snprintf(message, sizeof(message), "not HTTP/1.1: %s",
			       http_errno_description(code));
		dn_http_refuse(c, 400, message);
		return;
	}
	/* Nothing is upgraded to (RFC 9110, 7.8, lets us); a client that asks gets no second request. */
	http_parser_pause(&c->parser, 0);
	c->keep_alive = http_should_keep_alive(&c->parser) && !c->parser.upgrade;
	if (!good_head(c))
		return;
	c->state = DN_HTTP_BODY;
	if (c->http->handlers.check)
		c->http->handlers.check(c->http->handlers.context, c);
	expect = dn_http_header(&c->request, "expect");
	if (c->state == DN_HTTP_BODY && !dn_http_answered(c) && !c->complete && expect &&
	    strcasecmp(expect, "100-continue") == 0)
		(void)bufferevent_write(c->bev, go_on, sizeof(go_on) - 1);
}
