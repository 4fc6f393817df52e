/* SPDX-License-Identifier: MIT */
/*
 * WordPiece as BERT has it (Devlin, Chang, Lee, Toutanova 2019, tokenization.py): a text is
 * cleaned, cut at white space, punctuation and CJK characters, and each word is the longest token
 * that begins it, then the longest that goes on, to its end; or else it is unknown as a whole.
 *
 * GGUF spells a token that begins a word with U+2581 ahead and one that goes on without "##".
 *
 * Where llama.cpp's ids are others, BERT's own are kept: llama.cpp decomposes a character into its
 * first part alone (Hangul loses its vowels) and drops marks that take a place of their own (Mc, of
 * Indic scripts); takes apart words of more than 100 characters; sees white space in U+000B,
 * U+000C and U+0085, which BERT drops as control characters; and lower-cases every vocabulary
 * whose file does not say otherwise, where here one with capital letters is left as it is.
 */

#include <dunlin/tokenizer.h>

#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"
#include "engine/tokenizer/unicode.h"

/* max_input_chars_per_word: a longer word is unknown. */
#define WORD_MAX 100

/* A word on its way; @text begins with the mark of a word's beginning. */
struct piece_word {
	char text[DN_ESCAPED_SPACE_SIZE + 4 * WORD_MAX];
	uint32_t size;
	uint32_t n;
};

struct words {
	const struct dn_tokenizer *tokenizer;
	struct dn_token_sink *sink;
	struct piece_word word;
};

/* Blocks of ideographs as BERT's tokenizers list them; kana and Hangul are words. */
static bool is_ideograph(uint32_t point)
{
	static const uint32_t blocks[][2] = {
		{ 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },   { 0xf900, 0xfaff },
		{ 0x20000, 0x2a6df }, { 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f },
		{ 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f },
	};

	for (size_t i = 0; i < DN_ARRAY_SIZE(blocks); i++) {
		if (point >= blocks[i][0] && point <= blocks[i][1])
			return true;
	}
	return false;
}

static uint32_t longest_piece(const struct dn_vocabulary *vocabulary, const struct piece_word *word,
			      uint32_t at, uint32_t *ret_end)
{
	uint32_t end = DN_MIN(word->size, at + vocabulary->max_size);

	for (; end > at; end--) {
		uint32_t token;

		if (end < word->size && ((uint8_t)word->text[end] & 0xc0) == 0x80)
			continue;
		token = dn_vocabulary_find_plain(vocabulary, word->text + at, end - at);
		if (token != DN_TOKEN_NONE) {
			*ret_end = end;
			return token;
		}
	}
	return DN_TOKEN_NONE;
}

/* Gives out the word and begins another. */
static void flush(struct words *words)
{
	const struct dn_tokenizer *tokenizer = words->tokenizer;
	struct piece_word *word = &words->word;
	uint32_t tokens[WORD_MAX + 1];
	uint32_t n = 0;
	bool whole = word->n <= WORD_MAX;

	if (!word->n)
		return;
	for (uint32_t at = 0; whole && at < word->size; n++) {
		tokens[n] = longest_piece(&tokenizer->vocabulary, word, at, &at);
		whole = tokens[n] != DN_TOKEN_NONE;
	}
	for (uint32_t i = 0; whole && i < n; i++)
		dn_token_sink_put(words->sink, tokens[i]);
	if (!whole && tokenizer->unknown != DN_TOKEN_NONE)
		dn_token_sink_put(words->sink, tokenizer->unknown);
	word->size = DN_ESCAPED_SPACE_SIZE;
	word->n = 0;
}

static void add(struct words *words, uint32_t point)
{
	struct piece_word *word = &words->word;

	if (word->n < WORD_MAX)
		word->size += (uint32_t)dn_utf8_encode(point, word->text + word->size);
	if (word->n <= WORD_MAX)
		word->n++;
}

/* A character that was cleaned. */
static void take(struct words *words, uint32_t point)
{
	const struct dn_tokenizer *tokenizer = words->tokenizer;
	bool apart = dn_unicode_class(point) == DN_UNICODE_PUNCTUATION;

	if (tokenizer->strips_accents && dn_unicode_class(point) == DN_UNICODE_MARK)
		return;
	if (apart)
		flush(words);
	if (tokenizer->lowercase && point == 0x130) {
		/* The one letter whose lower case is two: i and a dot above. */
		add(words, 'i');
		add(words, 0x307);
	} else {
		add(words, tokenizer->lowercase ? dn_unicode_lower(point) : point);
	}
	if (apart)
		flush(words);
}

void dn_words_encode(const struct dn_tokenizer *tokenizer, const char *text, size_t size,
		     struct dn_token_sink *sink)
{
	struct words words = {
		.tokenizer = tokenizer,
		.sink = sink,
		.word = { .text = DN_ESCAPED_SPACE, .size = DN_ESCAPED_SPACE_SIZE },
	};
	uint32_t parts[DN_UNICODE_STRIP_MAX];
	uint32_t point;

	for (size_t at = 0; at < size;) {
		enum dn_unicode_class class;
		unsigned int n = 1;
		bool apart;

		at += dn_utf8_decode(text + at, size - at, &point);
		class = dn_unicode_class(point);
		if (class == DN_UNICODE_SPACE)
			flush(&words);
		if (class == DN_UNICODE_SPACE || class == DN_UNICODE_CONTROL)
			continue;
		apart = is_ideograph(point);
		parts[0] = point;
		if (tokenizer->strips_accents)
			n = dn_unicode_strip(point, parts);
		if (apart)
			flush(&words);
		for (unsigned int i = 0; i < n; i++)
			take(&words, parts[i]);
		if (apart)
			flush(&words);
	}
	flush(&words);
}

bool dn_words_has_capitals(const struct dn_vocabulary *vocabulary)
{
	char text[DN_ESCAPED_SPACE_SIZE + 1] = DN_ESCAPED_SPACE;

	for (int letter = 'A'; letter <= 'Z'; letter++) {
		text[DN_ESCAPED_SPACE_SIZE] = (char)letter;
		if (dn_vocabulary_find_plain(vocabulary, text, sizeof(text)) == DN_TOKEN_NONE)
			return false;
	}
	return true;
}

bool dn_words_has_beginnings(const struct dn_vocabulary *vocabulary)
{
	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		struct dn_text text = dn_vocabulary_text(vocabulary, i);

		if (text.size > DN_ESCAPED_SPACE_SIZE &&
		    !memcmp(text.data, DN_ESCAPED_SPACE, DN_ESCAPED_SPACE_SIZE))
			return true;
	}
	return false;
}
