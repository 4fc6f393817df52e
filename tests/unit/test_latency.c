/* SPDX-License-Identifier: MIT */
/* Percentiles of times between tokens, what is too little for one, and the picture. */

#include <errno.h>
#include <setjmp.h> /* IWYU pragma: keep; cmocka.h needs it */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/latency.h"

#define MS UINT64_C(1000000)

/* @answers of @n tokens, whose times are 1, 2, 3 ... ms, in an order that is not sorted. */
static void fill(struct dn_latency *latency, uint32_t answers, uint32_t n)
{
	uint64_t now = 5;
	uint64_t gap = 0;

	assert_int_equal(dn_latency_init(latency, answers, n, NULL), 0);
	for (uint32_t a = 0; a < answers; a++) {
		dn_latency_ask(latency, now);
		now += 100 * MS;
		dn_latency_token(latency, now);
		for (uint32_t i = 1; i < n; i++) {
			gap = (gap + 17) % (answers * (n - 1) + 1);
			now += gap * MS;
			dn_latency_token(latency, now);
		}
		now += 77 * MS; /* from an answer to the next prompt: no gap */
	}
	dn_latency_sort(latency);
}

static void test_percentiles(void **state)
{
	struct dn_latency latency;
	double ms = 0;

	(void)state;
	fill(&latency, 4, 251);
	assert_int_equal(latency.n, 1000);
	assert_int_equal(latency.n_first, 4);
	assert_true(latency.first[0] == 100 && latency.first[3] == 100);
	assert_true(dn_latency_percentile(&latency, 50, &ms));
	assert_true(ms == 500);
	assert_true(dn_latency_percentile(&latency, 99, &ms));
	assert_true(ms == 990);
	assert_true(dn_latency_percentile(&latency, 99.9, &ms));
	assert_true(ms == 999);
	assert_true(dn_latency_percentile(&latency, 100, &ms));
	assert_true(ms == 1000);
	dn_latency_done(&latency);
}

static void test_too_few(void **state)
{
	struct dn_latency latency;
	json_t *json;
	double ms = -1;

	(void)state;
	assert_int_equal(dn_latency_needed(50), 2);
	assert_int_equal(dn_latency_needed(99), 100);
	assert_int_equal(dn_latency_needed(99.9), 1000);
	fill(&latency, 3, 34);
	assert_int_equal(latency.n, 99);
	assert_true(dn_latency_percentile(&latency, 50, &ms));
	assert_true(ms == 50);
	ms = -1;
	assert_false(dn_latency_percentile(&latency, 99, &ms));
	assert_false(dn_latency_percentile(&latency, 99.9, &ms));
	assert_true(ms == -1);
	json = dn_latency_json(&latency);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "samples")), 99);
	assert_true(json_real_value(json_object_get(json, "p50_ms")) == 50);
	assert_true(json_is_null(json_object_get(json, "p99_ms")));
	assert_true(json_is_null(json_object_get(json, "p99_9_ms")));
	assert_true(json_real_value(json_object_get(json, "max_ms")) == 99);
	json_decref(json);
	dn_latency_done(&latency);
}

static void test_bounds(void **state)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_latency latency;
	double ms;

	(void)state;
	assert_int_equal(dn_latency_init(&latency, 100, 1 << 20, &err), -E2BIG);
	dn_latency_sort(&latency); /* as a run does that takes no times */
	/* More tokens than there is room for, and none at all. */
	assert_int_equal(dn_latency_init(&latency, 1, 2, NULL), 0);
	dn_latency_sort(&latency);
	assert_false(dn_latency_percentile(&latency, 50, &ms));
	for (uint64_t i = 1; i < 9; i++)
		dn_latency_token(&latency, i * MS);
	assert_int_equal(latency.n, 1);
	assert_int_equal(latency.n_first, 1);
	dn_latency_reset(&latency);
	assert_int_equal(latency.n + latency.n_first, 0);
	dn_latency_done(&latency);
}

static void test_picture(void **state)
{
	struct dn_latency latency;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	fill(&latency, 4, 251);
	dn_latency_svg(&latency, "a<b>&\"\033c", out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "a&#60;b&#62;&#38;&#34; c</text>"));
	for (size_t i = 0; i < 3; i++) {
		static const char *const marks[] = { ">90 %<", ">99 %<", ">99.9 %<" };

		assert_non_null(strstr(text, marks[i]));
	}
	assert_non_null(strstr(text, "</svg>\n"));
	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "inf"));
	free(text);
	dn_latency_done(&latency);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_too_few),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_picture),
	};

	return cmocka_run_group_tests_name("latency", tests, NULL, NULL);
}
