/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts: the permutation test against every permutation of small sets, its error rate where there is
 * nothing to find, and sets made so that the answer is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "report/selectivity.h"
#include "util/scratch.h"
#include "util/splitmix.h"

/* exp of a normal number: skewed as scores are. */
static double draw(uint64_t *state)
{
    double u = ((double)(sah_splitmix(state) >> 11) + 0.5) * 0x1p-53;
    double v = ((double)(sah_splitmix(state) >> 11) + 0.5) * 0x1p-53;
    return exp(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

static double plain_welch(const double *x, unsigned set, int n)
{
    double sum[2] = {0, 0}, about[2] = {0, 0}, count[2] = {0, 0};
    for (int i = 0; i < n; i++) sum[set >> i & 1] += x[i], count[set >> i & 1]++;
    for (int i = 0; i < n; i++) {
        double d = x[i] - sum[set >> i & 1] / count[set >> i & 1];
        about[set >> i & 1] += d * d;
    }
    double variance = 0;
    for (int g = 0; g < 2; g++) variance += about[g] / (count[g] - 1) / count[g];
    return (sum[1] / count[1] - sum[0] / count[0]) / sqrt(variance);
}

enum { SMALL = 10, SMALL_HEADS = 3 };

/* Every way to split ten queries in n_a and the others, one by one. */
static void check_against_all(int n_a, int n_splits)
{
    sah_error error = {0};
    uint64_t random = 11;
    int n_b = SMALL - n_a;
    double a[SMALL_HEADS * SMALL], b[SMALL_HEADS * SMALL], all[SMALL_HEADS][SMALL], p[SMALL_HEADS];
    for (int h = 0; h < SMALL_HEADS; h++)
        for (int i = 0; i < SMALL; i++) {
            all[h][i] = draw(&random) + (i < n_a ? h : 0);
            *(i < n_a ? &a[h * n_a + i] : &b[h * n_b + i - n_a]) = all[h][i];
        }
    expect_ok(sah_permutation_p(a, (size_t)n_a, b, (size_t)n_b, SMALL_HEADS, p, &error), &error);
    for (int h = 0; h < SMALL_HEADS; h++) {
        double own = plain_welch(all[h], (1U << n_a) - 1, SMALL);
        int reached = 0, splits = 0;
        for (unsigned set = 0; set < 1U << SMALL; set++) {
            if (__builtin_popcount(set) != n_a) continue;
            double most = -INFINITY;
            for (int other = 0; other < SMALL_HEADS; other++)
                most = fmax(most, plain_welch(all[other], set, SMALL));
            splits++;
            reached += most >= own - 1e-9;
        }
        assert_int_equal(splits, n_splits);
        double exact = (double)reached / splits; /* 2000 draws: four standard errors */
        if (!(fabs(p[h] - exact) <= 4 * sqrt(exact * (1 - exact) / 2000) + 0.0005))
            fail_msg("%d and %d queries, head %d: %g, of all splits %g", n_a, n_b, h, p[h], exact);
    }
    assert_true(p[0] > p[2]);
}

static void test_against_all_permutations(void **state)
{
    (void)state;
    check_against_all(5, 252);
    check_against_all(2, 45);
    check_against_all(3, 120);
    check_against_all(8, 45);
}

/* Without a difference, some head of thirty must come below 0.05 in 5 % of the runs, whatever the shape of
 * the scores and although heads share their queries' ups and downs. */
static void test_error_rate(void **state)
{
    (void)state;
    enum { RUNS = 100, HEADS = 30, N_A = 12, N_B = 15 };
    static double a[HEADS][N_A], b[HEADS][N_B];
    sah_error error = {0};
    uint64_t random = 5;
    double p[HEADS];
    int found = 0;
    for (int run = 0; run < RUNS; run++) {
        for (int i = 0; i < N_A; i++) {
            double shared = draw(&random);
            for (int h = 0; h < HEADS; h++) a[h][i] = draw(&random) * (h % 2 ? shared : 1);
        }
        for (int i = 0; i < N_B; i++) {
            double shared = draw(&random);
            for (int h = 0; h < HEADS; h++) b[h][i] = draw(&random) * (h % 2 ? shared : 1);
        }
        expect_ok(sah_permutation_p(&a[0][0], N_A, &b[0][0], N_B, HEADS, p, &error), &error);
        double least = 1;
        for (int h = 0; h < HEADS; h++) least = fmin(least, p[h]);
        found += least <= 0.05;
    }
    /* 5 are expected; binomial(100, 0.05) is 0 or above 13 once in 150. */
    assert_in_range(found, 1, 13);
}

static void test_edges(void **state)
{
    (void)state;
    sah_error error = {0};
    double equal[4] = {0.3, 0.3, 0.3, 0.3}, high[4] = {2, 2, 2, 2}, p[1];
    expect_ok(sah_permutation_p(equal, 4, equal, 4, 1, p, &error), &error); /* identical scores */
    assert_true(p[0] > 0.999);
    expect_ok(sah_permutation_p(high, 4, equal, 4, 1, p, &error), &error); /* one of 70 splits */
    assert_true(p[0] > 0.005 && p[0] < 0.03);
    expect_ok(sah_permutation_p(high, 1, equal, 4, 1, p, &error), &error); /* one query says nothing */
    assert_true(p[0] > 0.999);
    /* Far apart, nothing that 2000 shuffles of 40 queries come to: one of 2001, the sets as they are. The other
     * way round everything does. */
    double ones[20], zeros[20];
    for (int i = 0; i < 20; i++) ones[i] = 1 + 0.01 * i, zeros[i] = 0.01 * i;
    expect_ok(sah_permutation_p(ones, 20, zeros, 20, 1, p, &error), &error);
    assert_true(fabs(p[0] - 1.0 / 2001) < 1e-12);
    expect_ok(sah_permutation_p(zeros, 20, ones, 20, 1, p, &error), &error);
    assert_true(p[0] > 0.999 && p[0] <= 1);
    expect_ok(sah_permutation_p(equal, 4, high, 4, 1, p, &error), &error);
    assert_true(p[0] > 0.95);
    assert_true(fabs(sah_interval_p(0, -1, 1, 10) - 1) < 1e-12); /* no chance is above 1 */
    assert_true(sah_interval_p(1, 1, 1, 10) > 0.999);
    assert_true(fabs(sah_interval_p(1.959963984540054, 0, 2 * 1.959963984540054, 1) - 0.025) < 1e-9);
    assert_true(fabs(sah_interval_p(1.959963984540054, 0, 2 * 1.959963984540054, 4) - 0.1) < 1e-9);
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        sah_evidence evidence;
        sah_selectivity verdict;
    } cases[] = {
        {{1.0, 0.1, 0.001, 0.9, 0.02}, SAH_SAFETY},
        {{1.0, 0.6, 0.001, 0.1, 0.02}, SAH_UNDECIDED}, /* certain, but the lesser part of its score */
        {{1.0, 0.6, 0.001, -0.1, 0.02}, SAH_GENERAL},
        {{1.0, 0.1, 0.2, 0.9, 0.02}, SAH_UNDECIDED}, /* large, but not certain */
        {{0.5, 1.5, 1, -0.9, 0.02}, SAH_GENERAL}, /* higher on harmless queries */
        {{0.01, 0.001, 0.001, 0.01, 0.02}, SAH_NEGLIGIBLE},
        {{0.001, 0.5, 1, -0.5, 0.02}, SAH_GENERAL},
        /* On the edges: half of the score, a chance of 5 %, an interval that ends at 0, the least score. */
        {{1.0, 0.49, 0.001, 0.1, 0.02}, SAH_SAFETY},
        {{1.0, 0.5, 0.001, 0.1, 0.02}, SAH_UNDECIDED},
        {{1.0, 0.1, 0.05, 0.9, 0.02}, SAH_SAFETY},
        {{1.0, 0.1, 0.0501, 0.9, 0.02}, SAH_UNDECIDED},
        {{1.0, 0.6, 0.2, 0, 0.02}, SAH_UNDECIDED},
        {{0.02, 0, 0.001, 0.1, 0.02}, SAH_SAFETY},
        {{0.01, 0.03, 0.001, 0.1, 0.02}, SAH_UNDECIDED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(sah_judge_head(&cases[i].evidence), cases[i].verdict);
    assert_string_equal(sah_selectivity_name(SAH_UNDECIDED), "undecided");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_all_permutations),
        cmocka_unit_test(test_error_rate),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests_name("selectivity", tests, NULL, NULL);
}
