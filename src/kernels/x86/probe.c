/* SPDX-License-Identifier: MIT */
/* CPUID says what the CPU can do, XCR0 whether the system keeps the registers: both must agree. */

#include "kernels/probe.h"

#include <cpuid.h>
#include <stdint.h>

#define XCR0_AVX    0x06u /* SSE and AVX state */
#define XCR0_AVX512 0xe6u /* … and mask registers, upper halves, upper sixteen */

struct features {
	bool avx2;
	bool avxvnni;
	bool avx512vnni;
};

static uint32_t read_xcr0(void)
{
	uint32_t low;
	uint32_t high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

static struct features probe(void)
{
	struct features has = { false, false, false };
	uint32_t a;
	uint32_t b;
	uint32_t c;
	uint32_t d;
	uint32_t leaf1_c;
	uint32_t xcr0;

	if (!__get_cpuid(1, &a, &b, &leaf1_c, &d) || !(leaf1_c & bit_OSXSAVE))
		return has;
	xcr0 = read_xcr0();
	if ((xcr0 & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return has;
	has.avx2 = (b & bit_AVX2) && (leaf1_c & bit_FMA) && (leaf1_c & bit_F16C);
	has.avx512vnni = has.avx2 && (xcr0 & XCR0_AVX512) == XCR0_AVX512 && (b & bit_AVX512F) &&
			 (b & bit_AVX512BW) && (b & bit_AVX512VL) && (c & bit_AVX512VNNI);
	if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
		has.avxvnni = has.avx2 && (a & (1u << 4)); /* AVX-VNNI */
	return has;
}

bool dn_cpu_has_level(enum dn_level level)
{
	switch (level) {
	case DN_LEVEL_REF:
	case DN_LEVEL_SCALAR:
		return true;
	case DN_LEVEL_AVX2:
		return probe().avx2;
	case DN_LEVEL_AVXVNNI:
		return probe().avxvnni;
	case DN_LEVEL_AVX512VNNI:
		return probe().avx512vnni;
	default:
		return false;
	}
}
