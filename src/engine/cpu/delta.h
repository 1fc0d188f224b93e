/* SPDX-License-Identifier: Apache-2.0 */
/* The gated delta rule along a path as the CPU computes it; device.h says what. */
#ifndef SAH_ENGINE_CPU_DELTA_H
#define SAH_ENGINE_CPU_DELTA_H

#include "engine/device.h"

sah_status sah_cpu_recur(sah_workspace *workspace, const sah_recurrence *recurrence, const sah_view *nodes,
                         const sah_view *ends, const sah_view *view, sah_error *error);

#endif
