/* SPDX-License-Identifier: MIT */
/*
 * AMX-INT8 on top of AVX-512 VNNI: sixteen rows of X times a group, as tiles.
 *
 * Layout: eight words of a group's quants are a tile as the instruction wants it, 32 columns of
 * sixteen rows of X another; their product is sixteen rows of sixteen integer sums. All else, and
 * its order, is that of the levels below: so are the bits.
 *
 * Bound: a product takes the tiles' unit 16 cycles, its three or four float operations a row of X
 * take 24 or 32 cycles. While a product runs, one of the two units for floats of 512 bits rests:
 * hence all products of a chunk of columns first, then their floats, 40 or 48 cycles a block. What
 * a chunk takes fits the first cache. Quants are decoded once for up to BAND rows of X.
 */

#define HAS_TILES	1
#define TILES_MIN(type) 32 /* below, on narrow matrices, AVX-512 alone is as fast */
#define TILES_MINIMA	1
#define TILES_SCRATCH	((size_t)48 << 10)
#define HAS_ALONE

#include "kernels/x86/avx512-vectors.h"

#include "kernels/shape.h"
#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

#define TILE_ROWS  16
#define TILE_BYTES 64 /* of a row of a tile */
#define PRODUCTS   16 /* of a chunk */
#define BAND	   256

/* What is kept of a group's product with a band of rows of X while it is computed. */
struct band {
	struct weights w[PRODUCTS];
	ivec products[PRODUCTS][TILE_ROWS];
	vec acc[BAND];
};

/* What LDTILECFG reads. */
struct tile_config {
	uint8_t palette;
	uint8_t start_row;
	uint8_t reserved[14];
	uint16_t row_bytes[16];
	uint8_t rows[16];
};

/*
 * Registers: 0 is X and 1 and 2 are sums of sixteen rows of X, 3, 4 and 5 the same of the rows that
 * are left at the end; 6 is the weights. All is in assembly that says that it reads and writes
 * memory: GCC 12 believes less of its own functions for tiles, and drops stores before them.
 */
#define TILE_MULTIPLY(x_, sums)                                                                    \
	__asm__ volatile(                                                                          \
		"tilezero %%tmm" #sums "\n\t"                                                      \
		"tileloadd (%[x],%[stride],1), %%tmm" #x_ "\n\t"                                   \
		"tileloadd (%[w],%[bytes],1), %%tmm6\n\t"                                          \
		"tdpbssd %%tmm6, %%tmm" #x_ ", %%tmm" #sums                                        \
		:                                                                                  \
		: [x] "r"(x), [stride] "r"(stride), [w] "r"(w), [bytes] "r"((size_t)TILE_BYTES)    \
		: "memory")
#define TILE_STORE(sums)                                                                           \
	__asm__ volatile("tilestored %%tmm" #sums ", (%0,%1,1)"                                    \
			 :                                                                         \
			 : "r"(to), "r"((size_t)TILE_BYTES)                                        \
			 : "memory")

/* Of 32 columns: one for each scale. */
INLINE uint8_t block_products(const enum dn_type type)
{
	return dn_type_shape(type).scales == 2 ? 2 : 1;
}

/* Tiles for all rows of X in sixteens, and for @left that remain. */
INLINE void tiles_begin(uint32_t left, const enum dn_type type)
{
	const uint8_t scales = block_products(type);
	struct tile_config config = { .palette = 1 };

	for (uint32_t i = 0; i < 6; i++) {
		config.rows[i] = i < 3 ? TILE_ROWS : (uint8_t)left;
		config.row_bytes[i] = i % 3 ? TILE_BYTES : DN_BLOCK / scales;
		if (config.rows[i] == 0)
			config.row_bytes[i] = 0;
	}
	config.rows[6] = 8 / scales;
	config.row_bytes[6] = TILE_BYTES;
	__asm__ volatile("ldtilecfg %0" : : "m"(config));
}

/* Without it each change of threads would save 8 KiB of tiles. */
INLINE void tiles_end(void)
{
	__asm__ volatile("tilerelease");
}

INLINE void tile_multiply(const ivec *w, const int8_t *x, size_t stride, const uint32_t which,
			  const bool last)
{
	if (last && which)
		TILE_MULTIPLY(3, 5);
	else if (last)
		TILE_MULTIPLY(3, 4);
	else if (which)
		TILE_MULTIPLY(0, 2);
	else
		TILE_MULTIPLY(0, 1);
}

INLINE void tile_store(ivec *to, const uint32_t which, const bool last)
{
	if (last && which)
		TILE_STORE(5);
	else if (last)
		TILE_STORE(4);
	else if (which)
		TILE_STORE(2);
	else
		TILE_STORE(1);
}

/* Columns of some blocks times rows of X. */
struct chunk {
	struct band *s;
	const struct dn_product *p;
	uint32_t row;
	uint32_t first;
	uint32_t count;
};

/* Two products at a time: while they are made, those before are stored. */
INLINE void chunk_multiply(const struct chunk *c, const bool last, const enum dn_type type)
{
	const uint32_t scales = block_products(type);
	const uint32_t pairs = DN_DIV_ROUND_UP(c->count * scales, 2);
	const size_t stride = c->p->x->quants_stride;
	const int8_t *x = c->p->x->quants + c->row * stride + (size_t)c->first * DN_BLOCK;

	for (uint32_t pair = 0; pair <= pairs; pair++) {
		for (uint32_t i = 0; i < 2; i++) {
			/* Where their number is odd, the last is made twice. */
			const uint32_t b = DN_MIN((2 * pair + i) / scales, c->count - 1);
			const uint32_t half = i * (scales - 1);

			if (pair > 0)
				tile_store(c->s->products[2 * pair - 2 + i], i, last);
			if (pair < pairs)
				tile_multiply(c->s->w[b].q + 4 * half,
					      x + (size_t)b * DN_BLOCK + half * (DN_BLOCK / 2),
					      stride, i, last);
		}
	}
}

/* acc += a block's products with the rows of X. */
INLINE void chunk_add(vec *acc, const struct chunk *c, uint32_t b, const uint32_t n,
		      const enum dn_type type)
{
	const struct dn_activations *x = c->p->x;
	const size_t x_blocks = x->quants_stride / DN_BLOCK;
	const uint32_t scales = block_products(type);
	size_t at = c->row * x_blocks + c->first + b;

#pragma GCC unroll 16
	for (uint32_t t = 0; t < n; t++) {
		struct sums sums;

		for (uint32_t i = 0; i < scales; i++)
			sums.products[i] = c->s->products[b * scales + i][t];
		acc[t] = sums_add(acc[t], &sums, &c->s->w[b], x, at, type);
		at += x_blocks;
		/* An addition a row: else compilers keep, and spill, a pointer each. */
		__asm__("" : "+r"(at));
	}
}

/* Sixteen rows of X, their sums in registers. */
INLINE void chunk_whole(vec *sums, const struct chunk *c, const enum dn_type type)
{
	vec acc[TILE_ROWS];

	chunk_multiply(c, false, type);
	for (uint32_t t = 0; t < TILE_ROWS; t++)
		acc[t] = sums[t];
	for (uint32_t b = 0; b < c->count; b++)
		chunk_add(acc, c, b, TILE_ROWS, type);
	for (uint32_t t = 0; t < TILE_ROWS; t++)
		sums[t] = acc[t];
}

/* The rows of X that are left. */
INLINE void chunk_last(vec *sums, const struct chunk *c, uint32_t n, const enum dn_type type)
{
	chunk_multiply(c, true, type);
	for (uint32_t b = 0; b < c->count; b++)
		chunk_add(sums, c, b, n, type);
}

/* Columns 32b to 32b + 31 as signed bytes. */
INLINE void load_signed(struct weights *w, const uint8_t *group, uint32_t b,
			const enum dn_type type)
{
	const ivec offset = _mm512_set1_epi8((char)quants_offset(type));

	load_weights(w, group, b, 0, type);
	for (uint32_t j = 0; j < 8; j++)
		w->q[j] = _mm512_sub_epi8(w->q[j], offset);
}

/* Rows of X from @row, @n of them, times a group. */
INLINE void product_band(struct band *s, const struct dn_product *p, uint32_t group, uint32_t row,
			 uint32_t n, const enum dn_type type)
{
	const uint32_t blocks = p->x->columns / DN_BLOCK;
	const uint8_t *weights = p->w->data + group * p->w->group_bytes;
	const uint32_t chunk = PRODUCTS / block_products(type);
	const uint32_t whole = n / TILE_ROWS * TILE_ROWS;

	for (uint32_t t = 0; t < n; t++)
		s->acc[t] = vec_set1(0.0f);
	for (uint32_t first = 0; first < blocks; first += chunk) {
		struct chunk c = { s, p, row, first, DN_MIN(blocks - first, chunk) };

		for (uint32_t b = 0; b < c.count; b++)
			load_signed(&s->w[b], weights, first + b, type);
		for (uint32_t t = 0; t < whole; t += TILE_ROWS, c.row += TILE_ROWS)
			chunk_whole(s->acc + t, &c, type);
		if (whole < n)
			chunk_last(s->acc + whole, &c, n - whole, type);
	}
	for (uint32_t t = 0; t < n; t++)
		store_part(p, row + t, group, 0, s->acc[t]);
}

_Static_assert(sizeof(struct band) <= TILES_SCRATCH, "a band fits its place");

INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count, void *scratch,
			  const enum dn_type type)
{
	struct band *s = scratch;

	tiles_begin(p->n % TILE_ROWS, type);
	for (uint32_t group = first; group < first + count; group++)
		for (uint32_t row = 0; row < p->n; row += BAND)
			product_band(s, p, group, row, DN_MIN(p->n - row, (uint32_t)BAND), type);
	tiles_end();
}

/* Whole tiles, twice the columns that a block of weights has; four chains hide the latency. */
static uint64_t multiply_alone(uint32_t rounds)
{
	struct tile_config config = { .palette = 1 };

	for (uint32_t i = 0; i < 6; i++) {
		config.rows[i] = TILE_ROWS;
		config.row_bytes[i] = TILE_BYTES;
	}
	__asm__ volatile("ldtilecfg %0" : : "m"(config));
	for (uint32_t round = 0; round < rounds; round++)
		__asm__ volatile("tdpbssd %tmm4, %tmm5, %tmm0\n\t"
				 "tdpbssd %tmm4, %tmm5, %tmm1\n\t"
				 "tdpbssd %tmm4, %tmm5, %tmm2\n\t"
				 "tdpbssd %tmm4, %tmm5, %tmm3");
	tiles_end();
	return 4ULL * 2 * TILE_ROWS * TILE_ROWS * TILE_BYTES * rounds;
}

const struct dn_kernels dn_kernels_amx = DN_KERNELS_TABLE(DN_LEVEL_AMX, "amx", true);
