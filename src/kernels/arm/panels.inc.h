/* SPDX-License-Identifier: MIT */
/*
 * Products of many rows of X on Arm: rows of X in panels, as the instructions want them, times
 * strips of decoded weights. To be included behind product.inc.h.
 *
 * Layout: a panel is 32 columns of PANEL rows of X, two rows after the other; with it lie the
 * factors of its rows. PANEL_ROWS rows of X are laid out once for all groups of a product, a strip
 * of columns after the other. Order and bits are those of product.inc.h.
 *
 * Bound: with four rows of weights and PANEL of X in registers, 32 columns take 64 SDOT or 32 SMMLA,
 * 24 operations on floats for each scale, 12 or 13 loads of pairs of registers.
 *
 * The including file defines, for a pair of rows of X:
 *   FORMS, FACTORS	vectors that a scale of weights takes, and floats that a factor of a row takes
 *   void panel_place(int8_t to[64], const int8_t *a, const int8_t *b)
 *	32 columns of two rows
 *   void panel_factor(float *to, uint32_t t, float value)
 *	of row t of the panel; FACTORS * PANEL floats in all
 *   void panel_weights(ivec w[8])	in place
 *   void panel_forms(vec to[FORMS], vec v)
 *   void panel_dot(const ivec *w, const int8_t *x, ivec s[2], words, half)
 *	@words words, of @half of the pair's columns where they are 4; both sums from 0
 *   vec panel_scale(const vec w[FORMS], const float *x, pair, i)	the factor of sum i of a pair
 *   vec panel_add(vec acc, const vec w[FORMS], const float *x, pair, i)	acc + w * x for sum i
 *   void panel_begin(vec acc[2]), void panel_end(vec acc[2])
 *	from two rows of Y to the order of a pair's sums, and back
 */

#define PANEL	   8
#define PANEL_ROWS 64

struct panel {
	int8_t quants[PANEL * DN_BLOCK];
	float scales[FACTORS * PANEL];
	float sums[2][FACTORS * PANEL];
};

struct panel_weights {
	ivec q[8];
	vec scales[2][FORMS];
	vec minima[2][FORMS];
};

/* Blocks [first, first + count) of rows [row, row + n) of X, and of a part of a group. */
struct panels {
	uint32_t row;
	uint32_t n;
	uint32_t first;
	uint32_t count;
	uint32_t group;
	uint32_t part;
	struct panel_weights w[DECODED_BLOCKS];
	struct panel x[PANEL_ROWS / PANEL][DECODED_BLOCKS];
};

_Static_assert(sizeof(struct panels) <= TILES_SCRATCH, "panels fit their place");

/* What a row's minima are multiplied by. */
INLINE float panel_sum(const struct dn_activations *x, size_t at, uint32_t i,
		       const enum dn_type type)
{
	if (dn_type_shape(type).minima == 1)
		return x->sums[at];
	return x->scales[at] * (float)x->pairs[2 * at + i];
}

/* Two rows of X from `t` of those of @s; the last stands in for those that are not there. */
INLINE void panels_place(struct panels *s, const struct dn_product *p, uint32_t t,
			 const enum dn_type type)
{
	const size_t blocks = p->x->quants_stride / DN_BLOCK;
	const size_t a = (s->row + DN_MIN(t, s->n - 1)) * blocks + s->first;
	const size_t b = (s->row + DN_MIN(t + 1, s->n - 1)) * blocks + s->first;
	struct panel *to = s->x[t / PANEL];

	for (uint32_t i = 0; i < s->count; i++, to++) {
		panel_place(to->quants + t % PANEL * DN_BLOCK, p->x->quants + (a + i) * DN_BLOCK,
			    p->x->quants + (b + i) * DN_BLOCK);
		panel_factor(to->scales, t % PANEL, p->x->scales[a + i]);
		panel_factor(to->scales, t % PANEL + 1, p->x->scales[b + i]);
		for (uint32_t m = 0; m < dn_type_shape(type).minima; m++) {
			panel_factor(to->sums[m], t % PANEL, panel_sum(p->x, a + i, m, type));
			panel_factor(to->sums[m], t % PANEL + 1, panel_sum(p->x, b + i, m, type));
		}
	}
}

INLINE void panels_decode(struct panels *s, const struct dn_product *p, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const uint8_t *group = p->w->data + s->group * p->w->group_bytes;
	const size_t run_bytes = block_bytes(type) / shape.runs;
	const uint32_t first = s->first;
	const uint32_t part = s->part;
	struct panel_weights *to = s->w;
	const struct panel_weights *end = to + s->count;

	for (uint32_t b = first; to < end; b++, to++) {
		struct weights w;

		if (part == 0)
			prefetch_ahead(p, group + b * run_bytes, run_bytes);
		load_weights(&w, group, b, part, type);
		/* Off the quants themselves: less than off the sums of many rows. */
		for (uint32_t j = 0; quants_offset(type) && j < 8; j++)
			w.q[j] = ivec_sub_bytes(w.q[j], (uint32_t)quants_offset(type));
		panel_weights(w.q);
		memcpy(to->q, w.q, sizeof(to->q));
		for (uint32_t i = 0; i < shape.scales; i++)
			panel_forms(to->scales[i], w.scales[i]);
		for (uint32_t i = 0; i < shape.minima; i++)
			panel_forms(to->minima[i], w.minima[i]);
	}
}

/* What comes next of a panel waits, as compilers see it, for this: else they load it, and spill. */
INLINE void panel_wait(const struct panel **x, ivec for_this)
{
	__asm__("" : "+r"(*x) : "w"(for_this));
}

/* acc += 32 columns' product with `tile` rows of X. */
INLINE void panel_multiply(vec *acc, const struct panel_weights *w, const struct panel *x,
			   const uint32_t tile, const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const uint32_t words = 8 / shape.scales;
	ivec s[PANEL];

#pragma GCC unroll 2
	for (uint32_t i = 0; i < shape.scales; i++) {
#pragma GCC unroll 4
		for (uint32_t t = 0; t < tile; t += 2)
			panel_dot(w->q + words * i, x->quants + t * DN_BLOCK, s + t, words, i);
#pragma GCC unroll 8
		for (uint32_t t = 0; t < tile; t++)
			panel_wait(&x, s[t]);
#pragma GCC unroll 8
		for (uint32_t t = 0; t < tile; t++)
			acc[t] = vec_fma(panel_scale(w->scales[i], x->scales, t / 2, t % 2),
					 vec_from_int(s[t]), acc[t]);
		for (uint32_t t = 0; shape.scales == 2 && t < tile; t++)
			panel_wait(&x, vreinterpretq_s8_f32(acc[t]));
	}
	for (uint32_t i = 0; i < shape.minima; i++)
#pragma GCC unroll 8
		for (uint32_t t = 0; t < tile; t++)
			acc[t] = panel_add(acc[t], w->minima[i], x->sums[i], t / 2, t % 2);
}

/*
 * Rows from `t` of those of @s, at most `tile` of them, times a part of a group. Between the strips
 * of a row its sums wait in Y.
 */
INLINE void panels_tile(const struct panels *s, const struct dn_product *p, uint32_t t,
			const uint32_t tile, const enum dn_type type)
{
	const struct panel_weights *end = s->w + s->count;
	const struct panel *x = s->x[t / PANEL];
	const uint32_t n = DN_MIN(s->n - t, tile);
	const uint32_t first = part_row(s->group, s->part);
	const uint32_t left = p->w->rows - first;
	const size_t stride = p->y_stride;
	float *y = p->y + (s->row + t) * stride + first;
	vec acc[PANEL];

	for (uint32_t i = 0; i < tile; i++)
		acc[i] = s->first && i < n ? load_some(y + i * stride, left) : vec_set1(0.0f);
	for (uint32_t i = 0; i < tile; i += 2)
		panel_begin(acc + i);
	for (const struct panel_weights *w = s->w; w < end; w++, x++)
		panel_multiply(acc, w, x, tile, type);
	for (uint32_t i = 0; i < tile; i += 2)
		panel_end(acc + i);
#pragma GCC unroll 8
	for (uint32_t i = 0; i < tile; i++, y += stride)
		if (i < n)
			store_some(y, acc[i], left);
}

/* With those that fill up the last tile. */
INLINE uint32_t panels_rows(uint32_t n)
{
	return n % PANEL <= 2 ? DN_ROUND_UP(n, 2U) : DN_ROUND_UP(n, 4U);
}

/* All rows of @s times a part of a group. */
INLINE void panels_multiply(const struct panels *s, const struct dn_product *p,
			    const enum dn_type type)
{
	uint32_t t = 0;

	for (; t + 4 < s->n; t += PANEL)
		panels_tile(s, p, t, PANEL, type);
	if (t < s->n && s->n - t > 2)
		panels_tile(s, p, t, 4, type);
	else if (t < s->n)
		panels_tile(s, p, t, 2, type);
}

INLINE void product_tiles(const struct dn_product *p, uint32_t first, uint32_t count, void *scratch,
			  const enum dn_type type)
{
	const uint32_t parts = DN_DIV_ROUND_UP(p->w->rows, VEC);
	const uint32_t end = DN_MIN((first + count) * PARTS, parts);
	const uint32_t blocks = p->x->columns / DN_BLOCK;
	struct panels *s = scratch;

	for (s->row = 0; s->row < p->n; s->row += PANEL_ROWS) {
		s->n = DN_MIN(p->n - s->row, (uint32_t)PANEL_ROWS);
		for (s->first = 0; s->first < blocks; s->first += DECODED_BLOCKS) {
			s->count = DN_MIN(blocks - s->first, (uint32_t)DECODED_BLOCKS);
			for (uint32_t t = 0; t < panels_rows(s->n); t += 2)
				panels_place(s, p, t, type);
			for (uint32_t part = first * PARTS; part < end; part++) {
				s->group = part / PARTS;
				s->part = part % PARTS;
				panels_decode(s, p, type);
				panels_multiply(s, p, type);
			}
		}
	}
}
