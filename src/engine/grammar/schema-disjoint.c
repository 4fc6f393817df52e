/* SPDX-License-Identifier: MIT */
/* Alternatives that no value can match two of: by types, values, bounds, or a property. */

#include <stdlib.h>
#include <string.h>

#include "engine/grammar/schema.h"

#define DEPTH_MAX 4
/* Values that tell alternatives apart, of all of a list. */
#define TAGS_MAX 4096U

static int are_apart(struct dn_schema_reader *reader, const struct dn_all *a,
		     const struct dn_all *b, unsigned int depth);

static bool scalars_meet(const struct dn_shape *a, const struct dn_shape *b, uint32_t type)
{
	switch (type) {
	case DN_TYPE_INTEGER:
		return !(a->most < b->least || b->most < a->least);
	case DN_TYPE_FRACTION:
		return !(a->high < b->low || b->high < a->low ||
			 (a->high <= b->low && (a->below || b->above)) ||
			 (b->high <= a->low && (b->below || a->above)));
	case DN_TYPE_STRING:
		return !(a->max_length < b->min_length || b->max_length < a->min_length);
	case DN_TYPE_ARRAY:
		return !(a->max_items < b->min_items || b->max_items < a->min_items);
	default:
		return true;
	}
}

/* Whether any listed value of @a is one of @b too. */
static int values_meet(struct dn_schema_reader *reader, const struct dn_all *b,
		       const struct dn_shape *a_shape, const struct dn_shape *b_shape)
{
	const size_t n = a_shape->is_const ? 1 : json_array_size(a_shape->values);
	int r = dn_schema_spend(reader, n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const json_t *value =
			a_shape->is_const ? a_shape->values : json_array_get(a_shape->values, i);
		const uint32_t type = dn_schema_type(value);
		int fits = 1;

		if (!(type & b_shape->said))
			continue;
		if (!(type & (DN_TYPE_ARRAY | DN_TYPE_OBJECT)) && !b_shape->pattern)
			fits = dn_schema_fits(reader, b, b_shape, value);
		if (fits != 0)
			return fits;
	}
	return 0;
}

/* A property that both need, or one has and the other must not have, tells objects apart. */
static int objects_apart(struct dn_schema_reader *reader, const struct dn_all *a,
			 const struct dn_all *b, unsigned int depth)
{
	for (uint32_t i = 0; i < a->n; i++) {
		const json_t *required = json_object_get(a->schemas[i], "required");

		for (size_t j = 0; j < json_array_size(required); j++) {
			const char *name = json_string_value(json_array_get(required, j));
			struct dn_all of_a;
			struct dn_all of_b;
			int r;

			if (!name)
				continue;
			r = dn_schema_property(reader, b, name, &of_b);
			if (r <= 0)
				return r < 0 ? r : 1;
			r = dn_schema_requires(reader, b, name);
			if (r == 0)
				continue;
			if (r > 0)
				r = dn_schema_property(reader, a, name, &of_a);
			if (r > 0)
				r = are_apart(reader, &of_a, &of_b, depth + 1);
			else if (r == 0)
				r = 1;
			if (r != 0)
				return r;
		}
	}
	return 0;
}

/* Alternatives within: all of them are to be disjoint from the other. */
static int alternatives_apart(struct dn_schema_reader *reader, const struct dn_all *a,
			      const struct dn_all *b, const json_t *list, unsigned int depth)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct dn_all one = *a;
		int r;

		if (one.n_chosen == DN_ALL_MAX)
			return 0;
		one.chosen[one.n_chosen++] = list;
		r = dn_schema_add(reader, &one, json_array_get(list, i));
		if (r >= 0)
			r = are_apart(reader, &one, b, depth + 1);
		if (r <= 0)
			return r;
	}
	return json_array_size(list) > 0;
}

static int shapes_apart(struct dn_schema_reader *reader, const struct dn_all *a,
			const struct dn_all *b, unsigned int depth)
{
	struct dn_shape a_shape;
	struct dn_shape b_shape;
	int r = dn_schema_shape(reader, a, &a_shape);

	if (r >= 0)
		r = dn_schema_shape(reader, b, &b_shape);
	if (r < 0)
		return r;
	if (a_shape.values || b_shape.values) {
		r = a_shape.values ? values_meet(reader, b, &a_shape, &b_shape)
				   : values_meet(reader, a, &b_shape, &a_shape);
		return r < 0 ? r : !r;
	}
	for (uint32_t type = 1; type < DN_TYPE_ALL; type <<= 1) {
		if (!(a_shape.said & b_shape.said & type) ||
		    !scalars_meet(&a_shape, &b_shape, type))
			continue;
		if (type != DN_TYPE_OBJECT)
			return 0;
		r = objects_apart(reader, a, b, depth);
		if (r == 0)
			r = objects_apart(reader, b, a, depth);
		if (r <= 0)
			return r;
	}
	return 1;
}

/* Whether no value matches both; where that is not sure, 0. */
static int are_apart(struct dn_schema_reader *reader, const struct dn_all *a,
		     const struct dn_all *b, unsigned int depth)
{
	struct dn_all whole_a = *a;
	struct dn_all whole_b = *b;
	const json_t *schema;
	const char *keyword;
	const json_t *list;
	int r = dn_schema_expand(reader, &whole_a);

	if (r > 0)
		r = dn_schema_expand(reader, &whole_b);
	if (r <= 0)
		return r < 0 ? r : 1;
	if (depth == DEPTH_MAX)
		return 0;
	/* Where there is nothing that says so otherwise: types and more are looked at first. */
	r = shapes_apart(reader, &whole_a, &whole_b, depth);
	if (r != 0)
		return r;
	list = dn_schema_alternatives(&whole_a, &schema, &keyword);
	if (list)
		return alternatives_apart(reader, &whole_a, &whole_b, list, depth);
	list = dn_schema_alternatives(&whole_b, &schema, &keyword);
	if (list)
		return alternatives_apart(reader, &whole_b, &whole_a, list, depth);
	return 0;
}

/* A value that an alternative may have, and the alternative's number. */
struct tag {
	const json_t *value;
	size_t of;
};

struct tags {
	struct tag *tags;
	size_t n;
};

static int compare_values(const json_t *a, const json_t *b)
{
	const uint32_t type =
		dn_schema_type(a) & DN_TYPE_FRACTION ? DN_TYPE_INTEGER : dn_schema_type(a);
	const uint32_t other =
		dn_schema_type(b) & DN_TYPE_FRACTION ? DN_TYPE_INTEGER : dn_schema_type(b);
	const double x = json_number_value(a);
	const double y = json_number_value(b);

	if (type != other)
		return type < other ? -1 : 1;
	if (type == DN_TYPE_STRING)
		return strcmp(json_string_value(a), json_string_value(b));
	if (type == DN_TYPE_BOOLEAN)
		return json_is_true(a) - json_is_true(b);
	return (x > y) - (x < y);
}

static int compare_tags(const void *a, const void *b)
{
	return compare_values(((const struct tag *)a)->value, ((const struct tag *)b)->value);
}

/* Adds what alternative @of may be, where it lists that. Return: 1, or 0 where it does not. */
static int add_tags(struct dn_schema_reader *reader, const struct dn_all *all, size_t of,
		    struct tags *tags)
{
	struct dn_shape shape;
	size_t n;
	int r = dn_schema_shape(reader, all, &shape);

	if (r < 0 || !shape.values)
		return DN_MIN(r, 0);
	n = shape.is_const ? 1 : json_array_size(shape.values);
	r = dn_schema_spend(reader, n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const json_t *value =
			shape.is_const ? shape.values : json_array_get(shape.values, i);

		if (json_is_array(value) || json_is_object(value) || tags->n == TAGS_MAX)
			return 0;
		tags->tags[tags->n++] = (struct tag){ value, of };
	}
	return 1;
}

/* The same of its property @name, which is to be there. */
static int add_property_tags(struct dn_schema_reader *reader, const struct dn_all *all,
			     const char *name, size_t of, struct tags *tags)
{
	struct dn_shape shape;
	struct dn_all value;
	int r = dn_schema_shape(reader, all, &shape);

	if (r >= 0)
		r = shape.said == DN_TYPE_OBJECT ? dn_schema_requires(reader, all, name) : 0;
	if (r <= 0)
		return r;
	r = dn_schema_property(reader, all, name, &value);
	/* No object has one that none can be. */
	return r > 0 ? add_tags(reader, &value, of, tags) : r < 0 ? r : 1;
}

/*
 * Whether the values that alternatives list (@name NULL), or those of a property that all need, tell
 * all of them apart: by sorting, since unions have many and pairs are their square.
 */
static int told_by_values(struct dn_schema_reader *reader, const struct dn_all *all,
			  const json_t *list, const char *name, struct tags *tags)
{
	int r = 1;

	tags->n = 0;
	for (size_t i = 0; r > 0 && i < json_array_size(list); i++) {
		struct dn_all one;

		r = dn_schema_choose(reader, all, list, i, &one);
		if (r >= 0)
			r = dn_schema_expand(reader, &one);
		if (r == 0)
			r = 1; /* nothing matches it */
		else if (r > 0)
			r = name ? add_property_tags(reader, &one, name, i, tags)
				 : add_tags(reader, &one, i, tags);
	}
	if (r <= 0)
		return r;
	qsort(tags->tags, tags->n, sizeof(*tags->tags), compare_tags);
	for (size_t i = 1; i < tags->n; i++)
		if (tags->tags[i].of != tags->tags[i - 1].of &&
		    compare_tags(&tags->tags[i], &tags->tags[i - 1]) == 0)
			return 0;
	return 1;
}

/* By any property that the first alternative needs. */
static int told_by_property(struct dn_schema_reader *reader, const struct dn_all *all,
			    const json_t *list, struct tags *tags)
{
	struct dn_all first;
	int r = dn_schema_choose(reader, all, list, 0, &first);

	if (r >= 0)
		r = dn_schema_expand(reader, &first);
	if (r <= 0)
		return r;
	r = 0;
	for (uint32_t i = 0; i < first.n; i++) {
		const json_t *required = json_object_get(first.schemas[i], "required");

		for (size_t j = 0; r == 0 && j < json_array_size(required); j++) {
			const char *name = json_string_value(json_array_get(required, j));

			if (name)
				r = told_by_values(reader, all, list, name, tags);
		}
	}
	return r;
}

static int told_by_pairs(struct dn_schema_reader *reader, const struct dn_all *all,
			 const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		for (size_t j = 0; j < i; j++) {
			struct dn_all a;
			struct dn_all b;
			int r = dn_schema_choose(reader, all, list, i, &a);

			if (r >= 0)
				r = dn_schema_choose(reader, all, list, j, &b);
			if (r >= 0)
				r = are_apart(reader, &a, &b, 0);
			if (r <= 0)
				return r;
		}
	return 1;
}

int dn_schema_disjoint(struct dn_schema_reader *reader, const struct dn_all *all,
		       const json_t *list)
{
	DN_AUTO_FREE struct tag *room = NULL;
	struct tags tags = { .n = 0 };
	int r;

	if (json_array_size(list) < 2)
		return 1;
	tags.tags = room = malloc(TAGS_MAX * sizeof(*room));
	if (!room)
		return dn_error_memory(reader->err, "values", TAGS_MAX * sizeof(*room));
	r = told_by_values(reader, all, list, NULL, &tags);
	if (r == 0)
		r = told_by_property(reader, all, list, &tags);
	return r != 0 ? r : told_by_pairs(reader, all, list);
}
