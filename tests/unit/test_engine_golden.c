/* SPDX-License-Identifier: MIT */
/*
 * Logits of random models beside those of an independent float32 computation: closer than the
 * limits that the golden data's README sets.
 */

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dunlin/model.h>
#include <jansson.h>

#include "base/base.h"

static const char *const names[] = {
	"gemma2",     "gemma3",		 "gemma4", "granite", "lfm2",	"llama-f16", "phi3",
	"llama-tied", "llama-ropefreqs", "qwen2",  "qwen3",   "qwen35", "qwen3moe",  "smollm3",
};

struct golden {
	uint32_t tokens[512];
	uint32_t n;
	uint32_t vocabulary;
	float *logits;
	double llama_cpp_kl;
};

static void file_name(char out[512], const char *name, const char *suffix)
{
	(void)snprintf(out, 512, "%s/golden/architectures/%s%s", getenv("DUNLIN_SHARED"), name,
		       suffix);
}

static struct golden load_golden(const char *name)
{
	struct golden g = { .n = 0 };
	json_error_t error;
	char path[512];
	json_t *root;
	FILE *file;

	file_name(path, name, ".json");
	root = json_load_file(path, 0, &error);
	assert_non_null(root);
	g.n = (uint32_t)json_array_size(json_object_get(root, "tokens"));
	assert_in_range(g.n, 1, DN_ARRAY_SIZE(g.tokens));
	for (uint32_t i = 0; i < g.n; i++)
		g.tokens[i] = (uint32_t)json_integer_value(
			json_array_get(json_object_get(root, "tokens"), i));
	g.vocabulary =
		(uint32_t)json_integer_value(json_array_get(json_object_get(root, "shape"), 1));
	g.llama_cpp_kl = json_real_value(json_object_get(root, "llama_cpp_kl_mean"));
	json_decref(root);
	g.logits = malloc(sizeof(float) * g.n * g.vocabulary);
	assert_non_null(g.logits);
	file_name(path, name, ".logits.f32");
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fread(g.logits, sizeof(float) * g.vocabulary, g.n, file), g.n);
	(void)fclose(file);
	return g;
}

static double log_sum_exp(const float *logits, uint32_t n)
{
	double most = (double)logits[0];
	double sum = 0.0;

	for (uint32_t i = 1; i < n; i++)
		most = fmax(most, (double)logits[i]);
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - most);
	return most + log(sum);
}

/* KL divergence of @have from @want, natural logarithm. */
static double divergence(const float *want, const float *have, uint32_t n)
{
	const double want_sum = log_sum_exp(want, n);
	const double have_sum = log_sum_exp(have, n);
	double kl = 0.0;

	for (uint32_t i = 0; i < n; i++) {
		double p = (double)want[i] - want_sum;

		kl += exp(p) * (p - ((double)have[i] - have_sum));
	}
	return kl;
}

static double mean_divergence(const char *name, const char *level, enum dn_kv_type kv,
			      double *ret_llama_cpp)
{
	struct dn_context_options options = {
		.struct_size = sizeof(options),
		.level = level,
		.threads = 2,
		.context = 512,
		.batch = 512,
		.outputs = 512,
		.kv = kv,
	};
	struct golden g = load_golden(name);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_batch_item item = { NULL, g.tokens, g.n, DN_LOGITS_ALL };
	struct dn_context *context;
	struct dn_model *model;
	char path[512];
	double sum = 0.0;
	int fd;

	file_name(path, name, ".gguf");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	if (dn_model_open(&fd, 1, &model, &err) < 0 ||
	    dn_context_new(model, &options, &context, &err) < 0 ||
	    dn_sequence_new(context, &item.sequence, &err) < 0 ||
	    dn_context_step(context, &item, 1, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	for (uint32_t i = 0; i < g.n; i++)
		sum += divergence(g.logits + (size_t)i * g.vocabulary,
				  dn_context_logits(context, i), g.vocabulary);
	dn_sequence_free(item.sequence);
	dn_context_free(context);
	dn_model_free(model);
	close(fd);
	free(g.logits);
	*ret_llama_cpp = g.llama_cpp_kl;
	return sum / g.n;
}

static void test_reference_is_the_truth(void **state)
{
	double llama_cpp;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(names); i++) {
		double kl = mean_divergence(names[i], "ref", DN_KV_F32, &llama_cpp);

		print_message("%s, ref: KL %.2e\n", names[i], kl);
		assert_true(kl < 1e-6);
	}
}

static void test_quantised_is_as_near_as_llama_cpp(void **state)
{
	double ratios = 0.0;

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(names); i++) {
		double llama_cpp;
		double kl = mean_divergence(names[i], NULL, DN_KV_F16, &llama_cpp);

		print_message("%s: KL %.3e, llama.cpp %.3e\n", names[i], kl, llama_cpp);
		assert_true(kl <= fmax(1.5 * llama_cpp, 1e-6));
		ratios += kl / fmax(llama_cpp, 1e-6);
	}
	assert_true(ratios / DN_ARRAY_SIZE(names) <= 1.1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_is_the_truth),
		cmocka_unit_test(test_quantised_is_as_near_as_llama_cpp),
	};

	if (!getenv("DUNLIN_SHARED")) {
		(void)puts("skipped: DUNLIN_SHARED names no folder with golden data");
		return 77;
	}
	return cmocka_run_group_tests_name("engine-golden", tests, NULL, NULL);
}
