/* SPDX-License-Identifier: Apache-2.0 */
/* Directories with a SentencePiece model and no tokenizer.json, against transformers
 * (tests/golden/make-sentencepiece.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/tokenizer/sentencepiece.h"
#include "model/tokenizer/tokenizer.h"
#include "model/tokenizer/tokenizer_json.h"
#include "util/json.h"
#include "util/mapfile.h"
#include "util/scratch.h"

#define GOLDEN "tests/golden/sentencepiece/"

static char *read_model(size_t number, size_t *size)
{
    char path[128], *data;
    sah_error error = {0};
    snprintf(path, sizeof path, GOLDEN "%zu.model", number);
    expect_ok(sah_file_read(path, 1 << 20, &data, size, &error), &error);
    return data;
}

/* BOS is put in front once, also where the text brings it along; transformers puts a second one. */
static bool same_ids(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n, const json_t *expected)
{
    const size_t m = json_array_size(expected);
    const size_t skip = m == n + 1 && n > 0 && ids[0] == sah_tokenizer_bos(tokenizer) &&
                        json_integer_value(json_array_get(expected, 1)) == ids[0];
    if (m != n + skip) return false;
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json_integer_value(json_array_get(expected, i + skip))) return false;
    return true;
}

static void check_case(size_t number, const json_t *one, const json_t *texts)
{
    const json_t *text, *expected = json_object_get(one, "ids");
    const char *name;
    json_t *file;
    sah_error error = {0};
    sah_tokenizer *tokenizer;
    size_t i, size;
    char folder[512], *model = read_model((size_t)json_integer_value(json_object_get(one, "model")), &size);
    snprintf(folder, sizeof folder, "%s", scratch(""));
    scratch_write(scratch("tokenizer.model"), model, size);
    free(model);
    json_object_foreach(json_object_get(one, "files"), name, file)
    {
        char *dump = json_dumps(file, 0);
        scratch_write_text(scratch(name), dump);
        free(dump);
    }
    expect_ok(sah_tokenizer_from_directory(folder, &tokenizer, &error), &error);
    json_array_foreach(texts, i, text)
    {
        int32_t *ids;
        size_t n;
        expect_ok(sah_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), true,
                                       &ids, &n, &error),
                  &error);
        if (!same_ids(tokenizer, ids, n, json_array_get(expected, i))) {
            for (size_t k = 0; k < n; k++) print_message("%d ", (int)ids[k]);
            fail_msg("case %zu, \"%s\"", number, json_string_value(text));
        }
        if (i == 0) {
            char *back;
            expect_ok(sah_tokenizer_decode(tokenizer, ids, n, false, &back, &error), &error);
            if (strcmp(back, json_string_value(json_object_get(one, "decoded"))) != 0)
                fail_msg("case %zu decodes to \"%s\"", number, back);
            free(back);
        }
        free(ids);
    }
    sah_tokenizer_free(tokenizer);
}

static void every_case(void **state)
{
    (void)state;
    sah_error error = {0};
    json_t *golden = NULL, *one;
    size_t number;
    remove(scratch("tokenizer.json"));
    expect_ok(sah_json_read(GOLDEN "cases.json", 1 << 24, &golden, &error), &error);
    assert_true(json_array_size(json_object_get(golden, "cases")) >= 70);
    json_array_foreach(json_object_get(golden, "cases"), number, one)
    {
        check_case(number, one, json_object_get(golden, "texts"));
    }
    json_decref(golden);
}

/* A file that ends early is whole up to some piece, or refused; never read beyond its end. */
static void damaged_files(void **state)
{
    (void)state;
    size_t size, whole = 0;
    char *model = read_model(2, &size);
    for (size_t n = 0; n < size; n += n < 600 ? 1 : 37) {
        char *part = malloc(n + 1); /* of its own, so that the sanitizer sees its end */
        sah_error error = {0};
        sah_spm spm;
        assert_non_null(part);
        memcpy(part, model, n);
        const sah_status status = sah_spm_parse(part, n, "part", &spm, &error);
        if (status == SAH_OK)
            whole++;
        else
            assert_non_null(strstr(error.message, "part"));
        sah_spm_free(&spm);
        free(part);
    }
    assert_true(whole > 10 && whole < 200);
    for (size_t i = 0; i < size; i++) { /* any byte may be wrong */
        sah_spm spm;
        const char own = model[i];
        model[i] = (char)(own ^ 0x80);
        sah_spm_parse(model, size, "part", &spm, NULL);
        sah_spm_free(&spm);
        model[i] = own;
    }
    free(model);
}

static void refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } cases[] = {
        {"", 0, "is empty"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 57, "LFS"},
        {"IQ== 0\nIg== 1\n", 14, "tiktoken"},
        {"\x0A\x03\x0A\x01\x61\x12\x02\x18\x03", 9, "kind 3"},
        {"\x0A\x03\x0A\x01\xFF", 5, "piece 0 is not UTF-8"},
        {"\x0A\x05\x0A\x09\x61", 5, "damaged"},
    };
    char folder[512];
    snprintf(folder, sizeof folder, "%s", scratch(""));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sah_error error = {0};
        sah_tokenizer *tokenizer;
        scratch_write(scratch("tokenizer.model"), cases[i].bytes, cases[i].size);
        assert_int_not_equal(sah_tokenizer_from_directory(folder, &tokenizer, &error), SAH_OK);
        if (strstr(error.message, cases[i].message) == NULL ||
            strstr(error.message, "tokenizer.model") == NULL)
            fail_msg("case %zu: %s", i, error.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(refused_by_name),
    };
    return cmocka_run_group_tests_name("SentencePiece", tests, NULL, NULL);
}
