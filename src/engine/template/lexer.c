/* SPDX-License-Identifier: MIT */
/*
 * The lexer: Jinja's rules of white space with trim_blocks and lstrip_blocks on, as all model
 * templates expect. The first line end after a block or comment is dropped, blanks before a
 * block or comment that begins a line are dropped, '-' at a tag drops all white space on that
 * side and '+' keeps it.
 */

#include "engine/template/lexer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "engine/template/run.h"

#define NAME_MAX_BYTES 256

void dn_tlexer_report(const struct dn_tlexer *lexer, uint32_t line, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)dn_error_set(lexer->err, EINVAL, "line %u: %s", line, text);
}

void dn_tlexer_report_memory(const struct dn_tlexer *lexer)
{
	if (lexer->arena->full)
		(void)dn_error_set(lexer->err, E2BIG, "the template needs more than %zu bytes",
				   lexer->arena->max);
	else
		(void)dn_error_memory(lexer->err, "a template", lexer->arena->total);
}

int dn_tlexer_init(struct dn_tlexer *lexer, const char *source, size_t size, struct dn_arena *arena,
		   struct dn_error *err)
{
	char *copy;
	size_t n = 0;

	*lexer = (struct dn_tlexer){ .line = 1, .line_start = true, .arena = arena, .err = err };
	copy = dn_arena_alloc(arena, size + 1);
	if (!copy)
		return dn_tlexer_no_memory(lexer);
	for (size_t i = 0; i < size; i++) {
		if (source[i] == '\r' && i + 1 < size && source[i + 1] == '\n')
			continue;
		copy[n++] = source[i] == '\r' ? '\n' : source[i];
	}
	if (n > 0 && copy[n - 1] == '\n')
		n--;
	copy[n] = '\0';
	lexer->source = copy;
	lexer->size = n;
	return 0;
}

static uint32_t line_at(struct dn_tlexer *lexer, size_t at)
{
	for (; lexer->counted < at; lexer->counted++)
		lexer->line += lexer->source[lexer->counted] == '\n';
	return lexer->line;
}

static bool starts(const struct dn_tlexer *lexer, size_t at, const char *text)
{
	size_t n = strlen(text);

	return lexer->size - at >= n && memcmp(lexer->source + at, text, n) == 0;
}

/* The bytes of the white space at @at; 0 when there is none. */
static size_t space_at(const struct dn_tlexer *lexer, size_t at)
{
	uint32_t point;
	size_t n;

	if (at >= lexer->size)
		return 0;
	n = dn_utf8_decode(lexer->source + at, lexer->size - at, &point);
	return dn_point_is_space(point) ? n : 0;
}

static size_t skip_space(const struct dn_tlexer *lexer, size_t at)
{
	size_t n;

	while ((n = space_at(lexer, at)) > 0)
		at += n;
	return at;
}

/* The end of [begin, end) without the white space at its back. */
static size_t strip_back(const struct dn_tlexer *lexer, size_t begin, size_t end)
{
	while (end > begin) {
		size_t at = end - 1;

		while (at > begin && (lexer->source[at] & 0xc0) == 0x80)
			at--;
		if (space_at(lexer, at) != end - at)
			break;
		end = at;
	}
	return end;
}

/* The end of text before a tag that begins at @end: @sign is what follows the tag's "{%". */
static size_t text_end(const struct dn_tlexer *lexer, size_t begin, size_t end, char sign,
		       bool print)
{
	size_t line = end;

	if (sign == '-')
		return strip_back(lexer, begin, end);
	if (sign == '+' || print)
		return end;
	while (line > begin && lexer->source[line - 1] != '\n')
		line--;
	if (line == begin && !lexer->line_start)
		return end;
	return strip_back(lexer, line, end) == line ? line : end;
}

/* Where the source goes on after a tag's closing mark; @minus: it was "-%}", @trim: drop a \n */
static void leave(struct dn_tlexer *lexer, size_t at, bool minus, bool trim)
{
	if (minus)
		at = skip_space(lexer, at);
	else if (trim && at < lexer->size && lexer->source[at] == '\n')
		at++;
	lexer->line_start = lexer->source[at - 1] == '\n';
	lexer->at = at;
	lexer->inside = false;
}

/* Passes over "{# … #}". */
static int skip_comment(struct dn_tlexer *lexer, size_t at)
{
	const char *end = memmem(lexer->source + at + 2, lexer->size - at - 2, "#}", 2);
	size_t close;

	if (!end)
		return dn_tlexer_fail(lexer, line_at(lexer, at),
				      "a comment is not closed: '#}' is missing");
	close = (size_t)(end - lexer->source);
	if (close > at + 2 && lexer->source[close - 1] == '-')
		leave(lexer, close + 2, true, false);
	else
		leave(lexer, close + 2, false, close == at + 2 || lexer->source[close - 1] != '+');
	return 0;
}

/* Whether "{% word %}" begins at @at, the sign behind "{%", that before "%}", and its end. */
static bool tag_of_word(const struct dn_tlexer *lexer, size_t at, const char *word, char *ret_sign,
			char *ret_close, size_t *ret_end)
{
	char sign = 0;

	if (!starts(lexer, at, "{%"))
		return false;
	at += 2;
	if (at < lexer->size && (lexer->source[at] == '-' || lexer->source[at] == '+'))
		sign = lexer->source[at++];
	at = skip_space(lexer, at);
	if (!starts(lexer, at, word))
		return false;
	at = skip_space(lexer, at + strlen(word));
	*ret_close = 0;
	if (at < lexer->size && (lexer->source[at] == '-' || lexer->source[at] == '+'))
		*ret_close = lexer->source[at++];
	if (!starts(lexer, at, "%}"))
		return false;
	*ret_sign = sign;
	*ret_end = at + 2;
	return true;
}

static int raw_text(struct dn_tlexer *lexer, size_t begin, struct dn_ttoken *ret)
{
	uint32_t line = line_at(lexer, lexer->at);
	char sign;
	char close;
	size_t end;

	for (size_t at = begin; at < lexer->size; at++) {
		const char *next = memmem(lexer->source + at, lexer->size - at, "{%", 2);

		if (!next)
			break;
		at = (size_t)(next - lexer->source);
		if (!tag_of_word(lexer, at, "endraw", &sign, &close, &end))
			continue;
		*ret = (struct dn_ttoken){ .type = DN_TOK_TEXT, .line = line };
		ret->text = lexer->source + begin;
		ret->size = text_end(lexer, begin, at, sign, false) - begin;
		leave(lexer, end, close == '-', close == 0);
		return 0;
	}
	return dn_tlexer_fail(lexer, line, "raw is not closed: '{%% endraw %%}' is missing");
}

/* Enters the tag at @at; without text before it, gives the token that opens it. */
static int enter(struct dn_tlexer *lexer, size_t at, bool print, struct dn_ttoken *ret)
{
	size_t after = at + 2;

	if (after < lexer->size && (lexer->source[after] == '-' || lexer->source[after] == '+'))
		after++;
	*ret = (struct dn_ttoken){ .type = print ? DN_TOK_PRINT_BEGIN : DN_TOK_BLOCK_BEGIN,
				   .line = line_at(lexer, at) };
	lexer->at = after;
	lexer->inside = true;
	lexer->printing = print;
	lexer->open = 0;
	return 0;
}

/* Outside tags: text up to the next tag, or the tag's opening, or the end. */
static int next_outside(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	for (;;) {
		size_t begin = lexer->at;
		size_t at = begin;
		size_t end;
		char sign;
		char close;

		while (at < lexer->size) {
			const char *brace = memchr(lexer->source + at, '{', lexer->size - at);

			at = brace ? (size_t)(brace - lexer->source) : lexer->size;
			if (starts(lexer, at, "{%") || starts(lexer, at, "{{") ||
			    starts(lexer, at, "{#"))
				break;
			at = DN_MIN(at + 1, lexer->size);
		}
		end = at;
		if (at < lexer->size) {
			sign = at + 2 < lexer->size ? lexer->source[at + 2] : 0;
			end = text_end(lexer, begin, at, sign, lexer->source[at + 1] == '{');
		}
		if (end > begin) {
			*ret = (struct dn_ttoken){ .type = DN_TOK_TEXT,
						   .line = line_at(lexer, begin),
						   .text = lexer->source + begin,
						   .size = end - begin };
			/* What was stripped is stripped again, from the tag's side. */
			lexer->line_start = at > begin && lexer->source[at - 1] == '\n';
			lexer->at = at;
			return 0;
		}
		lexer->at = at;
		if (at == lexer->size) {
			*ret = (struct dn_ttoken){ .type = DN_TOK_END, .line = line_at(lexer, at) };
			return 0;
		}
		if (lexer->source[at + 1] == '#') {
			int r = skip_comment(lexer, at);

			if (r < 0)
				return r;
			continue;
		}
		if (tag_of_word(lexer, at, "raw", &sign, &close, &end) && close != '+') {
			if (close == '-')
				end = skip_space(lexer, end);
			lexer->line_start = lexer->source[end - 1] == '\n';
			return raw_text(lexer, end, ret);
		}
		return enter(lexer, at, lexer->source[at + 1] == '{', ret);
	}
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

/* Digits with single underscores between them; the end of them. */
static size_t digits_end(const struct dn_tlexer *lexer, size_t at)
{
	while (at < lexer->size &&
	       (is_digit(lexer->source[at]) || (lexer->source[at] == '_' && at + 1 < lexer->size &&
						is_digit(lexer->source[at + 1]))))
		at++;
	return at;
}

/* The end of a fraction or exponent behind the digits that end at @at; @at when it is neither. */
static size_t float_end(const struct dn_tlexer *lexer, size_t at)
{
	size_t end = at;
	size_t exponent;

	if (at + 1 < lexer->size && lexer->source[at] == '.' && is_digit(lexer->source[at + 1]))
		end = digits_end(lexer, at + 1);
	if (end < lexer->size && (lexer->source[end] | 0x20) == 'e') {
		exponent = end + 1;
		if (exponent < lexer->size &&
		    (lexer->source[exponent] == '+' || lexer->source[exponent] == '-'))
			exponent++;
		if (exponent < lexer->size && is_digit(lexer->source[exponent]))
			end = digits_end(lexer, exponent);
	}
	return end;
}

static int number(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	size_t begin = lexer->at;
	size_t end = digits_end(lexer, begin);
	size_t fraction = float_end(lexer, end);
	bool after_dot = begin > 0 && lexer->source[begin - 1] == '.';
	int base = 10;
	bool ok = false;

	if (lexer->source[begin] == '0' && begin + 1 < lexer->size &&
	    strchr("xXoObB", lexer->source[begin + 1]) != NULL && lexer->source[begin + 1]) {
		base = 0;
		end = begin + 2;
		while (end < lexer->size &&
		       (is_digit(lexer->source[end]) ||
			(is_name(lexer->source[end]) && (unsigned char)lexer->source[end] < 0x80)))
			end++;
	} else if (fraction > end && !after_dot) {
		ret->type = DN_TOK_FLOAT;
		lexer->at = fraction;
		ok = dn_text_to_float(lexer->source + begin, fraction - begin, &ret->f);
		return ok ? 0 : dn_tlexer_fail(lexer, ret->line, "bad number");
	}
	ret->type = DN_TOK_INT;
	lexer->at = end;
	if (!dn_text_to_int(lexer->source + begin, end - begin, base, &ret->i))
		return dn_tlexer_fail(lexer, ret->line, "'%.*s' is not an integer of 64 bits",
				      (int)DN_MIN(end - begin, (size_t)40), lexer->source + begin);
	return 0;
}

/* A code point of @n hexadecimal digits at @at, as UTF-8 to @out; bytes written, or 0. */
static size_t hex_escape(const struct dn_tlexer *lexer, size_t at, size_t n, char *out)
{
	uint32_t point = 0;

	if (lexer->size - at < n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		char c = lexer->source[at + i];
		char low = (char)(c | 0x20);

		if (!is_digit(c) && !(low >= 'a' && low <= 'f'))
			return 0;
		point = point << 4 | (uint32_t)(is_digit(c) ? c - '0' : low - 'a' + 10);
	}
	if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	return dn_utf8_encode(point, out);
}

/* One escape at @at (behind the backslash): its bytes to @out; the new position, 0 when bad. */
static size_t escape(const struct dn_tlexer *lexer, size_t at, char *out, size_t *ret_n)
{
	static const char from[] = "\\'\"abfnrtv";
	static const char to[] = "\\'\"\a\b\f\n\r\t\v";
	char c = lexer->source[at];
	const char *simple = c ? strchr(from, c) : NULL;
	size_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;

	*ret_n = 1;
	if (c == '\n') {
		*ret_n = 0;
		return at + 1;
	}
	if (simple) {
		out[0] = to[simple - from];
		return at + 1;
	}
	if (n > 0) {
		*ret_n = hex_escape(lexer, at + 1, n, out);
		return *ret_n > 0 ? at + 1 + n : 0;
	}
	if (c >= '0' && c <= '7') {
		uint32_t point = 0;
		size_t end = at;

		while (end < at + 3 && end < lexer->size && lexer->source[end] >= '0' &&
		       lexer->source[end] <= '7')
			point = point * 8 + (uint32_t)(lexer->source[end++] - '0');
		*ret_n = dn_utf8_encode(point, out);
		return end;
	}
	if (c == 'N')
		return 0;
	/* Anything else stays, with its backslash. */
	out[0] = '\\';
	return at;
}

static int string(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	char quote = lexer->source[lexer->at];
	size_t begin = lexer->at + 1;
	size_t end = begin;
	char *text;
	size_t n = 0;

	while (end < lexer->size && lexer->source[end] != quote)
		end += lexer->source[end] == '\\' ? 2 : 1;
	if (end >= lexer->size)
		return dn_tlexer_fail(lexer, ret->line, "a string is not closed");
	/* No escape is shorter than what it stands for. */
	text = dn_arena_alloc(lexer->arena, end - begin + 4);
	if (!text)
		return dn_tlexer_no_memory(lexer);
	for (size_t at = begin; at < end;) {
		size_t made;

		if (lexer->source[at] != '\\') {
			text[n++] = lexer->source[at++];
			continue;
		}
		at = escape(lexer, at + 1, text + n, &made);
		if (at == 0 || at > end)
			return dn_tlexer_fail(lexer, ret->line, "a string has a bad escape");
		n += made;
	}
	ret->type = DN_TOK_STRING;
	ret->text = text;
	ret->size = n;
	lexer->at = end + 1;
	return 0;
}

/* Whether the tag ends here; leaves it when it does. */
static bool tag_end(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	const char *close = lexer->printing ? "}}" : "%}";
	size_t at = lexer->at;
	char sign = lexer->source[at];
	bool signed_end =
		(sign == '-' || (sign == '+' && !lexer->printing)) && at + 1 < lexer->size;

	if (lexer->open > 0)
		return false;
	if (signed_end && starts(lexer, at + 1, close))
		at++;
	else if (starts(lexer, at, close))
		sign = 0;
	else
		return false;
	ret->type = lexer->printing ? DN_TOK_PRINT_END : DN_TOK_BLOCK_END;
	leave(lexer, at + 2, sign == '-', !lexer->printing && sign == 0);
	return true;
}

static int operator(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	static const char *const doubles[] = { "//", "**", "==", "!=", ">=", "<=" };
	char c = lexer->source[lexer->at];

	ret->type = DN_TOK_OP;
	ret->text = lexer->source + lexer->at;
	ret->size = 1;
	for (size_t i = 0; i < DN_ARRAY_SIZE(doubles); i++) {
		if (starts(lexer, lexer->at, doubles[i]))
			ret->size = 2;
	}
	if (ret->size == 1 && (c == '\0' || !strchr("+-/*%~[](){}><=.:|,;", c)))
		return dn_tlexer_fail(lexer, ret->line, "unexpected character '%.*s'",
				      (unsigned char)c < 0x80 ? 1 : 4, ret->text);
	if (c == '(' || c == '[' || c == '{')
		lexer->open++;
	else if ((c == ')' || c == ']' || c == '}') && lexer->open > 0)
		lexer->open--;
	lexer->at += ret->size;
	return 0;
}

static int next_inside(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	size_t at = skip_space(lexer, lexer->at);
	char c;

	lexer->at = at;
	*ret = (struct dn_ttoken){ .line = line_at(lexer, at) };
	if (at >= lexer->size)
		return dn_tlexer_fail(lexer, ret->line, "a tag is not closed: '%s' is missing",
				      lexer->printing ? "}}" : "%}");
	if (tag_end(lexer, ret))
		return 0;
	c = lexer->source[at];
	if (is_digit(c))
		return number(lexer, ret);
	if (c == '"' || c == '\'')
		return string(lexer, ret);
	if (!is_name(c))
		return operator(lexer, ret);
	while (at < lexer->size && (is_name(lexer->source[at]) || is_digit(lexer->source[at])))
		at++;
	ret->type = DN_TOK_NAME;
	ret->text = lexer->source + lexer->at;
	ret->size = at - lexer->at;
	lexer->at = at;
	if (ret->size > NAME_MAX_BYTES)
		return dn_tlexer_fail(lexer, ret->line, "a name is longer than %d bytes",
				      NAME_MAX_BYTES);
	return 0;
}

int dn_tlexer_next(struct dn_tlexer *lexer, struct dn_ttoken *ret)
{
	return lexer->inside ? next_inside(lexer, ret) : next_outside(lexer, ret);
}
