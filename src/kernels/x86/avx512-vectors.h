/* SPDX-License-Identifier: MIT */
/* The vectors of the levels with 512 bits, and their dot product: a group is one vector. */
#ifndef DUNLIN_KERNELS_AVX512_VECTORS_H
#define DUNLIN_KERNELS_AVX512_VECTORS_H

#include <immintrin.h>
#include <string.h>

#include "kernels/level.h" /* IWYU pragma: export */
#include "kernels/shape.h"
#include "kernels/x86/quantise.h" /* IWYU pragma: export */

#define VEC	     16
#define ROWS	     8
#define TILE	     16
#define BYTES_OFFSET 128

typedef __m512 vec;
typedef __m512i ivec;

static inline vec vec_load(const float *p)
{
	return _mm512_loadu_ps(p);
}
static inline void vec_store(float *p, vec v)
{
	_mm512_storeu_ps(p, v);
}
static inline vec vec_set1(float x)
{
	return _mm512_set1_ps(x);
}
static inline vec vec_add(vec a, vec b)
{
	return _mm512_add_ps(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
	return _mm512_sub_ps(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
	return _mm512_mul_ps(a, b);
}
static inline vec vec_div(vec a, vec b)
{
	return _mm512_div_ps(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
	return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_max(vec a, vec b)
{
	return _mm512_max_ps(a, b);
}
static inline vec vec_min(vec a, vec b)
{
	return _mm512_min_ps(a, b);
}
static inline vec vec_keep_ge(vec v, vec x, vec t)
{
	return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, t, _CMP_GE_OQ), v);
}
static inline bool vec_any_gt(vec a, vec b)
{
	return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0;
}
static inline vec vec_shift_exponent(vec p, vec t)
{
	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p),
						    _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}
static inline vec vec_load_half(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline void vec_store_half(uint16_t *p, vec v)
{
	_mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline vec vec_load_bytes(const int8_t *p)
{
	return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vec vec_from_int(ivec v)
{
	return _mm512_cvtepi32_ps(v);
}
static inline vec vec_from_bits(ivec v)
{
	return _mm512_castsi512_ps(v);
}
static inline ivec ivec_load(const uint8_t *p)
{
	return _mm512_loadu_si512(p);
}
static inline ivec ivec_set1(int32_t x)
{
	return _mm512_set1_epi32(x);
}
static inline ivec ivec_or(ivec a, ivec b)
{
	return _mm512_or_si512(a, b);
}
static inline ivec ivec_and(ivec v, int32_t mask)
{
	return _mm512_and_si512(v, _mm512_set1_epi32(mask));
}
/* By a vector, unless the compiler knows the shift: one operation instead of two. */
static inline ivec ivec_right(ivec v, uint32_t shift)
{
	return (ivec)((__v16su)v >> (__v16su)_mm512_set1_epi32((int32_t)shift));
}
static inline ivec ivec_add(ivec a, ivec b)
{
	return _mm512_add_epi32(a, b);
}
static inline ivec ivec_sub(ivec a, ivec b)
{
	return _mm512_sub_epi32(a, b);
}
static inline ivec ivec_left(ivec v, uint32_t shift)
{
	return (ivec)((__v16su)v << (__v16su)_mm512_set1_epi32((int32_t)shift));
}
static inline ivec ivec_byte(ivec v, uint32_t index)
{
	return _mm512_srai_epi32(ivec_left(v, 24 - 8 * index), 24);
}
static inline ivec ivec_nibbles_low(ivec v)
{
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}
static inline ivec ivec_nibbles_high(ivec v)
{
	return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}
/* The instruction wants its first factor unsigned: w + 128, taken off again by the bias. */
static inline ivec ivec_bytes(ivec v)
{
	return _mm512_xor_si512(v, _mm512_set1_epi8(-128));
}

static inline ivec ivec_iq4(ivec places)
{
	static const int8_t values[16] = DN_IQ4_VALUES;
	const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)values));

	return _mm512_shuffle_epi8(ivec_bytes(table), places);
}
static inline ivec ivec_add_where(ivec q, ivec v, int32_t bits, uint32_t value)
{
	return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(v, _mm512_set1_epi32(bits)), q,
				    _mm512_set1_epi8((char)value));
}
static inline ivec ivec_spread(ivec v, uint32_t k)
{
	const __m512i first = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);

	return _mm512_shuffle_epi8(v, _mm512_or_si512(first, _mm512_set1_epi8((char)k)));
}
static inline ivec ivec_load_short(const uint16_t *p)
{
	return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}

/* With four columns of X broadcast as they are loaded: compilers take an instruction more. */
static inline ivec dot_word(ivec w, const int8_t *x, ivec sum)
{
	__asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const int8_t(*)[4])x));
	return sum;
}

static inline ivec dot_four(const ivec *w, const int8_t *x, ivec sum)
{
	for (uint32_t j = 0; j < 4; j++)
		sum = dot_word(w[j], x + 4 * j, sum);
	return sum;
}

/* Two chains hide the latency of the instruction; integer sums have no order to keep. */
static inline ivec dot(const ivec *w, const int8_t *x, ivec start, const uint32_t words,
		       const uint32_t bits)
{
	(void)bits;
	start = dot_four(w, x, start);
	if (words == 8)
		start = _mm512_add_epi32(start, dot_four(w + 4, x + 16, _mm512_setzero_si512()));
	return start;
}

static inline void ivec_hide(ivec *v)
{
	__asm__ volatile("" : "+v"(*v));
}
static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return _mm512_dpbusd_epi32(sum, w, x);
}
static inline ivec ivec_pair(const int16_t *pair, int32_t a, int32_t b)
{
	int32_t both;

	memcpy(&both, pair, sizeof(both));
	return _mm512_madd_epi16(_mm512_set1_epi32(both),
				 _mm512_set1_epi32((int32_t)((uint32_t)b << 16 | (uint16_t)a)));
}

#endif /* DUNLIN_KERNELS_AVX512_VECTORS_H */
