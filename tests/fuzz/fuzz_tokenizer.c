/* SPDX-License-Identifier: MIT */
/*
 * Texts, with small vocabularies: streaming shows whole UTF-8 only, and text alone makes no control
 * token. Where the vocabulary has every byte, whatever is encoded comes back, byte for byte. The
 * first byte of the input picks the pattern family or the kind, the second the flags.
 */

#include "base/text.h"
#include "fuzz.h"

#include "../unit/gguf-builder.c"
#include "../unit/tokenizer-maker.h"

static const char *const families[] = {
	"smollm", "gpt-2",	"llama-bpe",	"qwen2",	  "default",	 "qwen35",
	"gpt-4o", "tekken",	"deepseek-llm", "deepseek-coder", "deepseek-v3", "bloom",
	"viking", "bailingmoe", "falcon",	"seed-coder"
};
/* Kinds that are no byte-level BPE; of the first two a text comes back. */
static const char *const kinds[] = { "llama", "gemma4", "phi3", "bert", "t5" };

enum { N_FAMILIES = DN_ARRAY_SIZE(families), N_ALL = N_FAMILIES + DN_ARRAY_SIZE(kinds) };

/* Made once and kept, as long as the fuzzer runs. */
static struct dn_tokenizer *tokenizers[N_ALL];
static struct dn_gguf *ggufs[N_ALL];
static struct maker maker;

/* Replaces "fi" by "f i" and U+00A0 by a space: a trie of a few units in darts-clone's form. */
static void add_charsmap(struct gguf_builder *builder)
{
	static const char replacements[] = "f i\0 ";
	uint32_t units[1024] = { 0 };
	uint8_t map[4 + sizeof(units) + sizeof(replacements)] = { 0 };

	units[0] = 256 << 10;		    /* the root's children: 256 ^ byte */
	units[256 ^ 'f'] = 512 << 10 | 'f'; /* relative to itself */
	units[256 ^ 'f' ^ 512 ^ 'i'] = 16 << 10 | 1 << 8 | 'i';
	units[256 ^ 'f' ^ 512 ^ 'i' ^ 16] = 0x80000000U;
	units[256 ^ 0xc2] = 512 << 10 | 0xc2;
	units[256 ^ 0xc2 ^ 512 ^ 0xa0] = 16 << 10 | 1 << 8 | 0xa0;
	units[256 ^ 0xc2 ^ 512 ^ 0xa0 ^ 16] = 0x80000000U | 4;
	for (size_t i = 0; i < DN_ARRAY_SIZE(units); i++) {
		for (size_t k = 0; k < 4; k++)
			map[4 + 4 * i + k] = (uint8_t)(units[i] >> (8 * k));
	}
	map[1] = sizeof(units) >> 8;
	memcpy(map + 4 + sizeof(units), replacements, sizeof(replacements));
	gguf_add_array(builder, "tokenizer.ggml.precompiled_charsmap", DN_GGUF_U8, sizeof(map), map,
		       sizeof(map));
}

static const struct dn_tokenizer *get_kind(const char *kind, size_t which)
{
	static const char *const pieces[] = { "\xe2\x96\x81",
					      "a",
					      "b",
					      "t",
					      "h",
					      "e",
					      "\xe2\x96\x81t",
					      "he",
					      "ab",
					      "aa",
					      "aaaa",
					      "f",
					      "\xe2\x96\x81"
					      "a",
					      "i",
					      "u",
					      "<u>u",
					      ">",
					      "<",
					      "a\xe2\x96\x81"
					      "b",
					      "\xe2\x96\x81"
					      "f",
					      "\xc3\xa9" };
	bool phi3 = !strcmp(kind, "phi3");
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;

	maker_init_pieces(&maker, phi3 ? "llama" : kind);
	for (size_t i = 0; i < DN_ARRAY_SIZE(pieces); i++)
		maker_score(&maker, pieces[i], -(float)(i * 7 % 11));
	maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	maker_add(&maker, "\n\n", DN_TOKEN_USER_DEFINED);
	if (!strcmp(kind, "gemma4")) {
		maker_merge(&maker, "a", "a");
		maker_merge(&maker, "\xe2\x96\x81", "t");
		maker_merge(&maker, "h", "e");
		maker_merge(&maker, "\n", "\n");
	}
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	if (phi3)
		gguf_add_text(&builder, "general.architecture", "phi3");
	if (!strcmp(kind, "t5")) {
		gguf_add_bool(&builder, "tokenizer.ggml.add_space_prefix", true);
		gguf_add_bool(&builder, "tokenizer.ggml.remove_extra_whitespaces", true);
		add_charsmap(&builder);
	}
	MUST(maker_open(&builder, &ggufs[which]) == 0);
	MUST(dn_tokenizer_new(ggufs[which], NULL, &tokenizers[which], &err) == 0);
	return tokenizers[which];
}

static const struct dn_tokenizer *get_tokenizer(size_t which)
{
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;

	if (tokenizers[which])
		return tokenizers[which];
	if (which >= N_FAMILIES)
		return get_kind(kinds[which - N_FAMILIES], which);
	maker_init(&maker, families[which]);
	maker_merge(&maker, "a", "a");
	maker_merge(&maker, "aa", "aa");
	maker_merge(&maker, "\xc4\xa0", "\xc4\xa0");
	maker_merge(&maker, "\xc4\xa0\xc4\xa0", "\xc4\xa0\xc4\xa0");
	maker_merge(&maker, "\xc4\xa0", "t");
	maker_merge(&maker, "h", "e");
	maker_merge(&maker, "\xc4\xa0t", "he");
	maker_merge(&maker, "1", "2");
	maker_merge(&maker, "\xc3\xa2", "\xc4\xa4");
	maker_merge(&maker, "|", ">");
	maker_merge(&maker, "<", "|");
	maker_add(&maker, "<|im_end|>", DN_TOKEN_CONTROL);
	maker_add(&maker, "<|", DN_TOKEN_CONTROL);
	maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	maker_add(&maker, "<u><u>", DN_TOKEN_USER_DEFINED);
	maker_add(&maker, "u>u", DN_TOKEN_USER_DEFINED);
	maker_add(&maker, "\n\n\n", DN_TOKEN_USER_DEFINED);
	maker_add(&maker, "\n\n", DN_TOKEN_USER_DEFINED);
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	MUST(maker_open(&builder, &ggufs[which]) == 0);
	MUST(dn_tokenizer_new(ggufs[which], NULL, &tokenizers[which], &err) == 0);
	return tokenizers[which];
}

static void check_stream(const struct dn_tokenizer *tokenizer, const uint32_t *tokens, size_t n,
			 const char *text, size_t size, bool comes_back)
{
	struct dn_detokenizer stream = { 0 };
	size_t room = dn_tokenizer_longest(tokenizer) + 8;
	struct dn_buffer all = DN_BUFFER_INIT(SIZE_MAX / 2);
	char piece[512];
	int r;

	MUST(room <= sizeof(piece));
	for (size_t i = 0; i < n; i++) {
		r = dn_tokenizer_decode(tokenizer, &stream, tokens[i], true, piece, room);
		MUST(r >= 0 && (size_t)r <= room && dn_utf8_valid(piece, (size_t)r));
		MUST(dn_buffer_append(&all, piece, (size_t)r) == 0);
	}
	r = dn_tokenizer_decode_end(tokenizer, &stream, piece, sizeof(piece));
	MUST(r == 0 || r == 3);
	MUST(dn_buffer_append(&all, piece, (size_t)r) == 0);
	if (comes_back && dn_utf8_valid(text, size))
		MUST(all.size == size && (!size || !memcmp(all.data, text, size)));
	dn_buffer_done(&all);
}

/* Each byte is in some token, but for what kinds change: then the stream is looked at alone. */
static void check_bytes(const struct dn_tokenizer *tokenizer, const uint32_t *tokens, size_t n,
			const char *text, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		size_t bytes;
		const char *token = dn_tokenizer_bytes(tokenizer, tokens[i], &bytes);

		MUST(token && bytes <= size - at && !memcmp(token, text + at, bytes));
		at += bytes;
	}
	MUST(at == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dn_tokenizer *tokenizer;
	struct dn_error err = DN_ERROR_INIT;
	const char *text = (const char *)data + 2;
	uint32_t *tokens;
	unsigned int flags;
	size_t n, max, which;
	bool comes_back;

	if (size < 2 || size > 100000)
		return 0;
	which = data[0] % N_ALL;
	tokenizer = get_tokenizer(which);
	flags = data[1] & 1 ? DN_ENCODE_SPECIAL : 0;
	size -= 2;
	/* A byte is a token at most; it becomes three where it is no text, and texts get a prefix. */
	max = 4 * size + 4;
	tokens = malloc(max * sizeof(*tokens));
	MUST(tokens);
	MUST(dn_tokenizer_encode(tokenizer, text, size, flags, tokens, max, &n, &err) == 0);
	MUST(n <= (which < N_FAMILIES ? size : max));
	for (size_t i = 0; i < n; i++)
		MUST(flags || dn_tokenizer_kind(tokenizer, tokens[i]) != DN_TOKEN_CONTROL);
	if (which < N_FAMILIES)
		check_bytes(tokenizer, tokens, n, text, size);
	/* A special token makes texts of its two sides, each with a prefix; the escape is a space. */
	comes_back = which < N_FAMILIES + 2 && !memmem(text, size, "\xe2\x96\x81", 3) &&
		     (which != N_FAMILIES ||
		      (!memchr(text, '<', size) && !memmem(text, size, "\n\n", 2)));
	check_stream(tokenizer, tokens, n, text, size, comes_back);
	free(tokens);
	return 0;
}
