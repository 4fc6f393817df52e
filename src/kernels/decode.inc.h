/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a group to what products multiply: eight words of quants, scales and minima of 32
 * columns of VEC rows. blocks.c says what each type's bits mean, relay.h where they are, and the
 * head of product.inc.h of which operations this is made.
 */

/* VEC rows of 32 columns. */
struct weights {
	ivec q[8]; /* word j: columns 4j to 4j + 3, each quants_offset() too large */
	vec scales[2];
	vec minima[2];
};

/* Bytes of a group that a block takes. */
INLINE size_t block_bytes(const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

	return (size_t)DN_GROUP * (4U * shape.words + 2U * shape.halves);
}

INLINE ivec word(const uint8_t *words, uint32_t j)
{
	return ivec_load(words + (size_t)4 * DN_GROUP * j);
}

INLINE ivec ivec_bits(ivec v, uint32_t shift, int32_t mask)
{
	return ivec_and(ivec_right(v, shift), mask);
}

/* Four words whose low nibbles are the first sixteen columns. */
INLINE void load_nibbles(ivec q[8], const uint8_t *words)
{
#pragma GCC unroll 4
	for (uint32_t j = 0; j < 4; j++) {
		const ivec v = word(words, j);

		q[j] = ivec_nibbles_low(v);
		q[j + 4] = ivec_nibbles_high(v);
	}
}

/* Nibbles behind a word of fifth bits, bit i of column i. */
INLINE void load_fifths(ivec q[8], const uint8_t *words)
{
	const ivec fifths = word(words, 0);

	load_nibbles(q, words + (size_t)4 * DN_GROUP);
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++)
		q[j] = ivec_add_where(q[j], ivec_spread(fifths, j / 2),
				      j % 2 ? (int32_t)0x80402010 : 0x08040201, 16);
}

/* Nibbles that are places in the table. */
INLINE void load_places(ivec q[8], const uint8_t *words)
{
	load_nibbles(q, words);
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++)
		q[j] = ivec_iq4(q[j]);
}

INLINE void load_bytes(ivec q[8], const uint8_t *words)
{
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++)
		q[j] = ivec_bytes(word(words, j));
}

/* Fields at `shift` of each byte of eight words. */
INLINE void load_fields(ivec q[8], const uint8_t *words, uint32_t shift, int32_t mask)
{
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++)
		q[j] = ivec_field(word(words, j), shift, mask);
}

/* The bits of `mask`, which lie at `to` of each byte, from where they are, at `from`. */
INLINE ivec ivec_moved(ivec v, uint32_t from, uint32_t to, int32_t mask)
{
	/* One shift, unless the way is known only when it runs. */
	if (!__builtin_constant_p(from))
		return ivec_and(ivec_left(ivec_right(v, from), to), mask);
	return ivec_and(from > to ? ivec_right(v, from - to) : ivec_left(v, to - from), mask);
}

/* 2^at more where the byte of eight words has the run's bit. */
INLINE void add_bits(ivec q[8], const uint8_t *words, uint32_t run, const uint32_t at)
{
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++) {
		const ivec v = word(words, j);

		if (BITS_MOVE)
			q[j] = ivec_or(q[j], ivec_moved(v, run, at, (int32_t)(0x01010101U << at)));
		else
			q[j] = ivec_add_where(q[j], v, (int32_t)(0x01010101U << run), 1U << at);
	}
}

INLINE void load_q2_k(struct weights *w, const uint8_t *words, const uint16_t *halves, uint32_t run)
{
	const ivec packed = word(words, run / 2);
	const vec scale = vec_load_half(halves);
	const vec minimum = vec_load_half(halves + DN_GROUP);

	load_fields(w->q, words + (size_t)4 * DN_GROUP * (4 + run / 4 * 8), run % 4 * 2,
		    0x03030303);
	for (uint32_t i = 0; i < 2; i++) {
		const uint32_t shift = run % 2 * 16 + 8 * i;

		w->scales[i] = vec_mul(scale, vec_from_int(ivec_bits(packed, shift, 15)));
		w->minima[i] =
			vec_sub(vec_set1(0.0f),
				vec_mul(minimum, vec_from_int(ivec_bits(packed, shift + 4, 15))));
	}
}

INLINE void load_q3_k(struct weights *w, const uint8_t *words, const uint16_t *halves, uint32_t run)
{
	const ivec lows = word(words, 24 + run % 4 / 2);
	const ivec highs = word(words, 26);
	const vec scale = vec_load_half(halves);

	load_fields(w->q, words + (size_t)4 * DN_GROUP * (8 + run / 4 * 8), run % 4 * 2,
		    0x03030303);
	add_bits(w->q, words, run, 2);
	for (uint32_t i = 0; i < 2; i++) {
		const uint32_t shift = run % 2 * 16 + 8 * i;
		const ivec low = ivec_bits(lows, shift + run / 4 * 4, 15);
		const ivec high = ivec_left(ivec_bits(highs, shift + run / 2 * 2, 3), 4);

		w->scales[i] =
			vec_mul(scale, vec_from_int(ivec_sub(ivec_or(low, high), ivec_set1(32))));
	}
}

/* Of Q4_K and Q5_K. */
INLINE void load_packed_scales(struct weights *w, const uint8_t *words, const uint16_t *halves,
			       uint32_t run)
{
	const ivec low = word(words, 0);
	const ivec middle = word(words, 1);
	const uint32_t shift = run % 4 * 8;
	ivec scale;
	ivec minimum;

	if (run < 4) {
		scale = ivec_bits(low, shift, 63);
		minimum = ivec_bits(middle, shift, 63);
	} else {
		const ivec high = word(words, 2);

		scale = ivec_or(ivec_bits(high, shift, 15), ivec_bits(low, shift + 2, 48));
		minimum = ivec_or(ivec_bits(high, shift + 4, 15), ivec_bits(middle, shift + 2, 48));
	}
	w->scales[0] = vec_mul(vec_load_half(halves), vec_from_int(scale));
	w->minima[0] = vec_sub(vec_set1(0.0f),
			       vec_mul(vec_load_half(halves + DN_GROUP), vec_from_int(minimum)));
}

INLINE void load_q4_k(struct weights *w, const uint8_t *words, const uint16_t *halves, uint32_t run)
{
	load_fields(w->q, words + (size_t)4 * DN_GROUP * (3 + run / 2 * 8), run % 2 * 4,
		    0x0f0f0f0f);
	load_packed_scales(w, words, halves, run);
}

INLINE void load_q5_k(struct weights *w, const uint8_t *words, const uint16_t *halves, uint32_t run)
{
	load_fields(w->q, words + (size_t)4 * DN_GROUP * (11 + run / 2 * 8), run % 2 * 4,
		    0x0f0f0f0f);
	add_bits(w->q, words + (size_t)4 * DN_GROUP * 3, run, 4);
	load_packed_scales(w, words, halves, run);
}

INLINE void load_q6_k(struct weights *w, const uint8_t *words, const uint16_t *halves, uint32_t run)
{
	const uint8_t *highs = words + (size_t)4 * DN_GROUP * (32 + run / 4 * 8);
	const ivec scales = word(words, 48 + run / 2);

	load_fields(w->q, words + (size_t)4 * DN_GROUP * (run / 4 * 16 + run % 2 * 8),
		    run % 4 / 2 * 4, HAS_FIELDS ? -1 : 0x0f0f0f0f);
#pragma GCC unroll 8
	for (uint32_t j = 0; j < 8; j++) {
		const ivec high = word(highs, j);

		if (HAS_FIELDS)
			w->q[j] = ivec_join(w->q[j], high, run % 4 * 2);
		else
			w->q[j] = ivec_or(w->q[j], ivec_moved(high, run % 4 * 2, 4, 0x30303030));
	}
	for (uint32_t i = 0; i < 2; i++)
		w->scales[i] = vec_mul(vec_load_half(halves),
				       vec_from_int(ivec_byte(scales, run % 2 * 2 + i)));
}

INLINE void load_iq4_xs(struct weights *w, const uint8_t *words, const uint16_t *halves,
			uint32_t run)
{
	const ivec low = ivec_bits(word(words, 0), 4 * run, 15);
	const ivec high = ivec_left(ivec_bits(ivec_load_short(halves + DN_GROUP), 2 * run, 3), 4);

	load_places(w->q, words + (size_t)4 * DN_GROUP * (1 + 4 * run));
	w->scales[0] = vec_mul(vec_load_half(halves),
			       vec_from_int(ivec_sub(ivec_or(low, high), ivec_set1(32))));
}

/* Blocks of 32 columns: quants, an F16 scale, for some an F16 minimum. */
INLINE void load_plain(struct weights *w, const uint8_t *words, const uint16_t *halves,
		       const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

	if (type == DN_TYPE_Q8_0)
		load_bytes(w->q, words);
	else if (type == DN_TYPE_IQ4_NL)
		load_places(w->q, words);
	else if (shape.bits == 5)
		load_fifths(w->q, words);
	else
		load_nibbles(w->q, words);
	w->scales[0] = vec_load_half(halves);
	if (shape.minima)
		w->minima[0] = vec_load_half(halves + DN_GROUP);
}

/* Columns 32b to 32b + 31 of a part of a group. */
INLINE void load_weights(struct weights *w, const uint8_t *group, uint32_t b, uint32_t part,
			 const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);
	const uint32_t runs =
		DN_MAX(shape.runs, 1U); /* floats, which have none, do not come here */
	const uint8_t *block = group + b / runs * block_bytes(type);
	const uint8_t *words = block + (size_t)4 * VEC * part;
	const uint16_t *halves =
		(const uint16_t *)(block + (size_t)4 * DN_GROUP * shape.words) + part * VEC;
	const uint32_t run = b % runs;

	if (type == DN_TYPE_Q2_K)
		load_q2_k(w, words, halves, run);
	else if (type == DN_TYPE_Q3_K)
		load_q3_k(w, words, halves, run);
	else if (type == DN_TYPE_Q4_K)
		load_q4_k(w, words, halves, run);
	else if (type == DN_TYPE_Q5_K)
		load_q5_k(w, words, halves, run);
	else if (type == DN_TYPE_Q6_K)
		load_q6_k(w, words, halves, run);
	else if (type == DN_TYPE_IQ4_XS)
		load_iq4_xs(w, words, halves, run);
	else
		load_plain(w, words, halves, type);
	if (DOT_SIGNED && shape.scales == 2 && shape.offset)
		for (uint32_t j = 0; j < 8; j++)
			w->q[j] = ivec_sub_bytes(w->q[j], shape.offset);
}

/* How much larger than they are load_weights() leaves the quants. */
INLINE int32_t quants_offset(const enum dn_type type)
{
	const struct dn_shape shape = dn_type_shape(type);

	if (shape.bits == 8)
		return BYTES_OFFSET;
	return DOT_SIGNED && shape.scales == 2 ? 0 : shape.offset;
}

/* Elements of column `c` of VEC rows of a part. */
INLINE vec load_floats(const uint8_t *part, uint32_t c, const enum dn_type type)
{
	const uint8_t *at = part + (size_t)c * DN_GROUP * (type == DN_TYPE_F32 ? 4 : 2);

	if (type == DN_TYPE_F32)
		return vec_load((const float *)at);
	if (type == DN_TYPE_F16)
		return vec_load_half((const uint16_t *)at);
	return vec_from_bits(ivec_left(ivec_load_short((const uint16_t *)at), 16));
}
