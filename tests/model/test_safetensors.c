/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: one file, shards, and every kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "model/format/weight_files.h"
#include "model/writers.h"
#include "util/scratch.h"

static sah_status open_header(const char *header, size_t data_size, sah_tensors *out, sah_error *error)
{
    uint8_t data[256] = {0};
    safetensors_write(scratch("one.safetensors"), header, data, data_size);
    return sah_weights_open_file(scratch("one.safetensors"), out, error);
}

static void test_golden(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    expect_ok(sah_weights_open_model("tests/golden/models/llama-gqa", &tensors, &error), &error);
    const sah_tensor *k = sah_tensors_find(&tensors, "model.layers.2.self_attn.k_proj.weight");
    assert_non_null(k);
    assert_int_equal(k->type, SAH_F32);
    assert_int_equal(k->n_dims, 2);
    assert_int_equal(k->dims[0], 8);
    assert_int_equal(k->dims[1], 32);
    assert_int_equal(k->bytes, 8 * 32 * 4);
    assert_ptr_equal(k->data, tensors.files[0].data + k->offset);
    assert_null(sah_tensors_find(&tensors, "model.layers.3.self_attn.k_proj.weight"));
    assert_null(sah_tensors_find(&tensors, ""));
    for (size_t i = 0; i < tensors.n; i++) {
        assert_ptr_equal(sah_tensors_find(&tensors, tensors.items[i].name), &tensors.items[i]);
    }
    sah_tensors_close(&tensors);
}

static void test_types(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    expect_ok(open_header("{\"__metadata__\": {\"format\": \"pt\"},"
                          " \"a\": {\"dtype\": \"F16\", \"shape\": [2, 3], \"data_offsets\": [0, 12]},"
                          " \"b\": {\"dtype\": \"BF16\", \"shape\": [], \"data_offsets\": [12, 14]},"
                          " \"c\": {\"dtype\": \"I64\", \"shape\": [1], \"data_offsets\": [14, 22]},"
                          " \"d\": {\"dtype\": \"F32\", \"shape\": [0, 4], \"data_offsets\": [22, 22]},"
                          " \"e\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1], \"data_offsets\": [22, 26]}}",
                          26, &tensors, &error),
              &error);
    assert_int_equal(tensors.n, 3);
    assert_int_equal(sah_tensor_values(sah_tensors_find(&tensors, "a")), 6);
    assert_int_equal(sah_tensor_values(sah_tensors_find(&tensors, "b")), 1);
    assert_int_equal(sah_tensor_values(sah_tensors_find(&tensors, "d")), 0);
    assert_null(sah_tensors_find(&tensors, "c"));
    assert_string_equal(sah_tensors_unsupported(&tensors, "c"), "I64");
    assert_string_equal(sah_tensors_unsupported(&tensors, "e"), "more than four dimensions");
    assert_null(sah_tensors_unsupported(&tensors, "a"));
    sah_tensors_close(&tensors);
}

static void test_bad_headers(void **state)
{
    (void)state;
#define A(shape, begin, end)                                                                                 \
    "{\"a\": {\"dtype\": \"F32\", \"shape\": " shape ", \"data_offsets\": [" begin ", " end "]}}"
    static const struct {
        const char *header, *part;
    } CASES[] = {
        {"", "not valid JSON"},
        {"[]", "no JSON object"},
        {"{\"a\": 3}", "tensor a has no dtype"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1]}}", "tensor a has no valid data_offsets"},
        {A("[2]", "0", "4"), "tensor a is [2] of F32 but has 4 bytes"},
        {A("[2]", "0", "8.0"), "no valid data_offsets"},
        {A("[2]", "8", "0"), "no valid data_offsets"},
        {A("[2]", "-8", "0"), "no valid data_offsets"},
        {A("[-2]", "0", "8"), "tensor a has no valid shape"},
        {A("[64]", "0", "256"), "ends at byte 256 of the data, but the file has 32: cut short?"},
        {A("[4294967296, 4294967296]", "0", "0"), "but has 0 bytes"},
        {A("[9223372036854775807, 2]", "0", "0"), "but has 0 bytes"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]},"
         " \"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [8, 16]}}",
         "duplicate"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]},"
         " \"b\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [4, 12]}}",
         "tensors a and b overlap"},
    };
#undef A
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        sah_error error;
        sah_tensors tensors;
        expect_failure(open_header(CASES[i].header, 32, &tensors, &error), &error, CASES[i].part);
    }
}

static void test_bad_lengths(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    const char *path = scratch("length.safetensors");
    scratch_write(path, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10);
    expect_failure(sah_weights_open_file(scratch("length.safetensors"), &tensors, &error), &error,
                   "a header of");
    scratch_write(path, "\x03\0\0\0\0\0\0\0{}", 10);
    expect_failure(sah_weights_open_file(scratch("length.safetensors"), &tensors, &error), &error,
                   "cut short?");
    scratch_write(path, "\x03", 1);
    expect_failure(sah_weights_open_file(scratch("length.safetensors"), &tensors, &error), &error,
                   "not a safetensors file");
}

static void test_shards(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    expect_ok(sah_weights_open_model("tests/golden/models/llama-sharded", &tensors, &error), &error);
    assert_int_equal(tensors.n_files, 2);
    assert_int_equal(tensors.n, 3 * 9 + 3);
    bool second = false;
    for (size_t i = 0; i < tensors.n; i++) {
        const sah_tensor *tensor = &tensors.items[i];
        assert_ptr_equal(tensor->data, tensors.files[tensor->file].data + tensor->offset);
        second = second || tensor->file == 1;
    }
    assert_true(second);
    sah_tensors_close(&tensors);
}

static void test_bad_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *index, *part;
    } CASES[] = {
        {"{}", "no object \"weight_map\""},
        {"{\"weight_map\": {}}", "names no file"},
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "must be a plain file name"},
        {"{\"weight_map\": {\"a\": \"/etc/passwd\"}}", "must be a plain file name"},
        {"{\"weight_map\": {\"a\": \"..\"}}", "must be a plain file name"},
        {"{\"weight_map\": {\"a\": 3}}", "must be a plain file name"},
        {"{\"weight_map\": {\"a\": \"x.safetensors\"}}", "No such file"},
        {"{\"weight_map\": {\"a\": \"1.safetensors\", \"b\": \"1.safetensors\"}}",
         "tensor b is not in 1.safetensors"},
        {"{\"weight_map\": {\"a\": \"2.safetensors\", \"c\": \"1.safetensors\"}}", "is not in"},
        {"{\"weight_map\": {\"a\": \"1.safetensors\", \"c\": \"3.safetensors\"}}", "1.safetensors as well"},
    };
    static const char A[] = "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}";
    static const char C[] = "{\"c\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}";
    sah_error error;
    sah_tensors tensors;
    char directory[512];
    strcpy(directory, scratch("shards"));
    assert_int_equal(mkdir(directory, 0700), 0);
    safetensors_write(scratch("shards/1.safetensors"), A, "1234", 4);
    safetensors_write(scratch("shards/2.safetensors"), C, "1234", 4);
    safetensors_write(scratch("shards/3.safetensors"), A, "1234", 4);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        scratch_write_text(scratch("shards/model.safetensors.index.json"), CASES[i].index);
        expect_failure(sah_weights_open_model(directory, &tensors, &error), &error, CASES[i].part);
    }
    scratch_write_text(scratch("shards/model.safetensors.index.json"),
                       "{\"weight_map\": {\"a\": \"1.safetensors\", \"c\": \"2.safetensors\"}}");
    expect_ok(sah_weights_open_model(directory, &tensors, &error), &error);
    assert_int_equal(tensors.n, 2);
    sah_tensors_close(&tensors);
}

static void test_no_weights(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    char directory[512];
    strcpy(directory, scratch("none"));
    assert_int_equal(mkdir(directory, 0700), 0);
    expect_failure(sah_weights_open_model(directory, &tensors, &error), &error, "no weights");
    expect_failure(sah_weights_open_adapter(directory, &tensors, &error), &error, "no weights");
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
        sah_dequantize(tensors.items[i].type, tensors.items[i].data, n, values);
        free(values);
    }
    sah_tensors_close(&tensors);
    return true;
}

static void test_damage(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = scratch_read("tests/golden/models/llama-bf16/model.safetensors", &size);
    spoil(data, size, 4000, scratch("spoilt.safetensors"), open_all);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_types),  cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_bad_lengths), cmocka_unit_test(test_shards), cmocka_unit_test(test_bad_indexes),
        cmocka_unit_test(test_no_weights),  cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
