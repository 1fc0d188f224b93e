/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation of every device against plain loops in float64; and passes on a device whose memory the host cannot
 * touch against the CPU's, to the last bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/device.h"
#include "engine/cpu/cpu.h"
#include "engine/cpu/kl.h"
#include "engine/decode.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/sweep.h"
#include "models/far.h"
#include "models/random_model.h"
#include "util/splitmix.h"

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
    assert_int_equal(far_held() + emulated_held(), 0);
}

/* ---- Operations ---------------------------------------------------------------------------------------- */

static void test_copy_add_scale(void **state)
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

static void plain_norm(const sah_config *c, const float *weight, const float *bias, const double *x,
                       double *y)
{
    double mean = 0, squares = 0;
    int d = c->d_model;
    for (int i = 0; i < d && c->norm == SAH_NORM_LAYER; i++) mean += x[i] / d;
    for (int i = 0; i < d; i++) squares += (x[i] - mean) * (x[i] - mean) / d;
    for (int i = 0; i < d; i++)
        y[i] = (x[i] - mean) / sqrt(squares + (double)c->norm_eps) * (double)weight[i] +
               (bias ? (double)bias[i] : 0.0);
}

static void test_norm_join(void **state)
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
    for (int i = 0; i < n; i++) x[i] *= (weight ? (double)weight[i] : 1.0) / sqrt(squares + eps);
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

static void test_rotate(void **state)
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
                if (rotation.rope) plain_rope(&rope, positions[(FROM + r) % N], head);
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
                double weight[8], sum = at.sinks ? exp((double)sinks[h]) : 0.0;
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
                    if (at.gate) out /= 1.0 + exp(-(double)x[own * row + wide + h * D + j]);
                    want[h * D + j] = out;
                }
            }
            compare(b, z + own * wide, want, (size_t)wide, CLOSE, "attend");
        }
    sah_device_forget(b->device, view.segments);
    free(x);
    free(sinks);
}

static void test_attend(void **state)
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

static void test_edit(void **state)
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

static void test_activate(void **state)
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

static void read_rows(const void *source, size_t row, size_t n, float *out)
{
    const float *values = source;
    memcpy(out, values + row * 33, n * 33 * sizeof *out);
}

static void test_product(void **state)
{
    enum { OUTPUTS = 21, INPUTS = 33, ROWS = 9 };
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

static void test_scores(void **state)
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

/* ---- Passes -------------------------------------------------------------------------------------------- */

enum { N_PROMPTS = 4, STEPS = 3 };
static const int32_t TOKENS[][9] = {
    {3, 1, 4, 1, 5, 9}, {3, 1, 4, 7, 8}, {3, 1}, {20, 21, 22, 23, 24, 25, 26, 27, 28}};
static const sah_prompt PROMPTS[N_PROMPTS] = {{.tokens = TOKENS[0], .n = 6},
                                              {.tokens = TOKENS[1], .n = 5},
                                              {.tokens = TOKENS[2], .n = 2},
                                              {.tokens = TOKENS[3], .n = 9}};
static const sah_edit BASE[] = {{1, 2, SAH_PART_Q, SAH_OP_SCALE, 0.3f},
                                {2, 0, SAH_PART_K, SAH_OP_MEAN, 0},
                                {3, 1, SAH_PART_V, SAH_OP_SCALE, 0.0f}};
enum { N_BASE = sizeof BASE / sizeof *BASE };

typedef struct record {
    float *numbers;
    size_t n, room;
} record;

static void keep(record *r, const float *x, size_t n)
{
    assert_true(r->n + n <= r->room);
    memcpy(r->numbers + r->n, x, n * sizeof *x);
    r->n += n;
}

static void see(void *ctx, sah_place place, int layer, const double *rows)
{
    record *r = ctx;
    (void)layer;
    if (place == SAH_PLACE_HEADS) return; /* whose width the layers may differ in */
    float first = (float)rows[0];
    keep(r, &first, 1);
}

typedef struct taken {
    record *record;
    size_t width; /* of a candidate */
} taken;

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    taken *t = ctx;
    (void)error;
    keep(t->record, hidden, t->width);
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *ws, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    taken *t = ctx;
    (void)thread, (void)ws, (void)which, (void)error;
    keep(t->record, hidden, (size_t)n * t->width);
    return SAH_OK;
}

/* Everything that a model computes, one behind the other. */
static record all_passes(const sah_model *model)
{
    const sah_config *c = &model->config;
    const size_t d = (size_t)c->d_model, V = (size_t)c->n_vocab;
    sah_error error = {0};
    record r = {.room = 1 << 18};
    r.numbers = calloc(r.room, sizeof *r.numbers);
    float *hidden = calloc(N_PROMPTS * d, sizeof *hidden), *logits = calloc(N_PROMPTS * V, sizeof *logits);
    sah_forest *forest = NULL;
    assert_int_equal(sah_forest_new(PROMPTS, N_PROMPTS, c->n_vocab, &forest, &error), SAH_OK);
    assert_int_equal(sah_forward(model, forest, BASE, N_BASE, hidden, &error), SAH_OK);
    keep(&r, hidden, N_PROMPTS * d);
    assert_int_equal(sah_forward_ends(model, forest, NULL, 0, hidden, &error), SAH_OK);
    keep(&r, hidden, (size_t)forest->n_ends * d);
    assert_int_equal(sah_forward_observe(model, forest, BASE, N_BASE, &(sah_observer){see, &r}, &error),
                     SAH_OK);

    const sah_tokens tokens = {TOKENS[0], 6};
    float *residual = calloc((size_t)(c->n_layers + 1) * d, sizeof *residual);
    assert_int_equal(sah_hidden_states(model, &tokens, 1, BASE, N_BASE, residual, hidden, &error), SAH_OK);
    keep(&r, residual, (size_t)(c->n_layers + 1) * d);
    keep(&r, hidden, d);
    free(residual);
    assert_int_equal(sah_logits(model, TOKENS[3], 9, BASE, N_BASE, logits, &error), SAH_OK);
    keep(&r, logits, V);

    sah_candidate candidates[64];
    int n = 0;
    for (int l = 0; l < c->n_layers; l++)
        for (int h = 0; h < c->n_heads; h++) {
            const sah_ablation ablation = {h % 2 ? SAH_PART_Q | SAH_PART_V : SAH_PART_Q,
                                           l % 2 ? SAH_OP_MEAN : SAH_OP_SCALE, 0.1f};
            candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, &ablation);
        }
    taken t = {&r, N_PROMPTS * d};
    assert_int_equal(sah_sweep(model, forest, BASE, N_BASE, candidates, (size_t)n, NULL,
                               &(sah_sink){&t, take_base, take}, &error),
                     SAH_OK);
    sah_forest_free(forest);

    sah_decoding *decoding = NULL;
    assert_int_equal(
        sah_decoding_new(model, PROMPTS, N_PROMPTS, STEPS, BASE, N_BASE, NULL, &decoding, &error), SAH_OK);
    for (int i = 0; i < STEPS; i++) {
        int32_t live;
        int32_t next[N_PROMPTS] = {5, 6, i == 1 ? -1 : 7, 8};
        sah_decoding_live(decoding, &live);
        keep(&r, sah_decoding_hidden(decoding), (size_t)live * d);
        if (live < N_PROMPTS) next[2] = 9;
        assert_int_equal(sah_decoding_step(decoding, next, &error), SAH_OK);
    }
    sah_decoding_free(decoding);
    free(hidden);
    free(logits);
    return r;
}

static random_shape plain_shape(void)
{
    return (random_shape){.config = random_config()};
}

static random_shape
gemma_shape(void) /* all norms, caps, scales, a window in every other layer, tied scales of logits */
{
    random_shape s = plain_shape();
    s.norms_behind = true;
    s.config.qk_norm = SAH_QK_NORM_HEAD;
    s.config.attention_softcap = 2;
    s.config.final_softcap = 1.5f;
    s.config.logit_scale = 0.5f;
    s.config.embedding_scale = 6.25f;
    s.config.activation = SAH_ACT_GELU_TANH;
    s.kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++)
        s.kinds[l] = (sah_layer_kind){.window = l % 2 ? 0 : 4, .head_dim = 12, .n_kv_heads = 2};
    return s;
}

static random_shape
neox_shape(void) /* layer norms, biases, a parallel residual, nothing gated, part of a head rotated */
{
    random_shape s = plain_shape();
    s.config.norm = SAH_NORM_LAYER;
    s.norm_biases = true;
    s.config.qkv_bias = s.config.o_bias = s.config.mlp_bias = true;
    s.config.gated = false;
    s.config.activation = SAH_ACT_GELU;
    s.config.residual = SAH_RESIDUAL_PARALLEL;
    s.config.ropes[0].dims = 8;
    s.sinks = true;
    return s;
}

enum { N_SHAPES = 3 };
static random_shape (*const SHAPES[N_SHAPES])(void) = {plain_shape, gemma_shape, neox_shape};

static record passes_on(const sah_device *device, size_t shape)
{
    const random_shape made = SHAPES[shape]();
    const sah_model_options one = {.threads = 1};
    sah_error error = {0};
    sah_model *model = NULL;
    if (random_model_on(&made, device, &one, 11, &model, &error) != SAH_OK) fail_msg("%s", error.message);
    record r = all_passes(model);
    sah_model_close(model);
    assert_int_equal(far_held() + emulated_held(), 0);
    return r;
}

static void test_passes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SHAPES; i++) {
        record a = passes_on(sah_cpu(), i), b = passes_on(far_device(), i);
        assert_int_equal(a.n, b.n);
        for (size_t k = 0; k < a.n; k++)
            if (memcmp(&a.numbers[k], &b.numbers[k], sizeof(float)) != 0)
                fail_msg("shape %zu: number %zu of %zu is %.9g, not %.9g", i, k, a.n, (double)b.numbers[k],
                         (double)a.numbers[k]);
        free(a.numbers);
        free(b.numbers);
    }
}

/* Sums in another order: as near to the CPU's as float32 is to itself. */
static void test_passes_on_cuda(void **state)
{
    const sah_device *(*const of[])(void) = {emulated_by_pieces, emulated_by_float32};
    (void)state;
    for (size_t i = 0; i < 2 * N_SHAPES; i++) {
        record a = passes_on(sah_cpu(), i / 2), b = passes_on(of[i % 2](), i / 2);
        double largest = 0;
        assert_int_equal(a.n, b.n);
        for (size_t k = 0; k < a.n; k++) largest = fmax(largest, fabs((double)a.numbers[k]));
        for (size_t k = 0; k < a.n; k++)
            if (!(fabs((double)a.numbers[k] - (double)b.numbers[k]) <= 1e-5 * largest))
                fail_msg("shape %zu, way %zu: number %zu of %zu is %.9g, not %.9g (the largest %.3g)", i / 2,
                         i % 2, k, a.n, (double)b.numbers[k], (double)a.numbers[k], largest);
        free(a.numbers);
        free(b.numbers);
    }
}

static void test_refused(void **state)
{
    random_shape shape = plain_shape();
    const sah_model_options one = {.threads = 1};
    sah_error error = {0};
    sah_model *model = NULL;
    (void)state;
    shape.config.experts = (sah_experts){.n = 4, .active = 2, .width = 8};
    shape.kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++)
        shape.kinds[l] = (sah_layer_kind){.head_dim = 12, .n_kv_heads = 2, .experts = true};
    assert_int_equal(random_model_on(&shape, far_device(), &one, 1, &model, &error), SAH_NOT_SUPPORTED);
    assert_string_equal(error.message,
                        "this model has mixtures of experts, which only the CPU computes, not far");

    shape = plain_shape();
    assert_int_equal(random_model_on(&shape, far_device(), &one, 1, &model, &error), SAH_OK);
    float logits[50];
    const sah_edit swap = {1, 0, SAH_PART_V, SAH_OP_SWAP, 0};
    const sah_tokens donor = {TOKENS[1], 5};
    assert_int_equal(sah_logits_interchanged(model, TOKENS[0], 6, &swap, 1,
                                             &(sah_donor_prompts){&donor, 1, false}, logits, &error),
                     SAH_NOT_SUPPORTED);
    assert_string_equal(error.message,
                        "swap needs states of other prompts, which only the CPU takes, not far");
    sah_model_close(model);
    assert_int_equal(far_held(), 0);
}

int main(void)
{
    static const sah_device *(*cpu)(void) = sah_cpu, *(*far)(void) = far_device,
                            *(*pieces)(void) = emulated_by_pieces, *(*float32)(void) = emulated_by_float32;
    const struct CMUnitTest tests[] = {
#define ON_ALL(test)                                                                                         \
    {#test " on cpu", test, NULL, NULL, &cpu}, {#test " on far", test, NULL, NULL, &far},                    \
        {#test " on cuda by pieces", test, NULL, NULL, &pieces},                                             \
        {#test " on cuda by float32", test, NULL, NULL, &float32}
        ON_ALL(test_copy_add_scale),
        ON_ALL(test_norm_join),
        ON_ALL(test_rotate),
        ON_ALL(test_attend),
        ON_ALL(test_edit),
        ON_ALL(test_activate),
        ON_ALL(test_product),
        ON_ALL(test_scores),
        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_passes_on_cuda),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
