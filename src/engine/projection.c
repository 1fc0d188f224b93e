/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/projection.h"

#include "engine/convolution.h"
#include "engine/delta.h"
#include "engine/difference.h"
#include "util/error.h"

int64_t sah_layer_q_width(const sah_config *config, const sah_layer_kind *kind)
{
    bool gated = config->attention_gate && kind->mixer == SAH_MIXER_ATTENTION;
    return (int64_t)kind->n_heads * kind->head_dim * (gated ? 2 : 1);
}

int64_t sah_layer_qkv_width(const sah_config *config, const sah_layer_kind *kind)
{
    if (kind->mixer == SAH_MIXER_DELTA) return sah_delta_width(config, kind);
    if (kind->mixer == SAH_MIXER_CONVOLUTION) return sah_convolution_width(kind);
    const int64_t kv = kind->borrows > 0 ? 0 : 2 * (int64_t)kind->n_kv_heads * kind->head_dim;
    return sah_layer_q_width(config, kind) + kv;
}

/* The largest of a width over the layers. */
static int64_t most(const sah_config *config, int64_t (*width)(const sah_config *, const sah_layer_kind *))
{
    int64_t largest = 0;
    for (int l = 0; l < (config->layer_kind != NULL ? config->n_layers : 1); l++) {
        const sah_layer_kind kind = sah_config_layer(config, l);
        int64_t here = width(config, &kind);
        if (here > largest) largest = here;
    }
    return largest;
}

int64_t sah_q_width(const sah_config *config)
{
    return most(config, sah_layer_q_width);
}

int64_t sah_qkv_width(const sah_config *config)
{
    return most(config, sah_layer_qkv_width);
}

/* One product, and what stands behind it. */
typedef struct projection {
    sah_site site;
    const sah_weights *weights;
    sah_rotation rotation;
} projection;

void sah_turn_to(const sah_pass *pass, int layer, sah_stand_in *out)
{
    const sah_layer_kind *kind = &pass->model->layers[layer].kind;
    if (kind->rope < 0) return;
    out->rope = &pass->model->config.ropes[kind->rope];
    out->angles = pass->angles[kind->rope];
}

static sah_status project_rows(const sah_pass *pass, const sah_norm *norm, const projection *p,
                               const sah_view *view, int64_t copies, const float *x, float *out,
                               sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    int d = pass->model->config.d_model;
    int64_t rows = copies * view->n, width = p->weights->outputs, step = sah_pass_block(pass, rows);
    float *normed = sah_workspace_scratch(ws, SAH_SLOT_NORMED, (size_t)(step * d));
    if (normed == NULL) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = out + from * width;
        sah_norm_rows(pass, x + from * d, norm, n, normed);
        sah_status status =
            sah_site_product(pass, p->site, view, from, n, p->weights, normed, block, false, error);
        if (status != SAH_OK) return status;
        sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
        ws->device->rotate(ws, &pass->model->config, &p->rotation, view, from, n, width, block);
        sah_workspace_enter(ws, before);
    }
    return SAH_OK;
}

/* Which heads a product of the layer makes, from column `column` of all that it projects on. */
static sah_rotation rotation_of(const sah_pass *pass, const sah_layer *layer, int q_heads, int kv_heads,
                                int64_t column)
{
    const sah_layer_kind *kind = &layer->kind;
    sah_rotation rotation = {.q_heads = q_heads,
                             .k_heads = kv_heads,
                             .v_heads = kv_heads,
                             .head_dim = kind->head_dim,
                             .bias = layer->qkv_bias != NULL ? layer->qkv_bias + column : NULL,
                             .q_norm = layer->q_norm,
                             .k_norm = layer->k_norm};
    if (kind->rope < 0) return rotation;
    rotation.rope = &pass->model->config.ropes[kind->rope];
    rotation.angles = pass->angles[kind->rope];
    return rotation;
}

sah_status sah_project(const sah_pass *pass, int layer, int64_t copies, const float *x, const float *y,
                       float *qkv, float *q, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_layer_kind *kind = &weights->kind;
    const sah_norm *norm = &weights->attention_norm;
    bool attends = kind->mixer == SAH_MIXER_ATTENTION; /* else delta.h or convolution.h goes on */
    int q_heads = attends ? kind->n_heads : 0,
        kv_heads = attends && kind->borrows == 0 ? kind->n_kv_heads : 0;
    projection all = {SAH_SITE_QKV, weights->qkv, rotation_of(pass, weights, q_heads, kv_heads, 0)};
    if (!weights->apart) return project_rows(pass, norm, &all, &pass->nodes, copies, x, qkv, error);
    projection q_alone = {SAH_SITE_Q, weights->q, rotation_of(pass, weights, q_heads, 0, 0)},
               kv = {SAH_SITE_QKV, weights->kv,
                     rotation_of(pass, weights, 0, kv_heads, sah_layer_q_width(&pass->model->config, kind))};
    sah_status status = SAH_OK;
    if (weights->kv != NULL) status = project_rows(pass, norm, &kv, &pass->nodes, copies, x, qkv, error);
    if (status != SAH_OK) return status;
    return project_rows(pass, norm, &q_alone, sah_pass_view(pass, layer), copies, y, q, error);
}
