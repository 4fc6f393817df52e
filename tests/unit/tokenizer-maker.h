/* SPDX-License-Identifier: MIT */
/* Small vocabularies for tests and fuzzers: all 256 bytes, then what a test adds. */
#ifndef TESTS_UNIT_TOKENIZER_MAKER_H
#define TESTS_UNIT_TOKENIZER_MAKER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer-internal.h"
#include "gguf-builder.h"

#define MAKER_TOKENS_MAX 2048
#define MAKER_MERGES_MAX 2048

/**
 * struct maker - a vocabulary on its way into a file
 * @tokens: 0 to 255 spell the bytes in their order
 * @scores: written where @scored
 * @pre: "tokenizer.ggml.pre"; NULL leaves the key out
 */
struct maker {
	char texts[MAKER_TOKENS_MAX][64];
	const char *tokens[MAKER_TOKENS_MAX];
	int32_t kinds[MAKER_TOKENS_MAX];
	float scores[MAKER_TOKENS_MAX];
	uint32_t n_tokens;
	bool scored;
	char merge_texts[MAKER_MERGES_MAX][64];
	const char *merges[MAKER_MERGES_MAX];
	uint32_t n_merges;
	const char *model;
	const char *pre;
};

static inline const char *maker_copy(char out[64], const char *text)
{
	size_t size = strlen(text) + 1;

	if (size > 64)
		abort();
	memcpy(out, text, size);
	return out;
}

static inline uint32_t maker_add(struct maker *maker, const char *text, int32_t kind)
{
	uint32_t token = maker->n_tokens++;

	if (token >= MAKER_TOKENS_MAX)
		abort();
	maker->tokens[token] = maker_copy(maker->texts[token], text);
	maker->kinds[token] = kind;
	maker->scores[token] = 0;
	return token;
}

static inline uint32_t maker_score(struct maker *maker, const char *text, float score)
{
	uint32_t token = maker_add(maker, text, DN_TOKEN_NORMAL);

	maker->scores[token] = score;
	return token;
}

static inline void maker_init(struct maker *maker, const char *pre)
{
	char spelt[3];

	maker->n_tokens = 0;
	maker->n_merges = 0;
	maker->scored = false;
	maker->model = "gpt2";
	maker->pre = pre;
	for (uint32_t i = 0; i < 256; i++) {
		spelt[dn_alphabet_spell((uint8_t)i, spelt)] = '\0';
		maker_add(maker, spelt, DN_TOKEN_NORMAL);
	}
}

/* SentencePiece: <unk>, <s>, </s>, then the bytes; a test adds characters and pieces. */
static inline void maker_init_pieces(struct maker *maker, const char *model)
{
	char name[8];

	maker->n_tokens = 0;
	maker->n_merges = 0;
	maker->scored = true;
	maker->model = model;
	maker->pre = NULL;
	maker_add(maker, "<unk>", DN_TOKEN_UNKNOWN);
	maker_add(maker, "<s>", DN_TOKEN_CONTROL);
	maker_add(maker, "</s>", DN_TOKEN_CONTROL);
	for (uint32_t i = 0; i < 256; i++) {
		(void)snprintf(name, sizeof(name), "<0x%02X>", i);
		maker_add(maker, name, DN_TOKEN_BYTE);
	}
}

/* WordPiece: [PAD], [UNK], [CLS], [SEP]; a test adds pieces. */
static inline void maker_init_words(struct maker *maker)
{
	maker_init_pieces(maker, "bert");
	maker->n_tokens = 0;
	maker->scored = false;
	maker_add(maker, "[PAD]", DN_TOKEN_CONTROL);
	maker_add(maker, "[UNK]", DN_TOKEN_UNKNOWN);
	maker_add(maker, "[CLS]", DN_TOKEN_CONTROL);
	maker_add(maker, "[SEP]", DN_TOKEN_CONTROL);
}

/* The merge of two spelt texts, and the token that it makes unless that is there. */
static inline uint32_t maker_merge(struct maker *maker, const char *left, const char *right)
{
	char whole[256];
	uint32_t merge = maker->n_merges++;

	if (merge >= MAKER_MERGES_MAX)
		abort();
	(void)snprintf(whole, sizeof(whole), "%s %s", left, right);
	maker->merges[merge] = maker_copy(maker->merge_texts[merge], whole);
	(void)snprintf(whole, sizeof(whole), "%s%s", left, right);
	for (uint32_t i = 0; i < maker->n_tokens; i++) {
		if (!strcmp(maker->tokens[i], whole))
			return i;
	}
	return maker_add(maker, whole, DN_TOKEN_NORMAL);
}

static inline void maker_write(const struct maker *maker, struct gguf_builder *builder)
{
	uint8_t kinds[MAKER_TOKENS_MAX * 4];
	uint8_t scores[MAKER_TOKENS_MAX * 4];

	for (uint32_t i = 0; i < maker->n_tokens; i++) {
		uint32_t bits;

		memcpy(&bits, &maker->scores[i], sizeof(bits));
		for (uint32_t k = 0; k < 4; k++) {
			kinds[4 * i + k] = (uint8_t)((uint32_t)maker->kinds[i] >> (8 * k));
			scores[4 * i + k] = (uint8_t)(bits >> (8 * k));
		}
	}
	gguf_add_text(builder, "tokenizer.ggml.model", maker->model);
	if (maker->pre)
		gguf_add_text(builder, "tokenizer.ggml.pre", maker->pre);
	gguf_add_texts(builder, "tokenizer.ggml.tokens", maker->tokens, maker->n_tokens);
	gguf_add_array(builder, "tokenizer.ggml.token_type", DN_GGUF_I32, maker->n_tokens, kinds,
		       (size_t)4 * maker->n_tokens);
	if (maker->scored)
		gguf_add_array(builder, "tokenizer.ggml.scores", DN_GGUF_F32, maker->n_tokens,
			       scores, (size_t)4 * maker->n_tokens);
	if (maker->n_merges || !strcmp(maker->model, "gpt2"))
		gguf_add_texts(builder, "tokenizer.ggml.merges", maker->merges, maker->n_merges);
}

/* Opens what the builder holds, which is emptied. */
static inline int maker_open(struct gguf_builder *builder, struct dn_gguf **ret_gguf)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = gguf_builder_fd(builder);
	int r = dn_gguf_open(&fd, 1, ret_gguf, &err);

	if (r < 0)
		(void)fprintf(stderr, "tokenizer-maker: %s\n", err.message);
	close(fd);
	gguf_builder_done(builder);
	return r;
}

#endif /* TESTS_UNIT_TOKENIZER_MAKER_H */
