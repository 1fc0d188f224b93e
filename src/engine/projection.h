/* SPDX-License-Identifier: Apache-2.0 */
/* A layer's queries, keys and values of rows of residual. */
#ifndef SAH_ENGINE_PROJECTION_H
#define SAH_ENGINE_PROJECTION_H

#include "engine/pass.h"

/* Widths of a layer's rows: of q, or of q and its gates, H D or 2 H D; of all that is projected from the input,
 * that and 2 Hkv D (or what delta.h says). And the largest over all layers. */
int64_t sah_layer_q_width(const sah_config *config, const sah_layer_kind *kind);
int64_t sah_layer_qkv_width(const sah_config *config, const sah_layer_kind *kind);
int64_t sah_q_width(const sah_config *config);
int64_t sah_qkv_width(const sah_config *config);

/* How queries or keys of the layer, which are behind RoPE, are turned where they stand in. */
void sah_turn_to(const sah_pass *pass, int layer, sah_stand_in *out);

/* Behind norms of heads and RoPE, of `copies` copies: qkv [copies * nodes, qkv width], q then its gates, k and v, of x
 * [copies * nodes, d], by one product. The last layer packs q apart: there qkv is [copies * nodes, 2 Hkv D], k
 * and v alone, and q [copies * view, q width] that of the rows y [copies * view, d] which go on. */
sah_status sah_project(const sah_pass *pass, int layer, int64_t copies, const float *x, const float *y,
                       float *qkv, float *q, sah_error *error);

#endif
