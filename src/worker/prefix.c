/* SPDX-License-Identifier: MIT */
/*
 * Prefixes that are computed once: a prompt begins with what another sequence of the same space has
 * in the cache already. Looked for when the prompt's first tokens are to be computed, not when it
 * comes, so that of several which come together the first computes for all.
 */

#include "worker/internal.h"

/* Fewer are not worth a copy of the block that they end in. */
#define LEAST 16U

static uint32_t common_tokens(const struct dn_place *a, const struct dn_place *b, uint32_t most)
{
	uint32_t n = 0;

	while (n < most && a->tokens[n] == b->tokens[n])
		n++;
	return n;
}

static bool may_share(const struct dn_place *place, const struct dn_place *from)
{
	return from != place && from->space == place->space && from->kind == DN_PLACE_GENERATE &&
	       (from->state == DN_PLACE_KEPT || from->state == DN_PLACE_PREFILL ||
		from->state == DN_PLACE_DECODE);
}

/* The one with the longest prefix in the cache. */
static struct dn_place *find(const struct dn_worker *worker, const struct dn_place *place,
			     uint32_t *ret_common)
{
	struct dn_place *best = NULL;

	*ret_common = 0;
	if (place->space == 0)
		return NULL;
	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *from = &worker->places[i];
		uint32_t common;

		if (!may_share(place, from))
			continue;
		common = common_tokens(
			place, from,
			DN_MIN(place->n_tokens - 1, dn_sequence_length(from->sequence)));
		if (common >= LEAST && common > *ret_common) {
			*ret_common = common;
			best = from;
		}
	}
	return best;
}

uint32_t dn_prefix_known(const struct dn_worker *worker, const struct dn_place *place)
{
	uint32_t common;

	(void)find(worker, place, &common);
	return common;
}

void dn_prefix_take(struct dn_worker *worker, struct dn_place *place)
{
	struct dn_error ignored = DN_ERROR_INIT;
	uint32_t common;
	struct dn_place *from;

	if (dn_sequence_length(place->sequence) > 0)
		return;
	from = find(worker, place, &common);
	if (!from)
		return;
	/* Where there is no room for it, all is computed. */
	if (dn_sequence_share(place->sequence, from->sequence, common, &ignored) < 0)
		return;
	place->n_reused = dn_sequence_length(place->sequence);
	/* Used again: the last to go. */
	if (from->state == DN_PLACE_KEPT)
		from->age = ++worker->ages;
}

bool dn_prefix_awaits(const struct dn_place *place, struct dn_place *const *others, size_t n_others)
{
	uint32_t known;

	if (place->space == 0 || dn_sequence_length(place->sequence) > place->n_reused)
		return false;
	known = dn_sequence_length(place->sequence);
	for (size_t i = 0; i < n_others; i++) {
		const struct dn_place *other = others[i];

		if (other->state == DN_PLACE_PREFILL && may_share(place, other) &&
		    common_tokens(place, other, DN_MIN(place->n_tokens - 1, other->target)) >=
			    known + LEAST)
			return true;
	}
	return false;
}

void dn_prefix_supersede(struct dn_worker *worker, const struct dn_place *place)
{
	if (place->space == 0)
		return;
	for (uint32_t i = 0; i < worker->n_places; i++) {
		struct dn_place *other = &worker->places[i];

		if (other != place && other->state == DN_PLACE_KEPT &&
		    other->space == place->space && other->n_tokens <= place->n_tokens &&
		    common_tokens(place, other, other->n_tokens) == other->n_tokens)
			dn_place_free(other);
	}
}
