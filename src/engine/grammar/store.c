/* SPDX-License-Identifier: MIT */

#include "engine/grammar/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATE_SLOTS (2 * DN_STATES_MAX)
#define FIRST	    256U
#define ROW_BYTES   (256 * sizeof(uint16_t))

static uint64_t mix(uint64_t hash, uint32_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

int dn_store_take(struct dn_store *store, uint64_t bytes)
{
	return dn_account_take(store->account, bytes, &store->bytes);
}

static int make(struct dn_store *store)
{
	const uint64_t bytes =
		sizeof(*store) + FIRST * sizeof(*store->stacks) +
		2 * FIRST * sizeof(*store->stack_slots) + FIRST * sizeof(*store->states) +
		STATE_SLOTS * sizeof(*store->state_slots) + FIRST * sizeof(*store->members);
	uint32_t none = 0;

	if (dn_store_take(store, bytes) < 0)
		return -ENOSPC;
	store->slots_mask = 2 * FIRST - 1;
	store->stacks_capacity = store->states_capacity = store->members_capacity = FIRST;
	store->stacks = malloc(FIRST * sizeof(*store->stacks));
	store->stack_slots = calloc(2 * FIRST, sizeof(*store->stack_slots));
	store->states = malloc(FIRST * sizeof(*store->states));
	store->state_slots = calloc(STATE_SLOTS, sizeof(*store->state_slots));
	store->members = malloc(FIRST * sizeof(*store->members));
	if (!store->stacks || !store->stack_slots || !store->states || !store->state_slots ||
	    !store->members)
		return -ENOMEM;
	/* Room for these three is there. */
	(void)dn_store_stack(store, DN_NODE_END, 0, UINT32_MAX);
	(void)dn_store_stack(store, DN_NODE_END, 1, UINT32_MAX);
	(void)dn_store_state(store, &none, 0);
	for (uint32_t i = 0; i < 2; i++) {
		store->stacks[i].local = i;
		for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
			store->stacks[i].cut[k] = i;
	}
	return 0;
}

int dn_store_new(struct dn_account *account, struct dn_store **ret_store)
{
	struct dn_store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return -ENOMEM;
	store->account = account;
	r = make(store);
	if (r < 0)
		dn_store_free(store);
	else
		*ret_store = store;
	return r;
}

struct dn_store *dn_store_free(struct dn_store *store)
{
	if (!store)
		return NULL;
	for (uint32_t i = 0; i < store->n_states; i++) {
		free(store->states[i].row);
		for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++) {
			free(store->states[i].masks[k].words);
			free(store->states[i].masks[k].undecided);
		}
	}
	free(store->stacks);
	free(store->stack_slots);
	free(store->states);
	free(store->state_slots);
	free(store->members);
	dn_account_give(store->account, store->bytes, &store->bytes);
	free(store);
	return NULL;
}

static uint32_t hash_stack(uint32_t node, uint32_t count, uint32_t parent)
{
	return (uint32_t)(mix(mix(mix(0, node), count), parent) >> 20);
}

/* More room for stacks, and so for their hashes. */
static int grow_stacks(struct dn_store *store)
{
	const uint32_t capacity = store->stacks_capacity * 2;
	const uint32_t mask = 2 * capacity - 1;
	struct dn_stack *stacks;
	uint32_t *slots;

	if (capacity > DN_STACKS_MAX)
		return -ENOBUFS;
	if (dn_store_take(store, (capacity / 2) * (sizeof(*stacks) + 2 * sizeof(*slots))) < 0)
		return -ENOSPC;
	stacks = realloc(store->stacks, capacity * sizeof(*stacks));
	if (!stacks)
		return -ENOMEM;
	store->stacks = stacks;
	slots = calloc(mask + (size_t)1, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < store->n_stacks; i++) {
		uint32_t slot =
			hash_stack(stacks[i].node, stacks[i].count, stacks[i].parent) & mask;

		while (slots[slot])
			slot = (slot + 1) & mask;
		slots[slot] = i + 1;
	}
	free(store->stack_slots);
	store->stack_slots = slots;
	store->slots_mask = mask;
	store->stacks_capacity = capacity;
	return 0;
}

int32_t dn_store_stack(struct dn_store *store, uint32_t node, uint32_t count, uint32_t parent)
{
	uint32_t slot = hash_stack(node, count, parent) & store->slots_mask;
	int r;

	for (; store->stack_slots[slot]; slot = (slot + 1) & store->slots_mask) {
		const uint32_t at = store->stack_slots[slot] - 1;
		const struct dn_stack *stack = &store->stacks[at];

		if (stack->node == node && stack->count == count && stack->parent == parent)
			return (int32_t)at;
	}
	if (store->n_stacks == store->stacks_capacity) {
		r = grow_stacks(store);
		return r < 0 ? r : dn_store_stack(store, node, count, parent);
	}
	store->stacks[store->n_stacks] = (struct dn_stack){
		.node = node,
		.count = count,
		.parent = parent,
		.local = UINT32_MAX,
	};
	for (uint32_t k = 0; k < DN_TOKEN_CLASSES; k++)
		store->stacks[store->n_stacks].cut[k] = UINT32_MAX;
	store->stack_slots[slot] = ++store->n_stacks;
	return (int32_t)store->n_stacks - 1;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a;
	const uint32_t y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t sort_members(uint32_t *members, uint32_t n)
{
	uint32_t used = 0;

	if (n > 1)
		qsort(members, n, sizeof(*members), compare);
	for (uint32_t i = 0; i < n; i++)
		if (used == 0 || members[i] != members[used - 1])
			members[used++] = members[i];
	return used;
}

static int make_room(struct dn_store *store, uint32_t n)
{
	if (store->n_states == DN_STATES_MAX || store->n_members + n > DN_MEMBERS_MAX)
		return -ENOBUFS;
	if (store->n_states == store->states_capacity) {
		const size_t more = store->states_capacity * sizeof(*store->states);
		struct dn_state *states;

		if (dn_store_take(store, more) < 0)
			return -ENOSPC;
		states = realloc(store->states, 2 * more);
		if (!states)
			return -ENOMEM;
		store->states = states;
		store->states_capacity *= 2;
	}
	while (store->n_members + n > store->members_capacity) {
		const size_t more = store->members_capacity * sizeof(*store->members);
		uint32_t *members;

		if (dn_store_take(store, more) < 0)
			return -ENOSPC;
		members = realloc(store->members, 2 * more);
		if (!members)
			return -ENOMEM;
		store->members = members;
		store->members_capacity *= 2;
	}
	return 0;
}

int32_t dn_store_state(struct dn_store *store, uint32_t *members, uint32_t n)
{
	struct dn_state *state;
	uint64_t hash = 0;
	uint32_t slot;
	int r;

	n = sort_members(members, n);
	for (uint32_t i = 0; i < n; i++)
		hash = mix(hash, members[i]);
	slot = (uint32_t)(hash >> 20) & (STATE_SLOTS - 1);
	for (; store->state_slots[slot]; slot = (slot + 1) & (STATE_SLOTS - 1)) {
		state = &store->states[store->state_slots[slot] - 1];
		if (state->n == n && (n == 0 || memcmp(store->members + state->first, members,
						       n * sizeof(*members)) == 0))
			return store->state_slots[slot] - 1;
	}
	r = make_room(store, n);
	if (r < 0)
		return r;
	if (n > 0)
		memcpy(store->members + store->n_members, members, n * sizeof(*members));
	state = &store->states[store->n_states];
	*state = (struct dn_state){
		.first = store->n_members,
		.n = n,
		/* The two of the bottom are the least numbers, and members are in order. */
		.leaves = (n > 0 && members[0] == DN_STACK_UNKNOWN) ||
			  (n > 1 && members[1] == DN_STACK_UNKNOWN),
	};
	store->n_members += n;
	store->state_slots[slot] = (uint16_t)++store->n_states;
	return (int32_t)store->n_states - 1;
}

int dn_store_row(struct dn_store *store, uint32_t state, uint16_t **ret_row)
{
	uint16_t *row = store->states[state].row;

	if (!row) {
		if (dn_store_take(store, ROW_BYTES) < 0)
			return -ENOSPC;
		row = malloc(ROW_BYTES);
		if (!row)
			return -ENOMEM;
		memset(row, 0xff, ROW_BYTES);
		store->states[state].row = row;
	}
	*ret_row = row;
	return 0;
}
