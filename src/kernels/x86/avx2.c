/* SPDX-License-Identifier: MIT */
/*
 * AVX2 with FMA and F16C: products of bytes in pairs, in 16 bits.
 *
 * Several rows of X: a product of four columns takes two operations, and a broadcast of X would be a
 * third. So a broadcast serves SET_PARTS parts, whose weights come from memory as the product's own
 * operand. That operand is the signed one: so X is
 * made unsigned, 128 more than it is, and each sum starts at -128 times that of its weights. Sums
 * of 16 bits are right modulo 2^16, and their last value fits: it is that without the 128.
 *
 * Bound: 32 columns of Q4_0 of a set take 80 operations and 48 loads of 32 bytes a row of X, of which
 * four and two are made in a cycle: 24 cycles, where products and additions alone take 16.
 */

#define HAS_TILES 1
/* With fewer rows, what it takes to decode weights into memory counts. */
#define TILES_MIN(type) (!strip_fits(type) ? UINT32_MAX : is_wide(type) ? 16 : 5)
#define TILES_MINIMA	2
#define TILES_SCRATCH	((size_t)37 << 10)

#include "kernels/x86/avx2-vectors.h"

#define TILE	     4
#define BYTES_OFFSET 0

static inline ivec ivec_bytes(ivec v)
{
	return v;
}

static inline ivec ivec_iq4(ivec places)
{
	return _mm256_shuffle_epi8(ivec_iq4_values(), places);
}

/* Sums of 16 bits, which those of 4-bit weights fit. */
static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
}

/* |w| times x with w's sign: a pair is at most 2 * 128 * 127, which just fits 16 bits. */
static inline ivec dot_signed(const ivec *w, const int8_t *x, ivec start, const uint32_t words)
{
#pragma GCC unroll 8
	for (uint32_t j = 0; j < words; j++) {
		ivec pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[j]),
						  _mm256_sign_epi8(ivec_four(x + 4 * j), w[j]));

		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

/* Sixteen bits hold the pairs of eight words of 4 bits, of four of 5 bits, of two of 6 bits. */
static inline __attribute__((always_inline)) ivec dot(const ivec *w, const int8_t *x, ivec start,
						      const uint32_t words, const uint32_t bits)
{
	const uint32_t fit = bits <= 4 ? 8 : bits == 5 ? 4 : 2;

	if (bits == 8)
		return dot_signed(w, x, start, words);
#pragma GCC unroll 8
	for (uint32_t i = 0; i < words; i += fit) {
		ivec pairs = _mm256_maddubs_epi16(w[i], ivec_four(x + 4 * i));

#pragma GCC unroll 8
		for (uint32_t j = i + 1; j < DN_MIN(words, i + fit); j++)
			pairs = _mm256_add_epi16(pairs,
						 _mm256_maddubs_epi16(w[j], ivec_four(x + 4 * j)));
		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

#include <stdint.h>

#include "kernels/shape.h"
#include "kernels/vector-ops.inc.h"

/* Whether a type's products are taken in 16 bits by 16 bits: its bytes have pairs that overflow. */
INLINE bool is_wide(const enum dn_type type)
{
	return dn_type_shape(type).bits == 8;
}

/* What is taken off quants, so that the products of a scale with [-127, 127] add up in 16 bits. */
INLINE int32_t strip_offset(const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

	return shape.bits == 5 ? 16 : shape.offset;
}

/* Whether a scale's products fit in their sum: types whose blocks have other shapes need a case. */
INLINE bool strip_fits(const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const int32_t offset = strip_offset(type);
	const int32_t largest = DN_MAX(offset, (1 << shape.bits) - 1 - offset);

	if (shape.scales != 1 && (is_wide(type) || offset != shape.offset))
		return false;
	/* A sum of 16 bits has half of the scale's columns. */
	return is_wide(type) || DN_BLOCK / 2 * largest * 127 <= INT16_MAX * shape.scales;
}

#include "kernels/product.inc.h"

#define SET_GROUPS  2
#define SET_PARTS   (SET_GROUPS * PARTS)
#define STRIP_WORDS 144
#define BAND_ROWS   8

/* Columns of a set of groups, decoded for all rows of X; with some of those in the first cache. */
struct strip {
	uint32_t first; /* block of columns */
	uint32_t count;
	ivec q[SET_PARTS][STRIP_WORDS];
	ivec start[SET_PARTS][STRIP_WORDS / 4];
	vec scales[SET_PARTS][STRIP_WORDS / 4];
	vec minima[SET_PARTS][STRIP_WORDS / 4];
	int8_t x[BAND_ROWS][4 * STRIP_WORDS];
};

_Static_assert(sizeof(struct strip) <= TILES_SCRATCH, "a strip fits its place");

/* Words of weights that 32 columns take. */
INLINE uint32_t strip_words(const enum dn_type type)
{
	return is_wide(type) ? 16 : 8;
}

/* The first or the last two bytes of each word, as 16 bits. */
INLINE ivec ivec_widen(ivec v, const uint32_t half)
{
	const ivec high_bytes = _mm256_set1_epi32(half ? 0x03800280 : 0x01800080);
	const ivec lanes = _mm256_setr_epi32(0, 0x04000400, 0x08000800, 0x0c000c00, 0, 0x04000400,
					     0x08000800, 0x0c000c00);

	return _mm256_srai_epi16(_mm256_shuffle_epi8(v, _mm256_add_epi8(high_bytes, lanes)), 8);
}

/* Block @b of the strip of a part of a group, which is part @place of the set. */
INLINE void strip_decode(struct strip *s, const uint8_t *group, uint32_t part, uint32_t place,
			 uint32_t b, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const ivec offset = _mm256_set1_epi8((char)strip_offset(type));
	ivec *q = s->q[place] + (size_t)b * strip_words(type);
	struct weights w;

	load_weights(&w, group, s->first + b, part, type);
	for (uint32_t j = 0; j < 8 && is_wide(type); j++) {
		q[2 * j] = ivec_widen(w.q[j], 0);
		q[2 * j + 1] = ivec_widen(w.q[j], 1);
	}
	for (uint32_t j = 0; j < 8 && !is_wide(type); j++)
		q[j] = _mm256_sub_epi8(w.q[j], offset);
	for (uint32_t i = 0; i < shape.scales; i++) {
		const uint32_t each = 8U / shape.scales;
		ivec start = ivec_set1(0);

		for (uint32_t j = i * each; j < (i + 1) * each && !is_wide(type); j++)
			start = _mm256_sub_epi16(
				start, _mm256_maddubs_epi16(_mm256_set1_epi8((char)128), q[j]));
		s->start[place][b * shape.scales + i] = start;
		s->scales[place][b * shape.scales + i] = w.scales[i];
	}
	for (uint32_t i = 0; i < shape.minima; i++)
		s->minima[place][b * shape.minima + i] = w.minima[i];
}

/* A row of X in the form that products take. */
INLINE void strip_x(int8_t *to, const int8_t *x, uint32_t blocks, const enum dn_type type)
{
	for (uint32_t i = 0; i < blocks * (is_wide(type) ? 2 : 1); i++) {
		ivec *at = (ivec *)to + i;

		if (is_wide(type))
			*at = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)x + i));
		else
			*at = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)x + i),
					       _mm256_set1_epi8((char)128));
	}
}

/* In assembly, since compilers make all products first, and spill them. */
INLINE ivec first_bytes(const ivec *start, ivec x, const ivec *w)
{
	ivec sum;

	__asm__("vpmaddubsw %2, %1, %0\n\tvpaddw %3, %0, %0"
		: "=x"(sum)
		: "x"(x), "m"(*w), "m"(*start));
	return sum;
}

INLINE ivec add_bytes(ivec sum, ivec x, const ivec *w)
{
	ivec products;

	__asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
		: "+x"(sum), "=x"(products)
		: "x"(x), "m"(*w));
	return sum;
}

INLINE ivec add_pairs(ivec sum, ivec x, const ivec *w)
{
	ivec products;

	__asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
		: "+x"(sum), "=x"(products)
		: "x"(x), "m"(*w));
	return sum;
}

/* Sums of a block's products with a row of X, for each scale and part. */
INLINE void strip_multiply(ivec sum[2][SET_PARTS], const struct strip *s, uint32_t b,
			   const int8_t *x, const uint32_t parts, const enum dn_type type)
{
	const uint32_t words = strip_words(type);
	const uint32_t each = words / dn_type_shape(type).scales;

#pragma GCC unroll 16
	for (uint32_t j = 0; j < words; j++) {
		const ivec four = ivec_four(x + 4 * j);
		const uint32_t i = j / each;

#pragma GCC unroll 4
		for (uint32_t part = 0; part < parts; part++) {
			const ivec *q = &s->q[part][b * words + j];

			if (is_wide(type))
				sum[0][part] = j == 0 ? _mm256_madd_epi16(four, *q)
						      : add_pairs(sum[0][part], four, q);
			else if (j % each)
				sum[i][part] = add_bytes(sum[i][part], four, q);
			else
				sum[i][part] = first_bytes(&s->start[part][b * (words / each) + i],
							   four, q);
		}
	}
}

/* acc += what a block of the strip gives with a row of X. */
INLINE void strip_add(vec *acc, const struct strip *s, uint32_t b, const int8_t *x,
		      const struct dn_activations *activations, size_t at, const uint32_t parts,
		      const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	ivec sum[2][SET_PARTS];

	strip_multiply(sum, s, b, x, parts, type);
#pragma GCC unroll 4
	for (uint32_t part = 0; part < parts; part++) {
		struct weights w;
		struct sums r;

		sums_start(&r, activations, at, shape.offset - strip_offset(type), type);
		for (uint32_t i = 0; i < shape.scales; i++) {
			const ivec products =
				is_wide(type)
					? sum[i][part]
					: _mm256_madd_epi16(sum[i][part], _mm256_set1_epi16(1));

			r.products[i] = ivec_add(r.products[i], products);
			w.scales[i] = s->scales[part][b * shape.scales + i];
		}
		for (uint32_t i = 0; i < shape.minima; i++)
			w.minima[i] = s->minima[part][b * shape.minima + i];
		acc[part] = sums_add(acc[part], &r, &w, activations, at, type);
	}
}

/* A row of X times a strip. Between strips its sums wait in Y. */
INLINE void strip_row(const struct strip *s, const struct dn_product *p, uint32_t group,
		      uint32_t row, const int8_t *x, const uint32_t parts, const enum dn_type type)
{
	const size_t at = row * (p->x->quants_stride / DN_BLOCK) + s->first;
	vec acc[SET_PARTS];

#pragma GCC unroll 4
	for (uint32_t part = 0; part < parts; part++)
		acc[part] = s->first && part_row(group, part) < p->w->rows
				    ? load_part(p, row, group, part)
				    : vec_set1(0.0f);
	for (uint32_t b = 0; b < s->count; b++)
		strip_add(acc, s, b, x + (size_t)b * 4 * strip_words(type), p->x, at + b, parts,
			  type);
#pragma GCC unroll 4
	for (uint32_t part = 0; part < parts; part++)
		store_part(p, row, group, part, acc[part]);
}

/* All rows of X times a strip of some groups. */
INLINE void product_strip(struct strip *s, const struct dn_product *p, uint32_t group,
			  const uint32_t parts, const enum dn_type type)
{
	for (uint32_t part = 0; part < parts; part++)
		for (uint32_t b = 0; b < s->count; b++)
			strip_decode(s, p->w->data + (group + part / PARTS) * p->w->group_bytes,
				     part % PARTS, part, b, type);
	for (uint32_t row = 0; row < p->n; row += BAND_ROWS) {
		const uint32_t n = DN_MIN(p->n - row, (uint32_t)BAND_ROWS);

		for (uint32_t t = 0; t < n; t++)
			strip_x(s->x[t],
				p->x->quants + (row + t) * p->x->quants_stride +
					(size_t)s->first * DN_BLOCK,
				s->count, type);
		for (uint32_t t = 0; t < n; t++)
			strip_row(s, p, group, row + t, s->x[t], parts, type);
	}
}

INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count, void *scratch,
			  const enum dn_type type)
{
	const uint32_t blocks = p->x->columns / DN_BLOCK;
	const uint32_t strips = DN_DIV_ROUND_UP(blocks, STRIP_WORDS / strip_words(type));
	const uint32_t each = DN_DIV_ROUND_UP(blocks, strips);
	struct strip *s = scratch;

	for (s->first = 0; s->first < blocks; s->first += each) {
		uint32_t group = first;

		s->count = DN_MIN(blocks - s->first, each);
		for (; group + SET_GROUPS <= first + count; group += SET_GROUPS)
			product_strip(s, p, group, SET_PARTS, type);
		for (; group < first + count; group++)
			product_strip(s, p, group, PARTS, type);
	}
}

const struct dn_kernels dn_kernels_avx2 = DN_KERNELS_TABLE(DN_LEVEL_AVX2, "avx2", true);
