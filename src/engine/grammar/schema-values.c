/* SPDX-License-Identifier: MIT */
/* Values that a schema lists ("enum", "const"), against all else that it says. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/grammar/schema.h"

uint32_t dn_schema_type(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_NULL:
		return DN_TYPE_NULL;
	case JSON_TRUE:
	case JSON_FALSE:
		return DN_TYPE_BOOLEAN;
	case JSON_INTEGER:
		return DN_TYPE_INTEGER;
	case JSON_REAL:
		return trunc(json_real_value(value)) == json_real_value(value) ? DN_TYPE_INTEGER
									       : DN_TYPE_FRACTION;
	case JSON_STRING:
		return DN_TYPE_STRING;
	case JSON_ARRAY:
		return DN_TYPE_ARRAY;
	case JSON_OBJECT:
		return DN_TYPE_OBJECT;
	}
	return 0;
}

static size_t count_points(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((uint8_t)*text & 0xc0) != 0x80;
	return n;
}

/* Whole numbers are compared as such, since doubles are not exact where they are large. */
static bool is_whole(const json_t *value, int64_t *ret_whole)
{
	const double number = json_number_value(value);

	if (!json_is_integer(value) && (trunc(number) != number || !(fabs(number) < 0x1p63)))
		return false;
	*ret_whole = json_is_integer(value) ? json_integer_value(value) : (int64_t)number;
	return true;
}

static bool number_fits(const struct dn_shape *shape, const json_t *value)
{
	const double number = json_number_value(value);
	int64_t whole;

	if (number < shape->low || number > shape->high)
		return false;
	if (is_whole(value, &whole)) {
		if (whole < shape->least || whole > shape->most)
			return false;
		if (shape->factor >= 1 && shape->factor <= 1e15 &&
		    trunc(shape->factor) == shape->factor)
			return whole % (int64_t)shape->factor == 0;
	} else if ((shape->above && number <= shape->low) ||
		   (shape->below && number >= shape->high)) {
		return false;
	}
	return !(shape->factor > 0) || fmod(number, shape->factor) == 0;
}

/* As JSON Schema sees it, where 1.0 is 1. */
static bool is_equal(const json_t *a, const json_t *b)
{
	int64_t x;
	int64_t y;

	if (json_is_number(a) && json_is_number(b))
		return is_whole(a, &x) && is_whole(b, &y)
			       ? x == y
			       : json_number_value(a) == json_number_value(b);
	return json_equal(a, b);
}

/* Whether a schema's own list has @value. @listed is where it comes from. Return: 1, 0, or -E2BIG. */
static int is_listed(struct dn_schema_reader *reader, const json_t *schema, const json_t *listed,
		     const json_t *value)
{
	const json_t *list = json_object_get(schema, "enum");
	const json_t *one = json_object_get(schema, "const");
	const bool container = json_is_array(value) || json_is_object(value);
	bool found = !list || list == listed;
	int r = 0;

	if (!found)
		r = dn_schema_spend(reader, json_array_size(list) * (container ? 16 : 1));
	if (r < 0)
		return r;
	for (size_t i = 0; !found && i < json_array_size(list); i++)
		found = is_equal(json_array_get(list, i), value);
	return found && (!one || one == listed || is_equal(one, value));
}

/* What says something of objects or lists. */
static const char *says_more(const struct dn_all *all)
{
	static const char *const keywords[] = { "properties",	 "unevaluatedProperties",
						"required",	 "additionalProperties",
						"propertyNames", "items",
						"prefixItems" };

	for (uint32_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < DN_ARRAY_SIZE(keywords); k++)
			if (json_object_get(all->schemas[i], keywords[k]))
				return keywords[k];
	return NULL;
}

int dn_schema_fits(struct dn_schema_reader *reader, const struct dn_all *all,
		   const struct dn_shape *shape, const json_t *value)
{
	const uint32_t type = dn_schema_type(value);
	int r = dn_schema_spend(reader, 4 + all->n);

	if (r < 0 || !(type & shape->said))
		return DN_MIN(r, 0);
	for (uint32_t i = 0; i < all->n; i++) {
		r = is_listed(reader, all->schemas[i], shape->values, value);
		if (r <= 0)
			return r;
	}
	/* As reals they are not the numbers that they were. */
	if (reader->widened &&
	    (type & (DN_TYPE_ARRAY | DN_TYPE_OBJECT) || fabs(json_number_value(value)) >= 0x1p63))
		return dn_schema_unsupported(reader, shape->where,
					     shape->is_const ? "const" : "enum",
					     "beside whole numbers of more than 64 bits");
	if (json_is_number(value))
		return number_fits(shape, value);
	if (json_is_string(value)) {
		const size_t n = count_points(json_string_value(value));

		if (shape->pattern)
			return dn_schema_unsupported(reader, shape->where, "pattern",
						     "beside 'enum' or 'const'");
		return n >= shape->min_length && n <= shape->max_length;
	}
	if ((type & (DN_TYPE_ARRAY | DN_TYPE_OBJECT)) && says_more(all))
		return dn_schema_unsupported(reader, shape->where, says_more(all),
					     "beside values of 'enum' or 'const' that have it");
	if (json_is_array(value))
		return json_array_size(value) >= shape->min_items &&
		       json_array_size(value) <= shape->max_items;
	if (json_is_object(value))
		return json_object_size(value) >= shape->min_properties &&
		       json_object_size(value) <= shape->max_properties;
	return 1;
}

/* @value in the fewest digits that are read as the same; NULL: memory is short. */
static char *write_value(const json_t *value)
{
	char *text = NULL;

	for (size_t digits = 15; digits <= 17; digits++) {
		json_t *read;
		bool same;

		free(text);
		text = json_dumps(value,
				  JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
		if (!text || json_is_string(value) || json_is_integer(value))
			return text;
		read = json_loads(text, JSON_DECODE_ANY, NULL);
		same = json_equal(read, value);
		json_decref(read);
		if (same)
			break;
	}
	return text;
}

/* The texts of all that fit into @texts, which are the caller's to free. */
static int write_listed(struct dn_schema_reader *reader, const struct dn_all *all,
			const struct dn_shape *shape, char **texts, size_t *n)
{
	const size_t count = shape->is_const ? 1 : json_array_size(shape->values);

	for (size_t i = 0; i < count; i++) {
		const json_t *value =
			shape->is_const ? shape->values : json_array_get(shape->values, i);
		const int fits = dn_schema_fits(reader, all, shape, value);

		if (fits < 0)
			return fits;
		if (!fits)
			continue;
		texts[*n] = write_value(value);
		if (!texts[*n])
			return dn_error_memory(reader->err, "a value", 0);
		++*n;
	}
	return 0;
}

struct dn_expr *dn_schema_listed(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, int *ret)
{
	DN_AUTO_FREE char **texts = malloc((json_array_size(shape->values) + 1) * sizeof(*texts));
	struct dn_expr *expr = NULL;
	size_t n = 0;

	*ret = texts ? write_listed(reader, all, shape, texts, &n)
		     : dn_error_memory(reader->err, "values", json_array_size(shape->values));
	if (*ret >= 0)
		expr = dn_expr_one_of(reader->exprs, texts, n);
	while (n > 0)
		free(texts[--n]);
	return expr;
}
