/* SPDX-License-Identifier: MIT */
/* CPUID says what the CPU can do, XCR0 whether the system keeps the registers: both must agree. */

#include "kernels/probe.h"

#include <cpuid.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define XCR0_AVX    0x06u    /* SSE and AVX state */
#define XCR0_AVX512 0xe6u    /* … and mask registers, upper halves, upper sixteen */
#define XCR0_AMX    0x60000u /* configuration of tiles, their data */

/* <asm/prctl.h> of Linux 5.16 and later has it. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

#define AMX_BITS (1u << 24 | 1u << 25) /* tiles, their products of bytes: names differ */

struct features {
	bool avx2;
	bool avxvnni;
	bool avx512vnni;
	bool amx;
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
	struct features has = { false, false, false, false };
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
	has.amx = has.avx512vnni && (xcr0 & XCR0_AMX) == XCR0_AMX && (d & AMX_BITS) == AMX_BITS;
	if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
		has.avxvnni = has.avx2 && (a & (1u << 4)); /* AVX-VNNI */
	return has;
}

/*
 * Linux gives a process the 8 KiB of tiles only when it asks (since 5.16), once for all its
 * threads. Asking again costs nothing.
 */
static bool tiles_permitted(void)
{
	return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
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
	case DN_LEVEL_AMX:
		return probe().amx && tiles_permitted();
	default:
		return false;
	}
}
