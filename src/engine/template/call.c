/* SPDX-License-Identifier: MIT */
/* Calls: arguments are bound to the parameters that a table names. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

const struct dn_tcallable *dn_tcallable_find(const struct dn_tcallable *table, size_t n,
					     const char *name, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		if (strncmp(table[i].name, name, size) == 0 && table[i].name[size] == '\0')
			return &table[i];
	}
	return NULL;
}

/* How many parameters there are before a '*'. */
static size_t count_params(const char *params, bool *ret_any)
{
	size_t n = 0;

	*ret_any = false;
	while (*params) {
		if (*params == '*') {
			*ret_any = true;
			return n;
		}
		n++;
		params = strchr(params, ',');
		if (!params)
			return n;
		params++;
	}
	return n;
}

/* The position of a parameter; SIZE_MAX when there is none of that name. */
static size_t find_param(const char *params, const struct dn_tstr *name)
{
	for (size_t i = 0; *params && *params != '*'; i++) {
		size_t n = strcspn(params, ",");

		if (n == name->size && memcmp(params, name->data, n) == 0)
			return i;
		params += n;
		params += *params == ',';
	}
	return SIZE_MAX;
}

static int bind(struct dn_tcall *call)
{
	const struct dn_tcallable *callable = call->callable;
	const struct dn_targs *args = call->args;
	size_t positional = args->n - args->n_named;
	bool any = false;
	size_t n = count_params(callable->params, &any);

	if (positional > n && !any)
		return dn_trun_fail(call->run, EINVAL, "%s() takes at most %zu argument(s)",
				    callable->name, n);
	for (size_t i = 0; i < positional && i < n; i++)
		call->arg[i] = &args->values[i];
	for (size_t k = 0; k < args->n_named; k++) {
		size_t i = find_param(callable->params, args->names[k]);

		if (i == SIZE_MAX && any)
			continue;
		if (i == SIZE_MAX || call->arg[i])
			return dn_trun_fail(call->run, EINVAL, "%s() got %s argument '%.*s'",
					    callable->name,
					    i == SIZE_MAX ? "an unexpected" : "twice the",
					    (int)args->names[k]->size, args->names[k]->data);
		call->arg[i] = &args->values[positional + k];
	}
	for (unsigned int i = 0; i < callable->required; i++) {
		if (!call->arg[i])
			return dn_trun_fail(call->run, EINVAL, "%s() needs %u argument(s)",
					    callable->name, callable->required);
	}
	return 0;
}

int dn_trun_invoke(struct dn_trun *run, const struct dn_tcallable *callable,
		   const struct dn_tval *self, const struct dn_targs *args, struct dn_tval *ret)
{
	struct dn_tcall call = { .run = run, .callable = callable, .self = self, .args = args };
	struct dn_tval result = { .type = DN_T_NONE };
	int r = dn_trun_work(run, 0);

	if (r == 0)
		r = bind(&call);
	if (r == 0)
		r = callable->run(&call, &result);
	if (r == 0)
		*ret = result;
	return r;
}

static int call_joiner(struct dn_tlist *joiner, struct dn_tval *ret)
{
	*ret = joiner->taken == 0 ? dn_tval_str(dn_tstr_empty()) : joiner->items[0];
	joiner->taken = 1;
	return 0;
}

int dn_trun_call(struct dn_trun *run, const struct dn_tval *callee, const struct dn_targs *args,
		 struct dn_tval *ret)
{
	switch (callee->type) {
	case DN_T_FUNCTION:
		return dn_trun_invoke(run, callee->function, NULL, args, ret);
	case DN_T_METHOD:
		return dn_trun_invoke(run, callee->method->callable, &callee->method->self, args,
				      ret);
	case DN_T_MACRO:
		return dn_trun_call_macro(run, callee->macro, args, ret);
	case DN_T_JOINER:
		return call_joiner(callee->list, ret);
	case DN_T_UNDEFINED:
		return dn_tval_fail_undefined(run, callee);
	case DN_T_LOOP:
		return dn_trun_fail(run, EINVAL, "recursive loops are not supported");
	default:
		return dn_trun_fail(run, EINVAL, "'%s' object is not callable",
				    dn_tval_type_name(callee));
	}
}

int dn_targ_int(struct dn_tcall *call, size_t i, int64_t fallback, int64_t *ret)
{
	const struct dn_tval *v = call->arg[i];

	*ret = fallback;
	if (!v || v->type == DN_T_NONE)
		return 0;
	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, v);
	if (v->type != DN_T_INT && v->type != DN_T_BOOL)
		return dn_trun_fail(call->run, EINVAL, "%s(): expected an integer, got '%s'",
				    call->callable->name, dn_tval_type_name(v));
	*ret = v->type == DN_T_INT ? v->i : v->b;
	return 0;
}

int dn_targ_str(struct dn_tcall *call, size_t i, struct dn_tstr **ret)
{
	const struct dn_tval *v = call->arg[i];

	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, v);
	if (v->type != DN_T_STR)
		return dn_trun_fail(call->run, EINVAL, "%s(): expected a string, got '%s'",
				    call->callable->name, dn_tval_type_name(v));
	*ret = v->s;
	return dn_tstr_flat(call->run, v->s);
}

bool dn_targ_true(const struct dn_tcall *call, size_t i)
{
	return call->arg[i] && dn_tval_truth(call->arg[i]);
}
