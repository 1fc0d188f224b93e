/* SPDX-License-Identifier: Apache-2.0 */
/* The element-wise kernels against the C library in float64, on lengths that leave a rest behind every block. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/elementwise.h"
#include "util/splitmix.h"

/* In [from, to). */
static float draw(uint64_t *state, double from, double to)
{
    return (float)(from + (to - from) * (double)(sah_splitmix(state) >> 11) * 0x1p-53);
}

static const int LENGTHS[] = {1, 2, 15, 16, 17, 31, 32, 33, 64, 100, 577};
enum { N_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS, MOST = 577 };

/* exp() of the softmax: by its ratios to the highest score, whose own is exactly 1. One rounding error is 2^-24; a term
 * missing from the series would bend all values of a half of the range of r the same way, by more than the
 * mean over many shows here. */
static void test_exp(void **state)
{
    (void)state;
    enum { N = 4096 };
    static float x[N], e[N];
    uint64_t random = 1;
    const double half = log(2) / 2;
    for (int part = -4; part < 4; part++) { /* eighths of the range of r, from -ln 2 / 2 to ln 2 / 2 */
        double error_sum = 0, most = 0;
        for (int i = 1; i < N; i++)
            x[i] = (float)(-log(2) * (double)(1 + i % 100) +
                           half * ((double)part + (double)draw(&random, 0, 1)) / 4);
        x[0] = 0;
        memcpy(e, x, sizeof e);
        sah_softmax(e, N, -INFINITY);
        for (int i = 1; i < N; i++) {
            double exact = exp((double)x[i]), error = ((double)e[i] / (double)e[0] - exact) / exact;
            error_sum += error;
            most = fmax(most, fabs(error));
        }
        if (!(most < 2.5e-7 && fabs(error_sum / N) < 2e-8))
            fail_msg("part %d: error up to %g, %g on average", part, most, error_sum / N);
    }
}

static void test_softmax(void **state)
{
    (void)state;
    float x[MOST], y[MOST];
    uint64_t random = 2;
    for (int l = 0; l < N_LENGTHS; l++)
        for (int top = 0; top < 4; top++) { /* the highest first, or last, behind the whole blocks */
            int n = LENGTHS[l];
            float highest = top / 2 ? 120 : 1; /* e^120 is no float; with 1 many share the weight */
            double sum = 0;
            for (int i = 0; i < n; i++) x[i] = draw(&random, top / 2 ? -20 : -1, top / 2 ? 20 : 1);
            x[top % 2 ? n - 1 : 0] = highest;
            memcpy(y, x, sizeof y);
            sah_softmax(y, n, -INFINITY);
            for (int i = 0; i < n; i++) sum += exp((double)x[i] - (double)highest);
            for (int i = 0; i < n; i++) {
                double exact = exp((double)x[i] - (double)highest) / sum;
                assert_true(fabs((double)y[i] - exact) <= 4e-7 * exact + 1e-37);
            }
        }
    float far[] = {0, -86.5f, -87.5f, -1e30f, -INFINITY};
    sah_softmax(far, 5, -INFINITY);
    assert_true(fabs((double)far[1] - exp(-86.5)) < 1e-6 * exp(-86.5));
    for (int i = 2; i < 5; i++) assert_true(far[i] == 0);
    float broken[] = {0, NAN, 1};
    sah_softmax(broken, 3, -INFINITY);
    assert_true(isnan(broken[0]) && isnan(broken[1]));
}

/* A sink takes its share of the weight, the highest of all scores or not. (Differences of up to 60 are
 * rounded to 2^-19, which bounds the error.) */
static void test_sink(void **state)
{
    (void)state;
    float x[MOST], y[MOST];
    uint64_t random = 5;
    for (int l = 0; l < N_LENGTHS; l++)
        for (int s = 0; s < 3; s++) {
            int n = LENGTHS[l];
            const float sink = (float[]){-15, 0.25f, 40}[s];
            double sum = exp((double)sink);
            for (int i = 0; i < n; i++) sum += exp((double)(x[i] = draw(&random, -20, 20)));
            memcpy(y, x, sizeof y);
            sah_softmax(y, n, sink);
            for (int i = 0; i < n; i++) {
                double exact = exp((double)x[i]) / sum;
                assert_true(fabs((double)y[i] - exact) <= 6e-6 * exact);
            }
        }
}

static void test_softcap(void **state)
{
    (void)state;
    float x[MOST], y[MOST];
    uint64_t random = 6;
    for (int l = 0; l < N_LENGTHS; l++)
        for (int wide = 0; wide < 2; wide++) {
            int n = LENGTHS[l];
            for (int i = 0; i < n; i++) x[i] = draw(&random, wide ? -200 : -10, wide ? 200 : 10);
            memcpy(y, x, sizeof y);
            sah_softcap(y, n, 30);
            for (int i = 0; i < n; i++) {
                double exact = 30 * tanh((double)x[i] / 30);
                assert_true(fabs((double)y[i] - exact) <= 6e-7 * fabs(exact));
            }
        }
    float ends[] = {1e30f, -1e30f, NAN, 0};
    sah_softcap(ends, 4, 50);
    assert_true(ends[0] == 50 && ends[1] == -50 && isnan(ends[2]) && ends[3] == 0);
}

static void test_silu(void **state)
{
    (void)state;
    float gate[MOST], up[MOST], out[MOST];
    uint64_t random = 3;
    for (int l = 0; l < N_LENGTHS; l++) {
        int n = LENGTHS[l];
        for (int i = 0; i < n; i++) gate[i] = draw(&random, -30, 30), up[i] = draw(&random, -3, 3);
        sah_silu_multiply(gate, up, n, out);
        for (int i = 0; i < n; i++) {
            double exact = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
            assert_true(fabs((double)out[i] - exact) <= 5e-7 * fabs(exact));
        }
    }
    float ends[] = {-200, 200, NAN}, ones[] = {1, 1, 1};
    sah_silu_multiply(ends, ones, 3, out);
    assert_true(fabsf(out[0]) < 1e-30f && out[1] == 200 && isnan(out[2]));
}

static void test_norm(void **state)
{
    (void)state;
    float x[MOST], weight[MOST], y[MOST];
    uint64_t random = 4;
    for (int l = 0; l < N_LENGTHS; l++) {
        int n = LENGTHS[l];
        double squares = 0;
        for (int i = 0; i < n; i++) {
            x[i] = draw(&random, -0.01, 0.01), weight[i] = draw(&random, 0.5, 2);
            squares += (double)x[i] * (double)x[i];
        }
        sah_rms_norm(x, weight, 1e-5f, n, y);
        for (int i = 0; i < n; i++) {
            double exact = (double)x[i] * (double)weight[i] / sqrt(squares / n + (double)1e-5f);
            assert_true(fabs((double)y[i] - exact) <= 5e-7 * fabs(exact));
        }
        sah_rms_norm(x, NULL, 1e-5f, n, y);
        for (int i = 0; i < n; i++) {
            double exact = (double)x[i] / sqrt(squares / n + (double)1e-5f);
            assert_true(fabs((double)y[i] - exact) <= 5e-7 * fabs(exact));
        }
    }
}

static void test_layer_norm(void **state)
{
    (void)state;
    float x[MOST], weight[MOST], bias[MOST], y[MOST];
    uint64_t random = 7;
    for (int l = 0; l < N_LENGTHS; l++)
        for (int biased = 0; biased < 2; biased++) {
            int n = LENGTHS[l];
            double mean = 0, variance = 0;
            for (int i = 0; i < n; i++) {
                x[i] = draw(&random, 3, 5), weight[i] = draw(&random, 0.5, 2), bias[i] = draw(&random, -1, 1);
                mean += (double)x[i] / n;
            }
            for (int i = 0; i < n; i++) variance += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
            sah_layer_norm(x, weight, biased ? bias : NULL, 1e-5f, n, y);
            for (int i = 0; i < n; i++) {
                double exact = ((double)x[i] - mean) / sqrt(variance + (double)1e-5f) * (double)weight[i] +
                               (biased ? (double)bias[i] : 0);
                assert_true(fabs((double)y[i] - exact) <= (n == 1 ? 2e-3 : 3e-6));
            }
        }
}

static void test_rotate(void **state)
{
    (void)state;
    /* (1, 2) by 90 degrees and (3, 4) by 30; pairs stand half a width apart. */
    float x[] = {1, 3, 2, 4}, cosine[] = {0, 0.8660254f}, sine[] = {1, 0.5f};
    const double turned[] = {-2, 3 * 0.8660254 - 2, 1, 4 * 0.8660254 + 1.5};
    sah_rotate(x, cosine, sine, 4);
    for (int i = 0; i < 4; i++) assert_true(fabs((double)x[i] - turned[i]) < 1e-6);
    float beside[] = {1, 2, 3, 4};
    sah_rotate_neighbours(beside, cosine, sine, 4);
    for (int i = 0; i < 4; i++) assert_true(fabs((double)beside[i] - turned[i / 2 + i % 2 * 2]) < 1e-6);
}

/* The highest wherever it stands; NaN for a NaN or an infinity wherever it stands. */
static void test_largest(void **state)
{
    (void)state;
    float x[MOST];
    for (int l = 0; l < N_LENGTHS; l++) {
        int n = LENGTHS[l];
        for (int at = 0; at < n; at++) {
            const float values[] = {-0.5f, NAN, INFINITY, -INFINITY};
            for (int i = 0; i < n; i++) x[i] = -1.0f - (float)(i % 7);
            for (int v = 0; v < 4; v++) {
                x[at] = values[v];
                float top = sah_largest(x, (size_t)n);
                assert_true(v == 0 ? top == -0.5f : isnan(top));
            }
        }
    }
}

static void test_vectors(void **state)
{
    (void)state;
    float x[] = {1, 2, 3}, y[] = {10, 20, 30};
    sah_vector_add(x, 3, y);
    assert_true(y[0] == 11 && y[1] == 22 && y[2] == 33);
    sah_vector_scale(y, 3, -0.5f);
    assert_true(y[0] == -5.5f && y[1] == -11 && y[2] == -16.5f);
    sah_vector_add_scaled(x, 3, 2, y);
    assert_true(y[0] == -3.5f && y[1] == -7 && y[2] == -10.5f);
}

/* To the nearest, ties to even; NaN stays NaN, and what is beyond the largest becomes infinity. */
static void test_bf16(void **state)
{
    (void)state;
    static const uint32_t from[] = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff,
                                    0xbf808001, 0x7f7fffff, 0x7f800000, 0x7f800001, 0xffc01234};
    static const uint16_t to[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x3f81,
                                  0xbf81, 0x7f80, 0x7f80, 0x7fc0, 0xffc0};
    float x[10];
    uint16_t y[10];
    memcpy(x, from, sizeof x);
    sah_round_bf16(x, y, 10);
    for (int i = 0; i < 10; i++) assert_int_equal(y[i], to[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),     cmocka_unit_test(test_softmax),    cmocka_unit_test(test_silu),
        cmocka_unit_test(test_norm),    cmocka_unit_test(test_rotate),     cmocka_unit_test(test_largest),
        cmocka_unit_test(test_bf16),    cmocka_unit_test(test_vectors),    cmocka_unit_test(test_sink),
        cmocka_unit_test(test_softcap), cmocka_unit_test(test_layer_norm),
    };
    return cmocka_run_group_tests_name("element-wise kernels", tests, NULL, NULL);
}
