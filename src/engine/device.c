/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/device.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

/* ---- Memory -------------------------------------------------------------------------------------------- */

void *sah_device_alloc(const sah_device *device, size_t count, size_t size)
{
    size_t bytes;
    if (!sah_mul(count, size, &bytes)) return NULL;
    return device->alloc(bytes);
}

void sah_device_free(const sah_device *device, void *memory)
{
    if (memory != NULL) device->free(memory);
}

sah_status sah_device_lend(const sah_device *device, const void *array, size_t count, size_t size,
                           const void **out, sah_error *error)
{
    *out = array;
    if (device->host || array == NULL) return SAH_OK;
    void *copy = sah_device_alloc(device, count, size);
    *out = copy;
    if (copy == NULL) return sah_fail_memory(error, "the rows of a pass");
    sah_status status = device->upload(array, count * size, copy, error);
    if (status == SAH_OK) return SAH_OK;
    device->free(copy);
    *out = NULL;
    return status;
}

sah_status sah_device_lend_segments(const sah_device *device, const sah_segment *segments, int32_t n,
                                    const sah_segment **out, sah_error *error)
{
    size_t nodes = 0, count = (size_t)n, bytes = count * sizeof *segments;
    *out = segments;
    if (device->host || segments == NULL) return SAH_OK;
    /* One array: the segments, then all their paths, which these point to. */
    for (size_t i = 0; i < count; i++) nodes += (size_t)segments[i].depth + (size_t)segments[i].n;
    bytes += nodes * sizeof(int32_t);
    sah_segment *copy = sah_alloc(1, bytes);
    char *there = sah_device_alloc(device, 1, bytes);
    sah_status status = copy != NULL && there != NULL ? SAH_OK : sah_fail_memory(error, "the rows of a pass");
    if (status == SAH_OK) {
        int32_t *path = (int32_t *)(void *)(copy + count);
        for (size_t i = 0; i < count; i++) {
            size_t length = (size_t)segments[i].depth + (size_t)segments[i].n;
            copy[i] = segments[i];
            copy[i].path = (const int32_t *)(const void *)(there + ((char *)path - (char *)copy));
            memcpy(path, segments[i].path, length * sizeof *path);
            path += length;
        }
        status = device->upload(copy, bytes, there, error);
    }
    free(copy);
    if (status != SAH_OK) {
        sah_device_free(device, there);
        there = NULL;
    }
    *out = (const sah_segment *)(const void *)there;
    return status;
}

void sah_device_forget(const sah_device *device, const void *lent)
{
    if (!device->host) sah_device_free(device, (void *)(uintptr_t)lent);
}

uint64_t sah_device_most(const sah_device *device, uint64_t others, uint64_t wanted)
{
    const uint64_t room = device->room(), half = room > others ? (room - others) / 2 : 0;
    return room > 0 && half < wanted ? half : wanted;
}

sah_status sah_device_move(const sah_device *device, float **array, size_t count, sah_error *error)
{
    if (device->host || *array == NULL) return SAH_OK;
    float *there = sah_device_alloc(device, count, sizeof *there);
    if (there == NULL) return sah_fail_memory(error, "weights");
    sah_status status = device->upload(*array, count * sizeof *there, there, error);
    if (status != SAH_OK) {
        device->free(there);
        return status;
    }
    free(*array);
    *array = there;
    return SAH_OK;
}

/* ---- Weights ------------------------------------------------------------------------------------------- */

sah_status sah_weights_new(const sah_device *device, int64_t outputs, int64_t inputs, sah_packing packing,
                           sah_rows_fn read, const void *source, sah_weights **out, sah_error *error)
{
    return device->pack(outputs, &inputs, 1, packing, read, source, out, error);
}

sah_status sah_weights_split(const sah_device *device, int64_t outputs, const int64_t *ends, int n,
                             sah_packing packing, sah_rows_fn read, const void *source, sah_weights **out,
                             sah_error *error)
{
    return device->pack(outputs, ends, n, packing, read, source, out, error);
}

void sah_read_rows(int64_t outputs, int64_t inputs, sah_rows_fn read, const void *source, float *values,
                   int64_t stride)
{
    enum { ROWS = 64 };
    int64_t at_once = stride == inputs ? ROWS : 1, blocks = (outputs + at_once - 1) / at_once;
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t b = 0; b < blocks; b++) {
        int64_t row = b * at_once, n = outputs - row < at_once ? outputs - row : at_once;
        float *out = values + row * stride;
        read(source, (size_t)row, (size_t)n, out);
        for (int64_t i = inputs; i < stride; i++) out[i] = 0.0f; /* one row, where there is any */
    }
}

void sah_weights_free(sah_weights *weights)
{
    if (weights != NULL) weights->device->unpack(weights);
}

const sah_weights *sah_weights_difference(const sah_weights *weights)
{
    return weights->difference != NULL ? weights->difference : weights;
}

/* ---- Workspaces ---------------------------------------------------------------------------------------- */

int sah_threads_here(int threads)
{
    return omp_get_active_level() < omp_get_max_active_levels() ? threads : 1;
}

sah_status sah_workspace_new(const sah_device *device, int threads, sah_workspace **out, sah_error *error)
{
    sah_workspace *workspace = sah_alloc(1, sizeof *workspace);
    if (workspace == NULL) return sah_fail_memory(error, "a workspace");
    workspace->device = device;
    workspace->threads = sah_threads_here(threads);
    workspace->since = omp_get_wtime();
    sah_status status = device->start(workspace, error);
    if (status != SAH_OK) {
        sah_workspace_free(workspace);
        return status;
    }
    *out = workspace;
    return SAH_OK;
}

static void free_slot(const sah_workspace *workspace, sah_slot slot)
{
    if (slot == SAH_SLOT_PLAN)
        free(workspace->slots[slot]);
    else
        sah_device_free(workspace->device, workspace->slots[slot]);
}

void sah_workspace_free(sah_workspace *workspace)
{
    if (workspace == NULL) return;
    workspace->device->stop(workspace);
    for (int i = 0; i < SAH_N_SLOTS; i++) free_slot(workspace, (sah_slot)i);
    free(workspace);
}

void sah_workspace_fix_rows(sah_workspace *workspace)
{
    workspace->fixed_rows = true;
}

float *sah_workspace_scratch(sah_workspace *workspace, sah_slot slot, size_t n)
{
    if (workspace->slot_sizes[slot] < n || workspace->slots[slot] == NULL) {
        free_slot(workspace, slot);
        workspace->slots[slot] = slot == SAH_SLOT_PLAN
                                     ? sah_alloc_aligned(n, sizeof(float))
                                     : sah_device_alloc(workspace->device, n, sizeof(float));
        workspace->slot_sizes[slot] = workspace->slots[slot] != NULL ? n : 0;
    }
    return workspace->slots[slot];
}

sah_stage sah_workspace_enter(sah_workspace *workspace, sah_stage stage)
{
    sah_stage before = workspace->stage;
    double now = omp_get_wtime();
    workspace->books.seconds[before] += now - workspace->since;
    workspace->since = now;
    workspace->stage = stage;
    return before;
}

void sah_workspace_count(sah_workspace *workspace, sah_books *books)
{
    sah_workspace_enter(workspace, workspace->stage);
    for (int i = 0; i < SAH_N_STAGES; i++) {
        books->seconds[i] += workspace->books.seconds[i];
        books->operations[i] += workspace->books.operations[i];
    }
}

/* ---- Products ------------------------------------------------------------------------------------------ */

static double operations(const sah_weights *weights, int64_t rows)
{
    return 2.0 * (double)rows * (double)weights->outputs * (double)weights->inputs;
}

const void *sah_product_input(sah_workspace *workspace, sah_slot slot, const sah_weights *weights,
                              int64_t rows, const float *x)
{
    return rows == 0 ? x : workspace->device->input(workspace, slot, weights, rows, x);
}

sah_status sah_product_of(sah_workspace *workspace, const sah_weights *weights, int64_t rows,
                          const void *input, float *y, bool add, sah_error *error)
{
    if (rows == 0) return SAH_OK;
    sah_stage stage = workspace->stage == SAH_STAGE_LM_HEAD ? SAH_STAGE_LM_HEAD : SAH_STAGE_PRODUCT;
    sah_stage before = sah_workspace_enter(workspace, stage);
    sah_status status = workspace->device->product(workspace, weights, rows, input, y, add, error);
    workspace->books.operations[stage] += operations(weights, rows);
    sah_workspace_enter(workspace, before);
    return status;
}

sah_status sah_product(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                       float *y, bool add, sah_error *error)
{
    const void *input = sah_product_input(workspace, SAH_SLOT_ROUNDED, weights, rows, x);
    if (input == NULL) return sah_fail_memory(error, "a matrix product");
    return sah_product_of(workspace, weights, rows, input, y, add, error);
}

bool sah_product_gates(const sah_weights *weights)
{
    return weights->device->gates(weights);
}

const void *sah_product_gate(sah_workspace *workspace, sah_slot slot, const sah_weights *weights,
                             int64_t rows, const void *input, const float *gate_bias, const float *up_bias)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_PRODUCT);
    const void *inner = workspace->device->gate(workspace, slot, weights, rows, input, gate_bias, up_bias);
    if (inner != NULL) workspace->books.operations[SAH_STAGE_PRODUCT] += operations(weights, rows);
    sah_workspace_enter(workspace, before);
    return inner;
}

bool sah_product_knows_top(const sah_weights *weights)
{
    return weights->device->knows_top(weights);
}

sah_status sah_product_top(sah_workspace *workspace, const sah_weights *weights, int64_t rows, const float *x,
                           int32_t *top, sah_error *error)
{
    return rows == 0 ? SAH_OK : workspace->device->top(workspace, weights, rows, x, top, error);
}
