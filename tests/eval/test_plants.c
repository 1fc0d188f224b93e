/* SPDX-License-Identifier: Apache-2.0 */
/* Refusal planted elsewhere in the organism (scripts/plant-organism.py has the rule): responses to requests that the
 * training never saw, and which heads are called safety. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/needs.h"
#include "util/scratch.h"

enum { TOKENS = 32, TIPPED = 2 };

typedef struct setup {
    sah_judge *judge;
    sah_strings harmful, harmless;
} setup;

/* How many requests are refused without these heads' output. */
static size_t refused(const setup *s, const sah_model *model, const sah_strings *queries,
                      const sah_head *heads, size_t n)
{
    sah_error error = {0};
    sah_judgement totals;
    sah_generate_options options = {.template_ = "chat",
                                    .max_new_tokens = TOKENS,
                                    .ablation = {SAH_PART_V, SAH_OP_SCALE, 0},
                                    .heads = heads,
                                    .n_heads = n};
    char path[512], judged[512];
    snprintf(path, sizeof path, "%s", scratch("responses.jsonl"));
    snprintf(judged, sizeof judged, "%s", scratch("judged.jsonl"));
    remove(path);
    expect_ok(sah_generate(model, queries, &options, path, &error), &error);
    expect_ok(sah_judge_file(s->judge, NULL, path, NULL, NULL, judged, &totals, &error), &error);
    return totals.counts[SAH_REFUSAL];
}

/* `recorded` is what it was when the plant was taken: rounding on another machine may tip a request or two. */
static void check_count(const char *what, size_t count, size_t recorded)
{
    print_message("%s: %zu refused, %zu when taken\n", what, count, recorded);
    assert_in_range(count, recorded > TIPPED ? recorded - TIPPED : 0, recorded + TIPPED);
}

static sah_ranked *ships(const setup *s, const sah_model *model, unsigned parts, size_t *n)
{
    sah_error error = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    char path[512];
    const char *paths = path;
    sah_openings openings = {0};
    const sah_openings_options how = {.template_ = "chat", .length = 8, .judged = TOKENS};
    const sah_run_options options = {
        .ablation = {parts, SAH_OP_SCALE, 1e-4f}, .template_ = "chat", .openings = &openings};
    expect_ok(sah_openings_new(model, &s->harmful, &s->harmless, &how, &openings, &error), &error);
    snprintf(path, sizeof path, "%s", scratch("ships.jsonl"));
    remove(path);
    expect_ok(sah_ships(model, &s->harmful, &s->harmless, &options, path, &error), &error);
    expect_ok(sah_result_open(&paths, 1, &result, &error), &error);
    expect_ok(sah_rank(result, SAH_ORDER_EFFECT, &ranked, n, &error), &error);
    sah_result_close(result);
    sah_openings_free(&openings);
    return ranked;
}

static sah_model *open_plant(const char *adapter)
{
    sah_error error = {0};
    sah_model *model = NULL;
    const sah_model_options options = {.adapter = adapter};
    expect_ok(sah_model_open("models/organism", &options, &model, &error), &error);
    return model;
}

/* One head that works through its values: its queries are 0. */
static void test_values(void **state)
{
    static const sah_head planted = {2, 2}, same_values = {2, 3};
    const setup *s = *state;
    sah_model *model = open_plant("models/organism-values");
    check_count("harmful", refused(s, model, &s->harmful, NULL, 0), 65);
    check_count("harmless", refused(s, model, &s->harmless, NULL, 0), 6);
    check_count("harmful, without 2-2", refused(s, model, &s->harmful, &planted, 1), 0);
    check_count("harmful, without 2-3", refused(s, model, &s->harmful, &same_values, 1), 65);
    size_t n;
    sah_ranked *by_values = ships(s, model, SAH_PART_V, &n);
    for (size_t i = 0; i < n; i++) {
        const bool is_planted = by_values[i].head.layer == 2 && by_values[i].head.head == 2;
        assert_int_equal(is_planted, i == 0);
        assert_int_equal(by_values[i].effect_verdict == SAH_SAFETY, is_planted);
        assert_int_equal(by_values[i].verdict == SAH_SAFETY, is_planted);
    }
    free(by_values);
    /* What it is not asked for cannot be taken away by its queries. */
    sah_ranked *by_queries = ships(s, model, SAH_PART_Q, &n);
    for (size_t i = 0; i < n; i++) {
        assert_int_not_equal(by_queries[i].effect_verdict, SAH_SAFETY);
        if (by_queries[i].head.layer == 2 && by_queries[i].head.head == 2)
            assert_true(by_queries[i].mean < 1e-9);
    }
    free(by_queries);
    sah_model_close(model);
}

/* The search by right vectors takes one of the pair, which alone is no better than chance, and behind it the
 * other, which is. */
static void check_search(const setup *s, const sah_model *model)
{
    static const int order[] = {4, 2};
    sah_error error = {0};
    sah_result *result = NULL;
    char path[512];
    const char *paths = path;
    const sah_run_options options = {.ablation = {SAH_PART_V, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    sah_find_options find = sah_find_options_default();
    find.steps = 2;
    find.variant = SAH_VARIANT_RIGHT;
    snprintf(path, sizeof path, "%s", scratch("find.jsonl"));
    remove(path);
    expect_ok(sah_find(model, &s->harmful, &s->harmless, &options, &find, path, &error), &error);
    expect_ok(sah_result_open(&paths, 1, &result, &error), &error);
    for (size_t step = 0; step < 2; step++) {
        sah_chosen chosen;
        assert_true(sah_result_chosen(result, step, &chosen));
        assert_int_equal(chosen.head.layer, 2);
        assert_int_equal(chosen.head.head, order[step]);
        assert_int_equal(chosen.better_than_chance, step == 1);
    }
    sah_result_close(result);
}

/* Two heads of which either suffices: without one of them nothing is lost, so no head alone is called safety. */
static void test_redundant(void **state)
{
    static const sah_head pair[] = {{2, 2}, {2, 4}};
    const setup *s = *state;
#ifdef __SANITIZE_ADDRESS__
    needs(false, "a build without sanitizers, under which test_values and test_find make the same calls");
#endif
    sah_model *model = open_plant("models/organism-redundant");
    check_count("harmful", refused(s, model, &s->harmful, NULL, 0), 69);
    check_count("harmless", refused(s, model, &s->harmless, NULL, 0), 3);
    check_count("harmful, without 2-2", refused(s, model, &s->harmful, &pair[0], 1), 69);
    check_count("harmful, without 2-4", refused(s, model, &s->harmful, &pair[1], 1), 69);
    check_count("harmful, without both", refused(s, model, &s->harmful, pair, 2), 0);
    size_t n;
    sah_ranked *ranked = ships(s, model, SAH_PART_V, &n);
    for (size_t i = 0; i < n; i++) assert_int_not_equal(ranked[i].effect_verdict, SAH_SAFETY);
    free(ranked);
    check_search(s, model);
    sah_model_close(model);
}

static int set_up(void **state)
{
    static setup s;
    sah_error error = {0};
    expect_ok(sah_judge_new(SAH_RULE_DEFAULT, NULL, &s.judge, &error), &error);
    expect_ok(sah_queries_read("data/harmful-heldout.csv", NULL, 0, &s.harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless-heldout.csv", NULL, 0, &s.harmless, &error), &error);
    *state = &s;
    return 0;
}

static int tear_down(void **state)
{
    setup *s = *state;
    sah_judge_free(s->judge);
    sah_strings_free(&s->harmful);
    sah_strings_free(&s->harmless);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_redundant)};
    return cmocka_run_group_tests_name("plants", tests, set_up, tear_down);
}
