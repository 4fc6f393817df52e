/* SPDX-License-Identifier: MIT */
/* Values: literals and names, what stands behind them (. [] () | is), and their sign. */

#include <stdint.h>
#include <string.h>

#include "engine/template/parser.h"
#include "engine/template/run.h"

#define CALL_NAMES_MAX 64

static int constant(struct dn_tparser *p, struct dn_tval value, struct dn_tnode **ret)
{
	int r = dn_tparser_node(p, DN_N_CONST, p->token.line, ret);

	if (r < 0)
		return r;
	value.literal = true;
	(*ret)->value = value;
	return dn_tparser_next(p);
}

static int parse_name(struct dn_tparser *p, struct dn_tnode **ret)
{
	static const char *const spellings[] = { "true", "True", "false", "False", "none", "None" };
	int r;

	for (size_t i = 0; i < DN_ARRAY_SIZE(spellings); i++) {
		if (dn_tparser_is_name(p, spellings[i]))
			return constant(p, i < 4 ? dn_tval_bool(i < 2) : dn_tval_none(), ret);
	}
	r = dn_tparser_node(p, DN_N_NAME, p->token.line, ret);
	if (r == 0)
		r = dn_tparser_symbol(p, p->token.text, p->token.size, &(*ret)->symbol);
	return r < 0 ? r : dn_tparser_next(p);
}

/* Neighbouring strings are one. */
static int parse_string(struct dn_tparser *p, struct dn_tnode **ret)
{
	char *joined = NULL;
	size_t size = 0;
	struct dn_tstr *s = NULL;
	int r = dn_tparser_node(p, DN_N_CONST, p->token.line, ret);

	while (r == 0 && p->token.type == DN_TOK_STRING) {
		joined = dn_arena_grow(p->arena, joined, size, size + p->token.size + 1);
		if (!joined)
			return dn_tlexer_no_memory(&p->lexer);
		memcpy(joined + size, p->token.text, p->token.size);
		size += p->token.size;
		r = dn_tparser_next(p);
	}
	if (r == 0)
		r = dn_tparser_str(p, joined, size, &s);
	if (r == 0)
		(*ret)->value = dn_tval_str(s);
	return r;
}

/* The items of "[…]" or "{…}", whose opening was passed. */
static int parse_items(struct dn_tparser *p, enum dn_tkind kind, uint32_t line,
		       struct dn_tnode **ret)
{
	const char *close = kind == DN_N_DICT ? "}" : "]";
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *node = NULL;
	int r = 0;

	while (r == 0 && !dn_tparser_is_op(p, close)) {
		if (kids.n > 0)
			r = dn_tparser_expect_op(p, ",");
		if (r < 0 || dn_tparser_is_op(p, close))
			break;
		r = dn_tparse_expression(p, true, &node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0 || kind != DN_N_DICT)
			continue;
		r = dn_tparser_expect_op(p, ":");
		if (r == 0)
			r = dn_tparse_expression(p, true, &node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
	}
	if (r == 0)
		r = dn_tparser_expect_op(p, close);
	if (r == 0)
		r = dn_tparser_node(p, kind, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

static int parse_paren(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	bool empty = false;
	int r = dn_tparser_skip_op(p, ")", &empty);

	if (r == 0 && empty)
		return dn_tparser_node(p, DN_N_TUPLE, line, ret);
	if (r == 0)
		r = dn_tparse_tuple(p, true, ret);
	return r < 0 ? r : dn_tparser_expect_op(p, ")");
}

static int parse_primary(struct dn_tparser *p, struct dn_tnode **ret)
{
	uint32_t line = p->token.line;
	bool open = false;
	int r;

	switch (p->token.type) {
	case DN_TOK_NAME:
		return parse_name(p, ret);
	case DN_TOK_STRING:
		return parse_string(p, ret);
	case DN_TOK_INT:
		return constant(p, dn_tval_int(p->token.i), ret);
	case DN_TOK_FLOAT:
		return constant(p, dn_tval_float(p->token.f), ret);
	default:
		break;
	}
	r = dn_tparser_skip_op(p, "(", &open);
	if (r < 0 || open)
		return r < 0 ? r : parse_paren(p, line, ret);
	r = dn_tparser_skip_op(p, "[", &open);
	if (r < 0 || open)
		return r < 0 ? r : parse_items(p, DN_N_LIST, line, ret);
	r = dn_tparser_skip_op(p, "{", &open);
	if (r < 0 || open)
		return r < 0 ? r : parse_items(p, DN_N_DICT, line, ret);
	return dn_tparser_unexpected(p, "an expression");
}

/* "name=" of a named argument, onto node->names. */
static int parse_argument_name(struct dn_tparser *p, struct dn_tnode *node)
{
	struct dn_tstr **names;
	struct dn_tstr *name = NULL;
	int r = dn_tparser_str(p, p->token.text, p->token.size, &name);

	if (r < 0)
		return r;
	if (node->n_names == CALL_NAMES_MAX)
		return dn_tparser_fail(p, "more than %d named arguments", CALL_NAMES_MAX);
	names = dn_arena_alloc(p->arena, (node->n_names + 1) * sizeof(struct dn_tstr *));
	if (!names)
		return dn_tlexer_no_memory(&p->lexer);
	if (node->n_names > 0)
		memcpy(names, node->names, node->n_names * sizeof(struct dn_tstr *));
	names[node->n_names++] = name;
	node->names = names;
	r = dn_tparser_next(p);
	return r < 0 ? r : dn_tparser_next(p);
}

/* The arguments of a call; "(" was passed. Named ones come last and into node->names. */
static int parse_arguments(struct dn_tparser *p, struct dn_tnodes *kids, struct dn_tnode *node)
{
	size_t first = kids->n;
	struct dn_tnode *value = NULL;
	int r = 0;

	while (r == 0 && !dn_tparser_is_op(p, ")")) {
		bool named = false;

		if (kids->n > first)
			r = dn_tparser_expect_op(p, ",");
		if (r < 0 || dn_tparser_is_op(p, ")"))
			break;
		named = p->token.type == DN_TOK_NAME && p->peek.type == DN_TOK_OP &&
			p->peek.size == 1 && p->peek.text[0] == '=';
		if (dn_tparser_is_op(p, "*") || dn_tparser_is_op(p, "**"))
			return dn_tparser_fail(p, "*args and **kwargs are not supported in calls");
		if (!named && node->n_names > 0)
			return dn_tparser_fail(p, "a positional argument follows a named one");
		if (named)
			r = parse_argument_name(p, node);
		if (r == 0)
			r = dn_tparse_expression(p, true, &value);
		if (r == 0)
			r = dn_tparser_add(p, kids, value);
	}
	return r < 0 ? r : dn_tparser_expect_op(p, ")");
}

static int parse_call(struct dn_tparser *p, struct dn_tnode **node)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *call = NULL;
	int r = dn_tparser_node(p, DN_N_CALL, p->token.line, &call);

	if (r == 0)
		r = dn_tparser_add(p, &kids, *node);
	if (r == 0)
		r = dn_tparser_next(p);
	if (r == 0)
		r = parse_arguments(p, &kids, call);
	if (r == 0)
		r = dn_tparser_kids(p, call, &kids);
	*node = call;
	return r;
}

static int parse_attribute(struct dn_tparser *p, struct dn_tnode **node)
{
	uint32_t line = p->token.line;
	struct dn_tnode *key = NULL;
	struct dn_tstr *name = NULL;
	struct dn_tnode *object = *node;
	int r = dn_tparser_next(p);

	if (r < 0)
		return r;
	if (p->token.type == DN_TOK_INT) {
		r = constant(p, dn_tval_int(p->token.i), &key);
		return r < 0 ? r : dn_tparser_node_of(p, DN_N_ITEM, line, object, key, node);
	}
	if (p->token.type != DN_TOK_NAME)
		return dn_tparser_unexpected(p, "a name or number behind '.'");
	r = dn_tparser_str(p, p->token.text, p->token.size, &name);
	if (r == 0)
		r = dn_tparser_node_of(p, DN_N_ATTR, line, object, NULL, node);
	if (r != 0)
		return r;
	(*node)->value = dn_tval_str(name);
	return dn_tparser_next(p);
}

/* start:stop:step, any of which may be left out, or one expression. */
static int parse_subscript(struct dn_tparser *p, struct dn_tnode **node)
{
	struct dn_tnodes kids = { 0 };
	uint32_t line = p->token.line;
	struct dn_tnode *part = NULL;
	bool slice = false;
	bool colon = false;
	int r = dn_tparser_add(p, &kids, *node);

	if (r == 0)
		r = dn_tparser_next(p);
	for (int i = 0; i < 3 && r == 0; i++) {
		part = NULL;
		if (!dn_tparser_is_op(p, ":") && !(slice && dn_tparser_is_op(p, "]")))
			r = dn_tparse_expression(p, true, &part);
		if (r == 0)
			r = dn_tparser_add(p, &kids, part);
		colon = false;
		if (r == 0 && i < 2)
			r = dn_tparser_skip_op(p, ":", &colon);
		slice |= colon;
		if (!slice)
			break;
	}
	if (r == 0)
		r = dn_tparser_expect_op(p, "]");
	if (r == 0)
		r = dn_tparser_node(p, slice ? DN_N_SLICE : DN_N_ITEM, line, node);
	return r < 0 ? r : dn_tparser_kids(p, *node, &kids);
}

static int parse_postfix(struct dn_tparser *p, struct dn_tnode **node)
{
	int r = 0;

	while (r == 0) {
		if (dn_tparser_is_op(p, "."))
			r = parse_attribute(p, node);
		else if (dn_tparser_is_op(p, "["))
			r = parse_subscript(p, node);
		else if (dn_tparser_is_op(p, "("))
			r = parse_call(p, node);
		else
			break;
	}
	return r;
}

/* A name, perhaps with dots in it, into node->value. */
static int parse_dotted(struct dn_tparser *p, struct dn_tnode *node)
{
	char name[128];
	size_t n = 0;
	bool dot = true;
	struct dn_tstr *s = NULL;
	char *copy;
	int r = 0;

	while (r == 0 && dot) {
		if (p->token.type != DN_TOK_NAME || p->token.size + n + 1 > sizeof(name))
			return dn_tparser_unexpected(p, "the name of a filter or test");
		memcpy(name + n, p->token.text, p->token.size);
		n += p->token.size;
		r = dn_tparser_next(p);
		if (r == 0)
			r = dn_tparser_skip_op(p, ".", &dot);
		if (dot)
			name[n++] = '.';
	}
	if (r < 0)
		return r;
	copy = dn_arena_alloc(p->arena, n);
	if (!copy)
		return dn_tlexer_no_memory(&p->lexer);
	memcpy(copy, name, n);
	r = dn_tparser_str(p, copy, n, &s);
	if (r == 0)
		node->value = dn_tval_str(s);
	return r;
}

static int parse_filter(struct dn_tparser *p, struct dn_tnode *input, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *node = NULL;
	bool open = false;
	int r = dn_tparser_node(p, DN_N_FILTER, p->token.line, &node);

	if (r == 0)
		r = dn_tparser_add(p, &kids, input);
	if (r == 0)
		r = parse_dotted(p, node);
	if (r == 0)
		node->callable = dn_tfilter_find(node->value.s->data, node->value.s->size);
	if (r == 0)
		r = dn_tparser_skip_op(p, "(", &open);
	if (r == 0 && open)
		r = parse_arguments(p, &kids, node);
	if (r == 0)
		r = dn_tparser_kids(p, node, &kids);
	*ret = node;
	return r;
}

int dn_tparse_filters(struct dn_tparser *p, struct dn_tnode **ret)
{
	bool more = false;
	int r = parse_filter(p, NULL, ret);

	while (r == 0) {
		r = dn_tparser_skip_op(p, "|", &more);
		if (r < 0 || !more)
			break;
		r = parse_filter(p, *ret, ret);
	}
	return r;
}

/* Whether the token begins the argument of a test without parentheses: x is divisibleby 3 */
static bool begins_argument(const struct dn_tparser *p)
{
	switch (p->token.type) {
	case DN_TOK_NAME:
		return !dn_tparser_is_name(p, "else") && !dn_tparser_is_name(p, "or") &&
		       !dn_tparser_is_name(p, "and") && !dn_tparser_is_name(p, "is") &&
		       !dn_tparser_is_name(p, "if") && !dn_tparser_is_name(p, "in") &&
		       !dn_tparser_is_name(p, "not");
	case DN_TOK_STRING:
	case DN_TOK_INT:
	case DN_TOK_FLOAT:
		return true;
	default:
		return dn_tparser_is_op(p, "[") || dn_tparser_is_op(p, "{");
	}
}

static int parse_test(struct dn_tparser *p, struct dn_tnode **node)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *test = NULL;
	struct dn_tnode *argument = NULL;
	bool open = false;
	int r = dn_tparser_node(p, DN_N_TEST, p->token.line, &test);

	if (r == 0)
		r = dn_tparser_add(p, &kids, *node);
	if (r == 0)
		r = dn_tparser_next(p);
	if (r == 0 && dn_tparser_is_name(p, "not")) {
		test->negate = true;
		r = dn_tparser_next(p);
	}
	if (r == 0)
		r = parse_dotted(p, test);
	if (r == 0)
		test->callable = dn_ttest_find(test->value.s->data, test->value.s->size);
	if (r == 0)
		r = dn_tparser_skip_op(p, "(", &open);
	if (r == 0 && open) {
		r = parse_arguments(p, &kids, test);
	} else if (r == 0 && begins_argument(p)) {
		r = parse_primary(p, &argument);
		if (r == 0)
			r = parse_postfix(p, &argument);
		if (r == 0)
			r = dn_tparser_add(p, &kids, argument);
	}
	if (r == 0 && dn_tparser_is_name(p, "is"))
		return dn_tparser_fail(p, "tests cannot be chained with 'is'");
	if (r == 0)
		r = dn_tparser_kids(p, test, &kids);
	*node = test;
	return r;
}

static int parse_filters_and_tests(struct dn_tparser *p, struct dn_tnode **node)
{
	int r = 0;

	while (r == 0) {
		if (dn_tparser_is_op(p, "|")) {
			r = dn_tparser_next(p);
			if (r == 0)
				r = parse_filter(p, *node, node);
		} else if (dn_tparser_is_name(p, "is")) {
			r = parse_test(p, node);
		} else if (dn_tparser_is_op(p, "(")) {
			r = parse_call(p, node);
		} else {
			break;
		}
	}
	return r;
}

static int parse_signed(struct dn_tparser *p, bool filters, struct dn_tnode **ret)
{
	uint32_t line = p->token.line;
	bool minus = dn_tparser_is_op(p, "-");
	struct dn_tnode *node = NULL;
	int r = dn_tparser_down(p);

	if (r < 0)
		return r;
	if (minus || dn_tparser_is_op(p, "+")) {
		r = dn_tparser_next(p);
		if (r == 0)
			r = parse_signed(p, false, &node);
		if (r == 0)
			r = dn_tparser_node_of(p, minus ? DN_N_NEG : DN_N_POS, line, node, NULL,
					       ret);
	} else {
		r = parse_primary(p, ret);
	}
	if (r == 0)
		r = parse_postfix(p, ret);
	if (r == 0 && filters)
		r = parse_filters_and_tests(p, ret);
	dn_tparser_up(p);
	return r;
}

int dn_tparse_value(struct dn_tparser *p, struct dn_tnode **ret)
{
	return parse_signed(p, true, ret);
}
