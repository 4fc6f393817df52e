/* SPDX-License-Identifier: MIT */

#include "engine/grammar/json.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/grammar/grammar.h"

/* Columns that a new line may be indented. */
#define INDENT_MAX 32

static struct dn_expr *range(struct dn_exprs *exprs, uint32_t low, uint32_t high)
{
	const struct dn_point_range it = { low, high };

	return dn_expr_class(exprs, &it, 1);
}

static struct dn_expr *digits(struct dn_exprs *exprs, uint32_t min, uint32_t max)
{
	return dn_expr_repeat(exprs, range(exprs, '0', '9'), min, max);
}

struct dn_expr *dn_json_space(struct dn_exprs *exprs)
{
	static const struct dn_point_range blanks[] = { { ' ', ' ' }, { '\t', '\t' } };
	struct dn_expr *line = dn_expr_sequence(
		exprs, dn_expr_text(exprs, "\n"),
		dn_expr_repeat(exprs, dn_expr_class(exprs, blanks, 2), 0, INDENT_MAX));

	return dn_expr_maybe(exprs, dn_expr_choice(exprs, dn_expr_text(exprs, " "), line));
}

struct dn_expr *dn_json_comma(struct dn_exprs *exprs)
{
	return dn_expr_sequence(exprs, dn_expr_text(exprs, ","), dn_json_space(exprs));
}

struct dn_expr *dn_json_enclose(struct dn_exprs *exprs, const char *open, struct dn_expr *items,
				const char *close)
{
	struct dn_expr *begin =
		dn_expr_sequence(exprs, dn_expr_text(exprs, open), dn_json_space(exprs));
	struct dn_expr *end =
		dn_expr_sequence(exprs, dn_json_space(exprs), dn_expr_text(exprs, close));

	return dn_expr_sequence(exprs, dn_expr_sequence(exprs, begin, items), end);
}

struct dn_expr *dn_json_member(struct dn_exprs *exprs, struct dn_expr *name, struct dn_expr *value)
{
	struct dn_expr *colon =
		dn_expr_sequence(exprs, dn_expr_text(exprs, ":"), dn_json_space(exprs));

	return dn_expr_sequence(exprs, dn_expr_sequence(exprs, name, colon), value);
}

struct dn_expr *dn_json_quote(struct dn_exprs *exprs, struct dn_expr *body)
{
	struct dn_expr *open = dn_expr_sequence(exprs, dn_expr_text(exprs, "\""), body);

	return dn_expr_sequence(exprs, open, dn_expr_text(exprs, "\""));
}

/* Those of @ranges that stand for themselves in a string. */
static struct dn_expr *plain(struct dn_exprs *exprs, const struct dn_point_range *ranges,
			     uint32_t n)
{
	static const struct dn_point_range pieces[] = {
		{ ' ', '!' },
		{ '#', '[' },
		{ ']', DN_POINT_MAX },
	};
	DN_AUTO_FREE struct dn_point_range *cut = malloc((size_t)n * 3 * sizeof(*cut) + 1);
	uint32_t used = 0;

	if (!cut) {
		exprs->failed = true;
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++)
		for (size_t j = 0; j < DN_ARRAY_SIZE(pieces); j++) {
			const uint32_t low = DN_MAX(ranges[i].low, pieces[j].low);
			const uint32_t high = DN_MIN(ranges[i].high, pieces[j].high);

			if (low <= high)
				cut[used++] = (struct dn_point_range){ low, high };
		}
	return dn_expr_class(exprs, cut, used);
}

/* A character that has to be escaped. */
static struct dn_expr *escaped(struct dn_exprs *exprs, uint32_t point)
{
	static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	char text[8];

	for (size_t i = 0; letters[i] != '\0'; i += 2)
		if ((uint8_t)letters[i] == point) {
			(void)snprintf(text, sizeof(text), "\\%c", letters[i + 1]);
			return dn_expr_text(exprs, text);
		}
	(void)snprintf(text, sizeof(text), "\\u%04x", point);
	return dn_expr_text(exprs, text);
}

struct dn_expr *dn_json_class(struct dn_exprs *exprs, const struct dn_point_range *ranges,
			      uint32_t n)
{
	struct dn_expr *expr = plain(exprs, ranges, n);

	for (uint32_t point = 0; point <= '\\'; point++) {
		if (point >= ' ' && point != '"' && point != '\\')
			continue;
		for (uint32_t i = 0; i < n; i++)
			if (point >= ranges[i].low && point <= ranges[i].high)
				expr = dn_expr_choice(exprs, expr, escaped(exprs, point));
	}
	return expr;
}

static struct dn_expr *text_then(struct dn_exprs *exprs, const char *text, struct dn_expr *next)
{
	return dn_expr_sequence(exprs, dn_expr_text(exprs, text), next);
}

static struct dn_expr *hex(struct dn_exprs *exprs, uint32_t n)
{
	static const struct dn_point_range all[] = { { '0', '9' }, { 'a', 'f' }, { 'A', 'F' } };

	return dn_expr_repeat(exprs, dn_expr_class(exprs, all, 3), n, n);
}

/* What is behind "\u": no surrogate, or a pair of them; and not the end of texts in many programs. */
static struct dn_expr *four_digits(struct dn_exprs *exprs)
{
	static const struct dn_point_range no_d[] = {
		{ '1', '9' }, { 'a', 'c' }, { 'e', 'f' }, { 'A', 'C' }, { 'E', 'F' }
	};
	static const struct dn_point_range d[] = { { 'd', 'd' }, { 'D', 'D' } };
	static const struct dn_point_range not_0[] = { { '1', '9' }, { 'a', 'f' }, { 'A', 'F' } };
	static const struct dn_point_range high[] = { { '8', '9' }, { 'a', 'b' }, { 'A', 'B' } };
	static const struct dn_point_range low[] = { { 'c', 'f' }, { 'C', 'F' } };
	struct dn_expr *it = NULL;
	struct dn_expr *all = dn_expr_sequence(exprs, dn_expr_class(exprs, no_d, 5), hex(exprs, 3));

	for (uint32_t zeros = 1; zeros < 4; zeros++) {
		static const char text[] = "000";

		it = dn_expr_sequence(exprs, dn_expr_class(exprs, not_0, 3), hex(exprs, 3 - zeros));
		it = dn_expr_sequence(exprs, dn_expr_bytes(exprs, text, zeros), it);
		all = dn_expr_choice(exprs, all, it);
	}
	it = dn_expr_sequence(exprs, dn_expr_class(exprs, d, 2), range(exprs, '0', '7'));
	all = dn_expr_choice(exprs, all, dn_expr_sequence(exprs, it, hex(exprs, 2)));
	it = dn_expr_sequence(exprs, dn_expr_class(exprs, low, 2), hex(exprs, 2));
	it = text_then(exprs, "\\u", dn_expr_sequence(exprs, dn_expr_class(exprs, d, 2), it));
	it = dn_expr_sequence(exprs, hex(exprs, 2), it);
	it = dn_expr_sequence(exprs, dn_expr_class(exprs, high, 3), it);
	it = dn_expr_sequence(exprs, dn_expr_class(exprs, d, 2), it);
	return dn_expr_choice(exprs, all, it);
}

static struct dn_expr *character(struct dn_json_rules *rules)
{
	static const struct dn_point_range all = { 0, DN_POINT_MAX };
	static const struct dn_point_range letters[] = {
		{ '"', '"' }, { '\\', '\\' }, { '/', '/' }, { 'b', 'b' },
		{ 'f', 'f' }, { 'n', 'n' },   { 'r', 'r' }, { 't', 't' },
	};
	struct dn_exprs *exprs = rules->exprs;
	struct dn_expr *expr;

	if (rules->character == DN_RULE_NONE) {
		rules->character = dn_exprs_add_rule(exprs, NULL, 0);
		expr = dn_expr_choice(exprs, dn_expr_class(exprs, letters, DN_ARRAY_SIZE(letters)),
				      text_then(exprs, "u", four_digits(exprs)));
		expr = dn_expr_choice(exprs, plain(exprs, &all, 1), text_then(exprs, "\\", expr));
		if (rules->character != DN_RULE_NONE)
			exprs->rules[rules->character].body = expr;
	}
	return dn_expr_rule(exprs, rules->character);
}

struct dn_expr *dn_json_string_of(struct dn_json_rules *rules, uint32_t min, uint32_t max)
{
	return dn_json_quote(rules->exprs,
			     dn_expr_repeat(rules->exprs, character(rules), min, max));
}

struct dn_expr *dn_json_string(struct dn_json_rules *rules)
{
	struct dn_expr *expr;

	if (rules->string == DN_RULE_NONE) {
		rules->string = dn_exprs_add_rule(rules->exprs, NULL, 0);
		expr = dn_json_string_of(rules, 0, DN_REPEAT_FOREVER);
		if (rules->string != DN_RULE_NONE)
			rules->exprs->rules[rules->string].body = expr;
	}
	return dn_expr_rule(rules->exprs, rules->string);
}

static struct dn_expr *whole(struct dn_exprs *exprs, uint32_t more)
{
	struct dn_expr *positive =
		dn_expr_sequence(exprs, range(exprs, '1', '9'), digits(exprs, 0, more));

	return dn_expr_sequence(exprs, dn_expr_maybe(exprs, dn_expr_text(exprs, "-")),
				dn_expr_choice(exprs, dn_expr_text(exprs, "0"), positive));
}

struct dn_expr *dn_json_integer(struct dn_exprs *exprs)
{
	return whole(exprs, 17);
}

/* Nothing that is no finite double. */
struct dn_expr *dn_json_number(struct dn_exprs *exprs)
{
	static const struct dn_point_range e[] = { { 'e', 'e' }, { 'E', 'E' } };
	static const struct dn_point_range signs[] = { { '+', '+' }, { '-', '-' } };
	struct dn_expr *fraction = text_then(exprs, ".", digits(exprs, 1, 16));
	struct dn_expr *exponent = dn_expr_sequence(
		exprs, dn_expr_maybe(exprs, dn_expr_class(exprs, signs, 2)), digits(exprs, 1, 2));

	exponent = dn_expr_sequence(exprs, dn_expr_class(exprs, e, 2), exponent);
	return dn_expr_sequence(
		exprs, dn_expr_sequence(exprs, whole(exprs, 15), dn_expr_maybe(exprs, fraction)),
		dn_expr_maybe(exprs, exponent));
}

/* One or several of @item, or nothing. */
static struct dn_expr *list(struct dn_exprs *exprs, struct dn_expr *item)
{
	struct dn_expr *more = dn_expr_sequence(exprs, dn_json_comma(exprs), item);

	more = dn_expr_repeat(exprs, more, 0, DN_REPEAT_FOREVER);
	return dn_expr_maybe(exprs, dn_expr_sequence(exprs, item, more));
}

struct dn_expr *dn_json_array(struct dn_json_rules *rules)
{
	struct dn_exprs *exprs = rules->exprs;
	struct dn_expr *expr;

	if (rules->array == DN_RULE_NONE) {
		rules->array = dn_exprs_add_rule(exprs, NULL, 0);
		expr = dn_json_enclose(exprs, "[", list(exprs, dn_json_value(rules)), "]");
		if (rules->array != DN_RULE_NONE)
			exprs->rules[rules->array].body = expr;
	}
	return dn_expr_rule(exprs, rules->array);
}

struct dn_expr *dn_json_object(struct dn_json_rules *rules)
{
	struct dn_exprs *exprs = rules->exprs;
	struct dn_expr *member;
	struct dn_expr *expr;

	if (rules->object == DN_RULE_NONE) {
		rules->object = dn_exprs_add_rule(exprs, NULL, 0);
		member = dn_json_member(exprs, dn_json_string(rules), dn_json_value(rules));
		expr = dn_json_enclose(exprs, "{", list(exprs, member), "}");
		if (rules->object != DN_RULE_NONE)
			exprs->rules[rules->object].body = expr;
	}
	return dn_expr_rule(exprs, rules->object);
}

struct dn_expr *dn_json_value(struct dn_json_rules *rules)
{
	static const char *const words[] = { "null", "true", "false" };
	struct dn_exprs *exprs = rules->exprs;
	struct dn_expr *expr;

	if (rules->value != DN_RULE_NONE)
		return dn_expr_rule(exprs, rules->value);
	rules->value = dn_exprs_add_rule(exprs, NULL, 0);
	expr = dn_expr_choice(exprs, dn_json_object(rules), dn_json_array(rules));
	expr = dn_expr_choice(exprs, expr, dn_json_string(rules));
	expr = dn_expr_choice(exprs, expr, dn_json_number(exprs));
	for (size_t i = 0; i < DN_ARRAY_SIZE(words); i++)
		expr = dn_expr_choice(exprs, expr, dn_expr_text(exprs, words[i]));
	if (rules->value != DN_RULE_NONE)
		exprs->rules[rules->value].body = expr;
	return dn_expr_rule(exprs, rules->value);
}

int dn_any_json_read(struct dn_exprs *exprs, struct dn_error *err)
{
	struct dn_json_rules rules = DN_JSON_RULES_INIT(exprs);
	const uint32_t root = dn_exprs_add_rule(exprs, NULL, 0);
	struct dn_expr *expr = dn_json_object(&rules);

	if (!expr || root == DN_RULE_NONE)
		return dn_exprs_error(exprs, err);
	exprs->rules[root].body = expr;
	return 0;
}
