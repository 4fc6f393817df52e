/* SPDX-License-Identifier: MIT */
/*
 * dn_context_embed(): the same bits alone and in company, nothing allocated, nothing left behind in
 * the cache; and what it refuses. tests/integration/test_embed.py has the values.
 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dunlin/model.h>

#include "unit/failing-malloc.h"
#include "unit/gguf-builder.h"
#include "unit/tiny-model.h"

#define DIM	   64U
#define FFN	   128U
#define VOCABULARY 50U
#define POSITIONS  96U
#define TEXTS	   9
#define LONGEST	   40

struct fixture {
	int fd;
	struct dn_model *model;
	struct dn_context *context;
	uint32_t tokens[TEXTS][LONGEST];
	struct dn_embed_item items[TEXTS];
};

static void add(struct gguf_builder *b, const char *name, uint32_t columns, uint32_t rows)
{
	const uint64_t dims[2] = { columns, rows };
	uint32_t state = (uint32_t)strlen(name) * 2654435761U + columns;
	float *data = malloc((size_t)columns * rows * sizeof(*data));

	assert_non_null(data);
	for (size_t i = 0; i < (size_t)columns * rows; i++) {
		state = state * 1664525U + 1013904223U;
		data[i] = ((float)(state >> 8) / 8388608.0f - 1.0f) * 0.2f;
	}
	gguf_add_tensor(b, name, DN_TYPE_F32, rows > 1 ? 2 : 1, dims, data);
	free(data);
}

static void add_layer(struct gguf_builder *b, uint32_t i)
{
	static const struct {
		const char *name;
		uint32_t columns;
		uint32_t rows;
	} tensors[] = {
		{ "attn_q.weight", DIM, DIM },
		{ "attn_k.weight", DIM, DIM },
		{ "attn_v.weight", DIM, DIM },
		{ "attn_output.weight", DIM, DIM },
		{ "attn_output.bias", DIM, 1 },
		{ "attn_output_norm.weight", DIM, 1 },
		{ "attn_output_norm.bias", DIM, 1 },
		{ "ffn_up.weight", DIM, FFN },
		{ "ffn_up.bias", FFN, 1 },
		{ "ffn_down.weight", FFN, DIM },
		{ "layer_output_norm.weight", DIM, 1 },
		{ "layer_output_norm.bias", DIM, 1 },
	};
	char name[64];

	for (size_t t = 0; t < DN_ARRAY_SIZE(tensors); t++) {
		(void)snprintf(name, sizeof(name), "blk.%u.%s", i, tensors[t].name);
		add(b, name, tensors[t].columns, tensors[t].rows);
	}
}

static int bert_fd(void)
{
	struct gguf_builder b;
	int fd;

	gguf_builder_init(&b);
	gguf_add_text(&b, "general.architecture", "bert");
	gguf_add_u32(&b, "bert.block_count", 2);
	gguf_add_u32(&b, "bert.embedding_length", DIM);
	gguf_add_u32(&b, "bert.feed_forward_length", FFN);
	gguf_add_u32(&b, "bert.attention.head_count", 4);
	gguf_add_u32(&b, "bert.context_length", POSITIONS);
	gguf_add_f32(&b, "bert.attention.layer_norm_epsilon", 1e-12f);
	gguf_add_text(&b, "tokenizer.ggml.model", "none");
	add(&b, "token_embd.weight", DIM, VOCABULARY);
	add(&b, "token_types.weight", DIM, 2);
	add(&b, "position_embd.weight", DIM, POSITIONS);
	add(&b, "token_embd_norm.weight", DIM, 1);
	add(&b, "token_embd_norm.bias", DIM, 1);
	add(&b, "cls.output.weight", DIM, 1);
	for (uint32_t i = 0; i < 2; i++)
		add_layer(&b, i);
	fd = gguf_builder_fd(&b);
	gguf_builder_done(&b);
	return fd;
}

static int llama_fd(void)
{
	struct tiny_model tiny = tiny_model_default(DN_TYPE_Q8_0);

	return tiny_model_fd(&tiny);
}

/* @batch, @context: 0: the default */
static void open_model(struct fixture *f, int fd, uint32_t sequences, uint32_t threads,
		       uint32_t batch, uint32_t context)
{
	struct dn_context_options options = {
		.struct_size = sizeof(options),
		.threads = threads,
		.context = context,
		.sequences = sequences,
		.batch = batch,
	};
	struct dn_error err = DN_ERROR_INIT;

	f->fd = fd;
	if (dn_model_open(&f->fd, 1, &f->model, &err) < 0 ||
	    dn_context_new(f->model, &options, &f->context, &err) < 0)
		fail_msg("%s", err.message);
	for (uint32_t i = 0; i < TEXTS; i++) {
		f->items[i] = (struct dn_embed_item){ f->tokens[i], 1 + i * 37 % LONGEST, 0 };
		for (uint32_t t = 0; t < LONGEST; t++)
			f->tokens[i][t] = (i * 7 + t * 13 + 3) % VOCABULARY;
	}
}

static void close_model(struct fixture *f)
{
	dn_context_free(f->context);
	dn_model_free(f->model);
	close(f->fd);
}

static void embed(struct fixture *f, const struct dn_embed_item *items, size_t n,
		  enum dn_pooling pooling, float *rows)
{
	struct dn_embed_options options = { sizeof(options), pooling, true };
	struct dn_error err = DN_ERROR_INIT;

	if (dn_context_embed(f->context, items, n, &options, rows, &err) < 0)
		fail_msg("%s", err.message);
}

/* However many texts the cache has room for at once, and whoever computes them. */
static void same_bits(int (*make)(void), enum dn_pooling pooling, uint32_t batch)
{
	static const struct {
		uint32_t sequences;
		uint32_t threads;
	} shapes[] = { { 1, 1 }, { 1, 3 }, { 8, 1 }, { 8, 2 } };
	float want[TEXTS * 256];
	float have[TEXTS * 256];
	uint32_t columns;
	struct fixture f;

	open_model(&f, make(), 1, 1, 0, 0);
	assert_int_equal(dn_model_embeds(f.model, pooling, &columns, NULL), 0);
	for (size_t i = 0; i < TEXTS; i++)
		embed(&f, &f.items[i], 1, pooling, want + i * columns);
	assert_memory_not_equal(want, want + columns, columns * sizeof(*want));
	close_model(&f);
	for (size_t i = 0; i < DN_ARRAY_SIZE(shapes); i++) {
		open_model(&f, make(), shapes[i].sequences, shapes[i].threads, batch, 0);
		memset(have, 0xff, sizeof(have));
		embed(&f, f.items, TEXTS, pooling, have);
		assert_memory_equal(have, want, TEXTS * columns * sizeof(*want));
		embed(&f, f.items, TEXTS, pooling, have);
		assert_memory_equal(have, want, TEXTS * columns * sizeof(*want));
		close_model(&f);
	}
}

static void test_same_bits(void **state)
{
	(void)state;
	for (int pooling = DN_POOLING_MEAN; pooling <= DN_POOLING_RANK; pooling++)
		same_bits(bert_fd, (enum dn_pooling)pooling, 0);
	/* Texts of up to 38 tokens in steps of 16: some take three. */
	same_bits(llama_fd, DN_POOLING_MEAN, 16);
	same_bits(llama_fd, DN_POOLING_LAST, 16);
	same_bits(llama_fd, DN_POOLING_LAST, 0);
}

/* With DN_POOLING_NONE the rows of all texts, one behind the other. */
static void test_rows_of_tokens(void **state)
{
	static float rows[TEXTS * LONGEST * DIM];
	const struct dn_embed_options options = { sizeof(options), DN_POOLING_NONE, false };
	float pooled[TEXTS * DIM];
	const float *row = rows;
	struct fixture f;

	(void)state;
	open_model(&f, bert_fd(), 1, 1, 0, 0);
	assert_int_equal(dn_context_embed(f.context, f.items, TEXTS, &options, rows, NULL), 0);
	embed(&f, f.items, TEXTS, DN_POOLING_CLS, pooled);
	for (size_t i = 0; i < TEXTS; i++) {
		const float factor = pooled[i * DIM] / row[0];

		for (uint32_t c = 0; c < DIM; c++)
			assert_true(row[c] * factor - pooled[i * DIM + c] < 1e-6f &&
				    pooled[i * DIM + c] - row[c] * factor < 1e-6f);
		row += (size_t)f.items[i].n_tokens * DIM;
	}
	close_model(&f);
}

/* The second text of a pair has another type of tokens. */
static void test_pairs(void **state)
{
	struct fixture f;
	float one;
	float two;

	(void)state;
	open_model(&f, bert_fd(), 1, 1, 0, 0);
	embed(&f, &f.items[1], 1, DN_POOLING_RANK, &one);
	f.items[1].second = 5;
	embed(&f, &f.items[1], 1, DN_POOLING_RANK, &two);
	assert_true(one < two || one > two);
	close_model(&f);
}

static void test_allocates_once(void **state)
{
	float rows[TEXTS * DIM];
	float again[TEXTS * DIM];
	struct fixture f;
	size_t nth = 1;

	(void)state;
	open_model(&f, bert_fd(), 1, 2, 0, 0);
	for (;; nth++) {
		int r;

		failing_malloc_arm(nth);
		r = dn_context_embed(f.context, f.items, TEXTS, NULL, rows, NULL);
		if (!failing_malloc_disarm())
			break;
		assert_int_equal(r, -ENOMEM);
	}
	assert_true(nth > 1);
	failing_malloc_arm(1);
	assert_int_equal(dn_context_embed(f.context, f.items, TEXTS, NULL, again, NULL), 0);
	assert_false(failing_malloc_disarm());
	assert_memory_equal(rows, again, sizeof(rows));
	close_model(&f);
}

static void step(struct fixture *f, struct dn_sequence *s, uint32_t n)
{
	struct dn_batch_item item = { s, f->tokens[0], n, DN_LOGITS_LAST };
	struct dn_error err = DN_ERROR_INIT;

	if (dn_context_step(f->context, &item, 1, &err) < 0)
		fail_msg("%s", err.message);
}

/* Sequences that generate lose nothing, and what they hold is not taken. */
static void test_beside_sequences(void **state)
{
	float rows[TEXTS * 256];
	float want[203];
	struct dn_sequence *s[2];
	struct fixture f;

	(void)state;
	open_model(&f, llama_fd(), 1, 1, 0, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(dn_sequence_new(f.context, &s[i], NULL), 0);
	step(&f, s[0], 20);
	step(&f, s[0], 5);
	memcpy(want, dn_context_logits(f.context, 0), sizeof(want));
	step(&f, s[1], 20);
	embed(&f, f.items, TEXTS, DN_POOLING_DEFAULT, rows);
	step(&f, s[1], 5);
	assert_memory_equal(want, dn_context_logits(f.context, 0), sizeof(want));
	/* 160 tokens and a block to spare: six blocks of 32. */
	(void)dn_sequence_cut(s[0], 0);
	for (int i = 0; i < 4; i++)
		step(&f, s[1], 33);
	assert_int_equal(dn_context_embed(f.context, &f.items[1], 1, NULL, rows, NULL), -ENOSPC);
	dn_sequence_free(s[1]);
	embed(&f, f.items, TEXTS, DN_POOLING_DEFAULT, rows);
	dn_sequence_free(s[0]);
	close_model(&f);
}

static int refused(struct fixture *f, struct dn_embed_item item, enum dn_pooling pooling)
{
	struct dn_embed_options options = { sizeof(options), pooling, true };
	float rows[256];

	return dn_context_embed(f->context, &item, 1, &options, rows, NULL);
}

static void test_refused(void **state)
{
	static const uint32_t many[POSITIONS + 1] = { 0 };
	static const uint32_t strange[] = { 1, VOCABULARY };
	struct dn_batch_item item = { NULL, many, 1, DN_LOGITS_LAST };
	struct dn_embed_options options = { 1, DN_POOLING_MEAN, true };
	struct dn_sequence *s;
	struct fixture f;
	float row[DIM];

	(void)state;
	open_model(&f, bert_fd(), 1, 1, 0, 0);
	assert_int_equal(dn_context_embed_length(f.context), POSITIONS);
	assert_int_equal(refused(&f, (struct dn_embed_item){ many, 0, 0 }, 1), -EINVAL);
	assert_int_equal(refused(&f, (struct dn_embed_item){ many, POSITIONS + 1, 0 }, 1),
			 -ENOBUFS);
	assert_int_equal(refused(&f, (struct dn_embed_item){ many, POSITIONS, 0 }, 1), 0);
	assert_int_equal(refused(&f, (struct dn_embed_item){ strange, 2, 0 }, 1), -EINVAL);
	assert_int_equal(refused(&f, f.items[0], (enum dn_pooling)6), -EINVAL);
	assert_int_equal(dn_context_embed(f.context, f.items, 1, &options, row, NULL), -EINVAL);
	assert_int_equal(dn_sequence_new(f.context, &s, NULL), 0);
	item.sequence = s;
	assert_int_equal(dn_context_step(f.context, &item, 1, NULL), -ENOTSUP);
	dn_sequence_free(s);
	close_model(&f);

	open_model(&f, llama_fd(), 1, 1, 0, 0);
	assert_int_equal(refused(&f, f.items[0], DN_POOLING_CLS), -ENOTSUP);
	assert_int_equal(refused(&f, f.items[0], DN_POOLING_RANK), -ENOTSUP);
	close_model(&f);
}

/* A text must fit a step: batch and context of encoders go together. */
static void test_plan(void **state)
{
	struct dn_context_options options = { .struct_size = sizeof(options) };
	struct dn_memory_plan whole;
	struct dn_memory_plan less;
	struct dn_error err = DN_ERROR_INIT;
	struct fixture f;

	(void)state;
	open_model(&f, bert_fd(), 1, 1, 0, 0);
	assert_int_equal(dn_model_plan(f.model, &options, &whole, NULL), 0);
	assert_int_equal(whole.context, POSITIONS);
	options.memory = whole.total - 1;
	assert_int_equal(dn_model_plan(f.model, &options, &less, NULL), 0);
	assert_int_equal(less.context, 64);
	assert_true(less.workspace < whole.workspace);
	options.memory = 0;
	options.context = POSITIONS + 1;
	assert_int_equal(dn_model_plan(f.model, &options, &less, &err), -EINVAL);
	assert_non_null(strstr(err.message, "97"));
	assert_non_null(strstr(err.message, "96"));
	close_model(&f);
	open_model(&f, bert_fd(), 1, 1, 16, 0);
	assert_int_equal(dn_context_embed_length(f.context), 16);
	close_model(&f);
	open_model(&f, bert_fd(), 1, 1, 0, 48);
	assert_int_equal(dn_context_embed_length(f.context), 48);
	close_model(&f);
}

static void test_info(void **state)
{
	struct dn_model_info info;
	struct fixture f;

	(void)state;
	open_model(&f, bert_fd(), 1, 1, 0, 0);
	dn_model_get_info(f.model, &info);
	assert_true(info.encoder && !info.generates);
	assert_int_equal(info.pooling, DN_POOLING_MEAN);
	assert_int_equal(info.scores, 1);
	close_model(&f);
	open_model(&f, llama_fd(), 1, 1, 0, 0);
	dn_model_get_info(f.model, &info);
	assert_true(!info.encoder && info.generates);
	assert_int_equal(info.pooling, DN_POOLING_LAST);
	assert_int_equal(info.scores, 0);
	close_model(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_bits),
		cmocka_unit_test(test_rows_of_tokens),
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_allocates_once),
		cmocka_unit_test(test_beside_sequences),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_plan),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
