/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's BPE (Kudo, Richardson 2018): of all neighbours whose texts together are a token,
 * those with the highest score are merged, of equal ones the leftmost, until there are none. Pairs
 * wait in a heap, symbols are a list, so that n bytes take O(n log n) look-ups.
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

/*
 * @start: where its text begins; it goes on to where the next symbol's does
 * @token: of its text; DN_TOKEN_NONE for a character that is none
 * @pair: the token of this text and the next symbol's; DN_TOKEN_NONE without, and for a symbol
 *	that has gone into its left neighbour
 */
struct dn_scores_symbol {
	uint32_t start;
	uint32_t token;
	uint32_t pair;
	uint32_t previous;
	uint32_t next;
};

/* One word: symbol @n stands for its end. */
struct scored_word {
	const struct dn_vocabulary *vocabulary;
	const char *text;
	struct dn_scores_symbol *symbols;
	uint32_t n;
	uint64_t *heap;
	size_t n_heap;
};

void dn_scores_scratch_done(struct dn_scores_scratch *scratch)
{
	free(scratch->symbols);
	free(scratch->heap);
	*scratch = (struct dn_scores_scratch){ 0 };
}

/* A word of n symbols has n - 1 pairs, and each merge takes one from the heap and adds two. */
static int scratch_grow(struct dn_scores_scratch *scratch, size_t size, struct dn_error *err)
{
	size_t capacity = DN_MAX(size + 1, 2 * scratch->capacity);

	if (scratch->symbols && size < scratch->capacity)
		return 0;
	dn_scores_scratch_done(scratch);
	scratch->symbols = malloc(capacity * sizeof(*scratch->symbols));
	scratch->heap = malloc(2 * capacity * sizeof(*scratch->heap));
	if (!scratch->symbols || !scratch->heap) {
		dn_scores_scratch_done(scratch);
		(void)dn_error_memory(
			err, "the encoding of one long word",
			capacity * (sizeof(*scratch->symbols) + 2 * sizeof(*scratch->heap)));
		return -ENOMEM;
	}
	scratch->capacity = capacity;
	return 0;
}

/* A number that is smaller where the score is higher; equal for both zeros. */
static uint32_t score_order(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	float score = dn_vocabulary_score(vocabulary, token) + 0.0F;
	uint32_t bits;

	memcpy(&bits, &score, sizeof(bits));
	return bits >> 31 ? bits : ~bits & 0x7fffffffU;
}

static uint64_t pair_key(const struct scored_word *word, uint32_t left)
{
	return (uint64_t)score_order(word->vocabulary, word->symbols[left].pair) << 32 | left;
}

/* Looks at @left and its neighbour anew; true where they are a token together. */
static bool find_pair(struct scored_word *word, uint32_t left)
{
	struct dn_scores_symbol *symbol = &word->symbols[left];
	uint32_t end;

	symbol->pair = DN_TOKEN_NONE;
	if (symbol->next == word->n)
		return false;
	end = word->symbols[word->symbols[symbol->next].next].start;
	symbol->pair = dn_vocabulary_find_plain(word->vocabulary, word->text + symbol->start,
						end - symbol->start);
	return symbol->pair != DN_TOKEN_NONE;
}

static void push_pair(struct scored_word *word, uint32_t left)
{
	if (find_pair(word, left))
		dn_heap_push(word->heap, &word->n_heap, pair_key(word, left));
}

/* Takes the characters apart. An invalid byte is a symbol of its own. */
static void take_characters(struct scored_word *word, size_t size)
{
	size_t at = 0;
	uint32_t n = 0;
	uint32_t point;

	while (at < size) {
		size_t bytes = dn_utf8_decode(word->text + at, size - at, &point);

		word->symbols[n] = (struct dn_scores_symbol){
			.start = (uint32_t)at,
			.token = dn_vocabulary_find_plain(word->vocabulary, word->text + at, bytes),
			.previous = n - 1,
			.next = n + 1,
		};
		at += bytes;
		n++;
	}
	word->symbols[0].previous = n;
	word->symbols[n] = (struct dn_scores_symbol){
		.start = (uint32_t)size,
		.token = DN_TOKEN_NONE,
		.pair = DN_TOKEN_NONE,
		.next = n,
	};
	word->n = n;
}

static void merge(struct scored_word *word)
{
	struct dn_scores_symbol *symbols = word->symbols;
	uint32_t n = word->n;

	for (uint32_t i = 0; i < n; i++) {
		if (find_pair(word, i))
			word->heap[word->n_heap++] = pair_key(word, i);
	}
	dn_heap_make(word->heap, word->n_heap);
	while (word->n_heap) {
		uint64_t key = dn_heap_pop(word->heap, &word->n_heap);
		uint32_t left = (uint32_t)key;
		uint32_t right = symbols[left].next;

		/*
		 * The pair that was meant is gone where merges since then changed it. Another one
		 * of the same score at the same place has an equal key, and it is its turn.
		 */
		if (symbols[left].pair == DN_TOKEN_NONE || pair_key(word, left) != key)
			continue;
		symbols[left].token = symbols[left].pair;
		symbols[left].next = symbols[right].next;
		symbols[right].pair = DN_TOKEN_NONE;
		symbols[symbols[left].next].previous = left;
		push_pair(word, left);
		if (symbols[left].previous != n)
			push_pair(word, symbols[left].previous);
	}
}

int dn_scores_word(const struct dn_tokenizer *tokenizer, struct dn_scores_scratch *scratch,
		   const char *text, size_t size, struct dn_token_sink *sink, struct dn_error *err)
{
	struct scored_word word = { .vocabulary = &tokenizer->vocabulary, .text = text };
	int r;

	r = scratch_grow(scratch, size, err);
	if (r < 0)
		return r;
	word.symbols = scratch->symbols;
	word.heap = scratch->heap;
	take_characters(&word, size);
	merge(&word);
	for (uint32_t i = 0; i < word.n; i = word.symbols[i].next) {
		const struct dn_scores_symbol *symbol = &word.symbols[i];
		uint32_t end = word.symbols[symbol->next].start;

		if (symbol->token != DN_TOKEN_NONE)
			dn_token_sink_put(sink, symbol->token);
		else
			dn_escape_put_bytes(&tokenizer->escape, text + symbol->start,
					    end - symbol->start, sink);
	}
	return 0;
}
