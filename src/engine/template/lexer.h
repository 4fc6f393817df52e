/* SPDX-License-Identifier: MIT */
/* Source text to tokens, white-space control included. */
#ifndef DUNLIN_TEMPLATE_LEXER_H
#define DUNLIN_TEMPLATE_LEXER_H

#include "engine/template/ast.h" /* IWYU pragma: export */

enum dn_ttoken_type {
	DN_TOK_END,
	DN_TOK_TEXT,	    /* between tags */
	DN_TOK_BLOCK_BEGIN, /* {% */
	DN_TOK_BLOCK_END,
	DN_TOK_PRINT_BEGIN, /* {{ */
	DN_TOK_PRINT_END,
	DN_TOK_NAME,
	DN_TOK_STRING,
	DN_TOK_INT,
	DN_TOK_FLOAT,
	DN_TOK_OP, /* text: the operator */
};

/* @text, @size: in the source; of TEXT and STRING: the final text */
struct dn_ttoken {
	enum dn_ttoken_type type;
	uint32_t line;
	const char *text;
	size_t size;
	int64_t i;
	double f;
};

struct dn_tlexer {
	const char *source; /* line ends normalised */
	size_t size;
	size_t at;
	size_t counted; /* up to where @line was counted */
	uint32_t line;
	bool inside;	   /* a tag */
	bool printing;	   /* of the kind {{ */
	bool line_start;   /* the text at @at begins a line */
	unsigned int open; /* brackets */
	struct dn_arena *arena;
	struct dn_error *err;
};

/* Copies @source into @arena: line ends become \n, one at the very end is dropped. */
DN_MUST_CHECK int dn_tlexer_init(struct dn_tlexer *lexer, const char *source, size_t size,
				 struct dn_arena *arena, struct dn_error *err);
DN_MUST_CHECK int dn_tlexer_next(struct dn_tlexer *lexer, struct dn_ttoken *ret);

/* Sets the error to "line N: …", and is negative. */
void dn_tlexer_report(const struct dn_tlexer *lexer, uint32_t line, const char *format, ...)
	DN_PRINTF(3, 4);
#define dn_tlexer_fail(lexer, line, ...) (dn_tlexer_report(lexer, line, __VA_ARGS__), -EINVAL)

void dn_tlexer_report_memory(const struct dn_tlexer *lexer);
static inline int dn_tlexer_no_memory(const struct dn_tlexer *lexer)
{
	dn_tlexer_report_memory(lexer);
	return lexer->arena->full ? -E2BIG : -ENOMEM;
}

#endif /* DUNLIN_TEMPLATE_LEXER_H */
