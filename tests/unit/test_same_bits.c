/* SPDX-License-Identifier: MIT */
/*
 * Real models: each token's logits have the same bits with 1 and 2 threads, in chunks of any size,
 * alone or as one of eight sequences, with a prefix that another sequence computed, from a snapshot,
 * and from the prepared form. Families at large are test_families.c's.
 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <dunlin/model.h>

#include "engine/prepared.h"

#define N_TOKENS    72
#define N_SEQUENCES 8
#define FNV_OFFSET  UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME   UINT64_C(0x100000001b3)

/**
 * struct fixture - a model, and what each token's logits are to be
 * @want: hashes of rows
 */
struct fixture {
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t vocabulary;
	uint32_t tokens[N_TOKENS];
	uint64_t want[N_TOKENS];
};

/* By words: rows have hundreds of thousands of logits. */
static uint64_t hash_row(const struct fixture *f, uint32_t row)
{
	const float *logits = dn_context_logits(f->context, row);
	uint64_t hash = FNV_OFFSET;

	for (uint32_t i = 0; i < f->vocabulary; i++) {
		uint32_t bits;

		memcpy(&bits, &logits[i], sizeof(bits));
		hash = (hash ^ bits) * FNV_PRIME;
	}
	return hash;
}

static void open_context(struct fixture *f, uint32_t threads)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = threads,
		.context = 96,
		.sequences = N_SEQUENCES,
		.outputs = N_SEQUENCES,
	};
	struct dn_error err = DN_ERROR_INIT;

	dn_context_free(f->context);
	f->context = NULL;
	if (dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s", err.message);
}

static struct dn_sequence *new_sequence(struct fixture *f)
{
	struct dn_sequence *s = NULL;

	assert_int_equal(dn_sequence_new(f->context, &s, NULL), 0);
	return s;
}

/* Tokens [@from, @to) in steps of @chunk; the last of each has logits. */
static void feed(struct fixture *f, struct dn_sequence *s, uint32_t from, uint32_t to,
		 uint32_t chunk)
{
	for (uint32_t at = from; at < to; at += chunk) {
		const struct dn_batch_item item = { s, f->tokens + at, DN_MIN(chunk, to - at),
						    DN_LOGITS_LAST };
		const uint32_t last = at + item.n_tokens - 1;

		assert_int_equal(dn_context_step(f->context, &item, 1, NULL), 0);
		if (hash_row(f, 0) != f->want[last])
			fail_msg("token %u in steps of %u from %u: other bits", last, chunk, from);
	}
}

static void set_want(struct fixture *f)
{
	struct dn_sequence *s = new_sequence(f);

	for (uint32_t i = 0; i < N_TOKENS; i++) {
		const struct dn_batch_item item = { s, f->tokens + i, 1, DN_LOGITS_LAST };

		assert_int_equal(dn_context_step(f->context, &item, 1, NULL), 0);
		f->want[i] = hash_row(f, 0);
		assert_true(i == 0 || f->want[i] != f->want[i - 1]);
	}
	dn_sequence_free(s);
}

static void check_alone(struct fixture *f)
{
	static const uint32_t chunks[] = { 5, 32, N_TOKENS };

	for (size_t i = 0; i < DN_ARRAY_SIZE(chunks); i++) {
		struct dn_sequence *s = new_sequence(f);

		feed(f, s, 0, N_TOKENS, chunks[i]);
		dn_sequence_free(s);
	}
}

/* Eight that began one after the other, so that each is somewhere else in the text. */
static void check_batch(struct fixture *f)
{
	struct dn_sequence *s[N_SEQUENCES];

	for (uint32_t i = 0; i < N_SEQUENCES; i++) {
		s[i] = new_sequence(f);
		feed(f, s[i], 0, 5 * i + 1, 32);
	}
	for (uint32_t t = 0; t < 12; t++) {
		struct dn_batch_item items[N_SEQUENCES];

		for (uint32_t i = 0; i < N_SEQUENCES; i++)
			items[i] = (struct dn_batch_item){ s[i], f->tokens + 5 * i + 1 + t, 1,
							   DN_LOGITS_LAST };
		assert_int_equal(dn_context_step(f->context, items, N_SEQUENCES, NULL), 0);
		for (uint32_t i = 0; i < N_SEQUENCES; i++)
			assert_int_equal(hash_row(f, i), f->want[5 * i + 1 + t]);
	}
	for (uint32_t i = 0; i < N_SEQUENCES; i++)
		dn_sequence_free(s[i]);
}

static void check_prefix(struct fixture *f)
{
	const int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct dn_sequence *from = new_sequence(f);
	struct dn_sequence *to = new_sequence(f);
	struct dn_sequence *restored = new_sequence(f);

	assert_true(fd >= 0);
	feed(f, from, 0, 50, 50);
	assert_int_equal(dn_sequence_share(to, from, 45, NULL), 0);
	feed(f, to, dn_sequence_length(to), N_TOKENS, 9);
	assert_int_equal(dn_sequence_save(from, fd, NULL), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(dn_sequence_restore(restored, fd, NULL), 0);
	feed(f, restored, 50, N_TOKENS, 4);
	dn_sequence_free(from);
	dn_sequence_free(to);
	dn_sequence_free(restored);
	close(fd);
}

static void check_prepared(struct fixture *f)
{
	const int fd = memfd_create("prepared", MFD_CLOEXEC);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	uint64_t head_bytes = 0;

	assert_true(fd >= 0);
	if (dn_model_prepare(f->model, fd, &head_bytes, &err) < 0 ||
	    dn_model_open_prepared(fd, &model, &err) < 0)
		fail_msg("%s", err.message);
	f->context = dn_context_free(f->context);
	dn_model_free(f->model);
	f->model = model;
	open_context(f, 2);
	check_alone(f);
	f->context = dn_context_free(f->context);
	f->model = dn_model_free(f->model);
	close(fd);
}

static void check_model(const char *path)
{
	struct fixture f = { .fd = -1 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model_info info;

	if (!path)
		skip();
	f.fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(f.fd >= 0);
	if (dn_model_open(&f.fd, 1, &f.model, &err) < 0)
		fail_msg("%s", err.message);
	dn_model_get_info(f.model, &info);
	f.vocabulary = info.vocabulary;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		f.tokens[i] = (i * 977 + i * i % 101 + 5) % f.vocabulary;
	open_context(&f, 1);
	set_want(&f);
	for (uint32_t threads = 1; threads <= 2; threads++) {
		open_context(&f, threads);
		check_alone(&f);
		check_batch(&f);
		check_prefix(&f);
	}
	check_prepared(&f);
	close(f.fd);
}

static void test_smollm2(void **state)
{
	(void)state;
	check_model(getenv("DUNLIN_TEST_MODEL"));
}

static void test_gemma(void **state)
{
	(void)state;
	check_model(getenv("DUNLIN_TEST_GEMMA"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_smollm2),
		cmocka_unit_test(test_gemma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
