/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays as NumPy reads them (its .npy format, version 1.0; NumPy Enhancement Proposal 1). */
#ifndef SAH_UTIL_NPY_H
#define SAH_UTIL_NPY_H

#include "sahara.h"

/* Writes the matrix [rows, columns], row by row, as float32 or float64. A file at `path` is replaced when all
 * is written, not before. */
sah_status sah_npy_write_floats(const char *path, const float *data, size_t rows, size_t columns,
                                sah_error *error);
sah_status sah_npy_write_doubles(const char *path, const double *data, size_t rows, size_t columns,
                                 sah_error *error);

#endif
