/* SPDX-License-Identifier: Apache-2.0 */
#include "model/format/dtype.h"

#include <string.h>

#include "model/format/quants.h"
#include "model/format/small_floats.h"
#include "util/alloc.h"

/* Tensor data need not be aligned in a file, hence the copies; they cost nothing once compiled. */
static void copy_f32(const uint8_t *in, size_t n, float *out)
{
    memcpy(out, in, n * sizeof *out);
}

static void widen_f16(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        out[i] = sah_f16_to_f32(half);
    }
}

static void widen_bf16(const uint8_t *in, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + 2 * i, sizeof half);
        out[i] = sah_bf16_to_f32(half);
    }
}

static const struct format {
    const char *name;
    uint16_t values, bytes; /* of a block */
    sah_dequantize_fn *dequantize;
} FORMATS[SAH_DTYPES] = {
    [SAH_F32] = {"F32", 1, 4, copy_f32},
    [SAH_F16] = {"F16", 1, 2, widen_f16},
    [SAH_BF16] = {"BF16", 1, 2, widen_bf16},
    [SAH_Q4_0] = {"Q4_0", 32, 18, sah_dequantize_q4_0},
    [SAH_Q4_1] = {"Q4_1", 32, 20, sah_dequantize_q4_1},
    [SAH_Q5_0] = {"Q5_0", 32, 22, sah_dequantize_q5_0},
    [SAH_Q5_1] = {"Q5_1", 32, 24, sah_dequantize_q5_1},
    [SAH_Q8_0] = {"Q8_0", 32, 34, sah_dequantize_q8_0},
    [SAH_Q2_K] = {"Q2_K", 256, 84, sah_dequantize_q2_k},
    [SAH_Q3_K] = {"Q3_K", 256, 110, sah_dequantize_q3_k},
    [SAH_Q4_K] = {"Q4_K", 256, 144, sah_dequantize_q4_k},
    [SAH_Q5_K] = {"Q5_K", 256, 176, sah_dequantize_q5_k},
    [SAH_Q6_K] = {"Q6_K", 256, 210, sah_dequantize_q6_k},
    [SAH_IQ4_NL] = {"IQ4_NL", 32, 18, sah_dequantize_iq4_nl},
    [SAH_IQ4_XS] = {"IQ4_XS", 256, 136, sah_dequantize_iq4_xs},
    [SAH_IQ2_XXS] = {"IQ2_XXS", 256, 66, sah_dequantize_iq2_xxs},
    [SAH_IQ2_XS] = {"IQ2_XS", 256, 74, sah_dequantize_iq2_xs},
    [SAH_IQ2_S] = {"IQ2_S", 256, 82, sah_dequantize_iq2_s},
    [SAH_IQ3_XXS] = {"IQ3_XXS", 256, 98, sah_dequantize_iq3_xxs},
    [SAH_IQ3_S] = {"IQ3_S", 256, 110, sah_dequantize_iq3_s},
    [SAH_IQ1_S] = {"IQ1_S", 256, 50, sah_dequantize_iq1_s},
    [SAH_IQ1_M] = {"IQ1_M", 256, 56, sah_dequantize_iq1_m},
    [SAH_TQ1_0] = {"TQ1_0", 256, 54, sah_dequantize_tq1_0},
    [SAH_TQ2_0] = {"TQ2_0", 256, 66, sah_dequantize_tq2_0},
    [SAH_MXFP4] = {"MXFP4", 32, 17, sah_dequantize_mxfp4},
    [SAH_F8_E4M3] = {"F8_E4M3", 1, 1, sah_widen_e4m3},
    [SAH_F8_E5M2] = {"F8_E5M2", 1, 1, sah_widen_e5m2},
    [SAH_F8_E8M0] = {"F8_E8M0", 1, 1, sah_widen_e8m0},
    [SAH_F4] = {"F4", 2, 1, sah_widen_e2m1},
    [SAH_U8] = {"U8", 1, 1, sah_widen_u8},
};

const char *sah_dtype_name(sah_dtype type)
{
    return FORMATS[type].name;
}

size_t sah_dtype_block_values(sah_dtype type)
{
    return FORMATS[type].values;
}

size_t sah_dtype_block_bytes(sah_dtype type)
{
    return FORMATS[type].bytes;
}

bool sah_dtype_bytes(sah_dtype type, size_t n, size_t *bytes)
{
    return n % FORMATS[type].values == 0 && sah_mul(n / FORMATS[type].values, FORMATS[type].bytes, bytes);
}

void sah_dequantize(sah_dtype type, const void *bytes, size_t n, float *out)
{
    if (n > 0) FORMATS[type].dequantize(bytes, n / FORMATS[type].values, out);
}
