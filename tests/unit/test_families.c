/* SPDX-License-Identifier: MIT */
/*
 * Every family on a small random model of its own (DUNLIN_FAMILIES names their folder): the same
 * bits whatever the level, the threads, the cut of the prompt, the batch, the type of the cache,
 * and wherever the prefix comes from; and no more memory than was planned. The text is longer than
 * the windows, and passes several borders of blocks, so that windows slide and checkpoints come and
 * go.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "kernels/kernels.h"
#include "unit/family-models.h"

#define N_TOKENS 150
#define CONTEXT	 192

/* A text of three spans, whose last tokens, on both sides of a border, come in steps of a few. */
#define LONG_CONTEXT 1056
#define LONG_TOKENS  1028
#define LAST_TOKENS  8

/* Bytes that were mapped: all that is large. */
static size_t mapped;

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	mapped += size;
	return __real_mmap(address, size, protection, flags, fd, offset);
}

void *__wrap_mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	return __wrap_mmap(address, size, protection, flags, fd, offset);
}

struct fixture {
	const char *family;
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t vocabulary;
	/* Families that remember every token can be cut anywhere. */
	bool exact;
	uint32_t length; /* of contexts */
	uint32_t tokens[N_TOKENS];
	float *want; /* logits of all tokens, computed in one step */
};

static void open_context(struct fixture *f, const char *level, uint32_t threads, enum dn_kv_type kv)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.level = level,
		.threads = threads,
		.context = f->length,
		.sequences = 3,
		.batch = N_TOKENS,
		.outputs = N_TOKENS,
		.kv = kv,
	};
	struct dn_error err = DN_ERROR_INIT;
	struct dn_memory_plan plan;

	if (dn_model_plan(f->model, &options, &plan, &err) < 0)
		fail_msg("%s: %s", f->family, err.message);
	mapped = 0;
	if (dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s: %s", f->family, err.message);
	if (mapped == 0 || mapped > plan.weights + plan.cache + plan.workspace)
		fail_msg("%s: mapped %zu bytes, planned %llu, %llu and %llu", f->family, mapped,
			 (unsigned long long)plan.weights, (unsigned long long)plan.cache,
			 (unsigned long long)plan.workspace);
}

static struct dn_sequence *new_sequence(struct fixture *f)
{
	struct dn_sequence *s = NULL;

	assert_int_equal(dn_sequence_new(f->context, &s, NULL), 0);
	return s;
}

/* Feeds tokens [from, to) in steps of @chunk; each must have the logits that are wanted. */
static void feed(struct fixture *f, struct dn_sequence *s, uint32_t from, uint32_t to,
		 uint32_t chunk)
{
	for (uint32_t at = from; at < to; at += chunk) {
		struct dn_batch_item item = { s, f->tokens + at, DN_MIN(chunk, to - at),
					      DN_LOGITS_ALL };
		struct dn_error err = DN_ERROR_INIT;

		if (dn_context_step(f->context, &item, 1, &err) < 0)
			fail_msg("%s: %s", f->family, err.message);
		for (uint32_t i = 0; i < item.n_tokens; i++)
			if (memcmp(dn_context_logits(f->context, i),
				   f->want + (size_t)(at + i) * f->vocabulary,
				   f->vocabulary * sizeof(float)) != 0)
				fail_msg("%s: token %u in steps of %u from %u: other bits",
					 f->family, at + i, chunk, from);
	}
}

static void set_want(struct fixture *f)
{
	struct dn_sequence *s = new_sequence(f);
	struct dn_batch_item item = { s, f->tokens, N_TOKENS, DN_LOGITS_ALL };
	struct dn_error err = DN_ERROR_INIT;

	if (dn_context_step(f->context, &item, 1, &err) < 0)
		fail_msg("%s: %s", f->family, err.message);
	memcpy(f->want, dn_context_logits(f->context, 0), sizeof(float) * N_TOKENS * f->vocabulary);
	f->exact = dn_sequence_cut(s, 3) == 3;
	dn_sequence_free(s);
}

/* Logits that are all equal, or no numbers, would be the same too. */
static void assert_alive(const struct fixture *f)
{
	float least = f->want[0];
	float most = f->want[0];

	for (size_t i = 0; i < (size_t)N_TOKENS * f->vocabulary; i++) {
		if (!(f->want[i] - f->want[i] == 0.0f))
			fail_msg("%s: a logit is no number", f->family);
		least = DN_MIN(least, f->want[i]);
		most = DN_MAX(most, f->want[i]);
	}
	assert_true(most - least > 1e-2f);
}

static void open_family(struct fixture *f, const char *family)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model_info info;
	char path[512];

	*f = (struct fixture){ .family = family, .length = CONTEXT };
	(void)snprintf(path, sizeof(path), "%s/%s", getenv("DUNLIN_FAMILIES"), family);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	if (dn_model_open(&f->fd, 1, &f->model, &err) < 0 || dn_model_runs(f->model, &err) < 0)
		fail_msg("%s: %s", family, err.message);
	dn_model_get_info(f->model, &info);
	f->vocabulary = info.vocabulary;
	f->want = malloc(sizeof(*f->want) * N_TOKENS * f->vocabulary);
	assert_non_null(f->want);
	for (uint32_t i = 0; i < N_TOKENS; i++)
		f->tokens[i] = (i * 37 + i * i % 11 + 5) % f->vocabulary;
	open_context(f, NULL, 1, DN_KV_F16);
	set_want(f);
	assert_alive(f);
}

static void close_family(struct fixture *f)
{
	dn_context_free(f->context);
	dn_model_free(f->model);
	free(f->want);
	close(f->fd);
}

static void reopen(struct fixture *f, const char *level, uint32_t threads, enum dn_kv_type kv)
{
	dn_context_free(f->context);
	open_context(f, level, threads, kv);
}

static void feed_alone(struct fixture *f, uint32_t chunk)
{
	struct dn_sequence *s = new_sequence(f);

	feed(f, s, 0, N_TOKENS, chunk);
	dn_sequence_free(s);
}

static void check_levels(struct fixture *f)
{
	for (int level = DN_LEVEL_SCALAR; level < DN_LEVEL_COUNT; level++) {
		if (!dn_kernels_at((enum dn_level)level))
			continue;
		reopen(f, dn_level_name((enum dn_level)level), 1, DN_KV_F16);
		feed_alone(f, 50);
	}
}

static void check_threads_and_chunks(struct fixture *f)
{
	static const uint32_t chunks[] = { 1, 7, 32, 33, 64 };

	for (uint32_t threads = 1; threads <= 3; threads++) {
		reopen(f, NULL, threads, DN_KV_F16);
		for (size_t i = 0; i < DN_ARRAY_SIZE(chunks); i++)
			feed_alone(f, chunks[i]);
	}
}

/*
 * The last tokens' logits of a long text, in steps of @chunk and at the end of @last tokens, with a
 * token of a short text beside these.
 */
static void run_long(struct fixture *f, uint32_t threads, uint32_t chunk, uint32_t last,
		     enum dn_kv_type kv, float *logits)
{
	const size_t row = f->vocabulary;
	struct dn_error err = DN_ERROR_INIT;
	struct dn_sequence *s;
	struct dn_sequence *other;

	reopen(f, NULL, threads, kv);
	s = new_sequence(f);
	other = new_sequence(f);
	for (uint32_t at = 0; at < LONG_TOKENS;) {
		const uint32_t first_last = LONG_TOKENS - LAST_TOKENS;
		const bool early = at < first_last;
		const uint32_t n = early ? DN_MIN(chunk, first_last - at) : last;
		uint32_t tokens[N_TOKENS];
		struct dn_batch_item items[] = {
			{ s, tokens, n, early ? DN_LOGITS_NONE : DN_LOGITS_ALL },
			{ other, f->tokens, 1, DN_LOGITS_NONE },
		};

		for (uint32_t i = 0; i < n; i++)
			tokens[i] = f->tokens[(at + i) * 7 % N_TOKENS];
		if (dn_context_step(f->context, items, early ? 1 : 2, &err) < 0)
			fail_msg("%s: %s", f->family, err.message);
		if (!early)
			memcpy(logits + (at - first_last) * row, dn_context_logits(f->context, 0),
			       n * row * sizeof(*logits));
		at += n;
	}
	dn_sequence_free(other);
	dn_sequence_free(s);
}

static void check_spans(struct fixture *f)
{
	static const struct {
		uint32_t threads;
		uint32_t chunk;
		uint32_t last;
	} ways[] = { { 2, 149, 1 }, { 2, 64, 2 }, { 3, 33, 2 }, { 4, 149, 8 } };
	static const enum dn_kv_type kv[] = { DN_KV_F16, DN_KV_Q8_0 };
	const size_t n = (size_t)LAST_TOKENS * f->vocabulary;
	float *want = malloc(n * sizeof(*want));
	float *got = malloc(n * sizeof(*got));

	assert_non_null(want);
	assert_non_null(got);
	f->length = LONG_CONTEXT;
	for (size_t t = 0; t < DN_ARRAY_SIZE(kv); t++) {
		run_long(f, 1, 149, 1, kv[t], want);
		for (size_t i = 0; i < DN_ARRAY_SIZE(ways); i++) {
			run_long(f, ways[i].threads, ways[i].chunk, ways[i].last, kv[t], got);
			if (memcmp(got, want, n * sizeof(*got)) != 0)
				fail_msg("%s: a long text in steps of %u and %u with %u threads: "
					 "other bits",
					 f->family, ways[i].chunk, ways[i].last, ways[i].threads);
		}
	}
	free(want);
	free(got);
	f->length = CONTEXT;
	reopen(f, NULL, 1, DN_KV_F16);
}

/* One decodes, one is further behind, one takes its prompt in pieces of four. */
static void check_batch(struct fixture *f)
{
	struct dn_sequence *s[3];

	reopen(f, NULL, 2, DN_KV_F16);
	for (int i = 0; i < 3; i++)
		s[i] = new_sequence(f);
	feed(f, s[0], 0, 100, 100);
	feed(f, s[1], 0, 3, 3);
	for (uint32_t t = 0; t < 36; t++) {
		const struct dn_batch_item items[] = {
			{ s[0], f->tokens + 100 + t, 1, DN_LOGITS_LAST },
			{ s[1], f->tokens + 3 + t, 1, DN_LOGITS_LAST },
			{ s[2], f->tokens + (size_t)4 * t, 4, DN_LOGITS_LAST },
		};
		const uint32_t last[] = { 100 + t, 3 + t, 4 * t + 3 };

		assert_int_equal(dn_context_step(f->context, items, 3, NULL), 0);
		for (uint32_t i = 0; i < 3; i++)
			if (memcmp(dn_context_logits(f->context, i),
				   f->want + (size_t)last[i] * f->vocabulary,
				   f->vocabulary * sizeof(float)) != 0)
				fail_msg("%s: token %u among others: other bits", f->family,
					 last[i]);
	}
	for (int i = 0; i < 3; i++)
		dn_sequence_free(s[i]);
}

static void check_cuts(struct fixture *f, uint32_t chunk)
{
	static const uint32_t cuts[] = { 0, 1, 31, 32, 33, 64, 100, 128, 149, 150 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(cuts); i++) {
		struct dn_sequence *s = new_sequence(f);
		uint32_t kept;

		feed(f, s, 0, N_TOKENS, chunk);
		kept = dn_sequence_cut(s, cuts[i]);
		assert_true(kept <= cuts[i]);
		assert_int_equal(dn_sequence_length(s), kept);
		if (f->exact || cuts[i] == N_TOKENS)
			assert_int_equal(kept, cuts[i]);
		/* Within the last tokens there is a checkpoint, however they came. */
		if (chunk <= 32 && cuts[i] >= 100)
			assert_true(kept >= 64);
		feed(f, s, kept, N_TOKENS, 13);
		/* And again, from what was computed anew. */
		kept = dn_sequence_cut(s, cuts[i] / 2);
		assert_true(kept <= cuts[i] / 2);
		feed(f, s, kept, N_TOKENS, 40);
		dn_sequence_free(s);
	}
}

/* Two sequences with a common beginning write behind it, first other tokens, then these. */
static void check_shares(struct fixture *f)
{
	static const uint32_t lengths[] = { 0, 1, 32, 63, 96, 101, 128, 150 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(lengths); i++) {
		struct dn_sequence *from = new_sequence(f);
		struct dn_sequence *to = new_sequence(f);
		const uint32_t other[] = { 7, 9, 11, 13, 15 };
		const struct dn_batch_item strange = { to, other, DN_ARRAY_SIZE(other),
						       DN_LOGITS_NONE };
		uint32_t kept;

		feed(f, from, 0, N_TOKENS, 29);
		assert_int_equal(dn_sequence_share(to, from, lengths[i], NULL), 0);
		kept = dn_sequence_length(to);
		assert_true(kept <= lengths[i]);
		if (f->exact)
			assert_int_equal(kept, lengths[i]);
		assert_int_equal(dn_context_step(f->context, &strange, 1, NULL), 0);
		kept = dn_sequence_cut(to, kept);
		(void)dn_sequence_cut(from, lengths[i]);
		feed(f, from, dn_sequence_length(from), N_TOKENS, 3);
		feed(f, to, kept, N_TOKENS, 17);
		dn_sequence_free(from);
		dn_sequence_free(to);
	}
}

static void check_snapshots(struct fixture *f)
{
	static const uint32_t lengths[] = { 1, 45, 64, 150 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(lengths); i++) {
		struct dn_sequence *from = new_sequence(f);
		struct dn_sequence *to = new_sequence(f);
		const int fd = memfd_create("snapshot", MFD_CLOEXEC);
		struct dn_error err = DN_ERROR_INIT;
		uint32_t kept;

		assert_true(fd >= 0);
		feed(f, from, 0, lengths[i], 11);
		assert_int_equal(dn_sequence_save(from, fd, &err), 0);
		assert_int_equal(lseek(fd, 0, SEEK_CUR), dn_sequence_save_size(from));
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		if (dn_sequence_restore(to, fd, &err) < 0)
			fail_msg("%s: %s", f->family, err.message);
		assert_int_equal(dn_sequence_length(to), lengths[i]);
		feed(f, to, lengths[i], N_TOKENS, 9);
		/* Its checkpoints came with it: both are cut to the same place. */
		kept = dn_sequence_cut(from, lengths[i] / 2);
		(void)dn_sequence_cut(to, lengths[i]);
		if (dn_sequence_length(to) == lengths[i])
			assert_int_equal(dn_sequence_cut(to, lengths[i] / 2), kept);
		feed(f, from, kept, N_TOKENS, 21);
		dn_sequence_free(from);
		dn_sequence_free(to);
		close(fd);
	}
}

/* All that was taken came back: as many sequences as before fit, again and again. */
static void check_nothing_leaks(struct fixture *f)
{
	for (int round = 0; round < 3; round++) {
		struct dn_sequence *s[3];

		for (int i = 0; i < 3; i++) {
			s[i] = new_sequence(f);
			feed(f, s[i], 0, N_TOKENS, 25);
		}
		for (int i = 0; i < 3; i++)
			dn_sequence_free(s[i]);
	}
}

static void check_types_of_cache(struct fixture *f)
{
	static const enum dn_kv_type types[] = { DN_KV_F32, DN_KV_Q8_0 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(types); i++) {
		reopen(f, NULL, 2, types[i]);
		set_want(f);
		assert_alive(f);
		feed_alone(f, 31);
		check_snapshots(f);
	}
}

static void test_family(void **state)
{
	struct fixture f;

	open_family(&f, *state);
	check_levels(&f);
	check_threads_and_chunks(&f);
	check_spans(&f);
	check_batch(&f);
	check_cuts(&f, N_TOKENS);
	check_cuts(&f, 32);
	check_cuts(&f, 1);
	check_shares(&f);
	check_snapshots(&f);
	check_nothing_leaks(&f);
	check_types_of_cache(&f);
	close_family(&f);
}

int main(void)
{
	struct CMUnitTest tests[FAMILIES_MAX] = { 0 };
	int r;

	if (list_families() == 0)
		return 77;
	for (size_t i = 0; i < n_families; i++)
		tests[i] = (struct CMUnitTest){ families[i], test_family, NULL, NULL, families[i] };
	r = _cmocka_run_group_tests("families", tests, n_families, NULL, NULL);
	free_families();
	return r;
}
