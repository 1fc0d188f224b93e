/* SPDX-License-Identifier: Apache-2.0 */
/* A short convolution in place of attention (LFM2). The projection of the input gives b, c and x, as wide as the
 * model each:
 *
 *     u = b x                                     at every position
 *     z = c (sum over j of kernel[j] u[j back])   over the last positions, the own included
 *
 * z is the layer's output in front of its projection: it counts as one head, whose q and k there are not. A node's
 * inputs are those of its path, along the forest. */
#ifndef SAH_ENGINE_CONVOLUTION_H
#define SAH_ENGINE_CONVOLUTION_H

#include "engine/pass.h"

/* A row of the projection: z will lie where b is. */
int64_t sah_convolution_width(const sah_layer_kind *kind);

/* What a sequence keeps of a layer: the last inputs u. */
int64_t sah_convolution_kept(const sah_config *config, const sah_layer_kind *kind);

/* z of the view's rows, as at->z says, of the nodes' projected rows, which it changes; `kept` as in delta.h. */
void sah_convolution_mix(const sah_pass *pass, int layer, const sah_attention *at, float *rows, float *kept);

#endif
