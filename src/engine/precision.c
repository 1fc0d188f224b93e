/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/precision.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "util/alloc.h"
#include "util/error.h"

/* Small numbers that differ, without zeros or subnormals, whose products would be timed wrongly. */
static void fill(const void *source, size_t row, size_t n, float *out)
{
    size_t columns = *(const size_t *)source;
    for (size_t i = 0; i < n * columns; i++) out[i] = 0.01f * (float)((row * columns + i) % 127 + 1);
}

sah_status sah_product_rate(int64_t outputs, int64_t inputs, int64_t rows, sah_precision precision,
                            int threads, double seconds, double *rate, sah_error *error)
{
    size_t columns = (size_t)inputs;
    sah_weights *weights = NULL;
    sah_status result = sah_weights_new(sah_cpu(), outputs, inputs, (sah_packing){.precision = precision},
                                        fill, &columns, &weights, error);
    *rate = 0.0;
    if (result != SAH_OK) return result;
    threads = sah_threads_here(threads);

    /* As the sweep works: every thread its own rows. Trials 0 and 1 tell how many rounds fill the time. */
    double operations = 2.0 * (double)rows * (double)outputs * (double)inputs;
    int rounds = 1;
#pragma omp parallel num_threads(threads) reduction(max : result)
    {
        omp_set_num_threads(1);
        sah_workspace *workspace = NULL;
        float *x = sah_alloc_aligned((size_t)(rows * inputs), sizeof *x);
        float *y = sah_alloc_aligned((size_t)(rows * outputs), sizeof *y);
        sah_error own = {0};
        sah_status status = x && y ? sah_workspace_new(sah_cpu(), 1, &workspace, &own)
                                   : sah_fail_memory(&own, "measuring products");
        if (status == SAH_OK) fill(&columns, 0, (size_t)rows, x);
        for (int trial = 0; trial < 5; trial++) {
#pragma omp barrier
            double start = omp_get_wtime();
            for (int i = 0; i < rounds && status == SAH_OK; i++)
                status = sah_product(workspace, weights, rows, x, y, false, &own);
#pragma omp barrier
            double spent = omp_get_wtime() - start, here = operations * rounds * threads / spent;
#pragma omp barrier
#pragma omp single
            {
                if (trial == 1) rounds = (int)fmin(seconds / spent, 1e6) + 1;
                if (trial > 1 && here > *rate) *rate = here;
            }
        }
        if (status != SAH_OK && error) {
#pragma omp critical
            *error = own;
        }
        sah_workspace_free(workspace);
        free(x);
        free(y);
        if (status > result) result = status;
    }
    sah_weights_free(weights);
    return result;
}

sah_precision sah_precision_faster(double f32, double bf16)
{
    return bf16 > 1.1 * f32 ? SAH_PRECISION_BF16 : SAH_PRECISION_F32;
}

sah_status sah_precision_choose(const sah_config *config, sah_precision wanted, int threads,
                                sah_precision *chosen, char *note, size_t size, sah_error *error)
{
    enum { ROWS = 128 };
    const double SECONDS = 0.005;
    note[0] = '\0';
    *chosen = SAH_PRECISION_F32;
    if (wanted == SAH_PRECISION_F32) return SAH_OK;
    bool there = sah_product_has_bf16();
    if (wanted == SAH_PRECISION_BF16) {
        if (!there)
            return sah_fail_field(error, SAH_NOT_SUPPORTED, "precision",
                                  " bf16: this processor has no bfloat16 products; f32 runs everywhere");
        *chosen = SAH_PRECISION_BF16;
        return SAH_OK;
    }
    if (!there) {
        snprintf(note, size, "f32: this processor has no bfloat16 products");
        return SAH_OK;
    }
    double f32, bf16;
    int64_t outputs = 2 * (int64_t)config->d_ff, inputs = config->d_model;
    sah_status status =
        sah_product_rate(outputs, inputs, ROWS, SAH_PRECISION_F32, threads, SECONDS, &f32, error);
    if (status == SAH_OK)
        status = sah_product_rate(outputs, inputs, ROWS, SAH_PRECISION_BF16, threads, SECONDS, &bf16, error);
    if (status != SAH_OK) return status;
    *chosen = sah_precision_faster(f32, bf16);
    snprintf(note, size, "%s: products ran at %.0f GFLOP/s in f32, %.0f in bf16",
             *chosen == SAH_PRECISION_BF16 ? "bf16" : "f32", f32 / 1e9, bf16 / 1e9);
    return SAH_OK;
}
