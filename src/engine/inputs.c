/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/inputs.h"

#include <math.h>
#include <stdlib.h>

#include "engine/cpu/elementwise.h"
#include "engine/difference.h"
#include "util/alloc.h"
#include "util/error.h"

size_t sah_inputs_width(const sah_config *config)
{
    return (size_t)config->input_width * (size_t)config->n_layers;
}

/* What the projection gives of the tokens, own [n, layers * P], becomes what they are given. False: no memory. */
static bool finish(const sah_model *model, const int32_t *tokens, int64_t n, float *own)
{
    const sah_config *c = &model->config;
    const int width = c->input_width, layers = c->n_layers;
    const int64_t all = (int64_t)width * layers;
    const float scale = 1.0f / sqrtf((float)c->d_model), table = sqrtf((float)width), half = sqrtf(0.5f);
    float *row = sah_alloc((size_t)all, sizeof *row);
    for (int64_t i = 0; i < n && row != NULL; i++, own += all) {
        sah_vector_scale(own, (int)all, scale);
        for (int l = 0; l < layers; l++)
            sah_rms_norm(own + l * width, model->input_norm, c->norm_eps, width, own + l * width);
        sah_matrix_read(&model->checkpoint->input_table, (size_t)tokens[i], 1, row);
        sah_vector_add_scaled(row, (int)all, table, own);
        sah_vector_scale(own, (int)all, half);
    }
    free(row);
    return row != NULL;
}

sah_status sah_inputs_make(const sah_model *model, sah_workspace *workspace, const int32_t *tokens, int64_t n,
                           const float *x, float *given, sah_error *error)
{
    const sah_device *device = model->device;
    const size_t numbers = (size_t)n * sah_inputs_width(&model->config), bytes = numbers * sizeof *given;
    float *here = device->host ? given : sah_workspace_scratch(workspace, SAH_SLOT_PLAN, numbers);
    if (here == NULL) return sah_fail_memory(error, "the layers' inputs");
    sah_status status = sah_product(workspace, model->input_projection, n, x, given, false, error);
    if (status == SAH_OK) status = device->download(given, bytes, here, error);
    if (status == SAH_OK && !finish(model, tokens, n, here))
        status = sah_fail_memory(error, "the layers' inputs");
    return status == SAH_OK ? device->upload(here, bytes, given, error) : status;
}

sah_status sah_inputs_join(const sah_pass *pass, int layer, int64_t rows, float *y, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_view *view = sah_pass_view(pass, layer);
    sah_workspace *ws = pass->workspace;
    const int64_t d = pass->model->config.d_model, width = pass->model->config.input_width,
                  step = sah_pass_block(pass, rows);
    if (width == 0) return SAH_OK;
    float *gates = sah_workspace_scratch(ws, SAH_SLOT_GATE_UP, (size_t)(step * width)),
          *inner = sah_workspace_scratch(ws, SAH_SLOT_INNER, (size_t)(step * width)),
          *branch = sah_workspace_scratch(ws, SAH_SLOT_BRANCH, (size_t)(step * d)),
          *normed =
              pass->record != NULL ? sah_workspace_scratch(ws, SAH_SLOT_NORMED, (size_t)(step * d)) : NULL;
    if (gates == NULL || inner == NULL || branch == NULL || (pass->record != NULL && normed == NULL))
        return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        const int64_t n = rows - from < step ? rows - from : step;
        float *block = y + from * d, *x = block;
        if (normed != NULL) sah_copy_rows(pass, (sah_rows){block, d, NULL}, n, d, x = normed);
        sah_status status = sah_site_product(pass, SAH_SITE_INPUT_GATE, view, from, n, weights->input_gate, x,
                                             gates, false, error);
        if (status != SAH_OK) return status;
        sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
        ws->device->give(ws, &pass->model->config, view, from, n, width, pass->given + layer * width,
                         width * pass->model->config.n_layers, gates, inner);
        sah_workspace_enter(ws, before);
        status = sah_site_product(pass, SAH_SITE_INPUT_OUT, view, from, n, weights->input_out, inner, branch,
                                  false, error);
        if (status != SAH_OK) return status;
        sah_join_rows(pass, &weights->input_out_norm, n, branch, block);
    }
    return SAH_OK;
}
