/* SPDX-License-Identifier: MIT */

#include "engine/block-pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int dn_block_pool_init(struct dn_block_pool *pool, size_t block_bytes, uint32_t n_blocks,
		       const char *what, struct dn_error *err)
{
	/* Fits: the plan has checked it. */
	const size_t bytes = block_bytes * n_blocks;
	void *memory;

	*pool = (struct dn_block_pool){ .block_bytes = block_bytes };
	if (!bytes)
		return 0;
	pool->n_blocks = pool->n_free = n_blocks;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return dn_error_memory(err, what, bytes);
	/* A long context is read all over at each token; a kernel without them does without. */
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	pool->memory = memory;
	pool->references = calloc(n_blocks, sizeof(*pool->references));
	pool->free_blocks = calloc(n_blocks, sizeof(*pool->free_blocks));
	if (!pool->references || !pool->free_blocks)
		return dn_error_memory(err, what, n_blocks * sizeof(*pool->free_blocks));
	/* The lowest addresses are taken first: a short answer touches little memory. */
	for (uint32_t i = 0; i < n_blocks; i++)
		pool->free_blocks[i] = n_blocks - 1 - i;
	return 0;
}

void dn_block_pool_done(struct dn_block_pool *pool)
{
	if (pool->memory)
		(void)munmap(pool->memory, pool->block_bytes * pool->n_blocks);
	free(pool->references);
	free(pool->free_blocks);
	*pool = (struct dn_block_pool){ 0 };
}

static uint32_t number(const struct dn_block_pool *pool, const uint8_t *block)
{
	return (uint32_t)((size_t)(block - pool->memory) / pool->block_bytes);
}

uint8_t *dn_block_take(struct dn_block_pool *pool)
{
	uint32_t i = pool->free_blocks[--pool->n_free];

	pool->references[i] = 1;
	return pool->memory + i * pool->block_bytes;
}

uint8_t *dn_block_ref(struct dn_block_pool *pool, uint8_t *block)
{
	pool->references[number(pool, block)]++;
	return block;
}

void dn_block_drop(struct dn_block_pool *pool, const uint8_t *block)
{
	uint32_t i;

	if (!block)
		return;
	i = number(pool, block);
	if (--pool->references[i] == 0)
		pool->free_blocks[pool->n_free++] = i;
}

bool dn_block_is_shared(const struct dn_block_pool *pool, const uint8_t *block)
{
	return pool->references[number(pool, block)] > 1;
}

void dn_block_own(struct dn_block_pool *pool, uint8_t **block)
{
	uint8_t *own;

	if (!dn_block_is_shared(pool, *block))
		return;
	own = dn_block_take(pool);
	memcpy(own, *block, pool->block_bytes);
	dn_block_drop(pool, *block);
	*block = own;
}
