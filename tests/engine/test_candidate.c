/* SPDX-License-Identifier: Apache-2.0 */
/* The operations that are counted by formula are those that a sweep does, product by product. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/sweep.h"
#include "golden.h"

static sah_status take_base(void *ctx, const float *hidden, sah_error *error)
{
    (void)ctx;
    (void)hidden;
    (void)error;
    return SAH_OK;
}

static sah_status take(void *ctx, int thread, sah_workspace *workspace, const int32_t *which, int32_t n,
                       const float *hidden, sah_error *error)
{
    (void)ctx;
    (void)thread;
    (void)workspace;
    (void)which;
    (void)n;
    (void)hidden;
    (void)error;
    return SAH_OK;
}

/* The base pass runs twice: once for the base's own hidden states, once for what candidates share. */
static void compare(const sah_model *model, const golden *g, unsigned parts)
{
    const sah_config *c = &model->config;
    sah_ablation ablation = {parts, SAH_OP_SCALE, 0.5f};
    sah_candidate candidates[64];
    sah_operations expected = {0};
    sah_sweep_report report;
    sah_sweep_options options = {.what = "heads", .report = &report};
    sah_sink sink = {NULL, take_base, take};
    sah_forest *forest = NULL;
    sah_error error = {0};
    int heads = parts == SAH_PART_K ? c->n_kv_heads : c->n_heads;
    size_t n = 0;
    for (int l = 0; l < c->n_layers; l++)
        for (int h = 0; h < heads && n < 64; h++)
            candidates[n++] = sah_candidate_of(c, (sah_head){l, h}, &ablation);
    assert_int_equal(sah_forest_new(g->prompts, g->n_prompts, c->n_vocab, &forest, &error), SAH_OK);
    assert_int_equal(sah_sweep(model, forest, NULL, 0, candidates, n, &options, &sink, &error), SAH_OK);
    for (int twice = 0; twice < 2; twice++) sah_operations_of_base(c, &report.forest, &expected);
    for (size_t i = 0; i < n; i++) sah_operations_of_candidate(c, &report.forest, &candidates[i], &expected);
    double done = report.books.operations[SAH_STAGE_PRODUCT];
    double wanted = sah_operations_total(&expected) - expected.attention;
    if (fabs(done - wanted) > 1e-9 * wanted)
        fail_msg("parts %u: %.0f done, %.0f counted", parts, done, wanted);
    double seconds = 0.0;
    for (int i = 0; i < SAH_N_STAGES; i++) seconds += report.books.seconds[i];
    assert_true(fabs(seconds - report.seconds * report.threads) < 0.01 * seconds);
    sah_forest_free(forest);
}

static void test_counted_is_done(void **state)
{
    golden g;
    golden_open(*state, &g);
    for (int threads = 1; threads <= 2; threads++) {
        sah_model *model = golden_model(*state, NULL, &(sah_model_options){.threads = threads});
        compare(model, &g, SAH_PART_Q);
        compare(model, &g, SAH_PART_K);
        compare(model, &g, SAH_PART_V);
        compare(model, &g, SAH_PART_Q | SAH_PART_K | SAH_PART_V);
        sah_model_close(model);
    }
    golden_close(&g);
}

/* Prompts "1 2 3" and "1 2 4 5": five nodes that see 1, 2, 3, 3, 4 keys; ends see 3 and 4. */
static void test_pairs_by_hand(void **state)
{
    (void)state;
    int32_t a[] = {1, 2, 3}, b[] = {1, 2, 4, 5};
    sah_prompt prompts[] = {{.tokens = a, .n = 3}, {.tokens = b, .n = 4}};
    sah_forest *forest = NULL;
    sah_forest_size size;
    sah_error error = {0};
    assert_int_equal(sah_forest_new(prompts, 2, 10, &forest, &error), SAH_OK);
    sah_forest_measure(forest, 0, &size);
    assert_true(size.tokens == 7 && size.nodes == 5 && size.ends == 2 && size.prompts == 2);
    assert_true(size.pairs == 13 && size.end_pairs == 7);
    sah_forest_measure(forest, 2, &size);
    assert_true(size.pairs == 13 && size.end_pairs == 7);
    assert_true(size.window_pairs == 9 && size.window_end_pairs == 4);

    /* One layer of one head of width 4, d = 4, d_ff = 8: attention 4 D for each of 4 pairs; qkv 2 d (5 * 8 +
     * 2 * 4); output and MLP of the two ends. */
    sah_config c = sah_config_neutral();
    c.n_layers = c.n_heads = c.n_kv_heads = 1;
    c.head_dim = c.d_model = 4;
    c.d_ff = 8;
    c.sliding_window = 2;
    sah_operations sum = {0};
    sah_operations_of_base(&c, &size, &sum);
    assert_true(sum.attention == 4 * 4 * 4 && sum.qkv == 2 * 4 * (5 * 8 + 2 * 4));
    assert_true(sum.output == 2 * 2 * 4 * 4 && sum.gate_up == 2 * 2 * 4 * 16 && sum.down == 2 * 2 * 4 * 8);
    sah_forest_free(forest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"counted is done: llama-mha", test_counted_is_done, NULL, NULL, "llama-mha"},
        {"counted is done: llama-gqa", test_counted_is_done, NULL, NULL, "llama-gqa"},
        {"counted is done: mistral-swa", test_counted_is_done, NULL, NULL, "mistral-swa"},
        cmocka_unit_test(test_pairs_by_hand),
    };
    return cmocka_run_group_tests_name("operations", tests, NULL, NULL);
}
