/* SPDX-License-Identifier: MIT */
/*
 * Texts, with a small vocabulary that has every byte: whatever is encoded comes back, byte for
 * byte; streaming shows whole UTF-8 only; text alone makes no control token. The first byte of the
 * input picks the pattern family, the second the flags.
 */

#include "base/text.h"

#include "../unit/gguf-builder.c"
#include "../unit/tokenizer-maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static const char *const families[] = {
	"smollm", "gpt-2",	"llama-bpe",	"qwen2",	  "default",	 "qwen35",
	"gpt-4o", "tekken",	"deepseek-llm", "deepseek-coder", "deepseek-v3", "bloom",
	"viking", "bailingmoe", "falcon",	"seed-coder"
};
/* Made once and kept, as long as the fuzzer runs. */
static struct dn_tokenizer *tokenizers[DN_ARRAY_SIZE(families)];
static struct dn_gguf *ggufs[DN_ARRAY_SIZE(families)];
static struct maker maker;

static const struct dn_tokenizer *get_tokenizer(size_t which)
{
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;

	if (tokenizers[which])
		return tokenizers[which];
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
	MUST(dn_tokenizer_new(ggufs[which], &tokenizers[which], &err) == 0);
	return tokenizers[which];
}

static void check_stream(const struct dn_tokenizer *tokenizer, const uint32_t *tokens, size_t n,
			 const char *text, size_t size)
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
	if (dn_utf8_valid(text, size))
		MUST(all.size == size && (!size || !memcmp(all.data, text, size)));
	dn_buffer_done(&all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct dn_tokenizer *tokenizer;
	struct dn_error err = DN_ERROR_INIT;
	const char *text = (const char *)data + 2;
	uint32_t *tokens;
	unsigned int flags;
	size_t n, at = 0;

	if (size < 2 || size > 100000)
		return 0;
	tokenizer = get_tokenizer(data[0] % DN_ARRAY_SIZE(families));
	flags = data[1] & 1 ? DN_ENCODE_SPECIAL : 0;
	size -= 2;
	/* No text has more tokens than bytes here. */
	tokens = malloc((size + 1) * sizeof(*tokens));
	MUST(tokens);
	MUST(dn_tokenizer_encode(tokenizer, text, size, flags, tokens, size, &n, &err) == 0);
	MUST(n <= size);
	for (size_t i = 0; i < n; i++) {
		size_t bytes;
		const char *token = dn_tokenizer_bytes(tokenizer, tokens[i], &bytes);

		MUST(token && bytes <= size - at && !memcmp(token, text + at, bytes));
		MUST(flags || dn_tokenizer_kind(tokenizer, tokens[i]) != DN_TOKEN_CONTROL);
		at += bytes;
	}
	MUST(at == size);
	check_stream(tokenizer, tokens, n, text, size);
	free(tokens);
	return 0;
}
