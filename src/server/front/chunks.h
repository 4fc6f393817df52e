/* SPDX-License-Identifier: MIT */
/*
 * A chunked body (RFC 9112, 7.1), strictly: line ends are CR and LF, each chunk ends with them, and
 * what another server between could read in another way is refused. http-parser, as distributions
 * build it, forgives all of that.
 */
#ifndef DUNLIN_SERVER_FRONT_CHUNKS_H
#define DUNLIN_SERVER_FRONT_CHUNKS_H

/* IWYU pragma: begin_exports */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/* Bytes of all extensions and trailers of a body together, none of which are kept. */
#define DN_CHUNKS_EXTRA_MAX 4096U

enum dn_chunks_state {
	DN_CHUNKS_SIZE_FIRST = 0,
	DN_CHUNKS_SIZE,
	DN_CHUNKS_EXTENSION,
	DN_CHUNKS_SIZE_END,
	DN_CHUNKS_DATA,
	DN_CHUNKS_DATA_CR,
	DN_CHUNKS_DATA_END,
	DN_CHUNKS_TRAILER_FIRST,
	DN_CHUNKS_TRAILER_NAME,
	DN_CHUNKS_TRAILER_VALUE,
	DN_CHUNKS_TRAILER_END,
	DN_CHUNKS_LAST_END,
	DN_CHUNKS_DONE,
};

/* Zeroes are its beginning. */
struct dn_chunks {
	enum dn_chunks_state state;
	uint32_t digits;
	uint32_t extra;
	uint64_t left; /* of a chunk */
};

/**
 * dn_chunks_take() - the next bytes of a body, up to the end of a piece of its data
 * @most: bytes that a chunk may have
 * @ret_piece: data in @bytes, of @ret_size bytes: none where these are 0
 *
 * Return: how many bytes were taken, all of them unless there is a piece or the body is done;
 * -EBADMSG for what is no such body, -E2BIG for a chunk of more than @most.
 */
DN_MUST_CHECK ssize_t dn_chunks_take(struct dn_chunks *chunks, const char *bytes, size_t n,
				     uint64_t most, const char **ret_piece, size_t *ret_size);

#endif /* DUNLIN_SERVER_FRONT_CHUNKS_H */
