/* SPDX-License-Identifier: MIT */
/*
 * Prompt look-up (Saxena 2023, "Prompt Lookup Decoding"): what followed the last tokens where they
 * stood before, in the prompt or in the answer, may well follow them again.
 */
#ifndef DUNLIN_WORKER_LOOKUP_H
#define DUNLIN_WORKER_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

/* Tokens that must be the same before anything is expected; from so many on more say no more. */
#define DN_LOOKUP_LEAST	  3
#define DN_LOOKUP_MOST	  32
#define DN_LOOKUP_CLASSES 4

/**
 * struct dn_lookup - an index of a request's tokens
 * @n: tokens that it has seen
 * @next: where the token stands that is expected to be the next; 0: none is
 * @matched: so many before that are the same as the last ones
 * @hits: of matches by length, how often the token was the expected one: a running mean
 * @mask: entries of @places, less one
 * @places: by the hash of three tokens, what stands behind them where they were last; 0: nothing
 */
struct dn_lookup {
	uint32_t n;
	uint32_t next;
	uint32_t matched;
	float hits[DN_LOOKUP_CLASSES];
	uint32_t mask;
	uint32_t places[];
};

/* For at most @capacity tokens, with at most 256 KiB. NULL: no memory. To be freed with free(). */
struct dn_lookup *dn_lookup_new(uint32_t capacity);
/* That it takes. */
size_t dn_lookup_bytes(const struct dn_lookup *lookup);
/*
 * Takes in what is new of @n tokens. Those from @n_prompt on, the answer's, also say how good
 * expectations are.
 */
void dn_lookup_learn(struct dn_lookup *lookup, const uint32_t *tokens, uint32_t n,
		     uint32_t n_prompt);
/* How likely the expected token is to come; 0 where none is expected. */
float dn_lookup_likely(const struct dn_lookup *lookup);
/* Writes the @count tokens expected behind tokens[@lookup->n - 1] there; one must be expected. */
void dn_lookup_draft(const struct dn_lookup *lookup, uint32_t *tokens, uint32_t count);

#endif /* DUNLIN_WORKER_LOOKUP_H */
