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
	ADD,
	SILU,
	SILU_IN_PLACE,
	ROPE,
	ROPE_HALVES,
	KEY,
	VALUE,
	N_OPERATIONS
};

static const char *const names[N_OPERATIONS] = {
	"rms_norm", "rms_norm in place", "add",	      "silu_mul",    "silu_mul in place",
	"rope",	    "rope of halves",	 "store_key", "store_value",
};

struct call {
	const struct dn_kernels *kernels;
	enum operation operation;
	bool half;
	uint32_t n;
	uint8_t *y;
	const float *a;
	const float *b;
	const float *c;
};

static void run(void *data)
{
	const struct call *o = data;
	const struct dn_kernels *k = o->kernels;
	float *y = (float *)(void *)o->y;

	switch (o->operation) {
	case NORM:
		k->rms_norm(y, o->a, o->b, o->n, 1e-5f);
		break;
	case NORM_IN_PLACE:
		k->rms_norm(y, y, o->b, o->n, 1e-5f);
		break;
	case ADD:
		k->add(y, o->a, o->n);
		break;
	case SILU:
		k->silu_mul(y, o->a, o->b, o->n);
		break;
	case SILU_IN_PLACE:
		k->silu_mul(y, y, o->b, o->n);
		break;
	case ROPE:
	case ROPE_HALVES:
		k->rope(y, o->n, o->b, o->c, o->operation == ROPE_HALVES);
		break;
	case KEY:
		k->store_key(y, o->a, o->n, o->half);
		break;
	default:
		k->store_value(y, o->a, o->n, o->half);
	}
}

static size_t output_bytes(enum operation operation, uint32_t n, bool half)
{
	const size_t element = half ? 2 : 4;

	switch (operation) {
	case ROPE:
	case ROPE_HALVES:
		return (size_t)2 * n * sizeof(float);
	case KEY:
		return ((size_t)(n - 1) * DN_KV_BLOCK + 1) * element;
	case VALUE:
		return (size_t)DN_ROUND_UP(n, 16U) * element;
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
static bool same(const uint8_t *got, const uint8_t *want, size_t bytes, bool half)
{
	for (size_t i = 0; half && i < bytes / 2; i++) {
		uint16_t g;
		uint16_t w;

		memcpy(&g, got + 2 * i, 2);
		memcpy(&w, want + 2 * i, 2);
		if (g != w && !((g & 0x7fff) > 0x7c00 && (w & 0x7fff) > 0x7c00))
			return false;
	}
	if (half)
		return true;
	return first_difference((const void *)got, (const void *)want, bytes / 4) == bytes / 4;
}

static void check_one(enum operation operation, uint32_t n, bool half, unsigned int round)
{
	static _Alignas(16) uint8_t before[(size_t)LENGTH_MAX * DN_KV_BLOCK * 4];
	static _Alignas(16) uint8_t want[sizeof(before)];
	const size_t bytes = output_bytes(operation, n, half);
	struct call call = { &dn_kernels_scalar, operation, half, n, want, NULL, NULL, NULL };

	random_seed((uint64_t)operation << 40 | (uint64_t)half << 39 | n << 8 | round);
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
		EXPECT(same(call.y, want, bytes, half && operation >= KEY),
		       "%s %s%s n=%u round %u: not the bits of scalar", level->name,
		       names[operation], half ? " F16" : "", n, round);
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
				for (int half = 0; half < (operation >= KEY ? 2 : 1); half++)
					check_one((enum operation)operation, n, half, round);
}
