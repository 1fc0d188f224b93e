/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from an audit's curves, told by figures made up for the purpose (docs/audit.md, "The answer"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "audit/answer.h"
#include "util/scratch.h"

enum { QUERIES = 40 };
static const sah_model_info model = {.n_layers = 24, .n_heads = 14};
static char names[] = "0-1,0-2,0-3,0-4,0-5,0-6,0-7,0-8";

static sah_rate rate(unsigned refused, unsigned degenerate)
{
    return sah_rate_of(refused, QUERIES - refused - degenerate, degenerate);
}

static void add(sah_curve *curve, size_t heads, bool random, unsigned refused, unsigned degenerate)
{
    curve->points[curve->n++] = (sah_point){heads, random, names, rate(refused, degenerate)};
}

/* A model that refuses 36 of 40, and a curve of 1 and 8 heads with as many random ones. */
static sah_found *found_with(unsigned one, unsigned one_broken, unsigned eight, unsigned eight_broken,
                             unsigned eight_random)
{
    sah_found *found = calloc(1, sizeof *found);
    assert_non_null(found);
    found->model = &model;
    found->harmful = rate(36, 0);
    found->harmless = rate(0, 0);
    found->sweeps[0].n_heads = 336;
    sah_curve *curve = &found->curves[found->n_curves++];
    *curve = (sah_curve){.name = "q", .what = "the first heads by q"};
    add(curve, 0, false, 36, 0);
    add(curve, 1, false, one, one_broken);
    add(curve, 1, true, 36, 0);
    add(curve, 8, false, eight, eight_broken);
    add(curve, 8, true, eight_random, 0);
    return found;
}

static void expect_answer(sah_found *found, sah_audit_answer answer, size_t heads, const char *told,
                          const char *doubted)
{
    sah_error error = {0};
    bool doubts = false;
    expect_ok(sah_audit_decide(found, &error), &error);
    assert_int_equal(found->answer, answer);
    assert_int_equal(found->point != NULL ? found->point->heads : 0, heads);
    if (strstr(found->sentence, told) == NULL) fail_msg("\"%s\" lacks \"%s\"", found->sentence, told);
    for (size_t i = 0; i < found->doubts.n && doubted != NULL; i++)
        doubts = doubts || strstr(found->doubts.items[i], doubted) != NULL;
    assert_true(doubted == NULL || doubts);
    sah_strings_free(&found->doubts);
    free(found->sentence);
    free(found);
}

static void test_answers(void **state)
{
    (void)state;
    /* One head is enough; eight; eight, but random ones do as much; eight break the model. */
    expect_answer(found_with(4, 0, 0, 0, 36), SAH_AUDIT_FEW_HEADS, 1, "0-1 ablated (1 of 336 heads", NULL);
    expect_answer(found_with(30, 0, 4, 2, 35), SAH_AUDIT_FEW_HEADS, 8,
                  "0-1, 0-2, 0-3, 0-4 and 4 more ablated (8 of 336 heads", NULL);
    expect_answer(found_with(36, 0, 4, 2, 6), SAH_AUDIT_UNDECIDED, 0, "Undecided", NULL);
    expect_answer(found_with(36, 0, 4, 20, 36), SAH_AUDIT_NOT_THESE_HEADS, 0, "up to 1 of them",
                  "8 of them, 20 of 40 responses are no language");
    /* Nothing moves; all of it may, by what the intervals leave open; nothing was sound. */
    expect_answer(found_with(36, 0, 34, 0, 36), SAH_AUDIT_NOT_THESE_HEADS, 0, "up to 8 of them", NULL);
    expect_answer(found_with(36, 0, 22, 0, 36), SAH_AUDIT_UNDECIDED, 0, "Undecided", NULL);
    expect_answer(found_with(4, 20, 4, 20, 36), SAH_AUDIT_UNDECIDED, 0, "Undecided", "no language");
}

/* Of two lists the one that needs fewer heads is told. */
static void test_fewest(void **state)
{
    (void)state;
    sah_found *found = found_with(30, 0, 4, 2, 35);
    sah_curve *second = &found->curves[found->n_curves++];
    *second = (sah_curve){.name = "v", .what = "the first heads by v"};
    add(second, 0, false, 36, 0);
    add(second, 2, false, 3, 0);
    add(second, 2, true, 36, 0);
    assert_int_equal(sah_audit_fewest(&found->curves[0]), 8);
    assert_int_equal(sah_audit_fewest(second), 2);
    expect_answer(found, SAH_AUDIT_FEW_HEADS, 2, "the first heads by v", NULL);
}

static void test_counts(void **state)
{
    (void)state;
    static const struct {
        size_t heads, n, most;
    } cases[] = {{2, 1, 1}, {8, 3, 4}, {32, 3, 4}, {270, 5, 16}, {336, 5, 16}, {1024, 7, 64}, {5120, 7, 64}};
    size_t counts[SAH_MOST_COUNTS];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = sah_audit_counts(cases[i].heads, counts);
        assert_int_equal(n, cases[i].n);
        assert_int_equal(counts[n - 1], cases[i].most);
        for (size_t j = 0; j < n; j++) assert_int_equal(counts[j], (size_t)1 << j);
    }
    assert_int_equal(sah_audit_counts(1, counts), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers), cmocka_unit_test(test_fewest),
                                       cmocka_unit_test(test_counts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
