/* SPDX-License-Identifier: MIT */
/* What every level file includes before its vectors. */
#ifndef DUNLIN_KERNELS_LEVEL_H
#define DUNLIN_KERNELS_LEVEL_H

/* IWYU pragma: begin_exports */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
/* IWYU pragma: end_exports */

/* The tables; which of them a build has is in meson.build. */
extern const struct dn_kernels dn_kernels_ref;
extern const struct dn_kernels dn_kernels_scalar;
extern const struct dn_kernels dn_kernels_avx2;
extern const struct dn_kernels dn_kernels_avxvnni;
extern const struct dn_kernels dn_kernels_avx512vnni;
extern const struct dn_kernels dn_kernels_amx;
extern const struct dn_kernels dn_kernels_neon;
extern const struct dn_kernels dn_kernels_dotprod;
extern const struct dn_kernels dn_kernels_i8mm;

/* The table of a level file that has all the functions under their plain names. */
#define DN_KERNELS_TABLE(level_, name_, quantises_)                                                \
	{                                                                                          \
		.level = (level_),                                                                 \
		.name = (name_),                                                                   \
		.quantises = (quantises_),                                                         \
		.quantise = quantise,                                                              \
		.product = product,                                                                \
		.multiply_alone = multiply_alone,                                                  \
		.attend = attend,                                                                  \
		.attend_span = attend_span,                                                        \
		.attend_join = attend_join,                                                        \
		.rms_norm = rms_norm,                                                              \
		.layer_norm = layer_norm,                                                          \
		.add_scaled = add_scaled,                                                          \
		.multiply = multiply,                                                              \
		.scale = scale_by,                                                                 \
		.softcap = softcap,                                                                \
		.activate = activate,                                                              \
		.recur = recur,                                                                    \
		.convolve = convolve,                                                              \
		.rope = rope,                                                                      \
		.store_key = store_key,                                                            \
		.store_value = store_value,                                                        \
	}

#endif /* DUNLIN_KERNELS_LEVEL_H */
