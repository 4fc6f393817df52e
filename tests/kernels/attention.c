/* SPDX-License-Identifier: MIT */
/* Attention over a cache whose blocks lie anywhere and whose unused tokens hold rubbish. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "harness.h"
#include "kernels/level.h"

enum { PLACE_CACHE, PLACE_SCRATCH, PLACE_Q, PLACE_OUT = PLACE_Q + DN_ATTENTION_ROWS };

static void store_one(void *at, size_t i, float value, bool half)
{
	if (half)
		((uint16_t *)at)[i] = dn_float_to_half(value);
	else
		((float *)at)[i] = value;
}

void attention_fill(struct attention_case *c, float magnitude)
{
	const size_t element = c->a.half ? 2 : 4;
	const uint32_t padded = DN_ROUND_UP(c->a.head_dim, 16U);
	const size_t key_bytes = (size_t)c->a.head_dim * DN_KV_BLOCK * element;
	const size_t block_bytes = key_bytes + (size_t)padded * DN_KV_BLOCK * element;
	uint32_t most = 0;
	uint8_t *cache = place(PLACE_CACHE, c->n_blocks * block_bytes, 0);

	for (uint32_t r = 0; r < c->a.n_rows; r++)
		most = DN_MAX(most, c->a.end[r]);
	for (uint32_t b = 0; b < c->n_blocks; b++) {
		/* The last block first: order in memory is not order in the sequence. */
		uint8_t *block = cache + (c->n_blocks - 1 - b) * block_bytes;

		c->blocks[b] = block;
		for (uint32_t t = 0; t < DN_KV_BLOCK; t++) {
			const bool written = b * DN_KV_BLOCK + t < most;

			for (uint32_t d = 0; d < c->a.head_dim; d++)
				store_one(block, (size_t)d * DN_KV_BLOCK + t,
					  written ? random_unit() * magnitude : NAN, c->a.half);
			for (uint32_t d = 0; d < padded; d++)
				store_one(block + key_bytes, (size_t)t * padded + d,
					  !written	      ? NAN
					  : d < c->a.head_dim ? random_unit() * 3.0f
							      : 0.0f,
					  c->a.half);
		}
	}
	c->a.blocks = c->blocks;
	c->a.keys = 0;
	c->a.values = key_bytes;
	for (uint32_t r = 0; r < c->a.n_rows; r++) {
		float *q = place(PLACE_Q + r, c->a.head_dim * sizeof(float), 0);

		for (uint32_t d = 0; d < c->a.head_dim; d++)
			q[d] = random_unit() * magnitude;
		c->a.q[r] = q;
	}
}

struct call {
	const struct dn_kernels *kernels;
	const struct dn_attention *attention;
};

static void call_attend(void *data)
{
	const struct call *call = data;

	call->kernels->attend(call->attention);
}

bool attention_run(struct attention_case *c, const struct dn_kernels *kernels, float *out)
{
	const size_t bytes = dn_attention_scratch(c->a.head_dim) * sizeof(float);
	struct call call = { kernels, &c->a };
	float *rows = place(PLACE_OUT, (size_t)c->a.n_rows * c->a.head_dim * sizeof(float), 0);

	c->a.scratch = place(PLACE_SCRATCH, bytes, 0);
	memset(c->a.scratch, 0xff, bytes);
	for (uint32_t r = 0; r < c->a.n_rows; r++)
		c->a.out[r] = rows + (size_t)r * c->a.head_dim;
	if (!survives(call_attend, &call))
		return false;
	memcpy(out, rows, (size_t)c->a.n_rows * c->a.head_dim * sizeof(float));
	return true;
}

/* A row by itself: the same bits as among the others. */
static void check_alone(struct attention_case *c, const struct level *level, const float *want)
{
	struct attention_case alone = *c;
	float got[256];
	const uint32_t r = random_below(c->a.n_rows);

	alone.a.n_rows = 1;
	alone.a.q[0] = c->a.q[r];
	alone.a.begin[0] = c->a.begin[r];
	alone.a.end[0] = c->a.end[r];
	if (!attention_run(&alone, level->kernels, got)) {
		fail("%s head_dim %u row %u alone: left its buffers", level->name, c->a.head_dim,
		     r);
		return;
	}
	EXPECT(first_difference(got, want + (size_t)r * c->a.head_dim, c->a.head_dim) ==
		       c->a.head_dim,
	       "%s head_dim %u %s rows %u: row %u differs alone", level->name, c->a.head_dim,
	       c->a.half ? "F16" : "F32", c->a.n_rows, r);
}

static void check_case(struct attention_case *c, unsigned int round)
{
	static float want[DN_ATTENTION_ROWS * 256];
	static float got[DN_ATTENTION_ROWS * 256];
	const size_t n = (size_t)c->a.n_rows * c->a.head_dim;

	if (!attention_run(c, &dn_kernels_scalar, want)) {
		fail("scalar head_dim %u round %u: left its buffers", c->a.head_dim, round);
		return;
	}
	for (const struct level *level = levels(); level->name; level++) {
		const char *damage;
		size_t at;

		if (!attention_run(c, level->kernels, got)) {
			fail("%s head_dim %u %s rows %u round %u: left its buffers", level->name,
			     c->a.head_dim, c->a.half ? "F16" : "F32", c->a.n_rows, round);
			continue;
		}
		at = first_difference(got, want, n);
		EXPECT(at == n, "%s head_dim %u %s rows %u round %u: [%zu] is %a, not %a",
		       level->name, c->a.head_dim, c->a.half ? "F16" : "F32", c->a.n_rows, round,
		       at, (double)got[at % n], (double)want[at % n]);
		damage = places_intact();
		EXPECT(!damage, "%s head_dim %u round %u: %s", level->name, c->a.head_dim, round,
		       damage);
		check_alone(c, level, want);
	}
}

void attention_window(struct attention_case *c, uint32_t n_rows, unsigned int round)
{
	const uint32_t limit = c->n_blocks * DN_KV_BLOCK - DN_ATTENTION_ROWS;
	const uint32_t last = 1 + random_below(limit);

	c->a.n_rows = n_rows;
	for (uint32_t r = 0; r < n_rows; r++) {
		/* One after the other as in a prompt, or, among others, anywhere. */
		c->a.end[r] = round % 3 ? last + r : 1 + random_below(limit);
		c->a.begin[r] = round % 2 ? 0 : random_below(c->a.end[r]);
	}
}

/* The head sizes in @head_dims, separated by commas, or all. */
void check_attention(const char *head_dims)
{
	static const char all[] = "16,24,32,40,64,80,96,128,256";
	static const float magnitudes[] = { 1.0f, 1.0f, 30.0f, 1e-3f, 200.0f };
	const char *next = head_dims ? head_dims : all;

	while (*next) {
		char *end;
		const uint32_t head_dim = (uint32_t)strtoul(next, &end, 10);

		EXPECT(end != next && head_dim && head_dim <= 256, "no head size: '%s'", next);
		next = *end == ',' ? end + 1 : "";
		for (unsigned int round = 0; head_dim && round < 240; round++) {
			struct attention_case c = { .n_blocks = 1 + round % 5 };

			random_seed((uint64_t)head_dim << 32 | round);
			c.a.head_dim = head_dim;
			c.a.half = round % 4 < 2;
			c.a.scale = 1.0f / sqrtf((float)head_dim);
			attention_window(&c, 1 + round % DN_ATTENTION_ROWS, round);
			attention_fill(&c, magnitudes[round % DN_ARRAY_SIZE(magnitudes)]);
			check_case(&c, round);
		}
	}
}
