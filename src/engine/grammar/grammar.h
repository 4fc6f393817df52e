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

/* @next, @before: of the index' list. @graph_bytes: of the index' account. */
struct dn_grammar {
	struct dn_token_index *index;
	struct dn_grammar *next;
	struct dn_grammar **before;
	uint32_t references;
	uint64_t graph_bytes;
	struct dn_graph graph;
	struct dn_automaton automaton;
};

/* All grammars of a vocabulary forget what is not in use. -ENOSPC, -ENOMEM. */
DN_MUST_CHECK int dn_grammars_compact(struct dn_token_index *index);

/* Write rules; the first is where a text begins. */
DN_MUST_CHECK int dn_gbnf_read(const char *text, size_t size, struct dn_exprs *exprs,
			       struct dn_error *err);
DN_MUST_CHECK int dn_schema_read(const char *text, size_t size, struct dn_exprs *exprs,
				 struct dn_error *err);
DN_MUST_CHECK int dn_any_json_read(struct dn_exprs *exprs, struct dn_error *err);

#endif /* DUNLIN_ENGINE_GRAMMAR_GRAMMAR_H */
