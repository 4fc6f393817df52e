/* SPDX-License-Identifier: MIT */
/*
 * A grammar as it runs: a pushdown automaton over bytes that is made deterministic as it goes. A
 * stack is a place in the graph, a count where that is a loop, and the stack below, kept once; a
 * state is a set of stacks, kept once too, and remembers where each byte leads. What is kept is
 * bounded: when it is full all goes but what is in use.
 */
#ifndef DUNLIN_ENGINE_GRAMMAR_AUTOMATON_H
#define DUNLIN_ENGINE_GRAMMAR_AUTOMATON_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
#include "engine/grammar/graph.h"
/* IWYU pragma: end_exports */

/* Lengths of tokens that are told apart, see token-index.h. */
#define DN_TOKEN_CLASSES 3

/* No text goes on from there; every automaton has it. */
#define DN_STATE_DEAD 0

/**
 * struct dn_ranges - tokens, in the order of an index' class, that are still to be decided
 * @prefix: bytes that all of them begin with
 */
struct dn_undecided {
	uint32_t first;
	uint32_t end;
};

/* Which tokens a state allows; @undecided only of local states: see dn_automaton_local(). */
struct dn_state_mask {
	uint64_t *words; /* NULL: not known yet */
	struct dn_undecided *undecided;
	uint32_t n_undecided;
};

/*
 * @row: the state that each byte leads to; NULL before any was asked for
 * @leaves: whether the end of the rule that is local is met
 */
struct dn_state {
	uint32_t first; /* of its members */
	uint32_t n;
	bool leaves;
	uint16_t *row;
	struct dn_state_mask masks[DN_TOKEN_CLASSES];
};

struct dn_account;
struct dn_store;

/* Holds a state through dn_automaton_compact(). */
struct dn_root {
	uint32_t state;
	struct dn_root *next;
};

/* @work: what was looked at since who asks set it to 0, which he does for each mask or text. */
struct dn_automaton {
	const struct dn_graph *graph;
	uint32_t lengths[DN_TOKEN_CLASSES];
	struct dn_store *store;
	struct dn_root *roots;
	uint32_t work;
};

/**
 * dn_automaton_init()
 * @graph: borrowed
 * @lengths: most bytes of a token of each class
 * @account: borrowed
 */
/* -ENOSPC, -ENOMEM; it is to be done with either way. */
DN_MUST_CHECK int dn_automaton_init(struct dn_automaton *automaton, const struct dn_graph *graph,
				    const uint32_t lengths[DN_TOKEN_CLASSES],
				    struct dn_account *account);
void dn_automaton_done(struct dn_automaton *automaton);

/* The state before any byte into @root, which is held from then on; or as dn_automaton_step(). */
DN_MUST_CHECK int dn_automaton_begin(struct dn_automaton *automaton, struct dn_root *root);
void dn_automaton_hold(struct dn_automaton *automaton, struct dn_root *root, uint32_t state);
void dn_automaton_drop(struct dn_automaton *automaton, struct dn_root *root);

/*
 * These give a state, or what compacting may help against: -ENOSPC where the account is full, -ENOBUFS
 * where the grammar has all that one may; or -EOVERFLOW where it is too ambiguous, which is not
 * DN_STATE_DEAD; or -ENOMEM.
 *
 * dn_automaton_cut() has counts cut to what tokens of a class can tell apart: states that are the
 * same to them become one.
 *
 * dn_automaton_local() has stacks cut where the rule ends that is being read. What it allows, the
 * whole state allows; where it leaves the rule, what follows is undecided.
 */
int32_t dn_automaton_step(struct dn_automaton *automaton, uint32_t state, uint8_t byte);
int32_t dn_automaton_cut(struct dn_automaton *automaton, uint32_t state, uint32_t token_class);
int32_t dn_automaton_local(struct dn_automaton *automaton, uint32_t state);

/* Borrowed until the next call that may make a state. */
struct dn_state *dn_automaton_state(const struct dn_automaton *automaton, uint32_t state);
bool dn_automaton_may_end(const struct dn_automaton *automaton, uint32_t state);
bool dn_automaton_must_end(const struct dn_automaton *automaton, uint32_t state);

/* Forgets all but the roots' states, whose numbers change. -ENOSPC, -ENOMEM: then nothing changes. */
DN_MUST_CHECK int dn_automaton_compact(struct dn_automaton *automaton);

#endif /* DUNLIN_ENGINE_GRAMMAR_AUTOMATON_H */
