/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of a tensor as they will be written, adapters merged, and the type that holds them. */
#ifndef SAH_EDIT_EDITED_TENSOR_H
#define SAH_EDIT_EDITED_TENSOR_H

#include "model/checkpoint/checkpoint.h"

enum { SAH_MAX_SHARING = 8 }; /* matrices that one tensor holds */

/* The matrices of a tensor; none: it is a vector. */
typedef struct sah_sharing {
    const sah_matrix *items[SAH_MAX_SHARING];
    int n;
} sah_sharing;

void sah_sharing_add(sah_sharing *sharing, const sah_matrix *matrix);
bool sah_sharing_merges(const sah_sharing *sharing); /* one of them has an adapter */

/* All values of the tensor as the file has them, adapters merged. */
sah_status sah_values_read(const sah_tensor *tensor, const sah_sharing *sharing, float *out,
                           sah_error *error);

/* How well a 16-bit type holds the values it is shown. */
typedef struct sah_fit {
    sah_dtype type;
    double largest, worst; /* magnitude, and error of rounding */
} sah_fit;

void sah_fit_see(sah_fit *fit, float value);
/* True when it holds them as well as it holds numbers in its normal range: the largest error of rounding is no more
 * than half a unit in the last place of the largest number. Numbers that overflow or that sink below float16's
 * range (1e-4 times most weights does) fail it. */
bool sah_fits(const sah_fit *fit);

/* The tensor's own type, or float32 where an adapter is merged that it does not hold. What was quantised
 * becomes float16 where that is exact, else float32. */
sah_dtype sah_values_type(const sah_tensor *tensor, const sah_sharing *sharing, const float *values);

#endif
