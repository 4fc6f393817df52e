/* SPDX-License-Identifier: MIT */
/* Attributes, items, slices, lengths. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

int dn_tval_length(struct dn_trun *run, const struct dn_tval *v, size_t *ret)
{
	int r = 0;

	switch (v->type) {
	case DN_T_UNDEFINED:
		*ret = 0;
		return 0;
	case DN_T_STR:
		r = dn_tstr_flat(run, v->s);
		if (r == 0 && v->s->points == SIZE_MAX)
			r = dn_trun_work(run, v->s->size);
		if (r == 0)
			*ret = dn_tstr_points(v->s);
		return r;
	case DN_T_LIST:
	case DN_T_TUPLE:
	case DN_T_VIEW:
		*ret = v->list->count;
		return 0;
	case DN_T_RANGE:
		*ret = v->range->count;
		return 0;
	case DN_T_DICT:
		*ret = v->dict->count;
		return 0;
	case DN_T_LOOP:
		*ret = v->loop->seq.count;
		return 0;
	default:
		return dn_trun_fail(run, EINVAL, "object of type '%s' has no len()",
				    dn_tval_type_name(v));
	}
}

static bool name_is(const struct dn_tstr *s, const char *name)
{
	return s->size == strlen(name) && memcmp(s->data, name, s->size) == 0;
}

static int loop_neighbour(struct dn_trun *run, const struct dn_tloop *loop, size_t at,
			  const struct dn_tval *name, struct dn_tval *ret)
{
	if (at < loop->seq.count) {
		*ret = dn_tseq_at(&loop->seq, at);
		return 0;
	}
	return dn_tval_undefined(run, NULL, name, ret);
}

static int loop_attribute(struct dn_trun *run, const struct dn_tval *object,
			  const struct dn_tval *name, struct dn_tval *ret)
{
	const struct dn_tloop *loop = object->loop;
	const struct dn_tstr *s = name->s;
	int64_t at = (int64_t)loop->at;
	int64_t count = (int64_t)loop->seq.count;

	if (name_is(s, "index"))
		*ret = dn_tval_int(at + 1);
	else if (name_is(s, "index0"))
		*ret = dn_tval_int(at);
	else if (name_is(s, "revindex"))
		*ret = dn_tval_int(count - at);
	else if (name_is(s, "revindex0"))
		*ret = dn_tval_int(count - at - 1);
	else if (name_is(s, "first"))
		*ret = dn_tval_bool(at == 0);
	else if (name_is(s, "last"))
		*ret = dn_tval_bool(at == count - 1);
	else if (name_is(s, "length"))
		*ret = dn_tval_int(count);
	else if (name_is(s, "depth"))
		*ret = dn_tval_int(1);
	else if (name_is(s, "depth0"))
		*ret = dn_tval_int(0);
	else if (name_is(s, "previtem"))
		return loop_neighbour(run, loop, loop->at - 1, name, ret);
	else if (name_is(s, "nextitem"))
		return loop_neighbour(run, loop, loop->at + 1, name, ret);
	else
		return dn_tval_undefined(run, object, name, ret);
	return 0;
}

static int bind_method(struct dn_trun *run, const struct dn_tval *object,
		       const struct dn_tcallable *callable, struct dn_tval *ret)
{
	struct dn_tmethod *method = dn_trun_alloc(run, sizeof(*method));

	if (!method)
		return dn_trun_no_memory(run);
	*method = (struct dn_tmethod){ .self = *object, .callable = callable };
	*ret = (struct dn_tval){ .type = DN_T_METHOD, .method = method };
	return 0;
}

int dn_tval_attribute(struct dn_trun *run, const struct dn_tval *object, const struct dn_tval *name,
		      struct dn_tval *ret)
{
	const struct dn_tcallable *callable;
	struct dn_tval *value = NULL;
	int r = 0;

	if (object->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, object);
	if (object->type == DN_T_NAMESPACE) {
		r = dn_tdict_get(run, object->dict, name, &value);
	} else {
		/* Methods come first: x.items is one even where x has such a key. */
		callable = dn_tmethod_find(object, name->s->data, name->s->size);
		if (callable)
			return bind_method(run, object, callable, ret);
	}
	if (object->type == DN_T_LOOP)
		return loop_attribute(run, object, name, ret);
	if (object->type == DN_T_CYCLER && name_is(name->s, "current"))
		value = &object->list->items[object->list->taken % object->list->count];
	if (object->type == DN_T_MACRO && name_is(name->s, "name")) {
		ret->type = DN_T_STR;
		ret->s = run->tmpl->symbols[object->macro->node->symbol];
		return 0;
	}
	if (object->type == DN_T_DICT)
		r = dn_tdict_get(run, object->dict, name, &value);
	if (r < 0)
		return r;
	if (!value)
		return dn_tval_undefined(run, object, name, ret);
	*ret = *value;
	return 0;
}

/* A position from the front or, negative, from the back; false when outside. */
static bool place(int64_t i, size_t count, size_t *ret)
{
	if (i < 0)
		i += (int64_t)count;
	*ret = (size_t)i;
	return i >= 0 && (size_t)i < count;
}

static int str_at(struct dn_trun *run, struct dn_tstr *s, size_t point, struct dn_tval *ret)
{
	size_t at;
	size_t size;
	uint32_t ignored;
	int r = dn_trun_work(run, s->points == s->size ? 1 : DN_TRUN_SLOW * s->size);

	if (r < 0)
		return r;
	at = dn_tstr_offset(s, point);
	size = dn_utf8_decode(s->data + at, s->size - at, &ignored);
	*ret = dn_tval_str(NULL);
	return dn_tstr_sub(run, s, at, size, &ret->s);
}

static int item_at(struct dn_trun *run, const struct dn_tval *object, const struct dn_tval *key,
		   int64_t i, struct dn_tval *ret)
{
	size_t count;
	size_t at;
	int r = dn_tval_length(run, object, &count);

	if (r != 0)
		return r;
	if (!place(i, count, &at))
		return dn_tval_undefined(run, object, key, ret);
	if (object->type == DN_T_STR)
		return str_at(run, object->s, at, ret);
	if (object->type == DN_T_RANGE)
		*ret = dn_tval_int(object->range->start + object->range->step * (int64_t)at);
	else
		*ret = object->list->items[at];
	return 0;
}

int dn_tval_item(struct dn_trun *run, const struct dn_tval *object, const struct dn_tval *key,
		 struct dn_tval *ret)
{
	bool sequence = object->type == DN_T_STR || object->type == DN_T_LIST ||
			object->type == DN_T_TUPLE || object->type == DN_T_RANGE;
	const struct dn_tcallable *callable;
	struct dn_tval *value;
	int r = 0;

	if (object->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, object);
	if (sequence && (key->type == DN_T_INT || key->type == DN_T_BOOL))
		return item_at(run, object, key, key->type == DN_T_INT ? key->i : key->b, ret);
	if (object->type == DN_T_DICT) {
		/* A key that cannot be one is a missing one. */
		if (key->type == DN_T_LIST || key->type == DN_T_DICT)
			return dn_tval_undefined(run, object, key, ret);
		r = dn_tdict_get(run, object->dict, key, &value);
		if (r == 0 && value)
			*ret = *value;
		if (r < 0 || value)
			return r;
	}
	if (key->type != DN_T_STR)
		return dn_tval_undefined(run, object, key, ret);
	r = dn_tstr_flat(run, key->s);
	if (r < 0)
		return r;
	if (object->type != DN_T_DICT)
		return dn_tval_attribute(run, object, key, ret);
	callable = dn_tmethod_find(object, key->s->data, key->s->size);
	if (callable)
		return bind_method(run, object, callable, ret);
	return dn_tval_undefined(run, object, key, ret);
}

static int slice_part(struct dn_trun *run, const struct dn_tval *v, int64_t fallback, int64_t *ret)
{
	if (v->type == DN_T_NONE)
		*ret = fallback;
	else if (v->type == DN_T_INT)
		*ret = v->i;
	else if (v->type == DN_T_BOOL)
		*ret = v->b;
	else if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, v);
	else
		return dn_trun_fail(run, EINVAL, "slice indices must be integers or None, not %s",
				    dn_tval_type_name(v));
	return 0;
}

/* Where a slice begins, and how many items it takes: PySlice_AdjustIndices() in words. */
static int slice_bounds(struct dn_trun *run, const struct dn_tval part[3], size_t count,
			int64_t *ret_start, int64_t *ret_step, size_t *ret_n)
{
	int64_t n = (int64_t)count;
	int64_t step = 1;
	int64_t edge[2];
	int r = slice_part(run, &part[2], 1, &step);

	if (r < 0)
		return r;
	if (step == 0)
		return dn_trun_fail(run, EINVAL, "slice step cannot be zero");
	step = DN_MAX(step, -INT64_MAX);
	for (int i = 0; i < 2; i++) {
		int64_t low = step < 0 ? -1 : 0;
		int64_t high = step < 0 ? n - 1 : n;
		bool given = part[i].type != DN_T_NONE;

		r = slice_part(run, &part[i], 0, &edge[i]);
		if (r < 0)
			return r;
		if (given && edge[i] < 0)
			edge[i] += n;
		if (!given)
			edge[i] = (i == 0) == (step > 0) ? low : high;
		edge[i] = DN_MIN(DN_MAX(edge[i], low), high);
	}
	*ret_start = edge[0];
	*ret_step = step;
	*ret_n = 0;
	if (step > 0 && edge[1] > edge[0])
		*ret_n = (size_t)((edge[1] - edge[0] - 1) / step + 1);
	else if (step < 0 && edge[0] > edge[1])
		*ret_n = (size_t)((edge[0] - edge[1] - 1) / -step + 1);
	return 0;
}

static int slice_str(struct dn_trun *run, struct dn_tstr *s, int64_t start, int64_t step, size_t n,
		     struct dn_tval *ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	struct dn_tseq points = { 0 };
	struct dn_tval text = dn_tval_str(s);
	size_t from;
	int r = dn_trun_work(run, s->points == s->size ? n : DN_TRUN_SLOW * s->size);

	*ret = dn_tval_str(dn_tstr_empty());
	if (r < 0 || n == 0)
		return r;
	if (step == 1) {
		from = dn_tstr_offset(s, (size_t)start);
		return dn_tstr_sub(run, s, from, dn_tstr_offset(s, (size_t)start + n) - from,
				   &ret->s);
	}
	r = dn_tseq_of(run, &text, &points);
	for (size_t i = 0; i < n && r == 0; i++)
		r = dn_tbuild_str(&b, points.items[start + (int64_t)i * step].s);
	return r < 0 ? r : dn_tbuild_end(&b, &ret->s);
}

int dn_tval_slice(struct dn_trun *run, const struct dn_tval *object, const struct dn_tval part[3],
		  struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tseq seq = { 0 };
	int64_t start = 0;
	int64_t step = 1;
	size_t count;
	size_t n = 0;
	int r;

	if (object->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(run, object);
	if (object->type != DN_T_STR && object->type != DN_T_LIST && object->type != DN_T_TUPLE &&
	    object->type != DN_T_RANGE)
		return dn_trun_fail(run, EINVAL, "'%s' object cannot be sliced",
				    dn_tval_type_name(object));
	r = dn_tval_length(run, object, &count);
	if (r == 0)
		r = slice_bounds(run, part, count, &start, &step, &n);
	if (r == 0 && object->type == DN_T_STR)
		return slice_str(run, object->s, start, step, n, ret);
	if (r == 0)
		r = dn_tseq_of(run, object, &seq);
	if (r == 0)
		r = dn_tlist_new(run, n, &list);
	if (r == 0)
		r = dn_trun_work(run, n * sizeof(*list->items));
	for (size_t i = 0; i < n && r == 0; i++)
		r = dn_tlist_add(run, list, dn_tseq_at(&seq, (size_t)(start + (int64_t)i * step)));
	if (r == 0)
		*ret = dn_tval_list(object->type == DN_T_TUPLE ? DN_T_TUPLE : DN_T_LIST, list);
	return r;
}
