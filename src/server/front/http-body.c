/* SPDX-License-Identifier: MIT */
/*
 * Bodies: of a known length, or chunked (RFC 9112, 7.1), every line end and digit of which must be
 * right: http-parser, as distributions build it, would read bodies that others read otherwise.
 */

#include <string.h>

#include "base/text.h"
#include "server/front/http-internal.h"

/* Digits of a chunk's size, and bytes of the trailer: nobody needs more. */
#define SIZE_DIGITS    8
#define EXTENSIONS_MAX 128
#define TRAILER_MAX    4096

static bool add(struct dn_http_connection *c, const char *data, size_t size)
{
	struct dn_http *http = c->http;

	if (c->request.body.size + size > http->limits.body_bytes) {
		dn_http_refuse(c, 413, "the body is larger than this server takes");
		return false;
	}
	if (http->bodies + size > http->limits.bodies_bytes ||
	    dn_buffer_append(&c->request.body, data, size) < 0) {
		dn_http_refuse(c, 503, "too many bodies at once: try again");
		return false;
	}
	http->bodies += size;
	return true;
}

static bool take_length(struct dn_http_connection *c, const char *data, size_t size,
			size_t *ret_used)
{
	const size_t own = (size_t)DN_MIN((uint64_t)size, c->body_left);

	*ret_used = own;
	if (!add(c, data, own))
		return false;
	c->body_left -= own;
	c->complete = c->body_left == 0;
	return true;
}

static bool bad_chunk(struct dn_http_connection *c)
{
	dn_http_refuse(c, 400, "the chunks of the body are none");
	return false;
}

/* @line: without its CR LF. */
static bool take_size(struct dn_http_connection *c, const char *line, size_t size)
{
	uint64_t value = 0;
	size_t digits = 0;

	while (digits < size && dn_hex_value(line[digits]) >= 0 && digits <= SIZE_DIGITS)
		value = value << 4 | (uint64_t)dn_hex_value(line[digits++]);
	if (digits == 0 || digits > SIZE_DIGITS || (digits < size && line[digits] != ';'))
		return bad_chunk(c);
	c->body_left = value;
	c->chunk = value > 0 ? DN_CHUNK_DATA : DN_CHUNK_TRAILER;
	return true;
}

static bool take_line(struct dn_http_connection *c, const char *line, size_t size)
{
	switch (c->chunk) {
	case DN_CHUNK_SIZE:
		return take_size(c, line, size);
	case DN_CHUNK_END:
		c->chunk = DN_CHUNK_SIZE;
		return size == 0 || bad_chunk(c);
	default:
		/* What a trailer says is passed over (RFC 9110, 6.5.1). */
		c->trailer_bytes += size;
		if (c->trailer_bytes > TRAILER_MAX || (size > 0 && (*line == ' ' || *line == '\t')))
			return bad_chunk(c);
		c->complete = size == 0;
		return true;
	}
}

/* A line that ends in CR LF, or none yet. Return: false where it is refused. */
static bool take_chunk_line(struct dn_http_connection *c, const char *data, size_t size,
			    size_t *ret_used)
{
	const size_t most =
		c->chunk == DN_CHUNK_TRAILER ? TRAILER_MAX : SIZE_DIGITS + EXTENSIONS_MAX;
	const char *end = memchr(data, '\n', size);
	const size_t length = end ? (size_t)(end - data) : size;

	*ret_used = 0;
	/* CR belongs before LF and nowhere else. */
	if (length > most || memchr(data, '\0', length) ||
	    (end && (length == 0 || data[length - 1] != '\r')) ||
	    (length > 1 && memchr(data, '\r', length - 1)))
		return bad_chunk(c);
	if (!end)
		return true;
	*ret_used = length + 1;
	return take_line(c, data, length - 1);
}

bool dn_http_take_body(struct dn_http_connection *c, const char *data, size_t size,
		       size_t *ret_used)
{
	size_t at = 0;

	*ret_used = 0;
	if (!c->chunks)
		return take_length(c, data, size, ret_used);
	while (at < size && !c->complete) {
		size_t used = 0;

		if (c->chunk == DN_CHUNK_DATA) {
			used = (size_t)DN_MIN((uint64_t)(size - at), c->body_left);
			if (!add(c, data + at, used))
				return false;
			c->body_left -= used;
			if (c->body_left == 0)
				c->chunk = DN_CHUNK_END;
		} else if (!take_chunk_line(c, data + at, size - at, &used)) {
			return false;
		}
		if (used == 0)
			break;
		at += used;
	}
	*ret_used = at;
	return true;
}
