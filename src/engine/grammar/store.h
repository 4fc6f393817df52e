/* SPDX-License-Identifier: MIT */
/* What an automaton keeps: stacks and states, each once. */
#ifndef DUNLIN_ENGINE_GRAMMAR_STORE_H
#define DUNLIN_ENGINE_GRAMMAR_STORE_H

/* IWYU pragma: begin_exports */
#include <stdint.h>

#include "engine/grammar/account.h"
#include "engine/grammar/automaton.h"
/* IWYU pragma: end_exports */

#define DN_STACKS_MAX  (1U << 16)
#define DN_STATES_MAX  (1U << 12)
#define DN_MEMBERS_MAX (1U << 17)

/* Stacks that are there from the start: the text's end, and a rule's of which no more is known. */
#define DN_STACK_BOTTOM	 0U
#define DN_STACK_UNKNOWN 1U

/* In rows: not asked for yet. */
#define DN_STATE_ASK UINT16_MAX

/* Where a call is to go on, which may be at a loop that is not begun. */
#define DN_COUNT_NONE UINT32_MAX

/**
 * struct dn_stack
 * @count: of a loop that is being read: how often its body was
 * @parent: what is below; always an older stack
 * @local, @cut: the stack that this one is when cut; UINT32_MAX: not known yet
 * @looped: where it is a loop before its first repeat: the last closure that met it behind any, and
 *   @least, the fewest there
 */
struct dn_stack {
	uint32_t node;
	uint32_t count;
	uint32_t parent;
	uint32_t local;
	uint32_t cut[DN_TOKEN_CLASSES];
	uint32_t seen; /* the last closure that met it */
	uint32_t looped;
	uint32_t least;
	uint32_t above; /* on the way down to what is at the bottom, where one came from */
};

/* @bytes: of @account, what all of it takes, masks too. */
struct dn_store {
	struct dn_account *account;
	uint64_t bytes;
	struct dn_stack *stacks;
	uint32_t n_stacks;
	uint32_t stacks_capacity;
	uint32_t *stack_slots;
	uint32_t slots_mask;
	struct dn_state *states;
	uint32_t n_states;
	uint32_t states_capacity;
	uint16_t *state_slots; /* [2 * DN_STATES_MAX] */
	uint32_t *members;
	uint32_t n_members;
	uint32_t members_capacity;
	uint32_t closure;
};

/* Whether a loop's body is being read above this one. */
static inline bool dn_stack_is_loop(const struct dn_graph *graph, const struct dn_stack *stack)
{
	return graph->nodes[stack->node].kind == DN_NODE_LOOP && stack->count != DN_COUNT_NONE;
}

/* As dn_automaton_step(), where that is known; else DN_STATE_ASK. */
static inline uint16_t dn_store_step(const struct dn_store *store, uint32_t state, uint8_t byte)
{
	const uint16_t *row = store->states[state].row;

	return DN_LIKELY(row) ? row[byte] : DN_STATE_ASK;
}

/* @account: borrowed for the store's life. -ENOSPC, -ENOMEM. */
DN_MUST_CHECK int dn_store_new(struct dn_account *account, struct dn_store **ret_store);
struct dn_store *dn_store_free(struct dn_store *store);

/* Each its number, or -ENOSPC, -ENOMEM, or -ENOBUFS where it has all that one grammar may. */
int32_t dn_store_stack(struct dn_store *store, uint32_t node, uint32_t count, uint32_t parent);
/* Sorts @members, and takes out what is there twice; none: DN_STATE_DEAD. */
int32_t dn_store_state(struct dn_store *store, uint32_t *members, uint32_t n);
/* All states' rows are borrowed until the store goes. */
DN_MUST_CHECK int dn_store_row(struct dn_store *store, uint32_t state, uint16_t **ret_row);
/* Room for @bytes of a state's masks. */
DN_MUST_CHECK int dn_store_take(struct dn_store *store, uint64_t bytes);

#endif /* DUNLIN_ENGINE_GRAMMAR_STORE_H */
