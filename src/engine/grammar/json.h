/* SPDX-License-Identifier: MIT */
/* JSON as expressions (RFC 8259), in the shapes that answers are to have. */
#ifndef DUNLIN_ENGINE_GRAMMAR_JSON_H
#define DUNLIN_ENGINE_GRAMMAR_JSON_H

/* IWYU pragma: begin_exports */
#include "engine/grammar/expr.h"
/* IWYU pragma: end_exports */

/**
 * struct dn_json_rules - rules of JSON in general, each made when it is first asked for
 * @exprs: borrowed
 */
struct dn_json_rules {
	struct dn_exprs *exprs;
	uint32_t value;
	uint32_t object;
	uint32_t array;
	uint32_t string;
	uint32_t character;
};

#define DN_JSON_RULES_INIT(exprs_)                                                                 \
	{ .exprs = (exprs_),                                                                       \
	  .value = DN_RULE_NONE,                                                                   \
	  .object = DN_RULE_NONE,                                                                  \
	  .array = DN_RULE_NONE,                                                                   \
	  .string = DN_RULE_NONE,                                                                  \
	  .character = DN_RULE_NONE }

struct dn_expr *dn_json_value(struct dn_json_rules *rules);
struct dn_expr *dn_json_object(struct dn_json_rules *rules);
struct dn_expr *dn_json_array(struct dn_json_rules *rules);
struct dn_expr *dn_json_string(struct dn_json_rules *rules);
/* Of so many characters. */
struct dn_expr *dn_json_string_of(struct dn_json_rules *rules, uint32_t min, uint32_t max);
/* Whole numbers and others of the usual sizes. */
struct dn_expr *dn_json_integer(struct dn_exprs *exprs);
struct dn_expr *dn_json_number(struct dn_exprs *exprs);

/* White space that answers may have between what belongs together. */
struct dn_expr *dn_json_space(struct dn_exprs *exprs);
/* "[" @items "]", or "{" and "}", with space where it may be. */
struct dn_expr *dn_json_enclose(struct dn_exprs *exprs, const char *open, struct dn_expr *items,
				const char *close);
/* "," and space. */
struct dn_expr *dn_json_comma(struct dn_exprs *exprs);
/* A name, ":", and @value. @name is a whole string with its quotes. */
struct dn_expr *dn_json_member(struct dn_exprs *exprs, struct dn_expr *name, struct dn_expr *value);

/* Characters of a string, each in one spelling. */
struct dn_expr *dn_json_class(struct dn_exprs *exprs, const struct dn_point_range *ranges,
			      uint32_t n);
/* @body between quotes. */
struct dn_expr *dn_json_quote(struct dn_exprs *exprs, struct dn_expr *body);

#endif /* DUNLIN_ENGINE_GRAMMAR_JSON_H */
