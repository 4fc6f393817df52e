/* SPDX-License-Identifier: MIT */
/* The time that only goes forward. */
#ifndef DUNLIN_BASE_CLOCK_H
#define DUNLIN_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t dn_clock_ns(void);

#endif /* DUNLIN_BASE_CLOCK_H */
