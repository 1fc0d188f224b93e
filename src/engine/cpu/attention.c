/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "util/error.h"
#include "util/simd.h"

/* Query rows and output columns of the inner kernel: four rows share each vector of keys or values that is
 * loaded. */
enum { ROWS = 4, LANES = 16 };

SAH_INLINE int round_up(int n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* out[r][j] = factor * sum over p < n of a[r][p] * b[p * stride + j], j < LANES. */
SAH_INLINE void tile(const float *const a[ROWS], int n, const float *b, int64_t stride, float factor,
                     float out[ROWS][LANES])
{
    float sum[ROWS][LANES] = {{0.0f}};
    for (int p = 0; p < n; p++, b += stride)
        for (int r = 0; r < ROWS; r++)
#pragma omp simd
            for (int j = 0; j < LANES; j++) sum[r][j] += a[r][p] * b[j];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < LANES; j++) out[r][j] = factor * sum[r][j];
}

/* What one (segment, key/value head) pair needs beside its inputs. Keys lie transposed, so that scores of
 * LANES keys are one vector. */
typedef struct scratch {
    float *keys; /* [head_dim, n_keys] */
    float *values; /* [n_keys, head_dim rounded up] */
    float *scores; /* [ROWS, n_keys] */
} scratch;

/* Copies the keys and values that the segment sees, depths `from` on; what rounding adds is zero. */
static void gather(const sah_attention *at, const sah_segment *segment, int kv, int from, int n_keys,
                   scratch *s)
{
    int D = at->head_dim, padded = round_up(D), seen = segment->depth + segment->n - from;
    memset(s->keys, 0, (size_t)D * (size_t)n_keys * sizeof *s->keys);
    for (int j = 0; j < seen; j++) {
        int64_t node = segment->path[from + j];
        const float *k = at->k + node * at->k_stride + (int64_t)kv * D,
                    *v = at->v + node * at->v_stride + (int64_t)kv * D;
        for (int i = 0; i < D; i++) s->keys[(int64_t)i * n_keys + j] = k[i];
        memcpy(s->values + (int64_t)j * padded, v, (size_t)D * sizeof *v);
        memset(s->values + (int64_t)j * padded + D, 0, (size_t)(padded - D) * sizeof *v);
    }
}

/* Weights of a head's scores. */
SAH_INLINE void weigh(const sah_attention *at, int head, float *scores, int n)
{
    sah_softmax(scores, n, at->sinks != NULL ? at->sinks[head] : -INFINITY);
}

/* Up to ROWS query vectors (their rows' depths and heads in `depth` and `head`) of one group. */
SAH_SIMD static void attend_rows(const sah_attention *at, int from, int n_keys, const float *const q[ROWS],
                                 float *const z[ROWS], const int depth[ROWS], const int head[ROWS],
                                 int n_rows, const scratch *s)
{
    float out[ROWS][LANES];
    const float *weights[ROWS];
    int D = at->head_dim, padded = round_up(D), seen = 0, first = n_keys;
    int low[ROWS], high[ROWS];
    for (int r = 0; r < ROWS; r++) {
        high[r] = depth[r] + 1 - from;
        low[r] = at->window > 0 && high[r] > at->window ? high[r] - at->window : 0;
        if (high[r] > seen) seen = high[r];
        if (low[r] < first) first = low[r];
        weights[r] = s->scores + (int64_t)r * n_keys + first;
    }
    for (int j = 0; j < seen; j += LANES) {
        tile(q, D, s->keys + j, n_keys, at->scale, out);
        for (int r = 0; r < n_rows; r++) memcpy(s->scores + (int64_t)r * n_keys + j, out[r], sizeof out[r]);
    }
    for (int r = 0; r < n_rows; r++) {
        float *row = s->scores + (int64_t)r * n_keys;
        if (at->softcap > 0.0f) sah_softcap(row, round_up(seen), at->softcap);
        for (int j = 0; j < low[r]; j++) row[j] = -INFINITY; /* what it does not see gets no weight */
        for (int j = high[r]; j < round_up(seen); j++) row[j] = -INFINITY;
        weigh(at, head[r], row, round_up(seen));
    }
    for (int r = 0; r < ROWS; r++) weights[r] = s->scores + (int64_t)(r < n_rows ? r : 0) * n_keys + first;
    for (int i = 0; i < D; i += LANES) {
        int n = D - i < LANES ? D - i : LANES;
        tile(weights, seen - first, s->values + (int64_t)first * padded + i, padded, 1.0f, out);
        for (int r = 0; r < n_rows; r++) memcpy(z[r] + i, out[r], (size_t)n * sizeof(float));
    }
}

static void attend_segment(const sah_attention *at, const sah_segment *segment, int kv, scratch *s)
{
    int D = at->head_dim, group = at->n_heads / at->n_kv_heads;
    int from = at->window > 0 && segment->depth + 1 > at->window ? segment->depth + 1 - at->window : 0;
    int n_keys = round_up(segment->depth + segment->n - from);
    int n = segment->n * group; /* query vectors, node by node */
    gather(at, segment, kv, from, n_keys, s);
    for (int i = 0; i < n; i += ROWS) {
        const float *q[ROWS];
        float *z[ROWS];
        int depth[ROWS], head[ROWS], n_rows = n - i < ROWS ? n - i : ROWS;
        for (int r = 0; r < ROWS; r++) {
            int index = r < n_rows ? i + r : i; /* spare rows repeat the first */
            int64_t row = segment->row + index / group;
            head[r] = kv * group + index % group;
            int64_t column = (int64_t)head[r] * D;
            q[r] = at->q + row * at->q_stride + column;
            z[r] = at->z + row * at->z_stride + column;
            depth[r] = segment->depth + index / group;
        }
        attend_rows(at, from, n_keys, q, z, depth, head, n_rows, s);
    }
}

/* ---- One row a segment --------------------------------------------------------------------------------- */

/* How many keys ahead memory is asked for: a row of one head is too short for the processor to see where it
 * goes on. */
enum { AHEAD = 12 };

SAH_INLINE void ask_for(const float *row, int D)
{
    for (int i = 0; i < D; i += LANES) __builtin_prefetch(row + i);
}

/* scores[r * seen + p] = scale * q[r] . key p. */
SAH_INLINE void score(const sah_attention *at, const int32_t *path, int seen, const float *keys,
                      const float *values, const float *const q[ROWS], int rows, float *scores)
{
    int D = at->head_dim, whole = D / LANES * LANES;
    for (int p = 0; p < seen; p++) {
        const float *k = keys + path[p] * at->k_stride;
        float sum[ROWS][LANES] = {{0.0f}};
        ask_for(keys + path[p + AHEAD < seen ? p + AHEAD : seen - 1] * at->k_stride, D);
        ask_for(values + path[p] * at->v_stride, D);
        for (int i = 0; i < whole; i += LANES)
            for (int r = 0; r < rows; r++)
#pragma omp simd
                for (int j = 0; j < LANES; j++) sum[r][j] += q[r][i + j] * k[i + j];
        for (int r = 0; r < rows; r++) {
            for (int i = whole; i < D; i++) sum[r][i - whole] += q[r][i] * k[i];
            for (int width = LANES / 2; width > 0; width /= 2)
                for (int j = 0; j < width; j++) sum[r][j] += sum[r][j + width];
            scores[r * seen + p] = at->scale * sum[r][0];
        }
    }
}

/* z[r][j] = sum over p of scores[r * seen + p] * values[path[p]][j], j < n <= LANES. */
SAH_INLINE void mix(const sah_attention *at, const int32_t *path, int seen, const float *values,
                    const float *scores, int n, float *const z[ROWS], int at_column, int rows)
{
    float sum[ROWS][LANES] = {{0.0f}};
    for (int p = 0; p < seen; p++) {
        const float *v = values + path[p] * at->v_stride + at_column;
        for (int r = 0; r < rows; r++)
#pragma omp simd
            for (int j = 0; j < n; j++) sum[r][j] += scores[r * seen + p] * v[j];
    }
    for (int r = 0; r < rows; r++) memcpy(z[r] + at_column, sum[r], (size_t)n * sizeof(float));
}

/* `rows` query heads from `head` on that share keys and values; `rows` is a constant where this melts in. */
SAH_INLINE void attend_heads(const sah_attention *at, const int32_t *path, int seen, const float *keys,
                             const float *values, const float *const q[ROWS], float *const z[ROWS], int head,
                             int rows, float *scores)
{
    int D = at->head_dim;
    score(at, path, seen, keys, values, q, rows, scores);
    if (at->softcap > 0.0f) sah_softcap(scores, rows * seen, at->softcap);
    for (int r = 0; r < rows; r++) weigh(at, head + r, scores + (int64_t)r * seen, seen);
    for (int i = 0; i < D; i += LANES) {
        if (D - i >= LANES)
            mix(at, path, seen, values, scores, LANES, z, i, rows);
        else
            mix(at, path, seen, values, scores, D - i, z, i, rows);
    }
}

/* All query heads of one key/value head, for a segment of one row. scores [ROWS, seen] is scratch. */
SAH_SIMD static void attend_single(const sah_attention *at, const sah_segment *segment, int kv, float *scores)
{
    int D = at->head_dim, group = at->n_heads / at->n_kv_heads, depth = segment->depth;
    int from = at->window > 0 && depth + 1 > at->window ? depth + 1 - at->window : 0;
    int seen = depth + 1 - from;
    const int32_t *path = segment->path + from;
    const float *keys = at->k + (int64_t)kv * D, *values = at->v + (int64_t)kv * D;
    for (int h = 0; h < group; h += ROWS) {
        const float *q[ROWS];
        float *z[ROWS];
        for (int r = 0; r < ROWS && h + r < group; r++) {
            int64_t column = ((int64_t)kv * group + h + r) * D;
            q[r] = at->q + segment->row * at->q_stride + column;
            z[r] = at->z + segment->row * at->z_stride + column;
        }
        switch (group - h) {
        case 1:
            attend_heads(at, path, seen, keys, values, q, z, kv * group + h, 1, scores);
            break;
        case 2:
            attend_heads(at, path, seen, keys, values, q, z, kv * group + h, 2, scores);
            break;
        case 3:
            attend_heads(at, path, seen, keys, values, q, z, kv * group + h, 3, scores);
            break;
        default:
            attend_heads(at, path, seen, keys, values, q, z, kv * group + h, ROWS, scores);
        }
    }
}

/* The outputs of the heads that read one key/value head, times their gates. */
static void apply_gates(const sah_attention *at, const sah_segment *segment, int kv)
{
    int width = at->n_heads / at->n_kv_heads * at->head_dim;
    for (int64_t row = segment->row; row < segment->row + segment->n; row++)
        sah_sigmoid_multiply(at->gate + row * at->gate_stride + kv * width, width,
                             at->z + row * at->z_stride + kv * width);
}

sah_status sah_cpu_attend(sah_workspace *workspace, const sah_attention *attention, const sah_view *view,
                          sah_error *error)
{
    int D = attention->head_dim, kvs = attention->n_kv_heads, threads = workspace->threads;
    const sah_segment *segments = view->segments;
    int32_t longest = 0, n_segments = view->n_segments;
    for (int32_t i = 0; i < n_segments; i++)
        if (segments[i].depth + segments[i].n > longest) longest = segments[i].depth + segments[i].n;
    size_t n_keys = (size_t)round_up(longest);
    size_t each = n_keys * (size_t)(D + round_up(D) + ROWS);
    float *memory = sah_workspace_scratch(workspace, SAH_SLOT_ATTENTION, each * (size_t)threads);
    if (memory == NULL) return sah_fail_memory(error, "attention");

    int64_t n = (int64_t)n_segments * kvs;
#pragma omp parallel for schedule(dynamic, 4) if (threads > 1) num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        float *own = memory + each * (size_t)(threads > 1 ? omp_get_thread_num() : 0);
        scratch s = {own, own + n_keys * (size_t)D, own + n_keys * (size_t)(D + round_up(D))};
        if (view->single)
            attend_single(attention, &segments[i / kvs], (int)(i % kvs), own);
        else
            attend_segment(attention, &segments[i / kvs], (int)(i % kvs), &s);
        if (attention->gate) apply_gates(attention, &segments[i / kvs], (int)(i % kvs));
    }
    return SAH_OK;
}
