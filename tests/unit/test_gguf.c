/* SPDX-License-Identifier: MIT */
/* GGUF: good files, typed look-ups, damage, memory that runs out. Lies: test_gguf_hostile.c. */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"

#include "failing-malloc.h"
#include "gguf-builder.h"
#include "gguf-walk.h"

static const char *const tokens[] = { "a", "", "\xc4\xa0the" };
static const uint64_t shape[2] = { 64, 3 };
static const uint64_t row[1] = { 8 };

/* One of everything. */
static void build(struct gguf_builder *builder)
{
	const float norm[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	gguf_builder_init(builder);
	gguf_add_text(builder, "general.architecture", "llama");
	gguf_add_u32(builder, "llama.block_count", 3000000000U);
	gguf_add_f32(builder, "llama.eps", 0.5F);
	gguf_add_bool(builder, "yes", true);
	gguf_add_bool(builder, "no", false);
	gguf_add_raw(builder, "u8", DN_GGUF_U8, "\xff", 1);
	gguf_add_raw(builder, "i8", DN_GGUF_I8, "\xff", 1);
	gguf_add_raw(builder, "u16", DN_GGUF_U16, "\xfe\xff", 2);
	gguf_add_raw(builder, "i16", DN_GGUF_I16, "\xfe\xff", 2);
	gguf_add_raw(builder, "i32", DN_GGUF_I32, "\x01\x02\x03\x04", 4);
	gguf_add_raw(builder, "i32-", DN_GGUF_I32, "\xff\xff\xff\xff", 4);
	gguf_add_raw(builder, "u64", DN_GGUF_U64, "\xff\xff\xff\xff\0\0\0\0", 8);
	gguf_add_raw(builder, "u64+", DN_GGUF_U64, "\0\0\0\0\x01\0\0\0", 8);
	gguf_add_raw(builder, "u64++", DN_GGUF_U64, "\x01\0\0\0\0\0\x20\0", 8);
	gguf_add_raw(builder, "i64", DN_GGUF_I64, "\0\0\0\0\0\0\0\x80", 8);
	gguf_add_raw(builder, "i64-", DN_GGUF_I64, "\xfd\xff\xff\xff\xff\xff\xff\xff", 8);
	gguf_add_raw(builder, "f64", DN_GGUF_F64, "\0\0\0\0\0\0\xf8\xbf", 8);
	gguf_add_f32(builder, "nan", NAN);
	gguf_add_f32(builder, "inf", INFINITY);
	gguf_add_texts(builder, "tokens", tokens, 3);
	gguf_add_array(builder, "types", DN_GGUF_I32, 2, "\x01\0\0\0\x03\0\0\0", 8);
	gguf_add_array(builder, "none", DN_GGUF_STRING, 0, "", 0);
	gguf_add_tensor(builder, "token_embd.weight", DN_TYPE_Q8_0, 2, shape, NULL);
	gguf_add_tensor(builder, "output_norm.weight", DN_TYPE_F32, 1, row, norm);
}

static int open_good(const struct gguf_builder *builder, struct dn_gguf **ret)
{
	struct dn_error err = DN_ERROR_INIT;
	int fd = gguf_builder_fd(builder);

	if (dn_gguf_open(&fd, 1, ret, &err) != 0)
		fail_msg("%s", err.message);
	return fd;
}

static void test_shape(void **state)
{
	const struct dn_gguf_tensor *tensor;
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	float norm[8];
	int fd;

	(void)state;
	for (uint32_t version = 2; version <= 3; version++) {
		build(&builder);
		builder.version = version;
		fd = open_good(&builder, &gguf);
		assert_int_equal(dn_gguf_version(gguf), version);
		assert_int_equal(dn_gguf_file_size(gguf), lseek(fd, 0, SEEK_END));
		assert_int_equal(dn_gguf_n_entries(gguf), 22);
		assert_int_equal(dn_gguf_n_tensors(gguf), 2);
		assert_memory_equal(dn_gguf_entry(gguf, 3)->key.data, "yes", 3);
		assert_null(dn_gguf_entry(gguf, 22));
		assert_null(dn_gguf_tensor(gguf, 2));

		tensor = dn_gguf_find_tensor(gguf, "token_embd.weight");
		assert_ptr_equal(tensor, dn_gguf_tensor(gguf, 0));
		assert_int_equal(tensor->type, DN_TYPE_Q8_0);
		assert_int_equal(tensor->n_dims, 2);
		assert_int_equal(tensor->dims[0], 64);
		assert_int_equal(tensor->dims[1], 3);
		assert_int_equal(tensor->dims[2], 1);
		assert_int_equal(tensor->dims[3], 1);
		assert_int_equal(tensor->size, 64 * 3 / 32 * 34);
		assert_int_equal(tensor->offset % 32, 0);
		assert_null(dn_gguf_find_tensor(gguf, "token_embd.weigh"));
		assert_null(dn_gguf_find_tensor(gguf, ""));

		tensor = dn_gguf_find_tensor(gguf, "output_norm.weight");
		assert_int_equal(tensor->size, sizeof(norm));
		assert_int_equal(dn_gguf_read(gguf, 0, norm, sizeof(norm), tensor->offset, &err),
				 0);
		for (int i = 0; i < 8; i++)
			assert_true(norm[i] == (float)(i + 1));
		/* The header stays readable after its pages went. */
		dn_gguf_drop_pages(gguf);
		(void)gguf_walk(gguf);
		assert_null(dn_gguf_free(gguf));
		close(fd);
		gguf_builder_done(&builder);
	}
	assert_null(dn_gguf_free(NULL));
}

/* What a look-up gives: 1 and the value, 0 and the default, or -EINVAL and the default. */
static void test_numbers(void **state)
{
	static const struct {
		const char *key;
		int r_u32;
		uint32_t u32;
		int r_f64;
		double f64;
	} expected[] = {
		{ "absent", 0, 7, 0, 7 },
		{ "llama.block_count", 1, 3000000000U, 1, 3e9 },
		{ "llama.eps", -EINVAL, 7, 1, 0.5 },
		{ "u8", 1, 255, 1, 255 },
		{ "i8", -EINVAL, 7, 1, -1 },
		{ "u16", 1, 65534, 1, 65534 },
		{ "i16", -EINVAL, 7, 1, -2 },
		{ "i32", 1, 0x04030201, 1, 0x04030201 },
		{ "i32-", -EINVAL, 7, 1, -1 },
		{ "u64", 1, 4294967295U, 1, 4294967295.0 },
		{ "u64+", -EINVAL, 7, 1, 4294967296.0 },
		{ "u64++", -EINVAL, 7, -EINVAL, 7 },
		{ "i64", -EINVAL, 7, -EINVAL, 7 },
		{ "i64-", -EINVAL, 7, 1, -3 },
		{ "f64", -EINVAL, 7, 1, -1.5 },
		{ "nan", -EINVAL, 7, -EINVAL, 7 },
		{ "inf", -EINVAL, 7, -EINVAL, 7 },
		{ "yes", -EINVAL, 7, -EINVAL, 7 },
		{ "general.architecture", -EINVAL, 7, -EINVAL, 7 },
		{ "tokens", -EINVAL, 7, -EINVAL, 7 },
	};
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	int fd;

	(void)state;
	build(&builder);
	fd = open_good(&builder, &gguf);
	for (size_t i = 0; i < DN_ARRAY_SIZE(expected); i++) {
		struct dn_error err = DN_ERROR_INIT;
		uint32_t u32 = 7;
		double f64 = 7;
		int r;

		r = dn_gguf_get_u32(gguf, expected[i].key, &u32, &err);
		if (r != expected[i].r_u32 || u32 != expected[i].u32 ||
		    err.code != (r < 0 ? EINVAL : 0))
			fail_msg("'%s' as u32: %d, %u, %s", expected[i].key, r, u32, err.message);
		err.code = 0;
		r = dn_gguf_get_f64(gguf, expected[i].key, &f64, &err);
		if (r != expected[i].r_f64 || f64 != expected[i].f64 ||
		    err.code != (r < 0 ? EINVAL : 0))
			fail_msg("'%s' as f64: %d, %g, %s", expected[i].key, r, f64, err.message);
	}
	dn_gguf_free(gguf);
	close(fd);
	gguf_builder_done(&builder);
}

static void test_text_and_bool(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_text text = { "default", 7 };
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	bool flag = false;
	int fd;

	(void)state;
	build(&builder);
	fd = open_good(&builder, &gguf);
	assert_int_equal(dn_gguf_get_text(gguf, "absent", &text, &err), 0);
	assert_int_equal(text.size, 7);
	assert_int_equal(dn_gguf_get_text(gguf, "u8", &text, &err), -EINVAL);
	assert_non_null(strstr(err.message, "has type u8; expected is string"));
	assert_int_equal(dn_gguf_get_text(gguf, "general.architecture", &text, &err), 1);
	assert_int_equal(text.size, 5);
	assert_memory_equal(text.data, "llama", 5);

	assert_int_equal(dn_gguf_get_bool(gguf, "yes", &flag, &err), 1);
	assert_true(flag);
	assert_int_equal(dn_gguf_get_bool(gguf, "absent", &flag, &err), 0);
	assert_true(flag);
	assert_int_equal(dn_gguf_get_bool(gguf, "no", &flag, &err), 1);
	assert_false(flag);
	assert_int_equal(dn_gguf_get_bool(gguf, "u8", &flag, &err), -EINVAL);
	assert_non_null(strstr(err.message, "has type u8; expected is bool"));
	dn_gguf_free(gguf);
	close(fd);
	gguf_builder_done(&builder);
}

static void test_arrays(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf_array array = { 0 };
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	const uint8_t *cursor;
	int fd;

	(void)state;
	build(&builder);
	fd = open_good(&builder, &gguf);
	assert_int_equal(dn_gguf_get_array(gguf, "absent", DN_GGUF_STRING, &array, &err), 0);
	assert_int_equal(dn_gguf_get_array(gguf, "tokens", DN_GGUF_STRING, &array, &err), 1);
	assert_int_equal(array.count, 3);
	cursor = array.data;
	for (int i = 0; i < 3; i++) {
		struct dn_text text = dn_gguf_next_text(&cursor);

		assert_int_equal(text.size, strlen(tokens[i]));
		assert_memory_equal(text.data, tokens[i], text.size);
	}
	assert_ptr_equal(cursor, array.data + array.size);

	assert_int_equal(dn_gguf_get_array(gguf, "types", DN_GGUF_I32, &array, &err), 1);
	assert_int_equal(array.type, DN_GGUF_I32);
	assert_int_equal(array.count, 2);
	assert_int_equal(array.size, 8);
	assert_memory_equal(array.data, "\x01\0\0\0\x03\0\0\0", 8);
	/* The last entry: its end is not the next one's start. */
	assert_int_equal(dn_gguf_get_array(gguf, "none", DN_GGUF_STRING, &array, &err), 1);
	assert_int_equal(array.count, 0);
	assert_int_equal(array.size, 0);

	assert_int_equal(dn_gguf_get_array(gguf, "types", DN_GGUF_F32, &array, &err), -EINVAL);
	assert_non_null(strstr(err.message, "is an array of i32; expected is one of f32"));
	assert_int_equal(dn_gguf_get_array(gguf, "u8", DN_GGUF_U8, &array, &err), -EINVAL);
	assert_non_null(strstr(err.message, "has type u8; expected is array"));
	dn_gguf_free(gguf);
	close(fd);
	gguf_builder_done(&builder);
}

static void test_read(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct gguf_builder builder;
	struct dn_gguf *gguf = NULL;
	uint8_t bytes[4] = { 9, 9, 9, 9 };
	uint64_t size;
	int fd;

	(void)state;
	build(&builder);
	fd = open_good(&builder, &gguf);
	size = dn_gguf_file_size(gguf);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 4, 0, &err), 0);
	assert_memory_equal(bytes, "GGUF", 4);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 0, size, &err), 0);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 4, size - 3, &err), -EINVAL);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 4, UINT64_MAX - 1, &err), -EINVAL);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 4, size - 4, &err), 0);
	/* A file that was cut short behind our back. */
	assert_int_equal(ftruncate(fd, (off_t)size - 2), 0);
	assert_int_equal(dn_gguf_read(gguf, 0, bytes, 4, size - 4, &err), -EIO);
	assert_non_null(strstr(err.message, "it was cut short since it was opened"));
	dn_gguf_free(gguf);
	close(fd);
	gguf_builder_done(&builder);
}

static void test_alignments(void **state)
{
	(void)state;
	for (uint32_t alignment = 8; alignment <= 65536; alignment *= 2) {
		struct gguf_builder builder;
		struct dn_gguf *gguf = NULL;
		int fd;

		gguf_builder_init(&builder);
		gguf_set_alignment(&builder, alignment);
		gguf_add_tensor(&builder, "a", DN_TYPE_F32, 1, row, NULL);
		gguf_add_tensor(&builder, "b", DN_TYPE_F32, 1, row, NULL);
		fd = open_good(&builder, &gguf);
		assert_int_equal(dn_gguf_tensor(gguf, 0)->offset, DN_MAX(alignment, 128U));
		assert_int_equal(dn_gguf_tensor(gguf, 1)->offset % alignment, 0);
		dn_gguf_free(gguf);
		close(fd);
		gguf_builder_done(&builder);
	}
}

static void test_types(void **state)
{
	(void)state;
	assert_null(dn_type_info(DN_TYPE_COUNT));
	assert_null(dn_type_info(UINT32_MAX));
	assert_null(dn_type_info(4));
	/* Bits a weight, as their makers state them. */
	assert_int_equal(dn_type_info(DN_TYPE_F32)->bytes, 4);
	assert_int_equal(dn_type_info(DN_TYPE_Q8_0)->bytes * 8 * 10 / 32, 85);
	assert_int_equal(dn_type_info(DN_TYPE_Q4_K)->bytes * 8 * 10 / 256, 45);
	assert_int_equal(dn_type_info(DN_TYPE_Q6_K)->bytes * 8 * 10000 / 256, 65625);
	assert_int_equal(dn_type_info(DN_TYPE_Q3_K)->bytes * 8 * 10000 / 256, 34375);
	assert_int_equal(dn_type_info(DN_TYPE_IQ4_XS)->bytes * 8 * 100 / 256, 425);
	assert_string_equal(dn_type_info(DN_TYPE_Q4_1)->name, "Q4_1");
}

static void test_not_a_file(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	char path[64];
	int fd, write_only, pipes[2];

	(void)state;
	fd = open("/", O_RDONLY | O_DIRECTORY);
	assert_int_equal(dn_gguf_open(&fd, 1, &gguf, &err), -EISDIR);
	assert_string_equal(err.message, "this is a directory, not a model file");
	close(fd);
	assert_int_equal(dn_gguf_open(&(const int){ -1 }, 1, &gguf, &err), -EBADF);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(dn_gguf_open(&pipes[0], 1, &gguf, &err), -EINVAL);
	assert_non_null(strstr(err.message, "not a regular file"));
	close(pipes[0]);
	close(pipes[1]);
	fd = gguf_fd_of_bytes("GGUF", 4);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	write_only = open(path, O_WRONLY);
	assert_true(write_only >= 0);
	close(fd);
	fd = write_only;
	assert_int_equal(dn_gguf_open(&fd, 1, &gguf, &err), -EACCES);
	assert_non_null(strstr(err.message, "map the model file's first 4 bytes"));
	close(fd);
	assert_null(gguf);
}

/* Every prefix is refused with a reason: nothing of a whole file is optional. */
static void test_every_prefix(void **state)
{
	struct gguf_builder builder;
	uint8_t *bytes;
	size_t size;

	(void)state;
	build(&builder);
	bytes = gguf_builder_bytes(&builder, &size);
	for (size_t cut = 0; cut <= size; cut++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int fd = gguf_fd_of_bytes(bytes, cut);
		int r = dn_gguf_open(&fd, 1, &gguf, &err);

		assert_int_equal(r, cut == size ? 0 : -EINVAL);
		assert_int_equal(err.message[0] == '\0', cut == size);
		dn_gguf_free(gguf);
		close(fd);
	}
	free(bytes);
	gguf_builder_done(&builder);
}

/* A damaged byte is found, or does no harm. */
static void test_every_byte_damaged(void **state)
{
	static const uint8_t damage[] = { 0x01, 0x80, 0xff };
	size_t opened = 0, refused = 0, size;
	struct gguf_builder builder;
	uint8_t *bytes;

	(void)state;
	build(&builder);
	bytes = gguf_builder_bytes(&builder, &size);
	for (size_t i = 0; i < size * DN_ARRAY_SIZE(damage); i++) {
		uint8_t *byte = &bytes[i / DN_ARRAY_SIZE(damage)];
		uint8_t was = *byte;
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int fd;

		*byte = (uint8_t)(was ^ damage[i % DN_ARRAY_SIZE(damage)]);
		fd = gguf_fd_of_bytes(bytes, size);
		if (dn_gguf_open(&fd, 1, &gguf, &err) == 0) {
			(void)gguf_walk(gguf);
			opened++;
		} else {
			assert_true(err.message[0] != '\0');
			refused++;
		}
		dn_gguf_free(gguf);
		close(fd);
		*byte = was;
	}
	assert_true(opened > 0 && refused > 0);
	free(bytes);
	gguf_builder_done(&builder);
}

static void test_memory_runs_out(void **state)
{
	struct gguf_builder builder;
	size_t nth;
	int fd;

	(void)state;
	build(&builder);
	fd = gguf_builder_fd(&builder);
	for (nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int r;

		failing_malloc_arm(nth);
		r = dn_gguf_open(&fd, 1, &gguf, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			dn_gguf_free(gguf);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_null(gguf);
		assert_non_null(strstr(err.message, "out of memory"));
	}
	assert_true(nth > 5);
	close(fd);
	gguf_builder_done(&builder);
}

static void open_all(const char *shared, const char *pattern, size_t at_least)
{
	char path[4096];
	glob_t found;

	(void)snprintf(path, sizeof(path), "%s/%s", shared, pattern);
	assert_int_equal(glob(path, 0, NULL, &found), 0);
	assert_true(found.gl_pathc >= at_least);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_text text = { NULL, 0 };
		struct dn_gguf *gguf = NULL;
		int fd = open(found.gl_pathv[i], O_RDONLY | O_CLOEXEC);

		if (dn_gguf_open(&fd, 1, &gguf, &err) != 0)
			fail_msg("%s: %s", found.gl_pathv[i], err.message);
		(void)gguf_walk(gguf);
		assert_int_equal(dn_gguf_get_text(gguf, "general.architecture", &text, &err), 1);
		dn_gguf_free(gguf);
		close(fd);
	}
	globfree(&found);
}

static void test_golden_files(void **state)
{
	const char *shared = getenv("DUNLIN_SHARED");

	(void)state;
	if (!shared) {
		print_message("DUNLIN_SHARED is not set: golden files are not opened\n");
		skip();
	}
	open_all(shared, "golden/architectures/*.gguf", 1);
	open_all(shared, "golden/tokenizers/*.gguf", 1);
}

static void test_real_model(void **state)
{
	const char *path = getenv("DUNLIN_TEST_MODEL");

	(void)state;
	if (!path) {
		print_message("DUNLIN_TEST_MODEL is not set: no real model is opened\n");
		skip();
	}
	open_all("", path, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_text_and_bool),
		cmocka_unit_test(test_arrays),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_alignments),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_not_a_file),
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_every_byte_damaged),
		cmocka_unit_test(test_memory_runs_out),
		cmocka_unit_test(test_golden_files),
		cmocka_unit_test(test_real_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
