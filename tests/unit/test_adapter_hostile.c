/* SPDX-License-Identifier: MIT */
/* No file is taken as an adapter that is none, or not this model's, and each refusal says why. */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "unit/gguf-builder.h"
#include "unit/tiny-model.h"

/* A file with what a case is about; NULL and 0: as it should be, or nothing. */
struct hostile {
	const char *type;
	const char *adapter_type;
	const char *architecture;
	float alpha;
	bool activated;
	const char *tensors[2];
	uint64_t dims[2][2];
	const char *message;
};

#define Q_A "blk.0.attn_q.weight.lora_a"
#define Q_B "blk.0.attn_q.weight.lora_b"

static int hostile_fd(const struct hostile *h)
{
	const uint32_t invocation[] = { 1, 2 };
	struct gguf_builder b;
	int fd;

	gguf_builder_init(&b);
	if (h->type)
		gguf_add_text(&b, "general.type", h->type);
	gguf_add_text(&b, "general.architecture", h->architecture ? h->architecture : "llama");
	gguf_add_text(&b, "adapter.type", h->adapter_type ? h->adapter_type : "lora");
	gguf_add_f32(&b, "adapter.lora.alpha", h->alpha);
	if (h->activated)
		gguf_add_array(&b, "adapter.alora.invocation_tokens", DN_GGUF_U32, 2, invocation,
			       sizeof(invocation));
	for (int i = 0; i < 2 && h->tensors[i]; i++)
		gguf_add_tensor(&b, h->tensors[i], DN_TYPE_F32, 2, h->dims[i], NULL);
	fd = gguf_builder_fd(&b);
	gguf_builder_done(&b);
	return fd;
}

static const struct hostile hostile_files[] = {
	{ .message = "the file lacks general.type: it is no adapter" },
	{ .type = "model", .message = "general.type is 'model'; an adapter's is 'adapter'" },
	{ .type = "adapter",
	  .adapter_type = "control_vector",
	  .message = "adapter.type is 'control_vector'; what this version applies is 'lora'" },
	{ .type = "adapter",
	  .architecture = "qwen3",
	  .message = "general.architecture is 'qwen3'; the model's is 'llama'" },
	{ .type = "adapter",
	  .alpha = 1e7f,
	  .message = "adapter.lora.alpha is 1e+07; it must be at most 1e+06" },
	{ .type = "adapter",
	  .alpha = NAN,
	  .message = "'adapter.lora.alpha' at byte 174 is out of range: expected is a finite "
		     "number, exact as a double" },
	{ .type = "adapter",
	  .activated = true,
	  .message = "it is an activated LoRA, which acts from some tokens on only: this version "
		     "has none of that" },
	{ .type = "adapter", .message = "the file has no tensors" },
	{ .type = "adapter",
	  .tensors = { "blk.0.attn_norm.weight" },
	  .dims = { { 256, 1 } },
	  .message = "tensor 'blk.0.attn_norm.weight' ends neither in .lora_a nor in .lora_b: "
		     "this version cannot apply it" },
	{ .type = "adapter",
	  .tensors = { ".lora_a" },
	  .dims = { { 256, 1 } },
	  .message = "tensor '.lora_a' ends neither in .lora_a nor in .lora_b: "
		     "this version cannot apply it" },
	{ .type = "adapter",
	  .tensors = { Q_A },
	  .dims = { { 256, 4 } },
	  .message = "the file lacks tensor '" Q_B "'" },
	{ .type = "adapter",
	  .tensors = { Q_B },
	  .dims = { { 4, 240 } },
	  .message = "the file lacks tensor '" Q_A "'" },
	{ .type = "adapter",
	  .tensors = { "blk.2.attn_q.weight.lora_a", "blk.2.attn_q.weight.lora_b" },
	  .dims = { { 256, 4 }, { 4, 240 } },
	  .message = "the model has no tensor 'blk.2.attn_q.weight'" },
	{ .type = "adapter",
	  .tensors = { "blk.0.attn_norm.weight.lora_a", "blk.0.attn_norm.weight.lora_b" },
	  .dims = { { 256, 4 }, { 4, 1 } },
	  .message = "'blk.0.attn_norm.weight' is not a matrix that this version can change" },
	{ .type = "adapter",
	  .tensors = { Q_A, Q_B },
	  .dims = { { 255, 4 }, { 4, 240 } },
	  .message = "tensor '" Q_A "' is 255 x 4 x 1 x 1; the model and the rank want 256 x 4" },
	{ .type = "adapter",
	  .tensors = { Q_A, Q_B },
	  .dims = { { 256, 4 }, { 4, 241 } },
	  .message = "tensor '" Q_B "' is 4 x 241 x 1 x 1; the model and the rank want 4 x 240" },
	{ .type = "adapter",
	  .tensors = { Q_A, Q_B },
	  .dims = { { 256, 4 }, { 5, 240 } },
	  .message = "tensor '" Q_A "' is 256 x 4 x 1 x 1; the model and the rank want 256 x 5" },
	{ .type = "adapter",
	  .tensors = { Q_A, Q_B },
	  .dims = { { 256, 4097 }, { 4097, 240 } },
	  .message = "the rank of 'blk.0.attn_q.weight' is 4097; at most 4096" },
	{ .type = "adapter",
	  .tensors = { "token_embd.weight.lora_a", "token_embd.weight.lora_b" },
	  .dims = { { 256, 4 }, { 4, 203 } },
	  .message = "tensor 'token_embd.weight.lora_a' is 256 x 4 x 1 x 1; the model and the "
		     "rank want 4 x 203" },
};

static void test_hostile_files_are_refused(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	int model_fd = tiny_model_fd(&tiny);
	struct dn_model *model;

	(void)state;
	assert_int_equal(dn_model_open(&model_fd, 1, &model, NULL), 0);
	for (size_t i = 0; i < DN_ARRAY_SIZE(hostile_files); i++) {
		struct dn_error err = DN_ERROR_INIT;
		int fd = hostile_fd(&hostile_files[i]);
		int r = dn_model_add_adapter(model, fd, 1.0f, &err);

		assert_true(r == -EINVAL || r == -ENOTSUP);
		assert_string_equal(err.message, hostile_files[i].message);
		/* The model stays as it was. */
		assert_int_equal(dn_model_n_adapters(model), 0);
		close(fd);
	}
	dn_model_free(model);
	close(model_fd);
}

/* One refused in its last pair has not hung up its first. */
static void test_refused_adapters_leave_nothing(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 64 };
	struct tiny_model longer = tiny;
	const struct tiny_adapter adapter = tiny_adapter_default(&longer, 7);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_memory_plan before;
	struct dn_memory_plan after;
	struct dn_model *model;
	int model_fd = tiny_model_fd(&tiny);
	int fd;

	(void)state;
	longer.layers = 3;
	fd = tiny_adapter_fd(&adapter);
	assert_int_equal(dn_model_open(&model_fd, 1, &model, NULL), 0);
	assert_int_equal(dn_model_plan(model, &options, &before, NULL), 0);
	assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), -EINVAL);
	assert_string_equal(err.message, "the model has no tensor 'blk.2.attn_q.weight'");
	assert_int_equal(dn_model_plan(model, &options, &after, NULL), 0);
	assert_memory_equal(&before, &after, sizeof(before));
	dn_model_free(model);
	close(model_fd);
	close(fd);
}

static void test_limits_are_kept(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	const struct tiny_adapter adapter = tiny_adapter_default(&tiny, 7);
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 64 };
	struct dn_context *context = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model;
	int model_fd = tiny_model_fd(&tiny);
	int fd = tiny_adapter_fd(&adapter);

	(void)state;
	assert_int_equal(dn_model_open(&model_fd, 1, &model, NULL), 0);
	assert_int_equal(dn_model_add_adapter(model, fd, NAN, &err), -EINVAL);
	assert_int_equal(dn_model_add_adapter(model, fd, -1001.0f, &err), -EINVAL);
	assert_string_equal(err.message, "an adapter's scale is -1001; it must be within 1000");
	for (int i = 1; i < DN_ADAPTERS_MAX; i++)
		assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), 0);
	assert_int_equal(dn_context_new(model, &options, &context, &err), 0);
	assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), -EBUSY);
	assert_string_equal(err.message, "adapters come before the weights are loaded");
	dn_context_free(context);
	dn_model_free(model);

	assert_int_equal(dn_model_open(&model_fd, 1, &model, NULL), 0);
	for (int i = 0; i < DN_ADAPTERS_MAX; i++)
		assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), 0);
	assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), -E2BIG);
	assert_string_equal(err.message, "more than 16 adapters");
	dn_model_free(model);
	close(model_fd);
	close(fd);
}

/* Cut short between opening and loading: an error that names the adapter, not a signal. */
static void test_a_file_that_shrinks_is_an_error(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	const struct tiny_adapter adapter = tiny_adapter_default(&tiny, 7);
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 64 };
	struct dn_context *context = NULL;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model *model;
	int model_fd = tiny_model_fd(&tiny);
	int fd = tiny_adapter_fd(&adapter);

	(void)state;
	assert_int_equal(dn_model_open(&model_fd, 1, &model, NULL), 0);
	assert_int_equal(dn_model_add_adapter(model, fd, 1.0f, &err), 0);
	assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 64), 0);
	assert_int_equal(dn_context_new(model, &options, &context, &err), -EIO);
	assert_ptr_equal(strstr(err.message, "adapter 1: tensor 'blk.1."), err.message);
	assert_null(context);
	dn_model_free(model);
	close(model_fd);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_files_are_refused),
		cmocka_unit_test(test_refused_adapters_leave_nothing),
		cmocka_unit_test(test_limits_are_kept),
		cmocka_unit_test(test_a_file_that_shrinks_is_an_error),
	};

	return cmocka_run_group_tests_name("adapter-hostile", tests, NULL, NULL);
}
