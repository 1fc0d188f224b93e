/* SPDX-License-Identifier: Apache-2.0 */
/* Matching by length against every choice there is, and queries sampled with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "run/length_match.h"
#include "util/scratch.h"
#include "util/splitmix.h"

enum { MOST = 7 };

static size_t apart(size_t a, size_t b)
{
    return a > b ? a - b : b - a;
}

/* The least sum over all ways to give each wanted length one of its own. */
static size_t best(const size_t *wanted, size_t n, const size_t *from, size_t m, unsigned used)
{
    if (n == 0) return 0;
    size_t least = SIZE_MAX;
    for (size_t j = 0; j < m; j++) {
        if (used >> j & 1) continue;
        size_t sum = apart(wanted[0], from[j]) + best(wanted + 1, n - 1, from, m, used | 1U << j);
        if (sum < least) least = sum;
    }
    return least;
}

static void test_least(void **state)
{
    (void)state;
    uint64_t random = 5;
    for (int trial = 0; trial < 300; trial++) {
        size_t n = 1 + sah_splitmix_below(&random, 4), m = n + sah_splitmix_below(&random, MOST - 3);
        size_t a[MOST], b[MOST], chosen_lengths[MOST], count = 0;
        sah_length wanted[MOST], from[MOST];
        bool chosen[MOST];
        sah_error error = {0};
        for (size_t i = 0; i < n; i++) wanted[i] = (sah_length){a[i] = sah_splitmix_below(&random, 12), i};
        for (size_t j = 0; j < m; j++) from[j] = (sah_length){b[j] = sah_splitmix_below(&random, 12), j};
        size_t least = best(a, n, b, m, 0);
        expect_ok(sah_match(wanted, n, from, m, chosen, &error), &error);
        for (size_t j = 0; j < m; j++)
            if (chosen[j]) chosen_lengths[count++] = b[j];
        assert_int_equal(count, n);
        assert_int_equal(best(a, n, chosen_lengths, n, 0), least);
    }
}

static void test_queries(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    sah_matching matching;
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 20, &harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 0, &harmless, &error), &error);
    size_t all = harmless.n;
    expect_ok(sah_match_lengths(model, &harmful, "chat", NULL, &harmless, &matching, &error), &error);
    assert_int_equal(harmless.n, 20);
    assert_int_equal(matching.from, all);
    assert_true(matching.tokens > 0 && matching.contrast_tokens > 0.9 * matching.tokens &&
                matching.contrast_tokens < 1.1 * matching.tokens);
    /* No more of them than wanted: all stay. */
    expect_ok(sah_match_lengths(model, &harmful, "chat", NULL, &harmless, &matching, &error), &error);
    assert_int_equal(harmless.n, 20);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_least), cmocka_unit_test(test_queries)};
    return cmocka_run_group_tests_name("matching lengths", tests, NULL, NULL);
}
