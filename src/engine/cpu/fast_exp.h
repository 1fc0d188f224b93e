/* SPDX-License-Identifier: Apache-2.0 */
/* exp in float32 as straight-line arithmetic, which the compilers turn into vector code inside a loop. */
#ifndef SAH_ENGINE_CPU_FAST_EXP_H
#define SAH_ENGINE_CPU_FAST_EXP_H

#include <stdint.h>
#include <string.h>

#include "util/simd.h"

/* exp(x) to about one unit in the last place, for x <= 88: 2^k times a polynomial in r, x = k ln 2 + r, |r|
 * <= ln 2 / 2 (Cody and Waite's two-part ln 2; coefficients of the Taylor series to the seventh power, error
 * below 2e-8). Below -87 it is 0; NaN stays NaN. */
SAH_INLINE float sah_fast_exp(float x)
{
    float clamped =
        x > -87.0f ? x : -87.0f; /* NaN too: its bits must not reach the conversion to an integer */
    clamped = clamped < 88.0f ? clamped : 88.0f;
    float shifted = clamped * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to the nearest integer */
    float k = shifted - 12582912.0f;
    float r = clamped - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)k + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : x == x ? p * power : x;
}

#endif
