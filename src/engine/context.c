/* SPDX-License-Identifier: MIT */
/* A context: its memory, laid out once, and the step that fills it. */

#include "engine/context.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/pages.h"
#include "engine/arch/blocks.h"

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

static int set_frequencies(struct dn_context *c, struct dn_error *err)
{
	int r = 0;

	for (int i = 0; r >= 0 && i < DN_ROPE_COUNT; i++)
		r = dn_rope_frequencies(&c->model->hparams.ropes[i], c->length, c->frequencies[i],
					err);
	return r;
}

static int set_up(struct dn_context *c, const struct dn_context_options *o, struct dn_error *err)
{
	int r;

	r = dn_kernels_select(o->level, &c->kernels, err);
	if (r >= 0)
		r = dn_pool_new(o->threads, o->cpus, &c->pool, err);
	if (r >= 0)
		r = dn_model_load_weights(c->model, c->pool, err);
	if (r >= 0)
		r = dn_kv_init(&c->kv, c->model, o, err);
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
	dn_context_options_shrink(model, options, &o, plan.context);
	c = calloc(1, sizeof(*c));
	if (!c)
		return dn_error_memory(err, "a context", sizeof(*c));
	c->model = model;
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
	for (uint32_t i = 0; i < DN_EMBED_TEXTS; i++)
		free(c->texts[i]);
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

void dn_context_populate(struct dn_context *c)
{
	if (c->model->prepared.bytes)
		dn_pages_read(c->model->region, c->model->region_bytes);
	dn_pages_write(c->workspace, c->workspace_bytes);
	for (int p = 0; p < DN_POOL_COUNT; p++)
		dn_pages_write(c->kv.pools[p].memory,
			       c->kv.pools[p].block_bytes * c->kv.pools[p].n_blocks);
	dn_gguf_populate(c->model->gguf);
}

void dn_context_rest(struct dn_context *c)
{
	dn_pool_rest(c->pool);
}

static int check_item(struct dn_context *c, const struct dn_batch_item *item, uint64_t tokens,
		      struct dn_error *err)
{
	struct dn_sequence *s = item->sequence;

	if (s->context != c || s->step == c->n_steps)
		return dn_error_set(err, EINVAL,
				    "a sequence is given twice, or not of this context");
	s->step = c->n_steps;
	if (item->n_tokens == 0 || tokens + item->n_tokens > c->batch)
		return dn_error_set(err, EINVAL, "a step has 1 to %u tokens", c->batch);
	if (item->n_tokens > c->length - s->length)
		return dn_error_set(err, ENOBUFS, "%u tokens more than the context's %u",
				    s->length + item->n_tokens - c->length, c->length);
	if (c->model->hparams.bidirectional && s->length)
		return dn_error_set(err, EINVAL,
				    "a text of this model is computed in one step, not after "
				    "%u tokens of it",
				    s->length);
	for (uint32_t t = 0; t < item->n_tokens; t++)
		if (item->tokens[t] >= c->model->hparams.vocabulary)
			return dn_error_set(err, EINVAL, "token %u is outside the vocabulary of %u",
					    item->tokens[t], c->model->hparams.vocabulary);
	return 0;
}

/* Everything that could be wrong with a step, before it changes anything. */
static int check_items(struct dn_context *c, const struct dn_batch_item *items, size_t n_items,
		       struct dn_error *err)
{
	uint64_t needs[DN_POOL_COUNT] = { 0 };
	uint64_t tokens = 0;
	uint64_t outputs = 0;
	int r;

	c->n_steps++;
	if (n_items == 0)
		return dn_error_set(err, EINVAL, "a step has 1 to %u tokens", c->batch);
	for (size_t i = 0; i < n_items; i++) {
		r = check_item(c, &items[i], tokens, err);
		if (r < 0)
			return r;
		tokens += items[i].n_tokens;
		outputs += items[i].wanted == DN_LOGITS_ALL    ? items[i].n_tokens
			   : items[i].wanted == DN_LOGITS_LAST ? 1
							       : 0;
		if (outputs > c->outputs)
			return dn_error_set(err, EINVAL, "a step gives at most %u rows of logits",
					    c->outputs);
		dn_sequence_needs(items[i].sequence, items[i].n_tokens, needs);
	}
	for (int p = 0; p < DN_POOL_COUNT; p++)
		if (needs[p] > c->kv.pools[p].n_free)
			return dn_error_set(err, ENOSPC,
					    "the cache has %u blocks free of %llu needed",
					    c->kv.pools[p].n_free, (unsigned long long)needs[p]);
	return 0;
}

static void add_rows(struct dn_context *c, const struct dn_batch_item *item, uint32_t second)
{
	struct dn_sequence *s = item->sequence;

	c->step.runs[c->step.n_runs] =
		(struct dn_run){ s, c->step.n, item->n_tokens, second, NULL };
	for (uint32_t t = 0; t < item->n_tokens; t++) {
		c->step.rows[c->step.n++] = (struct dn_row){
			.sequence = s,
			.run = c->step.n_runs,
			.token = item->tokens[t],
			.position = s->length + t,
			.wanted = item->wanted == DN_LOGITS_ALL ||
				  (item->wanted == DN_LOGITS_LAST && t + 1 == item->n_tokens),
		};
	}
	c->step.n_runs++;
}

static void begin_step(struct dn_context *c, const struct dn_batch_item *items,
		       const uint32_t *seconds, size_t n_items)
{
	struct dn_step *s = &c->step;

	s->n = 0;
	s->n_runs = 0;
	for (size_t i = 0; i < n_items; i++) {
		dn_sequence_grow(items[i].sequence, items[i].n_tokens);
		add_rows(c, &items[i], seconds ? seconds[i] : 0);
	}
	for (uint32_t i = 0; i < s->n_runs; i++)
		s->runs[i].checkpoint = dn_sequence_checkpoint(s->runs[i].sequence, s->runs[i].n);
	for (int i = 0; i < DN_ROPE_COUNT; i++) {
		const struct dn_rope *rope = &c->model->hparams.ropes[i];
		const size_t pairs = rope->dims / 2;

		for (uint32_t row = 0; pairs && row < s->n; row++)
			dn_rope_angles(rope, c->frequencies[i], s->rows[row].position,
				       s->cosines[i] + row * pairs, s->sines[i] + row * pairs);
	}
}

static bool is_one_token(const struct dn_batch_item *items, size_t n_items)
{
	return n_items == 1 && items[0].n_tokens == 1;
}

int dn_context_compute(struct dn_context *c, const struct dn_batch_item *items,
		       const uint32_t *seconds, size_t n_items, struct dn_error *err)
{
	const struct dn_model *m = c->model;
	struct dn_step *s = &c->step;
	int r;

	r = check_items(c, items, n_items, err);
	if (r < 0)
		return r;
	s->prefetch = dn_prefetch_on(&c->prefetch, s->types, is_one_token(items, n_items));
	begin_step(c, items, seconds, n_items);
	if (m->arch->embed)
		m->arch->embed(s);
	else
		dn_block_embed(s);
	for (uint32_t i = 0; i < m->hparams.n_layers; i++)
		m->arch->layer(s, i);
	for (uint32_t i = 0; i < s->n_runs; i++)
		dn_sequence_advance(s->runs[i].sequence, s->runs[i].n);
	return 0;
}

int dn_context_step(struct dn_context *c, const struct dn_batch_item *items, size_t n_items,
		    struct dn_error *err)
{
	const uint64_t begun_ns = dn_clock_ns();
	int r;

	if (c->model->hparams.bidirectional)
		return dn_error_set(err, ENOTSUP,
				    "a model of architecture '%s' embeds texts, it has no logits",
				    c->model->architecture);
	r = dn_context_compute(c, items, NULL, n_items, err);
	if (r < 0)
		return r;
	dn_block_logits(&c->step, c->logits);
	if (is_one_token(items, n_items))
		dn_prefetch_took(&c->prefetch, c->step.types, dn_clock_ns() - begun_ns);
	return 0;
}

const float *dn_context_logits(const struct dn_context *c, uint32_t row)
{
	return c->logits + (size_t)row * c->model->hparams.vocabulary;
}
