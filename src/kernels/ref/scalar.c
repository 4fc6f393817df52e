/* SPDX-License-Identifier: MIT */
/*
 * The portable level: the model of what the vector levels compute, bit for bit, and the floor for
 * CPUs that have none of them. Its products are written plainly, apart from theirs.
 */

#include "kernels/level.h"

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

#include "kernels/vector-ops.inc.h"

static float half_at(const uint8_t *at)
{
	uint16_t half;

	memcpy(&half, at, sizeof(half));
	return dn_half_to_float(half);
}

/* The exact sum of a block's products, the type's offset taken off. */
static int32_t block_sum(enum dn_type type, const uint8_t *quants, uint32_t lane, const int8_t *x)
{
	int32_t sum = 0;

	for (uint32_t i = 0; i < DN_BLOCK; i++) {
		uint32_t k = type == DN_TYPE_Q8_0 ? i : i % 16;
		uint8_t byte = quants[4 * (DN_GROUP * (k / 4) + lane) + k % 4];
		int32_t w = type == DN_TYPE_Q8_0 ? (int8_t)byte : i < 16 ? byte & 15 : byte >> 4;

		sum += (type == DN_TYPE_Q4_0 ? w - 8 : w) * x[i];
	}
	return sum;
}

static float row_quantised(const struct dn_matrix *w, uint32_t row, const struct dn_activations *x,
			   uint32_t n)
{
	const uint32_t lane = row % DN_GROUP;
	const uint32_t words = w->type == DN_TYPE_Q8_0 ? 8 : 4;
	const size_t block_bytes =
		(size_t)DN_GROUP * (4 * words + (w->type == DN_TYPE_Q4_1 ? 4 : 2));
	const uint8_t *block = w->data + row / DN_GROUP * w->group_bytes;
	const int8_t *quants = x->quants + n * x->quants_stride;
	float acc = 0.0f;

	for (uint32_t b = 0; b < w->columns / DN_BLOCK; b++, block += block_bytes) {
		const uint8_t *scales = block + (size_t)4 * DN_GROUP * words;
		const size_t at = n * (x->quants_stride / DN_BLOCK) + b;
		int32_t sum = block_sum(w->type, block, lane, quants + (size_t)b * DN_BLOCK);

		acc = fmaf(half_at(scales + (size_t)2 * lane) * x->scales[at], (float)sum, acc);
		if (w->type == DN_TYPE_Q4_1)
			acc = fmaf(half_at(scales + (size_t)2 * (DN_GROUP + lane)), x->sums[at],
				   acc);
	}
	return acc;
}

static float row_float(const struct dn_matrix *w, uint32_t row, const float *x)
{
	const uint32_t lane = row % DN_GROUP;
	const uint8_t *group = w->data + row / DN_GROUP * w->group_bytes;
	float acc[4] = { 0 };

	for (uint32_t c = 0; c < w->columns; c++) {
		size_t at = (size_t)c * DN_GROUP + lane;
		float weight;

		if (w->type == DN_TYPE_F16)
			weight = half_at(group + 2 * at);
		else
			memcpy(&weight, group + 4 * at, sizeof(weight));
		acc[c % 4] = fmaf(weight, x[c], acc[c % 4]);
	}
	return (acc[0] + acc[1]) + (acc[2] + acc[3]);
}

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	const struct dn_matrix *w = p->w;
	const bool is_float = w->type == DN_TYPE_F16 || w->type == DN_TYPE_F32;
	const uint32_t end = DN_MIN((first + count) * DN_GROUP, w->rows);

	for (uint32_t n = 0; n < p->n; n++)
		for (uint32_t row = first * DN_GROUP; row < end; row++)
			p->y[n * p->y_stride + row] =
				is_float ? row_float(w, row, p->x->values + n * p->x->stride)
					 : row_quantised(w, row, p->x, n);
}

const struct dn_kernels dn_kernels_scalar = DN_KERNELS_TABLE(DN_LEVEL_SCALAR, "scalar", true);
