/* SPDX-License-Identifier: MIT */
/* AVX-512 with VNNI: a group of sixteen rows is one vector. */

#include "kernels/x86/avx512-vectors.h"

#include "kernels/vector-ops.inc.h"
#include "kernels/product.inc.h"

const struct dn_kernels dn_kernels_avx512vnni =
	DN_KERNELS_TABLE(DN_LEVEL_AVX512VNNI, "avx512vnni", true);
