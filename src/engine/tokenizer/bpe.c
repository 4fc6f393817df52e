/* SPDX-License-Identifier: MIT */
/*
 * Byte pair encoding of one word (Sennrich, Haddow, Birch 2016): the pair of lowest rank is merged,
 * of equal ones the leftmost, until no pair has a rank. Short words look at every pair each time;
 * long ones keep pairs in a heap and symbols in a list, so that n bytes take O(n log n).
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/tokenizer/heap.h"
#include "engine/tokenizer/tokenizer-internal.h"

#define SHORT_WORD 24
#define NO_RANK	   UINT32_MAX

/*
 * @token is DN_TOKEN_NONE for a byte that the vocabulary cannot write (one that was not in its
 * training text): it merges with nothing and gives nothing. So does a symbol that has gone into
 * its left neighbour.
 */
struct dn_bpe_symbol {
	uint32_t token;
	uint32_t previous;
	uint32_t next;
};

void dn_bpe_scratch_done(struct dn_bpe_scratch *scratch)
{
	free(scratch->symbols);
	free(scratch->heap);
	*scratch = (struct dn_bpe_scratch){ 0 };
}

/* A word of n symbols has n - 1 pairs, and each merge takes one from the heap and adds two. */
static int scratch_grow(struct dn_bpe_scratch *scratch, size_t size, struct dn_error *err)
{
	size_t capacity = DN_MAX(size, 2 * scratch->capacity);

	if (scratch->symbols && size <= scratch->capacity)
		return 0;
	dn_bpe_scratch_done(scratch);
	scratch->symbols = malloc(capacity * sizeof(*scratch->symbols));
	scratch->heap = malloc(2 * capacity * sizeof(*scratch->heap));
	if (!scratch->symbols || !scratch->heap) {
		dn_bpe_scratch_done(scratch);
		(void)dn_error_memory(
			err, "the encoding of one long word",
			capacity * (sizeof(*scratch->symbols) + 2 * sizeof(*scratch->heap)));
		return -ENOMEM;
	}
	scratch->capacity = capacity;
	return 0;
}

static void merge_short(const struct dn_bpe *bpe, uint32_t *tokens, uint32_t n,
			struct dn_token_sink *sink)
{
	uint32_t ranks[SHORT_WORD];

	for (uint32_t i = 0; i + 1 < n; i++)
		ranks[i] = dn_merge_find(bpe, tokens[i], tokens[i + 1]);
	while (n > 1) {
		uint32_t best = 0;

		for (uint32_t i = 1; i + 1 < n; i++)
			best = ranks[i] < ranks[best] ? i : best;
		if (ranks[best] == NO_RANK)
			break;
		tokens[best] = bpe->merges[ranks[best]].result;
		n--;
		memmove(&tokens[best + 1], &tokens[best + 2], (n - best - 1) * sizeof(*tokens));
		memmove(&ranks[best], &ranks[best + 1], (n - best - 1) * sizeof(*ranks));
		if (best > 0)
			ranks[best - 1] = dn_merge_find(bpe, tokens[best - 1], tokens[best]);
		if (best + 1 < n)
			ranks[best] = dn_merge_find(bpe, tokens[best], tokens[best + 1]);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (tokens[i] != DN_TOKEN_NONE)
			dn_token_sink_put(sink, tokens[i]);
	}
}

static void push_pair(const struct dn_bpe *bpe, const struct dn_bpe_symbol *symbols, uint32_t left,
		      uint64_t *heap, size_t *n_heap)
{
	uint32_t rank = dn_merge_find(bpe, symbols[left].token, symbols[symbols[left].next].token);

	if (rank != NO_RANK)
		dn_heap_push(heap, n_heap, (uint64_t)rank << 32 | left);
}

/* The first symbol has no left neighbour, the last no right one: both are the number @n. */
static void merge_long(const struct dn_bpe *bpe, struct dn_bpe_symbol *symbols, uint32_t n,
		       uint64_t *heap)
{
	size_t n_heap = 0;

	for (uint32_t i = 0; i + 1 < n; i++) {
		uint32_t rank = dn_merge_find(bpe, symbols[i].token, symbols[i + 1].token);

		if (rank != NO_RANK)
			heap[n_heap++] = (uint64_t)rank << 32 | i;
	}
	dn_heap_make(heap, n_heap);
	while (n_heap) {
		uint64_t key = dn_heap_pop(heap, &n_heap);
		const struct dn_merge *merge = &bpe->merges[key >> 32];
		uint32_t left = (uint32_t)key;
		uint32_t right = symbols[left].next;

		/* Merges since then may have changed either symbol: then the pair is gone. */
		if (right == n || symbols[left].token != merge->left ||
		    symbols[right].token != merge->right)
			continue;
		symbols[left].token = merge->result;
		symbols[left].next = symbols[right].next;
		symbols[right].token = DN_TOKEN_NONE;
		if (symbols[left].next != n) {
			symbols[symbols[left].next].previous = left;
			push_pair(bpe, symbols, left, heap, &n_heap);
		}
		if (symbols[left].previous != n)
			push_pair(bpe, symbols, symbols[left].previous, heap, &n_heap);
	}
}

/* A word that is a token as it stands, for vocabularies that want that first. */
static uint32_t find_whole(const struct dn_vocabulary *vocabulary, const char *word, size_t size)
{
	char spelt[DN_TOKEN_BYTES_MAX + 2];
	size_t n = 0;

	if (size > vocabulary->max_size)
		return DN_TOKEN_NONE;
	for (size_t i = 0; i < size && n <= vocabulary->max_size; i++)
		n += dn_alphabet_spell((uint8_t)word[i], spelt + n);
	return dn_vocabulary_find_plain(vocabulary, spelt, n);
}

int dn_bpe_word(const struct dn_tokenizer *tokenizer, struct dn_bpe_scratch *scratch,
		const char *word, size_t size, struct dn_token_sink *sink, struct dn_error *err)
{
	const struct dn_bpe *bpe = &tokenizer->bpe;
	uint32_t tokens[SHORT_WORD];
	struct dn_bpe_symbol *symbols;
	uint32_t n = (uint32_t)size;
	int r;

	if (bpe->whole_words) {
		uint32_t token = find_whole(&tokenizer->vocabulary, word, size);

		if (token != DN_TOKEN_NONE) {
			dn_token_sink_put(sink, token);
			return 0;
		}
	}
	if (n <= SHORT_WORD) {
		for (uint32_t i = 0; i < n; i++)
			tokens[i] = bpe->bytes[(uint8_t)word[i]];
		merge_short(bpe, tokens, n, sink);
		return 0;
	}
	r = scratch_grow(scratch, size, err);
	if (r < 0)
		return r;
	symbols = scratch->symbols;
	for (uint32_t i = 0; i < n; i++)
		symbols[i] = (struct dn_bpe_symbol){ bpe->bytes[(uint8_t)word[i]], i ? i - 1 : n,
						     i + 1 };
	merge_long(bpe, symbols, n, scratch->heap);
	for (uint32_t i = 0; i < n; i = symbols[i].next) {
		if (symbols[i].token != DN_TOKEN_NONE)
			dn_token_sink_put(sink, symbols[i].token);
	}
	return 0;
}

/* Characters of the word, each a symbol; returns their number. */
static uint32_t take_characters(const struct dn_vocabulary *vocabulary, const char *word,
				size_t size, struct dn_bpe_symbol *symbols)
{
	uint32_t n = 0;
	uint32_t point;

	for (size_t at = 0; at < size; n++) {
		size_t bytes = dn_utf8_decode(word + at, size - at, &point);

		symbols[n] = (struct dn_bpe_symbol){
			.token = dn_vocabulary_find_plain(vocabulary, word + at, bytes),
			.previous = n - 1,
			.next = n + 1,
		};
		at += bytes;
	}
	symbols[0].previous = n;
	return n;
}

static bool is_newlines(const char *word, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (word[i] != '\n')
			return false;
	}
	return true;
}

/*
 * Gemma 4: the merges of its SentencePiece model, written as ranks. A run of newlines that is a
 * token is that token: it was one in the model, which the merges alone do not lead to.
 */
int dn_bpe_characters(const struct dn_tokenizer *tokenizer, struct dn_bpe_scratch *scratch,
		      const char *word, size_t size, struct dn_token_sink *sink,
		      struct dn_error *err)
{
	const struct dn_vocabulary *vocabulary = &tokenizer->vocabulary;
	struct dn_bpe_symbol *symbols;
	uint32_t n, point;
	size_t at = 0;
	int r;

	if (is_newlines(word, size)) {
		uint32_t token = dn_vocabulary_find_plain(vocabulary, word, size);

		if (token != DN_TOKEN_NONE) {
			dn_token_sink_put(sink, token);
			return 0;
		}
	}
	r = scratch_grow(scratch, size, err);
	if (r < 0)
		return r;
	symbols = scratch->symbols;
	n = take_characters(vocabulary, word, size, symbols);
	merge_long(&tokenizer->bpe, symbols, n, scratch->heap);
	for (uint32_t i = 0, next; i < n; i = next) {
		size_t begin = at;

		/* A symbol's number is the number of characters before it. */
		next = symbols[i].next;
		for (uint32_t k = i; k < next; k++)
			at += dn_utf8_decode(word + at, size - at, &point);
		if (symbols[i].token != DN_TOKEN_NONE)
			dn_token_sink_put(sink, symbols[i].token);
		else
			dn_escape_put_bytes(&tokenizer->escape, word + begin, at - begin, sink);
	}
	return 0;
}
