/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: parsing, typed look-ups, floats that read back. */
#include <float.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "util/json.h"
#include "util/scratch.h"

static json_t *parse(const char *text)
{
    sah_error error;
    json_t *json;
    expect_ok(sah_json_parse(text, strlen(text), "text", &json, &error), &error);
    return json;
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } CASES[] = {
        {"", "text: not valid JSON"},
        {"{\"a\": 1,}", "line 1"},
        {"{\n\"a\": tru}", "line 2"},
        {"{\"a\": 1, \"a\": 2}", "duplicate"},
        {"[1] x", "not valid JSON"},
        {"[\"\xFF\"]", "not valid JSON"},
        {"[\"\\u0000\"]", "text: line 1, column 9: a text with the character NUL (\\u0000)"},
        {"[1e999]", "not valid JSON"},
        {"{\"a\": 123456789012345678901234567890", "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        json_t *json;
        expect_failure(sah_json_parse(CASES[i].text, strlen(CASES[i].text), "text", &json, &error), &error,
                       CASES[i].part);
        assert_null(json);
    }
}

static void test_deep_nesting(void **state)
{
    (void)state;
    sah_error error;
    json_t *json;
    const size_t n = 1000000;
    char *text = malloc(n);
    memset(text, '[', n);
    expect_failure(sah_json_parse(text, n, "text", &json, &error), &error, "depth");
    free(text);
}

/* "model_max_length" of many tokenizers does not fit into 64 bits; the other numbers must stay what they are.
 */
static void test_huge_integers(void **state)
{
    (void)state;
    json_t *json = parse("{\"max\": 1000000000000000019884624838656, \"n\": [3, -4, 0.5, {\"deep\": 7}]}");
    const json_t *list = json_object_get(json, "n");
    assert_true(json_real_value(json_object_get(json, "max")) > 9.9e29);
    assert_true(json_is_integer(json_array_get(list, 0)));
    assert_int_equal(json_integer_value(json_array_get(list, 0)), 3);
    assert_int_equal(json_integer_value(json_array_get(list, 1)), -4);
    assert_true(json_is_real(json_array_get(list, 2)));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 3), "deep")), 7);
    json_decref(json);
}

static void test_look_ups(void **state)
{
    (void)state;
    sah_error error;
    int64_t integer;
    double number;
    bool flag;
    const char *string;
    json_t *json = parse("{\"i\": 5, \"x\": 0.5, \"b\": true, \"s\": \"text\", \"none\": null}");
    expect_ok(sah_json_int(json, "i", 1, 0, 5, &integer, "f", &error), &error);
    assert_int_equal(integer, 5);
    expect_ok(sah_json_int(json, "none", -1, 0, 5, &integer, "f", &error), &error);
    assert_int_equal(integer, -1);
    expect_ok(sah_json_int(json, "absent", -2, 0, 5, &integer, "f", &error), &error);
    assert_int_equal(integer, -2);
    expect_failure(sah_json_int(json, "i", 1, 6, 9, &integer, "f", &error), &error,
                   "f: \"i\" is 5, outside 6 to 9");
    expect_failure(sah_json_int(json, "x", 1, 0, 9, &integer, "f", &error), &error,
                   "\"x\" must be an integer");
    expect_ok(sah_json_number(json, "x", 1, &number, "f", &error), &error);
    assert_true(number == 0.5);
    expect_ok(sah_json_number(json, "i", 1, &number, "f", &error), &error);
    assert_true(number == 5);
    expect_failure(sah_json_number(json, "s", 1, &number, "f", &error), &error, "\"s\" must be a number");
    expect_ok(sah_json_bool(json, "b", false, &flag, "f", &error), &error);
    assert_true(flag);
    expect_failure(sah_json_bool(json, "i", false, &flag, "f", &error), &error,
                   "\"i\" must be true or false");
    expect_ok(sah_json_string(json, "s", NULL, &string, "f", &error), &error);
    assert_string_equal(string, "text");
    expect_ok(sah_json_string(json, "absent", NULL, &string, "f", &error), &error);
    assert_null(string);
    expect_failure(sah_json_string(json, "b", NULL, &string, "f", &error), &error, "\"b\" must be a string");
    json_decref(json);
}

/* A line is one line to readers that end lines at U+0085, U+2028 and U+2029 as well. */
static void test_line_ends(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:s}", "a\u2028", "\u2029b\xC2\x85\xC2\x86\u2027\u00E2\u2028");
    char *text = sah_json_text(json, JSON_COMPACT);
    assert_string_equal(text, "{\"a\\u2028\":\"\\u2029b\\u0085\xC2\x86\u2027\u00E2\\u2028\"}");
    json_t *again = parse(text);
    assert_true(json_equal(again, json));
    free(text);
    json_decref(again);
    json_decref(json);
}

static void test_float_text(void **state)
{
    (void)state;
    static const struct {
        float value;
        const char *text;
    } CASES[] = {{0, "0"},
                 {1, "1"},
                 {-0.1F, "-0.1"},
                 {1e-4F, "0.0001"},
                 {1e20F, "1e+20"},
                 {0.3F, "0.3"},
                 {16777216, "16777216"},
                 {FLT_TRUE_MIN, "1e-45"},
                 {0.1F + 0.2F, "0.3"},
                 {1.0F / 3, "0.33333334"}};
    char text[32];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_format_float(CASES[i].value, text);
        assert_string_equal(text, CASES[i].text);
    }
    sah_format_double(0.1 + 0.2, text);
    assert_string_equal(text, "0.30000000000000004");
    sah_format_double(1e-5, text);
    assert_string_equal(text, "1e-05");
}

/* Bit patterns spread over all of float32 and float64: what is written reads back, and as JSON. */
static void test_floats_read_back(void **state)
{
    (void)state;
    uint64_t bits = 1;
    for (int i = 0; i < 200000; i++) {
        char text[32];
        float single;
        double whole;
        bits = bits * 6364136223846793005ULL + 1442695040888963407ULL;
        uint32_t high = (uint32_t)(bits >> 32);
        memcpy(&single, &high, sizeof single);
        memcpy(&whole, &bits, sizeof whole);
        if ((high >> 23 & 255) != 255) {
            sah_format_float(single, text);
            assert_true(strtof(text, NULL) == single);
        }
        if ((high >> 20 & 2047) != 2047) {
            sah_format_double(whole, text);
            assert_true(strtod(text, NULL) == whole);
            if (i % 100 == 0) {
                json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
                assert_true(json_number_value(json) == whole);
                json_decref(json);
            }
        }
    }
}

/* A locale whose decimal point is a comma, made here: a bare system has none. localedef (libc-bin) complains
 * of the categories that are left out and writes all the same. */
static void test_float_in_a_comma_locale(void **state)
{
    (void)state;
    char text[32], libc[32], command[2400], directory[512];
    snprintf(directory, sizeof directory, "%s", scratch("comma"));
    scratch_write_text(scratch("ascii"), "<code_set_name> ASCII\n<comment_char> %\n<escape_char> /\nCHARMAP\n"
                                         "<U0000>..<U007F> /x00 x\nEND CHARMAP\n");
    scratch_write_text(scratch("comma.source"), "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \"\"\n"
                                                "grouping -1\nEND LC_NUMERIC\n");
    snprintf(command, sizeof command, "localedef -c -f %s -i %s %s 2> %s", scratch("ascii"),
             scratch("comma.source"), directory, scratch("comma.warnings"));
    (void)!system(command);
    *strrchr(directory, '/') = '\0';
    setenv("LOCPATH", directory, 1);
    if (setlocale(LC_NUMERIC, "comma") == NULL) fail_msg("localedef made no locale: %s", command);
    snprintf(libc, sizeof libc, "%g", 0.5);
    sah_format_float(0.5F, text);
    setlocale(LC_NUMERIC, "C");
    unsetenv("LOCPATH");
    assert_string_equal(libc, "0,5");
    assert_string_equal(text, "0.5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),           cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_huge_integers),    cmocka_unit_test(test_look_ups),
        cmocka_unit_test(test_line_ends),        cmocka_unit_test(test_float_text),
        cmocka_unit_test(test_floats_read_back), cmocka_unit_test(test_float_in_a_comma_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
