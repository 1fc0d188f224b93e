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
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_spearman),
        cmocka_unit_test(test_gini),
    };
    return cmocka_run_group_tests_name("statistics", tests, NULL, NULL);
}
