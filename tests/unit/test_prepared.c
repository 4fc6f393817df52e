/* SPDX-License-Identifier: MIT */
/* The prepared form: the same logits, the same file given back, nothing taken from a spoilt one. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <fcntl.h>

#include <cmocka.h>

#include <dunlin/model.h>

#include "engine/prepared.h"
#include "failing-malloc.h"
#include "tiny-model.h"

#define N_TOKENS 7

/* Every family's file that the build has made, and the types of a tiny model. */
static const char *const families[] = { "llama",   "qwen2",  "qwen3",	     "qwen3moe", "qwen35",
					"gemma2",  "gemma3", "gemma4",	     "phi3",	 "granite",
					"smollm3", "lfm2",   "granitehybrid" };

static int memory_fd(void)
{
	int fd = memfd_create("prepared", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static uint8_t *bytes_of(int fd, size_t *ret_size)
{
	struct stat st;
	uint8_t *bytes;

	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
	*ret_size = (size_t)st.st_size;
	return bytes;
}

static float *logits_of(struct dn_model *model, size_t *ret_n)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options), .threads = 2, .context = 16, .outputs = N_TOKENS
	};
	const uint32_t tokens[N_TOKENS] = { 1, 5, 3, 2, 7, 4, 6 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_context *context = NULL;
	struct dn_sequence *sequence = NULL;
	struct dn_batch_item item;
	struct dn_model_info info;
	float *logits;

	dn_model_get_info(model, &info);
	if (dn_context_new(model, &options, &context, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(dn_sequence_new(context, &sequence, &err), 0);
	item = (struct dn_batch_item){ sequence, tokens, N_TOKENS, DN_LOGITS_ALL };
	assert_int_equal(dn_context_step(context, &item, 1, &err), 0);
	*ret_n = (size_t)N_TOKENS * info.vocabulary;
	logits = malloc(*ret_n * sizeof(*logits));
	assert_non_null(logits);
	memcpy(logits, dn_context_logits(context, 0), *ret_n * sizeof(*logits));
	dn_sequence_free(sequence);
	dn_context_free(context);
	return logits;
}

/* A model's file, or one that it is made from again. */
static void check_given_back(const struct dn_model *prepared, int original)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = memory_fd();
	size_t size, original_size;
	uint8_t *bytes, *original_bytes;

	if (dn_model_give_back(prepared, 0, fd, &err) < 0)
		fail_msg("%s", err.message);
	bytes = bytes_of(fd, &size);
	original_bytes = bytes_of(original, &original_size);
	assert_int_equal(size, original_size);
	assert_memory_equal(bytes, original_bytes, size);
	free(bytes);
	free(original_bytes);
	close(fd);
}

static void check_file(int fd)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *plain = NULL;
	struct dn_model *prepared = NULL;
	int prepared_fd = memory_fd();
	float *expected, *found;
	size_t n_expected, n_found;
	uint64_t head_bytes = 0;

	assert_int_equal(dn_model_open(&fd, 1, &plain, &err), 0);
	if (dn_model_prepare(plain, prepared_fd, &head_bytes, &err) < 0 ||
	    dn_model_open_prepared(prepared_fd, &prepared, &err) < 0)
		fail_msg("%s", err.message);
	/* Before the weights are mapped, and after. */
	check_given_back(prepared, fd);
	expected = logits_of(plain, &n_expected);
	found = logits_of(prepared, &n_found);
	assert_int_equal(n_expected, n_found);
	assert_memory_equal(expected, found, n_found * sizeof(*found));
	check_given_back(prepared, fd);
	free(expected);
	free(found);
	dn_model_free(prepared);
	dn_model_free(plain);
	close(prepared_fd);
}

static void test_types(void **state)
{
	static const enum dn_type types[] = { DN_TYPE_F32,  DN_TYPE_F16,  DN_TYPE_Q4_0,
					      DN_TYPE_Q4_1, DN_TYPE_Q8_0, DN_TYPE_BF16 };

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(types); i++) {
		struct tiny_model tiny = tiny_model_default(types[i]);
		int fd;

		tiny.fused = i % 2;
		tiny.untied = i % 3 == 0;
		/* Rows that do not fill the last group. */
		tiny.vocabulary = 61;
		fd = tiny_model_fd(&tiny);
		check_file(fd);
		close(fd);
	}
}

static void test_families(void **state)
{
	const char *folder = getenv("DUNLIN_FAMILIES");

	(void)state;
	if (!folder)
		skip();
	for (size_t i = 0; i < DN_ARRAY_SIZE(families); i++) {
		char path[4096];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s.gguf", folder, families[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		check_file(fd);
		close(fd);
	}
}

static int prepared_of(const struct tiny_model *tiny)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	int fd = tiny_model_fd(tiny);
	int prepared = memory_fd();
	uint64_t head_bytes = 0;

	assert_int_equal(dn_model_open(&fd, 1, &model, &err), 0);
	assert_int_equal(dn_model_prepare(model, prepared, &head_bytes, &err), 0);
	assert_true(head_bytes > sizeof(struct dn_prepared_head));
	dn_model_free(model);
	close(fd);
	return prepared;
}

/* On flash it may take the place of the model. */
static void test_size(void **state)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	struct stat original, st;
	int fd, prepared;

	(void)state;
	tiny.ffn = 512;
	tiny.vocabulary = 4096;
	fd = tiny_model_fd(&tiny);
	assert_int_equal(fstat(fd, &original), 0);
	prepared = prepared_of(&tiny);
	assert_int_equal(fstat(prepared, &st), 0);
	/* The form itself: 1 % and what alignment takes. */
	assert_true(st.st_size < original.st_size + original.st_size / 100 + (192 << 10));
	close(prepared);
	close(fd);
}

/* Bytes behind the last tensor are given back too. */
static void test_trailing(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	int fd = tiny_model_fd(&tiny);
	struct stat st;

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, "behind all", 10, st.st_size + 3), 10);
	check_file(fd);
	close(fd);
}

/* Files that are larger than what the form has of them. */
static void test_rest_that_is_not_there(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	int fd = prepared_of(&tiny);
	int sink = memory_fd();
	struct dn_prepared_head head;

	(void)state;
	assert_int_equal(pread(fd, &head, sizeof(head), 0), (ssize_t)sizeof(head));
	head.images[0].file_bytes += 200000;
	assert_int_equal(pwrite(fd, &head, sizeof(head), 0), (ssize_t)sizeof(head));
	assert_int_equal(dn_model_open_prepared(fd, &model, &err), 0);
	assert_int_equal(dn_model_give_back(model, 0, sink, &err), -EBADMSG);
	dn_model_free(model);
	close(sink);
	close(fd);
}

static int open_spoilt(const uint8_t *bytes, size_t size)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	int fd = memory_fd();
	int r;

	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	r = dn_model_open_prepared(fd, &model, &err);
	assert_true(r <= 0);
	if (r < 0) {
		assert_int_equal(err.code, -r);
		assert_true(err.message[0] != '\0');
	}
	dn_model_free(model);
	close(fd);
	return r;
}

static void test_spoilt_head(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	int fd = prepared_of(&tiny);
	struct dn_prepared_head *head;
	struct dn_prepared_head good;
	size_t size;
	uint8_t *bytes = bytes_of(fd, &size);

	(void)state;
	head = (struct dn_prepared_head *)bytes;
	good = *head;
	assert_int_equal(open_spoilt(bytes, size), 0);
	assert_int_equal(open_spoilt(bytes, size - 1), -EBADMSG);
	assert_int_equal(open_spoilt(bytes, sizeof(good) - 1), -EBADMSG);
	assert_int_equal(open_spoilt(bytes, 0), -EBADMSG);
	head->magic[0] ^= 1;
	assert_int_equal(open_spoilt(bytes, size), -EINVAL);
	*head = good;
	head->layout++;
	assert_int_equal(open_spoilt(bytes, size), -ESTALE);
	*head = good;
	head->n_weights--;
	assert_int_equal(open_spoilt(bytes, size), -ESTALE);
	*head = good;
	head->region_bytes += 64;
	assert_true(open_spoilt(bytes, size) < 0);
	*head = good;
	((struct dn_prepared_weight *)(bytes + head->weights_at))[1].offset += 64;
	assert_int_equal(open_spoilt(bytes, size), -ESTALE);
	free(bytes);
	close(fd);
}

/* Each word of the head with numbers that arithmetic stumbles over. */
static void test_head_words(void **state)
{
	static const uint64_t numbers[] = { 0,		1,
					    64,		65536,
					    UINT32_MAX, (uint64_t)1 << 40,
					    INT64_MAX,	UINT64_MAX - 65535,
					    UINT64_MAX };
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	int fd = prepared_of(&tiny);
	size_t size;
	uint8_t *bytes = bytes_of(fd, &size);
	const size_t end =
		offsetof(struct dn_prepared_head, images) + 2 * sizeof(struct dn_gguf_image);

	(void)state;
	for (size_t at = 8; at < end; at += 8) {
		uint64_t good;

		memcpy(&good, bytes + at, sizeof(good));
		for (size_t i = 0; i < DN_ARRAY_SIZE(numbers); i++) {
			memcpy(bytes + at, &numbers[i], sizeof(numbers[i]));
			(void)open_spoilt(bytes, size);
		}
		memcpy(bytes + at, &good, sizeof(good));
	}
	assert_int_equal(open_spoilt(bytes, size), 0);
	free(bytes);
	close(fd);
}

static void test_refused(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model = NULL;
	int fd = tiny_model_fd(&tiny);
	int prepared = prepared_of(&tiny);
	int sink = open("/dev/full", O_WRONLY | O_CLOEXEC);
	uint64_t head_bytes = 0;

	(void)state;
	assert_int_equal(dn_model_open(&fd, 1, &model, &err), 0);
	assert_int_equal(dn_model_give_back(model, 0, sink, &err), -EINVAL);
	assert_int_equal(dn_model_prepare(model, sink, &head_bytes, &err), -ENOSPC);
	dn_model_free(model);
	assert_int_equal(dn_model_open_prepared(fd, &model, &err), -EINVAL);
	assert_int_equal(dn_model_open(&prepared, 1, &model, &err), -ENOTSUP);
	assert_int_equal(dn_model_open_prepared(prepared, &model, &err), 0);
	assert_int_equal(dn_model_prepare(model, sink, &head_bytes, &err), -EALREADY);
	assert_int_equal(dn_model_give_back(model, 1, sink, &err), -EINVAL);
	assert_int_equal(dn_model_give_back(model, 0, sink, &err), -ENOSPC);
	dn_model_free(model);
	close(sink);
	close(prepared);
	close(fd);
}

static void test_short_of_memory(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	int fd = prepared_of(&tiny);

	(void)state;
	for (size_t nth = 1;; nth++) {
		const int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
		struct dn_error err = DN_ERROR_INIT;
		struct dn_model *model = NULL;
		bool failed;
		int r;

		failing_malloc_arm(nth);
		r = dn_model_open_prepared(fd, &model, &err);
		if (r >= 0)
			r = dn_model_give_back(model, 0, sink, &err);
		failed = failing_malloc_disarm();
		dn_model_free(model);
		close(sink);
		assert_int_equal(r, failed ? -ENOMEM : 0);
		if (!failed)
			break;
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_trailing),
		cmocka_unit_test(test_rest_that_is_not_there),
		cmocka_unit_test(test_spoilt_head),
		cmocka_unit_test(test_head_words),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_short_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
