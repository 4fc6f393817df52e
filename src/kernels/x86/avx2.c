/* SPDX-License-Identifier: MIT */
/* AVX2 with FMA and F16C: products of bytes in pairs, in 16 bits. */

#include "kernels/x86/avx2-vectors.h"

#define TILE	     4
#define BYTES_OFFSET 0
#define SCALES_APART 1

static inline ivec ivec_bytes(ivec v)
{
	return v;
}

static inline ivec ivec_iq4(ivec places)
{
	return _mm256_shuffle_epi8(ivec_iq4_values(), places);
}

/* Sums of 16 bits, which those of 4-bit weights fit. */
static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
}

/* |w| times x with w's sign: a pair is at most 2 * 128 * 127, which just fits 16 bits. */
static inline ivec dot_signed(const ivec *w, const int8_t *x, ivec start, const uint32_t words)
{
#pragma GCC unroll 8
	for (uint32_t j = 0; j < words; j++) {
		ivec pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[j]),
						  _mm256_sign_epi8(ivec_four(x + 4 * j), w[j]));

		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

/* Sixteen bits hold the pairs of eight words of 4 bits, of four of 5 bits, of two of 6 bits. */
static inline __attribute__((always_inline)) ivec dot(const ivec *w, const int8_t *x, ivec start,
						      const uint32_t words, const uint32_t bits)
{
	const uint32_t fit = bits <= 4 ? 8 : bits == 5 ? 4 : 2;

	if (bits == 8)
		return dot_signed(w, x, start, words);
#pragma GCC unroll 8
	for (uint32_t i = 0; i < words; i += fit) {
		ivec pairs = _mm256_maddubs_epi16(w[i], ivec_four(x + 4 * i));

#pragma GCC unroll 8
		for (uint32_t j = i + 1; j < DN_MIN(words, i + fit); j++)
			pairs = _mm256_add_epi16(pairs,
						 _mm256_maddubs_epi16(w[j], ivec_four(x + 4 * j)));
		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_avx2 = DN_KERNELS_TABLE(DN_LEVEL_AVX2, "avx2", true);
