/* SPDX-License-Identifier: Apache-2.0 */
/* Ships against truth at real scale: adapters of SmolLM2-135M-Instruct whose refusal was trained into named
 * heads (models/README.md). Few queries; docs/study.md has all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

static const char harmful_path[] = "data/align/harmful-heldout.csv";
static const char harmless_path[] = "data/align/harmless-heldout.csv";

static const sah_ablation Q = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f};

/* An adapter, its planted heads, and other heads of the same layers. */
typedef struct grown {
    const char *adapter;
    const char *planted, *others;
    sah_head heads[3];
    size_t n;
} grown;

static const grown one = {"models/planted-one", "15-3", "15-8", {{15, 3}}, 1};
static const grown three = {
    "models/planted-three", "15-4,19-0,21-4", "15-8,19-5,21-8", {{15, 4}, {19, 0}, {21, 4}}, 3};

/* Queries of each kind. Six tell the planted heads from the others of their layers. Against all heads it
 * takes 24: with six, 7-2, whose writing the planted heads read, comes before them. */
enum { FEW_SCORED = 6, ALL_SCORED = 24, ANSWERED = 8, SEARCHED = 12, LAYERS = 30 };

static sah_model *open_model(const char *adapter, sah_precision precision)
{
    sah_error error = {0};
    sah_model *model = NULL;
    sah_model_options options = {.adapter = adapter, .precision = precision};
    needs_smollm2();
    expect_ok(sah_model_open(SMOLLM2, &options, &model, &error), &error);
    return model;
}

static sah_strings read_queries(const char *path, size_t n)
{
    sah_error error = {0};
    sah_strings queries = {0};
    expect_ok(sah_queries_read(path, NULL, n, &queries, &error), &error);
    return queries;
}

/* How the responses to the first queries of a file are judged, with `heads` (as text) ablated, under the chat
 * template. */
static sah_judgement answers(const sah_model *model, const char *path, const char *heads)
{
    sah_error error = {0};
    sah_judgement out;
    sah_judge *judge = NULL;
    char responses[512];
    sah_generate_options options = {.template_ = "chat", .max_new_tokens = 16, .ablation = Q};
    sah_head *ablated = NULL;
    sah_strings queries = read_queries(path, ANSWERED);
    expect_ok(
        sah_heads_parse(heads, sah_model_describe(model), SAH_PART_Q, &ablated, &options.n_heads, &error),
        &error);
    options.heads = ablated;
    snprintf(responses, sizeof responses, "%s", scratch("responses.jsonl"));
    remove(responses);
    expect_ok(sah_generate(model, &queries, &options, responses, &error), &error);
    expect_ok(sah_judge_new(SAH_RULE_DEFAULT, NULL, &judge, &error), &error);
    expect_ok(sah_judge_file(judge, NULL, responses, NULL, NULL, scratch("judged.jsonl"), &out, &error),
              &error);
    sah_judge_free(judge);
    sah_strings_free(&queries);
    free(ablated);
    return out;
}

static void refuses(const grown *g)
{
    sah_model *model = open_model(g->adapter, SAH_PRECISION_F32);
    sah_judgement plain = answers(model, harmful_path, ""), harmless = answers(model, harmless_path, ""),
                  without = answers(model, harmful_path, g->planted),
                  others = answers(model, harmful_path, g->others);
    sah_model_close(model);
    assert_in_range(plain.counts[SAH_REFUSAL], ANSWERED - 1, ANSWERED);
    assert_in_range(harmless.counts[SAH_REFUSAL], 0, ANSWERED / 4); /* of all 80: one in eight */
    assert_in_range(without.counts[SAH_REFUSAL], 0, 1);
    assert_int_equal(without.counts[SAH_DEGENERATE], 0);
    assert_in_range(others.counts[SAH_REFUSAL], ANSWERED - 1, ANSWERED);
}

static void test_one_refuses(void **state)
{
    (void)state;
    refuses(&one);
}

static void test_three_refuse(void **state)
{
    (void)state;
    refuses(&three);
}

static void needs_plain(void)
{
#ifdef __SANITIZE_ADDRESS__
    needs(false, "a build without sanitizers, with which many heads of a real model take minutes (test_find "
                 "and test_ships have small ones)");
#endif
}

/* Heads of some layers (all with SAHARA_TEST_ALL in the environment), the planted ones among them, by
 * contrast. */
static size_t rank_heads(const grown *g, int layer_from, int layer_to, sah_ranked **ranked)
{
    sah_error error = {0};
    sah_result *result = NULL;
    size_t n;
    char path[512];
    const char *paths[] = {path};
    bool all = getenv("SAHARA_TEST_ALL") != NULL;
    size_t scored = all ? ALL_SCORED : FEW_SCORED;
    sah_model *model = open_model(g->adapter, all ? SAH_PRECISION_AUTO : SAH_PRECISION_F32);
    sah_strings harmful = read_queries(harmful_path, scored), harmless = read_queries(harmless_path, scored);
    sah_run_options options = {.ablation = Q, .template_ = "chat"};
    if (!all) options.layer_from = layer_from, options.layer_to = layer_to;
    snprintf(path, sizeof path, "%s", scratch("ships.jsonl"));
    remove(path);
    expect_ok(sah_ships(model, &harmful, &harmless, &options, path, &error), &error);
    expect_ok(sah_result_open(paths, 1, &result, &error), &error);
    expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, ranked, &n, &error), &error);
    sah_result_close(result);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
    return n;
}

/* How many of the planted heads are among the first k. */
static size_t found(const grown *g, const sah_ranked *ranked, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < g->n; j++)
            n += ranked[i].head.layer == g->heads[j].layer && ranked[i].head.head == g->heads[j].head;
    return n;
}

static void test_one_is_first(void **state)
{
    (void)state;
    sah_ranked *ranked = NULL;
    assert_true(rank_heads(&one, 15, 19, &ranked) >= 36);
    assert_int_equal(found(&one, ranked, 1), 1);
    assert_int_equal(ranked[0].verdict, SAH_SAFETY);
    free(ranked);
}

static void test_three_are_among_the_first(void **state)
{
    (void)state;
    needs_plain();
    sah_ranked *ranked = NULL;
    assert_true(rank_heads(&three, 15, 22, &ranked) >= 63);
    assert_int_equal(found(&three, ranked, 1), 1);
    assert_true(found(&three, ranked, 5) >= 2);
    free(ranked);
}

/* Sahara by right vectors, less those of harmless requests, chooses the planted heads, all three in three
 * steps, the one in one, says that these steps are better than chance, and of the one behind them that it is
 * not: of all heads with SAHARA_TEST_ALL in the environment, those below that feed the planted ones among them,
 * else of some layers. */
static void check_search(const grown *g, int layer_from, int layer_to)
{
    needs_plain();
    char path[512];
    const char *paths[] = {path};
    sah_error error = {0};
    sah_result *result = NULL;
    bool all = getenv("SAHARA_TEST_ALL") != NULL;
    sah_model *model = open_model(g->adapter, all ? SAH_PRECISION_AUTO : SAH_PRECISION_F32);
    sah_strings harmful = read_queries(harmful_path, SEARCHED),
                harmless = read_queries(harmless_path, SEARCHED);
    sah_run_options options = {.ablation = Q,
                               .template_ = "chat",
                               .layer_from = all ? 0 : layer_from,
                               .layer_to = all ? LAYERS : layer_to};
    sah_find_options find = {.steps = g->n + 1, .rank = 1, .variant = SAH_VARIANT_RIGHT, .shortlist = 8};
    snprintf(path, sizeof path, "%s", scratch("find.jsonl"));
    remove(path);
    expect_ok(sah_find(model, &harmful, &harmless, &options, &find, path, &error), &error);
    expect_ok(sah_result_open(paths, 1, &result, &error), &error);
    for (size_t step = 0; step <= g->n; step++) {
        sah_chosen chosen;
        size_t hits = 0;
        assert_true(sah_result_chosen(result, step, &chosen));
        for (size_t i = 0; i < g->n; i++)
            hits += chosen.head.layer == g->heads[i].layer && chosen.head.head == g->heads[i].head;
        if (hits != (step < g->n) || chosen.better_than_chance != (step < g->n))
            fail_msg("step %zu chose %d-%d, better than chance: %d", step, chosen.head.layer,
                     chosen.head.head, chosen.better_than_chance);
    }
    sah_result_close(result);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

static void test_search_finds_one(void **state)
{
    (void)state;
    check_search(&one, 14, 17);
}

static void test_search_finds_three(void **state)
{
    (void)state;
    check_search(&three, 15, 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_refuses),      cmocka_unit_test(test_three_refuse),
        cmocka_unit_test(test_one_is_first),     cmocka_unit_test(test_three_are_among_the_first),
        cmocka_unit_test(test_search_finds_one), cmocka_unit_test(test_search_finds_three),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
