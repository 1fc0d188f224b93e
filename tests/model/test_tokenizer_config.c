// SPDX-License-Identifier: Apache-2.0
/* The files beside tokenizer.json, against transformers (tests/golden/make-tokenizer-configs.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"
#include "util/json.h"
#include "util/scratch.h"

static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "config.json"};
enum { N_NAMES = sizeof names / sizeof *names };

static void write_json(const char *name, const json_t *json)
{
    if (json == NULL) {
        remove(scratch(name));
        return;
    }
    char *text = json_dumps(json, 0);
    scratch_write_text(scratch(name), text);
    free(text);
}

/* BOS is put in front once, also where the text brings it along; transformers puts a second one. */
static void check_text(const sah_tokenizer *tokenizer, size_t number, const char *text,
                       const json_t *expected)
{
    sah_error error = {0};
    int32_t *ids;
    size_t n;
    expect_ok(sah_tokenizer_encode(tokenizer, text, strlen(text), true, &ids, &n, &error), &error);
    bool same = n == json_array_size(expected);
    for (size_t i = 0; i < n && same; i++) same = ids[i] == json_integer_value(json_array_get(expected, i));
    if (!same) {
        char *wanted = json_dumps(expected, JSON_COMPACT);
        print_message("expected %s, found", wanted);
        for (size_t i = 0; i < n; i++) print_message(" %d", (int)ids[i]);
        free(wanted);
        fail_msg("case %zu, \"%s\"", number, text);
    }
    free(ids);
}

static void test_cases(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = NULL, *one;
    size_t number, i;
    char folder[512];
    expect_ok(sah_json_read("tests/golden/tokenizer-configs.json", 1 << 24, &golden, &error), &error);
    const json_t *cases = json_object_get(golden, "cases"), *texts = json_object_get(golden, "texts"), *text;
    assert_true(json_array_size(cases) >= 100);
    snprintf(folder, sizeof folder, "%s", scratch(""));
    json_array_foreach(cases, number, one)
    {
        const json_t *files = json_object_get(one, "files");
        const size_t base = (size_t)json_integer_value(json_object_get(one, "base"));
        sah_tokenizer *tokenizer;
        write_json("tokenizer.json", json_array_get(json_object_get(golden, "bases"), base));
        for (size_t f = 0; f < N_NAMES; f++) write_json(names[f], json_object_get(files, names[f]));
        expect_ok(sah_tokenizer_from_directory(folder, &tokenizer, &error), &error);
        json_array_foreach(texts, i, text)
        {
            check_text(tokenizer, number, json_string_value(text),
                       json_array_get(json_object_get(one, "ids"), i));
        }
        sah_tokenizer_free(tokenizer);
    }
    json_decref(golden);
}

/* Of the tokens that transformers' GPT-NeoX class has without being told one is a name of its own. */
static void test_padding(void **state)
{
    static const struct {
        const char *config;
        bool padding;
    } cases[] = {
        {"{\"tokenizer_class\": \"GPTNeoXTokenizer\"}", true},
        {"{\"tokenizer_class\": \"GPTNeoXTokenizerFast\"}", true},
        {"{\"tokenizer_class\": \"GPTNeoXTokenizer\", \"pad_token\": \"<pad>\"}", false},
        {"{\"tokenizer_class\": \"Qwen2Tokenizer\"}", false},
    };
    (void)state;
    sah_error error = {0};
    json_t *golden = NULL;
    char folder[512];
    expect_ok(sah_json_read("tests/golden/tokenizer-configs.json", 1 << 24, &golden, &error), &error);
    snprintf(folder, sizeof folder, "%s", scratch(""));
    for (size_t f = 0; f < N_NAMES; f++) write_json(names[f], NULL);
    write_json("tokenizer.json", json_array_get(json_object_get(golden, "bases"), 0));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_tokenizer *tokenizer;
        scratch_write_text(scratch("tokenizer_config.json"), cases[i].config);
        expect_ok(sah_tokenizer_from_directory(folder, &tokenizer, &error), &error);
        assert_true(sah_tokenizer_id(tokenizer, "<|endoftext|>") >= 0);
        assert_int_equal(sah_tokenizer_id(tokenizer, "<|padding|>") >= 0, cases[i].padding);
        sah_tokenizer_free(tokenizer);
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_padding)};
    return cmocka_run_group_tests_name("Files beside tokenizer.json", tests, NULL, NULL);
}
