/* A layer's queries, keys and values of rows of residual. */
#ifndef SAH_ENGINE_PROJECTION_H
#define SAH_ENGINE_PROJECTION_H

#include "engine/pass.h"

int64_t sah_qkv_width(const sah_config *config); /* (H + 2 Hkv) D, the largest over layers */
int64_t sah_layer_qkv_width(const sah_config *config, const sah_layer_kind *kind); /* of one */

/* Behind norms of heads and RoPE, of `copies` copies: qkv [copies * nodes, (H + 2 Hkv) D], q then k then v, of x
 * [copies * nodes, d], by one product. The last layer packs q apart: there qkv is [copies * nodes, 2 Hkv D], k
 * and v alone, and q [copies * view, H D] that of the rows y [copies * view, d] which go on. */
sah_status sah_project(const sah_pass *pass, int layer, int64_t copies, const float *x, const float *y,
                       float *qkv, float *q, sah_error *error);

#endif
