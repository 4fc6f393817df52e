/* SPDX-License-Identifier: MIT */
/*
 * GPT-2's byte alphabet ("Language Models are Unsupervised Multitask Learners", encoder.py): bytes
 * that Latin-1 prints stand for themselves, the other 68 are U+0100 to U+0143 in their order. So a
 * vocabulary is text without spaces or control characters, and every byte has a spelling.
 */

#include "engine/tokenizer/tokenizer-internal.h"

/* Bytes that are no printable character: 0x00-0x20, 0x7f-0xa0, 0xad. */
static bool alphabet_is_moved(uint32_t byte)
{
	return byte <= 0x20 || (byte >= 0x7f && byte <= 0xa0) || byte == 0xad;
}

size_t dn_alphabet_spell(uint8_t byte, char out[2])
{
	uint32_t point = byte;

	if (byte <= 0x20)
		point = 0x100U + byte;
	else if (byte >= 0x7f && byte <= 0xa0)
		point = 0x121U + (byte - 0x7fU);
	else if (byte == 0xad)
		point = 0x143;
	if (point < 0x80) {
		out[0] = (char)point;
		return 1;
	}
	out[0] = (char)(0xc0 | point >> 6);
	out[1] = (char)(0x80 | (point & 0x3f));
	return 2;
}

/* The byte that a code point spells, or -1. */
static int alphabet_byte(uint32_t point)
{
	if (point < 0x100)
		return alphabet_is_moved(point) ? -1 : (int)point;
	if (point <= 0x120)
		return (int)(point - 0x100);
	if (point <= 0x142)
		return (int)(point - 0x121 + 0x7f);
	return point == 0x143 ? 0xad : -1;
}

size_t dn_alphabet_decode(const char *text, size_t size, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < size;) {
		uint8_t c = (uint8_t)text[i];
		int byte = -1;

		/* Two-byte sequences hold U+0080 to U+07FF; U+0143 is the last of the alphabet. */
		if (c >= 0xc2 && c <= 0xc5 && i + 1 < size && ((uint8_t)text[i + 1] & 0xc0) == 0x80)
			byte = alphabet_byte((c & 0x1fU) << 6 | ((uint8_t)text[i + 1] & 0x3fU));
		if (byte >= 0) {
			out[n++] = (char)byte;
			i += 2;
		} else {
			out[n++] = text[i++];
		}
	}
	return n;
}
