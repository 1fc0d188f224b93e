/* SPDX-License-Identifier: Apache-2.0 */
/* The signed effect in rankings, on scores made by hand: which head comes first, which verdict it gets, and that
 * nothing is said where too few queries are refused or answered. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"

enum { HEADS = 7, MOST_TEXT = 32768 };

/* By head: mean effects on refused and on answered queries. Head 0 ends refusals alone; 1 ruins everything; 2 ends
 * refusals and changes answers a little; 3 does next to nothing; 4 breaks answers as well, refusals four times as
 * much; 5 may or may not; 6 does less than half as much to answers, but by less than its error. */
static const double effects[HEADS][2] = {{-0.84, -0.03}, {-3, -2},        {-0.8, 0.04},    {-0.001, 0.001},
                                         {-1.8, -0.45},  {-0.7, -0.0502}, {-0.08, -0.0385}};

static void add(char *text, size_t *at, const char *what)
{
    *at += (size_t)snprintf(text + *at, MOST_TEXT - *at, "%s", what);
    assert_true(*at < MOST_TEXT);
}

/* Effects of one kind of query, which spread a little about the head's mean; `silent` more queries have no opening. */
static void add_effects(char *text, size_t *at, const char *key, int head, int kind, int n, int silent)
{
    char word[64];
    snprintf(word, sizeof word, ",\"%s\":[", key);
    add(text, at, word);
    for (int q = 0; q < n + silent; q++) {
        snprintf(word, sizeof word, "%.6f", effects[head][kind] * (1 + 0.1 * (q % 3 - 1)));
        add(text, at, q > 0 ? "," : "");
        add(text, at, q < n ? word : "null");
    }
    add(text, at, "]");
}

static void add_list(char *text, size_t *at, const char *key, const char *item, int n)
{
    add(text, at, ",\"");
    add(text, at, key);
    add(text, at, "\":[");
    for (int i = 0; i < n; i++) {
        add(text, at, i > 0 ? "," : "");
        add(text, at, item);
    }
    add(text, at, "]");
}

/* A result with so many refused queries, and as contrast so many that are answered, and others that are answered by
 * nothing at all. */
static sah_result *open_effects(int refused, int answered, int silent)
{
    static char text[MOST_TEXT];
    size_t at = 0;
    add(text, &at,
        "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":1,\"heads\":7,"
        "\"kv_heads\":7},\"settings\":{\"part\":\"q\"}");
    add_list(text, &at, "queries", "\"q\"", refused);
    add_list(text, &at, "contrast_queries", "\"c\"", answered + silent);
    add_list(text, &at, "openings", "{\"refused\":true,\"text\":\"\"}", refused);
    add_list(text, &at, "contrast_openings", "{\"refused\":false,\"text\":\"\"}", answered + silent);
    add(text, &at, "}\n");
    for (int h = 0; h < HEADS; h++) {
        char head[32];
        snprintf(head, sizeof head, "{\"head\":\"0-%d\"", h);
        add(text, &at, head);
        add_list(text, &at, "kl", "1", refused);
        add_list(text, &at, "kl_contrast", "1", answered + silent);
        add_effects(text, &at, "effect", h, 0, refused, 0);
        add_effects(text, &at, "effect_contrast", h, 1, answered, silent);
        add_list(text, &at, "toward", "null", refused);
        add_list(text, &at, "toward_contrast", "0", answered + silent);
        add(text, &at, "}\n");
    }
    sah_error error = {0};
    sah_result *result = NULL;
    const char *path = scratch("effects.jsonl");
    scratch_write_text(path, text);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    return result;
}

/* A head that ruins everything weakens refusals most and comes last, whatever more it does to refusals; one that held
 * answers back as well (2) loses nothing by it. */
static void test_order_is_the_verdicts(void **state)
{
    (void)state;
    static const int order[HEADS] = {2, 0, 5, 6, 3, 4, 1};
    static const double scores[HEADS] = {0.8,   0.84 - 2 * 0.03, 0.7 - 2 * 0.0502, 0.08 - 2 * 0.0385,
                                         0.001, -2 * 0.45,       -2 * 2.0};
    static const sah_selectivity verdicts[HEADS] = {SAH_SAFETY,     SAH_SAFETY,  SAH_UNDECIDED, SAH_UNDECIDED,
                                                    SAH_NEGLIGIBLE, SAH_GENERAL, SAH_GENERAL};
    sah_error error = {0};
    sah_ranked *ranked;
    size_t n;
    sah_result *result = open_effects(9, 9, 0);
    assert_true(sah_result_describe(result)->effect_judged);
    assert_string_equal(sah_result_describe(result)->effect_reason, "");
    expect_ok(sah_rank(result, SAH_ORDER_EFFECT, &ranked, &n, &error), &error);
    assert_int_equal(n, HEADS);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ranked[i].head.head, order[i]);
        assert_int_equal(ranked[i].effect_verdict, verdicts[i]);
        const double score = (verdicts[i] == SAH_GENERAL ? 0 : -ranked[i].effect) -
                             2 * (ranked[i].effect_answered < 0 ? -ranked[i].effect_answered : 0);
        assert_true(fabs(score - scores[i]) < 1e-9);
    }
    free(ranked);
    sah_result_close(result);
}

/* The last counts that decide nothing, and the first that do; queries without an opening do not count. */
static void test_few_queries_decide_nothing(void **state)
{
    (void)state;
    static const struct {
        int refused, answered, silent;
        bool judged;
    } cases[] = {{SAH_LEAST_OPENINGS, SAH_LEAST_OPENINGS, 0, true},
                 {SAH_LEAST_OPENINGS - 1, 20, 0, false},
                 {20, SAH_LEAST_OPENINGS - 1, 5, false},
                 {2, 2, 0, false}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sah_error error = {0};
        sah_ranked *ranked;
        size_t n;
        char *text, expected[128];
        sah_result *result = open_effects(cases[c].refused, cases[c].answered, cases[c].silent);
        const sah_result_info *info = sah_result_describe(result);
        assert_int_equal(info->effect_judged, cases[c].judged);
        expect_ok(sah_rank(result, SAH_ORDER_EFFECT, &ranked, &n, &error), &error);
        for (size_t i = 0; i < n && !cases[c].judged; i++) {
            assert_int_equal(ranked[i].effect_verdict, SAH_UNDECIDED);
            assert_true(isnan(ranked[i].effect_p) && !isnan(ranked[i].effect));
        }
        assert_int_equal(ranked[0].effect_verdict, cases[c].judged ? SAH_SAFETY : SAH_UNDECIDED);
        snprintf(expected, sizeof expected,
                 "\"effect_verdict\":\"undecided\",\"effect_reason\":\"%d refused and %d answered queries",
                 cases[c].refused, cases[c].answered);
        expect_ok(sah_rank_text(result, &(sah_rank_options){.format = SAH_FORMAT_JSON}, &text, &error),
                  &error);
        assert_int_equal(strstr(text, expected) != NULL, !cases[c].judged);
        assert_int_equal(strstr(text, "effect_reason") != NULL, !cases[c].judged);
        free(text);
        free(ranked);
        sah_result_close(result);
    }
}

/* A map by effect names what it shows; a page keeps the default order for results without effects. */
static void test_reports_by_effect(void **state)
{
    (void)state;
    sah_error error = {0};
    size_t size;
    char picture[512], page[512], plain[512];
    sah_result_close(open_effects(9, 9, 0));
    snprintf(picture, sizeof picture, "%s", scratch("effects.svg"));
    snprintf(page, sizeof page, "%s", scratch("effects.html"));
    snprintf(plain, sizeof plain, "%s", scratch("plain.jsonl"));
    scratch_write_text(plain,
                       "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":1,"
                       "\"heads\":2,\"kv_heads\":2},\"settings\":{\"part\":\"q\"},\"queries\":[\"q\"]}\n"
                       "{\"head\":\"0-0\",\"kl\":[1]}\n{\"head\":\"0-1\",\"kl\":[2]}\n");
    const char *paths[] = {scratch("effects.jsonl"), plain};
    const sah_report_options options = {.order = SAH_ORDER_EFFECT};
    expect_ok(sah_report(paths, 1, &options, picture, &error), &error);
    char *text = (char *)scratch_read(picture, &size);
    assert_non_null(strstr(text, "How much refusals weaken less twice what answers weaken"));
    assert_non_null(strstr(text, "<title>0-0: 0.78</title>"));
    free(text);
    expect_ok(sah_report(paths, 2, &options, page, &error), &error);
    text = (char *)scratch_read(page, &size);
    assert_true(strstr(text, "<td>2</td><th scope=\"row\">0-0</th>") != NULL &&
                strstr(text, "<td>7</td><th scope=\"row\">0-1</th>") != NULL);
    assert_true(strstr(text, "<td>1</td><th scope=\"row\">0-1</th><td title=\"2 (2 to 2)\">2<") != NULL);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_the_verdicts),
        cmocka_unit_test(test_few_queries_decide_nothing),
        cmocka_unit_test(test_reports_by_effect),
    };
    return cmocka_run_group_tests_name("rankings by effect", tests, NULL, NULL);
}
