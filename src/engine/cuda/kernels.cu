/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cuda/kernels.h"

#include <math.h>

/* A kernel knows its block by blockDim, a power of two up to this. */
#ifndef SAH_CUDA_BLOCK
#define SAH_CUDA_BLOCK 128
#endif

/* tests/cuda/ compiles this file for the processor, where a launch and a block's own memory are made otherwise. */
#ifdef __CUDACC__
#define LAUNCH(kernel, grid, bytes, stream, ...)                                                             \
    kernel<<<(grid), SAH_CUDA_BLOCK, (bytes), (stream)>>>(__VA_ARGS__)
#define BLOCK_MEMORY(name) extern __shared__ float name[]
#endif

/* Blocks for n pieces of work; kernels go on by the size of the grid. */
static unsigned blocks(int64_t n)
{
    return n < 1 ? 1u : n > (1 << 20) ? 1u << 20 : (unsigned)n;
}

static unsigned blocks_of(int64_t n)
{
    return blocks((n + SAH_CUDA_BLOCK - 1) / SAH_CUDA_BLOCK);
}

static __device__ int64_t first_item(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ int64_t all_threads(void)
{
    return (int64_t)gridDim.x * blockDim.x;
}

static __device__ int64_t place(const int32_t *row, int64_t r)
{
    return row ? row[r] : r;
}

/* ---- Sums over a block ---------------------------------------------------------------------------------- */

/* The sum of every thread's x, for each of them: pairs, then pairs of pairs. part [SAH_CUDA_BLOCK] is the block's. */
static __device__ double block_sum(double x, double *part)
{
    part[threadIdx.x] = x;
    __syncthreads();
    for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
        if (threadIdx.x < n) part[threadIdx.x] += part[threadIdx.x + n];
        __syncthreads();
    }
    double sum = part[0];
    __syncthreads();
    return sum;
}

/* The largest of every thread's x; NaN where one is. */
static __device__ double block_largest(double x, double *part)
{
    part[threadIdx.x] = x;
    __syncthreads();
    for (unsigned n = blockDim.x / 2; n > 0; n /= 2) {
        if (threadIdx.x < n) {
            double own = part[threadIdx.x], other = part[threadIdx.x + n];
            part[threadIdx.x] = own > other || isnan(own) ? own : other;
        }
        __syncthreads();
    }
    double top = part[0];
    __syncthreads();
    return top;
}

/* ---- Rows ----------------------------------------------------------------------------------------------- */

static __global__ void copy_rows(sah_rows from, int64_t rows, int64_t width, float *to, int64_t to_stride,
                                 const int32_t *to_row)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *x = from.x + place(from.row, r) * from.stride;
        float *y = to + place(to_row, r) * to_stride;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) y[i] = x[i];
    }
}

void sah_cuda_copy(cudaStream_t stream, sah_rows from, int64_t rows, int64_t width, float *to,
                   int64_t to_stride, const int32_t *to_row)
{
    LAUNCH(copy_rows, blocks(rows), 0, stream, from, rows, width, to, to_stride, to_row);
}

static __global__ void add_rows(sah_rows from, int64_t rows, int64_t width, float factor, float *to)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *x = from.x + place(from.row, r) * from.stride;
        float *y = to + r * width;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) y[i] += factor * x[i];
    }
}

void sah_cuda_add(cudaStream_t stream, sah_rows from, int64_t rows, int64_t width, float factor, float *to)
{
    LAUNCH(add_rows, blocks(rows), 0, stream, from, rows, width, factor, to);
}

static __global__ void scale_all(float *x, int64_t n, float factor)
{
    for (int64_t i = first_item(); i < n; i += all_threads()) x[i] *= factor;
}

void sah_cuda_scale(cudaStream_t stream, float *x, int64_t n, float factor)
{
    LAUNCH(scale_all, blocks_of(n), 0, stream, x, n, factor);
}

static __global__ void clear_all(float *x, int64_t n)
{
    for (int64_t i = first_item(); i < n; i += all_threads()) x[i] = 0.0f;
}

void sah_cuda_clear(cudaStream_t stream, float *x, int64_t n)
{
    LAUNCH(clear_all, blocks_of(n), 0, stream, x, n);
}

/* No two rows go to the same, so that none waits for another. */
static __global__ void scatter_rows(const float *x, int64_t rows, int64_t width, const float *factor,
                                    const int32_t *to_row, float *to)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *in = x + r * width, share = factor[r];
        float *out = to + to_row[r] * width;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) out[i] += share * in[i];
    }
}

void sah_cuda_scatter(cudaStream_t stream, const float *x, int64_t rows, int64_t width, const float *factor,
                      const int32_t *to_row, float *to)
{
    LAUNCH(scatter_rows, blocks(rows), 0, stream, x, rows, width, factor, to_row, to);
}

static __global__ void weigh_rows(const float *w, const float *x, int64_t rows, int64_t width, float *y)
{
    __shared__ double part[SAH_CUDA_BLOCK];
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        double sum = 0.0;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x)
            sum += (double)x[r * width + i] * (double)w[i];
        const float factor = (float)(1.0 / (1.0 + exp(-block_sum(sum, part))));
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x) y[r * width + i] *= factor;
    }
}

void sah_cuda_weigh(cudaStream_t stream, const float *w, const float *x, int64_t rows, int64_t width,
                    float *y)
{
    LAUNCH(weigh_rows, blocks(rows), 0, stream, w, x, rows, width, y);
}

static __global__ void softcap_all(float *x, int64_t n, float cap)
{
    for (int64_t i = first_item(); i < n; i += all_threads()) x[i] = cap * tanhf(x[i] / cap);
}

void sah_cuda_softcap(cudaStream_t stream, float *x, int64_t n, float cap)
{
    LAUNCH(softcap_all, blocks_of(n), 0, stream, x, n, cap);
}

/* A block a row; y may be x where it does not join. */
static __global__ void norm_rows(const float *x, int64_t rows, int d, bool centred, float eps,
                                 const float *weight, const float *bias, bool join, float factor, float *y)
{
    __shared__ double part[SAH_CUDA_BLOCK];
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *in = x + r * d;
        float *out = y + r * d;
        double sum = 0.0, squares = 0.0;
        for (int i = (int)threadIdx.x; i < d && centred; i += (int)blockDim.x) sum += (double)in[i];
        const float mean = centred ? (float)(block_sum(sum, part) / d) : 0.0f;
        for (int i = (int)threadIdx.x; i < d; i += (int)blockDim.x) {
            const double off = (double)(in[i] - mean);
            squares += off * off;
        }
        const float scale = (float)(1.0 / sqrt(block_sum(squares, part) / d + (double)eps));
        for (int i = (int)threadIdx.x; i < d; i += (int)blockDim.x) {
            float value = (in[i] - mean) * scale * weight[i];
            if (bias) value += bias[i];
            out[i] = join ? out[i] + factor * value : value;
        }
    }
}

void sah_cuda_norm(cudaStream_t stream, const sah_config *config, const sah_norm *norm, const float *x,
                   int64_t rows, bool join, float *y)
{
    LAUNCH(norm_rows, blocks(rows), 0, stream, x, rows, config->d_model, config->norm == SAH_NORM_LAYER,
           config->norm_eps, norm->weight, norm->bias, join, config->residual_scale, y);
}

/* ---- Rotation ------------------------------------------------------------------------------------------- */

typedef struct turn {
    int q_heads, k_heads, v_heads, D, k_column;
    bool norm_row, norm_head, norm_v, neighbours;
    int dims; /* that are rotated, 0: none */
    float eps;
    const float *bias, *q_norm, *k_norm, *cosine, *sine;
    const int32_t *position;
    int64_t view_n, from, rows, width;
} turn;

/* x [n] *= weight / its root mean square. */
static __device__ void norm_span(float *x, int n, const float *weight, float eps, double *part)
{
    double squares = 0.0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) squares += (double)x[i] * (double)x[i];
    const float scale = (float)(1.0 / sqrt(block_sum(squares, part) / n + (double)eps));
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) x[i] = x[i] * scale * weight[i];
    __syncthreads();
}

/* Heads side by side, LANES threads a head: their norm, then RoPE of each. */
static __device__ void turn_heads(const turn *t, float *x, int heads, bool normed, const float *weight,
                                  int dims, int64_t angle, double *part)
{
    enum { LANES = 8 };
    const int lane = (int)threadIdx.x % LANES, first = (int)threadIdx.x / LANES,
              at_once = (int)blockDim.x / LANES;
    for (int base = 0; base < heads; base += at_once) {
        float *head = x + (int64_t)(base + first) * t->D;
        const bool own = base + first < heads;
        if (normed) {
            double squares = 0.0;
            for (int i = lane; own && i < t->D; i += LANES) squares += (double)head[i] * (double)head[i];
            part[threadIdx.x] = squares;
            __syncthreads();
            squares = 0.0;
            for (int i = 0; i < LANES; i++) squares += part[first * LANES + i];
            const float scale = (float)(1.0 / sqrt(squares / t->D + (double)t->eps));
            for (int i = lane; own && i < t->D; i += LANES)
                head[i] = head[i] * scale * (weight ? weight[i] : 1.0f);
            __syncthreads();
        }
        for (int i = lane; own && i < dims / 2; i += LANES) {
            float *one = head + (t->neighbours ? 2 * i : i), *other = one + (t->neighbours ? 1 : dims / 2);
            const float a = *one, b = *other, c = t->cosine[angle + i], s = t->sine[angle + i];
            *one = a * c - b * s;
            *other = b * c + a * s;
        }
    }
}

static __global__ void rotate_rows(turn t, float *x)
{
    __shared__ double part[SAH_CUDA_BLOCK];
    for (int64_t r = blockIdx.x; r < t.rows; r += gridDim.x) {
        float *q = x + r * t.width, *k = q + t.k_column, *v = k + t.k_heads * t.D;
        const int64_t angle = (int64_t)t.position[(t.from + r) % t.view_n] * (t.dims / 2);
        for (int64_t i = threadIdx.x; t.bias && i < t.width; i += blockDim.x) q[i] += t.bias[i];
        __syncthreads();
        if (t.norm_row && t.q_norm && t.q_heads > 0) norm_span(q, t.q_heads * t.D, t.q_norm, t.eps, part);
        if (t.norm_row && t.k_norm && t.k_heads > 0) norm_span(k, t.k_heads * t.D, t.k_norm, t.eps, part);
        turn_heads(&t, q, t.q_heads, t.norm_head && t.q_norm, t.q_norm, t.dims, angle, part);
        turn_heads(&t, k, t.k_heads, t.norm_head && t.k_norm, t.k_norm, t.dims, angle, part);
        if (t.norm_v) turn_heads(&t, v, t.v_heads, true, NULL, 0, angle, part);
        __syncthreads();
    }
}

void sah_cuda_rotate(cudaStream_t stream, const sah_config *config, const sah_rotation *rotation,
                     const sah_view *view, int64_t from, int64_t n, int64_t width, float *x)
{
    turn t = {};
    t.q_heads = rotation->q_heads;
    t.k_heads = rotation->k_heads;
    t.v_heads = rotation->v_heads;
    t.D = rotation->head_dim;
    t.k_column = (config->attention_gate ? 2 : 1) * rotation->q_heads * rotation->head_dim;
    t.norm_row = config->qk_norm == SAH_QK_NORM_ROW;
    t.norm_head = config->qk_norm == SAH_QK_NORM_HEAD;
    t.norm_v = config->v_norm;
    t.neighbours = rotation->rope && rotation->rope->neighbours;
    t.dims = rotation->rope ? rotation->rope->dims : 0;
    t.eps = config->norm_eps;
    t.bias = rotation->bias;
    t.q_norm = rotation->q_norm;
    t.k_norm = rotation->k_norm;
    t.cosine = rotation->angles.cosine;
    t.sine = rotation->angles.sine;
    t.position = view->position;
    t.view_n = view->n;
    t.from = from;
    t.rows = n;
    t.width = width;
    LAUNCH(rotate_rows, blocks(n), 0, stream, t, x);
}

/* ---- Edits and gates ------------------------------------------------------------------------------------ */

static __global__ void edit_rows(sah_head_states s, bool scaled, bool mean, float factor, float *out)
{
    for (int64_t i = first_item(); i < s.rows * s.width; i += all_threads()) {
        const float *x = s.x + i / s.width * s.stride + i % s.width;
        float value = x[(int64_t)s.head * s.width];
        if (scaled) value *= factor;
        if (mean) {
            value = x[0];
            for (int h = 1; h < s.n; h++) value += x[(int64_t)h * s.width];
            value *= 1.0f / (float)s.n;
        }
        out[i] = value;
    }
}

void sah_cuda_edit(cudaStream_t stream, const sah_head_states *states, const sah_edit *edit, float *out)
{
    LAUNCH(edit_rows, blocks_of(states->rows * states->width), 0, stream, *states,
           edit && edit->op == SAH_OP_SCALE, edit && edit->op == SAH_OP_MEAN, edit ? edit->factor : 1.0f,
           out);
}

/* What a column becomes with its pair's other one, where RoPE has pairs. */
typedef struct pairing {
    int dims; /* that are rotated, 0: none */
    bool neighbours;
    float length; /* of what is turned, since both positions' states carry the rope's factor */
    const float *cosine, *sine;
} pairing;

static __device__ float turned(const pairing *p, const float *x, int column, int32_t by)
{
    const int half = p->dims / 2;
    const bool second = p->neighbours ? column % 2 : column >= half;
    const int other = column + (p->neighbours ? 1 : half) * (second ? -1 : 1);
    const int64_t at = (int64_t)(by > 0 ? by : -by) * half + (p->neighbours ? column / 2
                                                              : second      ? other
                                                                            : column);
    const float c = p->length * p->cosine[at], s = (by > 0 ? p->length : -p->length) * p->sine[at];
    return second ? x[column] * c + x[other] * s : x[column] * c - x[other] * s;
}

static __global__ void stand_in_rows(sah_head_states s, const int32_t *source, pairing p, const int32_t *from,
                                     const int32_t *to, float *out)
{
    for (int64_t i = first_item(); i < s.rows * s.width; i += all_threads()) {
        const int64_t r = i / s.width;
        const int column = (int)(i % s.width);
        const int32_t row = source[r];
        if (row < 0) continue;
        const float *x = s.x + row * s.stride + (int64_t)s.head * s.width;
        const int32_t by = (to ? to[r] : 0) - (from ? from[row] : 0);
        out[i] = column < p.dims && by != 0 ? turned(&p, x, column, by) : x[column];
    }
}

void sah_cuda_stand_in(cudaStream_t stream, const sah_stand_in *in, float *out)
{
    pairing p = {};
    if (in->rope) {
        p.dims = in->rope->dims;
        p.neighbours = in->rope->neighbours;
        p.length = 1.0f / in->rope->attention_factor;
        p.cosine = in->angles.cosine;
        p.sine = in->angles.sine;
    }
    LAUNCH(stand_in_rows, blocks_of(in->states.rows * in->states.width), 0, stream, in->states, in->source, p,
           in->from, in->to, out);
}

static __device__ float logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

static __device__ float activated(sah_activation kind, float x)
{
    const float positive = x < 0.0f ? 0.0f : x; /* NaN stays NaN */
    switch (kind) {
    case SAH_ACT_GELU:
        return 0.5f * x * erfcf(-0.70710678f * x);
    case SAH_ACT_GELU_TANH: /* (1 + tanh u) / 2 is the logistic of 2 u */
        return x * logistic(1.59576912f * (x + 0.044715f * x * x * x));
    case SAH_ACT_RELU:
        return positive;
    case SAH_ACT_RELU_SQUARED:
        return positive * positive;
    default:
        return x * logistic(x);
    }
}

/* The configuration's settings of it. */
typedef struct act {
    sah_activation kind;
    float limit, alpha;
} act;

static act act_of(const sah_config *config)
{
    act a = {config->activation, config->activation_limit, config->activation_alpha};
    return a;
}

/* act(g) * u. */
static __device__ float gated(act a, float g, float u)
{
    if (a.kind != SAH_ACT_CLAMPED_SWIGLU) return activated(a.kind, g) * u;
    const float low = g > a.limit ? a.limit : g, high = u > a.limit ? a.limit : u;
    return ((high < -a.limit ? -a.limit : high) + 1.0f) * low * logistic(a.alpha * low);
}

static __global__ void activate_rows(act a, bool gates, int64_t n, const float *gate_bias,
                                     const float *up_bias, int64_t rows, const float *states, float *out)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *gate = states + r * (gates ? 2 * n : n), *up = gate + (gates ? n : 0);
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
            const float u = up[i] + (up_bias ? up_bias[i] : 0.0f);
            out[r * n + i] =
                gates ? gated(a, gate[i] + (gate_bias ? gate_bias[i] : 0.0f), u) : activated(a.kind, u);
        }
    }
}

void sah_cuda_activate(cudaStream_t stream, const sah_config *config, int64_t n, const float *gate_bias,
                       const float *up_bias, int64_t rows, const float *states, float *out)
{
    LAUNCH(activate_rows, blocks(rows), 0, stream, act_of(config), config->gated, n, gate_bias, up_bias, rows,
           states, out);
}

static __global__ void give_rows(act a, const int32_t *token, int64_t n, int64_t from, int64_t rows,
                                 int64_t width, const float *given, int64_t stride, const float *gates,
                                 float *out)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *own = given + place(token, (from + r) % n) * stride;
        for (int64_t i = threadIdx.x; i < width; i += blockDim.x)
            out[r * width + i] = gated(a, gates[r * width + i], own[i]);
    }
}

void sah_cuda_give(cudaStream_t stream, const sah_config *config, const sah_view *view, int64_t from,
                   int64_t rows, int64_t width, const float *given, int64_t stride, const float *gates,
                   float *out)
{
    LAUNCH(give_rows, blocks(rows), 0, stream, act_of(config), view->given, view->n, from, rows, width, given,
           stride, gates, out);
}

/* ---- Attention ------------------------------------------------------------------------------------------ */

/* A block takes VECTORS query vectors that read one key/value head through tiles of KEYS keys. Tiles begin at
 * multiples of KEYS of a key's place on its path, whatever the segment, so that a row's sums run in the same order
 * in whatever company it comes. */
typedef struct tiles {
    int vectors, keys;
    size_t bytes;
} tiles;

enum { SHARED_BYTES = 44 << 10, SUB = 4 }; /* a thread makes SUB scores, or sums, at a time */

static tiles tiles_of(int head_dim)
{
    tiles t = {16, 32, 0};
    for (;; t.vectors /= 2, t.keys /= 2) {
        const size_t v = (size_t)t.vectors, k = (size_t)t.keys, D = (size_t)head_dim;
        t.bytes = (2 * v * D + k * (D + 1) + v * k) * sizeof(float);
        if (t.bytes <= SHARED_BYTES || t.vectors <= SUB) return t;
    }
}

bool sah_cuda_attends(int head_dim)
{
    return tiles_of(head_dim).bytes <= SHARED_BYTES;
}

/* What a row does not see of a tile has no score. */
static __device__ bool sees(const sah_attention *at, int depth, int key)
{
    return key <= depth && (at->window == 0 || key > depth - at->window);
}

static __device__ void load_queries(const sah_attention *at, const sah_segment *segment, int kv, int first,
                                    int n, float *q, float *sum)
{
    const int D = at->head_dim, group = at->n_heads / at->n_kv_heads;
    for (int i = (int)threadIdx.x; i < n * D; i += (int)blockDim.x) {
        const int vector = first + i / D;
        const int64_t row = segment->row + vector / group,
                      column = (int64_t)(kv * group + vector % group) * D;
        q[i] = at->q[row * at->q_stride + column + i % D];
        sum[i] = 0.0f;
    }
}

static __device__ void load_keys(const sah_attention *at, const int32_t *path, int kv, int n, float *keys)
{
    const int D = at->head_dim;
    for (int i = (int)threadIdx.x; i < n * D; i += (int)blockDim.x)
        keys[i / D * (D + 1) + i % D] = at->k[path[i / D] * at->k_stride + (int64_t)kv * D + i % D];
}

/* scores [vectors, keys] = scale q kᵀ, capped. */
static __device__ void score_tile(const sah_attention *at, const float *q, int n, const float *keys,
                                  int n_keys, int width, float *scores)
{
    const int D = at->head_dim, items = (n + SUB - 1) / SUB * n_keys;
    for (int item = (int)threadIdx.x; item < items; item += (int)blockDim.x) {
        const int from = item / n_keys * SUB, key = item % n_keys;
        const float *k = keys + key * (D + 1);
        float dot[SUB] = {0.0f};
        for (int i = 0; i < D; i++)
            for (int r = 0; r < SUB; r++)
                if (from + r < n) dot[r] += q[(from + r) * D + i] * k[i];
        for (int r = 0; r < SUB && from + r < n; r++) {
            float score = at->scale * dot[r];
            if (at->softcap > 0.0f) score = at->softcap * tanhf(score / at->softcap);
            scores[(from + r) * width + key] = score;
        }
    }
}

/* sum [vectors, D] = factor * sum + weights [vectors, keys] times the values. */
static __device__ void mix_tile(const sah_attention *at, const int32_t *path, int kv, const float *weights,
                                const float *factor, int n, int n_keys, int width, float *sum)
{
    const int D = at->head_dim, items = (n + SUB - 1) / SUB * D;
    const float *values = at->v + (int64_t)kv * D;
    for (int item = (int)threadIdx.x; item < items; item += (int)blockDim.x) {
        const int from = item / D * SUB, i = item % D;
        float own[SUB];
        for (int r = 0; r < SUB; r++)
            own[r] = from + r < n ? factor[from + r] * sum[(from + r) * D + i] : 0.0f;
        for (int j = 0; j < n_keys; j++) {
            const float value = values[path[j] * at->v_stride + i];
            for (int r = 0; r < SUB; r++)
                if (from + r < n) own[r] += weights[(from + r) * width + j] * value;
        }
        for (int r = 0; r < SUB && from + r < n; r++) sum[(from + r) * D + i] = own[r];
    }
}

static __global__ void attend_tiles(sah_attention at, const sah_segment *segments, int64_t n_pairs, tiles t)
{
    enum { MOST = 16 };
    __shared__ float top[MOST], factor[MOST];
    __shared__ double total[MOST];
    BLOCK_MEMORY(memory);
    const int D = at.head_dim, group = at.n_heads / at.n_kv_heads, me = (int)threadIdx.x;
    float *q = memory, *sum = q + t.vectors * D, *keys = sum + t.vectors * D,
          *scores = keys + t.keys * (D + 1);
    for (int64_t pair = blockIdx.x; pair < n_pairs; pair += gridDim.x) {
        const sah_segment segment = segments[pair / at.n_kv_heads];
        const int kv = (int)(pair % at.n_kv_heads), all = segment.n * group;
        for (int first = (int)blockIdx.y * t.vectors; first < all; first += (int)gridDim.y * t.vectors) {
            const int n = all - first < t.vectors ? all - first : t.vectors;
            const int low = segment.depth + first / group, high = segment.depth + (first + n - 1) / group;
            const int from = at.window > 0 && low >= at.window ? low - at.window + 1 : 0;
            load_queries(&at, &segment, kv, first, n, q, sum);
            if (me < MOST) {
                top[me] = -INFINITY;
                total[me] = 0.0;
            }
            for (int key = from / t.keys * t.keys; key <= high; key += t.keys) {
                const int here = high + 1 - key < t.keys ? high + 1 - key : t.keys;
                load_keys(&at, segment.path + key, kv, here, keys);
                __syncthreads();
                score_tile(&at, q, n, keys, here, t.keys, scores);
                __syncthreads();
                if (me < n) {
                    const int depth = segment.depth + (first + me) / group;
                    float largest = top[me];
                    for (int j = 0; j < here; j++)
                        if (sees(&at, depth, key + j)) largest = fmaxf(largest, scores[me * t.keys + j]);
                    factor[me] = largest > -INFINITY ? expf(top[me] - largest) : 1.0f;
                    top[me] = largest;
                }
                __syncthreads();
                for (int i = me; i < n * here; i += (int)blockDim.x) {
                    const int r = i / here, j = i % here;
                    float *score = scores + r * t.keys + j;
                    *score = sees(&at, segment.depth + (first + r) / group, key + j) ? expf(*score - top[r])
                                                                                     : 0.0f;
                }
                __syncthreads();
                if (me < n) {
                    double weight = 0.0;
                    for (int j = 0; j < here; j++) weight += (double)scores[me * t.keys + j];
                    total[me] = total[me] * (double)factor[me] + weight;
                }
                mix_tile(&at, segment.path + key, kv, scores, factor, n, here, t.keys, sum);
                __syncthreads();
            }
            if (me < n) {
                const int head = kv * group + (first + me) % group;
                const float sink = at.sinks ? at.sinks[head] : -INFINITY, most = fmaxf(top[me], sink);
                const double weight = (double)expf(top[me] - most);
                factor[me] =
                    (float)(weight / (total[me] * weight + (at.sinks ? (double)expf(sink - most) : 0.0)));
            }
            __syncthreads();
            for (int i = me; i < n * D; i += (int)blockDim.x) {
                const int vector = first + i / D;
                const int64_t row = segment.row + vector / group,
                              column = (int64_t)(kv * group + vector % group) * D + i % D;
                float z = sum[i] * factor[i / D];
                if (at.gate) z *= logistic(at.gate[row * at.gate_stride + column]);
                at.z[row * at.z_stride + column] = z;
            }
            __syncthreads();
        }
    }
}

void sah_cuda_attend(cudaStream_t stream, const sah_attention *attention, const sah_view *view)
{
    enum { ENOUGH = 4096, MOST_TILES = 64 }; /* blocks */
    const int64_t pairs = (int64_t)view->n_segments * attention->n_kv_heads;
    const tiles t = tiles_of(attention->head_dim);
    int64_t y = view->single ? 1 : (ENOUGH + pairs - 1) / (pairs > 0 ? pairs : 1);
    if (y > MOST_TILES) y = MOST_TILES;
    LAUNCH(attend_tiles, dim3(blocks(pairs), (unsigned)(y < 1 ? 1 : y)), t.bytes, stream, *attention,
           view->segments, pairs, t);
}

/* ---- States that run along a path ------------------------------------------------------------------------
 * A thread has a column of a segment's rows, or of a head's state, and goes along the path with it. */

/* Segments by x, rows of one by y. */
static dim3 by_segment(const sah_view *view)
{
    enum { MOST_ROWS = 64 };
    return dim3(blocks(view->n_segments), view->single ? 1 : MOST_ROWS);
}

static __global__ void multiply_inputs(sah_convolution c, int64_t n)
{
    for (int64_t i = first_item(); i < n * c.width; i += all_threads()) {
        float *row = c.rows + i / c.width * 3 * c.width + i % c.width;
        row[2 * c.width] *= row[0];
    }
}

/* Rows whose last inputs are kept, among which their own then are. */
static __global__ void convolve_kept(sah_convolution c, const int32_t *sequence, int64_t n)
{
    const int before = c.kernel - 1;
    for (int64_t i = first_item(); i < n * c.width; i += all_threads()) {
        const int64_t r = i / c.width, column = i % c.width;
        float *row = c.rows + r * 3 * c.width + column,
              *last = c.kept + sequence[r] * before * c.width + column;
        const float own = row[2 * c.width];
        float sum = 0.0f;
        for (int j = 0; j < before; j++) sum += c.weights[j * c.width + column] * last[j * c.width];
        sum += c.weights[before * c.width + column] * own;
        for (int j = 0; j + 1 < before; j++) last[j * c.width] = last[(j + 1) * c.width];
        if (before > 0) last[(before - 1) * c.width] = own;
        c.z[r * c.z_stride + column] = row[c.width] * sum;
    }
}

static __global__ void keep_inputs(sah_convolution c, const sah_segment *segments, int64_t n,
                                   const int32_t *sequence)
{
    const int before = c.kernel - 1;
    for (int64_t k = blockIdx.x; k < n; k += gridDim.x)
        for (int i = (int)blockIdx.y; i < segments[k].n; i += (int)gridDim.y) {
            float *last = c.kept + sequence[segments[k].row + i] * before * c.width;
            for (int64_t column = threadIdx.x; column < before * c.width; column += blockDim.x) {
                const int64_t at = segments[k].depth + i + 1 + column / c.width - before;
                last[column] =
                    at >= 0 ? c.rows[segments[k].path[at] * 3 * c.width + 2 * c.width + column % c.width]
                            : 0.0f;
            }
        }
}

static __global__ void convolve_rows(sah_convolution c, const sah_segment *segments, int64_t n)
{
    for (int64_t k = blockIdx.x; k < n; k += gridDim.x)
        for (int i = (int)blockIdx.y; i < segments[k].n; i += (int)gridDim.y) {
            const int depth = segments[k].depth + i;
            const float *row = c.rows + segments[k].path[depth] * 3 * c.width;
            float *z = c.z + (segments[k].row + i) * c.z_stride;
            for (int64_t column = threadIdx.x; column < c.width; column += blockDim.x) {
                float sum = 0.0f;
                for (int j = 0; j < c.kernel; j++) {
                    const int at = depth - (c.kernel - 1) + j;
                    if (at >= 0)
                        sum += c.weights[j * c.width + column] *
                               c.rows[segments[k].path[at] * 3 * c.width + 2 * c.width + column];
                }
                z[column] = row[c.width + column] * sum;
            }
        }
}

void sah_cuda_convolve(cudaStream_t stream, const sah_convolution *convolution, const sah_view *nodes,
                       const sah_view *ends, const sah_view *view)
{
    const sah_convolution c = *convolution;
    LAUNCH(multiply_inputs, blocks_of(nodes->n * c.width), 0, stream, c, nodes->n);
    if (nodes->single) {
        LAUNCH(convolve_kept, blocks_of(nodes->n * c.width), 0, stream, c, nodes->sequence, nodes->n);
        return;
    }
    if (c.kept)
        LAUNCH(keep_inputs, by_segment(ends), 0, stream, c, ends->segments, ends->n_segments, ends->sequence);
    LAUNCH(convolve_rows, by_segment(view), 0, stream, c, view->segments, view->n_segments);
}

/* Where a sequence's last inputs are kept: behind its states. */
static __device__ float *last_inputs(const sah_recurrence *r, int32_t sequence)
{
    return r->kept + (sequence + 1) * r->kept_each - (r->kernel - 1) * r->columns;
}

static __global__ void keep_last(sah_recurrence r, const sah_segment *segments, int64_t n,
                                 const int32_t *sequence)
{
    const int before = r.kernel - 1;
    for (int64_t k = blockIdx.x; k < n; k += gridDim.x)
        for (int i = (int)blockIdx.y; i < segments[k].n; i += (int)gridDim.y) {
            float *last = last_inputs(&r, sequence[segments[k].row + i]);
            for (int64_t column = threadIdx.x; column < before * r.columns; column += blockDim.x) {
                const int64_t at = segments[k].depth + i + 1 + column / r.columns - before;
                last[column] = at >= 0 ? r.rows[segments[k].path[at] * r.width + column % r.columns] : 0.0f;
            }
        }
}

/* In place: children before their parents, whose inputs they need. */
static __global__ void convolve_forest(sah_recurrence r, const sah_segment *segments, int64_t n)
{
    for (int64_t column = first_item(); column < r.columns; column += all_threads())
        for (int64_t k = n - 1; k >= 0; k--)
            for (int i = segments[k].n - 1; i >= 0; i--) {
                const int depth = segments[k].depth + i;
                float sum = 0.0f;
                for (int j = 0; j < r.kernel; j++) {
                    const int at = depth - (r.kernel - 1) + j;
                    if (at >= 0)
                        sum += r.weights[j * r.columns + column] *
                               r.rows[segments[k].path[at] * r.width + column];
                }
                r.rows[(segments[k].row + i) * r.width + column] = sum * logistic(sum);
            }
}

static __global__ void convolve_last(sah_recurrence r, const int32_t *sequence, int64_t n)
{
    const int before = r.kernel - 1;
    for (int64_t i = first_item(); i < n * r.columns; i += all_threads()) {
        const int64_t row = i / r.columns, column = i % r.columns;
        float *x = r.rows + row * r.width + column, *last = last_inputs(&r, sequence[row]) + column;
        const float own = *x;
        float sum = r.weights[before * r.columns + column] * own;
        for (int j = 0; j < before; j++) sum += r.weights[j * r.columns + column] * last[j * r.columns];
        for (int j = 0; j + 1 < before; j++) last[j * r.columns] = last[(j + 1) * r.columns];
        if (before > 0) last[(before - 1) * r.columns] = own;
        *x = sum * logistic(sum);
    }
}

/* Lengths of q and k, what is written and what is kept: a thread for each of a row's key heads, then of its heads. */
static __global__ void prepare_rows(sah_recurrence r, int64_t n)
{
    const double LENGTH_EPS = 1e-6; /* as the CPU has it */
    const int each = 2 * r.key_heads + r.n_heads;
    for (int64_t item = first_item(); item < n * each; item += all_threads()) {
        float *row = r.rows + item / each * r.width;
        const int which = (int)(item % each);
        if (which < 2 * r.key_heads) {
            float *x = row + which * r.key_dim;
            double sum = 0.0;
            for (int i = 0; i < r.key_dim; i++) sum += (double)x[i] * (double)x[i];
            const double length = which < r.key_heads ? 1.0 / sqrt((double)r.key_dim) : 1.0;
            const float factor = (float)(length / sqrt(sum + LENGTH_EPS));
            for (int i = 0; i < r.key_dim; i++) x[i] *= factor;
            continue;
        }
        const int h = which - 2 * r.key_heads;
        float *write = row + r.write + h, *keep = row + r.keep + h;
        const double a = (double)*keep + (double)r.rate_bias[h], softplus = a > 20.0 ? a : log1p(exp(a));
        *write = (float)(1.0 / (1.0 + exp(-(double)*write)));
        *keep = (float)exp(-exp((double)r.rate[h]) * softplus);
    }
}

/* One position of a column of a head's state, S [key_dim] `stride` apart: v becomes Sᵀ q. */
static __device__ void step(const sah_recurrence *r, int head, int column, float *row, float *S, int stride)
{
    const float *q = row + head / (r->n_heads / r->key_heads) * r->key_dim,
                *k = q + r->key_heads * r->key_dim;
    const float keep = row[r->keep + head], write = row[r->write + head];
    float *v = row + 2 * r->key_heads * r->key_dim + head * r->head_dim + column, change = 0.0f, out = 0.0f;
    for (int i = 0; i < r->key_dim; i++) change += k[i] * S[(int64_t)i * stride];
    change = write * (*v - keep * change);
    for (int i = 0; i < r->key_dim; i++) {
        const float state = keep * S[(int64_t)i * stride] + k[i] * change;
        S[(int64_t)i * stride] = state;
        out += q[i] * state;
    }
    *v = out;
}

static __device__ void copy_column(const float *from, int n, int stride, float *to)
{
    for (int i = 0; i < n; i++) to[(int64_t)i * stride] = from ? from[(int64_t)i * stride] : 0.0f;
}

static __global__ void run_heads(sah_recurrence r, const sah_segment *segments, int64_t n,
                                 const int32_t *branch, int32_t n_branches, const int32_t *sequence,
                                 float *memory)
{
    const int D = r.head_dim;
    const int64_t size = (int64_t)r.key_dim * D;
    for (int64_t item = first_item(); item < (int64_t)r.n_heads * D; item += all_threads()) {
        const int head = (int)(item / D), column = (int)(item % D);
        float *S = memory + head * (1 + n_branches) * size + column, *stack = S + size;
        for (int64_t k = 0; k < n; k++) {
            const sah_segment s = segments[k];
            copy_column(s.depth > 0 ? stack + branch[s.path[s.depth - 1]] * size : NULL, r.key_dim, D, S);
            for (int32_t node = s.row; node < s.row + s.n; node++) {
                step(&r, head, column, r.rows + node * r.width, S, D);
                if (sequence && sequence[node] >= 0)
                    copy_column(S, r.key_dim, D,
                                r.kept + sequence[node] * r.kept_each + head * size + column);
                if (branch[node] >= 0) copy_column(S, r.key_dim, D, stack + branch[node] * size);
            }
        }
    }
}

static __global__ void step_kept(sah_recurrence r, const int32_t *sequence, int64_t n)
{
    const int D = r.head_dim, all = r.n_heads * D;
    for (int64_t item = first_item(); item < n * all; item += all_threads()) {
        const int64_t row = item / all;
        const int head = (int)(item % all) / D, column = (int)(item % D);
        step(&r, head, column, r.rows + row * r.width,
             r.kept + sequence[row] * r.kept_each + (int64_t)head * r.key_dim * D + column, D);
    }
}

static __global__ void note_sequences(int32_t *sequence, int64_t n, const int32_t *node, const int32_t *kept,
                                      int64_t n_ends)
{
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sequence[i] = -1;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < n_ends; i += blockDim.x) sequence[node[i]] = kept[i];
}

/* z: RMS norm of each head's output times silu of its gate, on which z may lie: a thread for each head of a row. */
static __global__ void finish_rows(sah_recurrence r, const int32_t *node, int64_t n)
{
    const int D = r.head_dim;
    for (int64_t item = first_item(); item < n * r.n_heads; item += all_threads()) {
        const int64_t at = item / r.n_heads, head = item % r.n_heads;
        const float *row = r.rows + place(node, at) * r.width, *gate = row + r.gate + head * D,
                    *v = gate - (int64_t)r.n_heads * D;
        float *z = r.z + at * r.z_stride + head * D;
        double squares = 0.0;
        for (int i = 0; i < D; i++) squares += (double)v[i] * (double)v[i];
        const float scale = (float)(1.0 / sqrt(squares / D + (double)r.norm_eps));
        for (int i = 0; i < D; i++) z[i] = v[i] * scale * r.norm[i] * (gate[i] * logistic(gate[i]));
    }
}

void sah_cuda_recur(cudaStream_t stream, const sah_recurrence *recurrence, const sah_view *nodes,
                    const sah_view *ends, const sah_view *view, int32_t *sequence, float *memory)
{
    const sah_recurrence r = *recurrence;
    const int64_t n = nodes->n, values = (int64_t)r.n_heads * r.head_dim;
    if (nodes->single) {
        LAUNCH(convolve_last, blocks_of(n * r.columns), 0, stream, r, nodes->sequence, n);
    } else {
        if (r.kept)
            LAUNCH(keep_last, by_segment(ends), 0, stream, r, ends->segments, ends->n_segments,
                   ends->sequence);
        LAUNCH(convolve_forest, blocks_of(r.columns), 0, stream, r, nodes->segments, nodes->n_segments);
    }
    LAUNCH(prepare_rows, blocks_of(n * (2 * r.key_heads + r.n_heads)), 0, stream, r, n);
    if (nodes->single) {
        LAUNCH(step_kept, blocks_of(n * values), 0, stream, r, nodes->sequence, n);
    } else {
        if (sequence) LAUNCH(note_sequences, 1, 0, stream, sequence, n, ends->node, ends->sequence, ends->n);
        LAUNCH(run_heads, blocks_of(values), 0, stream, r, nodes->segments, nodes->n_segments, nodes->branch,
               nodes->n_branches, sequence, memory);
    }
    LAUNCH(finish_rows, blocks_of(view->n * r.n_heads), 0, stream, r, view->single ? NULL : view->node,
           view->n);
}

/* ---- Operands of products ------------------------------------------------------------------------------- */

static __device__ float float_of_bf16(uint16_t bits)
{
    return __uint_as_float((unsigned)bits << 16);
}

static __device__ float float_of_f16(uint16_t bits)
{
    const unsigned sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, rest = bits & 1023u;
    if (exponent == 0) return __uint_as_float(sign | __float_as_uint((float)rest * 5.9604644775390625e-8f));
    return __uint_as_float(sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | rest << 13);
}

/* To the nearest, of equally near ones the even; a NaN stays one. */
static __device__ uint16_t bf16_of_float(float x)
{
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static __device__ float value_of(const void *x, sah_cuda_type type, int64_t i)
{
    if (type == SAH_CUDA_BF16) return float_of_bf16(((const uint16_t *)x)[i]);
    return type == SAH_CUDA_F16 ? float_of_f16(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

static __global__ void widen_rows(const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                                  int64_t padded_rows, int64_t padded_columns, bool rounded, float *out)
{
    for (int64_t r = blockIdx.x; r < padded_rows; r += gridDim.x)
        for (int64_t i = threadIdx.x; i < padded_columns; i += blockDim.x) {
            const float value = r < rows && i < columns ? value_of(x, type, r * columns + i) : 0.0f;
            out[r * padded_columns + i] = rounded ? float_of_bf16(bf16_of_float(value)) : value;
        }
}

void sah_cuda_widen(cudaStream_t stream, const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                    int64_t padded_rows, int64_t padded_columns, bool rounded, float *out)
{
    LAUNCH(widen_rows, blocks(padded_rows), 0, stream, x, type, rows, columns, padded_rows, padded_columns,
           rounded, out);
}

static __global__ void split_rows(const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                                  int64_t padded_rows, int64_t padded_columns, int n, uint16_t *out)
{
    for (int64_t r = blockIdx.x; r < padded_rows; r += gridDim.x)
        for (int64_t i = threadIdx.x; i < padded_columns; i += blockDim.x) {
            float left = r < rows && i < columns ? value_of(x, type, r * columns + i) : 0.0f;
            for (int piece = 0; piece < n; piece++) {
                const uint16_t nearest = bf16_of_float(left);
                out[(piece * padded_rows + r) * padded_columns + i] = nearest;
                left -= float_of_bf16(nearest); /* exact */
            }
        }
}

void sah_cuda_split(cudaStream_t stream, const void *x, sah_cuda_type type, int64_t rows, int64_t columns,
                    int64_t padded_rows, int64_t padded_columns, int n, uint16_t *out)
{
    LAUNCH(split_rows, blocks(padded_rows), 0, stream, x, type, rows, columns, padded_rows, padded_columns, n,
           out);
}

/* ---- Scores: engine/cpu/kl.h says what, and which rounding is nothing -------------------------------------- */

static const double EPSILON = 1e-12;

/* e^(x - top); what is nothing beside EPSILON counts as e^-708. */
static __device__ double share(float x, double top)
{
    const double off = (double)x - top;
    return exp(off < -708.0 ? -708.0 : off);
}

/* The largest logit, NaN where one is not finite, and the sum of e^(x - top). */
static __device__ double weigh_row(const float *x, int64_t n, double *part, double *sum)
{
    double top = -INFINITY, own = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const double value = isinf(x[i]) ? NAN : (double)x[i];
        top = top > value || isnan(top) ? top : value;
    }
    top = block_largest(top, part);
    if (isnan(top)) return top; /* of all threads alike */
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) own += share(x[i], top);
    *sum = block_sum(own, part);
    return top;
}

/* sum of p ln(q + EPSILON), q the row's share; with `fill` p is q + EPSILON and is written down first. The same
 * operations either way, so that a row held against itself gives exactly 0. */
static __device__ double weighted_logs(const float *x, int64_t n, double top, double scale, bool fill,
                                       double *p, double *part)
{
    double own = 0.0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const double q = fma(share(x[i], top), scale, EPSILON);
        if (fill) p[i] = q;
        own = fma(p[i], log(q), own);
    }
    return block_sum(own, part);
}

static __global__ void distribution_of(const float *x, int64_t n, double *p, double *log_p_sum)
{
    __shared__ double part[SAH_CUDA_BLOCK];
    double sum, logs = NAN;
    const double top = weigh_row(x, n, part, &sum);
    if (!isnan(top)) logs = weighted_logs(x, n, top, 1.0 / sum, true, p, part);
    if (threadIdx.x == 0) *log_p_sum = logs;
}

void sah_cuda_distribution(cudaStream_t stream, const float *logits, int64_t n, double *p, double *log_p_sum)
{
    LAUNCH(distribution_of, 1, 0, stream, logits, n, p, log_p_sum);
}

static __global__ void score_rows(const float *logits, int64_t rows, int64_t n, sah_cuda_score *scores)
{
    __shared__ double part[SAH_CUDA_BLOCK];
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const float *x = logits + r * n;
        sah_cuda_score *score = &scores[r];
        double sum = NAN, logs = 0.0;
        const double top = weigh_row(x, n, part, &sum);
        if (score->p && !isnan(top)) logs = weighted_logs(x, n, top, 1.0 / sum, false, score->p, part);
        if (threadIdx.x == 0) {
            if (score->p) score->kl = isnan(top) ? NAN : score->log_p_sum - logs;
            for (int i = 0; i < 2; i++)
                if (score->token[i] >= 0) score->log_p[i] = (double)x[score->token[i]] - (top + log(sum));
        }
        __syncthreads();
    }
}

void sah_cuda_scores(cudaStream_t stream, const float *logits, int64_t rows, int64_t n,
                     sah_cuda_score *scores)
{
    LAUNCH(score_rows, blocks(rows), 0, stream, logits, rows, n, scores);
}
