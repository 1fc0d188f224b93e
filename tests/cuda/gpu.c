/* SPDX-License-Identifier: Apache-2.0 */
/* gpu PLUGIN describe|test|bench [SHRINK]: a device by its plugin, on a machine that has none of the libraries that
 * Sahara needs (bench/gpu builds and runs it). `test`: every operation against plain loops, that a row's bits depend on
 * the row alone, and a sweep of a small model over all its heads against one in float64. `bench`: times at the shapes
 * of a model of 7 billion parameters, SHRINK times smaller. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda/plain/cmocka.h"
#include "engine/alone.h"
#include "engine/cuda/plugin.h"
#include "engine/operations.h"

static const sah_device *device;
static sah_error error;

static const sah_device *the_device(void)
{
    return device;
}

static void must(sah_status status)
{
    if (status != SAH_OK) fail_msg("%s", error.message);
}

static uint64_t state = 9;

static float number(void) /* in [-1, 1] */
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 40) * 0x1p-23 - 1.0);
}

static float *numbers(size_t n, float size)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = size * number();
    return x;
}

static float *there(const float *x, size_t n) /* x NULL: not filled */
{
    float *memory = device->alloc(n * sizeof *memory);
    if (memory == NULL) fail_msg("no memory on the card");
    if (x != NULL) must(device->upload(x, n * sizeof *x, memory, &error));
    return memory;
}

typedef struct matrix {
    float *values; /* [outputs, inputs] */
    int64_t inputs;
    sah_weights *packed;
} matrix;

static void read_matrix(const void *source, size_t row, size_t n, float *out)
{
    const matrix *m = source;
    const size_t inputs = (size_t)m->inputs;
    memcpy(out, m->values + row * inputs, n * inputs * sizeof *out);
}

static void pack(matrix *m, int64_t outputs, sah_precision precision)
{
    must(device->pack(outputs, &m->inputs, 1, (sah_packing){.precision = precision}, read_matrix, m,
                      &m->packed, &error));
}

/* ---- A sweep --------------------------------------------------------------------------------------------- */

enum { LAYERS = 3, H = 4, KV = 2, D = 16, WIDTH = 64, INNER = 96, V = 211, T = 9, QKV = (H + 2 * KV) * D };
enum { CANDIDATES = 1 + LAYERS * H }; /* the first is no edit */
static const float FACTOR = 1e-4f;

typedef struct layer {
    matrix qkv, o, gate_up, down;
    float *norm[2], *norm_there[2];
} layer;

typedef struct model {
    layer layers[LAYERS];
    matrix head;
    float *embedded; /* [T, WIDTH] */
    float *cosine, *sine; /* [T, D / 2] */
    float *angles_there; /* both */
    sah_config config;
    sah_rope rope;
} model;

static matrix random_matrix(int64_t outputs, int64_t inputs)
{
    matrix m = {numbers((size_t)(outputs * inputs), (float)(1.7 / sqrt((double)inputs))), inputs, NULL};
    pack(&m, outputs, SAH_PRECISION_F32);
    return m;
}

static void make_model(model *m)
{
    m->config = (sah_config){.d_model = WIDTH, .norm_eps = 1e-5f, .residual_scale = 1.0f, .gated = true};
    m->rope = (sah_rope){.dims = D};
    for (int l = 0; l < LAYERS; l++) {
        layer *own = &m->layers[l];
        own->qkv = random_matrix(QKV, WIDTH);
        own->o = random_matrix(WIDTH, H * D);
        own->gate_up = random_matrix(2 * INNER, WIDTH);
        own->down = random_matrix(WIDTH, INNER);
        for (int i = 0; i < 2; i++) {
            own->norm[i] = numbers(WIDTH, 2.0f);
            own->norm_there[i] = there(own->norm[i], WIDTH);
        }
    }
    m->head = random_matrix(V, WIDTH);
    m->embedded = numbers(T * WIDTH, 1.0f);
    m->cosine = numbers(T * D, 0.0f);
    m->sine = m->cosine + T * D / 2;
    for (int i = 0; i < T * D / 2; i++) {
        const double angle = i / (D / 2) / pow(100.0, 2.0 * (i % (D / 2)) / D);
        m->cosine[i] = (float)cos(angle);
        m->sine[i] = (float)sin(angle);
    }
    m->angles_there = there(m->cosine, T * D);
}

static void plain_product(const matrix *m, int64_t outputs, const double *x, double *y, bool add)
{
    for (int64_t o = 0; o < outputs; o++) {
        double sum = add ? y[o] : 0.0;
        for (int64_t i = 0; i < m->inputs; i++) sum += (double)m->values[o * m->inputs + i] * x[i];
        y[o] = sum;
    }
}

static void plain_norm(const float *weight, const double *x, double *y)
{
    double squares = 0;
    for (int i = 0; i < WIDTH; i++) squares += x[i] * x[i] / WIDTH;
    for (int i = 0; i < WIDTH; i++) y[i] = x[i] * (double)weight[i] / sqrt(squares + 1e-5);
}

/* The last token's logits in float64 under an edit of one head's q. */
static void plain_forward(const model *m, int edited, double logits[V])
{
    static double x[T][WIDTH], qkv[T][QKV];
    double y[WIDTH], z[H * D], inner[2 * INNER];
    for (int t = 0; t < T; t++)
        for (int i = 0; i < WIDTH; i++) x[t][i] = (double)m->embedded[t * WIDTH + i];
    for (int l = 0; l < LAYERS; l++) {
        const layer *own = &m->layers[l];
        for (int t = 0; t < T; t++) {
            plain_norm(own->norm[0], x[t], y);
            plain_product(&own->qkv, QKV, y, qkv[t], false);
            for (int h = 0; h < H + KV; h++)
                for (int i = 0; i < D / 2; i++) {
                    const double c = (double)m->cosine[t * D / 2 + i], s = (double)m->sine[t * D / 2 + i],
                                 f = h + l * H + 1 == edited && h < H ? (double)FACTOR : 1.0;
                    double *one = &qkv[t][h * D + i], *other = one + D / 2, a = *one * f, b = *other * f;
                    *one = a * c - b * s;
                    *other = b * c + a * s;
                }
        }
        for (int t = T - 1; t >= 0; t--) {
            for (int h = 0; h < H; h++) {
                double weight[T], sum = 0;
                const int k = (H + h / (H / KV)) * D, v = k + KV * D;
                for (int p = 0; p <= t; p++) {
                    double dot = 0;
                    for (int i = 0; i < D; i++) dot += qkv[t][h * D + i] * qkv[p][k + i];
                    sum += weight[p] = exp(dot / sqrt(D));
                }
                for (int i = 0; i < D; i++) {
                    z[h * D + i] = 0;
                    for (int p = 0; p <= t; p++) z[h * D + i] += weight[p] / sum * qkv[p][v + i];
                }
            }
            plain_product(&own->o, WIDTH, z, x[t], true);
        }
        for (int t = 0; t < T; t++) {
            plain_norm(own->norm[1], x[t], y);
            plain_product(&own->gate_up, 2 * INNER, y, inner, false);
            for (int i = 0; i < INNER; i++) inner[i] = inner[i] / (1.0 + exp(-inner[i])) * inner[INNER + i];
            plain_product(&own->down, WIDTH, inner, x[t], true);
        }
    }
    plain_norm(m->layers[0].norm[0], x[T - 1], y);
    plain_product(&m->head, V, y, logits, false);
}

/* Logits [n, V] on the device, of candidates first .. first + n - 1 as copies of the rows, one behind the other. */
static float *device_forward(const model *m, int first, int n)
{
    const int64_t rows = (int64_t)n * T;
    int32_t positions[T];
    sah_segment segments[CANDIDATES];
    int32_t path[CANDIDATES * T];
    sah_workspace *ws = NULL;
    float *x = there(NULL, (size_t)(rows * WIDTH)), *normed = there(NULL, (size_t)(rows * WIDTH)),
          *qkv = there(NULL, (size_t)(rows * QKV)), *z = there(NULL, (size_t)(rows * H * D)),
          *inner = there(NULL, (size_t)(rows * 2 * INNER)), *active = there(NULL, (size_t)(rows * INNER)),
          *edited = there(NULL, T * D), *last = there(NULL, (size_t)(n * WIDTH)),
          *logits = there(NULL, (size_t)(n * V));
    must(sah_workspace_new(device, 1, &ws, &error));
    for (int32_t i = 0; i < n * T; i++) path[i] = i;
    for (int32_t t = 0; t < T; t++) positions[t] = t;
    for (int32_t i = 0; i < n; i++) segments[i] = (sah_segment){i * T, T, 0, path + i * T};
    sah_view view = {.n = T, .n_segments = n};
    const void *lent;
    must(sah_device_lend(device, positions, T, sizeof *positions, &lent, &error));
    view.position = lent;
    must(sah_device_lend_segments(device, segments, n, &view.segments, &error));
    for (int i = 0; i < n; i++)
        must(device->upload(m->embedded, T * WIDTH * sizeof *x, x + (int64_t)i * T * WIDTH, &error));
    for (int l = 0; l < LAYERS; l++) {
        const layer *own = &m->layers[l];
        device->norm(ws, &m->config, &(sah_norm){own->norm_there[0], NULL}, x, rows, normed);
        must(sah_product(ws, own->qkv.packed, rows, normed, qkv, false, &error));
        for (int c = first; c < first + n; c++) {
            const int head = c - 1 - l * H;
            float *own_rows = qkv + (int64_t)(c - first) * T * QKV;
            if (head < 0 || head >= H) continue;
            device->edit(ws, &(sah_head_states){own_rows, QKV, T, head, H, D},
                         &(sah_edit){.op = SAH_OP_SCALE, .factor = FACTOR}, edited);
            device->copy(ws, (sah_rows){edited, D, NULL}, T, D, own_rows + head * D, QKV, NULL);
        }
        const sah_rotation rotation = {.q_heads = H,
                                       .k_heads = KV,
                                       .v_heads = KV,
                                       .head_dim = D,
                                       .rope = &m->rope,
                                       .angles = {m->angles_there, m->angles_there + T * D / 2}};
        device->rotate(ws, &m->config, &rotation, &view, 0, rows, QKV, qkv);
        const sah_attention at = {.n_heads = H,
                                  .n_kv_heads = KV,
                                  .head_dim = D,
                                  .scale = 0.25f,
                                  .q = qkv,
                                  .q_stride = QKV,
                                  .k = qkv + H * D,
                                  .v = qkv + (H + KV) * D,
                                  .k_stride = QKV,
                                  .v_stride = QKV,
                                  .z = z,
                                  .z_stride = H * D};
        must(device->attend(ws, &at, &view, &error));
        must(sah_product(ws, own->o.packed, rows, z, x, true, &error));
        device->norm(ws, &m->config, &(sah_norm){own->norm_there[1], NULL}, x, rows, normed);
        must(sah_product(ws, own->gate_up.packed, rows, normed, inner, false, &error));
        device->activate(ws, &m->config, INNER, NULL, NULL, rows, inner, active);
        must(sah_product(ws, own->down.packed, rows, active, x, true, &error));
    }
    device->copy(ws, (sah_rows){x + (T - 1) * WIDTH, T * WIDTH, NULL}, n, WIDTH, last, WIDTH, NULL);
    device->norm(ws, &m->config, &(sah_norm){m->layers[0].norm_there[0], NULL}, last, n, last);
    must(sah_product(ws, m->head.packed, n, last, logits, false, &error));
    sah_device_forget(device, view.position);
    sah_device_forget(device, view.segments);
    sah_workspace_free(ws);
    float *all[] = {x, normed, qkv, z, inner, active, edited, last};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) device->free(all[i]);
    return logits;
}

static double plain_kl(const double *base, const double *logits)
{
    double base_sum = 0, sum = 0, kl = 0;
    for (int i = 0; i < V; i++) {
        base_sum += exp(base[i]);
        sum += exp(logits[i]);
    }
    for (int i = 0; i < V; i++) {
        const double p = exp(base[i]) / base_sum + 1e-12, q = exp(logits[i]) / sum + 1e-12;
        kl += p * log(p / q);
    }
    return kl;
}

static void test_sweep(void)
{
    static model m;
    static double want[CANDIDATES][V];
    static float together[CANDIDATES * V], one[V];
    double worst = 0;
    make_model(&m);
    float *logits = device_forward(&m, 0, CANDIDATES);
    must(device->download(logits, sizeof together, together, &error));
    sah_workspace *ws = NULL;
    must(sah_workspace_new(device, 1, &ws, &error));
    sah_kl_base base = {device->alloc(V * sizeof(double)), 0.0};
    sah_row_score scores[CANDIDATES];
    must(device->distribution(ws, logits, V, &base, &error));
    for (int i = 0; i < CANDIDATES; i++) scores[i] = (sah_row_score){.base = &base, .token = {-1, -1}};
    must(device->score(ws, logits, CANDIDATES, V, scores, &error));
    for (int i = 0; i < CANDIDATES; i++) {
        plain_forward(&m, i, want[i]);
        const double kl = plain_kl(want[0], want[i]);
        if (!(fabs(scores[i].kl - kl) <= 1e-4 * kl + 1e-9))
            fail_msg("candidate %d scores %.9g, not %.9g", i, scores[i].kl, kl);
        if (kl > 0) worst = fmax(worst, fabs(scores[i].kl / kl - 1));
        float *alone = device_forward(&m, i, 1);
        must(device->download(alone, sizeof one, one, &error));
        device->free(alone);
        if (memcmp(one, together + i * V, sizeof one) != 0)
            fail_msg("candidate %d has other bits alone than in company", i);
    }
    printf("a sweep over %d heads: within %.2g of float64, the same bits alone and in company\n",
           CANDIDATES - 1, worst);
    device->free(logits);
    device->free(base.p);
    sah_workspace_free(ws);
}

/* ---- Times ----------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void wait_for(const float *x)
{
    float first;
    must(device->download(x, sizeof first, &first, &error));
}

/* Rows that are all alike. */
static float *alike(sah_workspace *ws, const float *row, int64_t rows, int64_t width)
{
    float *out = there(NULL, (size_t)(rows * width)), *one = there(row, (size_t)width);
    device->copy(ws, (sah_rows){one, 0, NULL}, rows, width, out, width, NULL);
    device->free(one);
    return out;
}

/* Seconds of a product, the best of three; weights as a checkpoint of a type has them. `difference`: as sweeps do it by
 * differences, inputs and outputs of the base beside it. */
static double time_product(int64_t rows, int64_t outputs, int64_t inputs, sah_precision precision,
                           unsigned mask, bool difference)
{
    matrix m = {numbers((size_t)(outputs * inputs), 0.02f), inputs, NULL};
    for (int64_t i = 0; i < outputs * inputs; i++) {
        uint32_t bits;
        memcpy(&bits, &m.values[i], sizeof bits);
        bits &= mask;
        memcpy(&m.values[i], &bits, sizeof bits);
    }
    pack(&m, outputs, precision);
    sah_workspace *ws = NULL;
    double best = 1e9;
    must(sah_workspace_new(device, 1, &ws, &error));
    const sah_weights *weights = difference ? sah_weights_difference(m.packed) : m.packed;
    float *row = numbers((size_t)(inputs + outputs), 1.0f), *x = alike(ws, row, rows, inputs),
          *y = there(NULL, (size_t)(rows * outputs)),
          *x_base = difference ? alike(ws, row, rows, inputs) : NULL,
          *y_base = difference ? alike(ws, row, rows, outputs) : NULL;
    for (int i = 0; i < 4; i++) {
        const double start = now();
        for (int k = 0; k < 4; k++) {
            if (difference) {
                device->add(ws, (sah_rows){x_base, inputs, NULL}, rows, inputs, -1.0f, x);
                device->copy(ws, (sah_rows){y_base, outputs, NULL}, rows, outputs, y, outputs, NULL);
            }
            must(sah_product(ws, weights, rows, x, y, difference, &error));
        }
        wait_for(y);
        const double spent = (now() - start) / 4;
        if (i > 0 && spent < best) best = spent;
    }
    sah_workspace_free(ws);
    sah_weights_free(m.packed);
    device->free(x);
    device->free(y);
    if (difference) device->free(x_base);
    if (difference) device->free(y_base);
    free(row);
    free(m.values);
    return best;
}

/* Seconds of all of a layer but its products: rows of prompts of 20 tokens, 32 heads 128 wide. */
static double time_rest(int64_t rows, int64_t d, int64_t inner)
{
    enum { LENGTH = 20, WIDE = 128 };
    const int32_t n = (int32_t)(rows / LENGTH), heads = (int32_t)(d / WIDE > 0 ? d / WIDE : 1);
    const int64_t width = 3 * (int64_t)heads * WIDE;
    sah_config c = {.d_model = (int)d, .norm_eps = 1e-5f, .residual_scale = 1.0f, .gated = true};
    const sah_rope rope = {.dims = WIDE};
    int32_t *positions = malloc((size_t)rows * sizeof *positions),
            *path = malloc((size_t)rows * sizeof *path);
    sah_segment *segments = malloc((size_t)n * sizeof *segments);
    assert_true(positions && path && segments && n > 0);
    for (int32_t i = 0; i < n * LENGTH; i++) positions[i] = i % LENGTH, path[i] = i;
    for (int32_t i = 0; i < n; i++) segments[i] = (sah_segment){i * LENGTH, LENGTH, 0, path + i * LENGTH};
    float *zeros = numbers((size_t)(LENGTH * WIDE + 2 * inner), 0.0f), *x = there(NULL, (size_t)(rows * d)),
          *y = there(NULL, (size_t)(rows * d)), *qkv = there(NULL, (size_t)(rows * width)),
          *gates = there(NULL, (size_t)(2 * rows * inner)),
          *small = there(zeros, (size_t)(LENGTH * WIDE + 2 * inner));
    sah_workspace *ws = NULL;
    must(sah_workspace_new(device, 1, &ws, &error));
    device->copy(ws, (sah_rows){small, 0, NULL}, rows, d, x, d, NULL);
    device->copy(ws, (sah_rows){small, 0, NULL}, rows * 3 * heads, WIDE, qkv, WIDE, NULL);
    device->copy(ws, (sah_rows){small, 0, NULL}, rows, 2 * inner, gates, 2 * inner, NULL);
    sah_view view = {.n = rows, .n_segments = n};
    const void *lent;
    must(sah_device_lend(device, positions, (size_t)rows, sizeof *positions, &lent, &error));
    view.position = lent;
    must(sah_device_lend_segments(device, segments, n, &view.segments, &error));
    const sah_rotation rotation = {.q_heads = heads,
                                   .k_heads = heads,
                                   .v_heads = heads,
                                   .head_dim = WIDE,
                                   .rope = &rope,
                                   .angles = {small, small}};
    const sah_attention at = {.n_heads = heads,
                              .n_kv_heads = heads,
                              .head_dim = WIDE,
                              .scale = 0.1f,
                              .q = qkv,
                              .q_stride = width,
                              .k = qkv + width / 3,
                              .k_stride = width,
                              .v = qkv + 2 * width / 3,
                              .v_stride = width,
                              .z = qkv,
                              .z_stride = width};
    double spent = 0;
    for (int i = 0; i < 2; i++) { /* the first warms up */
        const double start = now();
        device->norm(ws, &c, &(sah_norm){small, NULL}, x, rows, y);
        device->rotate(ws, &c, &rotation, &view, 0, rows, width, qkv);
        must(device->attend(ws, &at, &view, &error));
        device->norm(ws, &c, &(sah_norm){small, NULL}, x, rows, y);
        device->activate(ws, &c, inner, NULL, NULL, rows, gates, gates);
        wait_for(y);
        spent = now() - start;
    }
    sah_device_forget(device, view.position);
    sah_device_forget(device, view.segments);
    sah_workspace_free(ws);
    float *all[] = {x, y, qkv, gates, small};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) device->free(all[i]);
    free(zeros);
    free(positions);
    free(path);
    free(segments);
    return spent;
}

static void bench(int64_t shrink)
{
    const int64_t d = 4096 / shrink, inner = 11008 / shrink, vocabulary = 32000 / shrink,
                  rows = 4080 / shrink / 20 * 20, square = 8192 / shrink;
    const struct {
        const char *name;
        unsigned mask;
    } kinds[] = {{"bfloat16", 0xffff0000u}, {"float16", 0xffffe000u}, {"float32", 0xffffffffu}};
    const int64_t shapes[][2] = {{3 * d, d}, {d, d}, {2 * inner, d}, {d, inner}};
    const double peak = 2.0 * (double)square * (double)square * (double)square /
                        time_product(square, square, square, SAH_PRECISION_BF16, 0xffff0000u, false);
    printf("bfloat16 products of %lld: %.1f TFLOP/s, taken for the peak\n", (long long)square, peak / 1e12);
    const double rest = time_rest(rows, d, inner);
    for (int kind = 0; kind < 3; kind++) {
        double seconds = 0, operations = 0, differences = 0;
        for (int i = 0; i < 4; i++) {
            seconds +=
                time_product(rows, shapes[i][0], shapes[i][1], SAH_PRECISION_F32, kinds[kind].mask, false);
            differences +=
                time_product(rows, shapes[i][0], shapes[i][1], SAH_PRECISION_F32, kinds[kind].mask, true);
            operations += 2.0 * (double)rows * (double)shapes[i][0] * (double)shapes[i][1];
        }
        const double head = time_product(100, vocabulary, d, SAH_PRECISION_F32, kinds[kind].mask, false);
        printf("weights of %s, %lld rows: a layer's products %.3f ms (%.1f TFLOP/s of float32, %.1f %% of "
               "the peak), by differences %.3f ms, all else %.3f ms, 100 rows of logits %.3f ms\n",
               kinds[kind].name, (long long)rows, 1e3 * seconds, operations / seconds / 1e12,
               100.0 * operations / seconds / peak, 1e3 * differences, 1e3 * rest, 1e3 * head);
        if (shrink > 1) continue;
        /* 1024 heads of 32 layers, each with half of them above it, on 100 queries that are a tree of 1000 nodes */
        const double all =
            1024.0 *
            (1000.0 / (double)rows * 16.5 * ((device->differs() ? differences : seconds) + rest) + head);
        printf("    by that, 100 queries and all 1024 heads: %.0f s\n", all);
    }
}

int main(int argc, char **argv)
{
    static const sah_device *(*of)(void) = the_device;
    void *given = &of;
    char description[160];
    if (argc < 3) fail_msg("usage: gpu PLUGIN describe|test|bench [SHRINK]");
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fail_msg("%s", dlerror());
    void *symbol = dlsym(library, SAH_PLUGIN_SYMBOL);
    sah_plugin_fn get;
    if (symbol == NULL) fail_msg("%s is no plugin", argv[1]);
    memcpy(&get, &symbol, sizeof get);
    if (!sah_plugin_fits(get())) fail_msg("%s is of another version", argv[1]);
    if (get()->open(&device, description, sizeof description, &error) != SAH_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%s\n", description);
    fflush(stdout);
    if (strcmp(argv[2], "test") == 0) {
        void (*const tests[])(void **) = {
            test_copy_add_scale,   test_convolve,       test_recur,   test_give,   test_scatter_weigh_clear,
            test_norm_join,        test_rotate,         test_attend,  test_edit,   test_stand_in,
            test_activate,         test_memory,         test_product, test_scores, test_products_alone,
            test_rounded_products, test_attention_alone};
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tests[i](&given);
        printf("every operation: as plain loops have it\n");
        test_sweep();
    }
    if (strcmp(argv[2], "bench") == 0) bench(argc > 3 ? atoi(argv[3]) : 1);
    return 0;
}
