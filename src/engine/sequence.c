/* SPDX-License-Identifier: MIT */
/* Sequences: how they grow, are cut back, and share what they have in common. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/context.h"

static struct dn_block_pool *pool_of(const struct dn_sequence *s, enum dn_kv_pool pool)
{
	return &s->context->kv.pools[pool];
}

/* Whether the model has layers of that kind. */
static bool has(const struct dn_sequence *s, enum dn_kv_pool pool)
{
	return pool_of(s, pool)->block_bytes > 0;
}

int dn_sequence_make(struct dn_context *c, struct dn_sequence **ret_sequence, struct dn_error *err)
{
	const uint32_t blocks = DN_DIV_ROUND_UP(c->length, DN_KV_BLOCK);
	const size_t bytes = dn_sequence_bytes(c->length);
	struct dn_sequence *s = calloc(1, bytes);

	if (!s)
		return dn_error_memory(err, "a sequence", bytes);
	s->context = c;
	s->blocks[DN_POOL_ALL] = (uint8_t **)(s + 1);
	s->blocks[DN_POOL_WINDOW] = s->blocks[DN_POOL_ALL] + blocks;
	*ret_sequence = s;
	return 0;
}

int dn_sequence_new(struct dn_context *c, struct dn_sequence **ret_sequence, struct dn_error *err)
{
	int r;

	if (c->n_sequences == c->max_sequences)
		return dn_error_set(err, ENOSPC,
				    "%u sequences exist, as many as the context has "
				    "places for",
				    c->n_sequences);
	r = dn_sequence_make(c, ret_sequence, err);
	if (r >= 0)
		c->n_sequences++;
	return r;
}

struct dn_sequence *dn_sequence_free(struct dn_sequence *s)
{
	if (!s)
		return NULL;
	(void)dn_sequence_cut(s, 0);
	s->context->n_sequences--;
	free(s);
	return NULL;
}

uint32_t dn_sequence_length(const struct dn_sequence *s)
{
	return s->length;
}

/* Whether a token at @position sees any of block @number. */
static bool sees(const struct dn_sequence *s, uint32_t position, uint32_t number)
{
	const uint32_t window = s->context->kv.window;

	return number * DN_KV_BLOCK < position &&
	       (position < window || (number + 1) * DN_KV_BLOCK > position - window + 1);
}

bool dn_sequence_keeps(const struct dn_sequence *s, uint32_t number)
{
	if (sees(s, s->length, number))
		return true;
	for (uint32_t i = 0; i < s->n_checkpoints; i++)
		if (sees(s, s->checkpoints[i].position, number))
			return true;
	return false;
}

/* Gives back the blocks of windows that nothing will look at. */
static void trim(struct dn_sequence *s)
{
	bool found = false;

	if (!has(s, DN_POOL_WINDOW))
		return;
	for (uint32_t i = s->first; i < s->n_blocks; i++) {
		uint8_t **block = &s->blocks[DN_POOL_WINDOW][i];

		if (*block && !dn_sequence_keeps(s, i)) {
			dn_block_drop(pool_of(s, DN_POOL_WINDOW), *block);
			*block = NULL;
		}
		if (*block && !found)
			s->first = i;
		found |= *block != NULL;
	}
}

static void drop_checkpoint(struct dn_sequence *s, uint32_t i)
{
	dn_block_drop(pool_of(s, DN_POOL_STATE), s->checkpoints[i].state);
	s->n_checkpoints--;
	memmove(&s->checkpoints[i], &s->checkpoints[i + 1],
		(s->n_checkpoints - i) * sizeof(s->checkpoints[0]));
}

/*
 * The one whose going leaves the least gap for its distance from @end: distances between those
 * that stay grow with how far back they are. With @frees only those whose state nobody else has;
 * n_checkpoints where there is none.
 */
static uint32_t most_dispensable(const struct dn_sequence *s, uint32_t end, bool frees)
{
	double least = 0.0;
	uint32_t best = s->n_checkpoints;

	for (uint32_t i = 0; i < s->n_checkpoints; i++) {
		const uint32_t before = i ? s->checkpoints[i - 1].position : 0;
		const uint32_t after =
			i + 1 < s->n_checkpoints ? s->checkpoints[i + 1].position : end;
		const double gap =
			(double)(after - before) / (end - s->checkpoints[i].position + 1.0);

		if (frees && dn_block_is_shared(pool_of(s, DN_POOL_STATE), s->checkpoints[i].state))
			continue;
		if (best == s->n_checkpoints || gap < least) {
			least = gap;
			best = i;
		}
	}
	return best;
}

/* Whether something has to go before there is room for a state. */
static bool is_dry(const struct dn_block_pool *states)
{
	return states->block_bytes && !states->n_free;
}

struct dn_checkpoint *dn_sequence_checkpoint(struct dn_sequence *s, uint32_t n)
{
	const uint32_t border = (s->length + n) / DN_KV_BLOCK * DN_KV_BLOCK;
	struct dn_block_pool *states = pool_of(s, DN_POOL_STATE);
	struct dn_checkpoint *checkpoint;

	if (border <= s->length || (!has(s, DN_POOL_WINDOW) && !has(s, DN_POOL_STATE)))
		return NULL;
	while (s->n_checkpoints == DN_CHECKPOINTS || is_dry(states)) {
		const uint32_t i = most_dispensable(s, border, is_dry(states));

		if (i == s->n_checkpoints)
			return NULL;
		drop_checkpoint(s, i);
	}
	checkpoint = &s->checkpoints[s->n_checkpoints++];
	*checkpoint = (struct dn_checkpoint){ .position = border };
	if (states->block_bytes)
		checkpoint->state = dn_block_take(states);
	return checkpoint;
}

/* Whether the block that the next token goes into is there already. */
static bool has_partial(const struct dn_sequence *s)
{
	return s->length % DN_KV_BLOCK != 0;
}

static uint8_t **partial(const struct dn_sequence *s, enum dn_kv_pool pool)
{
	return &s->blocks[pool][s->length / DN_KV_BLOCK];
}

void dn_sequence_needs(const struct dn_sequence *s, uint32_t n, uint64_t needs[DN_POOL_COUNT])
{
	const uint32_t blocks = DN_DIV_ROUND_UP(s->length + n, DN_KV_BLOCK) - s->n_blocks;

	for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++) {
		const struct dn_block_pool *pool = pool_of(s, (enum dn_kv_pool)p);

		if (!pool->block_bytes)
			continue;
		needs[p] += blocks;
		needs[p] +=
			has_partial(s) && dn_block_is_shared(pool, *partial(s, (enum dn_kv_pool)p));
	}
	if (has(s, DN_POOL_STATE))
		needs[DN_POOL_STATE] +=
			!s->state || dn_block_is_shared(pool_of(s, DN_POOL_STATE), s->state);
}

static void own_state(struct dn_sequence *s)
{
	struct dn_block_pool *states = pool_of(s, DN_POOL_STATE);

	if (!states->block_bytes)
		return;
	if (s->state) {
		dn_block_own(states, &s->state);
		return;
	}
	s->state = dn_block_take(states);
	memset(s->state, 0, states->block_bytes);
}

void dn_sequence_grow(struct dn_sequence *s, uint32_t n)
{
	const uint32_t blocks = DN_DIV_ROUND_UP(s->length + n, DN_KV_BLOCK);

	for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++) {
		struct dn_block_pool *pool = pool_of(s, (enum dn_kv_pool)p);

		if (!pool->block_bytes)
			continue;
		if (has_partial(s))
			dn_block_own(pool, partial(s, (enum dn_kv_pool)p));
		for (uint32_t i = s->n_blocks; i < blocks; i++)
			s->blocks[p][i] = dn_block_take(pool);
	}
	s->n_blocks = blocks;
	own_state(s);
}

void dn_sequence_advance(struct dn_sequence *s, uint32_t n)
{
	s->length += n;
	trim(s);
}

/* Whether every block that a token at @position sees is still there. */
static bool has_window(const struct dn_sequence *s, uint32_t position)
{
	for (uint32_t i = DN_DIV_ROUND_UP(position, DN_KV_BLOCK); i > 0; i--) {
		if (!sees(s, position, i - 1))
			break;
		if (!s->blocks[DN_POOL_WINDOW][i - 1])
			return false;
	}
	return true;
}

/* The checkpoint at or before @length; n_checkpoints where there is none. */
static uint32_t checkpoint_before(const struct dn_sequence *s, uint32_t length)
{
	for (uint32_t i = s->n_checkpoints; i > 0; i--)
		if (s->checkpoints[i - 1].position <= length)
			return i - 1;
	return s->n_checkpoints;
}

/* The most of the first @length tokens whose memory is there, and the state behind them. */
static uint32_t reachable(const struct dn_sequence *s, uint32_t length, uint8_t **ret_state)
{
	uint32_t i;

	*ret_state = s->state;
	if (length >= s->length)
		return s->length;
	*ret_state = NULL;
	if (!has(s, DN_POOL_STATE) && (!has(s, DN_POOL_WINDOW) || has_window(s, length)))
		return length;
	i = checkpoint_before(s, length);
	if (i == s->n_checkpoints)
		return 0;
	*ret_state = s->checkpoints[i].state;
	return s->checkpoints[i].position;
}

uint32_t dn_sequence_cut(struct dn_sequence *s, uint32_t length)
{
	uint8_t *state;
	uint32_t kept = reachable(s, length, &state);

	if (kept == s->length)
		return kept;
	if (state)
		dn_block_ref(pool_of(s, DN_POOL_STATE), state);
	dn_block_drop(pool_of(s, DN_POOL_STATE), s->state);
	s->state = state;
	s->length = kept;
	while (s->n_checkpoints && s->checkpoints[s->n_checkpoints - 1].position > kept)
		drop_checkpoint(s, s->n_checkpoints - 1);
	while (s->n_blocks > DN_DIV_ROUND_UP(kept, DN_KV_BLOCK)) {
		s->n_blocks--;
		for (int p = DN_POOL_ALL; p <= DN_POOL_WINDOW; p++) {
			dn_block_drop(pool_of(s, (enum dn_kv_pool)p), s->blocks[p][s->n_blocks]);
			s->blocks[p][s->n_blocks] = NULL;
		}
	}
	s->first = DN_MIN(s->first, s->n_blocks);
	trim(s);
	return kept;
}

uint32_t dn_sequence_drafts(const struct dn_sequence *s)
{
	const uint32_t window = s->context->kv.window;
	const uint32_t next = s->length + 1;
	uint32_t n;

	if (next >= s->context->length || has(s, DN_POOL_STATE))
		return 0;
	n = s->context->length - next;
	if (!has(s, DN_POOL_WINDOW))
		return n;
	/* No checkpoint that a cut would drop, in the place of one that was dropped for it. */
	n = DN_MIN(n, DN_KV_BLOCK - 1 - next % DN_KV_BLOCK);
	/* No block less that the token behind @next sees. */
	if (next >= window)
		n = DN_MIN(n, DN_KV_BLOCK - 1 - (next - window + 1) % DN_KV_BLOCK);
	return n;
}

int dn_sequence_share(struct dn_sequence *to, const struct dn_sequence *from, uint32_t length,
		      struct dn_error *err)
{
	uint8_t *state;

	if (to->context != from->context || to->length || length > from->length)
		return dn_error_set(err, EINVAL,
				    "cannot share %u tokens of a sequence of %u with one of %u",
				    length, from->length, to->length);
	to->length = reachable(from, length, &state);
	to->n_blocks = DN_DIV_ROUND_UP(to->length, DN_KV_BLOCK);
	to->first = 0;
	if (state)
		to->state = dn_block_ref(pool_of(to, DN_POOL_STATE), state);
	/* Where it could begin again, should it be cut back. */
	if (to->length && to->length % DN_KV_BLOCK == 0 &&
	    (has(to, DN_POOL_WINDOW) || has(to, DN_POOL_STATE))) {
		to->checkpoints[0] = (struct dn_checkpoint){ to->length, NULL };
		if (state)
			to->checkpoints[0].state = dn_block_ref(pool_of(to, DN_POOL_STATE), state);
		to->n_checkpoints = 1;
	}
	for (uint32_t i = 0; i < to->n_blocks; i++) {
		if (has(to, DN_POOL_ALL))
			to->blocks[DN_POOL_ALL][i] = dn_block_ref(pool_of(to, DN_POOL_ALL),
								  from->blocks[DN_POOL_ALL][i]);
		if (has(to, DN_POOL_WINDOW) && sees(to, to->length, i))
			to->blocks[DN_POOL_WINDOW][i] = dn_block_ref(
				pool_of(to, DN_POOL_WINDOW), from->blocks[DN_POOL_WINDOW][i]);
	}
	return 0;
}
