/* SPDX-License-Identifier: MIT */

#include "server/front/chunks.h"

#include <errno.h>

#define DIGITS_MAX 16U

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static int go(struct dn_chunks *chunks, bool allowed, enum dn_chunks_state next)
{
	if (!allowed)
		return -EBADMSG;
	chunks->state = next;
	return 0;
}

static int take_size(struct dn_chunks *chunks, char c, uint64_t most)
{
	const int value = hex_value(c);

	if (value >= 0) {
		if (chunks->digits++ == DIGITS_MAX)
			return -EBADMSG;
		chunks->left = chunks->left << 4 | (uint64_t)value;
		chunks->state = DN_CHUNKS_SIZE;
		return chunks->left > most ? -E2BIG : 0;
	}
	if (chunks->state == DN_CHUNKS_SIZE_FIRST)
		return -EBADMSG;
	return c == ';' ? go(chunks, true, DN_CHUNKS_EXTENSION)
			: go(chunks, c == '\r', DN_CHUNKS_SIZE_END);
}

/* Of what is not kept: an extension up to the end of its line, or the name or value of a field. */
static int take_extra(struct dn_chunks *chunks, char c, enum dn_chunks_state end)
{
	if (c == '\r' && end != DN_CHUNKS_TRAILER_VALUE)
		return go(chunks, true, end);
	if (c == ':' && end == DN_CHUNKS_TRAILER_VALUE)
		return go(chunks, chunks->state == DN_CHUNKS_TRAILER_NAME, end);
	if (is_control(c) || (end == DN_CHUNKS_TRAILER_VALUE && (c == ' ' || c == '\t')) ||
	    chunks->extra++ == DN_CHUNKS_EXTRA_MAX)
		return -EBADMSG;
	if (chunks->state == DN_CHUNKS_TRAILER_FIRST)
		chunks->state = DN_CHUNKS_TRAILER_NAME;
	return 0;
}

/* A byte that is no data. */
static int take_byte(struct dn_chunks *chunks, char c, uint64_t most)
{
	switch (chunks->state) {
	case DN_CHUNKS_SIZE_FIRST:
		chunks->digits = 0;
		chunks->left = 0;
		return take_size(chunks, c, most);
	case DN_CHUNKS_SIZE:
		return take_size(chunks, c, most);
	case DN_CHUNKS_EXTENSION:
		return take_extra(chunks, c, DN_CHUNKS_SIZE_END);
	case DN_CHUNKS_SIZE_END:
		return go(chunks, c == '\n',
			  chunks->left > 0 ? DN_CHUNKS_DATA : DN_CHUNKS_TRAILER_FIRST);
	case DN_CHUNKS_DATA_CR:
		return go(chunks, c == '\r', DN_CHUNKS_DATA_END);
	case DN_CHUNKS_DATA_END:
		return go(chunks, c == '\n', DN_CHUNKS_SIZE_FIRST);
	case DN_CHUNKS_TRAILER_FIRST:
		return c == '\r' ? go(chunks, true, DN_CHUNKS_LAST_END)
				 : take_extra(chunks, c, DN_CHUNKS_TRAILER_VALUE);
	case DN_CHUNKS_TRAILER_NAME:
		return take_extra(chunks, c, DN_CHUNKS_TRAILER_VALUE);
	case DN_CHUNKS_TRAILER_VALUE:
		return take_extra(chunks, c, DN_CHUNKS_TRAILER_END);
	case DN_CHUNKS_TRAILER_END:
		return go(chunks, c == '\n', DN_CHUNKS_TRAILER_FIRST);
	case DN_CHUNKS_LAST_END:
		return go(chunks, c == '\n', DN_CHUNKS_DONE);
	default:
		return -EBADMSG;
	}
}

ssize_t dn_chunks_take(struct dn_chunks *chunks, const char *bytes, size_t n, uint64_t most,
		       const char **ret_piece, size_t *ret_size)
{
	size_t at = 0;

	*ret_piece = bytes;
	*ret_size = 0;
	while (at < n && chunks->state != DN_CHUNKS_DONE) {
		int r;

		if (chunks->state == DN_CHUNKS_DATA) {
			*ret_piece = bytes + at;
			*ret_size = (size_t)DN_MIN((uint64_t)(n - at), chunks->left);
			chunks->left -= *ret_size;
			if (chunks->left == 0)
				chunks->state = DN_CHUNKS_DATA_CR;
			return (ssize_t)(at + *ret_size);
		}
		r = take_byte(chunks, bytes[at++], most);
		if (r < 0)
			return r;
	}
	return (ssize_t)at;
}
