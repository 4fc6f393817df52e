/* SPDX-License-Identifier: MIT */
/*
 * The products of a level, written once in terms of its vectors.
 *
 * On top of what vector-ops.inc.h asks for, the including file defines `ivec` (4 * VEC bytes),
 * ivec_load, ivec_nibbles_low, ivec_nibbles_high, and on int32 lanes vec_from_int, ivec_set1, ivec_or,
 * ivec_add, ivec_sub, ivec_left(v, shift), ivec_byte(v, index) (a signed byte of each lane),
 * and ivec_bits(v, shift, mask), which is (v >> shift) & mask; and the
 * dot products of a block of 32 columns, w[8] holding four columns of VEC rows each:
 *   ivec dot_nibbles(const ivec w[8], const int8_t *x, ivec start)	w in 0 … 15
 *   ivec dot_bytes(const ivec w[8], const int8_t *x, ivec start)	w in -128 … 127, or with
 *     BYTES_OFFSET 128 w in 0 … 255 as ivec_bytes() makes them
 *   ivec dot_half(const ivec w[4], const int8_t *x, ivec start)	16 columns, w in 0 … 63
 * and TILE, the rows of X that fit its registers, a multiple of 4. With HAS_PAIR, instructions take
 * two rows of X at once, and it defines also
 *   void pair_weights(ivec w[8])	the block in the form that these want, in place
 *   void pair_dot(const ivec w[8], const int8_t *x0, const int8_t *x1, ivec s[2])	added to s
 *
 * Order: for each block of columns in turn an exact integer sum s, then
 *   acc = fma(w_scale * x_scale, s, acc), and with a minimum acc = fma(w_minimum, x_sum, acc);
 * Q6_K has two scales a block, so that its two halves are two such sums;
 * for F16 and F32 four chains acc[c % 4] = fma(w, x, acc[c % 4]), (a0 + a1) + (a2 + a3).
 */

/* Far enough ahead for the memory's latency at full bandwidth: see docs/performance.md. */
#define PREFETCH_AHEAD 8192

#ifndef HAS_PAIR
#define HAS_PAIR 0
INLINE void pair_weights(ivec w[8])
{
	(void)w;
}
INLINE void pair_dot(const ivec w[8], const int8_t *x0, const int8_t *x1, ivec s[2])
{
	(void)w;
	(void)x0;
	(void)x1;
	(void)s;
}
#endif

/* VEC rows of a block of weights. */
struct weights {
	ivec q[8];
	vec scale;
	vec minimum; /* of Q6_K: the scale of the last sixteen columns */
};

/* Bytes of a group that 32 columns take. */
INLINE size_t weights_bytes(const enum dn_type type)
{
	switch (type) {
	case DN_TYPE_Q8_0:
		return (size_t)DN_GROUP * 34;
	case DN_TYPE_Q4_1:
		return (size_t)DN_GROUP * 20;
	case DN_TYPE_Q6_K: /* 210 for 256 columns, rounded up: for prefetching */
		return (size_t)DN_GROUP * 27;
	default: /* Q4_0, Q4_K */
		return (size_t)DN_GROUP * 18;
	}
}

INLINE bool has_minimum(const enum dn_type type)
{
	return type == DN_TYPE_Q4_1 || type == DN_TYPE_Q4_K;
}

/* Block `b` of a Q4_K group: its scales are packed as blocks.c says. */
INLINE void load_q4_k(struct weights *w, const uint8_t *group, uint32_t b, uint32_t part)
{
	const size_t word = (size_t)4 * DN_GROUP;
	const uint8_t *at =
		group + b / 8 * 8 * weights_bytes(DN_TYPE_Q4_K) + (size_t)4 * VEC * part;
	const uint8_t *quants = at + (3 + b % 8 / 2 * 8) * word;
	const uint16_t *halves = (const uint16_t *)(at + 35 * word - (size_t)2 * VEC * part);
	const ivec low = ivec_load(at);
	const ivec middle = ivec_load(at + word);
	const uint32_t shift = b % 4 * 8;
	ivec scale = ivec_bits(low, shift, 63);
	ivec minimum = ivec_bits(middle, shift, 63);

	if (b % 8 >= 4) {
		const ivec high = ivec_load(at + 2 * word);

		scale = ivec_or(ivec_bits(high, shift, 15), ivec_bits(low, shift + 2, 48));
		minimum = ivec_or(ivec_bits(high, shift + 4, 15), ivec_bits(middle, shift + 2, 48));
	}
	w->scale = vec_mul(vec_load_half(halves), vec_from_int(scale));
	w->minimum = vec_sub(vec_set1(0.0f),
			     vec_mul(vec_load_half(halves + DN_GROUP), vec_from_int(minimum)));
	for (uint32_t j = 0; j < 8; j++) {
		ivec quant = ivec_load(quants + j * word);

		w->q[j] = b % 2 ? ivec_nibbles_high(quant) : ivec_nibbles_low(quant);
	}
}

/* Block `b` of a Q6_K group: nibbles, pairs of high bits, int8 scales, as blocks.c says. */
INLINE void load_q6_k(struct weights *w, const uint8_t *group, uint32_t b, uint32_t part)
{
	const size_t word = (size_t)4 * DN_GROUP;
	const uint8_t *first = group + (size_t)(b / 8) * DN_GROUP * 210;
	const uint8_t *at = first + (size_t)4 * VEC * part;
	const uint32_t run = b % 4;
	const uint8_t *low = at + (b % 8 / 4 * 16 + run % 2 * 8) * word;
	const uint8_t *high = at + (32 + b % 8 / 4 * 8) * word;
	const ivec scales = ivec_load(at + (48 + b % 8 / 2) * word);
	const vec scale = vec_load_half((const uint16_t *)(first + 52 * word) + VEC * part);

	for (uint32_t j = 0; j < 8; j++) {
		ivec nibbles = ivec_load(low + j * word);
		ivec bits = ivec_load(high + j * word);

		/* The run's pair of bits to where a nibble's neighbours are. */
		bits = run < 2 ? ivec_left(bits, 4 - 2 * run) : ivec_bits(bits, 2 * run - 4, -1);
		nibbles = run < 2 ? ivec_nibbles_low(nibbles) : ivec_nibbles_high(nibbles);
		w->q[j] = ivec_or(nibbles, ivec_bits(bits, 0, 0x30303030));
	}
	w->scale = vec_mul(scale, vec_from_int(ivec_byte(scales, b % 2 * 2)));
	w->minimum = vec_mul(scale, vec_from_int(ivec_byte(scales, b % 2 * 2 + 1)));
}

/* Both halves of a Q6_K block: weights are 32 too large, which the halves' own sums of X undo. */
INLINE vec add_q6_k(vec acc, const struct weights *w, const int8_t *x,
		    const struct dn_activations *activations, size_t at)
{
	const ivec offset = ivec_set1(0x20202020);
	const ivec offsets[4] = { offset, offset, offset, offset };
	const vec x_scale = vec_set1(activations->scales[at]);
	const ivec first = dot_half(offsets, x, ivec_set1(0));
	const ivec last = ivec_add(ivec_set1(activations->biases[at] * 4), first);
	const ivec s = ivec_sub(dot_half(w->q, x, ivec_set1(0)), first);

	acc = vec_fma(vec_mul(w->scale, x_scale), vec_from_int(s), acc);
	return vec_fma(vec_mul(w->minimum, x_scale), vec_from_int(dot_half(w->q + 4, x + 16, last)),
		       acc);
}

/* 32 columns, block `b` of VEC rows of a group. */
INLINE void load_weights(struct weights *w, const uint8_t *group, uint32_t b, uint32_t part,
			 const enum dn_type type)
{
	const uint32_t words = type == DN_TYPE_Q8_0 ? 8 : 4;
	const uint8_t *block = group + b * weights_bytes(type);
	const uint8_t *quants = block + (size_t)part * 4 * VEC;
	const uint16_t *scales =
		(const uint16_t *)(block + (size_t)4 * DN_GROUP * words) + part * VEC;

	if (type == DN_TYPE_Q4_K) {
		load_q4_k(w, group, b, part);
		return;
	}
	if (type == DN_TYPE_Q6_K) {
		load_q6_k(w, group, b, part);
		return;
	}
	for (uint32_t j = 0; j < 4; j++) {
		ivec word = ivec_load(quants + (size_t)4 * DN_GROUP * j);

		if (type == DN_TYPE_Q8_0) {
			w->q[j] = ivec_bytes(word);
			w->q[j + 4] =
				ivec_bytes(ivec_load(quants + (size_t)4 * DN_GROUP * (j + 4)));
		} else {
			w->q[j] = ivec_nibbles_low(word);
			w->q[j + 4] = ivec_nibbles_high(word);
		}
	}
	w->scale = vec_load_half(scales);
	w->minimum = type == DN_TYPE_Q4_1 ? vec_load_half(scales + DN_GROUP) : w->scale;
}

/* What a sum starts from: minus the offset of the weights as they are multiplied. */
INLINE ivec block_start(const int32_t *biases, size_t at, const enum dn_type type)
{
	if (type == DN_TYPE_Q8_0)
		return ivec_set1(BYTES_OFFSET ? biases[at] * (BYTES_OFFSET / 8) : 0);
	return ivec_set1(type == DN_TYPE_Q4_0 ? biases[at] : 0);
}

INLINE ivec block_dot(const struct weights *w, const int8_t *x, ivec start, const enum dn_type type)
{
	/* NOLINTNEXTLINE(bugprone-branch-clone): the same where one instruction does both */
	return type == DN_TYPE_Q8_0 ? dot_bytes(w->q, x, start) : dot_nibbles(w->q, x, start);
}

INLINE vec block_add(vec acc, const struct weights *w, ivec s, const struct dn_activations *x,
		     size_t at, const enum dn_type type)
{
	acc = vec_fma(vec_mul(w->scale, vec_set1(x->scales[at])), vec_from_int(s), acc);
	if (has_minimum(type))
		acc = vec_fma(w->minimum, vec_set1(x->sums[at]), acc);
	return acc;
}

/* acc += a block's product with one row of X. */
INLINE vec add_block(vec acc, const struct weights *w, const int8_t *x,
		     const struct dn_activations *activations, size_t at, const enum dn_type type)
{
	if (type == DN_TYPE_Q6_K)
		return add_q6_k(acc, w, x, activations, at);
	return block_add(acc, w, block_dot(w, x, block_start(activations->biases, at, type), type),
			 activations, at, type);
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
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const int8_t *x = p->x->quants + row * p->x->quants_stride;
	size_t at = row * (p->x->quants_stride / DN_BLOCK);
	vec acc[PARTS];

	for (uint32_t part = 0; part < PARTS; part++)
		acc[part] = vec_set1(0.0f);
	for (uint32_t b = 0; b < p->x->columns / DN_BLOCK; b++, at++, x += DN_BLOCK) {
		for (uint32_t line = 0; line < weights_bytes(type); line += 64)
			__builtin_prefetch(weights + b * weights_bytes(type) + PREFETCH_AHEAD +
					   line);
#pragma GCC unroll 4
		for (uint32_t part = 0; part < PARTS; part++) {
			struct weights w;

			load_weights(&w, weights, b, part, type);
			acc[part] = add_block(acc[part], &w, x, p->x, at, type);
		}
	}
	for (uint32_t part = 0; part < PARTS; part++)
		store_part(p, row, group, part, acc[part]);
}

/* Rows of X from `row`, `tile` of them, times a part of a group. */
INLINE void product_tile(const struct dn_product *p, uint32_t group, uint32_t row, uint32_t part,
			 const uint32_t tile, const enum dn_type type)
{
	const bool pairs = HAS_PAIR && type != DN_TYPE_Q6_K;
	const uint32_t step = pairs ? 2 : 1;
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
		if (pairs)
			pair_weights(w.q);
#pragma GCC unroll 16
		for (uint32_t t = 0; t < tile; t += step) {
			if (pairs) {
				ivec s[2] = { block_start(p->x->biases, at, type),
					      block_start(p->x->biases, at + x_blocks, type) };

				pair_dot(w.q, xt, xt + stride, s);
				acc[t] = block_add(acc[t], &w, s[0], p->x, at, type);
				acc[t + 1] =
					block_add(acc[t + 1], &w, s[1], p->x, at + x_blocks, type);
			} else {
				acc[t] = add_block(acc[t], &w, xt, p->x, at, type);
			}
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
	const size_t step = type == DN_TYPE_F16 ? 2 : 4;
	const uint8_t *w = p->w->data + group * p->w->group_bytes + part * VEC * step;
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

		store_some(p->y + (row + t) * p->y_stride + group * DN_GROUP + part * VEC, sum,
			   DN_MIN(p->w->rows - group * DN_GROUP - part * VEC, (uint32_t)VEC));
	}
}

/* All rows of X times a group. */
INLINE void product_group(const struct dn_product *p, uint32_t group, const enum dn_type type)
{
	const bool is_float = type == DN_TYPE_F16 || type == DN_TYPE_F32;
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
	for (uint32_t group = first; group < first + count; group++)
		product_group(p, group, type);
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
	case DN_TYPE_Q4_K:
		product_of(p, first, count, DN_TYPE_Q4_K);
		break;
	case DN_TYPE_Q6_K:
		product_of(p, first, count, DN_TYPE_Q6_K);
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
