/* SPDX-License-Identifier: Apache-2.0 */
/* A layer's MLP. */
#ifndef SAH_ENGINE_MLP_H
#define SAH_ENGINE_MLP_H

#include "engine/pass.h"

/* x [rows, d] += (act(g) * u) Wdownᵀ,  g, u = norm(x) Wgate,upᵀ, or act(u) Wdownᵀ where nothing is gated; as
 * sah_join_rows() adds. Rows go in blocks, and a block through the MLP slice by slice, so that what it needs
 * stays in the cache. */
sah_status sah_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error);

/* out [rows, d] = what a slice makes of rows as its gate_up takes them, biases its own or NULL; or += with
 * `add`. */
sah_status sah_mlp_slice_product(const sah_pass *pass, const sah_mlp_slice *slice, const float *gate_bias,
                                 const float *up_bias, int64_t rows, const void *input, float *out, bool add,
                                 sah_error *error);

#endif
