/* SPDX-License-Identifier: MIT */
/* Methods of strings, as Python's. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

static int give(struct dn_tval *ret, struct dn_tstr *s)
{
	*ret = dn_tval_str(s);
	return 0;
}

/* The string itself, flat. */
static int self_text(struct dn_tcall *call, struct dn_tstr **ret)
{
	*ret = call->self->s;
	return dn_tstr_flat(call->run, *ret);
}

static int cased(struct dn_tcall *call, enum dn_tcase how, struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	int r = dn_tstr_case(call->run, call->self->s, how, &s);

	return r < 0 ? r : give(ret, s);
}

static int str_upper(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_UPPER, ret);
}

static int str_lower(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_LOWER, ret);
}

static int str_title(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_TITLE, ret);
}

static int str_capitalize(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_CAPITALIZE, ret);
}

static int str_swapcase(struct dn_tcall *call, struct dn_tval *ret)
{
	return cased(call, DN_CASE_SWAP, ret);
}

static int stripped(struct dn_tcall *call, int sides, struct dn_tval *ret)
{
	struct dn_tstr *chars = NULL;
	struct dn_tstr *s = NULL;
	int r = 0;

	if (call->arg[0] && call->arg[0]->type != DN_T_NONE)
		r = dn_targ_str(call, 0, &chars);
	if (r == 0)
		r = dn_tstr_strip(call->run, call->self->s, chars, sides, &s);
	return r < 0 ? r : give(ret, s);
}

static int str_strip(struct dn_tcall *call, struct dn_tval *ret)
{
	return stripped(call, DN_STRIP_LEFT | DN_STRIP_RIGHT, ret);
}

static int str_lstrip(struct dn_tcall *call, struct dn_tval *ret)
{
	return stripped(call, DN_STRIP_LEFT, ret);
}

static int str_rstrip(struct dn_tcall *call, struct dn_tval *ret)
{
	return stripped(call, DN_STRIP_RIGHT, ret);
}

static int str_replace(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *old = NULL;
	struct dn_tstr *by = NULL;
	struct dn_tstr *s = NULL;
	int64_t count = 0;
	int r = dn_targ_str(call, 0, &old);

	if (r == 0)
		r = dn_targ_str(call, 1, &by);
	if (r == 0)
		r = dn_targ_int(call, 2, -1, &count);
	if (r == 0)
		r = dn_tstr_replace(call->run, call->self->s, old, by, count, &s);
	return r < 0 ? r : give(ret, s);
}

static bool affix_at(const struct dn_tstr *s, const struct dn_tstr *affix, bool end)
{
	return affix->size <= s->size &&
	       memcmp(s->data + (end ? s->size - affix->size : 0), affix->data, affix->size) == 0;
}

/* A string, or a tuple of which one is enough. */
static int has_affix(struct dn_tcall *call, bool end, struct dn_tval *ret)
{
	const struct dn_tval *v = call->arg[0];
	size_t n = v->type == DN_T_TUPLE ? v->list->count : 1;
	struct dn_tstr *s = NULL;
	bool found = false;
	int r = self_text(call, &s);

	for (size_t i = 0; i < n && r == 0 && !found; i++) {
		const struct dn_tval *affix = v->type == DN_T_TUPLE ? &v->list->items[i] : v;

		if (affix->type == DN_T_UNDEFINED)
			return dn_tval_fail_undefined(call->run, affix);
		if (affix->type != DN_T_STR)
			return dn_trun_fail(call->run, EINVAL,
					    "%s first arg must be str or a tuple of str, not %s",
					    call->callable->name, dn_tval_type_name(affix));
		r = dn_tstr_flat(call->run, affix->s);
		if (r == 0)
			r = dn_trun_work(call->run, affix->s->size);
		if (r == 0)
			found = affix_at(s, affix->s, end);
	}
	*ret = dn_tval_bool(found);
	return r;
}

static int str_startswith(struct dn_tcall *call, struct dn_tval *ret)
{
	return has_affix(call, false, ret);
}

static int str_endswith(struct dn_tcall *call, struct dn_tval *ret)
{
	return has_affix(call, true, ret);
}

static int without_affix(struct dn_tcall *call, bool end, struct dn_tval *ret)
{
	struct dn_tstr *affix = NULL;
	struct dn_tstr *s = NULL;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_targ_str(call, 0, &affix);
	if (r == 0 && affix_at(s, affix, end))
		r = dn_tstr_sub(call->run, s, end ? 0 : affix->size, s->size - affix->size, &s);
	return r < 0 ? r : give(ret, s);
}

static int str_removeprefix(struct dn_tcall *call, struct dn_tval *ret)
{
	return without_affix(call, false, ret);
}

static int str_removesuffix(struct dn_tcall *call, struct dn_tval *ret)
{
	return without_affix(call, true, ret);
}

/* The code point at which the argument is found within [start, end); negative: nowhere. */
static int find(struct dn_tcall *call, bool last, int64_t *ret)
{
	struct dn_tstr *needle = NULL;
	struct dn_tstr *s = NULL;
	int64_t points = 0;
	int64_t part[2] = { 0, 0 };
	const char *hit = NULL;
	size_t begin;
	size_t end;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_targ_str(call, 0, &needle);
	if (r == 0)
		r = dn_trun_work(call->run, s->size);
	if (r != 0)
		return r;
	points = (int64_t)dn_tstr_points(s);
	for (size_t i = 0; i < 2 && r == 0; i++) {
		r = dn_targ_int(call, i + 1, i == 0 ? 0 : points, &part[i]);
		if (part[i] < 0)
			part[i] = DN_MAX(part[i] + points, (int64_t)0);
	}
	*ret = -1;
	if (r < 0 || part[0] > points || part[0] > part[1])
		return r;
	begin = dn_tstr_offset(s, (size_t)part[0]);
	end = dn_tstr_offset(s, (size_t)DN_MIN(part[1], points));
	if (last)
		r = dn_tstr_find_last(call->run, s, end, needle, &hit);
	else
		hit = memmem(s->data + begin, end - begin, needle->data, needle->size);
	if (r < 0 || !hit || hit < s->data + begin)
		return r;
	*ret = 0;
	for (const char *p = s->data; p < hit; p++)
		*ret += (*p & 0xc0) != 0x80;
	return 0;
}

static int str_find(struct dn_tcall *call, struct dn_tval *ret)
{
	int64_t at = -1;
	int r = find(call, false, &at);

	*ret = dn_tval_int(at);
	return r;
}

static int str_rfind(struct dn_tcall *call, struct dn_tval *ret)
{
	int64_t at = -1;
	int r = find(call, true, &at);

	*ret = dn_tval_int(at);
	return r;
}

static int str_index(struct dn_tcall *call, struct dn_tval *ret)
{
	int r = str_find(call, ret);

	if (r == 0 && ret->i < 0)
		return dn_trun_fail(call->run, EINVAL, "substring not found");
	return r;
}

static int str_count(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tstr *needle = NULL;
	struct dn_tstr *s = NULL;
	int64_t count = 0;
	size_t at = 0;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_targ_str(call, 0, &needle);
	if (r == 0)
		r = dn_trun_work(call->run, s->size);
	if (r == 0 && needle->size == 0)
		count = (int64_t)dn_tstr_points(s) + 1;
	while (r == 0 && needle->size > 0) {
		const char *hit = memmem(s->data + at, s->size - at, needle->data, needle->size);

		if (!hit)
			break;
		count++;
		at = (size_t)(hit - s->data) + needle->size;
		r = dn_trun_work(call->run, needle->size);
	}
	*ret = dn_tval_int(count);
	return r;
}

static int add_part(struct dn_trun *run, struct dn_tlist *list, struct dn_tstr *s, size_t begin,
		    size_t end)
{
	struct dn_tstr *part = NULL;
	int r = dn_trun_work(run, 0);

	if (r == 0)
		r = dn_tstr_sub(run, s, begin, end - begin, &part);
	return r < 0 ? r : dn_tlist_add(run, list, dn_tval_str(part));
}

static int split_by(struct dn_trun *run, struct dn_tstr *s, const struct dn_tstr *by, int64_t limit,
		    struct dn_tlist *list)
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && limit != 0) {
		const char *hit = memmem(s->data + at, s->size - at, by->data, by->size);

		if (!hit)
			break;
		r = add_part(run, list, s, at, (size_t)(hit - s->data));
		at = (size_t)(hit - s->data) + by->size;
		limit -= limit > 0;
	}
	return r < 0 ? r : add_part(run, list, s, at, s->size);
}

/* By runs of white space, which count neither at the front nor at the back. */
static int split_space(struct dn_trun *run, struct dn_tstr *s, int64_t limit, struct dn_tlist *list)
{
	size_t begin = SIZE_MAX;
	uint32_t point;
	size_t n;
	int r = 0;

	for (size_t at = 0; at < s->size && r == 0; at += n) {
		n = dn_utf8_decode(s->data + at, s->size - at, &point);
		if (!dn_point_is_space(point)) {
			if (begin == SIZE_MAX && limit == 0) {
				struct dn_tstr *rest = NULL;

				r = dn_tstr_sub(run, s, at, s->size - at, &rest);
				return r < 0 ? r : dn_tlist_add(run, list, dn_tval_str(rest));
			}
			if (begin == SIZE_MAX)
				begin = at;
			continue;
		}
		if (begin == SIZE_MAX)
			continue;
		r = add_part(run, list, s, begin, at);
		begin = SIZE_MAX;
		limit -= limit > 0;
	}
	if (r == 0 && begin != SIZE_MAX)
		r = add_part(run, list, s, begin, s->size);
	return r;
}

static int split_start(struct dn_tcall *call, struct dn_tstr **s, struct dn_tstr **by,
		       int64_t *limit, struct dn_tlist **list)
{
	int r = self_text(call, s);

	*by = NULL;
	if (r == 0 && call->arg[0] && call->arg[0]->type != DN_T_NONE)
		r = dn_targ_str(call, 0, by);
	if (r == 0 && *by && (*by)->size == 0)
		return dn_trun_fail(call->run, EINVAL, "empty separator");
	if (r == 0)
		r = dn_targ_int(call, 1, -1, limit);
	if (r == 0)
		r = dn_trun_work(call->run, DN_TRUN_SLOW * (*s)->size);
	return r < 0 ? r : dn_tlist_new(call->run, 0, list);
}

static int str_split(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tstr *s = NULL;
	struct dn_tstr *by = NULL;
	int64_t limit = 0;
	int r = split_start(call, &s, &by, &limit, &list);

	if (r == 0)
		r = by ? split_by(call->run, s, by, limit, list)
		       : split_space(call->run, s, limit, list);
	if (r == 0)
		*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}

/* Parts from the back, at most @limit of them, then put in order. */
static int str_rsplit(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tstr *s = NULL;
	struct dn_tstr *by = NULL;
	int64_t limit = 0;
	size_t end;
	int r = split_start(call, &s, &by, &limit, &list);

	if (r == 0 && !by && limit >= 0)
		return dn_trun_fail(call->run, EINVAL,
				    "rsplit() by white space takes no maximum here");
	if (r == 0 && (!by || limit < 0))
		return str_split(call, ret);
	if (r < 0)
		return r;
	end = s->size;
	while (r == 0 && limit-- > 0) {
		const char *hit = NULL;

		r = dn_tstr_find_last(call->run, s, end, by, &hit);
		if (r < 0 || !hit)
			break;
		r = add_part(call->run, list, s, (size_t)(hit - s->data) + by->size, end);
		end = (size_t)(hit - s->data);
	}
	if (r == 0)
		r = add_part(call->run, list, s, 0, end);
	for (size_t i = 0; r == 0 && i < list->count / 2; i++) {
		struct dn_tval swap = list->items[i];

		list->items[i] = list->items[list->count - 1 - i];
		list->items[list->count - 1 - i] = swap;
	}
	*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}

static bool ends_line(uint32_t point)
{
	return (point >= 0x0a && point <= 0x0d) || (point >= 0x1c && point <= 0x1e) ||
	       point == 0x85 || point == 0x2028 || point == 0x2029;
}

static int str_splitlines(struct dn_tcall *call, struct dn_tval *ret)
{
	bool keep = dn_targ_true(call, 0);
	struct dn_tlist *list = NULL;
	struct dn_tstr *s = NULL;
	uint32_t point;
	size_t begin = 0;
	size_t n;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_trun_work(call->run, DN_TRUN_SLOW * s->size);
	if (r == 0)
		r = dn_tlist_new(call->run, 0, &list);
	for (size_t at = 0; r == 0 && at < s->size; at += n) {
		n = dn_utf8_decode(s->data + at, s->size - at, &point);
		if (!ends_line(point))
			continue;
		if (point == '\r' && at + 1 < s->size && s->data[at + 1] == '\n')
			n = 2;
		r = add_part(call->run, list, s, begin, keep ? at + n : at);
		begin = at + n;
	}
	if (r == 0 && begin < s->size)
		r = add_part(call->run, list, s, begin, s->size);
	if (r == 0)
		*ret = dn_tval_list(DN_T_LIST, list);
	return r;
}

static int parted(struct dn_tcall *call, bool last, struct dn_tval *ret)
{
	struct dn_tlist *list = NULL;
	struct dn_tstr *by = NULL;
	struct dn_tstr *s = NULL;
	const char *hit = NULL;
	size_t at;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_targ_str(call, 0, &by);
	if (r == 0 && by->size == 0)
		return dn_trun_fail(call->run, EINVAL, "empty separator");
	if (r == 0)
		r = dn_trun_work(call->run, s->size);
	if (r == 0)
		r = dn_tlist_new(call->run, 3, &list);
	if (r != 0)
		return r;
	if (last)
		r = dn_tstr_find_last(call->run, s, s->size, by, &hit);
	else
		hit = memmem(s->data, s->size, by->data, by->size);
	if (r < 0)
		return r;
	at = hit ? (size_t)(hit - s->data) : last ? 0 : s->size;
	r = add_part(call->run, list, s, 0, at);
	if (r == 0)
		r = add_part(call->run, list, s, at, hit ? at + by->size : at);
	if (r == 0)
		r = add_part(call->run, list, s, hit ? at + by->size : at, s->size);
	*ret = dn_tval_list(DN_T_TUPLE, list);
	return r;
}

static int str_partition(struct dn_tcall *call, struct dn_tval *ret)
{
	return parted(call, false, ret);
}

static int str_rpartition(struct dn_tcall *call, struct dn_tval *ret)
{
	return parted(call, true, ret);
}

static int str_join(struct dn_tcall *call, struct dn_tval *ret)
{
	struct dn_tseq seq = { 0 };
	struct dn_tstr *s = NULL;
	int r = dn_tseq_of(call->run, call->arg[0], &seq);

	if (r == 0)
		r = dn_tstr_join(call->run, call->self->s, &seq, true, &s);
	return r < 0 ? r : give(ret, s);
}

static int str_format(struct dn_tcall *call, struct dn_tval *ret)
{
	return dn_tstr_format(call->run, call->self->s, call->args, ret);
}

/* Whether there is something and all of it is of a kind. */
static int all_are(struct dn_tcall *call, bool (*is)(uint32_t point), struct dn_tval *ret)
{
	struct dn_tstr *s = NULL;
	uint32_t point;
	size_t at = 0;
	int r = self_text(call, &s);

	if (r == 0)
		r = dn_trun_work(call->run, DN_TRUN_SLOW * s->size);
	while (r == 0 && at < s->size) {
		size_t n = dn_utf8_decode(s->data + at, s->size - at, &point);

		if (!is(point))
			break;
		at += n;
	}
	*ret = dn_tval_bool(r == 0 && s->size > 0 && at == s->size);
	return r;
}

static bool is_digit(uint32_t point)
{
	return point >= '0' && point <= '9';
}

/* Beyond ASCII, what has a case, and scripts that have none, from Hebrew on. */
static bool is_alpha(uint32_t point)
{
	if (point < 0x80)
		return (point | 0x20) >= 'a' && (point | 0x20) <= 'z';
	return dn_point_upper(point) != dn_point_lower(point) || point == 0xdf ||
	       (point >= 0x5d0 && !dn_point_is_space(point) &&
		!(point >= 0x2000 && point < 0x3005));
}

static bool is_alnum(uint32_t point)
{
	return is_digit(point) || is_alpha(point);
}

static int str_isdigit(struct dn_tcall *call, struct dn_tval *ret)
{
	return all_are(call, is_digit, ret);
}

static int str_isalpha(struct dn_tcall *call, struct dn_tval *ret)
{
	return all_are(call, is_alpha, ret);
}

static int str_isalnum(struct dn_tcall *call, struct dn_tval *ret)
{
	return all_are(call, is_alnum, ret);
}

static int str_isspace(struct dn_tcall *call, struct dn_tval *ret)
{
	return all_are(call, dn_point_is_space, ret);
}

static int str_isupper(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_targs none = { 0 };

	return dn_trun_invoke(call->run, dn_ttest_find("upper", 5), call->self, &none, ret);
}

static int str_islower(struct dn_tcall *call, struct dn_tval *ret)
{
	const struct dn_targs none = { 0 };

	return dn_trun_invoke(call->run, dn_ttest_find("lower", 5), call->self, &none, ret);
}

const struct dn_tcallable dn_tmethods_str[] = {
	{ "strip", "chars", 0, str_strip },
	{ "lstrip", "chars", 0, str_lstrip },
	{ "rstrip", "chars", 0, str_rstrip },
	{ "split", "sep,maxsplit", 0, str_split },
	{ "startswith", "prefix", 1, str_startswith },
	{ "endswith", "suffix", 1, str_endswith },
	{ "replace", "old,new,count", 2, str_replace },
	{ "upper", "", 0, str_upper },
	{ "lower", "", 0, str_lower },
	{ "title", "", 0, str_title },
	{ "capitalize", "", 0, str_capitalize },
	{ "swapcase", "", 0, str_swapcase },
	{ "find", "sub,start,end", 1, str_find },
	{ "rfind", "sub,start,end", 1, str_rfind },
	{ "index", "sub,start,end", 1, str_index },
	{ "count", "sub", 1, str_count },
	{ "join", "iterable", 1, str_join },
	{ "format", "*", 0, str_format },
	{ "rsplit", "sep,maxsplit", 0, str_rsplit },
	{ "splitlines", "keepends", 0, str_splitlines },
	{ "partition", "sep", 1, str_partition },
	{ "rpartition", "sep", 1, str_rpartition },
	{ "removeprefix", "prefix", 1, str_removeprefix },
	{ "removesuffix", "suffix", 1, str_removesuffix },
	{ "isdigit", "", 0, str_isdigit },
	{ "isdecimal", "", 0, str_isdigit },
	{ "isnumeric", "", 0, str_isdigit },
	{ "isalpha", "", 0, str_isalpha },
	{ "isalnum", "", 0, str_isalnum },
	{ "isspace", "", 0, str_isspace },
	{ "isupper", "", 0, str_isupper },
	{ "islower", "", 0, str_islower },
};
const size_t dn_tmethods_str_count = DN_ARRAY_SIZE(dn_tmethods_str);
