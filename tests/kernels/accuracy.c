/* SPDX-License-Identifier: MIT */
/* The levels against ref, which shares nothing with them: bounds that rounding explains. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "harness.h"
#include "kernels/level.h"
#include "kernels/relay.h"
#include "kernels/shape.h"

#define COLUMNS 1280
#define ROWS	33
#define N	5

static const struct dn_kernels *tested(size_t i)
{
	const struct level *level = levels();

	if (i == 0)
		return &dn_kernels_scalar;
	while (level->name && --i)
		level++;
	return level->kernels;
}

/* The larger; no number is the largest. */
static double worse(double a, double b)
{
	return isnan(a) || a > b ? a : b;
}

struct product_case {
	float x[N * COLUMNS];
	int8_t quants[N * COLUMNS];
	float scales[N * COLUMNS / DN_BLOCK];
	float sums[N * COLUMNS / DN_BLOCK];
	int32_t biases[N * COLUMNS / DN_BLOCK];
	int16_t pairs[N * COLUMNS / DN_BLOCK * 2];
	uint8_t file[DN_GROUP * COLUMNS * 4];
	uint8_t data[3 * DN_GROUP * COLUMNS * 4];
};

static void fill(struct product_case *c, enum dn_type type, struct dn_matrix *w)
{
	const struct dn_type_info *info = dn_type_info(type);
	size_t offsets[2];
	const size_t n_halves = half_offsets(type, offsets);

	*w = (struct dn_matrix){ .type = type,
				 .rows = ROWS,
				 .columns = COLUMNS,
				 .group_bytes = dn_relay_group_bytes(type, COLUMNS),
				 .data = c->data };
	for (uint32_t row = 0; row < ROWS; row += DN_GROUP) {
		const uint32_t n = DN_MIN(ROWS - row, (uint32_t)DN_GROUP);

		for (size_t i = 0; i < n * dn_relay_row_bytes(type, COLUMNS); i += info->bytes) {
			const float value = random_unit();

			for (uint32_t k = 0; k < info->bytes; k++)
				c->file[i + k] = (uint8_t)random_u32();
			if (type == DN_TYPE_F32)
				memcpy(c->file + i, &value, 4);
			if (type == DN_TYPE_BF16)
				memcpy(c->file + i, (const uint8_t *)&value + 2, 2);
			for (size_t k = 0; k < n_halves; k++) {
				const uint16_t half = dn_float_to_half(random_unit() * 0.02f);

				memcpy(c->file + i + offsets[k], &half, 2);
			}
		}
		dn_relay_group(type, COLUMNS, c->file, n,
			       c->data + row / DN_GROUP * w->group_bytes);
	}
	for (size_t i = 0; i < N * COLUMNS; i++)
		c->x[i] = random_unit() * (i % 97 ? 1.0f : 20.0f);
	dn_kernels_scalar.quantise(c->x, N * COLUMNS, c->quants, c->scales, c->sums, c->biases,
				   c->pairs);
}

/*
 * A quant is off by at most half a step, so a sum by half a step times the sum of |w|; besides
 * that only float32 rounding, of which 2e-6 of the sum of magnitudes leaves some room.
 */
static double bound(const struct product_case *c, const struct dn_matrix *matrix, uint32_t i,
		    bool quantised)
{
	static float w[COLUMNS];
	const size_t first = (size_t)(i / ROWS) * COLUMNS;
	double sum = 0.0;

	dn_relay_row(matrix, i % ROWS, w);
	for (uint32_t k = 0; k < COLUMNS; k++) {
		const double step = (double)c->scales[(first + k) / DN_BLOCK];
		const double off =
			2e-6 * (double)fabsf(c->x[first + k]) + (quantised ? step / 2.0 : 0.0);

		sum += (double)fabsf(w[k]) * off;
	}
	return sum;
}

static void check_products(enum dn_type type)
{
	static struct product_case c;
	const bool quantised = dn_type_shape(type).runs > 0;
	struct dn_matrix matrix;
	struct dn_activations x = { COLUMNS,  c.x,    COLUMNS,	c.quants, COLUMNS,
				    c.scales, c.sums, c.biases, c.pairs };
	float want[N * ROWS];
	float *got = place(0, N * ROWS * sizeof(*got), 0);
	struct dn_product p = { &matrix, &x, N, want, ROWS };

	random_seed(type);
	fill(&c, type, &matrix);
	dn_kernels_ref.product(&p, 0, 3);
	p.y = got;
	for (size_t l = 0; tested(l); l++) {
		double errors = 0.0;
		double squares = 0.0;

		tested(l)->product(&p, 0, 3);
		EXPECT(!places_intact(), "%s: %s", tested(l)->name, places_intact());
		for (uint32_t i = 0; i < N * ROWS; i++) {
			const double error = fabs((double)got[i] - (double)want[i]);

			EXPECT(error <= bound(&c, &matrix, i, quantised),
			       "%s %s: %g is %g away from ref", tested(l)->name,
			       dn_type_info(type)->name, (double)got[i], error);
			errors += error * error;
			squares += (double)want[i] * (double)want[i];
		}
		errors = sqrt(errors / squares);
		if (l == 0)
			(void)printf("%s: relative error %.2e\n", dn_type_info(type)->name, errors);
		/* An outlier in every third block: larger than with even activations. */
		EXPECT(errors < (quantised ? 0.02 : 1e-6), "%s %s: relative error %g",
		       tested(l)->name, dn_type_info(type)->name, errors);
	}
}

static void check_attend(uint32_t head_dim)
{
	static float want[DN_ATTENTION_ROWS * 256];
	static float got[DN_ATTENTION_ROWS * 256];
	double worst = 0.0;

	for (unsigned int round = 0; round < DN_KV_COUNT * DN_ATTENTION_ROWS; round++) {
		struct attention_case c = { .n_blocks = round % 8 ? 5 : 40 };

		random_seed((uint64_t)head_dim << 8 | round);
		c.a.head_dim = head_dim;
		c.a.type = (enum dn_kv_type)(round / DN_ATTENTION_ROWS);
		c.a.softcap = round % 4 == 1 ? 20.0f : 0.0f;
		c.a.scale = 1.0f / sqrtf((float)head_dim);
		attention_window(&c, 1 + round % DN_ATTENTION_ROWS);
		attention_fill(&c, 2.0f);
		EXPECT(attention_run(&c, &dn_kernels_ref, want), "ref: left its buffers");
		for (size_t l = 0; tested(l); l++) {
			EXPECT(attention_run(&c, tested(l), got), "left its buffers");
			for (uint32_t i = 0; i < c.a.n_rows * head_dim; i++)
				worst = worse(worst, fabs((double)got[i] - (double)want[i]) / 3.0);
		}
	}
	(void)printf("attention of %u: error %.2e of the largest value\n", head_dim, worst);
	EXPECT(worst < 3e-6, "attention of %u: error %g of the largest value", head_dim, worst);
}

/* The largest error, relative or to what is about one, of each operation on rows. */
enum { RMS_NORM, LAYER_NORM, SOFTCAP, SILU, GELU, GELU_ERF, SIGMOID, N_ERRORS };

static const struct {
	const char *name;
	double bound;
	bool absolute;
} errors_allowed[N_ERRORS] = {
	[RMS_NORM] = { "rms_norm", 1e-6, false }, [LAYER_NORM] = { "layer_norm", 3e-6, true },
	[SOFTCAP] = { "softcap", 4e-6, true },	  [SILU] = { "silu", 5e-7, false },
	[GELU] = { "gelu", 4e-6, true },	  [GELU_ERF] = { "gelu of erf", 4e-6, true },
	[SIGMOID] = { "sigmoid", 5e-7, false },
};

static double error_of(int which, const float *got, const float *want, uint32_t n, double worst)
{
	for (uint32_t i = 0; i < n; i++) {
		const double difference = (double)got[i] - (double)want[i];

		worst = worse(worst,
			      fabs(errors_allowed[which].absolute ? difference
								  : difference / (double)want[i]));
	}
	return worst;
}

static void run_row(const struct dn_kernels *k, int which, float *y, const float *x,
		    const float *weight, uint32_t n)
{
	switch (which) {
	case RMS_NORM:
		k->rms_norm(y, x, weight, n, 1e-6f);
		break;
	case LAYER_NORM:
		k->layer_norm(y, x, weight, weight, n, 1e-6f);
		break;
	case SOFTCAP:
		memcpy(y, x, n * sizeof(*y));
		k->softcap(y, 20.0f, n);
		break;
	default:
		k->activate((enum dn_activation)(which - SILU), y, x, weight, n);
	}
}

static void check_rows(uint32_t n)
{
	static float x[4096];
	static float weight[4096];
	static float want[4096];
	static float got[4096];

	random_seed(n);
	for (uint32_t i = 0; i < n; i++) {
		x[i] = random_unit() * 30.0f;
		weight[i] = 1.0f + random_unit() / 2.0f;
	}
	for (int which = 0; which < N_ERRORS; which++) {
		double worst = 0.0;

		run_row(&dn_kernels_ref, which, want, x, weight, n);
		for (size_t l = 0; tested(l); l++) {
			run_row(tested(l), which, got, x, weight, n);
			worst = error_of(which, got, want, n, worst);
		}
		EXPECT(worst < errors_allowed[which].bound, "%s of %u: error %g",
		       errors_allowed[which].name, n, worst);
	}
}

void check_accuracy(const char *unused)
{
	static const uint32_t head_dims[] = { 16, 24, 64, 128, 256 };

	(void)unused;
	for (uint32_t type = 0; type < DN_TYPE_COUNT; type++)
		if (dn_type_info(type) && dn_type_computes((enum dn_type)type))
			check_products((enum dn_type)type);
	for (size_t i = 0; i < DN_ARRAY_SIZE(head_dims); i++)
		check_attend(head_dims[i]);
	for (uint32_t n = 1; n <= 4096; n = n * 3 / 2 + 1)
		check_rows(n);
}
