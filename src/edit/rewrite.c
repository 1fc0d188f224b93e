/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/rewrite.h"
#include "edit/rewrite_gguf.h"
#include "edit/rewrite_safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

void sah_narrow(sah_dtype type, const float *values, size_t n, uint8_t *out)
{
    if (type == SAH_F32) {
        memcpy(out, values, n * sizeof *values);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half = type == SAH_F16 ? sah_f32_to_f16(values[i]) : sah_f32_to_bf16(values[i]);
        memcpy(out + 2 * i, &half, sizeof half);
    }
}

static sah_status plan_tensor(sah_rewrite *rewrite, size_t index, sah_error *error)
{
    const sah_tensor *tensor = &rewrite->base->tensors->items[index];
    const size_t n = sah_tensor_values(tensor);
    size_t bytes;
    if (tensor->type == SAH_F4) {
        return sah_fail(error, SAH_NOT_SUPPORTED, "tensor %s is stored as MXFP4, which cannot be edited",
                        tensor->name);
    }
    float *values = sah_alloc_aligned(n, sizeof *values);
    if (values == NULL) return sah_fail_memory(error, tensor->name);
    sah_status status = rewrite->values(rewrite->context, index, values, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        if (!isfinite(values[i]))
            status =
                sah_fail(error, SAH_FAILED, "tensor %s would hold a number that is not finite", tensor->name);
    }
    if (status == SAH_OK) {
        rewrite->changes[index].type = rewrite->type(rewrite->context, index, values);
        if (!sah_dtype_bytes(rewrite->changes[index].type, n, &bytes))
            status = sah_fail(error, SAH_FAILED, "tensor %s is too large", tensor->name);
    }
    free(values);
    return status;
}

sah_status sah_rewrite_plan(sah_rewrite *rewrite, sah_error *error)
{
    const sah_checkpoint *base = rewrite->base;
    sah_status status = SAH_OK;
    for (size_t i = 0; i < base->tensors->n && status == SAH_OK; i++) {
        if (rewrite->changes[i].changed && rewrite->changes[i].data == NULL)
            status = plan_tensor(rewrite, i, error);
        if (status == SAH_OK && rewrite->progress != NULL &&
            !rewrite->progress(rewrite->user, "bytes", 0, base->info.file_bytes))
            status = sah_fail(error, SAH_INTERRUPTED, "interrupted: nothing was written");
    }
    return status;
}

/* Cannot overflow: the plan that set the type has asked sah_dtype_bytes(). */
size_t sah_rewrite_bytes(const sah_rewrite *rewrite, size_t index)
{
    const sah_tensor *tensor = &rewrite->base->tensors->items[index];
    size_t bytes = tensor->bytes;
    if (rewrite->changes[index].changed)
        sah_dtype_bytes(rewrite->changes[index].type, sah_tensor_values(tensor), &bytes);
    return bytes;
}

static sah_status make(const sah_rewrite *rewrite, size_t index, size_t bytes, sah_writer *writer,
                       sah_error *error)
{
    const sah_tensor *tensor = &rewrite->base->tensors->items[index];
    const size_t n = sah_tensor_values(tensor);
    float *values = sah_alloc_aligned(n, sizeof *values);
    uint8_t *data = sah_alloc_aligned(bytes, 1);
    sah_status status = SAH_OK;
    if (values == NULL || data == NULL) status = sah_fail_memory(error, tensor->name);
    if (status == SAH_OK) status = rewrite->values(rewrite->context, index, values, error);
    if (status == SAH_OK) {
        sah_narrow(rewrite->changes[index].type, values, n, data);
        status = sah_writer_put(writer, data, bytes, error);
    }
    free(values);
    free(data);
    return status;
}

sah_status sah_rewrite_tensor(sah_rewrite *rewrite, size_t index, sah_writer *writer, sah_error *error)
{
    const sah_tensor *tensor = &rewrite->base->tensors->items[index];
    const sah_change *change = &rewrite->changes[index];
    const size_t bytes = sah_rewrite_bytes(rewrite, index);
    const uint8_t *data = change->changed ? change->data : tensor->data;
    sah_status status = data != NULL ? sah_writer_put(writer, data, bytes, error)
                                     : make(rewrite, index, bytes, writer, error);
    sah_checkpoint_release(rewrite->base, tensor);
    rewrite->done += bytes;
    if (status == SAH_OK && rewrite->progress != NULL &&
        !rewrite->progress(rewrite->user, "bytes", rewrite->done, rewrite->total))
        status = sah_fail(error, SAH_INTERRUPTED, "interrupted: nothing was written");
    return status;
}

/* A tensor's number beside its place. */
typedef struct place {
    size_t offset, bytes, index;
} place;

static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) -
           (x->bytes < y->bytes); /* an empty tensor comes before the one it touches */
}

size_t *sah_rewrite_order(const sah_rewrite *rewrite, size_t file, size_t *n)
{
    const sah_tensors *tensors = rewrite->base->tensors;
    place *places = sah_alloc(tensors->n, sizeof *places);
    size_t *order = sah_alloc(tensors->n, sizeof *order);
    *n = 0;
    if (places == NULL || order == NULL) {
        free(places);
        free(order);
        return NULL;
    }
    for (size_t i = 0; i < tensors->n; i++) {
        const sah_tensor *tensor = &tensors->items[i];
        if (tensor->file == file) places[(*n)++] = (place){tensor->offset, tensor->bytes, i};
    }
    qsort(places, *n, sizeof *places, by_place);
    for (size_t i = 0; i < *n; i++) order[i] = places[i].index;
    free(places);
    return order;
}

sah_status sah_rewrite_run(sah_rewrite *rewrite, const char *path, const char *const *inputs, size_t n_inputs,
                           sah_error *error)
{
    const sah_checkpoint *base = rewrite->base;
    sah_output output;
    rewrite->done = rewrite->total = 0;
    for (size_t i = 0; i < base->tensors->n; i++) rewrite->total += sah_rewrite_bytes(rewrite, i);
    sah_status status = sah_output_begin(path, !base->is_gguf, inputs, n_inputs, &output, error);
    if (status != SAH_OK) return status;
    status = base->is_gguf ? sah_rewrite_gguf(rewrite, &output, error)
                           : sah_rewrite_directory(rewrite, &output, error);
    if (status == SAH_OK) status = sah_tensors_unchanged(base->tensors, error);
    if (status == SAH_OK) status = sah_output_finish(&output, error);
    sah_output_close(&output);
    return status;
}
