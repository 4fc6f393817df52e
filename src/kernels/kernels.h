/* SPDX-License-Identifier: MIT */
/*
 * The compute functions: one table a level, immutable, chosen once.
 *
 * Weights are re-laid in groups of sixteen rows, so that a vector lane is a row (relay.h). Every
 * sum has one fixed order, the same in the matrix-vector and in the matrix-matrix product, and no
 * sum crosses lanes but in a fixed tree: all levels but ref give the same bits.
 */
#ifndef DUNLIN_KERNELS_KERNELS_H
#define DUNLIN_KERNELS_KERNELS_H

/* IWYU pragma: begin_exports */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dunlin/error.h>
#include <dunlin/kv.h>

#include "base/base.h"
#include "kernels/types.h"
/* IWYU pragma: end_exports */

#define DN_GROUP	  16   /* rows interleaved in a group */
#define DN_BLOCK	  32   /* columns that share a scale in quantised activations */
#define DN_KV_BLOCK	  32   /* tokens in a block of the KV cache */
#define DN_ATTENTION_SPAN 512U /* positions of a cache: whole blocks */
#define DN_ATTENTION_ROWS 24   /* whole tiles of 4, 6 and 8 rows */

enum dn_level {
	DN_LEVEL_REF,
	DN_LEVEL_SCALAR,
	DN_LEVEL_AVX2,
	DN_LEVEL_AVXVNNI,
	DN_LEVEL_AVX512VNNI,
	DN_LEVEL_AMX,
	DN_LEVEL_NEON,
	DN_LEVEL_DOTPROD,
	DN_LEVEL_I8MM,
	DN_LEVEL_COUNT,
};

/**
 * struct dn_matrix - a weight matrix, re-laid
 * @rows, @columns: of the matrix; y = W x has @rows elements
 * @data: ceil(@rows / 16) groups of @group_bytes; missing rows of the last are zero
 */
struct dn_matrix {
	enum dn_type type;
	uint32_t rows;
	uint32_t columns;
	size_t group_bytes;
	const uint8_t *data;
};

/**
 * struct dn_activations - rows of activations in the forms that products take
 * @columns: elements a row
 * @values: float32 rows, @stride apart
 * @quants: int8 rows in [-127, 127], @quants_stride apart, a multiple of DN_BLOCK; NULL where no
 *	quantised product reads them
 * @scales: of each block of each row: value = scale * quant
 * @sums: scale * sum of the block's quants, for types with a minimum
 * @biases: -8 * sum of the block's quants, for types with that offset
 * @pairs: the sums of the block's first and of its last sixteen quants
 */
struct dn_activations {
	uint32_t columns;
	const float *values;
	size_t stride;
	const int8_t *quants;
	size_t quants_stride;
	const float *scales;
	const float *sums;
	const int32_t *biases;
	const int16_t *pairs;
};

/**
 * struct dn_product - Y = X Wᵀ
 * @n: rows of X and of Y
 * @y: float32, rows @y_stride apart; apart from what @x is made of, since sums may wait there
 * @prefetch: few rows of X ask for weights ahead of time; the same bits with and without
 */
struct dn_product {
	const struct dn_matrix *w;
	const struct dn_activations *x;
	uint32_t n;
	float *y;
	size_t y_stride;
	bool prefetch;
};

/**
 * struct dn_attention - softmax(q Kᵀ) V over a paged cache, for query rows of one KV head
 * @blocks: the sequence's blocks
 * @keys, @values: byte offsets of this layer's and head's part in a block: keys as
 *	[dn_kv_row()][32 tokens], values as [32 tokens][dn_kv_row()]; Q8_0 has behind each its F16
 *	scales, [dn_kv_row() / 32][32 tokens]
 * @scale: of the scores
 * @softcap: scores become softcap * tanh(score / softcap); 0: they stay
 * @n_rows: at most DN_ATTENTION_ROWS
 * @q, @out: float32[head_dim] of each row
 * @begin, @end: the cache positions that each row sees, at least one
 * @scratch: dn_attention_scratch(head_dim) floats, 64-byte aligned
 *
 * Each row walks whole cache blocks in order with a running maximum (Milakov and Gimelshein 2018),
 * and begins anew at each span; what spans give is joined in their order (Dao, Haziza, Massa,
 * Sizov 2023). So a row's result depends on its own positions alone, and threads can share a row.
 */
struct dn_attention {
	const uint8_t *const *blocks;
	size_t keys;
	size_t values;
	enum dn_kv_type type;
	uint32_t head_dim;
	float scale;
	float softcap;
	uint32_t n_rows;
	const float *q[DN_ATTENTION_ROWS];
	float *out[DN_ATTENTION_ROWS];
	uint32_t begin[DN_ATTENTION_ROWS];
	uint32_t end[DN_ATTENTION_ROWS];
	float *scratch;
};

/* Elements that a head's row takes in the cache. */
static inline uint32_t dn_kv_row(uint32_t head_dim, enum dn_kv_type type)
{
	return type == DN_KV_Q8_0 ? DN_ROUND_UP(head_dim, 32U) : DN_ROUND_UP(head_dim, 16U);
}

/* Bytes of a head's keys, and as many of its values, in a block of the cache. */
static inline size_t dn_kv_head_bytes(uint32_t head_dim, enum dn_kv_type type)
{
	const size_t elements = (size_t)dn_kv_row(head_dim, type) * DN_KV_BLOCK;

	if (type == DN_KV_Q8_0)
		return elements + elements / 32 * sizeof(uint16_t);
	return elements * (type == DN_KV_F16 ? sizeof(uint16_t) : sizeof(float));
}

/*
 * What spans give a row, a part of so many floats, 64-byte aligned: sums of weighted values, which
 * end in zeros; behind them, at dn_attention_ends(), the greatest score and the sum of weights, 0
 * where the row sees nothing of them.
 */
static inline uint32_t dn_attention_ends(uint32_t head_dim)
{
	return DN_ROUND_UP(head_dim, 32U);
}

static inline size_t dn_attention_part(uint32_t head_dim)
{
	return (size_t)dn_attention_ends(head_dim) + 16;
}

static inline size_t dn_attention_scratch(uint32_t head_dim)
{
	return DN_ATTENTION_ROWS * (DN_KV_BLOCK + 2 * dn_attention_part(head_dim));
}

enum dn_activation {
	DN_ACTIVATION_SILU,	/* x / (1 + e^-x) */
	DN_ACTIVATION_GELU,	/* in its tanh form (Hendrycks and Gimpel 2016) */
	DN_ACTIVATION_GELU_ERF, /* x Phi(x), within 2e-7 of |x| */
	DN_ACTIVATION_SIGMOID,
};

/**
 * struct dn_recurrence - a token's step of a linear recurrence over a matrix, for one head
 * @state: S, float32[n_keys][n_values], changed in place
 * @k, @q: float32[n_keys]
 * @v, @out: float32[n_values]
 *
 * S = decay S; d = beta (v - Sᵀk) with @delta, else d = beta v; S += k dᵀ; out = Sᵀq.
 * With @delta it is the gated delta rule (Yang, Kautz, Hatamizadeh 2024), without it a head of
 * Mamba 2 (Dao and Gu 2024) whose keys and queries are B and C. Sums go over keys in order, a
 * lane is a value.
 */
struct dn_recurrence {
	float *state;
	uint32_t n_keys;
	uint32_t n_values;
	const float *k;
	const float *q;
	const float *v;
	float *out;
	float decay;
	float beta;
	bool delta;
};

/**
 * struct dn_convolution - a causal convolution along the tokens, each channel on its own
 * @w: F32, a row for each channel, a column for each tap, the newest token's last
 * @inputs: float32[w->rows] for each tap, oldest first
 * @out: float32[w->rows] = sum over taps in order
 */
struct dn_convolution {
	const struct dn_matrix *w;
	const float *const *inputs;
	float *out;
};

/* The vector operations of a level. Lengths are in elements; nothing needs alignment. */
struct dn_kernels {
	enum dn_level level;
	const char *name;
	/* Whether products of quantised weights read quantised activations. */
	bool quantises;

	/* Quantises a row; @columns a multiple of DN_BLOCK. scale = max |x| / 127, to nearest even. */
	void (*quantise)(const float *x, uint32_t columns, int8_t *quants, float *scales,
			 float *sums, int32_t *biases, int16_t *pairs);
	/* Groups [first, first + count) of a product; all element types. */
	void (*product)(const struct dn_product *product, uint32_t first, uint32_t count);
	/* The level's dot products of bytes on registers alone; returns the operations: 0, none. */
	uint64_t (*multiply_alone)(uint32_t rounds);
	void (*attend)(const struct dn_attention *attention);
	/* What one span, of which some row sees some, gives into out[r][dn_attention_part(head_dim)]. */
	void (*attend_span)(const struct dn_attention *attention, uint32_t span);
	/* Joins all parts of a row, one behind the other from its first on, and overwrites them. */
	void (*attend_join)(float *parts, uint32_t n, uint32_t head_dim, float *out);
	/* y = x / sqrt(mean(x²) + epsilon) * weight, or without a weight; y may be x. */
	void (*rms_norm)(float *y, const float *x, const float *weight, uint32_t n, float epsilon);
	/* y = (x - mean) / sqrt(variance + epsilon) * weight + bias; @bias may be NULL, y may be x. */
	void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias,
			   uint32_t n, float epsilon);
	/* y += scale * x, rounded once */
	void (*add_scaled)(float *y, const float *x, float scale, uint32_t n);
	/* y = a * b; y may be either. */
	void (*multiply)(float *y, const float *a, const float *b, uint32_t n);
	/* x *= factor */
	void (*scale)(float *x, float factor, uint32_t n);
	/* x = cap * tanh(x / cap) */
	void (*softcap)(float *x, float cap, uint32_t n);
	/* y = activation(x) * up, or without @up; y may be x. */
	void (*activate)(enum dn_activation activation, float *y, const float *x, const float *up,
			 uint32_t n);
	void (*recur)(const struct dn_recurrence *recurrence);
	/* Groups of channels [first, first + count). */
	void (*convolve)(const struct dn_convolution *convolution, uint32_t first, uint32_t count);
	/* Rotates pairs (2i, 2i + 1), or with @halves (i, i + n_pairs), by the angles given. */
	void (*rope)(float *x, uint32_t n_pairs, const float *cosines, const float *sines,
		     bool halves);
	/* Writes token @slot's key as a column, its value as a row, of a head's part of a block. */
	void (*store_key)(void *keys, uint32_t slot, const float *key, uint32_t n,
			  enum dn_kv_type type);
	void (*store_value)(void *values, uint32_t slot, const float *value, uint32_t n,
			    enum dn_kv_type type);
};

/**
 * dn_kernels_select() - the table of a level
 * @name: "avx2", …; NULL: DUNLIN_CPU where set, else the best that CPU and OS have
 *
 * DUNLIN_CPU caps: a level above it is not taken even when named. A level that the CPU lacks is
 * -ENOTSUP, an unknown name -EINVAL; the messages list what there is.
 */
DN_MUST_CHECK int dn_kernels_select(const char *name, const struct dn_kernels **ret_kernels,
				    struct dn_error *err);
const char *dn_level_name(enum dn_level level);
/* NULL where this build or this CPU does not have the level. */
const struct dn_kernels *dn_kernels_at(enum dn_level level);

/* Whether products can read weights of @type. */
bool dn_type_computes(enum dn_type type);

/*
 * Operations a second (a multiply-add is 2) on one thread: of the level's instruction for products
 * of bytes, with nothing around it (0: it has none), and of its products of Q4_0 weights that
 * are in the caches.
 */
double dn_kernels_int8_peak(const struct dn_kernels *kernels);
double dn_kernels_product_rate(const struct dn_kernels *kernels);

#endif /* DUNLIN_KERNELS_KERNELS_H */
