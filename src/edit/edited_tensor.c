/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/edited_tensor.h"

#include <math.h>
#include <string.h>

void sah_values_read(const sah_tensor *tensor, const sah_matrix *matrix, float *out)
{
    if (matrix == NULL) {
        sah_vector_read(tensor, 0, out);
        return;
    }
#pragma omp parallel for schedule(static)
    for (size_t row = 0; row < matrix->rows; row++)
        sah_matrix_read(matrix, row, 1, out + sah_matrix_file_row(matrix, row) * matrix->columns);
}

bool sah_values_fit(sah_dtype type, const float *values, sah_block b)
{
    const double roundoff = type == SAH_F16 ? 0x1p-11 : 0x1p-8;
    double largest = 0, worst = 0;
    for (size_t r = 0; r < b.n; r++) {
        for (size_t c = 0; c < b.length; c++) {
            const float value = values[b.first + r * b.stride + c];
            const float kept = type == SAH_F16 ? sah_f16_to_f32(sah_f32_to_f16(value))
                                               : sah_bf16_to_f32(sah_f32_to_bf16(value));
            largest = fmax(largest, fabs((double)value));
            worst = fmax(worst, fabs((double)kept - (double)value));
        }
    }
    return worst <= roundoff * largest;
}

static bool is_exact(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float kept = sah_f16_to_f32(sah_f32_to_f16(values[i]));
        if (memcmp(&kept, &values[i], sizeof kept) != 0) return false;
    }
    return true;
}

sah_dtype sah_values_type(const sah_tensor *tensor, const sah_matrix *matrix, const float *values)
{
    const size_t n = sah_tensor_values(tensor);
    if (tensor->type == SAH_F32) return SAH_F32;
    if (tensor->type != SAH_F16 && tensor->type != SAH_BF16)
        return matrix != NULL && is_exact(values, n) ? SAH_F16 : SAH_F32;
    const bool merged = matrix != NULL && matrix->lora != NULL;
    return merged && !sah_values_fit(tensor->type, values, (sah_block){0, 1, n, n}) ? SAH_F32 : tensor->type;
}
