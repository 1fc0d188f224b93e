/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA device on the emulated card. */
#ifndef TESTS_CUDA_DEVICE_H
#define TESTS_CUDA_DEVICE_H

#include "cuda/emulator.h"
#include "engine/device.h"

/* As a plugin's host gets it; the card has as much memory as anybody wants. Float32 products by bfloat16 pieces, or by
 * float32; fibers forward, or backward. */
const sah_device *emulated_by_pieces(void);
const sah_device *emulated_by_float32(void);

#endif
