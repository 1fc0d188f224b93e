/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF vocabularies of every kind and word rule, against llama.cpp and the tokenizers library
 * (tests/golden/make-gguf-tokenizers.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/format/gguf_split.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_build.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "util/json.h"
#include "util/scratch.h"
#include "util/strings.h"

/* ---- A file of metadata -------------------------------------------------------------------------------- */

static void put(sah_text *out, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) sah_text_add(out, &(char){(char)(number >> (8 * i))}, 1);
}

static void put_string(sah_text *out, const char *text)
{
    put(out, strlen(text), 8);
    sah_text_adds(out, text);
}

static void put_key(sah_text *out, const char *key, sah_gguf_type type)
{
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", strchr(key, '.') != NULL ? "" : "tokenizer.ggml.", key);
    put_string(out, whole);
    put(out, type, 4);
}

static void put_array(sah_text *out, const char *key, sah_gguf_type item, size_t n)
{
    put_key(out, key, SAH_GGUF_ARRAY);
    put(out, item, 4);
    put(out, n, 8);
}

static void put_value(sah_text *out, const char *key, const json_t *value)
{
    if (json_is_boolean(value)) {
        put_key(out, key, SAH_GGUF_BOOL);
        put(out, json_is_true(value), 1);
    } else if (json_is_integer(value)) {
        put_key(out, key, SAH_GGUF_U32);
        put(out, (uint64_t)json_integer_value(value), 4);
    } else {
        put_key(out, key, SAH_GGUF_STRING);
        put_string(out, json_string_value(value));
    }
}

static void put_strings(sah_text *out, const char *key, const json_t *first, const json_t *more)
{
    const json_t *item;
    size_t i;
    put_array(out, key, SAH_GGUF_STRING, json_array_size(first) + json_array_size(more));
    json_array_foreach(first, i, item) put_string(out, json_string_value(item));
    json_array_foreach(more, i, item) put_string(out, json_string_value(item));
}

/* The case's vocabulary and keys; `pre` stands in for the case's own where it is not NULL. */
static sah_tokenizer *open_case(const json_t *vocabularies, const json_t *one, const char *pre)
{
    const json_t *vocabulary =
        json_object_get(vocabularies, json_string_value(json_object_get(one, "vocabulary")));
    const json_t *merges = json_object_get(vocabulary, "merges"),
                 *scores = json_object_get(vocabulary, "scores");
    const json_t *charsmap = json_object_get(vocabulary, "charsmap"), *item;
    json_t *keys = json_object_get(one, "keys"), *value;
    const char *types = json_string_value(json_object_get(one, "types")), *key;
    sah_text out = {0};
    sah_error error = {0};
    sah_gguf gguf;
    sah_tokenizer *tokenizer;
    size_t i, n = json_object_size(keys) + 2 + (merges != NULL) + (scores != NULL);
    sah_text_adds(&out, "GGUF");
    put(&out, 3, 4);
    put(&out, 0, 8);
    put(&out, n, 8);
    put_strings(&out, "tokens", json_object_get(vocabulary, "tokens"), json_object_get(one, "more"));
    put_array(&out, "token_type", SAH_GGUF_I32, strlen(types));
    for (i = 0; types[i] != '\0'; i++) put(&out, (uint64_t)(types[i] - '0'), 4);
    if (merges != NULL) put_strings(&out, "merges", merges, NULL);
    if (scores != NULL) put_array(&out, "scores", SAH_GGUF_F32, json_array_size(scores));
    json_array_foreach(scores, i, item)
    {
        const float score = (float)json_number_value(item);
        sah_text_add(&out, (const char *)&score, sizeof score);
    }
    json_object_foreach(keys, key, value)
    {
        if (strcmp(key, "precompiled_charsmap") == 0) {
            put_array(&out, key, SAH_GGUF_I8, json_array_size(charsmap));
            json_array_foreach(charsmap, i, item) put(&out, (uint64_t)json_integer_value(item), 1);
        } else if (strcmp(key, "pre") == 0 && pre != NULL) {
            put_key(&out, key, SAH_GGUF_STRING);
            put_string(&out, pre);
        } else {
            put_value(&out, key, value);
        }
    }
    assert_false(out.failed);
    scratch_write(scratch("case.gguf"), out.data, out.size);
    expect_ok(sah_gguf_open(scratch("case.gguf"), &gguf, &error), &error);
    expect_ok(sah_tokenizer_from_gguf(&gguf, &tokenizer, &error), &error);
    sah_gguf_close(&gguf);
    free(out.data);
    return tokenizer;
}

/* ---- The cases ----------------------------------------------------------------------------------------- */

static void check_ids(const sah_tokenizer *tokenizer, size_t number, const char *pre, const char *text,
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
        fail_msg("case %zu, %s: \"%s\"", number, pre != NULL ? pre : "as it is", text);
    }
    free(ids);
}

static void check_case(const json_t *vocabularies, size_t number, const json_t *one, const char *pre)
{
    sah_tokenizer *tokenizer = open_case(vocabularies, one, pre);
    const json_t *text, *id, *ends = json_object_get(one, "ends");
    size_t i, n = 0;
    json_array_foreach(json_object_get(one, "texts"), i, text)
    {
        check_ids(tokenizer, number, pre, json_string_value(text),
                  json_array_get(json_object_get(one, "ids"), i));
    }
    json_array_foreach(ends, i, id)
    {
        if (!sah_tokenizer_is_end(tokenizer, (int32_t)json_integer_value(id)))
            fail_msg("case %zu: %d ends nothing", number, (int)json_integer_value(id));
    }
    for (size_t k = 0; k < sah_tokenizer_size(tokenizer); k++)
        n += sah_tokenizer_is_end(tokenizer, (int32_t)k);
    if (n != json_array_size(ends))
        fail_msg("case %zu: %zu end tokens, not %zu", number, n, json_array_size(ends));
    sah_tokenizer_free(tokenizer);
}

static void every_case(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = NULL, *one, *name;
    size_t number, i;
    expect_ok(sah_json_read("tests/golden/gguf-tokenizers.json", 1 << 24, &golden, &error), &error);
    const json_t *vocabularies = json_object_get(golden, "vocabularies");
    assert_true(json_array_size(json_object_get(golden, "cases")) > 50);
    json_array_foreach(json_object_get(golden, "cases"), number, one)
    {
        const json_t *names = json_object_get(one, "pre");
        if (json_array_size(names) == 0) check_case(vocabularies, number, one, NULL);
        json_array_foreach(names, i, name)
        {
            check_case(vocabularies, number, one, json_string_value(name));
        }
    }
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case)};
    return cmocka_run_group_tests_name("GGUF tokenizers", tests, NULL, NULL);
}
