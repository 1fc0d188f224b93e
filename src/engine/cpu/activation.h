/* SPDX-License-Identifier: Apache-2.0 */
/* The activations of an MLP, vectorised by the compiler; float64 of the C library is what they are tested
 * against. */
#ifndef SAH_ENGINE_CPU_ACTIVATION_H
#define SAH_ENGINE_CPU_ACTIVATION_H

#include "model/family/shape.h"

/* out[i] = act(gate[i]) * up[i], or act(gate[i]) where up is NULL, i < n; out may be gate. Settings are the
 * configuration's. */
void sah_activate(const sah_config *config, const float *gate, const float *up, int n, float *out);

#endif
