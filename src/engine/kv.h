/* SPDX-License-Identifier: MIT */
/*
 * The KV cache: blocks of 32 tokens from a pool sized once, counted by reference.
 *
 * A block holds the keys and values of its tokens for every layer and KV head, keys as columns
 * (so that a vector lane is a token) and values as rows. Sequences share whole blocks; who writes
 * into a shared block copies it first. Layers that keep only a window, or a recurrent state with
 * checkpoints, will have a pool of their own beside this one, under the same sequence.
 */
#ifndef DUNLIN_ENGINE_KV_H
#define DUNLIN_ENGINE_KV_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/arch/arch.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_kv - the pool
 * @element: bytes of one
 * @head_bytes: of a head's keys or values in a block: both have this much room
 * @block_bytes: of a block
 * @references: of each block
 * @free_blocks: a stack of @n_free ids
 */
struct dn_kv {
	bool half;
	uint32_t n_kv_heads;
	uint32_t head_dim;
	uint32_t padded_dim;
	size_t element;
	size_t head_bytes;
	size_t block_bytes;
	uint32_t n_blocks;
	uint32_t n_free;
	uint8_t *memory;
	uint32_t *references;
	uint32_t *free_blocks;
};

/**
 * struct dn_sequence - see dunlin/model.h
 * @blocks: addresses, as attention wants them; @n_blocks in use
 */
struct dn_sequence {
	struct dn_context *context;
	uint32_t length;
	uint32_t n_blocks;
	uint8_t **blocks;
	uint64_t step; /* the last step it was part of */
};

/* Bytes of a block for a model. */
uint64_t dn_kv_block_bytes(const struct dn_hparams *hparams, enum dn_kv_type type);

DN_MUST_CHECK int dn_kv_init(struct dn_kv *kv, const struct dn_hparams *hparams,
			     enum dn_kv_type type, uint32_t n_blocks, struct dn_error *err);
void dn_kv_done(struct dn_kv *kv);

/* Byte offset of a head's keys in a block; its values lie @kv->head_bytes behind. */
static inline size_t dn_kv_offset(const struct dn_kv *kv, uint32_t layer, uint32_t head)
{
	return ((size_t)layer * kv->n_kv_heads + head) * 2 * kv->head_bytes;
}

/* Free blocks that a sequence takes to grow by @n tokens, a copy of a shared last one included. */
uint32_t dn_kv_blocks_to_grow(const struct dn_kv *kv, const struct dn_sequence *sequence,
			      uint32_t n);
/* Makes room for @n more tokens; as many blocks as dn_kv_blocks_to_grow() said must be free. */
void dn_kv_grow(struct dn_kv *kv, struct dn_sequence *sequence, uint32_t n);

#endif /* DUNLIN_ENGINE_KV_H */
