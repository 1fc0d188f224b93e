/* SPDX-License-Identifier: Apache-2.0 */
/* The estimate of a sweep: twice the queries or heads are about twice the work, and it is of the size of the time that
 * a sweep takes, on a machine that may be busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "program.h"
#include "util/needs.h"
#include "util/scratch.h"

static sah_strings some_queries(size_t n)
{
    sah_error error = {0};
    sah_strings out = {0};
    char text[64];
    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof text, "%zu: how do bees find their way?", 100 + i);
        expect_ok(sah_strings_add(&out, text, strlen(text), &error), &error);
    }
    return out;
}

static sah_estimate estimate(const sah_model *model, const sah_strings *queries, const sah_strings *contrast,
                             const sah_run_options *options)
{
    sah_error error = {0};
    sah_estimate out;
    expect_ok(sah_sweep_estimate(model, queries, contrast, "ships", options, &out, &error), &error);
    return out;
}

static void test_growth(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    sah_strings few = some_queries(10), many = some_queries(40);
    sah_run_options options = sah_run_options_default(), shard = options, layer = options;
    shard.shard = (sah_shard){1, 4};
    layer.layer_from = 3;
    layer.layer_to = 4;
    const sah_estimate one = estimate(model, &few, NULL, &options),
                       four = estimate(model, &many, NULL, &options),
                       both = estimate(model, &many, &few, &options),
                       part = estimate(model, &many, NULL, &shard),
                       last = estimate(model, &many, NULL, &layer);
    assert_int_equal(one.queries, 10);
    assert_int_equal(one.heads, 32);
    assert_int_equal(both.queries, 50);
    assert_int_equal(last.heads, 8);
    assert_true(four.operations > 3 * one.operations && four.operations < 5 * one.operations);
    assert_float_equal(part.operations, four.operations / 4, 1);
    assert_true(last.operations < four.operations / 4);
    assert_true(one.seconds > 0);
    sah_strings_free(&few);
    sah_strings_free(&many);
    sah_model_close(model);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void test_real(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    needs_smollm2();
    expect_ok(sah_model_open(SMOLLM2, NULL, &model, &error), &error);
    sah_strings queries = some_queries(4);
    sah_run_options options = sah_run_options_default();
    options.layer_from = 24;
    options.layer_to = 30;
    const double began = now();
    expect_ok(sah_ships(model, &queries, NULL, &options, NULL, &error), &error);
    const double took = now() - began;
    const sah_estimate guess = estimate(model, &queries, NULL, &options);
    if (!(guess.seconds > took / 20 && guess.seconds < 20 * took))
        fail_msg("%.2f s, estimated %.2f s", took, guess.seconds);
    sah_strings_free(&queries);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth), cmocka_unit_test(test_real)};
    return cmocka_run_group_tests_name("estimate", tests, NULL, NULL);
}
