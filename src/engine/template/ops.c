/* SPDX-License-Identifier: MIT */
/* Operators on values: arithmetic, truth, names of types. Integers are 64 bits; beyond is an error. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

static const char *const op_names[] = {
	[DN_OP_ADD] = "+", [DN_OP_SUB] = "-",	    [DN_OP_MUL] = "*",		 [DN_OP_DIV] = "/",
	[DN_OP_MOD] = "%", [DN_OP_FLOORDIV] = "//", [DN_OP_POW] = "** or pow()",
};

const char *dn_tval_type_name(const struct dn_tval *v)
{
	static const char *const names[] = {
		[DN_T_UNDEFINED] = "Undefined", [DN_T_NONE] = "NoneType",
		[DN_T_BOOL] = "bool",		[DN_T_INT] = "int",
		[DN_T_FLOAT] = "float",		[DN_T_STR] = "str",
		[DN_T_LIST] = "list",		[DN_T_TUPLE] = "tuple",
		[DN_T_ITER] = "generator",	[DN_T_RANGE] = "range",
		[DN_T_DICT] = "dict",		[DN_T_NAMESPACE] = "Namespace",
		[DN_T_FUNCTION] = "function",	[DN_T_METHOD] = "method",
		[DN_T_MACRO] = "Macro",		[DN_T_LOOP] = "LoopContext",
		[DN_T_CYCLER] = "Cycler",	[DN_T_JOINER] = "Joiner",
	};

	if (v->type == DN_T_VIEW)
		return v->list->kind;
	return names[v->type];
}

bool dn_tval_is_number(const struct dn_tval *v)
{
	return v->type == DN_T_BOOL || v->type == DN_T_INT || v->type == DN_T_FLOAT;
}

static int64_t as_int(const struct dn_tval *v)
{
	return v->type == DN_T_BOOL ? v->b : v->i;
}

double dn_tval_number(const struct dn_tval *v)
{
	return v->type == DN_T_FLOAT ? v->f : (double)as_int(v);
}

bool dn_tval_truth(const struct dn_tval *v)
{
	switch (v->type) {
	case DN_T_UNDEFINED:
	case DN_T_NONE:
		return false;
	case DN_T_BOOL:
		return v->b;
	case DN_T_INT:
		return v->i != 0;
	case DN_T_FLOAT:
		return v->f != 0;
	case DN_T_STR:
		return v->s->size > 0;
	case DN_T_LIST:
	case DN_T_TUPLE:
	case DN_T_VIEW:
		return v->list->count > 0;
	case DN_T_RANGE:
		return v->range->count > 0;
	case DN_T_DICT:
		return v->dict->count > 0;
	default:
		return true;
	}
}

void dn_tval_report_undefined(struct dn_trun *run, const struct dn_tval *v)
{
	const struct dn_tundef *u = v->undef;
	const char *name = "";
	int size = 0;

	if (u && u->name.type == DN_T_STR && dn_tstr_flat(run, u->name.s) == 0) {
		name = u->name.s->data;
		size = (int)DN_MIN(u->name.s->size, (size_t)100);
	}
	if (!u)
		dn_trun_report(run, EINVAL, "a value is undefined");
	else if (u->hint)
		dn_trun_report(run, EINVAL, "%s", u->hint);
	else if (u->object.type == DN_T_UNDEFINED)
		dn_trun_report(run, EINVAL, "'%.*s' is undefined", size, name);
	else if (u->name.type == DN_T_INT)
		dn_trun_report(run, EINVAL, "%s object has no element %lld",
			       dn_tval_type_name(&u->object), (long long)u->name.i);
	else if (u->object.type == DN_T_NONE)
		dn_trun_report(run, EINVAL, "'None' has no attribute '%.*s'", size, name);
	else
		dn_trun_report(run, EINVAL, "'%s object' has no attribute '%.*s'",
			       dn_tval_type_name(&u->object), size, name);
}

int dn_tval_undefined(struct dn_trun *run, const struct dn_tval *object, const struct dn_tval *name,
		      struct dn_tval *ret)
{
	struct dn_tundef *u = dn_trun_alloc(run, sizeof(*u));

	if (!u)
		return dn_trun_no_memory(run);
	*u = (struct dn_tundef){ .name = *name };
	if (object)
		u->object = *object;
	*ret = (struct dn_tval){ .type = DN_T_UNDEFINED, .undef = u };
	return 0;
}

static int fail_operands(struct dn_trun *run, enum dn_top op, const struct dn_tval *a,
			 const struct dn_tval *b)
{
	if (a->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, a);
	if (b->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, b);
	if (op == DN_OP_ADD && (a->type == DN_T_STR || a->type == DN_T_LIST))
		return dn_trun_fail(run, EINVAL, "can only concatenate %s (not \"%s\") to %s",
				    dn_tval_type_name(a), dn_tval_type_name(b),
				    dn_tval_type_name(a));
	return dn_trun_fail(run, EINVAL, "unsupported operand type(s) for %s: '%s' and '%s'",
			    op_names[op], dn_tval_type_name(a), dn_tval_type_name(b));
}

static int fail_overflow(struct dn_trun *run)
{
	return dn_trun_fail(run, EINVAL, "the result is too large: integers have 64 bits");
}

static int fail_zero(struct dn_trun *run)
{
	return dn_trun_fail(run, EINVAL, "division by zero");
}

static int int_power(struct dn_trun *run, int64_t base, int64_t exponent, struct dn_tval *ret)
{
	int64_t power = 1;

	if (exponent < 0 && base == 0)
		return fail_zero(run);
	if (exponent < 0) {
		*ret = dn_tval_float(pow((double)base, (double)exponent));
		return 0;
	}
	while (exponent > 0) {
		if ((exponent & 1) && !dn_mul_ok(power, base, &power))
			return fail_overflow(run);
		exponent >>= 1;
		if (exponent > 0 && !dn_mul_ok(base, base, &base))
			return fail_overflow(run);
	}
	*ret = dn_tval_int(power);
	return 0;
}

/* The remainder has the sign of the divisor, and the quotient is rounded down. */
static int int_divide(struct dn_trun *run, enum dn_top op, int64_t a, int64_t b,
		      struct dn_tval *ret)
{
	int64_t rest = 0;

	if (b == 0)
		return fail_zero(run);
	if (op == DN_OP_DIV) {
		*ret = dn_tval_float((double)a / (double)b);
		return 0;
	}
	if (b == -1) {
		if (op == DN_OP_FLOORDIV && a == INT64_MIN)
			return fail_overflow(run);
		*ret = dn_tval_int(op == DN_OP_FLOORDIV ? -a : 0);
		return 0;
	}
	rest = a % b;
	if (rest != 0 && (rest < 0) != (b < 0))
		*ret = dn_tval_int(op == DN_OP_MOD ? rest + b : a / b - 1);
	else
		*ret = dn_tval_int(op == DN_OP_MOD ? rest : a / b);
	return 0;
}

static int int_binary(struct dn_trun *run, enum dn_top op, int64_t a, int64_t b,
		      struct dn_tval *ret)
{
	int64_t result = 0;
	bool ok = true;

	switch (op) {
	case DN_OP_ADD:
		ok = dn_add_ok(a, b, &result);
		break;
	case DN_OP_SUB:
		ok = !__builtin_sub_overflow(a, b, &result);
		break;
	case DN_OP_MUL:
		ok = dn_mul_ok(a, b, &result);
		break;
	case DN_OP_POW:
		return int_power(run, a, b, ret);
	default:
		return int_divide(run, op, a, b, ret);
	}
	*ret = dn_tval_int(result);
	return ok ? 0 : fail_overflow(run);
}

static double float_mod(double a, double b)
{
	double rest = fmod(a, b);

	if (rest != 0 && (rest < 0) != (b < 0))
		return rest + b;
	return rest == 0 ? copysign(0.0, b) : rest;
}

static int float_power(struct dn_trun *run, double a, double b, struct dn_tval *ret)
{
	double power;

	if (a == 0 && b < 0)
		return fail_zero(run);
	if (a < 0 && isfinite(b) && b != floor(b))
		return dn_trun_fail(run, EINVAL, "a power would be a complex number");
	power = pow(a, b);
	if (isinf(power) && isfinite(a) && isfinite(b))
		return dn_trun_fail(run, EINVAL, "the result of a power is too large");
	*ret = dn_tval_float(power);
	return 0;
}

static int float_binary(struct dn_trun *run, enum dn_top op, double a, double b,
			struct dn_tval *ret)
{
	double result = 0;
	double rest;

	if (b == 0 && (op == DN_OP_DIV || op == DN_OP_FLOORDIV || op == DN_OP_MOD))
		return fail_zero(run);
	switch (op) {
	case DN_OP_ADD:
		result = a + b;
		break;
	case DN_OP_SUB:
		result = a - b;
		break;
	case DN_OP_MUL:
		result = a * b;
		break;
	case DN_OP_DIV:
		result = a / b;
		break;
	case DN_OP_MOD:
		result = float_mod(a, b);
		break;
	case DN_OP_FLOORDIV:
		rest = float_mod(a, b);
		result = (a - rest) / b;
		/* The quotient is a whole number but for its rounding. */
		result = result == 0 ? copysign(0.0, a / b) : floor(result + 0.5);
		break;
	default:
		return float_power(run, a, b, ret);
	}
	*ret = dn_tval_float(result);
	return 0;
}

static int repeat(struct dn_trun *run, const struct dn_tval *v, int64_t times, struct dn_tval *ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	struct dn_tlist *list = NULL;
	size_t count;
	int r = 0;

	times = DN_MAX(times, (int64_t)0);
	if (v->type == DN_T_STR) {
		if (!dn_mul_ok(v->s->size, (size_t)times, &count) || count > DN_TSTR_MAX)
			return dn_trun_fail(run, E2BIG, "a repeated string is above %zu bytes",
					    DN_TSTR_MAX);
		if (count > 0)
			r = dn_tbuild_str(&b, v->s);
		/* What is there doubles; the arena keeps it in its place while it is copied. */
		while (r == 0 && b.size < count)
			r = dn_tbuild_add(&b, b.data, DN_MIN(b.size, count - b.size),
					  (enum dn_trust)b.trust, b.marks);
		ret->type = DN_T_STR;
		return r < 0 ? r : dn_tbuild_end(&b, &ret->s);
	}
	if (!dn_mul_ok(v->list->count, (size_t)times, &count))
		count = SIZE_MAX;
	r = dn_tlist_new(run, count, &list);
	for (size_t i = 0; i < count && r == 0; i++) {
		r = dn_trun_work(run, sizeof(*list->items));
		if (r == 0)
			r = dn_tlist_add(run, list, v->list->items[i % v->list->count]);
	}
	*ret = dn_tval_list((enum dn_ttype)v->type, list);
	return r;
}

static int add_lists(struct dn_trun *run, const struct dn_tval *a, const struct dn_tval *b,
		     struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, a->list->count + b->list->count, &list);

	if (r == 0)
		r = dn_trun_work(run, (a->list->count + b->list->count) * sizeof(*list->items));
	for (size_t i = 0; i < a->list->count && r == 0; i++)
		r = dn_tlist_add(run, list, a->list->items[i]);
	for (size_t i = 0; i < b->list->count && r == 0; i++)
		r = dn_tlist_add(run, list, b->list->items[i]);
	*ret = dn_tval_list((enum dn_ttype)a->type, list);
	return r;
}

static int concat_text(struct dn_trun *run, const struct dn_tval *a, const struct dn_tval *b,
		       struct dn_tval *ret)
{
	struct dn_tstr *left = NULL;
	struct dn_tstr *right = NULL;
	int r = dn_tval_to_str(run, a, &left);

	if (r == 0)
		r = dn_tval_to_str(run, b, &right);
	if (r < 0)
		return r;
	ret->type = DN_T_STR;
	ret->literal = false;
	return dn_tstr_concat(run, left, right, &ret->s);
}

static bool is_int(const struct dn_tval *v)
{
	return v->type == DN_T_BOOL || v->type == DN_T_INT;
}

static bool can_repeat(const struct dn_tval *v)
{
	return v->type == DN_T_STR || v->type == DN_T_LIST || v->type == DN_T_TUPLE;
}

int dn_tval_binary(struct dn_trun *run, enum dn_top op, const struct dn_tval *a,
		   const struct dn_tval *b, struct dn_tval *ret)
{
	struct dn_tval result = { .type = DN_T_NONE };
	int r;

	if (op == DN_OP_CONCAT || (op == DN_OP_ADD && a->type == DN_T_STR && b->type == DN_T_STR))
		r = concat_text(run, a, b, &result);
	else if (is_int(a) && is_int(b))
		r = int_binary(run, op, as_int(a), as_int(b), &result);
	else if (dn_tval_is_number(a) && dn_tval_is_number(b))
		r = float_binary(run, op, dn_tval_number(a), dn_tval_number(b), &result);
	else if (op == DN_OP_ADD && a->type == b->type &&
		 (a->type == DN_T_LIST || a->type == DN_T_TUPLE))
		r = add_lists(run, a, b, &result);
	else if (op == DN_OP_MUL && can_repeat(a) && is_int(b))
		r = repeat(run, a, as_int(b), &result);
	else if (op == DN_OP_MUL && can_repeat(b) && is_int(a))
		r = repeat(run, b, as_int(a), &result);
	else if (op == DN_OP_MOD && a->type == DN_T_STR)
		r = dn_tstr_percent(run, a->s, b, &result);
	else
		r = fail_operands(run, op, a, b);
	if (r == 0)
		*ret = result;
	return r;
}

int dn_tval_negate(struct dn_trun *run, const struct dn_tval *v, struct dn_tval *ret)
{
	if (v->type == DN_T_FLOAT) {
		*ret = dn_tval_float(-v->f);
		return 0;
	}
	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, v);
	if (!is_int(v))
		return dn_trun_fail(run, EINVAL, "bad operand type for unary -: '%s'",
				    dn_tval_type_name(v));
	if (as_int(v) == INT64_MIN)
		return fail_overflow(run);
	*ret = dn_tval_int(-as_int(v));
	return 0;
}
