/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/observer.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

sah_status sah_show(const sah_observer *observer, sah_place place, int layer, const float *states,
                    int64_t stride, int64_t width, const int32_t *which, int32_t n, sah_error *error)
{
    if (!observer) return SAH_OK;
    double *rows = sah_alloc((size_t)n * (size_t)width, sizeof *rows);
    if (!rows) return sah_fail_memory(error, "the states of the last tokens");
    for (int32_t i = 0; i < n; i++) {
        const float *row = states + (which ? which[i] : i) * stride;
        for (int64_t j = 0; j < width; j++) rows[i * width + j] = (double)row[j];
    }
    observer->see(observer->ctx, place, layer, rows);
    free(rows);
    return SAH_OK;
}
