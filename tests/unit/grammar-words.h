/* SPDX-License-Identifier: MIT */
/*
 * A small vocabulary for grammars, without a model: each byte, and pieces of what texts are made of.
 * And what holds of every matcher: a mask says what trying each token by itself says.
 */
#ifndef TESTS_UNIT_GRAMMAR_WORDS_H
#define TESTS_UNIT_GRAMMAR_WORDS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grammar/grammar.h"

static const char *const words[] = {
	"{\"",	       "\":",
	"\": \"",      "\",",
	"\"}",	       "}}",
	"],",	       "[[",
	", ",	       "true",
	"false",       "null",
	"the",	       " the",
	"ab",	       "abc",
	"  ",	       "\n  ",
	"0.",	       "12",
	"-1",	       "2026",
	"e+1",	       "\\n",
	"\\u00",       "\xc3\xa9",
	"\xe2\x82",    "\xf0\x9f\x98\x80",
	"hello world", "\",\"",
	"a\":1,\"b",   "a long token of 40 bytes, or a bit more.",
	"aaaaaaaa",    "aaaaaaaaaaaaaaaa",
	"aaaaaaaaa",   "\"a\"",
};

#define N_WORDS	 (sizeof(words) / sizeof(words[0]))
#define N_TOKENS (256 + N_WORDS)

static uint8_t all_bytes[256];

static inline const uint8_t *word_bytes(uint32_t token, size_t *ret_size)
{
	*ret_size = token < 256 ? 1 : strlen(words[token - 256]);
	return token < 256 ? &all_bytes[token] : (const uint8_t *)words[token - 256];
}

static inline int compare_tokens(const void *a, const void *b)
{
	const struct dn_index_token *x = a;
	const struct dn_index_token *y = b;
	const int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);

	return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* As dn_token_index_new() makes them, of a tokenizer; done with by words_done(). */
static inline void words_index(struct dn_token_index *index)
{
	*index = (struct dn_token_index){ .vocabulary = N_TOKENS,
					  .words = (N_TOKENS + 63) / 64,
					  .account.most = dn_grammars_most(N_TOKENS) };
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
		index->classes[k].tokens = calloc(N_TOKENS, sizeof(struct dn_index_token));
	for (uint32_t token = 0; token < N_TOKENS; token++) {
		struct dn_index_class *it;
		size_t size;
		const uint8_t *bytes;

		if (token < 256)
			all_bytes[token] = (uint8_t)token;
		bytes = word_bytes(token, &size);
		it = &index->classes[size <= 8 ? 0 : size <= 16 ? 1 : 2];
		it->tokens[it->n++] = (struct dn_index_token){ bytes, (uint32_t)size, 0, token };
	}
	index->lengths[0] = 8;
	index->lengths[1] = 16;
	index->lengths[2] = 40;
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++) {
		struct dn_index_class *it = &index->classes[k];
		uint32_t at = 0;

		qsort(it->tokens, it->n, sizeof(*it->tokens), compare_tokens);
		for (uint32_t i = 1; i < it->n; i++)
			while (it->tokens[i].common < it->tokens[i - 1].size &&
			       it->tokens[i].common < it->tokens[i].size &&
			       it->tokens[i].bytes[it->tokens[i].common] ==
				       it->tokens[i - 1].bytes[it->tokens[i].common])
				it->tokens[i].common++;
		for (uint32_t byte = 0; byte <= 256; byte++) {
			while (at < it->n && it->tokens[at].bytes[0] < byte)
				at++;
			it->starts[byte] = at;
		}
	}
}

static inline void words_done(struct dn_token_index *index)
{
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
		free(index->classes[k].tokens);
}

/*
 * Follows @matcher for some tokens, drawn by @random, and looks closely at the first and at some of
 * those that are far ahead, where counts are large. Return: false where a mask and trying differ, or
 * where a text that is not at its end cannot go on.
 */
static inline bool words_walk(struct dn_matcher *matcher, uint64_t random, uint32_t steps,
			      bool *ret_ended)
{
	*ret_ended = false;
	for (uint32_t step = 0; step < steps; step++) {
		const bool closely = step < 12 || step % 32 == 0;
		uint64_t copy[(N_TOKENS + 63) / 64];
		const uint64_t *mask;
		uint32_t n = 0;
		uint32_t chosen;
		size_t size;
		int r;

		if (dn_matcher_must_end(matcher)) {
			*ret_ended = true;
			return true;
		}
		r = dn_matcher_mask(matcher, false, &mask, NULL);
		if (r < 0)
			return r == -ENOMEM || r == -ENOSPC || r == -EOVERFLOW;
		memcpy(copy, mask, sizeof(copy));
		for (uint32_t token = 0; token < N_TOKENS; token++) {
			const uint8_t *bytes = word_bytes(token, &size);
			struct dn_matcher *one;
			bool good = copy[token / 64] >> (token % 64) & 1;

			n += good;
			if (!closely)
				continue;
			if (dn_matcher_clone(matcher, &one, NULL) < 0)
				return true;
			r = dn_matcher_accept_bytes(one, (const char *)bytes, size, NULL);
			dn_matcher_free(one);
			if (r < 0 && r != -EINVAL)
				return true;
			if (good != (r == 0))
				return false;
		}
		if (n == 0)
			return dn_matcher_may_end(matcher);
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		chosen = (uint32_t)(random >> 33) % n;
		for (uint32_t token = 0; token < N_TOKENS; token++) {
			const uint8_t *bytes = word_bytes(token, &size);

			if ((copy[token / 64] >> (token % 64) & 1) && chosen-- == 0) {
				if (dn_matcher_accept_bytes(matcher, (const char *)bytes, size,
							    NULL) < 0)
					return true;
				break;
			}
		}
	}
	return true;
}

#endif
