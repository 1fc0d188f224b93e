/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/cpu/product.h"
#include "engine/plugin.h"
#include "engine/precision.h"
#include "util/alloc.h"
#include "util/error.h"
#include "util/processors.h"

/* The largest matrix first, which is the LM head: packing needs it twice, and then nothing else is there yet. */
static sah_status load_weights(sah_model *model, const sah_watch *watch, sah_error *error)
{
    const sah_config *c = &model->config;
    model->layers = sah_alloc((size_t)c->n_layers, sizeof *model->layers);
    if (model->layers == NULL) return sah_fail_memory(error, "weights");
    sah_status status = sah_model_pack_ends(model, error);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++)
        status = sah_layer_read(model, l, &model->layers[l], error);
    return status == SAH_OK ? sah_stream_new(model, watch, &model->stream, error) : status;
}

/* Says of a device that has no memory for the weights how much they need. */
static sah_status too_large(const sah_model *model, sah_error *error)
{
    uint64_t all, least;
    sah_stream_measure(model, &all, &least);
    return sah_fail_field(error, SAH_OUT_OF_MEMORY, "memory",
                          ": %s has too little for the weights of %s, which take up to %.0f MB, with rows on "
                          "top; give a bound (at least %.0f MB), and layers are loaded as they are needed",
                          model->device->name, model->info.name, (double)all / 1e6 + 1,
                          (double)least / 1e6 + 1);
}

sah_status sah_model_of(sah_checkpoint *checkpoint, const sah_device *device,
                        const sah_model_options *options, sah_model **out, sah_error *error)
{
    sah_model *model = sah_alloc(1, sizeof *model);
    if (model == NULL) {
        sah_checkpoint_close(checkpoint);
        return sah_fail_memory(error, "the model");
    }
    model->threads = options->threads > 0
                         ? options->threads
                         : sah_processors(omp_get_max_threads(), "/sys/fs/cgroup", "/proc/self/cgroup");
    model->checkpoint = checkpoint;
    model->config = checkpoint->config;
    model->device = device;
    model->info = checkpoint->info;
    snprintf(model->info.device, sizeof model->info.device, "%s", device->name);
    model->memory = options->memory;
    sah_status status = sah_template_settings_new(options->template_vars, options->n_template_vars,
                                                  options->template_date, &model->template_settings, error);
    if (status == SAH_OK && !options->describe_only) {
        int before = omp_get_max_threads();
        omp_set_num_threads(model->threads);
        status = sah_precision_choose(device, &model->config, options->precision, model->threads,
                                      &model->precision, model->info.precision_note,
                                      sizeof model->info.precision_note, error);
        snprintf(model->info.precision, sizeof model->info.precision, "%s",
                 model->precision == SAH_PRECISION_BF16 ? "bf16" : "f32");
        model->tiles = device->host && options->generates && model->precision != SAH_PRECISION_BF16 &&
                       sah_product_has_tiles();
        if (status == SAH_OK)
            status = load_weights(model, &(sah_watch){options->progress, options->user}, error);
        if (status == SAH_OUT_OF_MEMORY && !device->host && model->layers != NULL)
            status = too_large(model, error);
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
    const sah_device *device;
    sah_model_info about; /* of the device */
    if (options == NULL) options = &defaults;
    const sah_watch watch = {options->progress, options->user};
    const sah_device_choice choice = options->describe_only ? SAH_DEVICE_CPU : options->device;
    sah_status status = sah_device_find(choice, &device, about.device, sizeof about.device, about.device_note,
                                        sizeof about.device_note, error);
    if (status == SAH_OK)
        status =
            sah_checkpoint_load(path, options->adapter, options->describe_only, &watch, &checkpoint, error);
    if (status != SAH_OK) return status;
    status = sah_model_of(checkpoint, device, options, out, error);
    if (status != SAH_OK) return status;
    sah_model_info *info = &(*out)->info;
    if (about.device[0]) memcpy(info->device, about.device, sizeof info->device);
    memcpy(info->device_note, about.device_note, sizeof info->device_note);
    return SAH_OK;
}

void sah_model_close(sah_model *model)
{
    if (model == NULL) return;
    sah_stream_free(model->stream);
    for (int l = 0; model->layers != NULL && l < model->config.n_layers; l++)
        sah_layer_free(model->device, &model->layers[l]);
    free(model->layers);
    sah_weights_free(model->lm_head);
    sah_device_free(model->device, model->final_norm.weight);
    sah_device_free(model->device, model->final_norm.bias);
    free(model->positions);
    sah_weights_free(model->input_projection);
    free(model->input_norm);
    sah_checkpoint_close(model->checkpoint);
    sah_template_settings_free(&model->template_settings);
    free(model);
}

uint64_t sah_model_weight_bytes(const sah_model *model)
{
    uint64_t sum = model->lm_head->bytes;
    if (model->input_projection != NULL) sum += model->input_projection->bytes;
    if (model->stream != NULL) return sah_stream_bytes(model->stream);
    for (int l = 0; l < model->config.n_layers; l++) sum += sah_layer_bytes(&model->layers[l]);
    return sum;
}

uint64_t sah_model_rows_memory(const sah_model *model)
{
    uint64_t beside = model->memory / 8, weights = 0;
    if (model->memory == 0) return 0;
    if (model->stream != NULL) weights = sah_stream_bytes(model->stream);
    for (int l = 0; model->stream == NULL && l < model->config.n_layers; l++)
        weights += sah_layer_size(model, l);
    return model->memory - beside - weights;
}

const sah_model_info *sah_model_describe(const sah_model *model)
{
    return &model->info;
}

/* *out = the host's rows where products find them: themselves, or a copy in a scratch slot. */
static sah_status bring(sah_workspace *workspace, const float *rows, int64_t n, int64_t width,
                        const float **out, sah_error *error)
{
    const size_t numbers = (size_t)(n * width);
    *out = rows;
    if (workspace->device->host) return SAH_OK;
    float *there = sah_workspace_scratch(workspace, SAH_SLOT_NORMED, numbers);
    *out = there;
    return there != NULL ? workspace->device->upload(rows, numbers * sizeof *rows, there, error)
                         : sah_fail_memory(error, "logits");
}

/* logits [rows, V] = hidden [rows, d] Wᵀ, or += with `add`. */
static sah_status multiply_head(const sah_model *model, sah_workspace *workspace, const sah_weights *weights,
                                const float *hidden, int64_t rows, bool add, float *logits, sah_error *error)
{
    const float *x;
    sah_status status = bring(workspace, hidden, rows, model->config.d_model, &x, error);
    return status == SAH_OK ? sah_product(workspace, weights, rows, x, logits, add, error) : status;
}

static void finish_logits(const sah_model *model, sah_workspace *workspace, int64_t rows, float *logits)
{
    const sah_config *c = &model->config;
    const sah_device *device = workspace->device;
    const int64_t n = rows * c->n_vocab;
    if (c->logit_scale < 1.0f || c->logit_scale > 1.0f) device->scale(workspace, logits, n, c->logit_scale);
    if (c->final_softcap > 0.0f) device->softcap(workspace, logits, n, c->final_softcap);
}

sah_status sah_lm_head(const sah_model *model, sah_workspace *workspace, const float *hidden, int64_t rows,
                       float *logits, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = multiply_head(model, workspace, model->lm_head, hidden, rows, false, logits, error);
    if (status == SAH_OK) finish_logits(model, workspace, rows, logits);
    sah_workspace_enter(workspace, before);
    return status;
}

sah_status sah_lm_head_beside(const sah_model *model, sah_workspace *workspace, const float *rest,
                              int64_t rows, float *logits, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = SAH_OK;
    if (rest != NULL)
        status = multiply_head(model, workspace, sah_weights_difference(model->lm_head), rest, rows, true,
                               logits, error);
    if (status == SAH_OK) finish_logits(model, workspace, rows, logits);
    sah_workspace_enter(workspace, before);
    return status;
}

/* Rows of the LM head from `first` on. */
typedef struct head_part {
    const sah_matrix *matrix;
    size_t first;
} head_part;

static void read_head(const void *source, size_t row, size_t n, float *out)
{
    const head_part *part = source;
    sah_matrix_read(part->matrix, part->first + row, n, out);
}

sah_status sah_lm_head_exact(const sah_model *model, sah_workspace *workspace, const float *hidden,
                             int64_t rows, float *logits, sah_error *error)
{
    enum { OUTPUTS = 4096 }; /* of the head in memory at a time, where the model's is not in float32 */
    const sah_matrix *matrix = &model->checkpoint->lm_head;
    const int64_t V = model->config.n_vocab, d = model->config.d_model;
    const sah_packing packing = {.precision = SAH_PRECISION_F32};
    const float *x;
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    if (model->precision == SAH_PRECISION_F32) {
        sah_status status =
            multiply_head(model, workspace, model->lm_head, hidden, rows, false, logits, error);
        sah_workspace_enter(workspace, before);
        return status;
    }
    float *some = sah_workspace_scratch(workspace, SAH_SLOT_BRANCH, (size_t)(rows * OUTPUTS));
    sah_status status = some != NULL ? SAH_OK : sah_fail_memory(error, "logits");
    if (status == SAH_OK) status = bring(workspace, hidden, rows, d, &x, error);
    for (int64_t from = 0; from < V && status == SAH_OK; from += OUTPUTS) {
        const int64_t n = V - from < OUTPUTS ? V - from : OUTPUTS;
        const head_part part = {matrix, (size_t)from};
        sah_weights *weights = NULL;
        status = sah_weights_new(model->device, n, d, packing, read_head, &part, &weights, error);
        if (status == SAH_OK) status = sah_product(workspace, weights, rows, x, some, false, error);
        if (status == SAH_OK)
            workspace->device->copy(workspace, (sah_rows){some, n, NULL}, rows, n, logits + from, V, NULL);
        sah_weights_free(weights);
    }
    sah_checkpoint_release(model->checkpoint, matrix->tensor);
    sah_workspace_enter(workspace, before);
    return status;
}

sah_status sah_lm_head_logits(const sah_model *model, sah_workspace *workspace, const float *hidden,
                              int64_t rows, float *logits, sah_error *error)
{
    const size_t numbers = (size_t)rows * (size_t)model->config.n_vocab;
    float *there = logits;
    if (!workspace->device->host) there = sah_workspace_scratch(workspace, SAH_SLOT_BRANCH, numbers);
    if (there == NULL) return sah_fail_memory(error, "logits");
    sah_status status = sah_lm_head(model, workspace, hidden, rows, there, error);
    if (status != SAH_OK) return status;
    return workspace->device->download(there, numbers * sizeof *logits, logits, error);
}

sah_status sah_lm_head_top(const sah_model *model, sah_workspace *workspace, const float *hidden,
                           int64_t rows, int32_t *tokens, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = sah_product_top(workspace, model->lm_head, rows, hidden, tokens, error);
    sah_workspace_enter(workspace, before);
    return status;
}
