/* SPDX-License-Identifier: MIT */
/* A growing run of bytes that cannot grow past its maximum. */
#ifndef DUNLIN_BASE_BUFFER_H
#define DUNLIN_BASE_BUFFER_H

/* IWYU pragma: begin_exports */
#include <stddef.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_buffer - bytes that grow up to a limit
 * @data: owned; NUL-terminated once anything was appended, the NUL not counted; NULL before
 * @size: bytes in use
 * @capacity: bytes allocated
 * @max: what @size never exceeds
 */
struct dn_buffer {
	char *data;
	size_t size;
	size_t capacity;
	size_t max;
};

#define DN_BUFFER_INIT(limit) { .max = (limit) }

/* Each returns 0, -E2BIG where @max would be exceeded, or -ENOMEM; the content stays as it was. */
DN_MUST_CHECK int dn_buffer_reserve(struct dn_buffer *buffer, size_t more);
DN_MUST_CHECK int dn_buffer_append(struct dn_buffer *buffer, const void *data, size_t size);
DN_MUST_CHECK int dn_buffer_append_text(struct dn_buffer *buffer, const char *text);
DN_MUST_CHECK int dn_buffer_printf(struct dn_buffer *buffer, const char *format, ...)
	DN_PRINTF(2, 3);

/* Empties the buffer, keeping its memory. */
void dn_buffer_clear(struct dn_buffer *buffer);
/* Frees what the buffer owns; it can be used again. */
void dn_buffer_done(struct dn_buffer *buffer);
/* Hands the bytes to the caller, to be freed with free(); the buffer is empty after. */
char *dn_buffer_steal(struct dn_buffer *buffer);

#define DN_AUTO_BUFFER DN_AUTO(dn_buffer_done)

#endif /* DUNLIN_BASE_BUFFER_H */
