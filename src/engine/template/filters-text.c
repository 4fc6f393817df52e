/* SPDX-License-Identifier: MIT */
/* Filters on texts and numbers. */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/template/run.h"

/* The input as text, whatever it is. */
static int input_text(struct dn_tcall *call, struct dn_tstr **ret)
{
	int r = dn_tval_to_str(call->run, call->self, ret);

	return r < 0 ? r : dn_tstr_flat(call->run, *ret);
}

static int give(struct dn_tval *ret, struct dn_tstr *s)
{
	*ret = dn_tval_str(s);
	return 0;
}

static int cased(struct dn_tcall *call, enum dn_tcase how, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	int r = input_text(call, &s);

	if (r == 0)
		r = dn_tstr_case(call->run, s, how, &s);
	return r < 0 ? r : give(ret, s);
}

static int filter_upper(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_UPPER, ret);
}

static int filter_lower(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_LOWER, ret);
}

static int filter_title(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_TITLE_FILTER, ret);
}

static int filter_capitalize(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_CAPITALIZE, ret);
}

static int filter_string(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	int r = dn_tval_to_str(call->run, call->self, &s);

	return r < 0 ? r : give(ret, s);
}

static int filter_trim(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *chars = NULL;
	struct dn_tstr *s = NULL;
	int r = input_text(call, &s);

	if (r == 0 && call->arg[0] && call->arg[0]->type != DN_T_NONE)
		r = dn_targ_str(call, 0, &chars);
	if (r == 0)
		r = dn_tstr_strip(call->run, s, chars, DN_STRIP_LEFT | DN_STRIP_RIGHT, &s);
	return r < 0 ? r : give(ret, s);
}

static int filter_replace(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	struct dn_tstr *old = NULL;
	struct dn_tstr *by = NULL;
	int64_t count = 0;
	int r = input_text(call, &s);

	if (r == 0)
		r = dn_tval_to_str(call->run, call->arg[0], &old);
	if (r == 0)
		r = dn_tval_to_str(call->run, call->arg[1], &by);
	if (r == 0)
		r = dn_targ_int(call, 2, -1, &count);
	if (r == 0)
		r = dn_tstr_replace(call->run, s, old, by, count, &s);
	return r < 0 ? r : give(ret, s);
}

static int filter_format(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_targs *args = call->args;
	struct dn_tlist list = { .items = (struct dn_tval *)args->values, .count = args->n };
	struct dn_tval v = dn_tval_list(DN_T_TUPLE, &list);
	struct dn_tdict *dict = NULL;
	struct dn_tstr *s = NULL;
	int r = input_text(call, &s);

	if (r == 0 && args->n_named > 0) {
		r = dn_tdict_new(call->run, args->n_named, &dict);
		for (size_t i = 0; i < args->n_named && r == 0; i++)
			r = dn_tdict_set(call->run, dict, dn_tval_str(args->names[i]),
					 args->values[args->n - args->n_named + i]);
		v = dn_tval_dict(dict);
	}
	return r < 0 ? r : dn_tstr_percent(call->run, s, &v, ret);
}

static int filter_escape(struct dn_tcall *call, struct dn_tval *ret)
{
	static const char *const entities[] = {
		['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['\''] = "&#39;", ['"'] = "&#34;"
	};
	struct dn_tbuild b = DN_TBUILD_INIT(call->run);
	struct dn_tstr *s = NULL;
	size_t kept = 0;
	int r = input_text(call, &s);

	for (size_t at = 0; r == 0 && at < s->size; at++) {
		unsigned char c = (unsigned char)s->data[at];

		if (c >= DN_ARRAY_SIZE(entities) || !entities[c])
			continue;
		r = dn_tbuild_sub(&b, s, kept, at - kept);
		if (r == 0)
			r = dn_tbuild_add(&b, entities[c], strlen(entities[c]),
					  dn_tstr_trusted_at(s, at) ? DN_TRUST_ALL : DN_TRUST_NONE,
					  NULL);
		kept = at + 1;
	}
	if (r == 0)
		r = dn_tbuild_sub(&b, s, kept, s->size - kept);
	if (r == 0)
		r = dn_tbuild_end(&b, &s);
	return r < 0 ? r : give(ret, s);
}

static int need_text(struct dn_tcall *call)
{
	if (call->self->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, call->self);
	return dn_trun_fail(call->run, EINVAL, "%s: expected a string, got '%s'",
			    call->callable->name, dn_tval_type_name(call->self));
}

/* Each line but the first, and but empty ones, behind an indentation. */
static int filter_indent(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(call->run);
	struct dn_tbuild spaces = DN_TBUILD_INIT(call->run);
	bool first = dn_targ_true(call, 1);
	bool blank = dn_targ_true(call, 2);
	struct dn_tstr *indent = NULL;
	struct dn_tstr *s = NULL;
	int64_t width = 4;
	size_t at = 0;
	int r = call->self->type == DN_T_STR ? input_text(call, &s) : need_text(call);

	if (r == 0 && call->arg[0] && call->arg[0]->type == DN_T_STR)
		r = dn_targ_str(call, 0, &indent);
	else if (r == 0)
		r = dn_targ_int(call, 0, 4, &width);
	if (r == 0 && !indent)
		r = dn_tbuild_spaces(&spaces, width);
	if (r == 0 && !indent)
		r = dn_tbuild_end(&spaces, &indent);
	while (r == 0) {
		const char *lf = memchr(s->data + at, '\n', s->size - at);
		size_t end = lf ? (size_t)(lf - s->data) : s->size;

		if (at == 0 ? first : blank || end > at)
			r = dn_tbuild_str(&b, indent);
		if (r == 0)
			r = dn_tbuild_sub(&b, s, at, end - at + (lf ? 1 : 0));
		at = end + 1;
		if (!lf)
			break;
	}
	if (r == 0)
		r = dn_tbuild_end(&b, &s);
	return r < 0 ? r : give(ret, s);
}

static int same(struct dn_tcall *call, struct dn_tval *ret)
{
	return filter_string(call, ret);
}

static int json_style(struct dn_tcall *call, struct dn_tjson *style)
{
	const struct dn_tval *indent = call->arg[1];
	const struct dn_tval *separators = call->arg[2];
	struct dn_tbuild b = DN_TBUILD_INIT(call->run);
	int64_t width = 0;
	int r = 0;

	if (indent && indent->type == DN_T_STR)
		r = dn_targ_str(call, 1, &style->indent);
	else if (indent && indent->type != DN_T_NONE) {
		r = dn_targ_int(call, 1, 0, &width);
		if (r == 0)
			r = dn_tbuild_spaces(&b, width);
		if (r == 0)
			r = dn_tbuild_end(&b, &style->indent);
	}
	if (r == 0)
		r = dn_tstr_copy(call->run, ", ", style->indent ? 1 : 2, &style->item);
	if (r == 0)
		r = dn_tstr_copy(call->run, ": ", 2, &style->key);
	if (r < 0 || !separators || separators->type == DN_T_NONE)
		return r;
	if ((separators->type != DN_T_TUPLE && separators->type != DN_T_LIST) ||
	    separators->list->count != 2 || separators->list->items[0].type != DN_T_STR ||
	    separators->list->items[1].type != DN_T_STR)
		return dn_trun_fail(call->run, EINVAL, "tojson: separators are two strings");
	style->item = separators->list->items[0].s;
	style->key = separators->list->items[1].s;
	return 0;
}

/* As transformers defines it: json.dumps(), non-ASCII kept, nothing escaped for HTML. */
static int filter_tojson(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tjson style = { .ascii = dn_targ_true(call, 0), .sort = dn_targ_true(call, 3) };
	struct dn_tbuild b = DN_TBUILD_INIT(call->run);
	struct dn_tstr *s = NULL;
	int r = json_style(call, &style);

	if (r == 0)
		r = dn_tval_to_json(&b, call->self, &style, 0);
	if (r == 0)
		r = dn_tbuild_end(&b, &s);
	return r < 0 ? r : give(ret, s);
}

static int filter_default(struct dn_tcall *call, struct dn_tval *ret)
{
	bool use = call->self->type == DN_T_UNDEFINED ||
		   (dn_targ_true(call, 1) && !dn_tval_truth(call->self));

	if (!use)
		*ret = *call->self;
	else if (call->arg[0])
		*ret = *call->arg[0];
	else
		return give(ret, dn_tstr_empty());
	return 0;
}

static int float_to_int(struct dn_trun *run, double f, struct dn_tval *ret)
{
	if (isnan(f) || fabs(f) >= 0x1p63)
		return dn_trun_fail(run, EINVAL, "cannot convert the float to an integer");
	*ret = dn_tval_int((int64_t)f);
	return 0;
}

static int filter_int(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;
	int64_t base = 0;
	int64_t i = 0;
	double f;
	int r = dn_targ_int(call, 1, 10, &base);

	if (r < 0)
		return r;
	if (base != 0 && (base < 2 || base > 36))
		return dn_trun_fail(call->run, EINVAL, "int: a base is 0 or 2 to 36");
	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, v);
	if (v->type == DN_T_INT || v->type == DN_T_BOOL) {
		*ret = dn_tval_int(v->type == DN_T_INT ? v->i : v->b);
		return 0;
	}
	if (v->type == DN_T_FLOAT && !isnan(v->f))
		return float_to_int(call->run, v->f, ret);
	if (v->type == DN_T_STR) {
		r = dn_tstr_flat(call->run, v->s);
		if (r == 0)
			r = dn_trun_work(call->run, DN_TRUN_SLOW * v->s->size);
		if (r < 0)
			return r;
		if (dn_text_to_int(v->s->data, v->s->size, (int)base, &i)) {
			*ret = dn_tval_int(i);
			return 0;
		}
		if (dn_text_to_float(v->s->data, v->s->size, &f) && isfinite(f))
			return float_to_int(call->run, f, ret);
	}
	*ret = call->arg[0] ? *call->arg[0] : dn_tval_int(0);
	return 0;
}

static int filter_float(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;
	double f;
	int r = 0;

	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, v);
	if (v->type == DN_T_STR)
		r = dn_tstr_flat(call->run, v->s);
	if (r == 0 && v->type == DN_T_STR)
		r = dn_trun_work(call->run, DN_TRUN_SLOW * v->s->size);
	if (r < 0)
		return r;
	if (dn_tval_is_number(v))
		*ret = dn_tval_float(dn_tval_number(v));
	else if (v->type == DN_T_STR && dn_text_to_float(v->s->data, v->s->size, &f))
		*ret = dn_tval_float(f);
	else
		*ret = call->arg[0] ? *call->arg[0] : dn_tval_float(0);
	return 0;
}

static int need_number(struct dn_tcall *call)
{
	if (call->self->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(call->run, call->self);
	if (!dn_tval_is_number(call->self))
		return dn_trun_fail(call->run, EINVAL, "%s: expected a number, got '%s'",
				    call->callable->name, dn_tval_type_name(call->self));
	return 0;
}

static int filter_abs(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;
	int r = need_number(call);

	if (r < 0)
		return r;
	if (v->type == DN_T_FLOAT)
		*ret = dn_tval_float(fabs(v->f));
	else if (v->type == DN_T_BOOL)
		*ret = dn_tval_int(v->b);
	else if (v->i < 0)
		return dn_tval_negate(call->run, v, ret);
	else
		*ret = dn_tval_int(v->i);
	return 0;
}

/* To the nearest multiple of 10^@digits, halves to the even one. */
static int round_int(struct dn_tcall *call, int64_t i, int64_t digits, struct dn_tval *ret)
{
	int64_t unit = 1;
	int64_t rest = 0;

	for (; digits > 0; digits--) {
		if (!dn_mul_ok(unit, 10, &unit)) {
			*ret = dn_tval_int(0);
			return 0;
		}
	}
	rest = i % unit;
	if (rest < 0)
		rest += unit;
	if (unit > 1 && (rest > unit / 2 || (rest == unit / 2 && ((i - rest) / unit) % 2 != 0))) {
		if (!dn_add_ok(i, unit - rest, &i))
			return dn_trun_fail(call->run, EINVAL, "round: the result is too large");
	} else {
		i -= i < INT64_MIN + rest ? 0 : rest;
	}
	*ret = dn_tval_int(i);
	return 0;
}

/* Python rounds the exact binary value, halves to even: what printf() does. */
static double round_float(double f, int64_t digits)
{
	char text[700];
	double unit;

	if (!isfinite(f) || digits > 320)
		return f;
	if (digits >= 0) {
		(void)snprintf(text, sizeof(text), "%.*f", (int)digits, f);
		return strtod(text, NULL);
	}
	if (digits < -320)
		return copysign(0.0, f);
	unit = pow(10, (double)-digits);
	return rint(f / unit) * unit;
}

static int filter_round(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_tval *v = call->self;
	struct dn_tstr *method = NULL;
	int64_t digits = 0;
	double unit;
	double f;
	int r = need_number(call);

	if (r == 0)
		r = dn_targ_int(call, 0, 0, &digits);
	if (r == 0 && call->arg[1])
		r = dn_targ_str(call, 1, &method);
	if (r < 0)
		return r;
	if (!method || (method->size == 6 && memcmp(method->data, "common", 6) == 0)) {
		if (v->type != DN_T_FLOAT)
			return round_int(call, v->type == DN_T_INT ? v->i : v->b, -digits, ret);
		*ret = dn_tval_float(round_float(v->f, digits));
		return 0;
	}
	unit = pow(10, (double)digits);
	f = dn_tval_number(v) * unit;
	if (method->size == 4 && memcmp(method->data, "ceil", 4) == 0)
		f = ceil(f);
	else if (method->size == 5 && memcmp(method->data, "floor", 5) == 0)
		f = floor(f);
	else
		return dn_trun_fail(call->run, EINVAL, "method must be common, ceil or floor");
	*ret = dn_tval_float(f / unit);
	return 0;
}

const struct dn_tcallable dn_tfilters_text[] = {
	{ "trim", "chars", 0, filter_trim },
	{ "tojson", "ensure_ascii,indent,separators,sort_keys", 0, filter_tojson },
	{ "default", "default_value,boolean", 0, filter_default },
	{ "d", "default_value,boolean", 0, filter_default },
	{ "string", "", 0, filter_string },
	{ "upper", "", 0, filter_upper },
	{ "lower", "", 0, filter_lower },
	{ "title", "", 0, filter_title },
	{ "capitalize", "", 0, filter_capitalize },
	{ "replace", "old,new,count", 2, filter_replace },
	{ "indent", "width,first,blank", 0, filter_indent },
	{ "int", "default,base", 0, filter_int },
	{ "float", "default", 0, filter_float },
	{ "abs", "", 0, filter_abs },
	{ "round", "precision,method", 0, filter_round },
	{ "format", "*", 0, filter_format },
	{ "safe", "", 0, same },
	{ "escape", "", 0, filter_escape },
	{ "e", "", 0, filter_escape },
	{ "forceescape", "", 0, filter_escape },
};
const size_t dn_tfilters_text_count = DN_ARRAY_SIZE(dn_tfilters_text);

const struct dn_tcallable *dn_tfilter_find(const char *name, size_t size)
{
	const struct dn_tcallable *found =
		dn_tcallable_find(dn_tfilters_text, dn_tfilters_text_count, name, size);

	if (found)
		return found;
	return dn_tcallable_find(dn_tfilters_list, dn_tfilters_list_count, name, size);
}
