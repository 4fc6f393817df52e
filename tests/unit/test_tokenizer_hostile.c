/* SPDX-License-Identifier: MIT */
/* Vocabularies that are damaged, foreign or made to hurt: each is refused with its reason. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tokenizer-maker.h"

static struct maker maker;

/* Opens the file and expects @code and a message with @word; 0: a tokenizer. */
static void expect(struct gguf_builder *builder, int code, const char *word)
{
	struct dn_tokenizer *tokenizer = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int r;

	assert_int_equal(maker_open(builder, &gguf), 0);
	(void)dn_tokenizer_memory(gguf);
	r = dn_tokenizer_new(gguf, NULL, &tokenizer, &err);
	if (r != -code)
		fail_msg("%s: %d instead of %d: %s", word, r, -code, err.message);
	if (code) {
		assert_null(tokenizer);
		assert_int_equal(err.code, code);
		if (!strstr(err.message, word))
			fail_msg("\"%s\" is not in \"%s\"", word, err.message);
		/* A caller without interest in the reason. */
		assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, NULL), -code);
	} else {
		assert_non_null(tokenizer);
	}
	dn_tokenizer_free(tokenizer);
	dn_gguf_free(gguf);
}

static void expect_maker(int code, const char *word)
{
	struct gguf_builder builder;

	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	expect(&builder, code, word);
}

static void test_other_kinds(void **state)
{
	struct dn_tokenizer *tokenizer = (void *)&maker;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;

	(void)state;
	maker_init(&maker, "gpt-2");
	expect_maker(0, "");
	maker.model = "rwkv";
	expect_maker(ENOTSUP, "'rwkv'; supported are 'gpt2'");
	maker.model = "gpt2\x1b[31m";
	expect_maker(ENOTSUP, "[31m");
	maker.model = "gpt2";
	maker.pre = "klingon";
	expect_maker(ENOTSUP, "'klingon'");
	maker.pre = NULL; /* old files: as "default" */
	expect_maker(0, "");

	/* Models without a vocabulary. */
	for (int named = 0; named < 2; named++) {
		gguf_builder_init(&builder);
		if (named)
			gguf_add_text(&builder, "tokenizer.ggml.model", "none");
		assert_int_equal(maker_open(&builder, &gguf), 0);
		assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, NULL), 0);
		assert_null(tokenizer);
		assert_int_equal(dn_tokenizer_memory(gguf), 0);
		dn_gguf_free(gguf);
	}
}

/* A file with one entry that is wrong or missing. */
static void test_missing_arrays(void **state)
{
	static const char *const one[] = { "a" };
	struct gguf_builder builder;

	(void)state;
	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	expect(&builder, EINVAL, "tokenizer.ggml.tokens");

	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_texts(&builder, "tokenizer.ggml.tokens", NULL, 0);
	expect(&builder, EINVAL, "tokenizer.ggml.tokens");

	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_array(&builder, "tokenizer.ggml.tokens", DN_GGUF_U8, 4, "abcd", 4);
	expect(&builder, EINVAL, "tokenizer.ggml.tokens");

	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_texts(&builder, "tokenizer.ggml.tokens", one, 1);
	expect(&builder, EINVAL, "tokenizer.ggml.merges");

	/* No merges and no kinds: strange, but whole. */
	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_texts(&builder, "tokenizer.ggml.tokens", one, 1);
	gguf_add_texts(&builder, "tokenizer.ggml.merges", NULL, 0);
	expect(&builder, 0, "");
}

static void with_u32(const char *key, uint32_t value, int code, const char *word)
{
	struct gguf_builder builder;

	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	gguf_add_u32(&builder, key, value);
	expect(&builder, code, word);
}

static void test_ids_out_of_range(void **state)
{
	(void)state;
	maker_init(&maker, "gpt-2");
	with_u32("tokenizer.ggml.bos_token_id", 255, 0, "");
	with_u32("tokenizer.ggml.bos_token_id", 256, EINVAL, "bos_token_id is 256");
	with_u32("tokenizer.ggml.eos_token_id", UINT32_MAX, EINVAL, "eos_token_id");
	with_u32("tokenizer.ggml.eot_token_id", 256, EINVAL, "eot_token_id");
	with_u32("tokenizer.ggml.eom_token_id", 256, EINVAL, "eom_token_id");
}

static void test_counts_and_kinds(void **state)
{
	static const uint8_t scores[4 * 255];
	struct gguf_builder builder;

	(void)state;
	maker_init(&maker, "gpt-2");
	maker.kinds[7] = 7;
	expect_maker(EINVAL, "token_type[7]");
	maker.kinds[7] = -1;
	expect_maker(EINVAL, "token_type[7]");
	maker.kinds[7] = 0;
	expect_maker(0, "");

	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	gguf_add_array(&builder, "tokenizer.ggml.scores", DN_GGUF_F32, 255, scores, sizeof(scores));
	expect(&builder, EINVAL, "255 scores for 256 tokens");

	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_texts(&builder, "tokenizer.ggml.tokens", maker.tokens, 256);
	gguf_add_array(&builder, "tokenizer.ggml.token_type", DN_GGUF_I32, 255, scores,
		       sizeof(scores));
	expect(&builder, EINVAL, "255 kinds for 256 tokens");
}

static void test_bad_merges(void **state)
{
	static const char *const bad[] = { "ab", "a ", " a", "", " ", "a" };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bad); i++) {
		maker_init(&maker, "gpt-2");
		maker_merge(&maker, "a", "b");
		maker.merges[maker.n_merges++] = bad[i];
		expect_maker(EINVAL, "merges[1]");
	}
	/* The first space divides; what is behind a second is no token. */
	maker_init(&maker, "gpt-2");
	maker.merges[maker.n_merges++] = "a b c";
	expect_maker(0, "");
}

static void test_sizes(void **state)
{
	static const char *empty[DN_TOKENS_MAX + 1];
	static char longest[1026];
	struct gguf_builder builder;

	(void)state;
	maker_init(&maker, "gpt-2");
	memset(longest, 'x', 1024);
	maker.tokens[maker.n_tokens++] = longest;
	maker.kinds[256] = DN_TOKEN_NORMAL;
	expect_maker(0, "");
	longest[1024] = 'x';
	expect_maker(E2BIG, "tokens[256] has 1025 bytes");

	for (size_t i = 0; i < DN_ARRAY_SIZE(empty); i++)
		empty[i] = "";
	gguf_builder_init(&builder);
	gguf_add_text(&builder, "tokenizer.ggml.model", "gpt2");
	gguf_add_texts(&builder, "tokenizer.ggml.tokens", empty, DN_ARRAY_SIZE(empty));
	expect(&builder, E2BIG, "1048577 tokens");
}

/* Tokens whose hashes share one slot would make each look-up walk over all of them. */
static void test_colliding_tokens(void **state)
{
	uint32_t mask = dn_index_slots(256 + 300) - 1;
	char text[16];

	(void)state;
	maker_init(&maker, "gpt-2");
	for (unsigned int i = 0; maker.n_tokens < 256 + 300; i++) {
		(void)snprintf(text, sizeof(text), "t%u", i);
		if (((uint32_t)dn_hash_bytes(text, strlen(text)) & mask) == 99)
			maker_add(&maker, text, DN_TOKEN_NORMAL);
	}
	expect_maker(EINVAL, "share one hash");
}

static void test_colliding_merges(void **state)
{
	(void)state;
	maker_init(&maker, "gpt-2");
	for (uint32_t left = '!'; left < 256; left++) {
		for (uint32_t right = '!'; right < 256; right++) {
			if (((uint32_t)dn_merge_hash(left, right) & 1023) < 7)
				maker_merge(&maker, maker.tokens[left], maker.tokens[right]);
		}
	}
	assert_in_range(maker.n_merges, 280, 512);
	expect_maker(EINVAL, "merges share one hash");
}

static void test_same_texts(void **state)
{
	(void)state;
	maker_init(&maker, "gpt-2");
	for (unsigned int i = 0; i < 1000; i++)
		maker_add(&maker, "same", DN_TOKEN_USER_DEFINED);
	for (unsigned int i = 0; i < 1000; i++)
		maker_merge(&maker, "a", "b");
	expect_maker(0, "");
}

static void test_text_too_long(void **state)
{
	struct dn_tokenizer *tokenizer = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	size_t n = 5;

	(void)state;
	maker_init(&maker, "gpt-2");
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, &err), 0);
	/* Refused by its size, before a byte is read. */
	assert_int_equal(
		dn_tokenizer_encode(tokenizer, "", ((size_t)64 << 20) + 1, 0, NULL, 0, &n, &err),
		-E2BIG);
	assert_int_equal(n, 5);
	dn_tokenizer_free(tokenizer);
	dn_gguf_free(gguf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_other_kinds),	 cmocka_unit_test(test_missing_arrays),
		cmocka_unit_test(test_ids_out_of_range), cmocka_unit_test(test_counts_and_kinds),
		cmocka_unit_test(test_bad_merges),	 cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_colliding_tokens), cmocka_unit_test(test_colliding_merges),
		cmocka_unit_test(test_same_texts),	 cmocka_unit_test(test_text_too_long),
	};

	return cmocka_run_group_tests_name("tokenizer-hostile", tests, NULL, NULL);
}
