/* SPDX-License-Identifier: MIT */
/* The operations on rows: lengths 1 to 67, in place and not, extreme values. */

#include <math.h>
#include <string.h>

#include "harness.h"
#include "kernels/level.h"

#define LENGTH_MAX 67

enum { PLACE_Y, PLACE_A, PLACE_B, PLACE_C };

enum operation {
	NORM,
	NORM_IN_PLACE,
	NORM_WITHOUT_WEIGHT,
	LAYER_NORM,
	LAYER_NORM_WITHOUT_BIAS,
	ADD_SCALED,
	MULTIPLY,
	SCALE,
	SOFTCAP,
	SILU,
	SILU_IN_PLACE,
	SILU_ALONE,
	GELU,
	GELU_ERF,
	SIGMOID,
	ROPE,
	ROPE_HALVES,
	RECUR,
	RECUR_DELTA,
	CONVOLVE,
	KEY,
	VALUE,
	N_OPERATIONS
};

static const char *const names[N_OPERATIONS] = {
	"rms_norm",
	"rms_norm in place",
	"rms_norm without weight",
	"layer_norm",
	"layer_norm without bias",
	"add_scaled",
	"multiply",
	"scale",
	"softcap",
	"silu",
	"silu in place",
	"silu alone",
	"gelu",
	"gelu of erf",
	"sigmoid",
	"rope",
	"rope of halves",
	"recur",
	"recur with the delta rule",
	"convolve",
	"store_key",
	"store_value",
};

#define KEYS 5 /* rows of a recurrence's state */
#define TAPS 4

struct call {
	const struct dn_kernels *kernels;
	enum operation operation;
	enum dn_kv_type type;
	uint32_t n;
	uint8_t *y;
	const float *a;
	const float *b;
	const float *c;
};

/* The state is the first KEYS * n floats of y, what comes out the n behind them. */
static void run_recurrence(const struct call *o, float *y)
{
	static const float k[KEYS] = { 0.5f, -1.25f, 0.0f, 2.0f, 1e-3f };
	static const float q[KEYS] = { 1.0f, 0.75f, -3.0f, 0.1f, 7.0f };
	const struct dn_recurrence r = {
		.state = y,
		.n_keys = KEYS,
		.n_values = o->n,
		.k = k,
		.q = q,
		.v = o->a,
		.out = y + (size_t)KEYS * o->n,
		.decay = 0.9f,
		.beta = 0.3f,
		.delta = o->operation == RECUR_DELTA,
	};

	o->kernels->recur(&r);
}

/* Weights as relay.h lays F32 out: whole groups of rows, so that the last one's are made up. */
static void run_convolution(const struct call *o, float *y)
{
	static _Alignas(64) float weights[DN_DIV_ROUND_UP(LENGTH_MAX, DN_GROUP)][TAPS][DN_GROUP];
	const struct dn_matrix w = { .type = DN_TYPE_F32,
				     .rows = o->n,
				     .columns = TAPS,
				     .group_bytes = sizeof(weights[0]),
				     .data = (const uint8_t *)weights };
	const float *const inputs[TAPS] = { o->a, o->b, o->c, o->a };
	const struct dn_convolution c = { &w, inputs, y };

	for (uint32_t i = 0; i < DN_ARRAY_SIZE(weights) * TAPS * DN_GROUP; i++)
		(&weights[0][0][0])[i] = (float)(i % 17) - 8.0f;
	o->kernels->convolve(&c, 0, DN_DIV_ROUND_UP(o->n, DN_GROUP));
}

static void run_row(const struct call *o, float *y)
{
	const struct dn_kernels *k = o->kernels;

	switch (o->operation) {
	case NORM:
		k->rms_norm(y, o->a, o->b, o->n, 1e-5f);
		break;
	case NORM_IN_PLACE:
		k->rms_norm(y, y, o->b, o->n, 1e-5f);
		break;
	case NORM_WITHOUT_WEIGHT:
		k->rms_norm(y, o->a, NULL, o->n, 1e-5f);
		break;
	case LAYER_NORM:
		k->layer_norm(y, o->a, o->b, o->c, o->n, 1e-5f);
		break;
	case LAYER_NORM_WITHOUT_BIAS:
		k->layer_norm(y, y, o->b, NULL, o->n, 1e-5f);
		break;
	case ADD_SCALED:
		k->add_scaled(y, o->a, 0.7f, o->n);
		break;
	case MULTIPLY:
		k->multiply(y, o->a, o->b, o->n);
		break;
	case SCALE:
		k->scale(y, -1.7f, o->n);
		break;
	default:
		k->softcap(y, 30.0f, o->n);
	}
}

static void run(void *data)
{
	const struct call *o = data;
	const struct dn_kernels *k = o->kernels;
	float *y = (float *)(void *)o->y;

	switch (o->operation) {
	case SILU:
		k->activate(DN_ACTIVATION_SILU, y, o->a, o->b, o->n);
		break;
	case SILU_IN_PLACE:
		k->activate(DN_ACTIVATION_SILU, y, y, o->b, o->n);
		break;
	case SILU_ALONE:
		k->activate(DN_ACTIVATION_SILU, y, o->a, NULL, o->n);
		break;
	case GELU:
		k->activate(DN_ACTIVATION_GELU, y, o->a, o->b, o->n);
		break;
	case GELU_ERF:
		k->activate(DN_ACTIVATION_GELU_ERF, y, o->a, NULL, o->n);
		break;
	case SIGMOID:
		k->activate(DN_ACTIVATION_SIGMOID, y, o->a, y, o->n);
		break;
	case ROPE:
	case ROPE_HALVES:
		k->rope(y, o->n, o->b, o->c, o->operation == ROPE_HALVES);
		break;
	case RECUR:
	case RECUR_DELTA:
		run_recurrence(o, y);
		break;
	case CONVOLVE:
		run_convolution(o, y);
		break;
	case KEY:
		k->store_key(y, o->n % DN_KV_BLOCK, o->a, o->n, o->type);
		break;
	case VALUE:
		k->store_value(y, o->n % DN_KV_BLOCK, o->a, o->n, o->type);
		break;
	default:
		run_row(o, y);
	}
}

static size_t output_bytes(enum operation operation, uint32_t n, enum dn_kv_type type)
{
	switch (operation) {
	case ROPE:
	case ROPE_HALVES:
		return (size_t)2 * n * sizeof(float);
	case RECUR:
	case RECUR_DELTA:
		return (size_t)(KEYS + 1) * n * sizeof(float);
	case KEY:
	case VALUE:
		return dn_kv_head_bytes(n, type);
	default:
		return n * sizeof(float);
	}
}

static float value(unsigned int round)
{
	static const float extremes[] = { 0.0f,	    -0.0f,	INFINITY,  -INFINITY, NAN,
					  65504.0f, 65520.0f,	-65519.9f, 1e-40f,    0x1p-24f,
					  0x1p-25f, 0x1.8p-25f, 3e38f,	   -3e38f,    88.8f,
					  -88.8f,   87.0f,	-87.0f,	   -104.0f,   1e-8f };

	if (round % 3 == 2 && random_below(4) == 0)
		return extremes[random_below(DN_ARRAY_SIZE(extremes))];
	if (round % 3 == 1)
		return ldexpf(random_unit(), (int)random_below(60) - 30);
	return random_unit() * 10.0f;
}

static float *inputs(unsigned int slot, uint32_t n, unsigned int round)
{
	float *x = place(slot, n * sizeof(float), 0);

	for (uint32_t i = 0; i < n; i++)
		x[i] = value(round);
	return x;
}

/* Halves compare as the floats that they are: no number is as good as another. */
static bool same_halves(const uint8_t *got, const uint8_t *want, size_t bytes)
{
	for (size_t i = 0; i < bytes / 2; i++) {
		uint16_t g;
		uint16_t w;

		memcpy(&g, got + 2 * i, 2);
		memcpy(&w, want + 2 * i, 2);
		if (g != w && !((g & 0x7fff) > 0x7c00 && (w & 0x7fff) > 0x7c00))
			return false;
	}
	return true;
}

static bool same(const struct call *call, const uint8_t *want, size_t bytes)
{
	if (call->operation >= KEY && call->type == DN_KV_Q8_0)
		return memcmp(call->y, want, bytes) == 0;
	if (call->operation >= KEY && call->type == DN_KV_F16)
		return same_halves(call->y, want, bytes);
	return first_difference((const void *)call->y, (const void *)want, bytes / 4) == bytes / 4;
}

static void check_one(enum operation operation, uint32_t n, enum dn_kv_type type,
		      unsigned int round)
{
	static _Alignas(16) uint8_t before[(size_t)DN_ROUND_UP(LENGTH_MAX, 32) * DN_KV_BLOCK * 4];
	static _Alignas(16) uint8_t want[sizeof(before)];
	const size_t bytes = output_bytes(operation, n, type);
	struct call call = { &dn_kernels_scalar, operation, type, n, want, NULL, NULL, NULL };

	random_seed((uint64_t)operation << 40 | (uint64_t)type << 38 | n << 8 | round);
	call.a = inputs(PLACE_A, n, round);
	call.b = inputs(PLACE_B, n, round);
	call.c = inputs(PLACE_C, n, round);
	for (size_t i = 0; i + 4 <= sizeof(before); i += 4) {
		float x = value(round);

		memcpy(before + i, &x, 4);
	}
	memcpy(want, before, sizeof(before));
	run(&call);
	for (const struct level *level = levels(); level->name; level++) {
		const char *damage;

		call.kernels = level->kernels;
		call.y = place(PLACE_Y, bytes, 0);
		memcpy(call.y, before, bytes);
		EXPECT(survives(run, &call), "%s %s n=%u round %u: left its buffers", level->name,
		       names[operation], n, round);
		EXPECT(same(&call, want, bytes),
		       "%s %s type %d n=%u round %u: not the bits of scalar", level->name,
		       names[operation], (int)type, n, round);
		damage = places_intact();
		EXPECT(!damage, "%s %s n=%u: %s", level->name, names[operation], n, damage);
	}
}

void check_vectors(const char *unused)
{
	(void)unused;
	for (int operation = 0; operation < N_OPERATIONS; operation++)
		for (uint32_t n = 1; n <= LENGTH_MAX; n++)
			for (unsigned int round = 0; round < 12; round++)
				for (int type = 0; type < (operation >= KEY ? DN_KV_COUNT : 1);
				     type++)
					check_one((enum operation)operation, n,
						  (enum dn_kv_type)type, round);
}
