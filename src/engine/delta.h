/* SPDX-License-Identifier: Apache-2.0 */
/* The gated delta rule (Yang, Kautz and Hatamizadeh, arXiv 2412.06464) in place of softmax attention. A value head
 * of a layer keeps a state S [key_dim, D], which each position changes:
 *
 *     q, k, v   from the input, through a convolution over the last positions and silu; q, k of length 1
 *     S        *= e^-(rate softplus(a + bias))                    what it keeps
 *     S        += k (sigmoid(b) (v - Sᵀ k))ᵀ                      what it writes over what stood there
 *     z         = RMS norm(Sᵀ q / sqrt(key_dim)) silu(gate)
 *
 * z is the head's output in front of the output projection, as attention's is; edits of q and k would mean
 * something else here and are refused. A node's state comes from its parent's, along the forest. */
#ifndef SAH_ENGINE_DELTA_H
#define SAH_ENGINE_DELTA_H

#include "engine/pass.h"

/* A row of the projections: q and k of the key heads, v and gate of the value heads, then b and a, one number a
 * value head each. */
int64_t sah_delta_width(const sah_config *config, const sah_layer_kind *kind);
/* Where the gates begin in it. */
int64_t sah_delta_gate(const sah_config *config, const sah_layer_kind *kind);

/* What a sequence keeps of a layer: S of every head, and the last inputs of the convolution. */
int64_t sah_delta_kept(const sah_config *config, const sah_layer_kind *kind);

/* z of the view's rows, as at->z says, of the nodes' projected rows [nodes, width], which it changes. `kept`
 * [sequences, kept]: with single rows the state that each continues; else it gets the states of the ends. NULL:
 * none of it. */
sah_status sah_delta_mix(const sah_pass *pass, int layer, const sah_attention *at, float *rows, float *kept,
                         sah_error *error);

#endif
