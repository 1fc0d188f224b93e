/* SPDX-License-Identifier: Apache-2.0 */
/* An NVIDIA card as a device. Lives in a plugin (plugin.h) that is built where there is nvcc; the library never needs
 * it. */
#ifndef SAH_ENGINE_CUDA_CUDA_H
#define SAH_ENGINE_CUDA_CUDA_H

#include "engine/device.h"

/* Computes once sah_card_open() has found a card. */
const sah_device *sah_cuda(void);

#endif
