/* SPDX-License-Identifier: MIT */
/* Filters on lists and dictionaries. What is a generator in Jinja can be read once here, too. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

static int give_list(struct dn_tval *ret, enum dn_ttype type, struct dn_tlist *list)
{
	*ret = dn_tval_list(type, list);
	return 0;
}

static int undefined_hint(struct dn_trun *run, const char *hint, struct dn_tval *ret)
{
	struct dn_tundef *u = dn_trun_alloc(run, sizeof(*u));

	if (!u)
		return dn_trun_no_memory(run);
	*u = (struct dn_tundef){ .hint = hint };
	*ret = (struct dn_tval){ .type = DN_T_UNDEFINED, .undef = u };
	return 0;
}

static int filter_sort(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r < 0)
		return r;
	return dn_tseq_sorted(call->run, &seq, call->arg[2], dn_targ_true(call, 1),
			      dn_targ_true(call, 0), ret);
}

/* Key and value of each entry, as tuples. */
static int pairs(struct dn_trun *run, const struct dn_tdict *dict, struct dn_tlist **ret)
{
	int r = dn_tlist_new(run, dict->count, ret);

	for (size_t i = 0; i < dict->count && r == 0; i++) {
		struct dn_tlist *pair = NULL;

		r = dn_tlist_new(run, 2, &pair);
		if (r == 0)
			r = dn_tlist_add(run, pair, dict->entries[i].key);
		if (r == 0)
			r = dn_tlist_add(run, pair, dict->entries[i].value);
		if (r == 0)
			r = dn_tlist_add(run, *ret, dn_tval_list(DN_T_TUPLE, pair));
	}
	return r;
}

static int filter_dictsort(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval by = dn_tval_int(0);
	struct dn_tstr *name = NULL;
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r;

	if (call->self->type != DN_T_DICT)
		return dn_trun_fail(call->run, EINVAL, "dictsort: expected a mapping, got '%s'",
				    dn_tval_type_name(call->self));
	if (call->arg[1]) {
		r = dn_targ_str(call, 1, &name);
		if (r < 0)
			return r;
		by.i = name->size == 5 && memcmp(name->data, "value", 5) == 0;
		if (!by.i && (name->size != 3 || memcmp(name->data, "key", 3) != 0))
			return dn_trun_fail(call->run, EINVAL,
					    "dictsort: sorts by 'key' or 'value'");
	}
	r = pairs(call->run, call->self->dict, &list);
	if (r < 0)
		return r;
	seq = (struct dn_tseq){ .items = list->items, .count = list->count };
	return dn_tseq_sorted(call->run, &seq, &by, dn_targ_true(call, 0), dn_targ_true(call, 2),
			      ret);
}

static int filter_items(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	int r;

	if (call->self->type == DN_T_UNDEFINED)
		r = dn_tlist_new(call->run, 0, &list);
	else if (call->self->type == DN_T_DICT)
		r = pairs(call->run, call->self->dict, &list);
	else
		return dn_trun_fail(call->run, EINVAL, "items: expected a mapping, got '%s'",
				    dn_tval_type_name(call->self));
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

static int filter_length(struct dn_tcall *call, struct dn_tval *ret)
{
	size_t n;
	int r = dn_tval_length(call->run, call->self, &n);

	if (r == 0)
		*ret = dn_tval_int((int64_t)n);
	return r;
}

static int filter_first(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;
	struct dn_tseq seq = { 0 };
	int r;

	if (v->type == DN_T_ITER && v->list->taken < v->list->count) {
		*ret = v->list->items[v->list->taken++];
		return 0;
	}
	r = dn_tseq_of(call->run, v, &seq);
	if (r < 0)
		return r;
	if (seq.count == 0)
		return undefined_hint(call->run, "No first item, sequence was empty.", ret);
	*ret = dn_tseq_at(&seq, 0);
	return 0;
}

static int filter_last(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tseq seq = { 0 };
	int r;

	if (call->self->type == DN_T_ITER)
		return dn_trun_fail(call->run, EINVAL, "'generator' object is not reversible");
	r = dn_tseq_of(call->run, call->self, &seq);
	if (r < 0)
		return r;
	if (seq.count == 0)
		return undefined_hint(call->run, "No last item, sequence was empty.", ret);
	*ret = dn_tseq_at(&seq, seq.count - 1);
	return 0;
}

static int filter_list(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r == 0)
		r = dn_tseq_list(call->run, &seq, &list);
	return r < 0 ? r : give_list(ret, DN_T_LIST, list);
}

static int filter_reverse(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval parts[3] = { dn_tval_none(), dn_tval_none(), dn_tval_int(-1) };
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r;

	if (call->self->type == DN_T_STR)
		return dn_tval_slice(call->run, call->self, parts, ret);
	r = dn_tseq_of(call->run, call->self, &seq);
	if (r == 0)
		r = dn_tseq_list(call->run, &seq, &list);
	for (size_t i = 0; r == 0 && i < seq.count; i++)
		list->items[i] = dn_tseq_at(&seq, seq.count - 1 - i);
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

static int filter_unique(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tdict *seen = NULL;
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r == 0)
		r = dn_tdict_new(call->run, 0, &seen);
	if (r == 0)
		r = dn_tlist_new(call->run, 0, &list);
	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);
		struct dn_tval *before = NULL;
		struct dn_tval key = dn_tval_none();

		r = dn_trun_work(call->run, 0);
		if (r == 0)
			r = dn_tval_key(call->run, &item, call->arg[1], dn_targ_true(call, 0),
					&key);
		if (r == 0)
			r = dn_tdict_get(call->run, seen, &key, &before);
		if (r < 0 || before)
			continue;
		r = dn_tdict_set(call->run, seen, key, dn_tval_none());
		if (r == 0)
			r = dn_tlist_add(call->run, list, item);
	}
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

static int extreme(struct dn_tcall *call, int sign, struct dn_tval *ret)
{
	struct dn_tval best_key = dn_tval_none();
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r == 0 && seq.count == 0)
		return undefined_hint(call->run, "No aggregated item, sequence was empty.", ret);
	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);
		struct dn_tval key;
		int order = sign;

		r = dn_trun_work(call->run, 0);
		if (r == 0)
			r = dn_tval_key(call->run, &item, call->arg[1], dn_targ_true(call, 0),
					&key);
		if (r == 0 && i > 0)
			r = dn_tval_order(call->run, &key, &best_key, sign > 0 ? ">" : "<", 0,
					  &order);
		if (r == 0 && (i == 0 || (sign > 0 ? order > 0 : order < 0))) {
			best_key = key;
			*ret = item;
		}
	}
	return r;
}

static int filter_min(struct dn_tcall *call, struct dn_tval *ret)
{
	return extreme(call, -1, ret);
}

static int filter_max(struct dn_tcall *call, struct dn_tval *ret)
{
	return extreme(call, 1, ret);
}

static int filter_sum(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval sum = call->arg[1] ? *call->arg[1] : dn_tval_int(0);
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);

		r = dn_trun_work(call->run, 0);
		if (r == 0)
			r = dn_tval_reach(call->run, &item, call->arg[0], &item);
		if (r == 0)
			r = dn_tval_binary(call->run, DN_OP_ADD, &sum, &item, &sum);
	}
	*ret = sum;
	return r;
}

static int filter_join(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *glue = dn_tstr_empty();
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r == 0 && call->arg[0])
		r = dn_tval_to_str(call->run, call->arg[0], &glue);
	if (r == 0 && call->arg[1]) {
		r = dn_tseq_list(call->run, &seq, &list);
		for (size_t i = 0; r == 0 && i < list->count; i++)
			r = dn_tval_reach(call->run, &list->items[i], call->arg[1],
					  &list->items[i]);
		if (r == 0)
			seq = (struct dn_tseq){ .items = list->items, .count = list->count };
	}
	*ret = dn_tval_str(NULL);
	return r < 0 ? r : dn_tstr_join(call->run, glue, &seq, false, &ret->s);
}

/* What map, select and the like walk over: of what is false, nothing. */
static int chosen_from(struct dn_tcall *call, struct dn_tseq *ret)
{
	*ret = (struct dn_tseq){ 0 };
	return dn_tval_truth(call->self) ? dn_tseq_of(call->run, call->self, ret) : 0;
}

/* Arguments of the filter or test that map, select and the like are given: those from @skip on. */
static struct dn_targs rest_of(const struct dn_targs *args, size_t skip)
{
	struct dn_targs rest = *args;

	rest.values += skip;
	rest.n -= skip;
	return rest;
}

static int named_callable(struct dn_tcall *call, const struct dn_tval *name, bool test,
			  const struct dn_tcallable **ret)
{
	int r;

	if (name->type != DN_T_STR)
		return dn_trun_fail(call->run, EINVAL, "%s: the name of a %s is a string",
				    call->callable->name, test ? "test" : "filter");
	r = dn_tstr_flat(call->run, name->s);
	if (r < 0)
		return r;
	*ret = test ? dn_ttest_find(name->s->data, name->s->size)
		    : dn_tfilter_find(name->s->data, name->s->size);
	if (!*ret)
		return dn_trun_fail(call->run, EINVAL, "no %s named '%.*s'",
				    test ? "test" : "filter",
				    (int)DN_MIN(name->s->size, (size_t)60), name->s->data);
	return 0;
}

static const struct dn_tval *named_argument(const struct dn_targs *args, const char *name)
{
	for (size_t i = 0; i < args->n_named; i++) {
		if (args->names[i]->size == strlen(name) &&
		    memcmp(args->names[i]->data, name, args->names[i]->size) == 0)
			return &args->values[args->n - args->n_named + i];
	}
	return NULL;
}

static int filter_map(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *attribute = named_argument(call->args, "attribute");
	const struct dn_tval *fallback = named_argument(call->args, "default");
	const struct dn_tcallable *filter = NULL;
	struct dn_targs rest = { 0 };
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r = 0;

	if (call->args->n > call->args->n_named) {
		r = named_callable(call, &call->args->values[0], false, &filter);
		rest = rest_of(call->args, 1);
	} else if (!attribute) {
		return dn_trun_fail(call->run, EINVAL, "map requires a filter argument");
	}
	if (r == 0)
		r = chosen_from(call, &seq);
	if (r == 0)
		r = dn_tlist_new(call->run, seq.count, &list);
	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);

		if (filter) {
			r = dn_trun_invoke(call->run, filter, &item, &rest, &item);
		} else {
			r = dn_tval_reach(call->run, &item, attribute, &item);
			if (fallback && item.type == DN_T_UNDEFINED)
				item = *fallback;
		}
		if (r == 0)
			r = dn_tlist_add(call->run, list, item);
	}
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

/* The items whose value, or attribute's value, passes a test (or is true) as @wanted. */
static int choose(struct dn_tcall *call, bool by_attribute, bool wanted, struct dn_tval *ret)
{
	const struct dn_targs *args = call->args;
	size_t skip = by_attribute ? 1 : 0;
	const struct dn_tcallable *test = NULL;
	struct dn_targs rest = { 0 };
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int r = chosen_from(call, &seq);

	if (r == 0 && args->n - args->n_named < skip)
		return dn_trun_fail(call->run, EINVAL, "Missing parameter for attribute name");
	if (r == 0 && args->n - args->n_named > skip) {
		r = named_callable(call, &args->values[skip], true, &test);
		rest = rest_of(args, skip + 1);
	}
	if (r == 0)
		r = dn_tlist_new(call->run, 0, &list);
	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		struct dn_tval item = dn_tseq_at(&seq, i);
		struct dn_tval v = item;

		r = dn_trun_work(call->run, 0);
		if (r == 0 && by_attribute)
			r = dn_tval_reach(call->run, &item, &args->values[0], &v);
		if (r == 0 && test)
			r = dn_trun_invoke(call->run, test, &v, &rest, &v);
		if (r == 0 && dn_tval_truth(&v) == wanted)
			r = dn_tlist_add(call->run, list, item);
	}
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

static int filter_select(struct dn_tcall *call, struct dn_tval *ret)
{
	return choose(call, false, true, ret);
}

static int filter_reject(struct dn_tcall *call, struct dn_tval *ret)
{
	return choose(call, false, false, ret);
}

static int filter_selectattr(struct dn_tcall *call, struct dn_tval *ret)
{
	return choose(call, true, true, ret);
}

static int filter_rejectattr(struct dn_tcall *call, struct dn_tval *ret)
{
	return choose(call, true, false, ret);
}

/* Lists of @size items; the last filled up with the second argument. */
static int filter_batch(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tlist *batch = NULL;
	struct dn_tseq seq = { 0 };
	int64_t size = 0;
	int r = dn_targ_int(call, 0, 0, &size);

	if (r == 0 && (size < 1 || size > DN_TRUN_RANGE))
		return dn_trun_fail(call->run, EINVAL, "batch: a size is 1 to %d", DN_TRUN_RANGE);
	if (r == 0)
		r = dn_tseq_of(call->run, call->self, &seq);
	if (r == 0)
		r = dn_tlist_new(call->run, 0, &list);
	for (size_t i = 0; r == 0 && i < seq.count; i++) {
		if (i % (size_t)size == 0) {
			r = dn_tlist_new(call->run, 0, &batch);
			if (r == 0)
				r = dn_tlist_add(call->run, list, dn_tval_list(DN_T_LIST, batch));
		}
		if (r == 0)
			r = dn_tlist_add(call->run, batch, dn_tseq_at(&seq, i));
	}
	if (call->arg[1] && call->arg[1]->type != DN_T_NONE) {
		while (r == 0 && batch && batch->count < (size_t)size)
			r = dn_tlist_add(call->run, batch, *call->arg[1]);
	}
	return r < 0 ? r : give_list(ret, DN_T_ITER, list);
}

static int filter_attr(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *name = NULL;
	int r = dn_targ_str(call, 0, &name);

	if (r < 0)
		return r;
	/* The filter does not look at items: a dictionary has none of these. */
	if (call->self->type == DN_T_DICT)
		return dn_tval_undefined(call->run, call->self, call->arg[0], ret);
	return dn_tval_attribute(call->run, call->self, call->arg[0], ret);
}

const struct dn_tcallable dn_tfilters_list[] = {
	{ "length", "", 0, filter_length },
	{ "count", "", 0, filter_length },
	{ "join", "d,attribute", 0, filter_join },
	{ "list", "", 0, filter_list },
	{ "first", "", 0, filter_first },
	{ "last", "", 0, filter_last },
	{ "map", "*", 0, filter_map },
	{ "selectattr", "*", 0, filter_selectattr },
	{ "rejectattr", "*", 0, filter_rejectattr },
	{ "select", "*", 0, filter_select },
	{ "reject", "*", 0, filter_reject },
	{ "items", "", 0, filter_items },
	{ "dictsort", "case_sensitive,by,reverse", 0, filter_dictsort },
	{ "sort", "reverse,case_sensitive,attribute", 0, filter_sort },
	{ "reverse", "", 0, filter_reverse },
	{ "unique", "case_sensitive,attribute", 0, filter_unique },
	{ "min", "case_sensitive,attribute", 0, filter_min },
	{ "max", "case_sensitive,attribute", 0, filter_max },
	{ "sum", "attribute,start", 0, filter_sum },
	{ "batch", "linecount,fill_with", 1, filter_batch },
	{ "attr", "name", 1, filter_attr },
};
const size_t dn_tfilters_list_count = DN_ARRAY_SIZE(dn_tfilters_list);
