/* SPDX-License-Identifier: MIT */
/* The text of values: Python's str(), repr() and json.dumps(). */

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

static const char hex_digits[] = "0123456789abcdef";

/* The fewest digits that read back as the same number, as d.ddde±x. */
static void shortest(double f, char *out, size_t size)
{
	for (int digits = 0; digits < 17; digits++) {
		(void)snprintf(out, size, "%.*e", digits, f);
		if (strtod(out, NULL) == f)
			break;
	}
}

void dn_float_text(double f, char *out)
{
	char text[40];
	char digits[24] = "";
	size_t n = 0;
	size_t o = 0;
	int exponent;

	if (isnan(f) || isinf(f)) {
		memcpy(out, isnan(f) ? "nan\0" : f > 0 ? "inf\0" : "-inf", 5);
		return;
	}
	shortest(f, text, sizeof(text));
	/* Digits only: the locale's decimal mark, whatever it is, falls away. */
	for (const char *p = text; *p && *p != 'e'; p++) {
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	}
	exponent = atoi(strchr(text, 'e') + 1);
	if (signbit(f))
		out[o++] = '-';
	if (exponent < -4 || exponent >= 16) {
		out[o++] = digits[0];
		if (n > 1)
			out[o++] = '.';
		memcpy(out + o, digits + 1, n - 1);
		o += n - 1;
		(void)snprintf(text, sizeof(text), "e%c%02d", exponent < 0 ? '-' : '+',
			       abs(exponent) % 1000);
		memcpy(out + o, text, strlen(text) + 1);
		return;
	}
	if (exponent < 0) {
		out[o++] = '0';
		out[o++] = '.';
		for (int i = -1; i > exponent; i--)
			out[o++] = '0';
		memcpy(out + o, digits, n);
		out[o + n] = '\0';
		return;
	}
	for (int i = 0; i <= exponent || i < (int)n; i++) {
		if (i == exponent + 1)
			out[o++] = '.';
		out[o++] = i < (int)n ? digits[i] : '0';
	}
	if ((int)n <= exponent + 1) {
		out[o++] = '.';
		out[o++] = '0';
	}
	out[o] = '\0';
}

static int scalar_text(const struct dn_tval *v, char *out, size_t size)
{
	switch (v->type) {
	case DN_T_NONE:
		return snprintf(out, size, "None");
	case DN_T_BOOL:
		return snprintf(out, size, "%s", v->b ? "True" : "False");
	case DN_T_INT:
		return snprintf(out, size, "%" PRId64, v->i);
	case DN_T_FLOAT:
		dn_float_text(v->f, out);
		return (int)strlen(out);
	default:
		return -1;
	}
}

int dn_tval_to_str(struct dn_trun *run, const struct dn_tval *v, struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	char text[48];
	int n;
	int r;

	if (v->type == DN_T_STR) {
		*ret = v->s;
		return 0;
	}
	if (v->type == DN_T_UNDEFINED) {
		*ret = dn_tstr_empty();
		return 0;
	}
	n = scalar_text(v, text, sizeof(text));
	if (n >= 0) {
		r = dn_tstr_copy(run, text, (size_t)n, ret);
		if (r == 0)
			(*ret)->trust = v->literal ? DN_TRUST_ALL : DN_TRUST_NONE;
		return r;
	}
	r = dn_tval_repr(&b, v, 0);
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

/* What Python's repr() writes as an escape: controls, odd spaces, what is no character. */
static bool is_printable(uint32_t point)
{
	if (point < 0x20 || (point >= 0x7f && point <= 0xa0) || point == 0xad)
		return false;
	if (point < 0x600)
		return true;
	if (dn_point_is_space(point) || (point >= 0x200b && point <= 0x200f) ||
	    (point >= 0x202a && point <= 0x202e) || (point >= 0x2060 && point <= 0x206f))
		return false;
	return point != 0xfeff && !(point >= 0xe000 && point <= 0xf8ff) &&
	       (point & 0xfffe) != 0xfffe && point < 0xf0000;
}

static int add_escape(struct dn_tbuild *b, uint32_t point, enum dn_trust trust)
{
	const char *wide = point > 0xffff ? "\\U%08" PRIx32 : "\\u%04" PRIx32;
	char text[16];
	int n = snprintf(text, sizeof(text), point < 0x100 ? "\\x%02" PRIx32 : wide, point);

	return dn_tbuild_add(b, text, (size_t)n, trust, NULL);
}

static enum dn_trust trust_at(const struct dn_tstr *s, size_t at)
{
	return dn_tstr_trusted_at(s, at) ? DN_TRUST_ALL : DN_TRUST_NONE;
}

static int repr_str(struct dn_tbuild *b, struct dn_tstr *s)
{
	int r = dn_tstr_flat(b->run, s);
	const char *quote = "'";
	size_t kept = 0;
	size_t size;

	if (r == 0 && memchr(s->data, '\'', s->size) && !memchr(s->data, '"', s->size))
		quote = "\"";
	if (r == 0)
		r = dn_tbuild_text(b, quote);
	for (size_t at = 0; at < s->size && r == 0; at += size) {
		static const char *const short_escapes[] = { ['\n'] = "\\n",
							     ['\r'] = "\\r",
							     ['\t'] = "\\t",
							     ['\\'] = "\\\\",
							     ['\''] = "\\'" };
		const char *escape = NULL;
		uint32_t point;

		size = dn_utf8_decode(s->data + at, s->size - at, &point);
		if (point < DN_ARRAY_SIZE(short_escapes) && (point != '\'' || quote[0] == '\''))
			escape = short_escapes[point];
		if (!escape && is_printable(point))
			continue;
		r = dn_tbuild_sub(b, s, kept, at - kept);
		kept = at + size;
		if (r == 0 && escape)
			r = dn_tbuild_add(b, escape, 2, trust_at(s, at), NULL);
		else if (r == 0)
			r = add_escape(b, point, trust_at(s, at));
	}
	if (r == 0)
		r = dn_tbuild_sub(b, s, kept, s->size - kept);
	return r == 0 ? dn_tbuild_text(b, quote) : r;
}

static int repr_items(struct dn_tbuild *b, const struct dn_tlist *list, const char *open,
		      const char *close, unsigned int depth)
{
	int r = dn_tbuild_text(b, open);

	for (size_t i = 0; i < list->count && r == 0; i++) {
		if (i > 0)
			r = dn_tbuild_text(b, ", ");
		if (r == 0)
			r = dn_tval_repr(b, &list->items[i], depth + 1);
	}
	return r == 0 ? dn_tbuild_text(b, close) : r;
}

static int repr_dict(struct dn_tbuild *b, const struct dn_tdict *dict, unsigned int depth)
{
	int r = dn_tbuild_text(b, "{");

	for (size_t i = 0; i < dict->count && r == 0; i++) {
		if (i > 0)
			r = dn_tbuild_text(b, ", ");
		if (r == 0)
			r = dn_tval_repr(b, &dict->entries[i].key, depth + 1);
		if (r == 0)
			r = dn_tbuild_text(b, ": ");
		if (r == 0)
			r = dn_tval_repr(b, &dict->entries[i].value, depth + 1);
	}
	return r == 0 ? dn_tbuild_text(b, "}") : r;
}

static int repr_named(struct dn_tbuild *b, const struct dn_tval *v)
{
	char text[96];

	if (v->type == DN_T_RANGE && v->range->step == 1)
		(void)snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ")",
			       v->range->start, v->range->stop);
	else if (v->type == DN_T_RANGE)
		(void)snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")",
			       v->range->start, v->range->stop, v->range->step);
	else
		(void)snprintf(text, sizeof(text), "<%s object>", dn_tval_type_name(v));
	return dn_tbuild_text(b, text);
}

int dn_tval_repr(struct dn_tbuild *b, const struct dn_tval *v, unsigned int depth)
{
	char text[48];
	char view[32];
	int n;
	int r;

	if (depth > DN_TVAL_DEPTH)
		return dn_trun_fail(b->run, EINVAL, "a value is nested deeper than %d",
				    DN_TVAL_DEPTH);
	r = dn_trun_work(b->run, 1);
	if (r < 0)
		return r;
	switch (v->type) {
	case DN_T_STR:
		return repr_str(b, v->s);
	case DN_T_LIST:
		return repr_items(b, v->list, "[", "]", depth);
	case DN_T_TUPLE:
		return repr_items(b, v->list, "(", v->list->count == 1 ? ",)" : ")", depth);
	case DN_T_VIEW:
		(void)snprintf(view, sizeof(view), "%s([", v->list->kind);
		return repr_items(b, v->list, view, "])", depth);
	case DN_T_DICT:
		return repr_dict(b, v->dict, depth);
	case DN_T_NAMESPACE:
		r = dn_tbuild_text(b, "<Namespace ");
		if (r == 0)
			r = repr_dict(b, v->dict, depth);
		return r == 0 ? dn_tbuild_text(b, ">") : r;
	case DN_T_UNDEFINED:
		return dn_tbuild_text(b, "Undefined");
	default:
		n = scalar_text(v, text, sizeof(text));
		if (n < 0)
			return repr_named(b, v);
		return dn_tbuild_add(b, text, (size_t)n, v->literal ? DN_TRUST_ALL : DN_TRUST_NONE,
				     NULL);
	}
}

static int json_point(struct dn_tbuild *b, uint32_t point, enum dn_trust trust)
{
	char text[16];
	char *p = text;

	if (point > 0xffff) {
		uint32_t rest = point - 0x10000;

		(void)snprintf(text, sizeof(text), "\\u%04" PRIx32 "\\u%04" PRIx32,
			       0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
		return dn_tbuild_add(b, text, 12, trust, NULL);
	}
	*p++ = '\\';
	*p++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*p++ = hex_digits[(point >> shift) & 15];
	return dn_tbuild_add(b, text, 6, trust, NULL);
}

static int json_str(struct dn_tbuild *b, struct dn_tstr *s, const struct dn_tjson *style)
{
	static const char *const short_escapes[] = {
		['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f",
		['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\"
	};
	int r = dn_tstr_flat(b->run, s);
	size_t kept = 0;
	size_t size;

	if (r == 0)
		r = dn_tbuild_text(b, "\"");
	for (size_t at = 0; at < s->size && r == 0; at += size) {
		const char *escape = NULL;
		uint32_t point = (unsigned char)s->data[at];

		size = 1;
		if (point >= 0x80)
			size = dn_utf8_decode(s->data + at, s->size - at, &point);
		if (point < DN_ARRAY_SIZE(short_escapes))
			escape = short_escapes[point];
		if (!escape && point >= 0x20 && (point < 0x80 || !style->ascii))
			continue;
		r = dn_tbuild_sub(b, s, kept, at - kept);
		kept = at + size;
		if (r == 0 && escape)
			r = dn_tbuild_add(b, escape, 2, trust_at(s, at), NULL);
		else if (r == 0)
			r = json_point(b, point, trust_at(s, at));
	}
	if (r == 0)
		r = dn_tbuild_sub(b, s, kept, s->size - kept);
	return r == 0 ? dn_tbuild_text(b, "\"") : r;
}

/* A line end and @depth levels of indentation, where that is the style. */
static int json_line(struct dn_tbuild *b, const struct dn_tjson *style, unsigned int depth)
{
	int r = 0;

	if (!style->indent)
		return 0;
	r = dn_tbuild_text(b, "\n");
	for (unsigned int i = 0; i < depth && r == 0; i++)
		r = dn_tbuild_str(b, style->indent);
	return r;
}

static int json_list(struct dn_tbuild *b, const struct dn_tlist *list, const struct dn_tjson *style,
		     unsigned int depth)
{
	int r;

	if (list->count == 0)
		return dn_tbuild_text(b, "[]");
	r = dn_tbuild_text(b, "[");
	for (size_t i = 0; i < list->count && r == 0; i++) {
		if (i > 0)
			r = dn_tbuild_str(b, style->item);
		if (r == 0)
			r = json_line(b, style, depth + 1);
		if (r == 0)
			r = dn_tval_to_json(b, &list->items[i], style, depth + 1);
	}
	if (r == 0)
		r = json_line(b, style, depth);
	return r == 0 ? dn_tbuild_text(b, "]") : r;
}

static int json_scalar(struct dn_tbuild *b, const struct dn_tval *v, bool quoted)
{
	char text[48];
	int n;
	int r = quoted ? dn_tbuild_text(b, "\"") : 0;

	if (v->type == DN_T_NONE)
		n = snprintf(text, sizeof(text), "null");
	else if (v->type == DN_T_BOOL)
		n = snprintf(text, sizeof(text), "%s", v->b ? "true" : "false");
	else if (v->type == DN_T_FLOAT && isnan(v->f))
		n = snprintf(text, sizeof(text), "NaN");
	else if (v->type == DN_T_FLOAT && isinf(v->f))
		n = snprintf(text, sizeof(text), "%sInfinity", v->f < 0 ? "-" : "");
	else
		n = scalar_text(v, text, sizeof(text));
	if (n < 0)
		return dn_trun_fail(b->run, EINVAL, "Object of type %s is not JSON serializable",
				    dn_tval_type_name(v));
	if (r == 0)
		r = dn_tbuild_add(b, text, (size_t)n, v->literal ? DN_TRUST_ALL : DN_TRUST_NONE,
				  NULL);
	return r == 0 && quoted ? dn_tbuild_text(b, "\"") : r;
}

static int json_entry(struct dn_tbuild *b, const struct dn_tentry *entry,
		      const struct dn_tjson *style, unsigned int depth)
{
	int r;

	if (entry->key.type == DN_T_STR)
		r = json_str(b, entry->key.s, style);
	else if (entry->key.type == DN_T_TUPLE)
		r = dn_trun_fail(b->run, EINVAL,
				 "keys must be str, int, float, bool or None, not tuple");
	else
		r = json_scalar(b, &entry->key, true);
	if (r == 0)
		r = dn_tbuild_str(b, style->key);
	return r == 0 ? dn_tval_to_json(b, &entry->value, style, depth) : r;
}

/* The entries in the order of their keys: insertion into a list, as dictionaries are small. */
static int json_sorted(struct dn_trun *run, const struct dn_tdict *dict, struct dn_tentry **ret)
{
	struct dn_tentry *sorted = dn_trun_alloc(run, dict->count * sizeof(*sorted));

	if (!sorted)
		return dn_trun_no_memory(run);
	for (size_t i = 0; i < dict->count; i++) {
		size_t at = i;
		int order = 1;

		while (at > 0) {
			int r = dn_tval_order(run, &sorted[at - 1].key, &dict->entries[i].key, "<",
					      0, &order);

			if (r < 0)
				return r;
			if (order <= 0)
				break;
			sorted[at] = sorted[at - 1];
			at--;
		}
		sorted[at] = dict->entries[i];
	}
	*ret = sorted;
	return 0;
}

static int json_dict(struct dn_tbuild *b, const struct dn_tdict *dict, const struct dn_tjson *style,
		     unsigned int depth)
{
	struct dn_tentry *entries = dict->entries;
	int r = 0;

	if (dict->count == 0)
		return dn_tbuild_text(b, "{}");
	if (style->sort)
		r = json_sorted(b->run, dict, &entries);
	if (r == 0)
		r = dn_tbuild_text(b, "{");
	for (size_t i = 0; i < dict->count && r == 0; i++) {
		if (i > 0)
			r = dn_tbuild_str(b, style->item);
		if (r == 0)
			r = json_line(b, style, depth + 1);
		if (r == 0)
			r = json_entry(b, &entries[i], style, depth + 1);
	}
	if (r == 0)
		r = json_line(b, style, depth);
	return r == 0 ? dn_tbuild_text(b, "}") : r;
}

int dn_tval_to_json(struct dn_tbuild *b, const struct dn_tval *v, const struct dn_tjson *style,
		    unsigned int depth)
{
	int r;

	if (depth > DN_TVAL_DEPTH)
		return dn_trun_fail(b->run, EINVAL, "tojson: a value is nested deeper than %d",
				    DN_TVAL_DEPTH);
	r = dn_trun_work(b->run, 1);
	if (r < 0)
		return r;
	switch (v->type) {
	case DN_T_STR:
		return json_str(b, v->s, style);
	case DN_T_LIST:
	case DN_T_TUPLE:
		return json_list(b, v->list, style, depth);
	case DN_T_DICT:
		return json_dict(b, v->dict, style, depth);
	default:
		return json_scalar(b, v, false);
	}
}
