/* SPDX-License-Identifier: MIT */

#include "base/text.h"

#include <string.h>

#define REPLACEMENT 0xfffdU

/* Length of the sequence that @lead begins, 0 for a byte that begins none. */
static size_t sequence_length(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		return 2;
	if (lead >= 0xe0 && lead <= 0xef)
		return 3;
	if (lead >= 0xf0 && lead <= 0xf4)
		return 4;
	return 0;
}

/* The second byte rules out overlong forms, surrogates, and what lies above U+10FFFF. */
static bool second_byte_ok(unsigned char lead, unsigned char second)
{
	switch (lead) {
	case 0xe0:
		return second >= 0xa0 && second <= 0xbf;
	case 0xed:
		return second >= 0x80 && second <= 0x9f;
	case 0xf0:
		return second >= 0x90 && second <= 0xbf;
	case 0xf4:
		return second >= 0x80 && second <= 0x8f;
	default:
		return (second & 0xc0) == 0x80;
	}
}

/* How many of the first @size bytes fit the sequence begun by text[0]; at least 1. */
static size_t valid_prefix(const unsigned char *text, size_t size, size_t length)
{
	size_t n = 1;

	while (n < length && n < size) {
		bool ok = n == 1 ? second_byte_ok(text[0], text[1]) : (text[n] & 0xc0) == 0x80;

		if (!ok)
			break;
		n++;
	}
	return n;
}

size_t dn_utf8_decode(const char *text, size_t size, uint32_t *ret_point)
{
	const unsigned char *u = (const unsigned char *)text;
	size_t length = sequence_length(u[0]);

	if (length == 0 || valid_prefix(u, size, length) != length) {
		*ret_point = REPLACEMENT;
		return 1;
	}
	switch (length) {
	case 1:
		*ret_point = u[0];
		break;
	case 2:
		*ret_point = (u[0] & 0x1fU) << 6 | (u[1] & 0x3fU);
		break;
	case 3:
		*ret_point = (u[0] & 0x0fU) << 12 | (u[1] & 0x3fU) << 6 | (u[2] & 0x3fU);
		break;
	default:
		*ret_point = (u[0] & 0x07U) << 18 | (u[1] & 0x3fU) << 12 | (u[2] & 0x3fU) << 6 |
			     (u[3] & 0x3fU);
	}
	return length;
}

size_t dn_utf8_encode(uint32_t point, char *out)
{
	unsigned char *o = (unsigned char *)out;

	if (point < 0x80) {
		o[0] = (unsigned char)point;
		return 1;
	}
	if (point < 0x800) {
		o[0] = (unsigned char)(0xc0 | point >> 6);
		o[1] = (unsigned char)(0x80 | (point & 0x3f));
		return 2;
	}
	if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		point = REPLACEMENT;
	if (point < 0x10000) {
		o[0] = (unsigned char)(0xe0 | point >> 12);
		o[1] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
		o[2] = (unsigned char)(0x80 | (point & 0x3f));
		return 3;
	}
	o[0] = (unsigned char)(0xf0 | point >> 18);
	o[1] = (unsigned char)(0x80 | (point >> 12 & 0x3f));
	o[2] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
	o[3] = (unsigned char)(0x80 | (point & 0x3f));
	return 4;
}

bool dn_utf8_valid(const char *text, size_t size)
{
	const unsigned char *u = (const unsigned char *)text;
	size_t at = 0;

	while (at < size) {
		size_t length = sequence_length(u[at]);

		if (length == 0 || valid_prefix(u + at, size - at, length) != length)
			return false;
		at += length;
	}
	return true;
}

size_t dn_utf8_complete(const char *text, size_t size)
{
	const unsigned char *u = (const unsigned char *)text;

	for (size_t back = 1; back <= 3 && back <= size; back++) {
		size_t length = sequence_length(u[size - back]);

		if (length > back && valid_prefix(u + size - back, back, length) == back)
			return size - back;
		if (length != 0)
			break;
	}
	return size;
}

bool dn_point_is_control(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point <= 0x9f) ||
	       (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	       (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

size_t dn_text_printable(const char *text, size_t size, char *out, size_t out_size)
{
	size_t at = 0;
	size_t used = 0;

	if (out_size == 0)
		return 0;
	while (at < size) {
		uint32_t point;
		char bytes[4];
		size_t n;

		at += dn_utf8_decode(text + at, size - at, &point);
		n = dn_utf8_encode(dn_point_is_control(point) ? REPLACEMENT : point, bytes);
		if (used + n >= out_size)
			break;
		memcpy(out + used, bytes, n);
		used += n;
	}
	out[used] = '\0';
	return used;
}

int dn_hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
