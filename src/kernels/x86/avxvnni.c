/* SPDX-License-Identifier: MIT */
/* AVX-VNNI: the 256-bit dot product of bytes, on CPUs without AVX-512. */

#include "kernels/x86/avx2-vectors.h"

#define TILE	     4
#define BYTES_OFFSET 128

/*
 * The same operation has two encodings. Tests on a CPU that has only the AVX-512 one build this
 * file with it, so that every line but the encoding is run.
 */
#ifdef DN_AVXVNNI_AS_AVX512VL
#define DPBUSD	_mm256_dpbusd_epi32
#define KERNELS dn_kernels_avxvnni_as_avx512vl
extern const struct dn_kernels dn_kernels_avxvnni_as_avx512vl;
#else
#define DPBUSD	_mm256_dpbusd_avx_epi32
#define KERNELS dn_kernels_avxvnni
#endif

/* The instruction wants its first factor unsigned: w + 128, taken off again by the bias. */
static inline ivec ivec_bytes(ivec v)
{
	return _mm256_xor_si256(v, _mm256_set1_epi8(-128));
}

static inline ivec ivec_iq4(ivec places)
{
	return _mm256_shuffle_epi8(ivec_bytes(ivec_iq4_values()), places);
}

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return DPBUSD(sum, w, x);
}

static inline ivec dot_four(const ivec *w, const int8_t *x, ivec sum)
{
	for (uint32_t j = 0; j < 4; j++)
		sum = DPBUSD(sum, w[j], ivec_four(x + 4 * j));
	return sum;
}

/* Two chains hide the latency of the instruction; integer sums have no order to keep. */
static inline ivec dot(const ivec *w, const int8_t *x, ivec start, const uint32_t words,
		       const uint32_t bits)
{
	(void)bits;
	start = dot_four(w, x, start);
	if (words == 8)
		start = _mm256_add_epi32(start, dot_four(w + 4, x + 16, _mm256_setzero_si256()));
	return start;
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels KERNELS = DN_KERNELS_TABLE(DN_LEVEL_AVXVNNI, "avxvnni", true);
