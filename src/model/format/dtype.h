/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor types and how their bytes become float32. Block layouts: the GGUF specification (ggml). Small floats:
 * the OCP's 8-bit floating point and microscaling formats (MX), as PyTorch and safetensors name them. */
#ifndef SAH_MODEL_FORMAT_DTYPE_H
#define SAH_MODEL_FORMAT_DTYPE_H

#include "model/format/half.h"
#include "sahara.h"

typedef enum sah_dtype {
    SAH_F32,
    SAH_F16,
    SAH_BF16,
    SAH_Q4_0,
    SAH_Q4_1,
    SAH_Q5_0,
    SAH_Q5_1,
    SAH_Q8_0,
    SAH_Q2_K,
    SAH_Q3_K,
    SAH_Q4_K,
    SAH_Q5_K,
    SAH_Q6_K,
    SAH_IQ4_NL,
    SAH_IQ4_XS,
    SAH_IQ2_XXS,
    SAH_IQ2_XS,
    SAH_IQ2_S,
    SAH_IQ3_XXS,
    SAH_IQ3_S,
    SAH_IQ1_S,
    SAH_IQ1_M,
    SAH_TQ1_0,
    SAH_TQ2_0,
    SAH_MXFP4, /* as GGUF has it, each block behind its exponent */
    SAH_F8_E4M3,
    SAH_F8_E5M2,
    SAH_F8_E8M0, /* powers of two, for scales */
    SAH_F4, /* E2M1, two a byte, the first in the low bits */
    SAH_U8, /* bytes that another tensor's values are packed in */
    SAH_DTYPES
} sah_dtype;

const char *sah_dtype_name(sah_dtype type); /* "Q4_1" */
size_t sah_dtype_block_values(sah_dtype type); /* 1, 2, 32 or 256 */
size_t sah_dtype_block_bytes(sah_dtype type);

/* Bytes of `n` values (a whole number of blocks); false when it is not whole or overflows. */
bool sah_dtype_bytes(sah_dtype type, size_t n, size_t *bytes);

/* `n` values (a whole number of blocks) to float32. */
void sah_dequantize(sah_dtype type, const void *bytes, size_t n, float *out);

#endif
