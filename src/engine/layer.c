#include "engine/layer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "util/alloc.h"
#include "util/error.h"

/* Scratch slots of a workspace: 0, 1, 7 and 8 hold a block here, 2 to 4 serve edited heads, 5 their outputs,
 * 6 attention; the last one is the product's. */
enum {
    SLOT_NORMED = 0,
    SLOT_GATE_UP = 1,
    SLOT_EDIT = 2,
    SLOT_EDITED = 5,
    SLOT_ATTEND = 6,
    SLOT_INNER = 7,
    SLOT_INPUT = 8
};

/* Rows of a block for each thread, at most. Weights stream through the second-level cache once a block:
 * blocks of 64 rows made the products 5 % slower, more than 256 gain 3 % on one machine and nothing on
 * another. Products of whole tiles of rows are up to 3 % faster than others. */
enum { BLOCK_ROWS = 256, TILE_ROWS = 16 };

/* Rows of a block: blocks of nearly equal size, so that few different primitives are made. */
static int64_t block_rows(const sah_pass *pass, int64_t rows)
{
    int64_t most = (int64_t)BLOCK_ROWS * sah_workspace_threads(pass->workspace);
    int64_t blocks = (rows + most - 1) / most;
    int64_t even = blocks > 0 ? (rows + blocks - 1) / blocks : 1;
    int64_t tiles = (even + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return tiles < rows ? tiles : rows > 0 ? rows : 1;
}

sah_status sah_angles_new(const sah_model *model, int64_t n, float **cosine, float **sine, sah_error *error)
{
    int64_t half = model->config.head_dim / 2;
    float *angles = sah_alloc_aligned((size_t)(2 * n * half), sizeof *angles);
    if (!angles) return sah_fail_memory(error, "rotary angles");
    *cosine = angles;
    *sine = angles + n * half;
    for (int64_t p = 0; p < n; p++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * model->rope[i];
            (*cosine)[p * half + i] = (float)cos(angle);
            (*sine)[p * half + i] = (float)sin(angle);
        }
    return SAH_OK;
}

int64_t sah_qkv_width(const sah_config *config)
{
    return (int64_t)(config->n_heads + 2 * config->n_kv_heads) * config->head_dim;
}

sah_attention sah_attention_of(const sah_config *config, float *qkv)
{
    int64_t width = sah_qkv_width(config), kv = (int64_t)config->n_kv_heads * config->head_dim;
    return (sah_attention){
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .window = config->sliding_window,
        .q = qkv,
        .q_stride = width,
        .k = qkv + width - 2 * kv,
        .k_stride = width,
        .v = qkv + width - kv,
        .v_stride = width,
        .z = qkv,
        .z_stride = width,
    };
}

/* y [rows, d] = RMS norm of x. */
static void norm_rows(const sah_pass *pass, const float *x, const float *weight, int64_t rows, float *y)
{
    int d = pass->model->config.d_model, threads = sah_workspace_threads(pass->workspace);
    float eps = pass->model->config.norm_eps;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) sah_rms_norm(x + r * d, weight, eps, d, y + r * d);
    sah_workspace_enter(pass->workspace, before);
}

/* QK-norm and RoPE of n heads that lie side by side in a row. */
static void rotate_heads(const sah_pass *pass, float *states, int n, const float *norm, int32_t position)
{
    const sah_config *c = &pass->model->config;
    int64_t half = c->head_dim / 2;
    for (int h = 0; h < n; h++, states += c->head_dim) {
        if (norm) sah_rms_norm(states, norm, c->norm_eps, c->head_dim, states);
        sah_rotate(states, pass->cosine + position * half, pass->sine + position * half, c->head_dim);
    }
}

/* One block: norm, product, bias, then QK-norm and RoPE of the q and k heads that `weights` makes. */
typedef struct projection {
    const sah_weights *weights;
    const float *input_norm, *bias, *q_norm, *k_norm;
    int q_heads, k_heads;
} projection;

/* The part behind the product, of rows [from, from + n) of the whole. */
static void rotate_rows(const sah_pass *pass, const projection *p, const int32_t *position, int64_t n_nodes,
                        int64_t from, int64_t n, float *block)
{
    const sah_config *c = &pass->model->config;
    int threads = sah_workspace_threads(pass->workspace);
    int64_t width = sah_weights_outputs(p->weights);
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && n > 8) num_threads(threads)
    for (int64_t r = 0; r < n; r++) {
        float *row = block + r * width;
        int32_t at = position[(from + r) % n_nodes];
        if (p->bias) sah_vector_add(p->bias, (int)width, row);
        rotate_heads(pass, row, p->q_heads, p->q_norm, at);
        rotate_heads(pass, row + p->q_heads * c->head_dim, p->k_heads, p->k_norm, at);
    }
    sah_workspace_enter(pass->workspace, before);
}

static sah_status project(const sah_pass *pass, const projection *p, const float *x, int64_t rows,
                          const int32_t *position, int64_t n_nodes, float *out, sah_error *error)
{
    int d = pass->model->config.d_model;
    int64_t width = sah_weights_outputs(p->weights), step = block_rows(pass, rows);
    float *normed = sah_workspace_scratch(pass->workspace, SLOT_NORMED, (size_t)(step * d));
    if (!normed) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = out + from * width;
        norm_rows(pass, x + from * d, p->input_norm, n, normed);
        sah_status status = sah_product(pass->workspace, p->weights, n, normed, block, false, error);
        if (status != SAH_OK) return status;
        rotate_rows(pass, p, position, n_nodes, from, n, block);
    }
    return SAH_OK;
}

sah_status sah_layer_project(const sah_pass *pass, int layer, const float *x, int64_t rows,
                             const int32_t *position, int64_t n_nodes, float *qkv, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    bool last = layer == c->n_layers - 1;
    int64_t q_width = (int64_t)c->n_heads * c->head_dim;
    projection p = {
        .weights = last ? weights->kv : weights->qkv,
        .input_norm = weights->input_norm,
        .bias = weights->qkv_bias ? weights->qkv_bias + (last ? q_width : 0) : NULL,
        .q_norm = weights->q_norm,
        .k_norm = weights->k_norm,
        .q_heads = last ? 0 : c->n_heads,
        .k_heads = c->n_kv_heads,
    };
    return project(pass, &p, x, rows, position, n_nodes, qkv, error);
}

sah_status sah_last_project_q(const sah_pass *pass, const float *x, int64_t rows, const int32_t *position,
                              int64_t n_nodes, float *q, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[c->n_layers - 1];
    projection p = {
        .weights = weights->q,
        .input_norm = weights->input_norm,
        .bias = weights->qkv_bias,
        .q_norm = weights->q_norm,
        .q_heads = c->n_heads,
    };
    return project(pass, &p, x, rows, position, n_nodes, q, error);
}

sah_status sah_layer_attend(const sah_pass *pass, const sah_plan *plan, const sah_attention *at,
                            const sah_segment *segments, int32_t n_segments, int64_t rows, int64_t nodes,
                            sah_error *error)
{
    const sah_config *c = &pass->model->config;
    sah_workspace *ws = pass->workspace;
    int D = c->head_dim, n_edited = 0;
    if (plan->n_edits == 0) return sah_attend(ws, SLOT_ATTEND, at, segments, n_segments, error);

    /* The unedited outputs of all heads first, apart from q, since edited heads are made from both. */
    int64_t width = (int64_t)c->n_heads * D;
    float *memory = sah_workspace_scratch(ws, SLOT_EDITED, (size_t)(2 * rows * width));
    if (!memory) return sah_fail_memory(error, "edited heads");
    sah_attention unedited = *at;
    unedited.z = memory;
    unedited.z_stride = width;
    sah_status status = sah_attend(ws, SLOT_ATTEND, &unedited, segments, n_segments, error);
    for (int h = 0; h < c->n_heads && status == SAH_OK; h++)
        if (sah_plan_touches(plan, c, h))
            status = sah_edited_head(ws, SLOT_EDIT, plan, &unedited, h, segments, n_segments, rows, nodes,
                                     memory + rows * width + n_edited++ * rows * D, error);
    if (status != SAH_OK) return status;
    for (int h = 0, edited = 0; h < c->n_heads; h++) {
        bool touched = sah_plan_touches(plan, c, h);
        const float *from = touched ? memory + rows * width + edited++ * rows * D : memory + h * D;
        int64_t stride = touched ? D : width;
        for (int64_t r = 0; r < rows; r++)
            memcpy(at->z + r * at->z_stride + h * D, from + r * stride, (size_t)D * sizeof *from);
    }
    return SAH_OK;
}

/* row += bias, for every row. */
static void add_bias(const sah_pass *pass, const float *bias, int width, int64_t rows, float *x)
{
    int threads = sah_workspace_threads(pass->workspace);
    if (!bias) return;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) sah_vector_add(bias, width, x + r * width);
    sah_workspace_enter(pass->workspace, before);
}

sah_status sah_layer_output(const sah_pass *pass, int layer, const float *z, int64_t z_stride, int64_t rows,
                            float *x, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    int threads = sah_workspace_threads(pass->workspace);
    int64_t width = (int64_t)c->n_heads * c->head_dim, step = block_rows(pass, rows);
    float *dense = sah_workspace_scratch(pass->workspace, SLOT_NORMED, (size_t)(step * width));
    if (!dense) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        const float *block = z + from * z_stride;
        if (z_stride != width) {
#pragma omp parallel for if (threads > 1 && n > 8) num_threads(threads)
            for (int64_t r = 0; r < n; r++)
                memcpy(dense + r * width, block + r * z_stride, (size_t)width * sizeof *dense);
            block = dense;
        }
        sah_status status =
            sah_product(pass->workspace, weights->o, n, block, x + from * c->d_model, true, error);
        if (status != SAH_OK) return status;
    }
    add_bias(pass, weights->o_bias, c->d_model, rows, x);
    return SAH_OK;
}

/* out [rows, n] = silu(gate) * up of rows [gate | up]. */
static void activate(const sah_pass *pass, int n, const float *gate_bias, const float *up_bias, int64_t rows,
                     float *gate_up, float *out)
{
    int threads = sah_workspace_threads(pass->workspace);
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *row = gate_up + r * 2 * n;
        if (gate_bias) {
            sah_vector_add(gate_bias, n, row);
            sah_vector_add(up_bias, n, row + n);
        }
        sah_silu_multiply(row, row + n, n, out + r * n);
    }
    sah_workspace_enter(pass->workspace, before);
}

/* block [rows, d] += a slice's part of the MLP, of the normed rows as its gate_up takes them. */
static sah_status add_slice(const sah_pass *pass, const sah_mlp_slice *slice, const float *bias, int64_t rows,
                            const void *input, float *block, sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    const float *gate_bias = bias ? bias + slice->from : NULL;
    const float *up_bias = bias ? gate_bias + pass->model->config.d_ff : NULL;
    if (sah_product_gates(slice->gate_up)) {
        const void *gated = sah_product_gate(ws, SLOT_INNER, slice->gate_up, rows, input, gate_bias, up_bias);
        if (!gated) return sah_fail_memory(error, "a block of rows");
        return sah_product_of(ws, slice->down, rows, gated, block, true, error);
    }
    float *gate_up = sah_workspace_scratch(ws, SLOT_GATE_UP, (size_t)(rows * 2 * slice->n));
    float *inner = sah_workspace_scratch(ws, SLOT_INNER, (size_t)(rows * slice->n));
    if (!gate_up || !inner) return sah_fail_memory(error, "a block of rows");
    sah_status status = sah_product_of(ws, slice->gate_up, rows, input, gate_up, false, error);
    if (status != SAH_OK) return status;
    activate(pass, (int)slice->n, gate_bias, up_bias, rows, gate_up, inner);
    return sah_product(ws, slice->down, rows, inner, block, true, error);
}

sah_status sah_layer_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    sah_workspace *ws = pass->workspace;
    int64_t d = c->d_model, step = block_rows(pass, rows);
    float *normed = sah_workspace_scratch(ws, SLOT_NORMED, (size_t)(step * d));
    if (!normed) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = x + from * d;
        norm_rows(pass, block, weights->post_norm, n, normed);
        const void *input = sah_product_input(ws, SLOT_INPUT, weights->slices[0].gate_up, n, normed);
        if (!input) return sah_fail_memory(error, "a block of rows");
        for (int i = 0; i < weights->n_slices; i++) {
            sah_status status =
                add_slice(pass, &weights->slices[i], weights->gate_up_bias, n, input, block, error);
            if (status != SAH_OK) return status;
        }
    }
    add_bias(pass, weights->down_bias, c->d_model, rows, x);
    return SAH_OK;
}

void sah_final_norm(const sah_model *model, const float *x, int64_t rows, float *hidden)
{
    int d = model->config.d_model;
    for (int64_t r = 0; r < rows; r++)
        sah_rms_norm(x + r * d, model->final_norm, model->config.norm_eps, d, hidden + r * d);
}
