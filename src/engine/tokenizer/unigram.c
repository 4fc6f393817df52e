/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's unigram model (Kudo 2018, "Subword Regularization"): of all ways to write a text
 * in tokens, the one whose scores, logarithms of probabilities, have the largest sum. One walk
 * (Viterbi) finds it: for each place the best way to come there. Before that, the vocabulary's
 * "precompiled charsmap" replaces characters (NFKC and what its trainer added), and runs of spaces
 * become one. Words are settled one by one where no token goes across.
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* The longest that SentencePiece's own map has are 18 and 33 bytes. */
#define MATCH_MAX	128
#define REPLACEMENT_MAX 255
#define REPLACEMENT	"\xef\xbf\xbd" /* U+FFFD, for what is no text */
/* SentencePiece's trainer makes none of more than 16 characters; each place looks so far. */
#define PIECE_MAX 128
/* What an unknown character costs more than the worst token (SentencePiece's kUnkPenalty). */
#define UNKNOWN_PENALTY 10.0F

/* The best way to a place: @token, which begins at @from. */
struct dn_unigram_place {
	double score;
	uint32_t token;
	uint32_t from;
};

void dn_unigram_scratch_done(struct dn_unigram_scratch *scratch)
{
	free(scratch->places);
	dn_escape_scratch_done(&scratch->word);
	*scratch = (struct dn_unigram_scratch){ 0 };
}

static int read_map(struct dn_unigram *unigram, const struct dn_gguf *gguf, struct dn_error *err)
{
	const char *key = "tokenizer.ggml.precompiled_charsmap";
	struct dn_gguf_array array;
	size_t run = 0;
	uint32_t size;
	int r;

	/* Converters write it as either type. */
	r = dn_gguf_get_array(gguf, key, DN_GGUF_U8, &array, NULL);
	if (r < 0)
		r = dn_gguf_get_array(gguf, key, DN_GGUF_I8, &array, err);
	if (r < 0 || (r > 0 && array.size == 0))
		r = DN_MIN(r, 0);
	if (r <= 0)
		return r;
	if (array.size < sizeof(size))
		return dn_error_set(err, EINVAL, "%s has %zu bytes; it begins with 4", key,
				    array.size);
	memcpy(&size, array.data, sizeof(size));
	size = le32toh(size);
	if (size % 4 || size > array.size - sizeof(size))
		return dn_error_set(err, EINVAL, "%s: a trie of %u bytes in %zu", key, size,
				    array.size);
	unigram->trie = array.data + sizeof(size);
	unigram->n_units = size / 4;
	unigram->replacements = (const char *)unigram->trie + size;
	unigram->replacements_size = array.size - sizeof(size) - size;
	for (size_t i = 0; i < unigram->replacements_size; i++) {
		run = unigram->replacements[i] ? run + 1 : 0;
		if (run > REPLACEMENT_MAX)
			return dn_error_set(err, E2BIG, "%s: a replacement of more than %d bytes",
					    key, REPLACEMENT_MAX);
	}
	if (run)
		return dn_error_set(err, EINVAL, "%s: the last replacement has no end", key);
	return 0;
}

int dn_unigram_read(struct dn_unigram *unigram, const struct dn_vocabulary *vocabulary,
		    const struct dn_gguf *gguf, struct dn_error *err)
{
	float least = 0;
	int r;

	unigram->max_size = 0;

	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		float score = dn_vocabulary_score(vocabulary, i);

		if (!isfinite(score))
			return dn_error_set(err, EINVAL,
					    "tokenizer.ggml.scores[%u] is no logarithm of a "
					    "probability",
					    i);
		if (vocabulary->entries[i].kind == DN_TOKEN_NORMAL)
			least = fminf(least, score);
		/* User-defined ones are cut out before. */
		if (vocabulary->entries[i].kind == DN_TOKEN_USER_DEFINED ||
		    !dn_vocabulary_is_plain(vocabulary, i))
			continue;
		if (vocabulary->entries[i].size > PIECE_MAX)
			return dn_error_set(err, E2BIG,
					    "tokenizer.ggml.tokens[%u] has %u bytes; the limit of "
					    "a unigram vocabulary is %d",
					    i, vocabulary->entries[i].size, PIECE_MAX);
		unigram->max_size =
			DN_MAX(unigram->max_size, (uint32_t)vocabulary->entries[i].size);
	}
	unigram->unknown_score = least - UNKNOWN_PENALTY;
	r = dn_gguf_get_bool(gguf, "tokenizer.ggml.remove_extra_whitespaces",
			     &unigram->merges_spaces, err);
	if (r < 0)
		return r;
	return read_map(unigram, gguf, err);
}

/* A unit of the trie; one outside is no child of anything: its label is no byte. */
static uint32_t trie_unit(const struct dn_unigram *unigram, uint32_t index)
{
	uint32_t unit = 0x80000000U;

	if (index < unigram->n_units)
		memcpy(&unit, unigram->trie + (size_t)index * 4, 4);
	return index < unigram->n_units ? le32toh(unit) : unit;
}

/* Where its children are, relative to it (Yata's darts-clone: bits 10 to 30, times 256 by bit 9). */
static uint32_t trie_offset(uint32_t unit)
{
	return unit >> 10 << ((unit & 1U << 9) >> 6);
}

/*
 * The longest head of the text that the map replaces: its bytes, and by what. Each unit has in
 * bits 0 to 7 the byte that leads to it, in bit 8 whether a value is beside its children.
 */
static size_t match_map(const struct dn_unigram *unigram, const char *text, size_t size,
			const char **ret_replacement)
{
	size_t best = 0;
	uint32_t at = trie_offset(trie_unit(unigram, 0));

	for (size_t i = 0; i < DN_MIN(size, (size_t)MATCH_MAX) && text[i]; i++) {
		uint32_t unit, value;

		at ^= (uint8_t)text[i];
		unit = trie_unit(unigram, at);
		if ((unit & 0x800000ffU) != (uint8_t)text[i])
			break;
		at ^= trie_offset(unit);
		if (!(unit >> 8 & 1))
			continue;
		value = trie_unit(unigram, at) & 0x7fffffffU;
		if (value >= unigram->replacements_size)
			continue;
		*ret_replacement = unigram->replacements + value;
		best = i + 1;
	}
	return best;
}

static struct dn_unigram_place *places_grow(struct dn_unigram_scratch *scratch, size_t n,
					    struct dn_error *err)
{
	size_t capacity = DN_MAX(n, 2 * scratch->n_places);

	if (n <= scratch->n_places)
		return scratch->places;
	free(scratch->places);
	scratch->n_places = 0;
	scratch->places = malloc(capacity * sizeof(*scratch->places));
	if (!scratch->places) {
		(void)dn_error_memory(err, "the encoding of one long word",
				      capacity * sizeof(*scratch->places));
		return NULL;
	}
	scratch->n_places = capacity;
	return scratch->places;
}

static void offer(struct dn_unigram_place *place, double score, uint32_t token, uint32_t from)
{
	if (score > place->score)
		*place = (struct dn_unigram_place){ score, token, from };
}

/* Offers each token that begins at @at, and the unknown one where none is the character itself. */
static void leave(const struct dn_tokenizer *tokenizer, const char *word, uint32_t size,
		  uint32_t at, uint32_t next, struct dn_unigram_place *places)
{
	const struct dn_vocabulary *vocabulary = &tokenizer->vocabulary;
	uint32_t most = DN_MIN(size, at + tokenizer->unigram.max_size);
	bool found = false;

	for (uint32_t end = next; end <= most; end++) {
		uint32_t token;
		double score;

		/* Not inside of a character; what was not valid has been replaced. */
		if (end < size && ((uint8_t)word[end] & 0xc0) == 0x80)
			continue;
		token = dn_vocabulary_find_plain(vocabulary, word + at, end - at);
		if (token == DN_TOKEN_NONE)
			continue;
		found = found || end == next;
		score = (double)dn_vocabulary_score(vocabulary, token);
		offer(&places[end], places[at].score + score, token, at);
	}
	if (!found)
		offer(&places[next], places[at].score + (double)tokenizer->unigram.unknown_score,
		      DN_TOKEN_NONE, at);
}

static int encode_word(const struct dn_tokenizer *tokenizer, struct dn_unigram_scratch *scratch,
		       struct dn_token_sink *sink, struct dn_error *err)
{
	const char *word = scratch->word.word;
	uint32_t size = (uint32_t)scratch->word.size;
	struct dn_unigram_place *places;
	uint32_t point, next;

	scratch->word.size = 0;
	if (!size)
		return 0;
	places = places_grow(scratch, (size_t)size + 1, err);
	if (!places)
		return -ENOMEM;
	places[0] = (struct dn_unigram_place){ 0.0, DN_TOKEN_NONE, 0 };
	for (uint32_t i = 1; i <= size; i++)
		places[i] = (struct dn_unigram_place){ -INFINITY, DN_TOKEN_NONE, 0 };
	for (uint32_t at = 0; at < size; at = next) {
		next = at + (uint32_t)dn_utf8_decode(word + at, size - at, &point);
		leave(tokenizer, word, size, at, next, places);
	}
	/* The way is known from its end: turn it round in place, each place to the one behind. */
	for (uint32_t at = size, behind = size; at; at = next) {
		next = places[at].from;
		places[next].score = places[at].token == DN_TOKEN_NONE ? 1.0 : 0.0;
		places[at].from = behind;
		behind = at;
		if (!next)
			places[0].from = behind;
	}
	for (uint32_t at = 0; at < size; at = next) {
		next = places[at].from;
		if (places[at].score > 0.0)
			dn_token_sink_put_unknown(sink, tokenizer->unknown);
		else
			dn_token_sink_put(sink, places[next].token);
	}
	return 0;
}

/* One text's state between its bytes. */
struct unigram_text {
	const struct dn_tokenizer *tokenizer;
	struct dn_unigram_scratch *scratch;
	struct dn_token_sink *sink;
	bool in_word;
	bool has_prefix;
};

static int add_space(struct unigram_text *text, struct dn_error *err)
{
	struct dn_escape_scratch *word = &text->scratch->word;
	int r = 0;

	if (dn_escape_can_cut(&text->tokenizer->escape, word))
		r = encode_word(text->tokenizer, text->scratch, text->sink, err);
	if (r < 0)
		return r;
	return dn_escape_append(word, DN_ESCAPED_SPACE, DN_ESCAPED_SPACE_SIZE, err);
}

static int add_byte(struct unigram_text *text, char byte, struct dn_error *err)
{
	bool merges = text->tokenizer->unigram.merges_spaces;
	int r = 0;

	if (byte == ' ') {
		text->in_word = false;
		return merges ? 0 : add_space(text, err);
	}
	if (!text->in_word && (merges || (text->tokenizer->space_prefix && !text->has_prefix))) {
		text->has_prefix = true;
		r = add_space(text, err);
	}
	text->in_word = true;
	return r < 0 ? r : dn_escape_append(&text->scratch->word, &byte, 1, err);
}

int dn_unigram_encode(const struct dn_tokenizer *tokenizer, struct dn_unigram_scratch *scratch,
		      const char *text, size_t size, struct dn_token_sink *sink,
		      struct dn_error *err)
{
	struct unigram_text state = { tokenizer, scratch, sink, false, false };
	int r = 0;

	for (size_t at = 0; at < size;) {
		const char *piece = NULL;
		size_t used = match_map(&tokenizer->unigram, text + at, size - at, &piece);
		size_t length = piece ? strlen(piece) : 0;
		uint32_t point;

		if (!used) {
			used = dn_utf8_decode(text + at, size - at, &point);
			length = used;
			piece = text + at;
			if (used == 1 && (uint8_t)text[at] >= 0x80) {
				piece = REPLACEMENT;
				length = strlen(REPLACEMENT);
			}
		}
		for (size_t i = 0; i < length && r == 0; i++)
			r = add_byte(&state, piece[i], err);
		if (r < 0)
			return r;
		at += used;
	}
	return encode_word(tokenizer, scratch, sink, err);
}
