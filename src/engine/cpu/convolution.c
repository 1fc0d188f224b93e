/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/convolution.h"

#include <string.h>

#include "model/family/shape.h"

/* z = c (sum over j of weights[j] * input j); NULL counts as zeros. z may be where none of them are. */
static void convolve(int kernel, int64_t d, const float *weights, const float *const *input, const float *c,
                     float *z)
{
    memset(z, 0, (size_t)d * sizeof *z);
    for (int j = 0; j < kernel; j++) {
        const float *w = weights + j * d, *in = input[j];
        if (in == NULL) continue;
#pragma omp simd
        for (int64_t i = 0; i < d; i++) z[i] += w[i] * in[i];
    }
#pragma omp simd
    for (int64_t i = 0; i < d; i++) z[i] *= c[i];
}

/* The inputs that row `path[at]` sees, its own last. */
static void inputs_of(const int32_t *path, int at, int kernel, int64_t d, const float *rows,
                      const float **input)
{
    for (int j = 0; j < kernel; j++) {
        const int back = kernel - 1 - j;
        input[j] = back <= at ? rows + path[at - back] * 3 * d + 2 * d : NULL;
    }
}

/* One row whose last inputs are kept, among which its own then is. */
static void step(int kernel, int64_t d, const float *weights, const float *row, float *last, float *z)
{
    const float *input[SAH_MAX_KERNEL];
    for (int j = 0; j < kernel - 1; j++) input[j] = last + j * d;
    input[kernel - 1] = row + 2 * d;
    convolve(kernel, d, weights, input, row + d, z);
    if (kernel < 2) return;
    memmove(last, last + d, (size_t)((kernel - 2) * d) * sizeof *last);
    memcpy(last + (kernel - 2) * d, row + 2 * d, (size_t)d * sizeof *last);
}

static void keep_inputs(int kernel, int64_t d, const sah_view *ends, const float *rows, float *kept)
{
    const float *input[SAH_MAX_KERNEL];
    for (int32_t k = 0; k < ends->n_segments; k++)
        for (int i = 0; i < ends->segments[k].n; i++) {
            const sah_segment *segment = &ends->segments[k];
            float *last = kept + ends->sequence[segment->row + i] * (kernel - 1) * d;
            inputs_of(segment->path, segment->depth + i, kernel, d, rows, input);
            for (int j = 1; j < kernel; j++, last += d) {
                if (input[j] != NULL)
                    memcpy(last, input[j], (size_t)d * sizeof *last);
                else
                    memset(last, 0, (size_t)d * sizeof *last);
            }
        }
}

void sah_cpu_convolve(sah_workspace *workspace, const sah_convolution *c, const sah_view *nodes,
                      const sah_view *ends, const sah_view *view)
{
    const int kernel = c->kernel, threads = workspace->threads;
    const int64_t d = c->width, each = (kernel - 1) * d;
    const float *w = c->weights;
    float *rows = c->rows;
#pragma omp parallel for if (threads > 1 && nodes->n > 8) num_threads(threads)
    for (int64_t r = 0; r < nodes->n; r++) {
        float *b = rows + r * 3 * d, *x = b + 2 * d;
        for (int64_t i = 0; i < d; i++) x[i] *= b[i];
        if (nodes->single) step(kernel, d, w, b, c->kept + nodes->sequence[r] * each, c->z + r * c->z_stride);
    }
    if (!nodes->single && c->kept != NULL) keep_inputs(kernel, d, ends, rows, c->kept);
#pragma omp parallel for if (threads > 1) num_threads(threads) schedule(dynamic, 1)
    for (int32_t k = 0; k < (nodes->single ? 0 : view->n_segments); k++) {
        const sah_segment *segment = &view->segments[k];
        for (int i = 0; i < segment->n; i++) {
            const float *input[SAH_MAX_KERNEL];
            const int depth = segment->depth + i;
            inputs_of(segment->path, depth, kernel, d, rows, input);
            convolve(kernel, d, w, input, rows + segment->path[depth] * 3 * d + d,
                     c->z + (segment->row + i) * c->z_stride);
        }
    }
}
