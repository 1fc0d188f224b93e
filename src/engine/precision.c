/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/precision.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/product.h"
#include "util/alloc.h"
#include "util/error.h"

/* Small numbers that differ, without zeros or subnormals, whose products would be timed wrongly. */
static void fill(const void *source, size_t row, size_t n, float *out)
{
    size_t columns = *(const size_t *)source;
    for (size_t i = 0; i < n * columns; i++) out[i] = 0.01f * (float)((row * columns + i) % 127 + 1);
}

/* Rows of the device's, filled. */
static sah_status bring(const sah_device *device, size_t columns, size_t n, float **out, sah_error *error)
{
    float *there = *out = sah_device_alloc(device, n * columns, sizeof *there);
    float *here = device->host ? there : sah_alloc(n * columns, sizeof *here);
    sah_status status = there != NULL && here != NULL ? SAH_OK : sah_fail_memory(error, "measuring products");
    if (status == SAH_OK) {
        fill(&columns, 0, n, here);
        status = device->upload(here, n * columns * sizeof *here, there, error);
    }
    if (here != there) free(here);
    return status;
}

sah_status sah_product_rate(const sah_device *device, int64_t outputs, int64_t inputs, int64_t rows,
                            sah_precision precision, int threads, double seconds, double *rate,
                            sah_error *error)
{
    size_t columns = (size_t)inputs;
    sah_weights *weights = NULL;
    sah_status result = sah_weights_new(device, outputs, inputs, (sah_packing){.precision = precision}, fill,
                                        &columns, &weights, error);
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
        float *x = NULL, *y = sah_device_alloc(device, (size_t)(rows * outputs), sizeof *y), one;
        sah_error own = {0};
        sah_status status =
            y ? sah_workspace_new(device, 1, &workspace, &own) : sah_fail_memory(&own, "measuring products");
        if (status == SAH_OK) status = bring(device, columns, (size_t)rows, &x, &own);
        for (int trial = 0; trial < 5; trial++) {
#pragma omp barrier
            double start = omp_get_wtime();
            for (int i = 0; i < rounds && status == SAH_OK; i++)
                status = sah_product(workspace, weights, rows, x, y, false, &own);
            /* A device of its own may not have begun. */
            if (status == SAH_OK) status = device->download(y, sizeof one, &one, &own);
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
        sah_device_free(device, x);
        sah_device_free(device, y);
        if (status > result) result = status;
    }
    sah_weights_free(weights);
    return result;
}

sah_precision sah_precision_faster(double f32, double bf16)
{
    return bf16 > 1.1 * f32 ? SAH_PRECISION_BF16 : SAH_PRECISION_F32;
}

bool sah_precision_has_bf16(const sah_device *device)
{
    enum { SIZE = 32 };
    const size_t columns = SIZE;
    sah_weights *weights = NULL;
    if (device->host) return sah_product_has_bf16();
    bool has = sah_weights_new(device, SIZE, SIZE, (sah_packing){.precision = SAH_PRECISION_BF16}, fill,
                               &columns, &weights, NULL) == SAH_OK;
    sah_weights_free(weights);
    return has;
}

sah_status sah_precision_choose(const sah_device *device, const sah_config *config, sah_precision wanted,
                                int threads, sah_precision *chosen, char *note, size_t size, sah_error *error)
{
    enum { ROWS = 128 };
    const double SECONDS = 0.005;
    const char *name = device->host ? "this processor" : device->name;
    note[0] = '\0';
    *chosen = SAH_PRECISION_F32;
    if (wanted == SAH_PRECISION_F32) return SAH_OK;
    bool there = sah_precision_has_bf16(device);
    if (wanted == SAH_PRECISION_BF16) {
        if (!there)
            return sah_fail_field(error, SAH_NOT_SUPPORTED, "precision",
                                  " bf16: %s has no bfloat16 products; f32 runs everywhere", name);
        *chosen = SAH_PRECISION_BF16;
        return SAH_OK;
    }
    if (!there) {
        snprintf(note, size, "f32: %s has no bfloat16 products", name);
        return SAH_OK;
    }
    double f32, bf16;
    int64_t outputs = 2 * (int64_t)config->d_ff, inputs = config->d_model;
    sah_status status =
        sah_product_rate(device, outputs, inputs, ROWS, SAH_PRECISION_F32, threads, SECONDS, &f32, error);
    if (status == SAH_OK)
        status = sah_product_rate(device, outputs, inputs, ROWS, SAH_PRECISION_BF16, threads, SECONDS, &bf16,
                                  error);
    if (status != SAH_OK) return status;
    *chosen = sah_precision_faster(f32, bf16);
    snprintf(note, size, "%s: products ran at %.0f GFLOP/s in f32, %.0f in bf16",
             *chosen == SAH_PRECISION_BF16 ? "bf16" : "f32", f32 / 1e9, bf16 / 1e9);
    return SAH_OK;
}
