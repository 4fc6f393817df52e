/* SPDX-License-Identifier: MIT */
/* What the parts of the parser share: tokens, nodes, symbols, the bound on depth. */

#include "engine/template/parser.h"

#include <stdio.h>
#include <stdint.h>
#include <string.h>

void dn_tparser_report(const struct dn_tparser *p, const char *what)
{
	static const char *const names[] = {
		[DN_TOK_END] = "the end of the template",
		[DN_TOK_TEXT] = "text",
		[DN_TOK_BLOCK_BEGIN] = "'{%'",
		[DN_TOK_BLOCK_END] = "'%}'",
		[DN_TOK_PRINT_BEGIN] = "'{{'",
		[DN_TOK_PRINT_END] = "'}}'",
		[DN_TOK_STRING] = "a string",
	};
	const char *name = p->token.type < DN_ARRAY_SIZE(names) ? names[p->token.type] : NULL;

	if (name)
		(void)dn_tparser_fail(p, "expected %s, got %s", what, name);
	else
		(void)dn_tparser_fail(p, "expected %s, got '%.*s'", what,
				      (int)DN_MIN(p->token.size, (size_t)60), p->token.text);
}

int dn_tparser_next(struct dn_tparser *p)
{
	p->token = p->peek;
	if (p->token.type == DN_TOK_END)
		return 0;
	return dn_tlexer_next(&p->lexer, &p->peek);
}

bool dn_tparser_is_op(const struct dn_tparser *p, const char *op)
{
	return p->token.type == DN_TOK_OP && p->token.size == strlen(op) &&
	       memcmp(p->token.text, op, p->token.size) == 0;
}

bool dn_tparser_is_name(const struct dn_tparser *p, const char *name)
{
	return p->token.type == DN_TOK_NAME && p->token.size == strlen(name) &&
	       memcmp(p->token.text, name, p->token.size) == 0;
}

int dn_tparser_skip_op(struct dn_tparser *p, const char *op, bool *ret_was)
{
	*ret_was = dn_tparser_is_op(p, op);
	return *ret_was ? dn_tparser_next(p) : 0;
}

int dn_tparser_expect_op(struct dn_tparser *p, const char *op)
{
	char what[8];

	if (dn_tparser_is_op(p, op))
		return dn_tparser_next(p);
	(void)snprintf(what, sizeof(what), "'%s'", op);
	return dn_tparser_unexpected(p, what);
}

int dn_tparser_down(struct dn_tparser *p)
{
	if (p->depth >= DN_TEMPLATE_DEPTH)
		return dn_tparser_fail(p, "nested deeper than %d", DN_TEMPLATE_DEPTH);
	p->depth++;
	return 0;
}

void dn_tparser_up(struct dn_tparser *p)
{
	p->depth--;
}

int dn_tparser_node(struct dn_tparser *p, enum dn_tkind kind, uint32_t line, struct dn_tnode **ret)
{
	struct dn_tnode *node = dn_arena_zalloc(p->arena, 1, sizeof(*node));

	if (!node)
		return dn_tlexer_no_memory(&p->lexer);
	node->kind = (uint8_t)kind;
	node->line = line;
	node->height = 1;
	node->value = dn_tval_none();
	*ret = node;
	return 0;
}

int dn_tparser_kids(struct dn_tparser *p, struct dn_tnode *node, const struct dn_tnodes *kids)
{
	node->kid = kids->node;
	node->n = (uint32_t)kids->n;
	for (size_t i = 0; i < kids->n; i++) {
		if (kids->node[i] && kids->node[i]->height >= node->height)
			node->height = (uint16_t)(kids->node[i]->height + 1);
	}
	/* A chain such as a.b.c nests without recursion here, but not where it is evaluated. */
	if (node->height > DN_TEMPLATE_DEPTH)
		return dn_tparser_fail(p, "nested deeper than %d", DN_TEMPLATE_DEPTH);
	return 0;
}

int dn_tparser_add(struct dn_tparser *p, struct dn_tnodes *nodes, struct dn_tnode *node)
{
	if (nodes->n == nodes->capacity) {
		size_t capacity = nodes->capacity ? nodes->capacity * 2 : 2;
		struct dn_tnode **grown =
			dn_arena_grow(p->arena, nodes->node, nodes->n * sizeof(struct dn_tnode *),
				      capacity * sizeof(struct dn_tnode *));

		if (!grown)
			return dn_tlexer_no_memory(&p->lexer);
		nodes->node = grown;
		nodes->capacity = capacity;
	}
	nodes->node[nodes->n++] = node;
	return 0;
}

int dn_tparser_node_of(struct dn_tparser *p, enum dn_tkind kind, uint32_t line, struct dn_tnode *a,
		       struct dn_tnode *b, struct dn_tnode **ret)
{
	struct dn_tnodes kids = { 0 };
	int r = dn_tparser_node(p, kind, line, ret);

	if (r == 0)
		r = dn_tparser_add(p, &kids, a);
	if (r == 0 && b)
		r = dn_tparser_add(p, &kids, b);
	return r < 0 ? r : dn_tparser_kids(p, *ret, &kids);
}

int dn_tparser_str(struct dn_tparser *p, const char *text, size_t size, struct dn_tstr **ret)
{
	struct dn_tstr *s = dn_arena_zalloc(p->arena, 1, sizeof(*s));

	if (!s)
		return dn_tlexer_no_memory(&p->lexer);
	*s = (struct dn_tstr){ .size = size,
			       .points = SIZE_MAX,
			       .data = size > 0 ? text : "",
			       .trust = DN_TRUST_ALL };
	/* Counted now: threads that render share this string, and must not write to it. */
	(void)dn_tstr_points(s);
	*ret = s;
	return 0;
}

static uint64_t symbol_hash(const char *text, size_t size)
{
	uint64_t h = 0;

	for (size_t i = 0; i < size; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3) + (h >> 47);
	return h ^ (h >> 32);
}

static int symbols_grow(struct dn_tparser *p)
{
	size_t n = p->n_slots ? p->n_slots * 2 : 64;
	uint32_t *slots = dn_arena_zalloc(p->arena, n, sizeof(*slots));
	struct dn_tstr **symbols = dn_arena_grow(p->arena, p->tmpl->symbols,
						 p->tmpl->n_symbols * sizeof(struct dn_tstr *),
						 n / 2 * sizeof(struct dn_tstr *));

	if (!slots || !symbols)
		return dn_tlexer_no_memory(&p->lexer);
	p->tmpl->symbols = symbols;
	for (uint32_t i = 0; i < p->tmpl->n_symbols; i++) {
		size_t slot = symbol_hash(symbols[i]->data, symbols[i]->size) & (n - 1);

		while (slots[slot] != 0)
			slot = (slot + 1) & (n - 1);
		slots[slot] = i + 1;
	}
	p->slots = slots;
	p->n_slots = n;
	p->symbol_capacity = n / 2;
	return 0;
}

int dn_tparser_symbol(struct dn_tparser *p, const char *text, size_t size, uint32_t *ret)
{
	struct dn_template *tmpl = p->tmpl;
	size_t slot;
	int r = 0;

	if (tmpl->n_symbols == p->symbol_capacity)
		r = symbols_grow(p);
	if (r < 0)
		return r;
	slot = symbol_hash(text, size) & (p->n_slots - 1);
	for (; p->slots[slot] != 0; slot = (slot + 1) & (p->n_slots - 1)) {
		const struct dn_tstr *s = tmpl->symbols[p->slots[slot] - 1];

		if (s->size == size && memcmp(s->data, text, size) == 0) {
			*ret = p->slots[slot] - 1;
			return 0;
		}
	}
	r = dn_tparser_str(p, text, size, &tmpl->symbols[tmpl->n_symbols]);
	if (r < 0)
		return r;
	*ret = tmpl->n_symbols++;
	p->slots[slot] = tmpl->n_symbols;
	return 0;
}

int dn_tparser_init(struct dn_tparser *p, struct dn_template *tmpl, const char *source, size_t size,
		    struct dn_error *err)
{
	uint32_t symbol;
	int r;

	*p = (struct dn_tparser){ .tmpl = tmpl, .arena = &tmpl->arena };
	r = dn_tlexer_init(&p->lexer, source, size, &tmpl->arena, err);
	/* In the order of enum dn_tsymbol. */
	if (r == 0)
		r = dn_tparser_symbol(p, "loop", 4, &symbol);
	if (r == 0)
		r = dn_tparser_symbol(p, "caller", 6, &symbol);
	if (r == 0)
		r = dn_tlexer_next(&p->lexer, &p->token);
	if (r == 0 && p->token.type != DN_TOK_END)
		r = dn_tlexer_next(&p->lexer, &p->peek);
	return r;
}
