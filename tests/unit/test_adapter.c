/* SPDX-License-Identifier: MIT */
/*
 * LoRA adapters on small random models: as good as merged into the weights, and the same bits
 * however they are computed.
 */

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "kernels/kernels.h"
#include "unit/failing-malloc.h"
#include "unit/tiny-model.h"

#define N_TOKENS     37 /* a whole block of the cache and a part */
#define ADAPTERS_MAX 2

/* A model with adapters, and what they are to be scaled by. */
struct setup {
	struct tiny_model tiny;
	struct tiny_adapter adapters[ADAPTERS_MAX];
	float scales[ADAPTERS_MAX];
	uint32_t n;
	const char *level;
	uint32_t threads;
	enum dn_kv_type kv;
};

struct fixture {
	int fd;
	int adapter_fds[ADAPTERS_MAX];
	uint32_t n;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t vocabulary;
	uint32_t tokens[N_TOKENS];
};

static struct setup *setup_new(enum dn_type type, uint32_t n)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->tiny = tiny_model_default(type);
	s->n = n;
	s->threads = 1;
	s->kv = DN_KV_F32;
	for (uint32_t i = 0; i < ADAPTERS_MAX; i++) {
		s->adapters[i] = tiny_adapter_default(&s->tiny, 7 + i);
		s->scales[i] = i ? -0.75f : 1.0f;
	}
	s->adapters[1].rank = 3;
	return s;
}

static void open_setup(struct fixture *f, const struct setup *s)
{
	struct dn_context_options options = {
		.struct_size = sizeof(options),
		.level = s->level,
		.threads = s->threads,
		.context = s->tiny.context,
		.sequences = 3,
		.batch = 64,
		.outputs = 64,
		.kv = s->kv,
	};
	struct dn_error err = DN_ERROR_INIT;

	f->fd = tiny_model_fd(&s->tiny);
	if (dn_model_open(&f->fd, 1, &f->model, &err) < 0)
		fail_msg("%s", err.message);
	f->n = s->n;
	for (uint32_t i = 0; i < s->n; i++) {
		f->adapter_fds[i] = tiny_adapter_fd(&s->adapters[i]);
		if (dn_model_add_adapter(f->model, f->adapter_fds[i], s->scales[i], &err) < 0)
			fail_msg("%s", err.message);
	}
	if (dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s", err.message);
	f->vocabulary = s->tiny.vocabulary;
	for (uint32_t i = 0; i < N_TOKENS; i++)
		f->tokens[i] = (i * 37 + 11) % s->tiny.vocabulary;
}

static void close_setup(struct fixture *f)
{
	dn_context_free(f->context);
	dn_model_free(f->model);
	close(f->fd);
	for (uint32_t i = 0; i < f->n; i++)
		close(f->adapter_fds[i]);
}

static struct dn_sequence *new_sequence(struct fixture *f)
{
	struct dn_sequence *s = NULL;

	assert_int_equal(dn_sequence_new(f->context, &s, NULL), 0);
	return s;
}

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

static float *logits_in(struct fixture *f, uint32_t chunk)
{
	float *out = malloc(sizeof(*out) * N_TOKENS * f->vocabulary);
	struct dn_sequence *s = new_sequence(f);

	assert_non_null(out);
	feed(f, s, 0, N_TOKENS, chunk, out);
	dn_sequence_free(s);
	return out;
}

static float *logits_of(const struct setup *s)
{
	struct fixture f;
	float *out;

	open_setup(&f, s);
	out = logits_in(&f, N_TOKENS);
	close_setup(&f);
	return out;
}

static float distance(const float *a, const float *b, size_t n)
{
	float most = 0.0f;

	for (size_t i = 0; i < n; i++) {
		assert_true(a[i] == a[i] && b[i] == b[i]);
		most = fmaxf(most, fabsf(a[i] - b[i]));
	}
	return most;
}

/* Frees both. */
static void assert_same(float *have, float *want, const struct setup *s)
{
	assert_memory_equal(have, want, sizeof(*have) * N_TOKENS * s->tiny.vocabulary);
	free(have);
	free(want);
}

static const struct setup *merged;

static void merge_all(const char *name, float *values, uint32_t columns, uint32_t rows)
{
	for (uint32_t i = 0; i < merged->n; i++)
		tiny_adapter_merge(&merged->adapters[i], merged->scales[i], name, values, columns,
				   rows);
}

/* What adapters do, against the same done to the weights, in the reference's arithmetic. */
static void assert_as_if_merged(struct setup *s)
{
	const size_t n = (size_t)N_TOKENS * s->tiny.vocabulary;
	struct setup plain = *s;
	struct setup all = *s;
	float *have;
	float *want;
	float *without;

	s->level = plain.level = all.level = "ref";
	plain.n = 0;
	all.n = 0;
	merged = s;
	all.tiny.edit = merge_all;
	have = logits_of(s);
	want = logits_of(&all);
	without = logits_of(&plain);
	assert_true(distance(have, want, n) < 1e-6f);
	assert_true(distance(have, without, n) > 1e-3f);
	free(have);
	free(want);
	free(without);
}

static void test_one_is_as_if_merged(void **state)
{
	struct setup *s = setup_new(DN_TYPE_F32, 1);

	(void)state;
	assert_as_if_merged(s);
	/* No alpha: the scale alone. */
	s->adapters[0].alpha = 0.0f;
	s->scales[0] = 3.0f;
	assert_as_if_merged(s);
	/* The highest rank of a row of sixteen groups, and the lowest. */
	s->adapters[0].rank = 256;
	s->scales[0] = 0.5f;
	assert_as_if_merged(s);
	s->adapters[0].rank = 1;
	s->scales[0] = -20.0f;
	assert_as_if_merged(s);
	free(s);
}

static void test_two_are_as_if_merged(void **state)
{
	struct setup *s = setup_new(DN_TYPE_F32, 2);

	(void)state;
	assert_as_if_merged(s);
	free(s);
}

static void test_embedding_is_as_if_merged(void **state)
{
	struct setup *s = setup_new(DN_TYPE_F32, 2);

	(void)state;
	s->tiny.untied = true;
	s->adapters[0].embedding = true;
	s->adapters[1].embedding = true;
	assert_as_if_merged(s);
	free(s);
}

/* A tied output stays what it was: the truth has the old embedding as its output. */
static void test_tied_output_is_not_the_embeddings(void **state)
{
	struct setup *tied = setup_new(DN_TYPE_F32, 1);
	struct setup *untied = setup_new(DN_TYPE_F32, 1);

	(void)state;
	tied->adapters[0].embedding = true;
	untied->adapters[0].embedding = true;
	untied->tiny.untied = true;
	assert_same(logits_of(tied), logits_of(untied), tied);
	free(tied);
	free(untied);
}

static void test_scale_of_zero_changes_nothing(void **state)
{
	struct setup *s = setup_new(DN_TYPE_Q4_1, 0);
	struct fixture f;
	struct dn_adapter_info info;
	float *want = logits_of(s);

	(void)state;
	s->n = 1;
	s->scales[0] = 0.0f;
	open_setup(&f, s);
	dn_model_get_adapter(f.model, 0, &info);
	assert_int_equal(info.bytes, 0);
	assert_same(logits_in(&f, N_TOKENS), want, s);
	close_setup(&f);
	free(s);
}

static void test_levels_and_types_give_the_same_bits(void **state)
{
	static const enum dn_type types[] = {
		DN_TYPE_F32,  DN_TYPE_F16,  DN_TYPE_BF16, DN_TYPE_Q4_0,	  DN_TYPE_Q4_1,
		DN_TYPE_Q5_0, DN_TYPE_Q5_1, DN_TYPE_Q8_0, DN_TYPE_Q2_K,	  DN_TYPE_Q3_K,
		DN_TYPE_Q4_K, DN_TYPE_Q5_K, DN_TYPE_Q6_K, DN_TYPE_IQ4_NL, DN_TYPE_IQ4_XS,
	};

	(void)state;
	for (size_t t = 0; t < DN_ARRAY_SIZE(types); t++) {
		struct setup *s = setup_new(types[t], 0);
		float *without = logits_of(s);
		float *want = NULL;

		s->n = 2;
		for (int level = DN_LEVEL_SCALAR; level < DN_LEVEL_COUNT; level++) {
			float *have;

			if (!dn_kernels_at((enum dn_level)level))
				continue;
			s->level = dn_level_name((enum dn_level)level);
			have = logits_of(s);
			assert_true(distance(have, without, (size_t)N_TOKENS * s->tiny.vocabulary) >
				    1e-3f);
			if (want)
				assert_same(have, want, s);
			want = want ? logits_of(s) : have;
		}
		free(want);
		free(without);
		free(s);
	}
}

/* A type's values are the same numbers as float32: nothing is lost on the way. */
static void test_adapters_of_every_kind_of_type(void **state)
{
	static const enum dn_type types[] = { DN_TYPE_F16, DN_TYPE_BF16, DN_TYPE_Q8_0 };

	(void)state;
	for (size_t t = 0; t < DN_ARRAY_SIZE(types); t++) {
		struct setup *s = setup_new(DN_TYPE_Q5_0, 2);
		float *have;

		for (uint32_t i = 0; i < 2; i++) {
			s->adapters[i].type = types[t];
			s->adapters[i].rank = i ? 32 : 20;
			s->adapters[i].embedding = true;
		}
		have = logits_of(s);
		for (uint32_t i = 0; i < 2; i++)
			s->adapters[i].unpacked = true;
		assert_same(have, logits_of(s), s);
		free(s);
	}
}

static void test_fused_tensors_are_cut(void **state)
{
	struct setup *fused = setup_new(DN_TYPE_Q4_K, 2);
	struct setup *apart = setup_new(DN_TYPE_Q4_K, 2);

	(void)state;
	fused->tiny.fused = true;
	assert_same(logits_of(fused), logits_of(apart), apart);
	free(fused);
	free(apart);
}

static void test_threads_and_chunks_give_the_same_bits(void **state)
{
	static const uint32_t chunks[] = { 1, 7, 32, 33 };
	struct setup *s = setup_new(DN_TYPE_Q4_1, 2);
	size_t bytes;
	float *want;

	(void)state;
	for (uint32_t i = 0; i < 2; i++)
		s->adapters[i].embedding = true;
	want = logits_of(s);
	bytes = sizeof(*want) * N_TOKENS * s->tiny.vocabulary;
	for (s->threads = 1; s->threads <= 3; s->threads++) {
		struct fixture f;

		open_setup(&f, s);
		for (size_t i = 0; i < DN_ARRAY_SIZE(chunks); i++) {
			float *have = logits_in(&f, chunks[i]);

			assert_memory_equal(have, want, bytes);
			free(have);
		}
		close_setup(&f);
	}
	free(want);
	free(s);
}

static void test_batch_gives_the_same_bits(void **state)
{
	struct setup *s = setup_new(DN_TYPE_Q8_0, 2);
	const size_t row = sizeof(float) * s->tiny.vocabulary;
	struct dn_sequence *one;
	struct dn_sequence *other;
	struct fixture f;
	float *want;

	(void)state;
	s->threads = 2;
	open_setup(&f, s);
	want = logits_in(&f, N_TOKENS);
	one = new_sequence(&f);
	other = new_sequence(&f);
	feed(&f, one, 0, 20, 20, NULL);
	for (uint32_t t = 0; t < 15; t++) {
		const struct dn_batch_item items[] = {
			{ one, f.tokens + 20 + t, 1, DN_LOGITS_LAST },
			{ other, f.tokens + (size_t)2 * t, 2, DN_LOGITS_ALL },
		};

		assert_int_equal(dn_context_step(f.context, items, 2, NULL), 0);
		assert_memory_equal(dn_context_logits(f.context, 0),
				    want + (size_t)(20 + t) * f.vocabulary, row);
		assert_memory_equal(dn_context_logits(f.context, 1),
				    want + (size_t)2 * t * f.vocabulary, 2 * row);
	}
	dn_sequence_free(one);
	dn_sequence_free(other);
	free(want);
	close_setup(&f);
	free(s);
}

/* A snapshot made under one setup, restored under another. */
static int restore_under(const struct setup *from, const struct setup *to, struct dn_error *err)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);
	struct dn_sequence *sequence;
	struct fixture f;
	int r;

	assert_true(fd >= 0);
	open_setup(&f, from);
	sequence = new_sequence(&f);
	feed(&f, sequence, 0, 10, 10, NULL);
	assert_int_equal(dn_sequence_save(sequence, fd, NULL), 0);
	dn_sequence_free(sequence);
	close_setup(&f);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	open_setup(&f, to);
	sequence = new_sequence(&f);
	r = dn_sequence_restore(sequence, fd, err);
	assert_int_equal(dn_sequence_length(sequence), r < 0 ? 0 : 10);
	dn_sequence_free(sequence);
	close_setup(&f);
	close(fd);
	return r;
}

static void test_snapshot_is_of_its_adapters(void **state)
{
	struct setup *s = setup_new(DN_TYPE_Q8_0, 1);
	struct dn_error err = DN_ERROR_INIT;
	struct setup other = *s;

	(void)state;
	assert_int_equal(restore_under(s, s, &err), 0);
	other.n = 0;
	assert_int_equal(restore_under(s, &other, &err), -EINVAL);
	assert_string_equal(err.message,
			    "the snapshot is of another model, adapter, level or cache type");
	assert_int_equal(restore_under(&other, s, &err), -EINVAL);
	other = *s;
	other.scales[0] = 0.5f;
	assert_int_equal(restore_under(s, &other, &err), -EINVAL);
	other = *s;
	other.adapters[0].alpha = 10.0f;
	assert_int_equal(restore_under(s, &other, &err), -EINVAL);
	other = *s;
	other.adapters[0].seed++;
	assert_int_equal(restore_under(s, &other, &err), -EINVAL);
	free(s);
}

static void test_plan_counts_adapters(void **state)
{
	struct setup *s = setup_new(DN_TYPE_Q8_0, 2);
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 160 };
	struct dn_error err = DN_ERROR_INIT;
	struct dn_memory_plan with;
	struct dn_memory_plan without;
	struct dn_model_info info;
	struct dn_model_info plain;
	struct dn_adapter_info adapter;
	struct fixture f;

	(void)state;
	s->adapters[0].rank = 256;
	s->n = 0;
	open_setup(&f, s);
	dn_model_get_info(f.model, &plain);
	assert_int_equal(dn_model_plan(f.model, &options, &without, &err), 0);
	close_setup(&f);
	s->n = 2;
	open_setup(&f, s);
	dn_model_get_info(f.model, &info);
	assert_int_equal(dn_model_plan(f.model, &options, &with, &err), 0);
	assert_int_equal(dn_model_n_adapters(f.model), 2);
	dn_model_get_adapter(f.model, 0, &adapter);
	assert_int_equal(adapter.rank, 256);
	assert_int_equal(adapter.pairs, 14);
	assert_true(adapter.alpha == 20.0 && adapter.scale == 1.0f);
	assert_memory_equal(adapter.name, "tiny adapter", adapter.name_size);
	assert_true(with.weights >= without.weights + adapter.bytes);
	assert_true(with.workspace > without.workspace && with.tables > without.tables);
	assert_true(info.bytes_per_token > plain.bytes_per_token + adapter.bytes);
	assert_true(info.operations_per_token > plain.operations_per_token);
	options.memory = with.total - 1;
	assert_int_equal(dn_model_plan(f.model, &options, &with, &err), -ENOMEM);
	close_setup(&f);
	free(s);
}

static int open_and_step(const int *fds, struct dn_error *err)
{
	struct dn_context_options options = { .struct_size = sizeof(options), .context = 64 };
	struct dn_context *context = NULL;
	struct dn_sequence *sequence = NULL;
	struct dn_model *model = NULL;
	int r;

	r = dn_model_open(&fds[0], 1, &model, err);
	for (int i = 1; r >= 0 && i <= 2; i++)
		r = dn_model_add_adapter(model, fds[i], 1.0f, err);
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
	struct setup *s = setup_new(DN_TYPE_Q4_0, 2);
	int fds[3];
	size_t nth = 1;

	(void)state;
	/* Quantised: what is unpacked on the way in is part of it. */
	s->adapters[0].type = DN_TYPE_Q8_0;
	fds[0] = tiny_model_fd(&s->tiny);
	fds[1] = tiny_adapter_fd(&s->adapters[0]);
	fds[2] = tiny_adapter_fd(&s->adapters[1]);
	for (;; nth++) {
		struct dn_error err = DN_ERROR_INIT;
		int r;

		failing_malloc_arm(nth);
		r = open_and_step(fds, &err);
		if (!failing_malloc_disarm()) {
			assert_int_equal(r, 0);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		assert_non_null(strstr(err.message, "out of memory"));
	}
	assert_true(nth > 16);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	free(s);
}

static void test_steps_allocate_nothing(void **state)
{
	struct setup *s = setup_new(DN_TYPE_Q4_1, 2);
	struct dn_sequence *sequence;
	struct fixture f;

	(void)state;
	s->threads = 2;
	s->adapters[0].embedding = true;
	open_setup(&f, s);
	sequence = new_sequence(&f);
	failing_malloc_arm(1);
	feed(&f, sequence, 0, 30, 30, NULL);
	feed(&f, sequence, 30, N_TOKENS, 1, NULL);
	assert_false(failing_malloc_disarm());
	dn_sequence_free(sequence);
	close_setup(&f);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_is_as_if_merged),
		cmocka_unit_test(test_two_are_as_if_merged),
		cmocka_unit_test(test_embedding_is_as_if_merged),
		cmocka_unit_test(test_tied_output_is_not_the_embeddings),
		cmocka_unit_test(test_scale_of_zero_changes_nothing),
		cmocka_unit_test(test_levels_and_types_give_the_same_bits),
		cmocka_unit_test(test_adapters_of_every_kind_of_type),
		cmocka_unit_test(test_fused_tensors_are_cut),
		cmocka_unit_test(test_threads_and_chunks_give_the_same_bits),
		cmocka_unit_test(test_batch_gives_the_same_bits),
		cmocka_unit_test(test_snapshot_is_of_its_adapters),
		cmocka_unit_test(test_plan_counts_adapters),
		cmocka_unit_test(test_every_allocation_may_fail),
		cmocka_unit_test(test_steps_allocate_nothing),
	};

	return cmocka_run_group_tests_name("adapter", tests, NULL, NULL);
}
