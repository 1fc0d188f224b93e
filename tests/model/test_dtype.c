/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor types: every block format against goldens of other programs, half floats over all their values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "model/format/tensors.h"
#include "util/json.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* `values` of the golden were computed by another program from `bytes`. Sums of two products are rounded to
 * float32 in between or not at all: that is worth two units in the last place of the largest. */
static void check_golden(const char *name, const json_t *golden)
{
    sah_dtype type = 0;
    while (type < SAH_DTYPES && strcmp(sah_dtype_name(type), name) != 0) type++;
    assert_true(type < SAH_DTYPES);
    const char *hex = json_string_value(json_object_get(golden, "bytes"));
    const json_t *values = json_object_get(golden, "values");
    assert_non_null(hex);
    size_t n = json_array_size(values), n_bytes = strlen(hex) / 2, wanted;
    assert_true(sah_dtype_bytes(type, n, &wanted));
    assert_int_equal(wanted, n_bytes);
    uint8_t *bytes = malloc(n_bytes);
    float *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    sah_dequantize(type, bytes, n, out);
    double largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(json_number_value(json_array_get(values, i))));
    for (size_t i = 0; i < n; i++) {
        double value = json_number_value(json_array_get(values, i));
        if (!(fabs((double)out[i] - value) <= 0x1p-22 * largest)) {
            fail_msg("%s: value %zu is %.9g, should be %.9g", name, i, (double)out[i], value);
        }
    }
    free(bytes);
    free(out);
}

static size_t check_goldens(const char *path)
{
    json_t *goldens;
    sah_error error;
    const char *name;
    json_t *golden;
    assert_int_equal(sah_json_read(path, 1 << 28, &goldens, &error), SAH_OK);
    size_t n = json_object_size(goldens);
    json_object_foreach(goldens, name, golden) check_golden(name, golden);
    json_decref(goldens);
    return n;
}

static void test_goldens(void **state)
{
    (void)state;
    size_t n = check_goldens("tests/golden/quants.json") + check_goldens("tests/golden/formats/types.json");
    assert_int_equal(n, SAH_DTYPES - 2); /* all but F32 and U8 */
}

/* What JSON's numbers leave out: the ends of the range and what is no number. */
static void test_small_floats(void **state)
{
    (void)state;
    float out[3];
    sah_dequantize(SAH_F8_E4M3, "\x7F\xFF\x80", 3, out);
    assert_true(isnan(out[0]) && isnan(out[1]) && signbit(out[2]));
    sah_dequantize(SAH_F8_E5M2, "\x7C\xFC\x7D", 3, out);
    assert_true(isinf(out[0]) && isinf(out[1]) && out[1] < 0 && isnan(out[2]));
    sah_dequantize(SAH_F8_E8M0, "\x00\xFE\xFF", 3, out);
    assert_true(out[0] == 0x1p-127F && out[1] == 0x1p127F && isnan(out[2]));
    sah_dequantize(SAH_U8, "\x00\x80\xFF", 3, out);
    assert_true(out[0] == 0 && out[1] == 128 && out[2] == 255);
}

/* x = scale of its block times value, for every cut of a row. */
static void test_scales(void **state)
{
    (void)state;
    enum { N = 2, ROWS = 5, COLUMNS = 7, DOWN = 3, ACROSS = 2 }; /* blocks of 2 x 4 */
    float values[N * ROWS * COLUMNS], scales[N * DOWN * ACROSS], out[N * ROWS * COLUMNS];
    for (size_t i = 0; i < N * ROWS * COLUMNS; i++) values[i] = (float)(i + 1);
    for (size_t i = 0; i < N * DOWN * ACROSS; i++) scales[i] = ldexpf(1, (int)i - 4);
    const sah_scales s = {SAH_F32, (const uint8_t *)scales, DOWN, ACROSS, 2, 4};
    const sah_tensor tensor = {.type = SAH_F32,
                               .n_dims = 3,
                               .dims = {N, ROWS, COLUMNS},
                               .data = (const uint8_t *)values,
                               .bytes = sizeof values,
                               .scales = &s};
    for (size_t first = 0; first < N * ROWS * COLUMNS; first++) {
        for (size_t n = 0; first + n <= N * ROWS * COLUMNS; n++) {
            sah_tensor_read(&tensor, first, n, out);
            for (size_t i = 0; i < n; i++) {
                const size_t at = first + i, matrix = at / (ROWS * COLUMNS), row = at / COLUMNS % ROWS;
                const size_t block = (matrix * DOWN + row / 2) * ACROSS + at % COLUMNS / 4;
                assert_true(out[i] == values[at] * scales[block]);
            }
        }
    }
}

/* binary16 by its definition: (-1)^s 2^(e-15) (1 + m/1024), and 2^-14 (m/1024) for e = 0. */
static double half_value(uint16_t half)
{
    int exponent = half >> 10 & 31, mantissa = half & 1023;
    double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000 ? -value : value;
}

static void test_every_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t half = (uint16_t)h;
        float value = sah_f16_to_f32(half);
        if ((h & 0x7C00) == 0x7C00) {
            if (h & 0x3FF)
                assert_true(isnan(value) && isnan(sah_f16_to_f32(sah_f32_to_f16(value))));
            else
                assert_true(isinf(value) && (signbit(value) != 0) == (h >= 0x8000) &&
                            sah_f32_to_f16(value) == half);
            continue;
        }
        assert_true((double)value == half_value(half));
        assert_int_equal(sah_f32_to_f16(value), half);
    }
}

static void test_round_to_half(void **state)
{
    (void)state;
    /* Between each two neighbours: the middle goes to the even one, a little beside it to the nearer. */
    for (uint16_t h = 0; h < 0x7BFF; h++) {
        float a = sah_f16_to_f32(h), b = sah_f16_to_f32((uint16_t)(h + 1)), middle = (a + b) / 2;
        uint16_t even = h % 2 == 0 ? h : (uint16_t)(h + 1);
        assert_int_equal(sah_f32_to_f16(middle), even);
        assert_int_equal(sah_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(sah_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(sah_f32_to_f16(-middle), even | 0x8000);
    }
    assert_int_equal(sah_f32_to_f16(65519.99F), 0x7BFF);
    assert_int_equal(sah_f32_to_f16(65520.0F), 0x7C00);
    assert_int_equal(sah_f32_to_f16(1e30F), 0x7C00);
    assert_int_equal(sah_f32_to_f16(1e-30F), 0);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float value = sah_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits_of(value), h << 16);
        if (isnan(value))
            assert_true(isnan(sah_bf16_to_f32(sah_f32_to_bf16(value))));
        else
            assert_int_equal(sah_f32_to_bf16(value), h);
    }
    assert_int_equal(sah_f32_to_bf16(float_of(0x3F808000)), 0x3F80); /* half way: even */
    assert_int_equal(sah_f32_to_bf16(float_of(0x3F818000)), 0x3F82);
    assert_int_equal(sah_f32_to_bf16(float_of(0x3F808001)), 0x3F81);
    assert_int_equal(sah_f32_to_bf16(float_of(0x7F7FFFFF)), 0x7F80); /* the largest float: infinity */
    assert_true(isnan(sah_bf16_to_f32(sah_f32_to_bf16(float_of(0x7F800001)))));
}

static void test_sizes(void **state)
{
    (void)state;
    size_t bytes;
    assert_true(sah_dtype_bytes(SAH_Q4_1, 64, &bytes));
    assert_int_equal(bytes, 40);
    assert_false(sah_dtype_bytes(SAH_Q4_1, 33, &bytes));
    assert_false(sah_dtype_bytes(SAH_Q6_K, 128, &bytes));
    assert_false(sah_dtype_bytes(SAH_F32, SIZE_MAX / 2, &bytes));
    for (sah_dtype type = 0; type < SAH_DTYPES; type++) {
        assert_true(sah_dtype_bytes(type, 512, &bytes));
        assert_int_equal(bytes, 512 / sah_dtype_block_values(type) * sah_dtype_block_bytes(type));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),       cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_round_to_half), cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_small_floats),
        cmocka_unit_test(test_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
