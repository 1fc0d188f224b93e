/* SPDX-License-Identifier: Apache-2.0 */
/* An audit of the organism, whose refusal was trained into 2-6, 2-1 and 3-3: its answer, its cards, and that an
 * interrupted one carries on to the same files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/json.h"
#include "util/scratch.h"

static const char *const files[] = {"card.json", "card.md", "card.html"};
enum { N_FILES = sizeof files / sizeof *files, QUERIES = 24 };

typedef struct stop {
    int calls, after; /* 0: never */
} stop;

static bool count_calls(void *user, const char *what, uint64_t done, uint64_t total)
{
    stop *s = user;
    (void)what, (void)done, (void)total;
    s->calls++;
    return s->after == 0 || s->calls < s->after;
}

static sah_status audit(const char *harmful_path, size_t n, const char *directory, int after,
                        sah_audit_result *out, int *calls, sah_error *error)
{
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    stop s = {.after = after};
    const sah_audit_options options = {.quick = true, .progress = count_calls, .user = &s};
    const sah_model_options model_options = {.threads = 1};
    expect_ok(sah_model_open("models/organism", &model_options, &model, error), error);
    expect_ok(sah_queries_read(harmful_path, NULL, n, &harmful, error), error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, n, &harmless, error), error);
    sah_status status = sah_audit(model, &harmful, &harmless, &options, directory, out, error);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
    if (calls != NULL) *calls = s.calls;
    return status;
}

static char *read_in(const char *directory, const char *name)
{
    char path[1024];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return (char *)scratch_read(path, &size);
}

static void test_organism(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_audit_result result;
    char whole[512], broken[512];
    int calls = 0;
    snprintf(whole, sizeof whole, "%s", scratch("whole"));
    snprintf(broken, sizeof broken, "%s", scratch("broken"));
    expect_ok(audit("data/harmful.csv", QUERIES, whole, 0, &result, &calls, &error), &error);
    assert_int_equal(result.answer, SAH_AUDIT_FEW_HEADS);
    assert_non_null(strstr(result.sentence, "2-6"));

    json_t *card = NULL;
    char path[1024];
    snprintf(path, sizeof path, "%s/card.json", whole);
    expect_ok(sah_json_read(path, 1 << 20, &card, &error), &error);
    assert_string_equal(json_string_value(json_object_get(card, "answer")), "few heads");
    assert_string_equal(json_string_value(json_object_get(card, "sentence")), result.sentence);
    const json_t *sweep = json_array_get(json_object_get(card, "sweeps"), 0);
    const json_t *first = json_array_get(json_object_get(sweep, "highest"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "head")), "2-6");
    assert_string_equal(json_string_value(json_object_get(first, "verdict")), "safety");
    const json_t *points = json_object_get(json_array_get(json_object_get(card, "curves"), 0), "points");
    assert_int_equal(json_array_size(points), 7); /* none, then 1 to 3 heads and as many random ones */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(card, "queries"), "tried_on")),
                     QUERIES / 2);
    json_decref(card);

    /* Stopped again and again, carried on, the same files. */
    int stops = 0;
    sah_status status = SAH_INTERRUPTED;
    for (; status == SAH_INTERRUPTED && stops < 40; stops++)
        status = audit("data/harmful.csv", QUERIES, broken, calls / 4 + 1, &result, NULL, &error);
    expect_ok(status, &error);
    assert_in_range(stops, 2, 40);
    for (int i = 0; i < N_FILES; i++) {
        char *a = read_in(whole, files[i]), *b = read_in(broken, files[i]);
        assert_string_equal(a, b);
        free(a);
        free(b);
    }

    /* Other queries in the same directory are another audit. */
    assert_int_equal(audit("data/harmful-fresh.csv", QUERIES, whole, 0, &result, NULL, &error), SAH_FAILED);
}

/* A model that answers what it is asked has no refusal to explain, and nothing more is measured. */
static void test_nothing_refused(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_audit_result result;
    struct stat info;
    char path[1024];
    expect_ok(audit("data/harmless-fresh.csv", QUERIES, scratch("harmless"), 0, &result, NULL, &error),
              &error);
    assert_int_equal(result.answer, SAH_AUDIT_HARDLY_REFUSES);
    snprintf(path, sizeof path, "%s/ships-q.jsonl", scratch("harmless"));
    assert_int_not_equal(stat(path, &info), 0);
    char *card = read_in(scratch("harmless"), "card.md");
    assert_non_null(strstr(card, "No heads were scored."));
    assert_null(strstr(card, "Heads were chosen"));
    assert_null(strstr(card, "by their queries (q) alone"));
    free(card);
}

/* Where too few queries are refused or answered for a verdict, the card says so, and not that no head has one. */
static void test_few_queries(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_audit_result result;
    expect_ok(audit("data/harmful.csv", 8, scratch("few-queries"), 0, &result, NULL, &error), &error);
    char *card = read_in(scratch("few-queries"), "card.md"),
         *json = read_in(scratch("few-queries"), "card.json");
    assert_non_null(
        strstr(card, "No head has a verdict by its signed effect: 4 refused and 4 answered queries"));
    assert_null(strstr(card, "0 of 32 heads are about safety by their signed effect"));
    assert_non_null(strstr(json, "\"safety_by_effect\": null"));
    free(card);
    free(json);
}

static void test_own_queries(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_strings harmful = {0}, harmless = {0}, file = {0};
    expect_ok(sah_audit_queries(0, &harmful, &harmless, &error), &error);
    expect_ok(sah_queries_read("data/align/harmful-heldout.csv", NULL, 0, &file, &error), &error);
    assert_int_equal(harmful.n, file.n);
    assert_int_equal(harmless.n, file.n);
    for (size_t i = 0; i < file.n; i++) assert_string_equal(harmful.items[i], file.items[i]);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_strings_free(&file);

    sah_audit_result result;
    sah_strings few = {0};
    const sah_audit_options options = {0};
    assert_int_equal(sah_audit(NULL, &few, &few, &options, scratch("few"), &result, &error),
                     SAH_BAD_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_organism), cmocka_unit_test(test_nothing_refused),
        cmocka_unit_test(test_few_queries), cmocka_unit_test(test_own_queries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
