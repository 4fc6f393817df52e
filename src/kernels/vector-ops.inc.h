/* SPDX-License-Identifier: MIT */
/*
 * The float32 operations and the attention of a level, written once in terms of its vectors.
 *
 * The including file defines before: VEC (lanes, 1 to 16), `vec` and vec_load, vec_store, vec_set1,
 * vec_add, vec_sub, vec_mul, vec_div, vec_fma (fused), vec_max, vec_min, vec_keep_ge(v, x, t) (v
 * where x >= t, else 0), vec_shift_exponent(p, t) (adds the low bits of t, as an integer, to the
 * exponent of p), vec_load_half, vec_store_half; and ROWS, the query rows that fit its registers.
 *
 * Sums are kept in sixteen lanes whatever VEC is, and added up by lanes_sum().
 */

#define LANES 16
#define PARTS (LANES / VEC)

/* ((l0 + l8) + (l4 + l12)) + …: the one order in which lanes are added. */
static inline float lanes_sum(const float lanes[LANES])
{
	float sum[LANES];

	for (int i = 0; i < LANES; i++)
		sum[i] = lanes[i];
	for (int width = LANES / 2; width > 0; width /= 2)
		for (int i = 0; i < width; i++)
			sum[i] += sum[i + width];
	return sum[0];
}

/*
 * e^x: x = n ln 2 + r with ln 2 in two parts (Cody and Waite 1980), |r| <= ln 2 / 2, the
 * polynomial of degree 6 is Taylor's with its error (1.5e-8 relative at the ends) below half a
 * unit of float32's last place. 0 below -87, where the result would leave the normal numbers;
 * above 88 the result saturates at e^88. The largest error is about 1 unit.
 */
static inline vec vec_exp(vec x)
{
	const vec magic = vec_set1(0x1.8p23f);
	vec bounded = vec_min(vec_max(x, vec_set1(-87.0f)), vec_set1(88.0f));
	vec t = vec_fma(bounded, vec_set1(0x1.715476p+0f), magic);
	vec n = vec_sub(t, magic);
	vec r = vec_fma(n, vec_set1(-0x1.62e4p-1f), bounded);
	vec p;

	r = vec_fma(n, vec_set1(-0x1.7f7d1cp-20f), r);
	p = vec_fma(r, vec_set1(0x1.a01a02p-13f), vec_set1(0x1.6c16c2p-10f));
	p = vec_fma(p, r, vec_set1(0x1.111112p-7f));
	p = vec_fma(p, r, vec_set1(0x1.555556p-5f));
	p = vec_fma(p, r, vec_set1(0x1.555556p-3f));
	p = vec_fma(p, r, vec_set1(0.5f));
	p = vec_fma(p, r, vec_set1(1.0f));
	p = vec_fma(p, r, vec_set1(1.0f));
	return vec_keep_ge(vec_shift_exponent(p, t), x, vec_set1(-87.0f));
}

static inline float exp_one(float x)
{
	float lanes[VEC];

	vec_store(lanes, vec_exp(vec_set1(x)));
	return lanes[0];
}

/* A row's last elements are padded with zeros and take the same operations as the others. */
#define FOR_VECTORS(n, i) for (uint32_t i = 0; i < (n); i += VEC)

static inline vec load_some(const float *x, uint32_t left)
{
	float padded[VEC] = { 0 };

	if (left >= VEC)
		return vec_load(x);
	memcpy(padded, x, left * sizeof(float));
	return vec_load(padded);
}

static inline void store_some(float *y, vec v, uint32_t left)
{
	float padded[VEC];

	if (left >= VEC) {
		vec_store(y, v);
		return;
	}
	vec_store(padded, v);
	memcpy(y, padded, left * sizeof(float));
}

static void add(float *y, const float *x, uint32_t n)
{
	FOR_VECTORS(n, i)
	store_some(y + i, vec_add(load_some(y + i, n - i), load_some(x + i, n - i)), n - i);
}

static void silu_mul(float *y, const float *gate, const float *up, uint32_t n)
{
	const vec one = vec_set1(1.0f);
	const vec zero = vec_set1(0.0f);

	FOR_VECTORS(n, i)
	{
		vec g = load_some(gate + i, n - i);
		vec silu = vec_div(g, vec_add(one, vec_exp(vec_sub(zero, g))));

		store_some(y + i, vec_mul(silu, load_some(up + i, n - i)), n - i);
	}
}

static void rms_norm(float *y, const float *x, const float *weight, uint32_t n, float epsilon)
{
	float lanes[LANES];
	vec sums[PARTS];
	float scale;

	for (int p = 0; p < PARTS; p++)
		sums[p] = vec_set1(0.0f);
	for (uint32_t i = 0; i < n; i += LANES) {
		for (uint32_t p = 0; p < PARTS && i + p * VEC < n; p++) {
			vec v = load_some(x + i + p * VEC, n - i - p * VEC);

			sums[p] = vec_fma(v, v, sums[p]);
		}
	}
	for (int p = 0; p < PARTS; p++)
		vec_store(lanes + p * VEC, sums[p]);
	scale = 1.0f / sqrtf(lanes_sum(lanes) / (float)n + epsilon);
	FOR_VECTORS(n, i)
	{
		vec v = vec_mul(load_some(x + i, n - i), vec_set1(scale));

		store_some(y + i, vec_mul(v, load_some(weight + i, n - i)), n - i);
	}
}

static void rope(float *x, uint32_t n_pairs, const float *cosines, const float *sines, bool halves)
{
	const uint32_t step = halves ? 1 : 2;
	const uint32_t other = halves ? n_pairs : 1;

	for (uint32_t i = 0; i < n_pairs; i++) {
		float a = x[(size_t)step * i];
		float b = x[(size_t)step * i + other];

		x[(size_t)step * i] = a * cosines[i] - b * sines[i];
		x[(size_t)step * i + other] = a * sines[i] + b * cosines[i];
	}
}

static void quantise(const float *x, uint32_t columns, int8_t *quants, float *scales, float *sums,
		     int32_t *biases)
{
	for (uint32_t b = 0; b < columns / DN_BLOCK; b++, x += DN_BLOCK, quants += DN_BLOCK) {
		uint32_t largest = 0;
		int32_t sum = 0;
		float scale;
		float inverse;

		/* Magnitudes order like their bits, and an integer maximum has no order to keep. */
		for (int i = 0; i < DN_BLOCK; i++) {
			uint32_t magnitude;

			memcpy(&magnitude, &x[i], sizeof(magnitude));
			magnitude &= 0x7fffffff;
			largest = largest > magnitude ? largest : magnitude;
		}
		memcpy(&scale, &largest, sizeof(scale));
		inverse = scale > 0x1p-100f ? 127.0f / scale : 0.0f;
		scale = inverse != 0.0f ? scale / 127.0f : 0.0f;
		for (int i = 0; i < DN_BLOCK; i++) {
			/* The adder rounds to nearest even at the place of the units. */
			float shifted = x[i] * inverse + 0x1.8p23f;
			int32_t quant;

			memcpy(&quant, &shifted, sizeof(quant));
			quants[i] = (int8_t)(quant - 0x4b400000);
			sum += quants[i];
		}
		scales[b] = scale;
		sums[b] = scale * (float)sum;
		biases[b] = -8 * sum;
	}
}

static void store_key(void *block, const float *key, uint32_t n, bool half)
{
	if (half) {
		uint16_t *to = block;

		for (uint32_t i = 0; i < n; i++)
			to[(size_t)DN_KV_BLOCK * i] = dn_float_to_half(key[i]);
	} else {
		float *to = block;

		for (uint32_t i = 0; i < n; i++)
			to[(size_t)DN_KV_BLOCK * i] = key[i];
	}
}

/* The row ends at a multiple of sixteen; its last elements are zero. */
static void store_value(void *row, const float *value, uint32_t n, bool half)
{
	uint32_t padded = DN_ROUND_UP(n, LANES);

	for (uint32_t i = 0; i < padded; i += VEC) {
		vec v = i < n ? load_some(value + i, n - i) : vec_set1(0.0f);

		if (half)
			vec_store_half((uint16_t *)row + i, v);
		else
			vec_store((float *)row + i, v);
	}
}

static inline __attribute__((always_inline)) vec load_cached(const void *at, size_t i,
							     const bool half)
{
	return half ? vec_load_half((const uint16_t *)at + i) : vec_load((const float *)at + i);
}

/* scores[row][token] = q[row] . key[token] for `rows` rows and 2 * VEC tokens from `token`. */
static inline __attribute__((always_inline)) void score_tile(const struct dn_attention *a,
							     const void *keys, uint32_t first,
							     uint32_t token, float *scores,
							     const uint32_t rows, const bool half)
{
	vec sums[ROWS][2];

	for (uint32_t r = 0; r < rows; r++)
		sums[r][0] = sums[r][1] = vec_set1(0.0f);
	for (uint32_t d = 0; d < a->head_dim; d++) {
		size_t at = (size_t)d * DN_KV_BLOCK + token;
		vec k0 = load_cached(keys, at, half);
		vec k1 = load_cached(keys, at + VEC, half);

		for (uint32_t r = 0; r < rows; r++) {
			vec q = vec_set1(a->q[first + r][d]);

			sums[r][0] = vec_fma(q, k0, sums[r][0]);
			sums[r][1] = vec_fma(q, k1, sums[r][1]);
		}
	}
	for (uint32_t r = 0; r < rows; r++) {
		float *to = scores + (size_t)(first + r) * DN_KV_BLOCK + token;

		vec_store(to, vec_mul(sums[r][0], vec_set1(a->scale)));
		vec_store(to + VEC, vec_mul(sums[r][1], vec_set1(a->scale)));
	}
}

/* sums[row][dim] += sum over tokens of weights[row][token] * value[token][dim], 2 * VEC dims. */
static inline __attribute__((always_inline)) void
value_tile(const void *values, uint32_t padded, uint32_t n_tokens, const float *weights,
	   float *sums, uint32_t dim, const uint32_t rows, const uint32_t vectors, const bool half)
{
	vec tile[ROWS][2];

	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t v = 0; v < vectors; v++)
			tile[r][v] = vec_load(sums + (size_t)r * padded + dim + v * VEC);
	for (uint32_t t = 0; t < n_tokens; t++) {
		vec value[2];

		for (uint32_t v = 0; v < vectors; v++)
			value[v] = load_cached(values, (size_t)t * padded + dim + v * VEC, half);
		for (uint32_t r = 0; r < rows; r++) {
			vec weight = vec_set1(weights[(size_t)r * DN_KV_BLOCK + t]);

			for (uint32_t v = 0; v < vectors; v++)
				tile[r][v] = vec_fma(weight, value[v], tile[r][v]);
		}
	}
	for (uint32_t r = 0; r < rows; r++)
		for (uint32_t v = 0; v < vectors; v++)
			vec_store(sums + (size_t)r * padded + dim + v * VEC, tile[r][v]);
}

/*
 * Turns a block's scores into weights e^(score - maximum), 0 where the row does not see the
 * token; rescales what the row has summed so far when the maximum grew. Returns their sum.
 */
static float block_weights(float *scores, uint32_t from, uint32_t to, float *maximum, float *sums,
			   uint32_t padded, float total)
{
	float lanes[LANES];
	float highest = *maximum;
	float rescale;

	for (uint32_t t = 0; t < DN_KV_BLOCK; t++) {
		if (t < from || t >= to)
			scores[t] = -INFINITY;
		else if (scores[t] > highest)
			highest = scores[t];
	}
	rescale = exp_one(*maximum - highest);
	for (uint32_t t = 0; t < DN_KV_BLOCK; t += VEC)
		vec_store(scores + t, vec_exp(vec_sub(vec_load(scores + t), vec_set1(highest))));
	for (int i = 0; i < LANES; i++)
		lanes[i] = scores[i] + scores[i + LANES];
	if (*maximum != highest) {
		for (uint32_t i = 0; i < padded; i += VEC)
			vec_store(sums + i, vec_mul(vec_load(sums + i), vec_set1(rescale)));
		total *= rescale;
		*maximum = highest;
	}
	return total + lanes_sum(lanes);
}

/* Rows that share their loads where fewer than ROWS are left. */
#define FEW_ROWS (ROWS < 2 ? 1 : 2)

static inline __attribute__((always_inline)) void
score_rows(const struct dn_attention *a, const void *keys, uint32_t token, const bool half)
{
	uint32_t r = 0;

	for (; r + ROWS <= a->n_rows; r += ROWS)
		score_tile(a, keys, r, token, a->scratch, ROWS, half);
	for (; r + FEW_ROWS <= a->n_rows; r += FEW_ROWS)
		score_tile(a, keys, r, token, a->scratch, FEW_ROWS, half);
	for (; r < a->n_rows; r++)
		score_tile(a, keys, r, token, a->scratch, 1, half);
}

static inline __attribute__((always_inline)) void
value_rows(const struct dn_attention *a, const void *values, uint32_t n_tokens, float *sums,
	   uint32_t dim, const uint32_t vectors, const bool half)
{
	const uint32_t padded = DN_ROUND_UP(a->head_dim, LANES);
	const float *weights = a->scratch;
	uint32_t r = 0;

	for (; r + ROWS <= a->n_rows; r += ROWS)
		value_tile(values, padded, n_tokens, weights + (size_t)r * DN_KV_BLOCK,
			   sums + (size_t)r * padded, dim, ROWS, vectors, half);
	for (; r + FEW_ROWS <= a->n_rows; r += FEW_ROWS)
		value_tile(values, padded, n_tokens, weights + (size_t)r * DN_KV_BLOCK,
			   sums + (size_t)r * padded, dim, FEW_ROWS, vectors, half);
	for (; r < a->n_rows; r++)
		value_tile(values, padded, n_tokens, weights + (size_t)r * DN_KV_BLOCK,
			   sums + (size_t)r * padded, dim, 1, vectors, half);
}

static inline __attribute__((always_inline)) void attend_block(const struct dn_attention *a,
							       const uint8_t *block, uint32_t start,
							       float *maxima, float *totals,
							       const bool half)
{
	const uint32_t padded = DN_ROUND_UP(a->head_dim, LANES);
	float *sums = a->scratch + (size_t)DN_ATTENTION_ROWS * DN_KV_BLOCK;
	uint32_t most = 0;
	uint32_t d = 0;

	for (uint32_t t = 0; t < DN_KV_BLOCK; t += 2 * VEC)
		score_rows(a, block + a->keys, t, half);
	for (uint32_t r = 0; r < a->n_rows; r++) {
		float *row = a->scratch + (size_t)r * DN_KV_BLOCK;
		uint32_t from = a->begin[r] > start ? a->begin[r] - start : 0;
		uint32_t to = a->end[r] > start ? DN_MIN(a->end[r] - start, DN_KV_BLOCK) : 0;

		if (from >= to) { /* the row sees none of this block */
			memset(row, 0, DN_KV_BLOCK * sizeof(*row));
			continue;
		}
		totals[r] = block_weights(row, from, to, &maxima[r], sums + (size_t)r * padded,
					  padded, totals[r]);
		most = DN_MAX(most, to);
	}
	for (; d + 2 * VEC <= padded; d += 2 * VEC)
		value_rows(a, block + a->values, most, sums, d, 2, half);
	if (d < padded)
		value_rows(a, block + a->values, most, sums, d, 1, half);
}

static void attend(const struct dn_attention *a)
{
	const uint32_t padded = DN_ROUND_UP(a->head_dim, LANES);
	float *sums = a->scratch + (size_t)DN_ATTENTION_ROWS * DN_KV_BLOCK;
	float maxima[DN_ATTENTION_ROWS];
	float totals[DN_ATTENTION_ROWS];
	uint32_t first = UINT32_MAX;
	uint32_t last = 0;

	memset(sums, 0, (size_t)a->n_rows * padded * sizeof(*sums));
	for (uint32_t r = 0; r < a->n_rows; r++) {
		maxima[r] = -INFINITY;
		totals[r] = 0.0f;
		first = DN_MIN(first, a->begin[r] / DN_KV_BLOCK);
		last = DN_MAX(last, DN_DIV_ROUND_UP(a->end[r], DN_KV_BLOCK));
	}
	for (uint32_t b = first; b < last; b++) {
		if (a->half)
			attend_block(a, a->blocks[b], b * DN_KV_BLOCK, maxima, totals, true);
		else
			attend_block(a, a->blocks[b], b * DN_KV_BLOCK, maxima, totals, false);
	}
	for (uint32_t r = 0; r < a->n_rows; r++) {
		const float inverse = 1.0f / totals[r];

		for (uint32_t d = 0; d < a->head_dim; d++)
			a->out[r][d] = sums[(size_t)r * padded + d] * inverse;
	}
}
