/* SPDX-License-Identifier: MIT */

#include "engine/kv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/context.h"

static uint32_t element_bytes(enum dn_kv_type type)
{
	return type == DN_KV_F32 ? sizeof(float) : sizeof(uint16_t);
}

static uint32_t head_bytes(const struct dn_hparams *h, enum dn_kv_type type)
{
	return DN_ROUND_UP(h->head_dim, 16U) * DN_KV_BLOCK * element_bytes(type);
}

/* At most 2 * 2^16 * 1024 heads * 512 layers = 2^36: see the bounds in bind.c. */
uint64_t dn_kv_block_bytes(const struct dn_hparams *h, enum dn_kv_type type)
{
	return 2ULL * head_bytes(h, type) * h->n_kv_heads * h->n_layers;
}

int dn_kv_init(struct dn_kv *kv, const struct dn_hparams *h, enum dn_kv_type type,
	       uint32_t n_blocks, struct dn_error *err)
{
	/* Fits: the plan has checked it. */
	const size_t block_bytes = (size_t)dn_kv_block_bytes(h, type);
	const size_t bytes = block_bytes * n_blocks;
	void *memory;

	*kv = (struct dn_kv){
		.half = type == DN_KV_F16,
		.n_kv_heads = h->n_kv_heads,
		.head_dim = h->head_dim,
		.padded_dim = DN_ROUND_UP(h->head_dim, 16U),
		.element = element_bytes(type),
		.head_bytes = head_bytes(h, type),
		.block_bytes = block_bytes,
		.n_blocks = n_blocks,
		.n_free = n_blocks,
	};
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return dn_error_memory(err, "the KV cache", bytes);
	kv->memory = memory;
	kv->references = calloc(n_blocks, sizeof(*kv->references));
	kv->free_blocks = calloc(n_blocks, sizeof(*kv->free_blocks));
	if (!kv->references || !kv->free_blocks)
		return dn_error_memory(err, "the KV cache's blocks",
				       n_blocks * sizeof(*kv->free_blocks));
	/* The lowest addresses are taken first: a short answer touches little memory. */
	for (uint32_t i = 0; i < n_blocks; i++)
		kv->free_blocks[i] = n_blocks - 1 - i;
	return 0;
}

void dn_kv_done(struct dn_kv *kv)
{
	if (kv->memory)
		(void)munmap(kv->memory, kv->block_bytes * kv->n_blocks);
	free(kv->references);
	free(kv->free_blocks);
	*kv = (struct dn_kv){ 0 };
}

static uint32_t block_id(const struct dn_kv *kv, const uint8_t *block)
{
	return (uint32_t)((size_t)(block - kv->memory) / kv->block_bytes);
}

static uint8_t *take_block(struct dn_kv *kv)
{
	uint32_t id = kv->free_blocks[--kv->n_free];

	kv->references[id] = 1;
	return kv->memory + id * kv->block_bytes;
}

static void drop_block(struct dn_kv *kv, const uint8_t *block)
{
	uint32_t id = block_id(kv, block);

	if (--kv->references[id] == 0)
		kv->free_blocks[kv->n_free++] = id;
}

/* Whether the next token goes into a block that another sequence reads too. */
static bool writes_shared(const struct dn_kv *kv, const struct dn_sequence *s)
{
	return s->length % DN_KV_BLOCK &&
	       kv->references[block_id(kv, s->blocks[s->length / DN_KV_BLOCK])] > 1;
}

uint32_t dn_kv_blocks_to_grow(const struct dn_kv *kv, const struct dn_sequence *s, uint32_t n)
{
	return DN_DIV_ROUND_UP(s->length + n, DN_KV_BLOCK) - s->n_blocks + writes_shared(kv, s);
}

void dn_kv_grow(struct dn_kv *kv, struct dn_sequence *s, uint32_t n)
{
	const uint32_t blocks = DN_DIV_ROUND_UP(s->length + n, DN_KV_BLOCK);

	if (writes_shared(kv, s)) {
		uint8_t **last = &s->blocks[s->length / DN_KV_BLOCK];
		uint8_t *own = take_block(kv);

		memcpy(own, *last, kv->block_bytes);
		drop_block(kv, *last);
		*last = own;
	}
	while (s->n_blocks < blocks)
		s->blocks[s->n_blocks++] = take_block(kv);
}

void dn_sequence_cut(struct dn_sequence *s, uint32_t length)
{
	if (length >= s->length)
		return;
	s->length = length;
	while (s->n_blocks > DN_DIV_ROUND_UP(length, DN_KV_BLOCK))
		drop_block(&s->context->kv, s->blocks[--s->n_blocks]);
}

uint32_t dn_sequence_length(const struct dn_sequence *s)
{
	return s->length;
}

int dn_sequence_share(struct dn_sequence *to, const struct dn_sequence *from, uint32_t length,
		      struct dn_error *err)
{
	struct dn_kv *kv = &from->context->kv;

	if (to->context != from->context || to->length || length > from->length)
		return dn_error_set(err, EINVAL,
				    "cannot share %u tokens of a sequence of %u with one of %u",
				    length, from->length, to->length);
	while (to->n_blocks < DN_DIV_ROUND_UP(length, DN_KV_BLOCK)) {
		uint8_t *block = from->blocks[to->n_blocks];

		kv->references[block_id(kv, block)]++;
		to->blocks[to->n_blocks++] = block;
	}
	to->length = length;
	return 0;
}
