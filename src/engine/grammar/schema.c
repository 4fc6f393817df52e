/* SPDX-License-Identifier: MIT */

#include "engine/grammar/schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "engine/grammar/grammar.h"

#define KNOWN_SLOTS (4 * DN_RULES_MAX)
/* Values of a schema, each of which is some hundred bytes once it is read. */
#define VALUES_MAX 16384U

/* A rule by the schemas it is of: @keys has those, NULL, and what was chosen. */
struct dn_known {
	uint32_t rule;
	uint32_t n;
	const json_t **keys;
};

/* Writes where @schema is below @at into @pointer. */
static bool find_place(const json_t *at, const json_t *schema, struct dn_buffer *pointer)
{
	const size_t before = pointer->size;
	const char *key;
	json_t *value;
	size_t i;

	if (at == schema)
		return true;
	json_object_foreach((json_t *)at, key, value)
	{
		if (dn_buffer_printf(pointer, "/%s", key) >= 0 &&
		    find_place(value, schema, pointer))
			return true;
		pointer->size = before;
	}
	json_array_foreach(at, i, value)
	{
		if (dn_buffer_printf(pointer, "/%zu", i) >= 0 && find_place(value, schema, pointer))
			return true;
		pointer->size = before;
	}
	return false;
}

static int say(struct dn_schema_reader *reader, int code, const json_t *schema, const char *keyword,
	       const char *what)
{
	DN_AUTO_BUFFER struct dn_buffer pointer = DN_BUFFER_INIT(4096);

	if (dn_buffer_append(&pointer, "#", 1) < 0)
		return dn_error_memory(reader->err, "a message", 1);
	(void)find_place(reader->root, schema, &pointer);
	pointer.data[pointer.size] = '\0';
	return dn_error_set(reader->err, code, "schema: '%.64s' at %.200s %s", keyword,
			    pointer.data, what);
}

int dn_schema_wrong(struct dn_schema_reader *reader, const json_t *schema, const char *keyword,
		    const char *what)
{
	return say(reader, EINVAL, schema, keyword, what);
}

int dn_schema_unsupported(struct dn_schema_reader *reader, const json_t *schema,
			  const char *keyword, const char *how)
{
	char what[160];

	(void)snprintf(what, sizeof(what), "is not supported%s%.100s", how ? " " : "",
		       how ? how : "");
	return say(reader, ENOTSUP, schema, keyword, what);
}

static struct dn_expr *by_types(struct dn_schema_reader *reader, const struct dn_all *all, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	struct dn_expr *expr = dn_expr_never(exprs);
	struct dn_shape shape;

	if (all->n == 0)
		return dn_json_value(&reader->json);
	*ret = dn_schema_shape(reader, all, &shape);
	if (*ret < 0)
		return NULL;
	if (shape.values)
		return dn_schema_listed(reader, all, &shape, ret);
	if (shape.types & DN_TYPE_NULL)
		expr = dn_expr_choice(exprs, expr, dn_expr_text(exprs, "null"));
	if (shape.types & DN_TYPE_BOOLEAN)
		expr = dn_expr_choice(exprs, expr,
				      dn_expr_choice(exprs, dn_expr_text(exprs, "true"),
						     dn_expr_text(exprs, "false")));
	if (shape.types & (DN_TYPE_INTEGER | DN_TYPE_FRACTION))
		expr = dn_expr_choice(exprs, expr, dn_schema_number(reader, &shape, ret));
	if (*ret >= 0 && shape.types & DN_TYPE_STRING)
		expr = dn_expr_choice(exprs, expr, dn_schema_string(reader, &shape, ret));
	if (*ret >= 0 && shape.types & DN_TYPE_ARRAY)
		expr = dn_expr_choice(exprs, expr, dn_schema_array(reader, all, &shape, ret));
	if (*ret >= 0 && shape.types & DN_TYPE_OBJECT)
		expr = dn_expr_choice(exprs, expr, dn_schema_object(reader, all, &shape, ret));
	return *ret < 0 ? NULL : expr;
}

int dn_schema_choose(struct dn_schema_reader *reader, const struct dn_all *all, const json_t *list,
		     size_t at, struct dn_all *ret_all)
{
	*ret_all = *all;
	if (ret_all->n_chosen == DN_ALL_MAX)
		return dn_error_set(reader->err, E2BIG, "more than %d choices for one value",
				    DN_ALL_MAX);
	ret_all->chosen[ret_all->n_chosen++] = list;
	return dn_schema_add(reader, ret_all, json_array_get(list, at));
}

/* With "oneOf" no value may match two, which is promised where none can. */
static int check_disjoint(struct dn_schema_reader *reader, const struct dn_all *all,
			  const json_t *list, const json_t *schema)
{
	const int r = dn_schema_disjoint(reader, all, list);

	return r != 0 ? DN_MIN(r, 0)
		      : dn_schema_unsupported(reader, schema, "oneOf",
					      "where a value might match two of it: use 'anyOf'");
}

static struct dn_expr *body_of(struct dn_schema_reader *reader, const struct dn_all *all, int *ret)
{
	const json_t *schema = NULL;
	const char *keyword = NULL;
	const json_t *list = dn_schema_alternatives(all, &schema, &keyword);
	struct dn_expr *expr = dn_expr_never(reader->exprs);

	if (!list)
		return by_types(reader, all, ret);
	if (!json_is_array(list) || json_array_size(list) == 0)
		*ret = dn_schema_wrong(reader, schema, keyword, "is to be a list of schemas");
	else if (strcmp(keyword, "oneOf") == 0)
		*ret = check_disjoint(reader, all, list, schema);
	for (size_t i = 0; *ret >= 0 && i < json_array_size(list); i++) {
		struct dn_all one;

		*ret = dn_schema_choose(reader, all, list, i, &one);
		if (*ret >= 0)
			expr = dn_expr_choice(reader->exprs, expr,
					      dn_schema_value(reader, &one, ret));
	}
	return *ret < 0 ? NULL : expr;
}

static int compare_keys(const void *a, const void *b)
{
	const uintptr_t x = (uintptr_t)*(const json_t *const *)a;
	const uintptr_t y = (uintptr_t)*(const json_t *const *)b;

	return (x > y) - (x < y);
}

/* What was made of the same schemas, or where it is to be; @ret_new: it is not made yet. */
static struct dn_known *find_known(struct dn_schema_reader *reader, const struct dn_all *all,
				   bool *ret_new)
{
	const json_t *keys[2 * DN_ALL_MAX + 1];
	const uint32_t n = all->n + 1 + all->n_chosen;
	struct dn_known *known;
	uint64_t hash = 0;
	uint32_t slot;

	memcpy(keys, all->schemas, all->n * sizeof(*keys));
	keys[all->n] = NULL;
	memcpy(keys + all->n + 1, all->chosen, all->n_chosen * sizeof(*keys));
	/* The order of schemas is that of properties: it stays. */
	qsort(keys + all->n + 1, all->n_chosen, sizeof(*keys), compare_keys);
	for (uint32_t i = 0; i < n; i++)
		hash = (hash ^ (uintptr_t)keys[i] >> 3) * UINT64_C(0x9e3779b97f4a7c15);
	slot = (uint32_t)(hash >> 32) & (KNOWN_SLOTS - 1);
	*ret_new = false;
	for (; reader->slots[slot]; slot = (slot + 1) & (KNOWN_SLOTS - 1)) {
		known = &reader->known[reader->slots[slot] - 1];
		if (known->n == n && memcmp(known->keys, keys, n * sizeof(*keys)) == 0)
			return known;
	}
	if (reader->n_known == DN_RULES_MAX)
		return NULL;
	known = &reader->known[reader->n_known];
	known->keys = dn_arena_alloc(&reader->exprs->arena, n * sizeof(*keys));
	known->rule = dn_exprs_add_rule(reader->exprs, NULL, 0);
	if (!known->keys || known->rule == DN_RULE_NONE)
		return NULL;
	memcpy(known->keys, keys, n * sizeof(*keys));
	known->n = n;
	reader->slots[slot] = ++reader->n_known;
	*ret_new = true;
	return known;
}

struct dn_expr *dn_schema_value(struct dn_schema_reader *reader, const struct dn_all *all, int *ret)
{
	struct dn_known *known;
	struct dn_expr *body;
	struct dn_all whole = *all;
	bool is_new;

	*ret = dn_schema_expand(reader, &whole);
	if (*ret <= 0)
		return *ret < 0 ? NULL : dn_expr_never(reader->exprs);
	*ret = 0;
	known = find_known(reader, &whole, &is_new);
	if (!known) {
		reader->exprs->failed = true;
		*ret = dn_exprs_error(reader->exprs, reader->err);
		return NULL;
	}
	if (!is_new)
		return dn_expr_rule(reader->exprs, known->rule);
	if (++reader->depth > DN_DEPTH_MAX) {
		*ret = dn_error_set(reader->err, E2BIG, "the schema is more than %d levels deep",
				    DN_DEPTH_MAX);
		return NULL;
	}
	body = body_of(reader, &whole, ret);
	reader->depth--;
	if (*ret < 0)
		return NULL;
	if (!body) {
		*ret = dn_exprs_error(reader->exprs, reader->err);
		return NULL;
	}
	reader->exprs->rules[known->rule].body = body;
	return dn_expr_rule(reader->exprs, known->rule);
}

static int read_root(struct dn_schema_reader *reader)
{
	const uint32_t rule = dn_exprs_add_rule(reader->exprs, NULL, 0);
	struct dn_all all = { .n = 1, .schemas = { reader->root } };
	struct dn_expr *expr;
	int r = 0;

	if (rule == DN_RULE_NONE)
		return dn_exprs_error(reader->exprs, reader->err);
	expr = dn_schema_value(reader, &all, &r);
	if (r < 0)
		return r;
	if (!expr)
		return dn_exprs_error(reader->exprs, reader->err);
	reader->exprs->rules[rule].body = expr;
	return 0;
}

/* What a keyword has as it is, in which others are words like any. */
static bool is_data(const char *keyword)
{
	static const char *const words[] = { "const", "enum", "default", "examples" };

	for (size_t i = 0; i < DN_ARRAY_SIZE(words); i++)
		if (strcmp(keyword, words[i]) == 0)
			return true;
	return strncmp(keyword, "x-", 2) == 0;
}

/*
 * Refuses references that are not to the root's document: those within a schema that has an "$id" of
 * its own, which is @named.
 */
static int check_references(struct dn_schema_reader *reader, const json_t *at, const json_t *named)
{
	const char *id = json_string_value(json_object_get(at, "$id"));
	const char *key;
	json_t *value;
	size_t i;
	int r = 0;

	if (id && id[0] != '#' && at != reader->root)
		named = at;
	if (named && json_is_string(json_object_get(at, "$ref")))
		return dn_schema_unsupported(reader, named, "$id",
					     "below the root, with a '$ref' within it");
	json_object_foreach((json_t *)at, key, value)
	{
		if (r >= 0 && !is_data(key))
			r = check_references(reader, value, named);
	}
	json_array_foreach(at, i, value)
	{
		if (r >= 0)
			r = check_references(reader, value, named);
	}
	return r;
}

/* At least as many values as there are in JSON: what begins and what follows a comma. */
static uint32_t count_values(const char *text, size_t size)
{
	bool in_string = false;
	uint32_t n = 1;

	for (size_t i = 0; i < size; i++) {
		if (in_string && text[i] == '\\')
			i++;
		else if (text[i] == '"')
			in_string = !in_string;
		else if (!in_string)
			n += text[i] == ',' || text[i] == '[' || text[i] == '{';
	}
	return n;
}

/* What is part of a number at @text. */
static size_t span_number(const char *text, size_t size)
{
	size_t n = 0;

	while (n < size && text[n] != '\0' && strchr("0123456789+-.eE", text[n]))
		n++;
	return n;
}

static bool is_wide(const char *number, size_t size)
{
	static const char most[] = "9223372036854775807";

	if (*number == '-') {
		number++;
		size--;
	}
	for (size_t i = 0; i < size; i++)
		if (number[i] < '0' || number[i] > '9')
			return false;
	return size > strlen(most) || (size == strlen(most) && memcmp(number, most, size) > 0);
}

/*
 * Copies @text. Whole numbers of more than 64 bits, which some programs give as bounds, get decimals:
 * the reader of JSON takes them as reals then, and all others as they are. @ret_widened: there are some.
 */
static char *widen(const char *text, size_t *size, bool *ret_widened)
{
	char *copy = malloc(*size + *size / 8 + 16);
	bool in_string = false;
	size_t used = 0;

	for (size_t i = 0; copy && i < *size;) {
		const size_t number = in_string ? 0 : span_number(text + i, *size - i);
		const size_t n = DN_MAX(number, 1);

		memcpy(copy + used, text + i, n);
		used += n;
		if (in_string && text[i] == '\\' && i + 1 < *size)
			copy[used++] = text[++i];
		else if (text[i] == '"')
			in_string = !in_string;
		if (number > 0 && is_wide(text + i, number)) {
			copy[used++] = '.';
			copy[used++] = '0';
			*ret_widened = true;
		}
		i += n;
	}
	*size = used;
	return copy;
}

int dn_schema_read(const char *text, size_t size, struct dn_exprs *exprs, struct dn_error *err)
{
	struct dn_schema_reader reader = {
		.exprs = exprs,
		.json = DN_JSON_RULES_INIT(exprs),
		.err = err,
	};
	DN_AUTO_FREE char *copy = NULL;
	json_error_t wrong;
	json_t *root;
	int r;

	if (count_values(text, size) > VALUES_MAX)
		return dn_error_set(err, E2BIG, "the schema has more than %u values", VALUES_MAX);
	copy = widen(text, &size, &reader.widened);
	if (!copy)
		return dn_error_memory(err, "a schema", size);
	root = json_loadb(copy, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &wrong);
	if (!root)
		return dn_error_set(err, EINVAL, "the schema is no JSON: line %d: %.120s",
				    wrong.line, wrong.text);
	reader.root = root;
	reader.known = dn_arena_zalloc(&exprs->arena, DN_RULES_MAX, sizeof(*reader.known));
	reader.slots = dn_arena_zalloc(&exprs->arena, KNOWN_SLOTS, sizeof(*reader.slots));
	r = check_references(&reader, root, NULL);
	if (r >= 0)
		r = reader.known && reader.slots
			    ? read_root(&reader)
			    : dn_error_memory(err, "a grammar",
					      KNOWN_SLOTS * sizeof(*reader.slots));
	json_decref(root);
	return r;
}
