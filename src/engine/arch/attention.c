/* SPDX-License-Identifier: MIT */
/* Attention: queries, keys and values of a step's rows, the cache, and what heads see in it. */

#include <stdint.h>
#include <string.h>

#include "engine/arch/blocks.h"
#include "engine/arch/products.h"

/* Below it a step's attention is not worth another thread. */
#define SMALL_WORK (2ULL * 16384)
/* Pieces of a step for each thread, as long as they have so many rows. */
#define PIECES_EACH 4U
#define FEW_ROWS    8U

static uint32_t query_stride(const struct dn_layer *l)
{
	return l->gated ? 2 * l->head_dim : l->head_dim;
}

static uint32_t query_columns(const struct dn_layer *l)
{
	return l->n_heads * query_stride(l);
}

static void project(struct dn_step *s, const struct dn_layer *l)
{
	float *k = s->qkv + query_columns(l);
	float *v = k + (size_t)l->n_kv_heads * l->head_dim;

	dn_products_add(s, &l->q, &s->normed, s->qkv, s->qkv_stride);
	if (l->k.w.rows)
		dn_products_add(s, &l->k, &s->normed, k, s->qkv_stride);
	if (l->v.w.rows)
		dn_products_add(s, &l->v, &s->normed, v, s->qkv_stride);
	dn_products_run(s);
}

/* Norm and rotation of a head's queries or keys. */
static void prepare_head(const struct dn_step *s, const struct dn_layer *l, uint32_t row, float *x,
			 const float *weight)
{
	const struct dn_hparams *h = &s->model->hparams;
	uint32_t pairs;

	if (weight)
		s->kernels->rms_norm(x, x, weight, l->head_dim, h->epsilon);
	if (l->rope == DN_ROPE_NONE)
		return;
	pairs = h->ropes[l->rope].dims / 2;
	s->kernels->rope(x, pairs, s->cosines[l->rope] + (size_t)row * pairs,
			 s->sines[l->rope] + (size_t)row * pairs, s->model->arch->rope_halves);
}

static void store(struct dn_step *s, const struct dn_layer *l, uint32_t row, const float *k,
		  const float *v)
{
	const struct dn_row *r = &s->rows[row];
	const uint32_t slot = r->position % DN_KV_BLOCK;
	uint8_t *block = r->sequence->blocks[dn_kv_pool_of(l)][r->position / DN_KV_BLOCK];
	const size_t bytes = dn_kv_head_bytes(l->head_dim, s->kv->type);

	for (uint32_t head = 0; head < l->n_kv_heads; head++) {
		uint8_t *keys = block + dn_kv_offset(s->kv, l, head);
		const size_t at = (size_t)head * l->head_dim;

		s->kernels->store_key(keys, slot, k + at, l->head_dim, s->kv->type);
		s->kernels->store_value(keys + bytes, slot, v + at, l->head_dim, s->kv->type);
	}
}

static void prepare_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_layer *l = argument;
	const struct dn_hparams *h = &s->model->hparams;
	const uint32_t columns = l->n_kv_heads * l->head_dim;
	float *q = s->qkv + (size_t)row * s->qkv_stride;
	float *k = q + query_columns(l);
	float *v = k + columns;

	for (uint32_t i = 0; i < l->n_heads; i++)
		prepare_head(s, l, row, q + (size_t)i * query_stride(l), l->q_norm);
	if (!l->k.w.rows)
		return;
	if (!l->v.w.rows)
		memcpy(v, k, columns * sizeof(*v));
	for (uint32_t i = 0; i < l->n_kv_heads; i++) {
		const size_t at = (size_t)i * l->head_dim;

		prepare_head(s, l, row, k + at, l->k_norm);
		if (h->value_norm)
			s->kernels->rms_norm(v + at, v + at, NULL, l->head_dim, h->epsilon);
	}
	store(s, l, row, k, v);
}

/*
 * Attention's pieces: the query rows of one run that share a KV head, @rows at a time, and of all that
 * they see of the cache or, where @spans is not 0, one span: the @spans from @first_span on are all
 * that any row sees.
 */
struct attend_job {
	struct dn_step *step;
	const struct dn_layer *layer;
	uint32_t heads_per_kv;
	uint32_t rows;
	uint32_t first_span;
	uint32_t spans;
};

static uint32_t run_pieces(const struct attend_job *job, const struct dn_run *run)
{
	return DN_DIV_ROUND_UP(run->n * job->heads_per_kv, job->rows);
}

/* The cache positions that a row of a run sees. */
static uint32_t begin_of(const struct attend_job *job, uint32_t row)
{
	const uint32_t position = job->step->rows[row].position;
	const uint32_t window = job->layer->window;

	return window && position >= window ? position - window + 1 : 0;
}

static uint32_t end_of(const struct attend_job *job, const struct dn_run *run, uint32_t row)
{
	return job->step->model->hparams.bidirectional ? run->n : job->step->rows[row].position + 1;
}

static float *out_of(const struct attend_job *job, uint32_t row, uint32_t head)
{
	const struct dn_step *s = job->step;

	return s->attended.values + (size_t)row * s->attended.padded +
	       (size_t)head * job->layer->head_dim;
}

/* What a span gives that row and head. */
static float *part_of(const struct attend_job *job, uint32_t row, uint32_t head, uint32_t span)
{
	const size_t first = ((size_t)row * job->layer->n_heads + head) * job->spans;

	return job->step->attention_parts +
	       (first + span - job->first_span) * dn_attention_part(job->layer->head_dim);
}

static void add_query(const struct attend_job *job, const struct dn_run *run, uint32_t row,
		      uint32_t head, uint32_t span, struct dn_attention *a)
{
	const struct dn_step *s = job->step;

	a->q[a->n_rows] = s->qkv + row * s->qkv_stride + (size_t)head * query_stride(job->layer);
	a->out[a->n_rows] = job->spans ? part_of(job, row, head, span) : out_of(job, row, head);
	a->begin[a->n_rows] = begin_of(job, row);
	a->end[a->n_rows] = end_of(job, run, row);
	a->n_rows++;
}

/* Whether one of the rows sees some of a span. */
static bool sees(const struct dn_attention *a, uint32_t span)
{
	for (uint32_t r = 0; r < a->n_rows; r++)
		if (a->begin[r] < (span + 1) * DN_ATTENTION_SPAN &&
		    a->end[r] > span * DN_ATTENTION_SPAN)
			return true;
	return false;
}

static void attend_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct attend_job *job = data;
	struct dn_step *s = job->step;
	const struct dn_layer *l = job->layer;
	const uint32_t spans = DN_MAX(job->spans, 1U);
	const uint32_t span = job->first_span + piece % spans;
	const uint32_t kv_head = piece / spans % l->n_kv_heads;
	const struct dn_run *run = s->runs;
	uint32_t part = piece / spans / l->n_kv_heads;
	const size_t keys = dn_kv_offset(s->kv, l, kv_head);
	struct dn_attention a;

	for (; part >= run_pieces(job, run); run++)
		part -= run_pieces(job, run);
	a = (struct dn_attention){
		.blocks = (const uint8_t *const *)run->sequence->blocks[dn_kv_pool_of(l)],
		.keys = keys,
		.values = keys + dn_kv_head_bytes(l->head_dim, s->kv->type),
		.type = s->kv->type,
		.head_dim = l->head_dim,
		.scale = s->model->hparams.attention_scale,
		.softcap = s->model->hparams.attention_softcap,
		.scratch = s->attention_scratch + thread * s->attention_stride,
	};
	for (uint32_t i = part * job->rows; i < run->n * job->heads_per_kv && a.n_rows < job->rows;
	     i++)
		add_query(job, run, run->first + i / job->heads_per_kv,
			  kv_head * job->heads_per_kv + i % job->heads_per_kv, span, &a);
	if (!job->spans)
		s->kernels->attend(&a);
	else if (sees(&a, span))
		s->kernels->attend_span(&a, span);
}

/* Many rows share what they read of the cache; few of a step leave a piece for each thread. */
static uint32_t rows_at_once(const struct dn_step *s, const struct dn_layer *l)
{
	const uint32_t rows = s->n * l->n_heads / (dn_pool_threads(s->pool) * PIECES_EACH);

	return DN_MAX(DN_MIN(rows, (uint32_t)DN_ATTENTION_ROWS), (uint32_t)FEW_ROWS);
}

/* Sets the job's spans, where there are too few of its @pieces for all threads. */
static void share_spans(struct attend_job *job, uint32_t pieces)
{
	const struct dn_step *s = job->step;
	const uint32_t threads = dn_pool_threads(s->pool);
	uint32_t first = UINT32_MAX;
	uint32_t end = 0;

	if (threads == 1 || s->n > DN_SHARED_TOKENS || pieces >= threads * PIECES_EACH)
		return;
	for (uint32_t row = 0; row < s->n; row++) {
		first = DN_MIN(first, begin_of(job, row) / DN_ATTENTION_SPAN);
		end = DN_MAX(end, end_of(job, &s->runs[s->rows[row].run], row));
	}
	end = DN_DIV_ROUND_UP(end, DN_ATTENTION_SPAN);
	if (end - first < 2)
		return;
	job->first_span = first;
	job->spans = end - first;
}

static void join_spans(const struct attend_job *job)
{
	const struct dn_step *s = job->step;
	const struct dn_layer *l = job->layer;

	for (uint32_t row = 0; row < s->n; row++) {
		const struct dn_run *run = &s->runs[s->rows[row].run];
		const uint32_t first = begin_of(job, row) / DN_ATTENTION_SPAN;
		const uint32_t end = DN_DIV_ROUND_UP(end_of(job, run, row), DN_ATTENTION_SPAN);

		for (uint32_t head = 0; head < l->n_heads; head++)
			s->kernels->attend_join(part_of(job, row, head, first), end - first,
						l->head_dim, out_of(job, row, head));
	}
}

static void attend(struct dn_step *s, const struct dn_layer *l)
{
	struct attend_job job = { .step = s,
				  .layer = l,
				  .heads_per_kv = l->n_heads / l->n_kv_heads,
				  .rows = rows_at_once(s, l) };
	uint32_t pieces = 0;
	uint32_t longest = 0;

	for (uint32_t i = 0; i < s->n_runs; i++) {
		const struct dn_run *run = &s->runs[i];

		pieces += run_pieces(&job, run) * l->n_kv_heads;
		longest = DN_MAX(longest, s->rows[run->first + run->n - 1].position + 1);
	}
	if ((uint64_t)longest * l->n_heads * l->head_dim * s->n < SMALL_WORK) {
		for (uint32_t piece = 0; piece < pieces; piece++)
			attend_piece(&job, piece, 0);
		return;
	}
	share_spans(&job, pieces);
	dn_pool_run(s->pool, attend_piece, &job, pieces * DN_MAX(job.spans, 1U));
	if (job.spans)
		join_spans(&job);
}

static void finish_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_layer *l = argument;
	float *attended = s->attended.values + (size_t)row * s->attended.padded;
	const float *q = s->qkv + (size_t)row * s->qkv_stride;

	for (uint32_t i = 0; l->gated && i < l->n_heads; i++) {
		float *out = attended + (size_t)i * l->head_dim;

		/* The gate's values have no further use: they become sigmoid(gate) * out. */
		s->kernels->activate(DN_ACTIVATION_SIGMOID, out,
				     q + (size_t)i * query_stride(l) + l->head_dim, out,
				     l->head_dim);
	}
	dn_rows_quantise(s, &s->attended, row, l->n_heads * l->head_dim);
}

void dn_block_attention(struct dn_step *s, uint32_t layer)
{
	const struct dn_layer *l = &s->model->layers[layer];

	project(s, l);
	dn_for_rows(s, s->n, prepare_row, l, query_columns(l));
	attend(s, l);
	dn_for_rows(s, s->n, finish_row, l, l->n_heads * l->head_dim);
}
