/* SPDX-License-Identifier: MIT */
/* JSON schemas (2020-12, and what older drafts call otherwise) as rules. */
#ifndef DUNLIN_ENGINE_GRAMMAR_SCHEMA_H
#define DUNLIN_ENGINE_GRAMMAR_SCHEMA_H

/* IWYU pragma: begin_exports */
#include <jansson.h>

#include "engine/grammar/expr.h"
#include "engine/grammar/json.h"
#include "engine/grammar/number.h"
/* IWYU pragma: end_exports */

/* Schemas that hold for one value at once; choices among alternatives that were made for it. */
#define DN_ALL_MAX	  64
#define DN_PROPERTIES_MAX 1000
#define DN_DEPTH_MAX	  200
/* Looks at keywords, values and names, for all of a grammar: some tens of milliseconds. */
#define DN_STEPS_MAX 1000000U

/**
 * struct dn_all - schemas that all hold for a value
 * @chosen: their lists of alternatives ("anyOf", "oneOf") of which one is among @schemas
 */
struct dn_all {
	const json_t *schemas[DN_ALL_MAX];
	uint32_t n;
	const json_t *chosen[DN_ALL_MAX];
	uint32_t n_chosen;
};

enum dn_type {
	DN_TYPE_NULL = 1 << 0,
	DN_TYPE_BOOLEAN = 1 << 1,
	DN_TYPE_INTEGER = 1 << 2,
	DN_TYPE_FRACTION = 1 << 3, /* numbers that are not whole; "number" is both */
	DN_TYPE_STRING = 1 << 4,
	DN_TYPE_ARRAY = 1 << 5,
	DN_TYPE_OBJECT = 1 << 6,
	DN_TYPE_ALL = (1 << 7) - 1,
};

/**
 * struct dn_shape - what schemas that all hold say together, but for the items and properties
 * @where: a schema that has the keyword, for messages
 * @said: types that are named; @types: where none are, those that other keywords speak of
 * @low, @high: bounds, infinite where there are none; @above, @below: they are not within themselves
 * @least, @most: whole numbers within, which doubles cannot tell apart where they are large
 * @values: of "enum" or "const"; the first such list: others only leave out of it
 */
struct dn_shape {
	const json_t *where;
	uint32_t said;
	uint32_t types;
	double low;
	double high;
	bool above;
	bool below;
	const char *low_keyword;
	const char *high_keyword;
	int64_t least;
	int64_t most;
	double factor; /* 0: none */
	uint32_t min_length;
	uint32_t max_length;
	const char *pattern;
	const char *format;
	uint32_t min_items;
	uint32_t max_items;
	uint32_t min_properties;
	uint32_t max_properties;
	const json_t *values;
	bool is_const;
};

/* Numbers within bounds, which many properties of a schema have in common. */
#define DN_KNOWN_NUMBERS 16
struct dn_known_number {
	struct dn_bounds bounds;
	uint32_t rule;
};

/*
 * @widened: whole numbers of more than 64 bits were there, and are reals
 * @slots: rules of what was read before, by the schemas that it was of
 */
struct dn_schema_reader {
	struct dn_exprs *exprs;
	struct dn_json_rules json;
	struct dn_error *err;
	const json_t *root;
	bool widened;
	unsigned int depth;
	uint32_t steps;
	struct dn_known_number numbers[DN_KNOWN_NUMBERS];
	uint32_t n_numbers;
	struct dn_known *known;
	uint32_t n_known;
	uint32_t *slots;
};

/* Fill the message: -EINVAL for what is wrong, -ENOTSUP for what is not supported. */
int dn_schema_wrong(struct dn_schema_reader *reader, const json_t *schema, const char *keyword,
		    const char *what);
int dn_schema_unsupported(struct dn_schema_reader *reader, const json_t *schema,
			  const char *keyword, const char *how);

/* Before so many keywords, values or names are looked at. -E2BIG where that is too much. */
DN_MUST_CHECK int dn_schema_spend(struct dn_schema_reader *reader, size_t steps);

/*
 * schema-collect.c: follows "$ref" and "allOf", and checks all keywords, so that @all has every
 * schema that holds. Return: 1, or 0 where no value can match.
 */
DN_MUST_CHECK int dn_schema_expand(struct dn_schema_reader *reader, struct dn_all *all);
DN_MUST_CHECK int dn_schema_add(struct dn_schema_reader *reader, struct dn_all *all,
				const json_t *schema);
DN_MUST_CHECK int dn_schema_shape(struct dn_schema_reader *reader, const struct dn_all *all,
				  struct dn_shape *ret_shape);
/* The first list of alternatives that none was chosen of; NULL: there is none. */
const json_t *dn_schema_alternatives(const struct dn_all *all, const json_t **ret_schema,
				     const char **ret_keyword);
/* schema-values.c: whether a value of "enum" keeps to all of them. Return: 1, 0, or what is not supported. */
DN_MUST_CHECK int dn_schema_fits(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, const json_t *value);
/* Those values of a list that keep to all else that is said. */
struct dn_expr *dn_schema_listed(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, int *ret);
/* DN_TYPE_… of a value. */
uint32_t dn_schema_type(const json_t *value);

/* schema.c: a value that all of them hold for. */
struct dn_expr *dn_schema_value(struct dn_schema_reader *reader, const struct dn_all *all,
				int *ret);

/* schema-object.c, schema-array.c: NULL with a negative @ret where it failed. */
struct dn_expr *dn_schema_object(struct dn_schema_reader *reader, const struct dn_all *all,
				 const struct dn_shape *shape, int *ret);
struct dn_expr *dn_schema_array(struct dn_schema_reader *reader, const struct dn_all *all,
				const struct dn_shape *shape, int *ret);
/*
 * What all schemas say of a property; with NULL of those that are not named. Return: 1, 0 where
 * there can be none.
 */
DN_MUST_CHECK int dn_schema_property(struct dn_schema_reader *reader, const struct dn_all *all,
				     const char *name, struct dn_all *ret_all);
/* Return: 1, 0, or a negative errno. */
DN_MUST_CHECK int dn_schema_requires(struct dn_schema_reader *reader, const struct dn_all *all,
				     const char *name);

/* schema-scalar.c */
struct dn_expr *dn_schema_string(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret);
struct dn_expr *dn_schema_number(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret);

/* Into @ret_all: @all, with alternative @at of @list chosen. */
DN_MUST_CHECK int dn_schema_choose(struct dn_schema_reader *reader, const struct dn_all *all,
				   const json_t *list, size_t at, struct dn_all *ret_all);
/*
 * schema-disjoint.c: whether no value matches two alternatives of @list. Return: 1; 0 where that is
 * not sure.
 */
DN_MUST_CHECK int dn_schema_disjoint(struct dn_schema_reader *reader, const struct dn_all *all,
				     const json_t *list);

#endif /* DUNLIN_ENGINE_GRAMMAR_SCHEMA_H */
