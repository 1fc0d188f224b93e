/* SPDX-License-Identifier: Apache-2.0 */
/* PyTorch's files: tensors as torch.save() lays them down (tests/golden/formats), what is refused, and every kind
 * of damage to the container and to the pickle inside. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "model/checkpoint/checkpoint.h"
#include "model/format/weight_files.h"
#include "model/format/zip.h"
#include "model/writers.h"
#include "util/scratch.h"

#define FORMATS "tests/golden/formats/"

/* ---- Good files ---------------------------------------------------------------------------------------- */

static void check_views(const char *path)
{
    static const struct {
        const char *name, *why;
    } LEFT_OUT[] = {{"five", "more than four dimensions"},
                    {"repeated", "a view that repeats its numbers"},
                    {"f64", "F64"},
                    {"i64", "I64"},
                    {"bool", "BOOL"},
                    {"number", "no tensor"},
                    {"text", "no tensor"},
                    {"list", "no tensor"}};
    sah_error error;
    sah_tensors tensors;
    json_t *wanted, *row;
    const char *name;
    expect_ok(sah_json_read(FORMATS "torch/views.json", 1 << 20, &wanted, &error), &error);
    expect_ok(sah_weights_open_file(path, &tensors, &error), &error);
    assert_int_equal(tensors.n, json_object_size(wanted));
    json_object_foreach(wanted, name, row)
    {
        const sah_tensor *tensor = sah_tensors_find(&tensors, name);
        const json_t *shape = json_object_get(row, "shape"), *values = json_object_get(row, "values");
        assert_non_null(tensor);
        assert_int_equal(tensor->n_dims, json_array_size(shape));
        for (size_t i = 0; i < json_array_size(shape); i++)
            assert_int_equal(tensor->dims[i], json_integer_value(json_array_get(shape, i)));
        size_t n = sah_tensor_values(tensor);
        assert_int_equal(n, json_array_size(values));
        float *out = malloc(n * sizeof *out + 1);
        sah_tensor_read(tensor, 0, n, out);
        for (size_t i = 0; i < n; i++)
            assert_true((double)out[i] == json_number_value(json_array_get(values, i)));
        free(out);
    }
    for (size_t i = 0; i < sizeof LEFT_OUT / sizeof *LEFT_OUT; i++)
        assert_string_equal(sah_tensors_unsupported(&tensors, LEFT_OUT[i].name), LEFT_OUT[i].why);
    assert_true(tensors.is_torch);
    sah_tensors_close(&tensors);
    json_decref(wanted);
}

static void test_views(void **state)
{
    (void)state;
    check_views(FORMATS "torch/views.bin");
    check_views(FORMATS "torch/views-protocol-4.bin");
    check_views(FORMATS "torch/views-dict.bin");
}

static void test_zip64(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    expect_ok(sah_weights_open_file(FORMATS "torch/zip64.bin", &tensors, &error), &error);
    const sah_tensor *tensor = sah_tensors_find(&tensors, "whole");
    float last;
    assert_non_null(tensor);
    sah_tensor_read(tensor, 23, 1, &last);
    assert_true(last == 23.0F / 8 - 1);
    sah_tensors_close(&tensors);
}

/* The same bits as from safetensors, whole models and an adapter. */
static void check_same(const char *path, const char *adapter, const char *other, const char *other_adapter)
{
    sah_error error;
    sah_checkpoint *a, *b;
    expect_ok(sah_checkpoint_open(path, adapter, false, &a, &error), &error);
    expect_ok(sah_checkpoint_open(other, other_adapter, false, &b, &error), &error);
    assert_string_equal(a->info.format, adapter == NULL ? "pytorch" : "safetensors");
    assert_string_equal(a->info.types, b->info.types);
    assert_true(a->info.n_parameters == b->info.n_parameters);
    assert_int_equal(a->tensors->n, b->tensors->n);
    for (size_t i = 0; i < a->tensors->n; i++) {
        const sah_tensor *x = &a->tensors->items[i], *y = sah_tensors_find(b->tensors, x->name);
        assert_non_null(y);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    for (int l = 0; l < a->config.n_layers; l++) {
        const sah_matrix *x = &a->layers[l].q, *y = &b->layers[l].q;
        float *left = malloc(x->rows * x->columns * sizeof *left), *right = malloc(x->rows * x->columns * 4);
        sah_matrix_read(x, 0, x->rows, left);
        sah_matrix_read(y, 0, y->rows, right);
        assert_memory_equal(left, right, x->rows * x->columns * sizeof *left);
        free(left);
        free(right);
    }
    sah_checkpoint_close(a);
    sah_checkpoint_close(b);
}

static void test_models(void **state)
{
    (void)state;
    check_same(FORMATS "llama-bin", NULL, "tests/golden/models/llama-bf16", NULL);
    check_same(FORMATS "llama-bin-sharded", NULL, "tests/golden/models/llama-sharded", NULL);
    check_same("tests/golden/models/llama-gqa", FORMATS "adapter-bin", "tests/golden/models/llama-gqa",
               "tests/golden/adapters/plain");
}

/* ---- Refused ------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *part;
    } CASES[] = {
        {"old.bin", "before 1.6"},
        {"call.bin", "asks for Python's posix.system: only tensors are read, and nothing in the file is run"},
        {"bare.bin", "something other than a dictionary of tensors"},
        {"compressed.bin", "is compressed (method 8)"},
    };
    sah_error error;
    sah_tensors tensors;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char path[256];
        snprintf(path, sizeof path, FORMATS "torch/%s", CASES[i].file);
        expect_failure(sah_weights_open_file(path, &tensors, &error), &error, CASES[i].part);
    }
    assert_int_not_equal(access("/tmp/pickle-was-run", F_OK), 0);
}

/* few.bin with one entry's bytes replaced; `size` may differ from what was there only where the file allows. */
static void expect_changed(size_t offset, const void *bytes, size_t size, const char *part)
{
    sah_error error;
    sah_tensors tensors;
    size_t all;
    uint8_t *data = scratch_read(FORMATS "torch/few.bin", &all);
    assert_true(offset + size <= all);
    memcpy(data + offset, bytes, size);
    scratch_write(scratch("changed.bin"), data, all);
    expect_failure(sah_weights_open_file(scratch("changed.bin"), &tensors, &error), &error, part);
    free(data);
}

/* Where the n-th of these bytes begins in few.bin. */
static size_t find_bytes(const char *bytes, size_t size, int n)
{
    size_t all, at = 0;
    uint8_t *data = scratch_read(FORMATS "torch/few.bin", &all);
    for (; at + size <= all; at++)
        if (memcmp(data + at, bytes, size) == 0 && n-- == 0) break;
    free(data);
    assert_true(at + size <= all);
    return at;
}

static void test_bad_containers(void **state)
{
    (void)state;
    const size_t first = find_bytes("PK\1\2", 4, 0), second = find_bytes("PK\1\2", 4, 1);
    const size_t end = find_bytes("PK\5\6", 4, 0), end64 = find_bytes("PK\6\6", 4, 0);
    expect_changed(first + 8, "\1", 1, "is encrypted");
    expect_changed(first + 10, "\x0E", 1, "is compressed (method 14)");
    expect_changed(first + 24, "\0\0\0\1", 4, "is not where the directory says");
    expect_changed(first + 20, "\0\0\0\x10\0\0\0\x10", 8, "reaches past the end of the entries");
    expect_changed(first + 42, "\0\0\0\x10", 4, "is not where the directory says");
    expect_changed(second + 42, "\0\0\0\0", 4, "overlap");
    expect_changed(second, "XXXX", 4, "directory is malformed");
    expect_changed(first + 28, "\xFF\xFF", 2, "directory is malformed");
    expect_changed(end, "XXXX", 4, "its directory is missing");
    expect_changed(end - 12, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8, "its zip64 directory is missing");
    expect_changed(end64, "XXXX", 4, "its zip64 directory is missing");
    expect_changed(end64 + 16, "\1", 1, "in several files");
    expect_changed(end64 + 32, "\xFF\xFF", 2, "does not fit into the file");
    expect_changed(end64 + 40, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8, "does not fit into the file");
    expect_changed(end64 + 48, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8, "does not fit into the file");
    /* Without the larger record the smaller one counts. */
    char plain[20 + 22] = {0};
    memcpy(plain + 20, "PK\5\6\0\0\0\0\7\0\7\0\xB3\1\0\0\xFF\xFF\0\0\0\0", 22);
    expect_changed(end - 20, plain, sizeof plain, "does not fit into the file");
    expect_changed(find_bytes("littl", 5, 0), "bigbi", 5, "big-endian");
}

static void test_bad_pickles(void **state)
{
    (void)state;
    const size_t at = find_bytes("\x80\2ccollections", 13, 0);
    expect_changed(find_bytes("OrderedDict", 11, 0), "OrderedDyck", 11, "Python's collections.OrderedDyck");
    expect_changed(at, "\x80\x09", 2, "a protocol that is not known");
    expect_changed(at, "\x80\2i", 3, "pickle instruction 0x69 at byte 2");
    expect_changed(at, "\x80\2t", 3, "a mark that is missing");
    expect_changed(at, "\x80\2R", 3, "too few values");
    expect_changed(at, "\x80\2h\x77", 4, "a value that was never put aside");
    expect_changed(at, "\x80\2NNR", 5, "a call that is none");
    expect_changed(at, "\x80\2NN.", 5, "more or less than one value");
    expect_changed(at, "\x80\2(N.", 5, "more or less than one value");
    expect_changed(at, "\x80\2N(s", 5, "nothing to put values into");
    expect_changed(at, "\x80\2NNNs", 6, "values where they do not belong");
    expect_changed(at, "\x80\2Nr\xFF\xFF\xFF\xFF", 8, "a place out of range");
    expect_changed(at, "\x80\2X\xFF\xFF\xFF\xFF", 7, "a string that is cut short");
    expect_changed(at, "\x80\2\x8A\x09", 4, "an integer of more than 64 bits");
    expect_changed(at, "\x80\2]q\0h\0a.", 9, "something other than a dictionary");
    expect_changed(at, "\x80\2}K\1K\2s.", 9, "something without a valid name");
}

/* The tensor's own description: (storage, 0, (4, 6), (6, 1), ...) of 24 values. */
static void test_bad_views(void **state)
{
    (void)state;
    const size_t sizes = find_bytes("K\x04K\x06\x86", 5, 0), strides = find_bytes("K\x06K\x01\x86", 5, 0);
    const size_t values = find_bytes("K\x18t", 3, 0), offset = find_bytes("QK\0", 3, 0);
    expect_changed(sizes, "K\x05K\x06\x86", 5, "tensor whole reaches past the end of its storage");
    expect_changed(strides, "K\x07K\x01\x86", 5, "reaches past the end of its storage");
    expect_changed(offset, "QK\1", 3, "reaches past the end of its storage");
    expect_changed(sizes, "N\x88N\x88\x86", 5, "has no valid shape");
    expect_changed(values, "K\x17t", 3, "has a storage of another size");
    expect_changed(find_bytes("FloatStorage", 12, 0), "Size\nq\4X\x01\0\0\0", 12, "");
    expect_changed(find_bytes("storage", 7, 0), "stowage", 7, "no storage that is known");
    expect_changed(find_bytes("X\1\0\0\0000", 6, 0), "X\1\0\0\0001", 6, "a storage that is not in the file");
}

/* Opens the file and reads every value it claims to have. */
static bool open_all(const char *path, sah_error *error)
{
    sah_tensors tensors;
    if (sah_weights_open_file(path, &tensors, error) != SAH_OK) return false;
    for (size_t i = 0; i < tensors.n; i++) {
        size_t n = sah_tensor_values(&tensors.items[i]);
        float *values = malloc(n * sizeof *values + 1);
        assert_non_null(values);
        sah_tensor_read(&tensors.items[i], 0, n, values);
        free(values);
    }
    sah_tensors_close(&tensors);
    return true;
}

static void test_damage(void **state)
{
    (void)state;
    static const char *const FILES[] = {"views.bin", "views-protocol-4.bin", "zip64.bin"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[256];
        size_t size;
        snprintf(path, sizeof path, FORMATS "torch/%s", FILES[i]);
        uint8_t *data = scratch_read(path, &size);
        spoil(data, size, size, scratch("spoilt.bin"), open_all);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_views),          cmocka_unit_test(test_zip64),
        cmocka_unit_test(test_models),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bad_containers), cmocka_unit_test(test_bad_pickles),
        cmocka_unit_test(test_bad_views),      cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
