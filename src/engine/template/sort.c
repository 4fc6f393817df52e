/* SPDX-License-Identifier: MIT */
/* Sorting, and what is compared: attributes of items by a path such as "a.b.0". */

#include <string.h>

#include "engine/template/run.h"

/* One step of "a.b.0": digits are a number. */
static int step_into(struct dn_trun *run, struct dn_tval *v, struct dn_tstr *part)
{
	struct dn_tval key = dn_tval_str(part);
	int64_t i = 0;

	if (part->size > 0 && part->data[0] >= '0' && part->data[0] <= '9' &&
	    dn_text_to_int(part->data, part->size, 10, &i))
		key = dn_tval_int(i);
	return dn_tval_item(run, v, &key, v);
}

/* The attribute @path of @item; items themselves where there is no path. */
int dn_tval_reach(struct dn_trun *run, const struct dn_tval *item, const struct dn_tval *path,
		  struct dn_tval *ret)
{
	struct dn_tstr *s = path ? path->s : NULL;
	struct dn_tval v = *item;
	size_t at = 0;
	int r = 0;

	*ret = v;
	if (!path || path->type == DN_T_NONE)
		return 0;
	if (path->type != DN_T_STR) {
		r = dn_tval_item(run, item, path, ret);
		return r;
	}
	r = dn_tstr_flat(run, s);
	while (r == 0 && at <= s->size) {
		const char *dot = memchr(s->data + at, '.', s->size - at);
		size_t end = dot ? (size_t)(dot - s->data) : s->size;
		struct dn_tstr *part = NULL;

		r = dn_tstr_sub(run, s, at, end - at, &part);
		if (r == 0)
			r = step_into(run, &v, part);
		at = end + 1;
	}
	*ret = v;
	return r;
}

/* What items are compared by: an attribute, in lower case unless asked otherwise. */
int dn_tval_key(struct dn_trun *run, const struct dn_tval *item, const struct dn_tval *path,
		bool case_sensitive, struct dn_tval *ret)
{
	int r = dn_tval_reach(run, item, path, ret);

	if (r == 0 && !case_sensitive && ret->type == DN_T_STR)
		r = dn_tstr_case(run, ret->s, DN_CASE_LOWER, &ret->s);
	return r;
}

/* Keys of several attributes, "a,b", are a tuple. */
static int keys_of(struct dn_trun *run, const struct dn_tval *item, const struct dn_tval *paths,
		   bool case_sensitive, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tstr *s = NULL;
	size_t at = 0;
	int r;

	if (!paths || paths->type != DN_T_STR)
		return dn_tval_key(run, item, paths, case_sensitive, ret);
	s = paths->s;
	r = dn_tstr_flat(run, s);
	if (r == 0 && !memchr(s->data, ',', s->size))
		return dn_tval_key(run, item, paths, case_sensitive, ret);
	if (r == 0)
		r = dn_tlist_new(run, 2, &list);
	while (r == 0 && at <= s->size) {
		const char *comma = memchr(s->data + at, ',', s->size - at);
		size_t end = comma ? (size_t)(comma - s->data) : s->size;
		struct dn_tval path = dn_tval_str(NULL);
		struct dn_tval key;

		r = dn_tstr_sub(run, s, at, end - at, &path.s);
		if (r == 0)
			r = dn_tval_key(run, item, &path, case_sensitive, &key);
		if (r == 0)
			r = dn_tlist_add(run, list, key);
		at = end + 1;
	}
	if (r == 0)
		*ret = dn_tval_list(DN_T_TUPLE, list);
	return r;
}

struct keyed {
	struct dn_tval key;
	struct dn_tval item;
};

/* One pass of the merge sort: runs of @width become runs of twice that. */
static int merge(struct dn_trun *run, const struct keyed *from, struct keyed *to, size_t n,
		 size_t width, bool reverse)
{
	for (size_t begin = 0; begin < n; begin += 2 * width) {
		size_t middle = DN_MIN(begin + width, n);
		size_t end = DN_MIN(begin + 2 * width, n);
		size_t a = begin;
		size_t b = middle;

		for (size_t out = begin; out < end; out++) {
			int order = 0;
			int r = dn_trun_work(run, 0);

			/* Where an attribute is missing on both sides they are equal. */
			if (r == 0 && a < middle && b < end &&
			    (from[a].key.type != DN_T_UNDEFINED ||
			     from[b].key.type != DN_T_UNDEFINED))
				r = dn_tval_order(run, &from[b].key, &from[a].key, "<", 0, &order);
			if (r < 0)
				return r;
			/* Equal ones stay in their order, reversed or not. */
			if (a < middle && (b >= end || (reverse ? order <= 0 : order >= 0)))
				to[out] = from[a++];
			else
				to[out] = from[b++];
		}
	}
	return 0;
}

static int sort_keyed(struct dn_trun *run, struct keyed **items, size_t n, bool reverse)
{
	struct keyed *other;
	int r = 0;

	if (n < 2)
		return 0;
	other = dn_trun_alloc(run, n * sizeof(*other));
	if (!other)
		return dn_trun_no_memory(run);
	for (size_t width = 1; width < n && r == 0; width *= 2) {
		struct keyed *swap = *items;

		r = merge(run, *items, other, n, width, reverse);
		*items = other;
		other = swap;
	}
	return r;
}

int dn_tseq_sorted(struct dn_trun *run, const struct dn_tseq *seq, const struct dn_tval *paths,
		   bool case_sensitive, bool reverse, struct dn_tval *ret)
{
	struct keyed *items = dn_trun_alloc(run, seq->count * sizeof(*items));
	struct dn_tlist *list = NULL;
	int r = items ? 0 : dn_trun_no_memory(run);

	for (size_t i = 0; i < seq->count && r == 0; i++) {
		items[i].item = dn_tseq_at(seq, i);
		r = keys_of(run, &items[i].item, paths, case_sensitive, &items[i].key);
	}
	if (r == 0)
		r = sort_keyed(run, &items, seq->count, reverse);
	if (r == 0)
		r = dn_tlist_new(run, seq->count, &list);
	for (size_t i = 0; i < seq->count && r == 0; i++)
		r = dn_tlist_add(run, list, items[i].item);
	if (r == 0)
		*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}
