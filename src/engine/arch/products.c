/* SPDX-License-Identifier: MIT */

#include "engine/arch/products.h"

#include <string.h>

#include "kernels/relay.h"

/*
 * Bytes of weights that a thread takes at once: enough to hide the taking, little enough that a
 * thread which loses its core leaves little undone.
 */
#define PIECE_BYTES ((size_t)48 << 10)
/* Groups that a thread takes at once of a product with so many rows, if there are pieces enough. */
#define SHARED_ROWS   32U
#define SHARED_GROUPS 4U
/* Pieces for each thread, so that none waits long for another; long ones, of many rows, are more. */
#define PIECES_EACH	 4U
#define LONG_PIECES_EACH 8U
/* Elements of a row-wise operation worth another thread. */
#define ROW_WORK 4096U

static void quantise(const struct dn_step *s, struct dn_rows *rows, const float *x,
		     uint32_t columns, size_t at)
{
	const size_t block = at / DN_BLOCK;

	s->kernels->quantise(x, columns, rows->quants + at, rows->scales + block,
			     rows->sums + block, rows->biases + block, rows->pairs + 2 * block);
}

/* What the first part of a row, @at, has lost, a block at a time. */
static void quantise_rest(const struct dn_step *s, struct dn_rows *rows, const float *x,
			  uint32_t columns, size_t at)
{
	for (uint32_t c = 0; c < columns; c += DN_BLOCK) {
		const int8_t *quants = rows->quants + at + c;
		const float scale = rows->scales[(at + c) / DN_BLOCK];
		float rest[DN_BLOCK];

		for (uint32_t i = 0; i < DN_BLOCK; i++)
			rest[i] = x[c + i] - scale * (float)quants[i];
		quantise(s, rows, rest, DN_BLOCK, at + rows->padded + c);
	}
}

void dn_rows_quantise(const struct dn_step *s, struct dn_rows *rows, uint32_t row, uint32_t columns)
{
	float *x = rows->values + (size_t)row * rows->padded;
	const size_t at = (size_t)row * rows->parts * rows->padded;
	const uint32_t padded = DN_ROUND_UP(columns, (uint32_t)DN_BLOCK);

	/* Only weights of single columns have rows that do not fill their last block. */
	memset(x + columns, 0, (padded - columns) * sizeof(float));
	quantise(s, rows, x, padded, at);
	if (rows->parts > 1 && s->kernels->quantises)
		quantise_rest(s, rows, x, padded, at);
}

static uint32_t n_groups(const struct dn_product_item *item)
{
	return DN_DIV_ROUND_UP(item->w.rows, DN_GROUP);
}

static uint32_t end_of(const struct dn_product_item *item)
{
	return item->first_piece + DN_DIV_ROUND_UP(n_groups(item), item->groups_per_piece);
}

/*
 * Groups of rows of weights that a thread takes at once, for @n rows of X. Those of a product with
 * many rows share what they read of X; but enough pieces are left for all threads.
 */
static size_t groups_at_once(const struct dn_step *s, const struct dn_matrix *w, uint32_t n)
{
	const size_t groups = DN_DIV_ROUND_UP(w->rows, DN_GROUP);
	const size_t threads = dn_pool_threads(s->pool);
	const bool many = n >= SHARED_ROWS;
	/* Even, since avx2 takes groups in pairs. */
	const size_t most = many ? DN_ROUND_UP(groups / (threads * LONG_PIECES_EACH), (size_t)2)
				 : groups / (threads * PIECES_EACH);
	/* A matrix-matrix product has more to do a byte. */
	const size_t bytes = n == 1 ? PIECE_BYTES : many ? PIECE_BYTES / 8 : PIECE_BYTES / 2;
	const size_t wanted =
		DN_MAX(bytes / w->group_bytes, many ? (size_t)SHARED_GROUPS : (size_t)1);

	return DN_MAX(n == 1 ? DN_MIN(wanted, groups) : DN_MIN(wanted, most), (size_t)1);
}

void dn_products_add_rows(struct dn_step *s, const struct dn_matrix *w, const struct dn_rows *rows,
			  uint32_t first, uint32_t n, float *y, size_t y_stride)
{
	struct dn_product_item *item = &s->products[s->n_products];
	const bool apart =
		rows->parts > 1 && s->kernels->quantises && dn_type_info(w->type)->columns > 1;
	const size_t at = (size_t)first * rows->parts * rows->padded;

	*item = (struct dn_product_item){
		.w = *w,
		.x = { .columns = w->columns,
		       .values = rows->values + (size_t)first * rows->padded,
		       .stride = rows->padded,
		       .quants = s->kernels->quantises ? rows->quants + at : NULL,
		       .quants_stride = rows->padded,
		       .scales = rows->scales + at / DN_BLOCK,
		       .sums = rows->sums + at / DN_BLOCK,
		       .biases = rows->biases + at / DN_BLOCK,
		       .pairs = rows->pairs + at / DN_BLOCK * 2 },
		.first_piece = s->n_products ? end_of(item - 1) : 0,
		.groups_per_piece = (uint32_t)groups_at_once(s, w, apart ? 2 * n : n),
	};
	item->product = (struct dn_product){ .w = &item->w,
					     .x = &item->x,
					     .n = n,
					     .y = y,
					     .y_stride = y_stride,
					     .prefetch = s->prefetch >> w->type & 1 };
	s->types |= 1U << w->type;
	if (apart) {
		item->y = y;
		item->y_stride = y_stride;
		item->product.n = 2 * n;
		item->product.y = s->apart + s->apart_used;
		item->product.y_stride = w->rows;
		s->apart_used += (size_t)2 * n * w->rows;
	}
	s->n_products++;
}

/* Rows of the product, and where they are once those in two parts are summed. */
static uint32_t n_rows(const struct dn_product_item *item)
{
	return item->y ? item->product.n / 2 : item->product.n;
}

static float *row_of(const struct dn_product_item *item, uint32_t row)
{
	return item->y ? item->y + row * item->y_stride
		       : item->product.y + row * item->product.y_stride;
}

void dn_products_add(struct dn_step *s, const struct dn_linear *linear, const struct dn_rows *rows,
		     float *y, size_t y_stride)
{
	struct dn_product_item *item = &s->products[s->n_products];

	dn_products_add_rows(s, &linear->w, rows, 0, s->n, y, y_stride);
	item->bias = linear->bias;
	if (!linear->adapters)
		return;
	item->adapters = linear->adapters;
	item->low = s->low + s->low_used;
	/* The way down reads what the product itself reads: it is part of the same job. */
	for (const struct dn_low_rank *l = linear->adapters; l; l = l->next) {
		dn_products_add_rows(s, &l->down, rows, 0, s->n, s->low + s->low_used,
				     l->down.rows);
		s->low_used += (size_t)s->n * l->down.rows;
	}
}

/* The last item that begins at or before a piece. */
static const struct dn_product_item *item_of(const struct dn_step *s, uint32_t piece)
{
	uint32_t low = 0;
	uint32_t high = s->n_products;

	while (high - low > 1) {
		const uint32_t middle = low + (high - low) / 2;

		if (s->products[middle].first_piece <= piece)
			low = middle;
		else
			high = middle;
	}
	return &s->products[low];
}

static void product_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct dn_step *s = data;
	const struct dn_product_item *item = item_of(s, piece);
	const uint32_t first = (piece - item->first_piece) * item->groups_per_piece;

	(void)thread;
	s->kernels->product(&item->product, first,
			    DN_MIN(item->groups_per_piece, n_groups(item) - first));
}

static void sum_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_product_item *item = argument;
	const uint32_t n = item->w.rows;
	const float *first = item->product.y + (size_t)2 * row * n;
	float *y = item->y + row * item->y_stride;

	memcpy(y, first, n * sizeof(*y));
	s->kernels->add_scaled(y, first + n, 1.0f, n);
}

static void bias_row(struct dn_step *s, const void *argument, uint32_t row)
{
	const struct dn_product_item *item = argument;

	s->kernels->add_scaled(row_of(item, row), item->bias, 1.0f, item->w.rows);
}

/* What adapters add to some groups of rows of a product, one adapter after the other. */
static void up_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct dn_step *s = data;
	const struct dn_product_item *item = item_of(s, piece);
	const uint32_t first = (piece - item->first_piece) * item->groups_per_piece;
	const uint32_t groups = DN_MIN(item->groups_per_piece, n_groups(item) - first);
	const uint32_t n = n_rows(item);
	float *sums = s->low_scratch + thread * s->low_stride;
	const float *low = item->low;

	for (const struct dn_low_rank *l = item->adapters; l; l = l->next) {
		const uint32_t rank = l->up.columns;
		const struct dn_activations x = { .columns = rank, .values = low, .stride = rank };
		struct dn_matrix up = l->up;
		const struct dn_product product = { .w = &up,
						    .x = &x,
						    .n = n,
						    .y = sums,
						    .y_stride = groups * DN_GROUP,
						    .prefetch = s->prefetch >> up.type & 1 };

		up.data += first * up.group_bytes;
		up.rows = DN_MIN(groups * DN_GROUP, up.rows - first * DN_GROUP);
		s->kernels->product(&product, 0, groups);
		for (uint32_t row = 0; row < n; row++)
			s->kernels->add_scaled(row_of(item, row) + first * DN_GROUP,
					       sums + (size_t)row * product.y_stride, l->scale,
					       up.rows);
		low += (size_t)n * rank;
	}
}

/* Groups that a thread takes at once on the way up: as for products, within its scratch. */
static uint32_t up_groups(const struct dn_step *s, const struct dn_product_item *item)
{
	const size_t n = n_rows(item);
	size_t groups;
	size_t bytes = 0;

	for (const struct dn_low_rank *l = item->adapters; l; l = l->next)
		bytes += l->up.group_bytes;
	groups = DN_MIN(PIECE_BYTES / DN_MIN(n, (size_t)8) / bytes, s->low_stride / DN_GROUP / n);
	return (uint32_t)DN_MIN(DN_MAX(groups, (size_t)1), (size_t)n_groups(item));
}

static void run_up(struct dn_step *s)
{
	uint32_t pieces = 0;

	/* An item without adapters gets no piece: item_of() finds the one behind it. */
	for (uint32_t i = 0; i < s->n_products; i++) {
		struct dn_product_item *item = &s->products[i];

		item->first_piece = pieces;
		if (!item->adapters)
			continue;
		item->groups_per_piece = up_groups(s, item);
		pieces += DN_DIV_ROUND_UP(n_groups(item), item->groups_per_piece);
	}
	if (pieces)
		dn_pool_run(s->pool, up_piece, s, pieces);
}

static void look_up_row(struct dn_step *s, const void *argument, uint32_t row)
{
	float *low = s->low;

	for (const struct dn_low_rank *l = argument; l; l = l->next) {
		const uint32_t rank = l->down.columns;

		dn_relay_row(&l->down, s->rows[row].token, low + (size_t)row * rank);
		low += (size_t)s->n * rank;
	}
}

void dn_products_look_up(struct dn_step *s, const struct dn_low_rank *adapters, float *y,
			 size_t y_stride)
{
	dn_for_rows(s, s->n, look_up_row, adapters, adapters->down.columns);
	s->products[0] = (struct dn_product_item){
		.w = { .rows = adapters->up.rows },
		.product = { .n = s->n, .y = y, .y_stride = y_stride },
		.adapters = adapters,
		.low = s->low,
	};
	s->n_products = 1;
	run_up(s);
	s->n_products = 0;
}

void dn_products_run(struct dn_step *s)
{
	if (!s->n_products)
		return;
	dn_pool_run(s->pool, product_piece, s, end_of(&s->products[s->n_products - 1]));
	for (uint32_t i = 0; i < s->n_products; i++) {
		const struct dn_product_item *item = &s->products[i];

		if (item->y)
			dn_for_rows(s, n_rows(item), sum_row, item, item->w.rows);
		if (item->bias)
			dn_for_rows(s, n_rows(item), bias_row, item, item->w.rows);
	}
	run_up(s);
	s->n_products = 0;
	s->apart_used = 0;
	s->low_used = 0;
}

struct row_job {
	struct dn_step *step;
	dn_row_function *function;
	const void *argument;
	uint32_t n;
	uint32_t rows_per_piece;
};

static void row_piece(void *data, uint32_t piece, uint32_t thread)
{
	const struct row_job *job = data;
	const uint32_t first = piece * job->rows_per_piece;
	const uint32_t end = DN_MIN(first + job->rows_per_piece, job->n);

	(void)thread;
	for (uint32_t row = first; row < end; row++)
		job->function(job->step, job->argument, row);
}

void dn_for_rows(struct dn_step *s, uint32_t n, dn_row_function *function, const void *argument,
		 uint32_t elements)
{
	struct row_job job = { s, function, argument, n,
			       DN_MAX(ROW_WORK / DN_MAX(elements, 1U), 1U) };

	if (n <= job.rows_per_piece) {
		for (uint32_t row = 0; row < n; row++)
			function(s, argument, row);
		return;
	}
	/* No more pieces than share the work well, and all of them alike. */
	job.rows_per_piece =
		DN_MAX(job.rows_per_piece, n / (dn_pool_threads(s->pool) * PIECES_EACH));
	job.rows_per_piece = DN_DIV_ROUND_UP(n, DN_DIV_ROUND_UP(n, job.rows_per_piece));
	dn_pool_run(s->pool, row_piece, &job, DN_DIV_ROUND_UP(n, job.rows_per_piece));
}
