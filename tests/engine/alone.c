/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/alone.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const sah_device *device_of(void **state)
{
    return (*(const sah_device *(**)(void)) * state)();
}

/* ---- Products -------------------------------------------------------------------------------------------- */

enum { OUTPUTS = 70, INPUTS = 75, ROWS = 50 };

static uint64_t seed = 5;

static float number(void) /* in [-1, 1] */
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 40) * 0x1p-23 - 1.0);
}

static float kept(float x, int bits) /* the leading bits of it */
{
    int exponent;
    double part = frexp((double)x, &exponent);
    return (float)ldexp(rint(ldexp(part, bits)), exponent - bits);
}

static void read_weights(const void *source, size_t row, size_t n, float *out)
{
    memcpy(out, (const float *)source + row * INPUTS, n * INPUTS * sizeof *out);
}

/* y [rows, OUTPUTS] of rows [from, + rows) of x; y begins `off` numbers behind a boundary. */
static void multiply(const sah_device *device, const sah_weights *weights, const float *x, int from, int rows,
                     int off, bool add, float *y)
{
    sah_error error = {0};
    sah_workspace *ws = NULL;
    const size_t in = (size_t)(rows * INPUTS) * sizeof *x, out = (size_t)(rows * OUTPUTS) * sizeof *y;
    assert_int_equal(sah_workspace_new(device, 1, &ws, &error), SAH_OK);
    float *x_there = device->alloc(in), *y_there = device->alloc(out + (size_t)off * sizeof *y);
    assert_int_equal(device->upload(x + from * INPUTS, in, x_there, &error), SAH_OK);
    assert_int_equal(device->upload(y, out, y_there + off, &error), SAH_OK);
    if (sah_product(ws, weights, rows, x_there, y_there + off, add, &error) != SAH_OK)
        fail_msg("%s", error.message);
    assert_int_equal(device->download(y_there + off, out, y, &error), SAH_OK);
    device->free(x_there);
    device->free(y_there);
    sah_workspace_free(ws);
}

/* The whole error of a product, as a share of the sum of what is added up. */
static double error_of(const float *x, const float *w, const float *y)
{
    double worst = 0;
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUTPUTS; o++) {
            double sum = 0, size = 0;
            for (int i = 0; i < INPUTS; i++) {
                const double product = (double)x[r * INPUTS + i] * (double)w[o * INPUTS + i];
                sum += product;
                size += fabs(product);
            }
            worst = fmax(worst, fabs((double)y[r * OUTPUTS + o] - sum) / size);
        }
    return worst;
}

/* Rows in any company, anywhere, get the same bits. */
static void check_company(const sah_device *device, const sah_weights *weights, const float *x)
{
    static float all[ROWS * OUTPUTS], some[ROWS * OUTPUTS], before[ROWS * OUTPUTS];
    for (int i = 0; i < ROWS * OUTPUTS; i++) before[i] = number();
    memcpy(all, before, sizeof all);
    multiply(device, weights, x, 0, ROWS, 0, true, all);
    for (int from = 0, n = 1, off = 0; from < ROWS; from += n, n = n % 23 + 6, off = (off + 1) % 5) {
        if (n > ROWS - from) n = ROWS - from;
        memcpy(some, before + from * OUTPUTS, (size_t)(n * OUTPUTS) * sizeof *some);
        multiply(device, weights, x, from, n, off, true, some);
        assert_memory_equal(some, all + from * OUTPUTS, (size_t)(n * OUTPUTS) * sizeof *some);
    }
}

/* Weights with the bits of bfloat16, of float16 and of float32: they lose nothing; and what differences lose. */
void test_products_alone(void **state)
{
    static const int bits[] = {8, 11, 24};
    static float w[OUTPUTS * INPUTS], x[ROWS * INPUTS], all[ROWS * OUTPUTS];
    const sah_device *device = device_of(state);
    for (int kind = 0; kind < 3; kind++) {
        const int64_t inputs = INPUTS;
        sah_weights *weights = NULL;
        sah_error error = {0};
        for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = kept(number(), bits[kind]);
        w[3] = kept(3e-6f, bits[kind] == 11 ? 6 : 8); /* below float16's normal range */
        for (int i = 0; i < ROWS * INPUTS; i++) x[i] = number();
        if (device->pack(OUTPUTS, &inputs, 1, (sah_packing){.precision = SAH_PRECISION_F32}, read_weights, w,
                         &weights, &error) != SAH_OK)
            fail_msg("%s", error.message);
        multiply(device, weights, x, 0, ROWS, 0, false, all);
        if (!(error_of(x, w, all) < 1.5e-7))
            fail_msg("an error of %.3g with weights of %d bits", error_of(x, w, all), bits[kind]);
        check_company(device, weights, x);
        const sah_weights *other = sah_weights_difference(weights);
        multiply(device, other, x, 0, ROWS, 0, false, all);
        const double off = error_of(x, w, all);
        if (!(off < 3e-6))
            fail_msg("of differences an error of %.3g with weights of %d bits", off, bits[kind]);
        if (other != weights) check_company(device, other, x);
        sah_weights_free(weights);
    }
}

/* Both sides rounded to bfloat16 once. */
void test_rounded_products(void **state)
{
    static float w[OUTPUTS * INPUTS], x[ROWS * INPUTS], y[ROWS * OUTPUTS];
    const sah_device *device = device_of(state);
    const int64_t inputs = INPUTS;
    sah_weights *weights = NULL;
    sah_error error = {0};
    for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = number();
    for (int i = 0; i < ROWS * INPUTS; i++) x[i] = number();
    assert_int_equal(device->pack(OUTPUTS, &inputs, 1, (sah_packing){.precision = SAH_PRECISION_BF16},
                                  read_weights, w, &weights, &error),
                     SAH_OK);
    multiply(device, weights, x, 0, ROWS, 0, false, y);
    sah_weights_free(weights);
    for (int i = 0; i < OUTPUTS * INPUTS; i++) w[i] = kept(w[i], 8);
    for (int i = 0; i < ROWS * INPUTS; i++) x[i] = kept(x[i], 8);
    assert_true(error_of(x, w, y) < 1.5e-7);
}

/* ---- Attention ------------------------------------------------------------------------------------------- */

/* Nodes of one path, all in one segment or each in one of its own: the same bits. */
void test_attention_alone(void **state)
{
    enum { NODES = 75, HEADS = 4, KV = 2, D = 12, ROW = (HEADS + 2 * KV) * D };
    static float x[NODES * ROW], z[2][NODES * HEADS * D];
    int32_t path[NODES];
    sah_segment alone[NODES];
    const sah_device *device = device_of(state);
    sah_error error = {0};
    sah_workspace *ws = NULL;
    assert_int_equal(sah_workspace_new(device, 1, &ws, &error), SAH_OK);
    for (int i = 0; i < NODES * ROW; i++) x[i] = 3.0f * number();
    for (int32_t i = 0; i < NODES; i++) {
        path[i] = NODES - 1 - i;
        alone[i] = (sah_segment){i, 1, i, path};
    }
    const sah_segment whole = {0, NODES, 0, path};
    float *x_there = device->alloc(sizeof x), *z_there = device->alloc(sizeof z[0]);
    assert_int_equal(device->upload(x, sizeof x, x_there, &error), SAH_OK);
    for (int window = 0; window < 40; window += 39) {
        for (int way = 0; way < 2; way++) {
            sah_attention at = {
                .n_heads = HEADS, .n_kv_heads = KV, .head_dim = D, .scale = 0.3f, .window = window};
            sah_view view = {.n = NODES, .n_segments = way ? NODES : 1, .single = way};
            at.q = x_there;
            at.k = x_there + HEADS * D;
            at.v = at.k + KV * D;
            at.q_stride = at.k_stride = at.v_stride = ROW;
            at.z = z_there;
            at.z_stride = HEADS * D;
            assert_int_equal(sah_device_lend_segments(device, way ? alone : &whole, view.n_segments,
                                                      &view.segments, &error),
                             SAH_OK);
            assert_int_equal(device->attend(ws, &at, &view, &error), SAH_OK);
            assert_int_equal(device->download(z_there, sizeof z[way], z[way], &error), SAH_OK);
            sah_device_forget(device, view.segments);
        }
        assert_memory_equal(z[0], z[1], sizeof z[0]);
    }
    device->free(x_there);
    device->free(z_there);
    sah_workspace_free(ws);
}
