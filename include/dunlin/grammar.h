/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_GRAMMAR_H
#define DUNLIN_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>
#include <dunlin/tokenizer.h>

DN_BEGIN_DECLS

/*
 * Answers of a given form. A grammar says which texts there may be, a matcher follows one text
 * token by token and says which tokens can be the next: with those alone every answer that ends is
 * a text of the grammar.
 *
 * Context: an index, its grammars and their matchers belong to one thread at a time. All grammars of
 * an index together have a bound of memory; what is kept for speed goes first.
 */
struct dn_token_index;
struct dn_grammar;
struct dn_matcher;

/* Bytes of a grammar's text. */
#define DN_GRAMMAR_TEXT_MAX ((size_t)256 << 10)

enum dn_grammar_kind {
	DN_GRAMMAR_GBNF = 1,   /* rules as llama.cpp's users write them; the first is "root" */
	DN_GRAMMAR_SCHEMA = 2, /* a JSON schema */
	DN_GRAMMAR_JSON = 3,   /* any JSON object; without text */
};

/**
 * dn_token_index_new() - a vocabulary, sorted to be walked beside a grammar
 * @tokenizer: borrowed for the index's life
 *
 * Control, unknown and unused tokens are no part of any text.
 */
DN_API DN_MUST_CHECK int dn_token_index_new(const struct dn_tokenizer *tokenizer,
					    struct dn_token_index **ret_index,
					    struct dn_error *err);
/* After all of its grammars. */
DN_API struct dn_token_index *dn_token_index_free(struct dn_token_index *index);
/* What an index of so many tokens and all its grammars take at most, in bytes. */
DN_API uint64_t dn_grammars_memory(uint32_t vocabulary);

/**
 * dn_grammar_new() - compile a grammar
 * @text: UTF-8; borrowed for the call
 * @index: borrowed for the grammar's life
 *
 * Time and memory are bounded, whatever the text says. What a schema allows and the grammar does
 * not: properties that are not named (unless additionalProperties allows them, or nothing is said of
 * properties), properties in another order, whole numbers of more than 18 digits and others within
 * bounds of more than 15, and white space of other shapes than a space, or a new line with up to 32
 * columns. What the grammar allows the schema allows too;
 * where that cannot be promised the schema is refused.
 *
 * Return: 0 with a reference of the caller's; -EINVAL for a text that is wrong, with its place;
 * -ENOTSUP for what is not supported, with its name and place; -E2BIG above a limit; -EOVERFLOW
 * where it is so ambiguous that it needs more than any grammar may; -ENOSPC where other grammars
 * leave no room for it; -ENOMEM.
 */
DN_API DN_MUST_CHECK int dn_grammar_new(enum dn_grammar_kind kind, const char *text, size_t size,
					struct dn_token_index *index,
					struct dn_grammar **ret_grammar, struct dn_error *err);
DN_API struct dn_grammar *dn_grammar_ref(struct dn_grammar *grammar);
/* NULL is a no-op. Always returns NULL. */
DN_API struct dn_grammar *dn_grammar_unref(struct dn_grammar *grammar);

/* A matcher at the beginning of a text; it holds a reference to @grammar. */
DN_API DN_MUST_CHECK int dn_matcher_new(struct dn_grammar *grammar, struct dn_matcher **ret_matcher,
					struct dn_error *err);
/* Another one at the same place. */
DN_API DN_MUST_CHECK int dn_matcher_clone(struct dn_matcher *matcher,
					  struct dn_matcher **ret_matcher, struct dn_error *err);
DN_API struct dn_matcher *dn_matcher_free(struct dn_matcher *matcher);

/**
 * dn_matcher_mask() - which tokens can be the next
 * @ends: whether tokens that end an answer are among them, where the text may end
 * @ret_mask: bit t % 64 of word t / 64 is that of token t; of the matcher, until its next call
 *
 * Return: how many words have any bit, 0: no token can follow; -EOVERFLOW where the grammar needs more
 * at this place than any may; -ENOSPC where other grammars leave no room for it; -ENOMEM.
 */
DN_API DN_MUST_CHECK int dn_matcher_mask(struct dn_matcher *matcher, bool ends,
					 const uint64_t **ret_mask, struct dn_error *err);
/*
 * Goes on by a token that the mask has. Tokens that end an answer change nothing. Return: 0, -EINVAL
 * where the grammar does not have it there (and nothing changes), or as dn_matcher_mask().
 */
DN_API DN_MUST_CHECK int dn_matcher_accept(struct dn_matcher *matcher, uint32_t token,
					   struct dn_error *err);
/* The same for bytes, which need not be whole tokens. */
DN_API DN_MUST_CHECK int dn_matcher_accept_bytes(struct dn_matcher *matcher, const char *bytes,
						 size_t size, struct dn_error *err);
/* Whether the text so far is one of the grammar, and whether none goes on from it. */
DN_API bool dn_matcher_may_end(const struct dn_matcher *matcher);
DN_API bool dn_matcher_must_end(const struct dn_matcher *matcher);

DN_END_DECLS

#endif /* DUNLIN_GRAMMAR_H */
