/* SPDX-License-Identifier: Apache-2.0 */
/* Screening against the full run: the same heads in the same order, with the same scores, wherever it was
 * interrupted; and what readers make of its result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/scratch.h"

enum { QUERIES = 60 };

typedef struct setup {
    sah_model *model;
    sah_strings harmful, harmless;
} setup;

static setup setup_new(void)
{
    setup s = {0};
    sah_error error = {0};
    expect_ok(sah_model_open("models/organism", NULL, &s.model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, QUERIES, &s.harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, QUERIES / 2, &s.harmless, &error), &error);
    return s;
}

static void setup_free(setup *s)
{
    sah_model_close(s->model);
    sah_strings_free(&s->harmful);
    sah_strings_free(&s->harmless);
}

static void run(const setup *s, size_t top, bool contrast, const char *path)
{
    sah_error error = {0};
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    const sah_strings *harmless = contrast ? &s->harmless : NULL;
    expect_ok(top > 0 ? sah_ships_screen(s->model, &s->harmful, harmless, &options, top, path, &error)
                      : sah_ships(s->model, &s->harmful, harmless, &options, path, &error),
              &error);
}

static sah_ranked *rank(const char *path, size_t *n, sah_result_info *info)
{
    sah_error error = {0};
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    *info = *sah_result_describe(result);
    expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, n, &error), &error);
    sah_result_close(result);
    return ranked;
}

static void check_same(const setup *s, size_t top, bool contrast)
{
    char full[512], screened[512];
    size_t n, m;
    sah_result_info info, other;
    snprintf(full, sizeof full, "%s", scratch(contrast ? "full-contrast.jsonl" : "full.jsonl"));
    snprintf(screened, sizeof screened, "%s", scratch("screened.jsonl"));
    remove(full);
    remove(screened);
    run(s, 0, contrast, full);
    run(s, top, contrast, screened);
    sah_ranked *all = rank(full, &n, &info), *some = rank(screened, &m, &other);
    assert_int_equal(n, 32);
    assert_true(m >= top && m <= n);
    if (top == 3)
        assert_true(m < 10); /* the others have left; behind the first three heads are close to one another */
    assert_int_equal(other.n_screened, n - m);
    assert_false(other.judged);
    for (size_t i = 0; i < top; i++) {
        assert_int_equal(all[i].head.layer, some[i].head.layer);
        assert_int_equal(all[i].head.head, some[i].head.head);
        assert_true(some[i].mean > 0.9999 * all[i].mean && some[i].mean < 1.0001 * all[i].mean);
    }
    free(all);
    free(some);
}

static void test_same_heads(void **state)
{
    (void)state;
    setup s = setup_new();
    check_same(&s, 3, false);
    check_same(&s, 5, false);
    check_same(&s, 3, true);
    setup_free(&s);
}

/* Cut anywhere, the run ends with the same lines. */
static void test_resumes(void **state)
{
    (void)state;
    setup s = setup_new();
    char path[512];
    size_t size, again;
    snprintf(path, sizeof path, "%s", scratch("resumed.jsonl"));
    remove(path);
    run(&s, 3, true, path);
    uint8_t *whole = scratch_read(path, &size);
    for (size_t i = 1; i < 8; i++) {
        size_t n, m;
        sah_result_info info;
        sah_ranked *before = rank(path, &n, &info);
        scratch_write(path, whole, size * i / 8);
        run(&s, 3, true, path);
        sah_ranked *after = rank(path, &m, &info);
        assert_int_equal(n, m);
        for (size_t h = 0; h < n; h++)
            assert_true(before[h].head.layer == after[h].head.layer &&
                        before[h].head.head == after[h].head.head && before[h].mean == after[h].mean);
        free(scratch_read(path, &again));
        assert_int_equal(size, again);
        free(before);
        free(after);
    }
    free(whole);
    setup_free(&s);
}

/* Fewer queries than a first round, and more heads wanted than there are: a full run by another name. */
static void test_small(void **state)
{
    (void)state;
    setup s = setup_new();
    char path[512];
    size_t n;
    sah_result_info info;
    sah_error error = {0};
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat"};
    sah_strings three = {.items = s.harmful.items, .n = 3};
    snprintf(path, sizeof path, "%s", scratch("small.jsonl"));
    remove(path);
    expect_ok(sah_ships_screen(s.model, &three, NULL, &options, 40, path, &error), &error);
    free(rank(path, &n, &info));
    assert_int_equal(n, 32);
    assert_int_equal(info.n_screened, 0);
    expect_failure(sah_ships_screen(s.model, &three, NULL, &options, 0, scratch("none.jsonl"), &error),
                   &error, "no head");
    setup_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_heads),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_small),
    };
    return cmocka_run_group_tests_name("screening", tests, NULL, NULL);
}
