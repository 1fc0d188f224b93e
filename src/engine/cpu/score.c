/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/score.h"

#include <math.h>
#include <omp.h>

#include "engine/cpu/kl.h"
#include "util/error.h"

/* [threads, n] float64 of scratch memory, two floats each. NULL: no memory. */
static double *scratch_of(sah_workspace *workspace, int threads, int64_t n)
{
    void *memory = sah_workspace_scratch(workspace, SAH_SLOT_SCORES, 2 * (size_t)threads * (size_t)n);
    return memory;
}

sah_status sah_cpu_distribution(sah_workspace *workspace, const float *logits, int64_t n, sah_kl_base *base,
                                sah_error *error)
{
    double *scratch = scratch_of(workspace, 1, n);
    if (scratch == NULL) return sah_fail_memory(error, "logits");
    if (!sah_kl_prepare(logits, (size_t)n, scratch, base)) base->log_p_sum = NAN;
    return SAH_OK;
}

static void score_row(const float *logits, size_t n, double *scratch, sah_row_score *score)
{
    bool asked = score->token[0] >= 0 || score->token[1] >= 0;
    if (score->base != NULL) score->kl = sah_kl(score->base, logits, n, scratch);
    double log_sum = asked ? sah_log_sum_exp(logits, n, scratch) : 0.0;
    for (int i = 0; i < 2; i++)
        if (score->token[i] >= 0) score->log_p[i] = (double)logits[score->token[i]] - log_sum;
}

sah_status sah_cpu_score(sah_workspace *workspace, const float *logits, int64_t rows, int64_t n,
                         sah_row_score *scores, sah_error *error)
{
    int threads = workspace->threads;
    double *scratch = scratch_of(workspace, threads, n);
    if (scratch == NULL) return sah_fail_memory(error, "logits");
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t r = 0; r < rows; r++)
        score_row(logits + r * n, (size_t)n, scratch + (threads > 1 ? omp_get_thread_num() : 0) * n,
                  &scores[r]);
    return SAH_OK;
}
