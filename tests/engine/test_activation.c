/* SPDX-License-Identifier: Apache-2.0 */
/* The activations against the C library in float64, gated and not, on lengths that leave a rest behind every
 * block. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/activation.h"
#include "util/splitmix.h"

static const int LENGTHS[] = {1, 15, 16, 33, 577};
enum { N_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS, MOST = 577 };

/* In [from, to). */
static float draw(uint64_t *state, double from, double to)
{
    return (float)(from + (to - from) * (double)(sah_splitmix(state) >> 11) * 0x1p-53);
}

static double exact(sah_activation kind, double x)
{
    switch (kind) {
    case SAH_ACT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2));
    case SAH_ACT_GELU_TANH: /* (1 + tanh u) / 2, without its cancellation */
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case SAH_ACT_RELU:
        return fmax(x, 0);
    case SAH_ACT_RELU_SQUARED:
        return fmax(x, 0) * fmax(x, 0);
    default:
        return x / (1 + exp(-x));
    }
}

static void test_kinds(void **state)
{
    (void)state;
    static const sah_activation kinds[] = {SAH_ACT_SILU, SAH_ACT_GELU, SAH_ACT_GELU_TANH, SAH_ACT_RELU,
                                           SAH_ACT_RELU_SQUARED};
    float gate[MOST], up[MOST], out[MOST];
    uint64_t random = 1;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int l = 0; l < N_LENGTHS; l++)
            for (int gated = 0; gated < 2; gated++) {
                const sah_config c = {.activation = kinds[k]};
                int n = LENGTHS[l];
                for (int i = 0; i < n; i++) gate[i] = draw(&random, -8, 8), up[i] = draw(&random, -3, 3);
                sah_activate(&c, gate, gated ? up : NULL, n, out);
                for (int i = 0; i < n; i++) {
                    double want = exact(kinds[k], (double)gate[i]) * (gated ? (double)up[i] : 1);
                    /* in the tail of gelu the exponent's own rounding counts */
                    if (!(fabs((double)out[i] - want) <=
                          4e-7 * fabs(want) +
                              1e-6 * fabs(want) * (gate[i] < -1) * fabs((double)(gate[i] * gate[i])) + 1e-12))
                        fail_msg("kind %d at %g: %.9g, not %.9g", (int)kinds[k], (double)gate[i],
                                 (double)out[i], want);
                }
                sah_activate(&c, gate, gated ? up : NULL, n, gate); /* in place */
                assert_memory_equal(gate, out, (size_t)n * sizeof *out);
            }
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const sah_config c = {.activation = kinds[k]};
        float ends[] = {-200, 200, NAN};
        sah_activate(&c, ends, NULL, 3, ends);
        assert_true(fabsf(ends[0]) < 1e-30f && isnan(ends[2]));
        assert_true(ends[1] == (kinds[k] == SAH_ACT_RELU_SQUARED ? 40000.0f : 200.0f));
    }
}

/* gpt-oss: the gate is cut above, what it gates on both sides. */
static void test_clamped(void **state)
{
    (void)state;
    const sah_config c = {
        .activation = SAH_ACT_CLAMPED_SWIGLU, .activation_limit = 7, .activation_alpha = 1.702f};
    const float gate[] = {-20, -1, 0.5f, 9, 2, 3}, up[] = {1, 2, -0.5f, 3, -11, 12};
    float out[6];
    sah_activate(&c, gate, up, 6, out);
    for (int i = 0; i < 6; i++) {
        double g = fmin((double)gate[i], 7), u = fmax(fmin((double)up[i], 7), -7);
        double want = (u + 1) * g / (1 + exp(-(double)1.702f * g));
        assert_true(fabs((double)out[i] - want) <=
                    4e-6 * fabs(want)); /* alpha g up to 34, rounded to 2^-19 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_clamped)};
    return cmocka_run_group_tests_name("activations", tests, NULL, NULL);
}
