/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece's spelling of texts (Kudo, Richardson 2018): a space is U+2581, and a byte that no
 * token covers is the token "<0xXX>". Its models see a text as one word, which costs memory by the
 * size of the text; but nearly no token has a space behind something else, so a text may be cut
 * before its spaces, and what such a cut could change is known from the vocabulary.
 */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"

static bool is_escaped_space(const char *text, size_t size)
{
	return size >= DN_ESCAPED_SPACE_SIZE &&
	       !memcmp(text, DN_ESCAPED_SPACE, DN_ESCAPED_SPACE_SIZE);
}

static void add_joins(struct dn_escape *escape, struct dn_text text)
{
	size_t at = 0;
	bool behind_space = true;

	while (at < text.size) {
		bool is_space = is_escaped_space(text.data + at, text.size - at);

		if (is_space && !behind_space)
			escape->joins[(uint8_t)text.data[at - 1]] = true;
		behind_space = is_space;
		at += is_space ? DN_ESCAPED_SPACE_SIZE : 1;
	}
}

static uint32_t find_byte(const struct dn_vocabulary *vocabulary, uint8_t byte)
{
	static const char digits[] = "0123456789ABCDEF";
	const char name[6] = { '<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>' };
	const char raw = (char)byte;
	uint32_t token = dn_vocabulary_find(vocabulary, name, sizeof(name));

	if (token != DN_TOKEN_NONE && !dn_vocabulary_is_guarded(vocabulary, token))
		return token;
	return dn_vocabulary_find_plain(vocabulary, &raw, 1);
}

void dn_escape_read(struct dn_escape *escape, const struct dn_vocabulary *vocabulary,
		    uint32_t unknown)
{
	escape->unknown = unknown;
	for (uint32_t i = 0; i < 256; i++)
		escape->bytes[i] = find_byte(vocabulary, (uint8_t)i);
	for (uint32_t i = 0; i < vocabulary->n_tokens; i++) {
		if (dn_vocabulary_is_plain(vocabulary, i))
			add_joins(escape, dn_vocabulary_text(vocabulary, i));
	}
}

size_t dn_escape_decode(const char *text, size_t size, bool is_byte, char *out)
{
	size_t n = 0;

	if (is_byte && size == 6 && !memcmp(text, "<0x", 3) && text[5] == '>' &&
	    dn_hex_value(text[3]) >= 0 && dn_hex_value(text[4]) >= 0) {
		out[0] = (char)(dn_hex_value(text[3]) << 4 | dn_hex_value(text[4]));
		return 1;
	}
	for (size_t at = 0; at < size;) {
		bool is_space = is_escaped_space(text + at, size - at);

		out[n++] = is_space ? ' ' : text[at];
		at += is_space ? DN_ESCAPED_SPACE_SIZE : 1;
	}
	return n;
}

int dn_escape_append(struct dn_escape_scratch *scratch, const char *bytes, size_t size,
		     struct dn_error *err)
{
	if (size > scratch->capacity - scratch->size) {
		size_t capacity = DN_MAX(2 * scratch->capacity, (size_t)256);
		char *word;

		/* Escapes make three bytes of one; a vocabulary's replacements can make more. */
		if (capacity > 4 * DN_ENCODE_TEXT_MAX)
			return dn_error_set(err, E2BIG, "one word of more than %zu bytes",
					    scratch->capacity);
		word = realloc(scratch->word, capacity);
		if (!word)
			return dn_error_memory(err, "one long word", capacity);
		scratch->word = word;
		scratch->capacity = capacity;
	}
	memcpy(scratch->word + scratch->size, bytes, size);
	scratch->size += size;
	return 0;
}

bool dn_escape_can_cut(const struct dn_escape *escape, const struct dn_escape_scratch *scratch)
{
	size_t size = scratch->size;

	return size && !escape->joins[(uint8_t)scratch->word[size - 1]] &&
	       !(size >= DN_ESCAPED_SPACE_SIZE &&
		 is_escaped_space(scratch->word + size - DN_ESCAPED_SPACE_SIZE,
				  DN_ESCAPED_SPACE_SIZE));
}

static int flush(struct dn_escape_scratch *scratch, dn_plain_fn *word, void *data,
		 struct dn_error *err)
{
	size_t size = scratch->size;

	scratch->size = 0;
	return size ? word(data, scratch->word, size, err) : 0;
}

int dn_escape_split(const struct dn_escape *escape, struct dn_escape_scratch *scratch,
		    unsigned int flags, const char *text, size_t size, dn_plain_fn *word,
		    void *data, struct dn_error *err)
{
	int r = 0;

	if (flags & DN_ESCAPE_PREFIX)
		r = dn_escape_append(scratch, DN_ESCAPED_SPACE, DN_ESCAPED_SPACE_SIZE, err);
	for (size_t at = 0; r == 0 && at < size;) {
		bool is_literal = is_escaped_space(text + at, size - at);
		bool is_space = is_literal || text[at] == ' ';
		bool cut = is_space && dn_escape_can_cut(escape, scratch);

		if ((flags & DN_ESCAPE_LINES) && scratch->size)
			cut = cut ||
			      (text[at] == '\n') != (scratch->word[scratch->size - 1] == '\n');
		if (cut)
			r = flush(scratch, word, data, err);
		if (r == 0 && is_space)
			r = dn_escape_append(scratch, DN_ESCAPED_SPACE, DN_ESCAPED_SPACE_SIZE, err);
		else if (r == 0)
			r = dn_escape_append(scratch, text + at, 1, err);
		at += is_literal ? DN_ESCAPED_SPACE_SIZE : 1;
	}
	return r < 0 ? r : flush(scratch, word, data, err);
}

void dn_escape_scratch_done(struct dn_escape_scratch *scratch)
{
	free(scratch->word);
	*scratch = (struct dn_escape_scratch){ 0 };
}

void dn_escape_put_bytes(const struct dn_escape *escape, const char *text, size_t size,
			 struct dn_token_sink *sink)
{
	for (size_t i = 0; i < size; i++) {
		uint32_t token = escape->bytes[(uint8_t)text[i]];

		if (token != DN_TOKEN_NONE)
			dn_token_sink_put(sink, token);
		else
			dn_token_sink_put_unknown(sink, escape->unknown);
	}
}
