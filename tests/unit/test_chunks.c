/* SPDX-License-Identifier: MIT */
/* Chunked bodies in every cut: what is taken, and what is refused. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/front/chunks.h"

#define MOST 1000

/* Takes a body in pieces of @step bytes. Returns what dn_chunks_take() said last, or how much it took. */
static ssize_t take_all(const char *body, size_t size, size_t step, char *out, bool *ret_done)
{
	struct dn_chunks chunks = { .state = DN_CHUNKS_SIZE_FIRST };
	size_t length = 0;
	size_t at = 0;

	while (at < size && chunks.state != DN_CHUNKS_DONE) {
		/* Memory of its own, so that a sanitizer sees what is read beyond. */
		const size_t n = DN_MIN(step, size - at);
		char *bytes = malloc(n);
		const char *piece;
		size_t piece_size;
		ssize_t r;

		assert_non_null(bytes);
		memcpy(bytes, body + at, n);
		r = dn_chunks_take(&chunks, bytes, n, MOST, &piece, &piece_size);
		if (r >= 0) {
			assert_in_range(r, 1, n);
			memcpy(out + length, piece, piece_size);
			length += piece_size;
		}
		free(bytes);
		if (r < 0)
			return r;
		at += (size_t)r;
	}
	out[length] = '\0';
	*ret_done = chunks.state == DN_CHUNKS_DONE;
	return (ssize_t)at;
}

static void expect(const char *body, size_t size, ssize_t want, const char *data)
{
	char out[256];
	bool done = false;

	for (size_t step = 1; step <= size; step++) {
		assert_int_equal(take_all(body, size, step, out, &done), want);
		if (want >= 0) {
			assert_true(done);
			assert_string_equal(out, data);
		}
	}
}

#define GOOD(body, data)	 expect(body, sizeof(body) - 1, sizeof(body) - 1, data)
#define EXPECT(body, want, data) expect(body, sizeof(body) - 1, want, data)

static void test_good(void **state)
{
	static const char with_next[] = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n";

	(void)state;
	GOOD("0\r\n\r\n", "");
	GOOD("3\r\nabc\r\n0\r\n\r\n", "abc");
	GOOD("1\r\na\r\n00A\r\n0123456789\r\n000\r\n\r\n", "a0123456789");
	GOOD("1;x=\"y\";z\r\na\r\n0;end\r\n\r\n", "a");
	GOOD("1\r\na\r\n0\r\nA: b\r\nC:\t d \r\n\r\n", "a");
	GOOD("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n");
	/* What follows is another request's. */
	EXPECT(with_next, 11, "a");
}

static void test_bad(void **state)
{
	(void)state;
	EXPECT("\r\n", -EBADMSG, NULL);
	EXPECT("x\r\n", -EBADMSG, NULL);
	EXPECT("0x1\r\na\r\n", -EBADMSG, NULL);
	EXPECT("-1\r\na\r\n", -EBADMSG, NULL);
	EXPECT(" 1\r\na\r\n", -EBADMSG, NULL);
	EXPECT("1 \r\na\r\n", -EBADMSG, NULL);
	EXPECT("1\na\r\n", -EBADMSG, NULL);
	EXPECT("1\rxa\r\n", -EBADMSG, NULL);
	EXPECT("1\r\nab\r\n", -EBADMSG, NULL);
	EXPECT("1\r\na\n", -EBADMSG, NULL);
	EXPECT("1\r\na\rx", -EBADMSG, NULL);
	EXPECT("1;a\nb\r\n", -EBADMSG, NULL);
	EXPECT("1;\0\r\n", -EBADMSG, NULL);
	EXPECT("1;\x7f\r\n", -EBADMSG, NULL);
	EXPECT("0\r\nA: b\n", -EBADMSG, NULL);
	EXPECT("0\r\nA: b\r\n c\r\n", -EBADMSG, NULL);
	EXPECT("0\r\n: b\r\n", -EBADMSG, NULL);
	EXPECT("0\r\nA : b\r\n", -EBADMSG, NULL);
	EXPECT("0\r\nA\r\n", -EBADMSG, NULL);
	EXPECT("0\r\n\rx", -EBADMSG, NULL);
	EXPECT("00000000000000001\r\na", -EBADMSG, NULL);
}

static void test_limits(void **state)
{
	char body[2 * DN_CHUNKS_EXTRA_MAX];
	char out[16];
	bool done;
	int n;

	(void)state;
	assert_int_equal(take_all("3e8\r\n", 5, 5, out, &done), 5);
	EXPECT("3e9\r\n", -E2BIG, NULL);
	EXPECT("ffffffffffffffff\r\n", -E2BIG, NULL);
	/* Extensions and trailers of all chunks together. */
	n = snprintf(body, sizeof(body), "1;%0*d\r\na\r\n0\r\nB:%0*d\r\n\r\n",
		     (int)DN_CHUNKS_EXTRA_MAX / 2, 0, (int)DN_CHUNKS_EXTRA_MAX / 2 - 1, 0);
	assert_int_equal(take_all(body, (size_t)n, (size_t)n, out, &done), n);
	assert_true(done);
	n = snprintf(body, sizeof(body), "1;%0*d\r\na\r\n0\r\nB:%0*d\r\n\r\n",
		     (int)DN_CHUNKS_EXTRA_MAX / 2, 0, (int)DN_CHUNKS_EXTRA_MAX / 2, 0);
	assert_int_equal(take_all(body, (size_t)n, (size_t)n, out, &done), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
