/* SPDX-License-Identifier: Apache-2.0 */
/* A router's choice, by hand. Whole layers of experts: test_block.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/experts.h"

enum { N = 6, ACTIVE = 2 };

static void check(const sah_experts *e, const float *logits, const float *correction, int a, int b, double wa,
                  double wb)
{
    double scratch[3 * N];
    int32_t chosen[ACTIVE];
    float weight[ACTIVE];
    sah_experts_choose(e, logits, correction, scratch, chosen, weight);
    assert_int_equal(chosen[0], a);
    assert_int_equal(chosen[1], b);
    assert_true(fabs((double)weight[0] - wa) < 1e-6 && fabs((double)weight[1] - wb) < 1e-6);
}

/* e^logit is 1, 2, 8, 4, 8, 1: their sum is 24. */
static const float LOGITS[N] = {0, 0.6931472f, 2.0794415f, 1.3862944f, 2.0794415f, 0};

static void test_softmax(void **state)
{
    (void)state;
    sah_experts e = {.n = N, .active = ACTIVE, .router = SAH_ROUTER_SOFTMAX_TOP, .scale = 3};
    check(&e, LOGITS, NULL, 2, 4, 1, 1);
    e.normalise = true;
    check(&e, LOGITS, NULL, 2, 4, 1.5, 1.5);
    e.router = SAH_ROUTER_TOP_SOFTMAX;
    e.normalise = false;
    check(&e, LOGITS, NULL, 2, 4, 1.5, 1.5);
    const float equal[N] = {0};
    e.scale = 1;
    check(&e, equal, NULL, 0, 1, 0.5, 0.5); /* the first of equals */
}

/* sigmoid(logit) is 1/2, 2/3, 8/9, 4/5, 8/9, 1/2. */
static void test_sigmoid(void **state)
{
    (void)state;
    sah_experts e = {.n = N, .active = ACTIVE, .router = SAH_ROUTER_SIGMOID, .scale = 1};
    const float correction[N] = {0.4f, 0, -1, 0, 0, 0.35f};
    check(&e, LOGITS, NULL, 2, 4, 8.0 / 9, 8.0 / 9);
    check(&e, LOGITS, correction, 0, 4, 0.5, 8.0 / 9); /* 0.9 and 8/9; weights are without the correction */
    e.normalise = true;
    check(&e, LOGITS, correction, 0, 4, 9.0 / 25, 16.0 / 25);
    /* Groups {0, 1}, {2, 3}, {4, 5}: 0.9 + 2/3, 8/9 - 1 + 4/5, 8/9 + 0.85. */
    e.groups = 3;
    e.active_groups = 1;
    check(&e, LOGITS, correction, 4, 5, 16.0 / 25, 9.0 / 25);
    e.sum_add = 1; /* the sum of both is 25/18 */
    check(&e, LOGITS, correction, 4, 5, 16.0 / 43, 9.0 / 43);
}

/* A broken model's logits choose somebody, and the weights tell. */
static void test_not_numbers(void **state)
{
    (void)state;
    double scratch[3 * N];
    int32_t chosen[ACTIVE];
    float weight[ACTIVE];
    const float logits[N] = {NAN, NAN, NAN, NAN, NAN, NAN};
    for (int router = SAH_ROUTER_SOFTMAX_TOP; router <= SAH_ROUTER_SIGMOID; router++) {
        sah_experts e = {.n = N, .active = ACTIVE, .router = (sah_router)router, .scale = 1};
        for (e.groups = 0; e.groups <= 3; e.groups += 3) {
            e.active_groups = 2;
            sah_experts_choose(&e, logits, NULL, scratch, chosen, weight);
            for (int k = 0; k < ACTIVE; k++) assert_true(chosen[k] >= 0 && chosen[k] < N && isnan(weight[k]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_softmax), cmocka_unit_test(test_sigmoid),
                                       cmocka_unit_test(test_not_numbers)};
    return cmocka_run_group_tests_name("experts", tests, NULL, NULL);
}
