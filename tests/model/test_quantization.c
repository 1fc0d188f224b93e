/* SPDX-License-Identifier: Apache-2.0 */
/* Quantised checkpoints of Hugging Face: scales find their tensors, and kinds that are not read are refused by
 * name. (Whole FP8 models: tests/engine/test_golden.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "model/checkpoint/quantization.h"
#include "model/format/weight_files.h"
#include "model/writers.h"
#include "util/scratch.h"

static sah_status read_config(const char *quantization, sah_quantization *out, sah_error *error)
{
    json_t *config =
        json_pack("{s:o}", "quantization_config", json_loads(quantization, JSON_DECODE_ANY, NULL));
    assert_non_null(config);
    sah_status status = sah_quantization_from_json(config, "config.json", out, error);
    json_decref(config);
    return status;
}

static void test_kinds(void **state)
{
    (void)state;
#define GROUP(type, bits)                                                                                    \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"f\", \"config_groups\": {\"g\": "              \
    "{\"weights\": "                                                                                         \
    "{\"type\": \"" type "\", \"num_bits\": " bits "}}}}"
    static const struct {
        const char *config, *part;
    } REFUSED[] = {
        {"{\"quant_method\": \"gptq\", \"bits\": 4}",
         "quantised with GPTQ are not supported: take the model's"},
        {"{\"quant_method\": \"awq\"}", "quantised with AWQ"},
        {"{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}", "quantised with bitsandbytes"},
        {"{\"load_in_8bit\": true}", "quantised with bitsandbytes"},
        {"{\"quant_method\": \"new\"}", "quantisation \"new\" is not supported: fp8 and mxfp4 are"},
        {"{\"bits\": 4}", "quantisation \"\" is not supported"},
        {"{\"quant_method\": 3}", "\"quant_method\" must be a string"},
        {"[3]", "\"quantization_config\" must be an object"},
        {GROUP("int", "4"), "compressed-tensors to 4-bit int"},
        {GROUP("float", "4"), "compressed-tensors to 4-bit float"},
        {GROUP("int", "8"), "compressed-tensors to 8-bit int"},
        {"{\"quant_method\": \"compressed-tensors\", \"transform_config\": {\"a\": 1}}", "rotated"},
        {"{\"quant_method\": \"compressed-tensors\", \"sparsity_config\": {\"format\": \"x\"}}", "sparse"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [128]}", "must be two sizes"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [0, 128]}", "must be two sizes"},
        {"{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 12800000]}", "must be two sizes"},
    };
    static const char *const READ[] = {"null", "{}",
                                       "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 64]}",
                                       "{\"quant_method\": \"mxfp4\"}", GROUP("float", "8")};
#undef GROUP
    sah_error error;
    sah_quantization q;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        expect_failure(read_config(REFUSED[i].config, &q, &error), &error, REFUSED[i].part);
    for (size_t i = 0; i < sizeof READ / sizeof *READ; i++)
        expect_ok(read_config(READ[i], &q, &error), &error);
    expect_ok(read_config(READ[2], &q, &error), &error);
    assert_true(q.any && q.block_rows == 128 && q.block_columns == 64);
    expect_ok(read_config(READ[0], &q, &error), &error);
    assert_false(q.any);
}

static sah_status attach(const char *header, size_t size, sah_quantization q, sah_tensors *out,
                         sah_error *error)
{
    uint8_t data[512];
    memset(data, 0x38, sizeof data); /* 1 in E4M3 */
    safetensors_write(scratch("model.safetensors"), header, data, size);
    expect_ok(sah_weights_open_file(scratch("model.safetensors"), out, error), error);
    sah_status status = sah_quantization_attach(&q, out, error);
    if (status != SAH_OK) sah_tensors_close(out);
    return status;
}

#define ENTRY(name, type, shape, begin, end)                                                                 \
    "\"" name "\": {\"dtype\": \"" type "\", \"shape\": " shape ", \"data_offsets\": [" begin ", " end "]}"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *part;
    } CASES[] = {{"model.layers.0.q_proj.qweight", "GPTQ or AWQ"},
                 {"a.qzeros", "GPTQ or AWQ"},
                 {"a.weight.absmax", "bitsandbytes"},
                 {"a.SCB", "bitsandbytes"},
                 {"a.quant_state.bitsandbytes__nf4", "bitsandbytes"},
                 {"a.weight_packed", "compressed-tensors"}};
    sah_error error;
    sah_tensors tensors;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char header[256];
        for (int type = 0; type < 2; type++) {
            snprintf(header, sizeof header,
                     "{\"%s\": {\"dtype\": \"%s\", \"shape\": [2], \"data_offsets\": [0, 8]}}", CASES[i].name,
                     type == 0 ? "I32" : "F32");
            expect_failure(attach(header, 8, (sah_quantization){0}, &tensors, &error), &error, CASES[i].part);
        }
    }
}

static void test_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *shape, *end; /* of the scale of [5, 7], F32, from byte 35 on */
        size_t rows, columns, block_rows, block_columns;
    } GOOD[] = {{"[]", "39", 1, 1, 5, 7},     {"[1]", "39", 1, 1, 5, 7},    {"[5]", "55", 5, 1, 1, 7},
                {"[5, 1]", "55", 5, 1, 1, 7}, {"[3, 2]", "59", 3, 2, 2, 4}, {"[1, 7]", "63", 1, 7, 5, 1}};
    static const char *const BAD[][2] = {{"[3]", "47"}, {"[2, 2]", "51"}, {"[0]", "35"}, {"[1, 3, 2]", "59"}};
    const sah_quantization q = {true, 2, 4};
    sah_error error;
    sah_tensors tensors;
    char header[512];
    static const char FORM[] =
        "{" ENTRY("a.weight", "F8_E4M3", "[5, 7]", "0",
                  "35") ", \"a.weight_scale_inv\": "
                        "{\"dtype\": \"F32\", \"shape\": %s, \"data_offsets\": [35, %s]}}";
    for (size_t i = 0; i < sizeof GOOD / sizeof *GOOD; i++) {
        snprintf(header, sizeof header, FORM, GOOD[i].shape, GOOD[i].end);
        expect_ok(attach(header, (size_t)atoi(GOOD[i].end), q, &tensors, &error), &error);
        assert_int_equal(tensors.n, 1);
        const sah_scales *s = sah_tensors_find(&tensors, "a.weight")->scales;
        assert_non_null(s);
        assert_true(s->rows == GOOD[i].rows && s->columns == GOOD[i].columns);
        assert_true(s->block_rows == GOOD[i].block_rows && s->block_columns == GOOD[i].block_columns);
        float out[35];
        sah_tensor_read(&tensors.items[0], 0, 35, out);
        sah_tensors_close(&tensors);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        snprintf(header, sizeof header, FORM, BAD[i][0], BAD[i][1]);
        if (i == 3) continue;
        expect_failure(attach(header, (size_t)atoi(BAD[i][1]), q, &tensors, &error), &error,
                       "does not fit a.weight");
    }
}

static void test_what_stays(void **state)
{
    (void)state;
    const sah_quantization q = {true, 0, 0};
    sah_error error;
    sah_tensors tensors;
    expect_failure(attach("{" ENTRY("a.weight", "F8_E4M3", "[4]", "0", "4") "}", 4, q, &tensors, &error),
                   &error, "tensor a.weight has no scales");
    expect_failure(
        attach("{" ENTRY("a", "F8_E4M3", "[1, 4]", "0", "4") "," ENTRY(
                   "a_scale", "F32", "[]", "4", "8") "," ENTRY("a_scale_inv", "F32", "[]", "8", "12") "}",
               12, q, &tensors, &error),
        &error, "tensor a has scales twice");
    expect_failure(attach("{" ENTRY("a", "F8_E4M3", "[1, 4]", "0", "4") "," ENTRY("a_scale", "F8_E5M2", "[]",
                                                                                  "4", "5") "}",
                          5, q, &tensors, &error),
                   &error, "tensor a_scale of F8_E5M2 [] does not fit a of [1, 4]");
    /* Scales of activations go; a norm that is called a scale stays, and so does FP8 that is no quantisation. */
    expect_ok(
        attach("{" ENTRY("a.input_scale", "F32", "[]", "0", "4") "," ENTRY(
                   "b", "F32", "[1]", "4", "8") "," ENTRY("b_scale", "F32", "[1]", "8",
                                                          "12") "," ENTRY("c", "U8", "[3]", "12", "15") "}",
               15, q, &tensors, &error),
        &error);
    assert_int_equal(tensors.n, 2);
    assert_non_null(sah_tensors_find(&tensors, "b_scale"));
    assert_string_equal(sah_tensors_unsupported(&tensors, "c"), "U8");
    sah_tensors_close(&tensors);
    expect_ok(
        attach("{" ENTRY("a", "F8_E4M3", "[4]", "0", "4") "}", 4, (sah_quantization){0}, &tensors, &error),
        &error);
    sah_tensors_close(&tensors);
}

static void test_mxfp4(void **state)
{
    (void)state;
    sah_error error;
    sah_tensors tensors;
    json_t *wanted;
    float out[2 * 3 * 64];
    expect_ok(sah_json_read("tests/golden/formats/mxfp4/values.json", 1 << 20, &wanted, &error), &error);
    expect_ok(sah_weights_open_file("tests/golden/formats/mxfp4/model.safetensors", &tensors, &error),
              &error);
    expect_ok(sah_quantization_attach(&(sah_quantization){.any = true}, &tensors, &error), &error);
    assert_int_equal(tensors.n, 2);
    const sah_tensor *up = sah_tensors_find(&tensors, "experts.up_proj");
    assert_non_null(up);
    assert_true(up->n_dims == 3 && up->dims[0] == 2 && up->dims[1] == 3 && up->dims[2] == 64);
    assert_int_equal(json_array_size(wanted), 2 * 3 * 64);
    sah_tensor_read(up, 0, 2 * 3 * 64, out);
    for (size_t i = 0; i < 2 * 3 * 64; i++)
        assert_true(out[i] == (float)json_number_value(json_array_get(wanted, i)));
    sah_tensor_read(up, 64 + 10, 40, out); /* a part of a row, across two blocks */
    for (size_t i = 0; i < 40; i++)
        assert_true(out[i] == (float)json_number_value(json_array_get(wanted, 64 + 10 + i)));
    sah_tensors_close(&tensors);
    json_decref(wanted);
    expect_failure(attach("{" ENTRY("a_blocks", "U8", "[2, 1, 16]", "0",
                                    "32") "," ENTRY("a_scales", "U8", "[1, 2]", "32", "34") "}",
                          34, (sah_quantization){0}, &tensors, &error),
                   &error, "does not fit");
    expect_failure(
        attach("{" ENTRY("a_blocks", "U8", "[1, 1, 16]", "0", "16") "," ENTRY(
                   "a_scales", "U8", "[1, 1]", "16", "17") "," ENTRY("a", "F8_E4M3", "[1]", "17", "18") "}",
               18, (sah_quantization){0}, &tensors, &error),
        &error, "tensor a is there twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),      cmocka_unit_test(test_names), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_what_stays), cmocka_unit_test(test_mxfp4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
