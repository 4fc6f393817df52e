/* SPDX-License-Identifier: MIT */
/* How texts are cut into words, for each family of patterns. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/tokenizer/tokenizer-internal.h"

struct words {
	char joined[4096];
	size_t size;
	size_t bytes;
};

/* Words are shown with | behind each. */
static int add_word(void *data, const char *text, size_t size, struct dn_error *err)
{
	struct words *words = data;

	(void)err;
	assert_true(size > 0);
	words->bytes += size;
	if (words->size + size + 1 < sizeof(words->joined)) {
		memcpy(words->joined + words->size, text, size);
		words->size += size;
		words->joined[words->size++] = '|';
		words->joined[words->size] = '\0';
	}
	return 0;
}

static void cut(const char *name, const char *text, size_t size, struct words *words)
{
	struct dn_pretokenizer_scratch *scratch = NULL;
	struct dn_pretokenizer *pretokenizer = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_text pre = { name, strlen(name) };
	int r;

	*words = (struct words){ .size = 0 };
	if (dn_pretokenizer_new(pre, &pretokenizer, &err) < 0)
		fail_msg("%s: %s", name, err.message);
	assert_int_equal(dn_pretokenizer_scratch_new(size, &scratch, &err), 0);
	r = dn_pretokenizer_split(pretokenizer, scratch, text, size, add_word, words, &err);
	if (r < 0)
		fail_msg("%s: %s", name, err.message);
	dn_pretokenizer_scratch_free(scratch);
	dn_pretokenizer_free(pretokenizer);
}

static const struct {
	const char *name;
	const char *text;
	const char *words;
} cases[] = {
	{ "gpt-2", "Hello  world, it's 2024!\n\n", "Hello| | world|,| it|'s| 2024|!|\n\n|" },
	{ "gpt-2", "IT'S \t x", "IT|'|S| \t| x|" },
	/* Each digit alone, so that " 2" is a space and a digit. */
	{ "smollm", "it 2024", "it| |2|0|2|4|" },
	{ "smollm", "a  \n b", "a|  \n| b|" },
	{ "llama-bpe", "12345 IT'S x", "123|45| IT|'S| x|" },
	{ "llama-bpe", "a\n \n  b", "a|\n \n| | b|" },
	{ "llama-bpe", "x = (y)\n", "x| =| (|y|)\n|" },
	{ "qwen2", "12345", "1|2|3|4|5|" },
	{ "qwen2", "don't", "don|'t|" },
	/* A combining accent: part of the word in qwen35, a sign in qwen2. */
	{ "qwen2", "e\xcc\x81t", "e|\xcc\x81t|" },
	{ "qwen35", "e\xcc\x81t", "e\xcc\x81t|" },
	{ "default", "a+b 12345", "a|+|b| |123|45|" },
	{ "falcon", "`a` 12345", "`|a|`| |123|45|" },
	{ "gpt-4o", "HelloWorld's 1234", "Hello|World's| |123|4|" },
	{ "gpt-4o", "\xc3\x89T\xc3\x89 \xc3\xa9t\xc3\xa9",
	  "\xc3\x89T\xc3\x89| \xc3\xa9t\xc3\xa9|" },
	{ "tekken", "HTMLPage 12", "HTMLPage| |1|2|" },
	{ "tekken", "fooBar's", "foo|Bar|'s|" },
	{ "deepseek-coder", "if x1:\n", "if| x|1|:|\n|" },
	{ "deepseek-llm", "Hi \xe4\xb8\xad\xe6\x96\x87 12 ",
	  "Hi| |\xe4\xb8\xad\xe6\x96\x87| |12| |" },
	{ "deepseek-v3", "a.foo(1234)", "a|.foo|(|123|4|)|" },
	{ "bloom", "a, b.c", "a|,| b|.|c|" },
	{ "viking", "a 12", "a| |1|2|" },
	{ "seed-coder", "x;\ny", "x|;|\n|y|" },
	{ "bailingmoe", "a\n\n b", "a|\n\n| b|" },
	{ "roberta-bpe", "It's 2024", "It|'s| 2024|" },
	{ "modern-bert", "a  b", "a| | b|" },
	{ "minicpm5", "it's 12345", "it|'s| |123|45|" },
	{ "laguna", "a \n\n b", "a| |\n\n| b|" },
	{ "qwen2", "a \n\n b", "a| \n\n| b|" },
	{ "ufakzeka", "Ankara'da 12", "Ankara|'da| |1|2|" },
	{ "minimax-m2", "HelloWorld's 1234", "Hello|World's| |123|4|" },
	{ "granite-embed-multi-97m", "e\xcc\x81t 1234", "e\xcc\x81t| |123|4|" },
	{ "youtu", "Hi \xea\xb0\x80\xe4\xb8\xad\xe3\x80\x81 12",
	  "Hi| |\xea\xb0\x80|\xe4\xb8\xad|\xe3\x80\x81| |1|2|" },
	{ "hy_v4", "a.foo(1234)", "a|.foo|(|123|4|)|" },
	{ "spark2_5", "a;\n\nb", "a|;|\n|\n|b|" },
	{ "exaone-moe", "ein Wort. e\xcc\x81t 12", "ein Wort|.| e\xcc\x81t| |1|2|" },
	{ "chameleon", "IMGIMGABZ a  12.", "IMGIMGABZ| a|  |1|2|.|" },
};

static void test_words(void **state)
{
	struct words words;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		cut(cases[i].name, cases[i].text, strlen(cases[i].text), &words);
		if (strcmp(words.joined, cases[i].words) != 0)
			fail_msg("%s: \"%s\" became \"%s\", not \"%s\"", cases[i].name,
				 cases[i].text, words.joined, cases[i].words);
	}
}

/* One space of each kind that Unicode has; U+180E has not been one since Unicode 6.3. */
static void test_unicode_spaces(void **state)
{
	struct words words;

	(void)state;
	cut("gpt-2", "a\xe3\x80\x80\xc2\x85\xe2\x80\xa8", 9, &words);
	assert_string_equal(words.joined, "a|\xe3\x80\x80\xc2\x85\xe2\x80\xa8|");
	cut("gpt-2", "a \xe1\xa0\x8e", 5, &words);
	assert_string_equal(words.joined, "a| \xe1\xa0\x8e|");
}

static void test_invalid_bytes_stay(void **state)
{
	struct words words;

	(void)state;
	cut("llama-bpe", "ab\xff\xe4\xb8 c\x80", 8, &words);
	assert_string_equal(words.joined, "ab|\xff\xe4\xb8| c|\x80|");
}

static const char *const names[] = {
	"smollm",	 "starcoder",
	"refact",	 "command-r",
	"codeshell",	 "exaone",
	"minerva-7b",	 "llama-bpe",
	"llama3",	 "llama-v3",
	"falcon3",	 "falcon-h1",
	"pixtral",	 "lfm2",
	"qwen2",	 "deepseek-r1-qwen",
	"megrez",	 "stablelm2",
	"hunyuan",	 "gpt-2",
	"phi-2",	 "mpt",
	"olmo",		 "jais",
	"exaone4",	 "default",
	"falcon",	 "qwen35",
	"dbrx",		 "smaug-bpe",
	"chatglm-bpe",	 "glm4",
	"gpt-4o",	 "llama4",
	"tekken",	 "deepseek-coder",
	"deepseek-llm",	 "deepseek-v3",
	"hunyuan-dense", "bloom",
	"poro-chat",	 "gpt3-finnish",
	"viking",	 "bailingmoe",
	"seed-coder",	 "minicpm5",
	"laguna",	 "ufakzeka",
	"youtu",	 "spark2_5",
	"exaone-moe",	 "chameleon",
	"roberta-bpe",	 "granite-embed-multi-97m",
};

/* No byte is lost, and PCRE2's limits, which grow with the text only, suffice. */
static void test_hard_texts(void **state)
{
	static const char *const units[] = { " ",
					     "\n",
					     " \n",
					     "a",
					     "A",
					     "Aa",
					     "\xcc\x81",
					     "1",
					     "'",
					     "'s",
					     "\xe4\xb8\xad",
					     "a ",
					     "\t  x",
					     "<|",
					     "\xff",
					     "A\xe4\xb8\xad",
					     "\r\n \r",
					     "\xd8\xb9\xd9\x8e",
					     "/\n" };
	static char text[20000];
	struct words words;

	(void)state;
	for (size_t n = 0; n < DN_ARRAY_SIZE(names); n++) {
		for (size_t u = 0; u < DN_ARRAY_SIZE(units); u++) {
			for (size_t i = 0; i < sizeof(text); i++)
				text[i] = units[u][i % strlen(units[u])];
			cut(names[n], text, sizeof(text), &words);
			assert_int_equal(words.bytes, sizeof(text));
		}
	}
}

static void test_unknown_name(void **state)
{
	struct dn_pretokenizer *pretokenizer = NULL;
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	assert_int_equal(dn_pretokenizer_new((struct dn_text){ "klingon", 7 }, &pretokenizer, &err),
			 -ENOTSUP);
	assert_non_null(strstr(err.message, "'klingon'"));
	/* Part of a name, or two of them, is no name. */
	assert_int_equal(dn_pretokenizer_new((struct dn_text){ "llama", 5 }, &pretokenizer, &err),
			 -ENOTSUP);
	assert_int_equal(
		dn_pretokenizer_new((struct dn_text){ "phi-2 mpt", 9 }, &pretokenizer, &err),
		-ENOTSUP);
	assert_int_equal(dn_pretokenizer_new((struct dn_text){ "", 0 }, &pretokenizer, &err),
			 -ENOTSUP);
	assert_null(pretokenizer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_unicode_spaces),
		cmocka_unit_test(test_invalid_bytes_stay),
		cmocka_unit_test(test_hard_texts),
		cmocka_unit_test(test_unknown_name),
	};

	return cmocka_run_group_tests_name("pretokenizer", tests, NULL, NULL);
}
