/* SPDX-License-Identifier: Apache-2.0 */
/* How likely chance gives what was seen: Student's t against tables, the outstanding one of many, permutations
 * by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "stats/chance.h"
#include "util/scratch.h"

/* Against tables of Student's t, and the Cauchy distribution, which is t with one degree of freedom. */
static void test_student(void **state)
{
    (void)state;
    assert_true(fabs(sah_student_tail(2.2281388519649385, 10) - 0.025) < 1e-9);
    assert_true(fabs(sah_student_tail(-2.2281388519649385, 10) - 0.975) < 1e-9);
    assert_true(fabs(sah_student_tail(1, 1) - 0.25) < 1e-9);
    assert_true(fabs(sah_student_tail(3, 1) / (0.5 - atan(3) / 3.141592653589793) - 1) < 1e-6);
    assert_true(fabs(sah_student_tail(1.983971518523552, 100) / 0.025 - 1) < 1e-6);
    assert_true(fabs(sah_student_tail(0, 7.5) - 0.5) < 1e-9);
}

static void test_outstanding(void **state)
{
    (void)state;
    sah_error error = {0};
    double p, others[] = {1, 1.1, 0.9, 1.2, 0.8, 1.05, 0.95, 1.15, 0.85, 1};
    const double *none = others;
    expect_ok(sah_outstanding_p(1.2, others, 10, &p, &error), &error);
    assert_true(p == 1);
    expect_ok(sah_outstanding_p(50, others, 10, &p, &error), &error);
    assert_true(p < 1e-3);
    expect_ok(sah_outstanding_p(-50, others, 10, &p, &error), &error);
    assert_true(p == 1);
    expect_ok(sah_outstanding_p(50, none, 2, &p, &error), &error);
    assert_true(p == 1);
    expect_ok(sah_outstanding_p(1e9, others, 3, &p, &error), &error);
    assert_true(p < 1);
    expect_ok(sah_outstanding_p(0, others, 10, &p, &error), &error);
    assert_true(p == 1);
    /* Others of the kind do not hide it while they are fewer than a tenth; more are what heads are like here.
     */
    double many[31];
    for (size_t i = 0; i < 31; i++) many[i] = 1 + 0.02 * (double)i;
    many[0] = many[1] = many[2] = 60;
    expect_ok(sah_outstanding_p(60, many, 31, &p, &error), &error);
    assert_true(p < 1e-3);
    many[3] = many[4] = many[5] = 60;
    expect_ok(sah_outstanding_p(60, many, 31, &p, &error), &error);
    assert_true(p == 1);
}

/* Numbers as they are, of either sign; others that are few or all alike say nothing of it. */
static void test_standing(void **state)
{
    (void)state;
    sah_error error = {0};
    double p, others[] = {-1, 1.1, -0.9, 1.2, 0.8, -1.05, 0.95, 1.15, -0.85, 0}, alike[] = {2, 2, 2, 2};
    expect_ok(sah_standing_p(1.3, others, 10, &p, &error), &error);
    assert_true(p > 0.5);
    expect_ok(sah_standing_p(30, others, 10, &p, &error), &error);
    assert_true(p < 1e-3);
    expect_ok(sah_standing_p(-30, others, 10, &p, &error), &error);
    assert_true(p == 1);
    expect_ok(sah_standing_p(30, others, 2, &p, &error), &error);
    assert_true(p == 1);
    expect_ok(sah_standing_p(3, alike, 4, &p, &error), &error);
    assert_true(p == 0);
    expect_ok(sah_standing_p(2, alike, 4, &p, &error), &error);
    assert_true(p == 1);
    /* An upper tail that is longer than the middle's spread says: half of 30 others within 1, a fifth at 12. */
    double tail[30];
    for (int i = 0; i < 30; i++) tail[i] = i < 24 ? 0.04 * i : 12;
    expect_ok(sah_standing_p(13, tail, 30, &p, &error), &error);
    assert_true(p > 0.5);
}

/* By hand: standardised, head 0 has sqrt(3) and -1/sqrt(3) three times; head 1 1, 1, -1, -1; head 2 is all
 * equal. Only permutation 1 has a head at 1. */
static void test_permuted(void **state)
{
    (void)state;
    sah_error error = {0};
    static const double heads[3][4] = {{7, 3, 3, 3}, {2, 2, 0, 0}, {5, 5, 5, 5}};
    const double *const differences[] = {heads[0], heads[1], heads[2]};
    double p[3];
    expect_ok(sah_permuted_p(differences, 3, 3, p, &error), &error);
    assert_true(fabs(p[0] - 0.25) < 1e-12);
    assert_true(fabs(p[1] - 0.5) < 1e-12);
    assert_true(fabs(p[2] - 1) < 1e-12);

    /* Each head by its own scale: the second's 300 is 1.6 of its deviations, less than the first's 1.7. */
    static const double first[4] = {4, 0, 0, 0}, second[4] = {0, 300, -100, -200};
    const double *const scales[] = {first, second};
    expect_ok(sah_permuted_p(scales, 3, 2, p, &error), &error);
    assert_true(fabs(p[0] - 0.25) < 1e-12);
    assert_true(fabs(p[1] - 0.5) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student),
        cmocka_unit_test(test_outstanding),
        cmocka_unit_test(test_standing),
        cmocka_unit_test(test_permuted),
    };
    return cmocka_run_group_tests_name("chance", tests, NULL, NULL);
}
