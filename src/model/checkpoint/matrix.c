/* SPDX-License-Identifier: Apache-2.0 */
#include "model/checkpoint/matrix.h"

#include "model/checkpoint/layout.h"
#include "model/checkpoint/lora.h"

enum { CHUNK = 256 }; /* values; whole blocks of every type */

/* How many of the rows from `row` on lie behind one another. */
static size_t in_a_row(const sah_layout *layout, size_t row, size_t n)
{
    if (layout->run == 0) return n;
    const size_t left = layout->halves ? 1 : layout->run - row % layout->run;
    return left < n ? left : n;
}

size_t sah_matrix_at(const sah_matrix *matrix, size_t row, size_t column)
{
    const size_t r = sah_layout_row(&matrix->layout, row),
                 c = sah_layout_row(&matrix->columns_layout, column);
    const size_t width = matrix->tensor->dims[matrix->tensor->n_dims - 1];
    return matrix->turned ? (r / width * matrix->columns + c) * width + r % width : r * width + c;
}

/* One row whose columns lie in runs that take turns. */
static void read_in_turns(const sah_matrix *m, size_t row, float *out)
{
    const sah_layout *p = &m->columns_layout;
    float values[CHUNK];
    for (size_t from = 0; from < m->columns; from += CHUNK) {
        const size_t n = m->columns - from < CHUNK ? m->columns - from : CHUNK;
        sah_tensor_read(m->tensor, row * m->columns + from, n, values);
        for (size_t i = 0; i < n; i++) {
            const size_t run = (from + i) / p->run;
            out[sah_layout_turn(run, p->each, p->groups) * p->run + (from + i) % p->run] = values[i];
        }
    }
}

/* Rows that are n columns first, first + step, ... of the tensor, which may hold several matrices behind one
 * another: those of the second count on. */
static void read_turned(const sah_matrix *m, size_t first, size_t step, size_t n, float *out)
{
    const size_t width = m->tensor->dims[m->tensor->n_dims - 1];
    float line[CHUNK];
    for (size_t row = 0, here; row < n; row += here) {
        const size_t at = first + row * step, column = at % width, left = (width - column + step - 1) / step,
                     most = CHUNK / step;
        here = n - row < most ? n - row : most;
        if (here > left) here = left;
        for (size_t c = 0; c < m->columns; c++) {
            sah_tensor_read(m->tensor, (at / width * m->columns + c) * width + column, (here - 1) * step + 1,
                            line);
            for (size_t r = 0; r < here; r++) out[(row + r) * m->columns + c] = line[r * step];
        }
    }
}

/* Rows that lie behind one another, from the tensor's row `first` on. */
static void read_rows(const sah_matrix *m, size_t first, size_t n, float *out)
{
    if (m->turned) {
        read_turned(m, first, 1, n, out);
    } else if (m->columns_layout.run > 0) {
        for (size_t i = 0; i < n; i++) read_in_turns(m, first + i, out + i * m->columns);
    } else {
        sah_tensor_read(m->tensor, first * m->columns, n * m->columns, out);
    }
}

void sah_matrix_read(const sah_matrix *matrix, size_t row, size_t n, float *out)
{
    const size_t columns = matrix->columns;
    for (size_t i = 0, here = 1; i < n; i += here) {
        float *to = out + i * columns;
        if (matrix->blocks != NULL) {
            sah_tensor_read(matrix->blocks[(row + i) / matrix->block_rows],
                            (row + i) % matrix->block_rows * columns, columns, to);
        } else if (matrix->turned && matrix->layout.run == 1) {
            here = n;
            read_turned(matrix, sah_layout_row(&matrix->layout, row), matrix->layout.stride, n, out);
        } else {
            here = in_a_row(&matrix->layout, row + i, n - i);
            read_rows(matrix, sah_layout_row(&matrix->layout, row + i), here, to);
        }
    }
    if (matrix->lora != NULL) sah_lora_add(matrix->lora, row, n, columns, out);
}

void sah_vector_read(const sah_tensor *tensor, float *out)
{
    sah_tensor_read(tensor, 0, sah_tensor_values(tensor), out);
}

void sah_bias_read(const sah_matrix *matrix, const sah_tensor *tensor, float *out)
{
    for (size_t i = 0, here; i < matrix->rows; i += here) {
        here = in_a_row(&matrix->layout, i, matrix->rows - i);
        sah_tensor_read(tensor, sah_layout_row(&matrix->layout, i), here, out + i);
    }
}
