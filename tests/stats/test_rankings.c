/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics against NumPy and SciPy (tests/golden/make-statistics.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "stats/bootstrap.h"
#include "stats/rankings.h"
#include "util/json.h"
#include "util/scratch.h"

/* The cases of one kind; the whole file is for json_decref(). */
static const json_t *cases_of(const char *kind, json_t **file)
{
    sah_error error = {0};
    expect_ok(sah_json_read("tests/golden/statistics.json", 1 << 20, file, &error), &error);
    const json_t *cases = json_object_get(*file, kind);
    assert_true(json_array_size(cases) > 0);
    return cases;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static double *numbers(const json_t *object, const char *key, size_t *n)
{
    const json_t *array = json_object_get(object, key);
    *n = json_array_size(array);
    double *out = calloc(*n, sizeof *out);
    for (size_t i = 0; i < *n; i++) out[i] = json_number_value(json_array_get(array, i));
    return out;
}

static void expect_near(double value, double golden)
{
    if (!(fabs(value - golden) <= 1e-10 * fmax(1, fabs(golden)))) fail_msg("%.17g, not %.17g", value, golden);
}

static void test_bootstrap(void **state)
{
    (void)state;
    json_t *file;
    const json_t *cases = cases_of("bootstrap", &file);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *item = json_array_get(cases, c);
        size_t n, n_counts;
        double low, high, *values = numbers(item, "values", &n), *counts = numbers(item, "counts", &n_counts);
        assert_int_equal(n_counts, SAH_RESAMPLES * n);
        sah_bootstrap plan = {.n = n, .counts = calloc(n_counts, sizeof *plan.counts)};
        for (size_t i = 0; i < n_counts; i++) plan.counts[i] = (uint16_t)counts[i];
        double *means = calloc(SAH_RESAMPLES, sizeof *means);
        sah_bootstrap_means(&plan, values, means);
        sah_bootstrap_interval(means, &low, &high);
        expect_near(low, number(item, "low"));
        expect_near(high, number(item, "high"));
        sah_bootstrap_free(&plan);
        free(means);
        free(values);
        free(counts);
    }
    json_decref(file);
}

/* The draws: n of n with replacement, each query as often as the others, another stream other draws. */
static void test_draws(void **state)
{
    (void)state;
    enum { N = 100 };
    sah_error error = {0};
    sah_bootstrap plan, again, other;
    expect_ok(sah_bootstrap_new(N, 1, &plan, &error), &error);
    expect_ok(sah_bootstrap_new(N, 1, &again, &error), &error);
    expect_ok(sah_bootstrap_new(N, 2, &other, &error), &error);
    size_t drawn[N] = {0}, same = 0;
    for (size_t r = 0; r < SAH_RESAMPLES; r++) {
        size_t sum = 0;
        for (size_t i = 0; i < N; i++) {
            size_t at = r * N + i;
            sum += plan.counts[at];
            drawn[i] += plan.counts[at];
            assert_int_equal(plan.counts[at], again.counts[at]);
            same += plan.counts[at] == other.counts[at];
        }
        assert_int_equal(sum, N);
    }
    /* Poisson, about: a deviation of sqrt(2000); equal counts as often as two independent ones. */
    for (size_t i = 0; i < N; i++) assert_in_range(drawn[i], SAH_RESAMPLES - 180, SAH_RESAMPLES + 180);
    assert_in_range(same, SAH_RESAMPLES * N * 28 / 100, SAH_RESAMPLES * N * 34 / 100);

    /* Half ones: the mean's deviation is 0.05, its interval 0.5 -+ 0.098. */
    double values[N], means[SAH_RESAMPLES], low, high;
    for (size_t i = 0; i < N; i++) values[i] = i % 2 ? 1 : 0;
    sah_bootstrap_means(&plan, values, means);
    sah_bootstrap_interval(means, &low, &high);
    assert_true(fabs(low - 0.402) < 0.011 && fabs(high - 0.598) < 0.011);
    sah_bootstrap_free(&plan);
    sah_bootstrap_free(&again);
    sah_bootstrap_free(&other);
    expect_failure(sah_bootstrap_new(0, 1, &plan, &error), &error, "1 to 65535 queries");
    expect_failure(sah_bootstrap_new(65536, 1, &plan, &error), &error, "1 to 65535 queries");
}

static void test_percentile(void **state)
{
    (void)state;
    static const double three[] = {1, 2, 4};
    expect_near(sah_percentile(three, 3, 0), 1);
    expect_near(sah_percentile(three, 3, 0.25), 1.5);
    expect_near(sah_percentile(three, 3, 0.5), 2);
    expect_near(sah_percentile(three, 3, 0.75), 3);
    expect_near(sah_percentile(three, 3, 1), 4);
    expect_near(sah_percentile(three, 1, 0.3), 1);
}

static void test_overlap(void **state)
{
    (void)state;
    json_t *file;
    const json_t *cases = cases_of("overlap", &file);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *item = json_array_get(cases, c);
        size_t n = (size_t)number(item, "n"), k = (size_t)number(item, "k");
        size_t shared = (size_t)number(item, "shared");
        double expected, p;
        sah_overlap_chance(n, k, shared, &expected, &p);
        expect_near(sah_jaccard(k, shared), number(item, "jaccard"));
        expect_near(expected, number(item, "expected"));
        expect_near(p, number(item, "p"));
    }
    json_decref(file);
}

static void test_spearman(void **state)
{
    (void)state;
    json_t *file;
    sah_error error = {0};
    const json_t *cases = cases_of("spearman", &file);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *item = json_array_get(cases, c);
        size_t n, m;
        double rho, *x = numbers(item, "x", &n), *y = numbers(item, "y", &m);
        expect_ok(sah_spearman(x, y, n, &rho, &error), &error);
        expect_near(rho, number(item, "rho"));
        free(x);
        free(y);
    }
    json_decref(file);
    static const double flat[] = {1, 1, 1}, rising[] = {1, 2, 3};
    double rho;
    expect_ok(sah_spearman(flat, rising, 3, &rho, &error), &error);
    assert_true(isnan(rho));
}

static void test_gini(void **state)
{
    (void)state;
    json_t *file;
    const json_t *cases = cases_of("gini", &file);
    for (size_t c = 0; c < json_array_size(cases); c++) {
        const json_t *item = json_array_get(cases, c);
        size_t n;
        double *values = numbers(item, "values", &n);
        expect_near(sah_gini(values, n), number(item, "gini"));
        free(values);
    }
    json_decref(file);
    double zeros[] = {0, 0};
    expect_near(sah_gini(zeros, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap), cmocka_unit_test(test_draws),    cmocka_unit_test(test_percentile),
        cmocka_unit_test(test_overlap),   cmocka_unit_test(test_spearman), cmocka_unit_test(test_gini),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
