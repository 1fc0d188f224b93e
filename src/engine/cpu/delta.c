/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/delta.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "engine/cpu/fast_exp.h"
#include "util/error.h"

/* The reference keeps lengths of q and k off zero by this. */
static const double LENGTH_EPS = 1e-6;

/* ---- The convolution ----------------------------------------------------------------------------------- */

/* x[i] = silu(sum over j of kernel[j][i] * input j), i in [from, to); input kernel - 1 is x itself, NULL counts as
 * zeros. */
SAH_SIMD static void convolve(const sah_recurrence *s, const float *const *input, int64_t from, int64_t to,
                              float *x)
{
    const float *own = s->weights + (s->kernel - 1) * s->columns;
#pragma omp simd
    for (int64_t i = from; i < to; i++) x[i] *= own[i];
    for (int j = 0; j < s->kernel - 1; j++) {
        const float *w = s->weights + j * s->columns, *in = input[j];
        if (in == NULL) continue;
#pragma omp simd
        for (int64_t i = from; i < to; i++) x[i] += w[i] * in[i];
    }
#pragma omp simd
    for (int64_t i = from; i < to; i++) x[i] = x[i] / (1.0f + sah_fast_exp(-x[i]));
}

/* Columns [from, to) of one row whose state is kept: its inputs are the last ones, among which it then is. */
static void convolve_kept(const sah_recurrence *s, float *last, int64_t from, int64_t to, float *x)
{
    const float *input[SAH_MAX_KERNEL];
    for (int j = 0; j < s->kernel - 1; j++) input[j] = last + j * s->columns;
    for (int64_t i = from; i < to; i++) {
        float now = x[i], sum = now * s->weights[(s->kernel - 1) * s->columns + i];
        for (int j = 0; j < s->kernel - 1; j++) sum += s->weights[j * s->columns + i] * input[j][i];
        for (int j = 0; j < s->kernel - 2; j++) last[j * s->columns + i] = last[(j + 1) * s->columns + i];
        if (s->kernel > 1) last[(s->kernel - 2) * s->columns + i] = now;
        x[i] = sum / (1.0f + expf(-sum));
    }
}

/* Columns [from, to) of all rows of a forest, in place: children before their parents, whose inputs they need. */
static void convolve_forest(const sah_recurrence *s, const sah_view *nodes, int64_t from, int64_t to)
{
    const float *input[SAH_MAX_KERNEL];
    for (int32_t k = nodes->n_segments - 1; k >= 0; k--) {
        const sah_segment *segment = &nodes->segments[k];
        for (int i = segment->n - 1; i >= 0; i--) {
            int depth = segment->depth + i;
            for (int j = 0; j < s->kernel - 1; j++) {
                int at = depth - (s->kernel - 1) + j;
                input[j] = at >= 0 ? s->rows + segment->path[at] * s->width : NULL;
            }
            convolve(s, input, from, to, s->rows + (segment->row + i) * s->width);
        }
    }
}

/* Where a sequence's last inputs are kept: behind its states. */
static float *last_inputs(const sah_recurrence *s, int32_t sequence)
{
    return s->kept + (sequence + 1) * s->kept_each - (s->kernel - 1) * s->columns;
}

/* The last inputs of the ends' convolutions, before it overwrites them. */
static void keep_inputs(const sah_recurrence *s, const sah_view *ends)
{
    for (int32_t k = 0; k < ends->n_segments; k++)
        for (int i = 0; i < ends->segments[k].n; i++) {
            const sah_segment *segment = &ends->segments[k];
            float *last = last_inputs(s, ends->sequence[segment->row + i]);
            for (int j = 0; j < s->kernel - 1; j++) {
                int at = segment->depth + i - (s->kernel - 2) + j;
                if (at >= 0)
                    memcpy(last + j * s->columns, s->rows + segment->path[at] * s->width,
                           (size_t)s->columns * sizeof *last);
                else
                    memset(last + j * s->columns, 0, (size_t)s->columns * sizeof *last);
            }
        }
}

/* ---- The recurrence ------------------------------------------------------------------------------------ */

/* x of length 1, times `factor`. */
static void make_unit(float *x, int n, double factor)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    sah_vector_scale(x, n, (float)(factor / sqrt(sum + LENGTH_EPS)));
}

/* What a row's states need before they change S: lengths of q and k, what is written and kept. */
static void prepare_row(const sah_recurrence *s, float *row)
{
    for (int h = 0; h < s->key_heads; h++) {
        make_unit(row + h * s->key_dim, s->key_dim, 1.0 / sqrt(s->key_dim));
        make_unit(row + (s->key_heads + h) * s->key_dim, s->key_dim, 1.0);
    }
    for (int h = 0; h < s->n_heads; h++) {
        double a = (double)row[s->keep + h] + (double)s->rate_bias[h];
        double softplus = a > 20.0 ? a : log1p(exp(a));
        row[s->write + h] = (float)(1.0 / (1.0 + exp(-(double)row[s->write + h])));
        row[s->keep + h] = (float)exp(-exp((double)s->rate[h]) * softplus);
    }
}

/* One position of one head: S [key_dim, D] changes, v [D] becomes Sᵀ q. */
SAH_SIMD static void step(int key_dim, int D, const float *q, const float *k, float keep, float write,
                          float *S, float *v)
{
    enum { COLUMNS = 64 };
    for (int from = 0; from < D; from += COLUMNS) {
        float change[COLUMNS] = {0}, out[COLUMNS] = {0};
        int n = D - from < COLUMNS ? D - from : COLUMNS;
        for (int i = 0; i < key_dim; i++)
#pragma omp simd
            for (int j = 0; j < n; j++) change[j] += k[i] * S[i * D + from + j];
        for (int j = 0; j < n; j++) change[j] = write * (v[from + j] - keep * change[j]);
        for (int i = 0; i < key_dim; i++)
#pragma omp simd
            for (int j = 0; j < n; j++) {
                float state = keep * S[i * D + from + j] + k[i] * change[j];
                S[i * D + from + j] = state;
                out[j] += q[i] * state;
            }
        memcpy(v + from, out, (size_t)n * sizeof *v);
    }
}

static void step_row(const sah_recurrence *s, int head, float *row, float *S)
{
    int key = head / (s->n_heads / s->key_heads);
    const float *q = row + key * s->key_dim, *k = q + s->key_heads * s->key_dim;
    float *v = row + 2 * s->key_heads * s->key_dim + head * s->head_dim;
    step(s->key_dim, s->head_dim, q, k, row[s->keep + head], row[s->write + head], S, v);
}

/* Where each node's state is kept, -1: nowhere. */
static void find_kept(const sah_view *nodes, const sah_view *ends, int32_t *sequence)
{
    for (int64_t i = 0; i < nodes->n; i++) sequence[i] = -1;
    for (int64_t i = 0; i < ends->n; i++) sequence[ends->node[i]] = ends->sequence[i];
}

/* One head over a forest. `sequence` [nodes] or NULL: none is kept; memory [1 + branches, key_dim D]: the state, and
 * those that segments begin behind. */
static void run_head(const sah_recurrence *s, const sah_view *nodes, const int32_t *sequence, int head,
                     float *memory)
{
    size_t size = (size_t)s->key_dim * (size_t)s->head_dim;
    float *S = memory, *stack = memory + size;
    for (int32_t k = 0; k < nodes->n_segments; k++) {
        const sah_segment *segment = &nodes->segments[k];
        if (segment->depth == 0)
            memset(S, 0, size * sizeof *S);
        else
            memcpy(S, stack + (size_t)nodes->branch[segment->path[segment->depth - 1]] * size,
                   size * sizeof *S);
        for (int i = 0; i < segment->n; i++) {
            int32_t node = segment->row + i;
            step_row(s, head, s->rows + node * s->width, S);
            if (sequence != NULL && sequence[node] >= 0)
                memcpy(s->kept + sequence[node] * s->kept_each + (int64_t)((size_t)head * size), S,
                       size * sizeof *S);
            if (nodes->branch[node] >= 0)
                memcpy(stack + (size_t)nodes->branch[node] * size, S, size * sizeof *S);
        }
    }
}

/* ---- The operation ------------------------------------------------------------------------------------- */

/* z of a row: RMS norm of each head's output, times silu of its gate. */
static void finish_row(const sah_recurrence *s, const float *row, float *z)
{
    const int D = s->head_dim;
    const float *v = row + s->gate - (int64_t)s->n_heads * D;
    float gate[SAH_MAX_DELTA_WIDTH];
    for (int h = 0; h < s->n_heads; h++, z += D) {
        memcpy(gate, row + s->gate + h * D, (size_t)D * sizeof *gate); /* z may lie on it */
        sah_rms_norm(v + h * D, s->norm, s->norm_eps, D, z);
        sah_silu_multiply(gate, z, D, z);
    }
}

/* The convolution and what follows it row by row. */
static void prepare(const sah_recurrence *s, const sah_view *nodes, const sah_view *ends, int threads)
{
    enum { COLUMNS = 512 };
    if (s->kept != NULL && !nodes->single) keep_inputs(s, ends);
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t from = 0; from < s->columns; from += COLUMNS) {
        int64_t to = from + COLUMNS < s->columns ? from + COLUMNS : s->columns;
        if (!nodes->single) convolve_forest(s, nodes, from, to);
        for (int64_t r = 0; r < nodes->n && nodes->single; r++)
            convolve_kept(s, last_inputs(s, nodes->sequence[r]), from, to, s->rows + r * s->width);
    }
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t r = 0; r < nodes->n; r++) prepare_row(s, s->rows + r * s->width);
}

static sah_status run_heads(sah_workspace *ws, const sah_recurrence *s, const sah_view *nodes,
                            const sah_view *ends, sah_error *error)
{
    const int threads = ws->threads;
    const size_t memory = (size_t)(1 + nodes->n_branches) * (size_t)s->key_dim * (size_t)s->head_dim;
    float *own = sah_workspace_scratch(ws, SAH_SLOT_ATTENTION, (size_t)threads * memory);
    int32_t *sequence = NULL;
    if (s->kept != NULL)
        sequence = (int32_t *)(void *)sah_workspace_scratch(ws, SAH_SLOT_ROUTES, (size_t)nodes->n);
    if (own == NULL || (s->kept != NULL && sequence == NULL))
        return sah_fail_memory(error, "states of a layer");
    if (sequence != NULL) find_kept(nodes, ends, sequence);
#pragma omp parallel for schedule(dynamic, 1) if (threads > 1) num_threads(threads)
    for (int h = 0; h < s->n_heads; h++)
        run_head(s, nodes, sequence, h, own + (size_t)(threads > 1 ? omp_get_thread_num() : 0) * memory);
    return SAH_OK;
}

sah_status sah_cpu_recur(sah_workspace *ws, const sah_recurrence *s, const sah_view *nodes,
                         const sah_view *ends, const sah_view *view, sah_error *error)
{
    const int threads = ws->threads;
    const int64_t size = (int64_t)s->key_dim * s->head_dim;
    sah_status status = SAH_OK;
    prepare(s, nodes, ends, threads);
    if (nodes->single) {
#pragma omp parallel for collapse(2) if (threads > 1) num_threads(threads)
        for (int64_t r = 0; r < nodes->n; r++)
            for (int h = 0; h < s->n_heads; h++)
                step_row(s, h, s->rows + r * s->width,
                         s->kept + nodes->sequence[r] * s->kept_each + h * size);
    } else {
        status = run_heads(ws, s, nodes, ends, error);
    }
    for (int64_t r = 0; r < view->n && status == SAH_OK; r++) {
        int64_t row = view->single || view->node == NULL ? r : view->node[r];
        finish_row(s, s->rows + row * s->width, s->z + r * s->z_stride);
    }
    return status;
}
