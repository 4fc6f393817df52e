/* SPDX-License-Identifier: MIT */
/* The arena: its memory is aligned and apart, stays below the maximum, and grows in place. */

#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/base.h"
#include "failing-malloc.h"

static void gives_memory_that_does_not_overlap(void **state)
{
	static const size_t sizes[] = { 0, 1, 15, 16, 17, 4000, 20000, 1 << 20, 5 << 20, 3 };
	struct dn_arena arena = DN_ARENA_INIT((size_t)64 << 20);
	unsigned char *given[DN_ARRAY_SIZE(sizes)];

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(sizes); i++) {
		given[i] = dn_arena_alloc(&arena, sizes[i]);
		assert_non_null(given[i]);
		assert_int_equal((uintptr_t)given[i] % 16, 0);
		memset(given[i], (int)i, sizes[i]);
	}
	for (size_t i = 0; i < DN_ARRAY_SIZE(sizes); i++) {
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(given[i][k], i);
	}
	dn_arena_done(&arena);
	assert_int_equal(arena.total, 0);
	assert_non_null(dn_arena_alloc(&arena, 1));
	dn_arena_done(&arena);
}

static void stops_at_its_maximum(void **state)
{
	struct dn_arena arena = DN_ARENA_INIT(100000);
	size_t sum = 0;

	(void)state;
	assert_null(dn_arena_alloc(&arena, 100001));
	assert_true(arena.full);
	dn_arena_done(&arena);
	while (dn_arena_alloc(&arena, 1000))
		sum += 1000;
	assert_true(arena.full);
	assert_true(sum >= 80000 && sum <= 100000);
	assert_true(arena.total <= 100000);
	assert_null(dn_arena_alloc(&arena, SIZE_MAX));
	assert_null(dn_arena_alloc(&arena, SIZE_MAX - 8));
	assert_null(dn_arena_zalloc(&arena, SIZE_MAX / 2, 4));
	assert_null(dn_arena_grow(&arena, NULL, 0, SIZE_MAX));
	dn_arena_done(&arena);
}

static void tells_no_memory_from_too_much(void **state)
{
	struct dn_arena arena = DN_ARENA_INIT(100000);

	(void)state;
	failing_malloc_arm(1);
	assert_null(dn_arena_alloc(&arena, 10));
	assert_true(failing_malloc_disarm());
	assert_false(arena.full);
	assert_non_null(dn_arena_alloc(&arena, 10));
	dn_arena_done(&arena);
}

static void zeroes_when_asked(void **state)
{
	struct dn_arena arena = DN_ARENA_INIT(100000);
	unsigned char *p = dn_arena_alloc(&arena, 1000);

	(void)state;
	memset(p, 0xff, 1000);
	dn_arena_done(&arena);
	p = dn_arena_zalloc(&arena, 100, 10);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(p[i], 0);
	dn_arena_done(&arena);
}

static void grows_the_last_in_place(void **state)
{
	struct dn_arena arena = DN_ARENA_INIT((size_t)8 << 20);
	char *p = dn_arena_grow(&arena, NULL, 0, 10);
	char *next;
	char *moved;

	(void)state;
	memcpy(p, "0123456789", 10); // NOLINT(bugprone-not-null-terminated-result): bytes, no text
	assert_ptr_equal(dn_arena_grow(&arena, p, 10, 5000), p);
	memset(p + 10, 'x', 4990);
	next = dn_arena_alloc(&arena, 10);
	assert_true(next >= p + 5000);
	/* Something lies behind it now: it moves, and its old place stays as it was. */
	moved = dn_arena_grow(&arena, p, 5000, 6000);
	assert_ptr_not_equal(moved, p);
	assert_memory_equal(moved, p, 5000);
	/* Beyond the chunk. */
	p = dn_arena_grow(&arena, moved, 6000, 1 << 20);
	assert_memory_equal(p, "0123456789x", 11);
	memset(p + 6000, 'y', (1 << 20) - 6000);
	assert_null(dn_arena_grow(&arena, p, 1 << 20, (size_t)16 << 20));
	assert_int_equal(p[6000], 'y');
	dn_arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_memory_that_does_not_overlap),
		cmocka_unit_test(stops_at_its_maximum),
		cmocka_unit_test(tells_no_memory_from_too_much),
		cmocka_unit_test(zeroes_when_asked),
		cmocka_unit_test(grows_the_last_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
