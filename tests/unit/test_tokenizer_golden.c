/* SPDX-License-Identifier: MIT */
/*
 * Token ids that llama.cpp gives, and the text given back. DUNLIN_SHARED is the folder with
 * golden/tokenizers; DUNLIN_TEST_MODEL is the SmolLM2 file, DUNLIN_TEST_GEMMA that of Gemma 3.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/text.h"
#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer.h"

#define TOKENS_MAX 4096

struct model {
	struct dn_gguf *gguf;
	struct dn_tokenizer *tokenizer;
};

static void load(struct model *model, const char *path)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("cannot open %s", path);
	if (dn_gguf_open(&fd, 1, &model->gguf, &err) < 0 ||
	    dn_tokenizer_new(model->gguf, NULL, &model->tokenizer, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	close(fd);
}

static void unload(struct model *model)
{
	dn_tokenizer_free(model->tokenizer);
	dn_gguf_free(model->gguf);
}

/* Each piece that streaming shows is whole UTF-8. */
static void check_decode(const struct dn_tokenizer *tokenizer, const uint32_t *tokens, size_t n,
			 const char *text, size_t size)
{
	size_t room = dn_tokenizer_longest(tokenizer) + 8;
	struct dn_detokenizer state = { 0 };
	char out[TOKENS_MAX * 4];
	size_t used = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (room > sizeof(out) - used)
			fail_msg("a text of more than %zu bytes", sizeof(out));
		r = dn_tokenizer_decode(tokenizer, &state, tokens[i], true, out + used, room);
		if (r < 0 || !dn_utf8_valid(out + used, (size_t)r))
			fail_msg("token %u was given back wrong", tokens[i]);
		used += (size_t)r;
	}
	r = dn_tokenizer_decode_end(tokenizer, &state, out + used, sizeof(out) - used);
	assert_int_equal(r, 0);
	assert_int_equal(used, size);
	assert_memory_equal(out, text, size);
}

static void check_line(const struct dn_tokenizer *tokenizer, const char *line, size_t number)
{
	struct dn_error err = DN_ERROR_INIT;
	uint32_t tokens[TOKENS_MAX];
	json_t *object = json_loads(line, JSON_ALLOW_NUL, NULL);
	json_t *text = json_object_get(object, "text");
	json_t *want = json_object_get(object, "tokens");
	json_t *detok = json_object_get(object, "detok");
	bool special = json_is_true(json_object_get(object, "parse_special"));
	size_t n = SIZE_MAX;
	int r;

	assert_true(json_is_string(text) && json_is_array(want));
	r = dn_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
				special ? DN_ENCODE_SPECIAL : 0, tokens, TOKENS_MAX, &n, &err);
	assert_int_equal(r, 0);
	assert_true(n <= TOKENS_MAX);
	if (n != json_array_size(want))
		fail_msg("line %zu: %zu tokens, not %zu: %s", number, n, json_array_size(want),
			 line);
	for (size_t i = 0; i < n; i++) {
		if (tokens[i] != json_integer_value(json_array_get(want, i)))
			fail_msg("line %zu, token %zu is %u: %s", number, i, tokens[i], line);
	}
	if (detok)
		check_decode(tokenizer, tokens, n, json_string_value(detok),
			     json_string_length(detok));
	/* Vocabularies that have every byte give any text back, but for what stands for a space. */
	else if (!strstr(json_string_value(text), "\xe2\x96\x81"))
		check_decode(tokenizer, tokens, n, json_string_value(text),
			     json_string_length(text));
	json_decref(object);
}

static void check_file(const struct dn_tokenizer *tokenizer, const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t capacity = 0, number = 0;

	if (!file)
		fail_msg("cannot open %s", path);
	while (getline(&line, &capacity, file) > 0)
		check_line(tokenizer, line, ++number);
	/* A file that is cut short is not a test that passed. */
	assert_true(number >= 100);
	free(line);
	(void)fclose(file);
}

static const char *shared_path(const char *name, char out[4096])
{
	const char *shared = getenv("DUNLIN_SHARED");

	if (!shared) {
		print_message("DUNLIN_SHARED is unset: no golden data, skipped\n");
		skip();
	}
	(void)snprintf(out, 4096, "%s/golden/tokenizers/%s", shared, name);
	return out;
}

static void test_llama_bpe(void **state)
{
	struct model model;
	char path[4096];

	(void)state;
	load(&model, shared_path("llama-bpe.gguf", path));
	check_file(model.tokenizer, shared_path("llama-bpe.jsonl", path));
	assert_int_equal(dn_tokenizer_bos(model.tokenizer), 128000);
	assert_int_equal(dn_tokenizer_eos(model.tokenizer), 128001);
	assert_true(dn_tokenizer_adds_bos(model.tokenizer));
	assert_true(dn_tokenizer_ends(model.tokenizer, 128001));
	assert_true(dn_tokenizer_ends(model.tokenizer, 128009)); /* <|eot_id|> */
	assert_false(dn_tokenizer_ends(model.tokenizer, 128000));
	unload(&model);
}

static void test_qwen2(void **state)
{
	struct model model;
	char path[4096];

	(void)state;
	load(&model, shared_path("qwen2.gguf", path));
	check_file(model.tokenizer, shared_path("qwen2.jsonl", path));
	assert_false(dn_tokenizer_adds_bos(model.tokenizer));
	assert_true(dn_tokenizer_ends(model.tokenizer, 151645));  /* <|im_end|> */
	assert_false(dn_tokenizer_ends(model.tokenizer, 128247)); /* </s>, here HTML */
	assert_false(dn_tokenizer_ends(model.tokenizer, 151644));
	assert_int_equal(dn_tokenizer_skips(model.tokenizer, 151644, "\n Hi", 4), 0);
	unload(&model);
}

static void test_llama_spm(void **state)
{
	struct model model;
	char path[4096];

	(void)state;
	load(&model, shared_path("llama-spm.gguf", path));
	check_file(model.tokenizer, shared_path("llama-spm.jsonl", path));
	assert_int_equal(dn_tokenizer_bos(model.tokenizer), 1);
	assert_int_equal(dn_tokenizer_eos(model.tokenizer), 2);
	assert_true(dn_tokenizer_adds_bos(model.tokenizer));
	unload(&model);
}

static void test_phi3(void **state)
{
	struct model model;
	char path[4096];

	(void)state;
	load(&model, shared_path("phi-3.gguf", path));
	check_file(model.tokenizer, shared_path("phi-3.jsonl", path));
	assert_true(dn_tokenizer_ends(model.tokenizer, 32007)); /* <|end|> */
	assert_false(dn_tokenizer_ends(model.tokenizer, 32010));
	/* <|user|> takes the white space behind it, the beginning of a text does not. */
	assert_int_equal(dn_tokenizer_skips(model.tokenizer, 32010, "\n Hi", 4), 2);
	assert_int_equal(dn_tokenizer_skips(model.tokenizer, 32010, "\n ", 2), 2);
	assert_int_equal(dn_tokenizer_skips(model.tokenizer, 32010, "Hi ", 3), 0);
	assert_int_equal(dn_tokenizer_skips(model.tokenizer, 1, "\n Hi", 4), 0);
	unload(&model);
}

static void test_gemma3(void **state)
{
	const char *file = getenv("DUNLIN_TEST_GEMMA");
	struct model model;
	char path[4096];

	(void)state;
	if (!file) {
		print_message("DUNLIN_TEST_GEMMA is unset: no Gemma 3, skipped\n");
		skip();
	}
	shared_path("gemma-3-270m.jsonl", path);
	load(&model, file);
	check_file(model.tokenizer, path);
	assert_int_equal(dn_tokenizer_bos(model.tokenizer), 2);
	assert_true(dn_tokenizer_adds_bos(model.tokenizer));
	assert_true(dn_tokenizer_ends(model.tokenizer, 1));
	assert_true(dn_tokenizer_ends(model.tokenizer, 106)); /* <end_of_turn> */
	unload(&model);
}

static void test_smollm2(void **state)
{
	const char *file = getenv("DUNLIN_TEST_MODEL");
	struct model model;
	char path[4096];

	(void)state;
	if (!file) {
		print_message("DUNLIN_TEST_MODEL is unset: no SmolLM2, skipped\n");
		skip();
	}
	shared_path("smollm2-135m.jsonl", path);
	load(&model, file);
	check_file(model.tokenizer, path);
	assert_int_equal(dn_tokenizer_size(model.tokenizer), 49152);
	assert_true(dn_tokenizer_ends(model.tokenizer, 2)); /* <|im_end|> */
	assert_false(dn_tokenizer_ends(model.tokenizer, 1));
	assert_false(dn_tokenizer_adds_bos(model.tokenizer));
	unload(&model);
}

/* llama-bpe has a token of 128 spaces; what a quadratic tokenizer would need minutes for. */
static void test_long_runs(void **state)
{
	static uint32_t tokens[200000];
	static char text[1000000];
	struct dn_error err = DN_ERROR_INIT;
	struct model model;
	char path[4096];
	size_t n, bytes;

	(void)state;
	load(&model, shared_path("llama-bpe.gguf", path));
	memset(text, ' ', sizeof(text));
	assert_int_equal(
		dn_tokenizer_encode(model.tokenizer, text, 100096, 0, tokens, 200000, &n, &err), 0);
	assert_int_equal(n, 100096 / 128);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(tokens[i], tokens[0]);
		assert_non_null(dn_tokenizer_bytes(model.tokenizer, tokens[i], &bytes));
		assert_int_equal(bytes, 128);
	}
	memset(text, 'a', sizeof(text));
	assert_int_equal(dn_tokenizer_encode(model.tokenizer, text, sizeof(text), 0, tokens, 200000,
					     &n, &err),
			 0);
	assert_int_equal(n, 125000);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(tokens[i], tokens[0]);
	unload(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_llama_bpe), cmocka_unit_test(test_qwen2),
		cmocka_unit_test(test_llama_spm), cmocka_unit_test(test_phi3),
		cmocka_unit_test(test_gemma3),	  cmocka_unit_test(test_smollm2),
		cmocka_unit_test(test_long_runs),
	};

	return cmocka_run_group_tests_name("tokenizer-golden", tests, NULL, NULL);
}
