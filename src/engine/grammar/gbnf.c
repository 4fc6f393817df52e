/* SPDX-License-Identifier: MIT */
/*
 * GBNF, as llama.cpp's users write it: name ::= "text" [a-z] . other-name (…) | with * + ? {n} {n,}
 * {n,m}, and comments from # to the line's end. A rule ends with its line, but not inside of
 * parentheses, nor behind "::=" and "|".
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/grammar.h"

#define DEPTH_MAX  200
#define RANGES_MAX 1024
#define NAME_MAX_  128
#define SLOTS	   (2 * DN_RULES_MAX)

struct reader {
	struct dn_exprs *exprs;
	struct dn_error *err;
	const char *text;
	const char *at;
	const char *end;
	unsigned int depth;
	uint16_t slots[SLOTS]; /* rules by the hash of their names, each plus 1 */
};

static int wrong(const struct reader *reader, const char *what)
{
	unsigned int line = 1;

	for (const char *c = reader->text; c < reader->at; c++)
		line += *c == '\n';
	return dn_error_set(reader->err, EINVAL, "line %u of the grammar: %s", line, what);
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_';
}

static bool is_next(const struct reader *reader, char c)
{
	return reader->at < reader->end && *reader->at == c;
}

static void skip_space(struct reader *reader, bool lines)
{
	while (reader->at < reader->end) {
		const char c = *reader->at;

		if (c == '#')
			while (reader->at < reader->end && *reader->at != '\n')
				reader->at++;
		else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r')))
			reader->at++;
		else
			return;
	}
}

/* The rule of the name that stands here, made where it is new. */
static int read_name(struct reader *reader, uint32_t *ret_rule)
{
	const char *name = reader->at;
	uint32_t hash = 2166136261U;
	uint32_t slot;
	size_t size;

	while (reader->at < reader->end && is_name(*reader->at))
		hash = (hash ^ (uint8_t)*reader->at++) * 16777619U;
	size = (size_t)(reader->at - name);
	if (size == 0 || size > NAME_MAX_)
		return wrong(reader, size ? "the name is too long" : "a name was expected");
	slot = (hash ^ hash >> 15) & (SLOTS - 1);
	for (; reader->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
		const char *other = reader->exprs->rules[reader->slots[slot] - 1].name;

		*ret_rule = reader->slots[slot] - 1U;
		if (strlen(other) == size && memcmp(other, name, size) == 0)
			return 0;
	}
	*ret_rule = dn_exprs_add_rule(reader->exprs, name, size);
	if (*ret_rule == DN_RULE_NONE)
		return dn_exprs_error(reader->exprs, reader->err);
	reader->slots[slot] = (uint16_t)(*ret_rule + 1);
	return 0;
}

static int read_hex(struct reader *reader, uint32_t digits, uint32_t *ret_point)
{
	return dn_point_read_hex(&reader->at, reader->end, digits, ret_point)
		       ? 0
		       : wrong(reader, "hexadecimal digits of a code point are missing");
}

static int read_point(struct reader *reader, uint32_t *ret_point)
{
	static const char escapes[] = "n\nt\tr\r\\\\\"\"[[]]--^^";

	if (reader->at >= reader->end)
		return wrong(reader, "it ends inside of a text or a class");
	if (*reader->at != '\\') {
		reader->at +=
			dn_utf8_decode(reader->at, (size_t)(reader->end - reader->at), ret_point);
		return 0;
	}
	if (++reader->at >= reader->end)
		return wrong(reader, "it ends behind a backslash");
	switch (*reader->at++) {
	case 'x':
		return read_hex(reader, 2, ret_point);
	case 'u':
		return read_hex(reader, 4, ret_point);
	case 'U':
		return read_hex(reader, 8, ret_point);
	default:
		break;
	}
	for (size_t i = 0; escapes[i] != '\0'; i += 2)
		if (escapes[i] == reader->at[-1]) {
			*ret_point = (uint8_t)escapes[i + 1];
			return 0;
		}
	return wrong(reader, "no such escape");
}

static int read_text(struct reader *reader, struct dn_expr **ret_expr)
{
	struct dn_expr *expr = dn_expr_empty(reader->exprs);
	struct dn_point_range range;
	char bytes[256];
	size_t size = 0;
	int r;

	reader->at++;
	while (!is_next(reader, '"')) {
		r = read_point(reader, &range.low);
		if (r < 0)
			return r;
		if (range.low >= 0xd800 && range.low <= 0xdfff)
			return wrong(reader, "a surrogate is no character");
		size += dn_utf8_encode(range.low, bytes + size);
		if (size + 4 <= sizeof(bytes))
			continue;
		expr = dn_expr_sequence(reader->exprs, expr,
					dn_expr_bytes(reader->exprs, bytes, size));
		size = 0;
	}
	reader->at++;
	*ret_expr =
		dn_expr_sequence(reader->exprs, expr, dn_expr_bytes(reader->exprs, bytes, size));
	return 0;
}

static int read_class(struct reader *reader, struct dn_expr **ret_expr)
{
	struct dn_point_range ranges[RANGES_MAX];
	struct dn_point_range others[RANGES_MAX + 1];
	bool inverted;
	uint32_t n = 0;
	int r = 0;

	reader->at++;
	inverted = is_next(reader, '^');
	reader->at += inverted;
	while (r >= 0 && !is_next(reader, ']')) {
		if (n == RANGES_MAX)
			return wrong(reader, "the class is too long");
		ranges[n].low = 0;
		r = read_point(reader, &ranges[n].low);
		if (r < 0)
			return r;
		ranges[n].high = ranges[n].low;
		if (is_next(reader, '-') && reader->at + 1 < reader->end && reader->at[1] != ']') {
			reader->at++;
			r = read_point(reader, &ranges[n].high);
		}
		if (r >= 0 && ranges[n].high < ranges[n].low)
			r = wrong(reader, "a range ends before it begins");
		n++;
	}
	if (r < 0)
		return r;
	reader->at++;
	if (inverted) {
		n = dn_point_ranges_sort(ranges, n);
		n = dn_point_ranges_invert(ranges, n, others);
	}
	*ret_expr = dn_expr_class(reader->exprs, inverted ? others : ranges, n);
	return 0;
}

static int read_choice(struct reader *reader, bool nested, struct dn_expr **ret_expr);

static int read_group(struct reader *reader, struct dn_expr **ret_expr)
{
	int r;

	reader->at++;
	if (++reader->depth > DEPTH_MAX)
		return wrong(reader, "parentheses lie too deep");
	r = read_choice(reader, true, ret_expr);
	if (r < 0)
		return r;
	if (!is_next(reader, ')'))
		return wrong(reader, "')' is missing");
	reader->at++;
	reader->depth--;
	return 0;
}

/* *@ret_expr stays NULL where no item begins here. */
static int read_item(struct reader *reader, struct dn_expr **ret_expr)
{
	static const struct dn_point_range any = { 0, DN_POINT_MAX };
	uint32_t rule;
	int r;

	*ret_expr = NULL;
	if (reader->at >= reader->end)
		return 0;
	switch (*reader->at) {
	case '"':
		return read_text(reader, ret_expr);
	case '[':
		return read_class(reader, ret_expr);
	case '(':
		return read_group(reader, ret_expr);
	case '.':
		reader->at++;
		*ret_expr = dn_expr_class(reader->exprs, &any, 1);
		return 0;
	default:
		break;
	}
	if (!is_name(*reader->at))
		return 0;
	r = read_name(reader, &rule);
	*ret_expr = r < 0 ? NULL : dn_expr_rule(reader->exprs, rule);
	return r;
}

static int read_number(struct reader *reader, uint32_t *ret_number)
{
	uint32_t number = 0;

	if (reader->at >= reader->end || *reader->at < '0' || *reader->at > '9')
		return wrong(reader, "a number was expected");
	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
		number = number * 10 + (uint32_t)(*reader->at++ - '0');
		if (number > DN_REPEAT_MAX)
			return wrong(reader, "more repeats than there may be");
	}
	*ret_number = number;
	return 0;
}

/* {n}, {n,}, {n,m} */
static int read_bounds(struct reader *reader, uint32_t *ret_min, uint32_t *ret_max)
{
	int r;

	reader->at++;
	skip_space(reader, false);
	r = read_number(reader, ret_min);
	*ret_max = *ret_min;
	skip_space(reader, false);
	if (r >= 0 && is_next(reader, ',')) {
		reader->at++;
		skip_space(reader, false);
		*ret_max = DN_REPEAT_FOREVER;
		if (!is_next(reader, '}'))
			r = read_number(reader, ret_max);
		skip_space(reader, false);
	}
	if (r < 0)
		return r;
	if (!is_next(reader, '}'))
		return wrong(reader, "'}' is missing");
	reader->at++;
	return *ret_max < *ret_min ? wrong(reader, "fewer repeats at most than at least") : 0;
}

static int read_repeats(struct reader *reader, struct dn_expr **expr)
{
	for (;;) {
		uint32_t min = 0;
		uint32_t max = DN_REPEAT_FOREVER;
		int r = 0;

		if (is_next(reader, '{')) {
			r = read_bounds(reader, &min, &max);
		} else if (is_next(reader, '*') || is_next(reader, '+') || is_next(reader, '?')) {
			min = *reader->at == '+';
			max = *reader->at == '?' ? 1 : DN_REPEAT_FOREVER;
			reader->at++;
		} else {
			return 0;
		}
		if (r < 0)
			return r;
		*expr = dn_expr_repeat(reader->exprs, *expr, min, max);
	}
}

static int read_sequence(struct reader *reader, bool nested, struct dn_expr **ret_expr)
{
	struct dn_expr *sequence = dn_expr_empty(reader->exprs);

	for (;;) {
		struct dn_expr *item;
		const char *before = reader->at;
		int r;

		r = read_item(reader, &item);
		if (r >= 0 && reader->at == before)
			break;
		if (r >= 0)
			r = read_repeats(reader, &item);
		if (r < 0)
			return r;
		sequence = dn_expr_sequence(reader->exprs, sequence, item);
		skip_space(reader, nested);
	}
	*ret_expr = sequence;
	return 0;
}

static int read_choice(struct reader *reader, bool nested, struct dn_expr **ret_expr)
{
	struct dn_expr *choice = dn_expr_never(reader->exprs);

	for (;;) {
		struct dn_expr *sequence;
		int r;

		skip_space(reader, true);
		r = read_sequence(reader, nested, &sequence);
		if (r < 0)
			return r;
		choice = dn_expr_choice(reader->exprs, choice, sequence);
		if (!is_next(reader, '|'))
			break;
		reader->at++;
	}
	*ret_expr = choice;
	return 0;
}

static int read_rule(struct reader *reader)
{
	struct dn_expr *body;
	uint32_t rule;
	int r;

	r = read_name(reader, &rule);
	if (r < 0)
		return r;
	skip_space(reader, false);
	if (reader->end - reader->at < 3 || memcmp(reader->at, "::=", 3) != 0)
		return wrong(reader, "'::=' is missing");
	reader->at += 3;
	if (reader->exprs->rules[rule].body)
		return wrong(reader, "the rule was there before");
	r = read_choice(reader, false, &body);
	if (r < 0)
		return r;
	if (!body)
		return dn_exprs_error(reader->exprs, reader->err);
	reader->exprs->rules[rule].body = body;
	if (reader->at < reader->end && *reader->at != '\n' && *reader->at != '\r')
		return wrong(reader, "nothing that begins like this is known");
	skip_space(reader, true);
	return 0;
}

static int check_rules(const struct dn_exprs *exprs, struct dn_error *err)
{
	if (!exprs->rules[0].body)
		return dn_error_set(err, EINVAL, "the grammar has no rule 'root'");
	for (uint32_t i = 0; i < exprs->n_rules; i++)
		if (!exprs->rules[i].body)
			return dn_error_set(err, EINVAL, "the grammar has no rule '%.128s'",
					    exprs->rules[i].name);
	return 0;
}

int dn_gbnf_read(const char *text, size_t size, struct dn_exprs *exprs, struct dn_error *err)
{
	DN_AUTO_FREE struct reader *reader = calloc(1, sizeof(*reader));
	uint32_t root;
	int r;

	if (!reader)
		return dn_error_memory(err, "a grammar", sizeof(*reader));
	*reader = (struct reader){ .exprs = exprs, .err = err, .text = "root" };
	reader->at = reader->text;
	reader->end = reader->text + 4;
	r = read_name(reader, &root);
	reader->text = reader->at = text;
	reader->end = text + size;
	if (r >= 0 && size > 0)
		skip_space(reader, true);
	while (r >= 0 && reader->at < reader->end)
		r = read_rule(reader);
	return r < 0 ? r : check_rules(exprs, err);
}
