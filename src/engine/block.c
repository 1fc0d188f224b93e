#include "engine/block.h"

#include <omp.h>
#include <string.h>

#include "engine/mlp.h"
#include "util/error.h"

/* Shows the ends among the rows of a view. */
static sah_status show(const sah_pass *pass, const sah_view *view, sah_place place, int layer,
                       const float *states, int64_t stride, int64_t width, sah_error *error)
{
    const int32_t *which = view == &pass->ends ? NULL : pass->ends.node;
    return sah_show(pass->observer, place, layer, states, stride, width, which, (int32_t)pass->ends.n, error);
}

sah_attention sah_block_states(const sah_pass *pass, int layer, const sah_states *states, int64_t copy)
{
    const sah_config *c = &pass->model->config;
    const sah_view *view = sah_pass_view(pass, layer);
    bool apart = !pass->model->layers[layer].qkv;
    int64_t q_width = (int64_t)c->n_heads * c->head_dim, kv = (int64_t)c->n_kv_heads * c->head_dim;
    int64_t width = apart ? 2 * kv : q_width + 2 * kv;
    float *rows = states->qkv + copy * pass->nodes.n * width;
    float *q = apart ? states->q + copy * view->n * q_width : rows;
    float *k = states->kept ? states->kept : rows + width - 2 * kv;
    int64_t q_stride = apart ? q_width : width, kv_stride = states->kept ? 2 * kv : width;
    return (sah_attention){
        .n_heads = c->n_heads,
        .n_kv_heads = c->n_kv_heads,
        .head_dim = c->head_dim,
        .window = c->sliding_window,
        .q = q,
        .q_stride = q_stride,
        .k = k,
        .k_stride = kv_stride,
        .v = k + kv,
        .v_stride = kv_stride,
        .z = states->z ? states->z : q,
        .z_stride = states->z ? q_width : q_stride,
        .single = view->single,
    };
}

/* Keys and values, the last columns of the rows of qkv, to where they stay. */
static void keep(const sah_pass *pass, int layer, const sah_states *states)
{
    const sah_config *c = &pass->model->config;
    const sah_view *nodes = &pass->nodes;
    int64_t kept = 2 * (int64_t)c->n_kv_heads * c->head_dim;
    int64_t width = pass->model->layers[layer].qkv ? sah_qkv_width(c) : kept;
    int threads = sah_workspace_threads(pass->workspace);
#pragma omp parallel for if (threads > 1 && nodes->n > 8) num_threads(threads)
    for (int64_t r = 0; r < nodes->n; r++) {
        int64_t row = nodes->node ? nodes->node[r] : r;
        memcpy(states->kept + row * kept, states->qkv + (r + 1) * width - kept, (size_t)kept * sizeof(float));
    }
}

/* z of one copy. */
static sah_status attend(const sah_pass *pass, int layer, const sah_plan *plan, const sah_states *states,
                         int64_t copy, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_view *view = sah_pass_view(pass, layer);
    const sah_attention at = sah_block_states(pass, layer, states, copy);
    sah_workspace *ws = pass->workspace;
    int D = c->head_dim, n_edited = 0;
    int64_t rows = view->n, width = (int64_t)c->n_heads * D;
    int64_t n_keys = states->kept ? states->n_kept : pass->nodes.n;
    if (plan->n_edits == 0) return sah_attend(ws, &at, view->segments, view->n_segments, error);

    /* The unedited outputs of all heads first, apart from q, since edited heads are made from both. */
    float *edited = sah_workspace_scratch(ws, SAH_SLOT_EDITED, (size_t)(2 * rows * width));
    if (!edited) return sah_fail_memory(error, "edited heads");
    sah_attention unedited = at;
    unedited.z = states->unedited ? states->unedited : edited + rows * width;
    unedited.z_stride = width;
    sah_status status = sah_attend(ws, &unedited, view->segments, view->n_segments, error);
    for (int h = 0; h < c->n_heads && status == SAH_OK; h++)
        if (sah_plan_touches(plan, c, h))
            status = sah_edited_head(ws, plan, &unedited, h, view->segments, view->n_segments, rows, n_keys,
                                     edited + n_edited++ * rows * D, error);
    if (status != SAH_OK) return status;
    for (int h = 0; h < c->n_heads; h++) {
        bool touched = sah_plan_touches(plan, c, h);
        const float *from = touched ? edited : unedited.z + h * D;
        int64_t stride = touched ? D : width;
        for (int64_t r = 0; r < rows; r++)
            memcpy(at.z + r * at.z_stride + h * D, from + r * stride, (size_t)D * sizeof *from);
        if (touched) edited += rows * D;
    }
    return SAH_OK;
}

/* y += z Woᵀ. */
static sah_status add_output(const sah_pass *pass, int layer, const sah_attention *at, int64_t rows, float *y,
                             sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    int threads = sah_workspace_threads(pass->workspace);
    int64_t width = (int64_t)c->n_heads * c->head_dim, step = sah_pass_block(pass, rows);
    float *dense = sah_workspace_scratch(pass->workspace, SAH_SLOT_NORMED, (size_t)(step * width));
    if (!dense) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        const float *block = at->z + from * at->z_stride;
        if (at->z_stride != width) {
#pragma omp parallel for if (threads > 1 && n > 8) num_threads(threads)
            for (int64_t r = 0; r < n; r++)
                memcpy(dense + r * width, block + r * at->z_stride, (size_t)width * sizeof *dense);
            block = dense;
        }
        sah_status status =
            sah_product(pass->workspace, weights->o, n, block, y + from * c->d_model, true, error);
        if (status != SAH_OK) return status;
    }
    sah_add_bias(pass, weights->o_bias, c->d_model, rows, y);
    return SAH_OK;
}

/* ---- The layer ----------------------------------------------------------------------------------------- */

/* y = the rows of x that go on. */
static void take_rows(const sah_pass *pass, const sah_view *view, int64_t copies, const float *x, float *y)
{
    int64_t d = pass->model->config.d_model, n = pass->nodes.n;
    size_t bytes = (size_t)d * sizeof *y;
    if (x == y) return;
    for (int64_t i = 0; i < copies; i++, x += n * d)
        for (int64_t r = 0; r < view->n; r++, y += d)
            memcpy(y, x + (view->node ? view->node[r] : r) * d, bytes);
}

sah_status sah_block_attend(const sah_pass *pass, int layer, const sah_plan *plan, int64_t copies,
                            const sah_states *states, const float *x, float *y, sah_error *error)
{
    const sah_view *view = sah_pass_view(pass, layer);
    const sah_attention at = sah_block_states(pass, layer, states, 0);
    int64_t d = pass->model->config.d_model, width = (int64_t)at.n_heads * at.head_dim;
    take_rows(pass, view, copies, x, y);
    sah_status status = show(pass, view, SAH_PLACE_INPUT, layer, y, d, d, error);
    if (status == SAH_OK) status = sah_project(pass, layer, copies, x, y, states->qkv, states->q, error);
    if (status == SAH_OK && states->kept) keep(pass, layer, states);
    for (int64_t i = 0; i < copies && status == SAH_OK; i++)
        status = attend(pass, layer, plan, states, i, error);
    if (status == SAH_OK) status = show(pass, view, SAH_PLACE_HEADS, layer, at.z, at.z_stride, width, error);
    if (status == SAH_OK) status = add_output(pass, layer, &at, copies * view->n, y, error);
    if (status == SAH_OK) status = show(pass, view, SAH_PLACE_MIDDLE, layer, y, d, d, error);
    return status;
}

sah_status sah_block_finish(const sah_pass *pass, int layer, int64_t rows, float *y, sah_error *error)
{
    return sah_mlp(pass, layer, rows, y, error);
}

sah_status sah_block(const sah_pass *pass, int layer, const sah_plan *plan, const sah_states *states,
                     const float *x, float *y, sah_error *error)
{
    sah_status status = sah_block_attend(pass, layer, plan, 1, states, x, y, error);
    if (status != SAH_OK) return status;
    return sah_block_finish(pass, layer, sah_pass_view(pass, layer)->n, y, error);
}
