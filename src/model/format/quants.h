/* SPDX-License-Identifier: Apache-2.0 */
/* The block formats of GGUF: groups of 32 or 256 small integers that share scales. dtype.c is the way in. */
#ifndef SAH_MODEL_FORMAT_QUANTS_H
#define SAH_MODEL_FORMAT_QUANTS_H

#include <stddef.h>
#include <stdint.h>

/* Each turns `blocks` blocks at `in` into `blocks` * 32 (or, for K, 256) values. */
typedef void sah_dequantize_fn(const uint8_t *in, size_t blocks, float *out);

sah_dequantize_fn sah_dequantize_q4_0, sah_dequantize_q4_1, sah_dequantize_q5_0, sah_dequantize_q5_1,
    sah_dequantize_q8_0, sah_dequantize_q2_k, sah_dequantize_q3_k, sah_dequantize_q4_k, sah_dequantize_q5_k,
    sah_dequantize_q6_k, sah_dequantize_iq4_nl, sah_dequantize_iq4_xs, sah_dequantize_tq1_0,
    sah_dequantize_tq2_0, sah_dequantize_mxfp4;
/* quants_iq.c */
sah_dequantize_fn sah_dequantize_iq2_xxs, sah_dequantize_iq2_xs, sah_dequantize_iq2_s, sah_dequantize_iq3_xxs,
    sah_dequantize_iq3_s, sah_dequantize_iq1_s, sah_dequantize_iq1_m;

#endif
