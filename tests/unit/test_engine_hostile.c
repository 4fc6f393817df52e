/* SPDX-License-Identifier: MIT */
/* Models, options, snapshots and machines that mean no good: an error with a reason, or a result. */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "engine/model.h"
#include "unit/tiny-model.h"

/* The linker's names for the function, which glibc has twice, and for what stands in for it. */
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset);

static size_t mmaps_left; /* to the one that fails; 0: none will */
static bool mmap_failed;

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	if (mmaps_left && --mmaps_left == 0) {
		mmap_failed = true;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap(at, size, protection, flags, fd, offset);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	return __wrap_mmap(at, size, protection, flags, fd, offset);
}

struct fixture {
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	struct dn_sequence *sequence;
};

static void close_it(struct fixture *f)
{
	dn_sequence_free(f->sequence);
	dn_context_free(f->context);
	dn_model_free(f->model);
	close(f->fd);
}

static int open_it(struct fixture *f, const struct tiny_model *tiny, struct dn_error *err)
{
	struct dn_context_options options = { .struct_size = sizeof(options), .threads = 2 };
	int r;

	*f = (struct fixture){ .fd = tiny_model_fd(tiny) };
	r = dn_model_open(&f->fd, 1, &f->model, err);
	if (r >= 0)
		r = dn_context_new(f->model, &options, &f->context, err);
	if (r >= 0)
		r = dn_sequence_new(f->context, &f->sequence, err);
	return r;
}

static int step(struct fixture *f, uint32_t n, struct dn_error *err)
{
	static const uint32_t tokens[40] = { 3, 1, 4, 1, 5 };
	const struct dn_batch_item item = { f->sequence, tokens, n, DN_LOGITS_LAST };

	return dn_context_step(f->context, &item, 1, err);
}

static void test_a_step_of_nothing_is_refused(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(dn_context_step(f.context, NULL, 0, &err), -EINVAL);
	assert_string_equal(err.message, "a step has 1 to 256 tokens");
	assert_int_equal(step(&f, 0, &err), -EINVAL);
	assert_int_equal(step(&f, 5, &err), 0);
	close_it(&f);
}

static float factor; /* what spoil_factors() writes */

static void spoil_factors(struct gguf_builder *b)
{
	const uint64_t dims[] = { 20 };
	float factors[20];

	for (size_t i = 0; i < 20; i++)
		factors[i] = i == 7 ? factor : 1.0f;
	gguf_add_tensor(b, "rope_freqs.weight", DN_TYPE_F32, 1, dims, factors);
}

static void test_factors_that_are_none_are_refused(void **state)
{
	static const float wrong[] = { 0.0f, -1.0f, NAN, 1e-30f };
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	tiny.change = spoil_factors;
	for (size_t i = 0; i < DN_ARRAY_SIZE(wrong); i++) {
		factor = wrong[i];
		assert_int_equal(open_it(&f, &tiny, &err), -EINVAL);
		assert_non_null(strstr(err.message, "element 7 of the file's rope factors"));
		close_it(&f);
	}
	factor = 8.0f;
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(step(&f, 40, &err), 0);
	assert_true(isfinite(dn_context_logits(f.context, 0)[0]));
	close_it(&f);
}

/* Heads of an odd number of elements: 40 of the 41 turn. */
static void turn_forty(struct gguf_builder *b)
{
	gguf_add_u32(b, "llama.rope.dimension_count", 40);
}

static void test_odd_shapes_work(void **state)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_F32);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	tiny.head_dim = 41;
	assert_int_equal(open_it(&f, &tiny, &err), -EINVAL);
	assert_non_null(strstr(err.message, "it must be even"));
	close_it(&f);
	tiny.change = turn_forty;
	tiny.dim = 7;
	tiny.ffn = 3;
	tiny.vocabulary = 17;
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(step(&f, 40, &err), 0);
	assert_int_equal(step(&f, 1, &err), 0);
	for (uint32_t i = 0; i < tiny.vocabulary; i++)
		assert_true(isfinite(dn_context_logits(f.context, 0)[i]));
	close_it(&f);
}

static void spoil_norm(struct gguf_builder *b)
{
	const uint64_t dims[] = { 256 };
	float weights[256];

	for (size_t i = 0; i < 256; i++)
		weights[i] = i % 2 ? NAN : INFINITY;
	gguf_add_tensor(b, "output_norm.weight", DN_TYPE_F32, 1, dims, weights);
	gguf_add_tensor(b, "blk.0.attn_norm.weight", DN_TYPE_F32, 1, dims, weights);
}

/* No result is right; that there is one at all, in time, is what is asked. */
static void test_weights_that_are_no_numbers_do_no_harm(void **state)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_1);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	tiny.change = spoil_norm;
	tiny.layers = 1;
	tiny.without = "output_norm.weight";
	tiny.without_too = "blk.0.attn_norm.weight";
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(step(&f, 40, &err), 0);
	assert_int_equal(step(&f, 1, &err), 0);
	close_it(&f);
}

/* The largest of everything: each alone may be asked for, their product is no size. */
static void test_sizes_do_not_wrap(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_F32);
	struct dn_context_options options = { .struct_size = sizeof(options),
					      .threads = 64,
					      .sequences = 1024,
					      .context = 1U << 23,
					      .batch = 4096,
					      .outputs = 4096,
					      .kv = DN_KV_F32 };
	struct dn_layer *layers = calloc(512, sizeof(*layers));
	struct dn_error err = DN_ERROR_INIT;
	struct dn_memory_plan plan;
	struct dn_layer *own;
	struct fixture f;

	(void)state;
	assert_non_null(layers);
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	/* A file that has them would have terabytes of holes. */
	own = f.model->layers;
	for (uint32_t i = 0; i < 512; i++)
		layers[i] = (struct dn_layer){ .n_heads = 1024,
					       .n_kv_heads = 1024,
					       .head_dim = 512,
					       .ffn_dim = 1U << 20,
					       .cache = i };
	f.model->layers = layers;
	f.model->hparams.n_layers = 512;
	f.model->hparams.ropes[DN_ROPE_GLOBAL].dims = 512;
	f.model->hparams.dim = 65536;
	f.model->hparams.vocabulary = 1U << 20;
	assert_int_equal(dn_model_plan(f.model, &options, &plan, &err), -E2BIG);
	assert_string_equal(err.message,
			    "1024 contexts of 8388608 tokens do not fit the address space");
	/* One of them does, and needs what the numbers say. */
	options.sequences = 1;
	assert_int_equal(dn_model_plan(f.model, &options, &plan, &err), 0);
	assert_true(plan.cache > (1ULL << 18) * (1ULL << 36));
	assert_true(plan.workspace > 4096ULL * (1 << 20) * 4);
	options.context = (1U << 23) + 1;
	assert_int_equal(dn_model_plan(f.model, &options, &plan, &err), -EINVAL);
	f.model->layers = own;
	free(layers);
	close_it(&f);
}

static void test_a_file_cut_short_is_an_error(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_F16);
	struct dn_context_options options = { .struct_size = sizeof(options), .threads = 2 };
	struct fixture f = { .fd = tiny_model_fd(&tiny) };
	struct dn_error err = DN_ERROR_INIT;
	off_t size = lseek(f.fd, 0, SEEK_END);

	(void)state;
	assert_int_equal(dn_model_open(&f.fd, 1, &f.model, &err), 0);
	assert_int_equal(ftruncate(f.fd, size / 2), 0);
	assert_int_equal(dn_context_new(f.model, &options, &f.context, &err), -EIO);
	assert_non_null(strstr(err.message, "tensor '"));
	assert_null(f.context);
	close_it(&f);
}

static void test_every_mapping_may_fail(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	size_t nth = 1;

	(void)state;
	for (;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		struct fixture f;
		int r;

		mmap_failed = false;
		mmaps_left = nth;
		r = open_it(&f, &tiny, &err);
		mmaps_left = 0;
		close_it(&f);
		if (!mmap_failed) {
			assert_int_equal(r, 0);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_true(err.message[0]);
	}
	/* Header, weights, cache, workspace. */
	assert_int_equal(nth, 5);
}

static void restore_spoilt(struct fixture *f, size_t at, uint32_t value, int code)
{
	const int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct dn_error err = DN_ERROR_INIT;

	assert_true(fd >= 0);
	assert_int_equal(dn_sequence_save(f->sequence, fd, &err), 0);
	assert_int_equal(pwrite(fd, &value, sizeof(value), (off_t)at), sizeof(value));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	(void)dn_sequence_cut(f->sequence, 0);
	assert_int_equal(dn_sequence_restore(f->sequence, fd, &err), code);
	if (code < 0)
		assert_int_equal(dn_sequence_length(f->sequence), 0);
	(void)dn_sequence_cut(f->sequence, 0);
	assert_int_equal(step(f, 40, &err), 0);
	close(fd);
}

static void test_snapshots_that_lie_are_refused(void **state)
{
	enum {
		MAGIC = 0,
		VERSION = 4,
		MODEL = 8,
		LEVEL = 16,
		KV = 20,
		TOKENS = 24,
		LENGTH = 28,
		CHECKPOINTS = 32
	};
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(step(&f, 40, &err), 0);
	restore_spoilt(&f, MAGIC, 0, -EINVAL);
	restore_spoilt(&f, VERSION, 1, -EINVAL);
	restore_spoilt(&f, MODEL, 2, -EINVAL);
	restore_spoilt(&f, LEVEL, 7, -EINVAL);
	restore_spoilt(&f, KV, 7, -EINVAL);
	restore_spoilt(&f, TOKENS, 64, -EINVAL);
	restore_spoilt(&f, CHECKPOINTS, 1, -EINVAL); /* at token 0 */
	restore_spoilt(&f, CHECKPOINTS, 1000, -EINVAL);
	restore_spoilt(&f, LENGTH, 65, -EINVAL); /* a block more than there is */
	restore_spoilt(&f, LENGTH, 161, -ENOBUFS);
	restore_spoilt(&f, LENGTH, UINT32_MAX, -ENOBUFS);
	restore_spoilt(&f, LENGTH, 0, 0);
	/* Not a number, in the keys: the step behind it ends. */
	restore_spoilt(&f, 40, 0x7e007e00, 0);
	close_it(&f);
}

static void test_sharing_with_oneself_changes_nothing(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	assert_int_equal(open_it(&f, &tiny, &err), 0);
	assert_int_equal(dn_sequence_share(f.sequence, f.sequence, 0, &err), 0);
	assert_int_equal(dn_sequence_share(f.sequence, f.sequence, 1, &err), -EINVAL);
	assert_int_equal(step(&f, 40, &err), 0);
	assert_int_equal(dn_sequence_share(f.sequence, f.sequence, 40, &err), -EINVAL);
	assert_int_equal(dn_sequence_length(f.sequence), 40);
	assert_int_equal(step(&f, 40, &err), 0);
	close_it(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_step_of_nothing_is_refused),
		cmocka_unit_test(test_factors_that_are_none_are_refused),
		cmocka_unit_test(test_odd_shapes_work),
		cmocka_unit_test(test_weights_that_are_no_numbers_do_no_harm),
		cmocka_unit_test(test_sizes_do_not_wrap),
		cmocka_unit_test(test_a_file_cut_short_is_an_error),
		cmocka_unit_test(test_every_mapping_may_fail),
		cmocka_unit_test(test_snapshots_that_lie_are_refused),
		cmocka_unit_test(test_sharing_with_oneself_changes_nothing),
	};

	return cmocka_run_group_tests_name("engine-hostile", tests, NULL, NULL);
}
