/* SPDX-License-Identifier: MIT */

#include "engine/grammar/expr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void dn_exprs_done(struct dn_exprs *exprs)
{
	dn_arena_done(&exprs->arena);
	*exprs = (struct dn_exprs)DN_EXPRS_INIT;
}

int dn_exprs_error(const struct dn_exprs *exprs, struct dn_error *err)
{
	if (exprs->n_rules >= DN_RULES_MAX)
		return dn_error_set(err, E2BIG, "the grammar has more than %d rules", DN_RULES_MAX);
	if (exprs->arena.full)
		return dn_error_set(err, E2BIG, "the grammar is too large");
	return dn_error_memory(err, "a grammar", exprs->arena.total);
}

static struct dn_expr *new_expr(struct dn_exprs *exprs, enum dn_expr_kind kind)
{
	struct dn_expr *expr =
		exprs->failed ? NULL : dn_arena_zalloc(&exprs->arena, 1, sizeof(*expr));

	if (!expr) {
		exprs->failed = true;
		return NULL;
	}
	expr->kind = kind;
	expr->memo_next = UINT32_MAX;
	return expr;
}

struct dn_expr *dn_expr_empty(struct dn_exprs *exprs)
{
	return new_expr(exprs, DN_EXPR_EMPTY);
}

struct dn_expr *dn_expr_never(struct dn_exprs *exprs)
{
	return new_expr(exprs, DN_EXPR_NEVER);
}

struct dn_expr *dn_expr_bytes(struct dn_exprs *exprs, const char *data, size_t size)
{
	struct dn_expr *expr = new_expr(exprs, size ? DN_EXPR_BYTES : DN_EXPR_EMPTY);
	char *copy;

	if (!expr || size == 0)
		return expr;
	copy = dn_arena_alloc(&exprs->arena, size);
	if (!copy) {
		exprs->failed = true;
		return NULL;
	}
	memcpy(copy, data, size);
	expr->u.bytes.data = copy;
	expr->u.bytes.size = size;
	return expr;
}

struct dn_expr *dn_expr_text(struct dn_exprs *exprs, const char *text)
{
	return dn_expr_bytes(exprs, text, strlen(text));
}

bool dn_point_read_hex(const char **at, const char *end, uint32_t digits, uint32_t *ret_point)
{
	uint32_t point = 0;

	for (; digits > 0; digits--, ++*at) {
		const int value = *at < end ? dn_hex_value(**at) : -1;

		/* Before it could overflow. */
		if (value < 0 || point > DN_POINT_MAX)
			return false;
		point = point << 4 | (uint32_t)value;
	}
	*ret_point = point;
	return point <= DN_POINT_MAX;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct dn_point_range *x = a;
	const struct dn_point_range *y = b;

	return (x->low > y->low) - (x->low < y->low);
}

uint32_t dn_point_ranges_sort(struct dn_point_range *ranges, uint32_t n)
{
	uint32_t used = 0;

	if (n == 0)
		return 0;
	qsort(ranges, n, sizeof(*ranges), compare_ranges);
	for (uint32_t i = 0; i < n; i++) {
		if (ranges[i].low > DN_POINT_MAX || ranges[i].low > ranges[i].high)
			continue;
		ranges[i].high = DN_MIN(ranges[i].high, DN_POINT_MAX);
		if (used > 0 && ranges[i].low <= ranges[used - 1].high + 1)
			ranges[used - 1].high = DN_MAX(ranges[used - 1].high, ranges[i].high);
		else
			ranges[used++] = ranges[i];
	}
	return used;
}

uint32_t dn_point_ranges_invert(const struct dn_point_range *ranges, uint32_t n,
				struct dn_point_range *ret_ranges)
{
	uint32_t used = 0;
	uint32_t low = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (ranges[i].low > low)
			ret_ranges[used++] = (struct dn_point_range){ low, ranges[i].low - 1 };
		low = ranges[i].high + 1;
	}
	if (low <= DN_POINT_MAX)
		ret_ranges[used++] = (struct dn_point_range){ low, DN_POINT_MAX };
	return used;
}

struct dn_expr *dn_expr_class(struct dn_exprs *exprs, const struct dn_point_range *ranges,
			      uint32_t n)
{
	struct dn_expr *expr = new_expr(exprs, DN_EXPR_CLASS);
	struct dn_point_range *copy;

	if (!expr)
		return NULL;
	copy = dn_arena_alloc(&exprs->arena, ((size_t)n + 1) * sizeof(*copy));
	if (!copy) {
		exprs->failed = true;
		return NULL;
	}
	if (n > 0)
		memcpy(copy, ranges, n * sizeof(*copy));
	n = dn_point_ranges_sort(copy, n);
	if (n == 0)
		expr->kind = DN_EXPR_NEVER;
	expr->u.set.ranges = copy;
	expr->u.set.n = n;
	return expr;
}

static struct dn_expr *pair(struct dn_exprs *exprs, enum dn_expr_kind kind, struct dn_expr *first,
			    struct dn_expr *second)
{
	struct dn_expr *expr;

	if (!first || !second)
		return NULL;
	expr = new_expr(exprs, kind);
	if (!expr)
		return NULL;
	expr->u.pair.first = first;
	expr->u.pair.second = second;
	return expr;
}

struct dn_expr *dn_expr_sequence(struct dn_exprs *exprs, struct dn_expr *first,
				 struct dn_expr *second)
{
	if (first && second && first->kind == DN_EXPR_EMPTY)
		return second;
	if (first && second && second->kind == DN_EXPR_EMPTY)
		return first;
	if (first && second && first->kind == DN_EXPR_NEVER)
		return first;
	return pair(exprs, DN_EXPR_SEQUENCE, first, second);
}

struct dn_expr *dn_expr_choice(struct dn_exprs *exprs, struct dn_expr *first,
			       struct dn_expr *second)
{
	if (first && second && first->kind == DN_EXPR_NEVER)
		return second;
	if (first && second && second->kind == DN_EXPR_NEVER)
		return first;
	return pair(exprs, DN_EXPR_CHOICE, first, second);
}

struct dn_expr *dn_expr_repeat(struct dn_exprs *exprs, struct dn_expr *body, uint32_t min,
			       uint32_t max)
{
	struct dn_expr *expr;

	if (!body)
		return NULL;
	if (max == 0)
		return dn_expr_empty(exprs);
	if (min == 1 && max == 1)
		return body;
	if (min == 0 && max == 1)
		return dn_expr_choice(exprs, body, dn_expr_empty(exprs));
	expr = new_expr(exprs, DN_EXPR_REPEAT);
	if (!expr)
		return NULL;
	expr->u.repeat.body = body;
	expr->u.repeat.min = min;
	expr->u.repeat.max = max;
	return expr;
}

/* Sorted texts that have their first @at bytes in common, from there on. */
static struct dn_expr *branch(struct dn_exprs *exprs, char *const *texts, size_t n, size_t at)
{
	struct dn_expr *rest = dn_expr_never(exprs);
	size_t common = at;
	size_t first = 0;

	while (texts[0][common] != '\0' && texts[0][common] == texts[n - 1][common])
		common++;
	for (; first < n && texts[first][common] == '\0'; first++)
		rest = dn_expr_empty(exprs);
	while (first < n) {
		size_t end = first + 1;

		while (end < n && texts[end][common] == texts[first][common])
			end++;
		rest = dn_expr_choice(exprs, rest,
				      branch(exprs, texts + first, end - first, common));
		first = end;
	}
	return dn_expr_sequence(exprs, dn_expr_bytes(exprs, texts[0] + at, common - at), rest);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct dn_expr *dn_expr_one_of(struct dn_exprs *exprs, char **texts, size_t n)
{
	if (n == 0)
		return dn_expr_never(exprs);
	qsort(texts, n, sizeof(*texts), compare_texts);
	return branch(exprs, texts, n, 0);
}

struct dn_expr *dn_expr_maybe(struct dn_exprs *exprs, struct dn_expr *body)
{
	return dn_expr_repeat(exprs, body, 0, 1);
}

struct dn_expr *dn_expr_rule(struct dn_exprs *exprs, uint32_t rule)
{
	struct dn_expr *expr = rule == DN_RULE_NONE ? NULL : new_expr(exprs, DN_EXPR_RULE);

	if (expr)
		expr->u.rule = rule;
	return expr;
}

uint32_t dn_exprs_add_rule(struct dn_exprs *exprs, const char *name, size_t size)
{
	char *copy = NULL;

	if (!exprs->rules && !exprs->failed)
		exprs->rules = dn_arena_zalloc(&exprs->arena, DN_RULES_MAX, sizeof(*exprs->rules));
	if (name && !exprs->failed) {
		copy = dn_arena_zalloc(&exprs->arena, size + 1, 1);
		if (copy)
			memcpy(copy, name, size);
	}
	if (!exprs->rules || exprs->failed || (name && !copy) || exprs->n_rules == DN_RULES_MAX) {
		exprs->failed = true;
		return DN_RULE_NONE;
	}
	exprs->rules[exprs->n_rules].name = copy;
	return exprs->n_rules++;
}
