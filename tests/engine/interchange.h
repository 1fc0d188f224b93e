/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/interchange.json: logits that transformers computed with hooks where states of other prompts stand in,
 * for each part, operation and arrangement of heads, and prompts shorter and longer than the others. */
#ifndef TESTS_ENGINE_INTERCHANGE_H
#define TESTS_ENGINE_INTERCHANGE_H

#include "engine/device.h"

/* Fails the test unless a device's logits are within 1e-4 of each case's largest. */
void interchange_golden(const sah_device *device);

#endif
