/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of rank_pattern and alpha_pattern: the modules that PEFT's own function finds
 * (tests/golden/lora-patterns.json). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/checkpoint/lora_pattern.h"
#include "util/json.h"
#include "util/scratch.h"

static json_t *golden;

static int read_golden(void **state)
{
    (void)state;
    return sah_json_read("tests/golden/lora-patterns.json", 1 << 20, &golden, NULL) == SAH_OK ? 0 : -1;
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static bool is_among(const json_t *numbers, size_t number)
{
    for (size_t i = 0; i < json_array_size(numbers); i++)
        if (json_integer_value(json_array_get(numbers, i)) == (json_int_t)number) return true;
    return false;
}

/* What re takes and this library refuses, by name, rather than reading it otherwise. */
static bool is_left_out(const char *key)
{
    static const char *const keys[] = {"[[:alpha:]]_proj", "\\161_proj", "(?P<n>\\d)(?P=n)?\\.mlp\\..*",
                                       "(q|k)_proj(?(2))", "?#q"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

static void test_keys(void **state)
{
    (void)state;
    const json_t *paths = json_object_get(golden, "paths"), *keys = json_object_get(golden, "keys");
    size_t wrong = 0;
    assert_true(json_array_size(keys) > 250);
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *pair = json_array_get(keys, i), *matched = json_array_get(pair, 1);
        const char *key = json_string_value(json_array_get(pair, 0));
        json_t *object = json_pack("{s:i}", key, 1);
        sah_lora_patterns *p;
        sah_error error = {0};
        sah_status status = sah_lora_patterns_new(object, "rank_pattern", "here", &p, &error);
        json_decref(object);
        if (json_is_null(matched) || is_left_out(key)) {
            if (status == SAH_OK) print_error("%s is not refused\n", key);
            wrong += status == SAH_OK;
            sah_lora_patterns_free(p);
            continue;
        }
        if (status != SAH_OK) print_error("%s: %s\n", key, error.message);
        wrong += status != SAH_OK;
        for (size_t j = 0; status == SAH_OK && j < json_array_size(paths); j++) {
            const char *path = json_string_value(json_array_get(paths, j));
            double value;
            expect_ok(sah_lora_patterns_find(p, path, 0, &value, &error), &error);
            if ((value > 0) == is_among(matched, j)) continue;
            print_error("%s %s %s\n", key, value > 0 ? "should not match" : "should match", path);
            wrong++;
        }
        sah_lora_patterns_free(p);
    }
    assert_int_equal(wrong, 0);
}

/* The first key that matches counts, in the order of the file. */
static void test_orders(void **state)
{
    (void)state;
    const json_t *paths = json_object_get(golden, "paths"), *orders = json_object_get(golden, "orders");
    for (size_t i = 0; i < json_array_size(orders); i++) {
        const json_t *order = json_array_get(orders, i), *keys = json_object_get(order, "keys");
        json_t *object = json_object();
        sah_lora_patterns *p;
        sah_error error = {0};
        for (size_t k = 0; k < json_array_size(keys); k++)
            json_object_set_new(object, json_string_value(json_array_get(keys, k)),
                                json_integer((json_int_t)k));
        expect_ok(sah_lora_patterns_new(object, "rank_pattern", "here", &p, &error), &error);
        json_decref(object);
        for (size_t j = 0; j < json_array_size(paths); j++) {
            double value;
            expect_ok(
                sah_lora_patterns_find(p, json_string_value(json_array_get(paths, j)), -1, &value, &error),
                &error);
            assert_int_equal((json_int_t)value,
                             json_integer_value(json_array_get(json_object_get(order, "chosen"), j)));
        }
        sah_lora_patterns_free(p);
    }
}

static sah_status try_pattern(const char *json, const char *path, sah_error *error)
{
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    sah_lora_patterns *p;
    double value;
    assert_non_null(object);
    sah_status status = sah_lora_patterns_new(object, "alpha_pattern", "here", &p, error);
    json_decref(object);
    if (status == SAH_OK) status = sah_lora_patterns_find(p, path, 1, &value, error);
    sah_lora_patterns_free(p);
    return status;
}

static void test_errors(void **state)
{
    (void)state;
    sah_error error = {0};
    expect_ok(try_pattern("null", "q", &error), &error);
    expect_ok(try_pattern("{}", "q", &error), &error);
    expect_failure(try_pattern("[]", "q", &error), &error, "here: \"alpha_pattern\" must be an object");
    expect_failure(try_pattern("{\"q\": \"8\"}", "q", &error), &error, "q is not a number");
    expect_failure(try_pattern("{\"(q\": 8}", "q", &error), &error,
                   "here: \"alpha_pattern\": the pattern (q: missing");
    expect_failure(try_pattern("{\"a\\\\hb\": 8}", "q", &error), &error,
                   "the pattern a\\hb: \"\\hb\" is not supported");
    /* A pattern that would take for ever ends in an error. */
    expect_failure(try_pattern("{\"((a|b|ab)*)*c\": 8}",
                               "abababababababababababababababababababababababababcababd", &error),
                   &error, "the pattern ((a|b|ab)*)*c: match limit exceeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, read_golden, free_golden);
}
