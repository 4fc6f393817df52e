/* SPDX-License-Identifier: MIT */
/* What each family writes in a chat, taken apart whole and at every split. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/chat/chat.h"

#define DEEPSEEK "<｜tool▁calls▁begin｜>"

static const char tools_text[] =
	"[{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {"
	"\"properties\": {\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}}}}},"
	" {\"type\": \"function\", \"function\": {\"name\": \"post\", \"parameters\": {"
	"\"properties\": {\"code\": {\"type\": [\"string\", \"null\"]}, \"at\": {\"anyOf\": "
	"[{\"type\": \"string\"}, {\"type\": \"null\"}]}, \"no\": {\"type\": [\"null\", "
	"\"string\"]}, \"n\": {\"type\": [\"integer\", \"null\"]}}}}},"
	" {\"type\": \"function\", \"function\": {\"name\": \"now\"}}]";

/*
 * @template: a word of it; @want: text as it is, [reasoning], and {name arguments}
 */
static const struct example {
	const char *template;
	const char *text;
	const char *want;
} examples[] = {
	/* No form at all. */
	{ "", "Hello there.\n", "Hello there.\n" },
	{ "", "a <b> < <t", "a <b> < <t" },
	/* Hermes, Qwen 2.5 and 3, Granite 4, SmolLM3 */
	{ "<tool_call>",
	  "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bonn\"}}\n</tool_call>",
	  "{weather {\"city\":\"Bonn\"}}" },
	{ "<tool_call>",
	  "Let me see.\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n"
	  "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"days\": 2}}\n</tool_call>",
	  "Let me see.{now {}}{weather {\"days\":2}}" },
	{ "<tool_call>", "<tool_call>{\"name\": \"now\"}", "{now {}}" },
	{ "<tool_call>", "<tool_call>nonsense</tool_call> and on",
	  "<tool_call>nonsense</tool_call> and on" },
	{ "<tool_call>", "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>",
	  "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>" },
	/* A word of the marker is no call, and the one behind it is. */
	{ "<tool_call>",
	  "Use the <tool_call> tag. <tool_call>\n{\"name\": \"now\", \"arguments\": "
	  "{}}\n</tool_call>",
	  "Use the <tool_call> tag.{now {}}" },
	{ "<tool_call>", "So:\n\n<tool_call>\nfoo\n</tool_call> done",
	  "So:\n\n<tool_call>\nfoo\n</tool_call> done" },
	{ "[TOOL_CALLS]", "a [TOOL_CALLS] b", "a [TOOL_CALLS] b" },
	/* The end of the block within a text of it. */
	{ "<tool_call>",
	  "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"a </tool_call> "
	  "\\\"b\"}}\n</tool_call>",
	  "{weather {\"city\":\"a </tool_call> \\\"b\"}}" },
	/* Numbers as they were. */
	{ "<tool_call>",
	  "<tool_call>{\"name\": \"weather\", \"arguments\": {\"a\": 19.99}}</tool_call>",
	  "{weather {\"a\":19.99}}" },
	{ "<tool_call>",
	  "<tool_call>{\"name\": \"weather\", \"arguments\": {\"b\": "
	  "0.30000000000000004, \"c\": 12345678901234567890}}</tool_call>",
	  "{weather {\"b\":0.30000000000000004,\"c\":1.2345678901234567e19}}" },
	{ "<tool_call>",
	  "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"\\u0000\"}}"
	  "</tool_call>",
	  "{weather {\"city\":\"\\u0000\"}}" },
	{ "<tool_call>", "<tool_call>{\"name\": \"now\", \"arg",
	  "<tool_call>{\"name\": \"now\", \"arg" },
	{ "<tool_call>", "{\"name\": \"now\", \"arguments\": {}}",
	  "{\"name\": \"now\", \"arguments\": {}}" },
	/* Qwen 3.5, Qwen 3 Coder: types are those of the tool. */
	{ "<tool_call>",
	  "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n"
	  "3\n</parameter>\n<parameter=more>\n[1, 2]\n</parameter>\n</function>\n</tool_call>",
	  "{weather {\"city\":\"12\",\"days\":3,\"more\":[1,2]}}" },
	{ "<tool_call>",
	  "<tool_call><function=post><parameter=code>12345</parameter><parameter=at>true"
	  "</parameter><parameter=no>null</parameter><parameter=n>7</parameter></function>"
	  "</tool_call>",
	  "{post {\"code\":\"12345\",\"at\":\"true\",\"no\":null,\"n\":7}}" },
	{ "<tool_call>", "<tool_call><function=now></function></tool_call>", "{now {}}" },
	{ "<tool_call>", "<tool_call><function=now><parameter=a>1</tool_call>",
	  "<tool_call><function=now><parameter=a>1</tool_call>" },
	/* Reasoning */
	{ "<think>", "<think>\nHm, so.\n</think>\n\nYes.", "[Hm, so.]Yes." },
	{ "<think>", "\n<think></think>Yes", "Yes" },
	{ "<think>", "Yes <think>no</think>", "Yes <think>no</think>" },
	{ "<think>", "<think>cut in the mid", "[cut in the mid]" },
	{ "<think><tool_call>",
	  "<think>I call.</think>\n<tool_call>{\"name\": \"now\"}</tool_call>",
	  "[I call.]{now {}}" },
	{ "[THINK][TOOL_CALLS]", "[THINK]Hm.[/THINK]Yes[TOOL_CALLS]now[ARGS]{}",
	  "[Hm.]Yes{now {}}" },
	/* Llama 3 */
	{ "ipython", "{\"name\": \"weather\", \"parameters\": {\"city\": \"Bonn\"}}",
	  "{weather {\"city\":\"Bonn\"}}" },
	{ "ipython",
	  "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}; {\"name\": \"weather\"}",
	  "{now {}}{weather {}}" },
	{ "ipython", "<|python_tag|>brave_search.call(query=\"the sea\")",
	  "{brave_search {\"query\":\"the sea\"}}" },
	{ "ipython", "{\"name\": \"Bob\", \"parameters\": {}}",
	  "{\"name\": \"Bob\", \"parameters\": {}}" },
	{ "ipython", "{\"a\": 1}", "{\"a\": 1}" },
	{ "ipython", "{\"name\": \"weather\", \"parameters\": {}}\nI called it",
	  "{weather {}}I called it" },
	{ "", "{\"name\": \"weather\"}\n<tool_call>{\"name\": \"now\"}</tool_call>",
	  "{weather {}}{now {}}" },
	{ "ipython", "<|python_tag|>print(1)", "<|python_tag|>print(1)" },
	/* Mistral */
	{ "[TOOL_CALLS]",
	  "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"weather\", "
	  "\"arguments\": {\"days\": 1}}]",
	  "{now {}}{weather {\"days\":1}}" },
	{ "[TOOL_CALLS]",
	  "[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]weather[ARGS]{\"days\": 1}",
	  "{now {}}{weather {\"days\":1}}" },
	{ "[TOOL_CALLS]", "[TOOL_CALLS]now{\"a\": \"b\"}", "{now {\"a\":\"b\"}}" },
	{ "[TOOL_CALLS]", "[TOOL_CALLS]", "[TOOL_CALLS]" },
	/* Phi 4, Granite 3 */
	{ "<|tool|>", "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>",
	  "{now {}}" },
	{ "<|tool_call|>", "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]", "{now {}}" },
	{ "<|tool_call|>",
	  "<|tool_call|>{\"type\": \"function\", \"function\": {\"name\": \"now\", \"arguments\": "
	  "\"{\\\"a\\\": 1}\"}}",
	  "{now {\"a\":1}}" },
	/* LFM2 */
	{ "<|tool_call_start|>",
	  "<|tool_call_start|>[weather(city=\"Bo\\\"nn\", days=-2), now()]<|tool_call_end|>Wait.",
	  "{weather {\"city\":\"Bo\\\"nn\",\"days\":-2}}{now {}}Wait." },
	{ "List of tools: [",
	  "<|tool_call_start|>[f(a=[1, 2.5, True], b={'x': None, \"y\": (1,)}, "
	  "c='\\u00e9\\n')]<|tool_call_end|>",
	  "{f {\"a\":[1,2.5,true],\"b\":{\"x\":null,\"y\":[1]},\"c\":\"é\\n\"}}" },
	{ "<|tool_call_start|>", "<|tool_call_start|>[weather(city=)]<|tool_call_end|>",
	  "<|tool_call_start|>[weather(city=)]<|tool_call_end|>" },
	/* Gemma 4, FunctionGemma */
	{ "<|tool_call>",
	  "<|tool_call>call:weather{city:<|\"|>Bonn, {so}<|\"|>,days:3,l:[<|\"|>a<|\"|>,true],"
	  "o:{k:null}}<tool_call|>",
	  "{weather {\"city\":\"Bonn, {so}\",\"days\":3,\"l\":[\"a\",true],\"o\":{\"k\":null}}}" },
	{ "<|tool_call><|channel>",
	  "<|channel>thought\nHm.\n<channel|><|tool_call>call:now{}<tool_call|>", "[Hm.]{now {}}" },
	{ "<start_function_call>",
	  "<start_function_call>call:weather{city:<escape>Bonn<escape>}<end_function_call>",
	  "{weather {\"city\":\"Bonn\"}}" },
	/* DeepSeek, before V3.1 and since */
	{ DEEPSEEK,
	  DEEPSEEK
	  "<｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": "
	  "\"Bonn\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n"
	  "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
	  "{weather {\"city\":\"Bonn\"}}{now {}}" },
	{ DEEPSEEK,
	  "So:" DEEPSEEK "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜>"
	  "<｜tool▁calls▁end｜>",
	  "So:{now {\"a\":1}}" },
	/* Templates without a form: what they are told in words, and what small models make of it. */
	{ "", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "{now {}}" },
	{ "", "{\"name\": \"now\", \"arguments\": {}}", "{now {}}" },
	{ "", "{\"name\": \"who\", \"arguments\": {}}", "{\"name\": \"who\", \"arguments\": {}}" },
};

static void take(struct dn_chat_parser *parser, char *got, size_t size, enum dn_chat_part *last)
{
	struct dn_chat_piece piece;

	while (dn_chat_parser_next(parser, &piece)) {
		const size_t n = strlen(got);

		if (piece.part == DN_CHAT_CALL) {
			(void)snprintf(got + n, size - n, "{%s %.*s}", piece.name, (int)piece.size,
				       piece.text);
		} else if (piece.part == DN_CHAT_REASONING && *last == DN_CHAT_REASONING) {
			(void)snprintf(got + n - 1, size - n + 1, "%.*s]", (int)piece.size,
				       piece.text);
		} else {
			(void)snprintf(got + n, size - n,
				       piece.part == DN_CHAT_TEXT ? "%.*s" : "[%.*s]",
				       (int)piece.size, piece.text);
		}
		assert_true(piece.size > 0);
		*last = piece.part;
	}
}

/* @split: bytes of the first piece; @step: of the others; 0: one. */
static void parse(const struct example *example, json_t *tools, bool in_reasoning, size_t split,
		  size_t step, uint32_t most, char *got, size_t got_size)
{
	struct dn_chat_parser parser = { .n_calls = 0 };
	enum dn_chat_part last = DN_CHAT_TEXT;
	const size_t size = strlen(example->text);
	struct dn_chat_form form;
	size_t at = 0;

	dn_chat_form_find(example->template, strlen(example->template), &form);
	dn_chat_parser_begin(&parser, &form, tools, most, in_reasoning);
	got[0] = '\0';
	while (at < size) {
		const size_t n = at == 0 && split ? split
				 : step		  ? DN_MIN(step, size - at)
						  : size - at;

		assert_int_equal(dn_chat_parser_feed(&parser, example->text + at, n), 0);
		take(&parser, got, got_size, &last);
		at += n;
	}
	dn_chat_parser_end(&parser);
	take(&parser, got, got_size, &last);
	dn_chat_parser_done(&parser);
}

static void test_examples(void **state)
{
	json_t *tools = json_loads(tools_text, 0, NULL);
	char got[2048];

	(void)state;
	assert_non_null(tools);
	for (size_t i = 0; i < DN_ARRAY_SIZE(examples); i++) {
		const size_t size = strlen(examples[i].text);

		for (size_t split = 0; split < size; split++) {
			parse(&examples[i], tools, false, split, 0, 0, got, sizeof(got));
			assert_string_equal(got, examples[i].want);
		}
		parse(&examples[i], tools, false, 0, 1, 0, got, sizeof(got));
		assert_string_equal(got, examples[i].want);
	}
	json_decref(tools);
}

static void test_without_tools(void **state)
{
	static const struct example call = {
		"<think><tool_call>",
		"<think>x</think>\n<tool_call>{\"name\": \"now\"}</tool_call>", NULL
	};
	char got[256];

	(void)state;
	parse(&call, NULL, false, 0, 1, 0, got, sizeof(got));
	assert_string_equal(got, "[x]<tool_call>{\"name\": \"now\"}</tool_call>");
}

static void test_begun_reasoning(void **state)
{
	static const struct example thought = { "<think>", "So.\n</think>\n\nYes.", NULL };
	struct dn_chat_form form;
	char got[256];

	(void)state;
	for (size_t split = 0; split < strlen(thought.text); split++) {
		parse(&thought, NULL, true, split, 0, 0, got, sizeof(got));
		assert_string_equal(got, "[So.]Yes.");
	}
	dn_chat_form_find("<think>", 7, &form);
	assert_true(dn_chat_form_in_reasoning(&form, "x<think>\n", 9));
	assert_false(dn_chat_form_in_reasoning(&form, "<think>\n\n</think>\n\n", 19));
	assert_false(dn_chat_form_in_reasoning(&form, "", 0));
	dn_chat_form_find("", 0, &form);
	assert_false(dn_chat_form_in_reasoning(&form, "<think>", 7));
}

static void test_one_call(void **state)
{
	static const struct example two = {
		"[TOOL_CALLS]", "[TOOL_CALLS][{\"name\": \"now\"}, {\"name\": \"weather\"}]", NULL
	};
	json_t *tools = json_loads(tools_text, 0, NULL);
	char got[256];

	(void)state;
	parse(&two, tools, false, 0, 0, 1, got, sizeof(got));
	assert_string_equal(got, "{now {}}");
	json_decref(tools);
}

/* A block without an end is given up at its limit, and all of it is text. */
static void test_long_block(void **state)
{
	static char filler[1 << 16];
	struct dn_chat_parser parser = { .n_calls = 0 };
	json_t *tools = json_array();
	struct dn_chat_piece piece;
	struct dn_chat_form form;
	size_t fed = 11;
	size_t got = 0;

	(void)state;
	memset(filler, 'x', sizeof(filler));
	dn_chat_form_find("<tool_call>", 11, &form);
	dn_chat_parser_begin(&parser, &form, tools, 0, false);
	assert_int_equal(dn_chat_parser_feed(&parser, "<tool_call>", 11), 0);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(dn_chat_parser_feed(&parser, filler, sizeof(filler)), 0);
		fed += sizeof(filler);
		while (dn_chat_parser_next(&parser, &piece)) {
			assert_int_equal(piece.part, DN_CHAT_TEXT);
			got += piece.size;
		}
		assert_true(fed - got <= DN_CHAT_BLOCK_MAX + sizeof(filler));
	}
	dn_chat_parser_end(&parser);
	while (dn_chat_parser_next(&parser, &piece))
		got += piece.size;
	assert_int_equal(got, fed);
	dn_chat_parser_done(&parser);
	json_decref(tools);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),	cmocka_unit_test(test_without_tools),
		cmocka_unit_test(test_begun_reasoning), cmocka_unit_test(test_one_call),
		cmocka_unit_test(test_long_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
