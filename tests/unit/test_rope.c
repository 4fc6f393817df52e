/* SPDX-License-Identifier: MIT */
/* Angles of positions, at the edges of what a file may ask for. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/rope.h"

#define DIMS 64

static struct dn_rope yarn(double base)
{
	return (struct dn_rope){ .dims = DIMS,
				 .base = base,
				 .scale = 4.0,
				 .yarn = 1.0,
				 .fast = 32.0,
				 .slow = 1.0,
				 .original = 4096.0,
				 .magnitude = 1.0 };
}

/* Fast pairs stay, slow ones are scaled, none turns the other way. */
static void test_yarn_scales_slow_pairs(void **state)
{
	const struct dn_rope scaled = yarn(10000.0);
	struct dn_rope plain = scaled;
	double have[DIMS / 2];
	double want[DIMS / 2];

	(void)state;
	plain.yarn = 0.0;
	plain.scale = 1.0;
	assert_int_equal(dn_rope_frequencies(&scaled, 16384, have, NULL), 0);
	assert_int_equal(dn_rope_frequencies(&plain, 16384, want, NULL), 0);
	assert_true(have[0] == want[0]);
	assert_true(have[DIMS / 2 - 1] == want[DIMS / 2 - 1] / 4.0);
	for (int i = 1; i < DIMS / 2; i++)
		assert_true(have[i] <= want[i] && have[i] >= want[i] / 4.0 &&
			    have[i] < have[i - 1]);
}

/* Every pair turns as fast, or nearly: which are slow is then no number that an integer holds. */
static void test_yarn_at_a_base_of_one(void **state)
{
	static const double bases[] = { 1.0, 0x1.0000000000001p0, 1.0 + 1e-9 };
	double frequencies[DIMS / 2];

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(bases); i++) {
		struct dn_rope rope = yarn(bases[i]);

		assert_int_equal(dn_rope_frequencies(&rope, 64, frequencies, NULL), 0);
		rope.original = 1.0;
		assert_int_equal(dn_rope_frequencies(&rope, 64, frequencies, NULL), 0);
		for (int p = 0; p < DIMS / 2; p++)
			assert_true(frequencies[p] > 0.2 && frequencies[p] < 1.1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_yarn_scales_slow_pairs),
		cmocka_unit_test(test_yarn_at_a_base_of_one),
	};

	return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
