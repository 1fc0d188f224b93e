/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a checkpoint's tensors, for the writers of the containers: new types, sizes, bytes. */
#ifndef SAH_EDIT_REWRITE_TENSORS_H
#define SAH_EDIT_REWRITE_TENSORS_H

#include "edit/output.h"
#include "model/checkpoint/checkpoint.h"

/* What becomes of one tensor. */
typedef struct sah_change {
    bool changed; /* false: its bytes stay */
    sah_dtype type; /* as it will be written */
    const uint8_t *data; /* the new bytes, or NULL: `values` makes them (F32, F16, BF16 only) */
} sah_change;

typedef struct sah_rewrite {
    const sah_checkpoint *base;
    sah_change *changes; /* [base->tensors->n] */
    /* The new values of tensor `index`, in the file's order; `context` is for it. */
    sah_status (*values)(const void *context, size_t index, float *out, sah_error *error);
    /* The type they are to be written in: F32, F16 or BF16. */
    sah_dtype (*type)(const void *context, size_t index, const float *values);
    const void *context;
    const char *provenance; /* JSON text that goes with the result (docs/files.md, "sahara.json") */
    sah_progress_fn progress; /* bytes written; or NULL */
    void *user;
    uint64_t done, total; /* bytes of tensors, for the progress */
} sah_rewrite;

/* Bytes that tensor `index` takes when it is written. */
size_t sah_rewrite_bytes(const sah_rewrite *rewrite, size_t index);
/* Writes them. */
sah_status sah_rewrite_tensor(sah_rewrite *rewrite, size_t index, sah_writer *writer, sah_error *error);
/* The numbers of all tensors of file `file` in the order of their places, for free(); NULL: no memory. */
size_t *sah_rewrite_order(const sah_rewrite *rewrite, size_t file, size_t *n);

/* values[n] as F32, F16 or BF16. */
void sah_narrow(sah_dtype type, const float *values, size_t n, uint8_t *out);

#endif
