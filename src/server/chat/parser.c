/* SPDX-License-Identifier: MIT */
/*
 * An answer as it comes, taken apart. Text is given on at once, but for what may be the beginning of
 * a marker; a block of calls is held until its end, for only then it is known to be one.
 */

#include "server/chat/chat.h"

#include <stdlib.h>
#include <string.h>

enum state {
	IN_TEXT = 0,
	IN_REASONING,
	IN_BLOCK,      /* @at is at its marker, or at @lead bytes of white space before it */
	IN_BARE_BLOCK, /* there is none */
};

enum outcome {
	GIVEN,	/* a piece */
	HUNGRY, /* more has to come */
	AGAIN,	/* another state */
};

void dn_chat_parser_begin(struct dn_chat_parser *p, const struct dn_chat_form *form, json_t *tools,
			  uint32_t calls_max, bool in_reasoning)
{
	p->form = *form;
	p->tools = json_incref(tools);
	p->calls_max = calls_max;
	p->held.max = 2 * DN_CHAT_BLOCK_MAX;
	p->state = in_reasoning && form->think_close ? IN_REASONING : IN_TEXT;
	p->trim = p->state == IN_REASONING;
}

bool dn_chat_parser_in_reasoning(const struct dn_chat_parser *p)
{
	return p->state == IN_REASONING;
}

void dn_chat_parser_done(struct dn_chat_parser *p)
{
	dn_buffer_done(&p->held);
	json_decref(p->tools);
	json_decref(p->calls);
	free(p->arguments);
	memset(p, 0, sizeof(*p));
}

int dn_chat_parser_feed(struct dn_chat_parser *p, const char *text, size_t size)
{
	const size_t left = p->held.size - p->at;

	if (p->at > 0) {
		memmove(p->held.data, p->held.data + p->at, left);
		p->held.size = left;
		p->at = 0;
	}
	return dn_buffer_append(&p->held, text, size);
}

void dn_chat_parser_end(struct dn_chat_parser *p)
{
	p->ended = true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t without_space(const char *text, size_t size)
{
	while (size > 0 && is_space(text[size - 1]))
		size--;
	return size;
}

static enum outcome give(struct dn_chat_parser *p, enum dn_chat_part part, size_t size,
			 struct dn_chat_piece *piece)
{
	const char *text = p->held.data + p->at;

	*piece = (struct dn_chat_piece){ .part = part, .text = text, .size = size };
	p->at += size;
	if (part == DN_CHAT_TEXT && without_space(text, size) > 0)
		p->said = true;
	return GIVEN;
}

/* Of the end of a text, the bytes that may be the beginning of @marker. */
static size_t begun(const char *text, size_t size, const char *marker)
{
	size_t n = marker ? DN_MIN(strlen(marker) - 1, size) : 0;

	while (n > 0 && memcmp(text + size - n, marker, n) != 0)
		n--;
	return n;
}

static const char *find(const char *text, size_t size, const char *marker)
{
	return marker ? memmem(text, size, marker, strlen(marker)) : NULL;
}

/* What may be given of a text in which no marker is, without those that may come. */
static size_t settled(const struct dn_chat_parser *p, const char *text, size_t size,
		      const char *one, const char *other)
{
	const size_t held = DN_MAX(begun(text, size, one), begun(text, size, other));

	if (p->ended || (!one && !other))
		return size;
	return without_space(text, size - held);
}

static bool skip_space(struct dn_chat_parser *p)
{
	while (p->at < p->held.size && is_space(p->held.data[p->at]))
		p->at++;
	return p->at < p->held.size;
}

static void enter(struct dn_chat_parser *p, enum state state, bool trim)
{
	p->state = (int)state;
	p->trim = trim;
	p->scanned = 0;
	p->lead = 0;
}

/*
 * Of an object that has begun, whether it may be a call, as far as its first name tells: JSON that
 * is none need not wait for its end.
 */
static bool may_be_call(const char *text, size_t size)
{
	static const char *const names[] = { "name", "function", "type", "parameters",
					     "arguments" };
	size_t at = 1;
	size_t end;

	while (at < size && is_space(text[at]))
		at++;
	if (at == size)
		return true;
	if (text[at] != '"')
		return false;
	for (end = ++at; end < size && text[end] != '"';)
		end++;
	for (size_t i = 0; i < DN_ARRAY_SIZE(names); i++) {
		const size_t n = strlen(names[i]);

		if (end < size ? end - at == n && memcmp(text + at, names[i], n) == 0
			       : end - at <= n && memcmp(text + at, names[i], end - at) == 0)
			return true;
	}
	return false;
}

void dn_chat_parser_expect_json(struct dn_chat_parser *p, bool forced)
{
	p->forced = forced;
	p->form.decode = dn_chat_decode_json;
	p->form.bare = true;
	p->form.call_open = NULL;
	if (forced && p->state == IN_TEXT)
		enter(p, IN_BARE_BLOCK, false);
}

/* What is held from here on, behind white space that is to be left out; false where there is none yet. */
static bool look(struct dn_chat_parser *p, const char **ret_text, size_t *ret_size)
{
	if (p->trim && !skip_space(p))
		return false;
	p->trim = false;
	*ret_text = p->held.data + p->at;
	*ret_size = p->held.size - p->at;
	return true;
}

static enum outcome next_text(struct dn_chat_parser *p, struct dn_chat_piece *piece)
{
	const char *think = !p->said || p->form.control ? p->form.think_open : NULL;
	const char *call = p->tools ? p->form.call_open : NULL;
	const char *text;
	const char *at;
	const char *thought;
	size_t size;

	if (!look(p, &text, &size))
		return HUNGRY;
	if (p->tools && p->form.bare && !p->said) {
		const size_t space = strspn(text, " \n\t\r");

		if (space < size && text[space] == '{' && may_be_call(text + space, size - space)) {
			enter(p, IN_BARE_BLOCK, false);
			return AGAIN;
		}
	}
	at = find(text, size, call);
	thought = find(text, size, think);
	/* Unless a token says so, reasoning is before all text: behind it, its marker is but a word. */
	if (thought && !p->form.control && without_space(text, (size_t)(thought - text)) > 0)
		thought = NULL;
	if (thought && (!at || thought < at))
		at = thought;
	else
		thought = NULL;
	if (at) {
		size = without_space(text, (size_t)(at - text));
		if (size > 0)
			return give(p, DN_CHAT_TEXT, size, piece);
		if (thought)
			p->at += (size_t)(at - text) + strlen(think);
		enter(p, thought ? IN_REASONING : IN_BLOCK, thought != NULL);
		if (!thought)
			p->lead = (size_t)(at - text);
		return AGAIN;
	}
	size = settled(p, text, size, call, think);
	return size > 0 ? give(p, DN_CHAT_TEXT, size, piece) : HUNGRY;
}

static enum outcome next_reasoning(struct dn_chat_parser *p, struct dn_chat_piece *piece)
{
	const char *text;
	const char *end;
	size_t size;

	if (!look(p, &text, &size))
		return HUNGRY;
	end = find(text, size, p->form.think_close);
	if (end) {
		size = without_space(text, (size_t)(end - text));
		if (size > 0)
			return give(p, DN_CHAT_REASONING, size, piece);
		p->at += (size_t)(end - text) + strlen(p->form.think_close);
		enter(p, p->forced ? IN_BARE_BLOCK : IN_TEXT, true);
		return AGAIN;
	}
	size = settled(p, text, size, p->form.think_close, NULL);
	return size > 0 ? give(p, DN_CHAT_REASONING, size, piece) : HUNGRY;
}

/* Whether a tool of that name was offered. */
static bool is_offered(const json_t *tools, const char *name)
{
	const json_t *tool;
	size_t i;

	json_array_foreach(tools, i, tool)
	{
		const char *known = json_string_value(
			json_object_get(json_object_get(tool, "function"), "name"));

		if (known && name && strcmp(known, name) == 0)
			return true;
	}
	return false;
}

/* A block without a marker may be anything: its names have to be known. */
static bool is_call(const struct dn_chat_parser *p, const json_t *calls)
{
	const json_t *call;
	size_t i;

	if (!calls)
		return false;
	if (p->state != IN_BARE_BLOCK && !p->offered_only)
		return true;
	json_array_foreach(calls, i, call) if (!is_offered(p->tools,
							   json_string_value(json_object_get(
								   call, "name")))) return false;
	return true;
}

/*
 * What began a block that is none is a text like others; what comes behind it is looked at again.
 */
static enum outcome give_up(struct dn_chat_parser *p, size_t open, struct dn_chat_piece *piece)
{
	enter(p, IN_TEXT, false);
	p->said = true; /* what comes next may be no bare block */
	return give(p, DN_CHAT_TEXT, open, piece);
}

/* @size: of the block with its markers, of which @open and @close bytes are these. */
static enum outcome end_block(struct dn_chat_parser *p, size_t size, size_t open, size_t close,
			      struct dn_chat_piece *piece)
{
	const char *text = p->held.data + p->at;
	json_t *calls = NULL;

	/* Neither names nor arguments have it. */
	if (!memchr(text, '\0', size))
		calls = p->form.decode(text + open, size - open - close, p->tools);

	if (!is_call(p, calls)) {
		json_decref(calls);
		return give_up(p, DN_MAX(open, (size_t)1), piece);
	}
	p->at += size;
	p->calls = calls;
	p->next_call = 0;
	enter(p, IN_TEXT, true);
	return AGAIN;
}

/* Where the JSON values end that a block without markers begins with. */
static size_t values_end(const char *text, size_t size)
{
	size_t end = 0;
	json_t *value;

	do {
		json_error_t error;
		size_t at = end;

		while (at < size && (is_space(text[at]) || text[at] == ';' || text[at] == ','))
			at++;
		value = json_loadb(text + at, size - at, JSON_DISABLE_EOF_CHECK, &error);
		if (value)
			end = at + (size_t)error.position;
		json_decref(value);
	} while (value && end < size);
	return end;
}

static enum outcome next_bare_block(struct dn_chat_parser *p, struct dn_chat_piece *piece)
{
	const char *text = p->held.data + p->at;
	const size_t size = p->held.size - p->at;
	size_t begin = 0;

	while (begin < size && is_space(text[begin]))
		begin++;
	if (size > DN_CHAT_BLOCK_MAX)
		return give_up(p, size, piece);
	if (!p->forced && begin < size && !may_be_call(text + begin, size - begin))
		return give_up(p, begin + 1, piece);
	if (!p->ended)
		return HUNGRY;
	return end_block(p, values_end(text, size), 0, 0, piece);
}

/* Whether the end of JSON @text is within one of its strings. */
static bool ends_in_string(const char *text, size_t size)
{
	bool in_string = false;
	size_t at = 0;

	while (at < size && is_space(text[at]))
		at++;
	if (at == size || (text[at] != '{' && text[at] != '['))
		return false;
	for (; at < size; at++) {
		if (in_string && text[at] == '\\')
			at++;
		else if (text[at] == '"')
			in_string = !in_string;
	}
	return in_string;
}

/* Its marker, which arguments may have too; NULL: it is not there yet. */
static const char *block_end(const struct dn_chat_parser *p, const char *text, size_t size,
			     size_t open)
{
	const char *close = p->form.call_close;
	const char *first = NULL;
	const char *at = text + DN_MAX(p->scanned, open);

	while ((at = find(at, (size_t)(text + size - at), close)) != NULL) {
		if (!first)
			first = at;
		if (!ends_in_string(text + open, (size_t)(at - text) - open))
			return at;
		at += strlen(close);
	}
	return p->ended ? first : NULL;
}

static enum outcome next_block(struct dn_chat_parser *p, struct dn_chat_piece *piece)
{
	const char *close = p->form.call_close;
	const size_t open = p->lead + strlen(p->form.call_open);
	const char *text = p->held.data + p->at;
	const size_t size = p->held.size - p->at;
	const char *end = block_end(p, text, size, open);

	if (end)
		return end_block(p, (size_t)(end - text) + strlen(close), open, strlen(close),
				 piece);
	if (p->ended)
		return end_block(p, size, open, 0, piece);
	if (size > DN_CHAT_BLOCK_MAX)
		return give_up(p, size, piece);
	p->scanned = close && size > strlen(close) + open ? size - strlen(close) : 0;
	return HUNGRY;
}

/* The fewest digits that say the same; owned by the caller. */
static char *dump_arguments(const json_t *arguments)
{
	char *text = NULL;
	bool same = false;

	for (size_t digits = 15; !same && digits <= 17; digits++) {
		json_t *back;

		free(text);
		text = json_dumps(arguments,
				  JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
		back = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
		same = json_equal(back, arguments);
		json_decref(back);
	}
	return text;
}

/* Of the calls that were found. Return: false where there is none left. */
static bool next_call(struct dn_chat_parser *p, struct dn_chat_piece *piece)
{
	while (p->next_call < json_array_size(p->calls)) {
		const json_t *call = json_array_get(p->calls, p->next_call++);

		free(p->arguments);
		p->arguments = dump_arguments(json_object_get(call, "arguments"));
		if (!p->arguments || (p->calls_max > 0 && p->n_calls >= p->calls_max))
			continue;
		p->n_calls++;
		*piece = (struct dn_chat_piece){
			.part = DN_CHAT_CALL,
			.name = json_string_value(json_object_get(call, "name")),
			.text = p->arguments,
			.size = strlen(p->arguments),
		};
		return true;
	}
	return false;
}

bool dn_chat_parser_next(struct dn_chat_parser *p, struct dn_chat_piece *ret_piece)
{
	enum outcome outcome = AGAIN;

	if (next_call(p, ret_piece))
		return true;
	while (outcome == AGAIN) {
		json_decref(p->calls);
		p->calls = NULL;
		if (p->at == p->held.size)
			return false;
		if (p->state == IN_TEXT)
			outcome = next_text(p, ret_piece);
		else if (p->state == IN_REASONING)
			outcome = next_reasoning(p, ret_piece);
		else if (p->state == IN_BARE_BLOCK)
			outcome = next_bare_block(p, ret_piece);
		else
			outcome = next_block(p, ret_piece);
		if (p->calls && next_call(p, ret_piece))
			return true;
	}
	return outcome == GIVEN;
}
