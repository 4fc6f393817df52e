/* SPDX-License-Identifier: MIT */
/* Linux says in the auxiliary vector what the CPU can do and the kernel supports. */

#include "kernels/probe.h"

#include <sys/auxv.h>

/* From Linux's uapi asm/hwcap.h; older headers lack the second. */
#define CAP_DOTPROD (1UL << 20)
#define CAP2_I8MM   (1UL << 13)

bool dn_cpu_has_level(enum dn_level level)
{
	const bool dotprod = getauxval(AT_HWCAP) & CAP_DOTPROD;

	switch (level) {
	case DN_LEVEL_REF:
	case DN_LEVEL_SCALAR:
	case DN_LEVEL_NEON: /* part of every 64-bit Arm that Linux runs on */
		return true;
	case DN_LEVEL_DOTPROD:
		return dotprod;
	case DN_LEVEL_I8MM:
		return dotprod && (getauxval(AT_HWCAP2) & CAP2_I8MM);
	default:
		return false;
	}
}
