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

/* Types, as bits, that are faster when a core asks ahead for them, and those that are slower. */
struct core {
	uint32_t helps;
	uint32_t holds_up;
};

#define FIRST  (1U << 2)
#define SECOND (1U << 14)
#define TYPES  (FIRST | SECOND)

static uint64_t step_ns(const struct core *core, uint32_t on)
{
	uint64_t ns = STEP_NS + next(NOISE_NS);

	for (uint32_t type = FIRST; type <= SECOND; type <<= 1) {
		if (core->helps & type && !(on & type))
			ns += STEP_NS / 4;
		if (core->holds_up & type && on & type)
			ns += STEP_NS / 4;
	}
	return ns;
}

/*
 * Each step is a little slower than the one before, as a cache grows. Return: of the last @count, how
 * many had just what helps.
 */
static uint32_t run(struct dn_prefetch *prefetch, const struct core *core, uint32_t steps,
		    uint32_t count)
{
	uint32_t right = 0;

	for (uint32_t i = 0; i < steps; i++) {
		const uint32_t on = dn_prefetch_on(prefetch, TYPES, true) & TYPES;

		if (i >= steps - count)
			right += on == core->helps;
		dn_prefetch_took(prefetch, TYPES, step_ns(core, on) + UINT64_C(100) * i);
	}
	return right;
}

/* Every type is found by itself. */
static void test_finds(void **unused)
{
	static const struct core cores[] = {
		{ TYPES, 0 },
		{ 0, TYPES },
		{ FIRST, SECOND },
		{ SECOND, FIRST },
	};

	(void)unused;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cores); i++) {
		struct dn_prefetch prefetch = { 0 };

		assert_int_equal(dn_prefetch_on(&prefetch, TYPES, true) & TYPES, TYPES);
		(void)run(&prefetch, &cores[i], 128, 1);
		assert_int_equal(run(&prefetch, &cores[i], 512, 512), 512);
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
	static const struct core first = { TYPES, 0 };
	static const struct core second = { FIRST, SECOND };
	struct dn_prefetch prefetch = { 0 };

	(void)unused;
	(void)run(&prefetch, &first, MANY, 1);
	(void)run(&prefetch, &second, 2 * MANY, 1);
	assert_in_range(run(&prefetch, &second, MANY, MANY), MANY - MANY / 16, MANY);
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
