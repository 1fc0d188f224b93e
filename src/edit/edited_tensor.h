/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of a weight as they will be written, an adapter merged, and the type that holds them. */
#ifndef SAH_EDIT_EDITED_TENSOR_H
#define SAH_EDIT_EDITED_TENSOR_H

#include "model/checkpoint/checkpoint.h"

/* A part of a tensor's values: `n` runs of `length` values, `stride` apart. */
typedef struct sah_block {
    size_t first, n, length, stride;
} sah_block;

/* The tensor [rows, columns] in the file's order of rows, adapter merged; `matrix` is NULL for what is no
 * matrix. A head's rows stay together in either order. */
void sah_values_read(const sah_tensor *tensor, const sah_matrix *matrix, float *out);

/* True when a 16-bit type holds the block as well as it holds numbers in its normal range: the largest error
 * of rounding is no more than half a unit in the last place of the block's largest number. Numbers that
 * overflow or that sink below float16's range (1e-4 times most weights does) fail it. */
bool sah_values_fit(sah_dtype type, const float *values, sah_block block);

/* The tensor's own type, or float32 where an adapter is merged that it does not hold. What was quantised
 * becomes float16 where that is exact, else float32. */
sah_dtype sah_values_type(const sah_tensor *tensor, const sah_matrix *matrix, const float *values);

#endif
