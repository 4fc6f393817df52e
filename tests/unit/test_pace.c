/* SPDX-License-Identifier: MIT */
/* What steps are expected to cost, from what they did. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/pace.h"

#define MS 1e6

static void test_nothing_known(void **state)
{
	struct dn_pace pace = { .prompt = 0 };

	(void)state;
	assert_true(dn_pace_decode(&pace, 3) == 0);
	assert_true(dn_pace_prompt(&pace, 0, 100, 256) == 0);
	/* Without a measure nothing is held back. */
	assert_int_equal(dn_pace_chunk(&pace, 0, 256), 256);
	assert_int_equal(dn_pace_chunk(&pace, 4, 256), 256);
}

static void test_neighbours_stand_in(void **state)
{
	struct dn_pace pace = { .prompt = 0 };

	(void)state;
	dn_pace_measured(&pace, 4, 0, 8 * MS);
	assert_true(dn_pace_decode(&pace, 4) == 8 * MS);
	/* More rows cost more than those that are known, fewer no more. */
	assert_true(dn_pace_decode(&pace, 6) > 8 * MS);
	assert_true(dn_pace_decode(&pace, 1) == 8 * MS);
	assert_true(dn_pace_decode(&pace, 1000) > dn_pace_decode(&pace, 32));
	dn_pace_measured(&pace, 1, 0, 3 * MS);
	assert_true(dn_pace_decode(&pace, 1) == 3 * MS);
	assert_true(dn_pace_decode(&pace, 4) == 8 * MS);
}

/* One slow step is another program's doing; many are how it is now. */
static void test_slow_steps(void **state)
{
	struct dn_pace pace = { .prompt = 0 };

	(void)state;
	dn_pace_measured(&pace, 1, 0, 4 * MS);
	dn_pace_measured(&pace, 1, 0, 400 * MS);
	assert_true(dn_pace_decode(&pace, 1) < 5 * MS);
	for (int i = 0; i < 100; i++)
		dn_pace_measured(&pace, 1, 0, 12 * MS);
	assert_true(dn_pace_decode(&pace, 1) > 11 * MS);
	for (int i = 0; i < 8; i++)
		dn_pace_measured(&pace, 1, 0, 4 * MS);
	assert_true(dn_pace_decode(&pace, 1) < 4.5 * MS);
}

/* Beside answers a chunk doubles a step at most; alone it is a tenth of a second. */
static void test_chunks(void **state)
{
	struct dn_pace pace = { .prompt = 0 };

	(void)state;
	dn_pace_measured(&pace, 2, 0, 10 * MS);
	dn_pace_measured(&pace, 0, 100, 50 * MS);
	assert_int_equal(dn_pace_chunk(&pace, 2, 256), 16); /* 20 tokens, in whole passes */
	assert_int_equal(dn_pace_chunk(&pace, 0, 256), 200);
	assert_int_equal(dn_pace_chunk(&pace, 0, 64), 64);
	/* What a step costs beside decodes is theirs first. */
	dn_pace_measured(&pace, 2, 20, 20 * MS);
	assert_true(pace.prompt > 0.49 * MS && pace.prompt < 0.51 * MS);
	/* A slow machine still gets on. */
	pace.prompt = 100 * MS;
	assert_int_equal(dn_pace_chunk(&pace, 2, 256), 8);
	assert_int_equal(dn_pace_chunk(&pace, 0, 256), 32);
}

static void test_prompts(void **state)
{
	struct dn_pace pace = { .prompt = 0 };

	(void)state;
	dn_pace_measured(&pace, 2, 0, 10 * MS);
	dn_pace_measured(&pace, 0, 100, 50 * MS);
	assert_true(dn_pace_prompt(&pace, 0, 100, 256) == 50 * MS);
	/* 100 tokens are 7 steps of 16, each with its decodes. */
	assert_true(dn_pace_prompt(&pace, 2, 100, 256) == 50 * MS + 7 * 10 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_neighbours_stand_in),
		cmocka_unit_test(test_slow_steps),    cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_prompts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
