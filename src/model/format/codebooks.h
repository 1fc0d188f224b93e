/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of the IQ types, for quants_iq.c. */
#ifndef SAH_MODEL_FORMAT_CODEBOOKS_H
#define SAH_MODEL_FORMAT_CODEBOOKS_H

#include <stdint.h>

extern const uint16_t SAH_CODES_IQ2_XXS[256], SAH_CODES_IQ2_XS[512], SAH_CODES_IQ2_S[1024];
extern const uint16_t SAH_CODES_IQ3_XXS[256], SAH_CODES_IQ3_S[512], SAH_CODES_IQ1[2048];

#endif
