/* SPDX-License-Identifier: MIT */
/* What filters and methods do with strings; every byte keeps its mark. */

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

/* The German letter whose capital is two. */
#define SHARP_S 0xdf

/* Whether the code point at @text is stripped: one of @chars, or white space without them. */
static bool is_stripped(const char *text, size_t size, const struct dn_tstr *chars)
{
	uint32_t point;

	if (chars)
		return memmem(chars->data, chars->size, text, size) != NULL;
	(void)dn_utf8_decode(text, size, &point);
	return dn_point_is_space(point);
}

int dn_tstr_strip(struct dn_trun *run, struct dn_tstr *s, struct dn_tstr *chars, int sides,
		  struct dn_tstr **ret)
{
	size_t begin = 0;
	size_t end;
	uint32_t point;
	int r = dn_tstr_flat(run, s);

	if (r == 0 && chars)
		r = dn_tstr_flat(run, chars);
	if (r < 0)
		return r;
	end = s->size;
	while ((sides & DN_STRIP_LEFT) && begin < end) {
		size_t n = dn_utf8_decode(s->data + begin, end - begin, &point);

		if (!is_stripped(s->data + begin, n, chars))
			break;
		begin += n;
	}
	while ((sides & DN_STRIP_RIGHT) && end > begin) {
		size_t at = end - 1;

		while (at > begin && (s->data[at] & 0xc0) == 0x80)
			at--;
		if (!is_stripped(s->data + at, end - at, chars))
			break;
		end = at;
	}
	/* Long sets of characters cost a search for each one that is stripped. */
	r = dn_trun_work(run,
			 (s->size - (end - begin)) * (DN_TRUN_SLOW + (chars ? chars->size : 0)));
	return r < 0 ? r : dn_tstr_sub(run, s, begin, end - begin, ret);
}

/* Python's replace of nothing: @by before each code point and at the end. */
static int replace_empty(struct dn_trun *run, struct dn_tstr *s, struct dn_tstr *by, int64_t count,
			 struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	size_t at = 0;
	int r = 0;

	while (r == 0 && at <= s->size && count != 0) {
		uint32_t point;
		size_t n = at < s->size ? dn_utf8_decode(s->data + at, s->size - at, &point) : 1;

		r = dn_tbuild_str(&b, by);
		if (r == 0 && at < s->size)
			r = dn_tbuild_sub(&b, s, at, n);
		at += n;
		count -= count > 0;
	}
	if (r == 0 && at < s->size)
		r = dn_tbuild_sub(&b, s, at, s->size - at);
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

int dn_tstr_replace(struct dn_trun *run, struct dn_tstr *s, struct dn_tstr *old, struct dn_tstr *by,
		    int64_t count, struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	size_t at = 0;
	int r = dn_tstr_flat(run, s);

	if (r == 0)
		r = dn_tstr_flat(run, old);
	if (r == 0)
		r = dn_trun_work(run, s->size);
	if (r < 0)
		return r;
	if (old->size == 0)
		return replace_empty(run, s, by, count, ret);
	while (r == 0 && count != 0) {
		const char *hit = memmem(s->data + at, s->size - at, old->data, old->size);
		size_t end;

		if (!hit)
			break;
		end = (size_t)(hit - s->data);
		r = dn_trun_work(run, old->size);
		if (r == 0)
			r = dn_tbuild_sub(&b, s, at, end - at);
		if (r == 0)
			r = dn_tbuild_str(&b, by);
		at = end + old->size;
		count -= count > 0;
	}
	if (at == 0 && r == 0) {
		*ret = s;
		return 0;
	}
	if (r == 0)
		r = dn_tbuild_sub(&b, s, at, s->size - at);
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

/* A letter, for casing: it has a case, or is written in a script that has none. */
static bool is_cased(uint32_t point)
{
	return dn_point_upper(point) != point || dn_point_lower(point) != point || point == SHARP_S;
}

static uint32_t map_case(enum dn_tcase how, uint32_t point, uint32_t before, bool first)
{
	bool start = first;

	switch (how) {
	case DN_CASE_UPPER:
		return dn_point_upper(point);
	case DN_CASE_LOWER:
		return dn_point_lower(point);
	case DN_CASE_SWAP:
		return dn_point_upper(point) != point ? dn_point_upper(point)
						      : dn_point_lower(point);
	case DN_CASE_TITLE:
		start = first || !is_cased(before);
		break;
	case DN_CASE_TITLE_FILTER:
		start = first || dn_point_is_space(before) ||
			(before < 0x80 && before > 0 && strchr("-({[<", (int)before) != NULL);
		break;
	case DN_CASE_CAPITALIZE:
		break;
	}
	return start ? dn_point_upper(point) : dn_point_lower(point);
}

int dn_tstr_case(struct dn_trun *run, struct dn_tstr *s, enum dn_tcase how, struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	char out[256];
	size_t made = 0;
	uint32_t before = 0;
	uint32_t mapped;
	uint32_t point;
	bool trusted = false;
	size_t end = 0; /* of the bytes of one mark */
	size_t n;
	int r = dn_tstr_flat(run, s);

	if (r == 0)
		r = dn_trun_work(run, DN_TRUN_SLOW * s->size);
	for (size_t at = 0; at < s->size && r == 0; at += n) {
		if (at >= end || made + 4 > sizeof(out)) {
			r = dn_tbuild_add(&b, out, made, trusted ? DN_TRUST_ALL : DN_TRUST_NONE,
					  NULL);
			made = 0;
		}
		if (at >= end)
			end = dn_tstr_run(s, at, &trusted);
		n = dn_utf8_decode(s->data + at, s->size - at, &point);
		mapped = map_case(how, point, before, at == 0);
		if (point == SHARP_S && (how == DN_CASE_UPPER || how == DN_CASE_SWAP)) {
			out[made++] = 'S';
			mapped = 'S';
		}
		made += dn_utf8_encode(mapped, out + made);
		before = point;
	}
	if (r == 0)
		r = dn_tbuild_add(&b, out, made, trusted ? DN_TRUST_ALL : DN_TRUST_NONE, NULL);
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

int dn_tstr_join(struct dn_trun *run, struct dn_tstr *glue, const struct dn_tseq *seq, bool strict,
		 struct dn_tstr **ret)
{
	struct dn_tbuild b = DN_TBUILD_INIT(run);
	int r = 0;

	for (size_t i = 0; i < seq->count && r == 0; i++) {
		struct dn_tval item = dn_tseq_at(seq, i);
		struct dn_tstr *s = NULL;

		if (strict && item.type != DN_T_STR)
			return dn_trun_fail(run, EINVAL,
					    "sequence item %zu: expected str instance, %s found", i,
					    dn_tval_type_name(&item));
		r = dn_trun_work(run, 0);
		if (r == 0 && i > 0)
			r = dn_tbuild_str(&b, glue);
		if (r == 0)
			r = dn_tval_to_str(run, &item, &s);
		if (r == 0)
			r = dn_tbuild_str(&b, s);
	}
	return r < 0 ? r : dn_tbuild_end(&b, ret);
}

/*
 * The last place of @needle in the first @size bytes of @s; NULL in @ret when there is none. The
 * method of Knuth, Morris and Pratt from the back: there is no memrmem(), and what messages hold
 * must not be able to make this quadratic.
 */
int dn_tstr_find_last(struct dn_trun *run, const struct dn_tstr *s, size_t size,
		      const struct dn_tstr *needle, const char **ret)
{
	const char *last = needle->data + needle->size - 1;
	size_t n = needle->size;
	size_t matched = 0;
	uint32_t *border;
	int r = dn_trun_work(run, n <= size ? DN_TRUN_SLOW * n : 0);

	*ret = n == 0 ? s->data + size : NULL;
	if (r < 0 || n == 0 || n > size)
		return r;
	border = dn_trun_alloc(run, n * sizeof(*border));
	if (!border)
		return dn_trun_no_memory(run);
	border[0] = 0;
	for (size_t i = 1; i < n; i++) {
		while (matched > 0 && last[-(ptrdiff_t)i] != last[-(ptrdiff_t)matched])
			matched = border[matched - 1];
		matched += last[-(ptrdiff_t)i] == last[-(ptrdiff_t)matched];
		border[i] = (uint32_t)matched;
	}
	matched = 0;
	for (size_t at = size; at > 0; at--) {
		while (matched > 0 && s->data[at - 1] != last[-(ptrdiff_t)matched])
			matched = border[matched - 1];
		matched += s->data[at - 1] == last[-(ptrdiff_t)matched];
		if (matched == n) {
			*ret = s->data + at - 1;
			return dn_trun_work(run, DN_TRUN_SLOW * (size - at));
		}
	}
	return dn_trun_work(run, DN_TRUN_SLOW * size);
}
