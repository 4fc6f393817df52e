/* SPDX-License-Identifier: MIT */
/*
 * Makes one allocation fail. Link arguments: '-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc'.
 * Calls from the program's own objects and its static libraries are counted; those inside shared
 * libraries (cmocka, libc) are not.
 *
 *	for (size_t nth = 1;; nth++) {
 *		failing_malloc_arm(nth);
 *		r = what_is_tested();
 *		if (!failing_malloc_disarm())
 *			break;	-- it made fewer than nth allocations, and none failed
 *		assert_int_equal(r, -ENOMEM);
 *	}
 */
#ifndef TESTS_UNIT_FAILING_MALLOC_H
#define TESTS_UNIT_FAILING_MALLOC_H

#include <stdbool.h>
#include <stddef.h>

/* The nth allocation from now on fails (1 is the next; 0: none), those behind it do not. */
void failing_malloc_arm(size_t nth);
/* Back to normal; returns whether an allocation was made to fail. */
bool failing_malloc_disarm(void);
/* Bytes asked for in the largest, and in all, allocations since failing_malloc_arm(). */
size_t failing_malloc_largest(void);
size_t failing_malloc_total(void);

#endif /* TESTS_UNIT_FAILING_MALLOC_H */
