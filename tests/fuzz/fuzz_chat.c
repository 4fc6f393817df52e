/* SPDX-License-Identifier: MIT */
/*
 * Answers of chats, in every form: whatever a model writes, cut wherever it likes, comes out in
 * pieces, as the same pieces as in one cut, and nothing is left.
 *
 * An input is: form (1), flags (1), bytes of the first cut (1), and the answer.
 */

#include <string.h>

#include "fuzz.h"
#include "server/chat/chat.h"

static const char *const templates[] = {
	"",
	"<tool_call>",
	"<tool_call><think>",
	"<|tool_call>",
	"<|tool_call><|channel>",
	"<start_function_call>",
	"<|tool_call_start|>",
	"<｜tool▁calls▁begin｜><think>",
	"[TOOL_CALLS]",
	"[TOOL_CALLS][THINK]",
	"<|tool|>",
	"<|tool_call|>",
	"ipython",
	"tools",
};

static const char tools_text[] =
	"[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": "
	"{\"properties\": "
	"{\"a\": {\"type\": \"string\"}, \"b\": {\"type\": \"integer\"}}}}}]";

/* All pieces, each with its kind; those of one kind that are neighbours are one. */
static void take(struct dn_chat_parser *parser, struct dn_buffer *out, int *last)
{
	struct dn_chat_piece piece;

	while (dn_chat_parser_next(parser, &piece)) {
		const char kind = (char)('0' + piece.part);

		if (piece.part == DN_CHAT_CALL) {
			json_t *arguments =
				json_loadb(piece.text, piece.size, JSON_ALLOW_NUL, NULL);

			MUST(json_is_object(arguments) && piece.name && piece.name[0]);
			json_decref(arguments);
			MUST(dn_buffer_append_text(out, piece.name) == 0);
		}
		MUST(piece.size > 0);
		if ((int)piece.part != *last || piece.part == DN_CHAT_CALL)
			MUST(dn_buffer_append(out, &kind, 1) == 0);
		MUST(dn_buffer_append(out, piece.text, piece.size) == 0);
		*last = (int)piece.part;
	}
}

static void parse(const char *template, const uint8_t *data, size_t size, size_t first,
		  uint8_t flags, struct dn_buffer *out)
{
	struct dn_chat_parser parser = { .n_calls = 0 };
	json_t *tools = flags & 1 ? json_loads(tools_text, 0, NULL) : NULL;
	struct dn_chat_form form;
	int last = -1;

	dn_chat_form_find(template, strlen(template), &form);
	dn_chat_parser_begin(&parser, &form, tools, flags & 4 ? 1 : 0, (flags & 2) != 0);
	if (tools && flags & 8)
		dn_chat_parser_expect_json(&parser, (flags & 16) != 0);
	for (size_t at = 0; at < size;) {
		const size_t n = first && first < size - at ? first : size - at;

		MUST(dn_chat_parser_feed(&parser, (const char *)data + at, n) == 0);
		take(&parser, out, &last);
		at += n;
	}
	dn_chat_parser_end(&parser);
	take(&parser, out, &last);
	MUST(parser.at == parser.held.size);
	dn_chat_parser_done(&parser);
	json_decref(tools);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	DN_AUTO_BUFFER struct dn_buffer whole = DN_BUFFER_INIT((size_t)64 << 20);
	DN_AUTO_BUFFER struct dn_buffer cut = DN_BUFFER_INIT((size_t)64 << 20);
	const char *template;

	if (size < 3 || size > DN_CHAT_BLOCK_MAX / 2)
		return 0;
	template = templates[data[0] % DN_ARRAY_SIZE(templates)];
	parse(template, data + 3, size - 3, 0, data[1], &whole);
	parse(template, data + 3, size - 3, data[2], data[1], &cut);
	MUST(whole.size == cut.size);
	MUST(whole.size == 0 || memcmp(whole.data, cut.data, whole.size) == 0);
	return 0;
}
