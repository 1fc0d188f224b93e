/* SPDX-License-Identifier: Apache-2.0 */
/* That a row's bits depend on nothing but the row, on devices that say so. `state` is as in operations.h. */
#ifndef TESTS_ENGINE_ALONE_H
#define TESTS_ENGINE_ALONE_H

#include "engine/device.h"

void test_products_alone(void **state);
void test_rounded_products(void **state);
void test_attention_alone(void **state);

#endif
