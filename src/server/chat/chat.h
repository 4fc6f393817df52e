/* SPDX-License-Identifier: MIT */
/*
 * What a model writes in a chat, taken apart: its reasoning, its text, and its calls of tools. Each
 * family writes the last in a form of its own, which the chat template tells; what does not parse
 * is text.
 */
#ifndef DUNLIN_SERVER_CHAT_CHAT_H
#define DUNLIN_SERVER_CHAT_CHAT_H

/* IWYU pragma: begin_exports */
#include <jansson.h>

#include "base/base.h"
#include "base/buffer.h"
/* IWYU pragma: end_exports */

/* Of one block of calls: what is longer is text. */
#define DN_CHAT_BLOCK_MAX ((size_t)1 << 20)
#define DN_CHAT_CALLS_MAX 64
#define DN_CHAT_NAME_MAX  128

/*
 * The calls of a block as [{"name", "arguments": {…}}], owned by the caller; NULL where it is none.
 * @tools: as the API has them: types of arguments are looked up there; may be NULL
 */
typedef json_t *dn_chat_decoder(const char *block, size_t size, const json_t *tools);

/**
 * struct dn_chat_form - what a family's answers look like; all of it static
 * @think_open, @think_close: around reasoning; NULL: there is none
 * @call_open, @call_close: around a block of calls; no @call_close: it goes to the end
 * @bare: a call may come without @call_open, as the first thing in an answer
 * @control: these markers are control tokens, which a worker shows only where it is asked to
 * @shows_tools: the template writes tools, and what came of calls; else they are put in words
 * @system_tools: it takes them from the system message
 * @arguments_text: it wants the arguments of calls as text, others as an object
 * @short_ids: it wants ids of calls to be nine letters and digits
 */
struct dn_chat_form {
	const char *name;
	const char *think_open;
	const char *think_close;
	const char *call_open;
	const char *call_close;
	dn_chat_decoder *decode;
	bool bare;
	bool control;
	bool shows_tools;
	bool system_tools;
	bool arguments_text;
	bool short_ids;
};

/* The form of a model with this chat template; there always is one. */
void dn_chat_form_find(const char *source, size_t size, struct dn_chat_form *ret_form);

/* Whether a prompt ends with what begins the reasoning. */
bool dn_chat_form_in_reasoning(const struct dn_chat_form *form, const char *prompt, size_t size);

/* Of calls that are put in words, for models whose templates do not know any. */
#define DN_CHAT_CALL_OPEN  "<tool_call>"
#define DN_CHAT_CALL_CLOSE "</tool_call>"

/* decode.c, decode-python.c */
dn_chat_decoder dn_chat_decode_json;
dn_chat_decoder dn_chat_decode_hermes;
dn_chat_decoder dn_chat_decode_mistral;
dn_chat_decoder dn_chat_decode_deepseek;
dn_chat_decoder dn_chat_decode_llama;
dn_chat_decoder dn_chat_decode_python;
dn_chat_decoder dn_chat_decode_gemma;

enum dn_chat_part {
	DN_CHAT_TEXT,
	DN_CHAT_REASONING,
	DN_CHAT_CALL,
};

/* @name: of a call, whose arguments are the text, as JSON; else NULL. Valid until the next one. */
struct dn_chat_piece {
	enum dn_chat_part part;
	const char *name;
	const char *text;
	size_t size;
};

/**
 * struct dn_chat_parser - zeroed, then dn_chat_parser_begin()
 * @tools: whose calls are looked for; NULL: nobody's
 * @calls_max: further ones are left out; 0: none are
 * @offered_only: calls of others than @tools are text; for callers to set once it has begun
 */
struct dn_chat_parser {
	struct dn_chat_form form;
	json_t *tools;
	uint32_t calls_max;
	bool offered_only;

	/* Of parser.c. */
	int state;
	struct dn_buffer held;
	size_t at;	/* of @held, what is given already */
	size_t scanned; /* of a block, where its end is not */
	size_t lead;	/* white space before its marker */
	json_t *calls;
	size_t next_call;
	char *arguments;
	uint32_t n_calls;
	bool ended;
	bool said; /* some text */
	bool trim; /* white space that comes next */
	bool forced;
};

/* @tools: borrowed. @in_reasoning: the prompt ended with the beginning of the reasoning. */
void dn_chat_parser_begin(struct dn_chat_parser *parser, const struct dn_chat_form *form,
			  json_t *tools, uint32_t calls_max, bool in_reasoning);
/*
 * Right after: behind its reasoning the answer keeps to a grammar, in which calls are JSON whatever the
 * form. @forced: it is calls and nothing else; else a call or something else
 */
void dn_chat_parser_expect_json(struct dn_chat_parser *parser, bool forced);
/* More of the answer; whole UTF-8 sequences. Return: 0, or -ENOMEM. */
DN_MUST_CHECK int dn_chat_parser_feed(struct dn_chat_parser *parser, const char *text, size_t size);
/* That was all. */
void dn_chat_parser_end(struct dn_chat_parser *parser);
/* What can be told by now, piece by piece. Return: false where there is no more of it. */
bool dn_chat_parser_next(struct dn_chat_parser *parser, struct dn_chat_piece *ret_piece);
/* Whether what comes next is reasoning, as far as that can be told by now. */
bool dn_chat_parser_in_reasoning(const struct dn_chat_parser *parser);
void dn_chat_parser_done(struct dn_chat_parser *parser);

#endif /* DUNLIN_SERVER_CHAT_CHAT_H */
