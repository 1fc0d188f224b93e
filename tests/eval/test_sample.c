/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing tokens: the generator against its authors' test vectors, the choices against shares worked out by
 * hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/generate/philox.h"
#include "eval/generate/sample.h"

/* Known answers of Random123 (kat_vectors, philox4x32 of 10 rounds). */
static void test_philox(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}},
        {{0xffffffffU, 0xffffffffU, 0xffffffffU, 0xffffffffU},
         {0xffffffffU, 0xffffffffU},
         {0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}},
        {{0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U},
         {0xa4093822U, 0x299f31d0U},
         {0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        sah_philox(known[i].key, known[i].counter, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
    assert_true(sah_uniform(1, 2, 3) >= 0.0 && sah_uniform(1, 2, 3) < 1.0);
    assert_true(fabs(sah_uniform(0, 0, 0) - 0x6627e8d5U / 0x1p32) < 1e-9);
}

/* Probabilities 0.4, 0.3, 0.2, 0.1 of tokens 2, 0, 3, 1. */
static const float logits[] = {-1.2039728f, -2.3025851f, -0.91629073f, -1.6094379f};

/* How often each token comes up over evenly spread numbers, of 1000. */
static void count(sah_sampling sampling, int counts[4])
{
    sah_choice scratch[4];
    memset(counts, 0, 4 * sizeof *counts);
    for (int i = 0; i < 1000; i++) counts[sah_sample(&sampling, logits, 4, (i + 0.5) / 1000, scratch)]++;
}

static void expect(sah_sampling sampling, int a, int b, int c, int d)
{
    int counts[4], wanted[4] = {a, b, c, d};
    count(sampling, counts);
    for (int i = 0; i < 4; i++)
        if (abs(counts[i] - wanted[i]) > 1)
            fail_msg("temperature %g, k %d, p %g: token %d came %d times, not %d", sampling.temperature,
                     sampling.top_k, sampling.top_p, i, counts[i], wanted[i]);
}

static void test_draws(void **state)
{
    (void)state;
    expect((sah_sampling){0.0, 0, 1.0}, 0, 0, 1000, 0);
    expect((sah_sampling){1.0, 0, 1.0}, 300, 100, 400, 200);
    expect((sah_sampling){0.5, 0, 1.0}, 300, 33, 533, 133); /* squares: 9, 1, 16, 4 of 30 */
    expect((sah_sampling){1.0, 1, 1.0}, 0, 0, 1000, 0);
    expect((sah_sampling){1.0, 2, 1.0}, 429, 0, 571, 0);
    expect((sah_sampling){1.0, 9, 1.0}, 300, 100, 400, 200);
    expect((sah_sampling){1.0, 0, 0.3}, 0, 0, 1000, 0); /* the likeliest alone is enough */
    expect((sah_sampling){1.0, 0, 0.65}, 429, 0, 571, 0);
    expect((sah_sampling){1.0, 0, 0.75}, 333, 0, 444, 222); /* the token that crosses p is in */
    expect((sah_sampling){1.0, 3, 0.5}, 429, 0, 571, 0); /* of the three: 0.44, 0.33, 0.22 */
    expect((sah_sampling){1.0, 3, 0.4}, 0, 0, 1000, 0);
}

static void test_edges(void **state)
{
    (void)state;
    sah_choice scratch[4];
    sah_sampling greedy = {0.0, 0, 1.0}, drawn = {1.0, 2, 0.9};
    float equal[] = {1.0f, 3.0f, 3.0f, 3.0f}, broken[] = {0.0f, NAN, 1.0f, 0.0f},
          infinite[] = {0.0f, 1.0f, 0.0f, INFINITY}, far[] = {-3e38f, 3e38f, 0.0f, -3e38f};
    assert_int_equal(sah_sample(&greedy, equal, 4, 0.9, scratch), 1);
    assert_int_equal(sah_sample(&drawn, equal, 4, 0.999, scratch),
                     2); /* the two lowest of three equal ones */
    assert_int_equal(sah_sample(&drawn, equal, 4, 0.0, scratch), 1);
    assert_int_equal(sah_sample(&greedy, broken, 4, 0.5, scratch), -1);
    assert_int_equal(sah_sample(&drawn, broken, 4, 0.5, scratch), -1);
    assert_int_equal(sah_sample(&drawn, infinite, 4, 0.5, scratch), -1);
    assert_int_equal(sah_sample(&drawn, far, 4, nextafter(1.0, 0.0), scratch), 1);
    assert_int_equal(sah_sample(&(sah_sampling){1.0, 0, 1.0}, far, 4, nextafter(1.0, 0.0), scratch), 1);
    assert_int_equal(sah_sample(&(sah_sampling){1.0, 0, 1.0}, logits, 1, 0.5, scratch), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
