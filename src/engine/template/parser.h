/* SPDX-License-Identifier: MIT */
/* Tokens to a tree: parse-expr.c, parse-value.c, parse-tag.c; parser.c has what they share. */
#ifndef DUNLIN_TEMPLATE_PARSER_H
#define DUNLIN_TEMPLATE_PARSER_H

#include "engine/template/lexer.h" /* IWYU pragma: export */

struct dn_tparser {
	struct dn_tlexer lexer;
	struct dn_ttoken token; /* the current one */
	struct dn_ttoken peek;	/* the one after it */
	struct dn_template *tmpl;
	struct dn_arena *arena;
	unsigned int depth;
	unsigned int loops; /* around this place, in the same macro */
	uint32_t *slots;    /* of symbols, by hash */
	size_t n_slots;
	size_t symbol_capacity;
};

struct dn_tnodes {
	struct dn_tnode **node;
	size_t n;
	size_t capacity;
};

/* Sets the error to "line N: …", and is negative. */
#define dn_tparser_fail(p, ...) dn_tlexer_fail(&(p)->lexer, (p)->token.line, __VA_ARGS__)
/* Fails: @what was expected where the current token is. */
void dn_tparser_report(const struct dn_tparser *p, const char *what);
static inline int dn_tparser_unexpected(const struct dn_tparser *p, const char *what)
{
	dn_tparser_report(p, what);
	return -EINVAL;
}
DN_MUST_CHECK int dn_tparser_next(struct dn_tparser *p);
bool dn_tparser_is_op(const struct dn_tparser *p, const char *op);
bool dn_tparser_is_name(const struct dn_tparser *p, const char *name);
/* Passes over the token when it is this one. */
DN_MUST_CHECK int dn_tparser_skip_op(struct dn_tparser *p, const char *op, bool *ret_was);
DN_MUST_CHECK int dn_tparser_expect_op(struct dn_tparser *p, const char *op);

/* Bounds recursion; each success is followed by dn_tparser_up(). */
DN_MUST_CHECK int dn_tparser_down(struct dn_tparser *p);
void dn_tparser_up(struct dn_tparser *p);

DN_MUST_CHECK int dn_tparser_node(struct dn_tparser *p, enum dn_tkind kind, uint32_t line,
				  struct dn_tnode **ret);
/* Gives @node its kids, which may be NULL, and its height. */
DN_MUST_CHECK int dn_tparser_kids(struct dn_tparser *p, struct dn_tnode *node,
				  const struct dn_tnodes *kids);
/* A node of one kid, or of two when @b is not NULL. */
DN_MUST_CHECK int dn_tparser_node_of(struct dn_tparser *p, enum dn_tkind kind, uint32_t line,
				     struct dn_tnode *a, struct dn_tnode *b, struct dn_tnode **ret);
DN_MUST_CHECK int dn_tparser_add(struct dn_tparser *p, struct dn_tnodes *nodes,
				 struct dn_tnode *node);
DN_MUST_CHECK int dn_tparser_str(struct dn_tparser *p, const char *text, size_t size,
				 struct dn_tstr **ret);
DN_MUST_CHECK int dn_tparser_symbol(struct dn_tparser *p, const char *text, size_t size,
				    uint32_t *ret);

/* A whole expression; without "… if … else …" when @conditional is false. */
DN_MUST_CHECK int dn_tparse_expression(struct dn_tparser *p, bool conditional,
				       struct dn_tnode **ret);
/* A literal or name with its sign and what stands behind it. */
DN_MUST_CHECK int dn_tparse_value(struct dn_tparser *p, struct dn_tnode **ret);
/* An expression, or several separated by commas: a tuple. */
DN_MUST_CHECK int dn_tparse_tuple(struct dn_tparser *p, bool conditional, struct dn_tnode **ret);
/* What may stand left of '=' and between 'for' and 'in'. */
DN_MUST_CHECK int dn_tparse_target(struct dn_tparser *p, bool member, struct dn_tnode **ret);
/* name(…)|name… with NULL as the first input; the current token is the first name. */
DN_MUST_CHECK int dn_tparse_filters(struct dn_tparser *p, struct dn_tnode **ret);

/* A whole template into tmpl->root; the first two tokens are read. */
DN_MUST_CHECK int dn_tparse_template(struct dn_tparser *p, struct dn_tnode **ret);
/* A parser at the head of @source. */
DN_MUST_CHECK int dn_tparser_init(struct dn_tparser *p, struct dn_template *tmpl,
				  const char *source, size_t size, struct dn_error *err);

#endif /* DUNLIN_TEMPLATE_PARSER_H */
