/* SPDX-License-Identifier: MIT */

#include "engine/arch/blocks.h"

#include <string.h>

#include "kernels/relay.h"

/*
 * Bytes of weights that a thread takes at once: enough to hide the taking, little enough that a
 * thread which loses its core leaves little undone.
 */
#define PIECE_BYTES ((size_t)48 << 10)
/* Elements of a row-wise operation worth another thread. */
#define ROW_WORK 16384U

static struct dn_activations activations(const struct dn_rows *rows, bool quantised)
{
	return (struct dn_activations){
		.columns = rows->columns,
		.values = rows->values,
		.stride = rows->padded,
		.quants = quantised ? rows->quants : NULL,
		.quants_stride = rows->padded,
		.scales = rows->scales,
		.sums = rows->sums,
		.biases = rows->biases,
	};
}

static void quantise_row(const struct dn_step *s, struct dn_rows *rows, uint32_t row)
{
	const size_t at = (size_t)row * rows->padded;
	const size_t block = at / DN_BLOCK;

	s->kernels->quantise(rows->values + at, rows->padded, rows->quants + at,
			     rows->scales + block, rows->sums + block, rows->biases + block);
}

/* Up to three products that read the same rows, as one job. */
struct product_job {
	const struct dn_kernels *kernels;
	struct dn_product products[3];
	uint32_t first_piece[4]; /* of each product, and the end */
	uint32_t groups_per_piece[3];
	uint32_t n;
};

static void product_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct product_job *job = data;
	uint32_t i = 0;
	uint32_t first;
	uint32_t groups;

	(void)thread;
	while (piece >= job->first_piece[i + 1])
		i++;
	first = (piece - job->first_piece[i]) * job->groups_per_piece[i];
	groups = DN_DIV_ROUND_UP(job->products[i].w->rows, DN_GROUP);
	job->kernels->product(&job->products[i], first,
			      DN_MIN(job->groups_per_piece[i], groups - first));
}

static void add_product(struct product_job *job, const struct dn_matrix *w,
			const struct dn_activations *x, uint32_t n, float *y, size_t y_stride)
{
	uint32_t groups = DN_DIV_ROUND_UP(w->rows, DN_GROUP);
	/* A matrix-matrix product has more to do a byte. */
	size_t bytes = n == 1 ? PIECE_BYTES : PIECE_BYTES / DN_MIN(n, 8U);
	uint32_t step = (uint32_t)DN_MAX(bytes / w->group_bytes, (size_t)1);

	job->products[job->n] = (struct dn_product){ w, x, n, y, y_stride };
	job->groups_per_piece[job->n] = step;
	job->first_piece[job->n + 1] = job->first_piece[job->n] + DN_DIV_ROUND_UP(groups, step);
	job->n++;
}

static void run_products(struct dn_step *s, struct product_job *job)
{
	dn_pool_run(s->pool, product_piece, job, job->first_piece[job->n]);
}

/* A function of a step for one row, run for all rows by whoever is free. */
typedef void row_function(struct dn_step *step, const void *argument, uint32_t row);

struct row_job {
	struct dn_step *step;
	row_function *function;
	const void *argument;
	uint32_t rows_per_piece;
};

static void row_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct row_job *job = data;
	const uint32_t first = piece * job->rows_per_piece;
	const uint32_t end = DN_MIN(first + job->rows_per_piece, job->step->n);

	(void)thread;
	for (uint32_t row = first; row < end; row++)
		job->function(job->step, job->argument, row);
}

static void for_rows(struct dn_step *s, row_function *function, const void *argument,
		     uint32_t elements)
{
	struct row_job job = { s, function, argument, DN_MAX(ROW_WORK / DN_MAX(elements, 1U), 1U) };

	if (s->n <= job.rows_per_piece) {
		for (uint32_t row = 0; row < s->n; row++)
			function(s, argument, row);
		return;
	}
	dn_pool_run(s->pool, row_piece, &job, DN_DIV_ROUND_UP(s->n, job.rows_per_piece));
}

void dn_block_embed(struct dn_step *s, const struct dn_matrix *embedding)
{
	for (uint32_t row = 0; row < s->n; row++)
		dn_relay_row(embedding, s->rows[row].token,
			     s->x + (size_t)row * embedding->columns);
}

static void norm_row(struct dn_step *s, const void *weight, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;

	s->kernels->rms_norm(s->normed.values + (size_t)row * s->normed.padded,
			     s->x + (size_t)row * dim, weight, dim, s->model->hparams.rms_epsilon);
	quantise_row(s, &s->normed, row);
}

void dn_block_norm(struct dn_step *s, const float *weight)
{
	for_rows(s, norm_row, weight, s->model->hparams.dim);
}

void dn_block_project_qkv(struct dn_step *s, const struct dn_matrix *wq, const struct dn_matrix *wk,
			  const struct dn_matrix *wv)
{
	const struct dn_activations x = activations(&s->normed, s->kernels->quantises);
	struct product_job job = { .kernels = s->kernels };

	add_product(&job, wq, &x, s->n, s->q, wq->rows);
	add_product(&job, wk, &x, s->n, s->k, wk->rows);
	add_product(&job, wv, &x, s->n, s->v, wv->rows);
	run_products(s, &job);
}

static void rope_row(struct dn_step *s, const void *unused, uint32_t row)
{
	const struct dn_hparams *h = &s->model->hparams;
	const uint32_t pairs = h->rope_dims / 2;
	const bool halves = s->model->arch->rope_halves;
	const float *cosines = s->cosines + (size_t)row * pairs;
	const float *sines = s->sines + (size_t)row * pairs;
	float *q = s->q + (size_t)row * h->n_heads * h->head_dim;
	float *k = s->k + (size_t)row * h->n_kv_heads * h->head_dim;

	(void)unused;
	for (uint32_t i = 0; i < h->n_heads; i++)
		s->kernels->rope(q + (size_t)i * h->head_dim, pairs, cosines, sines, halves);
	for (uint32_t i = 0; i < h->n_kv_heads; i++)
		s->kernels->rope(k + (size_t)i * h->head_dim, pairs, cosines, sines, halves);
}

void dn_block_rope(struct dn_step *s)
{
	for_rows(s, rope_row, NULL, s->model->hparams.n_heads * s->model->hparams.head_dim);
}

static void store_row(struct dn_step *s, const void *layer, uint32_t row)
{
	const struct dn_kv *kv = s->kv;
	const struct dn_row *r = &s->rows[row];
	const uint32_t slot = r->position % DN_KV_BLOCK;
	uint8_t *block = r->sequence->blocks[r->position / DN_KV_BLOCK];

	for (uint32_t head = 0; head < kv->n_kv_heads; head++) {
		const size_t at = ((size_t)row * kv->n_kv_heads + head) * kv->head_dim;
		uint8_t *keys = block + dn_kv_offset(kv, *(const uint32_t *)layer, head);

		s->kernels->store_key(keys + slot * kv->element, s->k + at, kv->head_dim, kv->half);
		s->kernels->store_value(keys + kv->head_bytes + slot * kv->padded_dim * kv->element,
					s->v + at, kv->head_dim, kv->half);
	}
}

/*
 * Attention's pieces: the query rows of one sequence's run of tokens that share a KV head, eight
 * at a time. A run is known by its first row; rows of a sequence lie together.
 */
struct attend_job {
	struct dn_step *step;
	uint32_t layer;
	uint32_t heads_per_kv;
};

static uint32_t run_length(const struct dn_step *s, uint32_t first)
{
	uint32_t n = 1;

	while (first + n < s->n && s->rows[first + n].sequence == s->rows[first].sequence)
		n++;
	return n;
}

static uint32_t run_tiles(const struct attend_job *job, uint32_t tokens)
{
	return DN_DIV_ROUND_UP(tokens * job->heads_per_kv, DN_ATTENTION_ROWS);
}

static void attend_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct attend_job *job = data;
	struct dn_step *s = job->step;
	const struct dn_hparams *h = &s->model->hparams;
	const uint32_t kv_head = piece % h->n_kv_heads;
	uint32_t tile = piece / h->n_kv_heads;
	uint32_t first = 0;
	uint32_t tokens = run_length(s, 0);
	struct dn_attention a;

	while (tile >= run_tiles(job, tokens)) {
		tile -= run_tiles(job, tokens);
		first += tokens;
		tokens = run_length(s, first);
	}
	a = (struct dn_attention){
		.blocks = (const uint8_t *const *)s->rows[first].sequence->blocks,
		.keys = dn_kv_offset(s->kv, job->layer, kv_head),
		.values = dn_kv_offset(s->kv, job->layer, kv_head) + s->kv->head_bytes,
		.half = s->kv->half,
		.head_dim = h->head_dim,
		.scale = h->attention_scale,
		.scratch = s->attention_scratch + thread * s->attention_stride,
	};
	for (uint32_t i = tile * DN_ATTENTION_ROWS;
	     i < tokens * job->heads_per_kv && a.n_rows < DN_ATTENTION_ROWS; i++, a.n_rows++) {
		const uint32_t row = first + i / job->heads_per_kv;
		const uint32_t head = kv_head * job->heads_per_kv + i % job->heads_per_kv;

		a.q[a.n_rows] = s->q + ((size_t)row * h->n_heads + head) * h->head_dim;
		a.out[a.n_rows] = s->attended.values + (size_t)row * s->attended.padded +
				  (size_t)head * h->head_dim;
		a.end[a.n_rows] = s->rows[row].position + 1;
	}
	s->kernels->attend(&a);
}

static void quantise_attended(struct dn_step *s, const void *unused, uint32_t row)
{
	(void)unused;
	quantise_row(s, &s->attended, row);
}

void dn_block_attend(struct dn_step *s, uint32_t layer)
{
	const struct dn_hparams *h = &s->model->hparams;
	struct attend_job job = { s, layer, h->n_heads / h->n_kv_heads };
	uint32_t pieces = 0;
	uint32_t longest = 0;

	for_rows(s, store_row, &layer, 2 * h->n_kv_heads * h->head_dim);
	for (uint32_t first = 0; first < s->n;) {
		uint32_t tokens = run_length(s, first);

		pieces += run_tiles(&job, tokens) * h->n_kv_heads;
		longest = DN_MAX(longest, s->rows[first + tokens - 1].position + 1);
		first += tokens;
	}
	if ((uint64_t)longest * h->n_heads * h->head_dim * s->n < 2ULL * ROW_WORK) {
		for (uint32_t piece = 0; piece < pieces; piece++)
			attend_piece(&job, piece, 0);
	} else {
		dn_pool_run(s->pool, attend_piece, &job, pieces);
	}
	for_rows(s, quantise_attended, NULL, s->attended.columns);
}

/* x += y, where a product wrote y. */
static void add_row(struct dn_step *s, const void *y, uint32_t row)
{
	const uint32_t dim = s->model->hparams.dim;

	s->kernels->add(s->x + (size_t)row * dim, (const float *)y + (size_t)row * dim, dim);
}

static void project_back(struct dn_step *s, const struct dn_rows *rows, const struct dn_matrix *w)
{
	const struct dn_activations x = activations(rows, s->kernels->quantises);
	struct product_job job = { .kernels = s->kernels };

	add_product(&job, w, &x, s->n, s->normed.values, w->rows);
	run_products(s, &job);
	for_rows(s, add_row, s->normed.values, w->rows);
}

void dn_block_project_attention(struct dn_step *s, const struct dn_matrix *wo)
{
	project_back(s, &s->attended, wo);
}

static void silu_row(struct dn_step *s, const void *unused, uint32_t row)
{
	float *hidden = s->hidden.values + (size_t)row * s->hidden.padded;

	(void)unused;
	s->kernels->silu_mul(hidden, hidden, s->up + (size_t)row * s->hidden.columns,
			     s->hidden.columns);
	quantise_row(s, &s->hidden, row);
}

void dn_block_swiglu(struct dn_step *s, const struct dn_matrix *gate, const struct dn_matrix *up,
		     const struct dn_matrix *down)
{
	const struct dn_activations x = activations(&s->normed, s->kernels->quantises);
	struct product_job job = { .kernels = s->kernels };

	add_product(&job, gate, &x, s->n, s->hidden.values, s->hidden.padded);
	add_product(&job, up, &x, s->n, s->up, up->rows);
	run_products(s, &job);
	for_rows(s, silu_row, NULL, s->hidden.columns);
	project_back(s, &s->hidden, down);
}

void dn_block_logits(struct dn_step *s, const float *norm, const struct dn_matrix *output,
		     float *logits)
{
	const struct dn_activations x = activations(&s->normed, s->kernels->quantises);
	struct product_job job = { .kernels = s->kernels };
	const uint32_t dim = s->model->hparams.dim;
	uint32_t wanted = 0;

	for (uint32_t row = 0; row < s->n; row++) {
		if (!s->rows[row].wanted)
			continue;
		if (wanted != row)
			memcpy(s->x + (size_t)wanted * dim, s->x + (size_t)row * dim,
			       dim * sizeof(*s->x));
		wanted++;
	}
	if (wanted == 0)
		return;
	s->n = wanted;
	dn_block_norm(s, norm);
	add_product(&job, output, &x, wanted, logits, output->rows);
	run_products(s, &job);
}
