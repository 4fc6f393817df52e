/* SPDX-License-Identifier: MIT */
/* Numbers within bounds, as expressions of their digits. */
#ifndef DUNLIN_ENGINE_GRAMMAR_NUMBER_H
#define DUNLIN_ENGINE_GRAMMAR_NUMBER_H

/* IWYU pragma: begin_exports */
#include "engine/grammar/expr.h"
/* IWYU pragma: end_exports */

/* What answers have at most: 18 digits. */
#define DN_INTEGER_MAX INT64_C(999999999999999999)
/* Other numbers are smaller than this. */
#define DN_REAL_MAX 1e15

/* An infinite one is none. */
struct dn_bounds {
	double low;
	double high;
	bool above; /* @low itself is none of them */
	bool below; /* @high itself is none of them */
};

/* From @low to @high, which are within DN_INTEGER_MAX of 0. */
struct dn_expr *dn_number_whole(struct dn_exprs *exprs, int64_t low, int64_t high);
/* "-" and @magnitude. */
struct dn_expr *dn_number_negative(struct dn_exprs *exprs, struct dn_expr *magnitude);
/* All multiples of @factor, 1 to DN_FACTOR_MAX, that are above 0. */
#define DN_FACTOR_MAX 1000
struct dn_expr *dn_number_multiple(struct dn_exprs *exprs, uint32_t factor);
/*
 * The decimal number of at most 15 digits that is @value, or where none is, the next one above it, or
 * below it; @value is below DN_REAL_MAX.
 */
double dn_number_short(double value, bool up);
/* Decimal fractions of at most 15 digits; finite bounds are short. */
struct dn_expr *dn_number_real(struct dn_exprs *exprs, const struct dn_bounds *bounds);

#endif /* DUNLIN_ENGINE_GRAMMAR_NUMBER_H */
