/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/convolution.h"

int64_t sah_convolution_width(const sah_layer_kind *kind)
{
    return 3 * (int64_t)kind->n_heads * kind->head_dim;
}

int64_t sah_convolution_kept(const sah_config *config, const sah_layer_kind *kind)
{
    return (int64_t)(config->delta.kernel - 1) * kind->n_heads * kind->head_dim;
}

void sah_convolution_mix(const sah_pass *pass, int layer, const sah_attention *at, float *rows, float *kept)
{
    const sah_layer *weights = &pass->model->layers[layer];
    sah_workspace *ws = pass->workspace;
    const sah_convolution convolution = {.kernel = pass->model->config.delta.kernel,
                                         .width = (int64_t)weights->kind.n_heads * weights->kind.head_dim,
                                         .weights = weights->delta.kernel,
                                         .rows = rows,
                                         .z = at->z,
                                         .z_stride = at->z_stride,
                                         .kept = kept};
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ATTENTION);
    ws->device->convolve(ws, &convolution, &pass->nodes, &pass->ends, sah_pass_view(pass, layer));
    sah_workspace_enter(ws, before);
}
