/* SPDX-License-Identifier: MIT */
/* A model file's tokenizer as a whole: which kind it is, its tables, and the way of a text. */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* What PCRE2 takes for compiled patterns, an upper bound. */
#define PATTERN_BYTES ((size_t)64 << 10)

struct encoding {
	const struct dn_tokenizer *tokenizer;
	struct dn_pretokenizer_scratch *patterns;
	struct dn_bpe_scratch bpe;
	struct dn_token_sink sink;
};

static bool text_is(struct dn_text text, const char *name)
{
	return text.size == strlen(name) && !memcmp(text.data, name, text.size);
}

static int read_id(const struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
		   const char *key, uint32_t *ret_token, struct dn_error *err)
{
	uint32_t token;
	int r;

	r = dn_gguf_get_u32(gguf, key, &token, err);
	if (r <= 0)
		return r;
	if (token >= vocabulary->n_tokens)
		return dn_error_set(err, EINVAL, "%s is %u; the vocabulary has %u tokens", key,
				    token, vocabulary->n_tokens);
	*ret_token = token;
	return 0;
}

static int read_special_ids(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
			    struct dn_error *err)
{
	struct dn_vocabulary *vocabulary = &tokenizer->vocabulary;
	int r;

	r = read_id(vocabulary, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos, err);
	if (r < 0)
		return r;
	r = read_id(vocabulary, gguf, "tokenizer.ggml.eos_token_id", &tokenizer->eos, err);
	if (r < 0)
		return r;
	r = dn_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos, err);
	if (r < 0)
		return r;
	if (tokenizer->bos == DN_TOKEN_NONE)
		tokenizer->adds_bos = false;
	return dn_markers_apply(vocabulary, gguf, tokenizer->eos, err);
}

static int read_bpe(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		    struct dn_error *err)
{
	struct dn_text pre = { "default", strlen("default") };
	int r;

	r = dn_gguf_get_text(gguf, "tokenizer.ggml.pre", &pre, err);
	if (r < 0)
		return r;
	r = dn_pretokenizer_new(pre, &tokenizer->pretokenizer, err);
	if (r < 0)
		return r;
	tokenizer->adds_bos = dn_pretokenizer_adds_bos(tokenizer->pretokenizer);
	tokenizer->bpe.whole_words = dn_pretokenizer_whole_words(tokenizer->pretokenizer);
	r = dn_vocabulary_read(&tokenizer->vocabulary, gguf, err);
	if (r < 0)
		return r;
	/* Before the merges, which must know what is a control token. */
	r = read_special_ids(tokenizer, gguf, err);
	if (r < 0)
		return r;
	r = dn_merges_read(&tokenizer->bpe, &tokenizer->vocabulary, gguf, err);
	if (r < 0)
		return r;
	r = dn_specials_build(&tokenizer->specials, &tokenizer->vocabulary, err);
	if (r < 0)
		return r;
	return dn_spelling_new(&tokenizer->vocabulary, &tokenizer->spelling, err);
}

int dn_tokenizer_new(const struct dn_gguf *gguf, struct dn_tokenizer **ret_tokenizer,
		     struct dn_error *err)
{
	struct dn_text model = { "none", strlen("none") };
	struct dn_tokenizer *tokenizer;
	int r;

	r = dn_gguf_get_text(gguf, "tokenizer.ggml.model", &model, err);
	if (r < 0)
		return r;
	if (text_is(model, "none")) {
		*ret_tokenizer = NULL;
		return 0;
	}
	if (!text_is(model, "gpt2"))
		return dn_error_set(err, ENOTSUP,
				    "tokenizer.ggml.model is '%.*s'; supported is 'gpt2' "
				    "(byte-level BPE)",
				    (int)DN_MIN(model.size, (size_t)64), model.data);

	tokenizer = calloc(1, sizeof(*tokenizer));
	if (!tokenizer)
		return dn_error_memory(err, "the tokenizer", sizeof(*tokenizer));
	tokenizer->bos = DN_TOKEN_NONE;
	tokenizer->eos = DN_TOKEN_NONE;
	r = read_bpe(tokenizer, gguf, err);
	if (r < 0) {
		dn_tokenizer_free(tokenizer);
		return r;
	}
	*ret_tokenizer = tokenizer;
	return 0;
}

struct dn_tokenizer *dn_tokenizer_free(struct dn_tokenizer *tokenizer)
{
	if (!tokenizer)
		return NULL;
	dn_vocabulary_done(&tokenizer->vocabulary);
	dn_merges_done(&tokenizer->bpe);
	dn_specials_done(&tokenizer->specials);
	dn_pretokenizer_free(tokenizer->pretokenizer);
	dn_spelling_free(tokenizer->spelling);
	free(tokenizer);
	return NULL;
}

size_t dn_tokenizer_memory(const struct dn_gguf *gguf)
{
	struct dn_gguf_array tokens = { 0 }, merges = { 0 };
	size_t bytes, per_token;

	if (dn_gguf_get_array(gguf, "tokenizer.ggml.tokens", DN_GGUF_STRING, &tokens, NULL) != 1 ||
	    dn_gguf_get_array(gguf, "tokenizer.ggml.merges", DN_GGUF_STRING, &merges, NULL) != 1)
		return 0;
	/* dn_tokenizer_new() refuses more than this. */
	if (tokens.count > DN_TOKENS_MAX || merges.count > DN_MERGES_MAX)
		return 0;
	per_token = sizeof(struct dn_vocab_entry) + sizeof(uint32_t) /* where its bytes are */
		    + 2 * sizeof(uint32_t);			     /* if all were special */
	bytes = sizeof(struct dn_tokenizer) + sizeof(struct dn_spelling) + PATTERN_BYTES;
	bytes += (size_t)tokens.count * per_token;
	/* A string lies in the file behind its length of eight bytes. */
	bytes += tokens.size - 8 * (size_t)tokens.count;
	bytes += (size_t)merges.count * sizeof(struct dn_merge);
	bytes += (size_t)dn_index_slots((uint32_t)tokens.count) * sizeof(uint32_t);
	bytes += (size_t)dn_index_slots((uint32_t)merges.count) * sizeof(uint32_t);
	return bytes;
}

static int encode_word(void *data, const char *word, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;

	return dn_bpe_word(encoding->tokenizer, &encoding->bpe, word, size, &encoding->sink, err);
}

static int encode_plain(void *data, const char *text, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;

	return dn_pretokenizer_split(encoding->tokenizer->pretokenizer, encoding->patterns, text,
				     size, encode_word, encoding, err);
}

int dn_tokenizer_encode(const struct dn_tokenizer *tokenizer, const char *text, size_t size,
			unsigned int flags, uint32_t *tokens, size_t max, size_t *ret_count,
			struct dn_error *err)
{
	struct encoding encoding = {
		.tokenizer = tokenizer,
		.sink = { .tokens = tokens, .max = max },
	};
	int r;

	if (size > DN_ENCODE_TEXT_MAX)
		return dn_error_set(err, E2BIG, "a text of %zu bytes; the limit is %zu", size,
				    DN_ENCODE_TEXT_MAX);
	r = dn_pretokenizer_scratch_new(size, &encoding.patterns, err);
	if (r < 0)
		return r;
	r = dn_specials_split(tokenizer, text, size, flags & DN_ENCODE_SPECIAL, &encoding.sink,
			      encode_plain, &encoding, err);
	dn_pretokenizer_scratch_free(encoding.patterns);
	dn_bpe_scratch_done(&encoding.bpe);
	if (r < 0)
		return r;
	*ret_count = encoding.sink.count;
	return 0;
}

uint32_t dn_tokenizer_size(const struct dn_tokenizer *tokenizer)
{
	return tokenizer->vocabulary.n_tokens;
}

size_t dn_tokenizer_longest(const struct dn_tokenizer *tokenizer)
{
	return tokenizer->vocabulary.longest;
}

enum dn_token_kind dn_tokenizer_kind(const struct dn_tokenizer *tokenizer, uint32_t token)
{
	if (token >= tokenizer->vocabulary.n_tokens)
		return DN_TOKEN_UNUSED;
	return tokenizer->vocabulary.entries[token].kind;
}

uint32_t dn_tokenizer_bos(const struct dn_tokenizer *tokenizer)
{
	return tokenizer->bos;
}

uint32_t dn_tokenizer_eos(const struct dn_tokenizer *tokenizer)
{
	return tokenizer->eos;
}

bool dn_tokenizer_adds_bos(const struct dn_tokenizer *tokenizer)
{
	return tokenizer->adds_bos;
}

bool dn_tokenizer_ends(const struct dn_tokenizer *tokenizer, uint32_t token)
{
	return token < tokenizer->vocabulary.n_tokens && tokenizer->vocabulary.entries[token].ends;
}
