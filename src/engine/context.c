/* SPDX-License-Identifier: MIT */
/* A context: its memory, laid out once, and the step that fills it. */

#include "engine/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/arch/blocks.h"
#include "kernels/math.h"

/*
 * Gives out 64-byte aligned places; with no base it only counts. Counts cannot overflow: bind.c
 * and plan.c bound a row to 2^20 elements of 8 bytes and rows to 2^12, so an array is below 2^36
 * bytes (of scratch: 64 threads of 2^15) and the two dozen of them are far below 2^64.
 */
struct layout {
	uint8_t *base;
	uint64_t used;
};

static void *place(struct layout *l, uint64_t n, size_t size)
{
	void *at = l->base ? l->base + l->used : NULL;

	l->used += DN_ROUND_UP(n * size, (uint64_t)64);
	return at;
}

static void place_rows(struct layout *l, struct dn_rows *rows, uint32_t n, uint32_t columns)
{
	const uint32_t padded = DN_ROUND_UP(columns, (uint32_t)DN_BLOCK);
	const uint64_t elements = (uint64_t)n * padded;

	rows->columns = columns;
	rows->padded = padded;
	rows->values = place(l, elements, sizeof(float));
	rows->quants = place(l, elements, sizeof(int8_t));
	rows->scales = place(l, elements / DN_BLOCK, sizeof(float));
	rows->sums = place(l, elements / DN_BLOCK, sizeof(float));
	rows->biases = place(l, elements / DN_BLOCK, sizeof(int32_t));
}

uint64_t dn_workspace_lay(struct dn_context *c, uint32_t threads, uint8_t *base)
{
	const struct dn_hparams *h = &c->model->hparams;
	struct dn_step *s = &c->step;
	struct layout l = { base, 0 };
	const uint64_t n = c->batch;

	s->rows = place(&l, n, sizeof(*s->rows));
	s->x = place(&l, n * h->dim, sizeof(float));
	place_rows(&l, &s->normed, c->batch, h->dim);
	place_rows(&l, &s->attended, c->batch, h->n_heads * h->head_dim);
	place_rows(&l, &s->hidden, c->batch, h->ffn_dim);
	s->q = place(&l, n * h->n_heads * h->head_dim, sizeof(float));
	s->k = place(&l, n * h->n_kv_heads * h->head_dim, sizeof(float));
	s->v = place(&l, n * h->n_kv_heads * h->head_dim, sizeof(float));
	s->up = place(&l, n * h->ffn_dim, sizeof(float));
	s->cosines = place(&l, n * h->rope_dims / 2, sizeof(float));
	s->sines = place(&l, n * h->rope_dims / 2, sizeof(float));
	s->attention_stride = DN_ROUND_UP(dn_attention_scratch(h->head_dim), (size_t)16);
	s->attention_scratch = place(&l, (uint64_t)threads * s->attention_stride, sizeof(float));
	c->frequencies = place(&l, h->rope_dims / 2, sizeof(double));
	c->logits = place(&l, (uint64_t)c->outputs * h->vocabulary, sizeof(float));
	return l.used;
}

static int map_workspace(struct dn_context *c, uint32_t threads, struct dn_error *err)
{
	void *memory;

	/* Fits: the plan has checked it. */
	c->workspace_bytes = (size_t)dn_workspace_lay(c, threads, NULL);
	memory = mmap(NULL, c->workspace_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory == MAP_FAILED)
		return dn_error_memory(err, "the workspace", c->workspace_bytes);
	c->workspace = memory;
	(void)dn_workspace_lay(c, threads, c->workspace);
	return 0;
}

/* Radians a position turns each pair: base^(-2i/d), divided by the file's factors and scale. */
static int set_frequencies(struct dn_context *c, struct dn_error *err)
{
	const struct dn_hparams *h = &c->model->hparams;
	const float *factors = c->model->globals.rope_factors;

	for (uint32_t i = 0; i < h->rope_dims / 2; i++) {
		const double factor = factors ? (double)factors[i] : 1.0;
		const double frequency =
			dn_pow(h->rope_base, -2.0 * i / h->rope_dims) / h->rope_scale / factor;

		/* Also where the factor is zero or no number. */
		if (!(frequency >= 0.0 && frequency * c->length <= DN_SINCOS_MAX))
			return dn_error_set(err, EINVAL,
					    "positions up to %u at scale %g and factor %g (element "
					    "%u of 'rope_freqs.weight') turn too far",
					    c->length, h->rope_scale, factor, i);
		c->frequencies[i] = frequency;
	}
	return 0;
}

static int set_up(struct dn_context *c, const struct dn_context_options *o, struct dn_error *err)
{
	int r;

	r = dn_kernels_select(o->level, &c->kernels, err);
	if (r >= 0)
		r = dn_pool_new(o->threads, &c->pool, err);
	if (r >= 0)
		r = dn_model_load_weights(c->model, c->pool, err);
	if (r >= 0)
		r = dn_kv_init(&c->kv, &c->model->hparams, o->kv, dn_context_blocks(o), err);
	if (r >= 0)
		r = map_workspace(c, o->threads, err);
	if (r >= 0)
		r = set_frequencies(c, err);
	return r;
}

int dn_context_new(struct dn_model *model, const struct dn_context_options *options,
		   struct dn_context **ret_context, struct dn_error *err)
{
	struct dn_context_options o;
	struct dn_memory_plan plan;
	struct dn_context *c;
	int r;

	r = dn_model_plan(model, options, &plan, err);
	if (r < 0)
		return r;
	r = dn_context_options_fill(model, options, &o, err);
	if (r < 0)
		return r;
	o.context = plan.context;
	c = calloc(1, sizeof(*c));
	if (!c)
		return dn_error_memory(err, "a context", sizeof(*c));
	c->model = model;
	c->plan = plan;
	c->length = o.context;
	c->batch = o.batch;
	c->outputs = o.outputs;
	c->max_sequences = o.sequences * DN_SEQUENCES_PER_CONTEXT;
	r = set_up(c, &o, err);
	if (r < 0) {
		dn_context_free(c);
		return r;
	}
	c->step.model = model;
	c->step.kernels = c->kernels;
	c->step.pool = c->pool;
	c->step.kv = &c->kv;
	dn_gguf_drop_pages(model->gguf);
	*ret_context = c;
	return 0;
}

struct dn_context *dn_context_free(struct dn_context *c)
{
	if (!c)
		return NULL;
	if (c->workspace)
		(void)munmap(c->workspace, c->workspace_bytes);
	dn_kv_done(&c->kv);
	dn_pool_free(c->pool);
	free(c);
	return NULL;
}

const char *dn_context_level(const struct dn_context *c)
{
	return c->kernels->name;
}

uint32_t dn_context_length(const struct dn_context *c)
{
	return c->length;
}

uint32_t dn_context_batch(const struct dn_context *c)
{
	return c->batch;
}

void dn_context_rest(struct dn_context *c)
{
	dn_pool_rest(c->pool);
}

int dn_sequence_new(struct dn_context *c, struct dn_sequence **ret_sequence, struct dn_error *err)
{
	const uint32_t blocks = DN_DIV_ROUND_UP(c->length, DN_KV_BLOCK);
	struct dn_sequence *s;

	if (c->n_sequences == c->max_sequences)
		return dn_error_set(err, ENOSPC,
				    "%u sequences exist, as many as the context has "
				    "places for",
				    c->n_sequences);
	s = calloc(1, sizeof(*s) + blocks * sizeof(*s->blocks));
	if (!s)
		return dn_error_memory(err, "a sequence", sizeof(*s) + blocks * sizeof(*s->blocks));
	s->context = c;
	s->blocks = (uint8_t **)(s + 1);
	c->n_sequences++;
	*ret_sequence = s;
	return 0;
}

struct dn_sequence *dn_sequence_free(struct dn_sequence *s)
{
	if (!s)
		return NULL;
	dn_sequence_cut(s, 0);
	s->context->n_sequences--;
	free(s);
	return NULL;
}

/* Everything that could be wrong with a step, before it changes anything. */
static int check_items(struct dn_context *c, const struct dn_batch_item *items, size_t n_items,
		       struct dn_error *err)
{
	const uint64_t stamp = ++c->n_steps;
	uint64_t tokens = 0;
	uint64_t outputs = 0;
	uint64_t blocks = 0;

	if (n_items == 0)
		return dn_error_set(err, EINVAL, "a step has 1 to %u tokens", c->batch);
	for (size_t i = 0; i < n_items; i++) {
		const struct dn_batch_item *item = &items[i];
		struct dn_sequence *s = item->sequence;

		if (s->context != c || s->step == stamp)
			return dn_error_set(err, EINVAL,
					    "a sequence is given twice, or not of this context");
		s->step = stamp;
		tokens += item->n_tokens;
		if (item->n_tokens == 0 || tokens > c->batch)
			return dn_error_set(err, EINVAL, "a step has 1 to %u tokens", c->batch);
		if (item->n_tokens > c->length - s->length)
			return dn_error_set(err, ENOBUFS, "%u tokens more than the context's %u",
					    s->length + item->n_tokens - c->length, c->length);
		for (uint32_t t = 0; t < item->n_tokens; t++)
			if (item->tokens[t] >= c->model->hparams.vocabulary)
				return dn_error_set(err, EINVAL,
						    "token %u is outside the vocabulary of %u",
						    item->tokens[t], c->model->hparams.vocabulary);
		outputs += item->wanted == DN_LOGITS_ALL    ? item->n_tokens
			   : item->wanted == DN_LOGITS_LAST ? 1
							    : 0;
		if (outputs > c->outputs)
			return dn_error_set(err, EINVAL, "a step gives at most %u rows of logits",
					    c->outputs);
		blocks += dn_kv_blocks_to_grow(&c->kv, s, item->n_tokens);
	}
	if (blocks > c->kv.n_free)
		return dn_error_set(err, ENOSPC, "the cache has %u blocks free of %llu needed",
				    c->kv.n_free, (unsigned long long)blocks);
	return 0;
}

static void add_rows(struct dn_context *c, const struct dn_batch_item *item)
{
	struct dn_sequence *s = item->sequence;

	dn_kv_grow(&c->kv, s, item->n_tokens);
	for (uint32_t t = 0; t < item->n_tokens; t++) {
		c->step.rows[c->step.n++] = (struct dn_row){
			.sequence = s,
			.token = item->tokens[t],
			.position = s->length + t,
			.wanted = item->wanted == DN_LOGITS_ALL ||
				  (item->wanted == DN_LOGITS_LAST && t + 1 == item->n_tokens),
		};
	}
	s->length += item->n_tokens;
}

static void set_angles(struct dn_context *c)
{
	const uint32_t pairs = c->model->hparams.rope_dims / 2;

	for (uint32_t row = 0; row < c->step.n; row++) {
		for (uint32_t i = 0; i < pairs; i++) {
			double sine;
			double cosine;

			dn_sincos(c->step.rows[row].position * c->frequencies[i], &sine, &cosine);
			c->step.sines[(size_t)row * pairs + i] = (float)sine;
			c->step.cosines[(size_t)row * pairs + i] = (float)cosine;
		}
	}
}

int dn_context_step(struct dn_context *c, const struct dn_batch_item *items, size_t n_items,
		    struct dn_error *err)
{
	struct dn_step *s = &c->step;
	int r;

	r = check_items(c, items, n_items, err);
	if (r < 0)
		return r;
	s->n = 0;
	for (size_t i = 0; i < n_items; i++)
		add_rows(c, &items[i]);
	set_angles(c);
	dn_block_embed(s, &c->model->globals.embedding);
	for (uint32_t i = 0; i < c->model->hparams.n_layers; i++)
		c->model->arch->layer(s, i);
	dn_block_logits(s, c->model->globals.output_norm, &c->model->globals.output, c->logits);
	return 0;
}

const float *dn_context_logits(const struct dn_context *c, uint32_t row)
{
	return c->logits + (size_t)row * c->model->hparams.vocabulary;
}
