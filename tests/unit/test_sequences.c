/* SPDX-License-Identifier: MIT */
/*
 * Sequences against a plain model of them. Thousands of random steps, drafts, cuts, shares,
 * snapshots and endings over more sequences than the cache has room for; a sequence is known by the
 * tokens that it must hold, every logit by the table of what each text gives when it is computed at
 * once. In between, every reference to a block of the cache is counted.
 *
 * The models come from DUNLIN_FAMILIES, as in test_families.c.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/context.h"

#define CONTEXT	   192
#define BATCH	   48
#define SEQUENCES  2
#define SLOTS	   (SEQUENCES * DN_SEQUENCES_PER_CONTEXT)
#define N_TEXTS	   6
#define OPERATIONS 15000
#define COUNT_EACH 8

/* Text i begins like text parent, for as many tokens. */
static const struct {
	uint32_t parent;
	uint32_t common;
} texts[N_TEXTS] = { { 0, 0 }, { 0, 33 }, { 0, 96 }, { 1, 64 }, { 2, 127 }, { 0, 5 } };

/* What a sequence must be: the first @length tokens of a text. */
struct slot {
	struct dn_sequence *sequence;
	uint32_t text;
	uint32_t length;
};

struct fixture {
	const char *family;
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t vocabulary;
	uint32_t tokens[N_TEXTS][CONTEXT];
	float *want; /* [N_TEXTS][CONTEXT][vocabulary] */
	struct slot slots[SLOTS];
	uint64_t random;
	uint32_t operation;
	uint32_t full;	  /* times that the cache had no room */
	uint32_t drafted; /* tokens that were cut off again */
};

/* xorshift64* (Vigna 2014), so that every run is the same. */
static uint32_t draw(struct fixture *f, uint32_t below)
{
	f->random ^= f->random >> 12;
	f->random ^= f->random << 25;
	f->random ^= f->random >> 27;
	return (uint32_t)((f->random * 0x2545f4914f6cdd1dULL) >> 33) % below;
}

static void open_context(struct fixture *f, uint32_t sequences, uint32_t batch)
{
	const struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = 1,
		.context = CONTEXT,
		.sequences = sequences,
		.batch = batch,
		.outputs = batch,
	};
	struct dn_error err = DN_ERROR_INIT;

	if (dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s: %s", f->family, err.message);
}

static void set_texts(struct fixture *f)
{
	for (uint32_t i = 0; i < N_TEXTS; i++) {
		for (uint32_t t = 0; t < CONTEXT; t++)
			f->tokens[i][t] = (t * 37 + t * t % 11 + i * 23 + 5) % f->vocabulary;
		memcpy(f->tokens[i], f->tokens[texts[i].parent],
		       texts[i].common * sizeof(f->tokens[i][0]));
	}
}

static float *wanted(const struct fixture *f, uint32_t text, uint32_t token)
{
	return f->want + ((size_t)text * CONTEXT + token) * f->vocabulary;
}

static void set_want(struct fixture *f)
{
	open_context(f, 1, CONTEXT);
	for (uint32_t i = 0; i < N_TEXTS; i++) {
		struct dn_batch_item item = { NULL, f->tokens[i], CONTEXT, DN_LOGITS_ALL };

		assert_int_equal(dn_sequence_new(f->context, &item.sequence, NULL), 0);
		assert_int_equal(dn_context_step(f->context, &item, 1, NULL), 0);
		memcpy(wanted(f, i, 0), dn_context_logits(f->context, 0),
		       sizeof(float) * CONTEXT * f->vocabulary);
		dn_sequence_free(item.sequence);
	}
	dn_context_free(f->context);
}

static void open_family(struct fixture *f, const char *family)
{
	struct dn_error err = DN_ERROR_INIT;
	struct dn_model_info info;
	char path[512];

	*f = (struct fixture){ .family = family, .random = 0x9e3779b97f4a7c15ULL };
	(void)snprintf(path, sizeof(path), "%s/%s.gguf", getenv("DUNLIN_FAMILIES"), family);
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	if (dn_model_open(&f->fd, 1, &f->model, &err) < 0 || dn_model_runs(f->model, &err) < 0)
		fail_msg("%s: %s", family, err.message);
	dn_model_get_info(f->model, &info);
	f->vocabulary = info.vocabulary;
	f->want = malloc(sizeof(*f->want) * N_TEXTS * CONTEXT * f->vocabulary);
	assert_non_null(f->want);
	set_texts(f);
	set_want(f);
	open_context(f, SEQUENCES, BATCH);
}

static void close_family(struct fixture *f)
{
	dn_context_free(f->context);
	dn_model_free(f->model);
	free(f->want);
	close(f->fd);
}

/* A slot that has a sequence, or with @empty one that has none; NULL: there is none. */
static struct slot *pick(struct fixture *f, bool empty)
{
	const uint32_t first = draw(f, SLOTS);

	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &f->slots[(first + i) % SLOTS];

		if (!slot->sequence == empty)
			return slot;
	}
	return NULL;
}

static void assert_length(const struct fixture *f, const struct slot *slot)
{
	if (dn_sequence_length(slot->sequence) != slot->length)
		fail_msg("%s, operation %u: a sequence of %u tokens has %u", f->family,
			 f->operation, slot->length, dn_sequence_length(slot->sequence));
}

static void new_sequence(struct fixture *f)
{
	struct dn_sequence *more = NULL;
	struct slot *slot = pick(f, true);

	if (!slot) {
		assert_int_equal(dn_sequence_new(f->context, &more, NULL), -ENOSPC);
		assert_null(more);
		return;
	}
	*slot = (struct slot){ .text = draw(f, N_TEXTS) };
	assert_int_equal(dn_sequence_new(f->context, &slot->sequence, NULL), 0);
	assert_length(f, slot);
}

/* One of the texts that begin with what the sequence has. */
static void turn(struct fixture *f, struct slot *slot)
{
	const uint32_t text = draw(f, N_TEXTS);

	if (memcmp(f->tokens[text], f->tokens[slot->text],
		   slot->length * sizeof(f->tokens[0][0])) == 0)
		slot->text = text;
}

static void check_logits(const struct fixture *f, const struct slot *slot, uint32_t token,
			 uint32_t row)
{
	if (memcmp(dn_context_logits(f->context, row), wanted(f, slot->text, token),
		   f->vocabulary * sizeof(float)) != 0)
		fail_msg("%s, operation %u: token %u of text %u has other logits", f->family,
			 f->operation, token, slot->text);
}

static void check_step(struct fixture *f, const struct dn_batch_item *items, struct slot **slots,
		       uint32_t n)
{
	uint32_t row = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct slot *slot = slots[i];
		const uint32_t rows = items[i].wanted == DN_LOGITS_ALL	  ? items[i].n_tokens
				      : items[i].wanted == DN_LOGITS_LAST ? 1
									  : 0;

		slot->length += items[i].n_tokens;
		for (uint32_t t = 0; t < rows; t++)
			check_logits(f, slot, slot->length - rows + t, row++);
		assert_length(f, slot);
	}
}

static void step(struct fixture *f)
{
	static const enum dn_logits_wanted wants[] = { DN_LOGITS_NONE, DN_LOGITS_LAST,
						       DN_LOGITS_ALL };
	/* Most texts grow in long strides; some token by token. */
	const uint32_t most = draw(f, 4) ? BATCH : 3;
	struct dn_batch_item items[SLOTS];
	struct slot *slots[SLOTS];
	uint32_t tokens = 0;
	bool too_long = false;
	uint32_t n = 0;
	int r;

	for (uint32_t i = draw(f, SLOTS), left = 1 + draw(f, 3); left > 0; left--, i++) {
		struct slot *slot = &f->slots[i % SLOTS];
		const uint32_t count = 1 + draw(f, most);

		if (!slot->sequence || tokens + count > BATCH)
			continue;
		turn(f, slot);
		items[n] = (struct dn_batch_item){ slot->sequence,
						   f->tokens[slot->text] +
							   DN_MIN(slot->length, CONTEXT - BATCH),
						   count, wants[draw(f, 3)] };
		if (slot->length + count > CONTEXT)
			too_long = true;
		else
			items[n].tokens = f->tokens[slot->text] + slot->length;
		tokens += count;
		slots[n++] = slot;
	}
	if (n == 0)
		return;
	r = dn_context_step(f->context, items, n, NULL);
	if (r == 0 && !too_long) {
		check_step(f, items, slots, n);
		return;
	}
	if (r != (too_long ? -ENOBUFS : -ENOSPC))
		fail_msg("%s, operation %u: a step gave %d", f->family, f->operation, r);
	f->full += !too_long;
	for (uint32_t i = 0; i < n; i++)
		assert_length(f, slots[i]);
}

/* The next token and a draft behind it; what of that is wrong can be cut off, and no more goes. */
static void draft(struct fixture *f)
{
	struct slot *slot = pick(f, false);
	struct dn_batch_item item = { .wanted = DN_LOGITS_ALL };
	uint32_t tokens[8];
	uint32_t right;
	uint32_t most;
	int r;

	if (!slot)
		return;
	most = dn_sequence_drafts(slot->sequence);
	if (f->context->kv.pools[DN_POOL_STATE].block_bytes || slot->length + 1 >= CONTEXT)
		assert_int_equal(most, 0);
	else
		assert_in_range(most, 0, CONTEXT - 1 - slot->length);
	/* A checkpoint made for a draft could take another's place. */
	if (f->context->kv.pools[DN_POOL_WINDOW].block_bytes)
		assert_int_equal((slot->length + 1) / DN_KV_BLOCK,
				 (slot->length + 1 + most) / DN_KV_BLOCK);
	if (most == 0)
		return;
	item.sequence = slot->sequence;
	item.tokens = tokens;
	item.n_tokens = 2 + draw(f, DN_MIN(most, 7U));
	right = 1 + draw(f, item.n_tokens);
	for (uint32_t i = 0; i < item.n_tokens; i++)
		tokens[i] = i < right ? f->tokens[slot->text][slot->length + i] : 0;
	r = dn_context_step(f->context, &item, 1, NULL);
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		f->full++;
		return;
	}
	for (uint32_t i = 0; i < right; i++)
		check_logits(f, slot, slot->length + i, i);
	slot->length += right;
	f->drafted += item.n_tokens - right;
	assert_int_equal(dn_sequence_cut(slot->sequence, slot->length), slot->length);
	assert_length(f, slot);
}

static void cut(struct fixture *f)
{
	struct slot *slot = pick(f, false);
	uint32_t length;
	uint32_t kept;

	if (!slot)
		return;
	length = draw(f, 4) ? slot->length - DN_MIN(slot->length, draw(f, 40)) : draw(f, CONTEXT);
	kept = dn_sequence_cut(slot->sequence, length);
	if (kept > length || kept > slot->length)
		fail_msg("%s, operation %u: %u cut to %u left %u", f->family, f->operation,
			 slot->length, length, kept);
	slot->length = kept;
	assert_length(f, slot);
}

static void share(struct fixture *f)
{
	struct slot *to = pick(f, true);
	const struct slot *from = pick(f, false);
	uint32_t length;
	int r;

	if (!from)
		return;
	length = draw(f, from->length + 2);
	if (!to) {
		to = pick(f, false);
		r = dn_sequence_share(to->sequence, from->sequence, length, NULL);
		if (to->length || length > from->length) {
			assert_int_equal(r, -EINVAL);
			return;
		}
	} else {
		assert_int_equal(dn_sequence_new(f->context, &to->sequence, NULL), 0);
		to->length = 0;
		r = dn_sequence_share(to->sequence, from->sequence, length, NULL);
		if (length > from->length) {
			assert_int_equal(r, -EINVAL);
			assert_length(f, to);
			return;
		}
	}
	assert_int_equal(r, 0);
	to->length = dn_sequence_length(to->sequence);
	to->text = from->text;
	assert_true(to->length <= length);
}

/* Out and back, as a whole or, where a disk was full, in part. */
static void snapshot(struct fixture *f)
{
	struct slot *to = pick(f, true);
	const struct slot *from = pick(f, false);
	const bool whole = draw(f, 4) != 0;
	off_t size;
	int fd;
	int r;

	if (!from || !to)
		return;
	fd = memfd_create("snapshot", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(dn_sequence_save(from->sequence, fd, NULL), 0);
	size = lseek(fd, 0, SEEK_CUR);
	assert_int_equal(size, dn_sequence_save_size(from->sequence));
	if (!whole)
		assert_int_equal(ftruncate(fd, (off_t)draw(f, (uint32_t)size)), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(dn_sequence_new(f->context, &to->sequence, NULL), 0);
	*to = (struct slot){ to->sequence, from->text, 0 };
	r = dn_sequence_restore(to->sequence, fd, NULL);
	if (r == 0) {
		assert_true(whole);
		to->length = from->length;
	} else if (whole) {
		assert_int_equal(r, -ENOSPC);
		f->full++;
	}
	assert_length(f, to);
	close(fd);
}

static void end_sequence(struct slot *slot)
{
	dn_sequence_free(slot->sequence);
	slot->sequence = NULL;
}

static void end(struct fixture *f)
{
	struct slot *slot = pick(f, false);

	if (slot)
		end_sequence(slot);
}

static void count_block(const struct dn_block_pool *pool, const uint8_t *block, uint32_t *counts)
{
	if (block)
		counts[(size_t)(block - pool->memory) / pool->block_bytes]++;
}

static void count_sequence(const struct dn_sequence *s, int p, uint32_t *counts)
{
	const struct dn_block_pool *pool = &s->context->kv.pools[p];

	for (uint32_t i = 0; p != DN_POOL_STATE && i < DN_DIV_ROUND_UP(CONTEXT, DN_KV_BLOCK); i++)
		count_block(pool, s->blocks[p][i], counts);
	if (p != DN_POOL_STATE)
		return;
	count_block(pool, s->state, counts);
	for (uint32_t i = 0; i < s->n_checkpoints; i++)
		count_block(pool, s->checkpoints[i].state, counts);
}

/* Blocks have as many references as sequences know them, and the others are free. */
static void count_references(const struct fixture *f)
{
	for (int p = 0; p < DN_POOL_COUNT; p++) {
		const struct dn_block_pool *pool = &f->context->kv.pools[p];
		uint32_t *counts = calloc(pool->n_blocks + 1, sizeof(*counts));
		uint32_t unused = 0;

		assert_non_null(counts);
		for (uint32_t i = 0; i < SLOTS; i++)
			if (f->slots[i].sequence)
				count_sequence(f->slots[i].sequence, p, counts);
		for (uint32_t i = 0; i < pool->n_blocks; i++) {
			unused += counts[i] == 0;
			if (counts[i] != pool->references[i])
				fail_msg("%s, operation %u: block %u of pool %d has %u references, "
					 "not %u",
					 f->family, f->operation, i, p, pool->references[i],
					 counts[i]);
		}
		assert_int_equal(unused, pool->n_free);
		free(counts);
	}
}

static void test_random(void **state)
{
	struct fixture f;

	open_family(&f, *state);
	for (f.operation = 0; f.operation < OPERATIONS; f.operation++) {
		const uint32_t which = draw(&f, 24);

		if (which >= 20)
			draft(&f);
		else if (which < 11)
			step(&f);
		else if (which < 13)
			new_sequence(&f);
		else if (which < 15)
			cut(&f);
		else if (which < 17)
			share(&f);
		else if (which < 19)
			snapshot(&f);
		else
			end(&f);
		if (f.operation % COUNT_EACH == 0)
			count_references(&f);
	}
	/* A cache that always has room has not been tried. */
	assert_true(f.full > 10);
	assert_int_equal(f.drafted > 100, !f.context->kv.pools[DN_POOL_STATE].block_bytes);
	for (uint32_t i = 0; i < SLOTS; i++)
		end_sequence(&f.slots[i]);
	count_references(&f);
	close_family(&f);
}

static void feed(struct fixture *f, struct dn_sequence *s, uint32_t n)
{
	const struct dn_batch_item item = { s, f->tokens[0] + dn_sequence_length(s), n,
					    DN_LOGITS_NONE };

	assert_int_equal(dn_context_step(f->context, &item, 1, NULL), 0);
}

/* Where no state is free, a checkpoint that others have too is of no use to its going. */
static void test_shared_checkpoints_stay(void **state)
{
	struct dn_sequence *s[DN_SEQUENCES_PER_CONTEXT];
	struct fixture f;
	uint32_t position;

	(void)state;
	open_family(&f, "qwen35");
	dn_context_free(f.context);
	open_context(&f, 1, BATCH);
	for (size_t i = 0; i < DN_ARRAY_SIZE(s); i++)
		assert_int_equal(dn_sequence_new(f.context, &s[i], NULL), 0);
	for (int i = 0; i < 5; i++)
		feed(&f, s[0], DN_KV_BLOCK);
	assert_int_equal(s[0]->n_checkpoints, DN_CHECKPOINTS);
	/* All but the last are another's too, and the last state is taken. */
	for (uint32_t i = 1; i < DN_CHECKPOINTS; i++) {
		position = s[0]->checkpoints[i - 1].position;
		assert_int_equal(dn_sequence_share(s[i], s[0], position, NULL), 0);
		assert_int_equal(dn_sequence_length(s[i]), position);
	}
	feed(&f, s[1], 1);
	assert_int_equal(f.context->kv.pools[DN_POOL_STATE].n_free, 0);
	feed(&f, s[0], DN_KV_BLOCK);
	assert_int_equal(s[0]->n_checkpoints, DN_CHECKPOINTS);
	assert_int_equal(dn_sequence_cut(s[0], position), position);
	for (size_t i = 0; i < DN_ARRAY_SIZE(s); i++)
		dn_sequence_free(s[i]);
	close_family(&f);
}

int main(void)
{
	/* Every kind of memory: all tokens, windows, windows whose caches are shared, states. */
	static const char *const families[] = { "llama",  "gemma3", "gemma4",
						"qwen35", "lfm2",   "granitehybrid" };
	struct CMUnitTest tests[DN_ARRAY_SIZE(families) + 1] = { 0 };

	if (!getenv("DUNLIN_FAMILIES")) {
		(void)puts("skipped: DUNLIN_FAMILIES names no folder with models");
		return 77;
	}
	for (size_t i = 0; i < DN_ARRAY_SIZE(families); i++)
		tests[i] = (struct CMUnitTest){ families[i], test_random, NULL, NULL,
						(void *)(uintptr_t)families[i] };
	tests[DN_ARRAY_SIZE(families)] =
		(struct CMUnitTest)cmocka_unit_test(test_shared_checkpoints_stay);
	return cmocka_run_group_tests_name("sequences", tests, NULL, NULL);
}
