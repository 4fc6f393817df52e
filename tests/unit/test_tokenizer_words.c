/* SPDX-License-Identifier: MIT */
/*
 * WordPiece over small vocabularies: cleaning, cutting, pieces, and the tokens around texts. The
 * integration tests compare it with an implementation of its publication.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/tokenizer/unicode.h"
#include "failing-malloc.h"
#include "tokenizer-fixture.h"

#define WORD "\xe2\x96\x81"

enum { UNK = 1, CLS = 2, SEP = 3, FIRST = 4 };

static void ids(struct gguf_builder *builder)
{
	gguf_add_u32(builder, "tokenizer.ggml.unknown_token_id", UNK);
	gguf_add_u32(builder, "tokenizer.ggml.cls_token_id", CLS);
	gguf_add_u32(builder, "tokenizer.ggml.seperator_token_id", SEP);
}

static void expect(const char *text, unsigned int flags, const uint32_t *want, size_t n_want)
{
	struct dn_error err = DN_ERROR_INIT;
	uint32_t tokens[64] = { 0 };
	size_t n;

	if (dn_tokenizer_encode(tokenizer, text, strlen(text), flags, tokens, 64, &n, &err) < 0)
		fail_msg("%s", err.message);
	if (n != n_want || memcmp(tokens, want, n * sizeof(*want)) != 0)
		fail_msg("\"%s\": %zu tokens (%u %u %u …), not %zu (%u …)", text, n, tokens[0],
			 tokens[1], tokens[2], n_want, n_want ? want[0] : 0);
}

#define EXPECT(text, flags, ...)                                                                   \
	do {                                                                                       \
		const uint32_t want_[] = { __VA_ARGS__ };                                          \
		expect(text, flags, want_, DN_ARRAY_SIZE(want_));                                  \
	} while (0)

static void test_longest_pieces(void **state)
{
	uint32_t un, aff, able, unaff, comma;

	(void)state;
	maker_init_words(&maker);
	un = maker_add(&maker, WORD "un", DN_TOKEN_NORMAL);
	aff = maker_add(&maker, "aff", DN_TOKEN_NORMAL);
	able = maker_add(&maker, "able", DN_TOKEN_NORMAL);
	unaff = maker_add(&maker, WORD "unaff", DN_TOKEN_NORMAL);
	comma = maker_add(&maker, WORD ",", DN_TOKEN_NORMAL);
	must_open(ids);
	EXPECT("unaffable", 0, unaff, able);
	EXPECT("unable,unaff", 0, un, able, comma, unaff);
	/* A word that pieces do not reach the end of is unknown, once, and each such word. */
	EXPECT("unabler un xyz xyz", 0, UNK, un, UNK, UNK);
	/* "aff" goes on, it begins nothing. */
	EXPECT("aff", 0, UNK);
	EXPECT(" \t\r\n ", 0);
	EXPECT("[SEP]un[MASK]", DN_ENCODE_SPECIAL, SEP, un, UNK, UNK, UNK);
	EXPECT("[SEP]", 0, UNK, UNK, UNK);
	assert_int_equal(aff, FIRST + 1);
}

static void test_cleaning(void **state)
{
	uint32_t a, b, ab, han, han2, kana, hangul[3];

	(void)state;
	maker_init_words(&maker);
	a = maker_add(&maker, WORD "a", DN_TOKEN_NORMAL);
	b = maker_add(&maker, WORD "b", DN_TOKEN_NORMAL);
	ab = maker_add(&maker, WORD "ab", DN_TOKEN_NORMAL);
	han = maker_add(&maker, WORD "\xe4\xb8\xad", DN_TOKEN_NORMAL);
	han2 = maker_add(&maker, WORD "\xe8\xb1\x88", DN_TOKEN_NORMAL);
	kana = maker_add(&maker, WORD "\xe3\x81\x82\xe3\x81\x84", DN_TOKEN_NORMAL);
	hangul[0] = maker_add(&maker, WORD "\xe1\x84\x92", DN_TOKEN_NORMAL);
	hangul[1] = maker_add(&maker, "\xe1\x85\xa1", DN_TOKEN_NORMAL);
	hangul[2] = maker_add(&maker, "\xe1\x86\xab", DN_TOKEN_NORMAL);
	must_open(ids);
	/* Control characters and what is no text vanish; spaces of all kinds divide. */
	EXPECT("a\x01\xc2\x85\x0b\xef\xbb\xbf\xff\xef\xbf\xbd"
	       "b",
	       0, ab);
	EXPECT("a\xc2\xa0"
	       "b\xe3\x80\x80"
	       "a\tb",
	       0, a, b, a, b);
	EXPECT("\xc3\x81"
	       "B a\xcc\x81"
	       "b",
	       0, ab, ab);
	/* Each ideograph is a word, in its modern form; kana are not cut. */
	EXPECT("a\xe4\xb8\xad\xef\xa4\x80"
	       "b",
	       0, a, han, han2, b);
	EXPECT("\xe3\x81\x82\xe3\x81\x84", 0, kana);
	EXPECT("\xed\x95\x9c", 0, hangul[0], hangul[1], hangul[2]);
}

static void is_cased(struct gguf_builder *builder)
{
	ids(builder);
	gguf_add_bool(builder, "tokenizer.ggml.normalizer.lowercase", false);
}

static void keeps_accents(struct gguf_builder *builder)
{
	ids(builder);
	gguf_add_bool(builder, "tokenizer.ggml.normalizer.strip_accents", false);
}

static void test_case(void **state)
{
	uint32_t a, capital, accent, dotted;

	(void)state;
	maker_init_words(&maker);
	a = maker_add(&maker, WORD "a", DN_TOKEN_NORMAL);
	capital = maker_add(&maker, WORD "A", DN_TOKEN_NORMAL);
	accent = maker_add(&maker, WORD "\xc3\xa1", DN_TOKEN_NORMAL);
	dotted = maker_add(&maker, WORD "i\xcc\x87", DN_TOKEN_NORMAL);
	must_open(ids);
	EXPECT("A \xc3\x81", 0, a, a);
	close_all(NULL);
	must_open(is_cased);
	EXPECT("A \xc3\xa1", 0, capital, accent);
	close_all(NULL);
	must_open(keeps_accents);
	EXPECT("A \xc3\x81 \xc4\xb0", 0, a, accent, dotted);
	close_all(NULL);
	/* A vocabulary with all capital letters is a cased one, unless the file says otherwise. */
	for (char letter = 'B'; letter <= 'Z'; letter++)
		maker_add(&maker, (char[]){ '\xe2', '\x96', '\x81', letter, 0 }, DN_TOKEN_NORMAL);
	must_open(ids);
	EXPECT("A", 0, capital);
}

static void test_long_words(void **state)
{
	static char text[1 << 20];
	static uint32_t tokens[1 << 20];
	struct dn_error err = DN_ERROR_INIT;
	uint32_t begin, on;
	size_t n;

	(void)state;
	maker_init_words(&maker);
	begin = maker_add(&maker, WORD "a", DN_TOKEN_NORMAL);
	on = maker_add(&maker, "a", DN_TOKEN_NORMAL);
	must_open(ids);
	memset(text, 'a', 101);
	assert_int_equal(dn_tokenizer_encode(tokenizer, text, 100, 0, tokens, 200, &n, &err), 0);
	assert_int_equal(n, 100);
	assert_int_equal(tokens[0], begin);
	assert_int_equal(tokens[99], on);
	assert_int_equal(dn_tokenizer_encode(tokenizer, text, 101, 0, tokens, 200, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(tokens[0], UNK);
	memset(text, 'a', sizeof(text));
	assert_int_equal(
		dn_tokenizer_encode(tokenizer, text, sizeof(text), 0, tokens, 200, &n, &err), 0);
	assert_int_equal(n, 1);
	memset(text, '.', sizeof(text));
	assert_int_equal(
		dn_tokenizer_encode(tokenizer, text, sizeof(text), 0, tokens, 1 << 20, &n, &err),
		0);
	assert_int_equal(n, sizeof(text));
}

static void adds_nothing(struct gguf_builder *builder)
{
	ids(builder);
	gguf_add_bool(builder, "tokenizer.ggml.add_bos_token", false);
	gguf_add_bool(builder, "tokenizer.ggml.add_sep_token", false);
}

static void adds_eos(struct gguf_builder *builder)
{
	ids(builder);
	gguf_add_u32(builder, "tokenizer.ggml.eos_token_id", SEP);
	gguf_add_bool(builder, "tokenizer.ggml.add_eos_token", true);
}

/* [CLS] a [SEP] b [SEP], whatever older and newer converters say about it. */
static void test_surround(void **state)
{
	void (*const files[])(struct gguf_builder *) = { ids, adds_nothing, adds_eos };
	struct dn_surround surround;

	(void)state;
	maker_init_words(&maker);
	maker_add(&maker, WORD "a", DN_TOKEN_NORMAL);
	for (size_t i = 0; i < DN_ARRAY_SIZE(files); i++) {
		must_open(files[i]);
		dn_tokenizer_surround(tokenizer, &surround);
		assert_int_equal(surround.before, CLS);
		assert_int_equal(surround.after, SEP);
		assert_int_equal(surround.between[0], SEP);
		assert_int_equal(surround.between[1], DN_TOKEN_NONE);
		assert_int_equal(dn_tokenizer_bos(tokenizer), CLS);
		assert_true(dn_tokenizer_adds_bos(tokenizer));
		close_all(NULL);
	}
	/* Without ids the places of BERT's own vocabulary, which this one does not reach. */
	must_open(NULL);
	dn_tokenizer_surround(tokenizer, &surround);
	assert_int_equal(surround.before, DN_TOKEN_NONE);
	assert_int_equal(surround.after, DN_TOKEN_NONE);
	EXPECT("xyz", 0);
}

static void roberta(struct gguf_builder *builder)
{
	gguf_add_u32(builder, "tokenizer.ggml.bos_token_id", 'B');
	gguf_add_u32(builder, "tokenizer.ggml.eos_token_id", 'E');
	gguf_add_u32(builder, "tokenizer.ggml.seperator_token_id", 'S');
	gguf_add_bool(builder, "tokenizer.ggml.add_bos_token", true);
	gguf_add_bool(builder, "tokenizer.ggml.add_eos_token", true);
}

static void test_surround_of_roberta(void **state)
{
	struct dn_surround surround;

	(void)state;
	maker_init(&maker, "roberta-bpe");
	must_open(roberta);
	dn_tokenizer_surround(tokenizer, &surround);
	assert_int_equal(surround.before, 'B');
	assert_int_equal(surround.after, 'E');
	assert_int_equal(surround.between[0], 'E');
	assert_int_equal(surround.between[1], 'S');
}

static void test_decode(void **state)
{
	struct dn_detokenizer stream = { 0 };
	uint32_t tokens[3];
	char shown[64];
	size_t n = 0;

	(void)state;
	maker_init_words(&maker);
	tokens[0] = maker_add(&maker, WORD "un", DN_TOKEN_NORMAL);
	tokens[1] = maker_add(&maker, "able", DN_TOKEN_NORMAL);
	tokens[2] = tokens[0];
	must_open(ids);
	for (size_t i = 0; i < 3; i++)
		n += (size_t)dn_tokenizer_decode(tokenizer, &stream, tokens[i], false, shown + n,
						 32);
	assert_int_equal(n, 9);
	assert_memory_equal(shown, "unable un", 9);
}

static void test_refused(void **state)
{
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	maker_init_words(&maker);
	maker_add(&maker, "un", DN_TOKEN_NORMAL);
	maker_add(&maker, "##able", DN_TOKEN_NORMAL);
	assert_int_equal(open_maker(&err, ids), -EINVAL);
	assert_non_null(strstr(err.message, "U+2581"));
	assert_null(tokenizer);
}

static void test_memory_and_failing_allocations(void **state)
{
	struct gguf_builder builder;
	size_t said, n, nth;

	(void)state;
	maker_init_words(&maker);
	for (unsigned int i = 0; i < 500; i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), WORD "%u", i);
		maker_add(&maker, text, DN_TOKEN_NORMAL);
	}
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	ids(&builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	said = dn_tokenizer_memory(gguf);
	for (nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = dn_tokenizer_new(gguf, NULL, &tokenizer, &err);
		n = failing_malloc_total();
		if (!failing_malloc_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(tokenizer);
	}
	assert_true(nth > 7);
	assert_in_range(n, 1000, said);
}

static void test_unicode(void **state)
{
	uint32_t out[DN_UNICODE_STRIP_MAX];

	(void)state;
	assert_int_equal(dn_unicode_class('a'), DN_UNICODE_OTHER);
	assert_int_equal(dn_unicode_class('$'), DN_UNICODE_PUNCTUATION);
	assert_int_equal(dn_unicode_class(0x20ac), DN_UNICODE_OTHER);
	assert_int_equal(dn_unicode_class(0x301), DN_UNICODE_MARK);
	assert_int_equal(dn_unicode_class(0x93e), DN_UNICODE_OTHER); /* a mark that takes a place */
	assert_int_equal(dn_unicode_class(0), DN_UNICODE_CONTROL);
	assert_int_equal(dn_unicode_class(0x10fffd), DN_UNICODE_CONTROL);
	assert_int_equal(dn_unicode_class(UINT32_MAX), DN_UNICODE_OTHER);
	assert_int_equal(dn_unicode_lower(0xc9), 0xe9);
	assert_int_equal(dn_unicode_lower(0xe9), 0xe9);
	assert_int_equal(dn_unicode_lower(0x178), 0xff);
	assert_int_equal(dn_unicode_lower(UINT32_MAX), UINT32_MAX);
	assert_int_equal(dn_unicode_strip(0x1e69, out), 1);
	assert_int_equal(out[0], 's');
	assert_int_equal(dn_unicode_strip(0x1d160, out), 3);
	assert_int_equal(dn_unicode_strip(0xac00, out), 2);
	assert_int_equal(out[1], 0x1161);
	assert_int_equal(dn_unicode_strip(UINT32_MAX, out), 1);
	assert_int_equal(out[0], UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_longest_pieces, close_all),
		cmocka_unit_test_teardown(test_cleaning, close_all),
		cmocka_unit_test_teardown(test_case, close_all),
		cmocka_unit_test_teardown(test_long_words, close_all),
		cmocka_unit_test_teardown(test_surround, close_all),
		cmocka_unit_test_teardown(test_surround_of_roberta, close_all),
		cmocka_unit_test_teardown(test_decode, close_all),
		cmocka_unit_test_teardown(test_refused, close_all),
		cmocka_unit_test_teardown(test_memory_and_failing_allocations, close_all),
		cmocka_unit_test(test_unicode),
	};

	return cmocka_run_group_tests_name("tokenizer-words", tests, NULL, NULL);
}
