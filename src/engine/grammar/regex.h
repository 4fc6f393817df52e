/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions of JSON schemas ("pattern", ECMA 262) as expressions of the strings, in JSON,
 * in which they are found.
 */
#ifndef DUNLIN_ENGINE_GRAMMAR_REGEX_H
#define DUNLIN_ENGINE_GRAMMAR_REGEX_H

/* IWYU pragma: begin_exports */
#include "engine/grammar/expr.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_regex - what was read
 * @expr: what stands between the quotes
 * @min, @max: characters that it has; DN_REPEAT_FOREVER: no bound
 * @single: where it is repeats of one character's class alone: that; else NULL
 */
struct dn_regex {
	struct dn_expr *expr;
	uint32_t min;
	uint32_t max;
	struct dn_expr *single;
};

/*
 * Without look-around, back-references, word borders, \p{}, and anchors other than at the pattern's
 * or an alternative's ends. Return: 0, -EINVAL, -ENOTSUP with what is not supported.
 */
DN_MUST_CHECK int dn_regex_read(const char *pattern, size_t size, struct dn_exprs *exprs,
				struct dn_regex *ret_regex, struct dn_error *err);

/* The @nth pattern of a format of JSON Schema, each with shorter texts; NULL: there is none. */
const char *dn_format_pattern(const char *format, size_t nth);

#endif /* DUNLIN_ENGINE_GRAMMAR_REGEX_H */
