/* SPDX-License-Identifier: MIT */
/* The one form that grammars have before they are compiled: rules of expressions. */
#ifndef DUNLIN_ENGINE_GRAMMAR_EXPR_H
#define DUNLIN_ENGINE_GRAMMAR_EXPR_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>

#include "base/arena.h"
#include "base/base.h"
/* IWYU pragma: end_exports */

#define DN_RULES_MAX	  8192
#define DN_EXPR_BYTES_MAX ((size_t)4 << 20)
#define DN_REPEAT_FOREVER UINT32_MAX
#define DN_REPEAT_MAX	  1000000U
#define DN_POINT_MAX	  0x10ffffU
#define DN_RULE_NONE	  UINT32_MAX

enum dn_expr_kind {
	DN_EXPR_EMPTY,
	DN_EXPR_NEVER,
	DN_EXPR_BYTES,
	DN_EXPR_CLASS,
	DN_EXPR_SEQUENCE,
	DN_EXPR_CHOICE,
	DN_EXPR_REPEAT,
	DN_EXPR_RULE,
};

struct dn_point_range {
	uint32_t low;
	uint32_t high;
};

/* @memo_next, @memo_node: of compiling, so that what is shared is compiled once. */
struct dn_expr {
	enum dn_expr_kind kind;
	uint32_t memo_next;
	uint32_t memo_node;
	union {
		struct {
			const char *data;
			size_t size;
		} bytes;
		struct {
			const struct dn_point_range *ranges; /* of UTF-8 code points */
			uint32_t n;
		} set;
		struct {
			struct dn_expr *first;
			struct dn_expr *second;
		} pair;
		struct {
			struct dn_expr *body;
			uint32_t min;
			uint32_t max;
		} repeat;
		uint32_t rule;
	} u;
};

struct dn_rule {
	const char *name; /* for messages; NULL: none */
	struct dn_expr *body;
};

/**
 * struct dn_exprs - a grammar that is being written; rule 0 is where it begins
 * @failed: memory was short, or a limit was met: what the functions below gave since is NULL
 */
struct dn_exprs {
	struct dn_arena arena;
	struct dn_rule *rules;
	uint32_t n_rules;
	bool failed;
};

#define DN_EXPRS_INIT { .arena = DN_ARENA_INIT(DN_EXPR_BYTES_MAX) }

void dn_exprs_done(struct dn_exprs *exprs);
/* Why @exprs failed. */
int dn_exprs_error(const struct dn_exprs *exprs, struct dn_error *err);

/*
 * Each gives NULL where memory is short, and where it is given NULL: who builds an expression looks
 * once, at its end.
 */
struct dn_expr *dn_expr_empty(struct dn_exprs *exprs);
struct dn_expr *dn_expr_never(struct dn_exprs *exprs);
struct dn_expr *dn_expr_bytes(struct dn_exprs *exprs, const char *data, size_t size);
struct dn_expr *dn_expr_text(struct dn_exprs *exprs, const char *text);
/* One of @texts, which it sorts: what they begin with in common is there once. */
struct dn_expr *dn_expr_one_of(struct dn_exprs *exprs, char **texts, size_t n);
/* Ranges in any order; surrogates are left out. */
struct dn_expr *dn_expr_class(struct dn_exprs *exprs, const struct dn_point_range *ranges,
			      uint32_t n);
struct dn_expr *dn_expr_sequence(struct dn_exprs *exprs, struct dn_expr *first,
				 struct dn_expr *second);
struct dn_expr *dn_expr_choice(struct dn_exprs *exprs, struct dn_expr *first,
			       struct dn_expr *second);
struct dn_expr *dn_expr_repeat(struct dn_exprs *exprs, struct dn_expr *body, uint32_t min,
			       uint32_t max);
struct dn_expr *dn_expr_maybe(struct dn_exprs *exprs, struct dn_expr *body);
struct dn_expr *dn_expr_rule(struct dn_exprs *exprs, uint32_t rule);

/* A rule whose body comes later; DN_RULE_NONE where there are too many. @name is copied. */
uint32_t dn_exprs_add_rule(struct dn_exprs *exprs, const char *name, size_t size);

/* Sorts, joins, and gives the number of what is left; all of it within code points. */
uint32_t dn_point_ranges_sort(struct dn_point_range *ranges, uint32_t n);
/* A code point in @digits hexadecimal digits; false where they are not there, or name none. */
bool dn_point_read_hex(const char **at, const char *end, uint32_t digits, uint32_t *ret_point);
/* What @ranges, sorted, leave out; room for n + 1. */
uint32_t dn_point_ranges_invert(const struct dn_point_range *ranges, uint32_t n,
				struct dn_point_range *ret_ranges);

#endif /* DUNLIN_ENGINE_GRAMMAR_EXPR_H */
