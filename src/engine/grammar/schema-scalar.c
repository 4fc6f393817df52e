/* SPDX-License-Identifier: MIT */
/* Strings and numbers of a schema. */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/grammar/number.h"
#include "engine/grammar/regex.h"
#include "engine/grammar/schema.h"

/* Multiples of a number within bounds that are written one by one. */
#define MULTIPLES_MAX 2000

static int read_pattern(struct dn_schema_reader *reader, const char *keyword, const char *pattern,
			struct dn_regex *ret_regex)
{
	struct dn_error why = DN_ERROR_INIT;
	const int r = dn_regex_read(pattern, strlen(pattern), reader->exprs, ret_regex, &why);

	return r < 0 ? dn_error_set(reader->err, -r, "schema: '%s' with '%.100s': %.200s", keyword,
				    pattern, why.message)
		     : 0;
}

/* The first of a format's patterns whose texts are as long as they are to be. */
static struct dn_expr *formatted(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret)
{
	const char *pattern;

	for (size_t nth = 0; (pattern = dn_format_pattern(shape->format, nth)) != NULL; nth++) {
		struct dn_regex regex;

		*ret = read_pattern(reader, "format", pattern, &regex);
		if (*ret < 0)
			return NULL;
		if (regex.min >= shape->min_length && regex.max <= shape->max_length)
			return dn_json_quote(reader->exprs, regex.expr);
	}
	*ret = dn_schema_unsupported(reader, shape->where, "format",
				     "with such a 'minLength' or 'maxLength'");
	return NULL;
}

/* A pattern whose texts are as long as they are to be, or can be made so. */
static struct dn_expr *patterned(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	const uint32_t low = shape->min_length;
	const uint32_t high = shape->max_length;
	struct dn_regex regex;

	*ret = read_pattern(reader, "pattern", shape->pattern, &regex);
	if (*ret < 0)
		return NULL;
	if (regex.min >= low && regex.max <= high)
		return dn_json_quote(exprs, regex.expr);
	if (regex.single && regex.max >= low && regex.min <= high)
		return dn_json_quote(exprs,
				     dn_expr_repeat(exprs, regex.single, DN_MAX(regex.min, low),
						    DN_MIN(regex.max, high)));
	if (regex.max < low || regex.min > high)
		return dn_expr_never(exprs);
	*ret = dn_schema_unsupported(reader, shape->where, "pattern",
				     "with other lengths beside 'minLength' or 'maxLength'");
	return NULL;
}

struct dn_expr *dn_schema_string(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret)
{
	if (shape->pattern && shape->format) {
		*ret = dn_schema_unsupported(reader, shape->where, "format", "beside 'pattern'");
		return NULL;
	}
	if (shape->min_length > shape->max_length)
		return dn_expr_never(reader->exprs);
	if (shape->pattern)
		return patterned(reader, shape, ret);
	if (shape->format)
		return formatted(reader, shape, ret);
	if (shape->min_length == 0 && shape->max_length == DN_REPEAT_FOREVER)
		return dn_json_string(&reader->json);
	return dn_json_string_of(&reader->json, shape->min_length, shape->max_length);
}

/* Multiples from @low, which is above 0, to @high; @open: to any. */
static struct dn_expr *multiples(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int64_t low, int64_t high, bool open, int *ret)
{
	const int64_t factor = (int64_t)shape->factor;
	const int64_t first = (low + factor - 1) / factor;
	const int64_t last = high / factor;
	char *texts[MULTIPLES_MAX];
	char room[MULTIPLES_MAX][20];
	size_t n = 0;

	if (open && first == 1 && factor <= DN_FACTOR_MAX)
		return dn_number_multiple(reader->exprs, (uint32_t)factor);
	if (last - first >= MULTIPLES_MAX) {
		*ret = dn_schema_unsupported(reader, shape->where, "multipleOf",
					     "with so many multiples in its bounds");
		return NULL;
	}
	*ret = dn_schema_spend(reader, last < first ? 0 : (size_t)(last - first) * 4);
	for (int64_t at = first; *ret >= 0 && at <= last; at++, n++) {
		(void)snprintf(room[n], sizeof(room[n]), "%" PRId64, at * factor);
		texts[n] = room[n];
	}
	return dn_expr_one_of(reader->exprs, texts, n);
}

static struct dn_expr *all_multiples(struct dn_schema_reader *reader, const struct dn_shape *shape,
				     int64_t low, int64_t high, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	struct dn_expr *expr = dn_expr_never(exprs);
	struct dn_expr *above = NULL;

	if (!(shape->factor >= 1) || trunc(shape->factor) != shape->factor ||
	    shape->factor > 1e15) {
		*ret = dn_schema_unsupported(reader, shape->where, "multipleOf",
					     "but for whole numbers");
		return NULL;
	}
	if (low <= 0 && high >= 0)
		expr = dn_expr_text(exprs, "0");
	if (high > 0)
		above = multiples(reader, shape, DN_MAX(low, 1), high, !isfinite(shape->high), ret);
	if (high > 0)
		expr = dn_expr_choice(exprs, expr, above);
	if (low >= 0 || *ret < 0)
		return expr;
	/* Without bounds it is the same to both sides, and a rule for each remainder. */
	if (isfinite(shape->low) || isfinite(shape->high))
		above = multiples(reader, shape, DN_MAX(-high, 1), -low, !isfinite(shape->low),
				  ret);
	return dn_expr_choice(exprs, expr, dn_number_negative(exprs, above));
}

static bool same_bounds(const struct dn_bounds *a, const struct dn_bounds *b)
{
	return !(a->low < b->low) && !(a->low > b->low) && !(a->high < b->high) &&
	       !(a->high > b->high) && a->above == b->above && a->below == b->below;
}

/* A rule for all that have the same bounds, as far as few are different. */
static struct dn_expr *within(struct dn_schema_reader *reader, const struct dn_bounds *bounds)
{
	struct dn_expr *expr;
	uint32_t rule;

	for (uint32_t i = 0; i < reader->n_numbers; i++)
		if (same_bounds(&reader->numbers[i].bounds, bounds))
			return dn_expr_rule(reader->exprs, reader->numbers[i].rule);
	expr = dn_number_real(reader->exprs, bounds);
	rule = dn_exprs_add_rule(reader->exprs, NULL, 0);
	if (!expr || rule == DN_RULE_NONE)
		return NULL;
	reader->exprs->rules[rule].body = expr;
	if (reader->n_numbers < DN_KNOWN_NUMBERS)
		reader->numbers[reader->n_numbers++] = (struct dn_known_number){ *bounds, rule };
	return dn_expr_rule(reader->exprs, rule);
}

/*
 * Decimal fractions too, of at most 15 digits: bounds beyond that are none, and those that have more
 * digits are the next within them.
 */
static struct dn_expr *any_number(struct dn_schema_reader *reader, const struct dn_shape *shape,
				  int *ret)
{
	struct dn_bounds bounds = {
		.low = shape->low > -DN_REAL_MAX ? dn_number_short(shape->low, true) : -INFINITY,
		.high = shape->high < DN_REAL_MAX ? dn_number_short(shape->high, false) : INFINITY,
	};
	bool empty;

	bounds.above = shape->above && bounds.low <= shape->low;
	bounds.below = shape->below && bounds.high >= shape->high;
	empty = bounds.low > bounds.high ||
		(bounds.low >= bounds.high && (bounds.above || bounds.below));
	if ((empty && shape->low < shape->high) || bounds.low >= DN_REAL_MAX ||
	    bounds.high <= -DN_REAL_MAX) {
		*ret = dn_schema_unsupported(reader, shape->where,
					     shape->low_keyword ? shape->low_keyword
								: shape->high_keyword,
					     "where no number of 15 digits is within it");
		return NULL;
	}
	return within(reader, &bounds);
}

struct dn_expr *dn_schema_number(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret)
{
	const int64_t low = DN_MAX(shape->least, -DN_INTEGER_MAX);
	const int64_t high = DN_MIN(shape->most, DN_INTEGER_MAX);
	const bool bounded = isfinite(shape->low) || isfinite(shape->high);
	const bool large = shape->low >= DN_REAL_MAX || shape->high <= -DN_REAL_MAX;

	if (shape->least > DN_INTEGER_MAX || shape->most < -DN_INTEGER_MAX) {
		*ret = dn_schema_unsupported(reader, shape->where,
					     shape->least > 0 ? shape->low_keyword
							      : shape->high_keyword,
					     "of so large a size");
		return NULL;
	}
	if (shape->factor > 0)
		return all_multiples(reader, shape, low, high, ret);
	if (bounded && (large || !(shape->types & DN_TYPE_FRACTION)))
		return low > high ? dn_expr_never(reader->exprs)
				  : dn_number_whole(reader->exprs, low, high);
	if (!(shape->types & DN_TYPE_FRACTION))
		return dn_json_integer(reader->exprs);
	if (bounded)
		return any_number(reader, shape, ret);
	if (!(shape->types & DN_TYPE_INTEGER)) {
		*ret = dn_schema_unsupported(reader, shape->where, "type", "of fractions alone");
		return NULL;
	}
	return dn_json_number(reader->exprs);
}
