/* SPDX-License-Identifier: Apache-2.0 */
/* What every layer is given of each token beside the residual (Gemma 4's per-layer embeddings). It depends on the token
 * alone, so that all candidates of a sweep share it.
 *
 *     e = embedding of the token (scaled), t = its row of a table, sqrt(P) times
 *     given[layer] = (norm(Wproj e / sqrt(d)) + t) / sqrt(2)     [P], the norm that of each layer's part
 *     y += norm behind((act(y Wgateᵀ) * given[layer]) Woutᵀ)     behind the layer's MLP */
#ifndef SAH_ENGINE_INPUTS_H
#define SAH_ENGINE_INPUTS_H

#include "engine/pass.h"

/* Numbers that are given with a token: layers * P. */
size_t sah_inputs_width(const sah_config *config);

/* given [n, layers * P] of n tokens, whose embeddings are x [n, d] (sah_embed()), both in the device's memory. */
sah_status sah_inputs_make(const sah_model *model, sah_workspace *workspace, const int32_t *tokens, int64_t n,
                           const float *x, float *given, sah_error *error);

/* The last line above: y [rows, d] of a layer, rows of as many copies as there are. Nothing where the model gives
 * nothing. */
sah_status sah_inputs_join(const sah_pass *pass, int layer, int64_t rows, float *y, sah_error *error);

#endif
