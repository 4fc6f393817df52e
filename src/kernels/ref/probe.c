/* SPDX-License-Identifier: MIT */
/* Architectures without vector levels of ours. */

#include "kernels/probe.h"

bool dn_cpu_has_level(enum dn_level level)
{
	return level <= DN_LEVEL_SCALAR;
}
