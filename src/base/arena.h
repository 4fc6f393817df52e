/* SPDX-License-Identifier: MIT */
/* Memory that is given out in pieces and freed at once, up to a maximum. */
#ifndef DUNLIN_BASE_ARENA_H
#define DUNLIN_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct dn_arena_chunk;

/**
 * struct dn_arena - a bump allocator over chunks
 * @chunk: the chunk that is being filled; NULL before the first allocation
 * @total: bytes of all chunks
 * @max: what @total never exceeds
 * @full: an allocation was refused because of @max (else malloc() refused it)
 *
 * For work whose values die together: a parse, a rendering. Not for threads that share it.
 */
struct dn_arena {
	struct dn_arena_chunk *chunk;
	size_t total;
	size_t max;
	bool full;
};

#define DN_ARENA_INIT(limit) { .max = (limit) }

/* @size bytes aligned to 16, not cleared; NULL at the maximum or when malloc() fails. */
void *dn_arena_alloc(struct dn_arena *arena, size_t size);
/* As dn_arena_alloc(), for @count things of @size bytes, all zero. */
void *dn_arena_zalloc(struct dn_arena *arena, size_t count, size_t size);

/**
 * dn_arena_grow() - make the last allocation larger, or move it
 * @old: what the arena gave, @old_size bytes of it; NULL when @old_size is 0
 *
 * Grows in place when nothing was allocated since and the chunk has room, so that an array that
 * is being filled is rarely copied. The old place stays valid until the arena is done.
 *
 * Return: @new_size bytes that begin with those of @old, or NULL with @old as it was.
 */
void *dn_arena_grow(struct dn_arena *arena, void *old, size_t old_size, size_t new_size);

/* Frees all; the arena can be used again. */
void dn_arena_done(struct dn_arena *arena);

#define DN_AUTO_ARENA DN_AUTO(dn_arena_done)

#endif /* DUNLIN_BASE_ARENA_H */
