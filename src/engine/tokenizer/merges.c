/* SPDX-License-Identifier: MIT */
/*
 * The merges of a model file: "left right", the most important first, turned into token ids once,
 * so that encoding compares numbers. This is most of a tokenizer's start-up time.
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* A pair that comes twice keeps its first rank. */
static bool merges_index(struct dn_bpe *bpe, uint32_t rank)
{
	const struct dn_merge *merge = &bpe->merges[rank];
	uint64_t hash = dn_merge_hash(merge->left, merge->right);
	uint32_t other;

	for (uint32_t i = 0; i < DN_INDEX_PROBES; i++) {
		enum dn_index_seen seen = dn_index_probe(&bpe->index, hash, i, &other);

		if (seen == DN_INDEX_EMPTY) {
			dn_index_put(&bpe->index, hash, i, rank);
			return true;
		}
		if (seen == DN_INDEX_MAYBE && bpe->merges[other].left == merge->left &&
		    bpe->merges[other].right == merge->right)
			return true;
	}
	return false;
}

static bool is_joined(struct dn_text whole, struct dn_text merge, size_t left)
{
	return whole.size == merge.size - 1 && !memcmp(whole.data, merge.data, left) &&
	       !memcmp(whole.data + left, merge.data + left + 1, whole.size - left);
}

/*
 * The token that the merge makes. Vocabularies list their tokens in the order in which training
 * made them, so it is nearly always the last merge's or the one behind it, and nothing is hashed.
 */
static uint32_t find_result(const struct dn_vocabulary *vocabulary, uint32_t last,
			    struct dn_text merge, size_t left)
{
	char whole[2 * DN_TOKEN_BYTES_MAX];

	if (last < vocabulary->n_tokens &&
	    is_joined(dn_vocabulary_text(vocabulary, last), merge, left))
		return last;
	if (last + 1 < vocabulary->n_tokens &&
	    is_joined(dn_vocabulary_text(vocabulary, last + 1), merge, left))
		return last + 1;
	if (merge.size - 1 > DN_TOKEN_BYTES_MAX)
		return DN_TOKEN_NONE;
	memcpy(whole, merge.data, left);
	memcpy(whole + left, merge.data + left + 1, merge.size - left - 1);
	return dn_vocabulary_find(vocabulary, whole, merge.size - 1);
}

static bool is_usable(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	return token != DN_TOKEN_NONE && dn_vocabulary_is_plain(vocabulary, token);
}

/* Merges @base to @base + @n. @last is the token that the merge before made, and is moved on. */
static int read_block(struct dn_bpe *bpe, struct dn_merge *merges,
		      const struct dn_vocabulary *vocabulary, uint32_t base, uint32_t n,
		      const uint8_t **cursor, uint32_t *last, struct dn_error *err)
{
	struct dn_vocabulary_query sides[2 * DN_VOCABULARY_BLOCK];
	bool used[DN_VOCABULARY_BLOCK];

	for (uint32_t i = 0; i < n; i++) {
		struct dn_text text = dn_gguf_next_text(cursor);
		const char *space =
			text.size > 2 ? memchr(text.data + 1, ' ', text.size - 2) : NULL;
		size_t left;

		if (!space)
			return dn_error_set(err, EINVAL,
					    "tokenizer.ggml.merges[%u] is no pair \"left right\"",
					    base + i);
		left = (size_t)(space - text.data);
		sides[2 * i].text = text.data;
		sides[2 * i].size = left;
		sides[2 * i + 1].text = space + 1;
		sides[2 * i + 1].size = text.size - left - 1;
		merges[base + i].result = find_result(vocabulary, *last, text, left);
		if (merges[base + i].result != DN_TOKEN_NONE)
			*last = merges[base + i].result;
	}
	dn_vocabulary_find_many(vocabulary, sides, (size_t)2 * n);
	for (uint32_t i = 0; i < n; i++) {
		struct dn_merge *merge = &merges[base + i];

		merge->left = sides[2 * i].token;
		merge->right = sides[2 * i + 1].token;
		/*
		 * A merge of or into a text that is no token does nothing: it could only lead to
		 * what has no id. Files with cut-down vocabularies have them. Control tokens are
		 * not made of text.
		 */
		used[i] = is_usable(vocabulary, merge->left) &&
			  is_usable(vocabulary, merge->right) &&
			  is_usable(vocabulary, merge->result);
		__builtin_prefetch(
			dn_index_slot(&bpe->index, dn_merge_hash(merge->left, merge->right), 0), 1);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (used[i] && !merges_index(bpe, base + i))
			return dn_error_set(err, EINVAL,
					    "tokenizer.ggml.merges[%u]: more than %d merges share "
					    "one hash; this is no real vocabulary",
					    base + i, DN_INDEX_PROBES);
	}
	return 0;
}

static void find_bytes(struct dn_bpe *bpe, const struct dn_vocabulary *vocabulary)
{
	char spelt[2];

	for (uint32_t i = 0; i < 256; i++) {
		size_t size = dn_alphabet_spell((uint8_t)i, spelt);

		bpe->bytes[i] = dn_vocabulary_find_plain(vocabulary, spelt, size);
	}
}

/* That they name tokens was checked (tables.c); text must not become one that is guarded. */
static bool kept_are_usable(const struct dn_bpe *bpe, const struct dn_vocabulary *vocabulary)
{
	for (uint32_t i = 0; i < bpe->n_merges; i++) {
		const struct dn_merge *merge = &bpe->kept_merges[i];
		const bool unused = !merge->left && !merge->right && !merge->result;

		if (!unused &&
		    !(is_usable(vocabulary, merge->left) && is_usable(vocabulary, merge->right) &&
		      is_usable(vocabulary, merge->result)))
			return false;
	}
	return true;
}

static int build(struct dn_bpe *bpe, const struct dn_vocabulary *vocabulary, const uint8_t *cursor,
		 struct dn_error *err)
{
	struct dn_merge *merges = calloc(DN_MAX(bpe->n_merges, 1U), sizeof(*merges));
	uint32_t last = 0;

	bpe->merges = merges;
	if (!merges || !dn_index_init(&bpe->index, bpe->n_merges))
		return dn_error_memory(err, "the tables of merges",
				       bpe->n_merges * sizeof(*merges));
	for (uint32_t i = 0; i < bpe->n_merges; i += DN_VOCABULARY_BLOCK) {
		uint32_t n = DN_MIN(bpe->n_merges - i, (uint32_t)DN_VOCABULARY_BLOCK);
		int r = read_block(bpe, merges, vocabulary, i, n, &cursor, &last, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int dn_merges_read(struct dn_bpe *bpe, const struct dn_vocabulary *vocabulary,
		   const struct dn_gguf *gguf, struct dn_error *err)
{
	const char *key = "tokenizer.ggml.merges";
	struct dn_gguf_array array;
	int r;

	r = dn_gguf_get_array(gguf, key, DN_GGUF_STRING, &array, err);
	if (r < 0)
		return r;
	if (r == 0)
		return dn_error_set(err, EINVAL,
				    "%s is missing; this kind of vocabulary needs "
				    "its merges",
				    key);
	if (array.count > DN_MERGES_MAX)
		return dn_error_set(err, E2BIG, "%s has %llu merges; the limit is %u", key,
				    (unsigned long long)array.count, DN_MERGES_MAX);

	bpe->n_merges = (uint32_t)array.count;
	if (bpe->kept_merges && !kept_are_usable(bpe, vocabulary))
		bpe->kept_merges = NULL;
	if (bpe->kept_merges) {
		bpe->merges = bpe->kept_merges;
		dn_index_of(&bpe->index, bpe->kept_slots, bpe->n_merges);
	} else {
		r = build(bpe, vocabulary, array.data, err);
		if (r < 0)
			return r;
	}
	find_bytes(bpe, vocabulary);
	return 0;
}

void dn_merges_done(struct dn_bpe *bpe)
{
	if (!bpe->kept_merges) {
		free((void *)(uintptr_t)bpe->merges);
		free(bpe->index.slots);
	}
	*bpe = (struct dn_bpe){ 0 };
}
