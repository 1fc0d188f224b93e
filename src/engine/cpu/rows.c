/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cpu/rows.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/cpu/activation.h"
#include "engine/cpu/elementwise.h"

/* Fewer rows than these are not worth a team of threads. */
enum { FEW = 8 };

static int64_t place(const int32_t *row, int64_t r)
{
    return row != NULL ? row[r] : r;
}

void sah_cpu_copy(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float *to,
                  int64_t to_stride, const int32_t *to_row)
{
    size_t bytes = (size_t)width * sizeof *to;
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + place(to_row, r) * to_stride, from.x + place(from.row, r) * from.stride, bytes);
}

void sah_cpu_add(sah_workspace *workspace, sah_rows from, int64_t rows, int64_t width, float factor,
                 float *to)
{
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++)
        sah_vector_add_scaled(from.x + place(from.row, r) * from.stride, (int)width, factor, to + r * width);
}

void sah_cpu_scale(sah_workspace *workspace, float *x, int64_t n, float factor)
{
    enum { PIECE = 1 << 14 };
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && n > FEW * PIECE) num_threads(threads)
    for (int64_t i = 0; i < n; i += PIECE)
        sah_vector_scale(x + i, (int)(n - i < PIECE ? n - i : PIECE), factor);
}

void sah_cpu_clear(sah_workspace *workspace, float *x, int64_t n)
{
    (void)workspace;
    memset(x, 0, (size_t)n * sizeof *x);
}

void sah_cpu_scatter(sah_workspace *workspace, const float *x, int64_t rows, int64_t width,
                     const float *factor, const int32_t *to_row, float *to)
{
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++)
        sah_vector_add_scaled(x + r * width, (int)width, factor[r], to + to_row[r] * width);
}

void sah_cpu_weigh(sah_workspace *workspace, const float *w, const float *x, int64_t rows, int64_t width,
                   float *y)
{
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0.0;
        for (int64_t i = 0; i < width; i++) sum += (double)x[r * width + i] * (double)w[i];
        sah_vector_scale(y + r * width, (int)width, (float)(1.0 / (1.0 + exp(-sum))));
    }
}

static void norm_row(const sah_config *c, const sah_norm *norm, const float *x, float *y)
{
    if (c->norm == SAH_NORM_LAYER)
        sah_layer_norm(x, norm->weight, norm->bias, c->norm_eps, c->d_model, y);
    else
        sah_rms_norm(x, norm->weight, c->norm_eps, c->d_model, y);
}

void sah_cpu_norm(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, const float *x,
                  int64_t rows, float *y)
{
    int threads = workspace->threads;
    int64_t d = config->d_model;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) norm_row(config, norm, x + r * d, y + r * d);
}

void sah_cpu_join(sah_workspace *workspace, const sah_config *config, const sah_norm *norm, float *branch,
                  int64_t rows, float *y)
{
    int threads = workspace->threads, d = config->d_model;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *row = branch + r * d;
        if (norm->weight) norm_row(config, norm, row, row);
        sah_vector_add_scaled(row, d, config->residual_scale, y + r * d);
    }
}

/* `n` heads that lie side by side in a row: their norm, then RoPE of each. */
static void turn_heads(const sah_config *c, const sah_rotation *rotation, float *states, int n,
                       const float *norm, int32_t position)
{
    int D = rotation->head_dim;
    if (norm != NULL && n > 0 && c->qk_norm == SAH_QK_NORM_ROW)
        sah_rms_norm(states, norm, c->norm_eps, n * D, states);
    for (int h = 0; h < n; h++, states += D) {
        if (norm != NULL && c->qk_norm == SAH_QK_NORM_HEAD)
            sah_rms_norm(states, norm, c->norm_eps, D, states);
        if (rotation->rope == NULL) continue;
        int64_t at = (int64_t)position * (rotation->rope->dims / 2);
        (rotation->rope->neighbours ? sah_rotate_neighbours : sah_rotate)(
            states, rotation->angles.cosine + at, rotation->angles.sine + at, rotation->rope->dims);
    }
}

void sah_cpu_rotate(sah_workspace *workspace, const sah_config *config, const sah_rotation *rotation,
                    const sah_view *view, int64_t from, int64_t n, int64_t width, float *x)
{
    int threads = workspace->threads, D = rotation->head_dim;
#pragma omp parallel for if (threads > 1 && n > FEW) num_threads(threads)
    for (int64_t r = 0; r < n; r++) {
        float *q = x + r * width, *k = q + (config->attention_gate ? 2 : 1) * rotation->q_heads * D;
        float *v = k + rotation->k_heads * D;
        int32_t at = view->position[(from + r) % view->n];
        if (rotation->bias) sah_vector_add(rotation->bias, (int)width, q);
        turn_heads(config, rotation, q, rotation->q_heads, rotation->q_norm, at);
        turn_heads(config, rotation, k, rotation->k_heads, rotation->k_norm, at);
        for (int h = 0; h < rotation->v_heads && config->v_norm; h++, v += D)
            sah_rms_norm(v, NULL, config->norm_eps, D, v);
    }
}

void sah_cpu_edit(sah_workspace *workspace, const sah_head_states *s, const sah_edit *edit, float *out)
{
    const float *x = s->x;
    (void)workspace; /* the rows of one head are too little work for its threads */
    for (int64_t r = 0; r < s->rows; r++, x += s->stride, out += s->width) {
        if (edit != NULL && edit->op == SAH_OP_SCALE) {
            for (int i = 0; i < s->width; i++) out[i] = edit->factor * x[s->head * s->width + i];
        } else if (edit != NULL && edit->op == SAH_OP_MEAN) {
            memcpy(out, x, (size_t)s->width * sizeof *out);
            for (int h = 1; h < s->n; h++) sah_vector_add(x + h * s->width, s->width, out);
            sah_vector_scale(out, s->width, 1.0f / (float)s->n);
        } else {
            memcpy(out, x + s->head * s->width, (size_t)s->width * sizeof *out);
        }
    }
}

/* A head's state, behind RoPE, as it is `by` positions further on. */
static void turn(const sah_rope *rope, const sah_angles *angles, int32_t by, float *state)
{
    const int half = rope->dims / 2, next = rope->neighbours ? 1 : half, step = rope->neighbours ? 2 : 1;
    const int64_t at = (int64_t)(by > 0 ? by : -by) * half;
    /* both positions' states carry the factor already */
    const float length = 1.0f / rope->attention_factor, sign = by > 0 ? length : -length;
    for (int i = 0; i < half && by != 0; i++) {
        float c = length * angles->cosine[at + i], s = sign * angles->sine[at + i], *x = state + i * step;
        float a = x[0], b = x[next];
        x[0] = a * c - b * s;
        x[next] = b * c + a * s;
    }
}

void sah_cpu_stand_in(sah_workspace *workspace, const sah_stand_in *in, float *out)
{
    const sah_head_states *s = &in->states;
    (void)workspace; /* as above */
    for (int64_t r = 0; r < s->rows; r++, out += s->width) {
        const int32_t row = in->source[r];
        if (row < 0) continue;
        memcpy(out, s->x + row * s->stride + s->head * s->width, (size_t)s->width * sizeof *out);
        if (in->rope == NULL) continue;
        const int32_t from = in->from != NULL ? in->from[row] : 0, to = in->to != NULL ? in->to[r] : 0;
        turn(in->rope, &in->angles, to - from, out);
    }
}

void sah_cpu_activate(sah_workspace *workspace, const sah_config *config, int64_t n, const float *gate_bias,
                      const float *up_bias, int64_t rows, float *states, float *out)
{
    int threads = workspace->threads, width = (int)n;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *gate = states + r * (config->gated ? 2 * n : n), *up = config->gated ? gate + n : gate;
        if (gate_bias && config->gated) sah_vector_add(gate_bias, width, gate);
        if (up_bias) sah_vector_add(up_bias, width, up);
        sah_activate(config, gate, config->gated ? up : NULL, width, out + r * n);
    }
}

void sah_cpu_give(sah_workspace *workspace, const sah_config *config, const sah_view *view, int64_t from,
                  int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                  float *out)
{
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && rows > FEW) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        const float *own = given + place(view->given, (from + r) % view->n) * stride;
        sah_activate(config, gates + r * width, own, (int)width, out + r * width);
    }
}

void sah_cpu_softcap(sah_workspace *workspace, float *x, int64_t n, float cap)
{
    enum { PIECE = 1 << 14 };
    int threads = workspace->threads;
#pragma omp parallel for if (threads > 1 && n > FEW * PIECE) num_threads(threads)
    for (int64_t i = 0; i < n; i += PIECE) sah_softcap(x + i, (int)(n - i < PIECE ? n - i : PIECE), cap);
}
