/* SPDX-License-Identifier: MIT */
/*
 * GGUF files that lie. Each is a line of fields; it must be refused with a message that says which
 * field, where, and what the limit is, at once and without memory for what it claims.
 */

#include <errno.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/gguf/gguf.h"

#include "failing-malloc.h"
#include "gguf-builder.h"

/*
 * Fields, apart by spaces: "1:N", "2:N", "4:N", "8:N" are little-endian numbers of so many bytes,
 * "t:TEXT" is bytes as they are, "s:TEXT" a string with its length before it, "z:N" N bytes of
 * zero, "a:N" zeros up to a multiple of N.
 */
static void assemble(const char *fields, struct dn_buffer *file)
{
	char *copy = strdup(fields);
	char *rest = NULL;

	assert_non_null(copy);
	for (char *field = strtok_r(copy, " ", &rest); field; field = strtok_r(NULL, " ", &rest)) {
		const char *value = field + 2;
		uint64_t number = strtoull(value, NULL, 0);
		size_t width = (size_t)(field[0] - '0');
		uint8_t byte;

		assert_int_equal(field[1], ':');
		switch (field[0]) {
		case 't':
			assert_int_equal(dn_buffer_append_text(file, value), 0);
			continue;
		case 's':
			number = strlen(value);
			width = 8;
			break;
		case 'a':
			number = (number - file->size % number) % number;
			/* fall through */
		case 'z':
			for (; number > 0; number--)
				assert_int_equal(dn_buffer_append(file, "", 1), 0);
			continue;
		default:
			assert_true(width <= 8 && width > 0);
			break;
		}
		for (size_t i = 0; i < width; i++) {
			byte = (uint8_t)(number >> (8 * i));
			assert_int_equal(dn_buffer_append(file, &byte, 1), 0);
		}
		if (field[0] == 's')
			assert_int_equal(dn_buffer_append_text(file, value), 0);
	}
	free(copy);
}

struct hostile {
	const char *fields;
	int code;
	const char *message;
};

#define HEAD(tensors, entries) "t:GGUF 4:3 8:" #tensors " 8:" #entries " "
#define KEY		       HEAD(0, 1) "s:key "
#define ALIGN(type, value)     HEAD(0, 1) "s:general.alignment 4:" #type " " value
/* One tensor of 32 floats, with what stands in for its parts. */
#define TENSOR(name, shape, type, offset)                                                          \
	HEAD(1, 0) name " " shape " 4:" #type " 8:" #offset " a:32 z:128"
#define TWO(name, offset, second, second_offset)                                                   \
	HEAD(2, 0)                                                                                 \
	"s:" name " 4:1 8:32 4:0 8:" #offset " s:" second " 4:1 8:32 4:0 8:" #second_offset        \
	" a:32 z:256"
#define N64 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static const struct hostile cases[] = {
	/* What is no GGUF file. */
	{ "", EINVAL, "the file is empty" },
	{ "t:GG", EINVAL, "the magic at byte 0 is not 'GGUF'" },
	{ "t:hello,_this_is_a_text_file", EINVAL, "the magic at byte 0 is not 'GGUF'" },
	{ "t:gguf 4:3 8:0 8:0", EINVAL, "the magic at byte 0 is not 'GGUF'" },
	{ "t:GGUF", EINVAL, "the file has 4 bytes, but a GGUF header has 24" },
	{ "t:GGUF 4:3 8:0 4:0 2:0 1:0", EINVAL, "the file has 23 bytes" },
	{ "t:FUGG 4:3 8:0 8:0", ENOTSUP, "big-endian machines, which is not supported" },
	{ "t:GGUF 4:0x03000000 8:0 8:0", ENOTSUP,
	  "version at byte 4 is 0x03000000: this is a GGUF file for big-endian machines" },
	{ "t:GGUF 4:0x02000000 8:0 8:0", ENOTSUP, "big-endian machines" },
	{ "t:GGUF 4:0 8:0 8:0", ENOTSUP, "version at byte 4 is 0; supported are 2 and 3" },
	{ "t:GGUF 4:1 4:0 4:0 8:0", ENOTSUP, "version at byte 4 is 1, which is not supported" },
	{ "t:GGUF 4:4 8:0 8:0", ENOTSUP, "version at byte 4 is 4; supported are 2 and 3" },
	{ "t:GGUF 4:0xffffffff 8:0 8:0", ENOTSUP, "is 4294967295; supported are 2 and 3" },
	{ "t:tjgg 4:3 z:64", ENOTSUP, "a GGJT file" },
	{ "t:fmgg 4:1 z:64", ENOTSUP, "a GGMF file" },
	{ "t:lmgg z:64", ENOTSUP, "a GGML file" },
	{ "t:version 1:32 t:https://git-lfs.github.com/spec/v1", ENOTSUP, "a Git LFS pointer" },
	{ "t:<!DOCTYPE 1:32 t:html>", ENOTSUP, "a web page" },
	{ "t:PK 1:3 1:4 z:40", ENOTSUP, "a ZIP archive" },
	{ "1:0x1f 1:0x8b z:40", ENOTSUP, "a gzip archive" },
	{ "1:0x28 1:0xb5 1:0x2f 1:0xfd z:40", ENOTSUP, "a zstd archive" },

	/* Counts. */
	{ HEAD(0x1000000000000000, 0), EINVAL,
	  "number of tensors at byte 8 is 1152921504606846976; the limit is 65536" },
	{ HEAD(0, 0x1000000000000000), EINVAL,
	  "number of metadata entries at byte 16 is 1152921504606846976; the limit is 65536" },
	{ HEAD(65537, 0), EINVAL, "number of tensors at byte 8 is 65537; the limit is 65536" },
	{ HEAD(0xffffffffffffffff, 0), EINVAL, "18446744073709551615; the limit is 65536" },
	{ HEAD(65536, 0), EINVAL,
	  "number of tensors at byte 8 is 65536, but the 0 bytes of file behind the header hold "
	  "0" },
	{ HEAD(0, 65536) "z:100", EINVAL,
	  "number of metadata entries at byte 16 is 65536, but the 100 bytes of file behind the "
	  "header hold 7 at most" },
	{ HEAD(0, 1), EINVAL, "hold 0 at most" },

	/* Keys. */
	{ HEAD(0, 1) "8:0 z:20", EINVAL, "metadata entry 0 of 1: key at byte 24 is empty" },
	{ HEAD(0, 1) "8:65536 z:20", EINVAL,
	  "key at byte 24 claims 65536 bytes; the limit is 65535" },
	{ HEAD(0, 1) "8:0xfffffffffffffff8 z:20", EINVAL,
	  "key at byte 24 claims 18446744073709551608 bytes; the limit is 65535" },
	{ HEAD(0, 1) "8:21 z:20", EINVAL,
	  "key at byte 32 needs 21 bytes, but the file has 20 left" },
	{ HEAD(0, 1) "8:3 t:k 1:0 t:y 4:4 4:0", EINVAL,
	  "key at byte 24 ('k\xef\xbf\xbdy') holds byte 0x00, a control character" },
	{ HEAD(0, 1) "8:4 t:k 1:27 t:[y 4:4 4:0", EINVAL, "holds byte 0x1b, a control character" },
	{ HEAD(0, 1) "8:3 t:k 1:127 t:y 4:4 4:0", EINVAL, "holds byte 0x7f, a control character" },
	{ HEAD(0, 1) "8:3 t:k 1:0xc3 1:0xa9 4:4 4:0", EINVAL,
	  "holds byte 0xc3, which is not ASCII" },
	{ HEAD(0, 2) "s:same 4:0 1:1 s:same 4:0 1:1 z:16", EINVAL,
	  "metadata entry 1 at byte 41 has the key of entry 0, 'same'" },
	{ HEAD(0, 3) "s:a.b 4:0 1:1 s:c.d 4:4 4:1 s:a.b 4:8 s:text z:16", EINVAL,
	  "metadata entry 2 at byte 59 has the key of entry 0, 'a.b'" },

	/* Values. */
	{ KEY "4:13 z:20", EINVAL,
	  "metadata entry 0 of 1: 'key': type at byte 35 is 13; known are 0 to 12" },
	{ KEY "4:0xffffffff z:20", EINVAL, "type at byte 35 is 4294967295; known are 0 to 12" },
	{ KEY "2:4 1:0", EINVAL, "type at byte 35 needs 4 bytes, but the file has 3 left" },
	{ KEY "4:4 2:0 1:0", EINVAL, "value at byte 39 needs 4 bytes, but the file has 3 left" },
	{ KEY "4:10 4:0", EINVAL, "value at byte 39 needs 8 bytes, but the file has 4 left" },
	{ KEY "4:12 4:0 2:0 1:0", EINVAL, "value at byte 39 needs 8 bytes" },
	{ KEY "4:0", EINVAL, "value at byte 39 needs 1 bytes, but the file has 0 left" },
	{ KEY "4:7 1:2", EINVAL, "'key': bool at byte 39 is 2; it must be 0 or 1" },
	{ KEY "4:8 4:0", EINVAL, "string at byte 39 needs 8 bytes, but the file has 4 left" },
	{ KEY "4:8 8:5 t:four", EINVAL,
	  "string at byte 47 needs 5 bytes, but the file has 4 left" },
	{ KEY "4:8 8:16777217 z:4", EINVAL,
	  "string at byte 39 claims 16777217 bytes; the limit is 16777216" },
	{ KEY "4:8 8:0xffffffffffffffff z:4", EINVAL, "claims 18446744073709551615 bytes" },

	/* Arrays. */
	{ KEY "4:9 2:0", EINVAL, "array's element type at byte 39 needs 4 bytes" },
	{ KEY "4:9 4:4 4:0", EINVAL, "array's count at byte 43 needs 8 bytes" },
	{ KEY "4:9 4:9 8:1 4:0 8:1 1:0", ENOTSUP,
	  "array's element type at byte 39 is array: arrays of arrays are not supported" },
	{ KEY "4:9 4:13 8:0", EINVAL, "array's element type at byte 39 is 13; known are 0 to 12" },
	{ KEY "4:9 4:4 8:3 4:0 4:0", EINVAL,
	  "array at byte 51 needs 12 bytes, but the file has 8 left" },
	{ KEY "4:9 4:10 8:0x2000000000000001 8:0", EINVAL,
	  "array's count at byte 43 is 2305843009213693953; the limit is 16777216" },
	{ KEY "4:9 4:0 8:16777217 8:0", EINVAL, "is 16777217; the limit is 16777216" },
	{ KEY "4:9 4:12 8:16777216 8:0", EINVAL,
	  "array at byte 51 needs 134217728 bytes, but the file has 8 left" },
	{ KEY "4:9 4:8 8:16777216 8:0", EINVAL,
	  "array of strings at byte 51 needs 134217728 bytes, but the file has 8 left" },
	{ KEY "4:9 4:8 8:2 s:one 8:4 t:two", EINVAL,
	  "string of an array at byte 70 needs 4 bytes, but the file has 3 left" },
	{ KEY "4:9 4:8 8:2 8:0xfffffffffffffff0 8:0", EINVAL,
	  "string of an array at byte 51 claims 18446744073709551600 bytes" },
	{ KEY "4:9 4:7 8:3 1:1 1:0 1:255", EINVAL, "bool at byte 53 is 255; it must be 0 or 1" },

	/* Alignment. */
	{ ALIGN(4, "4:0"), EINVAL, "'general.alignment' is 0; it must be a power of two from 8" },
	{ ALIGN(4, "4:4"), EINVAL, "'general.alignment' is 4; it must be" },
	{ ALIGN(4, "4:24"), EINVAL, "'general.alignment' is 24; it must be a power of two" },
	{ ALIGN(4, "4:131072"), EINVAL, "'general.alignment' is 131072; it must be" },
	{ ALIGN(4, "4:0x80000000"), EINVAL, "'general.alignment' is 2147483648; it must be" },
	{ ALIGN(8, "s:32"), EINVAL,
	  "'general.alignment' at byte 53 has type string; expected is an integer" },
	{ ALIGN(5, "4:0xffffffe0"), EINVAL, "'general.alignment' at byte 53 is out of range" },

	/* Tensors: names and shapes. */
	{ TENSOR("8:0", "4:1 8:32", 0, 0), EINVAL, "tensor 0 of 1: name at byte 24 is empty" },
	{ TENSOR("s:" N64 "n", "4:1 8:32", 0, 0), EINVAL,
	  "name at byte 24 claims 65 bytes; the limit is 64" },
	{ TENSOR("8:2 t:a 1:10", "4:1 8:32", 0, 0), EINVAL,
	  "holds byte 0x0a, a control character" },
	{ TENSOR("8:2 t:a 1:0", "4:1 8:32", 0, 0), EINVAL, "holds byte 0x00, a control character" },
	{ TENSOR("s:w", "4:0", 0, 0), EINVAL,
	  "tensor 0 of 1: 'w': number of dimensions at byte 33 is 0; it must be 1 to 4" },
	{ TENSOR("s:w", "4:5 8:1 8:1 8:1 8:1 8:32", 0, 0), EINVAL, "is 5; it must be 1 to 4" },
	{ TENSOR("s:w", "4:0xffffffff 8:32", 0, 0), EINVAL, "is 4294967295; it must be 1 to 4" },
	{ TENSOR("s:w", "4:1 8:0", 0, 0), EINVAL,
	  "dimension 0 at byte 37 is 0; it must be 1 to 2147483647" },
	{ TENSOR("s:w", "4:2 8:32 8:0", 0, 0), EINVAL, "dimension 1 at byte 45 is 0" },
	{ TENSOR("s:w", "4:1 8:0x80000000", 0, 0), EINVAL, "dimension 0 at byte 37 is 2147483648" },
	{ TENSOR("s:w", "4:2 8:32 8:0xffffffffffffffff", 0, 0), EINVAL,
	  "dimension 1 at byte 45 is 18446744073709551615" },
	{ TENSOR("s:w", "4:4 8:0x40000000 8:0x40000000 8:0x40000000 8:2", 0, 0), EINVAL,
	  "'w': the product of the dimensions (1073741824, 1073741824, 1073741824, 2) does not "
	  "fit" },
	{ TENSOR("s:w", "4:3 8:0x7fffffff 8:0x7fffffff 8:4", 1, 0), EINVAL,
	  "does not fit 64 bits" },
	{ HEAD(1, 0) "s:w 4:4 8:32 8:1 4:0", EINVAL,
	  "dimension at byte 53 needs 8 bytes, but the file has 4 left" },

	/* Tensors: types. */
	{ TENSOR("s:w", "4:1 8:32", 99, 0), EINVAL,
	  "'w': type at byte 45 is 99, which is unknown" },
	{ TENSOR("s:w", "4:1 8:32", 4, 0), ENOTSUP, "type at byte 45 is 4 (Q4_2), which is not" },
	{ TENSOR("s:w", "4:1 8:256", 16, 0), ENOTSUP, "is 16 (IQ2_XXS), which is not supported" },
	{ TENSOR("s:w", "4:1 8:32", 39, 0), ENOTSUP, "is 39 (MXFP4), which is not supported" },
	{ TENSOR("s:w", "4:1 8:33", 2, 0), EINVAL,
	  "'w': dimension 0 is 33, no multiple of the 32 columns of a block of Q4_0" },
	{ TENSOR("s:w", "4:2 8:16 8:2", 8, 0), EINVAL, "dimension 0 is 16, no multiple of the 32" },
	{ TENSOR("s:w", "4:1 8:128", 12, 0), EINVAL, "no multiple of the 256 columns of a block" },

	/* Tensors: places. */
	{ TENSOR("s:w", "4:1 8:32", 0, 16), EINVAL,
	  "'w': offset at byte 49 is 16, no multiple of the alignment, 32" },
	{ TENSOR("s:w", "4:1 8:32", 0, 32), EINVAL,
	  "tensor 0 'w' of 128 bytes at offset 32 of the data (which starts at byte 64) leaves the "
	  "file of 192 bytes" },
	{ TENSOR("s:w", "4:1 8:33", 0, 0), EINVAL, "'w' of 132 bytes at offset 0" },
	{ TENSOR("s:w", "4:1 8:32", 0, 0xffffffffffffffe0), EINVAL, "leaves the file" },
	{ TENSOR("s:w", "4:1 8:32", 0, 0x8000000000000000), EINVAL, "leaves the file" },
	{ TENSOR("s:w", "4:2 8:0x7fffffff 8:0x7fffffff", 0, 0), EINVAL, "leaves the file" },
	/* The end is at byte 64 again, in 64 bits. */
	{ TENSOR("s:w", "4:3 8:0x40000000 8:0x40000000 8:3", 0, 0x4000000000000000), EINVAL,
	  "leaves the file" },
	{ HEAD(1, 0) "s:w 4:1 8:32 4:0 8:0", EINVAL, "(which starts at byte 64) leaves the file" },
	{ HEAD(1, 0) "s:w 4:1 8:32 4:0 4:0", EINVAL, "number of tensors at byte 8 is 1, but" },
	{ TWO("one", 0, "one", 128), EINVAL,
	  "tensor 1 at byte 59 has the name of tensor 0, 'one'" },
	{ TWO("one", 0, "two", 0), EINVAL, "overlap" },
	{ TWO("one", 0, "two", 96), EINVAL,
	  "tensors 'one' (bytes 96 to 224) and 'two' (from byte 192) overlap" },
	{ TWO("one", 96, "two", 0), EINVAL,
	  "tensors 'two' (bytes 96 to 224) and 'one' (from byte 192) overlap" },
};

static double seconds(void)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Room for sanitizers and emulators; natively each takes some microseconds. */
#define REFUSED_WITHIN 0.5
#define REFUSED_MEMORY ((size_t)64 << 10)

static void test_each_is_refused(void **state)
{
	unsigned int wrong = 0;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		struct dn_buffer file = DN_BUFFER_INIT((size_t)1 << 20);
		struct dn_error err = DN_ERROR_INIT;
		struct dn_gguf *gguf = NULL;
		double start;
		int fd, r;

		assemble(cases[i].fields, &file);
		fd = gguf_fd_of_bytes(file.data, file.size);
		start = seconds();
		failing_malloc_arm(0);
		r = dn_gguf_open(&fd, 1, &gguf, &err);
		if (r != -cases[i].code || err.code != cases[i].code || gguf ||
		    !strstr(err.message, cases[i].message)) {
			print_error("case %zu: %s\n  expected %d: %s\n  got %d: %s\n", i,
				    cases[i].fields, -cases[i].code, cases[i].message, r,
				    err.message);
			wrong++;
		}
		assert_true(failing_malloc_total() < REFUSED_MEMORY);
		assert_true(seconds() - start < REFUSED_WITHIN);
		/* Nobody need ask why. */
		assert_int_equal(dn_gguf_open(&fd, 1, &gguf, NULL), -cases[i].code);
		dn_gguf_free(gguf);
		close(fd);
		dn_buffer_done(&file);
	}
	assert_int_equal(wrong, 0);
}

/* Arrays that are all hole: the file is 256 MiB, its blocks are not. */
static void test_header_has_a_limit(void **state)
{
	const uint64_t elements = (uint64_t)16 << 20;
	struct dn_buffer file = DN_BUFFER_INIT(4096);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_gguf *gguf = NULL;
	off_t at;
	int fd;

	(void)state;
	assemble(HEAD(0, 10), &file);
	fd = gguf_fd_of_bytes(file.data, file.size);
	at = (off_t)file.size;
	for (int name = 'a'; name < 'a' + 10; name++) {
		char fields[64];

		(void)snprintf(fields, sizeof(fields), "s:%c 4:9 4:0 8:%llu", name,
			       (unsigned long long)elements);
		dn_buffer_clear(&file);
		assemble(fields, &file);
		assert_int_equal(pwrite(fd, file.data, file.size, at), file.size);
		at += (off_t)(file.size + elements);
	}
	assert_int_equal(ftruncate(fd, at), 0);
	assert_int_equal(dn_gguf_open(&fd, 1, &gguf, &err), -EINVAL);
	assert_non_null(strstr(err.message, "metadata entry 7 of 10: 'h': array at byte"));
	assert_non_null(strstr(err.message, "past the limit of 134217728 bytes for a header"));
	close(fd);
	dn_buffer_done(&file);
}

static void add_many(struct gguf_builder *builder, size_t n, bool twins)
{
	const uint64_t dims[1] = { 2 };
	char name[32];

	for (size_t i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "name.%zu", twins && i + 1 == n ? i / 2 : i);
		gguf_add_bool(builder, name, true);
	}
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(name, sizeof(name), "name.%zu", i);
		gguf_add_tensor(builder, name, DN_TYPE_F32, 1, dims, NULL);
	}
}

/* As many names as are allowed: neither look-ups nor the check for twins may be quadratic. */
static void test_as_many_as_allowed(void **state)
{
	struct dn_error err = DN_ERROR_INIT;

	(void)state;
	for (int twins = 0; twins <= 1; twins++) {
		struct gguf_builder builder;
		struct dn_gguf *gguf = NULL;
		double start;
		int fd, r;

		gguf_builder_init(&builder);
		gguf_set_alignment(&builder, 8);
		add_many(&builder, 65535, twins);
		fd = gguf_builder_fd(&builder);
		start = seconds();
		r = dn_gguf_open(&fd, 1, &gguf, &err);
		assert_int_equal(r, twins ? -EINVAL : 0);
		if (twins)
			assert_non_null(strstr(err.message, "has the key of entry 32768, "));
		else
			assert_ptr_equal(dn_gguf_find_tensor(gguf, "name.65534"),
					 dn_gguf_tensor(gguf, 65534));
		assert_true(seconds() - start < 5);
		dn_gguf_free(gguf);
		close(fd);
		gguf_builder_done(&builder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_is_refused),
		cmocka_unit_test(test_header_has_a_limit),
		cmocka_unit_test(test_as_many_as_allowed),
	};

	_Static_assert(DN_ARRAY_SIZE(cases) >= 60, "a table worth its name");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
