/* SPDX-License-Identifier: MIT */
/* Stop strings: what is shown never depends on how the answer was cut into tokens. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <dunlin/sampler.h>

#include "base/base.h"
#include "base/text.h"

static bool fail_allocation;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fail_allocation ? NULL : __real_calloc(count, size);
}

static uint32_t state = 1;

static uint32_t next(uint32_t below)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % below;
}

static struct dn_stop *new_stop(const char *const *strings, size_t n)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_stop *stop = NULL;

	if (dn_stop_new(strings, n, &stop, &err) < 0)
		fail_msg("%s", err.message);
	return stop;
}

/* The whole answer at once: up to the first place where any string stands. */
static size_t offline(const char *const *strings, size_t n, const char *text, int *ret_met)
{
	const char *first = NULL;

	for (size_t i = 0; i < n; i++) {
		const char *found = strstr(text, strings[i]);

		if (found && (!first || found < first))
			first = found;
	}
	*ret_met = first != NULL;
	return first ? (size_t)(first - text) : strlen(text);
}

/* Feeds @text in pieces of up to @longest bytes, at borders of characters; collects the output. */
static int stream(struct dn_stop *stop, const char *text, uint32_t longest, char *out)
{
	size_t size = strlen(text);
	size_t at = 0;
	int met = 0;
	const char *part;
	size_t part_size;

	*out = 0;
	while (at < size && !met) {
		size_t count = 1 + next(longest);

		count = DN_MIN(count, size - at);
		while (at + count < size && ((unsigned char)text[at + count] & 0xc0) == 0x80)
			count++;
		met = dn_stop_feed(stop, text + at, count, &part, &part_size);
		assert_true(met == 0 || met == 1);
		assert_true(dn_utf8_valid(part, part_size));
		strncat(out, part, part_size);
		at += count;
	}
	if (!met) {
		met = dn_stop_flush(stop, &part, &part_size);
		strncat(out, part, part_size);
	}
	assert_int_equal(dn_stop_feed(stop, "", 0, &part, &part_size), met);
	assert_int_equal(part_size, 0);
	return met;
}

static void random_text(char *text, uint32_t size)
{
	static const char *const letters[] = { "a",	   "b",	       "c",
					       "\xc3\xa9", "\xc3\xa8", "\xf0\x9f\x98\x80" };

	*text = 0;
	for (uint32_t i = 0; i < size; i++)
		strcat(text, letters[next(next(4) ? 2 : DN_ARRAY_SIZE(letters))]);
}

static void test_every_split_as_the_whole(void **unused)
{
	(void)unused;
	for (int round = 0; round < 60000; round++) {
		char strings[4][48], text[400], out[400];
		const char *pointers[4];
		size_t n = next(5);
		struct dn_stop *stop;
		size_t want;
		int met, got;

		for (size_t i = 0; i < n; i++) {
			random_text(strings[i], 1 + next(10));
			pointers[i] = strings[i];
		}
		random_text(text, next(90));
		want = offline(pointers, n, text, &met);
		stop = new_stop(pointers, n);
		got = stream(stop, text, 1 + next(9), out);
		if (got != met || strlen(out) != want || memcmp(out, text, want) != 0)
			fail_msg("round %d: '%s' gave '%s' and %d", round, text, out, got);
		dn_stop_free(stop);
	}
}

static void feed(struct dn_stop *stop, const char *text, int want_met, const char *want)
{
	const char *out;
	size_t size;

	assert_int_equal(dn_stop_feed(stop, text, strlen(text), &out, &size), want_met);
	assert_int_equal(size, strlen(want));
	assert_memory_equal(out, want, size);
}

static void test_shows_as_soon_as_it_may(void **unused)
{
	static const char *const strings[] = { "</s>", "\n\nUser:" };
	struct dn_stop *stop = new_stop(strings, 2);
	const char *out;
	size_t size;

	(void)unused;
	feed(stop, "Hello", 0, "Hello");
	feed(stop, " <", 0, " ");
	feed(stop, "b>", 0, "<b>");
	feed(stop, "x\n\nUse", 0, "x");
	feed(stop, "\n", 0, "\n\nUse");
	feed(stop, "\n", 0, "");
	feed(stop, "\n", 0, "\n");
	feed(stop, "User: more", 1, "");
	feed(stop, "nothing", 1, "");
	assert_int_equal(dn_stop_flush(stop, &out, &size), 1);
	assert_int_equal(size, 0);
	dn_stop_free(stop);
}

static void test_first_to_begin_wins(void **unused)
{
	static const char *const strings[] = { "cd", "abcde" };
	struct dn_stop *stop = new_stop(strings, 2);
	const char *out;
	size_t size;

	(void)unused;
	feed(stop, "xabcd", 0, "x");
	feed(stop, "e", 1, "");
	dn_stop_free(stop);
	stop = new_stop(strings, 2);
	feed(stop, "xabcd", 0, "x");
	feed(stop, "f", 1, "ab");
	dn_stop_free(stop);
	stop = new_stop(strings, 2);
	feed(stop, "xabcd", 0, "x");
	assert_int_equal(dn_stop_flush(stop, &out, &size), 1);
	assert_int_equal(size, 2);
	assert_memory_equal(out, "ab", 2);
	dn_stop_free(stop);
}

static void test_longest(void **unused)
{
	static char longest[DN_STOP_BYTES_MAX + 2], text[4096 + 1];
	const char *strings[DN_STOP_MAX + 1];
	struct dn_error err = DN_ERROR_INIT;
	struct dn_stop *stop = NULL;
	const char *out;
	size_t size;

	(void)unused;
	memset(longest, 'a', DN_STOP_BYTES_MAX);
	longest[DN_STOP_BYTES_MAX - 1] = 'b';
	for (int i = 0; i <= DN_STOP_MAX; i++)
		strings[i] = longest;
	memset(text, 'a', 4096);
	stop = new_stop(strings, DN_STOP_MAX);
	assert_int_equal(dn_stop_feed(stop, text, 4096, &out, &size), 0);
	assert_int_equal(size, 4096 - 255);
	assert_int_equal(dn_stop_feed(stop, text, 4096, &out, &size), 0);
	assert_int_equal(size, 4096);
	assert_int_equal(dn_stop_feed(stop, text, 4097, &out, &size), -E2BIG);
	assert_int_equal(dn_stop_flush(stop, &out, &size), 0);
	assert_int_equal(size, 255);
	dn_stop_free(stop);

	stop = NULL;
	assert_int_equal(dn_stop_new(strings, DN_STOP_MAX + 1, &stop, &err), -EINVAL);
	assert_non_null(strstr(err.message, "0 to 16 strings, not 17"));
	longest[DN_STOP_BYTES_MAX] = 'c';
	assert_int_equal(dn_stop_new(strings, 1, &stop, &err), -EINVAL);
	assert_non_null(strstr(err.message, "stop[0] must have 1 to 256 bytes"));
	strings[1] = "";
	strings[0] = "x";
	assert_int_equal(dn_stop_new(strings, 2, &stop, &err), -EINVAL);
	assert_non_null(strstr(err.message, "stop[1]"));
	strings[0] = "\x80";
	assert_int_equal(dn_stop_new(strings, 1, &stop, &err), -EINVAL);
	assert_non_null(strstr(err.message, "UTF-8"));
	strings[0] = "x";
	fail_allocation = true;
	assert_int_equal(dn_stop_new(strings, 1, &stop, &err), -ENOMEM);
	fail_allocation = false;
	assert_null(stop);
	assert_null(dn_stop_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split_as_the_whole),
		cmocka_unit_test(test_shows_as_soon_as_it_may),
		cmocka_unit_test(test_first_to_begin_wins),
		cmocka_unit_test(test_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
