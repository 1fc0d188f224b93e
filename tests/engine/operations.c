/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/operations.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/kl.h"

int (*operations_held)(void);

static const double CLOSE = 4e-6; /* of numbers of order 1 */

/* ---- Rows on a device ---------------------------------------------------------------------------------- */

typedef struct bench {
    const sah_device *device;
    sah_workspace *ws;
    uint64_t state;
    void *lent[64]; /* memory of the device */
    int n;
} bench;

static void *there(bench *b, const void *from, size_t bytes)
{
    sah_error error = {0};
    void *memory = b->lent[b->n++] = b->device->alloc(bytes);
    assert_non_null(memory);
    if (from != NULL) assert_int_equal(b->device->upload(from, bytes, memory, &error), SAH_OK);
    return memory;
}

/* n numbers in [-1, 1]; the host's copy in *host. */
static float *numbers(bench *b, size_t n, float **host)
{
    float *x = *host = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        b->state = b->state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(b->state >> 40) * 0x1p-23 - 1.0);
    }
    return there(b, x, n * sizeof *x);
}

static float *back(const bench *b, const void *from, size_t n)
{
    sah_error error = {0};
    float *x = malloc(n * sizeof *x);
    assert_int_equal(b->device->download(from, n * sizeof *x, x, &error), SAH_OK);
    return x;
}

static void compare(const bench *b, const float *found, const double *want, size_t n, double bound,
                    const char *what)
{
    float *x = back(b, found, n);
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)x[i] - want[i]) <= bound * (1.0 + fabs(want[i]))))
            fail_msg("%s on %s: number %zu is %.9g, not %.9g", what, b->device->name, i, (double)x[i],
                     want[i]);
    free(x);
}

static bench begin(void **state)
{
    const sah_device *(*of)(void) = *(const sah_device *(**)(void)) * state;
    sah_error error = {0};
    bench b = {.device = of(), .state = 7};
    assert_int_equal(sah_workspace_new(b.device, 2, &b.ws, &error), SAH_OK);
    return b;
}

static void end(bench *b)
{
    sah_workspace_free(b->ws);
    for (int i = 0; i < b->n; i++) b->device->free(b->lent[i]);
    if (operations_held != NULL) assert_int_equal(operations_held(), 0);
}

/* ---- Operations ---------------------------------------------------------------------------------------- */

void test_copy_add_scale(void **state)
{
    enum { ROWS = 11, WIDTH = 7, STRIDE = 9 };
    static const int32_t from_row[ROWS] = {3, 0, 10, 10, 5, 1, 2, 9, 7, 8, 4},
                         to_row[ROWS] = {10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    bench b = begin(state);
    float *x, *y, *bias;
    const float *x_there = numbers(&b, ROWS * STRIDE, &x), *bias_there = numbers(&b, WIDTH, &bias);
    float *y_there = numbers(&b, ROWS * WIDTH, &y);
    const int32_t *from = there(&b, from_row, sizeof from_row), *to = there(&b, to_row, sizeof to_row);
    double want[ROWS * WIDTH];
    b.device->copy(b.ws, (sah_rows){x_there + 1, STRIDE, from}, ROWS, WIDTH, y_there, WIDTH, to);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDTH; i++) want[to_row[r] * WIDTH + i] = (double)x[from_row[r] * STRIDE + 1 + i];
    compare(&b, y_there, want, ROWS * WIDTH, 0.0, "copy");
    b.device->add(b.ws, (sah_rows){bias_there, 0, NULL}, ROWS, WIDTH, 1.0f, y_there);
    b.device->add(b.ws, (sah_rows){x_there, STRIDE, from}, ROWS, WIDTH, -2.0f, y_there);
    b.device->scale(b.ws, y_there, ROWS * WIDTH, 0.3f);
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < WIDTH; i++) {
            double sum = want[r * WIDTH + i] + (double)bias[i] - 2.0 * (double)x[from_row[r] * STRIDE + i];
            want[r * WIDTH + i] = (double)0.3f * sum;
        }
    compare(&b, y_there, want, ROWS * WIDTH, CLOSE, "add and scale");
    free(x);
    free(y);
    free(bias);
    end(&b);
}

void test_scatter_weigh_clear(void **state)
{
    enum { ROWS = 11, WIDTH = 37, FROM = 3, SOME = 9 };
    static const int32_t to_row[SOME] = {10, 0, 9, 3, 8, 1, 7, 5, 2};
    bench b = begin(state);
    float *x, *y, *w, *factor;
    const float *x_there = numbers(&b, ROWS * WIDTH, &x), *w_there = numbers(&b, WIDTH, &w),
                *factor_there = numbers(&b, SOME, &factor);
    float *y_there = numbers(&b, ROWS * WIDTH, &y);
    const int32_t *to = there(&b, to_row, sizeof to_row);
    double want[ROWS * WIDTH];
    for (int i = 0; i < ROWS * WIDTH; i++) want[i] = (double)y[i];
    for (int r = FROM; r < SOME; r++) /* others stay as they are */
        for (int i = 0; i < WIDTH; i++)
            want[to_row[r] * WIDTH + i] += (double)factor[r] * (double)x[r * WIDTH + i];
    b.device->scatter(b.ws, x_there + FROM * WIDTH, SOME - FROM, WIDTH, factor_there + FROM, to + FROM,
                      y_there);
    compare(&b, y_there, want, ROWS * WIDTH, CLOSE, "scatter");
    b.device->weigh(b.ws, w_there, x_there, ROWS, WIDTH, y_there);
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) sum += (double)x[r * WIDTH + i] * (double)w[i];
        for (int i = 0; i < WIDTH; i++) want[r * WIDTH + i] /= 1.0 + exp(-sum);
    }
    compare(&b, y_there, want, ROWS * WIDTH, CLOSE, "weigh");
    y[3] = NAN;
    float *cleared = there(&b, y, ROWS * WIDTH * sizeof *y);
    b.device->clear(b.ws, cleared + 2, ROWS * WIDTH - 5);
    for (int i = 0; i < ROWS * WIDTH; i++) want[i] = i < 2 || i >= ROWS * WIDTH - 3 ? (double)y[i] : 0.0;
    compare(&b, cleared, want, ROWS * WIDTH, 0.0, "clear");
    free(x);
    free(y);
    free(w);
    free(factor);
    end(&b);
}

static void plain_norm(const sah_config *c, const float *weight, const float *bias, const double *x,
                       double *y)
{
    double mean = 0, squares = 0;
    int d = c->d_model;
    for (int i = 0; i < d && c->norm == SAH_NORM_LAYER; i++) mean += x[i] / d;
    for (int i = 0; i < d; i++) squares += (x[i] - mean) * (x[i] - mean) / d;
    for (int i = 0; i < d; i++)
        y[i] = (x[i] - mean) / sqrt(squares + (double)c->norm_eps) * (double)weight[i] +
               (bias != NULL ? (double)bias[i] : 0.0);
}

void test_norm_join(void **state)
{
    enum { ROWS = 10, D = 37 };
    bench b = begin(state);
    float *x, *y, *weight, *bias;
    float *x_there = numbers(&b, ROWS * D, &x), *y_there = numbers(&b, ROWS * D, &y);
    float *weight_there = numbers(&b, D, &weight), *bias_there = numbers(&b, D, &bias);
    sah_config c = sah_config_neutral();
    c.d_model = D;
    c.norm_eps = 1e-3f;
    c.residual_scale = 0.4f;
    for (int kind = 0; kind < 3; kind++) { /* RMS, layer, layer with biases */
        const sah_norm norm = {weight_there, kind == 2 ? bias_there : NULL};
        double want[ROWS * D], row[D];
        c.norm = kind == 0 ? SAH_NORM_RMS : SAH_NORM_LAYER;
        float *out = there(&b, NULL, ROWS * D * sizeof *out), *sum = there(&b, y, ROWS * D * sizeof *sum),
              *branch = there(&b, x, ROWS * D * sizeof *branch);
        b.device->norm(b.ws, &c, &norm, x_there, ROWS, out);
        for (int r = 0; r < ROWS; r++) {
            for (int i = 0; i < D; i++) row[i] = (double)x[r * D + i];
            plain_norm(&c, weight, kind == 2 ? bias : NULL, row, want + r * D);
        }
        compare(&b, out, want, ROWS * D, CLOSE, "norm");
        b.device->join(b.ws, &c, &norm, branch, ROWS, sum);
        for (int i = 0; i < ROWS * D; i++) want[i] = (double)y[i] + (double)c.residual_scale * want[i];
        compare(&b, sum, want, ROWS * D, CLOSE, "join behind a norm");
    }
    b.device->join(b.ws, &c, &(sah_norm){0}, x_there, ROWS, y_there);
    double want[ROWS * D];
    for (int i = 0; i < ROWS * D; i++) want[i] = (double)y[i] + (double)c.residual_scale * (double)x[i];
    compare(&b, y_there, want, ROWS * D, CLOSE, "join");
    free(x);
    free(y);
    free(weight);
    free(bias);
    end(&b);
}

static void plain_rms(double *x, const float *weight, double eps, int n)
{
    double squares = 0;
    for (int i = 0; i < n; i++) squares += x[i] * x[i] / n;
    for (int i = 0; i < n; i++) x[i] *= (weight != NULL ? (double)weight[i] : 1.0) / sqrt(squares + eps);
}

static void plain_rope(const sah_rope *rope, int32_t position, double *x)
{
    int half = rope->dims / 2;
    for (int i = 0; i < half; i++) {
        int p = rope->neighbours ? 2 * i : i, q = rope->neighbours ? 2 * i + 1 : i + half;
        double angle = position / pow(rope->theta, 2.0 * i / rope->dims), one = x[p], other = x[q];
        x[p] = one * cos(angle) - other * sin(angle);
        x[q] = one * sin(angle) + other * cos(angle);
    }
}

void test_rotate(void **state)
{
    enum { N = 5, COPIES = 3, D = 10, Q = 3, KV = 2, POSITIONS = 40, FROM = 4 };
    static const int32_t positions[N] = {0, 7, 39, 2, 11};
    bench b = begin(state);
    for (int turn = 0; turn < 6; turn++) {
        sah_config c = sah_config_neutral();
        sah_rope rope = {.theta = 100, .dims = turn % 2 ? 6 : 10, .neighbours = turn >= 3};
        c.qk_norm = (sah_qk_norm)(turn % 3);
        c.v_norm = turn % 2;
        c.attention_gate = turn >= 4;
        c.norm_eps = 1e-3f;
        const int width = (Q * (c.attention_gate ? 2 : 1) + 2 * KV) * D, rows = COPIES * N - FROM,
                  half = rope.dims / 2;
        float *x, *bias, *q_norm, *k_norm, *angles = malloc((size_t)(2 * POSITIONS * half) * sizeof *angles);
        float *x_there = numbers(&b, (size_t)(rows * width), &x);
        sah_rotation rotation = {.q_heads = Q, .k_heads = KV, .v_heads = KV, .head_dim = D};
        rotation.bias = numbers(&b, (size_t)width, &bias);
        rotation.q_norm = numbers(&b, Q * D, &q_norm);
        rotation.k_norm = numbers(&b, KV * D, &k_norm);
        for (int i = 0; i < POSITIONS * half; i++) {
            double angle = i / half / pow(rope.theta, 2.0 * (i % half) / rope.dims);
            angles[i] = (float)cos(angle);
            angles[POSITIONS * half + i] = (float)sin(angle);
        }
        rotation.angles.cosine = there(&b, angles, (size_t)(2 * POSITIONS * half) * sizeof *angles);
        rotation.angles.sine = rotation.angles.cosine + POSITIONS * half;
        if (turn != 5) rotation.rope = &rope;
        const sah_view view = {.n = N, .position = there(&b, positions, sizeof positions)};
        b.device->rotate(b.ws, &c, &rotation, &view, FROM, rows, width, x_there);

        double *want = malloc((size_t)(rows * width) * sizeof *want);
        for (int r = 0; r < rows; r++) {
            double *row = want + r * width, *k = row + width - 2 * KV * D, *v = k + KV * D;
            for (int i = 0; i < width; i++) row[i] = (double)x[r * width + i] + (double)bias[i];
            double eps = (double)c.norm_eps;
            if (c.qk_norm == SAH_QK_NORM_ROW) plain_rms(row, q_norm, eps, Q * D);
            if (c.qk_norm == SAH_QK_NORM_ROW) plain_rms(k, k_norm, eps, KV * D);
            for (int h = 0; h < Q + KV; h++) {
                double *head = h < Q ? row + h * D : k + (h - Q) * D;
                if (c.qk_norm == SAH_QK_NORM_HEAD) plain_rms(head, h < Q ? q_norm : k_norm, eps, D);
                if (rotation.rope != NULL) plain_rope(&rope, positions[(FROM + r) % N], head);
            }
            for (int h = 0; h < KV && c.v_norm; h++) plain_rms(v + h * D, NULL, eps, D);
        }
        compare(&b, x_there, want, (size_t)(rows * width), 2 * CLOSE, "rotate");
        free(want);
        free(x);
        free(bias);
        free(q_norm);
        free(k_norm);
        free(angles);
    }
    end(&b);
}

/* A tree: 0-1-2-3 then 4-5 behind 1, and 6 behind 3. */
static const int32_t PATH[] = {0, 1, 2, 3, 0, 1, 4, 5, 0, 1, 2, 3, 6};
static const sah_segment BLOCKS[] = {{0, 4, 0, PATH}, {4, 2, 2, PATH + 4}, {6, 1, 4, PATH + 8}};
static const sah_segment SINGLES[] = {{0, 1, 3, PATH}, {1, 1, 4, PATH + 8}};

static void check_attention(bench *b, sah_attention at, const sah_segment *segments, int n, bool single)
{
    enum { NODES = 7, MOST = 4 * 12 };
    sah_error error = {0};
    const int D = at.head_dim, wide = at.n_heads * D, narrow = at.n_kv_heads * D, row = 2 * wide + 2 * narrow;
    float *x, *sinks;
    float *x_there = numbers(b, (size_t)(NODES * row), &x),
          *z = there(b, NULL, (size_t)(NODES * wide) * sizeof *z);
    float *sinks_there = numbers(b, (size_t)at.n_heads, &sinks);
    sah_view view = {.n_segments = n, .single = single};
    assert_int_equal(sah_device_lend_segments(b->device, segments, n, &view.segments, &error), SAH_OK);
    at.q = x_there;
    at.k = x_there + 2 * wide;
    at.v = at.k + narrow;
    at.q_stride = at.k_stride = at.v_stride = at.gate_stride = row;
    at.gate = at.softcap > 0 ? x_there + wide : NULL;
    at.sinks = at.window > 0 ? sinks_there : NULL;
    at.z = z;
    at.z_stride = wide;
    assert_int_equal(b->device->attend(b->ws, &at, &view, &error), SAH_OK);
    for (int s = 0; s < n; s++)
        for (int i = 0; i < segments[s].n; i++) {
            double want[MOST];
            const int own = segments[s].row + i, seen = segments[s].depth + i + 1;
            const int first = at.window > 0 && seen > at.window ? seen - at.window : 0;
            for (int h = 0; h < at.n_heads; h++) {
                double weight[8], sum = at.sinks != NULL ? exp((double)sinks[h]) : 0.0;
                const int kv = h / (at.n_heads / at.n_kv_heads);
                for (int p = first; p < seen; p++) {
                    const float *q = x + own * row + h * D,
                                *k = x + segments[s].path[p] * row + 2 * wide + kv * D;
                    double dot = 0;
                    for (int j = 0; j < D; j++) dot += (double)q[j] * (double)k[j];
                    dot *= (double)at.scale;
                    if (at.softcap > 0) dot = (double)at.softcap * tanh(dot / (double)at.softcap);
                    sum += weight[p] = exp(dot);
                }
                for (int j = 0; j < D; j++) {
                    double out = 0;
                    for (int p = first; p < seen; p++)
                        out += weight[p] / sum *
                               (double)x[segments[s].path[p] * row + 2 * wide + narrow + kv * D + j];
                    if (at.gate != NULL) out /= 1.0 + exp(-(double)x[own * row + wide + h * D + j]);
                    want[h * D + j] = out;
                }
            }
            compare(b, z + own * wide, want, (size_t)wide, CLOSE, "attend");
        }
    sah_device_forget(b->device, view.segments);
    free(x);
    free(sinks);
}

void test_attend(void **state)
{
    static const sah_attention kinds[] = {
        {.n_heads = 4, .n_kv_heads = 2, .head_dim = 12, .scale = 0.3f},
        {.n_heads = 3, .n_kv_heads = 3, .head_dim = 5, .scale = 1.0f, .window = 2},
        {.n_heads = 4, .n_kv_heads = 1, .head_dim = 8, .scale = 2.0f, .softcap = 1.5f},
        {.n_heads = 2, .n_kv_heads = 1, .head_dim = 12, .scale = 1.0f, .softcap = 1.0f, .window = 3},
    };
    bench b = begin(state);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        check_attention(&b, kinds[i], BLOCKS, 3, false);
        check_attention(&b, kinds[i], SINGLES, 2, true);
    }
    end(&b);
}

/* Layers whose states run along a path, depth first: 0-1-2-3 and 4 behind 3, then 5-6 behind 1. Ends are 3, 4 and 6,
 * whose states go to sequences 2, 0 and 1. */
enum { NODES = 7, ENDS = 3, KERNEL = 3 };
static const int32_t ALONG[] = {0, 1, 2, 3, 4, 0, 1, 5, 6}, BRANCH[NODES] = {-1, 0, -1, 1, -1, -1, -1},
                     END_NODE[ENDS] = {3, 4, 6}, END_SEQUENCE[ENDS] = {2, 0, 1};
static const sah_segment RUNS[] = {{0, 4, 0, ALONG}, {4, 1, 4, ALONG}, {5, 2, 2, ALONG + 5}},
                         END_RUNS[] = {{0, 1, 3, ALONG}, {1, 1, 4, ALONG}, {2, 1, 3, ALONG + 5}};

/* The node so many places above one, -1: none is. */
static int above(int node, int places)
{
    static const int parents[NODES] = {-1, 0, 1, 2, 3, 1, 5};
    while (places-- > 0 && node >= 0) node = parents[node];
    return node;
}

typedef struct run_views {
    sah_view nodes, ends, next; /* of the forest; and a row more for each end */
} run_views;

static run_views begin_run(bench *b)
{
    sah_error error = {0};
    run_views v = {.nodes = {.n = NODES, .n_segments = 3, .n_branches = 2},
                   .ends = {.n = ENDS, .n_segments = ENDS},
                   .next = {.n = ENDS, .single = true}};
    assert_int_equal(sah_device_lend_segments(b->device, RUNS, 3, &v.nodes.segments, &error), SAH_OK);
    assert_int_equal(sah_device_lend_segments(b->device, END_RUNS, 3, &v.ends.segments, &error), SAH_OK);
    v.nodes.branch = there(b, BRANCH, sizeof BRANCH);
    v.ends.node = there(b, END_NODE, sizeof END_NODE);
    v.ends.sequence = v.next.sequence = there(b, END_SEQUENCE, sizeof END_SEQUENCE);
    return v;
}

static void end_run(const bench *b, const run_views *v)
{
    sah_device_forget(b->device, v->nodes.segments);
    sah_device_forget(b->device, v->ends.segments);
}

/* All of a forest, then the ends alone, then a row more behind each end's by what was kept. */
void test_convolve(void **state)
{
    enum { WIDTH = 21, ROW = 3 * WIDTH };
    bench b = begin(state);
    const run_views v = begin_run(&b);
    float *x, *w, *more;
    numbers(&b, NODES * ROW, &x);
    const float *weights = numbers(&b, KERNEL * WIDTH, &w);
    float *more_there = numbers(&b, ENDS * ROW, &more);
    double want[NODES * WIDTH], next[ENDS * WIDTH];
    for (int at = 0; at < NODES + ENDS; at++) {
        const int end = at - NODES, node = end < 0 ? at : END_NODE[end];
        const float *own = end < 0 ? x + at * ROW : more + end * ROW;
        for (int i = 0; i < WIDTH; i++) {
            double sum = (double)own[i] * (double)own[2 * WIDTH + i] * (double)w[(KERNEL - 1) * WIDTH + i];
            for (int back = 1; back < KERNEL; back++) {
                const int seen = above(node, end < 0 ? back : back - 1);
                const float *row = x + seen * ROW + i;
                if (seen >= 0)
                    sum +=
                        (double)row[0] * (double)row[2 * WIDTH] * (double)w[(KERNEL - 1 - back) * WIDTH + i];
            }
            (end < 0 ? want + at * WIDTH : next + end * WIDTH)[i] = sum * (double)own[WIDTH + i];
        }
    }
    float *kept = there(&b, NULL, ENDS * (KERNEL - 1) * WIDTH * sizeof *kept);
    sah_convolution c = {.kernel = KERNEL, .width = WIDTH, .weights = weights, .kept = kept};
    for (int way = 0; way < 2; way++) {
        float *z = there(&b, NULL, NODES * WIDTH * sizeof *z);
        c.rows = there(&b, x, NODES * ROW * sizeof *x);
        c.z = z;
        c.z_stride = WIDTH;
        b.device->convolve(b.ws, &c, &v.nodes, &v.ends, way ? &v.ends : &v.nodes);
        if (!way) compare(&b, z, want, NODES * WIDTH, CLOSE, "convolve");
        for (int e = 0; e < ENDS && way; e++)
            compare(&b, z + e * WIDTH, want + END_NODE[e] * WIDTH, WIDTH, CLOSE, "convolve, of the ends");
    }
    c.rows = more_there;
    b.device->convolve(b.ws, &c, &v.next, &v.next, &v.next);
    compare(&b, c.z, next, ENDS * WIDTH, CLOSE, "convolve, a row more");
    end_run(&b, &v);
    free(x);
    free(w);
    free(more);
    end(&b);
}

enum {
    DELTA_H = 4,
    DELTA_D = 5,
    KEY_HEADS = 2,
    KEY_D = 3,
    DELTA_KEYS = KEY_HEADS * KEY_D,
    VALUES = DELTA_H * DELTA_D
};
enum {
    COLUMNS = 2 * DELTA_KEYS + VALUES,
    DELTA_ROW = COLUMNS + VALUES + 2 * DELTA_H,
    STATE = KEY_D * DELTA_D
};

/* z of one position, whose row is in and whose inputs of the convolution are seen [KERNEL] (NULL: zeros); S of all
 * heads changes. */
static void plain_recur(const sah_recurrence *r, const float *in, const float *const *seen, double *S,
                        double *z)
{
    double mixed[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
        double sum = 0.0;
        for (int j = 0; j < KERNEL; j++)
            if (seen[j] != NULL) sum += (double)r->weights[j * COLUMNS + i] * (double)seen[j][i];
        mixed[i] = sum / (1.0 + exp(-sum));
    }
    for (int h = 0; h < DELTA_H; h++) {
        const double *q = mixed + h / (DELTA_H / KEY_HEADS) * KEY_D, *k = q + DELTA_KEYS,
                     *v = mixed + 2 * DELTA_KEYS + h * DELTA_D;
        const double a = (double)in[COLUMNS + VALUES + DELTA_H + h] + (double)r->rate_bias[h],
                     keep = exp(-exp((double)r->rate[h]) * log1p(exp(a))),
                     write = 1.0 / (1.0 + exp(-(double)in[COLUMNS + VALUES + h]));
        double q2 = 1e-6, k2 = 1e-6, squares = 0.0, *state = S + h * STATE;
        for (int i = 0; i < KEY_D; i++) q2 += q[i] * q[i], k2 += k[i] * k[i];
        for (int j = 0; j < DELTA_D; j++) {
            double old = 0.0, out = 0.0;
            for (int i = 0; i < KEY_D; i++) old += k[i] / sqrt(k2) * (state[i * DELTA_D + j] *= keep);
            for (int i = 0; i < KEY_D; i++) {
                state[i * DELTA_D + j] += k[i] / sqrt(k2) * write * (v[j] - old);
                out += state[i * DELTA_D + j] * q[i] / sqrt(q2) / sqrt(KEY_D);
            }
            z[h * DELTA_D + j] = out;
            squares += out * out / DELTA_D;
        }
        for (int j = 0; j < DELTA_D; j++) {
            const double gate = (double)in[COLUMNS + h * DELTA_D + j];
            z[h * DELTA_D + j] *=
                (double)r->norm[j] / sqrt(squares + (double)r->norm_eps) * gate / (1.0 + exp(-gate));
        }
    }
}

/* The same of the delta rule, with z on the gates. */
void test_recur(void **state)
{
    static const int parents[NODES] = {-1, 0, 1, 2, 3, 1, 5};
    bench b = begin(state);
    sah_error error = {0};
    const run_views v = begin_run(&b);
    float *x, *more, *vectors[4];
    numbers(&b, NODES * DELTA_ROW, &x);
    float *more_there = numbers(&b, ENDS * DELTA_ROW, &more);
    sah_recurrence r = {.n_heads = DELTA_H,
                        .head_dim = DELTA_D,
                        .key_heads = KEY_HEADS,
                        .key_dim = KEY_D,
                        .kernel = KERNEL,
                        .columns = COLUMNS,
                        .gate = COLUMNS,
                        .write = COLUMNS + VALUES,
                        .keep = COLUMNS + VALUES + DELTA_H,
                        .width = DELTA_ROW,
                        .norm_eps = 1e-3f,
                        .kept_each = DELTA_H * STATE + (KERNEL - 1) * COLUMNS};
    const size_t sizes[4] = {KERNEL * COLUMNS, DELTA_H, DELTA_H, DELTA_D};
    const float **to[4] = {&r.weights, &r.rate, &r.rate_bias, &r.norm};
    sah_recurrence plain = r;
    const float **plain_to[4] = {&plain.weights, &plain.rate, &plain.rate_bias, &plain.norm};
    for (int i = 0; i < 4; i++) {
        *to[i] = numbers(&b, sizes[i], &vectors[i]);
        *plain_to[i] = vectors[i];
    }
    double S[NODES][DELTA_H * STATE], want[NODES * VALUES], next[ENDS * VALUES];
    for (int at = 0; at < NODES; at++) {
        const float *seen[KERNEL];
        for (int j = 0; j < KERNEL; j++) {
            const int row = above(at, KERNEL - 1 - j);
            seen[j] = row >= 0 ? x + row * DELTA_ROW : NULL;
        }
        memset(S[at], 0, sizeof S[at]);
        if (parents[at] >= 0) memcpy(S[at], S[parents[at]], sizeof S[at]);
        plain_recur(&plain, x + at * DELTA_ROW, seen, S[at], want + at * VALUES);
    }
    for (int e = 0; e < ENDS; e++) {
        const float *seen[KERNEL] = {NULL};
        double own[DELTA_H * STATE];
        for (int j = 0; j < KERNEL - 1; j++) {
            const int row = above(END_NODE[e], KERNEL - 2 - j);
            seen[j] = row >= 0 ? x + row * DELTA_ROW : NULL;
        }
        seen[KERNEL - 1] = more + e * DELTA_ROW;
        memcpy(own, S[END_NODE[e]], sizeof own);
        plain_recur(&plain, more + e * DELTA_ROW, seen, own, next + e * VALUES);
    }
    r.kept = there(&b, NULL, (size_t)(ENDS * r.kept_each) * sizeof *r.kept);
    for (int way = 0; way < 2; way++) {
        r.rows = there(&b, x, NODES * DELTA_ROW * sizeof *x);
        r.z = way ? there(&b, NULL, ENDS * VALUES * sizeof *r.z) : r.rows + r.gate;
        r.z_stride = way ? VALUES : DELTA_ROW;
        assert_int_equal(b.device->recur(b.ws, &r, &v.nodes, &v.ends, way ? &v.ends : &v.nodes, &error),
                         SAH_OK);
        for (int i = 0; i < (way ? ENDS : NODES); i++)
            compare(&b, r.z + i * r.z_stride, want + (way ? END_NODE[i] : i) * VALUES, VALUES, 4 * CLOSE,
                    "recur");
    }
    r.rows = more_there;
    assert_int_equal(b.device->recur(b.ws, &r, &v.next, &v.next, &v.next, &error), SAH_OK);
    compare(&b, r.z, next, ENDS * VALUES, 4 * CLOSE, "recur, a row more");
    end_run(&b, &v);
    free(x);
    free(more);
    for (int i = 0; i < 4; i++) free(vectors[i]);
    end(&b);
}

void test_edit(void **state)
{
    enum { ROWS = 6, HEADS = 3, D = 5, HEAD = 1, STRIDE = HEADS * D + 2 };
    static const sah_edit scale = {.op = SAH_OP_SCALE, .factor = 0.25f}, mean = {.op = SAH_OP_MEAN};
    const sah_edit *edits[] = {NULL, &scale, &mean};
    bench b = begin(state);
    float *x;
    const sah_head_states states = {numbers(&b, ROWS * STRIDE, &x), STRIDE, ROWS, HEAD, HEADS, D};
    float *out = there(&b, NULL, ROWS * D * sizeof *out);
    for (int k = 0; k < 3; k++) {
        double want[ROWS * D];
        b.device->edit(b.ws, &states, edits[k], out);
        for (int i = 0; i < ROWS * D; i++) {
            const float *row = x + i / D * STRIDE + i % D;
            double own = (double)row[HEAD * D];
            double all = ((double)row[0] + (double)row[D] + (double)row[2 * D]) / HEADS;
            want[i] = k == 0 ? own : k == 1 ? 0.25 * own : all;
        }
        compare(&b, out, want, ROWS * D, CLOSE, "edit");
    }
    free(x);
    end(&b);
}

/* States that RoPE, with a factor, has turned to their positions: at a row's own position as if they had been turned
 * there at once. Rows without a source stay. */
void test_stand_in(void **state)
{
    enum { N = 6, DONORS = 5, HEADS = 3, D = 10, HEAD = 2, STRIDE = HEADS * D + 3, POSITIONS = 40 };
    static const int32_t source[N] = {4, -1, 0, 0, 3, 2}, from[DONORS] = {0, 7, 39, 2, 11},
                         to[N] = {39, 5, 0, 12, 2, 3};
    bench b = begin(state);
    for (int turn = 0; turn < 8; turn++) {
        const sah_rope rope = {.theta = 100,
                               .dims = turn % 2 ? 6 : 10,
                               .neighbours = turn >= 4,
                               .attention_factor = turn % 4 >= 2 ? 1.3f : 1.0f};
        const int half = rope.dims / 2;
        const bool turned = turn != 7, at_0 = turn == 3 || turn == 4, to_0 = turn == 2 || turn == 4;
        float *plain, *own, x[DONORS * STRIDE], angles[2 * POSITIONS * (D / 2)];
        double row[D], want[N * D];
        numbers(&b, DONORS * STRIDE, &plain);
        for (int i = 0; i < POSITIONS * half; i++) {
            double angle = i / half / pow((double)rope.theta, 2.0 * (i % half) / rope.dims);
            angles[i] = (float)((double)rope.attention_factor * cos(angle));
            angles[POSITIONS * half + i] = (float)((double)rope.attention_factor * sin(angle));
        }
        float *out = numbers(&b, N * D, &own),
              *cosine = there(&b, angles, (size_t)(2 * POSITIONS * half) * sizeof *angles);
        for (int i = 0; i < N * D; i++) want[i] = (double)own[i];
        memcpy(x, plain, sizeof x);
        for (int i = 0; i < DONORS; i++) {
            for (int j = 0; j < D; j++) row[j] = (double)plain[i * STRIDE + HEAD * D + j];
            if (turned) plain_rope(&rope, at_0 ? 0 : from[i], row);
            for (int j = 0; j < D; j++)
                x[i * STRIDE + HEAD * D + j] =
                    (float)(row[j] * (j < rope.dims && turned ? (double)rope.attention_factor : 1.0));
        }
        for (int r = 0; r < N; r++) {
            if (source[r] < 0) continue;
            for (int j = 0; j < D; j++) row[j] = (double)plain[source[r] * STRIDE + HEAD * D + j];
            if (turned) plain_rope(&rope, to_0 ? 0 : to[r], row);
            for (int j = 0; j < D; j++)
                want[r * D + j] = row[j] * (j < rope.dims && turned ? (double)rope.attention_factor : 1.0);
        }
        const sah_stand_in in = {.states = {there(&b, x, sizeof x), STRIDE, N, HEAD, HEADS, D},
                                 .source = there(&b, source, sizeof source),
                                 .rope = turned ? &rope : NULL,
                                 .angles = {cosine, cosine + POSITIONS * half},
                                 .from = at_0 ? NULL : there(&b, from, sizeof from),
                                 .to = to_0 ? NULL : there(&b, to, sizeof to)};
        b.device->stand_in(b.ws, &in, out);
        compare(&b, out, want, N * D, 2 * CLOSE, "stand in");
        free(plain);
        free(own);
    }
    end(&b);
}

static double plain_activation(const sah_config *c, double g, double u)
{
    double limit = (double)c->activation_limit;
    switch (c->activation) {
    case SAH_ACT_GELU:
        return 0.5 * g * erfc(-g / sqrt(2.0)) * u;
    case SAH_ACT_GELU_TANH:
        return 0.5 * g * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (g + 0.044715 * g * g * g))) * u;
    case SAH_ACT_RELU:
        return fmax(g, 0.0) * u;
    case SAH_ACT_RELU_SQUARED:
        return fmax(g, 0.0) * fmax(g, 0.0) * u;
    case SAH_ACT_CLAMPED_SWIGLU:
        g = fmin(g, limit);
        u = fmax(-limit, fmin(limit, u));
        return (u + 1.0) * g / (1.0 + exp(-(double)c->activation_alpha * g));
    default:
        return g / (1.0 + exp(-g)) * u;
    }
}

void test_activate(void **state)
{
    enum { ROWS = 12, WIDTH = 19 };
    for (int kind = SAH_ACT_SILU; kind <= SAH_ACT_CLAMPED_SWIGLU; kind++)
        for (int gated = kind == SAH_ACT_CLAMPED_SWIGLU; gated < 2; gated++) {
            bench b = begin(state);
            sah_config c = sah_config_neutral();
            c.activation = (sah_activation)kind;
            c.activation_limit = 0.7f;
            c.activation_alpha = 1.7f;
            c.gated = gated;
            float *x, *gates, *ups;
            float *x_there = numbers(&b, ROWS * WIDTH * 2, &x),
                  *out = there(&b, NULL, ROWS * WIDTH * sizeof *out);
            const float *gates_there = numbers(&b, WIDTH, &gates), *ups_there = numbers(&b, WIDTH, &ups);
            b.device->activate(b.ws, &c, WIDTH, gates_there, ups_there, ROWS, x_there, out);
            double want[ROWS * WIDTH];
            for (int i = 0; i < ROWS * WIDTH; i++) {
                const float *row = x + i / WIDTH * WIDTH * (gated ? 2 : 1);
                double up = (double)row[(gated ? WIDTH : 0) + i % WIDTH] + (double)ups[i % WIDTH];
                double gate = (double)row[i % WIDTH] + (double)gates[i % WIDTH];
                want[i] = gated ? plain_activation(&c, gate, up) : plain_activation(&c, up, 1.0);
            }
            compare(&b, out, want, ROWS * WIDTH, CLOSE, "activate");
            free(x);
            free(gates);
            free(ups);
            end(&b);
        }
}

void test_give(void **state)
{
    enum {
        N = 5,
        COPIES = 3,
        FROM = 3,
        ROWS = N * COPIES - FROM,
        WIDTH = 19,
        TOKENS = 7,
        STRIDE = WIDTH + 4
    };
    static const int32_t token[N] = {6, 0, 3, 3, 5};
    bench b = begin(state);
    float *given, *gates;
    const float *given_there = numbers(&b, TOKENS * STRIDE, &given),
                *gates_there = numbers(&b, ROWS * WIDTH, &gates);
    float *out = there(&b, NULL, ROWS * WIDTH * sizeof *out);
    sah_config c = sah_config_neutral();
    sah_view view = {.n = N};
    double want[ROWS * WIDTH];
    c.activation = SAH_ACT_GELU_TANH;
    for (int listed = 0; listed < 2; listed++) {
        view.given = listed ? there(&b, token, sizeof token) : NULL;
        b.device->give(b.ws, &c, &view, FROM, ROWS, WIDTH, given_there + 2, STRIDE, gates_there, out);
        for (int i = 0; i < ROWS * WIDTH; i++) {
            const int row = (FROM + i / WIDTH) % N;
            want[i] = plain_activation(&c, (double)gates[i],
                                       (double)given[(listed ? token[row] : row) * STRIDE + 2 + i % WIDTH]);
        }
        compare(&b, out, want, ROWS * WIDTH, CLOSE, "give");
    }
    free(given);
    free(gates);
    end(&b);
}

static void read_rows(const void *source, size_t row, size_t n, float *out)
{
    const float *values = source;
    memcpy(out, values + row * 33, n * 33 * sizeof *out);
}

void test_memory(void **state)
{
    bench b = begin(state);
    const uint64_t before = b.device->room();
    void *some = b.device->alloc(1 << 20);
    const uint64_t between = b.device->room();
    assert_non_null(some);
    if (before == 0) assert_true(between == 0); /* nobody knows */
    if (before > 0) assert_true(between <= before - (1 << 20));
    assert_true(sah_device_most(b.device, 0, 1000) == 1000);
    if (before > 0) {
        const uint64_t most = sah_device_most(b.device, between / 4, UINT64_MAX);
        assert_true(most > between / 4 && most <= between / 8 * 3 + 8);
        assert_true(sah_device_most(b.device, 2 * between, 1000) == 0);
    }
    b.device->free(some);
    end(&b);
}

void test_product(void **state)
{
    enum { OUTPUTS = 21, INPUTS = 33, ROWS = 9 };
    const double CLOSE_DIFFERENCE =
        1e-5 * INPUTS; /* of inputs that are differences 16 bits count, and more */
    bench b = begin(state);
    sah_error error = {0};
    sah_weights *weights = NULL;
    float *w, *x, *y;
    numbers(&b, OUTPUTS * INPUTS, &w);
    const float *x_there = numbers(&b, ROWS * INPUTS, &x);
    float *y_there = numbers(&b, ROWS * OUTPUTS, &y);
    assert_int_equal(sah_weights_new(b.device, OUTPUTS, INPUTS, (sah_packing){.precision = SAH_PRECISION_F32},
                                     read_rows, w, &weights, &error),
                     SAH_OK);
    double want[ROWS * OUTPUTS];
    for (int add = 1; add >= 0; add--) {
        assert_int_equal(sah_product(b.ws, weights, ROWS, x_there, y_there, add, &error), SAH_OK);
        for (int i = 0; i < ROWS * OUTPUTS; i++) {
            want[i] = add ? (double)y[i] : 0.0;
            for (int j = 0; j < INPUTS; j++)
                want[i] += (double)x[i / OUTPUTS * INPUTS + j] * (double)w[i % OUTPUTS * INPUTS + j];
        }
        compare(&b, y_there, want, ROWS * OUTPUTS, CLOSE, "product");
    }
    const sah_weights *other = sah_weights_difference(weights);
    assert_true((other != weights) == b.device->differs());
    assert_int_equal(other->outputs, OUTPUTS);
    assert_int_equal(sah_product(b.ws, other, ROWS, x_there, y_there, false, &error), SAH_OK);
    compare(&b, y_there, want, ROWS * OUTPUTS, CLOSE_DIFFERENCE, "product of differences");
    sah_weights_free(weights);
    free(w);
    free(x);
    free(y);
    end(&b);
}

static double plain_log_sum(const float *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += exp((double)x[i]);
    return log(sum);
}

void test_scores(void **state)
{
    enum { ROWS = 3, V = 1301 };
    bench b = begin(state);
    sah_error error = {0};
    float *x, *base_logits;
    float *x_there = numbers(&b, ROWS * V, &x), *base_there = numbers(&b, V, &base_logits);
    sah_kl_base base = {there(&b, NULL, V * sizeof(double)), 0.0};
    assert_int_equal(b.device->distribution(b.ws, base_there, V, &base, &error), SAH_OK);
    sah_row_score scores[ROWS] = {
        {&base, {4, -1}, 0, {0, 0}}, {NULL, {-1, 1300}, 0, {0, 0}}, {&base, {-1, -1}, 0, {0, 0}}};
    assert_int_equal(b.device->score(b.ws, x_there, ROWS, V, scores, &error), SAH_OK);
    assert_true(fabs(scores[0].kl - sah_kl_plain(base_logits, x, V)) < 1e-12);
    assert_true(fabs(scores[2].kl - sah_kl_plain(base_logits, x + 2 * V, V)) < 1e-12);
    assert_true(fabs(scores[0].log_p[0] - (double)x[4] + plain_log_sum(x, V)) < 1e-12);
    assert_true(fabs(scores[1].log_p[1] - (double)x[V + 1300] + plain_log_sum(x + V, V)) < 1e-12);

    const sah_row_score same = {&base, {-1, -1}, 1, {0, 0}};
    sah_row_score one = same;
    assert_int_equal(b.device->score(b.ws, base_there, 1, V, &one, &error), SAH_OK);
    assert_true(one.kl >= 0 && one.kl <= 0); /* not one bit off */

    b.device->softcap(b.ws, x_there, ROWS * V, 0.6f);
    double *want = malloc(ROWS * V * sizeof *want);
    for (int i = 0; i < ROWS * V; i++) want[i] = (double)0.6f * tanh((double)x[i] / (double)0.6f);
    compare(&b, x_there, want, ROWS * V, CLOSE, "softcap");
    free(want);

    x[7] = INFINITY;
    float *broken = there(&b, x, V * sizeof *x);
    one = (sah_row_score){&base, {3, -1}, 0, {0, 0}};
    assert_int_equal(b.device->score(b.ws, broken, 1, V, &one, &error), SAH_OK);
    assert_true(isnan(one.kl) && isnan(one.log_p[0]));
    assert_int_equal(b.device->distribution(b.ws, broken, V, &base, &error), SAH_OK);
    assert_true(isnan(base.log_p_sum));
    free(x);
    free(base_logits);
    end(&b);
}
