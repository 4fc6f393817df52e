/* SPDX-License-Identifier: MIT */

#include "engine/grammar/graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/expr.h"

/* Expressions within expressions. */
#define DEPTH_MAX 4000
/* Nodes that are made or found again, and looks at them: each some tens of milliseconds. */
#define BUILD_MAX 500000U
#define LOOKS_MAX 8000000U

#define SLOTS	  (2 * DN_NODES_MAX)
#define SET_SLOTS (2 * DN_SETS_MAX)

struct builder {
	struct dn_graph *graph;
	uint32_t *slots;	       /* of hashes: nodes by what they are; 0: free */
	uint16_t set_slots[SET_SLOTS]; /* the same for sets, each plus 1 */
	uint32_t capacity;
	uint32_t n_built;
	int failed; /* errno */
};

static int fail(struct builder *builder, int code)
{
	if (!builder->failed)
		builder->failed = code;
	return DN_NODE_NEVER;
}

static uint32_t hash_node(const struct dn_node *node)
{
	uint64_t hash = node->kind;

	hash = hash * UINT64_C(0x9e3779b97f4a7c15) + node->a;
	hash = hash * UINT64_C(0x9e3779b97f4a7c15) + node->b;
	hash = hash * UINT64_C(0x9e3779b97f4a7c15) + node->min;
	hash = hash * UINT64_C(0x9e3779b97f4a7c15) + node->max;
	return (uint32_t)((hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (SLOTS - 1);
}

static uint32_t add_node(struct builder *builder, struct dn_node node)
{
	struct dn_graph *graph = builder->graph;
	uint32_t slot = hash_node(&node);
	struct dn_node *nodes;

	if (builder->failed)
		return DN_NODE_NEVER;
	if (++builder->n_built > BUILD_MAX)
		return (uint32_t)fail(builder, E2BIG);
	for (; builder->slots[slot]; slot = (slot + 1) & (SLOTS - 1))
		if (memcmp(&graph->nodes[builder->slots[slot]], &node, sizeof(node)) == 0)
			return builder->slots[slot];
	if (graph->n_nodes == DN_NODES_MAX)
		return (uint32_t)fail(builder, E2BIG);
	if (graph->n_nodes == builder->capacity) {
		nodes = realloc(graph->nodes, (size_t)builder->capacity * 2 * sizeof(*nodes));
		if (!nodes)
			return (uint32_t)fail(builder, ENOMEM);
		graph->nodes = nodes;
		builder->capacity *= 2;
	}
	builder->slots[slot] = graph->n_nodes;
	graph->nodes[graph->n_nodes] = node;
	return graph->n_nodes++;
}

static uint32_t add_set(struct builder *builder, const struct dn_byte_set *set)
{
	struct dn_graph *graph = builder->graph;

	uint64_t hash = 0;
	uint32_t slot;

	for (int i = 0; i < 4; i++)
		hash = (hash ^ set->bits[i]) * UINT64_C(0x9e3779b97f4a7c15);
	slot = (uint32_t)(hash >> 40) & (SET_SLOTS - 1);
	for (; builder->set_slots[slot]; slot = (slot + 1) & (SET_SLOTS - 1))
		if (memcmp(&graph->sets[builder->set_slots[slot] - 1], set, sizeof(*set)) == 0)
			return builder->set_slots[slot] - 1U;
	if (graph->n_sets == DN_SETS_MAX) {
		(void)fail(builder, E2BIG);
		return 0;
	}
	graph->sets[graph->n_sets++] = *set;
	builder->set_slots[slot] = (uint16_t)graph->n_sets;
	return graph->n_sets - 1;
}

static uint32_t byte_node(struct builder *builder, const struct dn_byte_set *set, uint32_t next)
{
	if (next == DN_NODE_NEVER)
		return DN_NODE_NEVER;
	return add_node(
		builder,
		(struct dn_node){ .kind = DN_NODE_BYTE, .a = add_set(builder, set), .b = next });
}

static uint32_t range_node(struct builder *builder, uint8_t low, uint8_t high, uint32_t next)
{
	struct dn_byte_set set = { { 0 } };

	for (unsigned int i = low / 64; i <= high / 64; i++)
		set.bits[i] = UINT64_MAX;
	set.bits[low / 64] &= UINT64_MAX << low % 64;
	set.bits[high / 64] &= UINT64_MAX >> (63 - high % 64);
	return byte_node(builder, &set, next);
}

static uint32_t split_node(struct builder *builder, uint32_t a, uint32_t b)
{
	const struct dn_node *x = &builder->graph->nodes[a];
	const struct dn_node *y = &builder->graph->nodes[b];
	struct dn_byte_set both;

	if (a == b || b == DN_NODE_NEVER)
		return a;
	if (a == DN_NODE_NEVER)
		return b;
	if (x->kind == DN_NODE_BYTE && y->kind == DN_NODE_BYTE && x->b == y->b) {
		for (int i = 0; i < 4; i++)
			both.bits[i] = builder->graph->sets[x->a].bits[i] |
				       builder->graph->sets[y->a].bits[i];
		return byte_node(builder, &both, x->b);
	}
	return add_node(builder, (struct dn_node){ .kind = DN_NODE_SPLIT, .a = a, .b = b });
}

/* Ways of a class, by what follows; those of one end are one node. */
#define WAYS_MAX 64
struct ways {
	uint32_t nodes[WAYS_MAX];
	uint32_t n;
	uint32_t rest; /* what had no room */
};

static void add_way(struct builder *builder, struct ways *ways, uint32_t node)
{
	const struct dn_graph *graph = builder->graph;

	for (uint32_t i = 0; i < ways->n; i++)
		if (graph->nodes[ways->nodes[i]].b == graph->nodes[node].b &&
		    graph->nodes[node].kind == DN_NODE_BYTE) {
			ways->nodes[i] = split_node(builder, ways->nodes[i], node);
			return;
		}
	if (ways->n < WAYS_MAX)
		ways->nodes[ways->n++] = node;
	else
		ways->rest = split_node(builder, ways->rest, node);
}

/* Cuts a range where encodings differ in more than the last bytes, and adds each piece. */
static void add_points(struct builder *builder, struct ways *ways, uint32_t low, uint32_t high,
		       uint32_t next)
{
	static const uint32_t borders[] = { 0x7f, 0x7ff, 0xd7ff, 0xdfff, 0xffff };
	char from[4];
	char to[4];
	size_t size;

	if (low > high || builder->failed)
		return;
	for (size_t i = 0; i < DN_ARRAY_SIZE(borders); i++)
		if (low <= borders[i] && high > borders[i]) {
			add_points(builder, ways, low, borders[i], next);
			add_points(builder, ways, borders[i] + 1, high, next);
			return;
		}
	if (low >= 0xd800 && low <= 0xdfff)
		return;
	for (unsigned int i = 1; low > 0x7f && i < 4; i++) {
		const uint32_t tail = (1U << (6 * i)) - 1;

		if ((low & ~tail) == (high & ~tail))
			continue;
		if ((low & tail) != 0) {
			add_points(builder, ways, low, low | tail, next);
			add_points(builder, ways, (low | tail) + 1, high, next);
			return;
		}
		if ((high & tail) != tail) {
			add_points(builder, ways, low, (high & ~tail) - 1, next);
			add_points(builder, ways, high & ~tail, high, next);
			return;
		}
	}
	size = dn_utf8_encode(low, from);
	(void)dn_utf8_encode(high, to);
	for (size_t i = size; i-- > 0;)
		next = range_node(builder, (uint8_t)from[i], (uint8_t)to[i], next);
	add_way(builder, ways, next);
}

static uint32_t build_class(struct builder *builder, const struct dn_expr *expr, uint32_t next)
{
	struct ways ways = { .rest = DN_NODE_NEVER };
	uint32_t node;

	if (next == DN_NODE_NEVER)
		return DN_NODE_NEVER;
	for (uint32_t i = 0; i < expr->u.set.n; i++)
		add_points(builder, &ways, expr->u.set.ranges[i].low, expr->u.set.ranges[i].high,
			   next);
	node = ways.rest;
	for (uint32_t i = ways.n; i-- > 0;)
		node = split_node(builder, ways.nodes[i], node);
	return node;
}

static uint32_t build(struct builder *builder, struct dn_expr *expr, uint32_t next,
		      unsigned int depth);

static uint32_t build_loop(struct builder *builder, const struct dn_expr *expr, uint32_t next,
			   unsigned int depth)
{
	const uint32_t body = build(builder, expr->u.repeat.body, DN_NODE_END, depth);

	return add_node(builder, (struct dn_node){ .kind = DN_NODE_LOOP,
						   .a = body,
						   .b = next,
						   .min = expr->u.repeat.min,
						   .max = expr->u.repeat.max });
}

/* Lists lean to the left, so that only what is nested takes a call within a call. */
static uint32_t build_list(struct builder *builder, struct dn_expr *expr, uint32_t next,
			   unsigned int depth)
{
	const enum dn_expr_kind kind = expr->kind;
	uint32_t node = kind == DN_EXPR_SEQUENCE ? next : DN_NODE_NEVER;

	for (; expr->kind == kind; expr = expr->u.pair.first)
		if (kind == DN_EXPR_SEQUENCE)
			node = build(builder, expr->u.pair.second, node, depth);
		else
			node = split_node(builder, build(builder, expr->u.pair.second, next, depth),
					  node);
	if (kind == DN_EXPR_SEQUENCE)
		return build(builder, expr, node, depth);
	return split_node(builder, build(builder, expr, next, depth), node);
}

static uint32_t build_new(struct builder *builder, struct dn_expr *expr, uint32_t next,
			  unsigned int depth)
{
	switch (expr->kind) {
	case DN_EXPR_EMPTY:
		return next;
	case DN_EXPR_NEVER:
		return DN_NODE_NEVER;
	case DN_EXPR_BYTES:
		for (size_t i = expr->u.bytes.size; i-- > 0;)
			next = range_node(builder, (uint8_t)expr->u.bytes.data[i],
					  (uint8_t)expr->u.bytes.data[i], next);
		return next;
	case DN_EXPR_CLASS:
		return build_class(builder, expr, next);
	case DN_EXPR_SEQUENCE:
	case DN_EXPR_CHOICE:
		return build_list(builder, expr, next, depth);
	case DN_EXPR_REPEAT:
		return build_loop(builder, expr, next, depth);
	case DN_EXPR_RULE:
		return add_node(
			builder,
			(struct dn_node){ .kind = DN_NODE_CALL, .a = expr->u.rule, .b = next });
	}
	return DN_NODE_NEVER;
}

/* The node from which @expr, and then @next, is read. */
static uint32_t build(struct builder *builder, struct dn_expr *expr, uint32_t next,
		      unsigned int depth)
{
	if (builder->failed)
		return DN_NODE_NEVER;
	if (depth == DEPTH_MAX)
		return (uint32_t)fail(builder, E2BIG);
	if (expr->memo_next != next) {
		expr->memo_node = build_new(builder, expr, next, depth + 1);
		expr->memo_next = next;
	}
	return expr->memo_node;
}

static int build_rules(struct builder *builder, const struct dn_exprs *exprs, struct dn_error *err)
{
	struct dn_graph *graph = builder->graph;

	/* From the last on: a rule comes after those that use it, so that few looks are needed. */
	for (uint32_t i = exprs->n_rules; i-- > 0;)
		graph->starts[i] = build(builder, exprs->rules[i].body, DN_NODE_END, 0);
	if (builder->failed == E2BIG)
		return dn_error_set(err, E2BIG,
				    "the grammar is too large: more than %u nodes, %u sets of "
				    "bytes, or %d levels",
				    DN_NODES_MAX, DN_SETS_MAX, DEPTH_MAX);
	if (builder->failed)
		return dn_error_memory(err, "a grammar",
				       builder->capacity * sizeof(struct dn_node));
	return 0;
}

/* What checks find out of each node, a byte each. */
enum {
	ENDS = 1,     /* a text ends from there */
	NULLABLE = 2, /* the empty one does */
};

static uint8_t look(const struct dn_graph *graph, const uint8_t *known, const struct dn_node *node)
{
	switch (node->kind) {
	case DN_NODE_IS_END:
		return ENDS | NULLABLE;
	case DN_NODE_BYTE:
		return known[node->b] & ENDS;
	case DN_NODE_SPLIT:
		return known[node->a] | known[node->b];
	case DN_NODE_CALL:
		return known[graph->starts[node->a]] & known[node->b];
	case DN_NODE_LOOP:
		return (node->min == 0 ? ENDS | NULLABLE : known[node->a]) & known[node->b];
	default:
		return 0;
	}
}

static int look_at_all(const struct dn_graph *graph, uint8_t *known, struct dn_error *err)
{
	const uint32_t passes = LOOKS_MAX / graph->n_nodes;
	bool changed = true;

	for (uint32_t pass = 0; changed; pass++) {
		if (pass == passes)
			return dn_error_set(err, E2BIG,
					    "rules refer to others, defined before them, through "
					    "more than %u",
					    passes);
		changed = false;
		for (uint32_t i = 0; i < graph->n_nodes; i++) {
			const uint8_t now = look(graph, known, &graph->nodes[i]);

			changed |= now != known[i];
			known[i] = now;
		}
	}
	return 0;
}

/* What a node has gone through while left recursion is looked for: nothing, its ways, all. */
enum { UNSEEN, FIRST_WAY, SECOND_WAY, BEHIND_WAYS, DONE };

/* The node that is entered from @at before anything is read; DN_NODE_NEVER: none. */
static uint32_t entered(const struct dn_graph *graph, const uint8_t *known, uint32_t at,
			uint8_t way)
{
	const struct dn_node *node = &graph->nodes[at];

	switch (node->kind) {
	case DN_NODE_SPLIT:
		return way == FIRST_WAY ? node->a : node->b;
	case DN_NODE_CALL:
		if (way == FIRST_WAY)
			return graph->starts[node->a];
		return known[graph->starts[node->a]] & NULLABLE ? node->b : DN_NODE_NEVER;
	case DN_NODE_LOOP:
		if (way == FIRST_WAY)
			return node->a;
		return node->min == 0 || known[node->a] & NULLABLE ? node->b : DN_NODE_NEVER;
	default:
		return DN_NODE_NEVER;
	}
}

/* The last rule that is called on @path, which ends where it began: without calls none does. */
static uint32_t last_called(const struct dn_graph *graph, const uint8_t *ways, const uint32_t *path,
			    uint32_t n)
{
	while (n-- > 0)
		if (graph->nodes[path[n]].kind == DN_NODE_CALL && ways[path[n]] == SECOND_WAY)
			return graph->nodes[path[n]].a;
	return 0;
}

/* Depth first; what is entered is in @path, so that no stack grows with the grammar. */
static uint32_t find_left_recursion(const struct dn_graph *graph, const uint8_t *known,
				    uint8_t *ways, uint32_t *path)
{
	ways[DN_NODE_NEVER] = DONE;
	for (uint32_t rule = 0; rule < graph->n_rules; rule++) {
		uint32_t n = 0;

		if (ways[graph->starts[rule]] == UNSEEN)
			path[n++] = graph->starts[rule];
		while (n > 0) {
			const uint32_t at = path[n - 1];
			uint32_t next;

			ways[at] = ways[at] == UNSEEN ? FIRST_WAY : ways[at];
			if (ways[at] == BEHIND_WAYS) {
				ways[at] = DONE;
				n--;
				continue;
			}
			next = entered(graph, known, at, ways[at]++);
			if (ways[next] == UNSEEN)
				path[n++] = next;
			else if (ways[next] != DONE)
				return last_called(graph, ways, path, n);
		}
	}
	return DN_RULE_NONE;
}

static int check_left_recursion(const struct dn_graph *graph, const struct dn_exprs *exprs,
				const uint8_t *known, struct dn_error *err)
{
	DN_AUTO_FREE uint32_t *path = malloc(graph->n_nodes * sizeof(*path));
	DN_AUTO_FREE uint8_t *ways = calloc(graph->n_nodes, 1);
	uint32_t rule;

	if (!path || !ways)
		return dn_error_memory(err, "a grammar", graph->n_nodes * sizeof(*path));
	rule = find_left_recursion(graph, known, ways, path);
	if (rule != DN_RULE_NONE)
		return dn_error_set(err, EINVAL,
				    "rule '%.64s' refers to itself before it has read anything",
				    exprs->rules[rule].name ? exprs->rules[rule].name : "");
	return 0;
}

static int check(struct dn_graph *graph, const struct dn_exprs *exprs, struct dn_error *err)
{
	DN_AUTO_FREE uint8_t *known = calloc(graph->n_nodes, 1);
	int r;

	graph->dead = malloc(graph->n_nodes);
	if (!known || !graph->dead)
		return dn_error_memory(err, "a grammar", graph->n_nodes);
	r = look_at_all(graph, known, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < graph->n_nodes; i++) {
		struct dn_node *node = &graph->nodes[i];

		graph->dead[i] = !(known[i] & ENDS);
		/* Repeats of nothing are as good as none. */
		if (node->kind == DN_NODE_LOOP && known[node->a] & NULLABLE)
			node->min = 0;
	}
	if (graph->dead[graph->starts[0]])
		return dn_error_set(err, EINVAL, "no text can ever match");
	return check_left_recursion(graph, exprs, known, err);
}

/* Gives back what was not filled. */
static int trim(struct dn_graph *graph)
{
	struct dn_node *nodes = realloc(graph->nodes, graph->n_nodes * sizeof(*nodes));
	struct dn_byte_set *sets = realloc(graph->sets, DN_MAX(graph->n_sets, 1U) * sizeof(*sets));

	graph->nodes = nodes ? nodes : graph->nodes;
	graph->sets = sets ? sets : graph->sets;
	return nodes && sets ? 0 : -ENOMEM;
}

int dn_graph_compile(const struct dn_exprs *exprs, struct dn_graph *ret_graph, struct dn_error *err)
{
	DN_AUTO_FREE uint32_t *slots = calloc(SLOTS, sizeof(*slots));
	struct builder builder = { .graph = ret_graph, .slots = slots, .capacity = 256 };
	int r;

	*ret_graph = (struct dn_graph){ .n_rules = exprs->n_rules };
	ret_graph->nodes = calloc(builder.capacity, sizeof(struct dn_node));
	ret_graph->sets = malloc(DN_SETS_MAX * sizeof(struct dn_byte_set));
	ret_graph->starts = calloc(exprs->n_rules, sizeof(uint32_t));
	if (!slots || !ret_graph->nodes || !ret_graph->sets || !ret_graph->starts)
		return dn_error_memory(err, "a grammar", SLOTS * sizeof(*slots));
	ret_graph->nodes[DN_NODE_END].kind = DN_NODE_IS_END;
	ret_graph->nodes[DN_NODE_NEVER].kind = DN_NODE_IS_NEVER;
	ret_graph->n_nodes = 2;
	r = build_rules(&builder, exprs, err);
	if (r < 0)
		return r;
	if (trim(ret_graph) < 0)
		return dn_error_memory(err, "a grammar", ret_graph->n_nodes);
	return check(ret_graph, exprs, err);
}

uint64_t dn_graph_bytes(const struct dn_graph *graph)
{
	return graph->n_nodes * (sizeof(*graph->nodes) + sizeof(*graph->dead)) +
	       graph->n_sets * sizeof(*graph->sets) + graph->n_rules * sizeof(*graph->starts);
}

void dn_graph_done(struct dn_graph *graph)
{
	free(graph->nodes);
	free(graph->sets);
	free(graph->starts);
	free(graph->dead);
	*graph = (struct dn_graph){ 0 };
}
