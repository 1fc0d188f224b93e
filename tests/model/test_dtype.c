/* Tensor types: every block format against tests/golden/quants.json, half floats over all their values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* cmocka wants the four above first. */
#include <cmocka.h>

#include "model/format/dtype.h"
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

static void test_goldens(void **state)
{
    (void)state;
    json_t *goldens;
    sah_error error;
    const char *name;
    json_t *golden;
    assert_int_equal(sah_json_read("tests/golden/quants.json", 1 << 28, &goldens, &error), SAH_OK);
    assert_int_equal(json_object_size(goldens), SAH_DTYPES - 1); /* all but F32 */
    json_object_foreach(goldens, name, golden) check_golden(name, golden);
    json_decref(goldens);
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
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
