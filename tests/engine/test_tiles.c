/* SPDX-License-Identifier: Apache-2.0 */
/* float32 products on bfloat16 tiles, against float64: within what the pieces leave out, whatever the shape,
 * the rows and the threads; gates; the top output. Skipped where the processor has no tiles; there emulated ones are
 * tested (build/tests/tiles/test_tiles). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/tiles.h"
#include "util/needs.h"

/* In [-1, 1], all 24 bits of a float32 in use, never the same twice. */
static float number(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 24) * 0x1p-39 - 1.0);
}

/* [n] numbers. */
static float *numbers(int64_t n, uint64_t seed, bool whole)
{
    float *out = malloc((size_t)n * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        float x = number(&seed);
        out[i] = whole ? x : truncf(x * 256.0f) / 256.0f; /* 8 significant bits: a bfloat16 */
    }
    return out;
}

static sah_tiles *tiles_of(const float *w, int64_t outputs, int64_t inputs, bool gated)
{
    sah_error error = {0};
    sah_tiles *tiles = NULL;
    assert_int_equal(sah_tiles_new(outputs, inputs, w, inputs, gated, &tiles, &error), SAH_OK);
    return tiles;
}

static void *pieces_of(const float *x, int64_t inputs, int64_t rows)
{
    void *pieces = aligned_alloc(64, sah_tiles_input_floats(inputs, rows) * sizeof(float));
    memset(pieces, 0xff, sah_tiles_input_floats(inputs, rows) * sizeof(float)); /* NaN where nothing is put */
    sah_tiles_input(x, inputs, rows, 2, pieces);
    return pieces;
}

static double product(const float *x, const float *w, int64_t n, double *size)
{
    double sum = 0.0;
    *size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)w[i];
        *size += fabs((double)x[i] * (double)w[i]);
    }
    return sum;
}

/* Every product within `bound` of the sum of its terms' magnitudes, and the same to the last bit for a row
 * alone. */
static void check(int64_t rows, int64_t outputs, int64_t inputs, bool whole, bool add, double bound)
{
    float *x = numbers(rows * inputs, 1, true), *w = numbers(outputs * inputs, 2, whole);
    for (int64_t i = 0; i < rows * inputs; i += 13) x[i] *= 100.0f; /* as a model's outlying dimensions are */
    float *y = malloc((size_t)(rows * outputs) * sizeof *y), *one = malloc((size_t)outputs * sizeof *one);
    sah_tiles *tiles = tiles_of(w, outputs, inputs, false);
    void *pieces = pieces_of(x, inputs, rows), *last = pieces_of(x + (rows - 1) * inputs, inputs, 1);
    for (int64_t i = 0; i < rows * outputs; i++) y[i] = 1.0f;
    for (int64_t i = 0; i < outputs; i++) one[i] = 1.0f;
    sah_tiles_multiply(tiles, rows, pieces, y, add, 3);
    sah_tiles_multiply(tiles, 1, last, one, add, 1);
    assert_memory_equal(one, y + (rows - 1) * outputs, (size_t)outputs * sizeof *one);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < outputs; o++) {
            double size, sum = product(x + r * inputs, w + o * inputs, inputs, &size) + (add ? 1.0 : 0.0);
            double off = fabs((double)y[r * outputs + o] - sum) / (size + 1.0);
            if (!(off <= bound))
                fail_msg("%d x %d x %d at %d, %d: off by %g", (int)rows, (int)outputs, (int)inputs, (int)r,
                         (int)o, off);
        }
    sah_tiles_free(tiles);
    free(x);
    free(w);
    free(y);
    free(one);
    free(pieces);
    free(last);
}

static void test_products(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},      {2, 32, 32},   {7, 48, 20},    {33, 65, 63},
                                       {100, 96, 576}, {129, 40, 31}, {64, 33, 1100}, {260, 64, 2048}};
    needs(sah_tiles_usable(), "a processor with AMX tiles");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int add = 0; add < 2; add++) {
            const int64_t *s = sizes[i];
            /* float32 sums of so few terms lose less than 1e-6; weights of 24 bits are taken to 2^-17 */
            check(s[0], s[1], s[2], false, add, 1e-6);
            check(s[0], s[1], s[2], true, add, 0x1p-17);
        }
}

/* Weights that are bfloat16 take half the memory of others. */
static void test_pieces(void **state)
{
    (void)state;
    needs(sah_tiles_usable(), "a processor with AMX tiles");
    float *w = numbers(64 * 64, 3, false);
    sah_tiles *one = tiles_of(w, 64, 64, false);
    assert_int_equal(sah_tiles_bytes(one), 64 * 64 * 2);
    w[64 * 64 - 1] = 0.1f;
    sah_tiles *two = tiles_of(w, 64, 64, false);
    assert_int_equal(sah_tiles_bytes(two), 64 * 64 * 4);
    sah_tiles_free(one);
    sah_tiles_free(two);
    free(w);
}

/* The MLP's middle, multiplied by the unit matrix, is silu(g + bias) * (u + bias). */
static void test_gates(void **state)
{
    (void)state;
    enum { ROWS = 37, INPUTS = 70, INNER = 96 };
    needs(sah_tiles_usable(), "a processor with AMX tiles");
    float *x = numbers(ROWS * INPUTS, 4, true), *w = numbers(2 * INNER * INPUTS, 5, true);
    float *bias = numbers(2 * INNER, 6, true), *unit = calloc(INNER * INNER, sizeof *unit);
    float *y = malloc(ROWS * INNER * sizeof *y);
    for (int i = 0; i < INNER; i++) unit[i * INNER + i] = 1.0f;
    sah_tiles *gate = tiles_of(w, 2 * INNER, INPUTS, true), *same = tiles_of(unit, INNER, INNER, false);
    void *pieces = pieces_of(x, INPUTS, ROWS);
    size_t size = sah_tiles_input_floats(INNER, ROWS) * sizeof(float);
    void *inner = aligned_alloc(64, size);
    for (int biased = 0; biased < 2; biased++) {
        memset(inner, 0xff, size);
        sah_tiles_gate(gate, ROWS, pieces, biased ? bias : NULL, biased ? bias + INNER : NULL, 2, inner);
        sah_tiles_multiply(same, ROWS, inner, y, false, 2);
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < INNER; i++) {
                double ignored, g = product(x + r * INPUTS, w + i * INPUTS, INPUTS, &ignored);
                double u = product(x + r * INPUTS, w + (INNER + i) * INPUTS, INPUTS, &ignored);
                if (biased) g += (double)bias[i], u += (double)bias[INNER + i];
                double want = g / (1.0 + exp(-g)) * u;
                assert_true(fabs((double)y[r * INNER + i] - want) < 2e-4 * (1.0 + fabs(want)));
            }
    }
    sah_tiles_free(gate);
    sah_tiles_free(same);
    free(x);
    free(w);
    free(bias);
    free(unit);
    free(y);
    free(pieces);
    free(inner);
}

static void tops(const float *w, int64_t outputs, int64_t inputs, const float *x, int64_t rows, int32_t *top)
{
    sah_tiles *tiles = tiles_of(w, outputs, inputs, false);
    void *pieces = pieces_of(x, inputs, rows);
    float *scratch = malloc(sah_tiles_top_floats(tiles, rows) * sizeof *scratch);
    sah_tiles_top(tiles, rows, x, pieces, scratch, 2, top);
    sah_tiles_free(tiles);
    free(pieces);
    free(scratch);
}

/* Against float64, also where many outputs lie close to the largest, all are below zero, or two are equal. */
static void check_tops(int64_t rows, int64_t outputs, int64_t inputs, bool whole, float spread)
{
    float *x = numbers(rows * inputs, 7, true), *w = numbers(outputs * inputs, 8, whole);
    int32_t *top = malloc((size_t)rows * sizeof *top);
    for (int64_t i = 0; i < rows * inputs; i++) x[i] = fabsf(x[i]) + 0.01f;
    for (int64_t i = 0; i < outputs * inputs; i++) w[i] = (whole ? 1.0f : 0.0f) * -1.0f + spread * w[i];
    if (outputs > 1)
        for (int64_t o = 1; o < outputs; o += 2)
            memcpy(w + o * inputs, w + (o - 1) * inputs, (size_t)inputs * sizeof *w);
    tops(w, outputs, inputs, x, rows, top);
    for (int64_t r = 0; r < rows; r++) {
        double best = -INFINITY, size, its = product(x + r * inputs, w + top[r] * inputs, inputs, &size);
        for (int64_t o = 0; o < outputs; o++) {
            double sum = product(x + r * inputs, w + o * inputs, inputs, &size);
            if (sum > best) best = sum;
        }
        assert_true(top[r] >= 0 && top[r] < outputs && top[r] % 2 == 0); /* of each two the first */
        assert_true(best - its <= 0x1p-17 * size);
    }
    free(x);
    free(w);
    free(top);
}

static void test_top(void **state)
{
    (void)state;
    needs(sah_tiles_usable(), "a processor with AMX tiles");
    for (int whole = 0; whole < 2; whole++) {
        check_tops(1, 1, 3, whole, 1.0f);
        check_tops(5, 50, 33, whole, 1.0f);
        check_tops(100, 3001, 96, whole, 1.0f);
        check_tops(100, 3001, 96, whole, 0.001f); /* all within what first pieces can tell */
        check_tops(33, 640, 576, whole, 0.03f);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    enum { ROWS = 3, OUTPUTS = 70, INPUTS = 40 };
    needs(sah_tiles_usable(), "a processor with AMX tiles");
    float *x = numbers(ROWS * INPUTS, 9, true), *w = numbers(OUTPUTS * INPUTS, 10, true);
    int32_t top[ROWS];
    x[INPUTS + 5] = NAN;
    tops(w, OUTPUTS, INPUTS, x, ROWS, top);
    assert_true(top[0] >= 0 && top[1] == -1 && top[2] >= 0);
    x[INPUTS + 5] = INFINITY;
    tops(w, OUTPUTS, INPUTS, x, ROWS, top);
    assert_true(top[0] >= 0 && top[1] == -1 && top[2] >= 0);
    x[INPUTS + 5] = 0.0f;
    w[3] = NAN; /* and rows behind it that are finite */
    tops(w, OUTPUTS, INPUTS, x, ROWS, top);
    assert_true(top[0] == -1 && top[1] == -1 && top[2] == -1);
    free(x);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_pieces),     cmocka_unit_test(test_gates),
        cmocka_unit_test(test_top),      cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
