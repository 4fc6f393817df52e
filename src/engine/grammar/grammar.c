/* SPDX-License-Identifier: MIT */

#include "engine/grammar/grammar.h"

#include <errno.h>
#include <stdlib.h>

#include "base/text.h"

static int read_text(enum dn_grammar_kind kind, const char *text, size_t size,
		     struct dn_exprs *exprs, struct dn_error *err)
{
	if (size > DN_GRAMMAR_TEXT_MAX)
		return dn_error_set(err, E2BIG, "a grammar of %zu bytes; at most %zu", size,
				    DN_GRAMMAR_TEXT_MAX);
	if (!dn_utf8_valid(text ? text : "", size))
		return dn_error_set(err, EINVAL, "the grammar is not valid UTF-8");
	switch (kind) {
	case DN_GRAMMAR_GBNF:
		return dn_gbnf_read(text, size, exprs, err);
	case DN_GRAMMAR_SCHEMA:
		return dn_schema_read(text, size, exprs, err);
	case DN_GRAMMAR_JSON:
		return dn_any_json_read(exprs, err);
	}
	return dn_error_set(err, EINVAL, "no kind of grammar has the number %d", (int)kind);
}

int dn_grammar_new(enum dn_grammar_kind kind, const char *text, size_t size,
		   const struct dn_token_index *index, struct dn_grammar **ret_grammar,
		   struct dn_error *err)
{
	struct dn_grammar *grammar = calloc(1, sizeof(*grammar));
	struct dn_exprs exprs = DN_EXPRS_INIT;
	int r;

	if (!grammar)
		return dn_error_memory(err, "a grammar", sizeof(*grammar));
	grammar->index = index;
	grammar->references = 1;
	r = read_text(kind, text, size, &exprs, err);
	if (r >= 0 && exprs.failed)
		r = dn_exprs_error(&exprs, err);
	if (r >= 0)
		r = dn_graph_compile(&exprs, &grammar->graph, err);
	dn_exprs_done(&exprs);
	if (r >= 0)
		r = dn_automaton_init(&grammar->automaton, &grammar->graph, index->lengths, err);
	if (r < 0) {
		dn_grammar_unref(grammar);
		return r;
	}
	*ret_grammar = grammar;
	return 0;
}

struct dn_grammar *dn_grammar_ref(struct dn_grammar *grammar)
{
	grammar->references++;
	return grammar;
}

struct dn_grammar *dn_grammar_unref(struct dn_grammar *grammar)
{
	if (!grammar || --grammar->references > 0)
		return NULL;
	dn_automaton_done(&grammar->automaton);
	dn_graph_done(&grammar->graph);
	free(grammar);
	return NULL;
}
