/* SPDX-License-Identifier: Apache-2.0 */
/* Short convolutions along a path as the CPU computes them; device.h says what. */
#ifndef SAH_ENGINE_CPU_CONVOLUTION_H
#define SAH_ENGINE_CPU_CONVOLUTION_H

#include "engine/device.h"

void sah_cpu_convolve(sah_workspace *workspace, const sah_convolution *convolution, const sah_view *nodes,
                      const sah_view *ends, const sah_view *view);

#endif
