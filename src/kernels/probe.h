/* SPDX-License-Identifier: MIT */
#ifndef DUNLIN_KERNELS_PROBE_H
#define DUNLIN_KERNELS_PROBE_H

#include <stdbool.h>

#include "kernels/kernels.h" /* IWYU pragma: export */

/* Whether the CPU has a level's instructions and the system keeps their registers. */
bool dn_cpu_has_level(enum dn_level level);

#endif /* DUNLIN_KERNELS_PROBE_H */
