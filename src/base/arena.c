/* SPDX-License-Identifier: MIT */

#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define ARENA_ALIGN	16
#define ARENA_FIRST	((size_t)16 << 10)
#define ARENA_CHUNK_MAX ((size_t)1 << 20)

struct dn_arena_chunk {
	struct dn_arena_chunk *next;
	size_t used;
	size_t size;
	size_t unused; /* keeps the data behind aligned to 16 */
};

static char *chunk_data(struct dn_arena_chunk *chunk)
{
	return (char *)(chunk + 1);
}

/* Chunks double up to a megabyte, so that a small rendering stays small. */
static struct dn_arena_chunk *chunk_add(struct dn_arena *arena, size_t need)
{
	size_t size = arena->chunk ? DN_MIN(arena->chunk->size * 2, ARENA_CHUNK_MAX) : ARENA_FIRST;
	struct dn_arena_chunk *chunk;

	size = DN_MAX(size, need);
	size = DN_MIN(size, arena->max - arena->total);
	if (size < need) {
		arena->full = true;
		return NULL;
	}
	chunk = malloc(sizeof(*chunk) + size);
	if (!chunk)
		return NULL;
	chunk->used = 0;
	chunk->size = size;
	arena->total += size;
	/* A chunk for one large thing goes behind the one that still has room. */
	if (arena->chunk && size == need &&
	    arena->chunk->size - arena->chunk->used > ARENA_FIRST / 4) {
		chunk->next = arena->chunk->next;
		arena->chunk->next = chunk;
	} else {
		chunk->next = arena->chunk;
		arena->chunk = chunk;
	}
	return chunk;
}

void *dn_arena_alloc(struct dn_arena *arena, size_t size)
{
	struct dn_arena_chunk *chunk = arena->chunk;
	void *data;

	if (size > SIZE_MAX / 2) {
		arena->full = true;
		return NULL;
	}
	size = DN_ROUND_UP(DN_MAX(size, (size_t)1), ARENA_ALIGN);
	if (!chunk || chunk->size - chunk->used < size) {
		chunk = chunk_add(arena, size);
		if (!chunk)
			return NULL;
	}
	data = chunk_data(chunk) + chunk->used;
	chunk->used += size;
	return data;
}

void *dn_arena_zalloc(struct dn_arena *arena, size_t count, size_t size)
{
	size_t bytes;
	void *data;

	if (!dn_mul_ok(count, size, &bytes)) {
		arena->full = true;
		return NULL;
	}
	data = dn_arena_alloc(arena, bytes);
	if (data)
		memset(data, 0, bytes);
	return data;
}

void *dn_arena_grow(struct dn_arena *arena, void *old, size_t old_size, size_t new_size)
{
	struct dn_arena_chunk *chunk = arena->chunk;
	size_t held = DN_ROUND_UP(DN_MAX(old_size, (size_t)1), ARENA_ALIGN);
	void *data;

	if (old && new_size <= held)
		return old;
	if (old && chunk && new_size <= chunk->size &&
	    (char *)old + held == chunk_data(chunk) + chunk->used) {
		size_t more = DN_ROUND_UP(new_size, ARENA_ALIGN) - held;

		if (more <= chunk->size - chunk->used) {
			chunk->used += more;
			return old;
		}
	}
	data = dn_arena_alloc(arena, new_size);
	if (data && old && old_size > 0)
		memcpy(data, old, old_size);
	return data;
}

void dn_arena_done(struct dn_arena *arena)
{
	struct dn_arena_chunk *chunk = arena->chunk;

	while (chunk) {
		struct dn_arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	arena->chunk = NULL;
	arena->total = 0;
	arena->full = false;
}
