/* SPDX-License-Identifier: MIT */
/* Statements: output, branches, loops, assignments, macros. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

int dn_tsink_add(struct dn_trun *run, struct dn_tsink *sink, struct dn_tstr *s)
{
	size_t size;

	if (s->size == 0)
		return 0;
	if (!dn_add_ok(sink->size, s->size, &size) || size > run->max_output)
		return dn_trun_fail(run, E2BIG, "the output is above the limit of %zu bytes",
				    run->max_output);
	if (sink->count == sink->capacity) {
		size_t capacity = DN_MAX(sink->capacity * 2, (size_t)8);
		void *grown =
			dn_trun_grow(run, sink->pieces, sink->count * sizeof(struct dn_tstr *),
				     capacity * sizeof(struct dn_tstr *));

		if (!grown)
			return dn_trun_no_memory(run);
		sink->pieces = grown;
		sink->capacity = capacity;
	}
	sink->pieces[sink->count++] = s;
	sink->size = size;
	return 0;
}

int dn_tsink_join(struct dn_trun *run, const struct dn_tsink *sink, struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	int r = 0;

	if (sink->count == 1) {
		*ret = sink->pieces[0];
		return 0;
	}
	for (size_t i = 0; i < sink->count && r == 0; i++)
		r = dn_tbuild_str(&b, sink->pieces[i]);
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

/* Executes @block in @scope and takes what it writes. */
static int capture(struct dn_trun *run, const struct dn_tnode *block, struct dn_tscope *scope,
		   struct dn_tstr **ret)
{
	struct dn_tsink *outer_sink = run->sink;
	struct dn_tscope *outer_scope = run->scope;
	struct dn_tsink sink = { 0 };
	int r;

	run->sink = &sink;
	run->scope = scope;
	r = dn_trun_exec(run, block);
	run->sink = outer_sink;
	run->scope = outer_scope;
	if (r != 0)
		return r;
	return dn_tsink_join(run, &sink, ret);
}

static int scope_new(struct dn_trun *run, struct dn_tscope *parent, struct dn_tscope **ret)
{
	*ret = dn_trun_alloc(run, sizeof(**ret));
	if (!*ret)
		return dn_trun_no_memory(run);
	**ret = (struct dn_tscope){ .parent = parent };
	return 0;
}

static int assign_member(struct dn_trun *run, const struct dn_tnode *target, struct dn_tval v)
{
	const struct dn_tval *object = dn_tscope_find(run, run->scope, target->symbol);

	run->line = target->line;
	if (!object || object->type != DN_T_NAMESPACE)
		return dn_trun_fail(run, EINVAL, "cannot assign attribute on non-namespace object");
	return dn_tdict_set(run, object->dict, target->value, v);
}

static int assign(struct dn_trun *run, const struct dn_tnode *target, struct dn_tscope *scope,
		  const struct dn_tval *v)
{
	struct dn_tseq seq = { 0 };
	int r;

	if (target->kind == DN_N_NAME)
		return dn_tscope_set(run, scope, target->symbol, *v);
	if (target->kind == DN_N_MEMBER)
		return assign_member(run, target, *v);
	run->line = target->line;
	if (v->type == DN_T_NONE || dn_tval_is_number(v))
		return dn_trun_fail(run, EINVAL, "cannot unpack non-iterable %s object",
				    dn_tval_type_name(v));
	r = dn_tseq_of(run, v, &seq);
	if (r == 0 && seq.count != target->n)
		return dn_trun_fail(run, EINVAL, "%s values to unpack (expected %u, got %zu)",
				    seq.count < target->n ? "not enough" : "too many", target->n,
				    seq.count);
	for (uint32_t i = 0; i < target->n && r == 0; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);

		r = assign(run, target->kid[i], scope, &item);
	}
	return r;
}

static int exec_block(struct dn_trun *run, const struct dn_tnode *node)
{
	int r = 0;

	for (uint32_t i = 0; i < node->n && r == 0; i++)
		r = dn_trun_exec(run, node->kid[i]);
	return r;
}

static int exec_text(struct dn_trun *run, const struct dn_tnode *node)
{
	return dn_tsink_add(run, run->sink, node->value.s);
}

static int exec_print(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;
	struct dn_tstr *s = NULL;
	int r = dn_trun_eval(run, node->kid[0], &v);

	if (r == 0)
		r = dn_tval_to_str(run, &v, &s);
	return r != 0 ? r : dn_tsink_add(run, run->sink, s);
}

static int exec_do(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;

	return dn_trun_eval(run, node->kid[0], &v);
}

static int exec_if(struct dn_trun *run, const struct dn_tnode *node)
{
	uint32_t i = 0;

	for (; i + 1 < node->n; i += 2) {
		struct dn_tval v;
		int r = dn_trun_eval(run, node->kid[i], &v);

		if (r < 0)
			return r;
		if (dn_tval_truth(&v))
			return dn_trun_exec(run, node->kid[i + 1]);
	}
	return i < node->n ? dn_trun_exec(run, node->kid[i]) : 0;
}

/* The items for which the loop's condition holds. */
static int filter_items(struct dn_trun *run, const struct dn_tnode *node, struct dn_tseq *seq)
{
	struct dn_tscope scope = { .parent = run->scope };
	struct dn_tscope *outer = run->scope;
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, 0, &list);

	if (r < 0)
		return r;
	run->scope = &scope;
	for (size_t i = 0; i < seq->count && r == 0; i++) {
		struct dn_tval item = dn_tseq_at(seq, i);
		struct dn_tval keep;

		r = assign(run, node->kid[0], &scope, &item);
		if (r == 0)
			r = dn_trun_eval(run, node->kid[2], &keep);
		if (r == 0 && dn_tval_truth(&keep))
			r = dn_tlist_add(run, list, item);
	}
	run->scope = outer;
	*seq = (struct dn_tseq){ .items = list->items, .count = list->count };
	return r;
}

/*
 * Each round begins with the loop's own names and forgets what the one before it set. As in Jinja,
 * "else" is for loops of which no round came to its end: @ret_finished.
 */
static int run_loop(struct dn_trun *run, const struct dn_tnode *node, struct dn_tloop *loop,
		    bool *ret_finished)
{
	struct dn_tscope *outer = run->scope;
	struct dn_tval self = { .type = DN_T_LOOP, .loop = loop };
	struct dn_tscope *scope = NULL;
	int r = scope_new(run, outer, &scope);

	*ret_finished = false;
	for (loop->at = 0; loop->at < loop->seq.count && r == 0; loop->at++) {
		struct dn_tval item = dn_tseq_at(&loop->seq, loop->at);

		scope->count = 0;
		r = dn_trun_work(run, 0);
		if (r == 0)
			r = dn_tscope_set(run, scope, DN_SYMBOL_LOOP, self);
		if (r == 0)
			r = assign(run, node->kid[0], scope, &item);
		if (r < 0)
			break;
		run->scope = scope;
		r = dn_trun_exec(run, node->kid[3]);
		run->scope = outer;
		*ret_finished |= r == DN_FLOW_NEXT;
		if (r == DN_FLOW_CONTINUE)
			r = 0;
	}
	return r == DN_FLOW_BREAK ? 0 : r;
}

static int exec_in_scope(struct dn_trun *run, const struct dn_tnode *block)
{
	struct dn_tscope *outer = run->scope;
	struct dn_tscope *scope = NULL;
	int r = scope_new(run, outer, &scope);

	if (r < 0)
		return r;
	run->scope = scope;
	r = dn_trun_exec(run, block);
	run->scope = outer;
	return r;
}

static int exec_for(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tloop *loop;
	struct dn_tval iterable;
	bool finished = false;
	int r = dn_trun_eval(run, node->kid[1], &iterable);

	if (r < 0)
		return r;
	loop = dn_trun_alloc(run, sizeof(*loop));
	if (!loop)
		return dn_trun_no_memory(run);
	*loop = (struct dn_tloop){ 0 };
	run->line = node->line;
	r = dn_tseq_of(run, &iterable, &loop->seq);
	if (r == 0 && node->kid[2])
		r = filter_items(run, node, &loop->seq);
	if (r < 0)
		return r;
	r = run_loop(run, node, loop, &finished);
	if (r != 0 || finished || !node->kid[4])
		return r;
	return exec_in_scope(run, node->kid[4]);
}

static int exec_set(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;
	int r = dn_trun_eval(run, node->kid[1], &v);

	return r < 0 ? r : assign(run, node->kid[0], run->scope, &v);
}

/* The text of a block through a filter. */
static int filtered(struct dn_trun *run, const struct dn_tnode *filter,
		    const struct dn_tnode *block, struct dn_tval *ret)
{
	struct dn_tscope *scope = NULL;
	struct dn_tstr *text = NULL;
	int r = scope_new(run, run->scope, &scope);

	if (r == 0)
		r = capture(run, block, scope, &text);
	if (r != 0)
		return r;
	*ret = dn_tval_str(text);
	if (!filter)
		return 0;
	run->block_input = *ret;
	return dn_trun_eval(run, filter, ret);
}

static int exec_set_block(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;
	int r = filtered(run, node->kid[2], node->kid[1], &v);

	return r != 0 ? r : assign(run, node->kid[0], run->scope, &v);
}

static int exec_filter_block(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;
	struct dn_tstr *s = NULL;
	int r = filtered(run, node->kid[0], node->kid[1], &v);

	if (r == 0)
		r = dn_tval_to_str(run, &v, &s);
	return r != 0 ? r : dn_tsink_add(run, run->sink, s);
}

static int make_macro(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tmacro *macro = dn_trun_alloc(run, sizeof(*macro));

	if (!macro)
		return dn_trun_no_memory(run);
	*macro = (struct dn_tmacro){ .node = node, .scope = run->scope };
	*ret = (struct dn_tval){ .type = DN_T_MACRO, .macro = macro };
	return 0;
}

static int exec_macro(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval v;
	int r = make_macro(run, node, &v);

	return r < 0 ? r : dn_tscope_set(run, run->scope, node->symbol, v);
}

static int exec_call_block(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tval caller;
	struct dn_tval v;
	struct dn_tstr *s = NULL;
	int r = make_macro(run, node->kid[1], &caller);

	if (r == 0)
		r = dn_trun_eval_call(run, node->kid[0], &caller, &v);
	if (r == 0)
		r = dn_tval_to_str(run, &v, &s);
	return r != 0 ? r : dn_tsink_add(run, run->sink, s);
}

/* Values are computed outside of the new scope, then named in it. */
static int exec_with(struct dn_trun *run, const struct dn_tnode *node)
{
	struct dn_tscope *outer = run->scope;
	struct dn_tscope *scope = NULL;
	uint32_t i = 0;
	int r = scope_new(run, outer, &scope);

	for (; i + 1 < node->n && r == 0; i += 2) {
		struct dn_tval v;

		r = dn_trun_eval(run, node->kid[i + 1], &v);
		if (r == 0)
			r = assign(run, node->kid[i], scope, &v);
	}
	if (r < 0)
		return r;
	run->scope = scope;
	r = dn_trun_exec(run, node->kid[i]);
	run->scope = outer;
	return r;
}

static int exec_scope(struct dn_trun *run, const struct dn_tnode *node)
{
	return exec_in_scope(run, node->kid[0]);
}

static int exec_break(struct dn_trun *run, const struct dn_tnode *node)
{
	(void)run;
	(void)node;
	return DN_FLOW_BREAK;
}

static int exec_continue(struct dn_trun *run, const struct dn_tnode *node)
{
	(void)run;
	(void)node;
	return DN_FLOW_CONTINUE;
}

static int (*const kinds[DN_N_COUNT])(struct dn_trun *run, const struct dn_tnode *node) = {
	[DN_N_BLOCK] = exec_block,
	[DN_N_TEXT] = exec_text,
	[DN_N_PRINT] = exec_print,
	[DN_N_IF] = exec_if,
	[DN_N_FOR] = exec_for,
	[DN_N_SET] = exec_set,
	[DN_N_SET_BLOCK] = exec_set_block,
	[DN_N_MACRO] = exec_macro,
	[DN_N_CALL_BLOCK] = exec_call_block,
	[DN_N_FILTER_BLOCK] = exec_filter_block,
	[DN_N_WITH] = exec_with,
	[DN_N_SCOPE] = exec_scope,
	[DN_N_DO] = exec_do,
	[DN_N_BREAK] = exec_break,
	[DN_N_CONTINUE] = exec_continue,
};

int dn_trun_exec(struct dn_trun *run, const struct dn_tnode *node)
{
	int r;

	run->line = node->line;
	r = dn_trun_work(run, 0);
	if (r < 0)
		return r;
	if (run->depth >= DN_TRUN_DEPTH)
		return dn_trun_fail(run, ELOOP, "the template nests deeper than %d", DN_TRUN_DEPTH);
	run->depth++;
	r = kinds[node->kind](run, node);
	run->depth--;
	return r;
}

/* The value given for parameter @i, or NULL. */
static const struct dn_tval *argument_of(const struct dn_trun *run, const struct dn_tnode *node,
					 const struct dn_targs *args, uint32_t i)
{
	const struct dn_tstr *name = run->tmpl->symbols[node->symbols[i]];
	size_t first = args->n - args->n_named;

	if (i < first)
		return &args->values[i];
	for (size_t k = 0; k < args->n_named; k++) {
		if (args->names[k]->size == name->size &&
		    memcmp(args->names[k]->data, name->data, name->size) == 0)
			return &args->values[first + k];
	}
	return NULL;
}

static bool is_caller(const struct dn_tstr *name)
{
	return name->size == 6 && memcmp(name->data, "caller", 6) == 0;
}

static int check_names(struct dn_trun *run, const struct dn_tnode *node,
		       const struct dn_targs *args, struct dn_tscope *scope)
{
	const struct dn_tstr *macro = run->tmpl->symbols[node->symbol];
	size_t first = args->n - args->n_named;

	if (first > node->n - 1)
		return dn_trun_fail(run, EINVAL, "macro '%.*s' takes not more than %u argument(s)",
				    (int)macro->size, macro->data, node->n - 1);
	for (size_t k = 0; k < args->n_named; k++) {
		const struct dn_tstr *name = args->names[k];
		bool known = false;

		for (uint32_t i = 0; i + 1 < node->n && !known; i++) {
			const struct dn_tstr *parameter = run->tmpl->symbols[node->symbols[i]];

			known = parameter->size == name->size &&
				memcmp(parameter->data, name->data, name->size) == 0;
			if (known && i < first)
				return dn_trun_fail(run, EINVAL, "macro '%.*s' got '%.*s' twice",
						    (int)macro->size, macro->data, (int)name->size,
						    name->data);
		}
		if (!known && !is_caller(name))
			return dn_trun_fail(
				run, EINVAL, "macro '%.*s' takes no keyword argument '%.*s'",
				(int)macro->size, macro->data, (int)name->size, name->data);
		if (!known) {
			int r = dn_tscope_set(run, scope, DN_SYMBOL_CALLER,
					      args->values[first + k]);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

int dn_trun_call_macro(struct dn_trun *run, const struct dn_tmacro *macro,
		       const struct dn_targs *args, struct dn_tval *ret)
{
	const struct dn_tnode *node = macro->node;
	struct dn_tscope *outer = run->scope;
	struct dn_tscope *scope = NULL;
	struct dn_tstr *text = NULL;
	int r = scope_new(run, macro->scope, &scope);

	if (r == 0)
		r = check_names(run, node, args, scope);
	for (uint32_t i = 0; i + 1 < node->n && r == 0; i++) {
		const struct dn_tval *given = argument_of(run, node, args, i);
		struct dn_tval name = dn_tval_str(run->tmpl->symbols[node->symbols[i]]);
		struct dn_tval v;

		run->scope = scope;
		if (given)
			v = *given;
		else if (node->kid[i + 1])
			r = dn_trun_eval(run, node->kid[i + 1], &v);
		else
			r = dn_tval_undefined(run, NULL, &name, &v);
		run->scope = outer;
		if (r == 0)
			r = dn_tscope_set(run, scope, node->symbols[i], v);
	}
	if (r == 0)
		r = capture(run, node->kid[0], scope, &text);
	if (r == 0)
		*ret = dn_tval_str(text);
	return r;
}
