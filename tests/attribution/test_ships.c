/* SPDX-License-Identifier: Apache-2.0 */
/* Ships end to end on the organism, whose refusal was trained into heads 2-1, 2-6 and 3-3: a truth known
 * beforehand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/scratch.h"

static const sah_head planted[] = {{2, 1}, {2, 6}, {3, 3}};

static bool is_planted(sah_head head)
{
    for (size_t i = 0; i < 3; i++)
        if (planted[i].layer == head.layer && planted[i].head == head.head) return true;
    return false;
}

static sah_status score(const char *path, int layers, sah_error *error)
{
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    sah_run_options options = {
        .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat", .layer_to = layers};
    sah_status status = sah_model_open("models/organism", NULL, &model, error);
    if (status == SAH_OK) status = sah_queries_read("data/harmful.csv", NULL, 0, &harmful, error);
    if (status == SAH_OK) status = sah_queries_read("data/harmless.csv", NULL, 0, &harmless, error);
    if (status == SAH_OK) status = sah_ships(model, &harmful, &harmless, &options, path, error);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
    return status;
}

static void test_planted_heads_first(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("ships.jsonl");
    sah_result *result = NULL;
    sah_ranked *ranked = NULL;
    size_t n = 0;
    if (score(path, 0, &error) != SAH_OK) fail_msg("%s", error.message);
    assert_int_equal(sah_result_open(&path, 1, &result, &error), SAH_OK);
    assert_int_equal(sah_rank(result, SAH_ORDER_DIFFERENCE, &ranked, &n, &error), SAH_OK);
    assert_int_equal(n, 32);
    for (size_t i = 0; i < 3; i++) {
        assert_true(is_planted(ranked[i].head));
        assert_true(ranked[i].difference_low > 0.0);
    }
    /* Heads of the first layer that read what the planted ones go by are selective, too; far less hangs on
     * them. */
    assert_true(ranked[2].difference > 4.0 * ranked[3].difference);
    for (size_t i = 0; i < 3; i++) assert_true(ranked[i].verdict == SAH_SAFETY);
    for (size_t i = 3; i < n; i++) assert_true(ranked[i].verdict != SAH_SAFETY || ranked[i].head.layer == 0);
    free(ranked);
    sah_result_close(result);
}

static void test_resumes(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("resume.jsonl");
    size_t whole, again;
    if (score(path, 0, &error) != SAH_OK) fail_msg("%s", error.message);
    uint8_t *before = scratch_read(path, &whole);
    scratch_write(path, before, whole - whole / 3); /* cut in the middle of a line */
    if (score(path, 0, &error) != SAH_OK) fail_msg("%s", error.message);
    uint8_t *after = scratch_read(path, &again);
    size_t lines[2] = {0, 0};
    for (size_t i = 0; i < whole; i++) lines[0] += before[i] == '\n';
    for (size_t i = 0; i < again; i++) lines[1] += after[i] == '\n';
    assert_int_equal(lines[0], 33);
    assert_int_equal(lines[1], 33);
    /* Another question of the same file is refused by the setting that differs. */
    assert_int_not_equal(score(path, 2, &error), SAH_OK);
    assert_non_null(strstr(error.message, "layers"));
    free(before);
    free(after);
}

/* The count of a refusal check is part of the header: the same count resumes, another is a difference. */
static void test_refusal_check(void **state)
{
    (void)state;
    sah_error error = {0};
    const char *path = scratch("refusal.jsonl");
    sah_model *model = NULL;
    sah_strings harmful = {0}, harmless = {0};
    sah_refusal_check check;
    sah_run_options options = {
        .ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}, .template_ = "chat", .layer_to = 1, .head_to = 1};
    size_t size;
    expect_ok(sah_model_open("models/organism", NULL, &model, &error), &error);
    expect_ok(sah_queries_read("data/harmful.csv", NULL, 0, &harmful, &error), &error);
    expect_ok(sah_queries_read("data/harmless.csv", NULL, 5, &harmless, &error), &error);
    expect_ok(sah_check_refusal(model, &harmless, "chat", NULL, 0, &check, &error), &error);
    assert_int_equal(check.sampled, 5);
    assert_true(check.refused <= 1);
    expect_ok(sah_check_refusal(model, &harmful, "chat", NULL, 0, &check, &error), &error);
    assert_int_equal(check.sampled, 16);
    assert_true(check.refused >= 14);

    options.refusal = check;
    for (int time = 0; time < 2; time++)
        expect_ok(sah_ships(model, &harmless, NULL, &options, path, &error), &error);
    char *text = (char *)scratch_read(path, &size), expected[64];
    snprintf(expected, sizeof expected, "\"refusal_check\":{\"sampled\":16,\"refused\":%zu}", check.refused);
    assert_non_null(strstr(text, expected));
    options.refusal.refused = 0;
    expect_failure(sah_ships(model, &harmless, NULL, &options, path, &error), &error,
                   "refusal_check.refused");
    free(text);
    sah_strings_free(&harmful);
    sah_strings_free(&harmless);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted_heads_first),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_refusal_check),
    };
    return cmocka_run_group_tests_name("Ships", tests, NULL, NULL);
}
