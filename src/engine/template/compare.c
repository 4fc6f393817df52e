/* SPDX-License-Identifier: MIT */
/* Equality, order and membership, as Python has them. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

static bool is_int(const struct dn_tval *v)
{
	return v->type == DN_T_BOOL || v->type == DN_T_INT;
}

static int64_t as_int(const struct dn_tval *v)
{
	return v->type == DN_T_BOOL ? v->b : v->i;
}

static int fail_depth(struct dn_trun *run)
{
	return dn_trun_fail(run, EINVAL, "compared values are nested deeper than %d",
			    DN_TVAL_DEPTH);
}

static int str_equal(struct dn_trun *run, struct dn_tstr *a, struct dn_tstr *b, bool *ret)
{
	int r;

	*ret = a == b;
	if (a == b || a->size != b->size)
		return 0;
	r = dn_tstr_flat(run, a);
	if (r == 0)
		r = dn_tstr_flat(run, b);
	if (r == 0)
		r = dn_trun_work(run, a->size);
	if (r == 0)
		*ret = memcmp(a->data, b->data, a->size) == 0;
	return r;
}

static int list_equal(struct dn_trun *run, const struct dn_tlist *a, const struct dn_tlist *b,
		      unsigned int depth, bool *ret)
{
	int r = 0;

	*ret = a->count == b->count;
	for (size_t i = 0; i < a->count && r == 0 && *ret; i++) {
		r = dn_trun_work(run, 0);
		if (r == 0)
			r = dn_tval_equal(run, &a->items[i], &b->items[i], depth + 1, ret);
	}
	return r;
}

static int dict_equal(struct dn_trun *run, const struct dn_tdict *a, const struct dn_tdict *b,
		      unsigned int depth, bool *ret)
{
	int r = 0;

	*ret = a->count == b->count;
	for (size_t i = 0; i < a->count && r == 0 && *ret; i++) {
		struct dn_tval *other;

		r = dn_tdict_get(run, b, &a->entries[i].key, &other);
		if (r == 0 && other)
			r = dn_tval_equal(run, &a->entries[i].value, other, depth + 1, ret);
		else
			*ret = false;
	}
	return r;
}

int dn_tval_equal(struct dn_trun *run, const struct dn_tval *a, const struct dn_tval *b,
		  unsigned int depth, bool *ret)
{
	int r;

	if (is_int(a) && is_int(b)) {
		*ret = as_int(a) == as_int(b);
		return 0;
	}
	if (dn_tval_is_number(a) && dn_tval_is_number(b)) {
		*ret = dn_tval_number(a) == dn_tval_number(b);
		return 0;
	}
	*ret = false;
	if (a->type != b->type)
		return 0;
	if (depth > DN_TVAL_DEPTH)
		return fail_depth(run);
	r = dn_trun_work(run, 1);
	if (r < 0)
		return r;
	switch (a->type) {
	case DN_T_UNDEFINED:
	case DN_T_NONE:
		*ret = true;
		return 0;
	case DN_T_STR:
		return str_equal(run, a->s, b->s, ret);
	case DN_T_LIST:
	case DN_T_TUPLE:
		return list_equal(run, a->list, b->list, depth, ret);
	case DN_T_DICT:
		return dict_equal(run, a->dict, b->dict, depth, ret);
	case DN_T_RANGE:
		*ret = a->range->count == b->range->count &&
		       (a->range->count == 0 ||
			(a->range->start == b->range->start &&
			 (a->range->count == 1 || a->range->step == b->range->step)));
		return 0;
	default:
		*ret = a->list == b->list; /* the same object */
		return 0;
	}
}

static int str_order(struct dn_trun *run, struct dn_tstr *a, struct dn_tstr *b, int *ret)
{
	int r = dn_tstr_flat(run, a);

	if (r == 0)
		r = dn_tstr_flat(run, b);
	if (r == 0)
		r = dn_trun_work(run, DN_MIN(a->size, b->size));
	if (r < 0)
		return r;
	/* The bytes of UTF-8 are in the order of the code points. */
	*ret = memcmp(a->data, b->data, DN_MIN(a->size, b->size));
	if (*ret == 0)
		*ret = (a->size > b->size) - (a->size < b->size);
	return 0;
}

int dn_tval_order(struct dn_trun *run, const struct dn_tval *a, const struct dn_tval *b,
		  const char *op, unsigned int depth, int *ret)
{
	int r = 0;

	if (is_int(a) && is_int(b)) {
		*ret = (as_int(a) > as_int(b)) - (as_int(a) < as_int(b));
		return 0;
	}
	if (dn_tval_is_number(a) && dn_tval_is_number(b)) {
		*ret = (dn_tval_number(a) > dn_tval_number(b)) -
		       (dn_tval_number(a) < dn_tval_number(b));
		return 0;
	}
	if (a->type == DN_T_STR && b->type == DN_T_STR)
		return str_order(run, a->s, b->s, ret);
	if (a->type == b->type && (a->type == DN_T_LIST || a->type == DN_T_TUPLE)) {
		size_t n = DN_MIN(a->list->count, b->list->count);

		if (depth > DN_TVAL_DEPTH)
			return fail_depth(run);
		for (size_t i = 0; i < n; i++) {
			bool equal = false;

			r = dn_trun_work(run, 0);
			if (r < 0)
				return r;
			r = dn_tval_equal(run, &a->list->items[i], &b->list->items[i], depth + 1,
					  &equal);
			if (r < 0)
				return r;
			if (!equal)
				return dn_tval_order(run, &a->list->items[i], &b->list->items[i],
						     op, depth + 1, ret);
		}
		*ret = (a->list->count > b->list->count) - (a->list->count < b->list->count);
		return 0;
	}
	if (a->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, a);
	if (b->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, b);
	return dn_trun_fail(run, EINVAL, "'%s' not supported between instances of '%s' and '%s'",
			    op, dn_tval_type_name(a), dn_tval_type_name(b));
}

static int str_contains(struct dn_trun *run, struct dn_tstr *s, const struct dn_tval *needle,
			bool *ret)
{
	int r;

	if (needle->type != DN_T_STR)
		return dn_trun_fail(run, EINVAL,
				    "'in <string>' requires string as left operand, not %s",
				    dn_tval_type_name(needle));
	r = dn_tstr_flat(run, s);
	if (r == 0)
		r = dn_tstr_flat(run, needle->s);
	if (r == 0)
		r = dn_trun_work(run, s->size);
	if (r == 0)
		*ret = needle->s->size == 0 ||
		       memmem(s->data, s->size, needle->s->data, needle->s->size) != NULL;
	return r;
}

int dn_tval_contains(struct dn_trun *run, const struct dn_tval *haystack,
		     const struct dn_tval *needle, bool *ret)
{
	struct dn_tval *value;
	struct dn_tseq seq = { 0 };
	int r;

	if (haystack->type == DN_T_STR)
		return str_contains(run, haystack->s, needle, ret);
	if (haystack->type == DN_T_DICT) {
		r = dn_tdict_get(run, haystack->dict, needle, &value);
		*ret = r == 0 && value;
		return r;
	}
	if (haystack->type == DN_T_NONE || dn_tval_is_number(haystack))
		return dn_trun_fail(run, EINVAL, "argument of type '%s' is not iterable",
				    dn_tval_type_name(haystack));
	r = dn_tseq_of(run, haystack, &seq);
	*ret = false;
	for (size_t i = 0; i < seq.count && r == 0 && !*ret; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);

		r = dn_trun_work(run, 1);
		if (r == 0)
			r = dn_tval_equal(run, &item, needle, 0, ret);
	}
	return r;
}

int dn_tval_compare(struct dn_trun *run, enum dn_top op, const struct dn_tval *a,
		    const struct dn_tval *b, bool *ret)
{
	static const char *const names[] = {
		[DN_OP_LT] = "<", [DN_OP_LE] = "<=", [DN_OP_GT] = ">", [DN_OP_GE] = ">="
	};
	bool unordered = dn_tval_is_number(a) && dn_tval_is_number(b) &&
			 (isnan(dn_tval_number(a)) || isnan(dn_tval_number(b)));
	int order = 0;
	int r;

	switch (op) {
	case DN_OP_EQ:
	case DN_OP_NE:
		r = dn_tval_equal(run, a, b, 0, ret);
		*ret = r == 0 && *ret == (op == DN_OP_EQ);
		return r;
	case DN_OP_IN:
	case DN_OP_NOT_IN:
		r = dn_tval_contains(run, b, a, ret);
		*ret = r == 0 && *ret == (op == DN_OP_IN);
		return r;
	default:
		break;
	}
	*ret = false;
	if (unordered)
		return 0;
	r = dn_tval_order(run, a, b, names[op], 0, &order);
	*ret = op == DN_OP_LT	? order < 0
	       : op == DN_OP_LE ? order <= 0
	       : op == DN_OP_GT ? order > 0
				: order >= 0;
	return r;
}
