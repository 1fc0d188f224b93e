/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/rewrite.h"
#include "edit/rewrite_gguf.h"
#include "edit/rewrite_safetensors.h"

#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

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
