/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/block.h"

#include <math.h>
#include <stdlib.h>

#include "engine/convolution.h"
#include "engine/cpu/elementwise.h"
#include "engine/delta.h"
#include "engine/difference.h"
#include "engine/inputs.h"
#include "engine/mlp.h"
#include "util/alloc.h"
#include "util/error.h"

/* Shows the ends among the rows of a view. */
static sah_status show(const sah_pass *pass, const sah_view *view, sah_place place, int layer,
                       const float *states, int64_t stride, int64_t width, sah_error *error)
{
    const sah_rows rows = {states, stride, view == &pass->ends ? NULL : pass->ends.node};
    return sah_show(pass->observer, pass->workspace, place, layer, rows, (int32_t)pass->ends.n, width, error);
}

sah_attention sah_block_states(const sah_pass *pass, int layer, const sah_states *states, int64_t copy)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_layer_kind *kind = &weights->kind;
    const sah_view *view = sah_pass_view(pass, layer);
    int64_t z_width = (int64_t)kind->n_heads * kind->head_dim,
            kv = (int64_t)kind->n_kv_heads * kind->head_dim;
    int64_t q_width = sah_layer_q_width(c, kind);
    int64_t width = weights->apart ? 2 * kv : sah_layer_qkv_width(c, kind);
    float *rows = states->qkv + copy * pass->nodes.n * width;
    sah_attention at = {.n_heads = kind->n_heads, .n_kv_heads = kind->n_kv_heads, .head_dim = kind->head_dim};
    if (kind->mixer != SAH_MIXER_ATTENTION) {
        bool all = view == &pass->nodes || view->single;
        int64_t from = kind->mixer == SAH_MIXER_DELTA ? sah_delta_gate(c, kind) : 0;
        at.z = all ? rows + from : states->q + copy * view->n * z_width;
        at.z_stride = all ? width : z_width;
    } else {
        at.scale = c->attention_scale > 0.0f ? c->attention_scale : 1.0f / sqrtf((float)kind->head_dim);
        at.softcap = c->attention_softcap;
        at.sinks = weights->sinks;
        at.window = kind->window;
        at.z = weights->apart ? states->q + copy * view->n * q_width : rows;
        at.q = at.z;
        at.q_stride = at.z_stride = at.gate_stride = weights->apart ? q_width : width;
        at.gate = c->attention_gate ? at.q + z_width : NULL;
        at.k = states->kept != NULL ? states->kept + copy * pass->kept.n * 2 * kv : rows + width - 2 * kv;
        at.v = at.k + kv;
        at.k_stride = at.v_stride = states->kept != NULL ? 2 * kv : width;
    }
    if (states->z != NULL) {
        at.z = states->z;
        at.z_stride = z_width;
    }
    return at;
}

/* Keys and values of a copy, the last columns of the rows of qkv, to where they stay. */
static void keep(const sah_pass *pass, int layer, const sah_states *states, int64_t copy)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_view *nodes = &pass->nodes;
    int64_t kept = 2 * (int64_t)weights->kind.n_kv_heads * weights->kind.head_dim;
    int64_t width = weights->apart ? kept : sah_layer_qkv_width(&pass->model->config, &weights->kind);
    const sah_rows from = {states->qkv + copy * nodes->n * width + width - kept, width, NULL};
    float *to = states->kept + copy * pass->kept.n * kept;
    pass->workspace->device->copy(pass->workspace, from, nodes->n, kept, to, kept, nodes->node);
}

/* z of one copy without edits. */
static sah_status mix(const sah_pass *pass, int layer, const sah_states *states, int64_t copy,
                      const sah_attention *at, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_view *view = sah_pass_view(pass, layer);
    if (weights->kind.mixer == SAH_MIXER_ATTENTION) return sah_attend(pass, at, view, error);
    int64_t width = sah_layer_qkv_width(&pass->model->config, &weights->kind);
    float *rows = states->qkv + copy * pass->nodes.n * width;
    if (weights->kind.mixer == SAH_MIXER_DELTA)
        return sah_delta_mix(pass, layer, at, rows, states->kept, error);
    sah_convolution_mix(pass, layer, at, rows, states->kept);
    return SAH_OK;
}

/* z of one copy. */
static sah_status attend(const sah_pass *pass, int layer, const sah_plan *plan, const sah_states *states,
                         int64_t copy, sah_error *error)
{
    const sah_view *view = sah_pass_view(pass, layer);
    const sah_attention at = sah_block_states(pass, layer, states, copy);
    sah_workspace *ws = pass->workspace;
    int D = at.head_dim, n_edited = 0;
    int64_t rows = view->n, width = (int64_t)at.n_heads * D;
    const sah_donor *donor = pass->donors != NULL ? pass->donors[layer] : NULL;
    if (plan->n_edits == 0) return mix(pass, layer, states, copy, &at, error);

    /* The unedited outputs of all heads first, apart from q, since edited heads are made from both. */
    float *edited = sah_workspace_scratch(ws, SAH_SLOT_EDITED, (size_t)(2 * rows * width));
    if (edited == NULL) return sah_fail_memory(error, "edited heads");
    sah_attention unedited = at;
    unedited.z = states->unedited != NULL ? states->unedited : edited + rows * width;
    unedited.z_stride = width;
    sah_status status = mix(pass, layer, states, copy, &unedited, error);
    for (int h = 0; h < at.n_heads && status == SAH_OK; h++)
        if (sah_plan_touches(plan, h))
            status = sah_edited_head(pass, layer, plan, donor, &unedited, h, states->kept != NULL,
                                     edited + n_edited++ * rows * D, error);
    if (status != SAH_OK) return status;
    for (int h = 0; h < at.n_heads; h++) {
        bool touched = sah_plan_touches(plan, h);
        const sah_rows from = {touched ? edited : unedited.z + h * D, touched ? D : width, NULL};
        ws->device->copy(ws, from, rows, D, at.z + h * D, at.z_stride, NULL);
        if (touched) edited += rows * D;
    }
    return SAH_OK;
}

/* out [rows, d] = z Woᵀ, or += with `add`. */
static sah_status output(const sah_pass *pass, int layer, const sah_attention *at, int64_t from, int64_t rows,
                         bool add, float *out, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    int64_t width = (int64_t)at->n_heads * at->head_dim;
    float *z = at->z + from * at->z_stride;
    if (at->z_stride != width) {
        float *dense = sah_workspace_scratch(pass->workspace, SAH_SLOT_NORMED, (size_t)(rows * width));
        if (dense == NULL) return sah_fail_memory(error, "a block of rows");
        sah_copy_rows(pass, (sah_rows){z, at->z_stride, NULL}, rows, width, dense);
        z = dense;
    }
    sah_status status = sah_site_product(pass, SAH_SITE_OUTPUT, sah_pass_view(pass, layer), from, rows,
                                         weights->o, z, out, add, error);
    if (status == SAH_OK) sah_add_bias(pass, weights->o_bias, pass->model->config.d_model, rows, out);
    return status;
}

/* The branch z Woᵀ, in blocks: to `branch` [rows, d], or joined with y [rows, d] where that is NULL. */
static sah_status add_branch(const sah_pass *pass, int layer, const sah_attention *at, int64_t rows, float *y,
                             float *branch, sah_error *error)
{
    const sah_norm *behind = &pass->model->layers[layer].attention_out_norm;
    bool plainly = sah_joins_plainly(pass->model, behind);
    int64_t d = pass->model->config.d_model, step = sah_pass_block(pass, rows);
    sah_status status = SAH_OK;
    for (int64_t from = 0; from < rows && status == SAH_OK; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = y + from * d;
        if (plainly) {
            status = output(pass, layer, at, from, n, true, block, error);
            continue;
        }
        float *out = branch != NULL
                         ? branch + from * d
                         : sah_workspace_scratch(pass->workspace, SAH_SLOT_BRANCH, (size_t)(step * d));
        if (out == NULL) return sah_fail_memory(error, "a block of rows");
        status = output(pass, layer, at, from, n, false, out, error);
        if (status == SAH_OK && branch == NULL) sah_join_rows(pass, behind, n, out, block);
    }
    return status;
}

/* ---- The layer ----------------------------------------------------------------------------------------- */

/* y = the rows of x that go on. */
static void take_rows(const sah_pass *pass, const sah_view *view, int64_t copies, const float *x, float *y)
{
    int64_t d = pass->model->config.d_model;
    if (x == y) return;
    for (int64_t i = 0; i < copies; i++, x += pass->nodes.n * d, y += view->n * d)
        sah_copy_rows(pass, (sah_rows){x, d, view->node}, view->n, d, y);
}

/* *out [ends, d] = the branches of the ends, in the host's memory, for free() in either case. */
static sah_status branches_of_ends(const sah_pass *pass, int layer, const sah_attention *at, float **out,
                                   sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    int64_t d = pass->model->config.d_model, n = pass->ends.n, width = (int64_t)at->n_heads * at->head_dim;
    const sah_rows ends = {at->z, at->z_stride,
                           sah_pass_view(pass, layer) == &pass->ends ? NULL : pass->ends.node};
    float *z = sah_workspace_scratch(ws, SAH_SLOT_EDITED, (size_t)(n * width)),
          *branch = sah_workspace_scratch(ws, SAH_SLOT_BRANCH, (size_t)(n * d));
    *out = sah_alloc((size_t)(n * d), sizeof **out);
    sah_status status = z != NULL && branch != NULL && *out != NULL
                            ? SAH_OK
                            : sah_fail_memory(error, "the states of the last tokens");
    if (status == SAH_OK) {
        sah_copy_rows(pass, ends, n, width, z);
        const sah_attention dense = {
            .n_heads = at->n_heads, .head_dim = at->head_dim, .z = z, .z_stride = width};
        status = output(pass, layer, &dense, 0, n, false, branch, error);
    }
    if (status == SAH_OK) status = ws->device->download(branch, (size_t)(n * d) * sizeof **out, *out, error);
    return status;
}

/* Shows how much of the ends' branches comes through. */
static sah_status show_factors(const sah_pass *pass, int layer, const sah_attention *at, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_config *c = &pass->model->config;
    const int64_t d = c->d_model, n = pass->ends.n;
    const float whole = c->residual_scale * (weights->scale != NULL ? *weights->scale : 1.0f);
    float *branch = NULL;
    double *factors = sah_alloc((size_t)n, sizeof *factors);
    sah_status status = factors != NULL ? SAH_OK : sah_fail_memory(error, "the states of the last tokens");
    if (status == SAH_OK && weights->attention_out_norm.weight != NULL)
        status = branches_of_ends(pass, layer, at, &branch, error);
    if (status == SAH_OK) {
        for (int64_t i = 0; i < n; i++)
            factors[i] =
                (double)(branch != NULL ? whole / sah_rms(branch + i * d, c->norm_eps, c->d_model) : whole);
        pass->observer->see(pass->observer->ctx, SAH_PLACE_FACTOR, layer, factors);
    }
    free(branch);
    free(factors);
    return status;
}

static bool is_parallel(const sah_pass *pass)
{
    return pass->model->config.residual == SAH_RESIDUAL_PARALLEL;
}

/* Whether the layer makes keys and values. */
static bool makes_keys(const sah_pass *pass, int layer)
{
    const sah_layer_kind *kind = &pass->model->layers[layer].kind;
    return kind->mixer == SAH_MIXER_ATTENTION && kind->borrows == 0;
}

bool sah_block_branches(const sah_pass *pass, int layer)
{
    return !sah_joins_plainly(pass->model, &pass->model->layers[layer].attention_out_norm);
}

sah_status sah_block_attend(const sah_pass *pass, int layer, const sah_plan *plan, int64_t copies,
                            const sah_states *states, const float *x, float *y, float *branch,
                            sah_error *error)
{
    const sah_view *view = sah_pass_view(pass, layer);
    const sah_attention at = sah_block_states(pass, layer, states, 0);
    int64_t d = pass->model->config.d_model, width = (int64_t)at.n_heads * at.head_dim,
            rows = copies * view->n;
    take_rows(pass, view, copies, x, y);
    sah_status status = show(pass, view, SAH_PLACE_INPUT, layer, y, d, d, error);
    if (status == SAH_OK) status = sah_project(pass, layer, copies, x, y, states->qkv, states->q, error);
    for (int64_t i = 0; i < copies && status == SAH_OK; i++) {
        if (states->kept != NULL && makes_keys(pass, layer)) keep(pass, layer, states, i);
        status = attend(pass, layer, plan, states, i, error);
    }
    if (status == SAH_OK) status = show(pass, view, SAH_PLACE_HEADS, layer, at.z, at.z_stride, width, error);
    if (status == SAH_OK && pass->observer != NULL) status = show_factors(pass, layer, &at, error);
    if (status == SAH_OK && is_parallel(pass)) status = sah_mlp(pass, layer, rows, y, error);
    if (status == SAH_OK) status = add_branch(pass, layer, &at, rows, y, branch, error);
    if (status == SAH_OK) status = show(pass, view, SAH_PLACE_MIDDLE, layer, y, d, d, error);
    return status;
}

void sah_block_join(const sah_pass *pass, int layer, int64_t rows, float *branch, float *y)
{
    sah_join_rows(pass, &pass->model->layers[layer].attention_out_norm, rows, branch, y);
}

sah_status sah_block_finish(const sah_pass *pass, int layer, int64_t rows, float *y, sah_error *error)
{
    const float *scale = pass->model->layers[layer].scale;
    sah_status status = is_parallel(pass) ? SAH_OK : sah_mlp(pass, layer, rows, y, error);
    if (status == SAH_OK) status = sah_inputs_join(pass, layer, rows, y, error);
    if (status == SAH_OK && scale != NULL)
        pass->workspace->device->scale(pass->workspace, y, rows * pass->model->config.d_model, *scale);
    return status;
}

sah_status sah_block(const sah_pass *pass, int layer, const sah_plan *plan, const sah_states *states,
                     const float *x, float *y, sah_error *error)
{
    sah_status status = sah_block_attend(pass, layer, plan, 1, states, x, y, NULL, error);
    if (status != SAH_OK) return status;
    return sah_block_finish(pass, layer, sah_pass_view(pass, layer)->n, y, error);
}
