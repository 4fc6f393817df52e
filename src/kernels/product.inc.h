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
 *   ivec ivec_pair(const int16_t *pair, a, b)	a * pair[0] + b * pair[1], of small a and b;
 *   ivec dot_alone(sum, w, x)	the level's instruction for products with all in registers, which
 *     takes ALONE_COLUMNS of VEC rows (4, if not defined), and
 *     ivec_hide(ivec *v), after which the compiler knows nothing of v;
 *   TILE, the rows of X that fit its registers, a multiple of 4.
 * With few registers, it may define BITS_MOVE 1 (single bits are shifted and or-ed into quants
 *   instead of ivec_add_where()), PARTS_AT_ONCE (of a group, that plain blocks take together with
 *   a single row of X), and HAS_PART_DONE with part_done(weights, acc), which makes what comes
 *   next of a group depend on its last part, as the compiler sees it.
 * With HAS_FIELDS, bytes are shifted by themselves, and it defines also
 *   ivec ivec_field(v, shift, mask)	the bits of the mask's byte of each byte, from `shift` on
 *   ivec ivec_join(low, high, shift)	of each byte low's four low bits, on top of them two of high's,
 *     from `shift` on; low's other bits may be anything
 * With HAS_TILES, several rows of X have a form of their own, and behind this file it defines also
 *   void product_tiles(p, first, count, scratch, type)	groups of a product with at least
 *	TILES_MIN(type) rows of X and at most TILES_MINIMA minima, to the same bits, in
 *	TILES_SCRATCH bytes of its own
 * With HAS_ALONE, that instruction is not one of vectors, and it defines instead of dot_alone()
 *   uint64_t multiply_alone(rounds)	see struct dn_kernels
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

/* A group that few rows of X may walk once for each of its parts, and still find in the cache. */
#define FEW_BYTES ((size_t)64 << 10)

/* Blocks of 32 columns that are decoded at once: with their rows of X they fit the first cache. */
#define DECODED_BLOCKS 24

#ifndef BITS_MOVE
#define BITS_MOVE 0
#endif

#ifndef PARTS_AT_ONCE
#define PARTS_AT_ONCE 1
#endif

#ifndef HAS_PART_DONE
INLINE void part_done(const uint8_t **weights, vec *acc)
{
	(void)weights;
	(void)acc;
}
#endif

#ifndef HAS_FIELDS
#define HAS_FIELDS 0
INLINE ivec ivec_field(ivec v, uint32_t shift, int32_t mask)
{
	return ivec_and(ivec_right(v, shift), mask);
}
INLINE ivec ivec_join(ivec low, ivec high, uint32_t shift)
{
	(void)high;
	(void)shift;
	return low;
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

#ifndef ALONE_COLUMNS
#define ALONE_COLUMNS 4
#endif

#ifndef HAS_TILES
#define HAS_TILES	0
#define TILES_MIN(type) 1
#define TILES_MINIMA	0
#define TILES_SCRATCH	1
#endif
INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count, void *scratch,
			  const enum dn_type type);
#if !HAS_TILES
INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count, void *scratch,
			  const enum dn_type type)
{
	(void)p;
	(void)first;
	(void)count;
	(void)scratch;
	(void)type;
}
#endif

#include "kernels/decode.inc.h"

/* By number: behind the last weights there is nothing to point to. */
INLINE void prefetch_ahead(const struct dn_product *p, const uint8_t *weights, size_t bytes)
{
	if (!p->prefetch)
		return;
	for (size_t line = 0; line < bytes; line += 64)
		__builtin_prefetch((const void *)((uintptr_t)weights + PREFETCH_AHEAD + line));
}

/* Of 32 columns and a row of X: of each scale's products, of each minimum's elements of X. */
struct sums {
	ivec products[2];
	ivec x[2];
};

/* What the sum of a scale's products starts from: minus the offset that the quants still have. */
INLINE ivec products_start(const struct dn_activations *x, size_t at, uint32_t scale,
			   const int32_t offset, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const int16_t *pair = x->pairs + 2 * at;

	if (!offset)
		return ivec_set1(0);
	if (shape.scales == 2)
		return ivec_pair(pair, scale ? 0 : -offset, scale ? -offset : 0);
	return offset == 8 ? ivec_set1(x->biases[at]) : ivec_pair(pair, -offset, -offset);
}

INLINE void sums_start(struct sums *s, const struct dn_activations *x, size_t at,
		       const int32_t offset, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const int16_t *pair = x->pairs + 2 * at;

	for (uint32_t i = 0; i < shape.scales; i++)
		s->products[i] = products_start(x, at, i, offset, type);
	if (shape.minima == 2) {
		s->x[0] = ivec_pair(pair, 1, 0);
		s->x[1] = ivec_pair(pair, 0, 1);
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

	sums_start(&s, activations, at, quants_offset(type), type);
	for (uint32_t i = 0; i < shape.scales; i++)
		s.products[i] = dot(w->q + words * i, x + (size_t)4 * words * i, s.products[i],
				    words, shape.bits);
	return sums_add(acc, &s, w, activations, at, type);
}

INLINE uint32_t part_row(uint32_t group, uint32_t part)
{
	return group * DN_GROUP + part * VEC;
}

INLINE void store_part(const struct dn_product *p, uint32_t row, uint32_t group, uint32_t part,
		       vec acc)
{
	const uint32_t first = part_row(group, part);

	if (first < p->w->rows)
		store_some(p->y + row * p->y_stride + first, acc, p->w->rows - first);
}

INLINE vec load_part(const struct dn_product *p, uint32_t row, uint32_t group, uint32_t part)
{
	const uint32_t first = part_row(group, part);

	return load_some(p->y + row * p->y_stride + first, p->w->rows - first);
}

/* Blocks of several runs need the registers for one part. */
INLINE uint32_t parts_at_once(const enum dn_type type)
{
	const uint32_t most = PARTS_AT_ONCE;

	return dn_type_shape(type).runs == 1 ? most : 1;
}

/* acc += what 32 columns of some parts of a group give with one row of X. */
INLINE void add_parts(vec *acc, const uint8_t **weights, uint32_t run, uint32_t part,
		      const int8_t *x, const struct dn_activations *activations, size_t at,
		      const enum dn_type type)
{
	const uint32_t count = parts_at_once(type);
	struct weights w[PARTS_AT_ONCE];

	for (uint32_t i = 0; i < count; i++)
		load_weights(&w[i], *weights, run, part + i, type);
	for (uint32_t i = 0; i < count; i++)
		acc[i] = add_row(acc[i], &w[i], x, activations, at, type);
	for (uint32_t i = 0; i < count; i++)
		part_done(weights, &acc[i]);
}

/*
 * The only row of X times a group, all its parts at once: then the weights are read in order. The
 * runs of a block are unrolled, so that shifts are constants and what runs share is loaded once.
 */
INLINE void product_row(const struct dn_product *p, uint32_t group, const enum dn_type type)
{
	const uint32_t runs = dn_type_shape(type).runs;
	const size_t bytes = block_bytes(type);
	const size_t run_bytes = bytes / runs;
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const int8_t *x = p->x->quants;
	const uint32_t blocks = p->x->columns / DN_BLOCK / runs;
	size_t at = 0;
	vec acc[PARTS];

	for (uint32_t part = 0; part < PARTS; part++)
		acc[part] = vec_set1(0.0f);
	for (uint32_t b = 0; b < blocks; b++, weights += bytes) {
#pragma GCC unroll 8
		for (uint32_t run = 0; run < runs; run++, at++, x += DN_BLOCK) {
			prefetch_ahead(p, weights + run * run_bytes, run_bytes);
#pragma GCC unroll 4
			for (uint32_t part = 0; part < PARTS; part += parts_at_once(type))
				add_parts(acc + part, &weights, run, part, x, p->x, at, type);
		}
	}
	for (uint32_t part = 0; part < PARTS; part++)
		store_part(p, 0, group, part, acc[part]);
}

/* Blocks [first, first + count) of a part of a group, decoded for all rows of X. */
struct decoded {
	uint32_t group;
	uint32_t part;
	uint32_t first;
	uint32_t count;
	struct weights w[DECODED_BLOCKS];
};

INLINE void load_decoded(struct decoded *strip, const uint8_t *weights, const enum dn_type type)
{
	for (uint32_t b = 0; b < strip->count; b++) {
		struct weights w;

		load_weights(&w, weights, strip->first + b, strip->part, type);
		strip->w[b] = w;
	}
}

/*
 * Rows of X from `row`, `tile` of them, times a strip. Between the strips of a row its sums wait
 * in Y.
 */
INLINE void product_tile(const struct dn_product *p, const struct decoded *strip, uint32_t row,
			 const uint32_t tile, const enum dn_type type)
{
	const size_t stride = p->x->quants_stride;
	const size_t x_blocks = stride / DN_BLOCK;
	size_t first = row * x_blocks + strip->first;
	const int8_t *x = p->x->quants + first * DN_BLOCK;
	vec acc[TILE];

#pragma GCC unroll 16
	for (uint32_t t = 0; t < tile; t++)
		acc[t] = strip->first ? load_part(p, row + t, strip->group, strip->part)
				      : vec_set1(0.0f);
	for (uint32_t b = 0; b < strip->count; b++, first++, x += DN_BLOCK) {
		const struct weights w = strip->w[b];
		const int8_t *xt = x;
		size_t at = first;

#pragma GCC unroll 16
		for (uint32_t t = 0; t < tile; t++) {
			acc[t] = add_row(acc[t], &w, xt, p->x, at, type);
			xt += stride;
			at += x_blocks;
			/* Two additions a row: else compilers keep, and spill, a pointer each. */
			__asm__("" : "+r"(xt), "+r"(at));
		}
	}
#pragma GCC unroll 16
	for (uint32_t t = 0; t < tile; t++)
		store_part(p, row + t, strip->group, strip->part, acc[t]);
}

/* Rows of X up to `n` times a strip. */
INLINE void product_decoded(const struct dn_product *p, const struct decoded *strip, uint32_t n,
			    const enum dn_type type)
{
	uint32_t row = 0;

	for (; row + TILE <= n; row += TILE)
		product_tile(p, strip, row, TILE, type);
	for (; TILE > 8 && row + 8 <= n; row += 8)
		product_tile(p, strip, row, DN_MIN(8, TILE), type);
	for (; row + 4 <= n; row += 4)
		product_tile(p, strip, row, 4, type);
	for (; row + 2 <= n; row += 2)
		product_tile(p, strip, row, 2, type);
	for (; row < n; row++)
		product_tile(p, strip, row, 1, type);
}

/*
 * The few rows of X that there are, at most `tile`, times a part of a group, whose weights are
 * decoded for them alone. The last row stands in for those that are not there.
 */
INLINE void product_few(const struct dn_product *p, uint32_t group, uint32_t part,
			const uint32_t tile, const enum dn_type type)
{
	const size_t run_bytes = block_bytes(type) / dn_type_shape(type).runs;
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const size_t stride = p->x->quants_stride;
	const size_t x_blocks = stride / DN_BLOCK;
	const int8_t *x = p->x->quants;
	vec acc[TILE];

#pragma GCC unroll 16
	for (uint32_t t = 0; t < tile; t++)
		acc[t] = vec_set1(0.0f);
	for (uint32_t b = 0; b < p->x->columns / DN_BLOCK; b++, x += DN_BLOCK) {
		const int8_t *xt = x;
		size_t at = b;
		struct weights w;

		if (part == 0)
			prefetch_ahead(p, weights + b * run_bytes, run_bytes);
		load_weights(&w, weights, b, part, type);
#pragma GCC unroll 16
		for (uint32_t t = 0; t < tile; t++) {
			const size_t more = t + 1 < p->n;

			acc[t] = add_row(acc[t], &w, xt, p->x, at, type);
			xt += more * stride;
			at += more * x_blocks;
			__asm__("" : "+r"(xt), "+r"(at));
		}
	}
#pragma GCC unroll 16
	for (uint32_t t = 0; t < tile; t++)
		if (t < p->n)
			store_part(p, t, group, part, acc[t]);
}

INLINE void product_few_group(const struct dn_product *p, uint32_t group, const enum dn_type type)
{
	for (uint32_t part = 0; part < PARTS && part_row(group, part) < p->w->rows; part++) {
		if (p->n == 2)
			product_few(p, group, part, 2, type);
		else if (p->n <= 4)
			product_few(p, group, part, 4, type);
		else
			product_few(p, group, part, DN_MIN(8, TILE), type);
	}
}

/*
 * Rows of X up to `n` times some groups, a strip of columns after the other: what is read of X
 * for a strip stays in the second cache for all the groups.
 */
INLINE void product_blocks(const struct dn_product *p, uint32_t first, uint32_t count, uint32_t n,
			   struct decoded *strip, const enum dn_type type)
{
	const uint32_t parts = DN_DIV_ROUND_UP(p->w->rows, VEC);
	const uint32_t end = DN_MIN((first + count) * PARTS, parts);
	const uint32_t blocks = p->x->columns / DN_BLOCK;

	for (strip->first = 0; strip->first < blocks; strip->first += DECODED_BLOCKS) {
		strip->count = DN_MIN(blocks - strip->first, (uint32_t)DECODED_BLOCKS);
		for (uint32_t part = first * PARTS; part < end; part++) {
			strip->group = part / PARTS;
			strip->part = part % PARTS;
			load_decoded(strip, p->w->data + strip->group * p->w->group_bytes, type);
			product_decoded(p, strip, n, type);
		}
	}
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
		if (tile == 1)
			prefetch_ahead(p, w + c * DN_GROUP * step, 4 * DN_GROUP * step);
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

/* All rows of X times a group in float32. */
INLINE void product_float_group(const struct dn_product *p, uint32_t group, const enum dn_type type)
{
	const uint32_t parts =
		DN_MIN(DN_DIV_ROUND_UP(p->w->rows - group * DN_GROUP, VEC), (uint32_t)PARTS);

	for (uint32_t part = 0; part < parts; part++) {
		uint32_t row = 0;

		for (; row + 4 <= p->n; row += 4)
			product_float(p, group, row, part, 4, type);
		for (; row < p->n; row++)
			product_float(p, group, row, part, 1, type);
	}
}

/* Which of the two a product takes depends on its rows. */
struct scratch {
	struct decoded strip;
	_Alignas(64) uint8_t tiles[TILES_SCRATCH];
};

INLINE void product_several(const struct dn_product *p, uint32_t first, uint32_t count,
			    const enum dn_type type)
{
	const bool few = p->n <= DN_MIN(8, TILE) && (PARTS == 1 || p->w->group_bytes <= FEW_BYTES);
	struct scratch scratch;

	if (HAS_TILES && dn_type_shape(type).minima <= TILES_MINIMA && p->n >= TILES_MIN(type))
		product_tiles(p, first, count, scratch.tiles, type);
	else if (!few)
		product_blocks(p, first, count, p->n, &scratch.strip, type);
	else
		for (uint32_t group = first; group < first + count; group++)
			product_few_group(p, group, type);
}

#define FOR_FLOAT_TYPES(what) what(F32) what(F16) what(BF16)
#define FOR_QUANTISED_TYPES(what)                                                                  \
	what(Q4_0) what(Q4_1) what(Q5_0) what(Q5_1) what(Q8_0) what(Q2_K) what(Q3_K) what(Q4_K)    \
		what(Q5_K) what(Q6_K) what(IQ4_NL) what(IQ4_XS)

/* Functions of their own: in one for all, compilers keep less in registers. */
#define PRODUCT_FUNCTIONS(type)                                                                    \
	static __attribute__((noinline)) void product_one_##type(const struct dn_product *p,       \
								 uint32_t first, uint32_t count)   \
	{                                                                                          \
		for (uint32_t group = first; group < first + count; group++)                       \
			product_row(p, group, DN_TYPE_##type);                                     \
	}                                                                                          \
	static __attribute__((noinline)) void product_several_##type(                              \
		const struct dn_product *p, uint32_t first, uint32_t count)                        \
	{                                                                                          \
		product_several(p, first, count, DN_TYPE_##type);                                  \
	}
#define PRODUCT_FLOAT_FUNCTION(type)                                                               \
	static __attribute__((noinline)) void product_float_##type(const struct dn_product *p,     \
								   uint32_t first, uint32_t count) \
	{                                                                                          \
		for (uint32_t group = first; group < first + count; group++)                       \
			product_float_group(p, group, DN_TYPE_##type);                             \
	}
#define PRODUCT_CASE(type)                                                                         \
	case DN_TYPE_##type:                                                                       \
		if (p->n == 1)                                                                     \
			product_one_##type(p, first, count);                                       \
		else                                                                               \
			product_several_##type(p, first, count);                                   \
		break;
#define PRODUCT_FLOAT_CASE(type)                                                                   \
	case DN_TYPE_##type:                                                                       \
		product_float_##type(p, first, count);                                             \
		break;

FOR_FLOAT_TYPES(PRODUCT_FLOAT_FUNCTION)
FOR_QUANTISED_TYPES(PRODUCT_FUNCTIONS)

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	switch (p->w->type) {
		FOR_FLOAT_TYPES(PRODUCT_FLOAT_CASE)
		FOR_QUANTISED_TYPES(PRODUCT_CASE)
	default: /* refused when the model was opened: dn_type_computes() */
		break;
	}
}

#ifndef HAS_ALONE
/* Twelve chains hide the latency of the instruction. */
static uint64_t multiply_alone(uint32_t rounds)
{
	const uint64_t operations = 2 * ALONE_COLUMNS * VEC;
	ivec w = ivec_set1(0);
	ivec x = ivec_set1(0);
	ivec sums[12];

#pragma GCC unroll 12
	for (uint32_t i = 0; i < 12; i++)
		sums[i] = ivec_set1(0);
	for (uint32_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
		for (uint32_t i = 0; i < 12; i++) {
			ivec_hide(&w);
			ivec_hide(&x);
			sums[i] = dot_alone(sums[i], w, x);
		}
	}
#pragma GCC unroll 12
	for (uint32_t i = 0; i < 12; i++)
		ivec_hide(&sums[i]);
	return operations * 12 * rounds;
}
#endif
