/* SPDX-License-Identifier: Apache-2.0 */
/* float16 (IEEE 754's binary16) and bfloat16 to float32 and back, in the header so that loops over them become
 * vector code. */
#ifndef SAH_MODEL_FORMAT_HALF_H
#define SAH_MODEL_FORMAT_HALF_H

#include <stdint.h>
#include <string.h>

#include "util/simd.h"

SAH_INLINE uint32_t sah_bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

SAH_INLINE float sah_float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* binary16 has 5 exponent bits (bias 15) and 10 of mantissa, binary32 has 8 (bias 127) and 23: shift the
 * mantissa by 13 and add the difference of the biases; infinity and NaN need that difference twice. Masks
 * instead of branches, so that loops over it become vector code. */
SAH_INLINE float sah_f16_to_f32(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7FFF;
    const uint32_t is_special = (rest >= 0x7C00) * UINT32_MAX, is_subnormal = (rest < 0x0400) * UINT32_MAX;
    const uint32_t bias = (127U - 15U) << 23;
    const uint32_t normal = (rest << 13) + bias + (bias & is_special);
    const uint32_t subnormal = sah_bits_of((float)(int32_t)rest * 0x1p-24F);
    return sah_float_of(sign | (normal & ~is_subnormal) | (subnormal & is_subnormal));
}

/* Round to nearest even, as the next. */
SAH_INLINE uint16_t sah_f32_to_f16(float value)
{
    const uint32_t bits = sah_bits_of(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFF;
    if (rest > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (rest >> 13 & 0x3FF)); /* NaN, made quiet */
    if (rest >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* 65520 and above round to infinity */
    if (rest < 0x38800000) {
        /* Below 2^-14 the result is a multiple of 2^-24, which is the last place of a float near 0.5. */
        return (uint16_t)(sign | (sah_bits_of(sah_float_of(rest) + 0.5F) - sah_bits_of(0.5F)));
    }
    const uint32_t odd = rest >> 13 & 1;
    return (uint16_t)(sign | ((rest - ((127U - 15U) << 23) + 0x0FFF + odd) >> 13));
}

SAH_INLINE float sah_bf16_to_f32(uint16_t half)
{
    return sah_float_of((uint32_t)half << 16);
}

SAH_INLINE uint16_t sah_f32_to_bf16(float value)
{
    const uint32_t bits = sah_bits_of(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40); /* NaN, made quiet */
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
