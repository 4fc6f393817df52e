/* SPDX-License-Identifier: MIT */
/* SentencePiece vocabularies (by score, Gemma 4's by rank, unigram): small ones against the definition. */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "failing-malloc.h"
#include "tokenizer-fixture.h"

#define SPACE	"\xe2\x96\x81"
#define BYTE(b) (3U + (b))  /* the token of a byte, in maker_init_pieces() */
#define FIRST	(3U + 256U) /* the first token that a test adds */

static void must_fail(int code, const char *word)
{
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(open_maker(&err, NULL), -code);
	assert_null(tokenizer);
	if (!strstr(err.message, word))
		fail_msg("\"%s\" is not in \"%s\"", word, err.message);
	close_all(NULL);
}

static size_t encode(const char *text, size_t size, unsigned int flags, uint32_t *tokens,
		     size_t max)
{
	struct dn_error err = DN_ERROR_INIT;
	size_t n = SIZE_MAX;

	if (dn_tokenizer_encode(tokenizer, text, size, flags, tokens, max, &n, &err) < 0)
		fail_msg("%s", err.message);
	return n;
}

static void expect(const char *text, unsigned int flags, const uint32_t *want, size_t n_want)
{
	uint32_t tokens[64] = { 0 };
	size_t n = encode(text, strlen(text), flags, tokens, 64);

	if (n != n_want || memcmp(tokens, want, n * sizeof(*want)) != 0)
		fail_msg("\"%s\": %zu tokens (%u %u %u …), not %zu (%u …)", text, n, tokens[0],
			 tokens[1], tokens[2], n_want, n_want ? want[0] : 0);
}

#define EXPECT(text, flags, ...)                                                                   \
	do {                                                                                       \
		const uint32_t want_[] = { __VA_ARGS__ };                                          \
		expect(text, flags, want_, DN_ARRAY_SIZE(want_));                                  \
	} while (0)

/* Streams tokens; what is shown must be @want. */
static void expect_text(const uint32_t *tokens, size_t n, bool special, const char *want)
{
	struct dn_detokenizer stream = { 0 };
	char shown[512];
	size_t used = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		r = dn_tokenizer_decode(tokenizer, &stream, tokens[i], special, shown + used, 64);
		assert_true(r >= 0);
		used += (size_t)r;
	}
	r = dn_tokenizer_decode_end(tokenizer, &stream, shown + used, 8);
	assert_true(r >= 0);
	shown[used + (size_t)r] = '\0';
	assert_string_equal(shown, want);
}

static void no_prefix(struct gguf_builder *builder)
{
	gguf_add_bool(builder, "tokenizer.ggml.add_space_prefix", false);
}

static void test_scores_decide(void **state)
{
	uint32_t space, a, b, c, ab, bc, abc, word;

	(void)state;
	maker_init_pieces(&maker, "llama");
	space = maker_score(&maker, SPACE, -9);
	a = maker_score(&maker, "a", -9);
	b = maker_score(&maker, "b", -9);
	c = maker_score(&maker, "c", -9);
	ab = maker_score(&maker, "ab", -3);
	bc = maker_score(&maker, "bc", -2);
	must_open(no_prefix);
	EXPECT("abc", 0, a, bc);
	EXPECT("ab", 0, ab);
	EXPECT("a b", 0, a, space, b);
	assert_int_equal(encode("", 0, 0, NULL, 0), 0);
	close_all(NULL);

	/* Equal scores: the leftmost. Zero is zero with either sign. */
	maker.scores[ab] = -0.0F;
	maker.scores[bc] = 0.0F;
	must_open(no_prefix);
	EXPECT("abc", 0, ab, c);
	close_all(NULL);

	/* Infinite ones have their place too. */
	maker.scores[ab] = INFINITY;
	maker.scores[bc] = -INFINITY;
	abc = maker_score(&maker, "abc", -INFINITY);
	word = maker_score(&maker, SPACE "abc", -INFINITY);
	must_open(NULL);
	EXPECT("abc", 0, word);
	EXPECT("cabc", 0, space, c, abc);
	/* Text that has the escape itself is text with a space. */
	EXPECT("c" SPACE "abc", 0, space, c, word);
}

static void test_prefix_and_specials(void **state)
{
	uint32_t space, a, word, user, tokens[8];

	(void)state;
	maker_init_pieces(&maker, "llama");
	space = maker_score(&maker, SPACE, -9);
	a = maker_score(&maker, "a", -8);
	word = maker_score(&maker, SPACE "a", -1);
	user = maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	maker_score(&maker, "<s", -1); /* merges that lead to the control token's text */
	must_open(NULL);
	EXPECT("a", 0, word);
	EXPECT(" a", 0, space, word);
	/* Each text between special tokens begins anew. */
	EXPECT("a<u>a<s>a", DN_ENCODE_SPECIAL, word, user, word, 1, word);
	EXPECT("<u>", 0, user);
	/* Text alone makes no control token, and no token of a byte. */
	EXPECT("<s>", 0, space, FIRST + 4, BYTE('>'));
	EXPECT("<0x41>", 0, space, BYTE('<'), BYTE('0'), BYTE('x'), BYTE('4'), BYTE('1'),
	       BYTE('>'));
	assert_int_equal(dn_tokenizer_bos(tokenizer), 1);
	assert_int_equal(dn_tokenizer_eos(tokenizer), 2);
	assert_true(dn_tokenizer_adds_bos(tokenizer));

	/* The space that encoding put there is taken off, once. */
	tokens[0] = 1;
	tokens[1] = space;
	tokens[2] = word;
	tokens[3] = word;
	tokens[4] = a;
	expect_text(tokens, 5, false, " a aa");
	expect_text(tokens + 2, 3, false, "a aa");
	close_all(NULL);

	must_open(no_prefix);
	EXPECT("a<u>a", 0, a, user, a);
	expect_text(tokens + 2, 3, false, " a aa");
}

static void test_continued_text(void **state)
{
	struct dn_detokenizer stream = { .started = true };
	uint32_t word;
	char out[32];

	(void)state;
	maker_init_pieces(&maker, "llama");
	word = maker_score(&maker, SPACE "a", -1);
	must_open(NULL);
	assert_int_equal(dn_tokenizer_decode(tokenizer, &stream, word, false, out, 32), 2);
	assert_memory_equal(out, " a", 2);
}

static void test_bytes(void **state)
{
	const uint32_t euro[] = { BYTE(0xe2), BYTE(0x82), BYTE(0xac) };
	uint32_t space;
	size_t size;

	(void)state;
	maker_init_pieces(&maker, "llama");
	space = maker_score(&maker, SPACE, -9);
	must_open(NULL);
	EXPECT("\xe2\x82\xac", 0, space, BYTE(0xe2), BYTE(0x82), BYTE(0xac));
	EXPECT("\xff\xe2", 0, space, BYTE(0xff), BYTE(0xe2));
	expect_text(euro, 3, false, "\xe2\x82\xac");
	expect_text(euro, 2, false, "\xef\xbf\xbd");
	assert_memory_equal(dn_tokenizer_bytes(tokenizer, BYTE(0xe2), &size), "\xe2", 1);
	assert_int_equal(size, 1);
	assert_memory_equal(dn_tokenizer_bytes(tokenizer, space, &size), " ", 1);
	assert_int_equal(size, 1);
	close_all(NULL);

	/* Old vocabularies without them: a byte's own text, else one unknown token for a run. */
	for (uint32_t i = 0; i < 256; i++)
		(void)snprintf(maker.texts[BYTE(i)], 64, "gone%u", i);
	maker_score(&maker, "\n", -5);
	must_open(NULL);
	EXPECT("\xe2\x82\xac\xff\n?", 0, space, 0, FIRST + 1, 0);
	expect_text((const uint32_t[]){ BYTE(7) }, 1, false, "gone7");
	close_all(NULL);
	maker.kinds[0] = DN_TOKEN_NORMAL;
	maker.n_tokens = 3; /* no pieces at all */
	must_open(NULL);
	EXPECT("ab", 0, 0);
}

/* Characters of the definition: one byte each, or the escaped space. */
static size_t slow_scores(const char *text, size_t size, uint32_t *tokens)
{
	char parts[600][64];
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		(void)snprintf(parts[n++], 64, "%s",
			       text[i] == ' ' ? SPACE : (char[]){ text[i], 0 });
	for (;;) {
		size_t best = SIZE_MAX;
		float score = 0;
		char joined[128];

		for (size_t i = 0; i + 1 < n; i++) {
			(void)snprintf(joined, sizeof(joined), "%s%s", parts[i], parts[i + 1]);
			for (uint32_t t = FIRST; t < maker.n_tokens; t++) {
				if (strcmp(maker.tokens[t], joined) != 0 ||
				    (best != SIZE_MAX && maker.scores[t] <= score))
					continue;
				best = i;
				score = maker.scores[t];
			}
		}
		if (best == SIZE_MAX)
			break;
		(void)snprintf(joined, sizeof(joined), "%s%s", parts[best], parts[best + 1]);
		memcpy(parts[best], joined, 64);
		n--;
		memmove(parts[best + 1], parts[best + 2], (n - best - 1) * sizeof(parts[0]));
	}
	for (size_t i = 0; i < n; i++) {
		tokens[i] = BYTE((uint8_t)parts[i][0]);
		for (uint32_t t = FIRST; t < maker.n_tokens; t++)
			tokens[i] = strcmp(maker.tokens[t], parts[i]) ? tokens[i] : t;
	}
	return n;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 16;
}

static bool has_token(const char *text)
{
	for (uint32_t i = 0; i < maker.n_tokens; i++) {
		if (!strcmp(maker.tokens[i], text))
			return true;
	}
	return false;
}

/* Random pieces, some with spaces inside, scores with many ties, a character without a token. */
static void random_vocabulary(uint32_t *seed)
{
	static const char *const units[] = { "a", "b", "c", SPACE };

	maker_init_pieces(&maker, "llama");
	for (size_t i = 0; i < 4; i++)
		maker_score(&maker, units[i], -9);
	for (unsigned int k = 0; k < 60; k++) {
		char text[64] = "";
		uint32_t length = 2 + next_random(seed) % 4;

		for (uint32_t i = 0; i < length; i++) {
			uint32_t unit = next_random(seed) % (k % 10 ? 3 : 4);

			(void)strcat(text, units[i == 0 && k % 3 == 0 ? 3 : unit]);
		}
		if (!has_token(text))
			maker_score(&maker, text, -(float)(next_random(seed) % 12));
	}
}

static void test_against_definition(void **state)
{
	uint32_t tokens[600], want[600];
	uint32_t seed = 5;
	char text[120];

	(void)state;
	for (unsigned int round = 0; round < 25; round++) {
		random_vocabulary(&seed);
		must_open(no_prefix);
		for (size_t size = 1; size <= sizeof(text); size += 1 + size / 8) {
			size_t n;

			for (size_t i = 0; i < size; i++)
				text[i] = "abcabcab  d"[next_random(&seed) % 11];
			n = encode(text, size, 0, tokens, 600);
			assert_int_equal(n, slow_scores(text, size, want));
			assert_memory_equal(tokens, want, n * sizeof(*want));
		}
		close_all(NULL);
	}
}

/* A word of a million bytes, which merges one by one or in halves. */
static void test_long_words(void **state)
{
	static char text[1000000];
	static uint32_t tokens[1000000];
	char run[64];
	uint32_t last = 0;
	size_t n;

	(void)state;
	for (unsigned int doubling = 0; doubling < 2; doubling++) {
		maker_init_pieces(&maker, "llama");
		for (size_t size = 1; size <= 60; size = doubling ? 2 * size : size + 1) {
			memset(run, 'a', size);
			run[size] = '\0';
			last = maker_score(&maker, run, doubling ? -(float)size : (float)size);
		}
		must_open(no_prefix);
		memset(text, 'a', sizeof(text));
		n = encode(text, sizeof(text), 0, tokens, 1000000);
		assert_int_equal(n, doubling ? sizeof(text) / 32 : (sizeof(text) + 59) / 60);
		for (size_t i = 0; i + 1 < n; i++)
			assert_int_equal(tokens[i], last);
		close_all(NULL);
	}
}

static void phi3(struct gguf_builder *builder)
{
	gguf_add_text(builder, "general.architecture", "phi3");
}

/* White space behind Phi-3's special tokens goes with them, but not behind these three. */
static void test_phi3(void **state)
{
	uint32_t user, space, word, end;

	(void)state;
	maker_init_pieces(&maker, "llama");
	user = maker_add(&maker, "<|user|>", DN_TOKEN_CONTROL);
	end = maker_add(&maker, "<|endoftext|>", DN_TOKEN_CONTROL);
	space = maker_score(&maker, SPACE, -9);
	maker_score(&maker, "a", -9);
	word = maker_score(&maker, SPACE "a", -1);
	must_open(phi3);
	EXPECT("<|user|>\n a<|user|> \t\n", DN_ENCODE_SPECIAL, user, word, user);
	EXPECT("<|user|> <|user|>", DN_ENCODE_SPECIAL, user, user);
	EXPECT("<s> a", DN_ENCODE_SPECIAL, 1, space, word);
	EXPECT("<|endoftext|> a", DN_ENCODE_SPECIAL, end, space, word);
	close_all(NULL);
	must_open(NULL);
	EXPECT("<|user|> a", DN_ENCODE_SPECIAL, user, space, word);
}

static void test_gemma4(void **state)
{
	uint32_t space, a, b, aa, word, lines, tokens[8];

	(void)state;
	maker_init_pieces(&maker, "gemma4");
	space = maker_score(&maker, SPACE, 0);
	a = maker_score(&maker, "a", 0);
	b = maker_score(&maker, "b", 0);
	aa = maker_merge(&maker, "a", "a");
	word = maker_merge(&maker, SPACE, "a");
	lines = maker_score(&maker, "\n\n\n", 0);
	maker_merge(&maker, "<", "s>");
	must_open(NULL);
	/* No prefix; the first merge goes first wherever it is. */
	EXPECT("a a", 0, a, word);
	EXPECT(" aa b", 0, space, aa, space, b);
	/* A run of lines that is a token is one; other runs go by merges, here by bytes. */
	EXPECT("a\n\n\na", 0, a, lines, a);
	EXPECT("\n\n", 0, BYTE('\n'), BYTE('\n'));
	EXPECT("a\xe2\x82\xac"
	       "a",
	       0, a, BYTE(0xe2), BYTE(0x82), BYTE(0xac), a);
	EXPECT("<s>", 0, BYTE('<'), BYTE('s'), BYTE('>'));
	EXPECT("<s>", DN_ENCODE_SPECIAL, 1);
	tokens[0] = word;
	tokens[1] = BYTE('\n');
	tokens[2] = aa;
	expect_text(tokens, 3, false, " a\naa");
	/* The family names no ids of its own, so without them there is no BOS to add. */
	assert_int_equal(dn_tokenizer_bos(tokenizer), DN_TOKEN_NONE);
	assert_false(dn_tokenizer_adds_bos(tokenizer));
}

/* Embedding models that share its vocabulary. */
static void test_gemma4_by_pre(void **state)
{
	uint32_t a, word;

	(void)state;
	maker_init_pieces(&maker, "gpt2");
	maker.pre = "granite-embed-multi-311m";
	maker_score(&maker, SPACE, 0);
	a = maker_score(&maker, "a", 0);
	word = maker_merge(&maker, SPACE, "a");
	must_open(NULL);
	EXPECT("a a!", 0, a, word, BYTE('!'));
}

static void gemma4_ids(struct gguf_builder *builder)
{
	gguf_add_u32(builder, "tokenizer.ggml.bos_token_id", 1);
	gguf_add_bool(builder, "tokenizer.ggml.add_bos_token", false);
}

static void test_gemma4_markers(void **state)
{
	uint32_t turn, response, html;

	(void)state;
	maker_init_pieces(&maker, "gemma4");
	turn = maker_add(&maker, "<turn|>", DN_TOKEN_CONTROL);
	response = maker_add(&maker, "<|tool_response>", DN_TOKEN_USER_DEFINED);
	html = 2; /* </s> */
	maker.kinds[html] = DN_TOKEN_USER_DEFINED;
	maker_merge(&maker, "a", "a");
	must_open(gemma4_ids);
	/* Early files say that none is added; the family was trained with one. */
	assert_true(dn_tokenizer_adds_bos(tokenizer));
	assert_true(dn_tokenizer_ends(tokenizer, turn));
	assert_true(dn_tokenizer_ends(tokenizer, response));
	assert_false(dn_tokenizer_ends(tokenizer, html));
	assert_int_equal(dn_tokenizer_kind(tokenizer, html), DN_TOKEN_NORMAL);
}

static void unigram_ids(struct gguf_builder *builder)
{
	gguf_add_u32(builder, "tokenizer.ggml.unknown_token_id", 0);
	gguf_add_bool(builder, "tokenizer.ggml.add_space_prefix", true);
	gguf_add_bool(builder, "tokenizer.ggml.remove_extra_whitespaces", true);
}

/* A text of one letter, where each place has as many ways as there may be. */
static void test_unigram_long(void **state)
{
	static char text[100000];
	static char runs[128][129];

	(void)state;
	maker_init_pieces(&maker, "t5");
	maker_score(&maker, SPACE, -2);
	for (uint32_t i = 0; i < 128; i++) {
		uint32_t token = maker_score(&maker, "", -1);

		memset(runs[i], 'a', i + 1);
		maker.tokens[token] = runs[i];
	}
	must_open(unigram_ids);
	memset(text, 'a', sizeof(text));
	assert_int_equal(encode(text, sizeof(text), 0, NULL, 0), 1 + (sizeof(text) + 127) / 128);
}

/* The largest sum, not the best pair first: "abc" is a + bc, though ab is the best token. */
static void test_unigram(void **state)
{
	static char huge[130];
	struct dn_surround surround;
	uint32_t space, a, c, ab, bc, word, user;

	(void)state;
	maker_init_pieces(&maker, "t5");
	space = maker_score(&maker, SPACE, -2);
	a = maker_score(&maker, "a", -3);
	c = maker_score(&maker, "c", -9);
	ab = maker_score(&maker, "ab", -1);
	bc = maker_score(&maker, "bc", -2);
	word = maker_score(&maker, SPACE "ab", -4);
	user = maker_add(&maker, "<u>", DN_TOKEN_USER_DEFINED);
	must_open(unigram_ids);
	EXPECT("abc", 0, space, a, bc);
	EXPECT("  ab   ab ", 0, space, ab, space, ab);
	EXPECT("ab<u>abc", 0, space, ab, user, space, a, bc);
	assert_int_equal(encode("   ", 3, 0, NULL, 0), 0);
	/* No token for a byte here: a run of what is unknown is one. */
	EXPECT("\xe2\x82\xac\xff"
	       "c",
	       0, space, 0, c);
	EXPECT("<s>", 0, space, 0);
	expect_text((const uint32_t[]){ word, word }, 2, false, "ab ab");
	dn_tokenizer_surround(tokenizer, &surround);
	assert_int_equal(surround.before, DN_TOKEN_NONE);
	assert_int_equal(surround.after, 1);
	close_all(NULL);
	maker.scores[word] = -2.5F;
	must_open(unigram_ids);
	EXPECT("abc ab", 0, space, a, bc, word);
	close_all(NULL);
	maker.scores[a] = -INFINITY;
	must_fail(EINVAL, "no logarithm");
	maker.scores[a] = -1;
	memset(huge, 'a', 129);
	maker.tokens[maker.n_tokens - 2] = huge;
	must_fail(E2BIG, "has 129 bytes");
}

static const uint8_t *charsmap;
static size_t charsmap_size;

static void with_charsmap(struct gguf_builder *builder)
{
	unigram_ids(builder);
	gguf_add_array(builder, "tokenizer.ggml.precompiled_charsmap", DN_GGUF_U8, charsmap_size,
		       charsmap, charsmap_size);
}

/* "b" becomes "a a": a trie of one child, then its value. */
static void test_charsmap(void **state)
{
	uint8_t map[4 + 4 * 512 + 4] = { 0, 8 };
	uint32_t words[3] = { 256U << 10, 16U << 10 | 1U << 8 | 'b', 0x80000000U };
	const uint32_t places[3] = { 0, 256 ^ 'b', 256 ^ 'b' ^ 16 };
	struct dn_error err = DN_ERROR_INIT;
	uint32_t word;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (size_t k = 0; k < 4; k++)
			map[4 + 4 * places[i] + k] = (uint8_t)(words[i] >> (8 * k));
	}
	memcpy(map + sizeof(map) - 4, "a a", 4);
	charsmap = map;
	charsmap_size = sizeof(map);
	maker_init_pieces(&maker, "t5");
	maker_score(&maker, SPACE, -2);
	maker_score(&maker, "a", -3);
	word = maker_score(&maker, SPACE "a", -1);
	must_open(with_charsmap);
	EXPECT("b", 0, word, word);
	EXPECT("a b", 0, word, word, word);
	close_all(NULL);

	/* Cut short, without an end, with a size that is not there. */
	charsmap_size = 3;
	assert_int_equal(open_maker(&err, with_charsmap), -EINVAL);
	close_all(NULL);
	charsmap_size = sizeof(map) - 1;
	assert_int_equal(open_maker(&err, with_charsmap), -EINVAL);
	assert_non_null(strstr(err.message, "no end"));
	close_all(NULL);
	charsmap_size = 4 + 4 * 256;
	assert_int_equal(open_maker(&err, with_charsmap), -EINVAL);
	assert_null(tokenizer);
}

static void test_surround(void **state)
{
	struct dn_surround surround;

	(void)state;
	maker_init_pieces(&maker, "llama");
	must_open(NULL);
	dn_tokenizer_surround(tokenizer, &surround);
	assert_int_equal(surround.before, 1);
	assert_int_equal(surround.after, DN_TOKEN_NONE);
	assert_int_equal(surround.between[0], DN_TOKEN_NONE);
	assert_int_equal(surround.between[1], DN_TOKEN_NONE);
}

static void test_hostile(void **state)
{
	(void)state;
	maker_init_pieces(&maker, "llama");
	maker_score(&maker, "a", -1);
	maker.scores[FIRST] = NAN;
	must_fail(EINVAL, "tokenizer.ggml.scores[259] is not a number");
	maker.scores[FIRST] = -1;
	maker.scored = false;
	must_fail(EINVAL, "tokenizer.ggml.scores is missing");
	maker.model = "gemma4";
	maker.scored = true;
	must_fail(EINVAL, "tokenizer.ggml.merges is missing");
	/* Two tokens of one text, an empty one, and none where the kind expects BOS and EOS. */
	maker.model = "llama";
	maker_score(&maker, "a", -1);
	maker_score(&maker, "", -1);
	must_open(no_prefix);
	EXPECT("a", 0, FIRST);
	close_all(NULL);
	maker.n_tokens = 1;
	must_open(NULL);
	assert_int_equal(dn_tokenizer_bos(tokenizer), DN_TOKEN_NONE);
	assert_int_equal(dn_tokenizer_eos(tokenizer), DN_TOKEN_NONE);
	assert_false(dn_tokenizer_adds_bos(tokenizer));
}

static void test_memory_is_what_was_said(void **state)
{
	static const char *const models[] = { "llama", "gemma4", "t5" };
	struct gguf_builder builder;
	uint32_t seed = 1;
	size_t said;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(models); i++) {
		random_vocabulary(&seed);
		maker.model = models[i];
		maker_merge(&maker, "a", "b");
		gguf_builder_init(&builder);
		maker_write(&maker, &builder);
		assert_int_equal(maker_open(&builder, &gguf), 0);
		said = dn_tokenizer_memory(gguf);
		failing_malloc_arm(0);
		assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, NULL), 0);
		assert_true(failing_malloc_total() > 1000);
		assert_true(failing_malloc_total() <= said);
		failing_malloc_disarm();
		close_all(NULL);
	}
}

static void fail_each_allocation(void)
{
	char text[3000];
	size_t n = 0, nth;

	for (nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = dn_tokenizer_new(gguf, NULL, &tokenizer, &err);
		if (!failing_malloc_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(err.code, ENOMEM);
		assert_null(tokenizer);
	}
	assert_true(nth > 7);
	memset(text, 'a', sizeof(text));
	for (nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = dn_tokenizer_encode(tokenizer, text, sizeof(text), 0, NULL, 0, &n, &err);
		if (!failing_malloc_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(err.code, ENOMEM);
		assert_int_equal(n, 0);
	}
	assert_true(nth > 3);
	assert_in_range(n, 1, 3001);
}

static void test_failing_allocations(void **state)
{
	static const char *const models[] = { "llama", "gemma4", "t5" };
	uint32_t seed = 3;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(models); i++) {
		random_vocabulary(&seed);
		maker.model = models[i];
		maker_merge(&maker, "a", "a");
		must_open(NULL);
		tokenizer = dn_tokenizer_free(tokenizer);
		fail_each_allocation();
		close_all(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_scores_decide, close_all),
		cmocka_unit_test_teardown(test_prefix_and_specials, close_all),
		cmocka_unit_test_teardown(test_continued_text, close_all),
		cmocka_unit_test_teardown(test_bytes, close_all),
		cmocka_unit_test_teardown(test_against_definition, close_all),
		cmocka_unit_test_teardown(test_long_words, close_all),
		cmocka_unit_test_teardown(test_phi3, close_all),
		cmocka_unit_test_teardown(test_gemma4, close_all),
		cmocka_unit_test_teardown(test_gemma4_by_pre, close_all),
		cmocka_unit_test_teardown(test_gemma4_markers, close_all),
		cmocka_unit_test_teardown(test_unigram, close_all),
		cmocka_unit_test_teardown(test_unigram_long, close_all),
		cmocka_unit_test_teardown(test_charsmap, close_all),
		cmocka_unit_test_teardown(test_surround, close_all),
		cmocka_unit_test_teardown(test_hostile, close_all),
		cmocka_unit_test_teardown(test_memory_is_what_was_said, close_all),
		cmocka_unit_test_teardown(test_failing_allocations, close_all),
	};

	return cmocka_run_group_tests_name("tokenizer-pieces", tests, NULL, NULL);
}
