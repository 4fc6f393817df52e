/* SPDX-License-Identifier: MIT */
/*
 * What a sequence remembers: keys and values of attention, in blocks of 32 tokens, and the state
 * of recurrent layers.
 *
 * There are three pools. A block of the first holds a token range's keys and values for the layers
 * that see all, one of the second for those that see a window, a block of the third the whole state
 * of all recurrent layers. Sequences share blocks; who writes into a shared one copies it first.
 *
 * A block of the second pool is given back once no token can see it any more, and a state is only
 * known where it is now. So that a sequence can be cut back, it keeps checkpoints at borders of
 * blocks: a copy of the state there, and the blocks of the window before it.
 */
#ifndef DUNLIN_ENGINE_KV_H
#define DUNLIN_ENGINE_KV_H

/* IWYU pragma: begin_exports */
#include <dunlin/model.h>

#include "engine/arch/arch.h"
#include "engine/block-pool.h"
/* IWYU pragma: end_exports */

enum dn_kv_pool {
	DN_POOL_ALL = 0,
	DN_POOL_WINDOW = 1,
	DN_POOL_STATE = 2,
	DN_POOL_COUNT = 3,
};

/* Checkpoints that a sequence keeps at most. */
#define DN_CHECKPOINTS 4

/**
 * struct dn_kv - a context's cache
 * @window: of the layers of DN_POOL_WINDOW: the widest
 * @offsets: of each layer's keys and values in a block
 */
struct dn_kv {
	enum dn_kv_type type;
	uint32_t window;
	size_t *offsets;
	struct dn_block_pool pools[DN_POOL_COUNT];
};

/**
 * struct dn_checkpoint - where a sequence can be cut back to
 * @position: a multiple of DN_KV_BLOCK
 * @state: a block of DN_POOL_STATE; NULL in models without recurrent layers
 */
struct dn_checkpoint {
	uint32_t position;
	uint8_t *state;
};

/**
 * struct dn_sequence - see dunlin/model.h
 * @blocks: of DN_POOL_ALL and DN_POOL_WINDOW, by the number of the block in the sequence, as
 *	attention wants them; NULL where none is kept
 * @n_blocks: numbers in use
 * @first: number below which no block of DN_POOL_WINDOW is kept
 * @state: behind the last token; NULL without recurrent layers, and in an empty sequence
 * @checkpoints: in the order of their positions
 */
struct dn_sequence {
	struct dn_context *context;
	uint32_t length;
	uint32_t n_blocks;
	uint32_t first;
	uint8_t **blocks[2];
	uint8_t *state;
	struct dn_checkpoint checkpoints[DN_CHECKPOINTS];
	uint32_t n_checkpoints;
	uint64_t step; /* the last step it was part of */
};

/**
 * dn_kv_lay() - how large blocks are, and where each layer's part in them lies
 * @ret_offsets: [n_layers], or NULL
 * @ret_bytes: of a block of each pool, 0 where the model needs none
 */
void dn_kv_lay(const struct dn_model *model, enum dn_kv_type type, size_t *ret_offsets,
	       uint64_t ret_bytes[DN_POOL_COUNT]);
/* The same for the state, which has one layout whatever the cache: sets the layers' offsets. */
uint64_t dn_kv_lay_state(struct dn_model *model);

/* Blocks of each pool that filled options ask for. */
void dn_kv_count(const struct dn_model *model, const struct dn_context_options *filled,
		 uint64_t ret_blocks[DN_POOL_COUNT]);

DN_MUST_CHECK int dn_kv_init(struct dn_kv *kv, const struct dn_model *model,
			     const struct dn_context_options *filled, struct dn_error *err);
void dn_kv_done(struct dn_kv *kv);

static inline enum dn_kv_pool dn_kv_pool_of(const struct dn_layer *layer)
{
	return layer->window ? DN_POOL_WINDOW : DN_POOL_ALL;
}

/* Byte offset of a head's keys in a block; its values lie dn_kv_head_bytes() behind. */
static inline size_t dn_kv_offset(const struct dn_kv *kv, const struct dn_layer *layer,
				  uint32_t head)
{
	return kv->offsets[layer->cache] + head * 2 * dn_kv_head_bytes(layer->head_dim, kv->type);
}

/* sequence.c */

/* Adds to @needs the free blocks that a sequence takes to grow by @n tokens, copies included. */
void dn_sequence_needs(const struct dn_sequence *sequence, uint32_t n,
		       uint64_t needs[DN_POOL_COUNT]);
/* Makes room for @n more tokens; what dn_sequence_needs() said must be free. */
void dn_sequence_grow(struct dn_sequence *sequence, uint32_t n);
/*
 * A checkpoint inside the next @n tokens, whose state the step is to fill; NULL: none. It takes
 * what is free, so it comes after every sequence of a step has grown.
 */
struct dn_checkpoint *dn_sequence_checkpoint(struct dn_sequence *sequence, uint32_t n);
/* The tokens are there: gives back what no token can see any more. */
void dn_sequence_advance(struct dn_sequence *sequence, uint32_t n);
/* Whether block @number of DN_POOL_WINDOW is to be kept. */
bool dn_sequence_keeps(const struct dn_sequence *sequence, uint32_t number);

#endif /* DUNLIN_ENGINE_KV_H */
