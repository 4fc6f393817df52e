/* SPDX-License-Identifier: MIT */
/*
 * The products of a level, written once in terms of its vectors.
 *
 * On top of what vector-ops.inc.h asks for, the including file defines `ivec` (4 * VEC bytes) and
 *   on its bytes: ivec_load, ivec_nibbles_low, ivec_nibbles_high; ivec_bytes (adds BYTES_OFFSET);
 *     ivec_iq4 (DN_IQ4_VALUES + BYTES_OFFSET at places 0 … 15); ivec_add_where(q, v, bits, value),
 *     q + value where v & bits is not 0, bits four bytes for each lane; ivec_spread(v, k), byte k
 *     of each int32 in all its four bytes;
 *   on its int32 lanes: ivec_load_short (VEC uint16), ivec_set1, ivec_or, ivec_add, ivec_sub,
 *     ivec_and(v, mask), ivec_left(v, shift), ivec_right(v, shift) (of unsigned numbers),
 *     ivec_byte(v, index) (the signed byte of each lane), vec_from_int, vec_from_bits;
 *   ivec dot(const ivec *w, const int8_t *x, ivec start, words, bits)	start + the sum of 4 * words
 *     columns, word j holding four of VEC rows; w below 2^bits, or with 8 bits a signed byte plus
 *     BYTES_OFFSET (0 or 128). With DOT_SIGNED 1, w may also be signed, of a magnitude below
 *     2^bits: then ivec_sub_bytes(v, value) takes offsets off, which saves the sums of X;
 *   ivec sum_half(const int8_t *x, factor)	factor times the sum of sixteen;
 *   TILE, the rows of X that fit its registers, a multiple of 4.
 * With HAS_TILES, instructions take whole tiles of X, and behind this file it defines also
 *   void product_tiles(p, first, count, type)	groups of a product with at least TILES_MIN rows
 *	of X and less than two minima, to the same bits
 * With HAS_PAIR, instructions take two rows of X at once, and it defines also
 *   void pair_weights(ivec w[8])	32 columns in the form that these want, in place
 *   void pair_dot(const ivec *w, const int8_t *x0, const int8_t *x1, ivec s[2], words)	added to s
 *
 * Order: for each 32 columns in turn the exact integer sums s of each scale's columns, then
 *   acc = fma(w_scale * x_scale, s, acc) for the one or two scales; and with one minimum
 *   acc = fma(w_minimum, x_sum, acc), with two acc = fma(w_minimum, x_scale * s_x, acc), where s_x
 *   is the integer sum of X's own sixteen columns;
 * for floats four chains acc[c % 4] = fma(w, x, acc[c % 4]), (a0 + a1) + (a2 + a3).
 */

#include "kernels/shape.h"

/* Far enough ahead for the memory's latency at full bandwidth: see docs/performance.md. */
#define PREFETCH_AHEAD 8192

#ifndef HAS_PAIR
#define HAS_PAIR 0
INLINE void pair_weights(ivec w[8])
{
	(void)w;
}
INLINE void pair_dot(const ivec *w, const int8_t *x0, const int8_t *x1, ivec s[2],
		     const uint32_t words)
{
	(void)w;
	(void)x0;
	(void)x1;
	(void)s;
	(void)words;
}
#endif

#ifndef DOT_SIGNED
#define DOT_SIGNED 0
INLINE ivec ivec_sub_bytes(ivec v, uint32_t value)
{
	(void)value;
	return v;
}
#endif

#ifndef HAS_TILES
#define HAS_TILES 0
#define TILES_MIN 1
#endif
INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count,
			  const enum dn_type type);
#if !HAS_TILES
INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count,
			  const enum dn_type type)
{
	(void)p;
	(void)first;
	(void)count;
	(void)type;
}
#endif

#include "kernels/decode.inc.h"

/* Of 32 columns and a row of X: of each scale's products, of each minimum's elements of X. */
struct sums {
	ivec products[2];
	ivec x[2];
};

/* What the sums start from: minus the offset that load_weights() leaves. */
INLINE void sums_start(struct sums *s, const int8_t *x, int32_t bias, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const int32_t offset = quants_offset(type);
	const ivec all = ivec_set1(offset % 8 ? bias / 8 * offset : bias * (offset / 8));

	s->products[0] = s->products[1] = all;
	if (shape.scales == 2 && offset) {
		const ivec first = sum_half(x, offset);

		s->products[0] = ivec_sub(ivec_set1(0), first);
		s->products[1] = ivec_add(all, first);
	}
	if (shape.minima == 2) {
		s->x[0] = sum_half(x, 1);
		s->x[1] = ivec_sub(ivec_set1(bias / -8), s->x[0]);
	}
}

INLINE vec sums_add(vec acc, const struct sums *s, const struct weights *w,
		    const struct dn_activations *x, size_t at, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const vec x_scale = vec_set1(x->scales[at]);

	for (uint32_t i = 0; i < shape.scales; i++)
		acc = vec_fma(vec_mul(w->scales[i], x_scale), vec_from_int(s->products[i]), acc);
	if (shape.minima == 1)
		acc = vec_fma(w->minima[0], vec_set1(x->sums[at]), acc);
	for (uint32_t i = 0; shape.minima == 2 && i < 2; i++)
		acc = vec_fma(w->minima[i], vec_mul(x_scale, vec_from_int(s->x[i])), acc);
	return acc;
}

/* acc += 32 columns' product with one row of X. */
INLINE vec add_row(vec acc, const struct weights *w, const int8_t *x,
		   const struct dn_activations *activations, size_t at, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const uint32_t words = 8 / shape.scales;
	struct sums s;

	sums_start(&s, x, activations->biases[at], type);
	for (uint32_t i = 0; i < shape.scales; i++)
		s.products[i] = dot(w->q + words * i, x + (size_t)4 * words * i, s.products[i],
				    words, shape.bits);
	return sums_add(acc, &s, w, activations, at, type);
}

/* The same with two rows of X, `stride` and `x_blocks` apart; weights of pair_weights(). */
INLINE void add_pair(vec acc[2], const struct weights *w, const int8_t *x, size_t stride,
		     const struct dn_activations *activations, size_t at, size_t x_blocks,
		     const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const uint32_t words = 8 / shape.scales;
	struct sums s[2];

	sums_start(&s[0], x, activations->biases[at], type);
	sums_start(&s[1], x + stride, activations->biases[at + x_blocks], type);
	for (uint32_t i = 0; i < shape.scales; i++) {
		const int8_t *first = x + (size_t)4 * words * i;
		ivec both[2] = { s[0].products[i], s[1].products[i] };

		pair_dot(w->q + words * i, first, first + stride, both, words);
		s[0].products[i] = both[0];
		s[1].products[i] = both[1];
	}
	acc[0] = sums_add(acc[0], &s[0], w, activations, at, type);
	acc[1] = sums_add(acc[1], &s[1], w, activations, at + x_blocks, type);
}

INLINE void store_part(const struct dn_product *p, uint32_t row, uint32_t group, uint32_t part,
		       vec acc)
{
	const uint32_t first = group * DN_GROUP + part * VEC;

	if (first < p->w->rows)
		store_some(p->y + row * p->y_stride + first, acc, p->w->rows - first);
}

/* One row of X times a group, all its parts at once: then the weights are read in order. */
INLINE void product_row(const struct dn_product *p, uint32_t group, uint32_t row,
			const enum dn_type type)
{
	const size_t run_bytes = block_bytes(type) / dn_type_shape(type).runs;
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const int8_t *x = p->x->quants + row * p->x->quants_stride;
	size_t at = row * (p->x->quants_stride / DN_BLOCK);
	vec acc[PARTS];

	for (uint32_t part = 0; part < PARTS; part++)
		acc[part] = vec_set1(0.0f);
	for (uint32_t b = 0; b < p->x->columns / DN_BLOCK; b++, at++, x += DN_BLOCK) {
		for (uint32_t line = 0; line < run_bytes; line += 64)
			__builtin_prefetch(weights + b * run_bytes + PREFETCH_AHEAD + line);
#pragma GCC unroll 4
		for (uint32_t part = 0; part < PARTS; part++) {
			struct weights w;

			load_weights(&w, weights, b, part, type);
			acc[part] = add_row(acc[part], &w, x, p->x, at, type);
		}
	}
	for (uint32_t part = 0; part < PARTS; part++)
		store_part(p, row, group, part, acc[part]);
}

/* Rows of X from `row`, `tile` of them, times a part of a group. */
INLINE void product_tile(const struct dn_product *p, uint32_t group, uint32_t row, uint32_t part,
			 const uint32_t tile, const enum dn_type type)
{
	const uint32_t step = HAS_PAIR ? 2 : 1;
	const size_t stride = p->x->quants_stride;
	const size_t x_blocks = stride / DN_BLOCK;
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const int8_t *x = p->x->quants + row * stride;
	size_t first = row * x_blocks;
	vec acc[TILE];

	for (uint32_t t = 0; t < tile; t++)
		acc[t] = vec_set1(0.0f);
	for (uint32_t b = 0; b < p->x->columns / DN_BLOCK; b++, first++, x += DN_BLOCK) {
		const int8_t *xt = x;
		size_t at = first;
		struct weights w;

		load_weights(&w, weights, b, part, type);
		if (HAS_PAIR)
			pair_weights(w.q);
#pragma GCC unroll 16
		for (uint32_t t = 0; t < tile; t += step) {
			if (HAS_PAIR)
				add_pair(acc + t, &w, xt, stride, p->x, at, x_blocks, type);
			else
				acc[t] = add_row(acc[t], &w, xt, p->x, at, type);
			xt += step * stride;
			at += step * x_blocks;
			/* Two additions a row: else compilers keep, and spill, a pointer each. */
			__asm__("" : "+r"(xt), "+r"(at));
		}
	}
	for (uint32_t t = 0; t < tile; t++)
		store_part(p, row + t, group, part, acc[t]);
}

/* Rows of X from `row`, `tile` of them, times one group in float32. */
INLINE void product_float(const struct dn_product *p, uint32_t group, uint32_t row, uint32_t part,
			  const uint32_t tile, const enum dn_type type)
{
	const size_t step = type == DN_TYPE_F32 ? 4 : 2;
	const uint8_t *w = p->w->data + group * p->w->group_bytes + part * VEC * step;
	const float *x = p->x->values + row * p->x->stride;
	const uint32_t columns = p->x->columns;
	vec acc[4][4];

	for (uint32_t t = 0; t < tile; t++)
		for (uint32_t c = 0; c < 4; c++)
			acc[t][c] = vec_set1(0.0f);
	for (uint32_t c = 0; c < columns; c += 4) {
		for (uint32_t line = 0; tile == 1 && line < 4 * DN_GROUP * step; line += 64)
			__builtin_prefetch(w + c * DN_GROUP * step + PREFETCH_AHEAD + line);
#pragma GCC unroll 4
		for (uint32_t k = 0; k < 4; k++) {
			vec weight;

			if (c + k >= columns)
				break;
			weight = load_floats(w, c + k, type);
			for (uint32_t t = 0; t < tile; t++)
				acc[t][k] = vec_fma(weight, vec_set1(x[t * p->x->stride + c + k]),
						    acc[t][k]);
		}
	}
	for (uint32_t t = 0; t < tile; t++) {
		vec sum = vec_add(vec_add(acc[t][0], acc[t][1]), vec_add(acc[t][2], acc[t][3]));

		store_some(p->y + (row + t) * p->y_stride + group * DN_GROUP + part * VEC, sum,
			   DN_MIN(p->w->rows - group * DN_GROUP - part * VEC, (uint32_t)VEC));
	}
}

/* All rows of X times a group. */
INLINE void product_group(const struct dn_product *p, uint32_t group, const enum dn_type type)
{
	const bool is_float = dn_type_shape(type).runs == 0;
	const uint32_t parts =
		DN_MIN(DN_DIV_ROUND_UP(p->w->rows - group * DN_GROUP, VEC), (uint32_t)PARTS);
	const uint32_t tiled = p->n / 4 * 4;

	for (uint32_t part = 0; part < parts; part++) {
		uint32_t row = 0;

		for (; !is_float && row + TILE <= tiled; row += TILE)
			product_tile(p, group, row, part, TILE, type);
		for (; row < tiled; row += 4) {
			if (is_float)
				product_float(p, group, row, part, 4, type);
			else
				product_tile(p, group, row, part, 4, type);
		}
		for (; is_float && row < p->n; row++)
			product_float(p, group, row, part, 1, type);
	}
	for (uint32_t row = tiled; !is_float && row < p->n; row++)
		product_row(p, group, row, type);
}

INLINE void product_of(const struct dn_product *p, uint32_t first, uint32_t count,
		       const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

	if (HAS_TILES && shape.runs > 0 && shape.minima < 2 && p->n >= TILES_MIN) {
		product_tiles(p, first, count, type);
		return;
	}
	for (uint32_t group = first; group < first + count; group++)
		product_group(p, group, type);
}

#define PRODUCT_CASE(type)                                                                         \
	case (type):                                                                               \
		product_of(p, first, count, (type));                                               \
		break

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	switch (p->w->type) {
		PRODUCT_CASE(DN_TYPE_F32);
		PRODUCT_CASE(DN_TYPE_F16);
		PRODUCT_CASE(DN_TYPE_BF16);
		PRODUCT_CASE(DN_TYPE_Q4_0);
		PRODUCT_CASE(DN_TYPE_Q4_1);
		PRODUCT_CASE(DN_TYPE_Q5_0);
		PRODUCT_CASE(DN_TYPE_Q5_1);
		PRODUCT_CASE(DN_TYPE_Q8_0);
		PRODUCT_CASE(DN_TYPE_Q2_K);
		PRODUCT_CASE(DN_TYPE_Q3_K);
		PRODUCT_CASE(DN_TYPE_Q4_K);
		PRODUCT_CASE(DN_TYPE_Q5_K);
		PRODUCT_CASE(DN_TYPE_Q6_K);
		PRODUCT_CASE(DN_TYPE_IQ4_NL);
		PRODUCT_CASE(DN_TYPE_IQ4_XS);
	default: /* refused when the model was opened: dn_type_computes() */
		break;
	}
}
