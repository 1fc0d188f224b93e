/* SPDX-License-Identifier: Apache-2.0 */
/* bfloat16 beside float32: half the weights, the same highest heads, nearly the same order of all, and by differences
 * nearly the same scores. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "engine/model.h"
#include "engine/precision.h"
#include "models/far.h"
#include "util/needs.h"
#include "util/scratch.h"

enum { QUERIES = 40, HEADS = 32 };

/* Places of the heads by mean Ships, and the means, [layer * 8 + head]; bytes of the packed weights. */
static uint64_t score(sah_precision precision, size_t place[HEADS], double mean[HEADS])
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_strings queries = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n;
    char path[512];
    const char *paths = path;
    sah_model_options model_options = {.precision = precision};
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    snprintf(path, sizeof path, "%s", scratch(precision == SAH_PRECISION_BF16 ? "bf16.jsonl" : "f32.jsonl"));
    expect_ok(sah_model_open("models/organism", &model_options, &model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, QUERIES, &queries, &error), &error);
    expect_ok(sah_ships(model, &queries, NULL, &options, path, &error), &error);
    expect_ok(sah_result_open(&paths, 1, &result, &error), &error);
    expect_ok(sah_rank(result, SAH_ORDER_MEAN, &ranked, &n, &error), &error);
    assert_int_equal(n, HEADS);
    for (size_t i = 0; i < n; i++) {
        const int head = ranked[i].head.layer * 8 + ranked[i].head.head;
        place[head] = i;
        mean[head] = ranked[i].mean;
    }
    uint64_t bytes = sah_model_weight_bytes(model);
    free(ranked);
    sah_result_close(result);
    sah_strings_free(&queries);
    sah_model_close(model);
    return bytes;
}

static void test_agreement(void **state)
{
    (void)state;
    size_t exact[HEADS], rounded[HEADS];
    needs(sah_product_has_bf16(), "a processor with bfloat16 products");
    double exact_mean[HEADS], rounded_mean[HEADS], squares = 0, worst = 0;
    uint64_t f32 = score(SAH_PRECISION_F32, exact, exact_mean),
             bf16 = score(SAH_PRECISION_BF16, rounded, rounded_mean);
    for (size_t h = 0; h < HEADS; h++) {
        double off = (double)exact[h] - (double)rounded[h];
        squares += off * off;
        if (exact_mean[h] > 0.01) worst = fmax(worst, fabs(rounded_mean[h] / exact_mean[h] - 1));
        assert_true((exact[h] < 3) == (rounded[h] < 3)); /* the three planted heads */
    }
    double spearman = 1 - 6 * squares / (HEADS * (HEADS * HEADS - 1.0));
    print_message("Spearman's correlation %.4f; weights %.3f of float32's\n", spearman,
                  (double)bf16 / (double)f32);
    print_message("mean scores above 0.01 nats are off by %.2g of themselves\n", worst);
    assert_true(spearman > 0.99);
    assert_true(worst < 0.01);
    assert_true((double)bf16 < 0.55 * (double)f32);
}

/* What `auto` makes of the rates, and that it goes by those that it says it measured. */
static void test_auto(void **state)
{
    (void)state;
    assert_int_equal(sah_precision_faster(100, 50), SAH_PRECISION_F32);
    assert_int_equal(sah_precision_faster(100, 100), SAH_PRECISION_F32);
    assert_int_equal(sah_precision_faster(100, 109), SAH_PRECISION_F32);
    assert_int_equal(sah_precision_faster(100, 111), SAH_PRECISION_BF16);
    assert_int_equal(sah_precision_faster(100, 250), SAH_PRECISION_BF16);

    sah_error error = {0};
    sah_config config = {.d_model = 512, .d_ff = 1024};
    sah_precision chosen;
    char note[128], name[8];
    double f32, bf16;
    expect_ok(
        sah_precision_choose(sah_cpu(), &config, SAH_PRECISION_AUTO, 1, &chosen, note, sizeof note, &error),
        &error);
    const char *said = chosen == SAH_PRECISION_BF16 ? "bf16: " : "f32: ";
    assert_int_equal(strncmp(note, said, strlen(said)), 0);
    if (!sah_product_has_bf16()) {
        assert_int_equal(chosen, SAH_PRECISION_F32);
        return;
    }
    assert_int_equal(
        sscanf(note, "%7[a-z0-9]: products ran at %lf GFLOP/s in f32, %lf in bf16", name, &f32, &bf16), 3);
    /* The note's rates are rounded: near the boundary it does not tell. */
    if (fabs(bf16 - 1.1 * f32) > 2) assert_int_equal(chosen, sah_precision_faster(f32, bf16));

    expect_ok(
        sah_precision_choose(sah_cpu(), &config, SAH_PRECISION_F32, 1, &chosen, note, sizeof note, &error),
        &error);
    assert_int_equal(chosen, SAH_PRECISION_F32);
    expect_ok(
        sah_precision_choose(sah_cpu(), &config, SAH_PRECISION_BF16, 1, &chosen, note, sizeof note, &error),
        &error);
    assert_int_equal(chosen, SAH_PRECISION_BF16);
}

/* Measured where the device's rows lie, not the host's. */
static void test_device(void **state)
{
    sah_error error = {0};
    const sah_config config = {.d_model = 128, .d_ff = 256};
    sah_precision chosen;
    char note[128];
    (void)state;
    assert_int_equal(sah_precision_has_bf16(far_device()), sah_product_has_bf16());
    expect_ok(sah_precision_choose(far_device(), &config, SAH_PRECISION_AUTO, 2, &chosen, note, sizeof note,
                                   &error),
              &error);
    const char *said = chosen == SAH_PRECISION_BF16 ? "bf16: products ran at " : "f32: ";
    assert_int_equal(strncmp(note, said, strlen(said)), 0);
    assert_int_equal(far_held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_agreement), cmocka_unit_test(test_auto),
                                       cmocka_unit_test(test_device)};
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
