/* SPDX-License-Identifier: MIT */
/* Text that comes from outside: UTF-8 without surprises, safe to print. */
#ifndef DUNLIN_BASE_TEXT_H
#define DUNLIN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * dn_utf8_decode() - the code point at the head of a text
 * @text: bytes, not NUL-terminated; borrowed
 * @size: bytes at @text, at least 1
 * @ret_point: the code point; U+FFFD when the sequence is not valid
 *
 * Strict as of RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Return: bytes consumed (1 to 4); 1 on an invalid byte.
 */
size_t dn_utf8_decode(const char *text, size_t size, uint32_t *ret_point);

/* Writes @point as UTF-8; @out has room for 4 bytes. Returns the bytes written. */
size_t dn_utf8_encode(uint32_t point, char *out);

/* Whether all of @text is valid UTF-8. */
bool dn_utf8_valid(const char *text, size_t size);

/*
 * How many bytes at the head of @text are complete: everything but a last sequence that
 * further bytes could still complete. What streaming output may show.
 */
size_t dn_utf8_complete(const char *text, size_t size);

/**
 * dn_text_printable() - make bytes from outside safe for a line on a terminal
 * @out: NUL-terminated, cut at a code point's border when @out_size is short
 *
 * Control characters (C0, DEL, C1, line separators, bidirectional overrides) and invalid bytes
 * become U+FFFD, so that no file can move the cursor, set a title or hide text.
 *
 * Return: bytes written, without the NUL.
 */
size_t dn_text_printable(const char *text, size_t size, char *out, size_t out_size);

/* 0 to 15 for a hexadecimal digit of either case, else -1. */
int dn_hex_value(char c);

/* Whether a terminal would act on @point instead of showing it. */
bool dn_point_is_control(uint32_t point);

#endif /* DUNLIN_BASE_TEXT_H */
