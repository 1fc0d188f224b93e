/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/rewrite_tensors.h"

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
