/* SPDX-License-Identifier: Apache-2.0 */
/* A tokenizer.json whose long lists are read from its text is the tokenizer that a tree of JSON gives, or fails with
 * the same message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/tokenizer_text.h"
#include "util/scratch.h"

#define GOLDEN "tests/golden/tokenizers/"

static const char *const names[] = {"smollm2",          "llama3", "qwen2",      "llama2",
                                    "llama2-metaspace", "vicuna", "added-flags"};
enum { N_NAMES = sizeof names / sizeof *names };

/* A small one with all that the reader knows: escapes, code points beyond the first plane, both forms of a merge. */
static const char SMALL[] =
    "{ \"version\" : \"1.0\",\n \"added_tokens\": [{\"id\": 9, \"content\": \"<s>\", \"special\": true}],\n"
    " \"pre_tokenizer\":null, \"model\": {\"type\":\"BPE\", \"dropout\": null,\n"
    "  \"vocab\" : {\"a\":0 , \"b\": 1,\"\\\"\": 2,\"\\u00e9\\n\":3, \"ab\" "
    ":4,\"aba\":5,\"\xF0\x9F\x98\x80\": 6,"
    "\"\\ud83d\\ude03\":7, \"\xC3\xBC\\\\\\/\": 8},\n"
    "  \"merges\": [ [\"a\", \"b\"],\n \"ab a\" ] , \"unk_token\":\"a\"}}\n";
static const char TEXT[] = "aba b\"\xC3\xA9\n\xF0\x9F\x98\x80\xF0\x9F\x98\x83 abab<s>ba";

/* ---- Both ways ----------------------------------------------------------------------------------------- */

static sah_status by_tree(const char *text, size_t size, sah_tokenizer **out, sah_error *error)
{
    json_t *json = NULL;
    *out = NULL;
    sah_status status = sah_json_parse_object(text, size, "input", &json, error);
    if (status == SAH_OK) status = sah_tokenizer_from_json(json, "/nonexistent", "input", out, error);
    json_decref(json);
    return status;
}

static bool takes(const char *text, size_t size)
{
    sah_text rest = {0};
    sah_error error = {0};
    sah_tokenizer *tokenizer = sah_tokenizer_new();
    assert_non_null(tokenizer);
    sah_status status = sah_tokenizer_read_text(text, size, tokenizer, &rest, &error);
    if (status == SAH_NOT_SUPPORTED) assert_string_equal(error.message, "");
    sah_tokenizer_free(tokenizer);
    free(rest.data);
    return status == SAH_OK;
}

static void same_tokenizer(const sah_tokenizer *a, const sah_tokenizer *b, const char *text, size_t size)
{
    int32_t *ids[2];
    size_t n[2];
    assert_int_equal(a->vocab.n, b->vocab.n);
    assert_int_equal(a->vocab.n_model, b->vocab.n_model);
    assert_int_equal(a->merger.n_pairs, b->merger.n_pairs);
    for (size_t i = 0; i < a->vocab.n; i++) {
        const char *token = sah_vocab_text(&a->vocab, (int32_t)i, NULL);
        if (token != NULL) assert_string_equal(token, sah_vocab_text(&b->vocab, (int32_t)i, NULL));
        assert_int_equal(a->vocab.items[i].used, b->vocab.items[i].used);
    }
    assert_int_equal(sah_tokenizer_encode(a, text, size, true, &ids[0], &n[0], NULL), SAH_OK);
    assert_int_equal(sah_tokenizer_encode(b, text, size, true, &ids[1], &n[1], NULL), SAH_OK);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof *ids[0]);
    free(ids[0]);
    free(ids[1]);
}

/* Holds both ways to each other; returns whether there is a tokenizer. */
static bool same_either_way(const char *json, size_t json_size, const char *text, size_t size)
{
    sah_tokenizer *tree, *lists;
    sah_error errors[2] = {{0}};
    const sah_status wanted = by_tree(json, json_size, &tree, &errors[0]);
    const sah_status found =
        sah_tokenizer_from_text(json, json_size, "/nonexistent", "input", &lists, &errors[1]);
    if (wanted != found || strcmp(errors[0].message, errors[1].message) != 0)
        fail_msg("%.*s:\n\"%s\" by the tree, \"%s\" by lists", (int)json_size, json, errors[0].message,
                 errors[1].message);
    if (wanted == SAH_OK) same_tokenizer(tree, lists, text, size);
    sah_tokenizer_free(tree);
    sah_tokenizer_free(lists);
    return wanted == SAH_OK;
}

/* ---- Tests --------------------------------------------------------------------------------------------- */

/* Files as the tokenizers library wrote them, and written again in other ways. */
static void files_either_way(void **state)
{
    static const size_t ways[] = {JSON_COMPACT | JSON_ENSURE_ASCII, JSON_INDENT(2) | JSON_ESCAPE_SLASH};
    size_t size, text_size;
    char *text = (char *)scratch_read("tests/golden/tokenizer-text.txt", &text_size);
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        char path[256];
        snprintf(path, sizeof path, GOLDEN "%s/tokenizer.json", names[i]);
        char *json = (char *)scratch_read(path, &size);
        if (!takes(json, size)) fail_msg("%s: its lists are not read", path);
        assert_true(same_either_way(json, size, text, text_size));
        json_t *tree = json_loadb(json, size, 0, NULL);
        for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
            char *again = json_dumps(tree, ways[k]);
            assert_true(takes(again, strlen(again)));
            assert_true(same_either_way(again, strlen(again), text, text_size));
            free(again);
        }
        json_decref(tree);
        free(json);
    }
    free(text);
}

/* Every byte of a small file replaced, and every beginning of it. */
static void damage_either_way(void **state)
{
    static const char bytes[] = "\"\\{}[],: 0a1\n\x01\x80\xC3\0";
    const size_t size = sizeof SMALL - 1, text_size = sizeof TEXT - 1;
    size_t sound = 0, taken = 0;
    char json[sizeof SMALL];
    (void)state;
    assert_true(takes(SMALL, size));
    for (size_t i = 0; i < size; i++) {
        same_either_way(SMALL, i, TEXT, text_size);
        for (size_t k = 0; k < sizeof bytes - 1; k++) {
            memcpy(json, SMALL, sizeof json);
            json[i] = bytes[k];
            sound += same_either_way(json, size, TEXT, text_size);
            taken += takes(json, size);
        }
    }
    assert_true(sound > 100 && taken > 100); /* both outcomes are seen */
}

/* Forms that are left to the tree, some of them sound. */
static void other_forms(void **state)
{
    static const struct {
        const char *from, *to;
        bool sound;
    } cases[] = {
        {"\"b\": 1", "\"a\": 1", false}, /* a key twice */
        {"\"b\": 1", "\"b\": 0", false}, /* an id twice */
        {"\"b\": 1", "\"b\": 01", false},
        {"\"b\": 1", "\"b\": 1.0", false},
        {"\"b\": 1", "\"b\": -1", false},
        {"\"b\": 1", "\"b\": 4194304", false},
        {"\"b\": 1", "\"b\": 12345678", false},
        {"\"b\": 1", "\"b\": \n1", true},
        {"\"\\\"\": 2", "\"\": 2", true},
        {"\"\\\"\": 2", "\"\": 2, \"\": 9", false},
        {"\"\\\"\": 2", "\"\\u0000\": 2", false},
        {"\"\\\"\": 2", "\"\\ud83d\": 2", false},
        {"\"\\\"\": 2", "\"\\ude00\": 2", false},
        {"\"\\\"\": 2", "\"\\ud83d\\u0041\": 2", false},
        {"\"\\\"\": 2", "\"\\x41\": 2", false},
        {"\"\\\"\": 2", "\"\t\": 2", false},
        {"\"\\\"\": 2", "\"\xED\xA0\x80\": 2", false},
        {"\"\\\"\": 2", "\"\\n\xC0\xAF\": 2", false},
        {"\"b\": 1", "\"b\": 1,", false},
        {"\"ab a\"", "\"#version: 0.2\", \"ab a\"", true},
        {"\"ab a\"", "\"ab a b\"", false},
        {"\"ab a\"", "\"aba\"", false},
        {"\"ab a\"", "[\"ab\"]", false},
        {"\"ab a\"", "[\"ab\", \"a\", \"b\"]", false},
        {"\"ab a\"", "\"ab \"", false},
        {"\"ab a\"", "\"ab b\"", false}, /* the join is no token */
        {"\"ab a\"", "7", false},
        {"\"vocab\"", "\"voc\\u0061b\"", true},
        {"\"unk_token\":\"a\"", "\"vocab\":{\"x\":0}", false},
        {"\"unk_token\":\"a\"", "\"merges\":[\"a b\"]", false},
        {"\"dropout\": null", "\"dropout\": 1", false},
        {"\"unk_token\":\"a\"", "\"continuing_subword_prefix\":\"##\"", false},
        {"\"unk_token\":\"a\"", "\"unk_token\":\"z\"", false},
        {"\"type\":\"BPE\"", "\"type\":\"WordPiece\"", false},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", false},
        {"\"type\":\"BPE\"", "\"merges\": [\"a b\"]", false},
        {"\"pre_tokenizer\":null", "\"model\":{}", false},
        {"\"pre_tokenizer\":null", "\"model\":7, \"x\":0", false},
        {"\"pre_tokenizer\":null", "\"x\":[}", false},
        {"\"pre_tokenizer\":null", "\"x\":99999999999999999999999", true},
        {"{ \"version\"", "\xEF\xBB\xBF{ \"version\"", false},
        {"\"a\"}}\n", "\"a\"}} x", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char json[2 * sizeof SMALL];
        const char *at = strstr(SMALL, cases[i].from);
        assert_non_null(at);
        snprintf(json, sizeof json, "%.*s%s%s", (int)(at - SMALL), SMALL, cases[i].to,
                 at + strlen(cases[i].from));
        if (same_either_way(json, strlen(json), TEXT, sizeof TEXT - 1) != cases[i].sound)
            fail_msg("%s: %s", cases[i].to, cases[i].sound ? "is sound" : "is not sound");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_either_way),
        cmocka_unit_test(damage_either_way),
        cmocka_unit_test(other_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
