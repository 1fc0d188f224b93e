/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "engine/precision.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/processors.h"

/* The largest matrix first, which is the LM head: packing needs it twice, and then nothing else is there yet. */
static sah_status load_weights(sah_model *model, const sah_watch *watch, sah_error *error)
{
    const sah_config *c = &model->config;
    model->layers = sah_alloc((size_t)c->n_layers, sizeof *model->layers);
    if (!model->layers) return sah_fail_memory(error, "weights");
    sah_status status = sah_model_pack_ends(model, error);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++)
        status = sah_layer_read(model, l, &model->layers[l], error);
    return status == SAH_OK ? sah_stream_new(model, watch, &model->stream, error) : status;
}

sah_status sah_model_of(sah_checkpoint *checkpoint, const sah_model_options *options, sah_model **out,
                        sah_error *error)
{
    sah_model *model = sah_alloc(1, sizeof *model);
    if (!model) {
        sah_checkpoint_close(checkpoint);
        return sah_fail_memory(error, "the model");
    }
    model->threads = options->threads > 0
                         ? options->threads
                         : sah_processors(omp_get_max_threads(), "/sys/fs/cgroup", "/proc/self/cgroup");
    model->checkpoint = checkpoint;
    model->config = checkpoint->config;
    model->info = checkpoint->info;
    model->memory = options->memory;
    sah_status status = sah_template_settings_new(options->template_vars, options->n_template_vars,
                                                  options->template_date, &model->template_settings, error);
    if (status == SAH_OK && !options->describe_only) {
        int before = omp_get_max_threads();
        omp_set_num_threads(model->threads);
        status = sah_precision_choose(&model->config, options->precision, model->threads, &model->precision,
                                      model->info.precision_note, sizeof model->info.precision_note, error);
        snprintf(model->info.precision, sizeof model->info.precision, "%s",
                 model->precision == SAH_PRECISION_BF16 ? "bf16" : "f32");
        model->tiles =
            options->generates && model->precision != SAH_PRECISION_BF16 && sah_product_has_tiles();
        if (status == SAH_OK)
            status = load_weights(model, &(sah_watch){options->progress, options->user}, error);
        if (status == SAH_OK) status = sah_tensors_unchanged(checkpoint->tensors, error);
        omp_set_num_threads(before);
    }
    if (status != SAH_OK) {
        sah_model_close(model);
        return status;
    }
    *out = model;
    return SAH_OK;
}

sah_status sah_model_open(const char *path, const sah_model_options *options, sah_model **out,
                          sah_error *error)
{
    sah_model_options defaults = {0};
    sah_checkpoint *checkpoint;
    if (!options) options = &defaults;
    const sah_watch watch = {options->progress, options->user};
    sah_status status =
        sah_checkpoint_load(path, options->adapter, options->describe_only, &watch, &checkpoint, error);
    return status == SAH_OK ? sah_model_of(checkpoint, options, out, error) : status;
}

void sah_model_close(sah_model *model)
{
    if (!model) return;
    sah_stream_free(model->stream);
    for (int l = 0; model->layers && l < model->config.n_layers; l++) sah_layer_free(&model->layers[l]);
    free(model->layers);
    sah_weights_free(model->lm_head);
    free(model->final_norm.weight);
    free(model->final_norm.bias);
    free(model->positions);
    sah_weights_free(model->input_projection);
    free(model->input_norm);
    sah_checkpoint_close(model->checkpoint);
    sah_template_settings_free(&model->template_settings);
    free(model);
}

uint64_t sah_model_weight_bytes(const sah_model *model)
{
    uint64_t sum = sah_weights_bytes(model->lm_head);
    if (model->input_projection) sum += sah_weights_bytes(model->input_projection);
    if (model->stream) return sah_stream_bytes(model->stream);
    for (int l = 0; l < model->config.n_layers; l++) sum += sah_layer_bytes(&model->layers[l]);
    return sum;
}

uint64_t sah_model_rows_memory(const sah_model *model)
{
    uint64_t beside = model->memory / 8, weights = 0;
    if (model->memory == 0) return 0;
    if (model->stream) weights = sah_stream_bytes(model->stream);
    for (int l = 0; !model->stream && l < model->config.n_layers; l++) weights += sah_layer_size(model, l);
    return model->memory - beside - weights;
}

const sah_model_info *sah_model_describe(const sah_model *model)
{
    return &model->info;
}

sah_status sah_lm_head(const sah_model *model, sah_workspace *workspace, const float *hidden, int64_t rows,
                       float *logits, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    const sah_config *c = &model->config;
    int n = c->n_vocab;
    sah_status status = sah_product(workspace, model->lm_head, rows, hidden, logits, false, error);
    for (int64_t r = 0; r < rows && status == SAH_OK; r++) {
        if (c->logit_scale < 1.0f || c->logit_scale > 1.0f)
            sah_vector_scale(logits + r * n, n, c->logit_scale);
        if (c->final_softcap > 0.0f) sah_softcap(logits + r * n, n, c->final_softcap);
    }
    sah_workspace_enter(workspace, before);
    return status;
}

sah_status sah_lm_head_top(const sah_model *model, sah_workspace *workspace, const float *hidden,
                           int64_t rows, int32_t *tokens, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = sah_product_top(workspace, model->lm_head, rows, hidden, tokens, error);
    sah_workspace_enter(workspace, before);
    return status;
}
