/* SPDX-License-Identifier: MIT */
/* A grammar of any text, and a walk through what it allows. */
#ifndef TESTS_FUZZ_GRAMMAR_WALKS_H
#define TESTS_FUZZ_GRAMMAR_WALKS_H

#include "../unit/grammar-words.h"
#include "fuzz.h"

static inline void walk_grammar(enum dn_grammar_kind kind, const char *text, size_t size)
{
	static struct dn_token_index index;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_grammar *grammar = NULL;
	struct dn_matcher *matcher;
	uint64_t random = size;
	bool ended;

	if (!index.vocabulary)
		words_index(&index);
	if (dn_grammar_new(kind, text, size, &index, &grammar, &err) < 0) {
		MUST(err.message[0] != '\0');
		return;
	}
	for (size_t i = 0; i < size; i++)
		random = random * 31 + (uint8_t)text[i];
	if (dn_matcher_new(grammar, &matcher, &err) == 0) {
		MUST(words_walk(matcher, random, 100, &ended));
		dn_matcher_free(matcher);
	}
	dn_grammar_unref(grammar);
}

#endif
