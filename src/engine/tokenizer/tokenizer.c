/* SPDX-License-Identifier: MIT */
/* A model file's tokenizer as a whole: which kind it is, its tables, and the way of a text. */

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tables.h"
#include "engine/tokenizer/tokenizer-internal.h"

/* What PCRE2 takes for compiled patterns, an upper bound. */
#define PATTERN_BYTES ((size_t)64 << 10)

struct encoding {
	const struct dn_tokenizer *tokenizer;
	struct dn_pretokenizer_scratch *patterns;
	struct dn_bpe_scratch bpe;
	struct dn_escape_scratch escape;
	struct dn_scores_scratch scores;
	struct dn_unigram_scratch unigram;
	struct dn_token_sink sink;
};

typedef int read_fn(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		    struct dn_error *err);

static bool text_is(struct dn_text text, const char *name)
{
	return text.size == strlen(name) && !memcmp(text.data, name, text.size);
}

/* A default of the kind that this vocabulary does not reach is none. */
static void check_default(const struct dn_vocabulary *vocabulary, uint32_t *token)
{
	if (*token >= vocabulary->n_tokens)
		*token = DN_TOKEN_NONE;
}

static int read_id(const struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
		   const char *key, uint32_t *ret_token, struct dn_error *err)
{
	uint32_t token;
	int r;

	check_default(vocabulary, ret_token);
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
	const struct {
		const char *key;
		uint32_t *token;
	} ids[] = {
		/* The BOS of encoders, which newer files call so as well. */
		{ "tokenizer.ggml.cls_token_id", &tokenizer->bos },
		{ "tokenizer.ggml.bos_token_id", &tokenizer->bos },
		{ "tokenizer.ggml.eos_token_id", &tokenizer->eos },
		{ "tokenizer.ggml.unknown_token_id", &tokenizer->unknown },
		/* The key is spelt so. */
		{ "tokenizer.ggml.seperator_token_id", &tokenizer->sep },
	};
	const struct {
		const char *key;
		bool *adds;
	} flags[] = {
		{ "tokenizer.ggml.add_bos_token", &tokenizer->adds_bos },
		{ "tokenizer.ggml.add_eos_token", &tokenizer->adds_eos },
		{ "tokenizer.ggml.add_sep_token", &tokenizer->adds_sep },
	};
	int r;

	for (size_t i = 0; i < DN_ARRAY_SIZE(ids); i++) {
		r = read_id(&tokenizer->vocabulary, gguf, ids[i].key, ids[i].token, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < DN_ARRAY_SIZE(flags); i++) {
		r = dn_gguf_get_bool(gguf, flags[i].key, flags[i].adds, err);
		if (r < 0)
			return r;
	}
	r = dn_markers_apply(&tokenizer->vocabulary, gguf, tokenizer->eos, err);
	if (r < 0)
		return r;
	/* What a text has that no token covers must not end it, or begin another. */
	if (tokenizer->unknown != DN_TOKEN_NONE &&
	    (tokenizer->vocabulary.entries[tokenizer->unknown].ends ||
	     tokenizer->unknown == tokenizer->bos))
		tokenizer->unknown = DN_TOKEN_NONE;
	return 0;
}

/* Vocabulary and ids, which each kind reads after its defaults and before its tables. */
static int read_vocabulary(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
			   struct dn_error *err)
{
	int r;

	r = dn_vocabulary_read(&tokenizer->vocabulary, gguf, err);
	if (r < 0)
		return r;
	return read_special_ids(tokenizer, gguf, err);
}

static int read_characters(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
			   struct dn_error *err)
{
	int r;

	tokenizer->encoding = DN_ENCODING_CHARACTERS;
	tokenizer->vocabulary.escaped = true;
	r = read_vocabulary(tokenizer, gguf, err);
	if (r < 0)
		return r;
	/* Early files say that they add none; the model was trained with one. */
	tokenizer->adds_bos = true;
	dn_escape_read(&tokenizer->escape, &tokenizer->vocabulary, tokenizer->unknown);
	return dn_merges_read(&tokenizer->bpe, &tokenizer->vocabulary, gguf, err);
}

static int read_bytes(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		      struct dn_error *err)
{
	struct dn_text pre = { "default", strlen("default") };
	int r;

	r = dn_gguf_get_text(gguf, "tokenizer.ggml.pre", &pre, err);
	if (r < 0)
		return r;
	/* Embedding models of Gemma's vocabulary name it here. */
	if (text_is(pre, "gemma4") || text_is(pre, "granite-embed-multi-311m"))
		return read_characters(tokenizer, gguf, err);
	r = dn_pretokenizer_new(pre, &tokenizer->pretokenizer, err);
	if (r < 0)
		return r;
	tokenizer->encoding = DN_ENCODING_BYTES;
	tokenizer->adds_bos = dn_pretokenizer_adds_bos(tokenizer->pretokenizer);
	tokenizer->adds_sep = dn_pretokenizer_adds_sep(tokenizer->pretokenizer);
	tokenizer->bpe.whole_words = dn_pretokenizer_whole_words(tokenizer->pretokenizer);
	r = read_vocabulary(tokenizer, gguf, err);
	if (r < 0)
		return r;
	return dn_merges_read(&tokenizer->bpe, &tokenizer->vocabulary, gguf, err);
}

/* Phi-3's control tokens take the white space behind them: its tokenizer.json says "rstrip". */
static int read_strips(struct dn_specials *specials, const struct dn_gguf *gguf,
		       struct dn_error *err)
{
	struct dn_text architecture = { "", 0 };
	int r;

	r = dn_gguf_get_text(gguf, "general.architecture", &architecture, err);
	specials->strips = r > 0 && text_is(architecture, "phi3");
	return r < 0 ? r : 0;
}

/* What the two kinds of SentencePiece vocabularies share, once their defaults are set. */
static int read_pieces(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		       struct dn_error *err)
{
	int r;

	tokenizer->vocabulary.escaped = true;
	r = dn_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &tokenizer->space_prefix,
			     err);
	if (r < 0)
		return r;
	r = read_vocabulary(tokenizer, gguf, err);
	if (r < 0)
		return r;
	if (!tokenizer->vocabulary.scores)
		return dn_error_set(err, EINVAL,
				    "tokenizer.ggml.scores is missing; a SentencePiece vocabulary "
				    "needs its scores");
	dn_escape_read(&tokenizer->escape, &tokenizer->vocabulary, tokenizer->unknown);
	return 0;
}

static int read_scores(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		       struct dn_error *err)
{
	int r;

	tokenizer->encoding = DN_ENCODING_SCORES;
	tokenizer->bos = 1;
	tokenizer->eos = 2;
	tokenizer->unknown = 0;
	tokenizer->adds_bos = true;
	tokenizer->space_prefix = true;
	r = read_strips(&tokenizer->specials, gguf, err);
	return r < 0 ? r : read_pieces(tokenizer, gguf, err);
}

static int read_unigram(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
			struct dn_error *err)
{
	int r;

	tokenizer->encoding = DN_ENCODING_UNIGRAM;
	tokenizer->eos = 1;
	tokenizer->unknown = 2;
	tokenizer->adds_eos = true;
	r = read_pieces(tokenizer, gguf, err);
	if (r < 0)
		return r;
	return dn_unigram_read(&tokenizer->unigram, &tokenizer->vocabulary, gguf, err);
}

/* BERT's CLS and SEP are always there, whatever the file says about BOS and EOS. */
static int read_words(struct dn_tokenizer *tokenizer, const struct dn_gguf *gguf,
		      struct dn_error *err)
{
	int r;

	tokenizer->encoding = DN_ENCODING_WORDS;
	tokenizer->vocabulary.escaped = true;
	tokenizer->space_prefix = true;
	/* The places that they have in BERT's own vocabularies. */
	tokenizer->unknown = 100;
	tokenizer->bos = 101;
	tokenizer->sep = 102;
	r = read_vocabulary(tokenizer, gguf, err);
	if (r < 0)
		return r;
	if (!dn_words_has_beginnings(&tokenizer->vocabulary))
		return dn_error_set(err, EINVAL,
				    "tokenizer.ggml.tokens: none begins with U+2581; a WordPiece "
				    "vocabulary marks so what begins a word");
	tokenizer->adds_bos = true;
	tokenizer->adds_sep = true;
	tokenizer->lowercase = !dn_words_has_capitals(&tokenizer->vocabulary);
	r = dn_gguf_get_bool(gguf, "tokenizer.ggml.normalizer.lowercase", &tokenizer->lowercase,
			     err);
	if (r < 0)
		return r;
	tokenizer->strips_accents = tokenizer->lowercase;
	r = dn_gguf_get_bool(gguf, "tokenizer.ggml.normalizer.strip_accents",
			     &tokenizer->strips_accents, err);
	return r < 0 ? r : 0;
}

static const struct {
	const char *name;
	read_fn *read;
} models[] = {
	{ "gpt2", read_bytes }, { "gemma4", read_characters }, { "llama", read_scores },
	{ "bert", read_words }, { "t5", read_unigram },
};

static read_fn *find_model(struct dn_text name)
{
	for (size_t i = 0; i < DN_ARRAY_SIZE(models); i++) {
		if (text_is(name, models[i].name))
			return models[i].read;
	}
	return NULL;
}

static int read_tokenizer(struct dn_tokenizer *tokenizer, read_fn *read, const struct dn_gguf *gguf,
			  struct dn_error *err)
{
	int r;

	r = read(tokenizer, gguf, err);
	if (r < 0)
		return r;
	if (tokenizer->bos == DN_TOKEN_NONE)
		tokenizer->adds_bos = false;
	r = dn_specials_build(&tokenizer->specials, &tokenizer->vocabulary, err);
	if (r < 0)
		return r;
	return dn_spelling_new(&tokenizer->vocabulary, &tokenizer->spelling, err);
}

int dn_tokenizer_new(const struct dn_gguf *gguf, const struct dn_tokenizer_tables *tables,
		     struct dn_tokenizer **ret_tokenizer, struct dn_error *err)
{
	struct dn_text model = { "none", strlen("none") };
	struct dn_tokenizer *tokenizer;
	read_fn *read;
	int r;

	r = dn_gguf_get_text(gguf, "tokenizer.ggml.model", &model, err);
	if (r < 0)
		return r;
	if (text_is(model, "none") || text_is(model, "no_vocab")) {
		*ret_tokenizer = NULL;
		return 0;
	}
	read = find_model(model);
	if (!read)
		return dn_error_set(
			err, ENOTSUP,
			"tokenizer.ggml.model is '%.*s'; supported are 'gpt2' "
			"(byte-level BPE), 'llama' (SentencePiece BPE), 'gemma4' (BPE over "
			"characters) and 'bert' (WordPiece)",
			(int)DN_MIN(model.size, (size_t)64), model.data);

	tokenizer = calloc(1, sizeof(*tokenizer));
	if (!tokenizer)
		return dn_error_memory(err, "the tokenizer", sizeof(*tokenizer));
	tokenizer->bos = DN_TOKEN_NONE;
	tokenizer->eos = DN_TOKEN_NONE;
	tokenizer->sep = DN_TOKEN_NONE;
	tokenizer->unknown = DN_TOKEN_NONE;
	if (tables)
		dn_tokenizer_tables_take(tables, gguf, tokenizer);
	r = read_tokenizer(tokenizer, read, gguf, err);
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
	    dn_gguf_get_array(gguf, "tokenizer.ggml.merges", DN_GGUF_STRING, &merges, NULL) < 0)
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
	bytes += (size_t)dn_index_slots((uint32_t)tokens.count) * sizeof(uint32_t);
	if (merges.count) {
		bytes += (size_t)merges.count * sizeof(struct dn_merge);
		bytes += (size_t)dn_index_slots((uint32_t)merges.count) * sizeof(uint32_t);
	}
	return bytes;
}

static int encode_bytes(void *data, const char *word, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;

	return dn_bpe_word(encoding->tokenizer, &encoding->bpe, word, size, &encoding->sink, err);
}

static int encode_characters(void *data, const char *word, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;

	return dn_bpe_characters(encoding->tokenizer, &encoding->bpe, word, size, &encoding->sink,
				 err);
}

static int encode_scored(void *data, const char *word, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;

	return dn_scores_word(encoding->tokenizer, &encoding->scores, word, size, &encoding->sink,
			      err);
}

/* A text between special tokens. */
static int encode_plain(void *data, const char *text, size_t size, struct dn_error *err)
{
	struct encoding *encoding = data;
	const struct dn_tokenizer *tokenizer = encoding->tokenizer;

	switch (tokenizer->encoding) {
	case DN_ENCODING_CHARACTERS:
		return dn_escape_split(&tokenizer->escape, &encoding->escape, DN_ESCAPE_LINES, text,
				       size, encode_characters, encoding, err);
	case DN_ENCODING_SCORES:
		return dn_escape_split(&tokenizer->escape, &encoding->escape,
				       tokenizer->space_prefix ? DN_ESCAPE_PREFIX : 0, text, size,
				       encode_scored, encoding, err);
	case DN_ENCODING_WORDS:
		dn_words_encode(tokenizer, text, size, &encoding->sink);
		return 0;
	case DN_ENCODING_UNIGRAM:
		return dn_unigram_encode(tokenizer, &encoding->unigram, text, size, &encoding->sink,
					 err);
	case DN_ENCODING_BYTES:
		break;
	}
	return dn_pretokenizer_split(tokenizer->pretokenizer, encoding->patterns, text, size,
				     encode_bytes, encoding, err);
}

int dn_tokenizer_encode(const struct dn_tokenizer *tokenizer, const char *text, size_t size,
			unsigned int flags, uint32_t *tokens, size_t max, size_t *ret_count,
			struct dn_error *err)
{
	struct encoding encoding = {
		.tokenizer = tokenizer,
		.sink = { .tokens = tokens, .max = max },
	};
	int r = 0;

	if (size > DN_ENCODE_TEXT_MAX)
		return dn_error_set(err, E2BIG, "a text of %zu bytes; the limit is %zu", size,
				    DN_ENCODE_TEXT_MAX);
	if (tokenizer->pretokenizer)
		r = dn_pretokenizer_scratch_new(size, &encoding.patterns, err);
	if (r < 0)
		return r;
	r = dn_specials_split(tokenizer, text, size, flags & DN_ENCODE_SPECIAL, &encoding.sink,
			      encode_plain, &encoding, err);
	dn_pretokenizer_scratch_free(encoding.patterns);
	dn_bpe_scratch_done(&encoding.bpe);
	dn_escape_scratch_done(&encoding.escape);
	dn_scores_scratch_done(&encoding.scores);
	dn_unigram_scratch_done(&encoding.unigram);
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

void dn_tokenizer_surround(const struct dn_tokenizer *tokenizer, struct dn_surround *ret_surround)
{
	/* A vocabulary without an EOS ends its texts with SEP, and BERT always does. */
	bool with_sep = tokenizer->encoding == DN_ENCODING_WORDS || tokenizer->eos == DN_TOKEN_NONE;
	bool ends = tokenizer->encoding == DN_ENCODING_WORDS || tokenizer->adds_eos;
	uint32_t end = with_sep ? tokenizer->sep : tokenizer->eos;

	*ret_surround = (struct dn_surround){
		.before = tokenizer->adds_bos ? tokenizer->bos : DN_TOKEN_NONE,
		.after = ends ? end : DN_TOKEN_NONE,
		.between = { ends ? end : DN_TOKEN_NONE, DN_TOKEN_NONE },
	};
	/* Between two texts RoBERTa has both, BERT has one. */
	if (tokenizer->adds_sep && tokenizer->encoding != DN_ENCODING_WORDS)
		ret_surround->between[1] = tokenizer->sep;
}

bool dn_tokenizer_ends(const struct dn_tokenizer *tokenizer, uint32_t token)
{
	return token < tokenizer->vocabulary.n_tokens && tokenizer->vocabulary.entries[token].ends;
}
