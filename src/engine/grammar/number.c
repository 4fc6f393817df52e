/* SPDX-License-Identifier: MIT */

#include "engine/grammar/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits of a number whose decimals no double can tell apart. */
#define DIGITS_EXACT 15

static struct dn_expr *digit(struct dn_exprs *exprs, int low, int high)
{
	const struct dn_point_range it = { (uint32_t)('0' + low), (uint32_t)('0' + high) };

	return low > high ? dn_expr_never(exprs) : dn_expr_class(exprs, &it, 1);
}

static struct dn_expr *digits(struct dn_exprs *exprs, uint32_t min, uint32_t max)
{
	return dn_expr_repeat(exprs, digit(exprs, 0, 9), min, max);
}

static struct dn_expr *one_then(struct dn_exprs *exprs, int it, struct dn_expr *next)
{
	return dn_expr_sequence(exprs, digit(exprs, it, it), next);
}

static bool all_are(const char *text, uint32_t n, char c)
{
	return strspn(text, (const char[]){ c, '\0' }) >= n;
}

/* Numbers of @n digits, from that of @low to that of @high. */
static struct dn_expr *same_length(struct dn_exprs *exprs, const char *low, const char *high,
				   uint32_t n)
{
	static const char nines[] = "99999999999999999999";
	static const char zeros[] = "00000000000000000000";
	struct dn_expr *expr;

	if (n == 0)
		return dn_expr_empty(exprs);
	if (all_are(low, n, '0') && all_are(high, n, '9'))
		return digits(exprs, n, n);
	if (low[0] == high[0])
		return one_then(exprs, low[0] - '0', same_length(exprs, low + 1, high + 1, n - 1));
	expr = dn_expr_sequence(exprs, digit(exprs, low[0] - '0' + 1, high[0] - '0' - 1),
				digits(exprs, n - 1, n - 1));
	expr = dn_expr_choice(
		exprs, expr,
		one_then(exprs, low[0] - '0', same_length(exprs, low + 1, nines, n - 1)));
	return dn_expr_choice(
		exprs, expr,
		one_then(exprs, high[0] - '0', same_length(exprs, zeros, high + 1, n - 1)));
}

static struct dn_expr *natural(struct dn_exprs *exprs, uint64_t low, uint64_t high)
{
	struct dn_expr *expr = dn_expr_never(exprs);
	uint64_t least = 0;
	uint64_t most = 9;

	for (uint32_t n = 1; n <= 18; n++) {
		const uint64_t from = DN_MAX(low, least);
		const uint64_t to = DN_MIN(high, most);
		char a[24];
		char b[24];

		if (from <= to) {
			(void)snprintf(a, sizeof(a), "%llu", (unsigned long long)from);
			(void)snprintf(b, sizeof(b), "%llu", (unsigned long long)to);
			expr = dn_expr_choice(exprs, expr, same_length(exprs, a, b, n));
		}
		least = most + 1;
		most = most * 10 + 9;
	}
	return expr;
}

static struct dn_expr *negative(struct dn_exprs *exprs, struct dn_expr *magnitude)
{
	return dn_expr_sequence(exprs, dn_expr_text(exprs, "-"), magnitude);
}

struct dn_expr *dn_number_whole(struct dn_exprs *exprs, int64_t low, int64_t high)
{
	struct dn_expr *expr = dn_expr_never(exprs);

	if (high >= 0)
		expr = natural(exprs, (uint64_t)DN_MAX(low, 0), (uint64_t)high);
	if (low < 0)
		expr = dn_expr_choice(exprs, expr,
				      negative(exprs, natural(exprs, (uint64_t)DN_MAX(-high, 1),
							      (uint64_t)-low)));
	return expr;
}

/* A rule for each remainder of what was read, by Horner's scheme. */
struct dn_expr *dn_number_multiple(struct dn_exprs *exprs, uint32_t factor)
{
	const uint32_t first = exprs->n_rules;
	struct dn_expr *start = dn_expr_never(exprs);

	if (factor == 0)
		return start;
	for (uint32_t i = 0; i < factor; i++)
		if (dn_exprs_add_rule(exprs, NULL, 0) == DN_RULE_NONE)
			return NULL;
	for (uint32_t i = 0; i < factor; i++) {
		struct dn_expr *body = i == 0 ? dn_expr_empty(exprs) : dn_expr_never(exprs);

		for (uint32_t d = 0; d < 10; d++)
			body = dn_expr_choice(
				exprs, body,
				one_then(exprs, (int)d,
					 dn_expr_rule(exprs, first + (i * 10 + d) % factor)));
		exprs->rules[first + i].body = body;
	}
	for (uint32_t d = 1; d < 10; d++)
		start = dn_expr_choice(
			exprs, start,
			one_then(exprs, (int)d, dn_expr_rule(exprs, first + d % factor)));
	start = dn_expr_sequence(exprs, dn_expr_maybe(exprs, dn_expr_text(exprs, "-")), start);
	return dn_expr_choice(exprs, dn_expr_text(exprs, "0"), start);
}

/* A bound that is not negative: its whole part, and the decimals without zeros at the end. */
struct decimal {
	uint64_t whole;
	char decimals[32];
	uint32_t n;
};

/* The fewest digits that give the same double; those of 1e-9 and less become 0. */
static struct decimal decimal_of(double value)
{
	struct decimal it = { .whole = (uint64_t)value };
	char text[64];
	const char *point;

	for (int places = 0; places <= 16; places++) {
		(void)snprintf(text, sizeof(text), "%.*f", places, value);
		if (strtod(text, NULL) == value)
			break;
	}
	point = strchr(text, '.');
	it.whole = strtoull(text, NULL, 10);
	if (!point)
		return it;
	it.n = (uint32_t)DN_MIN(strlen(point + 1), sizeof(it.decimals) - 1);
	memcpy(it.decimals, point + 1, it.n);
	while (it.n > 0 && it.decimals[it.n - 1] == '0')
		it.n--;
	return it;
}

struct fraction {
	struct dn_exprs *exprs;
	const struct decimal *low; /* NULL: no bound */
	const struct decimal *high;
	bool above;
	bool below;
	uint32_t places;
};

static int digit_at(const struct decimal *it, uint32_t at)
{
	return at < it->n ? it->decimals[at] - '0' : 0;
}

/*
 * Decimals from place @at on, where those before are those of the bounds that are still @low and
 * @high: others are free of them.
 */
static struct dn_expr *decimals(const struct fraction *f, uint32_t at, bool low, bool high,
				bool may_stop)
{
	const int least = low ? digit_at(f->low, at) : 0;
	const int most = high ? digit_at(f->high, at) : 9;
	struct dn_expr *expr = dn_expr_never(f->exprs);

	/* Zeros behind change nothing, so what is less than a bound of more digits is at its end. */
	if (low && (at < f->low->n || f->above))
		may_stop = false;
	if (high && at >= f->high->n && f->below)
		may_stop = false;
	if (!low && !high)
		return digits(f->exprs, may_stop ? 0 : 1, f->places - at);
	if (at < f->places) {
		if (low && high && least == most) {
			expr = one_then(f->exprs, least, decimals(f, at + 1, true, true, true));
		} else {
			const int from = low ? least + 1 : 0;
			const int to = high ? most - 1 : 9;

			if (from <= to)
				expr = dn_expr_sequence(f->exprs, digit(f->exprs, from, to),
							digits(f->exprs, 0, f->places - at - 1));
			if (low && least <= most)
				expr = dn_expr_choice(
					f->exprs, expr,
					one_then(f->exprs, least,
						 decimals(f, at + 1, true, false, true)));
			if (high && least <= most)
				expr = dn_expr_choice(
					f->exprs, expr,
					one_then(f->exprs, most,
						 decimals(f, at + 1, false, true, true)));
		}
	}
	return may_stop ? dn_expr_maybe(f->exprs, expr) : expr;
}

/* A whole part and its decimals. */
static struct dn_expr *with_decimals(struct fraction *f, struct dn_expr *whole,
				     const struct decimal *low, const struct decimal *high)
{
	bool bare = (!low || (low->n == 0 && !f->above)) && (!high || high->n > 0 || !f->below);
	struct dn_expr *expr;

	f->low = low;
	f->high = high;
	expr = dn_expr_sequence(f->exprs, dn_expr_text(f->exprs, "."),
				decimals(f, 0, low != NULL, high != NULL, false));
	if (bare)
		expr = dn_expr_maybe(f->exprs, expr);
	return dn_expr_sequence(f->exprs, whole, expr);
}

/* From @low to @high, none of them negative. */
static struct dn_expr *magnitude(struct dn_exprs *exprs, double from, bool above, double to,
				 bool below)
{
	const struct decimal low = decimal_of(from);
	const struct decimal high = decimal_of(to);
	struct fraction f = { .exprs = exprs, .above = above, .below = below };
	struct dn_expr *expr;
	uint32_t whole = 1;

	for (uint64_t rest = high.whole; rest >= 10; rest /= 10)
		whole++;
	f.places = DN_MAX(DN_MAX(low.n, high.n), whole < DIGITS_EXACT ? DIGITS_EXACT - whole : 1);
	if (low.whole == high.whole)
		return with_decimals(&f, natural(exprs, low.whole, low.whole), &low, &high);
	expr = with_decimals(&f, natural(exprs, low.whole, low.whole), &low, NULL);
	if (high.whole > low.whole + 1)
		expr = dn_expr_choice(exprs, expr,
				      with_decimals(&f,
						    natural(exprs, low.whole + 1, high.whole - 1),
						    NULL, NULL));
	return dn_expr_choice(
		exprs, expr,
		with_decimals(&f, natural(exprs, high.whole, high.whole), NULL, &high));
}

struct dn_expr *dn_number_real(struct dn_exprs *exprs, const struct dn_bounds *bounds)
{
	/* Where there is no bound, some room beyond the other one. */
	const double far = fabs(isfinite(bounds->low)	 ? bounds->low
				: isfinite(bounds->high) ? bounds->high
							 : 0) < 1e8
				   ? 999999999
				   : DN_REAL_MAX - 1;
	const double low = isfinite(bounds->low) ? bounds->low : -far;
	const double high = isfinite(bounds->high) ? bounds->high : far;
	struct dn_expr *expr = dn_expr_never(exprs);

	if (low > high || (low == high && (bounds->above || bounds->below)))
		return expr;
	if (high >= 0)
		expr = magnitude(exprs, DN_MAX(low, 0), low >= 0 && bounds->above, high,
				 bounds->below);
	/* No minus zero. */
	if (low < 0)
		expr = dn_expr_choice(exprs, expr,
				      negative(exprs, magnitude(exprs, high < 0 ? -high : 0,
								high < 0 ? bounds->below : true,
								-low, bounds->above)));
	return expr;
}
