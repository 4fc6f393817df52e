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

/* A pattern whose texts are as long as they are to be, or can be made so. */
static struct dn_expr *patterned(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 const char *pattern, const char *keyword, int *ret)
{
	struct dn_exprs *exprs = reader->exprs;
	const uint32_t low = shape->min_length;
	const uint32_t high = shape->max_length;
	struct dn_regex regex;
	struct dn_error why = DN_ERROR_INIT;
	int r = dn_regex_read(pattern, strlen(pattern), exprs, &regex, &why);

	if (r < 0) {
		*ret = dn_error_set(reader->err, -r, "schema: '%s' with '%.100s': %.200s", keyword,
				    pattern, why.message);
		return NULL;
	}
	if (regex.min >= low && regex.max <= high)
		return dn_json_quote(exprs, regex.expr);
	if (regex.single && regex.max >= low && regex.min <= high)
		return dn_json_quote(exprs,
				     dn_expr_repeat(exprs, regex.single, DN_MAX(regex.min, low),
						    DN_MIN(regex.max, high)));
	if (regex.max < low || regex.min > high)
		return dn_expr_never(exprs);
	*ret = dn_schema_unsupported(reader, shape->where, keyword,
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
		return patterned(reader, shape, shape->pattern, "pattern", ret);
	if (shape->format)
		return patterned(reader, shape, dn_format_pattern(shape->format), "format", ret);
	if (shape->min_length == 0 && shape->max_length == DN_REPEAT_FOREVER)
		return dn_json_string(&reader->json);
	return dn_json_string_of(&reader->json, shape->min_length, shape->max_length);
}

static struct dn_expr *multiples(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int64_t low, int64_t high, int *ret)
{
	const int64_t factor = (int64_t)shape->factor;
	struct dn_expr *expr = dn_expr_never(reader->exprs);
	char text[32];

	if (!(shape->factor >= 1) || trunc(shape->factor) != shape->factor ||
	    shape->factor > 1e15) {
		*ret = dn_schema_unsupported(reader, shape->where, "multipleOf",
					     "but for whole numbers");
		return NULL;
	}
	if (low <= -DN_INTEGER_MAX && high >= DN_INTEGER_MAX && factor <= DN_FACTOR_MAX)
		return dn_number_multiple(reader->exprs, (uint32_t)factor);
	if (high / factor - low / factor > MULTIPLES_MAX) {
		*ret = dn_schema_unsupported(reader, shape->where, "multipleOf",
					     "with so many multiples in its bounds");
		return NULL;
	}
	for (int64_t at = low / factor - 1; at <= high / factor; at++) {
		if (at * factor < low || at * factor > high)
			continue;
		(void)snprintf(text, sizeof(text), "%" PRId64, at * factor);
		expr = dn_expr_choice(reader->exprs, expr, dn_expr_text(reader->exprs, text));
	}
	return expr;
}

/* The least whole number that a bound allows, and the largest. */
static int64_t whole_low(const struct dn_shape *shape)
{
	double low = ceil(shape->low);

	if (low <= -(double)DN_INTEGER_MAX)
		return -DN_INTEGER_MAX;
	if (low >= (double)DN_INTEGER_MAX)
		return DN_INTEGER_MAX;
	return (int64_t)low + (shape->above && low <= shape->low);
}

static int64_t whole_high(const struct dn_shape *shape)
{
	double high = floor(shape->high);

	if (high >= (double)DN_INTEGER_MAX)
		return DN_INTEGER_MAX;
	if (high <= -(double)DN_INTEGER_MAX)
		return -DN_INTEGER_MAX;
	return (int64_t)high - (shape->below && high >= shape->high);
}

struct dn_expr *dn_schema_number(struct dn_schema_reader *reader, const struct dn_shape *shape,
				 int *ret)
{
	const int64_t low = whole_low(shape);
	const int64_t high = whole_high(shape);
	const bool bounded = isfinite(shape->low) || isfinite(shape->high);

	if (shape->factor > 0)
		return low > high ? dn_expr_never(reader->exprs)
				  : multiples(reader, shape, low, high, ret);
	if ((isfinite(shape->low) && fabs(shape->low) >= 1e18) ||
	    (isfinite(shape->high) && fabs(shape->high) >= 1e19)) {
		*ret = dn_schema_unsupported(reader, shape->where, "minimum", "of so large a size");
		return NULL;
	}
	if (!(shape->types & DN_TYPE_FRACTION)) {
		if (!bounded)
			return dn_json_integer(reader->exprs);
		return low > high ? dn_expr_never(reader->exprs)
				  : dn_number_whole(reader->exprs, low, high);
	}
	if (bounded) {
		struct dn_bounds bounds = { shape->low, shape->high, shape->above, shape->below };

		if ((isfinite(bounds.low) && fabs(bounds.low) >= DN_REAL_MAX) ||
		    (isfinite(bounds.high) && fabs(bounds.high) >= DN_REAL_MAX))
			return low > high ? dn_expr_never(reader->exprs)
					  : dn_number_whole(reader->exprs, low, high);
		return dn_number_real(reader->exprs, &bounds);
	}
	if (!(shape->types & DN_TYPE_INTEGER)) {
		*ret = dn_schema_unsupported(reader, shape->where, "type", "of fractions alone");
		return NULL;
	}
	return dn_json_number(reader->exprs);
}
