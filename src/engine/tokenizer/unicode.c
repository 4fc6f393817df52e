/* SPDX-License-Identifier: MIT */
/* Look-ups in the tables; Hangul syllables by the Unicode standard's arithmetic (3.12). */

#include "engine/tokenizer/unicode.h"

#include <stdint.h>

#include "base/base.h"

/*
 * Points from @first on that map alike: all to @target (@step 0), each to the one behind the last
 * one's (1), or every other point to the second behind (2), as letters that alternate in case do.
 */
struct unicode_run {
	uint32_t first : 21;
	uint32_t length : 11;
	uint32_t target : 21;
	uint32_t step : 2;
};

#include "engine/tokenizer/unicode-tables.inc.h"

#define HANGUL_FIRST  0xac00U
#define HANGUL_COUNT  11172U
#define HANGUL_LEAD   0x1100U
#define HANGUL_VOWEL  0x1161U
#define HANGUL_TAIL   0x11a7U
#define HANGUL_VOWELS 21U
#define HANGUL_TAILS  28U

enum dn_unicode_class dn_unicode_class(uint32_t point)
{
	uint32_t low = 0, high = DN_ARRAY_SIZE(class_starts);

	/* The last start that is not above the point; the first is 0. */
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (class_starts[middle] >> 3 <= point)
			low = middle;
		else
			high = middle;
	}
	return (enum dn_unicode_class)(class_starts[low] & 7);
}

static uint32_t find_run(const struct unicode_run *runs, uint32_t n, uint32_t point)
{
	uint32_t low = 0, high = n;
	uint32_t distance;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (runs[middle].first <= point)
			low = middle;
		else
			high = middle;
	}
	if (point < runs[low].first)
		return point;
	distance = point - runs[low].first;
	if (runs[low].step == 2 && distance % 2)
		return point;
	if (distance >= (uint32_t)runs[low].length * (runs[low].step == 2 ? 2 : 1))
		return point;
	return runs[low].target + (runs[low].step ? distance : 0);
}

uint32_t dn_unicode_lower(uint32_t point)
{
	return find_run(lower_runs, DN_ARRAY_SIZE(lower_runs), point);
}

static unsigned int strip_hangul(uint32_t index, uint32_t out[DN_UNICODE_STRIP_MAX])
{
	uint32_t tail = index % HANGUL_TAILS;

	out[0] = HANGUL_LEAD + index / (HANGUL_VOWELS * HANGUL_TAILS);
	out[1] = HANGUL_VOWEL + index / HANGUL_TAILS % HANGUL_VOWELS;
	out[2] = HANGUL_TAIL + tail;
	return tail ? 3 : 2;
}

unsigned int dn_unicode_strip(uint32_t point, uint32_t out[DN_UNICODE_STRIP_MAX])
{
	if (point >= HANGUL_FIRST && point - HANGUL_FIRST < HANGUL_COUNT)
		return strip_hangul(point - HANGUL_FIRST, out);
	for (uint32_t i = 0; i < DN_ARRAY_SIZE(strip_several); i++) {
		if (strip_several[i][0] != point)
			continue;
		for (uint32_t k = 0; k < DN_UNICODE_STRIP_MAX; k++)
			out[k] = strip_several[i][k + 1];
		return out[2] ? 3 : 2;
	}
	out[0] = find_run(strip_runs, DN_ARRAY_SIZE(strip_runs), point);
	return 1;
}
