/* SPDX-License-Identifier: MIT */
/*
 * Weights on their way into memory: read in stretches that stay in the cache, re-laid from there.
 * Read, not mapped: a file that shrinks under us is an error, not a signal, and its pages are not
 * counted twice.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/adapter.h"
#include "engine/model.h"
#include "engine/prepared.h"
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
	const struct dn_weight_set *set;
	struct piece *pieces;
	uint8_t *staging;
	size_t staging_bytes;
	atomic_int failed; /* the first piece's errno */
	struct dn_error error;
};

int dn_weight_set_matrix(struct dn_weight *weight, uint32_t rows, uint32_t columns,
			 struct dn_error *err)
{
	weight->shape.rows = rows;
	weight->shape.columns = columns;
	weight->shape.group_bytes = dn_relay_group_bytes(weight->shape.type, columns);
	if (!dn_mul_ok(weight->shape.group_bytes, DN_DIV_ROUND_UP(rows, DN_GROUP), &weight->bytes))
		return dn_error_set(err, E2BIG, "the weights do not fit the address space");
	return 0;
}

int dn_weights_place(struct dn_weight *weights, size_t n, size_t *ret_region_bytes,
		     struct dn_error *err)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		weights[i].offset = total;
		if (weights[i].bytes > SIZE_MAX / 2 ||
		    !dn_add_ok(total, DN_ROUND_UP(weights[i].bytes, (size_t)64), &total) ||
		    total > SIZE_MAX / 2)
			return dn_error_set(err, E2BIG, "the weights do not fit the address space");
	}
	*ret_region_bytes = total;
	return 0;
}

static bool unpacks(const struct dn_weight *w)
{
	return w->shape.type != w->tensor->type;
}

/* A group of a quantised tensor as floats: @staging has the file's rows, then room for two forms. */
static void unpack_group(const struct dn_weight *w, uint8_t *staging, uint32_t rows, uint8_t *to)
{
	const uint32_t columns = w->shape.columns;
	const enum dn_type type = w->tensor->type;
	const size_t group_bytes = dn_relay_group_bytes(type, columns);
	uint8_t *group = staging + DN_ROUND_UP(group_bytes, (size_t)64);
	float *floats = (float *)(group + DN_ROUND_UP(group_bytes, (size_t)64));
	const struct dn_matrix packed = { type, rows, columns, group_bytes, group };

	dn_relay_group(type, columns, staging, rows, group);
	for (uint32_t row = 0; row < rows; row++)
		dn_relay_row(&packed, row, floats + (size_t)row * columns);
	dn_relay_group(DN_TYPE_F32, columns, floats, rows, to);
}

/* Makes a piece at @to. */
static int make_piece(const struct dn_gguf *gguf, const struct piece *p, uint8_t *staging,
		      uint8_t *to, struct dn_error *err)
{
	const struct dn_weight *w = p->weight;
	const struct dn_matrix *m = &w->shape;
	uint32_t first_row = p->first_group * DN_GROUP;
	size_t row_bytes;
	uint32_t rows;
	int r;

	if (w->vector)
		return dn_gguf_read(gguf, w->tensor->file, to, w->bytes, w->tensor->offset, err);
	row_bytes = dn_relay_row_bytes(w->tensor->type, m->columns);
	rows = DN_MIN(p->n_groups * DN_GROUP, m->rows - first_row);
	r = dn_gguf_read(gguf, w->tensor->file, staging, rows * row_bytes,
			 w->tensor->offset + first_row * row_bytes, err);
	if (r < 0)
		return r;
	if (unpacks(w)) {
		unpack_group(w, staging, rows, to);
		return 0;
	}
	for (uint32_t g = 0; g < p->n_groups; g++)
		dn_relay_group(m->type, m->columns, staging + g * DN_GROUP * row_bytes,
			       DN_MIN(rows - g * DN_GROUP, (uint32_t)DN_GROUP),
			       to + g * m->group_bytes);
	return 0;
}

/* Where a piece begins, in its weight. */
static size_t piece_offset(const struct piece *p)
{
	return p->first_group * p->weight->shape.group_bytes;
}

static int blame(const struct piece *p, int r, struct dn_error *err)
{
	return dn_error_prefix(err, r, "tensor '%.*s'",
			       (int)DN_MIN(p->weight->tensor->name.size, (size_t)96),
			       p->weight->tensor->name.data);
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
	r = make_piece(job->set->gguf, p, job->staging + thread * job->staging_bytes,
		       job->set->region + p->weight->offset + piece_offset(p), &err);
	if (r < 0 && atomic_compare_exchange_strong(&job->failed, &expected, -r)) {
		job->error = err;
		(void)blame(p, r, &job->error);
	}
}

/* Groups of a matrix that a stretch holds: at least one. */
static uint32_t groups_per_piece(const struct dn_weight *w)
{
	if (unpacks(w))
		return 1;
	return (uint32_t)DN_MAX(STRETCH / w->shape.group_bytes, (size_t)1);
}

static uint32_t count_pieces(const struct dn_weight *w)
{
	if (w->vector)
		return 1;
	return DN_DIV_ROUND_UP(DN_DIV_ROUND_UP(w->shape.rows, DN_GROUP), groups_per_piece(w));
}

static size_t piece_bytes(const struct dn_weight *w)
{
	const uint32_t groups = DN_DIV_ROUND_UP(w->shape.rows, DN_GROUP);
	const size_t packed = dn_relay_group_bytes(w->tensor->type, w->shape.columns);

	if (unpacks(w))
		return 2 * DN_ROUND_UP(packed, (size_t)64) + w->shape.group_bytes;
	return DN_MIN(groups_per_piece(w), groups) * w->shape.group_bytes;
}

size_t dn_weights_staging_bytes(const struct dn_weight_set *set)
{
	size_t most = 0;

	for (size_t i = 0; i < set->n_weights; i++)
		if (!set->weights[i].vector)
			most = DN_MAX(most, piece_bytes(&set->weights[i]));
	return DN_ROUND_UP(most, (size_t)64);
}

static void cut_pieces(const struct dn_weight_set *set, struct piece *pieces)
{
	uint32_t n = 0;

	for (size_t i = 0; i < set->n_weights; i++) {
		const struct dn_weight *w = &set->weights[i];
		uint32_t groups = w->vector ? 1 : DN_DIV_ROUND_UP(w->shape.rows, DN_GROUP);
		uint32_t step = w->vector ? 1 : groups_per_piece(w);

		for (uint32_t g = 0; g < groups; g += step, n++)
			pieces[n] = (struct piece){ w, g, DN_MIN(step, groups - g) };
	}
}

/* Bytes of the region that a piece fills. */
static size_t piece_fills(const struct piece *p)
{
	return p->weight->vector ? p->weight->bytes : p->n_groups * p->weight->shape.group_bytes;
}

static uint32_t count_all(const struct dn_weight_set *set)
{
	uint32_t n = 0;

	for (size_t i = 0; i < set->n_weights; i++)
		n += count_pieces(&set->weights[i]);
	return n;
}

int dn_weights_each_stretch(const struct dn_weight_set *set, dn_stretch_function *take, void *data,
			    struct dn_error *err)
{
	const uint32_t n = count_all(set);
	const size_t staging_bytes = dn_weights_staging_bytes(set);
	DN_AUTO_FREE struct piece *pieces = calloc(DN_MAX(n, 1U), sizeof(*pieces));
	DN_AUTO_FREE uint8_t *staging = NULL;
	size_t most = 0;
	int r = 0;

	if (!pieces)
		return dn_error_memory(err, "preparing", n * sizeof(*pieces));
	cut_pieces(set, pieces);
	for (uint32_t i = 0; i < n; i++)
		most = DN_MAX(most, piece_fills(&pieces[i]));
	staging = aligned_alloc(64,
				DN_MAX(staging_bytes + DN_ROUND_UP(most, (size_t)64), (size_t)64));
	if (!staging)
		return dn_error_memory(err, "preparing", staging_bytes + most);
	for (uint32_t i = 0; r >= 0 && i < n; i++) {
		const struct piece *p = &pieces[i];
		uint8_t *to = staging + staging_bytes;

		r = make_piece(set->gguf, p, staging, to, err);
		if (r >= 0)
			r = take(data, p->weight->offset + piece_offset(p), to, piece_fills(p),
				 err);
		if (r < 0)
			r = blame(p, r, err);
	}
	return r;
}

static int map_region(struct dn_weight_set *set, struct dn_error *err)
{
	size_t bytes = DN_ROUND_UP(set->region_bytes, DN_HUGE_PAGE);
	void *region =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (region == MAP_FAILED)
		return dn_error_memory(err, "the weights", bytes);
	/* Fewer faults now, fewer TLB misses at every token; a kernel without them does without. */
	(void)madvise(region, bytes, MADV_HUGEPAGE);
	set->region = region;
	set->mapped_bytes = bytes;
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

void dn_weights_set_addresses(const struct dn_weight_set *set)
{
	for (size_t i = 0; i < set->n_weights; i++) {
		const struct dn_weight *w = &set->weights[i];
		const uint8_t *at = set->region + w->offset;

		if (w->vector)
			set_vectors(w, (const float *)at);
		for (uint32_t p = 0; p < DN_PARTS_MAX && w->parts[p]; p++) {
			w->parts[p]->data = at;
			at += w->parts[p]->rows / DN_GROUP * w->shape.group_bytes;
		}
	}
}

void dn_weights_unmap(struct dn_weight_set *set)
{
	if (set->region)
		(void)munmap(set->region, set->mapped_bytes);
	set->region = NULL;
}

int dn_weights_load(struct dn_weight_set *set, struct dn_pool *pool, struct dn_error *err)
{
	DN_AUTO_FREE struct piece *pieces = NULL;
	DN_AUTO_FREE uint8_t *staging = NULL;
	struct load_job job = { .set = set };
	uint32_t n;
	int r;

	if (!set->n_weights)
		return 0;
	n = count_all(set);
	pieces = calloc(DN_MAX(n, 1U), sizeof(*pieces));
	if (!pieces)
		return dn_error_memory(err, "loading", n * sizeof(*pieces));
	job.pieces = pieces;
	cut_pieces(set, pieces);
	job.staging_bytes = dn_weights_staging_bytes(set);
	staging = malloc(DN_MAX(job.staging_bytes * dn_pool_threads(pool), (size_t)1));
	if (!staging)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return dn_error_memory(err, "loading", job.staging_bytes * dn_pool_threads(pool));
	job.staging = staging;
	r = map_region(set, err);
	if (r < 0)
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup attribute frees it */
		return r;
	dn_pool_run(pool, run_piece, &job, n);
	r = -atomic_load(&job.failed);
	if (r < 0) {
		dn_weights_unmap(set);
		if (err)
			*err = job.error;
		return r;
	}
	dn_weights_set_addresses(set);
	return 0;
}

static struct dn_weight_set set_of(const struct dn_model *m)
{
	return (struct dn_weight_set){ m->gguf,	  m->weights,	   m->n_weights,
				       m->region, m->region_bytes, m->mapped_bytes };
}

int dn_model_load_weights(struct dn_model *m, struct dn_pool *pool, struct dn_error *err)
{
	struct dn_weight_set set = set_of(m);
	int r;

	if (m->region)
		return 0;
	if (m->prepared.bytes)
		r = dn_prepared_map(&m->prepared, &set, pool, err);
	else
		r = dn_weights_load(&set, pool, err);
	for (uint32_t i = 0; r >= 0 && i < m->n_adapters; i++) {
		r = dn_adapter_load(m->adapters[i], pool, err);
		if (r < 0)
			(void)dn_error_prefix(err, r, "adapter %u", i + 1);
	}
	if (r < 0) {
		for (uint32_t i = 0; i < m->n_adapters; i++)
			dn_adapter_unload(m->adapters[i]);
		dn_weights_unmap(&set);
		return r;
	}
	m->region = set.region;
	m->mapped_bytes = set.mapped_bytes;
	if (m->globals.tied)
		m->globals.output.w = m->globals.embedding;
	return 0;
}

size_t dn_model_staging_bytes(const struct dn_model *m)
{
	const struct dn_weight_set set = set_of(m);
	size_t most = dn_weights_staging_bytes(&set);

	for (uint32_t i = 0; i < m->n_adapters; i++)
		most = DN_MAX(most, dn_weights_staging_bytes(&m->adapters[i]->set));
	return most;
}

uint64_t dn_model_weights_bytes(const struct dn_model *m)
{
	uint64_t bytes = DN_ROUND_UP((uint64_t)m->region_bytes, DN_HUGE_PAGE);

	for (uint32_t i = 0; i < m->n_adapters; i++)
		bytes += DN_ROUND_UP((uint64_t)m->adapters[i]->set.region_bytes, DN_HUGE_PAGE);
	return bytes;
}
