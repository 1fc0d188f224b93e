/* SPDX-License-Identifier: Apache-2.0 */
/* exp and log in float64 as straight-line arithmetic, which the compilers turn into vector code inside a
 * loop. Relative error below 4e-16 on the ranges named; outside them undefined. */
#ifndef SAH_ENGINE_CPU_VECTOR_EXP_H
#define SAH_ENGINE_CPU_VECTOR_EXP_H

#include <stdint.h>
#include <string.h>

#include "util/simd.h"

/* ln 2 in two parts. The first has 32 bits, so that its product with an exponent is exact. */
#define SAH_LN2_HIGH 0x1.62e42fee00000p-1
#define SAH_LN2_LOW  0x1.a39ef35793c76p-33

SAH_INLINE uint64_t sah_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

SAH_INLINE double sah_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* e^x for -708 <= x <= 708. x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series (the first term
 * left out is below 4e-18 of the sum); times 2^n by adding n to the exponent bits. */
SAH_INLINE double sah_exp(double x)
{
    const double shift = 0x1.8p52; /* adding it rounds to a whole number, which then stands in the low bits */
    double shifted = x * 0x1.71547652b82fep+0 + shift;
    double n = shifted - shift;
    double r = (x - n * SAH_LN2_HIGH) - n * SAH_LN2_LOW;
    double sum = 1.0 / 6227020800.0;
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * (r * r) + r;
    return sah_from_bits(sah_bits(1.0 + sum) + (sah_bits(shifted) << 52));
}

/* ln y for a positive, normal, finite y. y = 2^e m with sqrt(1/2) <= m < sqrt(2); with f = (m - 1) / (m + 1),
 * ln m = 2 (f + f^3/3 + f^5/5 + ...), f^2 <= 0.0295 (the first term left out is below 3e-17 of the sum). */
SAH_INLINE double sah_log(double y)
{
    const uint64_t one = 0x3ff0000000000000, root_half = 0x3fe6a09e667f3bcd;
    uint64_t bits = sah_bits(y);
    uint64_t biased = (bits + (one - root_half)) >> 52; /* e + 1023 */
    double m = sah_from_bits(bits - (biased << 52) + one);
    /* A whole number below 2^52 becomes a double by standing in the low bits of 2^52. */
    double e = sah_from_bits(biased | 0x4330000000000000) - (0x1p52 + 1023.0);
    double f = (m - 1.0) / (m + 1.0);
    double s = f * f;
    double sum = 2.0 / 19.0;
    sum = sum * s + 2.0 / 17.0;
    sum = sum * s + 2.0 / 15.0;
    sum = sum * s + 2.0 / 13.0;
    sum = sum * s + 2.0 / 11.0;
    sum = sum * s + 2.0 / 9.0;
    sum = sum * s + 2.0 / 7.0;
    sum = sum * s + 2.0 / 5.0;
    sum = sum * s + 2.0 / 3.0;
    double log_m = 2.0 * f + f * (s * sum);
    return e * SAH_LN2_HIGH + (log_m + e * SAH_LN2_LOW);
}

#endif
