/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as float32 in Hugging Face's row order, whatever the file's type and order. */
#ifndef SAH_MODEL_CHECKPOINT_MATRIX_H
#define SAH_MODEL_CHECKPOINT_MATRIX_H

#include "model/family/roles.h"

/* Rows [row, row + n), adapter merged, out [n, columns]. */
void sah_matrix_read(const sah_matrix *matrix, size_t row, size_t n, float *out);
/* Which value of its tensor one of a matrix is. */
size_t sah_matrix_at(const sah_matrix *matrix, size_t row, size_t column);

/* A vector as float32; the bias of a matrix, one value a row. */
void sah_vector_read(const sah_tensor *tensor, float *out);
void sah_bias_read(const sah_matrix *matrix, const sah_tensor *tensor, float *out);

#endif
