/* SPDX-License-Identifier: Apache-2.0 */
/* Rankings of results of ships whose answers are counted by hand: how often among the ten highest, ties, the heads
 * of every query, intervals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"

enum { LAYERS = 3, HEADS = 4, N = LAYERS * HEADS };

/* A result with queries "q0", ... and scores[head][query], the same with `contrast` queries "c0", ... where there
 * is one. */
static sah_result *open_scores(int n_queries, const double *scores, const double *contrast)
{
    static char text[16384];
    int at =
        snprintf(text, sizeof text,
                 "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":3,\"heads\":4,"
                 "\"kv_heads\":2},\"settings\":{\"part\":\"q\"}");
    for (int set = 0; set < (contrast != NULL ? 2 : 1); set++) {
        at +=
            snprintf(text + at, sizeof text - (size_t)at, ",\"%s\":[", set ? "contrast_queries" : "queries");
        for (int q = 0; q < n_queries; q++)
            at +=
                snprintf(text + at, sizeof text - (size_t)at, "%s\"%c%d\"", q ? "," : "", set ? 'c' : 'q', q);
        at += snprintf(text + at, sizeof text - (size_t)at, "]");
    }
    at += snprintf(text + at, sizeof text - (size_t)at, "}\n");
    for (int h = 0; h < N; h++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "{\"head\":\"%d-%d\"", h / HEADS, h % HEADS);
        for (int set = 0; set < (contrast != NULL ? 2 : 1); set++) {
            at += snprintf(text + at, sizeof text - (size_t)at, ",\"%s\":[", set ? "kl_contrast" : "kl");
            for (int q = 0; q < n_queries; q++)
                at += snprintf(text + at, sizeof text - (size_t)at, "%s%.17g", q ? "," : "",
                               (set ? contrast : scores)[h * n_queries + q]);
            at += snprintf(text + at, sizeof text - (size_t)at, "]");
        }
        at += snprintf(text + at, sizeof text - (size_t)at, "}\n");
    }
    sah_error error = {0};
    sah_result *result = NULL;
    const char *path = scratch("ships.jsonl");
    scratch_write_text(path, text);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    return result;
}

/* Three queries: falling from head to head, rising, and all alike. All means are 13/3. */
static sah_result *open_three(void)
{
    double scores[N * 3];
    for (int h = 0; h < N; h++) scores[3 * h] = N - h, scores[3 * h + 1] = h, scores[3 * h + 2] = 1;
    return open_scores(3, scores, NULL);
}

static void test_top_ten(void **state)
{
    (void)state;
    /* Ten of the first query are heads 0 to 9, of the second 2 to 11, of equal ones 0 to 9. */
    static const int by_count[N] = {2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 10, 11};
    sah_error error = {0};
    sah_ranked *ranked;
    size_t n;
    sah_result *result = open_three();
    expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
    assert_int_equal(n, N);
    for (size_t h = 0; h < N; h++) { /* equal means: by layer and head */
        assert_int_equal(ranked[h].head.layer * HEADS + ranked[h].head.head, h);
        assert_int_equal(ranked[h].top_ten, h < 2 ? 2 : h < 10 ? 3 : 1);
        assert_true(fabs(ranked[h].mean - 13.0 / 3) < 1e-12 && fabs(ranked[h].sum - 13) < 1e-12);
        assert_true(ranked[h].low <= ranked[h].mean && ranked[h].mean <= ranked[h].high);
        assert_true(isnan(ranked[h].difference) && isnan(ranked[h].p_adjusted) && ranked[h].verdict == 0);
    }
    /* 27 draws of three are equally likely, one of them all of the first query. */
    assert_true(fabs(ranked[0].high - 12) < 1e-12 && fabs(ranked[0].low - 0) < 1e-12);
    free(ranked);
    expect_ok(sah_rank(result, SAH_ORDER_COUNT, &ranked, &n, &error), &error);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(ranked[i].head.layer * HEADS + ranked[i].head.head, by_count[i]);
    free(ranked);
    expect_failure(sah_rank(result, SAH_ORDER_DIFFERENCE, &ranked, &n, &error), &error,
                   "no contrast queries");
    sah_result_close(result);
}

static void expect_text(const sah_result *result, sah_rank_options options, const char *wanted)
{
    sah_error error = {0};
    char *text;
    expect_ok(sah_rank_text(result, &options, &text, &error), &error);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_by_query(void **state)
{
    (void)state;
    sah_error error = {0};
    char *text;
    size_t lines = 0;
    sah_result *result = open_three();
    expect_text(result, (sah_rank_options){.by_query = true, .top = 2},
                "query\ttext\trank\thead\tkl\n1\tq0\t1\t0-0\t12\n1\tq0\t2\t0-1\t11\n2\tq1\t1\t2-3\t11\n"
                "2\tq1\t2\t2-2\t10\n3\tq2\t1\t0-0\t1\n3\tq2\t2\t0-1\t1\n");
    expect_text(result, (sah_rank_options){.format = SAH_FORMAT_JSON, .by_query = true, .top = 2},
                "{\"query\":\"q0\",\"heads\":[{\"head\":\"0-0\",\"kl\":12},{\"head\":\"0-1\",\"kl\":11}]}\n"
                "{\"query\":\"q1\",\"heads\":[{\"head\":\"2-3\",\"kl\":11},{\"head\":\"2-2\",\"kl\":10}]}\n"
                "{\"query\":\"q2\",\"heads\":[{\"head\":\"0-0\",\"kl\":1},{\"head\":\"0-1\",\"kl\":1}]}\n");
    /* Ten a query unless told. */
    expect_ok(sah_rank_text(result, &(sah_rank_options){.by_query = true}, &text, &error), &error);
    for (const char *c = text; *c != '\0'; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 3 * 10);
    free(text);
    expect_ok(sah_rank_text(result, &(sah_rank_options){.format = SAH_FORMAT_REFERENCE}, &text, &error),
              &error);
    assert_non_null(
        strstr(text, "{\"q1\": {\"2-3\": 11, \"2-2\": 10, \"2-1\": 9, \"2-0\": 8, \"1-3\": 7, \"1-2\": 6, "
                     "\"1-1\": 5, \"1-0\": 4, \"0-3\": 3, \"0-2\": 2}}\n"));
    free(text);
    sah_result_close(result);
}

/* Both sets have the same scores, but are drawn apart: the difference is 0, its interval is not. By hand: means of
 * 16 values 0 and 1, half and half, have a deviation of 1/8, differences of two one of 0.177. */
static void test_sets_are_drawn_apart(void **state)
{
    (void)state;
    enum { Q = 16 };
    sah_error error = {0};
    sah_ranked *ranked;
    size_t n;
    double scores[N * Q];
    for (int i = 0; i < N * Q; i++) scores[i] = i % 2;
    sah_result *result = open_scores(Q, scores, scores);
    expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
    for (size_t h = 0; h < n; h++) {
        assert_true(ranked[h].difference == 0 && ranked[h].p_adjusted > 0.5);
        assert_true(fabs(ranked[h].difference_low + 0.346) < 0.05);
        assert_true(fabs(ranked[h].difference_high - 0.346) < 0.05);
        assert_true(fabs(ranked[h].low - 0.255) < 0.05 && fabs(ranked[h].high - 0.745) < 0.05);
        assert_int_equal(ranked[h].verdict, SAH_UNDECIDED);
    }
    free(ranked);
    sah_result_close(result);
}

/* A refused query, two answered ones, and two whose response is still thinking, which count as neither. */
static void test_thinking_counts_as_neither(void **state)
{
    (void)state;
    static const char text[] =
        "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":1,\"heads\":1,\"kv_"
        "heads\":1},"
        "\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"openings\":["
        "{\"refused\":true,\"text\":\"\"},{\"refused\":false,\"text\":\"\"},"
        "{\"refused\":false,\"text\":\"\",\"thinking\":true},{\"refused\":false,\"text\":\"\",\"thinking\":"
        "false},"
        "{\"refused\":false,\"text\":\"\",\"thinking\":true}]}\n"
        "{\"head\":\"0-0\",\"kl\":[1,1,1,1,1],\"effect\":[-4,-1,-64,-2,-128],\"toward\":[null,3,null,5,null]}"
        "\n";
    sah_error error = {0};
    sah_result *result = NULL;
    sah_ranked *ranked;
    size_t n;
    const char *path = scratch("thinking.jsonl");
    scratch_write_text(path, text);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    const sah_result_info *info = sah_result_describe(result);
    assert_true(info->n_refused == 1 && info->n_answered == 2 && !info->effect_judged);
    expect_ok(sah_rank(result, SAH_ORDER_EFFECT, &ranked, &n, &error), &error);
    assert_true(ranked[0].effect == -4 && ranked[0].effect_answered == -1.5 && ranked[0].toward == 4);
    assert_true(ranked[0].effect_low == -4 && ranked[0].effect_high == -4);
    free(ranked);
    sah_result_close(result);
}

/* A result given twice, by one name or by two, would look like more evidence than there is. */
static void test_no_query_counts_twice(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_result *result = NULL;
    size_t size;
    sah_result_close(open_three());
    char first[512], copy[512];
    snprintf(first, sizeof first, "%s", scratch("ships.jsonl"));
    snprintf(copy, sizeof copy, "%s", scratch("copy.jsonl"));
    char *text = (char *)scratch_read(first, &size);
    scratch_write_text(copy, text);
    const char *const pairs[][2] = {{first, first}, {first, copy}};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(sah_result_open(pairs[i], 2, &result, &error), SAH_FAILED);
        assert_non_null(strstr(error.message, "would count twice"));
    }
    char *query = strstr(text, "\"q0\"");
    assert_non_null(query);
    query[1] = 'p';
    scratch_write_text(copy, text);
    free(text);
    expect_ok(sah_result_open(pairs[1], 2, &result, &error), &error);
    assert_int_equal(sah_result_describe(result)->n_queries, 6);
    sah_result_close(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_top_ten),
        cmocka_unit_test(test_by_query),
        cmocka_unit_test(test_sets_are_drawn_apart),
        cmocka_unit_test(test_thinking_counts_as_neither),
        cmocka_unit_test(test_no_query_counts_twice),
    };
    return cmocka_run_group_tests_name("rankings of ships", tests, NULL, NULL);
}
