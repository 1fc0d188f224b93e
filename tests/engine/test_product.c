/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product: right, at awkward sizes too, and never by oneDNN's plain loops, which are a hundred
 * times slower. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "util/needs.h"

/* Row r, column i of a matrix of numbers in [-1, 1] that do not repeat. */
static float value(size_t row, size_t column)
{
    uint32_t mixed = (uint32_t)(row * 1000003 + column + 1) * 2654435761u;
    return (float)((mixed ^ mixed >> 15) & 0xffff) / 32768.0f - 1.0f;
}

static void read_rows(const void *source, size_t row, size_t n, float *out)
{
    size_t columns = *(const size_t *)source;
    for (size_t i = 0; i < n * columns; i++) out[i] = value(row + i / columns, i % columns);
}

typedef struct product {
    sah_weights *weights;
    sah_workspace *workspace;
    float *x, *y;
    int64_t rows, outputs, inputs;
} product;

static product product_new(int64_t rows, int64_t outputs, int64_t inputs, sah_precision precision)
{
    product p = {.rows = rows, .outputs = outputs, .inputs = inputs};
    size_t columns = (size_t)inputs;
    sah_error error = {0};
    assert_int_equal(sah_weights_new(sah_cpu(), outputs, inputs, (sah_packing){.precision = precision},
                                     read_rows, &columns, &p.weights, &error),
                     SAH_OK);
    assert_int_equal(sah_workspace_new(sah_cpu(), 1, &p.workspace, &error), SAH_OK);
    p.x = malloc((size_t)(rows * inputs) * sizeof *p.x);
    p.y = malloc((size_t)(rows * outputs) * sizeof *p.y);
    for (int64_t i = 0; i < rows * inputs; i++)
        p.x[i] = value((size_t)(i / inputs) + 77, (size_t)(i % inputs));
    for (int64_t i = 0; i < rows * outputs; i++) p.y[i] = 1.0f;
    return p;
}

static void product_free(product *p)
{
    sah_weights_free(p->weights);
    sah_workspace_free(p->workspace);
    free(p->x);
    free(p->y);
}

/* Within `bound` of the sum in float64, relative to the sum of magnitudes. */
static void check(int64_t rows, int64_t outputs, int64_t inputs, sah_precision precision, bool add,
                  double bound)
{
    product p = product_new(rows, outputs, inputs, precision);
    sah_error error = {0};
    assert_int_equal(sah_product(p.workspace, p.weights, rows, p.x, p.y, add, &error), SAH_OK);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t o = 0; o < outputs; o++) {
            double sum = add ? 1.0 : 0.0, size = 1.0;
            for (int64_t i = 0; i < inputs; i++) {
                double term = (double)p.x[r * inputs + i] * (double)value((size_t)o, (size_t)i);
                sum += term;
                size += fabs(term);
            }
            double off = fabs((double)p.y[r * outputs + o] - sum) / size;
            if (!(off < bound))
                fail_msg("%d x %d x %d at %d, %d: off by %g", (int)rows, (int)outputs, (int)inputs, (int)r,
                         (int)o, off);
        }
    product_free(&p);
}

static void test_right(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 33, 65}, {7, 48, 20}, {37, 65, 63}, {64, 64, 64}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int add = 0; add < 2; add++) {
            const int64_t *s = sizes[i];
            check(s[0], s[1], s[2], SAH_PRECISION_F32, add, 1e-6);
            if (sah_product_has_bf16()) check(s[0], s[1], s[2], SAH_PRECISION_BF16, add, 0x1p-8);
        }
}

/* Seconds an operation, best of a few runs that take about 10 ms together. */
static double cost(int64_t rows, int64_t outputs, int64_t inputs, sah_precision precision, bool add)
{
    product p = product_new(rows, outputs, inputs, precision);
    sah_error error = {0};
    double best = INFINITY, spent = 0.0, operations = 2.0 * (double)(rows * outputs * inputs);
    for (int i = 0; i < 3 || (spent < 0.01 && i < 100); i++) {
        double start = omp_get_wtime();
        assert_int_equal(sah_product(p.workspace, p.weights, rows, p.x, p.y, add, &error), SAH_OK);
        double seconds = omp_get_wtime() - start;
        if (i > 0) spent += seconds; /* the first makes the primitive */
        if (i > 0 && seconds < best) best = seconds;
    }
    product_free(&p);
    return best / operations;
}

static void check_fast(sah_precision precision)
{
    /* Shapes of layers: a small model's, one of odd sizes, a slice of an output projection, an LM head. */
    static const int64_t shapes[][2] = {{960, 576}, {576, 576},  {3072, 576}, {576, 1536},
                                        {576, 64},  {1001, 333}, {4096, 96}};
    static const int64_t rows[] = {16, 37, 128, 333};
    /* Small products may be several times slower than a large one: they start threads' buffers and fill few
     * vectors. */
    const double times = 25.0;
    double large = cost(512, 1024, 1024, precision, false);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int add = 0; add < 2; add++) {
                double here = cost(rows[r], shapes[s][0], shapes[s][1], precision, add);
                if (!(here < times * large))
                    fail_msg("%d rows, %d x %d%s: %.1f GFLOP/s, where a large product runs at %.1f",
                             (int)rows[r], (int)shapes[s][0], (int)shapes[s][1], add ? ", added" : "",
                             1e-9 / here, 1e-9 / large);
            }
}

static void test_fast(void **state)
{
    (void)state;
    check_fast(SAH_PRECISION_F32);
}

static void test_fast_bf16(void **state)
{
    (void)state;
    needs(sah_product_has_bf16(), "a processor with bfloat16 products");
    check_fast(SAH_PRECISION_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_fast),
        cmocka_unit_test(test_fast_bf16),
    };
    return cmocka_run_group_tests_name("product", tests, NULL, NULL);
}
