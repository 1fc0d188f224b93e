/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing results, harmful against harmless, and concentration: small results whose answers are counted by
 * hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "sahara.h"
#include "util/scratch.h"

enum { LAYERS = 3, HEADS = 4, N = LAYERS * HEADS };

/* A result of ships with queries "q0", ...; scores[head][query]. */
static sah_result *ships_result(const char *name, int n_queries, const double *scores, const char *settings)
{
    char text[8192];
    int at = snprintf(text, sizeof text,
                      "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":3,"
                      "\"heads\":4,\"kv_heads\":2,\"head_dim\":8,\"d_model\":100,\"n_parameters\":64000},"
                      "\"settings\":%s,\"queries\":[",
                      settings);
    for (int q = 0; q < n_queries; q++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s\"q%d\"", q ? "," : "", q);
    at += snprintf(text + at, sizeof text - (size_t)at, "]}\n");
    for (int h = 0; h < N; h++) {
        at += snprintf(text + at, sizeof text - (size_t)at, "{\"head\":\"%d-%d\",\"kl\":[", h / HEADS,
                       h % HEADS);
        for (int q = 0; q < n_queries; q++)
            at += snprintf(text + at, sizeof text - (size_t)at, "%s%.17g", q ? "," : "",
                           scores[h * n_queries + q]);
        at += snprintf(text + at, sizeof text - (size_t)at, "]}\n");
    }
    const char *path = scratch(name);
    scratch_write_text(path, text);
    sah_error error = {0};
    sah_result *result;
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    return result;
}

static void test_overlap(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_comparison c;
    double falling[N], turned[N];
    for (int h = 0; h < N; h++) {
        falling[h] = N - h;
        turned[h] = h < 3 ? h - 20 : N - h; /* the first three heads go to the end */
    }
    sah_result *a = ships_result("a.jsonl", 1, falling, "{\"part\":\"q\"}");
    sah_result *b = ships_result("b.jsonl", 1, turned, "{\"part\":\"v\"}");
    expect_ok(sah_compare(a, b, SAH_ORDER_DEFAULT, &c, &error), &error);
    assert_int_equal(c.n_heads, N);
    assert_int_equal(c.n_tops, 2); /* twenty of twelve are all */
    assert_int_equal(c.tops[0].k, 5);
    assert_int_equal(c.tops[0].shared, 2); /* 3 and 4 of 0..4 and 3..7 */
    assert_true(fabs(c.tops[0].jaccard - 2.0 / 8) < 1e-12);
    assert_int_equal(c.tops[1].shared, 8);
    expect_ok(sah_compare(a, a, SAH_ORDER_MEAN, &c, &error), &error);
    assert_true(fabs(c.spearman - 1) < 1e-12);
    assert_true(fabs(c.tops[0].p - 1.0 / 792) < 1e-12); /* one choice of 5 out of 12 */

    char *text = NULL;
    const sah_result *const pair[] = {a, b};
    expect_ok(sah_compare_text(pair, 2, SAH_ORDER_DEFAULT, SAH_FORMAT_TSV, &text, &error), &error);
    assert_true(strncmp(text, "a\tb\theads\tspearman\tk\tshared\tjaccard\texpected\tp\n", 47) == 0);
    free(text);
    sah_result_close(a);
    sah_result_close(b);
}

/* Eight queries a set. Head 0-0 has twice the score of every other on both, head 1-1 is high on harmful ones
 * alone, 2-2 on harmless ones alone. */
static void test_contrast(void **state)
{
    (void)state;
    enum { Q = 8 };
    sah_error error = {0};
    double harmful[N * Q], harmless[N * Q];
    for (int h = 0; h < N; h++)
        for (int q = 0; q < Q; q++) {
            double wobble = 1 + 0.01 * ((h * 7 + q * 5) % 11);
            harmful[h * Q + q] = (h == 0 ? 2 : h == 5 ? 3 : 0.001) * wobble;
            harmless[h * Q + q] = (h == 0 ? 2 : h == 10 ? 3 : 0.001) * wobble;
        }
    sah_result *a = ships_result("harmful.jsonl", Q, harmful, "{\"part\":\"q\"}");
    sah_result *b = ships_result("harmless.jsonl", Q, harmless, "{\"part\":\"q\"}");
    sah_result *other = ships_result("other.jsonl", Q, harmless, "{\"part\":\"v\"}");
    expect_failure(sah_result_contrast(a, other, &error), &error, "settings.part");
    expect_ok(sah_result_contrast(a, b, &error), &error);
    expect_failure(sah_result_contrast(a, b, &error), &error, "contrast queries of their own");
    sah_ranked *ranked;
    size_t n;
    expect_ok(sah_rank(a, SAH_ORDER_DEFAULT, &ranked, &n, &error), &error);
    assert_int_equal(n, N);
    assert_true(ranked[0].head.layer == 1 && ranked[0].head.head == 1);
    for (size_t i = 0; i < n; i++) {
        int h = ranked[i].head.layer * HEADS + ranked[i].head.head;
        assert_int_equal(ranked[i].verdict, h == 5              ? SAH_SAFETY
                                            : h == 0 || h == 10 ? SAH_GENERAL
                                                                : SAH_NEGLIGIBLE);
    }
    assert_true(ranked[0].p_adjusted < 0.01);
    free(ranked);
    sah_result_close(a);
    sah_result_close(b);
    sah_result_close(other);
}

static void test_concentration(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_concentration c;
    double scores[N] = {3, 3, 1, 1, 4};
    sah_result *a = ships_result("a.jsonl", 1, scores, "{\"part\":\"q,k\"}");
    expect_ok(sah_concentrate(a, SAH_ORDER_DEFAULT, &c, &error), &error);
    assert_true(fabs(c.total - 12) < 1e-12);
    assert_int_equal(c.half_heads, 2); /* 4 of head 1-0, 3 of 0-0 */
    /* Both heads have a key head of their own: 8 x 100 for each q and k, and as much again for v and o. */
    assert_int_equal(c.edited_parameters, 4 * 800);
    assert_int_equal(c.head_parameters, 8 * 800);
    assert_int_equal(c.model_parameters, 64000);
    char *text;
    expect_ok(sah_concentration_text(a, SAH_FORMAT_JSON, &text, &error), &error);
    assert_non_null(strstr(text, "\"half_heads\":2"));
    assert_non_null(strstr(text, "\"edited_share\":0.05,"));
    assert_non_null(strstr(text, "\"head_share\":0.1}"));
    free(text);
    sah_result_close(a);

    double even[N] = {1, 1, 1}; /* two heads of one key head: its k and v count once */
    a = ships_result("a.jsonl", 1, even, "{\"part\":\"q,k\"}");
    expect_ok(sah_concentrate(a, SAH_ORDER_MEAN, &c, &error), &error);
    assert_int_equal(c.half_heads, 2); /* 0-0 and 0-1 */
    assert_int_equal(c.edited_parameters, 3 * 800);
    assert_int_equal(c.head_parameters, 6 * 800);
    sah_result_close(a);
}

/* What is edited, by part: 1-0, 0-3 and 0-2, of two key heads, carry half of the score. */
static void test_parts(void **state)
{
    (void)state;
    static const struct {
        const char *settings;
        uint64_t edited; /* matrices of 8 x 100 */
    } cases[] = {{"{\"part\":\"q\"}", 3},
                 {"{\"part\":\"v\"}", 3},
                 {"{\"part\":\"q,v\"}", 6},
                 {"{\"part\":\"q,k\"}", 5},
                 {"{\"part\":\"q,k,v\"}", 8}};
    const double scores[N] = {0.5, -7, 1, 1.1, 1.2, 0, 0, 0, 0.5, 0.5}; /* below 0 is nothing */
    sah_error error = {0};
    sah_concentration c;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_result *a = ships_result("a.jsonl", 1, scores, cases[i].settings);
        expect_ok(sah_concentrate(a, SAH_ORDER_MEAN, &c, &error), &error);
        assert_true(fabs(c.total - 4.8) < 1e-12);
        assert_int_equal(c.half_heads, 3);
        assert_int_equal(c.edited_parameters, cases[i].edited * 800);
        assert_int_equal(c.head_parameters, 10 * 800); /* q and o of three heads, k and v of two */
        sah_result_close(a);
    }
    /* A result about key heads, whose query heads are two each; of a model that does not say its size. */
    static const char keys[] =
        "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m\",\"layers\":2,\"heads\":4,"
        "\"kv_heads\":2,\"head_dim\":8,\"d_model\":100},\"settings\":{\"part\":\"k\"},\"queries\":[\"a\"]}\n"
        "{\"head\":\"0-0\",\"kl\":[1]}\n{\"head\":\"0-1\",\"kl\":[5]}\n{\"head\":\"1-0\",\"kl\":[4]}\n"
        "{\"head\":\"1-1\",\"kl\":[1]}\n";
    const char *path = scratch("keys.jsonl");
    sah_result *result;
    char *text;
    scratch_write_text(path, keys);
    expect_ok(sah_result_open(&path, 1, &result, &error), &error);
    expect_ok(sah_concentration_text(result, SAH_FORMAT_TSV, &text, &error), &error);
    /* Of 11, 5 and 4: two key heads edited, beside them four times q and o, twice v; no share of the model.
     * Gini: (-3 - 1 + 4 + 15) / 44. */
    assert_string_equal(text, "score\theads\ttotal\thalf_heads\tgini\tedited_parameters\tedited_share\t"
                              "head_parameters\thead_share\nmean\t4\t11\t2\t0.340909\t1600\t\t9600\t\n");
    free(text);
    sah_result_close(result);
}

/* Three results of 24 heads in each pair, as text. By hand: the second has the first ten heads in reverse, the
 * third all of them. */
static void test_pairs_as_text(void **state)
{
    (void)state;
    enum { HEADS_24 = 24 };
    static const char header[] =
        "{\"sahara\":\"ships\",\"version\":\"0\",\"model\":{\"name\":\"m%d\",\"layers\":1,"
        "\"heads\":24,\"kv_heads\":24},\"settings\":{\"part\":\"q\"},\"queries\":[\"a\"]}\n";
    sah_error error = {0};
    sah_result *results[3];
    char *text, wanted[512];
    for (int r = 0; r < 3; r++) {
        char lines[2048], name[24];
        int at = snprintf(lines, sizeof lines, header, r);
        for (int h = 0; h < HEADS_24; h++) {
            int score = r == 0 || (r == 1 && h >= 10) ? HEADS_24 - h : r == 1 ? HEADS_24 - (9 - h) : h + 1;
            at += snprintf(lines + at, sizeof lines - (size_t)at, "{\"head\":\"0-%d\",\"kl\":[%d]}\n", h,
                           score);
        }
        snprintf(name, sizeof name, "%d.jsonl", r);
        const char *path = scratch(name);
        scratch_write_text(path, lines);
        expect_ok(sah_result_open(&path, 1, &results[r], &error), &error);
    }
    const sah_result *const all[] = {results[0], results[1], results[2]};
    expect_ok(sah_compare_text(all, 3, SAH_ORDER_DEFAULT, SAH_FORMAT_TSV, &text, &error), &error);
    /* Spearman: 1 - 6 sum d^2 / (24 (24^2 - 1)); the first ten turned round have sum d^2 = 330. */
    static const struct {
        int a, b;
        double spearman;
        int k, shared;
        double jaccard;
    } rows[] = {{0, 1, 1 - 6 * 330.0 / 13800, 5, 0, 0},
                {0, 1, 1 - 6 * 330.0 / 13800, 10, 10, 1},
                {0, 1, 1 - 6 * 330.0 / 13800, 20, 20, 1},
                {0, 2, -1, 5, 0, 0},
                {0, 2, -1, 10, 0, 0},
                {0, 2, -1, 20, 16, 16.0 / 24}};
    const char *line = strchr(text, '\n') + 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++, line = strchr(line, '\n') + 1) {
        snprintf(wanted, sizeof wanted, "\t24\t%.6g\t%d\t%d\t%.6g\t", rows[i].spearman, rows[i].k,
                 rows[i].shared, rows[i].jaccard);
        char name[16];
        snprintf(name, sizeof name, "%d.jsonl", rows[i].b);
        const char *end = strchr(line, '\n'), *found = strstr(line, wanted), *second = strstr(line, name);
        if (found == NULL || found > end || second == NULL || second > end) fail_msg("line %zu: %s", i, line);
    }
    size_t lines = 0;
    for (const char *c = text; *c != '\0'; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 9);
    free(text);

    expect_ok(sah_compare_text(all, 3, SAH_ORDER_DEFAULT, SAH_FORMAT_JSON, &text, &error), &error);
    char *rest, *one = strtok_r(text, "\n", &rest);
    for (int pair = 0; pair < 3; pair++, one = strtok_r(NULL, "\n", &rest)) {
        json_t *json = json_loads(one, 0, NULL);
        const json_t *top = json_array_get(json_object_get(json, "top"), 2);
        static const char *const models[][2] = {{"m0", "m1"}, {"m0", "m2"}, {"m1", "m2"}};
        for (int side = 0; side < 2; side++)
            assert_string_equal(
                json_string_value(json_object_get(json_object_get(json, side ? "b" : "a"), "model")),
                models[pair][side]);
        assert_int_equal(json_integer_value(json_object_get(json, "heads")), HEADS_24);
        assert_int_equal(json_array_size(json_object_get(json, "top")), 3);
        assert_int_equal(json_integer_value(json_object_get(top, "k")), 20);
        assert_true(pair != 1 || fabs(json_number_value(json_object_get(json, "spearman")) + 1) < 1e-12);
        assert_true(pair != 1 ||
                    fabs(json_number_value(json_object_get(top, "jaccard")) - 16.0 / 24) < 1e-12);
        double expected = json_number_value(json_object_get(top, "expected")),
               p = json_number_value(json_object_get(top, "p"));
        assert_true(expected > 16.0 / 24 && expected < 0.8); /* two sets of 20 of 24 share at least 16 */
        assert_true(pair != 1 || fabs(p - 1) < 1e-9);
        json_decref(json);
    }
    assert_null(one);
    free(text);
    for (int r = 0; r < 3; r++) sah_result_close(results[r]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlap),       cmocka_unit_test(test_contrast),
        cmocka_unit_test(test_concentration), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_pairs_as_text),
    };
    return cmocka_run_group_tests_name("comparing results", tests, NULL, NULL);
}
