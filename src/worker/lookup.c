/* SPDX-License-Identifier: MIT */

#include "worker/lookup.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* What does not fit replaces what is older: an expectation less, nothing wrong. */
#define PLACES_MAX 65536U
/* The running mean's weight of the newest. */
#define NEWEST 0.0625F

/* Matches by length, and what they are worth before anything is known of a text. */
static const struct {
	uint32_t least;
	float hits;
} classes[DN_LOOKUP_CLASSES] = {
	{ DN_LOOKUP_LEAST, 0.3F },
	{ 5, 0.5F },
	{ 9, 0.7F },
	{ 17, 0.85F },
};

struct dn_lookup *dn_lookup_new(uint32_t capacity)
{
	struct dn_lookup *lookup;
	uint32_t n = 64;

	while (n < capacity && n < PLACES_MAX)
		n *= 2;
	lookup = calloc(1, sizeof(*lookup) + n * sizeof(lookup->places[0]));
	if (!lookup)
		return NULL;
	lookup->mask = n - 1;
	for (uint32_t i = 0; i < DN_LOOKUP_CLASSES; i++)
		lookup->hits[i] = classes[i].hits;
	return lookup;
}

size_t dn_lookup_bytes(const struct dn_lookup *lookup)
{
	return sizeof(*lookup) + ((size_t)lookup->mask + 1) * sizeof(lookup->places[0]);
}

/* Where what stands behind the three tokens that end with @last is kept. */
static uint32_t *place_of(struct dn_lookup *lookup, const uint32_t *last)
{
	uint32_t hash = last[0];

	for (int i = 1; i < DN_LOOKUP_LEAST; i++)
		hash = hash * 0x9e3779b1U + last[-i];
	hash *= 0x9e3779b1U;
	return &lookup->places[(hash >> 15) & lookup->mask];
}

static uint32_t class_of(const struct dn_lookup *lookup)
{
	uint32_t i = DN_LOOKUP_CLASSES - 1;

	while (lookup->matched < classes[i].least)
		i--;
	return i;
}

/* How many tokens before @place are the same as before @end. */
static uint32_t common(const uint32_t *tokens, uint32_t place, uint32_t end)
{
	uint32_t n = 0;

	while (n < DN_LOOKUP_MOST && n < place && tokens[place - 1 - n] == tokens[end - 1 - n])
		n++;
	return n;
}

/* The token at @at is there: was it the expected one, and which is expected next? */
static void learn(struct dn_lookup *lookup, const uint32_t *tokens, uint32_t at, bool counts)
{
	const bool hit = lookup->next && tokens[at] == tokens[lookup->next];
	uint32_t *place;

	if (lookup->next && counts) {
		float *hits = &lookup->hits[class_of(lookup)];

		*hits += ((float)hit - *hits) * NEWEST;
	}
	lookup->n = at + 1;
	if (lookup->n < DN_LOOKUP_LEAST)
		return;
	place = place_of(lookup, &tokens[at]);
	if (hit) {
		lookup->next++;
		lookup->matched = DN_MIN(lookup->matched + 1, (uint32_t)DN_LOOKUP_MOST);
	} else {
		lookup->next = *place;
		lookup->matched = *place ? common(tokens, *place, lookup->n) : 0;
		/* Other tokens may have the same place. */
		if (lookup->matched < DN_LOOKUP_LEAST)
			lookup->next = 0;
	}
	*place = lookup->n;
}

void dn_lookup_learn(struct dn_lookup *lookup, const uint32_t *tokens, uint32_t n,
		     uint32_t n_prompt)
{
	while (lookup->n < n)
		learn(lookup, tokens, lookup->n, lookup->n >= n_prompt);
}

float dn_lookup_likely(const struct dn_lookup *lookup)
{
	return lookup->next ? lookup->hits[class_of(lookup)] : 0;
}

void dn_lookup_draft(const struct dn_lookup *lookup, uint32_t *tokens, uint32_t count)
{
	/* In order: a short repetition goes on from the draft itself. */
	for (uint32_t i = 0; i < count; i++)
		tokens[lookup->n + i] = tokens[lookup->next + i];
}
