/* SPDX-License-Identifier: MIT */
/* What the parts of grammars share: the two ways of writing one, and what they are compiled to. */
#ifndef DUNLIN_ENGINE_GRAMMAR_GRAMMAR_H
#define DUNLIN_ENGINE_GRAMMAR_GRAMMAR_H

/* IWYU pragma: begin_exports */
#include <dunlin/grammar.h>

#include "engine/grammar/automaton.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/graph.h"
#include "engine/grammar/token-index.h"
/* IWYU pragma: end_exports */

struct dn_grammar {
	const struct dn_token_index *index;
	uint32_t references;
	struct dn_graph graph;
	struct dn_automaton automaton;
};

/* Write rules; the first is where a text begins. */
DN_MUST_CHECK int dn_gbnf_read(const char *text, size_t size, struct dn_exprs *exprs,
			       struct dn_error *err);
DN_MUST_CHECK int dn_schema_read(const char *text, size_t size, struct dn_exprs *exprs,
				 struct dn_error *err);
DN_MUST_CHECK int dn_any_json_read(struct dn_exprs *exprs, struct dn_error *err);

#endif /* DUNLIN_ENGINE_GRAMMAR_GRAMMAR_H */
