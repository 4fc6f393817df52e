/* SPDX-License-Identifier: MIT */
/* Alternatives that no value can match two of: by types, values, bounds, or a property. */

#include <stddef.h>

#include "engine/grammar/schema.h"

#define DEPTH_MAX 4

static bool scalars_meet(const struct dn_shape *a, const struct dn_shape *b, uint32_t type)
{
	switch (type) {
	case DN_TYPE_INTEGER:
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
			if (!dn_schema_requires(b, name))
				continue;
			r = dn_schema_property(reader, a, name, &of_a);
			if (r > 0)
				r = dn_schema_disjoint(reader, &of_a, &of_b, depth + 1);
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
			r = dn_schema_disjoint(reader, &one, b, depth + 1);
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

int dn_schema_disjoint(struct dn_schema_reader *reader, const struct dn_all *a,
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
