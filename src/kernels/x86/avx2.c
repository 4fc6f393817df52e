/* SPDX-License-Identifier: MIT */
/* AVX2 with FMA and F16C: products of bytes in pairs, in 16 bits. */

#include "kernels/x86/avx2-vectors.h"

#define TILE	     4
#define BYTES_OFFSET 0

static inline ivec ivec_bytes(ivec v)
{
	return v;
}

/* Eight pairs of 15 * 127 stay below 32,768: one widening addition a block. */
static inline ivec dot_nibbles(const ivec w[8], const int8_t *x, ivec start)
{
	ivec sum = _mm256_maddubs_epi16(w[0], ivec_four(x));

	for (int j = 1; j < 8; j++)
		sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w[j], ivec_four(x + 4 * j)));
	return _mm256_add_epi32(start, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}

/* |w| times x with w's sign: a pair is at most 2 * 128 * 127, which just fits 16 bits. */
static inline ivec dot_bytes(const ivec w[8], const int8_t *x, ivec start)
{
	for (int j = 0; j < 8; j++) {
		ivec pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w[j]),
						  _mm256_sign_epi8(ivec_four(x + 4 * j), w[j]));

		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

/* Two pairs of 63 * 127 fit 16 bits, four do not. */
static inline ivec dot_half(const ivec w[4], const int8_t *x, ivec start)
{
	for (int j = 0; j < 4; j += 2) {
		ivec pairs =
			_mm256_add_epi16(_mm256_maddubs_epi16(w[j], ivec_four(x + 4 * j)),
					 _mm256_maddubs_epi16(w[j + 1], ivec_four(x + 4 * j + 4)));

		start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return start;
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_avx2 = DN_KERNELS_TABLE(DN_LEVEL_AVX2, "avx2", true);
