/* SPDX-License-Identifier: MIT */
/* Attention over a cache whose blocks lie anywhere and whose unused tokens hold rubbish. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "harness.h"
#include "kernels/level.h"

#define SPANS_MAX	DN_DIV_ROUND_UP((ATTENTION_BLOCKS_MAX) * DN_KV_BLOCK, DN_ATTENTION_SPAN)
#define BLOCKS_OF_SPANS (DN_ATTENTION_SPAN / DN_KV_BLOCK)

enum { PLACE_CACHE, PLACE_SCRATCH, PLACE_Q, PLACE_OUT = PLACE_Q + DN_ATTENTION_ROWS };

_Static_assert(PLACE_OUT < N_PLACES, "there is a place for each");

static const char *type_name(enum dn_kv_type type)
{
	return type == DN_KV_F16 ? "F16" : type == DN_KV_F32 ? "F32" : "Q8_0";
}

/* Tokens that were written, by the portable level; the others are rubbish. */
static void fill_block(struct attention_case *c, uint8_t *block, size_t bytes, uint32_t written,
		       float magnitude)
{
	float row[256];

	memset(block, 0xff, 2 * bytes);
	for (uint32_t t = 0; t < written; t++) {
		for (uint32_t d = 0; d < c->a.head_dim; d++)
			row[d] = random_unit() * magnitude;
		dn_kernels_scalar.store_key(block, t, row, c->a.head_dim, c->a.type);
		for (uint32_t d = 0; d < c->a.head_dim; d++)
			row[d] = random_unit() * 3.0f;
		dn_kernels_scalar.store_value(block + bytes, t, row, c->a.head_dim, c->a.type);
	}
}

/* The last block first: order in memory is not order in the sequence. */
static uint8_t *block_of(const struct attention_case *c, uint32_t number)
{
	return c->cache +
	       (c->n_blocks - 1 - number) * 2 * dn_kv_head_bytes(c->a.head_dim, c->a.type);
}

void attention_fill(struct attention_case *c, float magnitude)
{
	const size_t bytes = dn_kv_head_bytes(c->a.head_dim, c->a.type);
	uint32_t most = 0;

	c->cache = place(PLACE_CACHE, c->n_blocks * 2 * bytes, 0);
	for (uint32_t r = 0; r < c->a.n_rows; r++)
		most = DN_MAX(most, c->a.end[r]);
	for (uint32_t b = 0; b < c->n_blocks; b++) {
		const uint32_t first = b * DN_KV_BLOCK;
		uint8_t *block = block_of(c, b);

		c->blocks[b] = block;
		fill_block(c, block, bytes,
			   most > first ? DN_MIN(most - first, (uint32_t)DN_KV_BLOCK) : 0,
			   magnitude);
	}
	c->a.blocks = c->blocks;
	c->a.keys = 0;
	c->a.values = bytes;
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

struct span_call {
	const struct dn_kernels *kernels;
	const struct dn_attention *attention;
	uint32_t span;
};

static void call_attend_span(void *data)
{
	const struct span_call *call = data;

	call->kernels->attend_span(call->attention, call->span);
}

bool attention_run(struct attention_case *c, const struct dn_kernels *kernels, float *out)
{
	const size_t bytes = dn_attention_scratch(c->a.head_dim) * sizeof(float);
	struct call call = { kernels, &c->a };
	float *rows = place(PLACE_OUT, (size_t)c->a.n_rows * c->a.head_dim * sizeof(float), 0);

	c->a.scratch = place(PLACE_SCRATCH, bytes, 0);
	memset(c->a.scratch, c->scratch ? c->scratch : 0xff, bytes);
	for (uint32_t r = 0; r < c->a.n_rows; r++)
		c->a.out[r] = rows + (size_t)r * c->a.head_dim;
	if (!survives(call_attend, &call))
		return false;
	memcpy(out, rows, (size_t)c->a.n_rows * c->a.head_dim * sizeof(float));
	return true;
}

static struct attention_case row_alone(const struct attention_case *c, uint32_t r)
{
	struct attention_case alone = *c;

	alone.a.n_rows = 1;
	alone.a.q[0] = c->a.q[r];
	alone.a.begin[0] = c->a.begin[r];
	alone.a.end[0] = c->a.end[r];
	return alone;
}

/* A row by itself: the same bits as among the others. */
static void check_alone(struct attention_case *c, const struct level *level, const float *want)
{
	const uint32_t r = random_below(c->a.n_rows);
	struct attention_case alone = row_alone(c, r);
	float got[256];

	if (!attention_run(&alone, level->kernels, got)) {
		fail("%s head_dim %u row %u alone: left its buffers", level->name, c->a.head_dim,
		     r);
		return;
	}
	EXPECT(first_difference(got, want + (size_t)r * c->a.head_dim, c->a.head_dim) ==
		       c->a.head_dim,
	       "%s head_dim %u %s rows %u: row %u differs alone", level->name, c->a.head_dim,
	       type_name(c->a.type), c->a.n_rows, r);
}

/* Span by span, as threads share a row, and then joined: the same bits. */
static void check_spans(struct attention_case *c, const struct level *level, const float *want)
{
	static _Alignas(64) float parts[SPANS_MAX * (256 + 16)];
	const size_t size = dn_attention_part(c->a.head_dim);
	const uint32_t r = random_below(c->a.n_rows);
	const uint32_t first = c->a.begin[r] / DN_ATTENTION_SPAN;
	const uint32_t n = DN_DIV_ROUND_UP(c->a.end[r], DN_ATTENTION_SPAN) - first;
	struct attention_case alone = row_alone(c, r);
	float got[256];

	memset(parts, 0xff, sizeof(parts));
	for (uint32_t i = n; i-- > 0;) {
		struct span_call call = { level->kernels, &alone.a, first + i };

		alone.a.out[0] = parts + i * size;
		if (!survives(call_attend_span, &call)) {
			fail("%s head_dim %u row %u span %u: left its buffers", level->name,
			     c->a.head_dim, r, first + i);
			return;
		}
	}
	level->kernels->attend_join(parts, n, c->a.head_dim, got);
	EXPECT(first_difference(got, want + (size_t)r * c->a.head_dim, c->a.head_dim) ==
		       c->a.head_dim,
	       "%s head_dim %u %s rows %u: row %u differs by spans", level->name, c->a.head_dim,
	       type_name(c->a.type), c->a.n_rows, r);
}

/* The level that others are measured by joins spans as well. */
static void check_ref(struct attention_case *c, unsigned int round)
{
	static const struct level ref = { .name = "ref", .kernels = &dn_kernels_ref };
	static float want[DN_ATTENTION_ROWS * 256];

	if (attention_run(c, ref.kernels, want))
		check_spans(c, &ref, want);
	else
		fail("ref head_dim %u round %u: left its buffers", c->a.head_dim, round);
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
			     c->a.head_dim, type_name(c->a.type), c->a.n_rows, round);
			continue;
		}
		at = first_difference(got, want, n);
		EXPECT(at == n, "%s head_dim %u %s rows %u round %u: [%zu] is %a, not %a",
		       level->name, c->a.head_dim, type_name(c->a.type), c->a.n_rows, round, at,
		       (double)got[at % n], (double)want[at % n]);
		check_alone(c, level, want);
		check_spans(c, level, want);
		damage = places_intact();
		EXPECT(!damage, "%s head_dim %u round %u: %s", level->name, c->a.head_dim, round,
		       damage);
	}
}

void attention_window(struct attention_case *c, uint32_t n_rows)
{
	const uint32_t limit = c->n_blocks * DN_KV_BLOCK;
	const uint32_t last = 1 + random_below(limit - DN_ATTENTION_ROWS);
	const bool in_order = random_below(3) > 0;
	const bool whole = random_below(2) > 0;

	c->a.n_rows = n_rows;
	for (uint32_t r = 0; r < n_rows; r++) {
		/* One after the other as in a prompt, or, among others, anywhere. */
		c->a.end[r] = in_order ? last + r : 1 + random_below(limit);
		c->a.begin[r] = whole ? 0 : random_below(c->a.end[r]);
	}
}

/* The only row's score of the token at @position becomes infinite, of @sign, or no number. */
static void set_score(struct attention_case *c, uint32_t position, float sign)
{
	float key[256];

	for (uint32_t d = 0; d < c->a.head_dim; d++)
		key[d] = isnan(sign) ? NAN : copysignf(INFINITY, sign * c->a.q[0][d]);
	dn_kernels_scalar.store_key(block_of(c, position / DN_KV_BLOCK), position % DN_KV_BLOCK,
				    key, c->a.head_dim, c->a.type);
}

static struct attention_case special_case(uint8_t scratch)
{
	struct attention_case c = { .n_blocks = BLOCKS_OF_SPANS + 2, .scratch = scratch };

	c.a.head_dim = 64;
	c.a.type = DN_KV_F32;
	c.a.scale = 0.125f;
	c.a.n_rows = 1;
	c.a.end[0] = c.n_blocks * DN_KV_BLOCK - 5;
	random_seed(scratch);
	attention_fill(&c, 1.0f);
	return c;
}

/* A token whose score is no number counts for nothing, just like one at minus infinity. */
static void check_passed_over(const struct level *level)
{
	static const uint32_t positions[] = { 0, 17, 40, 63, DN_ATTENTION_SPAN + 3 };

	for (size_t i = 0; i < DN_ARRAY_SIZE(positions); i++) {
		struct attention_case c = special_case(0xff);
		float want[256];
		float got[256];

		set_score(&c, positions[i], -1.0f);
		EXPECT(attention_run(&c, level->kernels, want), "%s: left its buffers",
		       level->name);
		set_score(&c, positions[i], NAN);
		EXPECT(attention_run(&c, level->kernels, got), "%s: left its buffers", level->name);
		EXPECT(first_difference(got, want, c.a.head_dim) == c.a.head_dim &&
			       isfinite(got[0]),
		       "%s: no score at %u: %a, not %a", level->name, positions[i], (double)got[0],
		       (double)want[0]);
	}
}

/* A row with an infinite score in each span, or with none at all, is none: whatever was there before. */
static void check_nothing_left(const struct level *level)
{
	for (int infinite = 0; infinite < 2; infinite++) {
		struct attention_case c = special_case(0x3f);
		float got[256];

		for (uint32_t t = 0; t < c.a.end[0]; t++)
			if (!infinite || t % DN_ATTENTION_SPAN == 5)
				set_score(&c, t, infinite ? 1.0f : NAN);
		EXPECT(attention_run(&c, level->kernels, got), "%s: left its buffers", level->name);
		for (uint32_t d = 0; d < c.a.head_dim; d++)
			EXPECT(isnan(got[d]), "%s: [%u] of nothing is %a", level->name, d,
			       (double)got[d]);
		check_spans(&c, level, got);
	}
}

/* The head sizes in @head_dims, separated by commas, or all. */
void check_attention(const char *head_dims)
{
	static const char all[] = "16,24,32,40,64,80,96,128,256";
	static const float magnitudes[] = { 1.0f, 1.0f, 30.0f, 1e-3f, 200.0f };
	const char *next = head_dims ? head_dims : all;

	for (const struct level *level = levels(); level->name; level++) {
		check_passed_over(level);
		check_nothing_left(level);
	}
	while (*next) {
		char *end;
		const uint32_t head_dim = (uint32_t)strtoul(next, &end, 10);

		EXPECT(end != next && head_dim && head_dim <= 256, "no head size: '%s'", next);
		next = *end == ',' ? end + 1 : "";
		for (unsigned int round = 0; head_dim && round < 360; round++) {
			/* Now and then over some spans. */
			struct attention_case c = {
				.n_blocks = round % 9 ? 1 + round % 5 : BLOCKS_OF_SPANS + round % 20
			};

			random_seed((uint64_t)head_dim << 32 | round);
			c.a.head_dim = head_dim;
			/* Each number of rows with each type. */
			c.a.type = (enum dn_kv_type)(round / DN_ATTENTION_ROWS % DN_KV_COUNT);
			c.a.softcap = round % 7 == 3 ? 50.0f : 0.0f;
			c.a.scale = 1.0f / sqrtf((float)head_dim);
			attention_window(&c, 1 + round % DN_ATTENTION_ROWS);
			attention_fill(&c, magnitudes[round % DN_ARRAY_SIZE(magnitudes)]);
			check_case(&c, round);
			if (round % 36 == 0)
				check_ref(&c, round);
		}
	}
}
