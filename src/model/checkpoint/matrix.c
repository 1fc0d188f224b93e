/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as float32 in Hugging Face's row order, whatever the file's type and order. */
#include <stdlib.h>

#include "model/checkpoint/lora.h"

/* GGUF's Llama files keep the two halves of a head interleaved, so that RoPE turns neighbours: row (head h,
 * half s, pair i) of Hugging Face's order, h D + s D/2 + i, lies at h D + 2 i + s. */
static size_t file_row(size_t row, size_t head_dim)
{
    size_t head = row / head_dim, half = row % head_dim / (head_dim / 2), pair = row % (head_dim / 2);
    return head * head_dim + 2 * pair + half;
}

size_t sah_matrix_file_row(const sah_matrix *matrix, size_t row)
{
    return matrix->rotary_heads == 0 ? row : file_row(row, matrix->rows / (size_t)matrix->rotary_heads);
}

void sah_matrix_read(const sah_matrix *matrix, size_t row, size_t n, float *out)
{
    const sah_tensor *tensor = matrix->tensor;
    const size_t columns = matrix->columns;
    if (matrix->blocks != NULL) {
        for (size_t i = 0; i < n; i++)
            sah_tensor_read(matrix->blocks[(row + i) / matrix->block_rows],
                            (row + i) % matrix->block_rows * columns, columns, out + i * columns);
    } else if (matrix->rotary_heads == 0) {
        sah_tensor_read(tensor, row * columns, n * columns, out);
    } else {
        const size_t head_dim = matrix->rows / (size_t)matrix->rotary_heads;
        for (size_t i = 0; i < n; i++)
            sah_tensor_read(tensor, file_row(row + i, head_dim) * columns, columns, out + i * columns);
    }
    if (matrix->lora != NULL) sah_lora_add(matrix->lora, row, n, columns, out);
}

void sah_vector_read(const sah_tensor *tensor, int rotary_heads, float *out)
{
    const size_t n = sah_tensor_values(tensor);
    if (rotary_heads == 0) {
        sah_tensor_read(tensor, 0, n, out);
        return;
    }
    const size_t head_dim = n / (size_t)rotary_heads;
    for (size_t i = 0; i < n; i++) sah_tensor_read(tensor, file_row(i, head_dim), 1, out + i);
}
