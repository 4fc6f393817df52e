/* SPDX-License-Identifier: MIT */
/* Armv8.2 with the dot product (SDOT). */

#include "kernels/arm/dotprod-vectors.h"

#define TILE 8

static inline ivec dot_alone(ivec sum, ivec w, ivec x)
{
	return vreinterpretq_s8_s32(vdotq_s32(vreinterpretq_s32_s8(sum), w, x));
}

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_dotprod = DN_KERNELS_TABLE(DN_LEVEL_DOTPROD, "dotprod", true);
