/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/layer.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/cpu.h"
#include "engine/model.h"
#include "util/alloc.h"
#include "util/error.h"

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

/* Lets the pages go that were read. */
static void release(const sah_model *model, const stack *s)
{
    for (int i = 0; i < s->n; i++) {
        const part *p = &s->parts[i];
        const sah_matrix *m = p->matrix;
        if (m->blocks == NULL) sah_checkpoint_release(model->checkpoint, m->tensor);
        for (size_t row = p->from; m->blocks != NULL && row < p->from + p->n; row += m->block_rows)
            sah_checkpoint_release(model->checkpoint, m->blocks[row / m->block_rows]);
    }
}

static sah_packing packing_of(const sah_model *model)
{
    return (sah_packing){.precision = model->precision, .tiles = model->tiles};
}

static sah_status pack_as(const sah_model *model, stack s, sah_packing packing, sah_weights **out,
                          sah_error *error)
{
    size_t rows = 0;
    sah_stream_hands(model->stream);
    for (int i = 0; i < s.n; i++) rows += s.parts[i].n;
    sah_status status = sah_weights_new(model->device, (int64_t)rows, (int64_t)s.parts[0].matrix->columns,
                                        packing, read_stack, &s, out, error);
    release(model, &s);
    return status;
}

static sah_status pack(const sah_model *model, stack s, sah_weights **out, sah_error *error)
{
    return pack_as(model, s, packing_of(model), out, error);
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

/* gate and up of inner values [slice->from, + slice->n). */
static sah_status pack_gate_up(const sah_model *model, const sah_matrix *gate, const sah_matrix *up,
                               sah_mlp_slice *slice, sah_error *error)
{
    part g = {gate, (size_t)slice->from, (size_t)slice->n}, u = {up, (size_t)slice->from, (size_t)slice->n};
    if (!model->config.gated) return pack(model, (stack){{u}, 1}, &slice->gate_up, error);
    sah_packing packing = packing_of(model);
    packing.gated = model->config.activation == SAH_ACT_SILU; /* what products with gates inside know */
    return pack_as(model, (stack){{g, u}, 2}, packing, &slice->gate_up, error);
}

/* An MLP of `inner` inner values in slices, *out [*n_slices]. */
static sah_status pack_mlp(const sah_model *model, const sah_matrix *gate, const sah_matrix *up,
                           const sah_matrix *down, int64_t inner, sah_mlp_slice **out, int *n_slices,
                           sah_error *error)
{
    int n = slices_of(model, inner);
    int64_t tiles = (inner + SLICE_TILE - 1) / SLICE_TILE;
    stack whole_down = {{whole(down)}, 1};
    int64_t *ends = sah_alloc((size_t)n, sizeof *ends);
    sah_weights **pieces = sah_alloc((size_t)n, sizeof *pieces);
    sah_mlp_slice *slices = *out = sah_alloc((size_t)n, sizeof *slices);
    *n_slices = slices != NULL ? n : 0;
    sah_status status =
        ends != NULL && pieces != NULL && slices != NULL ? SAH_OK : sah_fail_memory(error, "weights");
    for (int i = 0; i < n && status == SAH_OK; i++) {
        sah_mlp_slice *slice = &slices[i];
        ends[i] = i < n - 1 ? (i + 1) * tiles / n * SLICE_TILE : inner;
        slice->from = i > 0 ? ends[i - 1] : 0;
        slice->n = ends[i] - slice->from;
        status = pack_gate_up(model, gate, up, slice, error);
    }
    if (status == SAH_OK)
        status = sah_weights_split(model->device, model->config.d_model, ends, n, packing_of(model),
                                   read_stack, &whole_down, pieces, error);
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

/* The host's array becomes the device's; on failure there is none. */
static sah_status hand_over(const sah_device *device, float **array, size_t n, sah_error *error)
{
    sah_status status = sah_device_move(device, array, n, error);
    if (status == SAH_OK) return SAH_OK;
    free(*array);
    *array = NULL;
    return status;
}

/* To the device's memory. */
static sah_status read_vectors(const sah_device *device, const vector_part *parts, int n, float **out,
                               sah_error *error)
{
    size_t total = 0, at = 0;
    bool any = false;
    for (int i = 0; i < n; i++) {
        total += parts[i].n;
        any = any || parts[i].tensor != NULL;
    }
    *out = NULL;
    if (!any) return SAH_OK;
    *out = sah_alloc_aligned(total, sizeof **out);
    if (*out == NULL) return sah_fail_memory(error, "weights");
    memset(*out, 0, total * sizeof **out);
    for (int i = 0; i < n; at += parts[i++].n) {
        if (parts[i].tensor == NULL) continue;
        if (parts[i].matrix != NULL)
            sah_bias_read(parts[i].matrix, parts[i].tensor, *out + at);
        else
            sah_vector_read(parts[i].tensor, *out + at);
    }
    return hand_over(device, out, total, error);
}

static sah_status read_vector(const sah_device *device, const sah_tensor *tensor, int n, float **out,
                              sah_error *error)
{
    return read_vectors(device, &(vector_part){tensor, (size_t)n, NULL}, 1, out, error);
}

static vector_part bias_of(const sah_matrix *matrix, const sah_tensor *bias)
{
    return (vector_part){bias, matrix->rows, matrix};
}

static sah_status read_bias(const sah_device *device, const sah_matrix *matrix, const sah_tensor *bias,
                            float **out, sah_error *error)
{
    const vector_part own = bias_of(matrix, bias);
    return read_vectors(device, &own, 1, out, error);
}

/* All of a matrix, where there is one, to the device's memory. */
static sah_status read_matrix(const sah_device *device, const sah_matrix *matrix, float **out,
                              sah_error *error)
{
    const size_t n = matrix->rows * matrix->columns;
    *out = NULL;
    if (matrix->tensor == NULL) return SAH_OK;
    *out = sah_alloc_aligned(n, sizeof **out);
    if (*out == NULL) return sah_fail_memory(error, "weights");
    sah_matrix_read(matrix, 0, matrix->rows, *out);
    return hand_over(device, out, n, error);
}

static sah_status read_norm(const sah_device *device, const sah_tensor *weight, const sah_tensor *bias, int n,
                            sah_norm *out, sah_error *error)
{
    sah_status status = read_vector(device, weight, n, &out->weight, error);
    return status == SAH_OK ? read_vector(device, bias, n, &out->bias, error) : status;
}

static sah_status pack_experts(const sah_model *model, const sah_layer_files *f, sah_expert_layer *layer,
                               sah_error *error)
{
    const sah_config *c = &model->config;
    const sah_experts *e = &c->experts;
    stack router = {{whole(&f->router)}, 1};
    layer->experts = sah_alloc((size_t)e->n, sizeof *layer->experts);
    if (layer->experts == NULL) return sah_fail_memory(error, "weights");
    layer->n = e->n;
    sah_status status =
        pack_as(model, router, (sah_packing){.precision = SAH_PRECISION_F32}, &layer->router, error);
    for (int i = 0; i < e->n && status == SAH_OK; i++) {
        sah_mlp_slice *slice = &layer->experts[i];
        part down = {&f->expert_down, (size_t)i * (size_t)c->d_model, (size_t)c->d_model};
        slice->from = (int64_t)i * e->width;
        slice->n = e->width;
        status = pack_gate_up(model, &f->expert_gate, &f->expert_up, slice, error);
        if (status == SAH_OK) status = pack(model, (stack){{down}, 1}, &slice->down, error);
    }
    if (status == SAH_OK && e->shared_width > 0)
        status = pack_mlp(model, &f->shared_gate, &f->shared_up, &f->shared_down, e->shared_width,
                          &layer->shared, &layer->n_shared, error);
    return status;
}

static sah_status read_experts(const sah_model *model, const sah_layer_files *f, sah_expert_layer *layer,
                               sah_error *error)
{
    const sah_device *device = model->device, *host = sah_cpu(); /* which chooses */
    const int n = model->config.experts.n, d = model->config.d_model;
    sah_status status = read_bias(device, &f->router, f->router_bias, &layer->router_bias, error);
    if (status == SAH_OK) status = read_vector(host, f->router_correction, n, &layer->correction, error);
    if (status == SAH_OK) status = read_vector(host, f->expert_scale, n, &layer->scale, error);
    if (status == SAH_OK)
        status = read_bias(device, &f->expert_gate, f->expert_gate_bias, &layer->gate_bias, error);
    if (status == SAH_OK)
        status = read_bias(device, &f->expert_up, f->expert_up_bias, &layer->up_bias, error);
    if (status == SAH_OK)
        status = read_bias(device, &f->expert_down, f->expert_down_bias, &layer->down_bias, error);
    const struct {
        const sah_tensor *tensor;
        sah_norm *norm;
    } norms[] = {{f->router_norm, &layer->router_norm},
                 {f->expert_norm, &layer->norm},
                 {f->expert_out_norm, &layer->out_norm},
                 {f->dense_out_norm, &layer->dense_out_norm}};
    for (size_t i = 0; i < sizeof norms / sizeof *norms && status == SAH_OK; i++)
        status = read_norm(device, norms[i].tensor, NULL, d, norms[i].norm, error);
    return status == SAH_OK ? read_matrix(device, &f->shared_router, &layer->shared_router, error) : status;
}

/* q, the gates of the heads where there are any, k and v. */
static sah_status pack_attention(const sah_model *model, const sah_layer_files *f, sah_layer *layer,
                                 sah_error *error)
{
    stack q = {{whole(&f->q)}, 1}, kv = {{whole(&f->k), whole(layer->kind.v_is_k ? &f->k : &f->v)}, 2};
    if (model->config.attention_gate) q.parts[q.n++] = whole(&f->attention_gate);
    if (layer->kind.borrows > 0) kv.n = 0;
    if (layer->apart) {
        sah_status status = pack(model, q, &layer->q, error);
        return status == SAH_OK && kv.n > 0 ? pack(model, kv, &layer->kv, error) : status;
    }
    for (int i = 0; i < kv.n; i++) q.parts[q.n++] = kv.parts[i];
    return pack(model, q, &layer->qkv, error);
}

static stack delta_stack(const sah_layer_files *f)
{
    return (stack){{whole(&f->delta_q), whole(&f->delta_k), whole(&f->delta_v), whole(&f->delta_gate),
                    whole(&f->delta_write), whole(&f->delta_keep)},
                   6};
}

/* [columns, kernel] by position first. */
static sah_status read_kernel(const sah_device *device, const sah_tensor *tensor, int columns, int kernel,
                              float **out, sah_error *error)
{
    const size_t n = (size_t)columns * (size_t)kernel;
    float *by_column = NULL;
    sah_status status = read_vector(sah_cpu(), tensor, columns * kernel, &by_column, error);
    if (status != SAH_OK) return status;
    *out = sah_alloc_aligned(n, sizeof **out);
    for (int i = 0; i < columns && *out != NULL; i++)
        for (int j = 0; j < kernel; j++) (*out)[j * columns + i] = by_column[i * kernel + j];
    free(by_column);
    return *out != NULL ? hand_over(device, out, n, error) : sah_fail_memory(error, "weights");
}

static sah_status read_delta(const sah_model *model, const sah_layer_files *f, sah_layer *layer,
                             sah_error *error)
{
    const sah_device *device = model->device;
    const int H = layer->kind.n_heads, columns = (int)(2 * f->delta_q.rows + f->delta_v.rows);
    sah_delta_layer *delta = &layer->delta;
    sah_status status = read_vector(device, f->delta_rate, H, &delta->rate, error);
    if (status == SAH_OK) status = read_vector(device, f->delta_rate_bias, H, &delta->rate_bias, error);
    if (status == SAH_OK)
        status = read_vector(device, f->delta_norm, layer->kind.head_dim, &delta->norm, error);
    return status == SAH_OK ? read_kernel(device, f->delta_kernel, columns, model->config.delta.kernel,
                                          &delta->kernel, error)
                            : status;
}

sah_status sah_layer_read(const sah_model *model, int l, sah_layer *layer, sah_error *error)
{
    const sah_config *c = &model->config;
    const sah_layer_files *f = &model->checkpoint->layers[l];
    const sah_device *device = model->device;
    layer->kind = sah_config_layer(c, l);
    layer->apart = l == c->n_layers - 1 && layer->kind.mixer == SAH_MIXER_ATTENTION;
    size_t q_rows = f->q.rows, kv_rows = f->k.rows, D = (size_t)layer->kind.head_dim;
    bool row = c->qk_norm == SAH_QK_NORM_ROW;
    vector_part qkv_bias[] = {bias_of(&f->q, f->q_bias), bias_of(&f->attention_gate, f->attention_gate_bias),
                              bias_of(&f->k, f->k_bias),
                              layer->kind.v_is_k ? bias_of(&f->k, f->k_bias) : bias_of(&f->v, f->v_bias)};
    vector_part gate_up_bias[] = {bias_of(&f->gate, f->gate_bias), bias_of(&f->up, f->up_bias)};
    sah_status status = SAH_OK;
    if (layer->kind.mixer == SAH_MIXER_DELTA) status = read_delta(model, f, layer, error);
    if (layer->kind.mixer == SAH_MIXER_CONVOLUTION)
        status = read_kernel(device, f->convolution_kernel, c->d_model, c->delta.kernel, &layer->delta.kernel,
                             error);
    if (status == SAH_OK && layer->kind.experts) status = read_experts(model, f, &layer->experts, error);
    if (status == SAH_OK)
        status =
            read_norm(device, f->input_norm, f->input_norm_bias, c->d_model, &layer->attention_norm, error);
    if (status == SAH_OK)
        status = read_norm(device, f->post_norm, f->post_norm_bias, c->d_model, &layer->mlp_norm, error);
    if (status == SAH_OK)
        status =
            read_norm(device, f->attention_out_norm, NULL, c->d_model, &layer->attention_out_norm, error);
    if (status == SAH_OK)
        status = read_norm(device, f->mlp_out_norm, NULL, c->d_model, &layer->mlp_out_norm, error);
    if (status == SAH_OK)
        status = read_vector(device, f->q_norm, (int)(row ? q_rows : D), &layer->q_norm, error);
    if (status == SAH_OK)
        status = read_vector(device, f->k_norm, (int)(row ? kv_rows : D), &layer->k_norm, error);
    if (status == SAH_OK) status = read_vector(device, f->sinks, c->n_heads, &layer->sinks, error);
    if (status == SAH_OK) status = read_vectors(device, qkv_bias, 4, &layer->qkv_bias, error);
    if (status == SAH_OK) status = read_vector(sah_cpu(), f->layer_scale, 1, &layer->scale, error);
    if (status == SAH_OK)
        status = read_norm(device, f->input_out_norm, NULL, c->d_model, &layer->input_out_norm, error);
    if (status == SAH_OK) status = read_vectors(device, gate_up_bias, 2, &layer->gate_up_bias, error);
    if (status == SAH_OK) status = read_bias(device, &f->o, f->o_bias, &layer->o_bias, error);
    if (status == SAH_OK) status = read_bias(device, &f->down, f->down_bias, &layer->down_bias, error);
    return status;
}

sah_status sah_layer_pack(const sah_model *model, int l, sah_layer *layer, sah_error *error)
{
    const sah_layer_files *f = &model->checkpoint->layers[l];
    const stack in = {{whole(&f->convolution_in)}, 1};
    sah_status status = layer->kind.mixer == SAH_MIXER_ATTENTION ? pack_attention(model, f, layer, error)
                        : layer->kind.mixer == SAH_MIXER_DELTA
                            ? pack(model, delta_stack(f), &layer->qkv, error)
                            : pack(model, in, &layer->qkv, error);
    if (status == SAH_OK) status = pack(model, (stack){{whole(&f->o)}, 1}, &layer->o, error);
    if (status == SAH_OK && layer->kind.experts) status = pack_experts(model, f, &layer->experts, error);
    if (status == SAH_OK && sah_layer_has(&model->config, l, SAH_ROLE_DOWN))
        status = pack_mlp(model, &f->gate, &f->up, &f->down, layer->kind.d_ff, &layer->slices,
                          &layer->n_slices, error);
    if (status == SAH_OK && model->config.input_width > 0)
        status = pack(model, (stack){{whole(&f->input_gate)}, 1}, &layer->input_gate, error);
    if (status == SAH_OK && model->config.input_width > 0)
        status = pack(model, (stack){{whole(&f->input_out)}, 1}, &layer->input_out, error);
    if (status != SAH_OK) sah_layer_unpack(layer);
    return status;
}

/* What gives layers their inputs. */
static sah_status pack_inputs(sah_model *model, sah_error *error)
{
    const sah_checkpoint *files = model->checkpoint;
    const sah_config *c = &model->config;
    const stack projection = {{whole(&files->input_projection)}, 1};
    if (c->input_width == 0) return SAH_OK;
    sah_status status = pack_as(model, projection, (sah_packing){.precision = SAH_PRECISION_F32},
                                &model->input_projection, error);
    return status == SAH_OK
               ? read_vector(sah_cpu(), files->input_norm, c->input_width, &model->input_norm, error)
               : status;
}

sah_status sah_model_pack_ends(sah_model *model, sah_error *error)
{
    const sah_checkpoint *files = model->checkpoint;
    sah_status status = pack(model, (stack){{whole(&files->lm_head)}, 1}, &model->lm_head, error);
    if (status == SAH_OK)
        status = read_norm(model->device, files->final_norm, files->final_norm_bias, model->config.d_model,
                           &model->final_norm, error);
    if (status == SAH_OK) status = read_matrix(sah_cpu(), &files->positions, &model->positions, error);
    return status == SAH_OK ? pack_inputs(model, error) : status;
}

/* ---- Sizes --------------------------------------------------------------------------------------------- */

/* The type that the numbers of a matrix are of, float32 where that is not one of 16 bits. */
static sah_dtype number_type(const sah_matrix *m)
{
    const size_t blocks = m->blocks != NULL ? m->rows / m->block_rows : 1;
    sah_dtype type = m->tensor->type;
    if (m->lora != NULL || (type != SAH_BF16 && type != SAH_F16)) return SAH_F32;
    for (size_t i = 0; i < blocks; i++) {
        const sah_tensor *tensor = m->blocks != NULL ? m->blocks[i] : m->tensor;
        if (tensor->type != type || tensor->scales != NULL || tensor->whole != NULL) return SAH_F32;
    }
    return type;
}

/* Bytes of matrices that are packed as one, at most; those that are not there count nothing. */
static uint64_t packed_bytes(const sah_model *model, const stack *s, sah_precision precision)
{
    const sah_packing packing = {.precision = precision, .tiles = model->tiles};
    size_t rows = 0, columns = 0;
    sah_dtype type = SAH_F32;
    for (int i = 0; i < s->n; i++) {
        const sah_matrix *m = s->parts[i].matrix;
        if (m->tensor == NULL) continue;
        const sah_dtype own = number_type(m);
        type = rows == 0 || type == own ? own : SAH_F32;
        rows += m->rows;
        columns = m->columns;
    }
    return rows == 0 ? 0 : model->device->packed((int64_t)rows, (int64_t)columns, packing, type);
}

uint64_t sah_layer_size(const sah_model *model, int l)
{
    const sah_layer_files *f = &model->checkpoint->layers[l];
    const sah_matrix *v = model->layers[l].kind.v_is_k ? &f->k : &f->v;
    const stack stacks[] = {
        {{whole(&f->q), whole(&f->attention_gate), whole(&f->k), whole(v)}, 4},
        delta_stack(f),
        {{whole(&f->convolution_in)}, 1},
        {{whole(&f->o)}, 1},
        {{whole(&f->gate), whole(&f->up)}, 2},
        {{whole(&f->down)}, 1},
        {{whole(&f->expert_gate), whole(&f->expert_up)}, 2},
        {{whole(&f->expert_down)}, 1},
        {{whole(&f->shared_gate), whole(&f->shared_up)}, 2},
        {{whole(&f->shared_down)}, 1},
        {{whole(&f->input_gate)}, 1},
        {{whole(&f->input_out)}, 1},
    };
    const stack router = {{whole(&f->router)}, 1};
    uint64_t sum = packed_bytes(model, &router, SAH_PRECISION_F32);
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++)
        sum += packed_bytes(model, &stacks[i], model->precision);
    return sum;
}

uint64_t sah_ends_size(const sah_model *model)
{
    const stack head = {{whole(&model->checkpoint->lm_head)}, 1},
                inputs = {{whole(&model->checkpoint->input_projection)}, 1};
    return packed_bytes(model, &head, model->precision) + packed_bytes(model, &inputs, SAH_PRECISION_F32);
}

static uint64_t values_of(const sah_matrix *matrix)
{
    return (uint64_t)matrix->rows * matrix->columns;
}

uint64_t sah_layer_packing(const sah_model *model, int l)
{
    const sah_layer_files *f = &model->checkpoint->layers[l];
    const uint64_t n = model->config.experts.n > 0 ? (uint64_t)model->config.experts.n : 1;
    const uint64_t stacks[] = {
        values_of(&f->q) + values_of(&f->attention_gate) + values_of(&f->k) +
            values_of(model->layers[l].kind.v_is_k ? &f->k : &f->v) + values_of(&f->delta_q) +
            values_of(&f->delta_k) + values_of(&f->delta_v) + values_of(&f->delta_gate) +
            values_of(&f->delta_write) + values_of(&f->delta_keep) + values_of(&f->convolution_in),
        values_of(&f->o),
        values_of(&f->down),
        values_of(&f->shared_down),
        (values_of(&f->expert_gate) + values_of(&f->expert_up)) / n,
    };
    uint64_t largest = 0;
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++)
        if (stacks[i] > largest) largest = stacks[i];
    return largest * sizeof(float);
}

static uint64_t slice_bytes(const sah_mlp_slice *slices, int n)
{
    uint64_t sum = 0;
    for (int i = 0; slices != NULL && i < n; i++) {
        if (slices[i].gate_up != NULL) sum += slices[i].gate_up->bytes;
        if (slices[i].down != NULL) sum += slices[i].down->bytes;
    }
    return sum;
}

uint64_t sah_layer_bytes(const sah_layer *layer)
{
    const sah_weights *packed[] = {
        layer->qkv,        layer->q,        layer->kv, layer->o, layer->experts.router,
        layer->input_gate, layer->input_out};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (packed[i] != NULL) sum += packed[i]->bytes;
    return sum + slice_bytes(layer->slices, layer->n_slices) +
           slice_bytes(layer->experts.experts, layer->experts.n) +
           slice_bytes(layer->experts.shared, layer->experts.n_shared);
}

/* ---- The end ------------------------------------------------------------------------------------------- */

static void free_weights(sah_weights **weights)
{
    sah_weights_free(*weights);
    *weights = NULL;
}

static void free_slices(sah_mlp_slice **slices, int *n)
{
    for (int i = 0; *slices != NULL && i < *n; i++) {
        sah_weights_free((*slices)[i].gate_up);
        sah_weights_free((*slices)[i].down);
    }
    free(*slices);
    *slices = NULL;
    *n = 0;
}

void sah_layer_unpack(sah_layer *layer)
{
    sah_weights **packed[] = {
        &layer->qkv,        &layer->q,        &layer->kv, &layer->o, &layer->experts.router,
        &layer->input_gate, &layer->input_out};
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) free_weights(packed[i]);
    free_slices(&layer->slices, &layer->n_slices);
    free_slices(&layer->experts.experts, &layer->experts.n);
    free_slices(&layer->experts.shared, &layer->experts.n_shared);
}

sah_layer sah_layer_vectors(const sah_layer *layer)
{
    sah_layer out = *layer;
    out.qkv = out.q = out.kv = out.o = out.input_gate = out.input_out = out.experts.router = NULL;
    out.slices = out.experts.experts = out.experts.shared = NULL;
    out.n_slices = out.experts.n = out.experts.n_shared = 0;
    return out;
}

void sah_layer_free(const sah_device *device, sah_layer *layer)
{
    const sah_expert_layer *e = &layer->experts;
    const sah_norm norms[] = {layer->attention_norm,
                              layer->mlp_norm,
                              layer->attention_out_norm,
                              layer->mlp_out_norm,
                              layer->input_out_norm,
                              e->router_norm,
                              e->norm,
                              e->out_norm,
                              e->dense_out_norm};
    float *vectors[] = {layer->q_norm,       layer->k_norm,     layer->qkv_bias,        layer->o_bias,
                        layer->gate_up_bias, layer->down_bias,  layer->sinks,           e->router_bias,
                        e->gate_bias,        e->up_bias,        e->down_bias,           e->shared_router,
                        layer->delta.kernel, layer->delta.rate, layer->delta.rate_bias, layer->delta.norm};
    float *of_host[] = {layer->scale, e->correction, e->scale};
    sah_layer_unpack(layer);
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        sah_device_free(device, norms[i].weight);
        sah_device_free(device, norms[i].bias);
    }
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) sah_device_free(device, vectors[i]);
    for (size_t i = 0; i < sizeof of_host / sizeof *of_host; i++) free(of_host[i]);
}
