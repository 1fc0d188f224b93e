/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF: metadata of every type, the tensor directory, both versions, and every kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/format/gguf.h"
#include "model/format/gguf_split.h"
#include "model/writers.h"
#include "util/scratch.h"

static gguf_writer fresh(void)
{
    return (gguf_writer){.version = 3, .alignment = 32};
}

static void test_metadata(void **state)
{
    (void)state;
    gguf_writer w = fresh();
    sah_error error;
    sah_gguf gguf;
    int64_t integer;
    double number;
    bool flag;
    const char *text;
    size_t length, at = 0;
    const char *path = scratch("metadata.gguf");
    gguf_pair(&w, "u8", SAH_GGUF_U8, "\xFF", 1);
    gguf_pair(&w, "i8", SAH_GGUF_I8, "\xFF", 1);
    gguf_pair(&w, "u16", SAH_GGUF_U16, "\xFE\xFF", 2);
    gguf_pair(&w, "i16", SAH_GGUF_I16, "\xFE\xFF", 2);
    gguf_pair(&w, "u32", SAH_GGUF_U32, "\xFD\xFF\xFF\xFF", 4);
    gguf_pair(&w, "i32", SAH_GGUF_I32, "\xFD\xFF\xFF\xFF", 4);
    gguf_pair(&w, "u64", SAH_GGUF_U64, "\xFC\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8);
    gguf_pair(&w, "i64", SAH_GGUF_I64, "\xFC\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8);
    gguf_pair_f32(&w, "f32", 0.5F);
    gguf_pair(&w, "f64", SAH_GGUF_F64, &(double){0.1}, 8);
    gguf_pair_bool(&w, "yes", true);
    gguf_pair(&w, "maybe", SAH_GGUF_BOOL, "\x02", 1);
    gguf_pair_string(&w, "s", "text");
    gguf_pair_string(&w, "empty", "");
    gguf_pair(&w, "list", SAH_GGUF_ARRAY,
              "\x08\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x02\0\0\0\0\0\0\0bc", 31);
    gguf_pair(&w, "numbers", SAH_GGUF_ARRAY, "\x04\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0", 20);
    gguf_write(&w, path);
    expect_ok(sah_gguf_open(path, &gguf, &error), &error);
    assert_int_equal(gguf.n_values, 16);
    static const struct {
        const char *key;
        int64_t value;
    } INTEGERS[] = {{"u8", 255},         {"i8", -1},  {"u16", 65534}, {"i16", -2},
                    {"u32", 4294967293}, {"i32", -3}, {"i64", -4},    {"absent", 7}};
    for (size_t i = 0; i < sizeof INTEGERS / sizeof *INTEGERS; i++) {
        expect_ok(sah_gguf_int(&gguf, INTEGERS[i].key, 7, INT64_MIN, INT64_MAX, &integer, &error), &error);
        assert_int_equal(integer, INTEGERS[i].value);
    }
    expect_failure(sah_gguf_int(&gguf, "u64", 7, INT64_MIN, INT64_MAX, &integer, &error), &error,
                   "u64 must be");
    expect_failure(sah_gguf_int(&gguf, "u8", 7, 0, 100, &integer, &error), &error,
                   "u8 is 255, outside 0 to 100");
    expect_failure(sah_gguf_int(&gguf, "f32", 7, 0, 100, &integer, &error), &error, "f32 must be an integer");
    for (size_t i = 0; i < 2; i++) { /* [1, 2], and one number for all */
        expect_ok(sah_gguf_int_of(&gguf, "numbers", i, 2, 7, 0, 100, &integer, &error), &error);
        assert_int_equal(integer, i + 1);
        expect_ok(sah_gguf_int_of(&gguf, "u8", i, 2, 7, 0, 255, &integer, &error), &error);
        assert_int_equal(integer, 255);
        expect_ok(sah_gguf_int_of(&gguf, "none", i, 2, 7, 0, 100, &integer, &error), &error);
        assert_int_equal(integer, 7);
    }
    expect_failure(sah_gguf_int_of(&gguf, "numbers", 1, 2, 7, 0, 1, &integer, &error), &error,
                   "numbers is 2, outside 0 to 1");
    expect_failure(sah_gguf_int_of(&gguf, "numbers", 0, 3, 7, 0, 100, &integer, &error), &error,
                   "numbers must be an integer, or one for each layer");
    expect_failure(sah_gguf_int_of(&gguf, "list", 0, 2, 7, 0, 100, &integer, &error), &error,
                   "list must be an integer, or one for each layer");
    expect_ok(sah_gguf_number(&gguf, "f32", 7, &number, &error), &error);
    assert_true(number == 0.5);
    expect_ok(sah_gguf_number(&gguf, "f64", 7, &number, &error), &error);
    assert_true(number == 0.1);
    expect_ok(sah_gguf_number(&gguf, "i32", 7, &number, &error), &error);
    assert_true(number == -3);
    expect_failure(sah_gguf_number(&gguf, "s", 7, &number, &error), &error, "s must be a number");
    expect_ok(sah_gguf_bool(&gguf, "yes", false, &flag, &error), &error);
    assert_true(flag);
    expect_failure(sah_gguf_bool(&gguf, "maybe", false, &flag, &error), &error,
                   "maybe must be true or false");
    expect_failure(sah_gguf_bool(&gguf, "u8", false, &flag, &error), &error, "u8 must be true or false");
    expect_ok(sah_gguf_string(&gguf, "s", &text, &length, &error), &error);
    assert_int_equal(length, 4);
    assert_memory_equal(text, "text", 4);
    expect_ok(sah_gguf_string(&gguf, "empty", &text, &length, &error), &error);
    assert_true(text != NULL && length == 0);
    expect_ok(sah_gguf_string(&gguf, "absent", &text, &length, &error), &error);
    assert_null(text);
    expect_failure(sah_gguf_string(&gguf, "list", &text, &length, &error), &error, "list must be a string");
    const sah_gguf_value *list = sah_gguf_find(&gguf, "list");
    assert_int_equal(list->item, SAH_GGUF_STRING);
    assert_int_equal(list->n, 2);
    sah_gguf_next_string(list, &at, &text, &length);
    assert_true(length == 1 && text[0] == 'a');
    sah_gguf_next_string(list, &at, &text, &length);
    assert_true(length == 2 && memcmp(text, "bc", 2) == 0);
    assert_int_equal(at, list->size);
    assert_int_equal(sah_gguf_find(&gguf, "numbers")->size, 8);
    assert_null(sah_gguf_find(&gguf, "number"));
    sah_gguf_close(&gguf);
}

static void check_same(const sah_gguf *a, const sah_gguf *b)
{
    assert_int_equal(a->tensors.n, b->tensors.n);
    for (size_t i = 0; i < a->tensors.n; i++) {
        const sah_tensor *x = &a->tensors.items[i], *y = sah_tensors_find(&b->tensors, x->name);
        assert_non_null(y);
        assert_int_equal(x->bytes, y->bytes);
        assert_memory_equal(x->dims, y->dims, sizeof x->dims);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
}

static void test_versions(void **state)
{
    (void)state;
    sah_error error;
    sah_gguf two, three;
    expect_ok(sah_gguf_open("tests/golden/models/llama-gqa/model-f32-v2.gguf", &two, &error), &error);
    expect_ok(sah_gguf_open("tests/golden/models/llama-gqa/model-f32.gguf", &three, &error), &error);
    assert_int_equal(two.version, 2);
    assert_int_equal(three.version, 3);
    const sah_tensor *k = sah_tensors_find(&three.tensors, "blk.2.attn_k.weight");
    assert_true(k->dims[0] == 8 && k->dims[1] == 32 && k->n_dims == 2);
    check_same(&two, &three);
    sah_gguf_close(&two);
    sah_gguf_close(&three);
}

static void test_alignment(void **state)
{
    (void)state;
    gguf_writer w = {.version = 3, .alignment = 256};
    sah_error error;
    sah_gguf gguf;
    gguf_pair_u32(&w, "general.alignment", 256);
    gguf_tensor(&w, "a", 0, 1, (const uint64_t[]){1}, 4);
    gguf_tensor(&w, "b", 8, 2, (const uint64_t[]){3, 64}, 3 * 68);
    gguf_write(&w, scratch("aligned.gguf"));
    expect_ok(sah_gguf_open(scratch("aligned.gguf"), &gguf, &error), &error);
    const sah_tensor *b = sah_tensors_find(&gguf.tensors, "b");
    assert_int_equal(gguf.data_offset % 256, 0);
    assert_int_equal(b->offset, gguf.data_offset + 256);
    assert_int_equal(b->type, SAH_Q8_0);
    assert_true(b->dims[0] == 3 && b->dims[1] == 64);
    sah_gguf_close(&gguf);
}

/* Writes, opens, and expects a refusal that says `part`. */
static void expect_refusal(gguf_writer *w, const char *part)
{
    sah_error error;
    sah_gguf gguf;
    gguf_write(w, scratch("bad.gguf"));
    expect_failure(sah_gguf_open(scratch("bad.gguf"), &gguf, &error), &error, part);
}

static void test_refusals(void **state)
{
    (void)state;
    gguf_writer w = fresh();
    const uint64_t one[] = {1}, row[] = {32}, half_block[] = {2, 16}, huge[] = {1ULL << 40, 1ULL << 40};
    w.version = 1;
    expect_refusal(&w, "GGUF version 1 is not supported");
    w.version = 0x03000000;
    expect_refusal(&w, "big-endian");
    w.version = 4;
    expect_refusal(&w, "GGUF version 4 is not supported");
    gguf_pair_u32(&w, "key", 1);
    gguf_pair_u32(&w, "key", 2);
    expect_refusal(&w, "metadata key key is there twice");
    gguf_pair(&w, "key", (sah_gguf_type)13, "1234", 4);
    expect_refusal(&w, "metadata key key has a type that is not supported (13)");
    gguf_pair(&w, "key", SAH_GGUF_ARRAY, "\x09\0\0\0\0\0\0\0\0\0\0\0", 12);
    expect_refusal(&w, "metadata key key has a type that is not supported (9)");
    gguf_pair(&w, "key", SAH_GGUF_ARRAY, "\x0A\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x3F", 12);
    expect_refusal(&w, "ends inside its metadata");
    gguf_pair(&w, "key", SAH_GGUF_STRING, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 8);
    expect_refusal(&w, "ends inside its metadata");
    gguf_pair_u32(&w, "general.alignment", 24);
    expect_refusal(&w, "no power of two");
    gguf_pair_u32(&w, "general.alignment", 0);
    expect_refusal(&w, "general.alignment is 0");
    w.n_pairs = UINT64_MAX;
    expect_refusal(&w, "metadata pairs do not fit");
    w.n_tensors = UINT64_MAX;
    expect_refusal(&w, "tensors do not fit");
    gguf_tensor(&w, "t", 0, 0, one, 4);
    expect_refusal(&w, "tensor t has 0 dimensions");
    gguf_tensor(&w, "t", 0, 5, (const uint64_t[]){1, 1, 1, 1, 1}, 4);
    expect_refusal(&w, "tensor t has 5 dimensions");
    gguf_tensor(&w, "", 0, 1, one, 4);
    expect_refusal(&w, "malformed tensor name");
    gguf_tensor(&w, "t", 2, 2, half_block, 18);
    expect_refusal(&w, "tensor t cannot be [2, 16] of Q4_0");
    gguf_tensor(&w, "t", 0, 2, huge, 4);
    expect_refusal(&w, "tensor t cannot be");
    gguf_tensor(&w, "t", 4, 1, row, 32);
    expect_refusal(&w, "tensor t has the unknown type 4");
    gguf_tensor(&w, "t", 99, 1, row, 32);
    expect_refusal(&w, "tensor t has the unknown type 99");
    gguf_tensor(&w, "t", 0, 1, row, 32);
    expect_refusal(&w, "tensor t reaches past the end");
    gguf_tensor(&w, "t", 0, 1, one, 4);
    gguf_tensor(&w, "t", 0, 1, one, 4);
    expect_refusal(&w, "tensor t is there twice");
    gguf_tensor(&w, "t", 0, 1, (const uint64_t[]){9}, 4);
    gguf_tensor(&w, "u", 0, 1, one, 4);
    expect_refusal(&w, "tensors t and u overlap");
    w.alignment = 8;
    gguf_tensor(&w, "t", 0, 1, one, 4);
    gguf_tensor(&w, "u", 0, 1, one, 4);
    expect_refusal(&w, "tensor u does not begin at a multiple of 32 bytes");
}

static void test_unsupported_type_is_kept_apart(void **state)
{
    (void)state;
    gguf_writer w = fresh();
    sah_error error;
    sah_gguf gguf;
    gguf_tensor(&w, "t", 40, 1, (const uint64_t[]){256}, 144);
    gguf_write(&w, scratch("nvfp4.gguf"));
    expect_ok(sah_gguf_open(scratch("nvfp4.gguf"), &gguf, &error), &error);
    assert_null(sah_tensors_find(&gguf.tensors, "t"));
    assert_string_equal(sah_tensors_unsupported(&gguf.tensors, "t"), "NVFP4");
    sah_gguf_close(&gguf);
}

/* Opens the file and reads everything it claims to have. */
static bool open_all(const char *path, sah_error *error)
{
    sah_gguf gguf;
    if (sah_gguf_open(path, &gguf, error) != SAH_OK) return false;
    for (size_t i = 0; i < gguf.tensors.n; i++) {
        size_t n = sah_tensor_values(&gguf.tensors.items[i]);
        float *values = malloc(n * sizeof *values + 1);
        assert_non_null(values);
        sah_dequantize(gguf.tensors.items[i].type, gguf.tensors.items[i].data, n, values);
        free(values);
    }
    for (size_t i = 0; i < gguf.n_values; i++) {
        const sah_gguf_value *value = &gguf.values[i];
        size_t at = 0, length, sum = 0;
        const char *text;
        for (size_t item = 0; value->item == SAH_GGUF_STRING && item < value->n; item++) {
            sah_gguf_next_string(value, &at, &text, &length);
            for (size_t k = 0; k < length; k++) sum += (unsigned char)text[k];
        }
        assert_true(at == 0 || at == value->size);
        assert_true(sum < SIZE_MAX);
    }
    sah_gguf_close(&gguf);
    return true;
}

static void test_damage(void **state)
{
    (void)state;
    sah_error error;
    sah_gguf gguf;
    size_t size;
    static const char PATH[] = "tests/golden/models/llama-gqa/model-f32.gguf";
    uint8_t *data = scratch_read(PATH, &size);
    expect_ok(sah_gguf_open(PATH, &gguf, &error), &error);
    size_t header = gguf.data_offset;
    sah_gguf_close(&gguf);
    spoil(data, size, header, scratch("spoilt.gguf"), open_all);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unsupported_type_is_kept_apart),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
