/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of rows of logits on the CPU; device.h says what they are. */
#ifndef SAH_ENGINE_CPU_SCORE_H
#define SAH_ENGINE_CPU_SCORE_H

#include "engine/device.h"

sah_status sah_cpu_distribution(sah_workspace *workspace, const float *logits, int64_t n, sah_kl_base *base,
                                sah_error *error);
sah_status sah_cpu_score(sah_workspace *workspace, const float *logits, int64_t rows, int64_t n,
                         sah_row_score *scores, sah_error *error);

#endif
