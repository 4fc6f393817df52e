/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_TOKENIZER_H
#define DUNLIN_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

DN_BEGIN_DECLS

/* A model's vocabulary; immutable after it was made, so any thread may use it. */
struct dn_tokenizer;

/*
 * State of one text being given back token by token; a plain value, zero it to begin. Where the
 * model begins each text with a space of its own, the first token's leading space is not part of
 * the text and is left out: set @started for tokens that go on with another text.
 */
struct dn_detokenizer {
	uint8_t pending[8];
	uint8_t n_pending;
	bool started;
};

#define DN_TOKEN_NONE UINT32_MAX

enum dn_encode_flags {
	DN_ENCODE_SPECIAL = 1 << 0, /* recognise special tokens in the text */
};

enum dn_token_kind {
	DN_TOKEN_NORMAL = 1,
	DN_TOKEN_UNKNOWN = 2,
	DN_TOKEN_CONTROL = 3,
	DN_TOKEN_USER_DEFINED = 4,
	DN_TOKEN_UNUSED = 5,
	DN_TOKEN_BYTE = 6,
};

/**
 * struct dn_surround - the tokens that a model wants around its texts; DN_TOKEN_NONE: none there
 * @before: ahead of the text: BOS or CLS
 * @after: behind the text: EOS or SEP
 * @between: for a pair of texts (a reranker's query and document), in this order between the two
 *
 * One text is "before text after", a pair is "before a between[0] between[1] b after". So BERT has
 * [CLS] a [SEP] b [SEP], RoBERTa <s> a </s> </s> b </s>.
 */
struct dn_surround {
	uint32_t before;
	uint32_t after;
	uint32_t between[2];
};

/**
 * dn_tokenizer_encode() - text to token ids
 * @text: bytes
 * @tokens: room for @max ids; may be NULL when @max is 0
 * @ret_count: ids that the whole text needs, which may be more than @max
 *
 * Nothing is put around the text: dn_tokenizer_surround() says what the model wants there. What
 * the vocabulary has no token for is the unknown token (one for a run of such characters, with
 * WordPiece one for each word), or is left out where the vocabulary has none. Invalid UTF-8 is
 * encoded byte for byte; WordPiece drops it, as it drops control characters. Time is bounded by a
 * small multiple of size · log(size).
 *
 * Context: any thread.
 *
 * Return: 0, or a negative errno (-ENOMEM; -E2BIG for texts above 64 MiB; -EIO where a pattern
 * exceeds its limits, which no text should achieve).
 */
DN_API DN_MUST_CHECK int dn_tokenizer_encode(const struct dn_tokenizer *tokenizer, const char *text,
					     size_t size, unsigned int flags, uint32_t *tokens,
					     size_t max, size_t *ret_count, struct dn_error *err);

/**
 * dn_tokenizer_decode() - one token's text, never half a UTF-8 sequence
 * @state: of this text; bytes that do not yet end a sequence wait in it
 * @special: whether control tokens are written as their text, else they give nothing
 * @out: room for @size bytes; dn_tokenizer_longest() + 8 always suffices
 *
 * Bytes that can no longer become a sequence come out as U+FFFD.
 *
 * Return: bytes written (0 is usual), -ERANGE for an id outside the vocabulary, or -ENOBUFS where
 * @size is too small (then nothing is written and @state stays).
 */
DN_API int dn_tokenizer_decode(const struct dn_tokenizer *tokenizer, struct dn_detokenizer *state,
			       uint32_t token, bool special, char *out, size_t size);

/* What still waits, as U+FFFD; resets @state. Returns bytes written, or -ENOBUFS below 3 bytes. */
DN_API int dn_tokenizer_decode_end(const struct dn_tokenizer *tokenizer,
				   struct dn_detokenizer *state, char *out, size_t size);

DN_API uint32_t dn_tokenizer_size(const struct dn_tokenizer *tokenizer);
/* Bytes of the longest token's text, invalid bytes counted as the U+FFFD that they become. */
DN_API size_t dn_tokenizer_longest(const struct dn_tokenizer *tokenizer);
DN_API enum dn_token_kind dn_tokenizer_kind(const struct dn_tokenizer *tokenizer, uint32_t token);
/* The raw bytes of a token (no NUL) and their number; NULL outside the vocabulary. */
DN_API const char *dn_tokenizer_bytes(const struct dn_tokenizer *tokenizer, uint32_t token,
				      size_t *ret_size);
/* DN_TOKEN_NONE where the model names none. */
DN_API uint32_t dn_tokenizer_bos(const struct dn_tokenizer *tokenizer);
DN_API uint32_t dn_tokenizer_eos(const struct dn_tokenizer *tokenizer);
/* Whether the model wants its BOS (or CLS) before a text: dn_tokenizer_surround() gives @before. */
DN_API bool dn_tokenizer_adds_bos(const struct dn_tokenizer *tokenizer);
/*
 * Fills @ret_surround from add_bos_token, add_eos_token and add_sep_token of the file, or what its
 * kind of tokenizer does where the file does not say.
 */
DN_API void dn_tokenizer_surround(const struct dn_tokenizer *tokenizer,
				  struct dn_surround *ret_surround);
/*
 * Bytes at the head of @text that are not part of a text behind the special token @token: models of
 * the Phi-3 family take the white space there. For who looks for special tokens himself.
 */
DN_API size_t dn_tokenizer_skips(const struct dn_tokenizer *tokenizer, uint32_t token,
				 const char *text, size_t size);
/* Whether @token ends an answer: EOS, EOT, EOM and the end markers that models are known by. */
DN_API bool dn_tokenizer_ends(const struct dn_tokenizer *tokenizer, uint32_t token);

DN_END_DECLS

#endif /* DUNLIN_TOKENIZER_H */
