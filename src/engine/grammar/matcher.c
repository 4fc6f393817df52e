/* SPDX-License-Identifier: MIT */
/*
 * Which tokens can be the next. A mask of a state is that of what is local to the rule being read,
 * which all places that use the rule have in common, and what the tokens do that reach beyond it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <dunlin/tokenizer.h>

#include "engine/grammar/grammar.h"
#include "engine/grammar/store.h"

struct dn_matcher {
	struct dn_grammar *grammar;
	struct dn_root root;
	uint64_t *mask;
};

/* A walk of a class' tokens. */
struct walk {
	struct dn_automaton *automaton;
	const struct dn_index_class *tokens;
	uint64_t *words;
	struct dn_undecided *undecided; /* NULL: the state is a whole one */
	uint32_t n_undecided;
	uint32_t capacity;
	uint16_t states[DN_TOKEN_LONGEST + 1]; /* behind each byte of the last token */
};

static int add_undecided(struct walk *walk, uint32_t first, uint32_t end)
{
	struct dn_undecided *undecided;
	uint32_t capacity;

	if (walk->n_undecided == walk->capacity) {
		capacity = walk->capacity ? 2 * walk->capacity : 64;
		undecided = realloc(walk->undecided, capacity * sizeof(*undecided));
		if (!undecided)
			return -ENOMEM;
		walk->undecided = undecided;
		walk->capacity = capacity;
	}
	walk->undecided[walk->n_undecided++] = (struct dn_undecided){ first, end };
	return 0;
}

/*
 * Reads token @at from its byte @from on, and marks it where it can be read. Return: how many of its
 * bytes can, or a negative errno; with @ret_left also where the rule's end was met.
 */
static int32_t walk_token(struct walk *walk, uint32_t at, uint32_t from, bool local, bool *ret_left)
{
	const struct dn_index_token *token = &walk->tokens->tokens[at];
	const struct dn_store *store = walk->automaton->store;
	uint32_t depth;

	*ret_left = false;
	for (depth = from; depth < token->size; depth++) {
		int32_t next = dn_store_step(store, walk->states[depth], token->bytes[depth]);

		if (next == DN_STATE_ASK)
			next = dn_automaton_step(walk->automaton, walk->states[depth],
						 token->bytes[depth]);
		if (next < 0)
			return next;
		if (next == DN_STATE_DEAD)
			return (int32_t)depth;
		walk->states[depth + 1] = (uint16_t)next;
		if (local && store->states[next].leaves) {
			*ret_left = true;
			depth++;
			break;
		}
	}
	if (depth == token->size)
		walk->words[token->token / 64] |= UINT64_C(1) << (token->token % 64);
	return (int32_t)depth;
}

/* Where the tokens end that begin with the first @depth bytes of the one before @at. */
static uint32_t end_of(const struct walk *walk, uint32_t at, uint32_t depth)
{
	while (at < walk->tokens->n && walk->tokens->tokens[at].common >= depth)
		at++;
	return at;
}

/* Tokens @first to @end, from walk->states[0]. */
static int walk_tokens(struct walk *walk, uint32_t first, uint32_t end, bool local)
{
	int32_t alive = 0;

	for (uint32_t at = first; at < end;) {
		const struct dn_index_token *token = &walk->tokens->tokens[at];
		const uint32_t common = at == first ? 0 : token->common;
		bool left;

		if (common > (uint32_t)alive) {
			at++;
			continue;
		}
		alive = walk_token(walk, at, common, local, &left);
		if (alive < 0)
			return alive;
		if (left) {
			const uint32_t behind = end_of(walk, at + 1, (uint32_t)alive);
			const uint32_t start = (uint32_t)alive == token->size ? at + 1 : at;

			if (start < behind && add_undecided(walk, start, behind) < 0)
				return -ENOMEM;
			at = behind;
		} else if (alive == 0) {
			at = walk->tokens->starts[token->bytes[0] + 1];
		} else {
			at++;
		}
	}
	return 0;
}

static struct dn_state_mask *mask_at(const struct dn_grammar *grammar, uint32_t state, uint32_t k)
{
	return &dn_automaton_state(&grammar->automaton, state)->masks[k];
}

static int keep(struct dn_grammar *grammar, uint32_t state, uint32_t k, const struct walk *walk)
{
	if (dn_store_take(grammar->automaton.store,
			  grammar->index->words * sizeof(uint64_t) +
				  walk->capacity * sizeof(struct dn_undecided)) < 0)
		return -ENOSPC;
	*mask_at(grammar, state, k) = (struct dn_state_mask){
		.words = walk->words,
		.undecided = walk->undecided,
		.n_undecided = walk->n_undecided,
	};
	return 0;
}

/* The mask of what is local to @state's rules. */
static int find_local(struct dn_grammar *grammar, uint32_t state, uint32_t k)
{
	struct walk walk = {
		.automaton = &grammar->automaton,
		.tokens = &grammar->index->classes[k],
	};
	int r;

	if (mask_at(grammar, state, k)->words)
		return 0;
	walk.words = calloc(grammar->index->words, sizeof(*walk.words));
	if (!walk.words)
		return -ENOMEM;
	walk.states[0] = (uint16_t)state;
	r = walk_tokens(&walk, 0, walk.tokens->n, true);
	if (r >= 0)
		r = keep(grammar, state, k, &walk);
	if (r < 0) {
		free(walk.words);
		free(walk.undecided);
	}
	return r;
}

/* Decides from @state what its @local mask leaves open, into @walk. */
static int decide(struct dn_grammar *grammar, uint32_t state, uint32_t local, uint32_t k,
		  struct walk *walk)
{
	const struct dn_state_mask *known = mask_at(grammar, local, k);
	const struct dn_undecided *undecided = known->undecided;
	const uint32_t n = known->n_undecided;
	int r = 0;

	memcpy(walk->words, known->words, grammar->index->words * sizeof(*walk->words));
	walk->states[0] = (uint16_t)state;
	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = walk_tokens(walk, undecided[i].first, undecided[i].end, false);
	return r;
}

/* The mask of a whole state for one class of tokens. Return: the state that has it. */
static int32_t find_mask(struct dn_grammar *grammar, uint32_t exact, uint32_t k)
{
	const int32_t state = dn_automaton_cut(&grammar->automaton, exact, k);
	struct walk walk = {
		.automaton = &grammar->automaton,
		.tokens = &grammar->index->classes[k],
	};
	int32_t local;
	int r;

	if (state < 0 || mask_at(grammar, (uint32_t)state, k)->words)
		return state;
	local = dn_automaton_local(&grammar->automaton, (uint32_t)state);
	if (local < 0)
		return local;
	r = find_local(grammar, (uint32_t)local, k);
	/* Where the whole text is one rule, nothing is beyond it. */
	if (r < 0 || local == state)
		return r < 0 ? r : local;
	walk.words = malloc(grammar->index->words * sizeof(*walk.words));
	if (!walk.words)
		return -ENOMEM;
	r = decide(grammar, (uint32_t)state, (uint32_t)local, k, &walk);
	if (r >= 0)
		r = keep(grammar, (uint32_t)state, k, &walk);
	if (r < 0) {
		free(walk.words);
		return r;
	}
	return state;
}

/* All classes, into the matcher's own mask. */
static int join_masks(struct dn_matcher *matcher)
{
	struct dn_grammar *grammar = matcher->grammar;
	const uint32_t words = grammar->index->words;

	memset(matcher->mask, 0, words * sizeof(*matcher->mask));
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++) {
		const int32_t state = find_mask(grammar, matcher->root.state, k);
		const uint64_t *mask;

		if (state < 0)
			return state;
		mask = mask_at(grammar, (uint32_t)state, k)->words;
		for (uint32_t i = 0; i < words; i++)
			matcher->mask[i] |= mask[i];
	}
	return 0;
}

/* Whether all is to be forgotten that is not in use, and then tried once more. */
static bool is_full(int r)
{
	return r == -ENOSPC || r == -ENOBUFS;
}

/*
 * What more trying does not help. Where a grammar has the most of the memory by itself, another time
 * would be no better: it needs too much.
 */
static int explain(const struct dn_grammar *grammar, int r, struct dn_error *err)
{
	const uint64_t held = grammar->automaton.store->bytes + grammar->graph_bytes;

	if (r == -EOVERFLOW || r == -ENOBUFS ||
	    (r == -ENOSPC && held > grammar->index->account.most / 2))
		return dn_error_set(
			err, EOVERFLOW,
			"the grammar needs too much here: what is read could be too many "
			"of its rules, or is too deep in them");
	if (r == -ENOSPC)
		return dn_error_set(err, ENOSPC,
				    "grammars in use leave no memory for the states of this one");
	return r < 0 ? dn_error_memory(err, "a grammar's states", 0) : r;
}

int dn_matcher_mask(struct dn_matcher *matcher, bool ends, const uint64_t **ret_mask,
		    struct dn_error *err)
{
	struct dn_grammar *grammar = matcher->grammar;
	const struct dn_token_index *index = grammar->index;
	int used = 0;
	int r;

	grammar->automaton.work = 0;
	r = join_masks(matcher);
	if (is_full(r)) {
		r = dn_grammars_compact(grammar->index);
		if (r >= 0)
			r = join_masks(matcher);
	}
	if (r < 0)
		return explain(grammar, r, err);
	if (ends && dn_matcher_may_end(matcher))
		for (uint32_t i = 0; i < index->n_ends; i++)
			matcher->mask[index->ends[i] / 64] |= UINT64_C(1) << (index->ends[i] % 64);
	for (uint32_t i = 0; i < index->words; i++)
		used += matcher->mask[i] != 0;
	*ret_mask = matcher->mask;
	return used;
}

static int read_bytes(struct dn_matcher *matcher, const char *bytes, size_t size)
{
	uint32_t state = matcher->root.state;

	for (size_t i = 0; i < size; i++) {
		const int32_t next =
			dn_automaton_step(&matcher->grammar->automaton, state, (uint8_t)bytes[i]);

		if (next <= 0)
			return next < 0 ? next : -EINVAL;
		state = (uint32_t)next;
	}
	matcher->root.state = state;
	return 0;
}

int dn_matcher_accept_bytes(struct dn_matcher *matcher, const char *bytes, size_t size,
			    struct dn_error *err)
{
	int r;

	matcher->grammar->automaton.work = 0;
	r = read_bytes(matcher, bytes, size);
	if (is_full(r)) {
		r = dn_grammars_compact(matcher->grammar->index);
		if (r >= 0)
			r = read_bytes(matcher, bytes, size);
	}
	if (r == -EINVAL)
		return dn_error_set(err, EINVAL, "the grammar does not have this text here");
	return explain(matcher->grammar, r, err);
}

int dn_matcher_accept(struct dn_matcher *matcher, uint32_t token, struct dn_error *err)
{
	const struct dn_token_index *index = matcher->grammar->index;
	size_t size = 0;
	const char *bytes = dn_token_index_bytes(index, token, &size);

	if (token < index->vocabulary && dn_tokenizer_ends(index->tokenizer, token) &&
	    dn_matcher_may_end(matcher))
		return 0;
	if (!bytes)
		return dn_error_set(err, EINVAL, "token %u is no part of a text here", token);
	return dn_matcher_accept_bytes(matcher, bytes, size, err);
}

bool dn_matcher_may_end(const struct dn_matcher *matcher)
{
	return dn_automaton_may_end(&matcher->grammar->automaton, matcher->root.state);
}

bool dn_matcher_must_end(const struct dn_matcher *matcher)
{
	return dn_automaton_must_end(&matcher->grammar->automaton, matcher->root.state);
}

static struct dn_matcher *new_matcher(struct dn_grammar *grammar)
{
	struct dn_matcher *matcher = calloc(1, sizeof(*matcher));

	if (!matcher)
		return NULL;
	matcher->mask = calloc(grammar->index->words + (size_t)1, sizeof(*matcher->mask));
	if (!matcher->mask) {
		free(matcher);
		return NULL;
	}
	matcher->grammar = dn_grammar_ref(grammar);
	return matcher;
}

int dn_matcher_new(struct dn_grammar *grammar, struct dn_matcher **ret_matcher,
		   struct dn_error *err)
{
	struct dn_matcher *matcher = new_matcher(grammar);
	int r = -ENOMEM;

	grammar->automaton.work = 0;
	if (matcher)
		r = dn_automaton_begin(&grammar->automaton, &matcher->root);
	if (is_full(r)) {
		r = dn_grammars_compact(grammar->index);
		if (r >= 0)
			r = dn_automaton_begin(&grammar->automaton, &matcher->root);
	}
	if (r < 0) {
		dn_matcher_free(matcher);
		return explain(grammar, r, err);
	}
	*ret_matcher = matcher;
	return 0;
}

int dn_matcher_clone(struct dn_matcher *matcher, struct dn_matcher **ret_matcher,
		     struct dn_error *err)
{
	struct dn_matcher *clone = new_matcher(matcher->grammar);

	if (!clone)
		return explain(matcher->grammar, -ENOMEM, err);
	dn_automaton_hold(&clone->grammar->automaton, &clone->root, matcher->root.state);
	*ret_matcher = clone;
	return 0;
}

struct dn_matcher *dn_matcher_free(struct dn_matcher *matcher)
{
	if (!matcher)
		return NULL;
	dn_automaton_drop(&matcher->grammar->automaton, &matcher->root);
	dn_grammar_unref(matcher->grammar);
	free(matcher->mask);
	free(matcher);
	return NULL;
}
