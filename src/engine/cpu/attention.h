/* SPDX-License-Identifier: Apache-2.0 */
/* Causal attention over a forest: a node sees its ancestors and itself. */
#ifndef SAH_ENGINE_CPU_ATTENTION_H
#define SAH_ENGINE_CPU_ATTENTION_H

#include "engine/device.h"

/* device.h says what it does. Where every segment of the view is one row keys and values are read in place, since a
 * copy would serve no other row. */
sah_status sah_cpu_attend(sah_workspace *workspace, const sah_attention *attention, const sah_view *view,
                          sah_error *error);

#endif
