#include "engine/model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/precision.h"
#include "util/alloc.h"
#include "util/error.h"

/* Matrices that are packed under one another as one. */
typedef struct stack {
    const sah_matrix *parts[3];
    int n;
} stack;

static void read_stack(const void *source, size_t row, size_t n, float *out)
{
    const stack *s = source;
    for (int i = 0; i < s->n && n > 0; i++) {
        const sah_matrix *part = s->parts[i];
        if (row >= part->rows) {
            row -= part->rows;
            continue;
        }
        size_t here = part->rows - row < n ? part->rows - row : n;
        sah_matrix_read(part, row, here, out);
        out += here * part->columns;
        n -= here;
        row = 0;
    }
}

static sah_status pack(const sah_model *model, stack s, sah_weights **out, sah_error *error)
{
    size_t rows = 0;
    for (int i = 0; i < s.n; i++) rows += s.parts[i]->rows;
    sah_status status = sah_weights_new((int64_t)rows, (int64_t)s.parts[0]->columns, model->precision,
                                        read_stack, &s, out, error);
    for (int i = 0; i < s.n; i++) sah_checkpoint_release(model->checkpoint, s.parts[i]->tensor);
    return status;
}

/* One vector, or up to three behind one another where any is there (an absent one counts as zeros). */
typedef struct vector_part {
    const sah_tensor *tensor;
    size_t n;
    int rotary_heads;
} vector_part;

static sah_status read_vectors(const vector_part *parts, int n, float **out, sah_error *error)
{
    size_t total = 0, at = 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        total += parts[i].n;
        any = any || parts[i].tensor;
    }
    *out = NULL;
    if (!any) return SAH_OK;
    *out = sah_alloc_aligned(total, sizeof **out);
    if (!*out) return sah_fail_memory(error, "weights");
    memset(*out, 0, total * sizeof **out);
    for (int i = 0; i < n; at += parts[i++].n)
        if (parts[i].tensor) sah_vector_read(parts[i].tensor, parts[i].rotary_heads, *out + at);
    return SAH_OK;
}

static sah_status read_vector(const sah_tensor *tensor, int n, float **out, sah_error *error)
{
    return read_vectors(&(vector_part){tensor, (size_t)n, 0}, 1, out, error);
}

static sah_status load_layer(sah_model *model, int l, sah_error *error)
{
    const sah_config *c = &model->config;
    const sah_layer_files *f = &model->checkpoint->layers[l];
    sah_layer *layer = &model->layers[l];
    size_t q_rows = f->q.rows, kv_rows = f->k.rows, d_ff = (size_t)c->d_ff;
    vector_part qkv_bias[] = {{f->q_bias, q_rows, f->q.rotary_heads},
                              {f->k_bias, kv_rows, f->k.rotary_heads},
                              {f->v_bias, kv_rows, 0}};
    vector_part gate_up_bias[] = {{f->gate_bias, d_ff, 0}, {f->up_bias, d_ff, 0}};
    sah_status status;
    if (l < c->n_layers - 1) {
        status = pack(model, (stack){{&f->q, &f->k, &f->v}, 3}, &layer->qkv, error);
    } else {
        status = pack(model, (stack){{&f->q}, 1}, &layer->q, error);
        if (status == SAH_OK) status = pack(model, (stack){{&f->k, &f->v}, 2}, &layer->kv, error);
    }
    if (status == SAH_OK) status = pack(model, (stack){{&f->o}, 1}, &layer->o, error);
    if (status == SAH_OK) status = pack(model, (stack){{&f->gate, &f->up}, 2}, &layer->gate_up, error);
    if (status == SAH_OK) status = pack(model, (stack){{&f->down}, 1}, &layer->down, error);
    if (status == SAH_OK) status = read_vector(f->input_norm, c->d_model, &layer->input_norm, error);
    if (status == SAH_OK) status = read_vector(f->post_norm, c->d_model, &layer->post_norm, error);
    if (status == SAH_OK) status = read_vector(f->q_norm, c->head_dim, &layer->q_norm, error);
    if (status == SAH_OK) status = read_vector(f->k_norm, c->head_dim, &layer->k_norm, error);
    if (status == SAH_OK) status = read_vectors(qkv_bias, 3, &layer->qkv_bias, error);
    if (status == SAH_OK) status = read_vectors(gate_up_bias, 2, &layer->gate_up_bias, error);
    if (status == SAH_OK) status = read_vector(f->o_bias, c->d_model, &layer->o_bias, error);
    if (status == SAH_OK) status = read_vector(f->down_bias, c->d_model, &layer->down_bias, error);
    return status;
}

/* The largest matrix first: packing needs it twice, and then nothing else is there yet. */
static sah_status load_weights(sah_model *model, sah_error *error)
{
    const sah_config *c = &model->config;
    model->layers = sah_alloc((size_t)c->n_layers, sizeof *model->layers);
    model->rope = sah_alloc((size_t)c->head_dim / 2, sizeof *model->rope);
    if (!model->layers || !model->rope) return sah_fail_memory(error, "weights");
    sah_rope_frequencies(c, model->checkpoint->rope_factors, model->rope);
    sah_status status = pack(model, (stack){{&model->checkpoint->lm_head}, 1}, &model->lm_head, error);
    if (status == SAH_OK)
        status = read_vector(model->checkpoint->final_norm, c->d_model, &model->final_norm, error);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++) status = load_layer(model, l, error);
    return status;
}

sah_status sah_model_open(const char *path, const sah_model_options *options, sah_model **out,
                          sah_error *error)
{
    sah_model_options defaults = {0};
    if (!options) options = &defaults;
    sah_model *model = sah_alloc(1, sizeof *model);
    if (!model) return sah_fail_memory(error, "the model");
    model->threads = options->threads > 0 ? options->threads : omp_get_max_threads();
    sah_status status =
        sah_checkpoint_open(path, options->adapter, options->describe_only, &model->checkpoint, error);
    if (status == SAH_OK) {
        model->config = model->checkpoint->config;
        model->info = model->checkpoint->info;
    }
    if (status == SAH_OK && !options->describe_only) {
        int before = omp_get_max_threads();
        omp_set_num_threads(model->threads);
        status = sah_precision_choose(&model->config, options->precision, model->threads, &model->precision,
                                      model->info.precision_note, sizeof model->info.precision_note, error);
        snprintf(model->info.precision, sizeof model->info.precision, "%s",
                 model->precision == SAH_PRECISION_BF16 ? "bf16" : "f32");
        if (status == SAH_OK) status = load_weights(model, error);
        omp_set_num_threads(before);
    }
    if (status != SAH_OK) {
        sah_model_close(model);
        return status;
    }
    *out = model;
    return SAH_OK;
}

void sah_model_close(sah_model *model)
{
    if (!model) return;
    for (int l = 0; model->layers && l < model->config.n_layers; l++) {
        sah_layer *layer = &model->layers[l];
        sah_weights *packed[] = {layer->qkv, layer->q, layer->kv, layer->o, layer->gate_up, layer->down};
        float *vectors[] = {layer->input_norm, layer->post_norm, layer->q_norm,       layer->k_norm,
                            layer->qkv_bias,   layer->o_bias,    layer->gate_up_bias, layer->down_bias};
        for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) sah_weights_free(packed[i]);
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) free(vectors[i]);
    }
    free(model->layers);
    sah_weights_free(model->lm_head);
    free(model->final_norm);
    free(model->rope);
    sah_checkpoint_close(model->checkpoint);
    free(model);
}

uint64_t sah_model_weight_bytes(const sah_model *model)
{
    uint64_t sum = sah_weights_bytes(model->lm_head);
    for (int l = 0; l < model->config.n_layers; l++) {
        const sah_layer *layer = &model->layers[l];
        const sah_weights *packed[] = {layer->qkv, layer->q,       layer->kv,
                                       layer->o,   layer->gate_up, layer->down};
        for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
            if (packed[i]) sum += sah_weights_bytes(packed[i]);
    }
    return sum;
}

const sah_model_info *sah_model_describe(const sah_model *model)
{
    return &model->info;
}

sah_status sah_lm_head(const sah_model *model, sah_workspace *workspace, const float *hidden, int64_t rows,
                       float *logits, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = sah_product(workspace, model->lm_head, rows, hidden, logits, false, error);
    sah_workspace_enter(workspace, before);
    return status;
}
