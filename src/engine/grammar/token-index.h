/* SPDX-License-Identifier: MIT */
/*
 * A vocabulary in the order of its bytes, so that what tokens have in common at their beginning is
 * walked once. Three lists, by length: counts in a state matter as far as a token is long, so most
 * tokens, which are short, have few states to be walked from.
 */
#ifndef DUNLIN_ENGINE_GRAMMAR_TOKEN_INDEX_H
#define DUNLIN_ENGINE_GRAMMAR_TOKEN_INDEX_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include <dunlin/grammar.h>

#include "engine/grammar/account.h"
#include "engine/grammar/automaton.h"
/* IWYU pragma: end_exports */

/* Of the first two classes; the last one's is that of the longest token. */
#define DN_TOKEN_SHORT	 8
#define DN_TOKEN_MIDDLE	 16
#define DN_TOKEN_LONGEST 1024

/* @common: bytes that it shares with the one before it. */
struct dn_index_token {
	const uint8_t *bytes;
	uint32_t size;
	uint32_t common;
	uint32_t token;
};

/**
 * struct dn_index_class
 * @starts: where the tokens begin that begin with a byte; [256] is the end
 */
struct dn_index_class {
	struct dn_index_token *tokens;
	uint32_t n;
	uint32_t starts[257];
};

/**
 * struct dn_token_index
 * @ends: tokens that end an answer
 * @grammars: all that were compiled for it and are there still; @account is theirs
 */
struct dn_token_index {
	const struct dn_tokenizer *tokenizer;
	uint32_t vocabulary;
	uint32_t words; /* of 64 bits, of a mask */
	struct dn_index_class classes[DN_TOKEN_CLASSES];
	uint32_t lengths[DN_TOKEN_CLASSES];
	uint32_t *ends;
	uint32_t n_ends;
	struct dn_account account;
	struct dn_grammar *grammars;
};

/* What grammars of a vocabulary may take together, once they are compiled. */
uint64_t dn_grammars_most(uint32_t vocabulary);

/* The bytes of a token that is part of texts; NULL where it is none. */
const char *dn_token_index_bytes(const struct dn_token_index *index, uint32_t token,
				 size_t *ret_size);

#endif /* DUNLIN_ENGINE_GRAMMAR_TOKEN_INDEX_H */
