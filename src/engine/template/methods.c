/* SPDX-License-Identifier: MIT */
/*
 * Methods of lists, dictionaries, loops and cyclers; those of strings are in methods-str.c.
 * Those that change a list or dictionary change only values of this rendering.
 */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "engine/template/run.h"

static int dict_get(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval *found;
	int r = dn_tdict_get(call->run, call->self->dict, call->arg[0], &found);

	if (r == 0)
		*ret = found ? *found : call->arg[1] ? *call->arg[1] : dn_tval_none();
	return r;
}

static int dict_view(struct dn_tcall *call, const char *kind, struct dn_tval *ret)
{
	const struct dn_tdict *dict = call->self->dict;
	bool keys = kind[5] == 'k';
	bool items = kind[5] == 'i';
	struct dn_tlist *list = NULL;
	struct dn_tlist *pair = NULL;
	int r = dn_tlist_new(call->run, dict->count, &list);

	for (size_t i = 0; i < dict->count && r == 0; i++) {
		const struct dn_tentry *entry = &dict->entries[i];
		struct dn_tval v = keys ? entry->key : entry->value;

		if (items) {
			r = dn_tlist_new(call->run, 2, &pair);
			if (r == 0)
				r = dn_tlist_add(call->run, pair, entry->key);
			if (r == 0)
				r = dn_tlist_add(call->run, pair, entry->value);
			v = dn_tval_list(DN_T_TUPLE, pair);
		}
		if (r == 0)
			r = dn_tlist_add(call->run, list, v);
	}
	if (r < 0)
		return r;
	list->kind = kind;
	*ret = dn_tval_list(DN_T_VIEW, list);
	return 0;
}

static int dict_keys(struct dn_tcall *call, struct dn_tval *ret)
{
	return dict_view(call, "dict_keys", ret);
}

static int dict_values(struct dn_tcall *call, struct dn_tval *ret)
{
	return dict_view(call, "dict_values", ret);
}

static int dict_items(struct dn_tcall *call, struct dn_tval *ret)
{
	return dict_view(call, "dict_items", ret);
}

static int update(struct dn_trun *run, struct dn_tdict *dict, const struct dn_tdict *from)
{
	/* The count is read once: a dictionary can be updated from itself. */
	size_t n = from->count;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = dn_tdict_set(run, dict, from->entries[i].key, from->entries[i].value);
	return r;
}

static int dict_copy(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tdict *dict = NULL;
	int r = dn_tdict_new(call->run, call->self->dict->count, &dict);

	if (r == 0)
		r = update(call->run, dict, call->self->dict);
	if (r == 0)
		*ret = dn_tval_dict(dict);
	return r;
}

static int dict_update(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_targs *args = call->args;
	size_t first = args->n - args->n_named;
	int r = 0;

	*ret = dn_tval_none();
	if (first > 1 || (first == 1 && args->values[0].type != DN_T_DICT))
		return dn_trun_fail(call->run, EINVAL, "update() takes a mapping");
	if (first == 1)
		r = update(call->run, call->self->dict, args->values[0].dict);
	for (size_t i = 0; i < args->n_named && r == 0; i++)
		r = dn_tdict_set(call->run, call->self->dict, dn_tval_str(args->names[i]),
				 args->values[first + i]);
	return r;
}

static int dict_setdefault(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval *found;
	int r = dn_tdict_get(call->run, call->self->dict, call->arg[0], &found);

	*ret = call->arg[1] ? *call->arg[1] : dn_tval_none();
	if (r == 0 && found)
		*ret = *found;
	else if (r == 0)
		r = dn_tdict_set(call->run, call->self->dict, *call->arg[0], *ret);
	return r;
}

static int dict_pop(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tval *found;
	bool removed = false;
	int r = dn_tdict_get(call->run, call->self->dict, call->arg[0], &found);

	if (r < 0)
		return r;
	if (!found && !call->arg[1])
		return dn_trun_fail(call->run, EINVAL, "pop(): the dictionary has no such key");
	*ret = found ? *found : *call->arg[1];
	return dn_tdict_remove(call->run, call->self->dict, call->arg[0], &removed);
}

static int list_append(struct dn_tcall *call, struct dn_tval *ret)
{
	*ret = dn_tval_none();
	return dn_tlist_add(call->run, call->self->list, *call->arg[0]);
}

static int list_extend(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tseq seq = { 0 };
	int r = dn_tseq_of(call->run, call->arg[0], &seq);

	*ret = dn_tval_none();
	for (size_t i = 0; i < seq.count && r == 0; i++) {
		r = dn_trun_work(call->run, 0);
		if (r == 0)
			r = dn_tlist_add(call->run, call->self->list, dn_tseq_at(&seq, i));
	}
	return r;
}

static int list_insert(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = call->self->list;
	int64_t count = (int64_t)list->count;
	int64_t at = 0;
	int r = dn_targ_int(call, 0, 0, &at);

	*ret = dn_tval_none();
	if (r == 0)
		r = dn_trun_work(call->run, list->count * sizeof(*list->items));
	if (r == 0)
		r = dn_tlist_add(call->run, list, *call->arg[1]);
	if (r < 0)
		return r;
	at = at < 0 ? DN_MAX(at + count, (int64_t)0) : DN_MIN(at, count);
	memmove(list->items + at + 1, list->items + at,
		(size_t)(count - at) * sizeof(*list->items));
	list->items[at] = *call->arg[1];
	return 0;
}

static int list_pop(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = call->self->list;
	int64_t at = 0;
	int r = dn_targ_int(call, 0, -1, &at);

	if (r < 0)
		return r;
	if (at < 0)
		at += (int64_t)list->count;
	if (at < 0 || at >= (int64_t)list->count)
		return dn_trun_fail(call->run, EINVAL, "pop index out of range");
	r = dn_trun_work(call->run, (list->count - (size_t)at) * sizeof(*list->items));
	*ret = list->items[at];
	list->count--;
	memmove(list->items + at, list->items + at + 1,
		(list->count - (size_t)at) * sizeof(*list->items));
	return r;
}

/* How many items equal the argument, and where the first is. */
static int search(struct dn_tcall *call, int64_t *ret_count, int64_t *ret_first)
{
	const struct dn_tlist *list = call->self->list;
	int r = 0;

	*ret_count = 0;
	for (size_t i = 0; i < list->count && r == 0; i++) {
		bool equal = false;

		r = dn_tval_equal(call->run, &list->items[i], call->arg[0], 0, &equal);
		if (r == 0 && equal && (*ret_count)++ == 0)
			*ret_first = (int64_t)i;
	}
	return r;
}

static int list_count(struct dn_tcall *call, struct dn_tval *ret)
{
	int64_t first = 0;
	int64_t count = 0;
	int r = search(call, &count, &first);

	*ret = dn_tval_int(count);
	return r;
}

static int list_index(struct dn_tcall *call, struct dn_tval *ret)
{
	int64_t first = 0;
	int64_t count = 0;
	int r = search(call, &count, &first);

	if (r == 0 && count == 0)
		return dn_trun_fail(call->run, EINVAL, "index(): the item is not in the list");
	*ret = dn_tval_int(first);
	return r;
}

static int list_copy(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tseq seq = { 0 };
	struct dn_tlist *list = NULL;
	int r = dn_tseq_of(call->run, call->self, &seq);

	if (r == 0)
		r = dn_tseq_list(call->run, &seq, &list);
	if (r == 0)
		*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}

static int list_reverse(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = call->self->list;

	*ret = dn_tval_none();
	for (size_t i = 0; i < list->count / 2; i++) {
		struct dn_tval swap = list->items[i];

		list->items[i] = list->items[list->count - 1 - i];
		list->items[list->count - 1 - i] = swap;
	}
	return dn_trun_work(call->run, list->count * sizeof(*list->items));
}

static int loop_cycle(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_targs *args = call->args;

	if (args->n == 0)
		return dn_trun_fail(call->run, EINVAL, "no items for cycling given");
	*ret = args->values[call->self->loop->at % args->n];
	return 0;
}

static int loop_changed(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tloop *loop = call->self->loop;
	struct dn_tlist *now = NULL;
	struct dn_tval a = dn_tval_none();
	struct dn_tval b;
	bool equal = false;
	int r = dn_tlist_new(call->run, call->args->n, &now);

	for (size_t i = 0; i < call->args->n && r == 0; i++)
		r = dn_tlist_add(call->run, now, call->args->values[i]);
	if (r == 0 && loop->changed) {
		a = dn_tval_list(DN_T_TUPLE, now);
		b = dn_tval_list(DN_T_TUPLE, loop->changed);
		r = dn_tval_equal(call->run, &a, &b, 0, &equal);
	}
	loop->changed = now;
	*ret = dn_tval_bool(!equal);
	return r;
}

static int cycler_next(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = call->self->list;

	*ret = list->items[list->taken];
	list->taken = (list->taken + 1) % list->count;
	return 0;
}

static int cycler_reset(struct dn_tcall *call, struct dn_tval *ret)
{
	call->self->list->taken = 0;
	*ret = dn_tval_none();
	return 0;
}

static const struct dn_tcallable dict_methods[] = {
	{ "get", "key,default", 1, dict_get },
	{ "items", "", 0, dict_items },
	{ "keys", "", 0, dict_keys },
	{ "values", "", 0, dict_values },
	{ "copy", "", 0, dict_copy },
	{ "update", "*", 0, dict_update },
	{ "setdefault", "key,default", 1, dict_setdefault },
	{ "pop", "key,default", 1, dict_pop },
};

static const struct dn_tcallable list_methods[] = {
	{ "append", "object", 1, list_append },
	{ "extend", "iterable", 1, list_extend },
	{ "insert", "index,object", 2, list_insert },
	{ "pop", "index", 0, list_pop },
	{ "copy", "", 0, list_copy },
	{ "reverse", "", 0, list_reverse },
	{ "count", "value", 1, list_count },
	{ "index", "value", 1, list_index },
};

/* The last two of list_methods are a tuple's, too. */
#define TUPLE_FIRST (DN_ARRAY_SIZE(list_methods) - 2)

static const struct dn_tcallable loop_methods[] = {
	{ "cycle", "*", 0, loop_cycle },
	{ "changed", "*", 0, loop_changed },
};

static const struct dn_tcallable cycler_methods[] = {
	{ "next", "", 0, cycler_next },
	{ "reset", "", 0, cycler_reset },
};

const struct dn_tcallable *dn_tmethod_find(const struct dn_tval *object, const char *name,
					   size_t size)
{
	switch (object->type) {
	case DN_T_STR:
		return dn_tcallable_find(dn_tmethods_str, dn_tmethods_str_count, name, size);
	case DN_T_DICT:
		return dn_tcallable_find(dict_methods, DN_ARRAY_SIZE(dict_methods), name, size);
	case DN_T_LIST:
		return dn_tcallable_find(list_methods, DN_ARRAY_SIZE(list_methods), name, size);
	case DN_T_TUPLE:
		return dn_tcallable_find(list_methods + TUPLE_FIRST, 2, name, size);
	case DN_T_LOOP:
		return dn_tcallable_find(loop_methods, DN_ARRAY_SIZE(loop_methods), name, size);
	case DN_T_CYCLER:
		return dn_tcallable_find(cycler_methods, DN_ARRAY_SIZE(cycler_methods), name, size);
	default:
		return NULL;
	}
}
