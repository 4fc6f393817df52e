/* SPDX-License-Identifier: MIT */
/*
 * A tokenizer's kept tables of which any bytes are other: what opens encodes texts, with ids inside
 * the vocabulary and none that text may not become.
 */

#include <dunlin/tokenizer.h>

#include "engine/tokenizer/tables.h"
#include "fuzz.h"

#include "../unit/gguf-builder.c"
#include "../unit/tokenizer-maker.h"

#define TOKENS_MAX 256

struct tables {
	uint8_t bytes[16384];
	size_t size;
};

static int put_bytes(void *data, const void *bytes, size_t size, struct dn_error *err)
{
	struct tables *tables = data;

	(void)err;
	MUST(size <= sizeof(tables->bytes) - tables->size);
	memcpy(tables->bytes + tables->size, bytes, size);
	tables->size += size;
	return 0;
}

/* Made once and kept, as long as the fuzzer runs. */
static const struct dn_gguf *vocabulary(void)
{
	static struct maker maker;
	static struct dn_gguf *gguf;
	struct gguf_builder builder;

	if (gguf)
		return gguf;
	maker_init(&maker, "gpt-2");
	maker_merge(&maker, "a", "a");
	maker_merge(&maker, "h", "e");
	maker_merge(&maker, "aa", "aa");
	maker_add(&maker, "<|im_end|>", DN_TOKEN_CONTROL);
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	MUST(maker_open(&builder, &gguf) == 0);
	return gguf;
}

static void encode(const struct dn_tokenizer *tokenizer, const char *text)
{
	struct dn_error err = DN_ERROR_INIT;
	uint32_t tokens[TOKENS_MAX];
	size_t n = 0;

	MUST(dn_tokenizer_encode(tokenizer, text, strlen(text), 0, tokens, TOKENS_MAX, &n, &err) ==
	     0);
	for (size_t i = 0; i < DN_MIN(n, (size_t)TOKENS_MAX); i++)
		MUST(tokens[i] < dn_tokenizer_size(tokenizer) &&
		     dn_vocabulary_is_plain(&tokenizer->vocabulary, tokens[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(64) struct tables good, tables;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_tokenizer *tokenizer = NULL;
	struct dn_tokenizer_tables taken;

	if (!good.size) {
		MUST(dn_tokenizer_new(vocabulary(), NULL, &tokenizer, &err) == 0);
		MUST(dn_tokenizer_tables_write(tokenizer, put_bytes, &good, &err) == 0);
		dn_tokenizer_free(tokenizer);
	}
	tables = good;
	for (size_t i = 0; i < DN_MIN(size, tables.size); i++)
		tables.bytes[i] ^= data[i];
	taken = (struct dn_tokenizer_tables){ tables.bytes, size > tables.size ? size % tables.size
									       : tables.size };
	MUST(dn_tokenizer_new(vocabulary(), &taken, &tokenizer, &err) == 0);
	encode(tokenizer, "aaaa he the <|im_end|> \xc3\xa9");
	encode(tokenizer, "");
	dn_tokenizer_free(tokenizer);
	return 0;
}
