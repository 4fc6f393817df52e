/* SPDX-License-Identifier: MIT */
/*
 * The portable level: the model of what the vector levels compute, bit for bit, and the floor for
 * CPUs that have none of them. Its products are written plainly, apart from theirs.
 */

#include <math.h>

#include "kernels/blocks.h"
#include "kernels/level.h"
#include "kernels/relay.h"
#include "kernels/shape.h"

#define VEC  1
#define ROWS 1

typedef float vec;

static inline vec vec_load(const float *p)
{
	return *p;
}
static inline void vec_store(float *p, vec v)
{
	*p = v;
}
static inline vec vec_set1(float x)
{
	return x;
}
static inline vec vec_add(vec a, vec b)
{
	return a + b;
}
static inline vec vec_sub(vec a, vec b)
{
	return a - b;
}
static inline vec vec_mul(vec a, vec b)
{
	return a * b;
}
static inline vec vec_div(vec a, vec b)
{
	return a / b;
}
/* One rounding: C's fmaf() is exact on every machine, if slow where it is a function. */
static inline vec vec_fma(vec a, vec b, vec c)
{
	return fmaf(a, b, c);
}
static inline vec vec_max(vec a, vec b)
{
	return a > b ? a : b;
}
static inline vec vec_min(vec a, vec b)
{
	return a < b ? a : b;
}
static inline vec vec_keep_ge(vec v, vec x, vec t)
{
	return x >= t ? v : 0.0f;
}
static inline bool vec_any_gt(vec a, vec b)
{
	return a > b;
}
static inline vec vec_shift_exponent(vec p, vec t)
{
	return dn_bits_float(dn_float_bits(p) + (dn_float_bits(t) << 23));
}
static inline vec vec_load_half(const uint16_t *p)
{
	return dn_half_to_float(*p);
}
static inline void vec_store_half(uint16_t *p, vec v)
{
	*p = dn_float_to_half(v);
}
static inline vec vec_load_bytes(const int8_t *p)
{
	return (float)*p;
}

#include "kernels/vector-ops.inc.h"

/* The exact sum of the products of @n columns. */
static int32_t dot(const int8_t *quants, const int8_t *x, uint32_t n)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += quants[i] * x[i];
	return sum;
}

static int32_t sum_of(const int8_t *x, uint32_t n)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += x[i];
	return sum;
}

static float row_quantised(const struct dn_matrix *w, uint32_t row, const struct dn_activations *x,
			   uint32_t n)
{
	const struct dn_shape shape = dn_type_shape(w->type);
	const uint32_t columns = dn_type_info(w->type)->columns;
	const uint32_t run = DN_BLOCK / shape.scales;
	const int8_t *quants = x->quants + n * x->quants_stride;
	size_t at = n * (x->quants_stride / DN_BLOCK);
	uint8_t bytes[DN_FILE_BLOCK_MAX];
	struct dn_block b;
	float acc = 0.0f;

	for (uint32_t c = 0; c < w->columns; c += DN_BLOCK, at++) {
		if (c % columns == 0)
			dn_relay_block(w, row, c, bytes);
		dn_block_unpack(w->type, bytes, c % columns / DN_BLOCK, &b);
		for (uint32_t i = 0; i < shape.scales; i++) {
			const int32_t sum = dot(b.quants + run * i, quants + c + run * i, run);

			acc = fmaf(b.scales[i] * x->scales[at], (float)sum, acc);
		}
		if (shape.minima == 1)
			acc = fmaf(b.minima[0], x->sums[at], acc);
		for (uint32_t i = 0; shape.minima == 2 && i < 2; i++) {
			const int32_t sum = sum_of(quants + c + run * i, run);

			acc = fmaf(b.minima[i], x->scales[at] * (float)sum, acc);
		}
	}
	return acc;
}

static float row_float(const struct dn_matrix *w, uint32_t row, const float *x)
{
	const size_t lane = row % DN_GROUP;
	const uint8_t *group = w->data + row / DN_GROUP * w->group_bytes;
	float acc[4] = { 0 };

	for (uint32_t c = 0; c < w->columns; c++) {
		const size_t at = (size_t)c * DN_GROUP + lane;
		float weight;

		if (w->type == DN_TYPE_F32)
			weight = ((const float *)group)[at];
		else if (w->type == DN_TYPE_F16)
			weight = dn_half_to_float(((const uint16_t *)group)[at]);
		else
			weight = dn_bfloat_to_float(((const uint16_t *)group)[at]);
		acc[c % 4] = fmaf(weight, x[c], acc[c % 4]);
	}
	return (acc[0] + acc[1]) + (acc[2] + acc[3]);
}

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	const struct dn_matrix *w = p->w;
	const bool is_float = dn_type_shape(w->type).runs == 0;
	const uint32_t end = DN_MIN((first + count) * DN_GROUP, w->rows);

	for (uint32_t n = 0; n < p->n; n++)
		for (uint32_t row = first * DN_GROUP; row < end; row++)
			p->y[n * p->y_stride + row] =
				is_float ? row_float(w, row, p->x->values + n * p->x->stride)
					 : row_quantised(w, row, p->x, n);
}

static uint64_t multiply_alone(uint32_t rounds)
{
	(void)rounds;
	return 0;
}

const struct dn_kernels dn_kernels_scalar = DN_KERNELS_TABLE(DN_LEVEL_SCALAR, "scalar", true);
