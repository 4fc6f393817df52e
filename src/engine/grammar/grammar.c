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

int dn_grammars_compact(struct dn_token_index *index)
{
	int r = 0;

	for (struct dn_grammar *grammar = index->grammars; r >= 0 && grammar;
	     grammar = grammar->next)
		if (grammar->automaton.store)
			r = dn_automaton_compact(&grammar->automaton);
	return r;
}

/* Room for what was compiled, and the automaton that runs it. */
static int make_room(struct dn_grammar *grammar)
{
	struct dn_account *account = &grammar->index->account;
	int r = 0;

	if (grammar->graph_bytes == 0)
		r = dn_account_take(account, dn_graph_bytes(&grammar->graph),
				    &grammar->graph_bytes);
	return r < 0 ? r
		     : dn_automaton_init(&grammar->automaton, &grammar->graph,
					 grammar->index->lengths, account);
}

static int settle(struct dn_grammar *grammar, struct dn_error *err)
{
	int r = make_room(grammar);

	if (r == -ENOSPC) {
		r = dn_grammars_compact(grammar->index);
		if (r >= 0)
			r = make_room(grammar);
	}
	if (r == -ENOSPC)
		return dn_error_set(err, ENOSPC, "grammars in use leave no memory for this one");
	return r < 0 ? dn_error_memory(err, "a grammar's states", 0) : 0;
}

int dn_grammar_new(enum dn_grammar_kind kind, const char *text, size_t size,
		   struct dn_token_index *index, struct dn_grammar **ret_grammar,
		   struct dn_error *err)
{
	struct dn_grammar *grammar = calloc(1, sizeof(*grammar));
	struct dn_exprs exprs = DN_EXPRS_INIT;
	struct dn_matcher *first = NULL;
	int r;

	if (!grammar)
		return dn_error_memory(err, "a grammar", sizeof(*grammar));
	grammar->index = index;
	grammar->references = 1;
	grammar->next = index->grammars;
	grammar->before = &index->grammars;
	if (grammar->next)
		grammar->next->before = &grammar->next;
	index->grammars = grammar;
	r = read_text(kind, text, size, &exprs, err);
	if (r >= 0 && exprs.failed)
		r = dn_exprs_error(&exprs, err);
	if (r >= 0)
		r = dn_graph_compile(&exprs, &grammar->graph, err);
	dn_exprs_done(&exprs);
	if (r >= 0)
		r = settle(grammar, err);
	/* What cannot even begin is to be told now. */
	if (r >= 0)
		r = dn_matcher_new(grammar, &first, err);
	dn_matcher_free(first);
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
	*grammar->before = grammar->next;
	if (grammar->next)
		grammar->next->before = grammar->before;
	dn_automaton_done(&grammar->automaton);
	dn_graph_done(&grammar->graph);
	dn_account_give(&grammar->index->account, grammar->graph_bytes, &grammar->graph_bytes);
	free(grammar);
	return NULL;
}
