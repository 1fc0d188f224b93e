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

/* Rows of matrices that are packed under one another as one. */
typedef struct part {
    const sah_matrix *matrix;
    size_t from, n; /* rows [from, from + n) */
} part;

typedef struct stack {
    part parts[6];
    int n;
} stack;

static part whole(const sah_matrix *matrix)
{
    return (part){matrix, 0, matrix->rows};
}

static void read_stack(const void *source, size_t row, size_t n, float *out)
{
    const stack *s = source;
    for (int i = 0; i < s->n && n > 0; i++) {
        const part *p = &s->parts[i];
        if (row >= p->n) {
            row -= p->n;
            continue;
        }
        size_t here = p->n - row < n ? p->n - row : n;
        sah_matrix_read(p->matrix, p->from + row, here, out);
        out += here * p->matrix->columns;
        n -= here;
        row = 0;
    }
}

static void release(const sah_model *model, const stack *s)
{
    for (int i = 0; i < s->n; i++) sah_checkpoint_release(model->checkpoint, s->parts[i].matrix->tensor);
}

/* sah_weights_new() or sah_weights_gate(). */
typedef sah_status (*weights_fn)(int64_t, int64_t, sah_precision, bool, sah_rows_fn, const void *,
                                 sah_weights **, sah_error *);

static sah_status pack_with(const sah_model *model, stack s, weights_fn make, sah_weights **out,
                            sah_error *error)
{
    size_t rows = 0;
    for (int i = 0; i < s.n; i++) rows += s.parts[i].n;
    sah_status status = make((int64_t)rows, (int64_t)s.parts[0].matrix->columns, model->precision,
                             model->tiles, read_stack, &s, out, error);
    release(model, &s);
    return status;
}

static sah_status pack(const sah_model *model, stack s, sah_weights **out, sah_error *error)
{
    return pack_with(model, s, sah_weights_new, out, error);
}

/* Bytes of a slice's gate and up: what stays in a second-level cache. But a slice has a least width, below
 * which adding up its part of down costs more than the cache gives (products of SmolLM2's shapes on an
 * AVX-512 machine with 2 MB: 1 slice of 1536 inner values 160 GFLOP/s a core, 4 of 384 180). */
enum { SLICE_BYTES = 2 << 20, SLICE_LEAST = 384, SLICE_TILE = 64 };

static int slices_of(const sah_model *model, int64_t inner)
{
    if (model->tiles) return 1; /* a panel's results do not leave the core, so threads need meet but twice */
    int64_t each = 2 * (int64_t)model->config.d_model * (model->precision == SAH_PRECISION_BF16 ? 2 : 4);
    int64_t width = SLICE_BYTES / each;
    if (width < SLICE_LEAST) width = SLICE_LEAST;
    return (int)((inner + width - 1) / width);
}

/* The product with gates inside knows silu alone. */
static weights_fn gates(const sah_model *model)
{
    return model->config.activation == SAH_ACT_SILU ? sah_weights_gate : sah_weights_new;
}

/* gate and up of inner values [slice->from, + slice->n). */
static sah_status load_gate_up(const sah_model *model, const sah_matrix *gate, const sah_matrix *up,
                               sah_mlp_slice *slice, sah_error *error)
{
    part g = {gate, (size_t)slice->from, (size_t)slice->n}, u = {up, (size_t)slice->from, (size_t)slice->n};
    if (!model->config.gated) return pack(model, (stack){{u}, 1}, &slice->gate_up, error);
    return pack_with(model, (stack){{g, u}, 2}, gates(model), &slice->gate_up, error);
}

/* An MLP of `inner` inner values in slices, *out [*n_slices]. */
static sah_status load_mlp(const sah_model *model, const sah_matrix *gate, const sah_matrix *up,
                           const sah_matrix *down, int64_t inner, sah_mlp_slice **out, int *n_slices,
                           sah_error *error)
{
    int n = slices_of(model, inner);
    int64_t tiles = (inner + SLICE_TILE - 1) / SLICE_TILE;
    stack whole_down = {{whole(down)}, 1};
    int64_t *ends = sah_alloc((size_t)n, sizeof *ends);
    sah_weights **pieces = sah_alloc((size_t)n, sizeof *pieces);
    sah_mlp_slice *slices = *out = sah_alloc((size_t)n, sizeof *slices);
    *n_slices = slices ? n : 0;
    sah_status status = ends && pieces && slices ? SAH_OK : sah_fail_memory(error, "weights");
    for (int i = 0; i < n && status == SAH_OK; i++) {
        sah_mlp_slice *slice = &slices[i];
        ends[i] = i < n - 1 ? (i + 1) * tiles / n * SLICE_TILE : inner;
        slice->from = i > 0 ? ends[i - 1] : 0;
        slice->n = ends[i] - slice->from;
        status = load_gate_up(model, gate, up, slice, error);
    }
    if (status == SAH_OK)
        status = sah_weights_split(model->config.d_model, ends, n, model->precision, model->tiles, read_stack,
                                   &whole_down, pieces, error);
    for (int i = 0; i < n && status == SAH_OK; i++) slices[i].down = pieces[i];
    release(model, &whole_down);
    free(ends);
    free(pieces);
    return status;
}

/* One vector, or up to three behind one another where any is there (an absent one counts as zeros). */
typedef struct vector_part {
    const sah_tensor *tensor;
    size_t n;
    const sah_matrix *matrix; /* whose bias it is, or NULL */
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
    for (int i = 0; i < n; at += parts[i++].n) {
        if (!parts[i].tensor) continue;
        if (parts[i].matrix)
            sah_bias_read(parts[i].matrix, parts[i].tensor, *out + at);
        else
            sah_vector_read(parts[i].tensor, *out + at);
    }
    return SAH_OK;
}

static sah_status read_vector(const sah_tensor *tensor, int n, float **out, sah_error *error)
{
    return read_vectors(&(vector_part){tensor, (size_t)n, NULL}, 1, out, error);
}

static vector_part bias_of(const sah_matrix *matrix, const sah_tensor *bias)
{
    return (vector_part){bias, matrix->rows, matrix};
}

static sah_status read_bias(const sah_matrix *matrix, const sah_tensor *bias, float **out, sah_error *error)
{
    const vector_part own = bias_of(matrix, bias);
    return read_vectors(&own, 1, out, error);
}

/* All of a matrix, where there is one. */
static sah_status read_matrix(const sah_matrix *matrix, float **out, sah_error *error)
{
    *out = NULL;
    if (!matrix->tensor) return SAH_OK;
    *out = sah_alloc_aligned(matrix->rows * matrix->columns, sizeof **out);
    if (!*out) return sah_fail_memory(error, "weights");
    sah_matrix_read(matrix, 0, matrix->rows, *out);
    return SAH_OK;
}

static sah_status read_norm(const sah_tensor *weight, const sah_tensor *bias, int n, sah_norm *out,
                            sah_error *error)
{
    sah_status status = read_vector(weight, n, &out->weight, error);
    return status == SAH_OK ? read_vector(bias, n, &out->bias, error) : status;
}

static sah_status load_experts(const sah_model *model, const sah_layer_files *f, sah_expert_layer *layer,
                               sah_error *error)
{
    const sah_config *c = &model->config;
    const sah_experts *e = &c->experts;
    stack router = {{whole(&f->router)}, 1};
    layer->experts = sah_alloc((size_t)e->n, sizeof *layer->experts);
    if (!layer->experts) return sah_fail_memory(error, "weights");
    layer->n = e->n;
    sah_status status = sah_weights_new(e->n, c->d_model, SAH_PRECISION_F32, false, read_stack, &router,
                                        &layer->router, error);
    release(model, &router);
    for (int i = 0; i < e->n && status == SAH_OK; i++) {
        sah_mlp_slice *slice = &layer->experts[i];
        part down = {&f->expert_down, (size_t)i * (size_t)c->d_model, (size_t)c->d_model};
        slice->from = (int64_t)i * e->width;
        slice->n = e->width;
        status = load_gate_up(model, &f->expert_gate, &f->expert_up, slice, error);
        if (status == SAH_OK) status = pack(model, (stack){{down}, 1}, &slice->down, error);
    }
    if (status == SAH_OK && e->shared_width > 0)
        status = load_mlp(model, &f->shared_gate, &f->shared_up, &f->shared_down, e->shared_width,
                          &layer->shared, &layer->n_shared, error);
    if (status == SAH_OK) status = read_bias(&f->router, f->router_bias, &layer->router_bias, error);
    if (status == SAH_OK) status = read_vector(f->router_correction, e->n, &layer->correction, error);
    if (status == SAH_OK) status = read_bias(&f->expert_gate, f->expert_gate_bias, &layer->gate_bias, error);
    if (status == SAH_OK) status = read_bias(&f->expert_up, f->expert_up_bias, &layer->up_bias, error);
    if (status == SAH_OK) status = read_bias(&f->expert_down, f->expert_down_bias, &layer->down_bias, error);
    return status == SAH_OK ? read_matrix(&f->shared_router, &layer->shared_router, error) : status;
}

/* q, the gates of the heads where there are any, k and v. */
static sah_status load_attention(const sah_model *model, const sah_layer_files *f, int l, sah_layer *layer,
                                 sah_error *error)
{
    stack q = {{whole(&f->q)}, 1}, kv = {{whole(&f->k), whole(&f->v)}, 2};
    if (model->config.attention_gate) q.parts[q.n++] = whole(&f->attention_gate);
    if (layer->kind.borrows > 0) kv.n = 0;
    if (l == model->config.n_layers - 1) {
        sah_status status = pack(model, q, &layer->q, error);
        return status == SAH_OK && kv.n > 0 ? pack(model, kv, &layer->kv, error) : status;
    }
    for (int i = 0; i < kv.n; i++) q.parts[q.n++] = kv.parts[i];
    return pack(model, q, &layer->qkv, error);
}

static sah_status load_delta(const sah_model *model, const sah_layer_files *f, sah_layer *layer,
                             sah_error *error)
{
    const stack all = {{whole(&f->delta_q), whole(&f->delta_k), whole(&f->delta_v), whole(&f->delta_gate),
                        whole(&f->delta_write), whole(&f->delta_keep)},
                       6};
    int kernel = model->config.delta.kernel, H = layer->kind.n_heads,
        columns = (int)(2 * f->delta_q.rows + f->delta_v.rows);
    float *by_column = NULL;
    sah_delta_layer *delta = &layer->delta;
    sah_status status = pack(model, all, &layer->qkv, error);
    if (status == SAH_OK) status = read_vector(f->delta_rate, H, &delta->rate, error);
    if (status == SAH_OK) status = read_vector(f->delta_rate_bias, H, &delta->rate_bias, error);
    if (status == SAH_OK) status = read_vector(f->delta_norm, layer->kind.head_dim, &delta->norm, error);
    if (status == SAH_OK) status = read_vector(f->delta_kernel, columns * kernel, &by_column, error);
    if (status != SAH_OK) return status;
    delta->kernel = sah_alloc_aligned((size_t)columns * (size_t)kernel, sizeof *delta->kernel);
    for (int i = 0; i < columns && delta->kernel; i++)
        for (int j = 0; j < kernel; j++) delta->kernel[j * columns + i] = by_column[i * kernel + j];
    free(by_column);
    return delta->kernel ? SAH_OK : sah_fail_memory(error, "weights");
}

static sah_status load_layer(sah_model *model, int l, sah_error *error)
{
    const sah_config *c = &model->config;
    const sah_layer_files *f = &model->checkpoint->layers[l];
    sah_layer *layer = &model->layers[l];
    layer->kind = sah_config_layer(c, l);
    size_t q_rows = f->q.rows, kv_rows = f->k.rows, D = (size_t)layer->kind.head_dim;
    bool row = c->qk_norm == SAH_QK_NORM_ROW;
    vector_part qkv_bias[] = {bias_of(&f->q, f->q_bias), bias_of(&f->attention_gate, f->attention_gate_bias),
                              bias_of(&f->k, f->k_bias), bias_of(&f->v, f->v_bias)};
    vector_part gate_up_bias[] = {bias_of(&f->gate, f->gate_bias), bias_of(&f->up, f->up_bias)};
    sah_status status = layer->kind.mixer == SAH_MIXER_DELTA ? load_delta(model, f, layer, error)
                                                             : load_attention(model, f, l, layer, error);
    if (status == SAH_OK) status = pack(model, (stack){{whole(&f->o)}, 1}, &layer->o, error);
    if (status == SAH_OK)
        status = layer->kind.experts ? load_experts(model, f, &layer->experts, error)
                                     : load_mlp(model, &f->gate, &f->up, &f->down, c->d_ff, &layer->slices,
                                                &layer->n_slices, error);
    if (status == SAH_OK)
        status = read_norm(f->input_norm, f->input_norm_bias, c->d_model, &layer->attention_norm, error);
    if (status == SAH_OK)
        status = read_norm(f->post_norm, f->post_norm_bias, c->d_model, &layer->mlp_norm, error);
    if (status == SAH_OK)
        status = read_norm(f->attention_out_norm, NULL, c->d_model, &layer->attention_out_norm, error);
    if (status == SAH_OK) status = read_norm(f->mlp_out_norm, NULL, c->d_model, &layer->mlp_out_norm, error);
    if (status == SAH_OK) status = read_vector(f->q_norm, (int)(row ? q_rows : D), &layer->q_norm, error);
    if (status == SAH_OK) status = read_vector(f->k_norm, (int)(row ? kv_rows : D), &layer->k_norm, error);
    if (status == SAH_OK) status = read_vector(f->sinks, c->n_heads, &layer->sinks, error);
    if (status == SAH_OK) status = read_vectors(qkv_bias, 4, &layer->qkv_bias, error);
    if (status == SAH_OK) status = read_vector(f->layer_scale, 1, &layer->scale, error);
    if (status == SAH_OK) status = read_vectors(gate_up_bias, 2, &layer->gate_up_bias, error);
    if (status == SAH_OK) status = read_bias(&f->o, f->o_bias, &layer->o_bias, error);
    if (status == SAH_OK) status = read_bias(&f->down, f->down_bias, &layer->down_bias, error);
    return status;
}

/* The largest matrix first: packing needs it twice, and then nothing else is there yet. */
static sah_status load_weights(sah_model *model, const sah_watch *watch, sah_error *error)
{
    const sah_config *c = &model->config;
    model->layers = sah_alloc((size_t)c->n_layers, sizeof *model->layers);
    if (!model->layers) return sah_fail_memory(error, "weights");
    sah_status status = pack(model, (stack){{whole(&model->checkpoint->lm_head)}, 1}, &model->lm_head, error);
    if (status == SAH_OK)
        status = read_norm(model->checkpoint->final_norm, model->checkpoint->final_norm_bias, c->d_model,
                           &model->final_norm, error);
    if (status == SAH_OK) status = read_matrix(&model->checkpoint->positions, &model->positions, error);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++) {
        status = sah_watch_show(watch, "loading: layers", (uint64_t)l, (uint64_t)c->n_layers, error);
        if (status == SAH_OK) status = load_layer(model, l, error);
    }
    return status;
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

static void free_norm(sah_norm norm)
{
    free(norm.weight);
    free(norm.bias);
}

static void free_slices(sah_mlp_slice *slices, int n)
{
    for (int i = 0; i < n; i++) {
        sah_weights_free(slices[i].gate_up);
        sah_weights_free(slices[i].down);
    }
    free(slices);
}

static void free_layer(sah_layer *layer)
{
    sah_weights *packed[] = {layer->qkv, layer->q, layer->kv, layer->o, layer->experts.router};
    sah_norm norms[] = {layer->attention_norm, layer->mlp_norm, layer->attention_out_norm,
                        layer->mlp_out_norm};
    const sah_expert_layer *e = &layer->experts;
    float *vectors[] = {layer->q_norm,       layer->k_norm,     layer->qkv_bias,        layer->o_bias,
                        layer->gate_up_bias, layer->down_bias,  layer->sinks,           layer->scale,
                        layer->delta.kernel, layer->delta.rate, layer->delta.rate_bias, layer->delta.norm,
                        e->router_bias,      e->correction,     e->gate_bias,           e->up_bias,
                        e->down_bias,        e->shared_router};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) sah_weights_free(packed[i]);
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) free_norm(norms[i]);
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) free(vectors[i]);
    free_slices(layer->slices, layer->n_slices);
    free_slices(e->experts, e->n);
    free_slices(e->shared, e->n_shared);
}

void sah_model_close(sah_model *model)
{
    if (!model) return;
    for (int l = 0; model->layers && l < model->config.n_layers; l++) free_layer(&model->layers[l]);
    free(model->layers);
    sah_weights_free(model->lm_head);
    free_norm(model->final_norm);
    free(model->positions);
    sah_checkpoint_close(model->checkpoint);
    sah_template_settings_free(&model->template_settings);
    free(model);
}

static uint64_t slice_bytes(const sah_mlp_slice *slices, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += sah_weights_bytes(slices[i].gate_up) + sah_weights_bytes(slices[i].down);
    return sum;
}

uint64_t sah_model_weight_bytes(const sah_model *model)
{
    uint64_t sum = sah_weights_bytes(model->lm_head);
    for (int l = 0; l < model->config.n_layers; l++) {
        const sah_layer *layer = &model->layers[l];
        const sah_weights *packed[] = {layer->qkv, layer->q, layer->kv, layer->o, layer->experts.router};
        for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
            if (packed[i]) sum += sah_weights_bytes(packed[i]);
        sum += slice_bytes(layer->slices, layer->n_slices) +
               slice_bytes(layer->experts.experts, layer->experts.n) +
               slice_bytes(layer->experts.shared, layer->experts.n_shared);
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
