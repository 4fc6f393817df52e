/* SPDX-License-Identifier: MIT */
/* Models in several GGUF files: all parts in order are one model, anything else says what to do. */

#include <errno.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"

#include "failing-malloc.h"
#include "gguf-builder.h"
#include "gguf-walk.h"

#define PARTS_MAX 4
#define ABSENT	  UINT32_MAX

/**
 * struct part - a file to make
 * @number, @count, @total: split.no, split.count, split.tensors.count; ABSENT leaves one out
 * @tensors: their names, a letter each
 */
struct part {
	uint32_t number;
	uint32_t count;
	uint32_t total;
	uint32_t alignment;
	const char *tensors;
};

/* Types as llama.cpp's gguf-split writes them. */
static void add_split(struct gguf_builder *builder, const struct part *part)
{
	const uint8_t number[2] = { (uint8_t)part->number, (uint8_t)(part->number >> 8) };
	const uint8_t count[2] = { (uint8_t)part->count, (uint8_t)(part->count >> 8) };
	const uint8_t total[4] = { (uint8_t)part->total, 0, 0, 0 };

	if (part->number != ABSENT)
		gguf_add_raw(builder, "split.no", DN_GGUF_U16, number, 2);
	if (part->count != ABSENT)
		gguf_add_raw(builder, "split.count", DN_GGUF_U16, count, 2);
	if (part->total != ABSENT)
		gguf_add_raw(builder, "split.tensors.count", DN_GGUF_I32, total, 4);
}

/* Each tensor is eight floats of its letter's number. */
static int make_part(const struct part *part)
{
	const uint64_t dims[1] = { 8 };
	struct gguf_builder builder;
	int fd;

	gguf_builder_init(&builder);
	if (part->number == 0)
		gguf_add_text(&builder, "general.architecture", "llama");
	if (part->alignment)
		gguf_set_alignment(&builder, part->alignment);
	add_split(&builder, part);
	for (const char *at = part->tensors; *at; at++) {
		const char name[2] = { *at, '\0' };
		float values[8];

		for (size_t i = 0; i < 8; i++)
			values[i] = (float)*at;
		gguf_add_tensor(&builder, name, DN_TYPE_F32, 1, dims, values);
	}
	fd = gguf_builder_fd(&builder);
	gguf_builder_done(&builder);
	return fd;
}

static size_t make_parts(const struct part *parts, int fds[PARTS_MAX])
{
	size_t n = 0;

	for (; n < PARTS_MAX && parts[n].tensors; n++)
		fds[n] = make_part(&parts[n]);
	return n;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* The first may have no tensors; each file has an alignment of its own. */
static const struct part good[][PARTS_MAX] = {
	{ { 0, 2, 3, 0, "ab" }, { 1, 2, 3, 0, "c" } },
	{ { 0, 3, 4, 64, "" }, { 1, 3, 4, 0, "dcb" }, { 2, 3, 4, 8, "a" } },
	{ { 0, 1, 2, 0, "ab" } },
	{ { 0, 0, ABSENT, 0, "ab" } },
};

static void test_parts_are_one_model(void **state)
{
	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(good); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int fds[PARTS_MAX];
		size_t n = make_parts(good[i], fds);
		size_t n_tensors = 0;
		uint64_t bytes = 0;
		struct dn_text arch;

		if (dn_gguf_open(fds, n, &gguf, &err) < 0)
			fail_msg("%zu: %s", i, err.message);
		assert_int_equal(dn_gguf_n_files(gguf), n);
		assert_int_equal(dn_gguf_get_text(gguf, "general.architecture", &arch, &err), 1);
		for (size_t part = 0; part < n; part++) {
			bytes += (uint64_t)lseek(fds[part], 0, SEEK_END);
			for (const char *at = good[i][part].tensors; *at; at++, n_tensors++) {
				const char name[2] = { *at, '\0' };
				const struct dn_gguf_tensor *t = dn_gguf_find_tensor(gguf, name);
				float value = 0;

				assert_ptr_equal(t, dn_gguf_tensor(gguf, n_tensors));
				assert_int_equal(t->file, part);
				assert_int_equal(dn_gguf_read(gguf, t->file, &value, sizeof(value),
							      t->offset, &err),
						 0);
				assert_true(value == (float)*at);
			}
		}
		assert_int_equal(dn_gguf_n_tensors(gguf), n_tensors);
		assert_int_equal(dn_gguf_file_size(gguf), bytes);
		assert_int_equal(dn_gguf_read(gguf, (uint32_t)n, &bytes, 1, 0, &err), -EINVAL);
		dn_gguf_drop_pages(gguf);
		(void)gguf_walk(gguf);
		dn_gguf_free(gguf);
		close_all(fds, n);
	}
}

static const struct {
	struct part parts[PARTS_MAX];
	int code;
	const char *message;
} bad[] = {
	/* One file of several. */
	{ { { 1, 3, 4, 0, "a" } },
	  EINVAL,
	  "this is part 2 of 3 of a model: give the first part, whose name ends in "
	  "-00001-of-00003.gguf" },
	{ { { 0, 3, 4, 0, "a" } }, EINVAL, "this is part 1 of 3 of a model, without the others" },
	{ { { 0, 129, 4, 0, "a" } }, ENOTSUP, "a model in 129 files; at most 128" },
	{ { { 3, 3, 4, 0, "a" } }, EINVAL, "'split.no' is 3, but 'split.count' is 3" },
	{ { { 1, ABSENT, 4, 0, "a" } }, EINVAL, "'split.no' is 1, but 'split.count' is 1" },

	/* What each says of itself. */
	{ { { 0, 2, 2, 0, "a" }, { 1, 3, 2, 0, "b" } },
	  EINVAL,
	  "file 2 of 2: it is a part of a model in 3 files: fetch all parts of one model" },
	{ { { 0, 3, 2, 0, "a" }, { 1, 3, 2, 0, "b" } },
	  EINVAL,
	  "file 1 of 2: it is a part of a model in 3 files" },
	{ { { 0, ABSENT, ABSENT, 0, "a" }, { 1, 2, 2, 0, "b" } },
	  EINVAL,
	  "file 1 of 2: it lacks 'split.count', so it is no part of a model" },
	{ { { 0, 2, 2, 0, "a" }, { ABSENT, ABSENT, 2, 0, "b" } },
	  EINVAL,
	  "file 2 of 2: it lacks 'split.count'" },
	{ { { 0, 2, 2, 0, "a" }, { ABSENT, 2, 2, 0, "b" } },
	  EINVAL,
	  "file 2 of 2: it says that it is part 1: the files were renamed" },
	{ { { 0, 3, 3, 0, "a" }, { 2, 3, 3, 0, "b" }, { 1, 3, 3, 0, "c" } },
	  EINVAL,
	  "file 2 of 3: it says that it is part 3: the files were renamed" },
	{ { { 1, 2, 2, 0, "a" }, { 0, 2, 2, 0, "b" } },
	  EINVAL,
	  "file 1 of 2: it says that it is part 2" },
	{ { { 0, 2, ABSENT, 0, "a" }, { 1, 2, ABSENT, 0, "b" } },
	  EINVAL,
	  "file 1 of 2: it lacks 'split.tensors.count'" },

	/* Tensors. */
	{ { { 0, 2, 2, 0, "a" }, { 1, 2, 3, 0, "b" } },
	  EINVAL,
	  "file 2 of 2: it is a part of a model of 3 tensors, but file 1 of one of 2" },
	{ { { 0, 2, 3, 0, "a" }, { 1, 2, 3, 0, "b" } },
	  EINVAL,
	  "the 2 files have 2 tensors, but 'split.tensors.count' is 3" },
	{ { { 0, 2, 3, 0, "ab" }, { 1, 2, 3, 0, "b" } },
	  EINVAL,
	  "file 2 of 2: tensor 0, 'b', is in file 1 too: these are not the parts of one model" },
	{ { { 0, 2, 2, 0, "" }, { 1, 2, 2, 0, "bb" } }, EINVAL, "file 2 of 2: tensor 1 at byte " },
	{ { { 0, 2, 2, 0, "a" }, { 1, 2, 2, 24, "b" } },
	  EINVAL,
	  "file 2 of 2: 'general.alignment' is 24; it must be a power of two" },
};

static void test_each_is_refused(void **state)
{
	unsigned int wrong = 0;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bad); i++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int fds[PARTS_MAX];
		size_t n = make_parts(bad[i].parts, fds);
		int r = dn_gguf_open(fds, n, &gguf, &err);

		if (r != -bad[i].code || err.code != bad[i].code || gguf ||
		    !strstr(err.message, bad[i].message)) {
			print_error("case %zu: expected %d: %s\n  got %d: %s\n", i, -bad[i].code,
				    bad[i].message, r, err.message);
			wrong++;
		}
		assert_int_equal(dn_gguf_open(fds, n, &gguf, NULL), -bad[i].code);
		close_all(fds, n);
	}
	assert_int_equal(wrong, 0);
}

/* A number of another type is a number; one that is none is an error that names the file. */
static void test_types_of_numbers(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	struct gguf_builder builder;
	int fds[2];

	(void)state;
	fds[0] = make_part(&good[0][0]);
	gguf_builder_init(&builder);
	gguf_add_u32(&builder, "split.no", 1);
	gguf_add_text(&builder, "split.count", "2");
	gguf_add_u32(&builder, "split.tensors.count", 3);
	fds[1] = gguf_builder_fd(&builder);
	assert_int_equal(dn_gguf_open(fds, 2, &gguf, &err), -EINVAL);
	assert_non_null(strstr(err.message, "file 2 of 2: 'split.count' at byte"));
	assert_non_null(strstr(err.message, "has type string; expected is an integer"));
	gguf_builder_done(&builder);
	close_all(fds, 2);
}

static void test_number_of_files(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int fds[DN_GGUF_FILES_MAX + 1] = { -1 };

	(void)state;
	assert_int_equal(dn_gguf_open(fds, 0, &gguf, &err), -EINVAL);
	assert_int_equal(dn_gguf_open(fds, DN_GGUF_FILES_MAX + 1, &gguf, &err), -EINVAL);
	assert_non_null(strstr(err.message, "it must be 1 to 128"));
}

/* A later file that is damaged, or cut short, is named. */
static void test_damage_in_a_later_file(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	int fds[PARTS_MAX];
	size_t n = make_parts(good[1], fds);
	off_t size = lseek(fds[2], 0, SEEK_END);

	(void)state;
	for (off_t cut = size - 1; cut >= 0; cut--) {
		assert_int_equal(ftruncate(fds[2], cut), 0);
		assert_int_equal(dn_gguf_open(fds, n, &gguf, &err), -EINVAL);
		assert_memory_equal(err.message, "file 3 of 3: ", 13);
	}
	close_all(fds, n);
}

static void test_memory_runs_out(void **state)
{
	int fds[PARTS_MAX];
	size_t n = make_parts(good[1], fds);
	size_t nth;

	(void)state;
	for (nth = 1;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		int r;

		failing_malloc_arm(nth);
		r = dn_gguf_open(fds, n, &gguf, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			dn_gguf_free(gguf);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_null(gguf);
	}
	assert_true(nth > 9);
	close_all(fds, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts_are_one_model),
		cmocka_unit_test(test_each_is_refused),
		cmocka_unit_test(test_types_of_numbers),
		cmocka_unit_test(test_number_of_files),
		cmocka_unit_test(test_damage_in_a_later_file),
		cmocka_unit_test(test_memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
