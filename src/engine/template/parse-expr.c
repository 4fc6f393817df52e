/* SPDX-License-Identifier: MIT */
/*
 * Operators. From loose to tight: if-else, or, and, not, comparison, + -, ~, * / // %, **, sign
 * (parse-value.c goes on from there). Chains of one level are one node, so that a long sum is not
 * a deep tree.
 */

#include <stdint.h>
#include <string.h>

#include "engine/template/parser.h"

struct ops {
	uint8_t *op;
	size_t n;
	size_t capacity;
};

static int add_op(struct dn_tparser *p, struct ops *ops, enum dn_top op)
{
	if (ops->n == ops->capacity) {
		size_t capacity = ops->capacity ? ops->capacity * 2 : 4;
		uint8_t *grown = dn_arena_grow(p->arena, ops->op, ops->n, capacity);

		if (!grown)
			return dn_tlexer_no_memory(&p->lexer);
		ops->op = grown;
		ops->capacity = capacity;
	}
	ops->op[ops->n++] = (uint8_t)op;
	return 0;
}

struct level {
	struct {
		const char *text;
		enum dn_top op;
	} ops[5];
};

static const struct level levels[] = {
	{ { { "+", DN_OP_ADD }, { "-", DN_OP_SUB } } },
	{ { { "~", DN_OP_CONCAT } } },
	{ { { "*", DN_OP_MUL },
	    { "/", DN_OP_DIV },
	    { "//", DN_OP_FLOORDIV },
	    { "%", DN_OP_MOD } } },
	{ { { "**", DN_OP_POW } } },
};

static bool level_op(const struct dn_tparser *p, size_t level, enum dn_top *ret)
{
	for (size_t i = 0; levels[level].ops[i].text; i++) {
		if (dn_tparser_is_op(p, levels[level].ops[i].text)) {
			*ret = levels[level].ops[i].op;
			return true;
		}
	}
	return false;
}

static int parse_chain(struct dn_tparser *p, size_t level, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct ops ops = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	enum dn_top op;
	int r;

	for (;;) {
		r = level + 1 < DN_ARRAY_SIZE(levels) ? parse_chain(p, level + 1, &node)
						      : dn_tparse_value(p, &node);
		if (r == 0 && ops.n == 0 && !level_op(p, level, &op)) {
			*ret = node;
			return 0;
		}
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0 || !level_op(p, level, &op))
			break;
		r = add_op(p, &ops, op);
		if (r == 0)
			r = dn_tparser_next(p);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = dn_tparser_node(p, DN_N_CHAIN, line, ret);
	if (r != 0)
		return r;
	(*ret)->ops = ops.op;
	return dn_tparser_kids(p, *ret, &kids);
}

/* The comparison at the current token, passed over; 0 when there is none. */
static int compare_op(struct dn_tparser *p, enum dn_top *ret)
{
	static const struct {
		const char *text;
		enum dn_top op;
	} ops[] = {
		{ "==", DN_OP_EQ }, { "!=", DN_OP_NE }, { "<", DN_OP_LT },
		{ "<=", DN_OP_LE }, { ">", DN_OP_GT },	{ ">=", DN_OP_GE },
	};
	int r;

	for (size_t i = 0; i < DN_ARRAY_SIZE(ops); i++) {
		if (!dn_tparser_is_op(p, ops[i].text))
			continue;
		*ret = ops[i].op;
		r = dn_tparser_next(p);
		return r < 0 ? r : 1;
	}
	if (dn_tparser_is_name(p, "in")) {
		*ret = DN_OP_IN;
		r = dn_tparser_next(p);
		return r < 0 ? r : 1;
	}
	if (!dn_tparser_is_name(p, "not") || p->peek.type != DN_TOK_NAME || p->peek.size != 2 ||
	    memcmp(p->peek.text, "in", 2) != 0)
		return 0;
	*ret = DN_OP_NOT_IN;
	r = dn_tparser_next(p);
	if (r == 0)
		r = dn_tparser_next(p);
	return r < 0 ? r : 1;
}

static int parse_compare(struct dn_tparser *p, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct ops ops = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	enum dn_top op = DN_OP_EQ;
	int r = parse_chain(p, 0, &node);

	for (;;) {
		if (r == 0)
			r = compare_op(p, &op);
		if (r == 0 && ops.n == 0) {
			*ret = node;
			return 0;
		}
		if (r >= 0) {
			int more = r;

			r = dn_tparser_add(p, &kids, node);
			if (r == 0 && !more)
				break;
		}
		if (r == 0)
			r = add_op(p, &ops, op);
		if (r == 0)
			r = parse_chain(p, 0, &node);
		if (r < 0)
			return r;
	}
	r = dn_tparser_node(p, DN_N_COMPARE, line, ret);
	if (r < 0)
		return r;
	(*ret)->ops = ops.op;
	return dn_tparser_kids(p, *ret, &kids);
}

static int parse_not(struct dn_tparser *p, struct dn_tnode **ret)
{
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	int r;

	if (!dn_tparser_is_name(p, "not"))
		return parse_compare(p, ret);
	r = dn_tparser_down(p);
	if (r < 0)
		return r;
	r = dn_tparser_next(p);
	if (r == 0)
		r = parse_not(p, &node);
	dn_tparser_up(p);
	return r < 0 ? r : dn_tparser_node_of(p, DN_N_NOT, line, node, NULL, ret);
}

/* "and" binds tighter than "or"; each is one node of all its operands. */
static int parse_logic(struct dn_tparser *p, bool is_or, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	uint32_t line = p->token.line;
	const char *word = is_or ? "or" : "and";
	struct dn_tnode *node = NULL;
	int r;

	for (;;) {
		r = is_or ? parse_logic(p, false, &node) : parse_not(p, &node);
		if (r == 0 && kids.n == 0 && !dn_tparser_is_name(p, word)) {
			*ret = node;
			return 0;
		}
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0)
			return r;
		if (!dn_tparser_is_name(p, word))
			break;
		r = dn_tparser_next(p);
		if (r < 0)
			return r;
	}
	r = dn_tparser_node(p, is_or ? DN_N_OR : DN_N_AND, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

static int parse_conditional(struct dn_tparser *p, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *then = NULL;
	struct dn_tnode *node = NULL;
	int r = parse_logic(p, true, &then);

	while (r == 0 && dn_tparser_is_name(p, "if")) {
		kids = (struct dn_tnodes){ 0 };
		r = dn_tparser_next(p);
		if (r == 0)
			r = parse_logic(p, true, &node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, then);
		node = NULL;
		if (r == 0 && dn_tparser_is_name(p, "else")) {
			r = dn_tparser_next(p);
			if (r == 0)
				r = dn_tparse_expression(p, true, &node);
		}
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r == 0)
			r = dn_tparser_node(p, DN_N_COND, line, &then);
		if (r == 0)
			r = dn_tparser_kids(p, then, &kids);
	}
	*ret = then;
	return r;
}

int dn_tparse_expression(struct dn_tparser *p, bool conditional, struct dn_tnode **ret)
{
	int r = dn_tparser_down(p);

	if (r < 0)
		return r;
	r = conditional ? parse_conditional(p, ret) : parse_logic(p, true, ret);
	dn_tparser_up(p);
	return r;
}

static bool tuple_ends(const struct dn_tparser *p)
{
	return p->token.type == DN_TOK_BLOCK_END || p->token.type == DN_TOK_PRINT_END ||
	       dn_tparser_is_op(p, ")") || dn_tparser_is_op(p, "=") ||
	       dn_tparser_is_name(p, "recursive") || dn_tparser_is_name(p, "in");
}

int dn_tparse_tuple(struct dn_tparser *p, bool conditional, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	bool comma = false;
	int r;

	do {
		if (comma && tuple_ends(p))
			break;
		r = dn_tparse_expression(p, conditional, &node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0)
			return r;
		if (!dn_tparser_is_op(p, ",")) {
			if (comma)
				break;
			*ret = node;
			return 0;
		}
		comma = true;
		r = dn_tparser_next(p);
	} while (r == 0);
	if (r == 0)
		r = dn_tparser_node(p, DN_N_TUPLE, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

static int parse_target_name(struct dn_tparser *p, bool member, struct dn_tnode **ret)
{
	static const char *const reserved[] = { "true", "false", "none", "True", "False", "None" };
	uint32_t line = p->token.line;
	struct dn_tstr *name = NULL;
	bool dot = false;
	int r;

	if (p->token.type != DN_TOK_NAME)
		return dn_tparser_unexpected(p, "a name to assign to");
	for (size_t i = 0; i < DN_ARRAY_SIZE(reserved); i++) {
		if (dn_tparser_is_name(p, reserved[i]))
			return dn_tparser_fail(p, "can't assign to '%s'", reserved[i]);
	}
	r = dn_tparser_node(p, DN_N_NAME, line, ret);
	if (r == 0)
		r = dn_tparser_symbol(p, p->token.text, p->token.size, &(*ret)->symbol);
	if (r == 0)
		r = dn_tparser_next(p);
	if (r == 0 && member)
		r = dn_tparser_skip_op(p, ".", &dot);
	if (r < 0 || !dot)
		return r;
	if (p->token.type != DN_TOK_NAME)
		return dn_tparser_unexpected(p, "an attribute to assign to");
	r = dn_tparser_str(p, p->token.text, p->token.size, &name);
	if (r < 0)
		return r;
	(*ret)->kind = DN_N_MEMBER;
	(*ret)->value = dn_tval_str(name);
	return dn_tparser_next(p);
}

int dn_tparse_target(struct dn_tparser *p, bool member, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	bool comma = false;
	bool paren = false;
	int r;

	do {
		if (comma && tuple_ends(p))
			break;
		r = dn_tparser_skip_op(p, "(", &paren);
		if (r == 0)
			r = dn_tparser_down(p);
		if (r < 0)
			return r;
		r = paren ? dn_tparse_target(p, member, &node)
			  : parse_target_name(p, member, &node);
		dn_tparser_up(p);
		if (r == 0 && paren)
			r = dn_tparser_expect_op(p, ")");
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0)
			return r;
		if (!dn_tparser_is_op(p, ",")) {
			if (comma)
				break;
			*ret = node;
			return 0;
		}
		comma = true;
		r = dn_tparser_next(p);
	} while (r == 0);
	if (r == 0)
		r = dn_tparser_node(p, DN_N_TUPLE, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}
