/* SPDX-License-Identifier: Apache-2.0 */
/* OCP 8-bit Floating Point Specification (E4M3, E5M2) and OCP Microscaling Formats (E8M0, E2M1), both 1.0. */
#include "model/format/small_floats.h"

#include <math.h>

#include "model/format/dtype.h"

const int8_t SAH_TWICE_E2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* Four exponent bits (bias 7), three of mantissa, no infinity; all ones is NaN. Moved into the places of
 * float16, whose bias is 15, the number is 2^8 times too small. */
void sah_widen_e4m3(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned byte = in[i], special = (byte & 0x7F) == 0x7F ? 0x7E00 : 0;
        out[i] = 0x1p8F * sah_f16_to_f32((uint16_t)((byte & 0x80) << 8 | (byte & 0x7F) << 7 | special));
    }
}

/* Five exponent bits and two of mantissa: the upper half of a float16. */
void sah_widen_e5m2(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = sah_f16_to_f32((uint16_t)(in[i] << 8));
}

/* Powers of two, 2^-127 (a subnormal float) to 2^127; 255 is NaN. */
void sah_widen_e8m0(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = in[i] == 255 ? NAN : ldexpf(1, in[i] - 127);
}

void sah_widen_e2m1(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = 0.5F * (float)SAH_TWICE_E2M1[in[i] & 15];
        out[2 * i + 1] = 0.5F * (float)SAH_TWICE_E2M1[in[i] >> 4];
    }
}

void sah_widen_u8(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = (float)in[i];
}
