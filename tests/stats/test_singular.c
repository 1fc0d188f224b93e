/* SPDX-License-Identifier: Apache-2.0 */
/* Singular values and eigenvectors: matrices made of known ones, to the digits that float64 has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "stats/singular.h"
#include "util/scratch.h"
#include "util/splitmix.h"

enum { MOST = 64 };

/* rank orthonormal rows of width n. */
static void draw_basis(uint64_t *state, double *q, size_t rank, size_t n)
{
    for (size_t i = 0; i < rank * n; i++) q[i] = (double)sah_splitmix_below(state, 2000001) / 1000000 - 1;
    for (int twice = 0; twice < 2; twice++) sah_orthonormalise(q, rank, n);
}

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* A = sum of s_i u_i v_iᵀ by columns: small values come out with as many digits as A holds of them. */
static void check_values(const double *s, size_t n, size_t rows, size_t columns)
{
    static double a[MOST * MOST], u[MOST * MOST], v[MOST * MOST], values[MOST], got[MOST * MOST];
    uint64_t state = n + rows;
    sah_error error = {0};
    draw_basis(&state, u, n, rows);
    draw_basis(&state, v, n, columns);
    memset(a, 0, sizeof a);
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < columns; c++)
            for (size_t r = 0; r < rows; r++) a[c * rows + r] += s[i] * u[i * rows + r] * v[i * columns + c];
    expect_ok(sah_singular_values(a, rows, columns, values, got, &error), &error);
    for (size_t i = 0; i < columns; i++) {
        assert_true(fabs(values[i] - (i < n ? s[i] : 0)) <= 4e-15 * s[0]);
        if (i >= n || s[i] < 1e-3 * s[0]) continue;
        /* Vectors of values that stand apart; a column is its left vector times the value. */
        assert_true(fabs(fabs(dot(got + i * columns, v + i * columns, columns)) - 1) < 1e-12);
        assert_true(fabs(fabs(dot(a + i * rows, u + i * rows, rows)) - values[i]) < 1e-12 * s[0]);
    }
}

static void test_values(void **state)
{
    (void)state;
    check_values((const double[]){3}, 1, 1, 1);
    check_values((const double[]){5, 2, 1}, 3, 3, 3);
    check_values((const double[]){5, 2, 1e-3, 1e-9}, 4, 9, 4);
    check_values((const double[]){7, 0.5}, 2, 40, 12); /* not of full rank */
    check_values((const double[]){7, 7, 7, 0.01}, 1, 40, 12);
    check_values((const double[]){1e-150, 1e-151}, 2, 8, 3);
    check_values((const double[]){1e100, 1e99, 1}, 3, 8, 3);
    double zero[6] = {0}, values[3], v[9];
    sah_error error = {0};
    expect_ok(sah_singular_values(zero, 2, 3, values, v, &error), &error);
    for (int i = 0; i < 3; i++) assert_true(values[i] == 0 && v[i * 4] == 1);
    /* Columns at right angles keep every digit, however small. */
    double apart[] = {0, 1e-30, 0, 3, 0, 0};
    expect_ok(sah_singular_values(apart, 3, 2, values, NULL, &error), &error);
    assert_true(values[0] == 3 && values[1] == 1e-30);
}

/* G = sum of w_i q_i q_iᵀ. */
static void check_eigen(const double *w, size_t known, size_t n, size_t k, size_t exact, bool converges)
{
    static double g[MOST * MOST], q[MOST * MOST], values[MOST], vectors[MOST * MOST];
    uint64_t state = n;
    bool converged;
    sah_error error = {0};
    draw_basis(&state, q, known, n);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < n; b++) {
            g[a * n + b] = 0;
            for (size_t i = 0; i < known; i++) g[a * n + b] += w[i] * q[i * n + a] * q[i * n + b];
        }
    expect_ok(sah_leading_eigenvectors(g, n, k, exact, values, vectors, &converged, &error), &error);
    assert_int_equal(converged, converges);
    for (size_t i = 0; i < exact && converges; i++) {
        double along = dot(vectors + i * n, q + i * n, n),
               gap = i + 1 < known ? (w[i] - w[i + 1]) / w[0] : w[i] / w[0];
        if (i > 0) gap = fmin(gap, (w[i - 1] - w[i]) / w[0]);
        assert_true(fabs(values[i] - w[i]) <= 1e-14 * w[0]);
        double square = 0;
        for (size_t a = 0; a < n; a++) {
            double off = vectors[i * n + a] - along * q[i * n + a];
            square += off * off;
        }
        assert_true(sqrt(square) <= 1e-14 / gap);
    }
}

static void test_eigenvectors(void **state)
{
    (void)state;
    check_eigen((const double[]){9, 4, 1}, 3, 3, 2, 1, true);
    check_eigen((const double[]){9, 4, 1}, 3, 3, 3, 3, true);
    check_eigen((const double[]){9, 4, 1}, 3, 40, 2, 1, true); /* of low rank */
    check_eigen((const double[]){9, 8.999, 0.1}, 3, 40, 3, 2, true);
    double slow[MOST], near[MOST];
    for (int i = 0; i < MOST; i++) slow[i] = pow(0.95, i), near[i] = 1 - 1e-9 * i;
    check_eigen(slow, 60, 60, 4, 3, true);
    check_eigen(near, 60, 60, 2, 1, false); /* the caller takes another way */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_eigenvectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
