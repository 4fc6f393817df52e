/* SPDX-License-Identifier: MIT */
/* What the quantiser of vector-ops.inc.h does with a block, for the levels of x86. */
#ifndef DUNLIN_KERNELS_X86_QUANTISE_H
#define DUNLIN_KERNELS_X86_QUANTISE_H

#include <immintrin.h>
#include <stdint.h>

#define HAS_QUANTISE_BLOCK

static inline __m256i magnitudes(const float *x)
{
	return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)x),
				_mm256_set1_epi32(0x7fffffff));
}

/* Magnitudes order like their bits. */
static inline float largest_of_block(const float *x)
{
	const __m256i largest =
		_mm256_max_epi32(_mm256_max_epi32(magnitudes(x), magnitudes(x + 8)),
				 _mm256_max_epi32(magnitudes(x + 16), magnitudes(x + 24)));
	__m128i four = _mm_max_epi32(_mm256_castsi256_si128(largest),
				     _mm256_extracti128_si256(largest, 1));

	four = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
	four = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(2, 3, 0, 1)));
	return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

/* Eight elements in their units, to the nearest, even where two are. */
static inline __m256i in_units(const float *x, __m256 inverse)
{
	return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
}

/* Of finite elements, within 127 units: what is packed never saturates. */
static inline void quantise_block(const float *x, float inverse, int8_t *quants, int32_t halves[2])
{
	const __m256 units = _mm256_set1_ps(inverse);
	const __m256i first = _mm256_packs_epi32(in_units(x, units), in_units(x + 8, units));
	const __m256i second = _mm256_packs_epi32(in_units(x + 16, units), in_units(x + 24, units));
	/* Packing goes by halves of registers: four from element 0, 8, 16, 24, 4, 12, 20, 28 on. */
	const __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second),
						      _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
	/* Sums of eight bytes: those of quants + 128. */
	const __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)),
					     _mm256_setzero_si256());
	const __m128i low = _mm256_castsi256_si128(sums);
	const __m128i high = _mm256_extracti128_si256(sums, 1);
	const __m128i both =
		_mm_add_epi64(_mm_unpacklo_epi64(low, high), _mm_unpackhi_epi64(low, high));

	_mm256_storeu_si256((__m256i *)quants, q);
	halves[0] = _mm_cvtsi128_si32(both) - 16 * 128;
	halves[1] = _mm_extract_epi32(both, 2) - 16 * 128;
}

#endif /* DUNLIN_KERNELS_X86_QUANTISE_H */
