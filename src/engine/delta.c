/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/delta.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "engine/cpu/fast_exp.h"
#include "util/error.h"

/* The reference keeps lengths of q and k off zero by this. */
static const double LENGTH_EPS = 1e-6;

/* Sizes of a layer, and where the parts of a row begin. */
typedef struct sizes {
    int H, D, key_heads, key_dim, kernel;
    int64_t conv, gate, write, keep, width; /* columns that the convolution takes; offsets; all */
} sizes;

static sizes sizes_of(const sah_config *c, const sah_layer_kind *kind)
{
    sizes s = {
        kind->n_heads, kind->head_dim, c->delta.key_heads, c->delta.key_dim, c->delta.kernel, 0, 0, 0, 0, 0};
    int64_t values = (int64_t)s.H * s.D;
    s.conv = s.gate = 2 * (int64_t)s.key_heads * s.key_dim + values;
    s.write = s.gate + values;
    s.keep = s.write + s.H;
    s.width = s.keep + s.H;
    return s;
}

int64_t sah_delta_width(const sah_config *config, const sah_layer_kind *kind)
{
    return sizes_of(config, kind).width;
}

int64_t sah_delta_gate(const sah_config *config, const sah_layer_kind *kind)
{
    return sizes_of(config, kind).gate;
}

int64_t sah_delta_kept(const sah_config *config, const sah_layer_kind *kind)
{
    const sizes s = sizes_of(config, kind);
    return (int64_t)s.H * s.key_dim * s.D + (s.kernel - 1) * s.conv;
}

/* ---- The convolution ----------------------------------------------------------------------------------- */

/* x[i] = silu(sum over j of kernel[j][i] * input j), i in [from, to); input kernel - 1 is x itself, NULL counts as
 * zeros. */
SAH_SIMD static void convolve(const sizes *s, const float *weights, const float *const *input, int64_t from,
                              int64_t to, float *x)
{
    const float *own = weights + (s->kernel - 1) * s->conv;
#pragma omp simd
    for (int64_t i = from; i < to; i++) x[i] *= own[i];
    for (int j = 0; j < s->kernel - 1; j++) {
        const float *w = weights + j * s->conv, *in = input[j];
        if (in == NULL) continue;
#pragma omp simd
        for (int64_t i = from; i < to; i++) x[i] += w[i] * in[i];
    }
#pragma omp simd
    for (int64_t i = from; i < to; i++) x[i] = x[i] / (1.0f + sah_fast_exp(-x[i]));
}

/* Columns [from, to) of one row whose state is kept: its inputs are the last ones, among which it then is. */
static void convolve_kept(const sizes *s, const float *weights, float *last, int64_t from, int64_t to,
                          float *x)
{
    const float *input[SAH_MAX_KERNEL];
    for (int j = 0; j < s->kernel - 1; j++) input[j] = last + j * s->conv;
    for (int64_t i = from; i < to; i++) {
        float now = x[i], sum = now * weights[(s->kernel - 1) * s->conv + i];
        for (int j = 0; j < s->kernel - 1; j++) sum += weights[j * s->conv + i] * input[j][i];
        for (int j = 0; j < s->kernel - 2; j++) last[j * s->conv + i] = last[(j + 1) * s->conv + i];
        if (s->kernel > 1) last[(s->kernel - 2) * s->conv + i] = now;
        x[i] = sum / (1.0f + expf(-sum));
    }
}

/* Columns [from, to) of all rows of a forest, in place: children before their parents, whose inputs they need. */
static void convolve_forest(const sizes *s, const float *weights, const sah_view *nodes, int64_t from,
                            int64_t to, float *rows)
{
    const float *input[SAH_MAX_KERNEL];
    for (int32_t k = nodes->n_segments - 1; k >= 0; k--) {
        const sah_segment *segment = &nodes->segments[k];
        for (int i = segment->n - 1; i >= 0; i--) {
            int depth = segment->depth + i;
            for (int j = 0; j < s->kernel - 1; j++) {
                int at = depth - (s->kernel - 1) + j;
                input[j] = at >= 0 ? rows + segment->path[at] * s->width : NULL;
            }
            convolve(s, weights, input, from, to, rows + (segment->row + i) * s->width);
        }
    }
}

/* The last inputs of the ends' convolutions, before it overwrites them. */
static void keep_inputs(const sizes *s, const sah_view *ends, const float *rows, float *kept, int64_t each)
{
    for (int32_t k = 0; k < ends->n_segments; k++)
        for (int i = 0; i < ends->segments[k].n; i++) {
            const sah_segment *segment = &ends->segments[k];
            float *last = kept + ends->sequence[segment->row + i] * each + each - (s->kernel - 1) * s->conv;
            for (int j = 0; j < s->kernel - 1; j++) {
                int at = segment->depth + i - (s->kernel - 2) + j;
                if (at >= 0)
                    memcpy(last + j * s->conv, rows + segment->path[at] * s->width,
                           (size_t)s->conv * sizeof *last);
                else
                    memset(last + j * s->conv, 0, (size_t)s->conv * sizeof *last);
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
static void prepare_row(const sizes *s, const sah_delta_layer *delta, float *row)
{
    for (int h = 0; h < s->key_heads; h++) {
        make_unit(row + h * s->key_dim, s->key_dim, 1.0 / sqrt(s->key_dim));
        make_unit(row + (s->key_heads + h) * s->key_dim, s->key_dim, 1.0);
    }
    for (int h = 0; h < s->H; h++) {
        double a = (double)row[s->keep + h] + (double)delta->rate_bias[h];
        double softplus = a > 20.0 ? a : log1p(exp(a));
        row[s->write + h] = (float)(1.0 / (1.0 + exp(-(double)row[s->write + h])));
        row[s->keep + h] = (float)exp(-exp((double)delta->rate[h]) * softplus);
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

static void step_row(const sizes *s, int head, float *row, float *S)
{
    int key = head / (s->H / s->key_heads);
    const float *q = row + key * s->key_dim, *k = q + s->key_heads * s->key_dim;
    float *v = row + 2 * s->key_heads * s->key_dim + head * s->D;
    step(s->key_dim, s->D, q, k, row[s->keep + head], row[s->write + head], S, v);
}

/* Which nodes' states are needed again. */
typedef struct branches {
    int32_t *branches; /* [n] whether segments begin behind a node */
    int32_t *sequence; /* [n] where a node's state is kept; -1: nowhere */
    int most; /* nodes of one path behind which segments begin */
} branches;

static void find_branches(const sah_view *nodes, const sah_view *ends, bool keeps, branches *b)
{
    for (int64_t i = 0; i < nodes->n; i++) b->branches[i] = 0, b->sequence[i] = -1;
    for (int32_t k = 0; k < nodes->n_segments; k++)
        if (nodes->segments[k].depth > 0)
            b->branches[nodes->segments[k].path[nodes->segments[k].depth - 1]] = 1;
    for (int64_t i = 0; i < ends->n && keeps; i++) b->sequence[ends->node[i]] = ends->sequence[i];
    b->most = 0;
    for (int32_t k = 0; k < nodes->n_segments; k++) {
        int on_path = 0;
        for (int d = 0; d < nodes->segments[k].depth + nodes->segments[k].n; d++)
            on_path += b->branches[nodes->segments[k].path[d]];
        if (on_path > b->most) b->most = on_path;
    }
}

/* One head over a forest. Segments come depth first: what one branches from lies on the path of the one before,
 * so that the states behind which others begin make a stack. memory [1 + most, key_dim D]. */
static void run_head(const sizes *s, const sah_view *nodes, const branches *b, int head, float *rows,
                     float *kept, int64_t each, float *memory, int32_t *depths)
{
    size_t size = (size_t)s->key_dim * (size_t)s->D;
    float *S = memory, *stack = memory + size;
    int high = 0;
    for (int32_t k = 0; k < nodes->n_segments; k++) {
        const sah_segment *segment = &nodes->segments[k];
        while (high > 0 && depths[high - 1] >= segment->depth) high--;
        if (segment->depth == 0)
            memset(S, 0, size * sizeof *S);
        else
            memcpy(S, stack + (size_t)(high - 1) * size, size * sizeof *S);
        for (int i = 0; i < segment->n; i++) {
            int32_t node = segment->row + i;
            step_row(s, head, rows + node * s->width, S);
            if (b->sequence[node] >= 0)
                memcpy(kept + b->sequence[node] * each + (int64_t)((size_t)head * size), S, size * sizeof *S);
            if (!b->branches[node]) continue;
            memcpy(stack + (size_t)high * size, S, size * sizeof *S);
            depths[high++] = segment->depth + i;
        }
    }
}

/* ---- The layer ----------------------------------------------------------------------------------------- */

/* z of a row: RMS norm of each head's output, times silu of its gate. */
static void finish_row(const sah_pass *pass, const sizes *s, const float *norm, const float *row, float *z)
{
    const float *v = row + s->gate - (int64_t)s->H * s->D;
    float gate[SAH_MAX_DELTA_WIDTH];
    for (int h = 0; h < s->H; h++, z += s->D) {
        memcpy(gate, row + s->gate + h * s->D, (size_t)s->D * sizeof *gate); /* z may lie on it */
        sah_rms_norm(v + h * s->D, norm, pass->model->config.norm_eps, s->D, z);
        sah_silu_multiply(gate, z, s->D, z);
    }
}

/* The convolution and what follows it row by row. */
static void prepare(const sah_pass *pass, const sizes *s, const sah_delta_layer *delta, float *rows,
                    float *kept, int64_t each)
{
    enum { COLUMNS = 512 };
    const sah_view *nodes = &pass->nodes;
    int threads = pass->workspace->threads;
    if (kept != NULL && !nodes->single) keep_inputs(s, &pass->ends, rows, kept, each);
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t from = 0; from < s->conv; from += COLUMNS) {
        int64_t to = from + COLUMNS < s->conv ? from + COLUMNS : s->conv;
        if (!nodes->single) convolve_forest(s, delta->kernel, nodes, from, to, rows);
        for (int64_t r = 0; r < nodes->n && nodes->single; r++)
            convolve_kept(s, delta->kernel,
                          kept + nodes->sequence[r] * each + each - (s->kernel - 1) * s->conv, from, to,
                          rows + r * s->width);
    }
#pragma omp parallel for if (threads > 1) num_threads(threads)
    for (int64_t r = 0; r < nodes->n; r++) prepare_row(s, delta, rows + r * s->width);
}

sah_status sah_delta_mix(const sah_pass *pass, int layer, const sah_attention *at, float *rows, float *kept,
                         sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_view *nodes = &pass->nodes, *view = sah_pass_view(pass, layer);
    const sizes s = sizes_of(&pass->model->config, &weights->kind);
    sah_workspace *ws = pass->workspace;
    int threads = ws->threads;
    int64_t each = sah_delta_kept(&pass->model->config, &weights->kind);
    size_t size = (size_t)s.key_dim * (size_t)s.D;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ATTENTION);
    prepare(pass, &s, &weights->delta, rows, kept, each);
    if (nodes->single) {
#pragma omp parallel for collapse(2) if (threads > 1) num_threads(threads)
        for (int64_t r = 0; r < nodes->n; r++)
            for (int h = 0; h < s.H; h++)
                step_row(&s, h, rows + r * s.width, kept + nodes->sequence[r] * each + h * (int64_t)size);
    } else {
        branches b;
        b.branches = (int32_t *)(void *)sah_workspace_scratch(ws, SAH_SLOT_ROUTES, 2 * (size_t)nodes->n);
        if (b.branches == NULL) return sah_fail_memory(error, "states of a layer");
        b.sequence = b.branches + nodes->n;
        find_branches(nodes, &pass->ends, kept != NULL, &b);
        size_t memory = (size_t)(1 + b.most) * (size + 1);
        float *own = sah_workspace_scratch(ws, SAH_SLOT_ATTENTION, (size_t)threads * memory);
        if (own == NULL) return sah_fail_memory(error, "states of a layer");
#pragma omp parallel for schedule(dynamic, 1) if (threads > 1) num_threads(threads)
        for (int h = 0; h < s.H; h++) {
            float *mine = own + (size_t)(threads > 1 ? omp_get_thread_num() : 0) * memory;
            run_head(&s, nodes, &b, h, rows, kept, each, mine,
                     (int32_t *)(void *)(mine + (size_t)(1 + b.most) * size));
        }
    }
    for (int64_t r = 0; r < view->n; r++) {
        int64_t row = view->single || view->node == NULL ? r : view->node[r];
        finish_row(pass, &s, weights->delta.norm, rows + row * s.width, at->z + r * at->z_stride);
    }
    sah_workspace_enter(ws, before);
    return SAH_OK;
}
