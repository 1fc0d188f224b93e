#include "engine/model.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/precision.h"
#include "util/alloc.h"
#include "util/error.h"

/* Rows of matrices that are packed under one another as one. */
typedef struct part {
    const sah_matrix *matrix;
    size_t from, n; /* rows [from, from + n) */
} part;

typedef struct stack {
    part parts[3];
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

static sah_status pack_with(const sah_model *model, stack s,
                            sah_status (*make)(int64_t, int64_t, sah_precision, bool, sah_rows_fn,
                                               const void *, sah_weights **, sah_error *),
                            sah_weights **out, sah_error *error)
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

static int slices_of(const sah_model *model)
{
    if (model->tiles) return 1; /* a panel's results do not leave the core, so threads need meet but twice */
    int64_t each = 2 * (int64_t)model->config.d_model * (model->precision == SAH_PRECISION_BF16 ? 2 : 4);
    int64_t width = SLICE_BYTES / each;
    if (width < SLICE_LEAST) width = SLICE_LEAST;
    return (int)((model->config.d_ff + width - 1) / width);
}

static sah_status load_mlp(const sah_model *model, const sah_layer_files *f, sah_layer *layer,
                           sah_error *error)
{
    int n = slices_of(model);
    int64_t d_ff = model->config.d_ff, tiles = (d_ff + SLICE_TILE - 1) / SLICE_TILE;
    stack down = {{whole(&f->down)}, 1};
    int64_t *ends = sah_alloc((size_t)n, sizeof *ends);
    sah_weights **pieces = sah_alloc((size_t)n, sizeof *pieces);
    layer->slices = sah_alloc((size_t)n, sizeof *layer->slices);
    layer->n_slices = layer->slices ? n : 0;
    sah_status status = ends && pieces && layer->slices ? SAH_OK : sah_fail_memory(error, "weights");
    for (int i = 0; i < n && status == SAH_OK; i++) {
        sah_mlp_slice *slice = &layer->slices[i];
        ends[i] = i < n - 1 ? (i + 1) * tiles / n * SLICE_TILE : d_ff;
        slice->from = i > 0 ? ends[i - 1] : 0;
        slice->n = ends[i] - slice->from;
        part gate = {&f->gate, (size_t)slice->from, (size_t)slice->n};
        part up = {&f->up, (size_t)slice->from, (size_t)slice->n};
        status = pack_with(model, (stack){{gate, up}, 2}, sah_weights_gate, &slice->gate_up, error);
    }
    if (status == SAH_OK)
        status = sah_weights_split(model->config.d_model, ends, n, model->precision, model->tiles, read_stack,
                                   &down, pieces, error);
    for (int i = 0; i < n && status == SAH_OK; i++) layer->slices[i].down = pieces[i];
    release(model, &down);
    free(ends);
    free(pieces);
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
        status = pack(model, (stack){{whole(&f->q), whole(&f->k), whole(&f->v)}, 3}, &layer->qkv, error);
    } else {
        status = pack(model, (stack){{whole(&f->q)}, 1}, &layer->q, error);
        if (status == SAH_OK)
            status = pack(model, (stack){{whole(&f->k), whole(&f->v)}, 2}, &layer->kv, error);
    }
    if (status == SAH_OK) status = pack(model, (stack){{whole(&f->o)}, 1}, &layer->o, error);
    if (status == SAH_OK) status = load_mlp(model, f, layer, error);
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
    sah_status status = pack(model, (stack){{whole(&model->checkpoint->lm_head)}, 1}, &model->lm_head, error);
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
    sah_status status = sah_template_settings_new(options->template_vars, options->n_template_vars,
                                                  options->template_date, &model->template_settings, error);
    if (status == SAH_OK)
        status = sah_checkpoint_open(path, options->adapter, options->describe_only, &model->checkpoint, error);
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
        model->tiles =
            options->generates && model->precision != SAH_PRECISION_BF16 && sah_product_has_tiles();
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
        sah_weights *packed[] = {layer->qkv, layer->q, layer->kv, layer->o};
        float *vectors[] = {layer->input_norm, layer->post_norm, layer->q_norm,       layer->k_norm,
                            layer->qkv_bias,   layer->o_bias,    layer->gate_up_bias, layer->down_bias};
        for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) sah_weights_free(packed[i]);
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) free(vectors[i]);
        for (int i = 0; i < layer->n_slices; i++) {
            sah_weights_free(layer->slices[i].gate_up);
            sah_weights_free(layer->slices[i].down);
        }
        free(layer->slices);
    }
    free(model->layers);
    sah_weights_free(model->lm_head);
    free(model->final_norm);
    free(model->rope);
    sah_checkpoint_close(model->checkpoint);
    sah_template_settings_free(&model->template_settings);
    free(model);
}

uint64_t sah_model_weight_bytes(const sah_model *model)
{
    uint64_t sum = sah_weights_bytes(model->lm_head);
    for (int l = 0; l < model->config.n_layers; l++) {
        const sah_layer *layer = &model->layers[l];
        const sah_weights *packed[] = {layer->qkv, layer->q, layer->kv, layer->o};
        for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
            if (packed[i]) sum += sah_weights_bytes(packed[i]);
        for (int i = 0; i < layer->n_slices; i++)
            sum += sah_weights_bytes(layer->slices[i].gate_up) + sah_weights_bytes(layer->slices[i].down);
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

sah_status sah_lm_head_top(const sah_model *model, sah_workspace *workspace, const float *hidden,
                           int64_t rows, int32_t *tokens, sah_error *error)
{
    sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_LM_HEAD);
    sah_status status = sah_product_top(workspace, model->lm_head, rows, hidden, tokens, error);
    sah_workspace_enter(workspace, before);
    return status;
}
