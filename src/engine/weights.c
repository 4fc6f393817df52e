/* SPDX-License-Identifier: MIT */
/*
 * Weights on their way into memory: read in stretches that stay in the cache, re-laid from there.
 * Read, not mapped: a file that shrinks under us is an error, not a signal, and its pages are not
 * counted twice.
 */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/model.h"
#include "engine/thread.h"
#include "kernels/relay.h"

/* Bytes of the file that a piece reads at once: half of a small second-level cache. */
#define STRETCH ((size_t)256 << 10)

/* A stretch of whole groups of one matrix, or one vector. */
struct piece {
	const struct dn_weight *weight;
	uint32_t first_group;
	uint32_t n_groups;
};

struct load_job {
	struct dn_model *model;
	struct piece *pieces;
	uint8_t *staging;
	size_t staging_bytes;
	atomic_int failed; /* the first piece's errno */
	struct dn_error error;
};

static int load_piece(struct load_job *job, const struct piece *p, uint8_t *staging,
		      struct dn_error *err)
{
	const struct dn_weight *w = p->weight;
	const struct dn_matrix *m = &w->shape;
	uint8_t *to = job->model->region + w->offset;
	uint32_t first_row = p->first_group * DN_GROUP;
	size_t row_bytes;
	uint32_t rows;
	int r;

	if (w->vector)
		return dn_gguf_read(job->model->gguf, w->tensor->file, to, w->bytes,
				    w->tensor->offset, err);
	row_bytes = dn_relay_row_bytes(m->type, m->columns);
	rows = DN_MIN(p->n_groups * DN_GROUP, m->rows - first_row);
	r = dn_gguf_read(job->model->gguf, w->tensor->file, staging, rows * row_bytes,
			 w->tensor->offset + first_row * row_bytes, err);
	if (r < 0)
		return r;
	for (uint32_t g = 0; g < p->n_groups; g++)
		dn_relay_group(m->type, m->columns, staging + g * DN_GROUP * row_bytes,
			       DN_MIN(rows - g * DN_GROUP, (uint32_t)DN_GROUP),
			       to + (p->first_group + g) * m->group_bytes);
	return 0;
}

static void run_piece(void *data, uint32_t index, uint32_t thread)
{
	struct load_job *job = data;
	const struct piece *p = &job->pieces[index];
	struct dn_error err = DN_ERROR_INIT;
	int expected = 0;
	int r;

	if (atomic_load_explicit(&job->failed, memory_order_relaxed))
		return;
	r = load_piece(job, p, job->staging + thread * job->staging_bytes, &err);
	if (r < 0 && atomic_compare_exchange_strong(&job->failed, &expected, -r)) {
		job->error = err;
		(void)dn_error_prefix(&job->error, r, "tensor '%.*s'",
				      (int)DN_MIN(p->weight->tensor->name.size, (size_t)96),
				      p->weight->tensor->name.data);
	}
}

/* Groups of a matrix that a stretch holds: at least one. */
static uint32_t groups_per_piece(const struct dn_matrix *m)
{
	return (uint32_t)DN_MAX(STRETCH / m->group_bytes, (size_t)1);
}

static uint32_t count_pieces(const struct dn_weight *w)
{
	if (w->vector)
		return 1;
	return DN_DIV_ROUND_UP(DN_DIV_ROUND_UP(w->shape.rows, DN_GROUP),
			       groups_per_piece(&w->shape));
}

size_t dn_model_staging_bytes(const struct dn_model *m)
{
	size_t most = 0;

	for (size_t i = 0; i < m->n_weights; i++) {
		const struct dn_matrix *matrix = &m->weights[i].shape;
		const uint32_t groups = DN_DIV_ROUND_UP(matrix->rows, DN_GROUP);

		if (!m->weights[i].vector)
			most = DN_MAX(most, DN_MIN(groups_per_piece(matrix), groups) *
						    matrix->group_bytes);
	}
	return most;
}

static void cut_pieces(const struct dn_model *m, struct piece *pieces)
{
	uint32_t n = 0;

	for (size_t i = 0; i < m->n_weights; i++) {
		const struct dn_weight *w = &m->weights[i];
		uint32_t groups = w->vector ? 1 : DN_DIV_ROUND_UP(w->shape.rows, DN_GROUP);
		uint32_t step = w->vector ? 1 : groups_per_piece(&w->shape);

		for (uint32_t g = 0; g < groups; g += step, n++)
			pieces[n] = (struct piece){ w, g, DN_MIN(step, groups - g) };
	}
}

static int map_region(struct dn_model *m, struct dn_error *err)
{
	size_t bytes = DN_ROUND_UP(m->region_bytes, DN_HUGE_PAGE);
	void *region =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (region == MAP_FAILED)
		return dn_error_memory(err, "the weights", bytes);
	/* Fewer faults now, fewer TLB misses at every token; a kernel without them does without. */
	(void)madvise(region, bytes, MADV_HUGEPAGE);
	m->region = region;
	return 0;
}

static void set_vectors(const struct dn_weight *w, const float *at)
{
	*w->vector = at;
	for (uint32_t i = 0; i < DN_ARRAY_SIZE(w->vector_parts); i++) {
		if (!w->vector_parts[i].vector)
			break;
		at += w->vector_parts[i].n;
		*w->vector_parts[i].vector = at;
	}
}

static void set_addresses(struct dn_model *m)
{
	for (size_t i = 0; i < m->n_weights; i++) {
		const struct dn_weight *w = &m->weights[i];
		const uint8_t *at = m->region + w->offset;

		if (w->vector)
			set_vectors(w, (const float *)at);
		for (uint32_t p = 0; p < DN_PARTS_MAX && w->parts[p]; p++) {
			w->parts[p]->data = at;
			at += w->parts[p]->rows / DN_GROUP * w->shape.group_bytes;
		}
	}
	if (m->globals.tied)
		m->globals.output.w = m->globals.embedding;
}

int dn_model_load_weights(struct dn_model *m, struct dn_pool *pool, struct dn_error *err)
{
	DN_AUTO_FREE struct piece *pieces = NULL;
	DN_AUTO_FREE uint8_t *staging = NULL;
	struct load_job job = { .model = m };
	uint32_t n = 0;
	int r;

	if (m->region)
		return 0;
	for (size_t i = 0; i < m->n_weights; i++)
		n += count_pieces(&m->weights[i]);
	pieces = calloc(DN_MAX(n, 1U), sizeof(*pieces));
	if (!pieces)
		return dn_error_memory(err, "loading", n * sizeof(*pieces));
	job.pieces = pieces;
	cut_pieces(m, pieces);
	job.staging_bytes = dn_model_staging_bytes(m);
	staging = malloc(DN_MAX(job.staging_bytes * dn_pool_threads(pool), (size_t)1));
	if (!staging)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return dn_error_memory(err, "loading", job.staging_bytes * dn_pool_threads(pool));
	job.staging = staging;
	r = map_region(m, err);
	if (r < 0)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return r;
	dn_pool_run(pool, run_piece, &job, n);
	r = -atomic_load(&job.failed);
	if (r < 0) {
		(void)munmap(m->region, DN_ROUND_UP(m->region_bytes, DN_HUGE_PAGE));
		m->region = NULL;
		if (err)
			*err = job.error;
		return r;
	}
	set_addresses(m);
	return 0;
}
