/* SPDX-License-Identifier: Apache-2.0 */
/* Which edits are taken, and that a layer's plan holds them where they belong. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/ablation.h"
#include "util/scratch.h"

static const sah_config config = {.n_layers = 3, .n_heads = 6, .n_kv_heads = 2, .head_dim = 8, .d_model = 48};

static void test_check(void **state)
{
    (void)state;
    static const struct {
        sah_edit edit;
        const char *wrong; /* NULL: nothing */
    } cases[] = {
        {{0, 0, SAH_PART_Q, SAH_OP_SCALE, 0}, NULL},
        {{2, 5, SAH_PART_Q, SAH_OP_MEAN, 0}, NULL},
        {{2, 5, SAH_PART_V, SAH_OP_SCALE, -1}, NULL},
        {{2, 1, SAH_PART_K, SAH_OP_MEAN, 0}, NULL},
        {{0, 6, SAH_PART_Q, SAH_OP_SCALE, 0}, "head 0-6 is outside the model: 3 layers of 6 heads"},
        {{0, 6, SAH_PART_V, SAH_OP_SCALE, 0}, "3 layers of 6 heads"},
        {{0, 2, SAH_PART_K, SAH_OP_SCALE, 0}, "head 0-2 is outside the model: 3 layers of 2 key heads"},
        {{3, 0, SAH_PART_Q, SAH_OP_SCALE, 0}, "head 3-0"},
        {{-1, 0, SAH_PART_Q, SAH_OP_SCALE, 0}, "head -1-0"},
        {{0, -1, SAH_PART_Q, SAH_OP_SCALE, 0}, "head 0--1"},
        {{0, 0, SAH_PART_Q | SAH_PART_V, SAH_OP_SCALE, 0}, "one part"},
        {{1, 1, SAH_PART_Q, SAH_OP_SCALE, NAN}, "the scale of head 1-1 is not a finite number"},
        {{1, 1, SAH_PART_Q, SAH_OP_SCALE, INFINITY}, "not a finite number"},
        {{1, 1, SAH_PART_Q, SAH_OP_MEAN, NAN}, NULL}, /* a mean has no factor */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_error error = {0};
        sah_status status = sah_edits_check(&config, &cases[i].edit, 1, &error);
        if (cases[i].wrong != NULL)
            expect_failure(status, &error, cases[i].wrong);
        else
            expect_ok(status, &error);
    }
}

static void test_plans(void **state)
{
    (void)state;
    static const sah_edit edits[] = {
        {1, 4, SAH_PART_Q, SAH_OP_SCALE, 0},
        {1, 4, SAH_PART_V, SAH_OP_MEAN, 0},
        {1, 0, SAH_PART_K, SAH_OP_SCALE, 0},
        {2, 3, SAH_PART_V, SAH_OP_SCALE, 0},
        {1, 4, SAH_PART_Q, SAH_OP_MEAN, 0}}; /* the same place again: the first stays */
    static const sah_edit more = {1, 5, SAH_PART_Q, SAH_OP_SCALE, 0};
    sah_error error = {0};
    sah_plan *plans, *extended;
    expect_ok(sah_plans_new(&config, edits, 5, &plans, &error), &error);
    assert_int_equal(plans[0].n_edits, 0);
    assert_int_equal(plans[1].n_edits, 3);
    assert_int_equal(plans[2].n_edits, 1);
    assert_ptr_equal(plans[1].q[4], &edits[0]);
    assert_ptr_equal(plans[1].v[4], &edits[1]);
    assert_ptr_equal(plans[1].k[0], &edits[2]);
    assert_ptr_equal(plans[2].v[3], &edits[3]);
    /* Heads 0 to 2 read key head 0. */
    static const bool touched[] = {true, true, true, false, true, false};
    for (int h = 0; h < 6; h++) {
        assert_int_equal(sah_plan_touches(&plans[1], h), touched[h]);
        assert_int_equal(sah_plan_touches(&plans[2], h), h == 3);
        assert_false(sah_plan_touches(&plans[0], h));
    }
    expect_ok(sah_plan_extend(&config, &plans[1], &more, 1, &extended, &error), &error);
    assert_int_equal(extended->n_edits, 4);
    assert_true(sah_plan_touches(extended, 5) && sah_plan_touches(extended, 0));
    assert_false(sah_plan_touches(&plans[1], 5));
    sah_plans_free(extended);
    sah_plans_free(plans);
}

static void test_heads(void **state)
{
    (void)state;
    static const sah_model_info info = {.n_layers = 3, .n_heads = 6, .n_kv_heads = 2};
    static const struct {
        const char *text;
        size_t n;
        const char *wrong; /* NULL: nothing */
    } cases[] = {
        {"", 0, NULL},
        {"2-5", 1, NULL},
        {"0-1,2-5", 2, NULL},
        {"0-1, 2-5,  1-0", 3, NULL}, /* as messages have them */
        {"0-1 ,2-5", 0, "write layer-head with commas"},
        {" 0-1", 0, "write layer-head with commas"},
        {"0-1, ", 0, "end in a comma"},
        {"0-1,", 0, "end in a comma"},
        {"0-1,0-1", 0, "named twice"},
        {"0-6", 0, "outside the model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_error error = {0};
        sah_head *heads = NULL;
        size_t n = 0;
        sah_status status = sah_heads_parse(cases[i].text, &info, SAH_PART_Q, &heads, &n, &error);
        if (cases[i].wrong != NULL) {
            expect_failure(status, &error, cases[i].wrong);
            continue;
        }
        expect_ok(status, &error);
        assert_int_equal(n, cases[i].n);
        if (n == 3) assert_int_equal(heads[1].layer * 10 + heads[1].head, 25);
        free(heads);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_check), cmocka_unit_test(test_heads),
                                       cmocka_unit_test(test_plans)};
    return cmocka_run_group_tests_name("ablations", tests, NULL, NULL);
}
