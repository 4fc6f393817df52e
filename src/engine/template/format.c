/* SPDX-License-Identifier: MIT */
/* Text with places to fill: "%s of %d" % (…), and "{} of {}".format(…). */

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

/* Widths and precisions beyond this are an attack, not a layout. */
#define WIDTH_MAX 1000

struct spec {
	bool left;
	bool zero;
	bool plus;
	bool space;
	int width;
	int precision; /* -1: none */
	char kind;
};

/* What is left of a format and of its arguments. */
struct state {
	struct dn_trun *run;
	struct dn_tbuild b;
	const struct dn_tval *args;
	size_t next;
};

static int next_value(struct state *st, struct dn_tval *ret)
{
	const struct dn_tval *args = st->args;
	size_t n = args->type == DN_T_TUPLE ? args->list->count : 1;

	if (st->next >= n)
		return dn_trun_fail(st->run, EINVAL, "not enough arguments for format string");
	*ret = args->type == DN_T_TUPLE ? args->list->items[st->next] : *args;
	st->next++;
	return 0;
}

static int add_padded(struct state *st, const struct spec *spec, struct dn_tstr *s)
{
	size_t points;
	size_t fill;
	int r = dn_tstr_flat(st->run, s);

	if (r == 0 && spec->precision >= 0)
		r = dn_tstr_sub(st->run, s, 0, dn_tstr_offset(s, (size_t)spec->precision), &s);
	if (r < 0)
		return r;
	points = dn_tstr_points(s);
	fill = (size_t)spec->width > points ? (size_t)spec->width - points : 0;
	if (!spec->left)
		r = dn_tbuild_spaces(&st->b, (int64_t)fill);
	if (r == 0)
		r = dn_tbuild_str(&st->b, s);
	if (r == 0 && spec->left)
		r = dn_tbuild_spaces(&st->b, (int64_t)fill);
	return r;
}

static int add_text(struct state *st, const struct spec *spec, const struct dn_tval *v)
{
	struct dn_tbuild b = DN_TBUILD_INIT(st->run);
	struct dn_tstr *s = NULL;
	int r;

	if (spec->kind == 's') {
		r = dn_tval_to_str(st->run, v, &s);
	} else {
		r = dn_tval_repr(&b, v, 0);
		if (r == 0)
			r = dn_tbuild_end(&b, &s);
	}
	return r < 0 ? r : add_padded(st, spec, s);
}

/* Numbers go through printf(), with the flags written out again. */
static int add_number(struct state *st, const struct spec *spec, const struct dn_tval *v)
{
	char format[48];
	char text[WIDTH_MAX + 400];
	const char *length = strchr("dxXo", spec->kind) ? PRId64 : "";
	char precision[16] = "";
	int n;

	if (v->type == DN_T_UNDEFINED)
		return dn_tval_fail_undefined(st->run, v);
	if (!dn_tval_is_number(v) || (strchr("xXo", spec->kind) && v->type == DN_T_FLOAT))
		return dn_trun_fail(st->run, EINVAL, "%%%c format: a number is required, not %s",
				    spec->kind, dn_tval_type_name(v));
	if (spec->precision >= 0)
		(void)snprintf(precision, sizeof(precision), ".%d", spec->precision);
	(void)snprintf(format, sizeof(format), "%%%s%s%s%s%d%s%.*s%c", spec->left ? "-" : "",
		       spec->zero ? "0" : "", spec->plus ? "+" : "", spec->space ? " " : "",
		       spec->width, precision, *length ? (int)strlen(length) - 1 : 0, length,
		       spec->kind);
	if (spec->width == 0) /* "%0d" would be a flag */
		(void)snprintf(format, sizeof(format), "%%%s%s%s%.*s%c", spec->plus ? "+" : "",
			       spec->space ? " " : "", precision,
			       *length ? (int)strlen(length) - 1 : 0, length, spec->kind);
	if (*length) {
		double whole = v->type == DN_T_FLOAT ? trunc(v->f) : 0;

		if (!(fabs(whole) < 0x1p63))
			return dn_trun_fail(st->run, EINVAL, "%%d format: the float is too large");
		if (strchr("xXo", spec->kind) && v->type == DN_T_INT && v->i < 0)
			return dn_trun_fail(st->run, EINVAL,
					    "%%%c format: negative numbers are not supported",
					    spec->kind);
		n = snprintf(text, sizeof(text), format,
			     v->type == DN_T_FLOAT  ? (int64_t)whole
			     : v->type == DN_T_BOOL ? (int64_t)v->b
						    : v->i);
	} else {
		n = snprintf(text, sizeof(text), format, dn_tval_number(v));
	}
	if (n < 0 || (size_t)n >= sizeof(text))
		return dn_trun_fail(st->run, EINVAL, "a formatted number is too long");
	return dn_tbuild_add(&st->b, text, (size_t)n, DN_TRUST_NONE, NULL);
}

static int add_char(struct state *st, const struct spec *spec, const struct dn_tval *v)
{
	struct dn_tstr *s = NULL;
	char text[4];
	int r;

	if (v->type == DN_T_STR && dn_tstr_flat(st->run, v->s) == 0 && dn_tstr_points(v->s) == 1)
		return add_padded(st, spec, v->s);
	if (v->type != DN_T_INT || v->i < 0 || v->i > 0x10ffff || (v->i >= 0xd800 && v->i < 0xe000))
		return dn_trun_fail(st->run, EINVAL, "%%c requires int or char");
	r = dn_tstr_copy(st->run, text, dn_utf8_encode((uint32_t)v->i, text), &s);
	return r < 0 ? r : add_padded(st, spec, s);
}

/* "(name)" of a mapping; the byte behind it. */
static int named_value(struct state *st, struct dn_tstr *s, size_t *at, struct dn_tval *ret)
{
	const char *close = memchr(s->data + *at, ')', s->size - *at);
	struct dn_tval key = dn_tval_str(NULL);
	struct dn_tval *found;
	size_t end;
	int r;

	if (!close)
		return dn_trun_fail(st->run, EINVAL, "incomplete format key");
	if (st->args->type != DN_T_DICT)
		return dn_trun_fail(st->run, EINVAL, "format requires a mapping");
	end = (size_t)(close - s->data);
	r = dn_tstr_sub(st->run, s, *at, end - *at, &key.s);
	if (r == 0)
		r = dn_tdict_get(st->run, st->args->dict, &key, &found);
	if (r != 0)
		return r;
	if (!found)
		return dn_trun_fail(st->run, EINVAL, "the mapping has no key '%.*s'",
				    (int)DN_MIN(key.s->size, (size_t)60), key.s->data);
	*ret = *found;
	*at = end + 1;
	return 0;
}

static int read_number(struct state *st, struct dn_tstr *s, size_t *at, int *ret)
{
	*ret = 0;
	while (*at < s->size && s->data[*at] >= '0' && s->data[*at] <= '9') {
		*ret = *ret * 10 + (s->data[(*at)++] - '0');
		if (*ret > WIDTH_MAX)
			return dn_trun_fail(st->run, EINVAL, "a width is above %d", WIDTH_MAX);
	}
	return 0;
}

/* Flags, width, precision and kind, behind '%' and a name. */
static int read_spec(struct state *st, struct dn_tstr *s, size_t *at, struct spec *spec)
{
	int r;

	for (; *at < s->size && s->data[*at] && strchr("-0+ #", s->data[*at]); (*at)++) {
		spec->left |= s->data[*at] == '-';
		spec->zero |= s->data[*at] == '0';
		spec->plus |= s->data[*at] == '+';
		spec->space |= s->data[*at] == ' ';
	}
	r = read_number(st, s, at, &spec->width);
	if (r == 0 && *at < s->size && s->data[*at] == '.') {
		(*at)++;
		r = read_number(st, s, at, &spec->precision);
	}
	if (r < 0)
		return r;
	while (*at < s->size && s->data[*at] && strchr("hlL", s->data[*at]))
		(*at)++;
	if (*at >= s->size)
		return dn_trun_fail(st->run, EINVAL, "incomplete format");
	spec->kind = s->data[(*at)++];
	if (spec->kind == 'i' || spec->kind == 'u')
		spec->kind = 'd';
	return 0;
}

static int fill_one(struct state *st, struct dn_tstr *s, size_t *at)
{
	struct spec spec = { .precision = -1 };
	bool named = *at < s->size && s->data[*at] == '(';
	struct dn_tval v;
	int r = 0;

	if (named) {
		(*at)++;
		r = named_value(st, s, at, &v);
	}
	if (r == 0)
		r = read_spec(st, s, at, &spec);
	if (r < 0)
		return r;
	if (spec.kind == '%')
		return dn_tbuild_sub(&st->b, s, *at - 1, 1);
	if (spec.kind == '\0' || !strchr("srdxXofFeEgGc", spec.kind))
		return dn_trun_fail(st->run, EINVAL, "unsupported format character '%c'",
				    spec.kind >= ' ' ? spec.kind : '?');
	if (!named)
		r = next_value(st, &v);
	if (r < 0)
		return r;
	if (spec.kind == 's' || spec.kind == 'r')
		return add_text(st, &spec, &v);
	return spec.kind == 'c' ? add_char(st, &spec, &v) : add_number(st, &spec, &v);
}

int dn_tstr_percent(struct dn_trun *run, struct dn_tstr *format, const struct dn_tval *args,
		    struct dn_tval *ret)
{
	struct state st = { .run = run, .b = DN_TBUILD_INIT(run), .args = args };
	size_t at = 0;
	int r = dn_tstr_flat(run, format);

	while (r == 0 && at < format->size) {
		const char *mark = memchr(format->data + at, '%', format->size - at);
		size_t end = mark ? (size_t)(mark - format->data) : format->size;

		r = dn_tbuild_sub(&st.b, format, at, end - at);
		at = end + 1;
		if (r == 0 && mark)
			r = fill_one(&st, format, &at);
	}
	if (r == 0 && args->type == DN_T_TUPLE && st.next < args->list->count)
		return dn_trun_fail(run, EINVAL,
				    "not all arguments converted during string formatting");
	if (r == 0 && st.next == 0 && args->type != DN_T_TUPLE && args->type != DN_T_DICT &&
	    args->type != DN_T_LIST && args->type != DN_T_UNDEFINED)
		return dn_trun_fail(run, EINVAL,
				    "not all arguments converted during string formatting");
	*ret = dn_tval_str(NULL);
	return r < 0 ? r : dn_tbuild_end(&st.b, &ret->s);
}

/* The argument that "{}", "{1}" or "{name}" means. */
static int brace_value(struct dn_trun *run, const char *name, size_t size,
		       const struct dn_targs *args, size_t *next, struct dn_tval *ret)
{
	size_t first = args->n - args->n_named;
	int64_t i = 0;

	if (size == 0)
		i = (int64_t)(*next)++;
	else if (!dn_text_to_int(name, size, 10, &i))
		i = -1;
	if (i >= 0 && (uint64_t)i < first) {
		*ret = args->values[i];
		return 0;
	}
	for (size_t k = 0; k < args->n_named; k++) {
		if (args->names[k]->size == size && memcmp(args->names[k]->data, name, size) == 0) {
			*ret = args->values[first + k];
			return 0;
		}
	}
	return dn_trun_fail(run, EINVAL, "format(): no argument for '{%.*s}'",
			    (int)DN_MIN(size, (size_t)60), name);
}

int dn_tstr_format(struct dn_trun *run, struct dn_tstr *format, const struct dn_targs *args,
		   struct dn_tval *ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	size_t next = 0;
	size_t at = 0;
	int r = dn_tstr_flat(run, format);

	while (r == 0 && at < format->size) {
		size_t plain = at;
		char c;
		const char *close;
		struct dn_tstr *s = NULL;
		struct dn_tval v;

		while (at < format->size && format->data[at] != '{' && format->data[at] != '}')
			at++;
		r = dn_tbuild_sub(&b, format, plain, at - plain);
		if (r < 0 || at == format->size)
			break;
		c = format->data[at];
		if (at + 1 < format->size && format->data[at + 1] == c) {
			r = dn_tbuild_sub(&b, format, at, 1);
			at += 2;
			continue;
		}
		close = memchr(format->data + at, '}', format->size - at);
		if (c == '}' || !close)
			return dn_trun_fail(run, EINVAL, "format(): single '%c' in the format", c);
		at++;
		r = brace_value(run, format->data + at, (size_t)(close - format->data) - at, args,
				&next, &v);
		if (r == 0)
			r = dn_tval_to_str(run, &v, &s);
		if (r == 0)
			r = dn_tbuild_str(&b, s);
		at = (size_t)(close - format->data) + 1;
	}
	*ret = dn_tval_str(NULL);
	return r < 0 ? r : dn_tbuild_end(&b, &ret->s);
}
