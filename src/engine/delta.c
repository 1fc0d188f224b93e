/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/delta.h"

#include "util/error.h"

/* Sizes of a layer, and where the parts of a row begin. */
static sah_recurrence sizes_of(const sah_config *c, const sah_layer_kind *kind)
{
    sah_recurrence s = {.n_heads = kind->n_heads,
                        .head_dim = kind->head_dim,
                        .key_heads = c->delta.key_heads,
                        .key_dim = c->delta.key_dim,
                        .kernel = c->delta.kernel,
                        .norm_eps = c->norm_eps};
    const int64_t values = (int64_t)s.n_heads * s.head_dim;
    s.columns = s.gate = 2 * (int64_t)s.key_heads * s.key_dim + values;
    s.write = s.gate + values;
    s.keep = s.write + s.n_heads;
    s.width = s.keep + s.n_heads;
    s.kept_each = (int64_t)s.n_heads * s.key_dim * s.head_dim + (s.kernel - 1) * s.columns;
    return s;
}

int64_t sah_delta_width(const sah_config *config, const sah_layer_kind *kind)
{
    return sizes_of(config, kind).width;
}

int64_t sah_delta_gate(const sah_config *config, const sah_layer_kind *kind)
{
    return sizes_of(config, kind).gate;
}

int64_t sah_delta_kept(const sah_config *config, const sah_layer_kind *kind)
{
    return sizes_of(config, kind).kept_each;
}

sah_status sah_delta_mix(const sah_pass *pass, int layer, const sah_attention *at, float *rows, float *kept,
                         sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    sah_recurrence s = sizes_of(&pass->model->config, &weights->kind);
    sah_workspace *ws = pass->workspace;
    s.weights = weights->delta.kernel;
    s.rate = weights->delta.rate;
    s.rate_bias = weights->delta.rate_bias;
    s.norm = weights->delta.norm;
    s.rows = rows;
    s.z = at->z;
    s.z_stride = at->z_stride;
    s.kept = kept;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ATTENTION);
    sah_status status =
        ws->device->recur(ws, &s, &pass->nodes, &pass->ends, sah_pass_view(pass, layer), error);
    sah_workspace_enter(ws, before);
    return status;
}
