/* SPDX-License-Identifier: MIT */
/* Blocks of memory of one size from a pool mapped once, counted by reference. */
#ifndef DUNLIN_ENGINE_BLOCK_POOL_H
#define DUNLIN_ENGINE_BLOCK_POOL_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_block_pool - see above
 * @block_bytes: of a block; 0: nobody needs any
 * @references: of each block
 * @free_blocks: a stack of @n_free numbers
 */
struct dn_block_pool {
	size_t block_bytes;
	uint32_t n_blocks;
	uint32_t n_free;
	uint8_t *memory;
	uint32_t *references;
	uint32_t *free_blocks;
};

/* @what: for the message. Pages are zero, and not there before they are used. */
DN_MUST_CHECK int dn_block_pool_init(struct dn_block_pool *pool, size_t block_bytes,
				     uint32_t n_blocks, const char *what, struct dn_error *err);
void dn_block_pool_done(struct dn_block_pool *pool);

/* One that is free, with one reference: there must be one. */
uint8_t *dn_block_take(struct dn_block_pool *pool);
uint8_t *dn_block_ref(struct dn_block_pool *pool, uint8_t *block);
/* NULL is a no-op. */
void dn_block_drop(struct dn_block_pool *pool, const uint8_t *block);
bool dn_block_is_shared(const struct dn_block_pool *pool, const uint8_t *block);
/* Makes *@block one's own: a shared one is copied into one that must be free. */
void dn_block_own(struct dn_block_pool *pool, uint8_t **block);

#endif /* DUNLIN_ENGINE_BLOCK_POOL_H */
