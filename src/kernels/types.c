/* SPDX-License-Identifier: MIT */
/* The shapes of blocks, as GGUF files hold them. */

#include "kernels/types.h"

#include <stddef.h>

#include "base/base.h"

static const struct dn_type_info types[DN_TYPE_COUNT] = {
	[DN_TYPE_F32] = { "F32", 1, 4 },
	[DN_TYPE_F16] = { "F16", 1, 2 },
	[DN_TYPE_BF16] = { "BF16", 1, 2 },
	/* Scales of two bytes, then the bits of 32 elements: see each type's kernel. */
	[DN_TYPE_Q4_0] = { "Q4_0", 32, 2 + 16 },
	[DN_TYPE_Q4_1] = { "Q4_1", 32, 2 + 2 + 16 },
	[DN_TYPE_Q5_0] = { "Q5_0", 32, 2 + 4 + 16 },
	[DN_TYPE_Q5_1] = { "Q5_1", 32, 2 + 2 + 4 + 16 },
	[DN_TYPE_Q8_0] = { "Q8_0", 32, 2 + 32 },
	[DN_TYPE_IQ4_NL] = { "IQ4_NL", 32, 2 + 16 },
	/* Blocks of 256, with scales of parts inside the block. */
	[DN_TYPE_Q2_K] = { "Q2_K", 256, 16 + 64 + 2 + 2 },
	[DN_TYPE_Q3_K] = { "Q3_K", 256, 32 + 64 + 12 + 2 },
	[DN_TYPE_Q4_K] = { "Q4_K", 256, 2 + 2 + 12 + 128 },
	[DN_TYPE_Q5_K] = { "Q5_K", 256, 2 + 2 + 12 + 32 + 128 },
	[DN_TYPE_Q6_K] = { "Q6_K", 256, 128 + 64 + 16 + 2 },
	[DN_TYPE_IQ4_XS] = { "IQ4_XS", 256, 2 + 2 + 4 + 128 },
};

const struct dn_type_info *dn_type_info(uint32_t type)
{
	if (type >= DN_ARRAY_SIZE(types) || !types[type].name)
		return NULL;
	return &types[type];
}
