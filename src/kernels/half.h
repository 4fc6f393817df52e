/* SPDX-License-Identifier: MIT */
/* IEEE 754 binary16, and bfloat16, in portable C: the model of the vector conversions. */
#ifndef DUNLIN_KERNELS_HALF_H
#define DUNLIN_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t dn_float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float dn_bits_float(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline float dn_half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16;
	uint32_t magnitude = half & 0x7fff;

	if (magnitude >= 0x7c00) /* infinity; NaN becomes quiet, as in hardware */
		return dn_bits_float(sign | 0x7f800000 | (magnitude & 0x3ff) << 13 |
				     (magnitude > 0x7c00 ? 0x400000U : 0U));
	if (magnitude < 0x400) /* zero and denormals: exact in float32 */
		return dn_bits_float(sign | dn_float_bits((float)magnitude * 0x1p-24f));
	return dn_bits_float(sign | ((magnitude << 13) + ((127U - 15U) << 23)));
}

/* To nearest, ties to even. */
static inline uint16_t dn_float_to_half(float value)
{
	uint32_t bits = dn_float_bits(value);
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	uint32_t magnitude = bits & 0x7fffffff;
	uint32_t rounded;

	if (magnitude > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
	if (magnitude >= 0x477ff000)
		return sign | 0x7c00;
	if (magnitude < 0x38800000) /* below 2^-14: the float adder rounds at the right bit */
		return (uint16_t)(sign | (dn_float_bits(dn_bits_float(magnitude) + 0.5f) -
					  dn_float_bits(0.5f)));
	rounded = magnitude - ((127U - 15U) << 23);
	rounded += 0xfff + (rounded >> 13 & 1);
	return (uint16_t)(sign | rounded >> 13);
}

/* The upper half of a float32. */
static inline float dn_bfloat_to_float(uint16_t bfloat)
{
	return dn_bits_float((uint32_t)bfloat << 16);
}

#endif /* DUNLIN_KERNELS_HALF_H */
