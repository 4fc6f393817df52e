/* SPDX-License-Identifier: MIT */
/* Objects of a schema: properties in their order, then those that have no name there. */

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/schema.h"

/* Names that are left out of others: bytes of one, and characters that any goes on with. */
#define NAME_BYTES_MAX	252
#define NAME_POINTS_MAX 256

/*
 * @set: of each name, whether it is required, in the order in which they come
 * @closed: there are to be no others
 * @names: the same, for who goes from the last to the first; @sorted: by their bytes
 */
struct names {
	json_t *set;
	const char *names[DN_PROPERTIES_MAX];
	const char *sorted[DN_PROPERTIES_MAX];
	bool required[DN_PROPERTIES_MAX];
	uint32_t n;
	bool closed;
};

static int add_name(struct dn_schema_reader *reader, const struct dn_all *all, struct names *names,
		    const char *name, bool required)
{
	int r = dn_schema_spend(reader, 2);

	if (r < 0 || (!required && json_object_get(names->set, name)))
		return r;
	if (json_object_set_new(names->set, name, json_boolean(required)) < 0)
		return dn_error_memory(reader->err, "names of properties", sizeof(*names));
	if (json_object_size(names->set) > DN_PROPERTIES_MAX)
		return dn_schema_unsupported(reader, all->schemas[0], "properties", "so many");
	return 0;
}

static int add_properties(struct dn_schema_reader *reader, const struct dn_all *all,
			  const json_t *schema, struct names *names)
{
	const json_t *properties = json_object_get(schema, "properties");
	const char *key;
	json_t *value;

	if (properties && !json_is_object(properties))
		return dn_schema_wrong(reader, schema, "properties", "is to be an object");
	json_object_foreach((json_t *)properties, key, value)
	{
		const int r = add_name(reader, all, names, key, false);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Draft 3 has a word in each property. */
static int add_required(struct dn_schema_reader *reader, const struct dn_all *all,
			const json_t *schema, struct names *names)
{
	const json_t *required = json_object_get(schema, "required");

	if (required && !json_is_array(required))
		return dn_schema_wrong(reader, schema, "required", "is to be a list of names");
	for (size_t i = 0; i < json_array_size(required); i++) {
		const char *name = json_string_value(json_array_get(required, i));
		const int r = name ? add_name(reader, all, names, name, true)
				   : dn_schema_wrong(reader, schema, "required",
						     "is to be a list of names");

		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int collect_names(struct dn_schema_reader *reader, const struct dn_all *all,
			 struct names *names)
{
	const char *key;
	json_t *value;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < all->n; i++)
		r = add_properties(reader, all, all->schemas[i], names);
	for (uint32_t i = 0; r >= 0 && i < all->n; i++)
		r = add_required(reader, all, all->schemas[i], names);
	if (r < 0)
		return r;
	json_object_foreach(names->set, key, value)
	{
		names->required[names->n] = json_is_true(value);
		names->sorted[names->n] = key;
		names->names[names->n++] = key;
	}
	qsort(names->sorted, names->n, sizeof(*names->sorted), compare_names);
	return 0;
}

int dn_schema_requires(struct dn_schema_reader *reader, const struct dn_all *all, const char *name)
{
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *required = json_object_get(all->schemas[i], "required");
		const int r = dn_schema_spend(reader, 1 + json_array_size(required));

		if (r < 0)
			return r;
		for (size_t j = 0; j < json_array_size(required); j++) {
			const char *one = json_string_value(json_array_get(required, j));

			if (one && strcmp(one, name) == 0)
				return 1;
		}
	}
	return 0;
}

int dn_schema_property(struct dn_schema_reader *reader, const struct dn_all *all, const char *name,
		       struct dn_all *ret_all)
{
	int r = dn_schema_spend(reader, all->n);

	*ret_all = (struct dn_all){ .n = 0 };
	for (uint32_t i = 0; r >= 0 && i < all->n; i++) {
		const json_t *properties = json_object_get(all->schemas[i], "properties");
		const json_t *one = name ? json_object_get(properties, name) : NULL;

		if (!one)
			one = json_object_get(all->schemas[i], "additionalProperties");
		if (one)
			r = dn_schema_add(reader, ret_all, one);
	}
	return r < 0 ? r : dn_schema_expand(reader, ret_all);
}

static bool any_has(const struct dn_all *all, const char *keyword, const char *name)
{
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *value = json_object_get(all->schemas[i], keyword);

		if (name ? json_object_get(value, name) != NULL : value != NULL)
			return true;
	}
	return false;
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

/*
 * Names that are none of @names, from behind their first @size bytes on, which all of @names begin
 * with; these are sorted.
 */
static struct dn_expr *other_names(struct dn_schema_reader *reader, const json_t *where,
				   const char *const *names, size_t n, size_t size, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	struct dn_expr *known = dn_expr_never(exprs);
	uint32_t points[NAME_POINTS_MAX];
	struct dn_expr *expr;
	uint32_t used = 0;
	size_t end;
	bool may_stop = true;

	*ret = dn_schema_spend(reader, 1 + n);
	for (size_t i = 0; *ret >= 0 && i < n; i = end) {
		const size_t left = strlen(names[i] + size);
		size_t more;

		end = i + 1;
		if (left == 0) {
			may_stop = false;
			continue;
		}
		if (size + left >= NAME_BYTES_MAX || used == NAME_POINTS_MAX) {
			*ret = dn_schema_unsupported(reader, where, "additionalProperties",
						     "beside so many names, or so long ones");
			return NULL;
		}
		more = dn_utf8_decode(names[i] + size, left, &points[used]);
		while (end < n && strncmp(names[end] + size, names[i] + size, more) == 0)
			end++;
		/* What has to be escaped no other name begins with. */
		if (points[used] >= ' ' && points[used] != '"' && points[used] != '\\') {
			expr = other_names(reader, where, names + i, end - i, size + more, ret);
			expr = dn_expr_sequence(exprs, dn_expr_bytes(exprs, names[i] + size, more),
						expr);
			known = dn_expr_choice(exprs, known, expr);
		}
		used++;
	}
	if (*ret < 0)
		return NULL;
	expr = dn_expr_repeat(exprs, name_character(exprs, NULL, 0), 0, DN_REPEAT_FOREVER);
	expr = dn_expr_sequence(exprs, name_character(exprs, points, used), expr);
	if (may_stop)
		expr = dn_expr_maybe(exprs, expr);
	return dn_expr_choice(exprs, expr, known);
}

/* The name of a property that has no schema of its own. */
static struct dn_expr *free_name(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct names *names, int *ret)
{
	struct dn_all of_names = { .n = 0 };
	struct dn_shape shape;

	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *one = json_object_get(all->schemas[i], "propertyNames");

		*ret = one ? dn_schema_add(reader, &of_names, one) : 0;
		if (*ret < 0)
			return NULL;
	}
	if (of_names.n == 0)
		return dn_json_quote(reader->exprs, other_names(reader, all->schemas[0],
								names->sorted, names->n, 0, ret));
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

/*
 * Whether properties without a name are to be written: where it is said, or nothing is said of names.
 * Programs give an empty "properties" to functions without arguments.
 */
static bool may_be_free(const struct dn_all *all, const struct names *names)
{
	if (names->closed)
		return false;
	if (any_has(all, "additionalProperties", NULL))
		return true;
	return names->n == 0 && !any_has(all, "properties", NULL);
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
	if (!may && least > 0 && any_has(all, "properties", NULL)) {
		*ret = dn_schema_unsupported(reader, shape->where, "minProperties",
					     "above the number of named properties");
		return members;
	}
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
		       bool required, struct members *members, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
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
		*ret_least += names->required[i];
		*ret_most += may > 0;
	}
	return 0;
}

/* Names that are given are not held against it. */
static int check_property_names(struct dn_schema_reader *reader, const struct dn_all *all,
				const struct names *names)
{
	for (uint32_t i = 0; names->n > 0 && i < all->n; i++)
		if (json_object_get(all->schemas[i], "propertyNames"))
			return dn_schema_unsupported(reader, all->schemas[i], "propertyNames",
						     "beside properties that are named or "
						     "required");
	return 0;
}

static bool has_all(const struct dn_all *all, const struct dn_all *others)
{
	for (uint32_t i = 0; i < others->n; i++) {
		bool found = false;

		for (uint32_t j = 0; !found && j < all->n; j++)
			found = all->schemas[j] == others->schemas[i];
		if (!found)
			return false;
	}
	return true;
}

/* Adds those alternatives of @list that hold because all of what they say is in @all. */
static int add_holding(struct dn_schema_reader *reader, const struct dn_all *all,
		       const json_t *list, struct dn_all *within)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++) {
		struct dn_all one = { .n = 1, .schemas = { json_array_get(list, i) } };

		r = dn_schema_expand(reader, &one);
		if (r <= 0 || !has_all(all, &one))
			continue;
		for (uint32_t j = 0; r >= 0 && j < one.n; j++)
			r = dn_schema_add(reader, within, one.schemas[j]);
	}
	return r;
}

/* @schema and what is within it, of @all: whose properties it knows. */
static int find_within(struct dn_schema_reader *reader, const struct dn_all *all,
		       const json_t *schema, struct dn_all *ret_within)
{
	int r;

	*ret_within = (struct dn_all){ .n = 1, .schemas = { schema } };
	r = dn_schema_expand(reader, ret_within);
	for (uint32_t i = 0; r >= 0 && i < ret_within->n; i++) {
		r = add_holding(reader, all, json_object_get(ret_within->schemas[i], "anyOf"),
				ret_within);
		if (r >= 0)
			r = add_holding(reader, all,
					json_object_get(ret_within->schemas[i], "oneOf"),
					ret_within);
	}
	return r;
}

/* "unevaluatedProperties": false allows what is named within its own schema, and nothing else. */
static int check_unevaluated(struct dn_schema_reader *reader, const struct dn_all *all,
			     struct names *names)
{
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *schema = all->schemas[i];
		struct dn_all within;
		int r;

		if (!json_is_false(json_object_get(schema, "unevaluatedProperties")))
			continue;
		r = find_within(reader, all, schema, &within);
		if (r >= 0)
			r = dn_schema_spend(reader, (size_t)names->n * within.n);
		if (r < 0)
			return r;
		if (any_has(&within, "additionalProperties", NULL))
			continue;
		names->closed = true;
		for (uint32_t k = 0; k < names->n; k++)
			if (!any_has(&within, "properties", names->names[k]))
				return dn_schema_unsupported(
					reader, schema, "unevaluatedProperties",
					"where a name is in no 'properties' of it");
	}
	return 0;
}

static struct dn_expr *write_object(struct dn_schema_reader *reader, const struct dn_all *all,
				    const struct dn_shape *shape, struct names *names, int *ret)
{
	struct members members;
	uint32_t least;
	uint32_t most;
	uint32_t left = shape->max_properties;

	*ret = check_property_names(reader, all, names);
	if (*ret >= 0)
		*ret = check_unevaluated(reader, all, names);
	if (*ret >= 0)
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
		put_before(reader, all, names->names[i], names->required[i], &members, ret);
	if (!members.required)
		members.some = dn_expr_maybe(reader->exprs, members.some);
	return *ret < 0 ? NULL : dn_json_enclose(reader->exprs, "{", members.some, "}");
}

struct dn_expr *dn_schema_object(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, int *ret)
{
	DN_AUTO_FREE struct names *names = calloc(1, sizeof(*names));
	struct dn_expr *expr = NULL;

	if (!names) {
		*ret = dn_error_memory(reader->err, "names of properties", sizeof(*names));
		return NULL;
	}
	names->set = json_object();
	*ret = names->set ? collect_names(reader, all, names)
			  : dn_error_memory(reader->err, "names of properties", sizeof(*names));
	if (*ret >= 0)
		expr = write_object(reader, all, shape, names, ret);
	json_decref(names->set);
	return expr;
}
