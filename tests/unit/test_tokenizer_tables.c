/* SPDX-License-Identifier: MIT */
/* Tables that were kept: the same tokens as with built ones, and safe whatever they say. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <dunlin/tokenizer.h>

#include "base/buffer.h"
#include "engine/tokenizer/tables.h"
#include "engine/tokenizer/tokenizer-internal.h"
#include "tokenizer-maker.h"

#define TOKENS_MAX 4096

static const char *const texts[] = {
	"",
	"the abab aa aaaa hehe",
	"  the the\n\nthe <|im_end|> <u><u> 12 1212",
	"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 end",
	"Ferries cross the bay at 7:45, 9:15 and 11:00; none on Sundays.",
};

static int put_buffer(void *data, const void *bytes, size_t size, struct dn_error *err)
{
	struct dn_buffer *buffer = data;

	(void)err;
	return dn_buffer_append(buffer, bytes, size);
}

static void write_tables(const struct dn_tokenizer *tokenizer, struct dn_buffer *buffer)
{
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_tokenizer_tables_write(tokenizer, put_buffer, buffer, &err), 0);
	assert_int_equal(buffer->size, dn_tokenizer_tables_size(tokenizer));
}

static size_t encode(const struct dn_tokenizer *tokenizer, const char *text, uint32_t *tokens)
{
	struct dn_error err = DN_ERROR_INIT;
	size_t n = 0;

	assert_int_equal(dn_tokenizer_encode(tokenizer, text, strlen(text), DN_ENCODE_SPECIAL,
					     tokens, TOKENS_MAX, &n, &err),
			 0);
	assert_true(n <= TOKENS_MAX);
	return n;
}

static void check_same(const struct dn_tokenizer *a, const struct dn_tokenizer *b)
{
	uint32_t of_a[TOKENS_MAX], of_b[TOKENS_MAX];

	for (size_t i = 0; i < DN_ARRAY_SIZE(texts); i++) {
		const size_t n = encode(a, texts[i], of_a);

		assert_int_equal(encode(b, texts[i], of_b), n);
		assert_memory_equal(of_a, of_b, n * sizeof(of_a[0]));
	}
	assert_int_equal(a->vocabulary.max_size, b->vocabulary.max_size);
	assert_int_equal(a->vocabulary.longest, b->vocabulary.longest);
	assert_memory_equal(a->vocabulary.entries, b->vocabulary.entries,
			    a->vocabulary.n_tokens * sizeof(*a->vocabulary.entries));
}

/* Whatever they say: it opens, and ids stay inside the vocabulary. */
static void check_safe(const struct dn_gguf *gguf, const struct dn_tokenizer_tables *tables)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_tokenizer *tokenizer = NULL;
	uint32_t tokens[TOKENS_MAX];

	assert_int_equal(dn_tokenizer_new(gguf, tables, &tokenizer, &err), 0);
	for (size_t i = 0; i < DN_ARRAY_SIZE(texts); i++) {
		const size_t n = encode(tokenizer, texts[i], tokens);

		for (size_t t = 0; t < n; t++)
			assert_true(tokens[t] < dn_tokenizer_size(tokenizer));
	}
	dn_tokenizer_free(tokenizer);
}

static void spoil(const struct dn_gguf *gguf, const struct dn_buffer *good)
{
	static const uint32_t words[] = { 0, 1, 7, 0x1fffff, 0x200000, 0x7fffffff, 0xffffffff };
	DN_AUTO_FREE uint8_t *bytes = malloc(good->size);
	struct dn_tokenizer_tables tables = { bytes, good->size };

	assert_non_null(bytes);
	for (size_t at = 0; at + 4 <= good->size; at += 4) {
		memcpy(bytes, good->data, good->size);
		memcpy(bytes + at, &words[at / 4 % DN_ARRAY_SIZE(words)], 4);
		check_safe(gguf, &tables);
	}
	memcpy(bytes, good->data, good->size);
	for (tables.size = 0; tables.size < good->size; tables.size += 61)
		check_safe(gguf, &tables);
}

static void check(const struct dn_gguf *gguf, bool spoils)
{
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT((size_t)64 << 20);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_tokenizer *built = NULL;
	struct dn_tokenizer *kept = NULL;
	struct dn_tokenizer_tables tables;

	assert_int_equal(dn_tokenizer_new(gguf, NULL, &built, &err), 0);
	write_tables(built, &buffer);
	tables = (struct dn_tokenizer_tables){ (const uint8_t *)buffer.data, buffer.size };
	assert_int_equal(dn_tokenizer_new(gguf, &tables, &kept, &err), 0);
	assert_non_null(kept->vocabulary.kept_slots);
	assert_int_equal(kept->bpe.kept_merges != NULL, built->bpe.n_merges > 0);
	check_same(built, kept);
	if (spoils)
		spoil(gguf, &buffer);
	dn_tokenizer_free(kept);
	dn_tokenizer_free(built);
}

static void make_pieces(struct maker *maker, const char *kind)
{
	static const char *const pieces[] = { "\xe2\x96\x81",  "a",  "b",  "t",	 "h",	"e",
					      "\xe2\x96\x81t", "he", "ab", "aa", "aaaa" };

	maker_init_pieces(maker, kind);
	for (size_t i = 0; i < DN_ARRAY_SIZE(pieces); i++)
		maker_score(maker, pieces[i], -(float)(i * 7 % 11));
	if (!strcmp(kind, "gemma4")) {
		maker_merge(maker, "a", "a");
		maker_merge(maker, "h", "e");
	}
}

static void check_maker(struct maker *maker)
{
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;

	gguf_builder_init(&builder);
	maker_write(maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	check(gguf, true);
	dn_gguf_free(gguf);
}

static void test_pieces(void **state)
{
	static struct maker maker;
	static const char *const kinds[] = { "llama", "gemma4" };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(kinds); i++) {
		make_pieces(&maker, kinds[i]);
		check_maker(&maker);
	}
}

static void test_bytes(void **state)
{
	static struct maker maker;

	(void)state;
	maker_init(&maker, "gpt-2");
	maker_merge(&maker, "a", "a");
	maker_merge(&maker, "h", "e");
	maker_merge(&maker, "aa", "aa");
	/* One that does nothing: its left side is no token. */
	maker_merge(&maker, "zz", "q");
	maker_add(&maker, "<|im_end|>", DN_TOKEN_CONTROL);
	check_maker(&maker);
}

static void check_file(const char *variable)
{
	const char *path = getenv(variable);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int fd;

	if (!path)
		skip();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(dn_gguf_open(&fd, 1, &gguf, &err), 0);
	check(gguf, false);
	dn_gguf_free(gguf);
	close(fd);
}

static void test_model(void **state)
{
	(void)state;
	check_file("DUNLIN_TEST_MODEL");
}

static void test_gemma(void **state)
{
	(void)state;
	check_file("DUNLIN_TEST_GEMMA");
}

/* Of one model for another. */
static void test_another_vocabulary(void **state)
{
	static struct maker maker;
	DN_AUTO_BUFFER struct dn_buffer buffer = DN_BUFFER_INIT((size_t)1 << 20);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_tokenizer *tokenizer = NULL;
	struct dn_tokenizer_tables tables;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;

	(void)state;
	make_pieces(&maker, "llama");
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	assert_int_equal(dn_tokenizer_new(gguf, NULL, &tokenizer, &err), 0);
	write_tables(tokenizer, &buffer);
	dn_tokenizer_free(tokenizer);
	dn_gguf_free(gguf);

	maker_init(&maker, "gpt-2");
	gguf_builder_init(&builder);
	maker_write(&maker, &builder);
	assert_int_equal(maker_open(&builder, &gguf), 0);
	tables = (struct dn_tokenizer_tables){ (const uint8_t *)buffer.data, buffer.size };
	assert_int_equal(dn_tokenizer_new(gguf, &tables, &tokenizer, &err), 0);
	assert_null(tokenizer->vocabulary.kept_slots);
	dn_tokenizer_free(tokenizer);
	dn_gguf_free(gguf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_gemma),
		cmocka_unit_test(test_another_vocabulary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
