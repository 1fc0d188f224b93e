/* SPDX-License-Identifier: Apache-2.0 */
/* Principal angles against mpmath with 50 digits (tests/golden/make-subspaces.py), and where there is no
 * direction to compare. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attribution/subspace.h"
#include "stats/singular.h"
#include "util/json.h"
#include "util/scratch.h"

/* Degrees. The oracle's smallest shift is 1e-8. */
static const double BOUND = 1e-9;

static float *read_matrix(const json_t *array)
{
    size_t n = json_array_size(array);
    float *m = calloc(n, sizeof *m);
    for (size_t i = 0; i < n; i++) m[i] = (float)json_number_value(json_array_get(array, i));
    return m;
}

static size_t size_of(const json_t *object, const char *key)
{
    return (size_t)json_integer_value(json_object_get(object, key));
}

static void test_against_mpmath(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *cases = NULL;
    expect_ok(sah_json_read("tests/golden/subspaces.json", 1 << 20, &cases, &error), &error);
    assert_true(json_array_size(cases) >= 17);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i), *expected = json_object_get(c, "angles");
        size_t n = size_of(c, "n"), d = size_of(c, "d"), rank = size_of(c, "rank"), found;
        float *m = read_matrix(json_object_get(c, "m")), *other = read_matrix(json_object_get(c, "other"));
        double *u = calloc(n * rank, sizeof *u), *v = calloc(n * rank, sizeof *v);
        double *angles = calloc(rank, sizeof *angles);
        expect_ok(sah_subspace(m, n, d, rank, "query", u, &found, &error), &error);
        assert_int_equal(found, rank);
        expect_ok(sah_subspace(other, n, d, rank, "query", v, &found, &error), &error);
        assert_int_equal(found, rank);
        expect_ok(sah_principal_angles(u, rank, v, rank, n, angles, &error), &error);
        for (size_t k = 0; k < rank; k++) {
            double off = fabs(angles[k] - json_number_value(json_array_get(expected, k)));
            if (!(off < BOUND))
                fail_msg("%s, angle %zu: off by %g degrees", json_string_value(json_object_get(c, "name")), k,
                         off);
        }
        free(m);
        free(other);
        free(u);
        free(v);
        free(angles);
    }
    json_decref(cases);
}

static void test_right_angles(void **state)
{
    (void)state;
    sah_error error = {0};
    const double u[] = {1, 0, 0, 0, 1, 0}, turned[] = {0, 0.6, 0.8, 0, 0.8, -0.6};
    double angles[2];
    /* span(e1, e2) and span(e2, e3) share e2. */
    expect_ok(sah_principal_angles(u, 2, turned, 2, 3, angles, &error), &error);
    assert_true(fabs(angles[0]) < 1e-12 && fabs(angles[1] - 90) < 1e-12);
    /* The same space in another basis and with another sign. */
    const double same[] = {0.6, -0.8, 0, -0.8, -0.6, 0};
    expect_ok(sah_principal_angles(u, 2, same, 2, 3, angles, &error), &error);
    assert_true(fabs(angles[0]) < 1e-12 && fabs(angles[1]) < 1e-12);
    /* Directions that are no longer there are lost altogether. */
    expect_ok(sah_principal_angles(u, 2, same, 1, 3, angles, &error), &error);
    assert_true(fabs(angles[0]) < 1e-12 && angles[1] == 90);
    expect_ok(sah_principal_angles(u, 2, same, 0, 3, angles, &error), &error);
    assert_true(angles[0] == 90 && angles[1] == 90);
}

static void test_no_direction(void **state)
{
    (void)state;
    sah_error error = {0};
    float m[3 * 4] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    double u[2 * 3];
    size_t found = 9;
    expect_ok(sah_subspace(m, 3, 4, 2, "query", u, &found, &error), &error); /* equal rows */
    assert_int_equal(found, 1);
    for (size_t i = 0; i < 3; i++) assert_true(fabs(fabs(u[i]) - sqrt(1.0 / 3)) < 1e-12);
    m[4] = nextafterf(1, 2); /* rounding is no second direction */
    expect_ok(sah_subspace(m, 3, 4, 2, "query", u, &found, &error), &error);
    assert_int_equal(found, 1);
    m[4] = 1.001f; /* this is one */
    expect_ok(sah_subspace(m, 3, 4, 2, "query", u, &found, &error), &error);
    assert_int_equal(found, 2);

    m[6] = NAN;
    expect_failure(sah_subspace(m, 3, 4, 1, "query", u, &found, &error), &error, "query 2 is not finite");
    m[6] = INFINITY;
    expect_failure(sah_subspace(m, 3, 4, 1, "query", u, &found, &error), &error, "query 2");
    expect_failure(sah_first_column(m, 3, 4, "query", u, &found, &error), &error, "query 2");

    memset(m, 0, sizeof m);
    expect_ok(sah_subspace(m, 3, 4, 1, "query", u, &found, &error), &error);
    assert_int_equal(found, 0);
    expect_ok(sah_first_column(m, 3, 4, "query", u, &found, &error), &error);
    assert_int_equal(found, 0);
}

static void test_first_column(void **state)
{
    (void)state;
    sah_error error = {0};
    const float m[] = {3, 9, 9, 4, 9, 9}, other[] = {4, 0, 1, -3, 5, 5};
    double u[2], v[2], angle;
    size_t found;
    expect_ok(sah_first_column(m, 2, 3, "query", u, &found, &error), &error);
    assert_int_equal(found, 1);
    assert_true(fabs(u[0] - 0.6) < 1e-12 && fabs(u[1] - 0.8) < 1e-12);
    expect_ok(sah_first_column(other, 2, 3, "query", v, &found, &error), &error);
    expect_ok(sah_principal_angles(u, 1, v, 1, 2, &angle, &error), &error);
    assert_true(fabs(angle - 90) < 1e-12);
}

/* By hand: (3, 4, 0) and (1, 2, 2) less its part along the first; what has no direction becomes 0. */
static void test_orthonormalise(void **state)
{
    (void)state;
    double v[] = {3, 4, 0, 1, 2, 2, 6, 8, 0};
    const double along = 2.2, square = 9 - along * along;
    const double wanted[] = {
        0.6, 0.8, 0, (1 - along * 0.6) / sqrt(square), (2 - along * 0.8) / sqrt(square), 2 / sqrt(square),
        0,   0,   0};
    sah_orthonormalise(v, 2, 3);
    for (size_t i = 0; i < 6; i++) assert_true(fabs(v[i] - wanted[i]) < 1e-12);
    double twice[] = {1, 0, 0, 2, 0, 0};
    sah_orthonormalise(twice, 2, 3);
    for (size_t i = 0; i < 6; i++) assert_true(fabs(twice[i] - (i == 0)) < 1e-12);
}

/* Right vectors are those of M^T W u, made orthonormal: M = (3 0 4; 0 5 0; 0 0 0). */
static void test_right_vectors(void **state)
{
    (void)state;
    const float m[] = {3, 0, 4, 0, 5, 0, 0, 0, 7};
    const double u[] = {1, 0, 0, 0.6, 0.8, 0}, w[] = {2, 1, 0};
    double v[6];
    const double plain[] = {0.6, 0, 0.8, 0, 1, 0};
    sah_right_vectors(m, NULL, 3, 3, u, 2, v);
    for (size_t i = 0; i < 6; i++) assert_true(fabs(v[i] - plain[i]) < 1e-12);
    /* The first row counts twice in 0.6 * 2 * (3 0 4) + 0.8 * (0 5 0) = (3.6 4 4.8), of length sqrt(52). */
    const double one[] = {0.6, 0.8, 0}, weighed[] = {3.6 / sqrt(52), 4 / sqrt(52), 4.8 / sqrt(52)};
    sah_right_vectors(m, w, 3, 3, one, 1, v);
    for (size_t i = 0; i < 3; i++) assert_true(fabs(v[i] - weighed[i]) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_mpmath), cmocka_unit_test(test_right_angles),
        cmocka_unit_test(test_no_direction),   cmocka_unit_test(test_first_column),
        cmocka_unit_test(test_orthonormalise), cmocka_unit_test(test_right_vectors),
    };
    return cmocka_run_group_tests_name("subspaces", tests, NULL, NULL);
}
