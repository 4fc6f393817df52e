/* SPDX-License-Identifier: MIT */
/* Lists, dictionaries, and walking over whatever can be walked over. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

/* Below this many entries a dictionary is searched from the front. */
#define DICT_PLAIN 8
#define DICT_MAX   ((size_t)1 << 24)

int dn_tlist_new(struct dn_trun *run, size_t capacity, struct dn_tlist **ret)
{
	struct dn_tlist *list = dn_trun_alloc(run, sizeof(*list));
	size_t bytes;

	if (!list)
		return dn_trun_no_memory(run);
	*list = (struct dn_tlist){ .kind = "list" };
	if (capacity > 0) {
		if (!dn_mul_ok(capacity, sizeof(*list->items), &bytes))
			bytes = SIZE_MAX;
		list->items = dn_trun_alloc(run, bytes);
		if (!list->items)
			return dn_trun_no_memory(run);
		list->capacity = capacity;
	}
	*ret = list;
	return 0;
}

int dn_tlist_add(struct dn_trun *run, struct dn_tlist *list, struct dn_tval v)
{
	if (list->count == list->capacity) {
		size_t capacity = DN_MAX(list->capacity * 2, (size_t)4);
		void *items = dn_trun_grow(run, list->items, list->count * sizeof(v),
					   capacity * sizeof(v));

		if (!items)
			return dn_trun_no_memory(run);
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->count++] = v;
	return 0;
}

int dn_tdict_new(struct dn_trun *run, size_t capacity, struct dn_tdict **ret)
{
	struct dn_tdict *dict = dn_trun_alloc(run, sizeof(*dict));

	if (!dict)
		return dn_trun_no_memory(run);
	*dict = (struct dn_tdict){ 0 };
	if (capacity > 0) {
		dict->entries = capacity > DICT_MAX
					? NULL
					: dn_trun_alloc(run, capacity * sizeof(*dict->entries));
		if (!dict->entries)
			return dn_trun_no_memory(run);
		dict->capacity = capacity;
	}
	*ret = dict;
	return 0;
}

/* Keyed by a seed of the process, so that no message can aim at one slot. */
static uint64_t hash_bytes(uint64_t h, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++) {
		h = (h ^ bytes[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h;
}

/* Equal keys have equal hashes: 1, 1.0 and true are one key, as in Python. */
static int hash_value(struct dn_trun *run, const struct dn_tval *key, unsigned int depth,
		      uint64_t *hash)
{
	double number;
	int r = 0;

	switch (key->type) {
	case DN_T_STR:
		r = dn_tstr_flat(run, key->s);
		if (r == 0)
			r = dn_trun_work(run, DN_TRUN_SLOW * key->s->size);
		if (r == 0)
			*hash = hash_bytes(*hash, key->s->data, key->s->size);
		return r;
	case DN_T_BOOL:
	case DN_T_INT:
	case DN_T_FLOAT:
		number = dn_tval_number(key);
		if (number == 0)
			number = 0; /* -0.0 equals 0 */
		*hash = hash_bytes(*hash ^ 1, &number, sizeof(number));
		return 0;
	case DN_T_NONE:
	case DN_T_UNDEFINED:
		*hash = hash_bytes(*hash ^ 2, "", 1);
		return 0;
	case DN_T_TUPLE:
		if (depth >= DN_TVAL_DEPTH)
			break;
		for (size_t i = 0; i < key->list->count && r == 0; i++)
			r = hash_value(run, &key->list->items[i], depth + 1, hash);
		return r;
	default:
		break;
	}
	return dn_trun_fail(run, EINVAL, "unhashable type: '%s'", dn_tval_type_name(key));
}

static int keys_equal(struct dn_trun *run, const struct dn_tval *a, const struct dn_tval *b,
		      bool *ret)
{
	if (a->type == DN_T_STR && b->type == DN_T_STR && a->s->data && b->s->data) {
		*ret = a->s->size == b->s->size && memcmp(a->s->data, b->s->data, a->s->size) == 0;
		return 0;
	}
	return dn_tval_equal(run, a, b, 0, ret);
}

/* The entry's index, or SIZE_MAX; @ret_slot is where it would go. */
static int dict_find(struct dn_trun *run, const struct dn_tdict *dict, const struct dn_tval *key,
		     uint64_t hash, size_t *ret_index, size_t *ret_slot)
{
	size_t mask = dict->n_slots - 1;
	bool equal = false;
	int r = 0;

	*ret_index = SIZE_MAX;
	if (!dict->slots) {
		for (size_t i = 0; i < dict->count && r == 0 && !equal; i++) {
			if (dict->entries[i].hash != hash)
				continue;
			r = keys_equal(run, &dict->entries[i].key, key, &equal);
			if (equal)
				*ret_index = i;
		}
		return r;
	}
	for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
		uint32_t entry = dict->slots[slot];

		*ret_slot = slot;
		if (entry == 0)
			return 0;
		/* Keys that crowd around one slot cost steps. */
		r = dn_trun_work(run, 0);
		if (r < 0)
			return r;
		if (dict->entries[entry - 1].hash != hash)
			continue;
		r = keys_equal(run, &dict->entries[entry - 1].key, key, &equal);
		if (r < 0)
			return r;
		if (equal) {
			*ret_index = entry - 1;
			return 0;
		}
	}
}

static int dict_index(struct dn_trun *run, struct dn_tdict *dict)
{
	size_t n = 32;
	uint32_t *slots;

	while (n < dict->count * 4)
		n *= 2;
	slots = dn_trun_alloc(run, n * sizeof(*slots));
	if (!slots)
		return dn_trun_no_memory(run);
	memset(slots, 0, n * sizeof(*slots));
	for (size_t i = 0; i < dict->count; i++) {
		size_t slot = dict->entries[i].hash & (n - 1);

		while (slots[slot] != 0)
			slot = (slot + 1) & (n - 1);
		slots[slot] = (uint32_t)(i + 1);
	}
	dict->slots = slots;
	dict->n_slots = n;
	return 0;
}

int dn_tdict_get(struct dn_trun *run, const struct dn_tdict *dict, const struct dn_tval *key,
		 struct dn_tval **ret)
{
	uint64_t hash = run->seed;
	size_t index;
	size_t slot;
	int r = hash_value(run, key, 0, &hash);

	if (r == 0)
		r = dict_find(run, dict, key, hash, &index, &slot);
	if (r != 0)
		return r;
	*ret = index == SIZE_MAX ? NULL : &dict->entries[index].value;
	return 0;
}

static int dict_grow(struct dn_trun *run, struct dn_tdict *dict)
{
	size_t capacity = DN_MAX(dict->capacity * 2, (size_t)4);
	void *entries;

	if (dict->count < dict->capacity)
		return 0;
	if (capacity > DICT_MAX)
		return dn_trun_fail(run, E2BIG, "a dictionary of more than %zu entries", DICT_MAX);
	entries = dn_trun_grow(run, dict->entries, dict->count * sizeof(*dict->entries),
			       capacity * sizeof(*dict->entries));
	if (!entries)
		return dn_trun_no_memory(run);
	dict->entries = entries;
	dict->capacity = capacity;
	return 0;
}

int dn_tdict_set(struct dn_trun *run, struct dn_tdict *dict, struct dn_tval key,
		 struct dn_tval value)
{
	uint64_t hash = run->seed;
	size_t index;
	size_t slot = 0;
	int r = hash_value(run, &key, 0, &hash);

	if (r == 0)
		r = dict_find(run, dict, &key, hash, &index, &slot);
	if (r == 0 && index != SIZE_MAX) {
		dict->entries[index].value = value;
		return 0;
	}
	if (r == 0)
		r = dict_grow(run, dict);
	if (r < 0)
		return r;
	dict->entries[dict->count++] =
		(struct dn_tentry){ .key = key, .value = value, .hash = hash };
	if (dict->slots && dict->count * 2 <= dict->n_slots)
		dict->slots[slot] = (uint32_t)dict->count;
	else if (dict->count > DICT_PLAIN)
		r = dict_index(run, dict);
	return r;
}

int dn_tdict_remove(struct dn_trun *run, struct dn_tdict *dict, const struct dn_tval *key,
		    bool *ret_found)
{
	uint64_t hash = run->seed;
	size_t index;
	size_t slot;
	int r = hash_value(run, key, 0, &hash);

	if (r == 0)
		r = dict_find(run, dict, key, hash, &index, &slot);
	if (r == 0)
		r = dn_trun_work(run, dict->count * sizeof(*dict->entries));
	if (r != 0)
		return r;
	*ret_found = index != SIZE_MAX;
	if (!*ret_found)
		return 0;
	dict->count--;
	memmove(dict->entries + index, dict->entries + index + 1,
		(dict->count - index) * sizeof(*dict->entries));
	dict->slots = NULL;
	return dict->count > DICT_PLAIN ? dict_index(run, dict) : 0;
}

static int seq_of_str(struct dn_trun *run, struct dn_tstr *s, struct dn_tseq *ret)
{
	struct dn_tlist *list = NULL;
	size_t at = 0;
	int r = dn_tstr_flat(run, s);

	if (r == 0)
		r = dn_trun_work(run, DN_TRUN_SLOW * s->size);
	if (r == 0)
		r = dn_tlist_new(run, dn_tstr_points(s), &list);
	while (r == 0 && at < s->size) {
		struct dn_tstr *c = NULL;
		uint32_t point;
		size_t size = dn_utf8_decode(s->data + at, s->size - at, &point);

		r = dn_tstr_sub(run, s, at, size, &c);
		if (r == 0)
			r = dn_tlist_add(run, list, dn_tval_str(c));
		at += size;
	}
	if (r == 0)
		*ret = (struct dn_tseq){ .items = list->items, .count = list->count };
	return r;
}

static int seq_of_keys(struct dn_trun *run, const struct dn_tdict *dict, struct dn_tseq *ret)
{
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, dict->count, &list);

	for (size_t i = 0; i < dict->count && r == 0; i++)
		r = dn_tlist_add(run, list, dict->entries[i].key);
	if (r == 0)
		*ret = (struct dn_tseq){ .items = list->items, .count = list->count };
	return r;
}

int dn_tseq_of(struct dn_trun *run, const struct dn_tval *v, struct dn_tseq *ret)
{
	struct dn_tlist *list = v->list;

	*ret = (struct dn_tseq){ 0 };
	switch (v->type) {
	case DN_T_UNDEFINED:
		return 0;
	case DN_T_STR:
		return seq_of_str(run, v->s, ret);
	case DN_T_LIST:
	case DN_T_TUPLE:
	case DN_T_VIEW:
		ret->items = list->items;
		ret->count = list->count;
		return 0;
	case DN_T_ITER:
		ret->items = list->items ? list->items + list->taken : NULL;
		ret->count = list->count - list->taken;
		list->taken = list->count;
		return 0;
	case DN_T_RANGE:
		ret->count = v->range->count;
		ret->start = v->range->start;
		ret->step = v->range->step;
		return 0;
	case DN_T_DICT:
		return seq_of_keys(run, v->dict, ret);
	default:
		return dn_trun_fail(run, EINVAL, "'%s' object is not iterable",
				    dn_tval_type_name(v));
	}
}

struct dn_tval dn_tseq_at(const struct dn_tseq *seq, size_t i)
{
	if (seq->items)
		return seq->items[i];
	return dn_tval_int(seq->start + seq->step * (int64_t)i);
}

int dn_tseq_list(struct dn_trun *run, const struct dn_tseq *seq, struct dn_tlist **ret)
{
	struct dn_tlist *list = NULL;
	int r = dn_tlist_new(run, seq->count, &list);

	if (r == 0)
		r = dn_trun_work(run, seq->count * sizeof(*seq->items));
	for (size_t i = 0; i < seq->count && r == 0; i++)
		r = dn_tlist_add(run, list, dn_tseq_at(seq, i));
	if (r == 0)
		*ret = list;
	return r;
}
