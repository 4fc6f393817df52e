/* SPDX-License-Identifier: MIT */
/* What the files of this room share: tables that are built once, then only read. */
#ifndef DUNLIN_ENGINE_TOKENIZER_INTERNAL_H
#define DUNLIN_ENGINE_TOKENIZER_INTERNAL_H

#include <endian.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/index.h"
#include "engine/tokenizer/tokenizer.h"

#define DN_TOKENS_MAX	    ((uint32_t)1 << 20)
#define DN_TOKEN_BYTES_MAX  1024
#define DN_MERGES_MAX	    (((uint32_t)1 << 21) - 2)
#define DN_ENCODE_TEXT_MAX  ((size_t)64 << 20)
#define DN_SPECIALS_KEEPERS 3

/* One token; its text lies at @offset of the file's array of tokens. */
struct dn_vocab_entry {
	uint32_t offset;
	uint16_t size;
	uint8_t kind;
	bool ends;
};

/**
 * struct dn_vocabulary - tokens by id and by text
 * @base: the array of tokens in the mapping, borrowed
 * @max_size: bytes of the longest text as the file spells it
 * @longest: bytes of the longest text that decoding can give
 * @escaped: texts are spelt as SentencePiece does (escape.c), not in GPT-2's alphabet
 * @scores: one little-endian float32 a token, in the mapping, unaligned; NULL without. No NaN.
 * @kept_slots: of @index, built before; borrowed, NULL without
 */
struct dn_vocabulary {
	const char *base;
	const uint8_t *scores;
	bool escaped;
	struct dn_vocab_entry *entries;
	uint32_t n_tokens;
	uint32_t max_size;
	uint32_t longest;
	struct dn_index index;
	const uint32_t *kept_slots;
};

/* Token texts as raw bytes, made when somebody first asks: most programs never do. */
struct dn_spelling {
	pthread_mutex_t lock;
	atomic_bool ready;
	char *bytes;
	uint32_t *offsets;
};

struct dn_merge {
	uint32_t left;
	uint32_t right;
	uint32_t result;
};

/**
 * struct dn_bpe - byte pair encoding over byte-level tokens, or over characters
 * @merges: by rank; a lower rank goes first
 * @index: rank by the pair of token ids
 * @bytes: byte-level: the token of each byte, DN_TOKEN_NONE where the vocabulary lacks it
 * @whole_words: a word that is a token is that token, whatever the merges say
 * @kept_merges, @kept_slots: @merges and the slots of @index, built before; borrowed, NULL without
 */
struct dn_bpe {
	const struct dn_merge *merges;
	uint32_t n_merges;
	struct dn_index index;
	uint32_t bytes[256];
	bool whole_words;
	const struct dn_merge *kept_merges;
	const uint32_t *kept_slots;
};

/**
 * struct dn_escape - what a vocabulary in SentencePiece's spelling says about texts
 * @bytes: the token <0xXX> of each byte, DN_TOKEN_NONE where the vocabulary lacks it
 * @unknown: stands for what has no token at all; DN_TOKEN_NONE without
 * @joins: bytes that some token has directly before an escaped space inside of it: only behind
 *	these can a token go on across the beginning of a word
 */
struct dn_escape {
	uint32_t bytes[256];
	uint32_t unknown;
	bool joins[256];
};

/* One word on its way through; zero it to begin. */
struct dn_escape_scratch {
	char *word;
	size_t size;
	size_t capacity;
};

/**
 * struct dn_unigram - what SentencePiece's unigram model does to texts
 * @trie: of texts that are replaced: little-endian units in the mapping, unaligned
 * @replacements: what by: texts that each end with a NUL
 * @max_size: bytes of the longest token that text can become
 * @unknown_score: of a character that is no token
 * @merges_spaces: a run of spaces is one, and none is at an end
 */
struct dn_unigram {
	const uint8_t *trie;
	uint32_t n_units;
	const char *replacements;
	size_t replacements_size;
	uint32_t max_size;
	float unknown_score;
	bool merges_spaces;
};

/* How a text becomes tokens. */
enum dn_encoding {
	DN_ENCODING_BYTES,	/* byte-level BPE: tokenizer.ggml.model "gpt2" */
	DN_ENCODING_CHARACTERS, /* BPE over characters, spaces escaped: "gemma4" */
	DN_ENCODING_SCORES,	/* SentencePiece's BPE, merges by score: "llama" */
	DN_ENCODING_WORDS,	/* WordPiece: "bert" */
	DN_ENCODING_UNIGRAM,	/* SentencePiece's unigram: "t5" */
};

/**
 * struct dn_specials - tokens that are recognised in text before it is split into words
 * @tokens: ids in the order of their texts
 * @shorter: for each, the longest other one that it begins with; DN_TOKEN_NONE without
 * @first: where the tokens that begin with each byte start
 * @strips: white space behind a special token is not part of the text (Phi-3)
 * @keeps: tokens behind which it is; DN_TOKEN_NONE for those that are missing
 */
struct dn_specials {
	uint32_t *tokens;
	uint32_t *shorter;
	uint32_t n;
	uint32_t first[257];
	uint32_t keeps[DN_SPECIALS_KEEPERS];
	bool strips;
};

struct dn_pretokenizer;

/**
 * struct dn_tokenizer - a model's tokenizer as a whole
 * @unknown: DN_TOKEN_NONE where the kind has none
 * @space_prefix: a space goes before each text, and is taken off again when it is given back
 * @lowercase, @strips_accents: WordPiece only
 */
struct dn_tokenizer {
	enum dn_encoding encoding;
	struct dn_vocabulary vocabulary;
	struct dn_bpe bpe;
	struct dn_escape escape;
	struct dn_unigram unigram;
	struct dn_specials specials;
	struct dn_pretokenizer *pretokenizer;
	struct dn_spelling *spelling;
	uint32_t bos;
	uint32_t eos;
	uint32_t sep;
	uint32_t unknown;
	bool adds_bos;
	bool adds_eos;
	bool adds_sep;
	bool space_prefix;
	bool lowercase;
	bool strips_accents;
};

/* Where tokens go; counts those beyond @max too. */
struct dn_token_sink {
	uint32_t *tokens;
	size_t max;
	size_t count;
	bool after_unknown;
};

static inline void dn_token_sink_put(struct dn_token_sink *sink, uint32_t token)
{
	if (sink->count < sink->max)
		sink->tokens[sink->count] = token;
	sink->count++;
	sink->after_unknown = false;
}

/* A run of what is unknown is one token. */
static inline void dn_token_sink_put_unknown(struct dn_token_sink *sink, uint32_t unknown)
{
	if (unknown == DN_TOKEN_NONE || sink->after_unknown)
		return;
	dn_token_sink_put(sink, unknown);
	sink->after_unknown = true;
}

static inline struct dn_text dn_vocabulary_text(const struct dn_vocabulary *vocabulary,
						uint32_t token)
{
	const struct dn_vocab_entry *entry = &vocabulary->entries[token];

	return (struct dn_text){ vocabulary->base + entry->offset, entry->size };
}

/* Only where the file has scores. */
static inline float dn_vocabulary_score(const struct dn_vocabulary *vocabulary, uint32_t token)
{
	uint32_t bits;
	float score;

	memcpy(&bits, vocabulary->scores + (size_t)token * sizeof(bits), sizeof(bits));
	bits = le32toh(bits);
	memcpy(&score, &bits, sizeof(score));
	return score;
}

/* vocabulary.c */
DN_MUST_CHECK int dn_vocabulary_read(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
				     struct dn_error *err);
void dn_vocabulary_done(struct dn_vocabulary *vocabulary);
/* DN_TOKEN_NONE where no token has that text. */
uint32_t dn_vocabulary_find(const struct dn_vocabulary *vocabulary, const char *text, size_t size);
/* Whether text alone may become the token: no control token, none for a byte by its name. */
bool dn_vocabulary_is_plain(const struct dn_vocabulary *vocabulary, uint32_t token);
/* Finds plain tokens only. */
uint32_t dn_vocabulary_find_plain(const struct dn_vocabulary *vocabulary, const char *text,
				  size_t size);

/* Tables of hundreds of thousands of entries miss the cache: queries in blocks share the wait. */
#define DN_VOCABULARY_BLOCK 32

struct dn_vocabulary_query {
	const char *text;
	size_t size;
	uint64_t hash;
	uint32_t token;
};

/* Sets each query's token, as dn_vocabulary_find() would; fastest for about a block of them. */
void dn_vocabulary_find_many(const struct dn_vocabulary *vocabulary,
			     struct dn_vocabulary_query *queries, size_t n);
/* Whether the token is recognised only where the caller allows special tokens. */
bool dn_vocabulary_is_guarded(const struct dn_vocabulary *vocabulary, uint32_t token);

/* markers.c: which tokens end an answer, and control tokens that files call something else. */
DN_MUST_CHECK int dn_markers_apply(struct dn_vocabulary *vocabulary, const struct dn_gguf *gguf,
				   uint32_t eos, struct dn_error *err);

/* alphabet.c: GPT-2's spelling of bytes as printable characters. */
size_t dn_alphabet_spell(uint8_t byte, char out[2]);
/*
 * The raw bytes of a spelt text; characters outside the alphabet stay as they are. Never more
 * bytes than @size. Returns their number.
 */
size_t dn_alphabet_decode(const char *text, size_t size, char *out);

/* The bytes that a token's text means, in either spelling; never more than the text has. */
size_t dn_vocabulary_spell(const struct dn_vocabulary *vocabulary, uint32_t token, char *out);

/* escape.c: SentencePiece's spelling: U+2581 for a space, <0xXX> for a byte. */
#define DN_ESCAPED_SPACE      "\xe2\x96\x81"
#define DN_ESCAPED_SPACE_SIZE 3

typedef int dn_plain_fn(void *data, const char *text, size_t size, struct dn_error *err);

enum dn_escape_flags {
	DN_ESCAPE_PREFIX = 1 << 0, /* a space before the text */
	DN_ESCAPE_LINES = 1 << 1,  /* cut between newlines and what is none */
};

void dn_escape_read(struct dn_escape *escape, const struct dn_vocabulary *vocabulary,
		    uint32_t unknown);
/* Never more bytes than @size. Returns their number. */
size_t dn_escape_decode(const char *text, size_t size, bool is_byte, char *out);
/*
 * Gives @word the text with its spaces escaped, cut where no token can go across, so that merges
 * of the pieces are those of the whole.
 */
DN_MUST_CHECK int dn_escape_split(const struct dn_escape *escape, struct dn_escape_scratch *scratch,
				  unsigned int flags, const char *text, size_t size,
				  dn_plain_fn *word, void *data, struct dn_error *err);
/* Whether the word so far is one of its own if a space comes next. */
bool dn_escape_can_cut(const struct dn_escape *escape, const struct dn_escape_scratch *scratch);
DN_MUST_CHECK int dn_escape_append(struct dn_escape_scratch *scratch, const char *bytes,
				   size_t size, struct dn_error *err);
void dn_escape_scratch_done(struct dn_escape_scratch *scratch);
/* What is no token goes out byte by byte. */
void dn_escape_put_bytes(const struct dn_escape *escape, const char *text, size_t size,
			 struct dn_token_sink *sink);

/* merges.c */
DN_MUST_CHECK int dn_merges_read(struct dn_bpe *bpe, const struct dn_vocabulary *vocabulary,
				 const struct dn_gguf *gguf, struct dn_error *err);
void dn_merges_done(struct dn_bpe *bpe);

static inline uint64_t dn_merge_hash(uint32_t left, uint32_t right)
{
	return dn_hash_mix((uint64_t)left << 32 | right);
}

static inline uint32_t dn_merge_find(const struct dn_bpe *bpe, uint32_t left, uint32_t right)
{
	uint64_t hash = dn_merge_hash(left, right);
	uint32_t rank;

	for (uint32_t i = 0; i < DN_INDEX_PROBES; i++) {
		enum dn_index_seen seen = dn_index_probe(&bpe->index, hash, i, &rank);

		if (seen == DN_INDEX_EMPTY)
			break;
		if (seen == DN_INDEX_MAYBE && bpe->merges[rank].left == left &&
		    bpe->merges[rank].right == right)
			return rank;
	}
	return UINT32_MAX;
}

/* bpe.c: the state of one call, so that no word allocates. */
struct dn_bpe_scratch {
	struct dn_bpe_symbol *symbols;
	uint64_t *heap;
	size_t capacity;
};

DN_MUST_CHECK int dn_bpe_word(const struct dn_tokenizer *tokenizer, struct dn_bpe_scratch *scratch,
			      const char *word, size_t size, struct dn_token_sink *sink,
			      struct dn_error *err);
/* The same over the characters of an escaped word. */
DN_MUST_CHECK int dn_bpe_characters(const struct dn_tokenizer *tokenizer,
				    struct dn_bpe_scratch *scratch, const char *word, size_t size,
				    struct dn_token_sink *sink, struct dn_error *err);
void dn_bpe_scratch_done(struct dn_bpe_scratch *scratch);

/* scores.c */
struct dn_scores_scratch {
	struct dn_scores_symbol *symbols;
	uint64_t *heap;
	size_t capacity;
};

/* An escaped word. */
DN_MUST_CHECK int dn_scores_word(const struct dn_tokenizer *tokenizer,
				 struct dn_scores_scratch *scratch, const char *word, size_t size,
				 struct dn_token_sink *sink, struct dn_error *err);
void dn_scores_scratch_done(struct dn_scores_scratch *scratch);

/* words.c */
void dn_words_encode(const struct dn_tokenizer *tokenizer, const char *text, size_t size,
		     struct dn_token_sink *sink);
/* Whether the vocabulary has words with capital letters, so that texts keep theirs. */
bool dn_words_has_capitals(const struct dn_vocabulary *vocabulary);
/* Whether tokens that begin words are marked, as GGUF has them. */
bool dn_words_has_beginnings(const struct dn_vocabulary *vocabulary);

/* unigram.c */
struct dn_unigram_scratch {
	struct dn_unigram_place *places;
	size_t n_places;
	struct dn_escape_scratch word;
};

DN_MUST_CHECK int dn_unigram_read(struct dn_unigram *unigram,
				  const struct dn_vocabulary *vocabulary,
				  const struct dn_gguf *gguf, struct dn_error *err);
DN_MUST_CHECK int dn_unigram_encode(const struct dn_tokenizer *tokenizer,
				    struct dn_unigram_scratch *scratch, const char *text,
				    size_t size, struct dn_token_sink *sink, struct dn_error *err);
void dn_unigram_scratch_done(struct dn_unigram_scratch *scratch);

/* specials.c */
DN_MUST_CHECK int dn_specials_build(struct dn_specials *specials,
				    const struct dn_vocabulary *vocabulary, struct dn_error *err);
void dn_specials_done(struct dn_specials *specials);

/* Cuts @text at special tokens; what lies between them goes to @plain, in order. */
DN_MUST_CHECK int dn_specials_split(const struct dn_tokenizer *tokenizer, const char *text,
				    size_t size, bool guarded, struct dn_token_sink *sink,
				    dn_plain_fn *plain, void *data, struct dn_error *err);

/* pretokenizer.c */
struct dn_pretokenizer_scratch;

DN_MUST_CHECK int dn_pretokenizer_new(struct dn_text name, struct dn_pretokenizer **ret,
				      struct dn_error *err);
struct dn_pretokenizer *dn_pretokenizer_free(struct dn_pretokenizer *pretokenizer);
bool dn_pretokenizer_whole_words(const struct dn_pretokenizer *pretokenizer);
bool dn_pretokenizer_adds_bos(const struct dn_pretokenizer *pretokenizer);
bool dn_pretokenizer_adds_sep(const struct dn_pretokenizer *pretokenizer);
DN_MUST_CHECK int dn_pretokenizer_scratch_new(size_t text_size,
					      struct dn_pretokenizer_scratch **ret,
					      struct dn_error *err);
struct dn_pretokenizer_scratch *
dn_pretokenizer_scratch_free(struct dn_pretokenizer_scratch *scratch);
/* Gives @word each word of the text, all bytes in order. */
DN_MUST_CHECK int dn_pretokenizer_split(const struct dn_pretokenizer *pretokenizer,
					struct dn_pretokenizer_scratch *scratch, const char *text,
					size_t size, dn_plain_fn *word, void *data,
					struct dn_error *err);

/* detokenizer.c */
DN_MUST_CHECK int dn_spelling_new(const struct dn_vocabulary *vocabulary, struct dn_spelling **ret,
				  struct dn_error *err);
struct dn_spelling *dn_spelling_free(struct dn_spelling *spelling);
/* Bytes that the token's text takes at most when invalid sequences become U+FFFD. */
uint32_t dn_detokenizer_bound(const char *text, size_t size);

#endif /* DUNLIN_ENGINE_TOKENIZER_INTERNAL_H */
