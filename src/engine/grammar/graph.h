/* SPDX-License-Identifier: MIT */
/*
 * A compiled grammar: a graph whose edges are bytes, and calls of rules (a recursive transition
 * network, Woods 1970). Equal nodes are one.
 */
#ifndef DUNLIN_ENGINE_GRAMMAR_GRAPH_H
#define DUNLIN_ENGINE_GRAMMAR_GRAPH_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/base.h"
/* IWYU pragma: end_exports */

struct dn_exprs;

#define DN_NODES_MAX (1U << 17)
#define DN_SETS_MAX  4096U

/* The end of a rule, and of a loop's body; what cannot be. */
#define DN_NODE_END   0U
#define DN_NODE_NEVER 1U

enum dn_node_kind {
	DN_NODE_IS_END,
	DN_NODE_IS_NEVER,
	DN_NODE_BYTE,  /* one of set @a, then @b */
	DN_NODE_SPLIT, /* @a or @b */
	DN_NODE_CALL,  /* rule @a, then @b */
	DN_NODE_LOOP,  /* @a from @min to @max times, then @b */
};

struct dn_node {
	uint32_t kind;
	uint32_t a;
	uint32_t b;
	uint32_t min;
	uint32_t max;
};

struct dn_byte_set {
	uint64_t bits[4];
};

static inline bool dn_byte_set_has(const struct dn_byte_set *set, uint8_t byte)
{
	return set->bits[byte / 64] >> (byte % 64) & 1;
}

/**
 * struct dn_graph - immutable once compiled
 * @starts: of each rule
 * @dead: of each node, that no text ends from there
 */
struct dn_graph {
	struct dn_node *nodes;
	uint32_t n_nodes;
	struct dn_byte_set *sets;
	uint32_t n_sets;
	uint32_t *starts;
	uint32_t n_rules;
	uint8_t *dead;
};

/*
 * Return: 0; -EINVAL where a rule calls itself before it reads anything, or where no text can ever
 * end; -E2BIG; -ENOMEM. @ret_graph is to be done with either way.
 */
DN_MUST_CHECK int dn_graph_compile(const struct dn_exprs *exprs, struct dn_graph *ret_graph,
				   struct dn_error *err);
/* Of its arrays. */
uint64_t dn_graph_bytes(const struct dn_graph *graph);
void dn_graph_done(struct dn_graph *graph);

#endif /* DUNLIN_ENGINE_GRAMMAR_GRAPH_H */
