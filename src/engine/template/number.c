/* SPDX-License-Identifier: MIT */
/* Texts to numbers, as Python's int() and float() read them. */

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "engine/template/run.h"

static void trim(const char **text, size_t *size)
{
	uint32_t point;

	while (*size > 0) {
		size_t n = dn_utf8_decode(*text, *size, &point);

		if (!dn_point_is_space(point))
			break;
		*text += n;
		*size -= n;
	}
	while (*size > 0 && dn_point_is_space((unsigned char)(*text)[*size - 1]) &&
	       (unsigned char)(*text)[*size - 1] < 0x80)
		(*size)--;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* "0x" and the like, where @base is that or 0; the base to use, 0 when the text is bad. */
static int take_prefix(const char **text, size_t *size, int base)
{
	static const struct {
		char letter;
		int base;
	} prefixes[] = { { 'x', 16 }, { 'o', 8 }, { 'b', 2 } };

	for (size_t i = 0; i < DN_ARRAY_SIZE(prefixes); i++) {
		if (*size < 2 || (*text)[0] != '0' || ((*text)[1] | 0x20) != prefixes[i].letter ||
		    (base != 0 && base != prefixes[i].base))
			continue;
		*text += 2;
		*size -= 2;
		if (*size > 0 && (*text)[0] == '_') {
			(*text)++;
			(*size)--;
		}
		return prefixes[i].base;
	}
	return base == 0 ? 10 : base;
}

bool dn_text_to_int(const char *text, size_t size, int base, int64_t *ret)
{
	bool negative = false;
	bool digit = false;
	int64_t value = 0;

	trim(&text, &size);
	if (size > 0 && (*text == '-' || *text == '+')) {
		negative = *text == '-';
		text++;
		size--;
	}
	base = take_prefix(&text, &size, base);
	for (size_t i = 0; i < size; i++) {
		if (text[i] == '_' && digit) {
			digit = false;
			continue;
		}
		if (digit_of(text[i]) >= base || !dn_mul_ok(value, base, &value) ||
		    !dn_add_ok(value, negative ? -digit_of(text[i]) : digit_of(text[i]), &value))
			return false;
		digit = true;
	}
	if (!digit)
		return false;
	*ret = value;
	return true;
}

static bool special(const char *text, size_t size, double *ret)
{
	static const struct {
		const char *name;
		double value;
	} names[] = { { "inf", INFINITY }, { "infinity", INFINITY }, { "nan", NAN } };

	for (size_t i = 0; i < DN_ARRAY_SIZE(names); i++) {
		if (strlen(names[i].name) == size && strncasecmp(text, names[i].name, size) == 0) {
			*ret = names[i].value;
			return true;
		}
	}
	return false;
}

/* digits [. digits] [e [sign] digits], underscores between digits; copied without them. */
static bool copy_decimal(const char *text, size_t size, char *out)
{
	char last = 0;
	bool point = false;
	bool exponent = false;
	bool digits = false;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		bool digit = c >= '0' && c <= '9';

		if (c == '_') {
			if (!(last >= '0' && last <= '9') || i + 1 == size ||
			    digit_of(text[i + 1]) > 9)
				return false;
			last = c;
			continue;
		}
		if (c == '.' && !point && !exponent)
			point = true;
		else if ((c | 0x20) == 'e' && digits && !exponent)
			exponent = true;
		else if ((c == '+' || c == '-') && (last | 0x20) == 'e')
			;
		else if (!digit)
			return false;
		digits |= digit;
		last = c;
		*out++ = c == '.' ? localeconv()->decimal_point[0] : c;
	}
	*out = '\0';
	return digits && (last == '.' || digit_of(last) <= 9);
}

bool dn_text_to_float(const char *text, size_t size, double *ret)
{
	bool negative = false;
	char copy[512];
	double value;

	trim(&text, &size);
	if (size > 0 && (*text == '-' || *text == '+')) {
		negative = *text == '-';
		text++;
		size--;
	}
	if (size == 0 || size >= sizeof(copy))
		return false;
	if (!special(text, size, &value)) {
		if (!copy_decimal(text, size, copy))
			return false;
		value = strtod(copy, NULL);
	}
	*ret = negative ? -value : value;
	return true;
}
