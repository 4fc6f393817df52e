/* SPDX-License-Identifier: MIT */
/*
 * Names to items: open addressing over SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF", 2012). The seed keeps a hostile file from choosing names that collide.
 */

#include "engine/gguf/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

static inline uint64_t rotate(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], unsigned int rounds)
{
	for (; rounds; rounds--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32) + v[3];
		v[2] += v[1];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_rounds(v, 2);
	v[0] ^= word;
}

static uint64_t sip_hash(const uint64_t seed[2], const char *data, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)data;
	uint64_t v[4] = {
		seed[0] ^ 0x736f6d6570736575U,
		seed[1] ^ 0x646f72616e646f6dU,
		seed[0] ^ 0x6c7967656e657261U,
		seed[1] ^ 0x7465646279746573U,
	};
	uint64_t last = (uint64_t)size << 56;
	size_t at;

	for (at = 0; at + 8 <= size; at += 8)
		sip_word(v, gguf_load_u64(bytes + at));
	for (unsigned int shift = 0; at < size; at++, shift += 8)
		last |= (uint64_t)bytes[at] << shift;
	sip_word(v, last);
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/*
 * The kernel hands each process 16 random bytes at its start (getauxval(3)): no system call, so
 * it works in every jail. No hash is ever shown, so nothing about them gets out.
 */
static void seed_fill(uint64_t seed[2])
{
	const uint8_t *random = (const uint8_t *)(uintptr_t)getauxval(AT_RANDOM);

	seed[0] = random ? gguf_load_u64(random) : (uint64_t)(uintptr_t)seed;
	seed[1] = random ? gguf_load_u64(random + 8) : (uint64_t)(uintptr_t)&seed_fill;
}

int gguf_index_init(struct gguf_index *index, const void *items, size_t stride, size_t n_items,
		    struct dn_error *err)
{
	size_t slots = 4;

	/* The callers' limits keep this far from overflow. */
	while (slots < 2 * n_items)
		slots *= 2;
	index->slots = calloc(slots, sizeof(*index->slots));
	if (!index->slots)
		return dn_error_memory(err, "the index of a model file's names",
				       slots * sizeof(*index->slots));
	index->mask = slots - 1;
	index->items = items;
	index->stride = stride;
	seed_fill(index->seed);
	return 0;
}

void gguf_index_done(struct gguf_index *index)
{
	free(index->slots);
	index->slots = NULL;
}

static const void *item(const struct gguf_index *index, size_t number)
{
	return (const uint8_t *)index->items + number * index->stride;
}

/* The slot that holds @name, or the empty one where it belongs. */
static uint32_t *slot_of(const struct gguf_index *index, struct dn_text name)
{
	size_t slot = (size_t)sip_hash(index->seed, name.data, name.size) & index->mask;

	for (; index->slots[slot]; slot = (slot + 1) & index->mask) {
		const struct dn_text *have = item(index, index->slots[slot] - 1);

		if (have->size == name.size && memcmp(have->data, name.data, name.size) == 0)
			break;
	}
	return &index->slots[slot];
}

const void *gguf_index_find(const struct gguf_index *index, struct dn_text name)
{
	uint32_t found = *slot_of(index, name);

	return found ? item(index, found - 1) : NULL;
}

const void *gguf_index_add(struct gguf_index *index, size_t number)
{
	const struct dn_text *name = item(index, number);
	uint32_t *slot = slot_of(index, *name);

	if (*slot)
		return item(index, *slot - 1);
	*slot = (uint32_t)number + 1;
	return NULL;
}
