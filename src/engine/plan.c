/* SPDX-License-Identifier: MIT */
/* What a context will take, before anything is allocated. */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/grammar.h>

#include "engine/adapter.h"
#include "engine/context.h"
#include "engine/tokenizer/tokenizer.h"

#define DEFAULT_CONTEXT 4096U
#define DEFAULT_BATCH	256U
#define DEFAULT_OUTPUTS 8U
#define BATCH_MAX	4096U
#define SEQUENCES_MAX	1024U
#define THREADS_MAX	64U
#define CONTEXT_MAX	(1U << 23) /* DN_SINCOS_MAX: what positions turn by */
#define CONTEXT_LEAST	64U	   /* what a context shrinks to at most, to fit */

/*
 * Program, libraries, stacks and small allocations of parent and worker: measured, see
 * docs/performance.md, and rounded up.
 */
#define PROCESS_BYTES ((uint64_t)12 << 20)

static int check(const char *name, uint32_t value, uint32_t most, struct dn_error *err)
{
	if (value > most)
		return dn_error_set(err, EINVAL, "%s is %u; it must be at most %u", name, value,
				    most);
	return 0;
}

/* What sees its whole text has it in one step. */
static uint32_t default_batch(const struct dn_model *m, uint32_t context)
{
	return m->hparams.bidirectional ? DN_MIN(context, BATCH_MAX) : DEFAULT_BATCH;
}

int dn_context_options_fill(const struct dn_model *m, const struct dn_context_options *options,
			    struct dn_context_options *ret_filled, struct dn_error *err)
{
	struct dn_context_options o = { .struct_size = sizeof(o) };
	int r;

	if (options && options->struct_size != sizeof(o))
		return dn_error_set(err, EINVAL, "options of %zu bytes; this library's have %zu",
				    options->struct_size, sizeof(o));
	if (options)
		o = *options;
	o.threads = o.threads ? o.threads : 1;
	o.sequences = o.sequences ? o.sequences : 1;
	o.outputs = o.outputs ? o.outputs : DEFAULT_OUTPUTS;
	if (!o.context)
		o.context = DN_MIN(m->hparams.trained_context, DEFAULT_CONTEXT);
	if (!o.batch)
		o.batch = default_batch(m, o.context);
	r = check("threads", o.threads, THREADS_MAX, err);
	if (r >= 0)
		r = check("sequences", o.sequences, SEQUENCES_MAX, err);
	if (r >= 0)
		r = check("batch", o.batch, BATCH_MAX, err);
	if (r >= 0)
		r = check("context", o.context, CONTEXT_MAX, err);
	if (r >= 0 && m->globals.positions.rows)
		r = check("context", o.context, m->globals.positions.rows, err);
	if (r >= 0)
		r = check("kv", (uint32_t)o.kv, DN_KV_COUNT - 1, err);
	if (r < 0)
		return r;
	o.outputs = m->hparams.bidirectional ? 0 : DN_MIN(o.outputs, o.batch);
	*ret_filled = o;
	return 0;
}

/*
 * Blocks, and what is kept for each of them: its count of references, its place on the stack of
 * free ones, and its address in each sequence that may exist.
 */
static bool cache_bytes(const struct dn_model *m, const struct dn_context_options *o,
			uint64_t *ret_bytes)
{
	uint64_t block_bytes[DN_POOL_COUNT];
	uint64_t blocks[DN_POOL_COUNT];
	uint64_t total =
		(uint64_t)o->sequences * DN_SEQUENCES_PER_CONTEXT * dn_sequence_bytes(o->context) +
		m->hparams.n_layers * sizeof(size_t);

	dn_kv_lay(m, o->kv, NULL, block_bytes);
	dn_kv_count(m, o, blocks);
	for (int p = 0; p < DN_POOL_COUNT; p++) {
		uint64_t bytes;

		if (block_bytes[p] &&
		    (!dn_mul_ok(blocks[p], block_bytes[p] + 2 * sizeof(uint32_t), &bytes) ||
		     !dn_add_ok(total, bytes, &total)))
			return false;
	}
	*ret_bytes = total;
	return true;
}

/* Fills what depends on a context's length, and the sum; 2^60 bytes are more than any machine maps. */
static int add_up(const struct dn_model *m, const struct dn_context_options *o,
		  struct dn_memory_plan *plan, struct dn_error *err)
{
	const uint64_t most = DN_MIN((uint64_t)1 << 60, (uint64_t)SIZE_MAX / 2);
	struct dn_context counted = {
		.model = (struct dn_model *)m,
		.batch = o->batch,
		.outputs = o->outputs,
		.max_sequences = o->sequences * DN_SEQUENCES_PER_CONTEXT,
		.length = o->context,
	};

	plan->context = o->context;
	plan->weights = dn_model_weights_bytes(m);
	/* What loading reads into is given back before the workspace is made. */
	plan->workspace = DN_MAX(dn_workspace_lay(&counted, o->threads, NULL),
				 dn_model_staging_bytes(m) * (uint64_t)o->threads);
	plan->workspace += DN_EMBED_TEXTS * (uint64_t)dn_sequence_bytes(o->context);
	if (!cache_bytes(m, o, &plan->cache) || plan->cache > most || plan->weights > most ||
	    plan->workspace > most)
		return dn_error_set(err, E2BIG,
				    "%u contexts of %u tokens do not fit the address space",
				    o->sequences, o->context);
	plan->total = plan->weights + plan->cache + plan->workspace + plan->tables +
		      plan->grammars + plan->process;
	return 0;
}

void dn_context_options_shrink(const struct dn_model *m, const struct dn_context_options *options,
			       struct dn_context_options *o, uint32_t context)
{
	o->context = context;
	if (!options || !options->batch)
		o->batch = default_batch(m, context);
}

int dn_model_plan(const struct dn_model *m, const struct dn_context_options *options,
		  struct dn_memory_plan *ret_plan, struct dn_error *err)
{
	struct dn_memory_plan plan = { .process = PROCESS_BYTES };
	struct dn_context_options o = { 0 };
	int r;

	r = dn_model_runs(m, err);
	if (r < 0)
		return r;
	r = dn_context_options_fill(m, options, &o, err);
	if (r < 0)
		return r;
	plan.tables =
		dn_gguf_header_size(m->gguf) + dn_tokenizer_memory(m->gguf) + dn_adapters_tables(m);
	if (o.grammars && m->hparams.vocabulary)
		plan.grammars = dn_grammars_memory(m->hparams.vocabulary);
	r = add_up(m, &o, &plan, err);
	while (r >= 0 && o.memory && plan.total > o.memory && !(options && options->context) &&
	       o.context > CONTEXT_LEAST) {
		dn_context_options_shrink(m, options, &o, DN_MAX(o.context / 2, CONTEXT_LEAST));
		r = add_up(m, &o, &plan, err);
	}
	if (r < 0)
		return r;
	if (o.memory && plan.total > o.memory)
		return dn_error_set(err, ENOMEM,
				    "%llu MiB are needed (weights %llu, cache %llu for %u tokens) "
				    "but the budget is %llu MiB",
				    (unsigned long long)(plan.total + (1 << 20) - 1) >> 20,
				    (unsigned long long)plan.weights >> 20,
				    (unsigned long long)plan.cache >> 20, plan.context,
				    (unsigned long long)o.memory >> 20);
	*ret_plan = plan;
	return 0;
}
