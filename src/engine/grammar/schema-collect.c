/* SPDX-License-Identifier: MIT */
/* What schemas that hold together say, keyword by keyword. */

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/regex.h"
#include "engine/grammar/schema.h"

/* What a keyword does: nothing, it names other schemas that hold too, or it says something itself. */
enum keyword_kind { NOTE, REFERS, SAYS };

struct keyword {
	const char *name;
	enum keyword_kind kind;
};

/* In the order of their bytes. */
static const struct keyword keywords[] = {
	{ "$anchor", NOTE },
	{ "$comment", NOTE },
	{ "$defs", NOTE },
	{ "$id", NOTE },
	{ "$ref", REFERS },
	{ "$schema", NOTE },
	{ "$vocabulary", NOTE },
	{ "additionalItems", SAYS },
	{ "additionalProperties", SAYS },
	{ "allOf", REFERS },
	{ "anyOf", SAYS },
	{ "const", SAYS },
	{ "contentEncoding", NOTE },
	{ "contentMediaType", NOTE },
	{ "contentSchema", NOTE },
	{ "default", NOTE },
	{ "definitions", NOTE },
	{ "deprecated", NOTE },
	{ "description", NOTE },
	{ "discriminator", NOTE },
	{ "enum", SAYS },
	{ "example", NOTE },
	{ "examples", NOTE },
	{ "exclusiveMaximum", SAYS },
	{ "exclusiveMinimum", SAYS },
	{ "format", SAYS },
	{ "id", NOTE },
	{ "items", SAYS },
	{ "maxItems", SAYS },
	{ "maxLength", SAYS },
	{ "maxProperties", SAYS },
	{ "maximum", SAYS },
	{ "minItems", SAYS },
	{ "minLength", SAYS },
	{ "minProperties", SAYS },
	{ "minimum", SAYS },
	{ "multipleOf", SAYS },
	{ "oneOf", SAYS },
	{ "pattern", SAYS },
	{ "prefixItems", SAYS },
	{ "properties", SAYS },
	{ "propertyNames", SAYS },
	{ "propertyOrdering", NOTE },
	{ "readOnly", NOTE },
	{ "required", SAYS },
	{ "strict", NOTE },
	{ "title", NOTE },
	{ "type", SAYS },
	{ "unevaluatedItems", SAYS },
	{ "unevaluatedProperties", SAYS },
	{ "uniqueItems", SAYS },
	{ "writeOnly", NOTE },
};

static int compare_keyword(const void *name, const void *keyword)
{
	return strcmp(name, ((const struct keyword *)keyword)->name);
}

int dn_schema_spend(struct dn_schema_reader *reader, size_t steps)
{
	if (steps > DN_STEPS_MAX - reader->steps)
		return dn_error_set(reader->err, E2BIG,
				    "the schema is too large: with what it refers to, and what is "
				    "compared in it, it has more than %u parts",
				    DN_STEPS_MAX);
	reader->steps += (uint32_t)steps;
	return 0;
}

/* @ret_says: whether it says more than that others hold: else it is not needed beside them. */
static int check_keywords(struct dn_schema_reader *reader, const json_t *schema, bool *ret_says)
{
	int r = dn_schema_spend(reader, 1 + json_object_size(schema));
	const char *key;
	json_t *value;

	if (r < 0)
		return r;
	*ret_says = false;
	json_object_foreach((json_t *)schema, key, value)
	{
		const struct keyword *it = bsearch(key, keywords, DN_ARRAY_SIZE(keywords),
						   sizeof(*it), compare_keyword);

		if (!it && strncmp(key, "x-", 2) != 0)
			return dn_schema_unsupported(reader, schema, key, NULL);
		*ret_says |= it && it->kind == SAYS;
	}
	value = json_object_get(schema, "uniqueItems");
	if (value && !json_is_false(value))
		return dn_schema_unsupported(reader, schema, "uniqueItems", NULL);
	value = json_object_get(schema, "unevaluatedProperties");
	if (value && !json_is_boolean(value))
		return dn_schema_unsupported(reader, schema, "unevaluatedProperties",
					     "but for true and false");
	value = json_object_get(schema, "unevaluatedItems");
	if (value && !json_is_true(value))
		return dn_schema_unsupported(reader, schema, "unevaluatedItems", "but for true");
	return 0;
}

int dn_schema_add(struct dn_schema_reader *reader, struct dn_all *all, const json_t *schema)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (all->schemas[i] == schema)
			return 0;
	if (all->n == DN_ALL_MAX)
		return dn_error_set(reader->err, E2BIG,
				    "more than %d schemas hold for one value of the schema",
				    DN_ALL_MAX);
	all->schemas[all->n++] = schema;
	return 0;
}

/* One step of a JSON pointer (RFC 6901) as it stands in a "$ref". */
static const json_t *step_into(const json_t *at, const char *token, size_t size)
{
	char name[256];
	size_t n = 0;
	char *end;

	for (size_t i = 0; i < size && n + 1 < sizeof(name); i++) {
		if (token[i] == '~' && i + 1 < size &&
		    (token[i + 1] == '0' || token[i + 1] == '1')) {
			name[n++] = token[++i] == '0' ? '~' : '/';
		} else if (token[i] == '%' && i + 2 < size && dn_hex_value(token[i + 1]) >= 0 &&
			   dn_hex_value(token[i + 2]) >= 0) {
			name[n++] = (char)(dn_hex_value(token[i + 1]) << 4 |
					   dn_hex_value(token[i + 2]));
			i += 2;
		} else {
			name[n++] = token[i];
		}
	}
	name[n] = '\0';
	if (json_is_array(at)) {
		const unsigned long index = strtoul(name, &end, 10);

		return end != name && *end == '\0' ? json_array_get(at, index) : NULL;
	}
	return json_object_get(at, name);
}

static const json_t *find_reference(const json_t *root, const char *reference)
{
	const char *at = reference + 1;

	if (reference[0] != '#' || (at[0] != '\0' && at[0] != '/'))
		return NULL;
	while (root && *at == '/') {
		const size_t size = strcspn(at + 1, "/");

		root = step_into(root, at + 1, size);
		at += size + 1;
	}
	return root;
}

static int follow(struct dn_schema_reader *reader, struct dn_all *all, const json_t *schema)
{
	const json_t *reference = json_object_get(schema, "$ref");
	const json_t *target;

	if (!reference)
		return 0;
	if (!json_is_string(reference))
		return dn_schema_wrong(reader, schema, "$ref", "is to be a string");
	if (json_string_value(reference)[0] != '#')
		return dn_schema_unsupported(reader, schema, "$ref", "to other documents");
	target = find_reference(reader->root, json_string_value(reference));
	if (!json_is_object(target) && !json_is_boolean(target))
		return dn_schema_wrong(reader, schema, "$ref", "points at no schema");
	return dn_schema_add(reader, all, target);
}

static int add_all(struct dn_schema_reader *reader, struct dn_all *all, const json_t *schema)
{
	const json_t *list = json_object_get(schema, "allOf");
	int r = 0;

	if (list && !json_is_array(list))
		return dn_schema_wrong(reader, schema, "allOf", "is to be a list");
	for (size_t i = 0; r >= 0 && i < json_array_size(list); i++)
		r = dn_schema_add(reader, all, json_array_get(list, i));
	return r;
}

int dn_schema_expand(struct dn_schema_reader *reader, struct dn_all *all)
{
	bool says[DN_ALL_MAX] = { false };
	uint32_t used = 0;

	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *schema = all->schemas[i];
		int r;

		if (json_is_true(schema))
			continue;
		if (json_is_false(schema))
			return 0;
		if (!json_is_object(schema))
			return dn_error_set(reader->err, EINVAL,
					    "a schema is to be an object, true or false");
		r = check_keywords(reader, schema, &says[i]);
		if (r >= 0)
			r = follow(reader, all, schema);
		if (r >= 0)
			r = add_all(reader, all, schema);
		if (r < 0)
			return r;
	}
	for (uint32_t i = 0; i < all->n; i++)
		if (says[i])
			all->schemas[used++] = all->schemas[i];
	all->n = used;
	return 1;
}

const json_t *dn_schema_alternatives(const struct dn_all *all, const json_t **ret_schema,
				     const char **ret_keyword)
{
	static const char *const lists[] = { "anyOf", "oneOf" };

	for (uint32_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < DN_ARRAY_SIZE(lists); k++) {
			const json_t *list = json_object_get(all->schemas[i], lists[k]);
			bool chosen = !list;

			for (uint32_t j = 0; j < all->n_chosen; j++)
				chosen |= all->chosen[j] == list;
			if (chosen)
				continue;
			*ret_schema = all->schemas[i];
			*ret_keyword = lists[k];
			return list;
		}
	return NULL;
}

static uint32_t type_named(const char *name)
{
	static const struct {
		const char *name;
		uint32_t types;
	} types[] = {
		{ "null", DN_TYPE_NULL },	{ "boolean", DN_TYPE_BOOLEAN },
		{ "integer", DN_TYPE_INTEGER }, { "number", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
		{ "string", DN_TYPE_STRING },	{ "array", DN_TYPE_ARRAY },
		{ "object", DN_TYPE_OBJECT },
	};

	for (size_t i = 0; name && i < DN_ARRAY_SIZE(types); i++)
		if (strcmp(name, types[i].name) == 0)
			return types[i].types;
	return 0;
}

static int take_types(struct dn_schema_reader *reader, const json_t *schema, struct dn_shape *shape)
{
	const json_t *type = json_object_get(schema, "type");
	uint32_t types = 0;

	if (!type)
		return 0;
	if (json_is_string(type))
		types = type_named(json_string_value(type));
	for (size_t i = 0; json_is_array(type) && i < json_array_size(type); i++) {
		const uint32_t one = type_named(json_string_value(json_array_get(type, i)));

		if (one == 0)
			return dn_schema_wrong(reader, schema, "type", "has a name that is none");
		types |= one;
	}
	if (types == 0)
		return dn_schema_wrong(reader, schema, "type", "is none of JSON Schema's");
	shape->types &= types;
	return 0;
}

/* The larger of least numbers, the smaller of largest ones. */
static int take_count(struct dn_schema_reader *reader, const json_t *schema, const char *keyword,
		      uint32_t *least, uint32_t *most)
{
	const json_t *value = json_object_get(schema, keyword);
	const double count = json_number_value(value);

	if (!value)
		return 0;
	if (!json_is_number(value) || count < 0 || trunc(count) != count)
		return dn_schema_wrong(reader, schema, keyword, "is to be a whole number");
	if (least && count > (double)DN_REPEAT_MAX)
		return dn_schema_unsupported(reader, schema, keyword, "of more than a million");
	if (least)
		*least = DN_MAX(*least, (uint32_t)count);
	else if (count <= (double)DN_REPEAT_MAX)
		*most = DN_MIN(*most, (uint32_t)count);
	return 0;
}

static int take_counts(struct dn_schema_reader *reader, const json_t *schema,
		       struct dn_shape *shape)
{
	const struct {
		const char *keyword;
		uint32_t *least;
		uint32_t *most;
	} counts[] = {
		{ "minLength", &shape->min_length, NULL },
		{ "maxLength", NULL, &shape->max_length },
		{ "minItems", &shape->min_items, NULL },
		{ "maxItems", NULL, &shape->max_items },
		{ "minProperties", &shape->min_properties, NULL },
		{ "maxProperties", NULL, &shape->max_properties },
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < DN_ARRAY_SIZE(counts); i++)
		r = take_count(reader, schema, counts[i].keyword, counts[i].least, counts[i].most);
	return r;
}

/*
 * The whole number at @bound that is within it, or, where it is @strict, the next: above for a @step of
 * 1, below for one of -1.
 */
static int64_t whole_within(const json_t *bound, bool strict, int step)
{
	const int64_t last = step > 0 ? INT64_MAX : INT64_MIN;
	const double value = json_number_value(bound);
	int64_t whole = json_integer_value(bound);

	if (!json_is_integer(bound)) {
		if (!(fabs(value) < 0x1p63))
			return value > 0 ? INT64_MAX : INT64_MIN;
		whole = (int64_t)(step > 0 ? ceil(value) : floor(value));
		strict = strict && trunc(value) == value;
	}
	return strict && whole != last ? whole + step : whole;
}

static void raise_low(struct dn_shape *shape, double low, int64_t least, const char *keyword,
		      bool above)
{
	shape->least = DN_MAX(shape->least, least);
	if (low > shape->low || (low >= shape->low && above)) {
		shape->low = low;
		shape->above = above;
		shape->low_keyword = keyword;
	}
}

static void lower_high(struct dn_shape *shape, double high, int64_t most, const char *keyword,
		       bool below)
{
	shape->most = DN_MIN(shape->most, most);
	if (high < shape->high || (high <= shape->high && below)) {
		shape->high = high;
		shape->below = below;
		shape->high_keyword = keyword;
	}
}

static void take_low(struct dn_shape *shape, const json_t *bound, const char *keyword, bool above)
{
	raise_low(shape, json_number_value(bound), whole_within(bound, above, 1), keyword, above);
}

static void take_high(struct dn_shape *shape, const json_t *bound, const char *keyword, bool below)
{
	lower_high(shape, json_number_value(bound), whole_within(bound, below, -1), keyword, below);
}

/* A bound and the one that leaves it out, which in draft 4 is a word beside the first. */
static int take_bound(struct dn_schema_reader *reader, const json_t *schema, const char *keyword,
		      const char *exclusive,
		      void (*take)(struct dn_shape *, const json_t *, const char *, bool),
		      struct dn_shape *shape)
{
	const json_t *bound = json_object_get(schema, keyword);
	const json_t *other = json_object_get(schema, exclusive);

	if (bound && !json_is_number(bound))
		return dn_schema_wrong(reader, schema, keyword, "is to be a number");
	if (other && !json_is_number(other) && !json_is_boolean(other))
		return dn_schema_wrong(reader, schema, exclusive, "is to be a number");
	if (bound)
		take(shape, bound, keyword, json_is_true(other));
	if (json_is_number(other))
		take(shape, other, exclusive, true);
	return 0;
}

static int take_bounds(struct dn_schema_reader *reader, const json_t *schema,
		       struct dn_shape *shape)
{
	const json_t *factor = json_object_get(schema, "multipleOf");
	const double number = json_number_value(factor);
	int r;

	r = take_bound(reader, schema, "minimum", "exclusiveMinimum", take_low, shape);
	if (r >= 0)
		r = take_bound(reader, schema, "maximum", "exclusiveMaximum", take_high, shape);
	if (r < 0 || !factor)
		return r;
	if (!json_is_number(factor))
		return dn_schema_wrong(reader, schema, "multipleOf", "is to be a number");
	if (!(number > 0))
		return dn_schema_wrong(reader, schema, "multipleOf", "is to be above 0");
	if (shape->factor > 0 && number != shape->factor)
		return dn_schema_unsupported(reader, schema, "multipleOf", "twice");
	shape->factor = number;
	return 0;
}

/*
 * Formats of numbers, as OpenAPI and programs name them: bounds where they are narrower than what is
 * written. Return: whether it is one.
 */
static bool take_number_format(const char *name, struct dn_shape *shape)
{
	static const struct {
		const char *name;
		int64_t least;
		int64_t most;
	} formats[] = {
		{ "int8", INT8_MIN, INT8_MAX },	   { "uint8", 0, UINT8_MAX },
		{ "int16", INT16_MIN, INT16_MAX }, { "uint16", 0, UINT16_MAX },
		{ "int32", INT32_MIN, INT32_MAX }, { "uint32", 0, UINT32_MAX },
		{ "int64", INT64_MIN, INT64_MAX }, { "uint64", 0, INT64_MAX },
		{ "int", INT64_MIN, INT64_MAX },   { "uint", 0, INT64_MAX },
		{ "float", INT64_MIN, INT64_MAX }, { "double", INT64_MIN, INT64_MAX },
	};

	for (size_t i = 0; i < DN_ARRAY_SIZE(formats); i++) {
		if (strcmp(name, formats[i].name) != 0)
			continue;
		if (formats[i].least > INT64_MIN)
			raise_low(shape, (double)formats[i].least, formats[i].least, "format",
				  false);
		if (formats[i].most < INT64_MAX)
			lower_high(shape, (double)formats[i].most, formats[i].most, "format",
				   false);
		return true;
	}
	return false;
}

static int take_texts(struct dn_schema_reader *reader, const json_t *schema, struct dn_shape *shape)
{
	const json_t *pattern = json_object_get(schema, "pattern");
	const json_t *format = json_object_get(schema, "format");
	const char *name = json_string_value(format);

	if ((pattern && !json_is_string(pattern)) || (format && !name))
		return dn_schema_wrong(reader, schema, pattern ? "pattern" : "format",
				       "is to be a string");
	if (pattern && json_string_length(pattern) != strlen(json_string_value(pattern)))
		return dn_schema_unsupported(reader, schema, "pattern", "with a NUL");
	if (pattern && shape->pattern && strcmp(shape->pattern, json_string_value(pattern)) != 0)
		return dn_schema_unsupported(reader, schema, "pattern", "twice for one value");
	if (pattern)
		shape->pattern = json_string_value(pattern);
	if (!format || take_number_format(name, shape))
		return 0;
	if (!dn_format_pattern(name, 0))
		return dn_schema_unsupported(reader, schema, "format", name);
	if (shape->format && strcmp(shape->format, name) != 0)
		return dn_schema_unsupported(reader, schema, "format", "twice for one value");
	shape->format = name;
	return 0;
}

static int take_values(struct dn_schema_reader *reader, const json_t *schema,
		       struct dn_shape *shape)
{
	const json_t *list = json_object_get(schema, "enum");
	const json_t *value = json_object_get(schema, "const");

	if (list && (!json_is_array(list) || json_array_size(list) == 0))
		return dn_schema_wrong(reader, schema, "enum", "is to be a list of values");
	if (value) {
		shape->values = value;
		shape->is_const = true;
	} else if (list && !shape->values) {
		shape->values = list;
	}
	return 0;
}

/* Of which types the schemas speak, where none names any. */
static uint32_t implied_types(const struct dn_all *all)
{
	static const struct {
		const char *keyword;
		uint32_t types;
	} of[] = {
		{ "properties", DN_TYPE_OBJECT },
		{ "required", DN_TYPE_OBJECT },
		{ "additionalProperties", DN_TYPE_OBJECT },
		{ "minProperties", DN_TYPE_OBJECT },
		{ "maxProperties", DN_TYPE_OBJECT },
		{ "propertyNames", DN_TYPE_OBJECT },
		{ "items", DN_TYPE_ARRAY },
		{ "prefixItems", DN_TYPE_ARRAY },
		{ "minItems", DN_TYPE_ARRAY },
		{ "maxItems", DN_TYPE_ARRAY },
		{ "minLength", DN_TYPE_STRING },
		{ "maxLength", DN_TYPE_STRING },
		{ "pattern", DN_TYPE_STRING },
		{ "format", DN_TYPE_STRING },
		{ "minimum", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
		{ "maximum", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
		{ "exclusiveMinimum", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
		{ "exclusiveMaximum", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
		{ "multipleOf", DN_TYPE_INTEGER | DN_TYPE_FRACTION },
	};
	uint32_t types = 0;

	for (uint32_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < DN_ARRAY_SIZE(of); k++)
			if (json_object_get(all->schemas[i], of[k].keyword))
				types |= of[k].types;
	return types ? types : DN_TYPE_ALL;
}

int dn_schema_shape(struct dn_schema_reader *reader, const struct dn_all *all,
		    struct dn_shape *ret_shape)
{
	struct dn_shape shape = {
		.where = all->n ? all->schemas[0] : reader->root,
		.types = DN_TYPE_ALL,
		.low = -INFINITY,
		.high = INFINITY,
		.least = INT64_MIN,
		.most = INT64_MAX,
		.max_length = DN_REPEAT_FOREVER,
		.max_items = DN_REPEAT_FOREVER,
		.max_properties = DN_REPEAT_FOREVER,
	};
	int r = dn_schema_spend(reader, all->n * (size_t)10);

	for (uint32_t i = 0; r >= 0 && i < all->n; i++) {
		const json_t *schema = all->schemas[i];

		r = take_types(reader, schema, &shape);
		if (r >= 0)
			r = take_counts(reader, schema, &shape);
		if (r >= 0)
			r = take_bounds(reader, schema, &shape);
		if (r >= 0)
			r = take_texts(reader, schema, &shape);
		if (r >= 0)
			r = take_values(reader, schema, &shape);
	}
	shape.said = shape.types;
	if (shape.types == DN_TYPE_ALL && !shape.values)
		shape.types = implied_types(all);
	*ret_shape = shape;
	return r;
}
