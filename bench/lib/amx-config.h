/* SPDX-License-Identifier: MIT */
/* For the build of llama.cpp, before each of its files. GCC 12 declares that _tile_loadconfig()
 * reads 8 of its 64 bytes, and drops the stores of the others as dead: the first AMX tile that is
 * used then traps. */

#ifdef __AMX_TILE__
#include <immintrin.h>

#define _tile_loadconfig(config)                                                                   \
	__asm__ volatile("ldtilecfg %0" : : "m"(*(const char(*)[64])(config)))
#endif
