/* SPDX-License-Identifier: Apache-2.0 */
/* Layers whose states run along a path, short convolutions and the gated delta rule, as the CPU computes them; device.h
 * says what. */
#ifndef SAH_ENGINE_CPU_STATES_H
#define SAH_ENGINE_CPU_STATES_H

#include "engine/device.h"

void sah_cpu_convolve(sah_workspace *workspace, const sah_convolution *convolution, const sah_view *nodes,
                      const sah_view *ends, const sah_view *view);
sah_status sah_cpu_recur(sah_workspace *workspace, const sah_recurrence *recurrence, const sah_view *nodes,
                         const sah_view *ends, const sah_view *view, sah_error *error);

#endif
