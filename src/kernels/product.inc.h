/* SPDX-License-Identifier: MIT */
/*
 * The products of a level, written once in terms of its vectors.
 *
 * On top of what vector-ops.inc.h asks for, the including file defines `ivec` (4 * VEC bytes),
 * ivec_load, ivec_nibbles_low, ivec_nibbles_high, vec_from_int, ivec_set1 (int32 lanes), and the
 * dot products of a block of 32 columns, w[8] holding four columns of VEC rows each:
 *   ivec dot_nibbles(const ivec w[8], const int8_t *x, ivec start)	w in 0 … 15
 *   ivec dot_bytes(const ivec w[8], const int8_t *x, ivec start)	w in -128 … 127, or with
 *     BYTES_OFFSET 128 w in 0 … 255 as ivec_bytes() makes them
 * and TILE, the rows of X that fit its registers, a multiple of 4.
 *
 * Order: for each block of columns in turn an exact integer sum s, then
 *   acc = fma(w_scale * x_scale, s, acc), and with a minimum acc = fma(w_minimum, x_sum, acc);
 * for F16 and F32 four chains acc[c % 4] = fma(w, x, acc[c % 4]), (a0 + a1) + (a2 + a3).
 */

#define INLINE static inline __attribute__((always_inline))

/* Far enough ahead for the memory's latency at full bandwidth: see docs/performance.md. */
#define PREFETCH_AHEAD 8192

INLINE void product_quantised(const struct dn_product *p, uint32_t group, uint32_t row,
			      uint32_t half, const uint32_t tile, const enum dn_type type)
{
	const uint32_t words = type == DN_TYPE_Q8_0 ? 8 : 4;
	const size_t block_bytes = (size_t)DN_GROUP * (4 * words + (type == DN_TYPE_Q4_1 ? 4 : 2));
	const uint32_t n_blocks = p->x->columns / DN_BLOCK;
	const uint8_t *w = p->w->data + group * p->w->group_bytes;
	const int8_t *x = p->x->quants + row * p->x->quants_stride;
	const size_t x_blocks = p->x->quants_stride / DN_BLOCK;
	const float *scales = p->x->scales + row * x_blocks;
	const float *sums = p->x->sums + row * x_blocks;
	const int32_t *biases = p->x->biases + row * x_blocks;
	vec acc[TILE];

	for (uint32_t t = 0; t < tile; t++)
		acc[t] = vec_set1(0.0f);
	for (uint32_t b = 0; b < n_blocks; b++, w += block_bytes) {
		const uint8_t *quants = w + (size_t)half * 4 * VEC;
		const uint16_t *w_scale =
			(const uint16_t *)(w + (size_t)4 * DN_GROUP * words) + half * VEC;
		vec scale = vec_load_half(w_scale);
		vec minimum = scale;
		ivec q[8];

		if (tile == 1 && half == 0)
			for (uint32_t line = 0; line < block_bytes; line += 64)
				__builtin_prefetch(w + PREFETCH_AHEAD + line);
		if (type == DN_TYPE_Q4_1)
			minimum = vec_load_half(w_scale + DN_GROUP);
		for (uint32_t j = 0; j < 4; j++) {
			ivec word = ivec_load(quants + (size_t)64 * j);

			if (type == DN_TYPE_Q8_0) {
				q[j] = ivec_bytes(word);
				q[j + 4] = ivec_bytes(ivec_load(quants + (size_t)64 * (j + 4)));
			} else {
				q[j] = ivec_nibbles_low(word);
				q[j + 4] = ivec_nibbles_high(word);
			}
		}
#pragma GCC unroll 16
		for (uint32_t t = 0; t < tile; t++) {
			const int8_t *xt = x + t * p->x->quants_stride + (size_t)b * DN_BLOCK;
			const size_t at = t * x_blocks + b;
			vec factor = vec_mul(scale, vec_set1(scales[at]));
			ivec s;

			if (type == DN_TYPE_Q8_0)
				s = dot_bytes(q, xt, ivec_set1(BYTES_OFFSET ? biases[at] * 16 : 0));
			else
				s = dot_nibbles(q, xt,
						ivec_set1(type == DN_TYPE_Q4_0 ? biases[at] : 0));
			acc[t] = vec_fma(factor, vec_from_int(s), acc[t]);
			if (type == DN_TYPE_Q4_1)
				acc[t] = vec_fma(minimum, vec_set1(sums[at]), acc[t]);
		}
	}
	for (uint32_t t = 0; t < tile; t++)
		store_some(p->y + (row + t) * p->y_stride + group * DN_GROUP + half * VEC, acc[t],
			   DN_MIN(p->w->rows - group * DN_GROUP - half * VEC, (uint32_t)VEC));
}

/* Rows of X from `row`, `tile` of them, times one group in float32. */
INLINE void product_float(const struct dn_product *p, uint32_t group, uint32_t row, uint32_t half,
			  const uint32_t tile, const enum dn_type type)
{
	const size_t step = type == DN_TYPE_F16 ? 2 : 4;
	const uint8_t *w = p->w->data + group * p->w->group_bytes + half * VEC * step;
	const float *x = p->x->values + row * p->x->stride;
	const uint32_t columns = p->x->columns;
	vec acc[4][4];

	for (uint32_t t = 0; t < tile; t++)
		for (uint32_t c = 0; c < 4; c++)
			acc[t][c] = vec_set1(0.0f);
	for (uint32_t c = 0; c < columns; c += 4) {
#pragma GCC unroll 4
		for (uint32_t k = 0; k < 4; k++) {
			const uint8_t *at = w + (size_t)(c + k) * DN_GROUP * step;
			vec weight;

			if (c + k >= columns)
				break;
			weight = type == DN_TYPE_F16 ? vec_load_half((const uint16_t *)at)
						     : vec_load((const float *)at);
			for (uint32_t t = 0; t < tile; t++)
				acc[t][k] = vec_fma(weight, vec_set1(x[t * p->x->stride + c + k]),
						    acc[t][k]);
		}
	}
	for (uint32_t t = 0; t < tile; t++) {
		vec sum = vec_add(vec_add(acc[t][0], acc[t][1]), vec_add(acc[t][2], acc[t][3]));

		store_some(p->y + (row + t) * p->y_stride + group * DN_GROUP + half * VEC, sum,
			   DN_MIN(p->w->rows - group * DN_GROUP - half * VEC, (uint32_t)VEC));
	}
}

/* All rows of X times groups [first, first + count). */
INLINE void product_of(const struct dn_product *p, uint32_t first, uint32_t count,
		       const enum dn_type type)
{
	const bool is_float = type == DN_TYPE_F16 || type == DN_TYPE_F32;

	for (uint32_t group = first; group < first + count; group++) {
		for (uint32_t half = 0; half < DN_GROUP / VEC; half++) {
			uint32_t row = 0;

			if (group * DN_GROUP + half * VEC >= p->w->rows)
				break;
			if (is_float) {
				for (; row + 4 <= p->n; row += 4)
					product_float(p, group, row, half, 4, type);
				for (; row < p->n; row++)
					product_float(p, group, row, half, 1, type);
				continue;
			}
			for (; row + TILE <= p->n; row += TILE)
				product_quantised(p, group, row, half, TILE, type);
			for (; row + 4 <= p->n; row += 4)
				product_quantised(p, group, row, half, 4, type);
			for (; row < p->n; row++)
				product_quantised(p, group, row, half, 1, type);
		}
	}
}

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	switch (p->w->type) {
	case DN_TYPE_Q4_0:
		product_of(p, first, count, DN_TYPE_Q4_0);
		break;
	case DN_TYPE_Q4_1:
		product_of(p, first, count, DN_TYPE_Q4_1);
		break;
	case DN_TYPE_Q8_0:
		product_of(p, first, count, DN_TYPE_Q8_0);
		break;
	case DN_TYPE_F16:
		product_of(p, first, count, DN_TYPE_F16);
		break;
	case DN_TYPE_F32:
		product_of(p, first, count, DN_TYPE_F32);
		break;
	default: /* refused when the model was opened: dn_type_computes() */
		break;
	}
}
