/* SPDX-License-Identifier: MIT */
/* The vectors of the Arm levels: a quarter of a group each. Their dot products differ. */
#ifndef DUNLIN_KERNELS_NEON_VECTORS_H
#define DUNLIN_KERNELS_NEON_VECTORS_H

#include <arm_neon.h>

#include "kernels/level.h"
#include "kernels/shape.h"

#define VEC	     4
#define ROWS	     4
#define BYTES_OFFSET 0
#define HAS_PART_DONE
#define HAS_FIELDS 1

typedef float32x4_t vec;
typedef int8x16_t ivec;

static inline vec vec_load(const float *p)
{
	return vld1q_f32(p);
}
static inline void vec_store(float *p, vec v)
{
	vst1q_f32(p, v);
}
static inline vec vec_set1(float x)
{
	return vdupq_n_f32(x);
}
static inline vec vec_add(vec a, vec b)
{
	return vaddq_f32(a, b);
}
static inline vec vec_sub(vec a, vec b)
{
	return vsubq_f32(a, b);
}
static inline vec vec_mul(vec a, vec b)
{
	return vmulq_f32(a, b);
}
static inline vec vec_div(vec a, vec b)
{
	return vdivq_f32(a, b);
}
static inline vec vec_fma(vec a, vec b, vec c)
{
	return vfmaq_f32(c, a, b);
}
/* As on x86 and in C's a > b ? a : b, the second operand where either is no number. */
static inline vec vec_max(vec a, vec b)
{
	return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vec vec_min(vec a, vec b)
{
	return vbslq_f32(vcltq_f32(a, b), a, b);
}
static inline vec vec_keep_ge(vec v, vec x, vec t)
{
	return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vcgeq_f32(x, t)));
}
static inline bool vec_any_gt(vec a, vec b)
{
	return vmaxvq_u32(vcgtq_f32(a, b)) != 0;
}
static inline vec vec_shift_exponent(vec p, vec t)
{
	return vreinterpretq_f32_s32(
		vaddq_s32(vreinterpretq_s32_f32(p), vshlq_n_s32(vreinterpretq_s32_f32(t), 23)));
}
static inline vec vec_load_half(const uint16_t *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
/* To nearest even, as FPCR says when a program starts. */
static inline void vec_store_half(uint16_t *p, vec v)
{
	vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}
static inline vec vec_load_bytes(const int8_t *p)
{
	int32_t four;

	memcpy(&four, p, sizeof(four));
	return vcvtq_f32_s32(
		vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}
static inline vec vec_from_int(ivec v)
{
	return vcvtq_f32_s32(vreinterpretq_s32_s8(v));
}
static inline vec vec_from_bits(ivec v)
{
	return vreinterpretq_f32_s8(v);
}
static inline ivec ivec_load(const uint8_t *p)
{
	return vreinterpretq_s8_u8(vld1q_u8(p));
}
static inline ivec ivec_set1(int32_t x)
{
	return vreinterpretq_s8_s32(vdupq_n_s32(x));
}
static inline ivec ivec_or(ivec a, ivec b)
{
	return vorrq_s8(a, b);
}
static inline ivec ivec_and(ivec v, int32_t mask)
{
	return vandq_s8(v, ivec_set1(mask));
}
static inline ivec ivec_right(ivec v, uint32_t shift)
{
	return vreinterpretq_s8_u32(
		vshlq_u32(vreinterpretq_u32_s8(v), vdupq_n_s32(-(int32_t)shift)));
}
static inline ivec ivec_add(ivec a, ivec b)
{
	return vreinterpretq_s8_s32(vaddq_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
static inline ivec ivec_sub(ivec a, ivec b)
{
	return vreinterpretq_s8_s32(vsubq_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)));
}
static inline ivec ivec_left(ivec v, uint32_t shift)
{
	return vreinterpretq_s8_s32(
		vshlq_s32(vreinterpretq_s32_s8(v), vdupq_n_s32((int32_t)shift)));
}
static inline ivec ivec_byte(ivec v, uint32_t index)
{
	return vreinterpretq_s8_s32(
		vshrq_n_s32(vreinterpretq_s32_s8(ivec_left(v, 24 - 8 * index)), 24));
}
static inline ivec ivec_nibbles_low(ivec v)
{
	return vandq_s8(v, vdupq_n_s8(15));
}
static inline ivec ivec_nibbles_high(ivec v)
{
	return vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(v), 4));
}
/* An instruction where the shift is a constant, as it is for a single row of X. */
static inline ivec ivec_bytes_right(ivec v, uint32_t shift)
{
	if (__builtin_constant_p(shift) && shift == 0)
		return v;
	return vreinterpretq_s8_u8(
		vshlq_u8(vreinterpretq_u8_s8(v), vdupq_n_s8((int8_t)(0 - shift))));
}
static inline ivec ivec_field(ivec v, uint32_t shift, int32_t mask)
{
	const ivec moved = ivec_bytes_right(v, shift);

	/* Nothing is left above what ends a byte. */
	if (__builtin_constant_p(shift) && ((uint32_t)mask & 0xff) << shift >= 0x80)
		return moved;
	return ivec_and(moved, mask);
}
/* What shifts and inserts leaves the bits below alone. */
static inline ivec ivec_join(ivec low, ivec high, uint32_t shift)
{
	return vsliq_n_s8(low, ivec_field(high, shift, 0x03030303), 4);
}
static inline ivec ivec_bytes(ivec v)
{
	return v;
}
static inline ivec ivec_sub_bytes(ivec v, uint32_t value)
{
	return vsubq_s8(v, vdupq_n_s8((int8_t)value));
}
static inline ivec ivec_iq4(ivec places)
{
	static const int8_t values[16] = DN_IQ4_VALUES;

	return vqtbl1q_s8(vld1q_s8(values), vreinterpretq_u8_s8(places));
}
static inline ivec ivec_add_where(ivec q, ivec v, int32_t bits, uint32_t value)
{
	const uint8x16_t has = vtstq_s8(v, ivec_set1(bits));

	return vaddq_s8(q, vreinterpretq_s8_u8(vandq_u8(has, vdupq_n_u8((uint8_t)value))));
}
static inline ivec ivec_spread(ivec v, uint32_t k)
{
	const uint32x4_t lanes = { 0, 0x04040404, 0x08080808, 0x0c0c0c0c };

	return vqtbl1q_s8(v, vorrq_u8(vreinterpretq_u8_u32(lanes), vdupq_n_u8((uint8_t)k)));
}
static inline ivec ivec_load_short(const uint16_t *p)
{
	return vreinterpretq_s8_u32(vmovl_u16(vld1_u16(p)));
}
static inline void ivec_hide(ivec *v)
{
	__asm__ volatile("" : "+w"(*v));
}
/* Else compilers load all parts of a block's runs at once, and spill most of it. */
static inline void part_done(const uint8_t **weights, vec *acc)
{
	__asm__("" : "+r"(*weights), "+w"(*acc));
}
static inline ivec ivec_pair(const int16_t *pair, int32_t a, int32_t b)
{
	return ivec_set1(pair[0] * a + pair[1] * b);
}

#endif /* DUNLIN_KERNELS_NEON_VECTORS_H */
