/* SPDX-License-Identifier: Apache-2.0 */
/* Floats of eight and four bits. dtype.c is the way in. */
#ifndef SAH_MODEL_FORMAT_SMALL_FLOATS_H
#define SAH_MODEL_FORMAT_SMALL_FLOATS_H

#include "model/format/quants.h"

/* Each turns `n` bytes at `in` into n values, e2m1 into 2 n. */
sah_dequantize_fn sah_widen_e4m3, sah_widen_e5m2, sah_widen_e8m0, sah_widen_e2m1, sah_widen_u8;

/* Twice the value of E2M1's codes, so that all are whole. */
extern const int8_t SAH_TWICE_E2M1[16];

#endif
