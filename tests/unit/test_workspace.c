/* SPDX-License-Identifier: MIT */
/* Arrays of a step are as long as what is written into them, whatever hyperparameters a file has. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/context.h"

#define BATCH 7

/* A router gives a row for each expert, of rows in two parts: more than a narrow model's others. */
static void test_many_experts_of_a_narrow_model(void **state)
{
	struct dn_layer layer = { .n_heads = 1, .n_kv_heads = 1, .head_dim = 32 };
	struct dn_model model = { .layers = &layer,
				  .hparams = { .n_layers = 1,
					       .dim = 32,
					       .vocabulary = 40,
					       .experts = 1024,
					       .experts_used = 1,
					       .expert_dim = 16,
					       .ropes = { { .dims = 32 } } } };
	struct dn_context c = { .model = &model, .batch = BATCH, .outputs = 1 };
	const uint64_t bytes = dn_workspace_lay(&c, 1, NULL);
	uint8_t *base = aligned_alloc(64, bytes);

	(void)state;
	assert_non_null(base);
	assert_int_equal(dn_workspace_lay(&c, 1, base), bytes);
	assert_true(c.step.cosines[DN_ROPE_GLOBAL] - c.step.apart >= 2L * BATCH * 1024);
	free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_experts_of_a_narrow_model),
	};

	return cmocka_run_group_tests_name("workspace", tests, NULL, NULL);
}
