/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, errors, memory, growing text, mapped files. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/mapfile.h"
#include "util/scratch.h"
#include "util/strings.h"
#include "util/utf8.h"

static void test_utf8_every_code(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xD800 && code < 0xE000) continue;
        char bytes[4];
        size_t n = sah_utf8_put(code, bytes), length;
        assert_int_equal(n, code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
        assert_int_equal(sah_utf8_next(bytes, n, &length), code);
        assert_int_equal(length, n);
        assert_true(sah_utf8_valid(bytes, n));
        assert_false(n > 1 && sah_utf8_valid(bytes, n - 1));
    }
}

/* Bytes, and the same with each invalid byte as U+FFFD. */
static void test_utf8_invalid(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *repaired;
    } CASES[] = {
        {"a\xFFz", "a\uFFFDz"},
        {"\x80", "\uFFFD"},
        {"\xC0\xAF", "\uFFFD\uFFFD"}, /* overlong / */
        {"\xE0\x80\xAF", "\uFFFD\uFFFD\uFFFD"}, /* overlong, three bytes */
        {"\xF0\x80\x80\xAF", "\uFFFD\uFFFD\uFFFD\uFFFD"}, /* overlong, four bytes */
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"}, /* a surrogate */
        {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"}, /* past U+10FFFF */
        {"\xE2\x82", "\uFFFD\uFFFD"}, /* cut short */
        {"\xE2\x82\xAC\xE2", "\u20AC\uFFFD"},
        {"caf\xC3\xA9", "caf\u00E9"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        size_t n;
        char *repaired = sah_utf8_repair(CASES[i].bytes, strlen(CASES[i].bytes), &n);
        assert_string_equal(repaired, CASES[i].repaired);
        assert_int_equal(n, strlen(repaired));
        assert_int_equal(sah_utf8_valid(CASES[i].bytes, strlen(CASES[i].bytes)),
                         strcmp(CASES[i].bytes, CASES[i].repaired) == 0);
        free(repaired);
    }
}

static void test_errors(void **state)
{
    (void)state;
    sah_error error;
    assert_int_equal(
        sah_fail(&error, SAH_BAD_ARGUMENT, "name %s, size %d", "a\nb\xFF\x1B[31m\u00E9\xC2\x85", 7),
        SAH_BAD_ARGUMENT);
    assert_string_equal(error.message, "name a?b??[31m\u00E9?, size 7");
    assert_int_equal(sah_fail_in(&error, "file"), SAH_BAD_ARGUMENT);
    assert_string_equal(error.message, "file: name a?b??[31m\u00E9?, size 7");
    errno = ENOENT;
    assert_int_equal(sah_fail_errno(&error, "cannot open", "x"), SAH_IO_ERROR);
    assert_string_equal(error.message, "cannot open x: No such file or directory");
    assert_string_equal(error.field, "");
    assert_int_equal(sah_fail_field(&error, SAH_BAD_ARGUMENT, "steps", " %d: only %d", 9, 4),
                     SAH_BAD_ARGUMENT);
    assert_string_equal(error.message, "steps 9: only 4");
    assert_string_equal(error.field, "steps");
    assert_int_equal(sah_fail_field(NULL, SAH_BAD_ARGUMENT, "steps", "."), SAH_BAD_ARGUMENT);
    sah_error_clear(&error);
    assert_int_equal(error.status, SAH_OK);
    assert_string_equal(error.message, "");
    assert_string_equal(error.field, "");
    assert_int_equal(sah_fail(NULL, SAH_FAILED, "nobody listens"), SAH_FAILED);
}

/* The version's text and its numbers are one, and every status has a name of its own. */
static void test_version_and_names(void **state)
{
    (void)state;
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", SAH_VERSION_MAJOR, SAH_VERSION_MINOR, SAH_VERSION_PATCH);
    assert_string_equal(version, SAH_VERSION);
    assert_string_equal(version, sah_version());
    for (int a = SAH_OK; a <= SAH_NOT_SUPPORTED; a++)
        for (int b = SAH_OK; b < a; b++)
            assert_string_not_equal(sah_status_name((sah_status)a), sah_status_name((sah_status)b));
    assert_string_equal(sah_status_name((sah_status)99), "unknown");
}

static void test_long_error_stays_valid(void **state)
{
    (void)state;
    sah_error error;
    sah_text text = {0};
    sah_text_adds(&text, "x");
    for (int i = 0; i < 600; i++) sah_text_adds(&text, "\u20AC");
    sah_fail(&error, SAH_FAILED, "%s", text.data);
    assert_true(strlen(error.message) > 1000 && strlen(error.message) < sizeof error.message);
    assert_true(sah_utf8_valid(error.message, strlen(error.message)));
    free(text.data);
}

static void test_alloc(void **state)
{
    (void)state;
    size_t out;
    assert_true(sah_mul(1 << 20, 1 << 20, &out) && out == (size_t)1 << 40);
    assert_false(sah_mul(SIZE_MAX, 2, &out));
    assert_false(sah_add(SIZE_MAX, 1, &out));
    assert_null(sah_alloc(SIZE_MAX / 2, 4));
    assert_null(sah_alloc_aligned(SIZE_MAX / 2, 4));
    assert_null(sah_alloc_aligned(SIZE_MAX, 1));
    void *nothing = sah_alloc(0, 8), *aligned = sah_alloc_aligned(3, 5);
    assert_non_null(nothing);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    free(nothing);
    free(aligned);
    int *array = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 1000; i++) {
        assert_true(sah_grow(&array, &capacity, (size_t)i + 1, sizeof *array));
        array[i] = i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(array[i], i);
    assert_false(sah_grow(&array, &capacity, SIZE_MAX / 2, sizeof *array));
    assert_int_equal(array[999], 999);
    free(array);
}

static void test_growing_text(void **state)
{
    (void)state;
    sah_text text = {0};
    sah_text_add(&text, NULL, 0);
    assert_string_equal(text.data, "");
    for (int i = 0; i < 100; i++) sah_text_addf(&text, "%d,", i);
    sah_text_add(&text, "a\0b", 3);
    assert_int_equal(text.size, 10 * 2 + 90 * 3 + 3);
    assert_memory_equal(text.data, "0,1,2,", 6);
    assert_memory_equal(text.data + text.size - 6, "99,a\0b", 7);
    assert_false(text.failed);
    free(text.data);
}

static void test_files(void **state)
{
    (void)state;
    sah_error error;
    sah_mapfile map;
    char *data;
    size_t size;
    const char *path = scratch("file");
    scratch_write(path, "a\0b", 3);
    expect_ok(sah_mapfile_open(path, &map, &error), &error);
    assert_int_equal(map.size, 3);
    assert_memory_equal(map.data, "a\0b", 3);
    assert_string_equal(map.path, path);
    sah_mapfile_release(&map, 0, 3);
    sah_mapfile_release(&map, 2, SIZE_MAX);
    assert_memory_equal(map.data, "a\0b", 3);
    sah_mapfile_close(&map);
    expect_ok(sah_file_read(path, 3, &data, &size, &error), &error);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "a\0b", 4);
    free(data);
    expect_failure(sah_file_read(path, 2, &data, &size, &error), &error, "larger than the 2 bytes");
    assert_null(data);
    scratch_write(path, "", 0);
    expect_ok(sah_mapfile_open(path, &map, &error), &error);
    assert_int_equal(map.size, 0);
    sah_mapfile_close(&map);
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    sah_error error;
    sah_mapfile map;
    char *data;
    size_t size;
    expect_failure(sah_mapfile_open(scratch("absent"), &map, &error), &error, "No such file");
    expect_failure(sah_file_read(scratch("absent"), 9, &data, &size, &error), &error, "No such file");
    expect_failure(sah_mapfile_open("tests", &map, &error), &error, "is a directory");
    expect_failure(sah_file_read("tests", 9, &data, &size, &error), &error, "is a directory");
    const char *pipe = scratch("pipe");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    expect_failure(sah_mapfile_open(pipe, &map, &error), &error, "not a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_every_code),
        cmocka_unit_test(test_utf8_invalid),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_version_and_names),
        cmocka_unit_test(test_long_error_stays_valid),
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_growing_text),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
