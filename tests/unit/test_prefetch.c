/* SPDX-License-Identifier: MIT */
/* What is found of cores that prefetching helps, and of those that it holds up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

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

/*
 * Steps of a core, each a little slower than the one before, as a cache grows. Return: of the last
 * @count, how many asked ahead.
 */
static uint32_t run(struct dn_prefetch *prefetch, uint32_t steps, uint64_t with, uint64_t without,
		    uint32_t count)
{
	uint32_t asked = 0;

	for (uint32_t i = 0; i < steps; i++) {
		const bool on = dn_prefetch_on(prefetch, true);

		if (i >= steps - count)
			asked += on;
		dn_prefetch_took(prefetch,
				 (on ? with : without) + UINT64_C(100) * i + next(NOISE_NS));
	}
	return asked;
}

static void test_helps(void **unused)
{
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	assert_true(dn_prefetch_on(&prefetch, true));
	/* Steps that nobody times are as they were while others try. */
	dn_prefetch_took(&prefetch, STEP_NS);
	assert_false(dn_prefetch_on(&prefetch, true));
	assert_true(dn_prefetch_on(&prefetch, false));
	(void)run(&prefetch, 64, STEP_NS, STEP_NS * 5 / 4, 1);
	assert_int_equal(run(&prefetch, 512, STEP_NS, STEP_NS * 5 / 4, 512), 512);
}

static void test_holds_up(void **unused)
{
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	(void)run(&prefetch, 64, STEP_NS * 5 / 4, STEP_NS, 1);
	assert_int_equal(run(&prefetch, 512, STEP_NS * 5 / 4, STEP_NS, 512), 0);
}

/* Where it makes no difference, a trial still ends, and is a small part of the steps. */
static void test_no_difference(void **unused)
{
	struct dn_prefetch prefetch = { 0 };
	uint32_t changes = 0;
	bool before = dn_prefetch_on(&prefetch, true);

	(void)unused;
	for (uint32_t i = 0; i < MANY; i++) {
		dn_prefetch_took(&prefetch, STEP_NS);
		changes += dn_prefetch_on(&prefetch, true) != before;
		before = dn_prefetch_on(&prefetch, true);
	}
	assert_true(before);
	assert_in_range(changes, 1, MANY / 16);
}

/* A process that goes to other cores finds out. */
static void test_changes(void **unused)
{
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	(void)run(&prefetch, MANY, STEP_NS, STEP_NS * 5 / 4, 1);
	(void)run(&prefetch, 2 * MANY, STEP_NS * 5 / 4, STEP_NS, 1);
	assert_in_range(run(&prefetch, MANY, STEP_NS * 5 / 4, STEP_NS, MANY), 0, MANY / 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_helps),
		cmocka_unit_test(test_holds_up),
		cmocka_unit_test(test_no_difference),
		cmocka_unit_test(test_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
