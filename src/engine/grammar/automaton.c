/* SPDX-License-Identifier: MIT */

#include "engine/grammar/automaton.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grammar/store.h"

/* Stacks that one byte may lead to, those in between too: a grammar with more is too ambiguous. */
#define CLOSURE_MAX 4096
/* Stacks that are looked at for one mask or text: some tens of milliseconds. */
#define WORK_MAX 500000
/* Loops in loops that what is local has. */
#define LOCAL_LOOPS 8

/*
 * Stacks that are looked at, in the order in which they were met, and those that wait for a byte.
 * The first met have the fewest repeats of their loops: see is_covered().
 */
struct closure {
	struct dn_store *store;
	const struct dn_graph *graph;
	uint32_t *work;
	uint32_t seen[CLOSURE_MAX];
	uint32_t n_seen;
	uint32_t members[CLOSURE_MAX];
	uint32_t n_members;
};

static int add(struct closure *closure, int32_t stack)
{
	struct dn_stack *top;

	if (stack < 0)
		return stack;
	top = &closure->store->stacks[stack];
	if (top->seen == closure->store->closure)
		return 0;
	top->seen = closure->store->closure;
	if (closure->n_seen == CLOSURE_MAX)
		return -EOVERFLOW;
	closure->seen[closure->n_seen++] = (uint32_t)stack;
	return 0;
}

/* Where @node comes to be read above @parent. */
static int add_node(struct closure *closure, uint32_t node, uint32_t count, uint32_t parent)
{
	if (closure->graph->dead[node])
		return 0;
	return add(closure, dn_store_stack(closure->store, node, count, parent));
}

/*
 * Whether the loop was met behind fewer repeats: what follows @count of them follows those too, once
 * no more are needed. Without this an ambiguous loop has as many stacks as there are bytes.
 * Return: 1, 0, or a negative errno.
 */
static int is_covered(struct closure *closure, uint32_t at, uint32_t count, uint32_t parent)
{
	const int32_t first = dn_store_stack(closure->store, at, 0, parent);
	struct dn_stack *it;

	if (first < 0)
		return first;
	it = &closure->store->stacks[first];
	if (it->looped == closure->store->closure && it->least <= count)
		return 1;
	it->looped = closure->store->closure;
	it->least = count;
	return 0;
}

/* A loop whose body was read @count times. */
static int loop(struct closure *closure, uint32_t at, uint32_t count, uint32_t parent)
{
	const struct dn_node *node = &closure->graph->nodes[at];
	int32_t frame;
	int r = 0;

	/* What is beyond the least number tells nothing where there is no largest. */
	if (node->max == UINT32_MAX)
		count = DN_MIN(count, node->min);
	if (count >= node->min) {
		r = is_covered(closure, at, count, parent);
		if (r != 0)
			return r < 0 ? r : 0;
		r = add_node(closure, node->b, 0, parent);
	}
	if (r < 0 || count >= node->max || closure->graph->dead[node->a])
		return r;
	frame = dn_store_stack(closure->store, at, count, parent);
	return frame < 0 ? frame : add_node(closure, node->a, 0, (uint32_t)frame);
}

static int leave(struct closure *closure, uint32_t parent)
{
	struct dn_stack below;

	if (parent == DN_STACK_BOTTOM || parent == DN_STACK_UNKNOWN)
		return add(closure, (int32_t)parent);
	below = closure->store->stacks[parent];
	if (dn_stack_is_loop(closure->graph, &below))
		return loop(closure, below.node, below.count + 1, below.parent);
	return add_node(closure, below.node, 0, below.parent);
}

static int call(struct closure *closure, const struct dn_node *node, uint32_t parent)
{
	int32_t frame = (int32_t)parent;

	/* A call that is a rule's last needs no way back to it. */
	if (node->b != DN_NODE_END)
		frame = dn_store_stack(closure->store, node->b, DN_COUNT_NONE, parent);
	if (frame < 0)
		return frame;
	return add_node(closure, closure->graph->starts[node->a], 0, (uint32_t)frame);
}

static int look(struct closure *closure, uint32_t stack)
{
	const struct dn_stack top = closure->store->stacks[stack];
	const struct dn_node *node = &closure->graph->nodes[top.node];
	int r;

	if (stack == DN_STACK_BOTTOM || stack == DN_STACK_UNKNOWN) {
		closure->members[closure->n_members++] = stack;
		return 0;
	}
	switch (node->kind) {
	case DN_NODE_BYTE:
		closure->members[closure->n_members++] = stack;
		return 0;
	case DN_NODE_SPLIT:
		r = add_node(closure, node->a, 0, top.parent);
		return r < 0 ? r : add_node(closure, node->b, 0, top.parent);
	case DN_NODE_CALL:
		return closure->graph->dead[node->b] ? 0 : call(closure, node, top.parent);
	case DN_NODE_LOOP:
		return loop(closure, top.node, 0, top.parent);
	case DN_NODE_IS_END:
		return leave(closure, top.parent);
	default:
		return 0;
	}
}

/* The state of all that can be reached without a byte. */
static int32_t close_state(struct closure *closure)
{
	for (uint32_t i = 0; i < closure->n_seen; i++) {
		const int r = look(closure, closure->seen[i]);

		if (r < 0)
			return r;
	}
	*closure->work += closure->n_seen;
	if (*closure->work > WORK_MAX)
		return -EOVERFLOW;
	return dn_store_state(closure->store, closure->members, closure->n_members);
}

static void begin(struct closure *closure, struct dn_automaton *automaton)
{
	closure->store = automaton->store;
	closure->graph = automaton->graph;
	closure->work = &automaton->work;
	closure->n_seen = closure->n_members = 0;
	closure->store->closure++;
}

/* Where @byte leads; @ret_same: bytes that lead there too, since no member tells them apart. */
static int32_t step_new(struct dn_automaton *automaton, uint32_t state, uint8_t byte,
			struct dn_byte_set *ret_same)
{
	struct dn_store *store = automaton->store;
	const struct dn_graph *graph = automaton->graph;
	const uint32_t first = store->states[state].first;
	const uint32_t n = store->states[state].n;
	struct closure closure;
	int r;

	begin(&closure, automaton);
	memset(ret_same, 0xff, sizeof(*ret_same));
	for (uint32_t i = 0; i < n; i++) {
		const struct dn_stack top = store->stacks[store->members[first + i]];
		const struct dn_node *node = &graph->nodes[top.node];
		const struct dn_byte_set *set;
		bool has;

		if (node->kind != DN_NODE_BYTE)
			continue;
		set = &graph->sets[node->a];
		has = dn_byte_set_has(set, byte);
		for (int k = 0; k < 4; k++)
			ret_same->bits[k] &= has ? set->bits[k] : ~set->bits[k];
		if (!has)
			continue;
		r = add_node(&closure, node->b, 0, top.parent);
		if (r < 0)
			return r;
	}
	automaton->work += n / 8;
	return close_state(&closure);
}

int32_t dn_automaton_step(struct dn_automaton *automaton, uint32_t state, uint8_t byte)
{
	uint16_t *row = automaton->store->states[state].row;
	struct dn_byte_set same;
	int32_t next;
	int r;

	if (DN_LIKELY(row && row[byte] != DN_STATE_ASK))
		return row[byte];
	r = dn_store_row(automaton->store, state, &row);
	if (r < 0)
		return r;
	next = step_new(automaton, state, byte, &same);
	for (unsigned int i = 0; next >= 0 && i < 256; i++)
		if (dn_byte_set_has(&same, (uint8_t)i))
			row[i] = (uint16_t)next;
	return next;
}

int dn_automaton_begin(struct dn_automaton *automaton, struct dn_root *root)
{
	struct closure closure;
	int32_t state;
	int r;

	begin(&closure, automaton);
	r = add_node(&closure, automaton->graph->starts[0], 0, DN_STACK_BOTTOM);
	state = r < 0 ? r : close_state(&closure);
	if (state < 0)
		return state;
	dn_automaton_hold(automaton, root, (uint32_t)state);
	return 0;
}

/* A count that tokens of @length bytes cannot tell from @count. */
static uint32_t cut_count(const struct dn_node *node, uint32_t count, uint32_t length)
{
	if (node->kind != DN_NODE_LOOP || count == DN_COUNT_NONE ||
	    (node->max != UINT32_MAX && node->max - count <= length))
		return count;
	if (count >= node->min)
		return node->min;
	return node->min - count > length ? 0 : count;
}

/* From the lowest that is not cut yet up to @stack; deep ones take no deep calls. */
static int32_t cut_deep(struct dn_automaton *automaton, uint32_t stack, uint32_t k)
{
	struct dn_store *store = automaton->store;
	const uint32_t length = automaton->lengths[k];
	uint32_t at = stack;

	while (store->stacks[store->stacks[at].parent].cut[k] == UINT32_MAX) {
		store->stacks[store->stacks[at].parent].above = at;
		at = store->stacks[at].parent;
	}
	for (;; at = store->stacks[at].above) {
		const struct dn_stack it = store->stacks[at];
		int32_t made;

		made = dn_store_stack(
			store, it.node,
			cut_count(&automaton->graph->nodes[it.node], it.count, length),
			store->stacks[it.parent].cut[k]);
		if (made < 0)
			return made;
		store->stacks[at].cut[k] = (uint32_t)made;
		store->stacks[made].cut[k] = (uint32_t)made;
		if (at == stack)
			return made;
	}
}

static int32_t cut_stack(struct dn_automaton *automaton, uint32_t stack, uint32_t k)
{
	const uint32_t known = automaton->store->stacks[stack].cut[k];

	return known != UINT32_MAX ? (int32_t)known : cut_deep(automaton, stack, k);
}

/*
 * Loops that are being read stay, as many as there may be; the first other place below is where the
 * rule ends.
 */
static int32_t local_stack(struct dn_automaton *automaton, uint32_t stack)
{
	struct dn_store *store = automaton->store;
	uint32_t kept[LOCAL_LOOPS + 1] = { stack };
	uint32_t below = store->stacks[stack].parent;
	uint32_t n = 1;
	int32_t made;

	if (store->stacks[stack].local != UINT32_MAX)
		return (int32_t)store->stacks[stack].local;
	while (below > DN_STACK_UNKNOWN && n <= LOCAL_LOOPS &&
	       dn_stack_is_loop(automaton->graph, &store->stacks[below])) {
		kept[n++] = below;
		below = store->stacks[below].parent;
	}
	made = (int32_t)DN_MIN(below, DN_STACK_UNKNOWN);
	while (made >= 0 && n-- > 0) {
		const struct dn_stack it = store->stacks[kept[n]];

		made = dn_store_stack(store, it.node, it.count, (uint32_t)made);
	}
	if (made < 0)
		return made;
	store->stacks[stack].local = (uint32_t)made;
	store->stacks[made].local = (uint32_t)made;
	return made;
}

/* @k: a class to cut by, or DN_TOKEN_CLASSES: to what is local. */
static int32_t cut_state(struct dn_automaton *automaton, uint32_t state, uint32_t k)
{
	struct dn_store *store = automaton->store;
	const uint32_t first = store->states[state].first;
	const uint32_t n = store->states[state].n;
	uint32_t members[CLOSURE_MAX];

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t member = store->members[first + i];
		const int32_t stack = k == DN_TOKEN_CLASSES ? local_stack(automaton, member)
							    : cut_stack(automaton, member, k);

		if (stack < 0)
			return stack;
		members[i] = (uint32_t)stack;
	}
	return dn_store_state(store, members, n);
}

int32_t dn_automaton_cut(struct dn_automaton *automaton, uint32_t state, uint32_t token_class)
{
	return cut_state(automaton, state, token_class);
}

int32_t dn_automaton_local(struct dn_automaton *automaton, uint32_t state)
{
	return cut_state(automaton, state, DN_TOKEN_CLASSES);
}

struct dn_state *dn_automaton_state(const struct dn_automaton *automaton, uint32_t state)
{
	return &automaton->store->states[state];
}

bool dn_automaton_may_end(const struct dn_automaton *automaton, uint32_t state)
{
	const struct dn_state *it = &automaton->store->states[state];

	/* The bottom is the least number, and members are in order. */
	return it->n > 0 && automaton->store->members[it->first] == DN_STACK_BOTTOM;
}

bool dn_automaton_must_end(const struct dn_automaton *automaton, uint32_t state)
{
	return dn_automaton_may_end(automaton, state) && automaton->store->states[state].n == 1;
}

void dn_automaton_hold(struct dn_automaton *automaton, struct dn_root *root, uint32_t state)
{
	root->state = state;
	root->next = automaton->roots;
	automaton->roots = root;
}

void dn_automaton_drop(struct dn_automaton *automaton, struct dn_root *root)
{
	struct dn_root **at = &automaton->roots;

	while (*at && *at != root)
		at = &(*at)->next;
	if (*at)
		*at = root->next;
}

/* The number that a stack of the old store has in the new one; what is below it goes first. */
static int32_t carry_stack(struct dn_store *old, struct dn_store *store, uint32_t *numbers,
			   uint32_t stack)
{
	uint32_t at = stack;

	if (numbers[stack] != UINT32_MAX)
		return (int32_t)numbers[stack];
	while (numbers[old->stacks[at].parent] == UINT32_MAX) {
		old->stacks[old->stacks[at].parent].above = at;
		at = old->stacks[at].parent;
	}
	for (;; at = old->stacks[at].above) {
		const struct dn_stack *it = &old->stacks[at];
		const int32_t made =
			dn_store_stack(store, it->node, it->count, numbers[it->parent]);

		if (made < 0)
			return made;
		numbers[at] = (uint32_t)made;
		if (at == stack)
			return made;
	}
}

static int32_t carry_state(struct dn_store *old, struct dn_store *store, uint32_t *numbers,
			   uint32_t state)
{
	uint32_t members[CLOSURE_MAX];

	for (uint32_t i = 0; i < old->states[state].n; i++) {
		const int32_t stack = carry_stack(old, store, numbers,
						  old->members[old->states[state].first + i]);

		if (stack < 0)
			return stack;
		members[i] = (uint32_t)stack;
	}
	return dn_store_state(store, members, old->states[state].n);
}

/* Takes the roots' states from @old to @store; they are held under the numbers that they had. */
static int carry_roots(const struct dn_automaton *automaton, struct dn_store *old,
		       struct dn_store *store, uint32_t *states)
{
	DN_AUTO_FREE uint32_t *numbers = malloc(old->n_stacks * sizeof(*numbers));

	if (!numbers)
		return -ENOMEM;
	memset(numbers, 0xff, old->n_stacks * sizeof(*numbers));
	numbers[DN_STACK_BOTTOM] = DN_STACK_BOTTOM;
	numbers[DN_STACK_UNKNOWN] = DN_STACK_UNKNOWN;
	for (struct dn_root *root = automaton->roots; root; root = root->next) {
		const int32_t state = carry_state(old, store, numbers, root->state);

		if (state < 0)
			return state;
		states[root->state] = (uint32_t)state;
	}
	return 0;
}

int dn_automaton_compact(struct dn_automaton *automaton)
{
	struct dn_store *old = automaton->store;
	const uint64_t bytes = old->bytes;
	DN_AUTO_FREE uint32_t *states = malloc(old->n_states * sizeof(*states));
	struct dn_store *store = NULL;
	int r;

	if (!states)
		return -ENOMEM;
	/* The new one takes the old one's room, not room beside it. */
	dn_account_give(old->account, bytes, &old->bytes);
	r = dn_store_new(old->account, &store);
	if (r >= 0)
		r = carry_roots(automaton, old, store, states);
	if (r < 0) {
		dn_store_free(store);
		(void)dn_account_take(old->account, bytes, &old->bytes);
		return r;
	}
	for (struct dn_root *root = automaton->roots; root; root = root->next)
		root->state = states[root->state];
	dn_store_free(old);
	automaton->store = store;
	return 0;
}

int dn_automaton_init(struct dn_automaton *automaton, const struct dn_graph *graph,
		      const uint32_t lengths[DN_TOKEN_CLASSES], struct dn_account *account)
{
	*automaton = (struct dn_automaton){ .graph = graph };
	memcpy(automaton->lengths, lengths, sizeof(automaton->lengths));
	return dn_store_new(account, &automaton->store);
}

void dn_automaton_done(struct dn_automaton *automaton)
{
	automaton->store = dn_store_free(automaton->store);
}
