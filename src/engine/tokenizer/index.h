/* SPDX-License-Identifier: MIT */
/*
 * A hash index from keys that the caller keeps to small numbers: open addressing, linear probing,
 * four bytes a slot, half full at most. A slot holds 11 bits of the hash, so that a probe seldom
 * looks at a key that is not the one. No key is further than DN_INDEX_PROBES slots from its place:
 * real vocabularies stay below a fifth of that, and one made to collide is refused, not suffered.
 *
 * Prepared models keep such slots: who changes the hash or the form changes tables.c's version.
 */
#ifndef DUNLIN_ENGINE_TOKENIZER_INDEX_H
#define DUNLIN_ENGINE_TOKENIZER_INDEX_H

#include <stdint.h>
#include <string.h>

#include "base/base.h"

#define DN_INDEX_PROBES	 256
#define DN_INDEX_ID_BITS 21

struct dn_index {
	uint32_t *slots;
	uint32_t mask;
};

enum dn_index_seen {
	DN_INDEX_EMPTY, /* the key is nowhere */
	DN_INDEX_OTHER, /* another key: probe on */
	DN_INDEX_MAYBE, /* compare the keys */
};

static inline uint64_t dn_hash_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0x9fb21c651e98df25);
	x ^= x >> 29;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

static inline uint64_t dn_hash_load(const char *data, size_t size)
{
	uint32_t low, high;

	if (size >= 4) {
		memcpy(&low, data, 4);
		memcpy(&high, data + size - 4, 4);
		return (uint64_t)high << 32 | low;
	}
	if (!size)
		return 0;
	return (uint64_t)(uint8_t)data[0] | (uint64_t)(uint8_t)data[size / 2] << 8 |
	       (uint64_t)(uint8_t)data[size - 1] << 16;
}

/* Of a few bytes: most tokens are shorter than eight. */
static inline uint64_t dn_hash_bytes(const char *data, size_t size)
{
	uint64_t hash = size * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t word;

	for (; size > 8; data += 8, size -= 8) {
		memcpy(&word, data, 8);
		hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
		hash ^= hash >> 32;
	}
	return dn_hash_mix(hash ^ dn_hash_load(data, size));
}

static inline uint32_t dn_index_slots(uint32_t n)
{
	uint32_t slots = 64;

	while (slots < 2 * n)
		slots *= 2;
	return slots;
}

static inline bool dn_index_init(struct dn_index *index, uint32_t n)
{
	uint32_t slots = dn_index_slots(n);

	index->slots = calloc(slots, sizeof(*index->slots));
	index->mask = slots - 1;
	return index->slots;
}

/* One whose slots were filled before; they are borrowed, and only read. */
static inline void dn_index_of(struct dn_index *index, const uint32_t *slots, uint32_t n)
{
	index->slots = (uint32_t *)(uintptr_t)slots;
	index->mask = dn_index_slots(n) - 1;
}

static inline uint32_t *dn_index_slot(const struct dn_index *index, uint64_t hash, uint32_t i)
{
	return &index->slots[((uint32_t)hash + i) & index->mask];
}

/* The @i-th place to look for a key of that hash. */
static inline enum dn_index_seen dn_index_probe(const struct dn_index *index, uint64_t hash,
						uint32_t i, uint32_t *ret_id)
{
	uint32_t slot = *dn_index_slot(index, hash, i);

	if (!slot)
		return DN_INDEX_EMPTY;
	if (slot >> DN_INDEX_ID_BITS != (uint32_t)(hash >> (32 + DN_INDEX_ID_BITS)))
		return DN_INDEX_OTHER;
	*ret_id = (slot & (((uint32_t)1 << DN_INDEX_ID_BITS) - 1)) - 1;
	return DN_INDEX_MAYBE;
}

/* Fills the @i-th place, which the caller saw empty. */
static inline void dn_index_put(struct dn_index *index, uint64_t hash, uint32_t i, uint32_t id)
{
	*dn_index_slot(index, hash, i) =
		(uint32_t)(hash >> (32 + DN_INDEX_ID_BITS)) << DN_INDEX_ID_BITS | (id + 1);
}

#endif /* DUNLIN_ENGINE_TOKENIZER_INDEX_H */
