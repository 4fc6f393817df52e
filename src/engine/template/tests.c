/* SPDX-License-Identifier: MIT */
/* What stands behind "is". */

#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

static int answer(struct dn_tval *ret, bool b)
{
	*ret = dn_tval_bool(b);
	return 0;
}

static int is_defined(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type != DN_T_UNDEFINED);
}

static int is_undefined(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_UNDEFINED);
}

static int is_none(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_NONE);
}

static int is_boolean(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_BOOL);
}

static int is_true(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_BOOL && call->self->b);
}

static int is_false(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_BOOL && !call->self->b);
}

static int is_integer(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_INT);
}

static int is_float(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_FLOAT);
}

static int is_number(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, dn_tval_is_number(call->self));
}

static int is_string(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_STR);
}

static int is_mapping(struct dn_tcall *call, struct dn_tval *ret)
{
	return answer(ret, call->self->type == DN_T_DICT);
}

static int is_sequence(struct dn_tcall *call, struct dn_tval *ret)
{
	uint8_t t = call->self->type;

	return answer(ret, t == DN_T_STR || t == DN_T_LIST || t == DN_T_TUPLE || t == DN_T_RANGE ||
				   t == DN_T_DICT || t == DN_T_UNDEFINED);
}

static int is_iterable(struct dn_tcall *call, struct dn_tval *ret)
{
	uint8_t t = call->self->type;

	return answer(ret, t == DN_T_STR || t == DN_T_LIST || t == DN_T_TUPLE || t == DN_T_RANGE ||
				   t == DN_T_DICT || t == DN_T_UNDEFINED || t == DN_T_ITER ||
				   t == DN_T_VIEW || t == DN_T_LOOP);
}

static int is_callable(struct dn_tcall *call, struct dn_tval *ret)
{
	uint8_t t = call->self->type;

	return answer(ret, t == DN_T_FUNCTION || t == DN_T_METHOD || t == DN_T_MACRO ||
				   t == DN_T_JOINER || t == DN_T_LOOP || t == DN_T_UNDEFINED);
}

/* self % divisor == rest */
static int leaves(struct dn_tcall *call, const struct dn_tval *divisor, int64_t wanted,
		  struct dn_tval *ret)
{
	struct dn_tval expected = dn_tval_int(wanted);
	struct dn_tval rest;
	bool equal = false;
	int r = dn_tval_binary(call->run, DN_OP_MOD, call->self, divisor, &rest);

	if (r == 0)
		r = dn_tval_equal(call->run, &rest, &expected, 0, &equal);
	return r < 0 ? r : answer(ret, equal);
}

static int is_even(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval two = dn_tval_int(2);

	return leaves(call, &two, 0, ret);
}

static int is_odd(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval two = dn_tval_int(2);

	return leaves(call, &two, 1, ret);
}

static int is_divisible(struct dn_tcall *call, struct dn_tval *ret)
{
	return leaves(call, call->arg[0], 0, ret);
}

static int compared(struct dn_tcall *call, enum dn_top op, struct dn_tval *ret)
{
	bool b = false;
	int r = dn_tval_compare(call->run, op, call->self, call->arg[0], &b);

	return r < 0 ? r : answer(ret, b);
}

static int is_eq(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_EQ, ret);
}

static int is_ne(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_NE, ret);
}

static int is_lt(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_LT, ret);
}

static int is_le(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_LE, ret);
}

static int is_gt(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_GT, ret);
}

static int is_ge(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_GE, ret);
}

static int is_in(struct dn_tcall *call, struct dn_tval *ret)
{
	return compared(call, DN_OP_IN, ret);
}

static int is_same(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *a = call->self;
	const struct dn_tval *b = call->arg[0];

	if (a->type != b->type)
		return answer(ret, false);
	if (a->type == DN_T_NONE)
		return answer(ret, true);
	if (a->type == DN_T_BOOL)
		return answer(ret, a->b == b->b);
	return answer(ret, a->i == b->i); /* the number, or the object's place */
}

/* What the searches of the tables of cases cost beside the decoding of a code point. */
#define CASE_COST 6

static int has_case(struct dn_tcall *call, bool upper, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	bool cased = false;
	uint32_t point;
	size_t n;
	int r = dn_tval_to_str(call->run, call->self, &s);

	if (r == 0)
		r = dn_tstr_flat(call->run, s);
	if (r == 0)
		r = dn_trun_work(call->run, CASE_COST * DN_TRUN_SLOW * s->size);
	for (size_t at = 0; r == 0 && at < s->size; at += n) {
		n = dn_utf8_decode(s->data + at, s->size - at, &point);
		if (point != (upper ? dn_point_upper(point) : dn_point_lower(point)))
			return answer(ret, false);
		cased |= dn_point_upper(point) != dn_point_lower(point);
	}
	return r < 0 ? r : answer(ret, cased);
}

static int is_lower(struct dn_tcall *call, struct dn_tval *ret)
{
	return has_case(call, false, ret);
}

static int is_upper(struct dn_tcall *call, struct dn_tval *ret)
{
	return has_case(call, true, ret);
}

static int is_filter(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;

	if (v->type != DN_T_STR || dn_tstr_flat(call->run, v->s) < 0)
		return answer(ret, false);
	return answer(ret, dn_tfilter_find(v->s->data, v->s->size) != NULL);
}

static int is_test(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;

	if (v->type != DN_T_STR || dn_tstr_flat(call->run, v->s) < 0)
		return answer(ret, false);
	return answer(ret, dn_ttest_find(v->s->data, v->s->size) != NULL);
}

static int is_escaped(struct dn_tcall *call, struct dn_tval *ret)
{
	(void)call;
	return answer(ret, false);
}

static const struct dn_tcallable tests[] = {
	{ "defined", "", 0, is_defined },   { "string", "", 0, is_string },
	{ "none", "", 0, is_none },	    { "undefined", "", 0, is_undefined },
	{ "mapping", "", 0, is_mapping },   { "iterable", "", 0, is_iterable },
	{ "sequence", "", 0, is_sequence }, { "number", "", 0, is_number },
	{ "integer", "", 0, is_integer },   { "float", "", 0, is_float },
	{ "boolean", "", 0, is_boolean },   { "true", "", 0, is_true },
	{ "false", "", 0, is_false },	    { "even", "", 0, is_even },
	{ "odd", "", 0, is_odd },	    { "divisibleby", "num", 1, is_divisible },
	{ "eq", "other", 1, is_eq },	    { "equalto", "other", 1, is_eq },
	{ "==", "other", 1, is_eq },	    { "ne", "other", 1, is_ne },
	{ "!=", "other", 1, is_ne },	    { "lt", "other", 1, is_lt },
	{ "lessthan", "other", 1, is_lt },  { "<", "other", 1, is_lt },
	{ "le", "other", 1, is_le },	    { "<=", "other", 1, is_le },
	{ "gt", "other", 1, is_gt },	    { "greaterthan", "other", 1, is_gt },
	{ ">", "other", 1, is_gt },	    { "ge", "other", 1, is_ge },
	{ ">=", "other", 1, is_ge },	    { "in", "seq", 1, is_in },
	{ "sameas", "other", 1, is_same },  { "callable", "", 0, is_callable },
	{ "lower", "", 0, is_lower },	    { "upper", "", 0, is_upper },
	{ "filter", "", 0, is_filter },	    { "test", "", 0, is_test },
	{ "escaped", "", 0, is_escaped },
};

const struct dn_tcallable *dn_ttest_find(const char *name, size_t size)
{
	return dn_tcallable_find(tests, DN_ARRAY_SIZE(tests), name, size);
}
