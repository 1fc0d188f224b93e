/* A layer's MLP. */
#ifndef SAH_ENGINE_MLP_H
#define SAH_ENGINE_MLP_H

#include "engine/pass.h"

/* x [rows, d] += (silu(g) * u) Wdownᵀ,  g, u = norm(x) Wgate,upᵀ. Rows go in blocks, and a block through the
 * MLP slice by slice, so that what it needs stays in the cache. */
sah_status sah_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error);

#endif
