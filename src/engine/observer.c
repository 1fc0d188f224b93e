/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/observer.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

sah_status sah_show(const sah_observer *observer, sah_workspace *workspace, sah_place place, int layer,
                    sah_rows ends, int32_t n, int64_t width, sah_error *error)
{
    if (observer == NULL) return SAH_OK;
    const size_t numbers = (size_t)n * (size_t)width;
    float *dense = sah_workspace_scratch(workspace, SAH_SLOT_SCORES, numbers);
    float *rows = sah_alloc(numbers, sizeof *rows);
    double *shown = sah_alloc(numbers, sizeof *shown);
    sah_status status = dense != NULL && rows != NULL && shown != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "the states of the last tokens");
    if (status == SAH_OK) {
        workspace->device->copy(workspace, ends, n, width, dense, width, NULL);
        status = workspace->device->download(dense, numbers * sizeof *rows, rows, error);
    }
    if (status == SAH_OK) {
        for (size_t i = 0; i < numbers; i++) shown[i] = (double)rows[i];
        observer->see(observer->ctx, place, layer, shown);
    }
    free(rows);
    free(shown);
    return status;
}
