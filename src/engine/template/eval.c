/* SPDX-License-Identifier: MIT */
/*
 * Expressions. One function a kind of node behind a table, so that recursion costs a small frame
 * and not that of one large function.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

/* Arguments that fit on the stack. */
#define ARGS_NEAR 6

struct dn_tval *dn_tscope_find(struct dn_trun *run, struct dn_tscope *scope, uint32_t symbol)
{
	for (; scope->parent; scope = scope->parent) {
		for (size_t i = 0; i < scope->count; i++) {
			if (scope->bindings[i].symbol == symbol)
				return &scope->bindings[i].value;
		}
		/* A loop that sets thousands of names pays for the search. */
		run->steps -= DN_MIN(run->steps, scope->count / 16);
	}
	return symbol < scope->count && scope->bindings[symbol].symbol == symbol
		       ? &scope->bindings[symbol].value
		       : NULL;
}

int dn_tscope_init_root(struct dn_trun *run, struct dn_tscope *root)
{
	size_t n = run->tmpl->n_symbols;

	root->bindings = dn_trun_alloc(run, n * sizeof(*root->bindings));
	if (!root->bindings)
		return dn_trun_no_memory(run);
	root->count = n;
	for (size_t i = 0; i < n; i++)
		root->bindings[i].symbol = UINT32_MAX;
	return 0;
}

static int scope_grow(struct dn_trun *run, struct dn_tscope *scope)
{
	size_t capacity = DN_MAX(scope->capacity * 2, (size_t)4);
	void *grown;

	if (scope->count < scope->capacity)
		return 0;
	grown = dn_trun_grow(run, scope->bindings, scope->count * sizeof(*scope->bindings),
			     capacity * sizeof(*scope->bindings));
	if (!grown)
		return dn_trun_no_memory(run);
	scope->bindings = grown;
	scope->capacity = capacity;
	return 0;
}

int dn_tscope_set(struct dn_trun *run, struct dn_tscope *scope, uint32_t symbol, struct dn_tval v)
{
	size_t at = symbol;
	int r;

	if (scope->parent) {
		for (at = 0; at < scope->count; at++) {
			if (scope->bindings[at].symbol == symbol)
				break;
		}
		r = scope_grow(run, scope);
		if (r == 0)
			r = dn_trun_work(run, 4 * at);
		if (r < 0)
			return r;
		scope->count += at == scope->count;
	}
	scope->bindings[at] = (struct dn_tbinding){ .symbol = symbol, .value = v };
	return 0;
}

static int eval_const(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	(void)run;
	*ret = node->value;
	return 0;
}

static int eval_name(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	const struct dn_tval *found = dn_tscope_find(run, run->scope, node->symbol);
	const struct dn_tcallable *global;
	struct dn_tval name;

	if (found) {
		*ret = *found;
		return 0;
	}
	name = dn_tval_str(run->tmpl->symbols[node->symbol]);
	global = dn_tglobal_find(name.s->data, name.s->size);
	if (!global)
		return dn_tval_undefined(run, NULL, &name, ret);
	*ret = (struct dn_tval){ .type = DN_T_FUNCTION, .function = global };
	return 0;
}

static int eval_items(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, node->n, &list);

	for (uint32_t i = 0; i < node->n && r == 0; i++) {
		struct dn_tval item;

		r = dn_trun_eval(run, node->kid[i], &item);
		if (r == 0)
			r = dn_tlist_add(run, list, item);
	}
	if (r == 0)
		*ret = dn_tval_list(node->kind == DN_N_TUPLE ? DN_T_TUPLE : DN_T_LIST, list);
	return r;
}

static int eval_dict(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tdict *dict = NULL;
	int r = dn_tdict_new(run, node->n / 2, &dict);

	for (uint32_t i = 0; i + 1 < node->n && r == 0; i += 2) {
		struct dn_tval key;
		struct dn_tval value;

		r = dn_trun_eval(run, node->kid[i], &key);
		if (r == 0)
			r = dn_trun_eval(run, node->kid[i + 1], &value);
		if (r == 0)
			r = dn_tdict_set(run, dict, key, value);
	}
	if (r == 0)
		*ret = dn_tval_dict(dict);
	return r;
}

static int eval_attribute(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval object;
	int r = dn_trun_eval(run, node->kid[0], &object);

	run->line = node->line;
	return r < 0 ? r : dn_tval_attribute(run, &object, &node->value, ret);
}

static int eval_item(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval object;
	struct dn_tval key;
	int r = dn_trun_eval(run, node->kid[0], &object);

	if (r == 0)
		r = dn_trun_eval(run, node->kid[1], &key);
	run->line = node->line;
	return r < 0 ? r : dn_tval_item(run, &object, &key, ret);
}

static int eval_slice(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval object;
	struct dn_tval part[3];
	int r = dn_trun_eval(run, node->kid[0], &object);

	for (uint32_t i = 0; i < 3 && r == 0; i++) {
		part[i] = dn_tval_none();
		if (i + 1 < node->n && node->kid[i + 1])
			r = dn_trun_eval(run, node->kid[i + 1], &part[i]);
	}
	run->line = node->line;
	return r < 0 ? r : dn_tval_slice(run, &object, part, ret);
}

/* The kids behind the first as arguments; @near has room for ARGS_NEAR. */
static int eval_args(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *near,
		     struct dn_targs *ret)
{
	size_t n = node->n - 1;
	struct dn_tval *values = near;
	int r = 0;

	if (n > ARGS_NEAR) {
		values = dn_trun_alloc(run, n * sizeof(*values));
		if (!values)
			return dn_trun_no_memory(run);
	}
	for (size_t i = 0; i < n && r == 0; i++)
		r = dn_trun_eval(run, node->kid[i + 1], &values[i]);
	*ret = (struct dn_targs){
		.values = values, .n = n, .n_named = node->n_names, .names = node->names
	};
	run->line = node->line;
	return r;
}

/* @args and one more, named caller. */
static int add_caller(struct dn_trun *run, const struct dn_tval *caller, struct dn_targs *args)
{
	struct dn_tval *values = dn_trun_alloc(run, (args->n + 1) * sizeof(*values));
	struct dn_tstr **names = dn_trun_alloc(run, (args->n_named + 1) * sizeof(struct dn_tstr *));

	if (!values || !names)
		return dn_trun_no_memory(run);
	if (args->n > 0)
		memcpy(values, args->values, args->n * sizeof(*values));
	if (args->n_named > 0)
		memcpy(names, args->names, args->n_named * sizeof(struct dn_tstr *));
	values[args->n++] = *caller;
	names[args->n_named++] = run->tmpl->symbols[DN_SYMBOL_CALLER];
	args->values = values;
	args->names = names;
	return 0;
}

int dn_trun_eval_call(struct dn_trun *run, const struct dn_tnode *node,
		      const struct dn_tval *caller, struct dn_tval *ret)
{
	struct dn_tval near[ARGS_NEAR];
	struct dn_targs args;
	struct dn_tval callee;
	int r = dn_trun_eval(run, node->kid[0], &callee);

	if (r == 0)
		r = eval_args(run, node, near, &args);
	if (r == 0 && caller)
		r = add_caller(run, caller, &args);
	return r < 0 ? r : dn_trun_call(run, &callee, &args, ret);
}

static int eval_call(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	return dn_trun_eval_call(run, node, NULL, ret);
}

static int eval_filter(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval near[ARGS_NEAR];
	struct dn_targs args;
	struct dn_tval input = run->block_input;
	int r = node->kid[0] ? dn_trun_eval(run, node->kid[0], &input) : 0;

	run->line = node->line;
	if (r == 0 && !node->callable)
		return dn_trun_fail(run, EINVAL, "no %s named '%.*s'",
				    node->kind == DN_N_FILTER ? "filter" : "test",
				    (int)node->value.s->size, node->value.s->data);
	if (r == 0)
		r = eval_args(run, node, near, &args);
	return r < 0 ? r : dn_trun_invoke(run, node->callable, &input, &args, ret);
}

static int eval_test(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	int r = eval_filter(run, node, ret);

	if (r == 0)
		*ret = dn_tval_bool(dn_tval_truth(ret) != node->negate);
	return r;
}

static int eval_chain(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval sum;
	int r = dn_trun_eval(run, node->kid[0], &sum);

	for (uint32_t i = 1; i < node->n && r == 0; i++) {
		struct dn_tval next;

		r = dn_trun_eval(run, node->kid[i], &next);
		run->line = node->kid[i]->line;
		if (r == 0)
			r = dn_tval_binary(run, node->ops[i - 1], &sum, &next, &sum);
	}
	if (r == 0)
		*ret = sum;
	return r;
}

static int eval_compare(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval left;
	bool holds = true;
	int r = dn_trun_eval(run, node->kid[0], &left);

	for (uint32_t i = 1; i < node->n && r == 0 && holds; i++) {
		struct dn_tval right;

		r = dn_trun_eval(run, node->kid[i], &right);
		run->line = node->kid[i]->line;
		if (r == 0)
			r = dn_tval_compare(run, node->ops[i - 1], &left, &right, &holds);
		left = right;
	}
	if (r == 0)
		*ret = dn_tval_bool(holds);
	return r;
}

/* The operand that decides, as in Python, and not its truth. */
static int eval_logic(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	bool stop = node->kind == DN_N_OR;
	int r = 0;

	for (uint32_t i = 0; i < node->n && r == 0; i++) {
		r = dn_trun_eval(run, node->kid[i], ret);
		if (r == 0 && dn_tval_truth(ret) == stop)
			break;
	}
	return r;
}

static int eval_not(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval v;
	int r = dn_trun_eval(run, node->kid[0], &v);

	if (r == 0)
		*ret = dn_tval_bool(!dn_tval_truth(&v));
	return r;
}

static int eval_sign(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval v;
	int r = dn_trun_eval(run, node->kid[0], &v);

	if (r == 0)
		r = dn_tval_negate(run, &v, ret);
	if (r == 0 && node->kind == DN_N_POS)
		*ret = v.type == DN_T_BOOL ? dn_tval_int(v.b) : v;
	return r;
}

static int eval_condition(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	struct dn_tval v;
	struct dn_tundef *u;
	int r = dn_trun_eval(run, node->kid[0], &v);

	if (r < 0)
		return r;
	if (dn_tval_truth(&v))
		return dn_trun_eval(run, node->kid[1], ret);
	if (node->kid[2])
		return dn_trun_eval(run, node->kid[2], ret);
	u = dn_trun_alloc(run, sizeof(*u));
	if (!u)
		return dn_trun_no_memory(run);
	*u = (struct dn_tundef){ .hint = "the inline if-expression evaluated to false and no else "
					 "section was defined" };
	*ret = (struct dn_tval){ .type = DN_T_UNDEFINED, .undef = u };
	return 0;
}

static int (*const kinds[DN_N_COUNT])(struct dn_trun *run, const struct dn_tnode *node,
				      struct dn_tval *ret) = {
	[DN_N_CONST] = eval_const,     [DN_N_NAME] = eval_name,	  [DN_N_LIST] = eval_items,
	[DN_N_TUPLE] = eval_items,     [DN_N_DICT] = eval_dict,	  [DN_N_ATTR] = eval_attribute,
	[DN_N_ITEM] = eval_item,       [DN_N_SLICE] = eval_slice, [DN_N_CALL] = eval_call,
	[DN_N_FILTER] = eval_filter,   [DN_N_TEST] = eval_test,	  [DN_N_CHAIN] = eval_chain,
	[DN_N_COMPARE] = eval_compare, [DN_N_AND] = eval_logic,	  [DN_N_OR] = eval_logic,
	[DN_N_NOT] = eval_not,	       [DN_N_NEG] = eval_sign,	  [DN_N_POS] = eval_sign,
	[DN_N_COND] = eval_condition,
};

int dn_trun_eval(struct dn_trun *run, const struct dn_tnode *node, struct dn_tval *ret)
{
	int r;

	run->line = node->line;
	r = dn_trun_work(run, 0);
	if (r < 0)
		return r;
	if (run->depth >= DN_TRUN_DEPTH)
		return dn_trun_fail(run, ELOOP, "the template nests deeper than %d", DN_TRUN_DEPTH);
	run->depth++;
	r = kinds[node->kind](run, node, ret);
	run->depth--;
	return r;
}
