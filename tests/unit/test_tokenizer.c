/* SPDX-License-Identifier: MIT */
/* Tokenizers over small vocabularies: what is recognised, what is refused, what a stream shows. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "failing-malloc.h"
#include "tokenizer-fixture.h"

static size_t encode(const char *text, size_t size, unsigned int flags, uint32_t *tokens,
		     size_t max)
{
	struct dn_error err = DN_ERROR_INIT;
	size_t n = SIZE_MAX;

	if (dn_tokenizer_encode(tokenizer, text, size, flags, tokens, max, &n, &err) < 0)
		fail_msg("%s", err.message);
	return n;
}

/* The tokens, whose number is given; ends with ~0u. */
static void expect(const char *text, unsigned int flags, const uint32_t *want)
{
	uint32_t tokens[64];
	size_t n = encode(text, strlen(text), flags, tokens, 64);
	size_t n_want = 0;

	while (want[n_want] != UINT32_MAX)
		n_want++;
	if (n != n_want || memcmp(tokens, want, n * sizeof(*want)) != 0)
		fail_msg("\"%s\": %zu tokens (%u %u %u …), not %zu (%u …)", text, n, tokens[0],
			 tokens[1], tokens[2], n_want, want[0]);
}

#define EXPECT(text, flags, ...)                                                                   \
	do {                                                                                       \
		const uint32_t want_[] = { __VA_ARGS__, UINT32_MAX };                              \
		expect(text, flags, want_);                                                        \
	} while (0)

static void test_specials(void **state)
{
	uint32_t end, user, longer, tail, wide, plain;

	(void)state;
	maker_init(&maker, "gpt-2");
	end = maker_add(&maker, "<|x|>", DN_TOKEN_CONTROL);
	user = maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	longer = maker_add(&maker, "<u><u><u>", DN_TOKEN_USER_DEFINED);
	tail = maker_add(&maker, ">bcde", DN_TOKEN_USER_DEFINED);
	wide = maker_add(&maker, ">bcdefghijkl", DN_TOKEN_USER_DEFINED);
	plain = maker_merge(&maker, "a", "b");
	must_open(NULL);

	EXPECT("ab<|x|>ab", DN_ENCODE_SPECIAL, plain, end, plain);
	EXPECT("<|x|><|x|>", DN_ENCODE_SPECIAL, end, end);
	/* Text cannot forge a control token, but user-defined ones are always tokens. */
	EXPECT("<|x|>", 0, '<', '|', 'x', '|', '>');
	EXPECT("ab<u>", 0, plain, user);
	EXPECT("<u><u><u><u>", 0, longer, user);
	/* The longer token goes first, even where a shorter one begins before it. */
	EXPECT("<u>bcde", 0, '<', 'u', tail);
	EXPECT("<u>bcd<u>", 0, user, 'b', 'c', 'd', user);
	/* What is left of a longer match's place goes to shorter ones. */
	EXPECT("<u><u><u>bcde", 0, longer, 'b', 'c', 'd', 'e');
	EXPECT("<u><u><u>bcdefghijkl", 0, user, user, '<', 'u', wide);
	EXPECT("<|x|", DN_ENCODE_SPECIAL, '<', '|', 'x', '|');
}

/* The rule as llama.cpp states it: token by token, the longest first, through the whole text. */
static size_t slow_specials(const char *text, size_t size, const uint32_t *order, size_t n,
			    uint32_t *out)
{
	uint32_t cover[256];
	size_t count = 0;

	for (size_t i = 0; i < size; i++)
		cover[i] = UINT32_MAX;
	for (size_t k = 0; k < n; k++) {
		const char *token = maker.tokens[order[k]];
		size_t length = strlen(token);

		for (size_t i = 0; i + length <= size; i++) {
			bool is_free = !memcmp(text + i, token, length);

			for (size_t j = 0; j < length; j++)
				is_free = is_free && cover[i + j] == UINT32_MAX;
			for (size_t j = 0; is_free && j < length; j++)
				cover[i + j] = j ? UINT32_MAX - 1 : order[k];
		}
	}
	for (size_t i = 0; i < size; i++) {
		if (cover[i] == UINT32_MAX)
			out[count++] = (uint8_t)text[i];
		else if (cover[i] != UINT32_MAX - 1)
			out[count++] = cover[i];
	}
	return count;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 16;
}

static void test_specials_against_rule(void **state)
{
	static const char *const texts[] = { "bcababab", "abababa", "babab", "aabb", "bba", "ab" };
	uint32_t order[DN_ARRAY_SIZE(texts)], tokens[256], want[256];
	uint32_t seed = 7;
	char text[200];

	(void)state;
	maker_init(&maker, "gpt-2");
	for (size_t i = 0; i < DN_ARRAY_SIZE(texts); i++)
		order[i] = maker_add(&maker, texts[i], DN_TOKEN_USER_DEFINED);
	must_open(NULL);
	for (unsigned int round = 0; round < 3000; round++) {
		size_t size = next_random(&seed) % sizeof(text);
		size_t n, n_want;

		for (size_t i = 0; i < size; i++)
			text[i] = "abababcab"[next_random(&seed) % 9];
		n = encode(text, size, 0, tokens, 256);
		n_want = slow_specials(text, size, order, DN_ARRAY_SIZE(order), want);
		assert_int_equal(n, n_want);
		assert_memory_equal(tokens, want, n * sizeof(*want));
	}
}

/* Many specials in one long cluster: each newline begins a match. */
static void test_newline_tokens(void **state)
{
	static uint32_t tokens[40000];
	static char text[1000003];
	char run[40];
	size_t n;

	(void)state;
	maker_init(&maker, "gpt-2");
	for (size_t size = 2; size <= 31; size++) {
		memset(run, '\n', size);
		run[size] = '\0';
		maker_add(&maker, run, DN_TOKEN_USER_DEFINED);
	}
	must_open(NULL);
	memset(text, '\n', sizeof(text));
	n = encode(text, sizeof(text), 0, tokens, 40000);
	assert_int_equal(n, 1000003 / 31 + 1);
	for (size_t i = 0; i + 1 < n; i++)
		assert_int_equal(tokens[i], 256 + 29);
	assert_int_equal(tokens[n - 1], 256 + 1000003 % 31 - 2);
}

static size_t slow_merges(const char *text, size_t size, uint32_t *tokens)
{
	for (size_t i = 0; i < size; i++)
		tokens[i] = (uint8_t)text[i];
	for (;;) {
		uint32_t best = UINT32_MAX;
		size_t at = 0;
		char pair[128], merged[128];

		for (size_t i = 0; i + 1 < size; i++) {
			(void)snprintf(pair, sizeof(pair), "%s %s", maker.tokens[tokens[i]],
				       maker.tokens[tokens[i + 1]]);
			for (uint32_t m = 0; m < maker.n_merges && m < best; m++) {
				if (!strcmp(maker.merges[m], pair)) {
					best = m;
					at = i;
				}
			}
		}
		if (best == UINT32_MAX)
			return size;
		(void)snprintf(merged, sizeof(merged), "%s%s", maker.tokens[tokens[at]],
			       maker.tokens[tokens[at + 1]]);
		for (uint32_t i = 0; i < maker.n_tokens; i++) {
			if (!strcmp(maker.tokens[i], merged))
				tokens[at] = i;
		}
		size--;
		memmove(&tokens[at + 1], &tokens[at + 2], (size - at - 1) * sizeof(*tokens));
	}
}

/* Words of every length, so both the short and the long way, against the plain definition. */
static void test_merges_against_definition(void **state)
{
	uint32_t tokens[128], want[128];
	uint32_t seed = 1;
	char text[100];

	(void)state;
	for (unsigned int round = 0; round < 20; round++) {
		maker_init(&maker, "gpt-2");
		maker_merge(&maker, "a", round % 2 ? "b" : "a");
		for (unsigned int i = 0; i < 25; i++) {
			uint32_t parts[2];

			for (int k = 0; k < 2; k++) {
				uint32_t pick = next_random(&seed) % (maker.n_tokens - 253);

				parts[k] = pick < 3 ? 'a' + pick : 256 + (pick - 3);
			}
			if (strlen(maker.tokens[parts[0]]) + strlen(maker.tokens[parts[1]]) < 30)
				maker_merge(&maker, maker.tokens[parts[0]], maker.tokens[parts[1]]);
		}
		must_open(NULL);
		for (size_t size = 1; size <= sizeof(text); size++) {
			size_t n;

			for (size_t i = 0; i < size; i++)
				text[i] = (char)('a' + next_random(&seed) % 3);
			n = encode(text, size, 0, tokens, 128);
			assert_int_equal(n, slow_merges(text, size, want));
			assert_memory_equal(tokens, want, n * sizeof(*want));
		}
		close_all(NULL);
	}
}

/* The whole word first, where the family says so: "abc" has no merges that lead to it. */
static void test_whole_words(void **state)
{
	uint32_t whole;

	(void)state;
	maker_init(&maker, "llama-bpe");
	whole = maker_add(&maker, "abc", DN_TOKEN_NORMAL);
	must_open(NULL);
	EXPECT("abc", 0, whole);
	EXPECT("abcd", 0, 'a', 'b', 'c', 'd');
	close_all(NULL);
	maker.pre = "qwen2";
	must_open(NULL);
	EXPECT("abc", 0, 'a', 'b', 'c');
}

/* Merges that spell a control token's text do not make it. */
static void test_text_makes_no_control_token(void **state)
{
	(void)state;
	maker_init(&maker, "llama-bpe");
	maker_merge(&maker, "e", "n");
	maker_merge(&maker, "en", "d");
	maker.kinds[257] = DN_TOKEN_CONTROL;
	must_open(NULL);
	EXPECT("end", 0, 256, 'd');
	EXPECT("end", DN_ENCODE_SPECIAL, 257);
}

static void test_merges_of_no_token(void **state)
{
	uint32_t ab;

	(void)state;
	maker_init(&maker, "gpt-2");
	maker_merge(&maker, "x", "y");
	maker_merge(&maker, "xy", "z");
	maker.tokens[256] = "unrelated"; /* so that "xy" is no token */
	ab = maker_merge(&maker, "a", "b");
	must_open(NULL);
	EXPECT("xyzab", 0, 'x', 'y', 'z', ab);
}

static void test_counts_beyond_max(void **state)
{
	uint32_t tokens[2] = { 1, 2 };

	(void)state;
	maker_init(&maker, "gpt-2");
	must_open(NULL);
	assert_int_equal(encode("abc", 3, 0, tokens, 1), 3);
	assert_int_equal(tokens[0], 'a');
	assert_int_equal(tokens[1], 2);
	assert_int_equal(encode("abc", 3, 0, NULL, 0), 3);
	assert_int_equal(encode("", 0, 0, NULL, 0), 0);
	assert_int_equal(encode(NULL, 0, DN_ENCODE_SPECIAL, NULL, 0), 0);
}

static void test_every_byte_comes_back(void **state)
{
	uint32_t tokens[1024];
	char text[1024];
	size_t n, size;

	(void)state;
	maker_init(&maker, "llama-bpe");
	must_open(NULL);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i < 256 ? i : i * 7 % 253);
	n = encode(text, sizeof(text), 0, tokens, 1024);
	assert_int_equal(n, sizeof(text));
	for (size_t i = 0; i < n; i++) {
		const char *bytes = dn_tokenizer_bytes(tokenizer, tokens[i], &size);

		assert_int_equal(size, 1);
		assert_int_equal(bytes[0], text[i]);
	}
	assert_null(dn_tokenizer_bytes(tokenizer, 256, &size));
}

/* What a stream of bytes shows, with | behind each token's part. */
static void expect_stream(const char *bytes, size_t size, const char *want)
{
	struct dn_detokenizer stream = { 0 };
	char shown[256];
	size_t n = 0;

	for (size_t i = 0; i < size; i++) {
		int r = dn_tokenizer_decode(tokenizer, &stream, (uint8_t)bytes[i], false, shown + n,
					    32);

		assert_true(r >= 0);
		n += (size_t)r;
		shown[n++] = '|';
	}
	n += (size_t)dn_tokenizer_decode_end(tokenizer, &stream, shown + n, 32);
	shown[n] = '\0';
	assert_string_equal(shown, want);
	assert_int_equal(stream.n_pending, 0);
}

static void test_stream(void **state)
{
	(void)state;
	maker_init(&maker, "gpt-2");
	must_open(NULL);
	expect_stream("a\xe2\x82\xac", 4, "a|||\xe2\x82\xac|");
	expect_stream("\xf0\x9f\x99\x82z", 5, "|||\xf0\x9f\x99\x82|z|");
	/* Cut at the end, broken in the middle, never the beginning of anything. */
	expect_stream("\xf0\x9f\x99", 3, "|||\xef\xbf\xbd");
	expect_stream("\xf0\x9f"
		      "a",
		      3,
		      "||\xef\xbf\xbd"
		      "a|");
	expect_stream("\xe2\x82\xe2\x82\xac", 5, "||\xef\xbf\xbd||\xe2\x82\xac|");
	expect_stream("\x80\xff"
		      "a",
		      3, "\xef\xbf\xbd|\xef\xbf\xbd|a|");
	/* Surrogates, overlong forms, beyond U+10FFFF: as Unicode's table 3-8 shows. */
	expect_stream("\xed\xa0\x80", 3, "|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|");
	expect_stream("\xc0\xaf", 2, "\xef\xbf\xbd|\xef\xbf\xbd|");
	expect_stream("\xf4\x90", 2, "|\xef\xbf\xbd\xef\xbf\xbd|");
}

static void test_decode_limits(void **state)
{
	struct dn_detokenizer stream = { 0 };
	uint32_t control, marked, longest;
	char out[256];

	(void)state;
	maker_init(&maker, "gpt-2");
	control = maker_add(&maker, "<|\xc3\xa9|>", DN_TOKEN_CONTROL);
	marked = maker_add(&maker, "<\xc3\xa9>", DN_TOKEN_USER_DEFINED);
	longest = maker_add(&maker, "\xc4\xa2\xc4\xa2\xc4\xa2\xc4\xa2", DN_TOKEN_NORMAL);
	must_open(NULL);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, control, false, out, 256), 0);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, control, true, out, 256), 6);
	assert_memory_equal(out, "<|\xc3\xa9|>", 6);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, marked, false, out, 256), 4);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, longest + 1, true, out, 256),
			 -ERANGE);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, UINT32_MAX, true, out, 256),
			 -ERANGE);
	/* Four bytes that begin nothing are twelve bytes of marks: the promise covers that. */
	assert_true(dn_tokenizer_longest(tokenizer) >= 12);
	/* A buffer that is too short loses nothing. */
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, 0xe2, false, out, 0), 0);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, 0x82, false, out, 0), 0);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, 0xac, false, out, 2), -ENOBUFS);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, 0xac, false, out, 3), 3);
	assert_memory_equal(out, "\xe2\x82\xac", 3);
}

static void add_ids(struct gguf_builder *builder)
{
	gguf_add_u32(builder, "tokenizer.ggml.bos_token_id", 'b');
	gguf_add_u32(builder, "tokenizer.ggml.eos_token_id", 'e');
	gguf_add_u32(builder, "tokenizer.ggml.eot_token_id", 't');
	gguf_add_u32(builder, "tokenizer.ggml.eom_token_id", 'm');
	gguf_add_bool(builder, "tokenizer.ggml.add_bos_token", true);
}

static void test_ends(void **state)
{
	uint32_t im_end, end, html;

	(void)state;
	maker_init(&maker, "gpt-2");
	im_end = maker_add(&maker, "<|im_end|>", DN_TOKEN_USER_DEFINED);
	end = maker_add(&maker, "<|end|>", DN_TOKEN_CONTROL);
	html = maker_add(&maker, "</s>", DN_TOKEN_NORMAL);
	must_open(add_ids);
	assert_int_equal(dn_tokenizer_bos(tokenizer), 'b');
	assert_int_equal(dn_tokenizer_eos(tokenizer), 'e');
	assert_true(dn_tokenizer_adds_bos(tokenizer));
	assert_true(dn_tokenizer_ends(tokenizer, 'e'));
	assert_true(dn_tokenizer_ends(tokenizer, 't'));
	assert_true(dn_tokenizer_ends(tokenizer, 'm'));
	assert_false(dn_tokenizer_ends(tokenizer, 'b'));
	assert_true(dn_tokenizer_ends(tokenizer, im_end));
	assert_true(dn_tokenizer_ends(tokenizer, end));
	assert_false(dn_tokenizer_ends(tokenizer, html));
	assert_false(dn_tokenizer_ends(tokenizer, UINT32_MAX));
	/* Called user-defined, but text must not forge it. */
	assert_int_equal(dn_tokenizer_kind(tokenizer, im_end), DN_TOKEN_CONTROL);
	EXPECT("</s>", 0, '<', '/', 's', '>');
	close_all(NULL);

	/* gpt-oss: <|end|> ends a message, not the answer. */
	maker_add(&maker, "<|return|>", DN_TOKEN_CONTROL);
	maker_add(&maker, "<|call|>", DN_TOKEN_CONTROL);
	must_open(NULL);
	assert_false(dn_tokenizer_ends(tokenizer, end));
	assert_true(dn_tokenizer_ends(tokenizer, end + 2));
	assert_int_equal(dn_tokenizer_bos(tokenizer), DN_TOKEN_NONE);
	assert_false(dn_tokenizer_adds_bos(tokenizer));
}

static void test_memory_is_what_was_said(void **state)
{
	struct gguf_builder builder;
	size_t said;

	(void)state;
	maker_init(&maker, "qwen2");
	for (unsigned int i = 0; i < 26; i++)
		maker_merge(&maker, maker.tokens['a' + i], "s");
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	said = dn_tokenizer_memory(gguf);
	failing_malloc_arm(0);
	assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, NULL), 0);
	assert_true(failing_malloc_total() > 1000);
	assert_true(failing_malloc_total() <= said);
	failing_malloc_disarm();
}

static void test_failing_allocations(void **state)
{
	char text[3000];
	size_t n = 0;

	(void)state;
	maker_init(&maker, "llama-bpe");
	maker_merge(&maker, "a", "a");
	maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	must_open(NULL);
	tokenizer = dn_tokenizer_free(tokenizer);
	for (size_t nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = dn_tokenizer_new(gguf, NULL, &tokenizer, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			assert_true(nth > 8);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(err.code, ENOMEM);
		assert_null(tokenizer);
	}
	memset(text, 'a', sizeof(text));
	for (size_t i = 1000; i < 1300; i += 3)
		memcpy(text + i, "<u>", 3);
	for (size_t nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = dn_tokenizer_encode(tokenizer, text, sizeof(text), 0, NULL, 0, &n, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			assert_true(nth > 4);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(err.code, ENOMEM);
		assert_int_equal(n, 0);
	}
	assert_int_equal(n, 500 + 100 + 850);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_specials, close_all),
		cmocka_unit_test_teardown(test_specials_against_rule, close_all),
		cmocka_unit_test_teardown(test_newline_tokens, close_all),
		cmocka_unit_test_teardown(test_merges_against_definition, close_all),
		cmocka_unit_test_teardown(test_whole_words, close_all),
		cmocka_unit_test_teardown(test_text_makes_no_control_token, close_all),
		cmocka_unit_test_teardown(test_merges_of_no_token, close_all),
		cmocka_unit_test_teardown(test_counts_beyond_max, close_all),
		cmocka_unit_test_teardown(test_every_byte_comes_back, close_all),
		cmocka_unit_test_teardown(test_stream, close_all),
		cmocka_unit_test_teardown(test_decode_limits, close_all),
		cmocka_unit_test_teardown(test_ends, close_all),
		cmocka_unit_test_teardown(test_memory_is_what_was_said, close_all),
		cmocka_unit_test_teardown(test_failing_allocations, close_all),
	};

	return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}
