/* SPDX-License-Identifier: MIT */
/*
 * The truth: dequantised weights times float32 activations, sums in double, libm's exp. Written to
 * be read, and to have nothing in common with the levels that it judges.
 */

#include <math.h>

#include "kernels/level.h"
#include "kernels/relay.h"

static void quantise(const float *x, uint32_t columns, int8_t *quants, float *scales, float *sums,
		     int32_t *biases)
{
	/* Products of this level read the float32 values. */
	(void)x;
	(void)columns;
	(void)quants;
	(void)scales;
	(void)sums;
	(void)biases;
}

/* Columns a stretch: a group's rows are dequantised into it, then used by every row of X. */
#define STRETCH 256 /* a multiple of every type's block */

static void dequantise(const struct dn_matrix *w, uint32_t group, uint32_t column, uint32_t n,
		       float out[DN_GROUP][STRETCH])
{
	const struct dn_type_info *info = dn_type_info(w->type);
	const size_t bytes = (size_t)DN_GROUP * info->bytes;
	struct dn_matrix part = {
		.type = w->type,
		.rows = DN_GROUP,
		.columns = n,
		.group_bytes = w->group_bytes,
		.data = w->data + group * w->group_bytes + column / info->columns * bytes,
	};

	for (uint32_t lane = 0; lane < DN_GROUP; lane++)
		dn_relay_row(&part, lane, out[lane]);
}

static void product(const struct dn_product *p, uint32_t first, uint32_t count)
{
	const struct dn_matrix *w = p->w;

	for (uint32_t group = first; group < first + count; group++) {
		const uint32_t rows = DN_MIN(w->rows - group * DN_GROUP, (uint32_t)DN_GROUP);

		for (uint32_t c = 0; c < w->columns; c += STRETCH) {
			const uint32_t n = DN_MIN(w->columns - c, (uint32_t)STRETCH);
			float weights[DN_GROUP][STRETCH];

			dequantise(w, group, c, n, weights);
			for (uint32_t t = 0; t < p->n; t++) {
				const float *x = p->x->values + t * p->x->stride + c;
				float *y = p->y + t * p->y_stride + (size_t)group * DN_GROUP;

				for (uint32_t row = 0; row < rows; row++) {
					double sum = c ? (double)y[row] : 0.0;

					for (uint32_t i = 0; i < n; i++)
						sum += (double)weights[row][i] * (double)x[i];
					y[row] = (float)sum;
				}
			}
		}
	}
}

static float cached(const struct dn_attention *a, size_t offset, uint32_t position, size_t at)
{
	const uint8_t *block = a->blocks[position / DN_KV_BLOCK] + offset;

	if (a->half)
		return dn_half_to_float(((const uint16_t *)block)[at]);
	return ((const float *)block)[at];
}

static double score(const struct dn_attention *a, uint32_t row, uint32_t position)
{
	double sum = 0.0;

	for (uint32_t d = 0; d < a->head_dim; d++)
		sum += (double)a->q[row][d] *
		       (double)cached(a, a->keys, position,
				      (size_t)d * DN_KV_BLOCK + position % DN_KV_BLOCK);
	return sum * (double)a->scale;
}

/* Two passes over the scores, as the formula has it. */
static void attend(const struct dn_attention *a)
{
	const uint32_t padded = DN_ROUND_UP(a->head_dim, 16U);

	for (uint32_t r = 0; r < a->n_rows; r++) {
		double highest = -INFINITY;
		double total = 0.0;

		for (uint32_t t = a->begin[r]; t < a->end[r]; t++)
			highest = fmax(highest, score(a, r, t));
		for (uint32_t d = 0; d < a->head_dim; d++)
			a->scratch[d] = 0.0f;
		for (uint32_t t = a->begin[r]; t < a->end[r]; t++) {
			double weight = exp(score(a, r, t) - highest);

			total += weight;
			for (uint32_t d = 0; d < a->head_dim; d++)
				a->scratch[d] += (float)weight *
						 cached(a, a->values, t,
							(size_t)(t % DN_KV_BLOCK) * padded + d);
		}
		for (uint32_t d = 0; d < a->head_dim; d++)
			a->out[r][d] = (float)((double)a->scratch[d] / total);
	}
}

static void rms_norm(float *y, const float *x, const float *weight, uint32_t n, float epsilon)
{
	double sum = 0.0;
	double scale;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	scale = 1.0 / sqrt(sum / n + (double)epsilon);
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)((double)x[i] * scale) * weight[i];
}

static void add(float *y, const float *x, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		y[i] += x[i];
}

static void silu_mul(float *y, const float *gate, const float *up, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)((double)gate[i] / (1.0 + exp(-(double)gate[i]))) * up[i];
}

static void rope(float *x, uint32_t n_pairs, const float *cosines, const float *sines, bool halves)
{
	for (uint32_t i = 0; i < n_pairs; i++) {
		float *a = halves ? &x[i] : &x[2 * i];
		float *b = halves ? &x[n_pairs + i] : &x[2 * i + 1];
		float turned = *a * cosines[i] - *b * sines[i];

		*b = *a * sines[i] + *b * cosines[i];
		*a = turned;
	}
}

static void store(void *to, size_t at, float value, bool half)
{
	if (half)
		((uint16_t *)to)[at] = dn_float_to_half(value);
	else
		((float *)to)[at] = value;
}

static void store_key(void *block, const float *key, uint32_t n, bool half)
{
	for (uint32_t i = 0; i < n; i++)
		store(block, (size_t)DN_KV_BLOCK * i, key[i], half);
}

static void store_value(void *row, const float *value, uint32_t n, bool half)
{
	for (uint32_t i = 0; i < DN_ROUND_UP(n, 16U); i++)
		store(row, i, i < n ? value[i] : 0.0f, half);
}

const struct dn_kernels dn_kernels_ref = DN_KERNELS_TABLE(DN_LEVEL_REF, "ref", false);
