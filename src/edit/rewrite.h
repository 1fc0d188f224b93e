/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint written anew with some of its tensors changed and everything else byte for byte. Surgery and
 * graft say what changes; the writers of the two containers know how. */
#ifndef SAH_EDIT_REWRITE_H
#define SAH_EDIT_REWRITE_H

#include "edit/output.h"
#include "model/checkpoint/checkpoint.h"
#include "util/json.h"

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

/* Sets the types of the changes without data: their values are made once for it, and must be finite. */
sah_status sah_rewrite_plan(sah_rewrite *rewrite, sah_error *error);

/* Writes the result to `path`, which must not exist; `inputs` are the paths it was made from. */
sah_status sah_rewrite_run(sah_rewrite *rewrite, const char *path, const char *const *inputs, size_t n_inputs,
                           sah_error *error);

/* ---- For the writers */

/* Bytes that tensor `index` takes when it is written. */
size_t sah_rewrite_bytes(const sah_rewrite *rewrite, size_t index);
/* Writes them. */
sah_status sah_rewrite_tensor(sah_rewrite *rewrite, size_t index, sah_writer *writer, sah_error *error);
/* The numbers of all tensors of file `file` in the order of their places, for free(); NULL: no memory. */
size_t *sah_rewrite_order(const sah_rewrite *rewrite, size_t file, size_t *n);

/* values[n] as F32, F16 or BF16. */
void sah_narrow(sah_dtype type, const float *values, size_t n, uint8_t *out);

#endif
