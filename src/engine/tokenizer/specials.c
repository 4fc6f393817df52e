/* SPDX-License-Identifier: MIT */
/*
 * Special tokens in a text. llama.cpp's rule, which golden data shows: the longest token goes
 * first, everywhere in the text from left to right, then the next longest in what is left. Here
 * that is one walk over the text: matches that overlap make a cluster, clusters are independent of
 * each other, and within one the matches are settled longest first. The time is linear in the text,
 * times the bytes that texts and tokens share at one place.
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/heap.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* A match as one number whose order is: longest, leftmost, then the place in the sorted list. */
#define MATCH_LIST_BITS 20
#define MATCH_AT_BITS	27
_Static_assert(DN_TOKENS_MAX <= (uint32_t)1 << MATCH_LIST_BITS, "an index has 20 bits");
_Static_assert(DN_ENCODE_TEXT_MAX < (size_t)1 << MATCH_AT_BITS, "a place has 27 bits");
_Static_assert(DN_TOKEN_BYTES_MAX < 1 << 17, "a length has 17 bits");

/* What covers a byte of a cluster: nothing, the middle of a token, or 2 + the token that begins. */
enum { COVER_FREE = 0, COVER_TAKEN = 1, COVER_FIRST = 2 };

struct split {
	const struct dn_tokenizer *tokenizer;
	const char *text;
	size_t size;
	bool guarded;
	uint64_t *matches;
	size_t n_matches;
	size_t max_matches;
	uint32_t *cover;
	size_t max_cover;
};

/* Tokens of Phi-3 behind which white space stays: its tokenizer.json has "rstrip" in all others. */
static const char *const keepers[DN_SPECIALS_KEEPERS] = { "<unk>", "<s>", "<|endoftext|>" };

static struct dn_text special_text(const struct dn_tokenizer *tokenizer, uint32_t index)
{
	return dn_vocabulary_text(&tokenizer->vocabulary, tokenizer->specials.tokens[index]);
}

static int compare_texts(const void *a, const void *b, void *data)
{
	const struct dn_vocabulary *vocabulary = data;
	struct dn_text x = dn_vocabulary_text(vocabulary, *(const uint32_t *)a);
	struct dn_text y = dn_vocabulary_text(vocabulary, *(const uint32_t *)b);
	int order = memcmp(x.data, y.data, DN_MIN(x.size, y.size));

	if (order)
		return order;
	if (x.size != y.size)
		return x.size < y.size ? -1 : 1;
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

static bool is_special(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	uint8_t kind = vocabulary->entries[token].kind;

	return vocabulary->entries[token].size &&
	       (kind == DN_TOKEN_USER_DEFINED || kind == DN_TOKEN_CONTROL ||
		kind == DN_TOKEN_UNKNOWN);
}

static bool begins_with(struct dn_text text, struct dn_text head)
{
	return text.size > head.size && !memcmp(text.data, head.data, head.size);
}

/* In sorted order a token's heads are those of the one before it, or that one itself. */
static void link_shorter(struct dn_specials *specials, const struct dn_vocabulary *vocabulary)
{
	for (uint32_t i = 0; i < specials->n; i++) {
		struct dn_text text = dn_vocabulary_text(vocabulary, specials->tokens[i]);
		uint32_t head = i ? i - 1 : DN_TOKEN_NONE;

		while (head != DN_TOKEN_NONE &&
		       !begins_with(text, dn_vocabulary_text(vocabulary, specials->tokens[head])))
			head = specials->shorter[head];
		specials->shorter[i] = head;
	}
}

int dn_specials_build(struct dn_specials *specials, const struct dn_vocabulary *vocabulary,
		      struct dn_error *err)
{
	uint32_t n = 0, kept = 0;

	for (uint32_t i = 0; i < vocabulary->n_tokens; i++)
		n += is_special(vocabulary, i);
	specials->tokens = malloc(DN_MAX(n, 1U) * sizeof(*specials->tokens));
	specials->shorter = malloc(DN_MAX(n, 1U) * sizeof(*specials->shorter));
	if (!specials->tokens || !specials->shorter)
		return dn_error_memory(err, "the special tokens", n * sizeof(*specials->tokens));
	for (uint32_t i = 0, at = 0; i < vocabulary->n_tokens; i++) {
		if (is_special(vocabulary, i))
			specials->tokens[at++] = i;
	}
	qsort_r(specials->tokens, n, sizeof(*specials->tokens), compare_texts,
		(void *)(uintptr_t)vocabulary);
	/* Of two with one text the first is meant. */
	for (uint32_t i = 0; i < n; i++) {
		struct dn_text text = dn_vocabulary_text(vocabulary, specials->tokens[i]);

		if (kept) {
			struct dn_text last =
				dn_vocabulary_text(vocabulary, specials->tokens[kept - 1]);

			if (last.size == text.size && !memcmp(last.data, text.data, text.size))
				continue;
		}
		specials->tokens[kept++] = specials->tokens[i];
		specials->first[(uint8_t)text.data[0] + 1]++;
	}
	specials->n = kept;
	for (uint32_t i = 0; i < 256; i++)
		specials->first[i + 1] += specials->first[i];
	link_shorter(specials, vocabulary);
	for (size_t i = 0; i < DN_ARRAY_SIZE(keepers); i++)
		specials->keeps[i] = dn_vocabulary_find(vocabulary, keepers[i], strlen(keepers[i]));
	return 0;
}

void dn_specials_done(struct dn_specials *specials)
{
	free(specials->tokens);
	free(specials->shorter);
	*specials = (struct dn_specials){ 0 };
}

/* The first of the tokens from @low to @high whose byte at @depth is at least @byte. */
static uint32_t narrow(const struct split *split, uint32_t low, uint32_t high, size_t depth,
		       unsigned int byte)
{
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if ((uint8_t)special_text(split->tokenizer, middle).data[depth] < byte)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* @index, or the longest of its heads that this call recognises and that has @limit bytes. */
static uint32_t settle(const struct split *split, uint32_t index, size_t limit)
{
	const struct dn_specials *specials = &split->tokenizer->specials;

	while (index != DN_TOKEN_NONE &&
	       (special_text(split->tokenizer, index).size > limit ||
		(!split->guarded &&
		 dn_vocabulary_is_guarded(&split->tokenizer->vocabulary, specials->tokens[index]))))
		index = specials->shorter[index];
	return index;
}

/* The longest special token that the text has at @at. */
static uint32_t longest_at(const struct split *split, size_t at)
{
	const uint32_t *first = split->tokenizer->specials.first;
	const char *text = split->text + at;
	size_t size = split->size - at;
	uint32_t low = first[(uint8_t)text[0]];
	uint32_t high = first[(uint8_t)text[0] + 1];
	uint32_t best = DN_TOKEN_NONE;

	for (size_t depth = 1; low < high; depth++) {
		if (special_text(split->tokenizer, low).size == depth)
			best = low++;
		if (depth == size)
			break;
		low = narrow(split, low, high, depth, (uint8_t)text[depth]);
		high = narrow(split, low, high, depth, (uint8_t)text[depth] + 1U);
	}
	return settle(split, best, size);
}

static uint64_t match_key(size_t size, size_t at, uint32_t index)
{
	return (uint64_t)(DN_TOKEN_BYTES_MAX - size) << (MATCH_AT_BITS + MATCH_LIST_BITS) |
	       (uint64_t)at << MATCH_LIST_BITS | index;
}

static int add_match(struct split *split, size_t at, uint32_t index, struct dn_error *err)
{
	size_t size = special_text(split->tokenizer, index).size;

	if (split->n_matches == split->max_matches) {
		size_t max = DN_MAX(split->max_matches * 2, (size_t)64);
		uint64_t *more = realloc(split->matches, max * sizeof(*more));

		if (!more)
			return dn_error_memory(err, "special tokens in a text",
					       max * sizeof(*more));
		split->matches = more;
		split->max_matches = max;
	}
	split->matches[split->n_matches++] = match_key(size, at, index);
	return 0;
}

/* Settles the matches of one cluster: split->cover then says what begins where. */
static void settle_cluster(struct split *split, size_t base)
{
	dn_heap_make(split->matches, split->n_matches);
	while (split->n_matches) {
		uint64_t key = dn_heap_pop(split->matches, &split->n_matches);
		uint32_t index = (uint32_t)key & (((uint32_t)1 << MATCH_LIST_BITS) - 1);
		size_t at = (size_t)(key >> MATCH_LIST_BITS) & (((size_t)1 << MATCH_AT_BITS) - 1);
		size_t size = special_text(split->tokenizer, index).size;
		uint32_t *cover = split->cover + (at - base);
		size_t room = 0;

		while (room < size && cover[room] == COVER_FREE)
			room++;
		if (room == size) {
			cover[0] = COVER_FIRST + index;
			for (size_t i = 1; i < size; i++)
				cover[i] = COVER_TAKEN;
			continue;
		}
		index = room ? settle(split, index, room) : DN_TOKEN_NONE;
		/* The heap has room: one came out of it. */
		if (index != DN_TOKEN_NONE)
			dn_heap_push(
				split->matches, &split->n_matches,
				match_key(special_text(split->tokenizer, index).size, at, index));
	}
}

size_t dn_tokenizer_skips(const struct dn_tokenizer *tokenizer, uint32_t token, const char *text,
			  size_t size)
{
	const struct dn_specials *specials = &tokenizer->specials;
	size_t n = 0;

	if (!specials->strips)
		return 0;
	for (size_t i = 0; i < DN_ARRAY_SIZE(specials->keeps); i++) {
		if (token == specials->keeps[i])
			return 0;
	}
	while (n < size && (text[n] == ' ' || (text[n] >= '\t' && text[n] <= '\r')))
		n++;
	return n;
}

/* Where the text goes on behind the token at @index, which ends at @at. */
static size_t skip_behind(const struct split *split, uint32_t index, size_t at)
{
	return at + dn_tokenizer_skips(split->tokenizer, split->tokenizer->specials.tokens[index],
				       split->text + at, split->size - at);
}

/* Gives out the cluster from @base to @end; what is free in it begins at *@plain. */
static int emit_cluster(struct split *split, size_t base, size_t end, size_t *plain,
			struct dn_token_sink *sink, dn_plain_fn *function, void *data,
			struct dn_error *err)
{
	size_t bytes = (end - base) * sizeof(*split->cover);
	int r;

	if (!split->cover || end - base > split->max_cover) {
		free(split->cover);
		split->max_cover = DN_MAX(2 * (end - base), (size_t)256);
		split->cover = malloc(split->max_cover * sizeof(*split->cover));
		if (!split->cover) {
			split->max_cover = 0;
			return dn_error_memory(err, "special tokens in a text", bytes);
		}
	}
	memset(split->cover, 0, bytes);
	settle_cluster(split, base);
	for (size_t at = base; at < end; at++) {
		uint32_t cover = split->cover[at - base];

		if (cover < COVER_FIRST)
			continue;
		r = *plain < at ? function(data, split->text + *plain, at - *plain, err) : 0;
		if (r < 0)
			return r;
		dn_token_sink_put(sink, split->tokenizer->specials.tokens[cover - COVER_FIRST]);
		/* White space is not where another token begins. */
		*plain = skip_behind(split, cover - COVER_FIRST,
				     at + special_text(split->tokenizer, cover - COVER_FIRST).size);
	}
	return 0;
}

static int split_text(struct split *split, struct dn_token_sink *sink, dn_plain_fn *plain,
		      void *data, struct dn_error *err)
{
	const uint32_t *first = split->tokenizer->specials.first;
	size_t base = 0, end = 0, rest = 0;
	int r;

	for (size_t at = 0; at < split->size; at++) {
		uint8_t byte = (uint8_t)split->text[at];
		uint32_t index = DN_TOKEN_NONE;

		if (first[byte] != first[byte + 1])
			index = longest_at(split, at);
		if (index == DN_TOKEN_NONE)
			continue;
		if (split->n_matches && at >= end) {
			r = emit_cluster(split, base, end, &rest, sink, plain, data, err);
			if (r < 0)
				return r;
		}
		if (!split->n_matches)
			base = at;
		r = add_match(split, at, index, err);
		if (r < 0)
			return r;
		end = DN_MAX(end, at + special_text(split->tokenizer, index).size);
	}
	if (split->n_matches) {
		r = emit_cluster(split, base, end, &rest, sink, plain, data, err);
		if (r < 0)
			return r;
	}
	return rest < split->size ? plain(data, split->text + rest, split->size - rest, err) : 0;
}

int dn_specials_split(const struct dn_tokenizer *tokenizer, const char *text, size_t size,
		      bool guarded, struct dn_token_sink *sink, dn_plain_fn *plain, void *data,
		      struct dn_error *err)
{
	struct split split = {
		.tokenizer = tokenizer,
		.text = text,
		.size = size,
		.guarded = guarded,
	};
	int r;

	r = split_text(&split, sink, plain, data, err);
	free(split.matches);
	free(split.cover);
	return r;
}
