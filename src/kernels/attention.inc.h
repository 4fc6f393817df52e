/* SPDX-License-Identifier: MIT */
/*
 * The KV cache's elements and the attention over them, in terms of vector-ops.inc.h.
 *
 * Loops are written for a type of elements and inlined for each. Q8_0 has its scales behind all
 * elements of the head: of keys, 32 elements are summed first, then multiplied by their scale; of
 * values, the weights are multiplied instead.
 */

/* Elements of a head's row that share a scale. */
#define KV_SCALED 32

/* Where a head's scales begin. */
static inline size_t kv_scales(uint32_t row)
{
	return (size_t)row * DN_KV_BLOCK;
}

/* F16 saturates: an infinity in the cache would make every later sum no number. NaN stays. */
static inline vec vec_bounded_half(vec v)
{
	return vec_max(vec_set1(-65504.0f), vec_min(vec_set1(65504.0f), v));
}

static inline uint16_t bounded_half(float x)
{
	const float below = 65504.0f < x ? 65504.0f : x;

	return dn_float_to_half(-65504.0f > below ? -65504.0f : below);
}

/* 32 elements from @x, of which @left are there, as int8; returns their scale. */
static uint16_t quantise_kv(const float *x, uint32_t left, int8_t quants[KV_SCALED])
{
	float largest = 0.0f;
	float inverse;
	uint16_t scale;

	for (uint32_t i = 0; i < DN_MIN(left, KV_SCALED); i++) {
		const float magnitude = x[i] < 0.0f ? -x[i] : x[i];

		largest = magnitude > largest ? magnitude : largest;
	}
	/* By the scale as it is kept, so that its rounding is not an error of every element. */
	scale = bounded_half(largest / 127.0f);
	inverse = scale ? 1.0f / dn_half_to_float(scale) : 0.0f;
	for (uint32_t i = 0; i < KV_SCALED; i++) {
		float units = i < left ? x[i] * inverse : 0.0f;

		units = units < 127.0f ? units : 127.0f;
		units = units > -127.0f ? units : -127.0f;
		/* The adder rounds to nearest even at the place of the units. */
		quants[i] = (int8_t)((int32_t)dn_float_bits(units + 0x1.8p23f) - 0x4b400000);
	}
	return scale;
}

static void store_key(void *keys, uint32_t slot, const float *key, uint32_t n, enum dn_kv_type type)
{
	const uint32_t row = dn_kv_row(n, type);

	if (type == DN_KV_Q8_0) {
		uint16_t *scales = (uint16_t *)((uint8_t *)keys + kv_scales(row));

		for (uint32_t b = 0; b < row / KV_SCALED; b++) {
			int8_t *to = (int8_t *)keys + (size_t)b * KV_SCALED * DN_KV_BLOCK + slot;
			int8_t quants[KV_SCALED];

			scales[b * DN_KV_BLOCK + slot] =
				quantise_kv(key + b * KV_SCALED, n - b * KV_SCALED, quants);
			for (uint32_t i = 0; i < KV_SCALED; i++)
				to[(size_t)i * DN_KV_BLOCK] = quants[i];
		}
	} else if (type == DN_KV_F16) {
		uint16_t *to = (uint16_t *)keys + slot;

		for (uint32_t i = 0; i < n; i++)
			to[(size_t)DN_KV_BLOCK * i] = bounded_half(key[i]);
	} else {
		float *to = (float *)keys + slot;

		for (uint32_t i = 0; i < n; i++)
			to[(size_t)DN_KV_BLOCK * i] = key[i];
	}
}

/* A row's last elements, behind @n, are zero. */
static void store_value(void *values, uint32_t slot, const float *value, uint32_t n,
			enum dn_kv_type type)
{
	const uint32_t row = dn_kv_row(n, type);
	const size_t at = (size_t)slot * row;

	if (type == DN_KV_Q8_0) {
		uint16_t *scales = (uint16_t *)((uint8_t *)values + kv_scales(row));

		for (uint32_t b = 0; b < row / KV_SCALED; b++)
			scales[b * DN_KV_BLOCK + slot] =
				quantise_kv(value + b * KV_SCALED, n - b * KV_SCALED,
					    (int8_t *)values + at + b * KV_SCALED);
		return;
	}
	for (uint32_t i = 0; i < row; i += VEC) {
		vec v = i < n ? load_some(value + i, n - i) : vec_set1(0.0f);

		if (type == DN_KV_F16)
			vec_store_half((uint16_t *)values + at + i, vec_bounded_half(v));
		else
			vec_store((float *)values + at + i, v);
	}
}

INLINE vec load_cached(const void *at, size_t i, const enum dn_kv_type type)
{
	if (type == DN_KV_Q8_0)
		return vec_load_bytes((const int8_t *)at + i);
	return type == DN_KV_F16 ? vec_load_half((const uint16_t *)at + i)
				 : vec_load((const float *)at + i);
}

/* Behind the scores: what each row has summed of values. */
static inline float *attention_sums(const struct dn_attention *a)
{
	return a->scratch + (size_t)DN_ATTENTION_ROWS * DN_KV_BLOCK;
}

/* The most vectors of tokens, or of values, that a tile takes. */
#define TILE_VECTORS 4

_Static_assert(WIDE_ROWS == 0 || TILE_VECTORS * VEC <= DN_KV_BLOCK, "a tile is within a block");
_Static_assert(WIDE_ROWS <= ROWS && ROWS <= 8, "attend_tiles() has a case for each number");

/* Those that a tile of so many rows takes. */
INLINE uint32_t tile_vectors(const uint32_t rows)
{
	return rows <= WIDE_ROWS ? TILE_VECTORS : 2;
}

/*
 * sums[r][v] += x[r][i] times vector v from @at. Whichever are fewer, rows or vectors, stay in
 * registers.
 */
INLINE void tile_add(vec sums[ROWS][TILE_VECTORS], const float *const x[ROWS], size_t i,
		     const void *cached, size_t at, const uint32_t rows, const uint32_t vectors,
		     const enum dn_kv_type type)
{
	vec held[TILE_VECTORS];

	if (rows < vectors) {
		for (uint32_t r = 0; r < rows; r++)
			held[r] = vec_set1(x[r][i]);
		for (uint32_t v = 0; v < vectors; v++) {
			const vec y = load_cached(cached, at + (size_t)v * VEC, type);

			for (uint32_t r = 0; r < rows; r++)
				sums[r][v] = vec_fma(held[r], y, sums[r][v]);
		}
		return;
	}
	for (uint32_t v = 0; v < vectors; v++)
		held[v] = load_cached(cached, at + (size_t)v * VEC, type);
	for (uint32_t r = 0; r < rows; r++) {
		const vec factor = vec_set1(x[r][i]);

		for (uint32_t v = 0; v < vectors; v++)
			sums[r][v] = vec_fma(factor, held[v], sums[r][v]);
	}
}

/* Bytes of so many elements, without their scales. */
INLINE size_t cached_bytes(size_t elements, const enum dn_kv_type type)
{
	return type == DN_KV_Q8_0 ? elements : type == DN_KV_F16 ? 2 * elements : 4 * elements;
}

/*
 * Of the next block what is now computed of this one: it lies elsewhere, which no processor sees by
 * itself, and all at once would hold up what is computed.
 */
INLINE void prefetch_next(const uint8_t *next, size_t at, const uint32_t vectors,
			  const enum dn_kv_type type)
{
	for (size_t line = 0; line < cached_bytes((size_t)vectors * VEC, type); line += 64)
		__builtin_prefetch(next + cached_bytes(at, type) + line, 0, 2);
}

/* scores[row][token] = q[row] . key[token] for `rows` rows and a tile's tokens from `token`. */
INLINE void score_tile(const struct dn_attention *a, const void *keys, const uint8_t *next,
		       uint32_t first, uint32_t token, const uint32_t rows,
		       const enum dn_kv_type type)
{
	const uint32_t vectors = tile_vectors(rows);
	const uint32_t step = type == DN_KV_Q8_0 ? KV_SCALED : a->head_dim;
	const uint16_t *scales =
		(const uint16_t *)((const uint8_t *)keys + kv_scales(dn_kv_row(a->head_dim, type)));
	const float *const *q = a->q + first;
	vec sums[ROWS][TILE_VECTORS];

	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t v = 0; v < vectors; v++)
			sums[r][v] = vec_set1(0.0f);
	for (uint32_t d = 0; d < a->head_dim; d += step) {
		const uint32_t end = DN_MIN(d + step, a->head_dim);
		const uint16_t *scale = scales + (size_t)d / KV_SCALED * DN_KV_BLOCK + token;
		vec part[ROWS][TILE_VECTORS];

		for (uint32_t r = 0; r < rows; r++)
			for (uint32_t v = 0; v < vectors; v++)
				part[r][v] = vec_set1(0.0f);
		for (uint32_t i = d; i < end; i++) {
			const size_t at = (size_t)i * DN_KV_BLOCK + token;

			prefetch_next(next, at, vectors, type);
			tile_add(type == DN_KV_Q8_0 ? part : sums, q, i, keys, at, rows, vectors,
				 type);
		}
		for (uint32_t r = 0; type == DN_KV_Q8_0 && r < rows; r++)
			for (uint32_t v = 0; v < vectors; v++)
				sums[r][v] =
					vec_fma(part[r][v], vec_load_half(scale + (size_t)v * VEC),
						sums[r][v]);
	}
	for (uint32_t r = 0; r < rows; r++) {
		float *to = a->scratch + (size_t)(first + r) * DN_KV_BLOCK + token;

		for (uint32_t v = 0; v < vectors; v++)
			vec_store(to + (size_t)v * VEC, vec_mul(sums[r][v], vec_set1(a->scale)));
	}
}

/* A block's weights of some rows, each times its token's scale. */
INLINE void scale_weights(float scaled[ROWS][DN_KV_BLOCK], const float *weights,
			  const uint16_t *scales, const uint32_t rows)
{
	for (uint32_t t = 0; t < DN_KV_BLOCK; t += VEC) {
		const vec scale = vec_load_half(scales + t);

		for (uint32_t r = 0; r < rows; r++)
			vec_store(scaled[r] + t,
				  vec_mul(vec_load(weights + (size_t)r * DN_KV_BLOCK + t), scale));
	}
}

/* sums[row][dim] += sum over tokens of weights[row][token] * value[token][dim]. */
INLINE void value_tile(const void *values, const uint8_t *next, uint32_t padded, uint32_t n_tokens,
		       const float *weights, float *sums, uint32_t dim, const uint32_t rows,
		       const uint32_t vectors, const enum dn_kv_type type)
{
	_Alignas(64) float scaled[ROWS][DN_KV_BLOCK];
	const float *w[ROWS];
	vec tile[ROWS][TILE_VECTORS];

	if (type == DN_KV_Q8_0)
		scale_weights(scaled, weights,
			      (const uint16_t *)((const uint8_t *)values + kv_scales(padded)) +
				      (size_t)dim / KV_SCALED * DN_KV_BLOCK,
			      rows);
	for (uint32_t r = 0; r < rows; r++) {
		w[r] = type == DN_KV_Q8_0 ? scaled[r] : weights + (size_t)r * DN_KV_BLOCK;
		for (uint32_t v = 0; v < vectors; v++)
			tile[r][v] = vec_load(sums + (size_t)r * padded + dim + v * VEC);
	}
	for (uint32_t t = 0; t < n_tokens; t++) {
		const size_t at = (size_t)t * padded + dim;

		prefetch_next(next, at, vectors, type);
		tile_add(tile, w, t, values, at, rows, vectors, type);
	}
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t v = 0; v < vectors; v++)
			vec_store(sums + (size_t)r * padded + dim + v * VEC, tile[r][v]);
}

static inline float lanes_max(vec v)
{
	float lanes[VEC];

	vec_store(lanes, v);
#pragma GCC unroll 4
	for (int width = VEC / 2; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
	return lanes[0];
}

/* What a row has seen of a span: the greatest score, and sums of weights, lane by lane. */
struct running {
	float maximum;
	vec totals[PARTS];
};

_Static_assert(DN_KV_BLOCK == 2 * LANES, "each lane sums two of a block's weights");

/* A new maximum: rescales what the row has summed below the old one. */
static void raise_maximum(struct running *row, float highest, float *sums, uint32_t padded)
{
	const vec rescale = vec_set1(exp_one(row->maximum - highest));

	for (int p = 0; p < PARTS; p++)
		row->totals[p] = vec_mul(row->totals[p], rescale);
	for (uint32_t i = 0; i < padded; i += VEC)
		vec_store(sums + i, vec_mul(vec_load(sums + i), rescale));
	row->maximum = highest;
}

/* Returns the weights e^(score - maximum) of a vector's scores, which it puts in their place. */
INLINE vec scores_weights(float *scores, vec maximum)
{
	const vec weights = vec_exp_negative(vec_sub(vec_load(scores), maximum));

	vec_store(scores, weights);
	return weights;
}

/*
 * Turns a block's scores into weights, 0 where the row does not see the token, and adds them to
 * what the row has seen.
 */
INLINE void block_weights(float *scores, uint32_t from, uint32_t to, struct running *row,
			  float *sums, uint32_t padded)
{
	vec maximum = vec_set1(row->maximum);
	vec high = maximum;

	for (uint32_t t = 0; t < from; t++)
		scores[t] = -INFINITY;
	for (uint32_t t = to; t < DN_KV_BLOCK; t++)
		scores[t] = -INFINITY;
	/* A maximum has no order to keep; a score that is no number is passed over. */
	for (uint32_t t = 0; t < DN_KV_BLOCK; t += VEC)
		high = vec_max(vec_load(scores + t), high);
	if (vec_any_gt(high, maximum)) {
		raise_maximum(row, lanes_max(high), sums, padded);
		maximum = vec_set1(row->maximum);
	}
	for (int p = 0; p < PARTS; p++) {
		const vec first = scores_weights(scores + (size_t)p * VEC, maximum);
		const vec second = scores_weights(scores + LANES + (size_t)p * VEC, maximum);

		row->totals[p] = vec_add(row->totals[p], vec_add(first, second));
	}
}

/*
 * The weights of all rows for the block that begins at position @start; returns how many of its
 * tokens the rows see at most. A function for all types, whose registers hold an exponential's
 * constants from row to row.
 */
static __attribute__((noinline)) uint32_t weigh_rows(const struct dn_attention *a, uint32_t start,
						     struct running *rows)
{
	const uint32_t padded = dn_kv_row(a->head_dim, a->type);
	uint32_t most = 0;

	for (uint32_t r = 0; r < a->n_rows; r++) {
		float *scores = a->scratch + (size_t)r * DN_KV_BLOCK;
		uint32_t from = a->begin[r] > start ? a->begin[r] - start : 0;
		uint32_t to = a->end[r] > start ? DN_MIN(a->end[r] - start, DN_KV_BLOCK) : 0;

		if (from >= to) { /* the row sees none of this block */
			memset(scores, 0, DN_KV_BLOCK * sizeof(*scores));
			continue;
		}
		if (a->softcap > 0.0f)
			softcap(scores, a->softcap, DN_KV_BLOCK);
		block_weights(scores, from, to, &rows[r], attention_sums(a) + (size_t)r * padded,
			      padded);
		most = DN_MAX(most, to);
	}
	return most;
}

/* Scores of `rows` rows and a block's tokens. */
INLINE void score_rows(const struct dn_attention *a, const void *keys, const uint8_t *next,
		       uint32_t first, const uint32_t rows, const enum dn_kv_type type)
{
	for (uint32_t token = 0; token < DN_KV_BLOCK; token += tile_vectors(rows) * VEC)
		score_tile(a, keys, next, first, token, rows, type);
}

/* What a block's first @n_tokens values give `rows` rows. */
INLINE void value_rows(const struct dn_attention *a, const void *values, const uint8_t *next,
		       uint32_t first, uint32_t n_tokens, const uint32_t rows,
		       const enum dn_kv_type type)
{
	const uint32_t padded = dn_kv_row(a->head_dim, a->type);
	const uint32_t vectors = tile_vectors(rows);
	const float *weights = a->scratch + (size_t)first * DN_KV_BLOCK;
	float *sums = attention_sums(a) + (size_t)first * padded;
	uint32_t dim = 0;

	for (; dim + vectors * VEC <= padded; dim += vectors * VEC)
		value_tile(values, next, padded, n_tokens, weights, sums, dim, rows, vectors, type);
	for (; vectors > 2 && dim + 2 * VEC <= padded; dim += 2 * VEC)
		value_tile(values, next, padded, n_tokens, weights, sums, dim, rows, 2, type);
	for (; 2 * VEC > LANES && dim < padded; dim += VEC)
		value_tile(values, next, padded, n_tokens, weights, sums, dim, rows, 1, type);
}

/* For `rows` rows: scores of a block's tokens, or what its first @n_tokens values give. */
INLINE void attend_rows(const struct dn_attention *a, const uint8_t *block, const uint8_t *next,
			uint32_t first, uint32_t n_tokens, const bool values, const uint32_t rows,
			const enum dn_kv_type type)
{
	if (values)
		value_rows(a, block + a->values, next + a->values, first, n_tokens, rows, type);
	else
		score_rows(a, block + a->keys, next + a->keys, first, rows, type);
}

/* Where n is above ROWS, what is compiled and never called has fewer rows. */
#define ROWS_CASE(n)                                                                               \
	case n:                                                                                    \
		if ((n) <= ROWS)                                                                   \
			attend_rows(a, block, next, row, n_tokens, values, (n) % (ROWS + 1),       \
				    type);                                                         \
		break

/* Rows in tiles of ROWS, and one of those that are left. */
INLINE void attend_tiles(const struct dn_attention *a, const uint8_t *block, const uint8_t *next,
			 uint32_t n_tokens, const bool values, const enum dn_kv_type type)
{
	for (uint32_t row = 0; row < a->n_rows; row += ROWS) {
		switch (DN_MIN(a->n_rows - row, (uint32_t)ROWS)) {
			ROWS_CASE(1);
			ROWS_CASE(2);
			ROWS_CASE(3);
			ROWS_CASE(4);
			ROWS_CASE(5);
			ROWS_CASE(6);
			ROWS_CASE(7);
			ROWS_CASE(8);
		default: /* a tile has at most eight */
			break;
		}
	}
}

/* Scales are behind all elements: first of all that is read of a block. */
INLINE void prefetch_scales(const struct dn_attention *a, const uint8_t *next)
{
	const size_t elements = kv_scales(dn_kv_row(a->head_dim, DN_KV_Q8_0));
	const size_t bytes = dn_kv_head_bytes(a->head_dim, DN_KV_Q8_0);

	for (size_t line = elements; line < bytes; line += 64) {
		__builtin_prefetch(next + a->keys + line, 0, 2);
		__builtin_prefetch(next + a->values + line, 0, 2);
	}
}

INLINE void attend_block(const struct dn_attention *a, const uint8_t *block, const uint8_t *next,
			 uint32_t start, struct running *rows, const enum dn_kv_type type)
{
	uint32_t most;

	if (type == DN_KV_Q8_0)
		prefetch_scales(a, next);
	attend_tiles(a, block, next, 0, false, type);
	most = weigh_rows(a, start, rows);
	attend_tiles(a, block, next, most, true, type);
}

/* Blocks [first, last) hold all that the rows see. */
struct seen {
	uint32_t first;
	uint32_t last;
};

INLINE struct seen seen_blocks(const struct dn_attention *a)
{
	struct seen seen = { UINT32_MAX, 0 };

	for (uint32_t r = 0; r < a->n_rows; r++) {
		seen.first = DN_MIN(seen.first, a->begin[r] / DN_KV_BLOCK);
		seen.last = DN_MAX(seen.last, DN_DIV_ROUND_UP(a->end[r], DN_KV_BLOCK));
	}
	return seen;
}

/* What one span gives all rows: sums of values, and @rows, totals of 0 for those that see none. */
static void walk_span(const struct dn_attention *a, struct seen seen, uint32_t span,
		      struct running *rows)
{
	const uint32_t blocks = DN_ATTENTION_SPAN / DN_KV_BLOCK;
	const uint32_t first = DN_MAX(span * blocks, seen.first);
	const uint32_t last = DN_MIN((span + 1) * blocks, seen.last);

	memset(attention_sums(a), 0,
	       (size_t)a->n_rows * dn_kv_row(a->head_dim, a->type) * sizeof(float));
	for (uint32_t r = 0; r < a->n_rows; r++) {
		rows[r].maximum = -INFINITY;
		for (int p = 0; p < PARTS; p++)
			rows[r].totals[p] = vec_set1(0.0f);
	}
	for (uint32_t b = first; b < last; b++) {
		const uint8_t *block = a->blocks[b];
		const uint8_t *next = a->blocks[DN_MIN(b + 1, seen.last - 1)];

		if (a->type == DN_KV_F16)
			attend_block(a, block, next, b * DN_KV_BLOCK, rows, DN_KV_F16);
		else if (a->type == DN_KV_Q8_0)
			attend_block(a, block, next, b * DN_KV_BLOCK, rows, DN_KV_Q8_0);
		else
			attend_block(a, block, next, b * DN_KV_BLOCK, rows, DN_KV_F32);
	}
}

static void begin_part(float *part, const float *sums, uint32_t padded, float maximum, float total,
		       uint32_t head_dim)
{
	float *ends = part + dn_attention_ends(head_dim);

	memcpy(part, sums, padded * sizeof(*part));
	memset(part + padded, 0, (size_t)((uint32_t)(ends - part) - padded) * sizeof(*part));
	ends[0] = maximum;
	ends[1] = total;
}

/* Adds what the next span gave, @padded sums of it, a maximum and a total. */
static void join(float *part, const float *sums, uint32_t padded, float maximum, float total,
		 uint32_t head_dim)
{
	float *ends = part + dn_attention_ends(head_dim);
	float highest;
	float old;
	float new;

	/* A row that saw nothing of one of them; the first may hold nothing at all yet. */
	if (ends[1] == 0.0f) {
		begin_part(part, sums, padded, maximum, total, head_dim);
		return;
	}
	if (total == 0.0f)
		return;
	highest = ends[0] > maximum ? ends[0] : maximum;
	old = exp_one(ends[0] - highest);
	new = exp_one(maximum - highest);
	for (uint32_t i = 0; i < padded; i += VEC)
		vec_store(part + i, vec_fma(vec_load(sums + i), vec_set1(new),
					    vec_mul(vec_load(part + i), vec_set1(old))));
	ends[0] = highest;
	ends[1] = ends[1] * old + total * new;
}

static void finish_part(float *part, uint32_t head_dim, float *out)
{
	const float inverse = 1.0f / part[dn_attention_ends(head_dim) + 1];

	for (uint32_t d = 0; d < head_dim; d++)
		out[d] = part[d] * inverse;
}

static void attend(const struct dn_attention *a)
{
	const uint32_t padded = dn_kv_row(a->head_dim, a->type);
	const uint32_t blocks = DN_ATTENTION_SPAN / DN_KV_BLOCK;
	const size_t size = dn_attention_part(a->head_dim);
	const struct seen seen = seen_blocks(a);
	const float *sums = attention_sums(a);
	float *parts = attention_sums(a) + DN_ATTENTION_ROWS * size;
	struct running rows[DN_ATTENTION_ROWS];

	for (uint32_t r = 0; r < a->n_rows; r++)
		parts[r * size + dn_attention_ends(a->head_dim) + 1] = 0.0f;
	for (uint32_t span = seen.first / blocks; span * blocks < seen.last; span++) {
		walk_span(a, seen, span, rows);
		for (uint32_t r = 0; r < a->n_rows; r++)
			join(parts + r * size, sums + (size_t)r * padded, padded, rows[r].maximum,
			     lanes_sum(rows[r].totals), a->head_dim);
	}
	for (uint32_t r = 0; r < a->n_rows; r++)
		finish_part(parts + r * size, a->head_dim, a->out[r]);
}

static void attend_span(const struct dn_attention *a, uint32_t span)
{
	const uint32_t padded = dn_kv_row(a->head_dim, a->type);
	struct seen seen = seen_blocks(a);
	struct running rows[DN_ATTENTION_ROWS];

	/* Whoever takes the next span asks for it. */
	seen.last = DN_MIN(seen.last, (span + 1) * (DN_ATTENTION_SPAN / DN_KV_BLOCK));
	walk_span(a, seen, span, rows);
	for (uint32_t r = 0; r < a->n_rows; r++)
		begin_part(a->out[r], attention_sums(a) + (size_t)r * padded, padded,
			   rows[r].maximum, lanes_sum(rows[r].totals), a->head_dim);
}

static void attend_join(float *parts, uint32_t n, uint32_t head_dim, float *out)
{
	const size_t size = dn_attention_part(head_dim);

	for (uint32_t i = 1; i < n; i++) {
		float *next = parts + i * size;
		const float *ends = next + dn_attention_ends(head_dim);

		join(parts, next, dn_attention_ends(head_dim), ends[0], ends[1], head_dim);
	}
	finish_part(parts, head_dim, out);
}
