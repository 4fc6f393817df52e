/* SPDX-License-Identifier: MIT */

#include "failing-malloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The linker's names for the functions and for what stands in for them. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);

static atomic_size_t left; /* allocations to the one that fails; 0: none will */
static atomic_bool failed;
static atomic_size_t largest;
static atomic_size_t total;

void failing_malloc_arm(size_t nth)
{
	failed = false;
	largest = 0;
	total = 0;
	left = nth;
}

bool failing_malloc_disarm(void)
{
	left = 0;
	return failed;
}

size_t failing_malloc_largest(void)
{
	return largest;
}

size_t failing_malloc_total(void)
{
	return total;
}

static bool fails_now(size_t size)
{
	size_t seen = atomic_load(&largest);
	size_t n = atomic_load(&left);

	while (size > seen && !atomic_compare_exchange_weak(&largest, &seen, size))
		;
	atomic_fetch_add(&total, size);
	while (n > 0 && !atomic_compare_exchange_weak(&left, &n, n - 1))
		;
	if (n != 1)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails_now(size) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		bytes = SIZE_MAX;
	return fails_now(bytes) ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *pointer, size_t size)
{
	return fails_now(size) ? NULL : __real_realloc(pointer, size);
}
