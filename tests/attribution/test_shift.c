/* SPDX-License-Identifier: Apache-2.0 */
/* Intervals of shifts, statistics of their differences and how far a gain stands out, against NumPy and SciPy
 * (tests/golden/make-turns.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stats/chance.h"
#include "attribution/shift.h"
#include "util/json.h"
#include "util/scratch.h"

/* Relative: resampled vectors are iterated to a thousandth of their shift; an error, the more delicate
 * number, comes out to a few thousandths. */
static const double BOUND = 2e-3;

static json_t *read_golden(void)
{
    sah_error error = {0};
    json_t *golden = NULL;
    expect_ok(sah_json_read("tests/golden/turns.json", 1 << 20, &golden, &error), &error);
    return golden;
}

static size_t size_of(const json_t *object, const char *key)
{
    return (size_t)json_integer_value(json_object_get(object, key));
}

static double number(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

/* [n, d] of a list of rows. */
static float *read_matrix(const json_t *rows, size_t *n, size_t *d)
{
    *n = json_array_size(rows);
    *d = json_array_size(json_array_get(rows, 0));
    float *m = calloc(*n * *d, sizeof *m);
    for (size_t i = 0; i < *n * *d; i++) m[i] = (float)number(json_array_get(rows, i / *d), i % *d);
    return m;
}

static void expect_near(const char *name, const char *what, double value, double wanted, double off)
{
    if (!(fabs(value - wanted) <= off)) fail_msg("%s, %s: %.9g, NumPy has %.9g", name, what, value, wanted);
}

static void test_evidence(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = read_golden();
    const json_t *cases = json_object_get(golden, "turns");
    assert_int_equal(json_array_size(cases), 7);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *one = json_array_get(cases, c), *shift = json_object_get(one, "shift"),
                     *difference = json_object_get(one, "difference"),
                     *statistics = json_object_get(one, "statistics");
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *variant = json_string_value(json_object_get(one, "variant"));
        size_t total, d, n = size_of(one, "n"), rank = size_of(one, "rank");
        float *m = read_matrix(json_object_get(one, "m"), &total, &d),
              *ablated = read_matrix(json_object_get(one, "ablated"), &total, &d);
        sah_turning *turning;
        sah_turn turn;
        sah_turn_evidence evidence;
        double angles[2], worst = 0;
        expect_ok(sah_turning_new(m, n, total - n, d, rank,
                                  strcmp(variant, "spectral") == 0 ? SAH_VARIANT_SPECTRAL
                                  : strcmp(variant, "right") == 0  ? SAH_VARIANT_RIGHT
                                                                   : SAH_VARIANT_SUBSPACE,
                                  &turning, &error),
                  &error);
        expect_ok(sah_turn_measure(turning, ablated, "query", &turn, angles, &evidence, &error), &error);
        double size = number(shift, 1);
        expect_near(name, "shift_low", evidence.shift_low, number(shift, 0), BOUND * size);
        expect_near(name, "shift_high", evidence.shift_high, number(shift, 1), BOUND * size);
        expect_near(name, "difference_low", evidence.difference_low, number(difference, 0), BOUND * size);
        expect_near(name, "difference_high", evidence.difference_high, number(difference, 1), BOUND * size);
        assert_int_equal(json_array_size(statistics), 1 + SAH_TURN_PERMUTATIONS);
        for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++) {
            double wanted = number(statistics, i), off = fabs((double)evidence.statistics[i] - wanted);
            worst = fmax(worst, off / (1 + fabs(wanted)));
            expect_near(name, "statistic", (double)evidence.statistics[i], wanted,
                        BOUND * (1 + fabs(wanted)));
        }
        print_message("%s: statistics off by %.2g at most\n", name, worst);
        sah_turning_free(turning);
        free(m);
        free(ablated);
    }
    json_decref(golden);
}

/* Sets that an ablation does not move at all, or only one of them: numbers, and no difference where none is.
 */
static void test_no_turn(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = read_golden();
    size_t total, d, n = 9;
    float *m =
        read_matrix(json_object_get(json_array_get(json_object_get(golden, "turns"), 0), "m"), &total, &d);
    sah_turning *turning;
    sah_turn turn;
    sah_turn_evidence evidence;
    double angle;
    expect_ok(sah_turning_new(m, n, total - n, d, 1, SAH_VARIANT_SUBSPACE, &turning, &error), &error);
    expect_ok(sah_turn_measure(turning, m, "query", &turn, &angle, &evidence, &error), &error);
    for (size_t i = 0; i <= SAH_TURN_PERMUTATIONS; i++)
        assert_true(fabs((double)evidence.statistics[i]) < 0.01);
    for (size_t i = 0; i < n * d; i++) m[i] += (float)(0.3 * sin((double)(i * i)));
    expect_ok(sah_turn_measure(turning, m, "query", &turn, &angle, &evidence, &error), &error);
    assert_true(turn.shift > 0.1 && turn.shift_contrast < 1e-9);
    assert_true(evidence.statistics[0] > 2 && evidence.statistics[0] < 100);
    sah_turning_free(turning);
    free(m);
    json_decref(golden);
}

/* All states along one direction, ablated along one 30 degrees from it: the queries differ as before, which
 * is what left vectors tell; the right one turned by 30 degrees. */
static void test_all_alike(void **state)
{
    (void)state;
    enum { COUNT = 6, WIDTH = 4 };
    sah_error error = {0};
    float m[COUNT * WIDTH] = {0}, ablated[COUNT * WIDTH] = {0};
    for (int q = 0; q < COUNT; q++) {
        float size = 1 + (float)q;
        m[q * WIDTH] = size;
        ablated[q * WIDTH] = size * cosf(0.5235988f);
        ablated[q * WIDTH + 2] = size * sinf(0.5235988f);
    }
    for (int right = 0; right < 2; right++) {
        sah_turning *turning;
        sah_turn turn;
        sah_turn_evidence evidence;
        double angle, wanted = right ? 30 : 0;
        expect_ok(sah_turning_new(m, COUNT, 0, WIDTH, 1, right ? SAH_VARIANT_RIGHT : SAH_VARIANT_SUBSPACE,
                                  &turning, &error),
                  &error);
        expect_ok(sah_turn_measure(turning, ablated, "query", &turn, &angle, &evidence, &error), &error);
        expect_near("all alike", "shift", turn.shift, wanted, 1e-5);
        expect_near("all alike", "shift_low", evidence.shift_low, wanted, 1e-5);
        expect_near("all alike", "shift_high", evidence.shift_high, wanted, 1e-5);
        sah_turning_free(turning);
    }
}

static void test_outstanding(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = read_golden();
    const json_t *cases = json_object_get(golden, "outstanding");
    assert_int_equal(json_array_size(cases), 5);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *one = json_array_get(cases, c), *list = json_object_get(one, "others");
        size_t n = json_array_size(list);
        double p, others[512], wanted = json_number_value(json_object_get(one, "p"));
        assert_true(n <= 512);
        for (size_t i = 0; i < n; i++) others[i] = number(list, i);
        expect_ok(sah_outstanding_p(json_number_value(json_object_get(one, "gain")), others, n, &p, &error),
                  &error);
        expect_near("outstanding", "p", p, wanted, 1e-6 * wanted);
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evidence),
        cmocka_unit_test(test_no_turn),
        cmocka_unit_test(test_all_alike),
        cmocka_unit_test(test_outstanding),
    };
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
