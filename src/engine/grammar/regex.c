/* SPDX-License-Identifier: MIT */

#include "engine/grammar/regex.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "engine/grammar/json.h"

#define DEPTH_MAX  100
#define RANGES_MAX 512

struct reader {
	struct dn_exprs *exprs;
	struct dn_error *err;
	const char *at;
	const char *end;
	unsigned int depth;
};

/* Ranges of a class that is being read. */
struct set {
	struct dn_point_range ranges[RANGES_MAX];
	uint32_t n;
	bool inverted;
};

static int read_choice(struct reader *reader, bool outer, struct dn_regex *ret);

static int wrong(const struct reader *reader, const char *what)
{
	return dn_error_set(reader->err, EINVAL, "the pattern is wrong: %s", what);
}

static int unsupported(const struct reader *reader, const char *what)
{
	return dn_error_set(reader->err, ENOTSUP, "patterns with %s are not supported", what);
}

static bool is_next(const struct reader *reader, char c)
{
	return reader->at < reader->end && *reader->at == c;
}

static uint32_t add(uint32_t a, uint32_t b)
{
	return a > DN_REPEAT_FOREVER - b ? DN_REPEAT_FOREVER : a + b;
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
	const uint64_t product = (uint64_t)a * b;

	if (a == 0 || b == 0)
		return 0;
	return product >= DN_REPEAT_FOREVER ? DN_REPEAT_FOREVER : (uint32_t)product;
}

static int add_range(struct reader *reader, struct set *set, uint32_t low, uint32_t high)
{
	if (set->n == RANGES_MAX)
		return wrong(reader, "a class is too long");
	set->ranges[set->n++] = (struct dn_point_range){ low, high };
	return 0;
}

static int add_ranges(struct reader *reader, struct set *set, const struct dn_point_range *ranges,
		      uint32_t n)
{
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < n; i++)
		r = add_range(reader, set, ranges[i].low, ranges[i].high);
	return r;
}

/*
 * \d \w \s and their opposites, which languages see differently beyond ASCII: a class has what all
 * agree on, one that is inverted leaves out what any of them has. Return: 1 where @letter is one.
 */
static int add_named(struct reader *reader, struct set *set, char letter)
{
	static const struct dn_point_range d[] = { { '0', '9' }, { 0x660, DN_POINT_MAX } };
	static const struct dn_point_range w[] = {
		{ '0', '9' }, { 'A', 'Z' }, { '_', '_' }, { 'a', 'z' }, { 0xaa, DN_POINT_MAX }
	};
	static const struct dn_point_range s[] = {
		{ '\t', '\r' },	    { ' ', ' ' },	{ 0x1c, 0x1f },	    { 0x85, 0x85 },
		{ 0xa0, 0xa0 },	    { 0x1680, 0x1680 }, { 0x2000, 0x200a }, { 0x2028, 0x2029 },
		{ 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 }, { 0xfeff, 0xfeff },
	};
	static const struct {
		char letter;
		const struct dn_point_range *ranges;
		uint32_t n;
		uint32_t agreed; /* of these, what all have */
	} named[] = { { 'd', d, DN_ARRAY_SIZE(d), 1 },
		      { 'w', w, DN_ARRAY_SIZE(w), 4 },
		      { 's', s, DN_ARRAY_SIZE(s), 2 } };
	struct dn_point_range all[DN_ARRAY_SIZE(s)];
	struct dn_point_range others[DN_ARRAY_SIZE(s) + 1];

	for (size_t i = 0; i < DN_ARRAY_SIZE(named); i++) {
		const bool opposite = letter == named[i].letter - 'a' + 'A';
		uint32_t n = opposite == set->inverted ? named[i].agreed : named[i].n;
		int r;

		if (letter != named[i].letter && !opposite)
			continue;
		memcpy(all, named[i].ranges, n * sizeof(*all));
		n = dn_point_ranges_sort(all, n);
		if (opposite)
			n = dn_point_ranges_invert(all, n, others);
		r = add_ranges(reader, set, opposite ? others : all, n);
		return r < 0 ? r : 1;
	}
	return 0;
}

static int read_hex(struct reader *reader, uint32_t digits, uint32_t *ret_point)
{
	return dn_point_read_hex(&reader->at, reader->end, digits, ret_point)
		       ? 0
		       : wrong(reader, "hexadecimal digits of a code point are missing");
}

/* \uHHHH, a pair of them, or \u{H…}. */
static int read_unicode(struct reader *reader, uint32_t *ret_point)
{
	uint32_t low = 0;
	int r;

	if (is_next(reader, '{')) {
		const char *end = memchr(reader->at, '}', (size_t)(reader->end - reader->at));

		reader->at++;
		if (!end || end == reader->at || end - reader->at > 6)
			return wrong(reader, "a code point is missing");
		r = read_hex(reader, (uint32_t)(end - reader->at), ret_point);
		reader->at++;
		return r;
	}
	r = read_hex(reader, 4, ret_point);
	if (r < 0 || *ret_point < 0xd800 || *ret_point > 0xdbff)
		return r;
	if (reader->end - reader->at < 6 || memcmp(reader->at, "\\u", 2) != 0)
		return wrong(reader, "half of a surrogate pair");
	reader->at += 2;
	r = read_hex(reader, 4, &low);
	if (r >= 0 && (low < 0xdc00 || low > 0xdfff))
		return wrong(reader, "half of a surrogate pair");
	*ret_point = 0x10000 + ((*ret_point - 0xd800) << 10) + (low - 0xdc00);
	return r;
}

/* Behind a backslash: a point into @ret_point, or (with 1) a named class into @set. */
static int read_escape(struct reader *reader, bool in_class, struct set *set, uint32_t *ret_point)
{
	static const char controls[] = "n\nt\tr\rf\fv\v";
	char c;
	int r;

	if (reader->at == reader->end)
		return wrong(reader, "it ends behind a backslash");
	c = *reader->at++;
	r = add_named(reader, set, c);
	if (r != 0)
		return r;
	for (size_t i = 0; controls[i] != '\0'; i += 2)
		if (controls[i] == c) {
			*ret_point = (uint8_t)controls[i + 1];
			return 0;
		}
	if (c == 'x')
		return read_hex(reader, 2, ret_point);
	if (c == 'u')
		return read_unicode(reader, ret_point);
	if (c == 'b' && in_class) {
		*ret_point = '\b';
		return 0;
	}
	if (c == 'b' || c == 'B')
		return unsupported(reader, "word borders (\\b)");
	if (c == 'p' || c == 'P')
		return unsupported(reader, "Unicode properties (\\p)");
	if (c == 'k' || (c >= '1' && c <= '9'))
		return unsupported(reader, "back-references");
	if (c == '0') {
		*ret_point = 0;
		return 0;
	}
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return wrong(reader, "an escape that is not known");
	reader->at--;
	reader->at += dn_utf8_decode(reader->at, (size_t)(reader->end - reader->at), ret_point);
	return 0;
}

/* A point of a class, or a named class (1). */
static int read_member(struct reader *reader, struct set *set, uint32_t *ret_point)
{
	if (is_next(reader, '\\')) {
		reader->at++;
		return read_escape(reader, true, set, ret_point);
	}
	reader->at += dn_utf8_decode(reader->at, (size_t)(reader->end - reader->at), ret_point);
	return 0;
}

static int read_members(struct reader *reader, struct set *set)
{
	while (!is_next(reader, ']')) {
		uint32_t low = 0;
		uint32_t high;
		int r;

		if (reader->at == reader->end)
			return wrong(reader, "']' is missing");
		r = read_member(reader, set, &low);
		if (r < 0)
			return r;
		if (r == 1)
			continue;
		high = low;
		if (is_next(reader, '-') && reader->end - reader->at > 1 && reader->at[1] != ']') {
			reader->at++;
			r = read_member(reader, set, &high);
			if (r != 0 || high < low)
				return r < 0 ? r : wrong(reader, "a range ends before it begins");
		}
		r = add_range(reader, set, low, high);
		if (r < 0)
			return r;
	}
	reader->at++;
	return 0;
}

static void set_class(const struct reader *reader, const struct dn_point_range *ranges, uint32_t n,
		      struct dn_regex *ret)
{
	ret->expr = dn_json_class(reader->exprs, ranges, n);
	ret->single = ret->expr;
	ret->min = ret->max = 1;
}

static int read_class(struct reader *reader, struct dn_regex *ret)
{
	struct dn_point_range others[RANGES_MAX + 1];
	struct set set = { .n = 0 };
	int r;

	reader->at++;
	set.inverted = is_next(reader, '^');
	reader->at += set.inverted;
	r = read_members(reader, &set);
	if (r < 0)
		return r;
	set.n = dn_point_ranges_sort(set.ranges, set.n);
	if (set.inverted)
		set_class(reader, others, dn_point_ranges_invert(set.ranges, set.n, others), ret);
	else
		set_class(reader, set.ranges, set.n, ret);
	return 0;
}

static int read_group(struct reader *reader, struct dn_regex *ret)
{
	int r;

	reader->at++;
	if (is_next(reader, '?')) {
		const char *at = reader->at + 1;
		const size_t left = (size_t)(reader->end - at);

		if (left > 1 && at[0] == '<' && at[1] != '=' && at[1] != '!') {
			at = memchr(at, '>', left);
			if (!at)
				return wrong(reader, "a group's name does not end");
			reader->at = at + 1;
		} else if (left > 0 && at[0] == ':') {
			reader->at = at + 1;
		} else {
			return unsupported(reader, "look-around or flags, '(?…)',");
		}
	}
	if (++reader->depth > DEPTH_MAX)
		return wrong(reader, "groups lie too deep");
	r = read_choice(reader, false, ret);
	if (r < 0)
		return r;
	if (!is_next(reader, ')'))
		return wrong(reader, "')' is missing");
	reader->at++;
	reader->depth--;
	return 0;
}

static int read_escaped(struct reader *reader, struct dn_regex *ret)
{
	struct set set = { .n = 0 };
	uint32_t point = 0;
	int r;

	reader->at++;
	r = read_escape(reader, false, &set, &point);
	if (r == 0)
		r = add_range(reader, &set, point, point);
	if (r < 0)
		return r;
	set_class(reader, set.ranges, dn_point_ranges_sort(set.ranges, set.n), ret);
	return 0;
}

static int read_atom(struct reader *reader, struct dn_regex *ret)
{
	static const struct dn_point_range dot[] = { { 0, '\n' - 1 },
						     { '\n' + 1, '\r' - 1 },
						     { '\r' + 1, 0x2027 },
						     { 0x202a, DN_POINT_MAX } };
	struct dn_point_range range;

	switch (*reader->at) {
	case '(':
		return read_group(reader, ret);
	case '[':
		return read_class(reader, ret);
	case '\\':
		return read_escaped(reader, ret);
	case '.':
		reader->at++;
		set_class(reader, dot, DN_ARRAY_SIZE(dot), ret);
		return 0;
	case '^':
	case '$':
		return unsupported(reader, "anchors in the middle");
	case '*':
	case '+':
	case '?':
	case '{':
		return wrong(reader, "nothing to repeat");
	default:
		reader->at +=
			dn_utf8_decode(reader->at, (size_t)(reader->end - reader->at), &range.low);
		range.high = range.low;
		set_class(reader, &range, 1, ret);
		return 0;
	}
}

static int read_count(struct reader *reader, uint32_t *ret)
{
	uint32_t count = 0;

	if (reader->at == reader->end || *reader->at < '0' || *reader->at > '9')
		return wrong(reader, "a number of repeats is missing");
	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
		count = count * 10 + (uint32_t)(*reader->at++ - '0');
		if (count > DN_REPEAT_MAX)
			return unsupported(reader, "so many repeats");
	}
	*ret = count;
	return 0;
}

/* Return: 1 where there is one. */
static int read_quantifier(struct reader *reader, uint32_t *ret_min, uint32_t *ret_max)
{
	int r = 0;

	if (reader->at == reader->end || !strchr("*+?{", *reader->at) || *reader->at == '\0')
		return 0;
	*ret_min = *reader->at == '+';
	*ret_max = *reader->at == '?' ? 1 : DN_REPEAT_FOREVER;
	if (*reader->at++ == '{') {
		r = read_count(reader, ret_min);
		*ret_max = *ret_min;
		if (r >= 0 && is_next(reader, ',')) {
			reader->at++;
			*ret_max = DN_REPEAT_FOREVER;
			if (!is_next(reader, '}'))
				r = read_count(reader, ret_max);
		}
		if (r >= 0 && (!is_next(reader, '}') || *ret_max < *ret_min))
			r = wrong(reader, "a number of repeats");
		reader->at++;
	}
	/* A lazy one matches the same texts. */
	if (r >= 0 && is_next(reader, '?'))
		reader->at++;
	return r < 0 ? r : 1;
}

static int read_piece(struct reader *reader, struct dn_regex *ret)
{
	uint32_t min = 1;
	uint32_t max = 1;
	int r = read_atom(reader, ret);

	/* No room: what is left of the pattern is not read. */
	if (r >= 0 && !ret->expr)
		r = dn_exprs_error(reader->exprs, reader->err);
	if (r >= 0)
		r = read_quantifier(reader, &min, &max);
	if (r < 1)
		return r;
	if (ret->single && (ret->min != 1 || ret->max != 1))
		ret->single = NULL;
	ret->expr = dn_expr_repeat(reader->exprs, ret->expr, min, max);
	ret->min = multiply(ret->min, min);
	ret->max = multiply(ret->max, max);
	return 0;
}

/* What may stand around a pattern that is not anchored. */
static struct dn_expr *anything(struct dn_exprs *exprs)
{
	static const struct dn_point_range all = { 0, DN_POINT_MAX };

	return dn_expr_repeat(exprs, dn_json_class(exprs, &all, 1), 0, DN_REPEAT_FOREVER);
}

/* @outer: of the whole pattern, where anchors may be, and where none are anything may be. */
static int read_sequence(struct reader *reader, bool outer, struct dn_regex *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	bool begins = !outer;
	bool ends = !outer;
	uint32_t n = 0;

	*ret = (struct dn_regex){ .expr = dn_expr_empty(exprs) };
	for (; outer && is_next(reader, '^'); begins = true)
		reader->at++;
	while (reader->at < reader->end && *reader->at != '|' && *reader->at != ')') {
		struct dn_regex piece = { 0 };
		int r;

		if (outer && *reader->at == '$' &&
		    (reader->end - reader->at == 1 || reader->at[1] == '|')) {
			reader->at++;
			ends = true;
			break;
		}
		r = read_piece(reader, &piece);
		if (r < 0)
			return r;
		ret->expr = dn_expr_sequence(exprs, ret->expr, piece.expr);
		ret->single = n++ == 0 ? piece.single : NULL;
		ret->min = add(ret->min, piece.min);
		ret->max = add(ret->max, piece.max);
	}
	if (!begins)
		ret->expr = dn_expr_sequence(exprs, anything(exprs), ret->expr);
	if (!ends)
		ret->expr = dn_expr_sequence(exprs, ret->expr, anything(exprs));
	if (!begins || !ends) {
		ret->max = DN_REPEAT_FOREVER;
		ret->single = NULL;
	}
	return 0;
}

static int read_choice(struct reader *reader, bool outer, struct dn_regex *ret)
{
	int r = read_sequence(reader, outer, ret);

	while (r >= 0 && is_next(reader, '|')) {
		struct dn_regex other;

		reader->at++;
		r = read_sequence(reader, outer, &other);
		if (r < 0)
			return r;
		ret->expr = dn_expr_choice(reader->exprs, ret->expr, other.expr);
		ret->single = NULL;
		ret->min = DN_MIN(ret->min, other.min);
		ret->max = DN_MAX(ret->max, other.max);
	}
	return r;
}

int dn_regex_read(const char *pattern, size_t size, struct dn_exprs *exprs,
		  struct dn_regex *ret_regex, struct dn_error *err)
{
	struct reader reader = {
		.exprs = exprs,
		.err = err,
		.at = pattern,
		.end = pattern + size,
	};
	struct dn_regex regex = { 0 };
	int r = read_choice(&reader, true, &regex);

	if (r < 0)
		return r;
	if (reader.at != reader.end)
		return wrong(&reader, "')' without '('");
	if (!regex.expr)
		return dn_exprs_error(exprs, err);
	*ret_regex = regex;
	return 0;
}
