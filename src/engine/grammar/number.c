/* SPDX-License-Identifier: MIT */

#include "engine/grammar/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Digits of a number, of which doubles tell any two apart: so what is within bounds as it is written
 * is so for every program.
 */
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
	if (all_are(low + 1, n - 1, '0') && all_are(high + 1, n - 1, '9'))
		return dn_expr_sequence(exprs, digit(exprs, low[0] - '0', high[0] - '0'),
					digits(exprs, n - 1, n - 1));
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

struct dn_expr *dn_number_negative(struct dn_exprs *exprs, struct dn_expr *magnitude)
{
	return dn_expr_sequence(exprs, dn_expr_text(exprs, "-"), magnitude);
}

struct dn_expr *dn_number_whole(struct dn_exprs *exprs, int64_t low, int64_t high)
{
	struct dn_expr *expr = dn_expr_never(exprs);

	if (high >= 0)
		expr = natural(exprs, (uint64_t)DN_MAX(low, 0), (uint64_t)high);
	if (low < 0)
		expr = dn_expr_choice(
			exprs, expr,
			dn_number_negative(
				exprs, natural(exprs, (uint64_t)DN_MAX(-high, 1), (uint64_t)-low)));
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
	return start;
}

/* A bound that is not negative: its whole part, and the decimals without zeros at the end. */
struct decimal {
	uint64_t whole;
	char decimals[32];
	uint32_t n;
};

/* The digits of @whole before the point; a zero is none. */
static uint32_t count_digits(uint64_t whole)
{
	uint32_t n = 0;

	for (; whole > 0; whole /= 10)
		n++;
	return n;
}

/* The fewest decimals that give the same double. Return: whether there are such. */
static bool read_decimal(double value, struct decimal *ret_decimal)
{
	struct decimal it = { .whole = (uint64_t)value };
	const char *point;
	char text[64];
	int places = 0;

	for (;; places++) {
		if (places > DIGITS_EXACT)
			return false;
		(void)snprintf(text, sizeof(text), "%.*f", places, value);
		if (strtod(text, NULL) == value)
			break;
	}
	it.whole = strtoull(text, NULL, 10);
	point = strchr(text, '.');
	if (point) {
		it.n = (uint32_t)places;
		memcpy(it.decimals, point + 1, it.n);
	}
	*ret_decimal = it;
	return count_digits(it.whole) + it.n <= DIGITS_EXACT;
}

double dn_number_short(double value, bool up)
{
	const double size = fabs(value);
	const uint32_t places = DIGITS_EXACT - count_digits((uint64_t)size);
	const bool larger = (value > 0) == up;
	uint64_t unit = 1;
	uint64_t n;
	char text[64];
	double it;

	(void)snprintf(text, sizeof(text), "%.*f", (int)places, size);
	it = strtod(text, NULL);
	if (larger ? it < size : it > size) {
		for (uint32_t i = 0; i < places; i++)
			unit *= 10;
		n = strtoull(text, NULL, 10) * unit;
		n += places > 0 ? strtoull(strchr(text, '.') + 1, NULL, 10) : 0;
		n = larger ? n + 1 : n - 1;
		(void)snprintf(text, sizeof(text), "%llu.%0*llu", (unsigned long long)(n / unit),
			       (int)DN_MAX(places, 1U), (unsigned long long)(n % unit));
		it = strtod(text, NULL);
	}
	return value < 0 && it > 0 ? -it : it;
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

/* Whole parts of as many digits, and decimals: no more together than doubles tell apart. */
static struct dn_expr *with_decimals(struct fraction *f, uint64_t least, uint64_t most,
				     const struct decimal *low, const struct decimal *high)
{
	const bool bare =
		(!low || (low->n == 0 && !f->above)) && (!high || high->n > 0 || !f->below);
	struct dn_expr *expr = dn_expr_never(f->exprs);

	f->low = low;
	f->high = high;
	f->places = DIGITS_EXACT - count_digits(most);
	if (f->places > 0)
		expr = dn_expr_sequence(f->exprs, dn_expr_text(f->exprs, "."),
					decimals(f, 0, low != NULL, high != NULL, false));
	if (bare)
		expr = dn_expr_maybe(f->exprs, expr);
	return dn_expr_sequence(f->exprs, natural(f->exprs, least, most), expr);
}

/* Any digits behind the first @n, and decimals. */
static struct dn_expr *open_end(struct dn_exprs *exprs, uint32_t n)
{
	struct dn_expr *expr = dn_expr_empty(exprs);

	for (uint32_t k = DIGITS_EXACT; k-- > n;) {
		struct dn_expr *decimals = dn_expr_sequence(exprs, dn_expr_text(exprs, "."),
							    digits(exprs, 1, DIGITS_EXACT - k));

		expr = dn_expr_choice(exprs, dn_expr_maybe(exprs, decimals),
				      dn_expr_sequence(exprs, digit(exprs, 0, 9), expr));
	}
	return expr;
}

/* Of more than @n digits, without a bound. */
static struct dn_expr *longer(struct dn_exprs *exprs, uint32_t n)
{
	if (n >= DIGITS_EXACT)
		return dn_expr_never(exprs);
	return dn_expr_sequence(exprs,
				dn_expr_sequence(exprs, digit(exprs, 1, 9), digits(exprs, n, n)),
				open_end(exprs, n + 1));
}

/* From @from to @to, which may be infinite, none of them negative. */
static struct dn_expr *magnitude(struct dn_exprs *exprs, double from, bool above, double to,
				 bool below)
{
	struct fraction f = { .exprs = exprs, .above = above, .below = below };
	struct decimal high = { .whole = 0 };
	struct decimal low;
	struct dn_expr *expr;
	uint64_t most = 9;
	uint64_t last;

	if (!read_decimal(from, &low) || (isfinite(to) && !read_decimal(to, &high)))
		return dn_expr_never(exprs);
	if (isfinite(to) && low.whole == high.whole)
		return with_decimals(&f, low.whole, low.whole, &low, &high);
	expr = with_decimals(&f, low.whole, low.whole, &low, NULL);
	/* Without a bound, up to the longest that are as long as the least. */
	while (most <= low.whole)
		most = most * 10 + 9;
	last = isfinite(to) ? high.whole - 1 : DN_MIN(most, (uint64_t)DN_REAL_MAX - 1);
	for (uint64_t least = low.whole + 1; least <= last; most = most * 10 + 9) {
		const uint64_t end = DN_MIN(most, last);

		if (least <= end)
			expr = dn_expr_choice(exprs, expr,
					      with_decimals(&f, least, end, NULL, NULL));
		least = DN_MAX(least, end + 1);
	}
	if (!isfinite(to))
		return dn_expr_choice(exprs, expr, longer(exprs, count_digits(last)));
	return dn_expr_choice(exprs, expr, with_decimals(&f, high.whole, high.whole, NULL, &high));
}

struct dn_expr *dn_number_real(struct dn_exprs *exprs, const struct dn_bounds *bounds)
{
	const double low = bounds->low;
	const double high = bounds->high;
	struct dn_expr *expr = dn_expr_never(exprs);

	if (low > high || (low == high && (bounds->above || bounds->below)))
		return expr;
	if (high >= 0)
		expr = magnitude(exprs, DN_MAX(low, 0), low >= 0 && bounds->above, high,
				 bounds->below);
	/* No minus zero. */
	if (low < 0)
		expr = dn_expr_choice(
			exprs, expr,
			dn_number_negative(exprs, magnitude(exprs, high < 0 ? -high : 0,
							    high < 0 ? bounds->below : true, -low,
							    bounds->above)));
	return expr;
}
