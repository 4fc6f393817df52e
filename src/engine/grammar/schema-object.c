/* SPDX-License-Identifier: MIT */
/* Objects of a schema: properties in their order, then those that have no name there. */

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/schema.h"

/* Names of a property that are left out of others, and characters of one. */
#define NAME_POINTS_MAX 256

struct names {
	const char *names[DN_PROPERTIES_MAX];
	uint32_t n;
};

static int add_name(struct dn_schema_reader *reader, const struct dn_all *all, struct names *names,
		    const char *name)
{
	/* Quadratic, and within DN_PROPERTIES_MAX. */
	for (uint32_t i = 0; i < names->n; i++)
		if (strcmp(names->names[i], name) == 0)
			return 0;
	if (names->n == DN_PROPERTIES_MAX)
		return dn_schema_unsupported(reader, all->schemas[0], "properties", "so many");
	names->names[names->n++] = name;
	return 0;
}

static int collect_names(struct dn_schema_reader *reader, const struct dn_all *all,
			 struct names *names)
{
	int r = 0;

	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *properties = json_object_get(all->schemas[i], "properties");
		const char *key;
		json_t *value;

		if (properties && !json_is_object(properties))
			return dn_schema_wrong(reader, all->schemas[i], "properties",
					       "is to be an object");
		json_object_foreach((json_t *)properties, key, value)
		{
			r = add_name(reader, all, names, key);
			if (r < 0)
				return r;
		}
	}
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *required = json_object_get(all->schemas[i], "required");

		/* Draft 3 has a word in each property. */
		if (required && !json_is_array(required))
			return dn_schema_wrong(reader, all->schemas[i], "required",
					       "is to be a list of names");
		for (size_t j = 0; j < json_array_size(required); j++) {
			const char *name = json_string_value(json_array_get(required, j));

			if (!name)
				return dn_schema_wrong(reader, all->schemas[i], "required",
						       "is to be a list of names");
			r = add_name(reader, all, names, name);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

bool dn_schema_requires(const struct dn_all *all, const char *name)
{
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *required = json_object_get(all->schemas[i], "required");

		for (size_t j = 0; j < json_array_size(required); j++) {
			const char *one = json_string_value(json_array_get(required, j));

			if (one && strcmp(one, name) == 0)
				return true;
		}
	}
	return false;
}

int dn_schema_property(struct dn_schema_reader *reader, const struct dn_all *all, const char *name,
		       struct dn_all *ret_all)
{
	*ret_all = (struct dn_all){ .n = 0 };
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *properties = json_object_get(all->schemas[i], "properties");
		const json_t *one = name ? json_object_get(properties, name) : NULL;
		int r = 0;

		if (!one)
			one = json_object_get(all->schemas[i], "additionalProperties");
		if (one)
			r = dn_schema_add(reader, ret_all, one);
		if (r < 0)
			return r;
	}
	return dn_schema_expand(reader, ret_all);
}

/* "name": in the one spelling that it has. */
static struct dn_expr *spell(struct dn_exprs *exprs, const char *name)
{
	json_t *string = json_string(name);
	char *text = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
	struct dn_expr *expr = text ? dn_expr_text(exprs, text) : NULL;

	if (!text)
		exprs->failed = true;
	free(text);
	json_decref(string);
	return expr;
}

/* Characters of names that are not escaped, so that no name has two spellings. */
static struct dn_expr *name_character(struct dn_exprs *exprs, const uint32_t *without, uint32_t n)
{
	struct dn_point_range ranges[NAME_POINTS_MAX + 3];
	struct dn_point_range others[NAME_POINTS_MAX + 4];
	uint32_t used = 0;

	ranges[used++] = (struct dn_point_range){ 0, ' ' - 1 };
	ranges[used++] = (struct dn_point_range){ '"', '"' };
	ranges[used++] = (struct dn_point_range){ '\\', '\\' };
	for (uint32_t i = 0; i < n; i++)
		ranges[used++] = (struct dn_point_range){ without[i], without[i] };
	used = dn_point_ranges_sort(ranges, used);
	return dn_expr_class(exprs, others, dn_point_ranges_invert(ranges, used, others));
}

/* What names go on with at one place, each once. */
static int next_points(struct dn_schema_reader *reader, const json_t *where,
		       const struct names *names, const char *prefix, size_t size,
		       uint32_t points[NAME_POINTS_MAX], uint32_t *ret_n, bool *ret_ends)
{
	*ret_n = 0;
	*ret_ends = false;
	for (uint32_t i = 0; i < names->n; i++) {
		const char *name = names->names[i];
		uint32_t point;
		uint32_t at = 0;

		if (strlen(name) < size || memcmp(name, prefix, size) != 0)
			continue;
		if (name[size] == '\0') {
			*ret_ends = true;
			continue;
		}
		(void)dn_utf8_decode(name + size, strlen(name) - size, &point);
		while (at < *ret_n && points[at] != point)
			at++;
		if (at == *ret_n && *ret_n == NAME_POINTS_MAX)
			return dn_schema_unsupported(reader, where, "additionalProperties",
						     "beside so many names");
		if (at == *ret_n)
			points[(*ret_n)++] = point;
	}
	return 0;
}

/* Names that begin with @prefix and are none of @names, from behind it on. */
static struct dn_expr *other_names(struct dn_schema_reader *reader, const json_t *where,
				   const struct names *names, char prefix[NAME_POINTS_MAX],
				   size_t size, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	struct dn_expr *any =
		dn_expr_repeat(exprs, name_character(exprs, NULL, 0), 0, DN_REPEAT_FOREVER);
	uint32_t points[NAME_POINTS_MAX];
	struct dn_expr *expr;
	uint32_t n;
	bool ends;

	if (++reader->steps > DN_STEPS_MAX || size + 4 > NAME_POINTS_MAX) {
		*ret = dn_schema_unsupported(reader, where, "additionalProperties",
					     "beside names of such lengths");
		return NULL;
	}
	*ret = next_points(reader, where, names, prefix, size, points, &n, &ends);
	if (*ret < 0)
		return NULL;
	expr = dn_expr_sequence(exprs, name_character(exprs, points, n), any);
	if (!ends)
		expr = dn_expr_maybe(exprs, expr);
	for (uint32_t i = 0; i < n && *ret >= 0; i++) {
		const size_t more = dn_utf8_encode(points[i], prefix + size);
		struct dn_expr *one = dn_expr_bytes(exprs, prefix + size, more);

		/* What has to be escaped no other name begins with. */
		if (points[i] < ' ' || points[i] == '"' || points[i] == '\\')
			continue;
		one = dn_expr_sequence(exprs, one,
				       other_names(reader, where, names, prefix, size + more, ret));
		expr = dn_expr_choice(exprs, expr, one);
	}
	return *ret < 0 ? NULL : expr;
}

/* The name of a property that has no schema of its own. */
static struct dn_expr *free_name(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct names *names, int *ret)
{
	struct dn_all of_names = { .n = 0 };
	char prefix[NAME_POINTS_MAX];
	struct dn_shape shape;

	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *one = json_object_get(all->schemas[i], "propertyNames");

		*ret = one ? dn_schema_add(reader, &of_names, one) : 0;
		if (*ret < 0)
			return NULL;
	}
	if (of_names.n == 0)
		return dn_json_quote(reader->exprs,
				     other_names(reader, all->schemas[0], names, prefix, 0, ret));
	if (names->n > 0) {
		*ret = dn_schema_unsupported(reader, all->schemas[0], "propertyNames",
					     "beside named properties");
		return NULL;
	}
	*ret = dn_schema_expand(reader, &of_names);
	if (*ret <= 0)
		return *ret < 0 ? NULL : dn_expr_never(reader->exprs);
	*ret = dn_schema_shape(reader, &of_names, &shape);
	if (*ret < 0)
		return NULL;
	if (!(shape.types & DN_TYPE_STRING))
		return dn_expr_never(reader->exprs);
	if (!shape.values)
		return dn_schema_string(reader, &shape, ret);
	return dn_schema_value(reader, &of_names, ret);
}

/* Whether properties without a name are to be written: where it is said, or none has one. */
static bool may_be_free(const struct dn_all *all, const struct names *names)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (json_object_get(all->schemas[i], "additionalProperties"))
			return true;
	return names->n == 0;
}

/* A property without a name of its own; NULL with @ret 0: there is to be none. */
static struct dn_expr *free_member(struct dn_schema_reader *reader, const struct dn_all *all,
				   const struct names *names, bool *ret_may, int *ret)
{
	struct dn_all value;
	struct dn_expr *name;

	*ret_may = may_be_free(all, names);
	if (!*ret_may)
		return NULL;
	*ret = dn_schema_property(reader, all, NULL, &value);
	if (*ret <= 0) {
		*ret_may = false;
		return NULL;
	}
	*ret = 0;
	name = free_name(reader, all, names, ret);
	if (*ret < 0)
		return NULL;
	return dn_json_member(reader->exprs, name, dn_schema_value(reader, &value, ret));
}

/*
 * The members from one on: @some where the first of them comes now, @rest where one came before. What
 * follows a comma is the same for all, so that a place has one way for each property and not several.
 */
struct members {
	struct dn_expr *some;
	struct dn_expr *rest;
	bool required; /* whether one of them must come */
};

/* Has @members begin as @some says. */
static void begin_with(struct dn_exprs *exprs, struct members *members, struct dn_expr *some,
		       bool required)
{
	members->some = some;
	members->required |= required;
	members->rest = dn_expr_sequence(exprs, dn_json_comma(exprs), some);
	if (!members->required)
		members->rest = dn_expr_maybe(exprs, members->rest);
}

/* Of properties without a name, @least to @most. */
static struct members free_members(struct dn_schema_reader *reader, const struct dn_all *all,
				   const struct dn_shape *shape, const struct names *names,
				   uint32_t least, uint32_t most, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	struct members members = { dn_expr_never(exprs), dn_expr_empty(exprs), least > 0 };
	struct dn_expr *member;
	struct dn_expr *more;
	bool may;

	member = free_member(reader, all, names, &may, ret);
	if (*ret < 0)
		return members;
	if (!may || most == 0) {
		if (least > 0)
			members.rest = dn_expr_never(exprs);
		return members;
	}
	/* Two may have the same name, and would count once. */
	if (least > 1 || (least > 0 && names->n > 0)) {
		*ret = dn_schema_unsupported(reader, shape->where, "minProperties",
					     "where names are free");
		return members;
	}
	more = dn_expr_sequence(exprs, dn_json_comma(exprs), member);
	more = dn_expr_repeat(exprs, more, 0,
			      most == DN_REPEAT_FOREVER ? DN_REPEAT_FOREVER : most - 1);
	begin_with(exprs, &members, dn_expr_sequence(exprs, member, more), false);
	return members;
}

/* Puts the property @name before @members. */
static void put_before(struct dn_schema_reader *reader, const struct dn_all *all, const char *name,
		       struct members *members, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	const bool required = dn_schema_requires(all, name);
	struct dn_expr *member;
	struct dn_all value;
	const int may = dn_schema_property(reader, all, name, &value);

	if (may < 0) {
		*ret = may;
		return;
	}
	if (!may) {
		if (required)
			begin_with(exprs, members, dn_expr_never(exprs), true);
		return;
	}
	member = dn_json_member(exprs, spell(exprs, name), dn_schema_value(reader, &value, ret));
	member = dn_expr_sequence(exprs, member, members->rest);
	if (!required)
		member = dn_expr_choice(exprs, member, members->some);
	begin_with(exprs, members, member, required);
}

/* How many named properties there must and can be. */
static int count_named(struct dn_schema_reader *reader, const struct dn_all *all,
		       const struct names *names, uint32_t *ret_least, uint32_t *ret_most)
{
	*ret_least = *ret_most = 0;
	for (uint32_t i = 0; i < names->n; i++) {
		struct dn_all value;
		const int may = dn_schema_property(reader, all, names->names[i], &value);

		if (may < 0)
			return may;
		*ret_least += dn_schema_requires(all, names->names[i]);
		*ret_most += may > 0;
	}
	return 0;
}

static struct dn_expr *write_object(struct dn_schema_reader *reader, const struct dn_all *all,
				    const struct dn_shape *shape, const struct names *names,
				    int *ret)
{
	struct members members;
	uint32_t least;
	uint32_t most;
	uint32_t left = shape->max_properties;

	*ret = count_named(reader, all, names, &least, &most);
	if (*ret < 0)
		return NULL;
	if (most > shape->max_properties) {
		*ret = dn_schema_unsupported(reader, shape->where, "maxProperties",
					     "below the number of named properties");
		return NULL;
	}
	if (left != DN_REPEAT_FOREVER)
		left -= most;
	if (shape->min_properties > least && most > 0) {
		*ret = dn_schema_unsupported(reader, shape->where, "minProperties",
					     "above the number of required properties");
		return NULL;
	}
	members = free_members(reader, all, shape, names,
			       shape->min_properties > least ? shape->min_properties - least : 0,
			       left, ret);
	for (uint32_t i = names->n; *ret >= 0 && i-- > 0;)
		put_before(reader, all, names->names[i], &members, ret);
	if (!members.required)
		members.some = dn_expr_maybe(reader->exprs, members.some);
	return *ret < 0 ? NULL : dn_json_enclose(reader->exprs, "{", members.some, "}");
}

struct dn_expr *dn_schema_object(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, int *ret)
{
	DN_AUTO_FREE struct names *names = calloc(1, sizeof(*names));

	if (!names) {
		*ret = dn_error_memory(reader->err, "names of properties", sizeof(*names));
		return NULL;
	}
	*ret = collect_names(reader, all, names);
	return *ret < 0 ? NULL : write_object(reader, all, shape, names, ret);
}
