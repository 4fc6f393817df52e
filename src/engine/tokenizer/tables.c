/* SPDX-License-Identifier: MIT */
/*
 * The tables that take time to build, kept: the indices of the vocabulary and of merges, and the
 * merges by their tokens' ids. What is read back is checked to stay inside the vocabulary, no more:
 * tables that are wrong give wrong tokens.
 *
 *   struct tables_head | slots of the vocabulary's index | merges | slots of their index
 */

#include <dunlin/error.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tables.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* Changes with the hash functions, the form of slots and that of merges. */
#define TABLES_VERSION 1U

struct tables_head {
	uint32_t version;
	uint32_t n_tokens;
	uint32_t n_merges;
	uint32_t reserved;
};

/* Where the parts are; all of it inside the tables. */
struct places {
	const uint32_t *vocabulary_slots;
	const struct dn_merge *merges;
	const uint32_t *merge_slots;
};

static size_t slots_bytes(uint32_t n)
{
	return dn_index_slots(n) * sizeof(uint32_t);
}

static size_t size_of(uint32_t n_tokens, uint32_t n_merges)
{
	size_t size = sizeof(struct tables_head) + slots_bytes(n_tokens);

	if (n_merges)
		size += n_merges * sizeof(struct dn_merge) + slots_bytes(n_merges);
	return size;
}

size_t dn_tokenizer_tables_size(const struct dn_tokenizer *t)
{
	return size_of(t->vocabulary.n_tokens, t->bpe.n_merges);
}

/* Those that no index leads to, since they do nothing, may name what is no token. */
static int put_merges(const struct dn_tokenizer *t, dn_tables_put *put, void *data,
		      struct dn_error *err)
{
	struct dn_merge block[256];
	int r = 0;

	for (uint32_t base = 0; r >= 0 && base < t->bpe.n_merges; base += DN_ARRAY_SIZE(block)) {
		const uint32_t n = DN_MIN(t->bpe.n_merges - base, (uint32_t)DN_ARRAY_SIZE(block));

		for (uint32_t i = 0; i < n; i++) {
			const struct dn_merge *merge = &t->bpe.merges[base + i];

			block[i] = dn_merge_find(&t->bpe, merge->left, merge->right) == base + i
					   ? *merge
					   : (struct dn_merge){ 0, 0, 0 };
		}
		r = put(data, block, n * sizeof(block[0]), err);
	}
	return r;
}

int dn_tokenizer_tables_write(const struct dn_tokenizer *t, dn_tables_put *put, void *data,
			      struct dn_error *err)
{
	const struct tables_head head = { TABLES_VERSION, t->vocabulary.n_tokens, t->bpe.n_merges,
					  0 };
	int r = put(data, &head, sizeof(head), err);

	if (r >= 0)
		r = put(data, t->vocabulary.index.slots, slots_bytes(head.n_tokens), err);
	if (r >= 0)
		r = put_merges(t, put, data, err);
	if (r < 0 || !head.n_merges)
		return r;
	return put(data, t->bpe.index.slots, slots_bytes(head.n_merges), err);
}

static bool find_places(const struct dn_tokenizer_tables *tables, uint32_t n_tokens,
			uint32_t n_merges, struct places *ret)
{
	struct tables_head head;
	const uint8_t *at = tables->data;

	if (tables->size < sizeof(head))
		return false;
	memcpy(&head, at, sizeof(head));
	if (head.version != TABLES_VERSION || head.n_tokens != n_tokens ||
	    head.n_merges != n_merges || tables->size != size_of(n_tokens, n_merges))
		return false;
	at += sizeof(head);
	ret->vocabulary_slots = (const uint32_t *)at;
	at += slots_bytes(n_tokens);
	ret->merges = (const struct dn_merge *)at;
	ret->merge_slots = (const uint32_t *)(at + n_merges * sizeof(struct dn_merge));
	return true;
}

/*
 * Whether all numbers in used slots are below @n. Wrong ones are counted, instead of leaving at the
 * first, so that compilers make vectors of it.
 */
static bool slots_fit(const uint32_t *slots, uint32_t n)
{
	const uint32_t n_slots = dn_index_slots(n);
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < n_slots; i++) {
		const uint32_t number = slots[i] & (((uint32_t)1 << DN_INDEX_ID_BITS) - 1);

		wrong += (number > n) | ((number == 0) & (slots[i] != 0));
	}
	return wrong == 0;
}

static bool merges_fit(const struct dn_merge *merges, uint32_t n, uint32_t n_tokens)
{
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < n; i++)
		wrong += (merges[i].left >= n_tokens) | (merges[i].right >= n_tokens) |
			 (merges[i].result >= n_tokens);
	return wrong == 0;
}

static uint32_t count_of(const struct dn_gguf *gguf, const char *key, uint32_t most)
{
	struct dn_gguf_array array = { .count = 0 };
	struct dn_error ignored = DN_ERROR_INIT;

	(void)!dn_gguf_get_array(gguf, key, DN_GGUF_STRING, &array, &ignored);
	return array.count <= most ? (uint32_t)array.count : 0;
}

void dn_tokenizer_tables_take(const struct dn_tokenizer_tables *tables, const struct dn_gguf *gguf,
			      struct dn_tokenizer *t)
{
	const uint32_t n_tokens = count_of(gguf, "tokenizer.ggml.tokens", DN_TOKENS_MAX);
	struct places at;
	uint32_t n_merges;

	if (tables->size < sizeof(struct tables_head))
		return;
	/* Kinds without merges may have the key all the same: what was built says which it is. */
	n_merges = ((const struct tables_head *)tables->data)->n_merges;
	if (n_merges && n_merges != count_of(gguf, "tokenizer.ggml.merges", DN_MERGES_MAX))
		return;
	if (!find_places(tables, n_tokens, n_merges, &at) ||
	    !slots_fit(at.vocabulary_slots, n_tokens) ||
	    !merges_fit(at.merges, n_merges, n_tokens) ||
	    (n_merges && !slots_fit(at.merge_slots, n_merges)))
		return;
	t->vocabulary.kept_slots = at.vocabulary_slots;
	if (n_merges) {
		t->bpe.kept_merges = at.merges;
		t->bpe.kept_slots = at.merge_slots;
	}
}
