/* SPDX-License-Identifier: MIT */
/* What is found of cores that prefetching a type helps, and of those that it holds up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "engine/prefetch.h"

#define STEP_NS	 UINT64_C(1000000)
#define NOISE_NS 200000U
#define MANY	 4096

static uint32_t state = 1;

static uint32_t next(uint32_t below)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % below;
}

#define FIRST  (1U << 2)
#define SECOND (1U << 14)
#define TYPES  (FIRST | SECOND)

/* Of a core that asking ahead for some types helps, and for each other one holds up. */
static uint64_t step_ns(uint32_t helps, uint32_t on)
{
	uint64_t ns = STEP_NS + next(NOISE_NS);

	for (uint32_t type = FIRST; type <= SECOND; type <<= 1)
		if (TYPES & type & (on ^ helps))
			ns += STEP_NS / 4;
	return ns;
}

/*
 * Each step is a little slower than the one before, as a cache grows. Return: of the last @count, how
 * many had just what helps.
 */
static uint32_t run(struct dn_prefetch *prefetch, uint32_t helps, uint32_t steps, uint32_t count)
{
	uint32_t right = 0;

	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t on = dn_prefetch_on(prefetch, TYPES, true) & TYPES;

		if (i >= steps - count)
			right += on == helps;
		dn_prefetch_took(prefetch, TYPES, step_ns(helps, on) + UINT64_C(100) * i);
	}
	return right;
}

/* Every type is found by itself. */
static void test_finds(void **unused)
{
	static const uint32_t helps[] = { TYPES, 0, FIRST, SECOND };

	(void)unused;
	for (size_t i = 0; i < DN_ARRAY_SIZE(helps); i++) {
		struct dn_prefetch prefetch = { 0 };

		assert_int_equal(dn_prefetch_on(&prefetch, TYPES, true) & TYPES, TYPES);
		(void)run(&prefetch, helps[i], 128, 1);
		assert_int_equal(run(&prefetch, helps[i], 512, 512), 512);
	}
}

/* Steps that nobody times are as they were while others try. */
static void test_untimed(void **unused)
{
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	dn_prefetch_took(&prefetch, TYPES, STEP_NS);
	assert_int_equal(dn_prefetch_on(&prefetch, TYPES, true) & TYPES, SECOND);
	assert_int_equal(dn_prefetch_on(&prefetch, TYPES, false) & TYPES, TYPES);
	/* Before the first step nobody knows of types. */
	assert_int_equal(dn_prefetch_on(&prefetch, 0, true) & TYPES, TYPES);
}

/* Where it makes no difference, a trial still ends, and is a small part of the steps. */
static void test_no_difference(void **unused)
{
	struct dn_prefetch prefetch = { 0 };
	uint32_t before = TYPES;
	uint32_t changes = 0;

	(void)unused;
	for (uint32_t i = 0; i < MANY; i++) {
		const uint32_t on = dn_prefetch_on(&prefetch, TYPES, true) & TYPES;

		changes += on != before;
		before = on;
		dn_prefetch_took(&prefetch, TYPES, STEP_NS);
	}
	assert_int_equal(before, TYPES);
	assert_in_range(changes, 1, MANY / 16);
}

/* A process that goes to other cores finds out. */
static void test_changes(void **unused)
{
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	(void)run(&prefetch, TYPES, MANY, 1);
	(void)run(&prefetch, FIRST, 2 * MANY, 1);
	assert_in_range(run(&prefetch, FIRST, MANY, MANY), MANY - MANY / 16, MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds),
		cmocka_unit_test(test_untimed),
		cmocka_unit_test(test_no_difference),
		cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
