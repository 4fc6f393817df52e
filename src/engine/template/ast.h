/* SPDX-License-Identifier: MIT */
/* What a template is parsed into. Immutable once parsed; many threads may walk it. */
#ifndef DUNLIN_TEMPLATE_AST_H
#define DUNLIN_TEMPLATE_AST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/template.h> /* IWYU pragma: export */

#include "base/arena.h"		   /* IWYU pragma: export */
#include "engine/template/value.h" /* IWYU pragma: export */

#define DN_TEMPLATE_SOURCE_MAX ((size_t)1 << 20)
#define DN_TEMPLATE_MEMORY_MAX ((size_t)192 << 20)
/* How deep expressions and blocks may nest. */
#define DN_TEMPLATE_DEPTH 100

enum dn_tkind {
	/* Expressions, with the meaning of their kids. */
	DN_N_CONST,   /* value */
	DN_N_NAME,    /* symbol */
	DN_N_LIST,    /* items */
	DN_N_TUPLE,   /* items */
	DN_N_DICT,    /* key, value, key, value, … */
	DN_N_ATTR,    /* object; value: name */
	DN_N_ITEM,    /* object, key */
	DN_N_SLICE,   /* object, start, stop, step; NULL where left out */
	DN_N_CALL,    /* callee, arguments; names: of the last n_names */
	DN_N_FILTER,  /* input (NULL: the filter block's), arguments; value: name */
	DN_N_TEST,    /* input, arguments; value: name; negate */
	DN_N_CHAIN,   /* operands; ops between them, left to right */
	DN_N_COMPARE, /* operands; ops between neighbours */
	DN_N_AND,     /* operands */
	DN_N_OR,      /* operands */
	DN_N_NOT,     /* operand */
	DN_N_NEG,     /* operand */
	DN_N_POS,     /* operand */
	DN_N_COND,    /* condition, then, else or NULL */
	/* Statements. */
	DN_N_BLOCK,	   /* statements */
	DN_N_TEXT,	   /* value */
	DN_N_PRINT,	   /* expression */
	DN_N_IF,	   /* condition, block, condition, block, …, and a last block: else */
	DN_N_FOR,	   /* target, iterable, condition or NULL, block, else or NULL */
	DN_N_SET,	   /* target, expression */
	DN_N_SET_BLOCK,	   /* target, block, filter or NULL */
	DN_N_MACRO,	   /* block, defaults or NULL; symbol: name; symbols: parameters */
	DN_N_CALL_BLOCK,   /* call, macro */
	DN_N_FILTER_BLOCK, /* filter, block */
	DN_N_WITH,	   /* target, expression, target, expression, …, block */
	DN_N_SCOPE,	   /* block: a scope of its own */
	DN_N_DO,	   /* expression, evaluated for what it does */
	DN_N_BREAK,
	DN_N_CONTINUE,
	/* Targets of an assignment, beside NAME and TUPLE. */
	DN_N_MEMBER, /* symbol: namespace; value: attribute */
	DN_N_COUNT,
};

struct dn_tnode {
	uint8_t kind;
	bool negate;
	uint16_t height; /* of the tree below, bounded by DN_TEMPLATE_DEPTH */
	uint32_t line;
	uint32_t symbol;
	uint32_t n;
	struct dn_tnode **kid;
	uint32_t n_names;
	struct dn_tstr **names;
	union {
		const uint8_t *ops;
		const uint32_t *symbols;
		const struct dn_tcallable *callable; /* NULL: there is none of that name */
	};
	struct dn_tval value;
};

/* Names are numbers; these come first. */
enum dn_tsymbol {
	DN_SYMBOL_LOOP,
	DN_SYMBOL_CALLER,
	DN_SYMBOL_FIRST_FREE,
};

struct dn_template {
	struct dn_arena arena;
	struct dn_tnode *root;
	struct dn_tstr **symbols;
	uint32_t n_symbols;
};

#endif /* DUNLIN_TEMPLATE_AST_H */
