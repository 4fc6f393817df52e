/* SPDX-License-Identifier: MIT */
/* The vectors of the levels with 256 bits: half a group each. Their dot products differ. */
#ifndef DUNLIN_KERNELS_AVX2_VECTORS_H
#define DUNLIN_KERNELS_AVX2_VECTORS_H

#include <immintrin.h>

#include "kernels/level.h" /* IWYU pragma: export */
#include "kernels/shape.h"
#include "kernels/x86/quantise.h" /* IWYU pragma: export */

#define VEC	  8
#define ROWS	  6
#define WIDE_ROWS 3
#define BITS_MOVE 1
#define HAS_PART_DONE

typedef __m256 vec;
typedef __m256i ivec;

static inline vec vec_load(const float *p)
{
	return _mm256_loadu_ps(p);
}
static inline void vec_store(float *p, vec v)
{
	_mm256_storeu_ps(p, v);
}
static inline vec vec_set1(float x)
{
	return _mm256_set1_ps(x);
}
static inline vec vec_add(vec a, vec b)
{
	return _mm256_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
	return _mm256_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
	return _mm256_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b)
{
	return _mm256_div_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b)
{
	return _mm256_max_ps(a, b);
}
static inline vec vec_min(vec a, vec b)
{
	return _mm256_min_ps(a, b);
}
static inline vec vec_keep_ge(vec v, vec x, vec t)
{
	return _mm256_and_ps(v, _mm256_cmp_ps(x, t, _CMP_GE_OQ));
}
static inline bool vec_any_gt(vec a, vec b)
{
	return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
static inline vec vec_shift_exponent(vec p, vec t)
{
	return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p),
						    _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
static inline vec vec_load_half(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline void vec_store_half(uint16_t *p, vec v)
{
	_mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline vec vec_load_bytes(const int8_t *p)
{
	return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vec vec_from_int(ivec v)
{
	return _mm256_cvtepi32_ps(v);
}
static inline vec vec_from_bits(ivec v)
{
	return _mm256_castsi256_ps(v);
}
static inline ivec ivec_load(const uint8_t *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}
static inline ivec ivec_set1(int32_t x)
{
	return _mm256_set1_epi32(x);
}
static inline ivec ivec_or(ivec a, ivec b)
{
	return _mm256_or_si256(a, b);
}
static inline ivec ivec_and(ivec v, int32_t mask)
{
	return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}
/* By a vector, unless the compiler knows the shift: one operation instead of two. */
static inline ivec ivec_right(ivec v, uint32_t shift)
{
	return (ivec)((__v8su)v >> (__v8su)_mm256_set1_epi32((int32_t)shift));
}
static inline ivec ivec_add(ivec a, ivec b)
{
	return _mm256_add_epi32(a, b);
}
static inline ivec ivec_sub(ivec a, ivec b)
{
	return _mm256_sub_epi32(a, b);
}
static inline ivec ivec_left(ivec v, uint32_t shift)
{
	return (ivec)((__v8su)v << (__v8su)_mm256_set1_epi32((int32_t)shift));
}
static inline ivec ivec_byte(ivec v, uint32_t index)
{
	return _mm256_srai_epi32(ivec_left(v, 24 - 8 * index), 24);
}
static inline ivec ivec_nibbles_low(ivec v)
{
	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}
static inline ivec ivec_nibbles_high(ivec v)
{
	return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}
static inline ivec ivec_iq4_values(void)
{
	static const int8_t values[16] = DN_IQ4_VALUES;

	return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)values));
}
static inline ivec ivec_add_where(ivec q, ivec v, int32_t bits, uint32_t value)
{
	const __m256i each = _mm256_set1_epi32(bits);
	const __m256i has = _mm256_cmpeq_epi8(_mm256_and_si256(v, each), each);

	return _mm256_add_epi8(q, _mm256_and_si256(has, _mm256_set1_epi8((char)value)));
}
static inline ivec ivec_spread(ivec v, uint32_t k)
{
	const __m256i first = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0,
						0x04040404, 0x08080808, 0x0c0c0c0c);

	return _mm256_shuffle_epi8(v, _mm256_or_si256(first, _mm256_set1_epi8((char)k)));
}
static inline ivec ivec_load_short(const uint16_t *p)
{
	return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}
/* Else compilers load all parts of a block's runs at once, and spill most of it. */
static inline void part_done(const uint8_t **weights, vec *acc)
{
	__asm__("" : "+r"(*weights), "+x"(*acc));
}
static inline ivec ivec_pair(const int16_t *pair, int32_t a, int32_t b)
{
	int32_t both;

	memcpy(&both, pair, sizeof(both));
	return _mm256_madd_epi16(_mm256_set1_epi32(both),
				 _mm256_set1_epi32((int32_t)((uint32_t)b << 16 | (uint16_t)a)));
}
static inline void ivec_hide(ivec *v)
{
	__asm__ volatile("" : "+x"(*v));
}
static inline ivec ivec_four(const int8_t *x)
{
	int32_t four;

	memcpy(&four, x, sizeof(four));
	return _mm256_set1_epi32(four);
}

#endif /* DUNLIN_KERNELS_AVX2_VECTORS_H */
