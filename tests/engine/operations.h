/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation of a device against plain loops in float64. cmocka's tests, whose `state` points to a function that
 * gives the device; tests/cuda/gpu.c runs them on a card without cmocka. */
#ifndef TESTS_ENGINE_OPERATIONS_H
#define TESTS_ENGINE_OPERATIONS_H

#include "engine/device.h"

/* Allocations of devices that nobody has freed, which are none behind each test; NULL: nobody knows. */
extern int (*operations_held)(void);

void test_copy_add_scale(void **state);
void test_scatter_weigh_clear(void **state);
void test_norm_join(void **state);
void test_rotate(void **state);
void test_attend(void **state);
void test_convolve(void **state);
void test_recur(void **state);
void test_edit(void **state);
void test_stand_in(void **state);
void test_activate(void **state);
void test_give(void **state);
void test_memory(void **state);
void test_product(void **state);
void test_scores(void **state);

#endif
