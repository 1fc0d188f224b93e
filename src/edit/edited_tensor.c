/* SPDX-License-Identifier: Apache-2.0 */
#include "edit/edited_tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/checkpoint/lora.h"
#include "util/alloc.h"
#include "util/error.h"

enum { CHUNK = 1 << 14 }; /* values; whole blocks of every type */

void sah_sharing_add(sah_sharing *sharing, const sah_matrix *matrix)
{
    for (int i = 0; i < sharing->n; i++)
        if (sharing->items[i] == matrix) return;
    if (sharing->n < SAH_MAX_SHARING) sharing->items[sharing->n++] = matrix;
}

bool sah_sharing_merges(const sah_sharing *sharing)
{
    for (int i = 0; i < sharing->n; i++)
        if (sharing->items[i]->lora != NULL) return true;
    return false;
}

/* A row of the tensor, whose first is row `first` of the matrix, with its adapter, between the places of its values. */
static void merge_row(const sah_matrix *m, size_t first, size_t row, float *line, float *values)
{
    for (size_t c = 0; c < m->columns; c++) line[c] = values[sah_matrix_at(m, row, c)];
    sah_lora_add(m->lora, first + row, 1, m->columns, line);
    for (size_t c = 0; c < m->columns; c++) values[sah_matrix_at(m, row, c)] = line[c];
}

/* Which rows of a matrix lie in the tensor: all, or those of one expert. */
static void rows_in(const sah_matrix *m, const sah_tensor *tensor, size_t *first, size_t *n)
{
    *first = 0;
    *n = m->rows;
    if (m->blocks == NULL) return;
    while (*first + m->block_rows < m->rows && sah_tensor_whole(m->blocks[*first / m->block_rows]) != tensor)
        *first += m->block_rows;
    *n = m->block_rows;
}

static sah_status merge(const sah_matrix *m, const sah_tensor *tensor, float *values, sah_error *error)
{
    bool failed = false;
    size_t first, n;
    rows_in(m, tensor, &first, &n);
#pragma omp parallel
    {
        float *line = sah_alloc_aligned(m->columns, sizeof *line);
#pragma omp for schedule(static)
        for (size_t row = 0; row < n; row++) {
            if (line != NULL)
                merge_row(m, first, row, line, values);
            else
#pragma omp atomic write
                failed = true;
        }
        free(line);
    }
    return failed ? sah_fail_memory(error, m->tensor->name) : SAH_OK;
}

sah_status sah_values_read(const sah_tensor *tensor, const sah_sharing *sharing, float *out, sah_error *error)
{
    const size_t n = sah_tensor_values(tensor);
    sah_status status = SAH_OK;
#pragma omp parallel for schedule(static)
    for (size_t from = 0; from < n; from += CHUNK)
        sah_tensor_read(tensor, from, n - from < CHUNK ? n - from : CHUNK, out + from);
    for (int i = 0; i < sharing->n && status == SAH_OK; i++)
        if (sharing->items[i]->lora != NULL) status = merge(sharing->items[i], tensor, out, error);
    return status;
}

void sah_fit_see(sah_fit *fit, float value)
{
    const float kept = fit->type == SAH_F16 ? sah_f16_to_f32(sah_f32_to_f16(value))
                                            : sah_bf16_to_f32(sah_f32_to_bf16(value));
    fit->largest = fmax(fit->largest, fabs((double)value));
    fit->worst = fmax(fit->worst, fabs((double)kept - (double)value));
}

bool sah_fits(const sah_fit *fit)
{
    return fit->worst <= (fit->type == SAH_F16 ? 0x1p-11 : 0x1p-8) * fit->largest;
}

static bool is_exact(const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float kept = sah_f16_to_f32(sah_f32_to_f16(values[i]));
        if (memcmp(&kept, &values[i], sizeof kept) != 0) return false;
    }
    return true;
}

sah_dtype sah_values_type(const sah_tensor *tensor, const sah_sharing *sharing, const float *values)
{
    const size_t n = sah_tensor_values(tensor);
    sah_fit fit = {.type = tensor->type};
    if (tensor->type == SAH_F32) return SAH_F32;
    if (tensor->type != SAH_F16 && tensor->type != SAH_BF16)
        return sharing->n > 0 && is_exact(values, n) ? SAH_F16 : SAH_F32;
    if (!sah_sharing_merges(sharing)) return tensor->type;
    for (size_t i = 0; i < n; i++) sah_fit_see(&fit, values[i]);
    return sah_fits(&fit) ? tensor->type : SAH_F32;
}
