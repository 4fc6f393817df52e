/* SPDX-License-Identifier: MIT */
/* Text, output and tags: the statements of a template. */

#include <stdint.h>
#include <string.h>

#include "engine/template/parser.h"

static int parse_body(struct dn_tparser *p, const char *const *ends, uint32_t line,
		      struct dn_tnode **ret);

static int expect_block_end(struct dn_tparser *p)
{
	if (p->token.type != DN_TOK_BLOCK_END)
		return dn_tparser_unexpected(p, "'%}'");
	return dn_tparser_next(p);
}

/* "%}", a body, and the name of the tag that ended it as the current token. */
static int parse_block(struct dn_tparser *p, const char *const *ends, uint32_t line,
		       struct dn_tnode **ret)
{
	int r = expect_block_end(p);

	return r < 0 ? r : parse_body(p, ends, line, ret);
}

/* As parse_block(), and passes over the tag that ends it. */
static int parse_last_block(struct dn_tparser *p, const char *end, uint32_t line,
			    struct dn_tnode **ret)
{
	const char *const ends[] = { end, NULL };
	int r = parse_block(p, ends, line, ret);

	if (r == 0)
		r = dn_tparser_next(p);
	return r < 0 ? r : expect_block_end(p);
}

static int add_expression(struct dn_tparser *p, struct dn_tnodes *kids)
{
	struct dn_tnode *node = NULL;
	int r = dn_tparse_tuple(p, false, &node);

	return r < 0 ? r : dn_tparser_add(p, kids, node);
}

static int parse_if(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	static const char *const ends[] = { "elif", "else", "endif", NULL };
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *block = NULL;
	bool more = true;
	int r = 0;

	while (r == 0 && more) {
		r = add_expression(p, &kids);
		if (r == 0)
			r = parse_block(p, ends, line, &block);
		if (r == 0)
			r = dn_tparser_add(p, &kids, block);
		if (r < 0)
			return r;
		more = dn_tparser_is_name(p, "elif");
		if (dn_tparser_is_name(p, "else")) {
			r = dn_tparser_next(p);
			if (r == 0)
				r = parse_last_block(p, "endif", line, &block);
			if (r == 0)
				r = dn_tparser_add(p, &kids, block);
		} else {
			r = dn_tparser_next(p);
			if (r == 0 && !more)
				r = expect_block_end(p);
		}
	}
	if (r == 0)
		r = dn_tparser_node(p, DN_N_IF, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

/* "TARGET in ITERABLE [if CONDITION]" */
static int parse_for_head(struct dn_tparser *p, struct dn_tnodes *kids)
{
	struct dn_tnode *node = NULL;
	int r = dn_tparse_target(p, false, &node);

	if (r == 0)
		r = dn_tparser_add(p, kids, node);
	if (r == 0 && !dn_tparser_is_name(p, "in"))
		return dn_tparser_unexpected(p, "'in'");
	if (r == 0)
		r = dn_tparser_next(p);
	if (r == 0)
		r = add_expression(p, kids);
	node = NULL;
	if (r == 0 && dn_tparser_is_name(p, "if")) {
		r = dn_tparser_next(p);
		if (r == 0)
			r = dn_tparse_expression(p, true, &node);
	}
	if (r == 0 && dn_tparser_is_name(p, "recursive"))
		return dn_tparser_fail(p, "recursive loops are not supported");
	return r < 0 ? r : dn_tparser_add(p, kids, node);
}

static int parse_for(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	static const char *const ends[] = { "else", "endfor", NULL };
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *block = NULL;
	int r = parse_for_head(p, &kids);

	p->loops++;
	if (r == 0)
		r = parse_block(p, ends, line, &block);
	p->loops--;
	if (r == 0)
		r = dn_tparser_add(p, &kids, block);
	if (r < 0)
		return r;
	block = NULL;
	if (dn_tparser_is_name(p, "else")) {
		r = dn_tparser_next(p);
		if (r == 0)
			r = parse_last_block(p, "endfor", line, &block);
	} else {
		r = dn_tparser_next(p);
		if (r == 0)
			r = expect_block_end(p);
	}
	if (r == 0)
		r = dn_tparser_add(p, &kids, block);
	if (r == 0)
		r = dn_tparser_node(p, DN_N_FOR, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

static int parse_set(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *node = NULL;
	struct dn_tnode *filter = NULL;
	bool assign = false;
	bool pipe = false;
	int r = dn_tparse_target(p, true, &node);

	if (r == 0)
		r = dn_tparser_add(p, &kids, node);
	if (r == 0)
		r = dn_tparser_skip_op(p, "=", &assign);
	if (r < 0)
		return r;
	if (assign) {
		r = dn_tparse_tuple(p, true, &node);
		if (r == 0)
			r = expect_block_end(p);
	} else {
		r = dn_tparser_skip_op(p, "|", &pipe);
		if (r == 0 && pipe)
			r = dn_tparse_filters(p, &filter);
		if (r == 0)
			r = parse_last_block(p, "endset", line, &node);
	}
	if (r == 0)
		r = dn_tparser_add(p, &kids, node);
	if (r == 0 && !assign)
		r = dn_tparser_add(p, &kids, filter);
	if (r == 0)
		r = dn_tparser_node(p, assign ? DN_N_SET : DN_N_SET_BLOCK, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

/* "(name, name=default, …)": symbols and defaults; "(" is the current token. */
static int parse_parameters(struct dn_tparser *p, struct dn_tnode *macro, struct dn_tnodes *kids)
{
	uint32_t *symbols = NULL;
	size_t n = 0;
	int r = dn_tparser_expect_op(p, "(");

	while (r == 0 && !dn_tparser_is_op(p, ")")) {
		struct dn_tnode *fallback = NULL;
		bool assign = false;

		if (n > 0)
			r = dn_tparser_expect_op(p, ",");
		if (r < 0 || dn_tparser_is_op(p, ")"))
			break;
		if (p->token.type != DN_TOK_NAME)
			return dn_tparser_unexpected(p, "the name of a parameter");
		symbols = dn_arena_grow(p->arena, symbols, n * sizeof(*symbols),
					(n + 1) * sizeof(*symbols));
		if (!symbols)
			return dn_tlexer_no_memory(&p->lexer);
		r = dn_tparser_symbol(p, p->token.text, p->token.size, &symbols[n++]);
		if (n > 64)
			return dn_tparser_fail(p, "a macro of more than 64 parameters");
		if (r == 0)
			r = dn_tparser_next(p);
		if (r == 0)
			r = dn_tparser_skip_op(p, "=", &assign);
		if (r == 0 && assign)
			r = dn_tparse_expression(p, true, &fallback);
		if (r == 0)
			r = dn_tparser_add(p, kids, fallback);
	}
	macro->symbols = symbols;
	return r < 0 ? r : dn_tparser_expect_op(p, ")");
}

/* The body up to the tag @end; @kids has a place for it before the defaults. */
static int parse_macro_body(struct dn_tparser *p, const char *end, struct dn_tnode *macro,
			    struct dn_tnodes *kids)
{
	unsigned int loops = p->loops;
	struct dn_tnode *block = NULL;
	int r;

	/* A loop around the definition is not one around the call. */
	p->loops = 0;
	r = parse_last_block(p, end, macro->line, &block);
	p->loops = loops;
	if (r != 0 || !kids->node)
		return r;
	kids->node[0] = block;
	return dn_tparser_kids(p, macro, kids);
}

static int parse_macro(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	int r = dn_tparser_node(p, DN_N_MACRO, line, ret);

	if (r == 0 && p->token.type != DN_TOK_NAME)
		return dn_tparser_unexpected(p, "the name of a macro");
	if (r == 0)
		r = dn_tparser_symbol(p, p->token.text, p->token.size, &(*ret)->symbol);
	if (r == 0)
		r = dn_tparser_next(p);
	if (r == 0)
		r = dn_tparser_add(p, &kids, NULL);
	if (r == 0)
		r = parse_parameters(p, *ret, &kids);
	return r < 0 ? r : parse_macro_body(p, "endmacro", *ret, &kids);
}

/* "call(parameters) macro(arguments)": the body is a macro named caller. */
static int parse_call_block(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *macro = NULL;
	struct dn_tnode *call = NULL;
	int r = dn_tparser_node(p, DN_N_MACRO, line, &macro);

	if (r == 0)
		r = dn_tparser_add(p, &kids, NULL);
	if (r != 0)
		return r;
	macro->symbol = DN_SYMBOL_CALLER;
	if (dn_tparser_is_op(p, "("))
		r = parse_parameters(p, macro, &kids);
	if (r == 0)
		r = dn_tparse_expression(p, true, &call);
	if (r == 0 && call->kind != DN_N_CALL)
		return dn_tparser_fail(p, "expected a call behind 'call'");
	if (r == 0)
		r = parse_macro_body(p, "endcall", macro, &kids);
	return r < 0 ? r : dn_tparser_node_of(p, DN_N_CALL_BLOCK, line, call, macro, ret);
}

static int parse_filter_block(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnode *filter = NULL;
	struct dn_tnode *block = NULL;
	int r = dn_tparse_filters(p, &filter);

	if (r == 0)
		r = parse_last_block(p, "endfilter", line, &block);
	return r < 0 ? r : dn_tparser_node_of(p, DN_N_FILTER_BLOCK, line, filter, block, ret);
}

static int parse_with(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	struct dn_tnode *node = NULL;
	int r = 0;

	while (r == 0 && p->token.type != DN_TOK_BLOCK_END) {
		if (kids.n > 0)
			r = dn_tparser_expect_op(p, ",");
		/* One name each: "a, b = …" would be two. */
		if (r == 0 && p->token.type != DN_TOK_NAME)
			return dn_tparser_unexpected(p, "a name");
		if (r == 0)
			r = dn_tparser_node(p, DN_N_NAME, p->token.line, &node);
		if (r == 0)
			r = dn_tparser_symbol(p, p->token.text, p->token.size, &node->symbol);
		if (r == 0)
			r = dn_tparser_next(p);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r == 0)
			r = dn_tparser_expect_op(p, "=");
		if (r == 0)
			r = dn_tparse_expression(p, true, &node);
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
	}
	if (r == 0)
		r = parse_last_block(p, "endwith", line, &node);
	if (r == 0)
		r = dn_tparser_add(p, &kids, node);
	if (r == 0)
		r = dn_tparser_node(p, DN_N_WITH, line, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

/* "generation" marks what a model wrote, for those who train: here only a scope. */
static int parse_generation(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnode *block = NULL;
	int r = parse_last_block(p, "endgeneration", line, &block);

	return r < 0 ? r : dn_tparser_node_of(p, DN_N_SCOPE, line, block, NULL, ret);
}

static int parse_expression_tag(struct dn_tparser *p, enum dn_tkind kind, uint32_t line,
				struct dn_tnode **ret)
{
	struct dn_tnode *node = NULL;
	int r = dn_tparse_tuple(p, true, &node);

	if (r == 0)
		r = expect_block_end(p);
	return r < 0 ? r : dn_tparser_node_of(p, kind, line, node, NULL, ret);
}

static int parse_do(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	return parse_expression_tag(p, DN_N_DO, line, ret);
}

static int parse_print_tag(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	return parse_expression_tag(p, DN_N_PRINT, line, ret);
}

static int parse_jump(struct dn_tparser *p, enum dn_tkind kind, uint32_t line,
		      struct dn_tnode **ret)
{
	int r;

	if (p->loops == 0)
		return dn_tparser_fail(p, "'%s' outside of a loop",
				       kind == DN_N_BREAK ? "break" : "continue");
	r = expect_block_end(p);
	return r < 0 ? r : dn_tparser_node(p, kind, line, ret);
}

static int parse_break(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	return parse_jump(p, DN_N_BREAK, line, ret);
}

static int parse_continue(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret)
{
	return parse_jump(p, DN_N_CONTINUE, line, ret);
}

static const struct {
	const char *name;
	int (*parse)(struct dn_tparser *p, uint32_t line, struct dn_tnode **ret);
} tags[] = {
	{ "if", parse_if },	      { "for", parse_for },
	{ "set", parse_set },	      { "macro", parse_macro },
	{ "call", parse_call_block }, { "filter", parse_filter_block },
	{ "with", parse_with },	      { "generation", parse_generation },
	{ "do", parse_do },	      { "print", parse_print_tag },
	{ "break", parse_break },     { "continue", parse_continue },
};

/* A tag whose name is the current token. */
static int parse_tag(struct dn_tparser *p, struct dn_tnode **ret)
{
	uint32_t line = p->token.line;
	int r;

	if (p->token.type != DN_TOK_NAME)
		return dn_tparser_unexpected(p, "the name of a tag");
	for (size_t i = 0; i < DN_ARRAY_SIZE(tags); i++) {
		if (!dn_tparser_is_name(p, tags[i].name))
			continue;
		r = dn_tparser_down(p);
		if (r < 0)
			return r;
		r = dn_tparser_next(p);
		if (r == 0)
			r = tags[i].parse(p, line, ret);
		dn_tparser_up(p);
		return r;
	}
	return dn_tparser_fail(p, "unknown tag '%.*s'", (int)p->token.size, p->token.text);
}

static int parse_print(struct dn_tparser *p, struct dn_tnode **ret)
{
	uint32_t line = p->token.line;
	struct dn_tnode *node = NULL;
	int r = dn_tparser_next(p);

	if (r == 0)
		r = dn_tparse_tuple(p, true, &node);
	if (r == 0 && p->token.type != DN_TOK_PRINT_END)
		return dn_tparser_unexpected(p, "'}}'");
	if (r == 0)
		r = dn_tparser_next(p);
	return r < 0 ? r : dn_tparser_node_of(p, DN_N_PRINT, line, node, NULL, ret);
}

static int parse_text(struct dn_tparser *p, struct dn_tnode **ret)
{
	struct dn_tstr *s = NULL;
	int r = dn_tparser_node(p, DN_N_TEXT, p->token.line, ret);

	if (r == 0)
		r = dn_tparser_str(p, p->token.text, p->token.size, &s);
	if (r == 0)
		(*ret)->value = dn_tval_str(s);
	return r < 0 ? r : dn_tparser_next(p);
}

/* Whether the current token is the name of a tag that ends the body. */
static bool is_end(const struct dn_tparser *p, const char *const *ends)
{
	for (; *ends; ends++) {
		if (dn_tparser_is_name(p, *ends))
			return true;
	}
	return false;
}

/* Statements up to a tag in @ends, whose name is the current token then; or to the end (@line 0). */
static int parse_body(struct dn_tparser *p, const char *const *ends, uint32_t line,
		      struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	uint32_t begin = p->token.line;
	struct dn_tnode *node = NULL;
	int r = 0;

	for (;;) {
		if (p->token.type == DN_TOK_END && line == 0)
			break;
		if (p->token.type == DN_TOK_END)
			return dn_tparser_fail(
				p, "the tag of line %u is not closed: '%s' is missing", line,
				ends[0] && ends[1] ? ends[ends[2] ? 2 : 1] : ends[0]);
		if (p->token.type == DN_TOK_TEXT) {
			r = parse_text(p, &node);
		} else if (p->token.type == DN_TOK_PRINT_BEGIN) {
			r = parse_print(p, &node);
		} else {
			r = dn_tparser_next(p);
			if (r == 0 && is_end(p, ends))
				break;
			if (r == 0)
				r = parse_tag(p, &node);
		}
		if (r == 0)
			r = dn_tparser_add(p, &kids, node);
		if (r < 0)
			return r;
	}
	r = dn_tparser_node(p, DN_N_BLOCK, begin, ret);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

int dn_tparse_template(struct dn_tparser *p, struct dn_tnode **ret)
{
	static const char *const none[] = { NULL };

	return parse_body(p, none, 0, ret);
}
