/* SPDX-License-Identifier: MIT */
/* Lists of a schema. */

#include <stddef.h>

#include "engine/grammar/schema.h"

/* Items that have a schema of their own. */
#define PREFIX_MAX 200

/* "prefixItems", which was a list in "items" before 2020. */
static const json_t *prefix_of(const json_t *schema)
{
	const json_t *prefix = json_object_get(schema, "prefixItems");
	const json_t *items = json_object_get(schema, "items");

	return prefix ? prefix : json_is_array(items) ? items : NULL;
}

static const json_t *rest_of(const json_t *schema)
{
	const json_t *items = json_object_get(schema, "items");

	return json_is_array(items) ? json_object_get(schema, "additionalItems") : items;
}

/* What all say of item @at. Return: as dn_schema_property(). */
static int item_at(struct dn_schema_reader *reader, const struct dn_all *all, size_t at,
		   struct dn_all *ret_all)
{
	*ret_all = (struct dn_all){ .n = 0 };
	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *prefix = prefix_of(all->schemas[i]);
		const json_t *one = at < json_array_size(prefix) ? json_array_get(prefix, at)
								 : rest_of(all->schemas[i]);
		int r = 0;

		if (one)
			r = dn_schema_add(reader, ret_all, one);
		if (r < 0)
			return r;
	}
	return dn_schema_expand(reader, ret_all);
}

static size_t prefix_size(const struct dn_all *all)
{
	size_t most = 0;

	for (uint32_t i = 0; i < all->n; i++)
		most = DN_MAX(most, json_array_size(prefix_of(all->schemas[i])));
	return most;
}

/* @least to @most of what follows item @at, each behind a comma. */
static struct dn_expr *rest(struct dn_schema_reader *reader, const struct dn_all *all, size_t at,
			    uint32_t least, uint32_t most, int *ret)
{
	struct dn_all item;
	const int may = item_at(reader, all, at, &item);
	struct dn_expr *expr;

	if (may < 0) {
		*ret = may;
		return NULL;
	}
	if (!may || most == 0)
		return least > 0 ? dn_expr_never(reader->exprs) : dn_expr_empty(reader->exprs);
	expr = dn_schema_value(reader, &item, ret);
	expr = dn_expr_sequence(reader->exprs, dn_json_comma(reader->exprs), expr);
	return dn_expr_repeat(reader->exprs, expr, least, most);
}

static uint32_t less(uint32_t count, size_t by)
{
	if (count == DN_REPEAT_FOREVER)
		return count;
	return count > by ? (uint32_t)(count - by) : 0;
}

/* All items but the first comma; from the last of the prefix to the first. */
static struct dn_expr *items_of(struct dn_schema_reader *reader, const struct dn_all *all,
				const struct dn_shape *shape, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	const size_t n = DN_MIN(DN_MAX(prefix_size(all), 1), shape->max_items);
	struct dn_expr *expr =
		rest(reader, all, n, less(shape->min_items, n), less(shape->max_items, n), ret);

	for (size_t at = n; *ret >= 0 && at-- > 0;) {
		struct dn_expr *one = NULL;
		struct dn_all item;
		const int may = item_at(reader, all, at, &item);

		if (may < 0)
			*ret = may;
		else
			one = may ? dn_schema_value(reader, &item, ret) : dn_expr_never(exprs);
		if (at > 0)
			one = dn_expr_sequence(exprs, dn_json_comma(exprs), one);
		expr = dn_expr_sequence(exprs, one, expr);
		if (at >= shape->min_items)
			expr = dn_expr_maybe(exprs, expr);
	}
	return *ret < 0 ? NULL : expr;
}

struct dn_expr *dn_schema_array(struct dn_schema_reader *reader, const struct dn_all *all,
				const struct dn_shape *shape, int *ret)
{
	struct dn_expr *items;

	for (uint32_t i = 0; i < all->n; i++) {
		const json_t *prefix = json_object_get(all->schemas[i], "prefixItems");

		if (prefix && !json_is_array(prefix)) {
			*ret = dn_schema_wrong(reader, all->schemas[i], "prefixItems",
					       "is to be a list of schemas");
			return NULL;
		}
	}
	if (prefix_size(all) > PREFIX_MAX) {
		*ret = dn_schema_unsupported(reader, shape->where, "prefixItems", "of so many");
		return NULL;
	}
	if (shape->min_items > shape->max_items)
		return dn_expr_never(reader->exprs);
	if (shape->max_items == 0)
		return dn_expr_text(reader->exprs, "[]");
	items = items_of(reader, all, shape, ret);
	return items ? dn_json_enclose(reader->exprs, "[", items, "]") : NULL;
}
