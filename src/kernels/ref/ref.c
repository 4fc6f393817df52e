/* SPDX-License-Identifier: MIT */
/*
 * The truth: dequantised weights times float32 activations, sums in double, libm's exp. Written to
 * be read, and to have nothing in common with the levels that it judges.
 */

#include <math.h>
#include <string.h>

#include "kernels/level.h"
#include "kernels/relay.h"

static void quantise(const float *x, uint32_t columns, int8_t *quants, float *scales, float *sums,
		     int32_t *biases, int16_t *pairs)
{
	/* Products of this level read the float32 values. */
	(void)x;
	(void)columns;
	(void)quants;
	(void)scales;
	(void)sums;
	(void)biases;
	(void)pairs;
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

	if (a->type == DN_KV_Q8_0)
		return ((const int8_t *)block)[at];
	if (a->type == DN_KV_F16)
		return dn_half_to_float(((const uint16_t *)block)[at]);
	return ((const float *)block)[at];
}

/* Of a token's element @d, of keys or of values. */
static double cached_scale(const struct dn_attention *a, size_t offset, uint32_t position,
			   uint32_t d)
{
	const uint32_t row = dn_kv_row(a->head_dim, a->type);
	const uint8_t *scales =
		a->blocks[position / DN_KV_BLOCK] + offset + (size_t)row * DN_KV_BLOCK;

	if (a->type != DN_KV_Q8_0)
		return 1.0;
	return (double)dn_half_to_float(
		((const uint16_t *)scales)[d / 32 * DN_KV_BLOCK + position % DN_KV_BLOCK]);
}

static double score(const struct dn_attention *a, uint32_t row, uint32_t position)
{
	const uint32_t slot = position % DN_KV_BLOCK;
	double sum = 0.0;

	for (uint32_t d = 0; d < a->head_dim; d++)
		sum += (double)a->q[row][d] *
		       (double)cached(a, a->keys, position, (size_t)d * DN_KV_BLOCK + slot) *
		       cached_scale(a, a->keys, position, d);
	sum *= (double)a->scale;
	return a->softcap > 0.0f ? (double)a->softcap * tanh(sum / (double)a->softcap) : sum;
}

/* A part of positions [from, to): two passes over the scores, as the formula has it. */
static void attend_range(const struct dn_attention *a, uint32_t r, uint32_t from, uint32_t to,
			 float *part)
{
	const uint32_t padded = dn_kv_row(a->head_dim, a->type);
	float *ends = part + dn_attention_ends(a->head_dim);
	double total = 0.0;
	float highest = -INFINITY;

	for (uint32_t t = from; t < to; t++)
		highest = fmaxf(highest, (float)score(a, r, t));
	memset(part, 0, dn_attention_part(a->head_dim) * sizeof(*part));
	for (uint32_t t = from; t < to; t++) {
		double weight = exp(score(a, r, t) - (double)highest);

		total += weight;
		for (uint32_t d = 0; d < a->head_dim; d++) {
			const size_t at = (size_t)(t % DN_KV_BLOCK) * padded + d;
			const double scale = cached_scale(a, a->values, t, d);

			part[d] += (float)(weight * scale) * cached(a, a->values, t, at);
		}
	}
	ends[0] = highest;
	ends[1] = (float)total;
}

static void attend_span(const struct dn_attention *a, uint32_t span)
{
	const uint32_t first = span * DN_ATTENTION_SPAN;

	for (uint32_t r = 0; r < a->n_rows; r++)
		attend_range(a, r, DN_MAX(a->begin[r], first),
			     DN_MIN(a->end[r], first + DN_ATTENTION_SPAN), a->out[r]);
}

static void join(float *part, const float *next, uint32_t head_dim)
{
	const uint32_t ends = dn_attention_ends(head_dim);
	const double highest = fmax((double)part[ends], (double)next[ends]);
	const double old = part[ends + 1] > 0.0f ? exp((double)part[ends] - highest) : 0.0;
	const double new = next[ends + 1] > 0.0f ? exp((double)next[ends] - highest) : 0.0;

	for (uint32_t d = 0; d < head_dim; d++)
		part[d] = (float)((double)part[d] * old + (double)next[d] * new);
	part[ends] = (float)highest;
	part[ends + 1] = (float)((double)part[ends + 1] * old + (double)next[ends + 1] * new);
}

static void attend_join(float *parts, uint32_t n, uint32_t head_dim, float *out)
{
	const size_t size = dn_attention_part(head_dim);

	for (uint32_t i = 1; i < n; i++)
		join(parts, parts + i * size, head_dim);
	for (uint32_t d = 0; d < head_dim; d++)
		out[d] = (float)((double)parts[d] / (double)parts[dn_attention_ends(head_dim) + 1]);
}

static void attend(const struct dn_attention *a)
{
	float *next = a->scratch + dn_attention_part(a->head_dim);

	for (uint32_t r = 0; r < a->n_rows; r++) {
		uint32_t from = a->begin[r];

		for (float *part = a->scratch; from < a->end[r]; part = next) {
			const uint32_t span = from / DN_ATTENTION_SPAN;
			const uint32_t to = DN_MIN(a->end[r], (span + 1) * DN_ATTENTION_SPAN);

			attend_range(a, r, from, to, part);
			if (part == next)
				join(a->scratch, next, a->head_dim);
			from = to;
		}
		attend_join(a->scratch, 1, a->head_dim, a->out[r]);
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
		y[i] = (float)((double)x[i] * scale) * (weight ? weight[i] : 1.0f);
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, uint32_t n,
		       float epsilon)
{
	double mean = 0.0;
	double variance = 0.0;
	double scale;

	for (uint32_t i = 0; i < n; i++)
		mean += (double)x[i] / n;
	for (uint32_t i = 0; i < n; i++)
		variance += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
	scale = 1.0 / sqrt(variance + (double)epsilon);
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)(((double)x[i] - mean) * scale) * weight[i] + (bias ? bias[i] : 0.0f);
}

static void add_scaled(float *y, const float *x, float scale, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)((double)y[i] + (double)x[i] * (double)scale);
}

static void multiply(float *y, const float *a, const float *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		y[i] = a[i] * b[i];
}

static void scale_by(float *x, float factor, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		x[i] *= factor;
}

static void softcap(float *x, float cap, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		x[i] = (float)((double)cap * tanh((double)x[i] / (double)cap));
}

static double activated(enum dn_activation activation, double x)
{
	switch (activation) {
	case DN_ACTIVATION_SILU:
		return x / (1.0 + exp(-x));
	case DN_ACTIVATION_GELU:
		return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
	case DN_ACTIVATION_GELU_ERF:
		return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
	default:
		return 1.0 / (1.0 + exp(-x));
	}
}

static void activate(enum dn_activation activation, float *y, const float *x, const float *up,
		     uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)activated(activation, (double)x[i]) * (up ? up[i] : 1.0f);
}

static void recur(const struct dn_recurrence *r)
{
	for (uint32_t j = 0; j < r->n_values; j++) {
		double answer = 0.0;
		double out = 0.0;
		double d;

		for (uint32_t i = 0; r->delta && i < r->n_keys; i++)
			answer += (double)r->state[(size_t)i * r->n_values + j] * (double)r->decay *
				  (double)r->k[i];
		d = (double)r->beta * ((double)r->v[j] - answer);
		for (uint32_t i = 0; i < r->n_keys; i++) {
			float *s = &r->state[(size_t)i * r->n_values + j];
			const double changed = (double)*s * (double)r->decay + (double)r->k[i] * d;

			out += changed * (double)r->q[i];
			*s = (float)changed;
		}
		r->out[j] = (float)out;
	}
}

static void convolve(const struct dn_convolution *c, uint32_t first, uint32_t count)
{
	const uint32_t end = DN_MIN((first + count) * DN_GROUP, c->w->rows);

	for (uint32_t channel = first * DN_GROUP; channel < end; channel++) {
		const float *w =
			(const float *)(c->w->data + channel / DN_GROUP * c->w->group_bytes) +
			channel % DN_GROUP;
		double sum = 0.0;

		for (uint32_t t = 0; t < c->w->columns; t++)
			sum += (double)w[(size_t)t * DN_GROUP] * (double)c->inputs[t][channel];
		c->out[channel] = (float)sum;
	}
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

/* What the cache holds is part of its format, not of the arithmetic that is judged. */
static void store_key(void *keys, uint32_t slot, const float *key, uint32_t n, enum dn_kv_type type)
{
	dn_kernels_scalar.store_key(keys, slot, key, n, type);
}

static void store_value(void *values, uint32_t slot, const float *value, uint32_t n,
			enum dn_kv_type type)
{
	dn_kernels_scalar.store_value(values, slot, value, n, type);
}

static uint64_t multiply_alone(uint32_t rounds)
{
	(void)rounds;
	return 0;
}

const struct dn_kernels dn_kernels_ref = DN_KERNELS_TABLE(DN_LEVEL_REF, "ref", false);
