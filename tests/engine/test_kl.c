/* SPDX-License-Identifier: Apache-2.0 */
/* The divergence: the fast form against the definition in the C library's functions, and values worked out by
 * hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/cpu/kl.h"

enum { N = 5000 };

static double fast(const float *base, const float *logits, size_t n)
{
    double *p = calloc(n, sizeof *p), *scratch = calloc(n, sizeof *scratch);
    sah_kl_base prepared = {.p = p};
    assert_true(sah_kl_prepare(base, n, scratch, &prepared));
    double kl = sah_kl(&prepared, logits, n, scratch);
    free(p);
    free(scratch);
    return kl;
}

static void test_by_hand(void **state)
{
    (void)state;
    /* p = (1/2, 1/2), p' = (3/4, 1/4): KL = ln 2 / 2 + ln (2/3) / 2 = ln(4/3) / 2. */
    float base[] = {0.0f, 0.0f}, other[] = {logf(3.0f), 0.0f};
    assert_true(fabs(fast(base, other, 2) - 0.5 * log(4.0 / 3.0)) < 1e-7);
    assert_true(fast(base, base, 2) == 0.0);
}

/* The definition's epsilon shows where p' is nothing: p = (1/2, 1/2), p' = (1, e^-60), so that
 * KL = ln(1/2) / 2 + ln((1/2) / 1e-12) / 2 = 6 ln 10 - ln 2, up to parts of 1e-10. */
static void test_epsilon(void **state)
{
    (void)state;
    float base[] = {0.0f, 0.0f}, other[] = {0.0f, -60.0f}, far[] = {0.0f, -1e30f};
    double by_hand = 6 * log(10) - log(2);
    assert_true(fabs(fast(base, other, 2) - by_hand) < 1e-9);
    assert_true(fabs(sah_kl_plain(base, other, 2) - by_hand) < 1e-9);
    assert_true(fabs(fast(base, far, 2) - by_hand) < 1e-9);
    /* And where p is nothing: p = (1, e^-60), p' = (1/2, 1/2): ln 2 + 1e-12 ln(2e-12) + ... by the definition. */
    double one = 1 + 1e-12, half = 0.5 + 1e-12;
    assert_true(fabs(fast(other, base, 2) - (one * log(one / half) + 1e-12 * log(1e-12 / half))) < 1e-13);
}

static void test_against_plain(void **state)
{
    (void)state;
    static float base[N], other[N];
    srand(3);
    for (int round = 0; round < 60; round++) {
        double spread = pow(10.0, round % 6 - 4),
               width = round < 30 ? 5.0 : 40.0; /* widths to 40: p' below 1e-12 occurs */
        for (int i = 0; i < N; i++) {
            base[i] = (float)(width * (rand() / (double)RAND_MAX - 0.5));
            other[i] = base[i] + (float)(spread * (rand() / (double)RAND_MAX - 0.5));
        }
        double a = fast(base, other, N), b = sah_kl_plain(base, other, N);
        assert_true(fabs(a - b) <= 1e-9 * fabs(b) + 1e-13);
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    float base[] = {0.0f, 1.0f, 2.0f}, broken[] = {0.0f, NAN, 2.0f};
    double p[3], scratch[3];
    sah_kl_base prepared = {.p = p};
    assert_false(sah_kl_prepare(broken, 3, scratch, &prepared));
    assert_true(sah_kl_prepare(base, 3, scratch, &prepared));
    assert_true(isnan(sah_kl(&prepared, broken, 3, scratch)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_epsilon),
        cmocka_unit_test(test_against_plain),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests_name("divergence", tests, NULL, NULL);
}
