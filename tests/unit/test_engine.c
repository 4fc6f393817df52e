/* SPDX-License-Identifier: MIT */
/*
 * A context's promises on small random models: the same bits whatever the level, the threads, the
 * cut of the prompt, the batch, and wherever the prefix comes from; errors that change nothing.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "engine/context.h"
#include "engine/model.h"
#include "kernels/kernels.h"
#include "unit/failing-malloc.h"
#include "unit/tiny-model.h"

#define N_TOKENS 75 /* two whole blocks of the cache and a part */

static const enum dn_type types[] = {
	DN_TYPE_F32,  DN_TYPE_F16,  DN_TYPE_BF16, DN_TYPE_Q4_0,	  DN_TYPE_Q4_1,
	DN_TYPE_Q5_0, DN_TYPE_Q5_1, DN_TYPE_Q8_0, DN_TYPE_Q2_K,	  DN_TYPE_Q3_K,
	DN_TYPE_Q4_K, DN_TYPE_Q5_K, DN_TYPE_Q6_K, DN_TYPE_IQ4_NL, DN_TYPE_IQ4_XS,
};

struct fixture {
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t vocabulary;
	uint32_t tokens[N_TOKENS];
};

static void open_tiny(struct fixture *f, const struct tiny_model *tiny, const char *level,
		      uint32_t threads, enum dn_kv_type kv)
{
	struct dn_context_options options = {
		.struct_size = sizeof(options),
		.level = level,
		.threads = threads,
		.context = tiny->context,
		.sequences = 3,
		.batch = 128,
		.outputs = 128,
		.kv = kv,
	};
	struct dn_error err = DN_ERROR_INIT;

	f->fd = tiny_model_fd(tiny);
	if (dn_model_open(&f->fd, 1, &f->model, &err) < 0 ||
	    dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s", err.message);
	f->vocabulary = tiny->vocabulary;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		f->tokens[i] = (i * 37 + 11) % tiny->vocabulary;
}

static void close_tiny(struct fixture *f)
{
	dn_context_free(f->context);
	dn_model_free(f->model);
	close(f->fd);
}

static struct dn_sequence *new_sequence(struct fixture *f)
{
	struct dn_sequence *s = NULL;

	assert_int_equal(dn_sequence_new(f->context, &s, NULL), 0);
	return s;
}

/* Feeds tokens [from, to) in steps of @chunk; their logits to @out where it is not NULL. */
static void feed(struct fixture *f, struct dn_sequence *s, uint32_t from, uint32_t to,
		 uint32_t chunk, float *out)
{
	for (uint32_t at = from; at < to; at += chunk) {
		struct dn_batch_item item = { s, f->tokens + at, DN_MIN(chunk, to - at),
					      DN_LOGITS_ALL };
		struct dn_error err = DN_ERROR_INIT;

		if (dn_context_step(f->context, &item, 1, &err) < 0)
			fail_msg("%s", err.message);
		if (out)
			memcpy(out + (size_t)(at - from) * f->vocabulary,
			       dn_context_logits(f->context, 0),
			       (size_t)item.n_tokens * f->vocabulary * sizeof(*out));
	}
}

static float *logits_of(struct fixture *f, uint32_t chunk)
{
	float *out = malloc(sizeof(*out) * N_TOKENS * f->vocabulary);
	struct dn_sequence *s = new_sequence(f);

	assert_non_null(out);
	feed(f, s, 0, N_TOKENS, chunk, out);
	assert_int_equal(dn_sequence_length(s), N_TOKENS);
	dn_sequence_free(s);
	return out;
}

static void assert_same(const float *have, const float *want, size_t rows, const struct fixture *f)
{
	assert_memory_equal(have, want, rows * f->vocabulary * sizeof(*have));
}

/* Guards the other tests: logits that are all equal, or not numbers, would be the same too. */
static void assert_alive(const float *logits, uint32_t n)
{
	float least = logits[0];
	float most = logits[0];

	for (uint32_t i = 0; i < n; i++) {
		assert_true(logits[i] == logits[i]);
		least = DN_MIN(least, logits[i]);
		most = DN_MAX(most, logits[i]);
	}
	assert_true(most - least > 1e-3f);
}

static void test_levels_give_the_same_bits(void **state)
{
	(void)state;
	for (size_t t = 0; t < DN_ARRAY_SIZE(types); t++) {
		const struct tiny_model tiny = tiny_model_default(types[t]);
		float *want = NULL;

		for (int level = DN_LEVEL_SCALAR; level < DN_LEVEL_COUNT; level++) {
			struct fixture f;
			float *have;

			if (!dn_kernels_at((enum dn_level)level))
				continue;
			open_tiny(&f, &tiny, dn_level_name((enum dn_level)level), 1, DN_KV_F16);
			assert_string_equal(dn_context_level(f.context),
					    dn_level_name((enum dn_level)level));
			have = logits_of(&f, N_TOKENS);
			assert_alive(have, N_TOKENS * f.vocabulary);
			if (want)
				assert_same(have, want, N_TOKENS, &f);
			else
				want = have;
			if (want != have)
				free(have);
			close_tiny(&f);
		}
		free(want);
	}
}

static void test_threads_and_chunks_give_the_same_bits(void **state)
{
	static const uint32_t chunks[] = { 1, 7, 32, 33 };
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_1);
	struct fixture f;
	float *want;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F32);
	want = logits_of(&f, N_TOKENS);
	close_tiny(&f);
	for (uint32_t threads = 1; threads <= 3; threads++) {
		open_tiny(&f, &tiny, NULL, threads, DN_KV_F32);
		for (size_t i = 0; i < DN_ARRAY_SIZE(chunks); i++) {
			float *have = logits_of(&f, chunks[i]);

			assert_same(have, want, N_TOKENS, &f);
			free(have);
		}
		close_tiny(&f);
	}
	free(want);
}

static void test_batch_gives_the_same_bits(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_sequence *s[3];
	struct fixture f;
	float *want;

	(void)state;
	open_tiny(&f, &tiny, NULL, 2, DN_KV_F16);
	want = logits_of(&f, N_TOKENS);
	for (int i = 0; i < 3; i++)
		s[i] = new_sequence(&f);
	feed(&f, s[0], 0, 40, 40, NULL);
	feed(&f, s[1], 0, 3, 3, NULL);
	for (uint32_t t = 0; t < 30; t++) {
		/* One decodes, one is further behind, one takes its prompt in pieces of two. */
		const struct dn_batch_item items[] = {
			{ s[0], f.tokens + 40 + t, 1, DN_LOGITS_LAST },
			{ s[1], f.tokens + 3 + t, 1, DN_LOGITS_NONE },
			{ s[2], f.tokens + (size_t)2 * t, 2, DN_LOGITS_ALL },
		};

		assert_int_equal(dn_context_step(f.context, items, 3, NULL), 0);
		assert_same(dn_context_logits(f.context, 0), want + (40 + t) * f.vocabulary, 1, &f);
		assert_same(dn_context_logits(f.context, 1), want + (size_t)2 * t * f.vocabulary, 2,
			    &f);
	}
	for (int i = 0; i < 3; i++)
		dn_sequence_free(s[i]);
	free(want);
	close_tiny(&f);
}

static void test_cut_and_share_give_the_same_bits(void **state)
{
	static const uint32_t cuts[] = { 0, 1, 31, 32, 33, 64, 70, 74 };
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_0);
	float *have;
	float *want;
	struct fixture f;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	want = logits_of(&f, N_TOKENS);
	have = malloc(sizeof(*have) * N_TOKENS * f.vocabulary);
	assert_non_null(have);
	for (size_t i = 0; i < DN_ARRAY_SIZE(cuts); i++) {
		const uint32_t cut = cuts[i];
		struct dn_sequence *whole = new_sequence(&f);
		struct dn_sequence *other = new_sequence(&f);

		feed(&f, whole, 0, N_TOKENS, N_TOKENS, NULL);
		assert_int_equal(dn_sequence_share(other, whole, cut, NULL), 0);
		dn_sequence_cut(whole, cut);
		/* Both write behind the same prefix, first other tokens, then these. */
		if (cut + 1 < N_TOKENS) {
			feed(&f, other, cut + 1, N_TOKENS, 5, NULL);
			dn_sequence_cut(other, cut);
		}
		feed(&f, whole, cut, N_TOKENS, 3, have);
		assert_same(have, want + (size_t)cut * f.vocabulary, N_TOKENS - cut, &f);
		feed(&f, other, cut, N_TOKENS, 4, have);
		assert_same(have, want + (size_t)cut * f.vocabulary, N_TOKENS - cut, &f);
		dn_sequence_free(whole);
		dn_sequence_free(other);
	}
	free(have);
	free(want);
	close_tiny(&f);
}

static void test_snapshot_gives_the_same_bits(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_F16);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *from;
	struct dn_sequence *to;
	struct fixture f;
	float *want;
	float *have;
	int fd;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	want = logits_of(&f, N_TOKENS);
	have = malloc(sizeof(*have) * N_TOKENS * f.vocabulary);
	assert_non_null(have);
	from = new_sequence(&f);
	to = new_sequence(&f);
	feed(&f, from, 0, 45, 45, NULL);
	fd = memfd_create("snapshot", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(dn_sequence_save(from, fd, NULL), 0);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), dn_sequence_save_size(from));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(dn_sequence_restore(to, fd, NULL), 0);
	assert_int_equal(dn_sequence_length(to), 45);
	feed(&f, to, 45, N_TOKENS, 6, have);
	assert_same(have, want + (size_t)45 * f.vocabulary, N_TOKENS - 45, &f);

	/* Cut short, it is refused, and the sequence is empty as it was. */
	dn_sequence_cut(to, 0);
	assert_int_equal(ftruncate(fd, (off_t)dn_sequence_save_size(from) - 1), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(dn_sequence_restore(to, fd, &err), -EINVAL);
	assert_string_equal(err.message, "the snapshot ends too early");
	assert_int_equal(dn_sequence_length(to), 0);
	close(fd);
	dn_sequence_free(from);
	dn_sequence_free(to);
	free(have);
	free(want);
	close_tiny(&f);
}

static void test_snapshot_of_another_model_is_refused(void **state)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *from;
	struct dn_sequence *to;
	struct fixture a;
	struct fixture b;
	int fd = memfd_create("snapshot", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	open_tiny(&a, &tiny, NULL, 1, DN_KV_F16);
	tiny.seed = 2;
	open_tiny(&b, &tiny, NULL, 1, DN_KV_F16);
	from = new_sequence(&a);
	to = new_sequence(&b);
	feed(&a, from, 0, 10, 10, NULL);
	assert_int_equal(dn_sequence_save(from, fd, NULL), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(dn_sequence_restore(to, fd, &err), -EINVAL);
	assert_string_equal(err.message,
			    "the snapshot is of another model, adapter, level or cache type");
	dn_sequence_free(from);
	dn_sequence_free(to);
	close(fd);
	close_tiny(&a);
	close_tiny(&b);
}

/* A fine-tuning that changed one matrix, and none of the last ones. */
static void spoil_first_matrix(int fd, const struct dn_model *model)
{
	const struct dn_gguf_tensor *t = dn_gguf_find_tensor(model->gguf, "blk.0.attn_q.weight");
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)t->offset + 7), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)t->offset + 7), 1);
}

static void test_snapshot_of_a_fine_tuning_is_refused(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	const struct dn_context_options options = { .struct_size = sizeof(options),
						    .context = tiny.context };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *from;
	struct dn_sequence *to;
	struct fixture f;
	int fd = memfd_create("snapshot", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	from = new_sequence(&f);
	feed(&f, from, 0, 10, 10, NULL);
	assert_int_equal(dn_sequence_save(from, fd, NULL), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	dn_sequence_free(from);
	dn_context_free(f.context);
	spoil_first_matrix(f.fd, f.model);
	dn_model_free(f.model);
	assert_int_equal(dn_model_open(&f.fd, 1, &f.model, NULL), 0);
	assert_int_equal(dn_context_new(f.model, &options, &f.context, NULL), 0);
	to = new_sequence(&f);
	assert_int_equal(dn_sequence_restore(to, fd, &err), -EINVAL);
	assert_string_equal(err.message,
			    "the snapshot is of another model, adapter, level or cache type");
	dn_sequence_free(to);
	close(fd);
	close_tiny(&f);
}

/* Contexts of one model keep their own layouts, and a plan changes nothing. */
static void test_contexts_of_one_model_do_not_meet(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct dn_context_options options = { .struct_size = sizeof(options),
					      .context = tiny.context,
					      .kv = DN_KV_F32 };
	struct dn_context *other = NULL;
	struct dn_memory_plan plan;
	struct dn_sequence *s;
	struct fixture f;
	float *want;
	float *have;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	want = logits_of(&f, N_TOKENS);
	have = malloc(sizeof(*have) * N_TOKENS * f.vocabulary);
	assert_non_null(have);
	s = new_sequence(&f);
	feed(&f, s, 0, 40, 40, have);
	assert_int_equal(dn_model_plan(f.model, &options, &plan, NULL), 0);
	feed(&f, s, 40, 50, 5, have + (size_t)40 * f.vocabulary);
	assert_int_equal(dn_context_new(f.model, &options, &other, NULL), 0);
	feed(&f, s, 50, N_TOKENS, 5, have + (size_t)50 * f.vocabulary);
	assert_same(have, want, N_TOKENS, &f);
	dn_sequence_free(s);
	dn_context_free(other);
	free(have);
	free(want);
	close_tiny(&f);
}

static void assert_step_fails(struct fixture *f, const struct dn_batch_item *items, size_t n,
			      int code, const char *message)
{
	struct dn_error err = DN_ERROR_INIT;

	assert_int_equal(dn_context_step(f->context, items, n, &err), code);
	assert_string_equal(err.message, message);
}

static void test_wrong_steps_change_nothing(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_F32);
	const uint32_t outside[] = { 1, 2, 203 };
	struct dn_sequence *s[3];
	struct fixture f;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	for (int i = 0; i < 3; i++)
		s[i] = new_sequence(&f);
	feed(&f, s[0], 0, N_TOKENS, N_TOKENS, NULL);
	feed(&f, s[0], 0, N_TOKENS, N_TOKENS, NULL);
	{
		const struct dn_batch_item item = { s[0], outside, 3, DN_LOGITS_LAST };

		assert_step_fails(&f, &item, 1, -EINVAL,
				  "token 203 is outside the vocabulary of 203");
	}
	{
		const struct dn_batch_item item = { s[0], f.tokens, 20, DN_LOGITS_LAST };

		assert_step_fails(&f, &item, 1, -ENOBUFS, "10 tokens more than the context's 160");
	}
	{
		const struct dn_batch_item items[] = { { s[1], f.tokens, 1, DN_LOGITS_LAST },
						       { s[1], f.tokens, 1, DN_LOGITS_LAST } };

		assert_step_fails(&f, items, 2, -EINVAL,
				  "a sequence is given twice, or not of this context");
	}
	{
		const struct dn_batch_item items[] = { { s[1], f.tokens, 70, DN_LOGITS_NONE },
						       { s[2], f.tokens, 70, DN_LOGITS_NONE } };

		assert_step_fails(&f, items, 2, -EINVAL, "a step has 1 to 128 tokens");
	}
	assert_int_equal(dn_sequence_length(s[0]), 2 * N_TOKENS);
	assert_int_equal(dn_sequence_length(s[1]), 0);
	assert_int_equal(dn_sequence_length(s[2]), 0);
	for (int i = 0; i < 3; i++)
		dn_sequence_free(s[i]);
	close_tiny(&f);
}

static void test_full_cache_is_an_error(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_F32);
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *s[12];
	struct dn_sequence *more;
	struct fixture f;
	int n = 0;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	for (int i = 0; i < 12; i++)
		s[i] = new_sequence(&f);
	assert_int_equal(dn_sequence_new(f.context, &more, &err), -ENOSPC);
	/* 3 sequences of 160 tokens and a block each to copy into: 18 blocks, 3 a sequence here. */
	for (; n < 12; n++) {
		struct dn_batch_item item = { s[n], f.tokens, N_TOKENS, DN_LOGITS_NONE };
		int r = dn_context_step(f.context, &item, 1, &err);

		if (r < 0) {
			assert_int_equal(r, -ENOSPC);
			break;
		}
	}
	assert_int_equal(n, 6);
	assert_string_equal(err.message, "the cache has 0 blocks free of 3 needed");
	/* A place becomes free again. */
	dn_sequence_free(s[0]);
	feed(&f, s[6], 0, N_TOKENS, N_TOKENS, NULL);
	for (int i = 1; i < 12; i++)
		dn_sequence_free(s[i]);
	close_tiny(&f);
}

static void test_budget_is_kept_or_refused(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_1);
	struct dn_context_options options = { .struct_size = sizeof(options) };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_memory_plan plan;
	struct dn_memory_plan small;
	struct fixture f;

	(void)state;
	open_tiny(&f, &tiny, NULL, 1, DN_KV_F16);
	assert_int_equal(dn_model_plan(f.model, &options, &plan, &err), 0);
	assert_int_equal(plan.context, 160);
	assert_int_equal(plan.total,
			 plan.weights + plan.cache + plan.workspace + plan.tables + plan.process);
	options.grammars = true;
	assert_int_equal(dn_model_plan(f.model, &options, &small, &err), 0);
	assert_int_equal(small.total, plan.total + small.grammars);
	assert_true(small.grammars > 0);
	options.grammars = false;
	options.memory = plan.total - 1;
	assert_int_equal(dn_model_plan(f.model, &options, &small, &err), 0);
	assert_true(small.context < 160 && small.total < plan.total);
	options.context = 160;
	assert_int_equal(dn_model_plan(f.model, &options, &small, &err), -ENOMEM);
	assert_non_null(strstr(err.message, "but the budget is"));
	close_tiny(&f);
}

static void without_heads(struct gguf_builder *b)
{
	gguf_add_u32(b, "llama.rope.dimension_count", 41);
}

static void with_experts(struct gguf_builder *b)
{
	gguf_add_u32(b, "llama.expert_count", 8);
}

static void with_unknown_scaling(struct gguf_builder *b)
{
	gguf_add_text(b, "llama.rope.scaling.type", "dynamic");
}

static void with_stranger(struct gguf_builder *b)
{
	const uint64_t dims[] = { 40 };

	gguf_add_tensor(b, "blk.0.attn_q_norm.weight", DN_TYPE_F32, 1, dims, NULL);
}

static void test_models_that_do_not_fit_are_refused(void **state)
{
	static const struct {
		void (*change)(struct gguf_builder *builder);
		const char *without;
		uint32_t kv_heads;
		const char *message;
	} cases[] = {
		{ NULL, "blk.1.ffn_up.weight", 2, "the file lacks tensor 'blk.1.ffn_up.weight'" },
		{ NULL, "token_embd.weight", 2, "the file lacks tensor 'token_embd.weight'" },
		{ NULL, NULL, 4, "6 heads cannot share 4 key-value heads evenly" },
		{ NULL, NULL, 9, "llama.attention.head_count_kv is 9; it must be from 1 to 6" },
		{ without_heads, NULL, 2,
		  "llama.rope.dimension_count is 41; it must be from 2 to 40" },
		{ with_experts, NULL, 2,
		  "llama.expert_count is 8, which this version does not run" },
		{ with_unknown_scaling, NULL, 2,
		  "llama.rope.scaling.type is 'dynamic'; this version knows none, linear, yarn and "
		  "longrope" },
		{ with_stranger, NULL, 2,
		  "tensor 'blk.0.attn_q_norm.weight' is not part of the architecture 'llama' as "
		  "this "
		  "version knows it" },
	};

	(void)state;
	for (size_t i = 0; i < DN_ARRAY_SIZE(cases); i++) {
		struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
		struct dn_context_options options = { .struct_size = sizeof(options) };
		struct dn_error err = DN_ERROR_INIT;
		struct dn_context *context = NULL;
		struct dn_model *model;
		int fd;

		tiny.change = cases[i].change;
		tiny.without = cases[i].without;
		tiny.kv_heads = cases[i].kv_heads;
		fd = tiny_model_fd(&tiny);
		/* It opens, so that it can be inspected; it says why it does not run. */
		assert_int_equal(dn_model_open(&fd, 1, &model, &err), 0);
		assert_true(dn_model_runs(model, &err) < 0);
		assert_string_equal(err.message, cases[i].message);
		assert_true(dn_context_new(model, &options, &context, &err) < 0);
		assert_null(context);
		dn_model_free(model);
		close(fd);
	}
}

static int open_and_step(int fd, struct dn_error *err)
{
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 64 };
	struct dn_context *context = NULL;
	struct dn_sequence *sequence = NULL;
	struct dn_model *model = NULL;
	int r;

	r = dn_model_open(&fd, 1, &model, err);
	if (r >= 0)
		r = dn_context_new(model, &options, &context, err);
	if (r >= 0)
		r = dn_sequence_new(context, &sequence, err);
	if (r >= 0) {
		const uint32_t token = 1;
		const struct dn_batch_item item = { sequence, &token, 1, DN_LOGITS_LAST };

		r = dn_context_step(context, &item, 1, err);
	}
	dn_sequence_free(sequence);
	dn_context_free(context);
	dn_model_free(model);
	return r;
}

static void test_every_allocation_may_fail(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_K);
	int fd = tiny_model_fd(&tiny);
	size_t nth = 1;

	(void)state;
	for (;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = open_and_step(fd, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_non_null(strstr(err.message, "out of memory"));
	}
	assert_true(nth > 8);
	close(fd);
}

/* After start-up a step allocates nothing: an armed failure is never met. */
static void test_steps_allocate_nothing(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q4_1);
	struct dn_sequence *s;
	struct fixture f;

	(void)state;
	open_tiny(&f, &tiny, NULL, 2, DN_KV_F16);
	s = new_sequence(&f);
	failing_malloc_arm(1);
	feed(&f, s, 0, 50, 50, NULL);
	feed(&f, s, 50, N_TOKENS, 1, NULL);
	assert_false(failing_malloc_disarm());
	dn_sequence_free(s);
	close_tiny(&f);
}

/* How many pages of a mapping are there; it begins with a page. */
static size_t resident(uint8_t *memory, size_t bytes)
{
	const size_t pages = (bytes + 4095) / 4096;
	unsigned char *marks = malloc(pages + 1);
	size_t n = 0;

	assert_non_null(marks);
	assert_int_equal(mincore(memory, bytes, marks), 0);
	for (size_t i = 0; i < pages; i++)
		n += marks[i] & 1;
	free(marks);
	return n;
}

static void test_populate_leaves_no_page_out(void **state)
{
	const struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);
	struct fixture f;
	struct dn_block_pool *cache;
	size_t cache_bytes, pages;

	(void)state;
	if (sysconf(_SC_PAGESIZE) != 4096)
		skip();
	open_tiny(&f, &tiny, NULL, 2, DN_KV_F32);
	cache = &f.context->kv.pools[0];
	cache_bytes = cache->block_bytes * cache->n_blocks;
	pages = (cache_bytes + 4095) / 4096 + (f.context->workspace_bytes + 4095) / 4096;
	assert_true(resident(cache->memory, cache_bytes) +
			    resident(f.context->workspace, f.context->workspace_bytes) <
		    pages);
	dn_context_populate(f.context);
	assert_int_equal(resident(cache->memory, cache_bytes) +
				 resident(f.context->workspace, f.context->workspace_bytes),
			 pages);
	close_tiny(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels_give_the_same_bits),
		cmocka_unit_test(test_threads_and_chunks_give_the_same_bits),
		cmocka_unit_test(test_batch_gives_the_same_bits),
		cmocka_unit_test(test_cut_and_share_give_the_same_bits),
		cmocka_unit_test(test_snapshot_gives_the_same_bits),
		cmocka_unit_test(test_snapshot_of_another_model_is_refused),
		cmocka_unit_test(test_snapshot_of_a_fine_tuning_is_refused),
		cmocka_unit_test(test_contexts_of_one_model_do_not_meet),
		cmocka_unit_test(test_wrong_steps_change_nothing),
		cmocka_unit_test(test_full_cache_is_an_error),
		cmocka_unit_test(test_budget_is_kept_or_refused),
		cmocka_unit_test(test_models_that_do_not_fit_are_refused),
		cmocka_unit_test(test_every_allocation_may_fail),
		cmocka_unit_test(test_steps_allocate_nothing),
		cmocka_unit_test(test_populate_leaves_no_page_out),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
