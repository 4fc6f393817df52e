/* SPDX-License-Identifier: MIT */
/* Calls as a program writes them: name(key=value), and Gemma's call:name{key:value}. */

#include <string.h>

#include "base/text.h"
#include "server/chat/decode.h"

#define DEPTH_MAX 64

/* @quote: Gemma's, around texts; NULL: they are Python's. */
struct reader {
	struct dn_cursor c;
	const char *quote;
	int depth;
};

static json_t *read_value(struct reader *r);

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '.' || c == '-' || c == '+' || (unsigned char)c >= 0x80;
}

static struct dn_cursor read_word(struct reader *r)
{
	struct dn_cursor word = r->c;

	while (r->c.at < r->c.end && is_word(*r->c.at))
		r->c.at++;
	word.end = r->c.at;
	return word;
}

static bool take(struct reader *r, const char *word)
{
	dn_cursor_skip_space(&r->c);
	return dn_cursor_take(&r->c, word);
}

static bool is_at(const struct reader *r, char c)
{
	return r->c.at < r->c.end && *r->c.at == c;
}

/* \xHH, \uHHHH, \UHHHHHHHH: the cursor is behind the letter. */
static bool read_code(struct reader *r, int digits, struct dn_buffer *out)
{
	uint32_t point = 0;
	char bytes[4];

	for (int i = 0; i < digits; i++) {
		const char c = r->c.at < r->c.end ? *r->c.at++ : '\0';
		const char *at = c ? strchr("0123456789abcdef", c | 0x20) : NULL;

		if (!at)
			return false;
		point = point * 16 + (uint32_t)(at - "0123456789abcdef");
	}
	if (point == 0 || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return false;
	return dn_buffer_append(out, bytes, dn_utf8_encode(point, bytes)) == 0;
}

static bool read_escape(struct reader *r, struct dn_buffer *out)
{
	static const char letters[] = "nrtbf";
	static const char meanings[] = "\n\r\t\b\f";
	const char c = r->c.at < r->c.end ? *r->c.at++ : '\0';
	const char *at = c ? strchr(letters, c) : NULL;

	switch (c) {
	case '\0':
		return false;
	case '\n':
		return true;
	case 'x':
		return read_code(r, 2, out);
	case 'u':
		return read_code(r, 4, out);
	case 'U':
		return read_code(r, 8, out);
	default:
		return dn_buffer_append(out, at ? &meanings[at - letters] : &c, 1) == 0;
	}
}

static json_t *read_string(struct reader *r)
{
	DN_AUTO_BUFFER struct dn_buffer text = DN_BUFFER_INIT(DN_CHAT_BLOCK_MAX);
	const char quote = *r->c.at++;

	while (r->c.at < r->c.end && *r->c.at != quote) {
		const char c = *r->c.at++;

		if (c == '\\' ? !read_escape(r, &text) : dn_buffer_append(&text, &c, 1) < 0)
			return NULL;
	}
	if (r->c.at == r->c.end)
		return NULL;
	r->c.at++;
	return json_stringn(text.data ? text.data : "", text.size);
}

static json_t *read_list(struct reader *r, const char *close)
{
	json_t *list = json_array();

	while (!take(r, close)) {
		if (json_array_append_new(list, read_value(r)) < 0 ||
		    (!take(r, ",") && (dn_cursor_skip_space(&r->c), !is_at(r, close[0])))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Owned by the caller; NULL: there is none. */
static json_t *read_key(struct reader *r)
{
	struct dn_cursor word;

	dn_cursor_skip_space(&r->c);
	if (r->quote && dn_cursor_take(&r->c, r->quote))
		return dn_cursor_until(&r->c, r->quote, &word)
			       ? json_stringn(word.at, (size_t)(word.end - word.at))
			       : NULL;
	if (is_at(r, '"') || is_at(r, '\''))
		return read_string(r);
	word = read_word(r);
	return word.end > word.at ? json_stringn(word.at, (size_t)(word.end - word.at)) : NULL;
}

/* Keys and values up to @close, with @between in the middle of each. */
static json_t *read_pairs(struct reader *r, const char *between, const char *close)
{
	json_t *object = json_object();

	while (!take(r, close)) {
		json_t *key = read_key(r);
		bool good = key && take(r, between) &&
			    json_object_set_new(object, json_string_value(key), read_value(r)) == 0;

		json_decref(key);
		if (good && !take(r, ",")) {
			dn_cursor_skip_space(&r->c);
			good = is_at(r, close[0]);
		}
		if (!good) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static bool is(const struct dn_cursor *word, const char *name)
{
	return (size_t)(word->end - word->at) == strlen(name) &&
	       memcmp(word->at, name, strlen(name)) == 0;
}

static json_t *read_plain(struct reader *r)
{
	const struct dn_cursor word = read_word(r);
	const size_t size = (size_t)(word.end - word.at);
	json_t *json;

	if (size == 0)
		return NULL;
	if (is(&word, "True") || is(&word, "true"))
		return json_true();
	if (is(&word, "False") || is(&word, "false"))
		return json_false();
	if (is(&word, "None") || is(&word, "null"))
		return json_null();
	json = json_loadb(word.at, size, JSON_DECODE_ANY, NULL);
	return json || !r->quote ? json : json_stringn(word.at, size);
}

static json_t *read_value(struct reader *r)
{
	json_t *value = NULL;
	struct dn_cursor text;

	dn_cursor_skip_space(&r->c);
	if (r->c.at == r->c.end || r->depth == DEPTH_MAX)
		return NULL;
	r->depth++;
	if (r->quote && dn_cursor_take(&r->c, r->quote)) {
		if (dn_cursor_until(&r->c, r->quote, &text))
			value = json_stringn(text.at, (size_t)(text.end - text.at));
	} else if (is_at(r, '"') || is_at(r, '\'')) {
		value = read_string(r);
	} else if (dn_cursor_take(&r->c, "[")) {
		value = read_list(r, "]");
	} else if (dn_cursor_take(&r->c, "(")) {
		value = read_list(r, ")");
	} else if (dn_cursor_take(&r->c, "{")) {
		value = read_pairs(r, ":", "}");
	} else {
		value = read_plain(r);
	}
	r->depth--;
	return value;
}

/* name(key=value, …) */
static bool add_python(json_t *calls, struct reader *r)
{
	struct dn_cursor name;
	json_t *arguments;

	dn_cursor_skip_space(&r->c);
	name = read_word(r);
	/* Llama's built-in tools are objects. */
	if (name.end - name.at > 5 && memcmp(name.end - 5, ".call", 5) == 0)
		name.end -= 5;
	if (!take(r, "("))
		return false;
	arguments = read_pairs(r, "=", ")");
	return arguments && dn_calls_add(calls, name.at, (size_t)(name.end - name.at), arguments);
}

/* One, or a list of them. */
static bool add_programs(json_t *calls, struct reader *r)
{
	const bool list = take(r, "[");

	do
		if (!add_python(calls, r))
			return false;
	while (take(r, ",") || take(r, ";"));
	if (list && !take(r, "]"))
		return false;
	dn_cursor_skip_space(&r->c);
	return r->c.at == r->c.end;
}

json_t *dn_chat_decode_python(const char *block, size_t size, const json_t *tools)
{
	struct reader r = { .c = { block, block + size } };
	json_t *calls = dn_chat_decode_json(block, size, tools);

	if (calls)
		return calls;
	calls = json_array();
	return dn_calls_end(calls, add_programs(calls, &r));
}

json_t *dn_chat_decode_llama(const char *block, size_t size, const json_t *tools)
{
	struct dn_cursor c = { block, block + size };

	dn_cursor_skip_space(&c);
	return c.at < c.end && *c.at == '{' ? dn_chat_decode_json(block, size, tools)
					    : dn_chat_decode_python(block, size, tools);
}

/* call:name{key:value, …}, one or several. */
static bool add_gemma(json_t *calls, struct reader *r)
{
	do {
		struct dn_cursor name;
		json_t *arguments;

		if (!take(r, "call:"))
			return false;
		dn_cursor_skip_space(&r->c);
		name = read_word(r);
		if (!take(r, "{"))
			return false;
		arguments = read_pairs(r, ":", "}");
		if (!arguments ||
		    !dn_calls_add(calls, name.at, (size_t)(name.end - name.at), arguments))
			return false;
		dn_cursor_skip_space(&r->c);
	} while (r->c.at < r->c.end);
	return true;
}

json_t *dn_chat_decode_gemma(const char *block, size_t size, const json_t *tools)
{
	static const char escape[] = "<escape>";
	struct reader r = { .c = { block, block + size }, .quote = "<|\"|>" };
	json_t *calls = json_array();

	(void)tools;
	if (memmem(block, size, escape, sizeof(escape) - 1))
		r.quote = escape;
	return dn_calls_end(calls, add_gemma(calls, &r));
}
