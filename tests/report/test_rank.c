/* SPDX-License-Identifier: Apache-2.0 */
/* Reading results of every command that scores heads, and putting the heads in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"

#define MODEL "\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":2,\"heads\":2,\"kv_heads\":1}"

static sah_status open_text(const char *text, sah_result **result, sah_error *error)
{
    const char *path = scratch("result.jsonl");
    scratch_write_text(path, text);
    return sah_result_open(&path, 1, result, error);
}

/* The ranking of a result as text. */
static char *rank_text(const char *result_text, size_t step, sah_rank_options options)
{
    sah_error error = {0};
    sah_result *result;
    char *text = NULL;
    expect_ok(open_text(result_text, &result, &error), &error);
    expect_ok(sah_result_select(result, step, &error), &error);
    expect_ok(sah_rank_text(result, &options, &text, &error), &error);
    sah_result_close(result);
    return text;
}

static void expect_rank(const char *result_text, size_t step, sah_rank_options options, const char *expected)
{
    char *text = rank_text(result_text, step, options);
    assert_string_equal(text, expected);
    free(text);
}

static const char find[] =
    "{\"sahara\":\"find\"," MODEL ",\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"]}\n"
    "{\"step\":0,\"head\":\"0-0\",\"shift\":0.5,\"angles\":[0.5],\"new\":[1]}\n"
    "{\"step\":0,\"head\":\"1-1\",\"shift\":2.25,\"shift_low\":2,\"shift_high\":3,\"angles\":[2.25]}\n"
    "{\"step\":0,\"head\":\"0-1\",\"shift\":1,\"angles\":[1]}\n"
    "{\"step\":0,\"head\":\"1-0\",\"shift\":0,\"angles\":[0]}\n"
    "{\"step\":0,\"random\":\"something else\"}\n"
    "{\"step\":0,\"chosen\":\"1-1\",\"shift\":2.25}\n"
    "{\"step\":1,\"head\":\"0-0\",\"shift\":4,\"angles\":[4]}\n"
    "{\"step\":1,\"head\":\"0-1\",\"shift\":3,\"angles\":[3]}\n"
    "{\"step\":1,\"head\":\"1-0\",\"shi";

static void test_find(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_result *result;
    expect_rank(
        find, 0, (sah_rank_options){.top = 3},
        "rank\thead\tshift\tshift_low\tshift_high\n1\t1-1\t2.25\t2\t3\n2\t0-1\t1\t\t\n3\t0-0\t0.5\t\t\n");
    expect_rank(find, 1, (sah_rank_options){.format = SAH_FORMAT_JSON},
                "{\"rank\":1,\"head\":\"0-0\",\"shift\":4,\"shift_low\":null,\"shift_high\":null}\n{\"rank\":"
                "2,\"head\":\"0-1\",\"shift\":3,\"shift_low\":null,\"shift_high\":null}\n");

    expect_ok(open_text(find, &result, &error), &error);
    const sah_result_info *info = sah_result_describe(result);
    assert_int_equal(info->n_steps, 2);
    assert_int_equal(info->parts, SAH_PART_Q);
    assert_int_equal(info->n_expected, info->n_scored);
    expect_ok(sah_result_select(result, 1, &error), &error);
    assert_true(info->n_expected > info->n_scored); /* no head was chosen yet */
    expect_failure(sah_result_select(result, 2, &error), &error, "2 steps");
    sah_rank_options by_query = {.by_query = true};
    char *text = NULL;
    expect_failure(sah_rank_text(result, &by_query, &text, &error), &error, "whole data set");
    sah_result_close(result);
}

#define CONTRAST_LINE(head, numbers) "{\"step\":0,\"head\":\"" head "\"," numbers "}\n"
static const char find_contrast[] =
    "{\"sahara\":\"find\"," MODEL ",\"settings\":{\"part\":\"q\",\"start\":[]},\"queries\":[\"a\",\"b\"],"
    "\"contrast_queries\":[\"c\",\"d\"]}\n" CONTRAST_LINE(
        "0-0", "\"shift\":5,\"shift_contrast\":1,\"difference\":4,\"difference_low\":3,\"difference_high\":5")
        CONTRAST_LINE("0-1", "\"shift\":9,\"shift_contrast\":8,\"difference\":1,\"difference_low\":-1,"
                             "\"difference_high\":3")
            CONTRAST_LINE("1-0", "\"shift\":3,\"shift_contrast\":1,\"difference\":2,\"difference_low\":-0.5,"
                                 "\"difference_high\":4.5")
                CONTRAST_LINE("1-1", "\"shift\":0.01,\"shift_contrast\":0.001,\"difference\":0.009,"
                                     "\"difference_low\":0.008,\"difference_high\":0.01");

static void test_find_contrast(void **state)
{
    (void)state;
    static const char *const ends[] = {"safety", "undecided", "general", "negligible"};
    char *text = rank_text(find_contrast, 0, (sah_rank_options){0});
    char *line = strchr(text, '\n');
    for (size_t i = 0; i < 4; i++) {
        char *next = strchr(line + 1, '\n');
        *next = '\0';
        assert_string_equal(strrchr(line, '\t') + 1, ends[i]);
        *next = '\n';
        line = next;
    }
    free(text);

    /* A group ablated beside every head: its share of the shift says nothing of the head. */
    sah_error error = {0};
    sah_result *result;
    char *started = strdup(find_contrast);
    memcpy(strstr(started, "\"start\":[]"), "\"start\":\"\"", 10);
    expect_ok(open_text(started, &result, &error), &error);
    assert_true(sah_result_describe(result)->judged);
    sah_result_close(result);
    memcpy(strstr(started, "\"part\":\"q\",\"start\":\"\""), "\"start\":\"1-1\"         ", 21);
    expect_ok(open_text(started, &result, &error), &error);
    assert_false(sah_result_describe(result)->judged);
    sah_result_close(result);
    free(started);
}

/* Every head turns harmful states more than harmless ones, for certain; only those that stand out of all the others are
 * called safety heads. Of fewer than sixteen heads none has others to stand out of. */
static void test_find_stands_out(void **state)
{
    (void)state;
    static const struct {
        int heads, planted, safety;
    } cases[] = {{20, 1, 1}, {20, 2, 2}, {15, 1, 15}};
    static char text[8192];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sah_error error = {0};
        sah_result *result;
        sah_ranked *ranked;
        size_t n;
        int safety = 0,
            at = snprintf(text, sizeof text,
                          "{\"sahara\":\"find\",\"version\":\"0\",\"model\":{\"name\":\"m\","
                          "\"layers\":1,\"heads\":%d,\"kv_heads\":%d},\"settings\":{\"part\":\"q\"},"
                          "\"queries\":[\"a\",\"b\"],\"contrast_queries\":[\"c\",\"d\"]}\n",
                          cases[c].heads, cases[c].heads);
        for (int h = 0; h < cases[c].heads; h++) {
            const double difference = h < cases[c].planted ? 28 - h : 0.5 + 0.2 * h;
            at += snprintf(
                text + at, sizeof text - (size_t)at,
                "{\"step\":0,\"head\":\"0-%d\",\"shift\":%g,\"shift_contrast\":%g,\"difference\":%g,"
                "\"difference_low\":%g,\"difference_high\":%g}\n",
                h, 1.5 * difference, 0.5 * difference, difference, 0.9 * difference, 1.1 * difference);
        }
        expect_ok(open_text(text, &result, &error), &error);
        expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
        for (size_t i = 0; i < n; i++) {
            assert_true(ranked[i].verdict == SAH_SAFETY || ranked[i].verdict == SAH_UNDECIDED);
            assert_true(ranked[i].verdict == SAH_SAFETY || (int)i >= cases[c].planted);
            safety += ranked[i].verdict == SAH_SAFETY;
        }
        assert_int_equal(safety, cases[c].safety);
        free(ranked);
        sah_result_close(result);
    }
}

/* Scores on both sides of what is negligible: 0.02 nats, 0.1 degrees. Alike on both sets, so "general" if
 * anything. */
static void test_negligible(void **state)
{
    (void)state;
    static const char ships[] =
        "{\"sahara\":\"ships\"," MODEL ",\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"],"
        "\"contrast_queries\":[\"c\",\"d\"]}\n"
        "{\"head\":\"0-0\",\"kl\":[0.0198,0.0198],\"kl_contrast\":[0.0199,0.0199]}\n"
        "{\"head\":\"0-1\",\"kl\":[0.0202,0.0202],\"kl_contrast\":[0.0198,0.0198]}\n"
        "{\"head\":\"1-0\",\"kl\":[0.15,0.15],\"kl_contrast\":[0.15,0.15]}\n"
        "{\"head\":\"1-1\",\"kl\":[0.001,0.001],\"kl_contrast\":[0.0202,0.0202]}\n";
    static const char shifts[] =
        "{\"sahara\":\"find\"," MODEL ",\"settings\":{\"part\":\"q\"},\"queries\":[\"a\",\"b\"],"
        "\"contrast_queries\":[\"c\",\"d\"]}\n" CONTRAST_LINE(
            "0-0", "\"shift\":0.099,\"shift_contrast\":0.098,\"difference\":0.001,\"difference_low\":0,"
                   "\"difference_high\":0.002")
            CONTRAST_LINE("0-1", "\"shift\":0.101,\"shift_contrast\":0.099,\"difference\":0.002,"
                                 "\"difference_low\":0,\"difference_high\":0.003")
                CONTRAST_LINE("1-0",
                              "\"shift\":0.5,\"shift_contrast\":0.5,\"difference\":0,\"difference_low\":0,"
                              "\"difference_high\":0")
                    CONTRAST_LINE("1-1", "\"shift\":0.01,\"shift_contrast\":0.101,\"difference\":-0.091,"
                                         "\"difference_low\":-0.1,\"difference_high\":-0.05");
    const char *const texts[] = {ships, shifts};
    for (size_t i = 0; i < 2; i++) {
        sah_error error = {0};
        sah_result *result;
        sah_ranked *ranked;
        size_t n;
        expect_ok(open_text(texts[i], &result, &error), &error);
        expect_ok(sah_rank(result, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
        assert_int_equal(n, 4);
        for (size_t h = 0; h < n; h++)
            assert_int_equal(ranked[h].verdict,
                             ranked[h].head.layer + ranked[h].head.head == 0 ? SAH_NEGLIGIBLE : SAH_GENERAL);
        free(ranked);
        sah_result_close(result);
    }
}

static const char direction[] =
    "{\"sahara\":\"direction\"," MODEL ",\"settings\":{},\"queries\":[\"a\"],\"contrast_queries\":[\"b\"]}\n"
    "{\"layer\":0,\"norm\":2}\n"
    "{\"head\":\"0-1\",\"harmful\":1.5,\"harmless\":1,\"contribution\":0.5,\"low\":0.25,\"high\":0.75,"
    "\"cosine\":0.1}\n"
    "{\"head\":\"1-0\",\"harmful\":-1,\"harmless\":1,\"contribution\":-2}\n"
    "{\"head\":\"1-1\",\"harmful\":3,\"harmless\":1,\"contribution\":2}\n";

static void test_direction(void **state)
{
    (void)state;
    expect_rank(direction, 0, (sah_rank_options){0},
                "rank\thead\tcontribution\tlow\thigh\tharmful\tharmless\n"
                "1\t1-1\t2\t\t\t3\t1\n2\t0-1\t0.5\t0.25\t0.75\t1.5\t1\n3\t1-0\t-2\t\t\t-1\t1\n");
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no whole line"},
        {"[]\n", "not a header"},
        {"{\"sahara\":\"judge\"," MODEL ",\"settings\":{},\"queries\":[\"a\"]}\n", "judge"},
        {"{\"sahara\":\"find\"," MODEL ",\"settings\":{},\"queries\":[]}\n", "lacks its model"},
        {"{\"sahara\":\"find\"," MODEL
         ",\"settings\":{},\"queries\":[\"a\"]}\n{\"head\":\"0-0\",\"shift\":1}\n",
         "line 2 names no step"},
        {"{\"sahara\":\"find\"," MODEL
         ",\"settings\":{},\"queries\":[\"a\"]}\n{\"step\":1e9,\"head\":\"0-0\",\"shift\":1}\n",
         "line 2 names no step"},
        {"{\"sahara\":\"find\"," MODEL
         ",\"settings\":{},\"queries\":[\"a\"]}\n{\"step\":0,\"head\":\"0-0\"}\n",
         "line 2 lacks the number \"shift\""},
        {"{\"sahara\":\"find\"," MODEL
         ",\"settings\":{},\"queries\":[\"a\"]}\n{\"step\":0,\"head\":\"2-0\",\"shift\":1}\n",
         "line 2 names no head of the model"},
        {"{\"sahara\":\"find\"," MODEL ",\"settings\":{},\"queries\":[\"a\"],\"contrast_queries\":[\"b\"]}\n"
         "{\"step\":0,\"head\":\"0-0\",\"shift\":1}\n",
         "line 2 lacks the number \"shift_contrast\""},
        {"{\"sahara\":\"direction\"," MODEL ",\"settings\":{},\"queries\":[\"a\"]}\n"
         "{\"head\":\"0-0\",\"harmful\":1,\"harmless\":null,\"contribution\":1}\n",
         "line 2 lacks the number \"harmless\""},
        {"{\"sahara\":\"ships\"," MODEL ",\"settings\":{},\"queries\":[\"a\"]}\n"
         "{\"head\":\"0-0\",\"kl\":[1]}\n{\"head\":\"0-0\",\"kl\":[1]}\n",
         "line 3 names head 0-0 again"},
        {"{\"sahara\":\"ships\"," MODEL ",\"settings\":{},\"queries\":[\"a\"]}\n7\n", "line 2 is damaged"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_error error = {0};
        sah_result *result = NULL;
        expect_failure(open_text(cases[i].text, &result, &error), &error, cases[i].message);
        assert_null(result);
    }
    sah_error error = {0};
    sah_result *result = NULL;
    const char *paths[] = {scratch("one.jsonl"), scratch("two.jsonl")};
    for (size_t i = 0; i < 2; i++) scratch_write_text(paths[i], find);
    expect_failure(sah_result_open(paths, 2, &result, &error), &error, "only results of `ships`");
}

/* The caller's paths may go once the result is open. */
static void test_keeps_paths(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_result *result = NULL;
    char path[512], name[] = "mine.jsonl";
    const char *paths[] = {path};
    strcpy(path, scratch(name));
    scratch_write_text(path, find);
    expect_ok(sah_result_open(paths, 1, &result, &error), &error);
    memset(path, '!', strlen(path));
    expect_failure(sah_result_select(result, 99, &error), &error, name);
    assert_null(strchr(error.message, '!'));
    sah_result_close(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_find_contrast),
        cmocka_unit_test(test_find_stands_out),
        cmocka_unit_test(test_negligible),
        cmocka_unit_test(test_direction),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_keeps_paths),
    };
    return cmocka_run_group_tests_name("rank", tests, NULL, NULL);
}
