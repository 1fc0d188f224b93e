/* SPDX-License-Identifier: Apache-2.0 */
/* The measurement holds together: its parts add up, and its JSON says the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sahara.h"
#include "util/json.h"
#include "program.h"

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void test_adds_up(void **state)
{
    (void)state;
    sah_error error = {0};
    sah_model *model = NULL;
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}};
    sah_bench_result r;
    char *text = NULL;
    json_t *json = NULL;
    assert_int_equal(sah_model_open("models/organism", NULL, &model, &error), SAH_OK);
    if (sah_bench(model, NULL, &options, &r, &error) != SAH_OK) fail_msg("%s", error.message);
    assert_int_equal(r.n_queries, 12);
    assert_int_equal(r.n_heads, 2 * sah_model_describe(model)->n_layers);
    assert_int_equal(r.n_all_heads, 32);
    assert_true(r.nodes < r.tokens && r.nodes > 12);
    double sum = 0.0;
    for (int i = 0; i < SAH_N_STAGES; i++) {
        assert_true(r.stage_seconds[i] >= 0.0);
        sum += r.stage_seconds[i];
    }
    assert_true(fabs(sum - r.seconds) < 0.01 * r.seconds);
    assert_true(r.useful > 0 && r.done > 0.5 * r.useful && r.peak_f32 > 0);
    assert_true(fabs(r.share - r.useful / r.seconds / r.peak_f32) < 1e-9 * r.share);
    assert_true(r.share > 0.0 && r.share < 1.5);
    assert_true(r.all_seconds > r.seconds);
    /* float32 takes 4 bytes a parameter; the embedding shared with the LM head is packed once. */
    uint64_t parameters = sah_model_describe(model)->n_parameters;
    assert_true(r.weight_bytes > 3 * parameters && r.weight_bytes < 6 * parameters);
    assert_true(r.peak_memory > r.weight_bytes);

    assert_int_equal(sah_bench_text(&r, true, &text, &error), SAH_OK);
    json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_true(fabs(number(json, "share") - r.share) < 1e-6 * r.share);
    assert_true(fabs(number(json_object_get(json, "stages"), "products") -
                     r.stage_seconds[SAH_STAGE_PRODUCT]) < 1e-6 * r.seconds);
    json_decref(json);
    free(text);
    sah_model_close(model);
}

/* Kilobytes this process held at most, as Linux counts. */
static unsigned long peak(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    unsigned long kilobytes = 0;
    char line[256];
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "VmHWM: %lu kB", &kilobytes) != 1) continue;
    fclose(file);
    return kilobytes;
}

/* The counter belongs to the program around the library, which may be watching it. */
static void test_leaves_the_peak(void **state)
{
    (void)state;
    const size_t size = (size_t)300 << 20;
    sah_error error = {0};
    sah_model *model = NULL;
    sah_run_options options = {.ablation = {SAH_PART_Q, SAH_OP_SCALE, 1e-4f}};
    sah_bench_result r;
    char *block = malloc(size);
    assert_non_null(block);
    memset(block, 1, size);
    assert_int_equal(block[size / 2], 1);
    free(block);
    const unsigned long before = peak();
    assert_int_equal(sah_model_open("models/organism", NULL, &model, &error), SAH_OK);
    if (sah_bench(model, NULL, &options, &r, &error) != SAH_OK) fail_msg("%s", error.message);
    assert_true(peak() >= before);
    sah_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_adds_up),
                                       cmocka_unit_test(test_leaves_the_peak)};
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
