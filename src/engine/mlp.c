/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/mlp.h"

#include "engine/difference.h"
#include "engine/experts.h"
#include "util/error.h"

sah_status sah_mlp_slice_product(const sah_pass *pass, const sah_mlp_slice *slice, const float *gate_bias,
                                 const float *up_bias, int64_t rows, const void *input, float *out, bool add,
                                 sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    if (sah_product_gates(slice->gate_up)) {
        const void *gated =
            sah_product_gate(ws, SAH_SLOT_INNER, slice->gate_up, rows, input, gate_bias, up_bias);
        if (gated == NULL) return sah_fail_memory(error, "a block of rows");
        return sah_product_of(ws, slice->down, rows, gated, out, add, error);
    }
    float *gate_up = sah_workspace_scratch(ws, SAH_SLOT_GATE_UP, (size_t)(rows * slice->gate_up->outputs));
    float *inner = sah_workspace_scratch(ws, SAH_SLOT_INNER, (size_t)(rows * slice->n));
    if (gate_up == NULL || inner == NULL) return sah_fail_memory(error, "a block of rows");
    sah_status status = sah_product_of(ws, slice->gate_up, rows, input, gate_up, false, error);
    if (status != SAH_OK) return status;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    ws->device->activate(ws, &pass->model->config, slice->n, gate_bias, up_bias, rows, gate_up, inner);
    sah_workspace_enter(ws, before);
    return sah_product(ws, slice->down, rows, inner, out, add, error);
}

/* The slice beside a record: gates and ups are recorded, or what they differ by is added to those that were. */
static sah_status slice_beside(const sah_pass *pass, sah_part part, const sah_mlp_slice *slice,
                               const float *gate_bias, const float *up_bias, int64_t inner_width,
                               const void *input, float *out, bool add, sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    const int64_t rows = part.rows, n = slice->n, halves = slice->gate_up->outputs / n;
    float *gate_up = sah_workspace_scratch(ws, SAH_SLOT_GATE_UP, (size_t)(rows * halves * n));
    float *inner = sah_workspace_scratch(ws, SAH_SLOT_INNER, (size_t)(rows * n));
    sah_status status = gate_up != NULL && inner != NULL ? SAH_OK : sah_fail_memory(error, "a block of rows");
    if (status == SAH_OK && pass->records)
        status = sah_product_of(ws, slice->gate_up, rows, input, gate_up, false, error);
    if (status != SAH_OK) return status;
    part.site = SAH_SITE_GATE_UP;
    part.all = halves * inner_width;
    for (int64_t half = 0; half < halves; half++) {
        part.column = half * inner_width + slice->from;
        sah_site_outputs(pass, part, n, gate_up + half * n, halves * n);
    }
    if (!pass->records)
        status =
            sah_product_of(ws, sah_site_weights(pass, slice->gate_up), rows, input, gate_up, true, error);
    if (status != SAH_OK) return status;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    ws->device->activate(ws, &pass->model->config, n, gate_bias, up_bias, rows, gate_up, inner);
    sah_workspace_enter(ws, before);
    part = (sah_part){SAH_SITE_DOWN, part.view, part.from, rows, slice->from, inner_width};
    const void *rest = sah_site_input(pass, part, SAH_SLOT_ROUNDED, slice->down, inner, n);
    if (rest == NULL) return sah_fail_memory(error, "a block of rows");
    return sah_product_of(ws, sah_site_weights(pass, slice->down), rows, rest, out, add, error);
}

/* out [rows, d] = the MLP of normed rows [from, from + rows) beside a record, or += with `add`. */
static sah_status mlp_beside(const sah_pass *pass, int layer, int64_t from, int64_t rows, float *normed,
                             float *out, bool add, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    const int64_t d = c->d_model, ff = weights->kind.d_ff;
    const sah_part of_d = {SAH_SITE_GATE_UP, sah_pass_view(pass, layer), from, rows, 0, d};
    const float *gates = c->gated ? weights->gate_up_bias : NULL, *ups = weights->gate_up_bias;
    float *to = pass->records ? pass->record->y[SAH_SITE_DOWN] + from * d : out; /* of the one copy */
    sah_part down = of_d;
    down.site = SAH_SITE_DOWN;
    const void *input = sah_site_input(pass, of_d, SAH_SLOT_INPUT, weights->slices[0].gate_up, normed, d);
    if (input == NULL) return sah_fail_memory(error, "a block of rows");
    if (gates != NULL) ups += ff;
    if (!pass->records && add) sah_site_add(pass, down, d, out);
    if (!pass->records && !add) sah_site_outputs(pass, down, d, out, d);
    for (int i = 0; i < weights->n_slices; i++) {
        const sah_mlp_slice *slice = &weights->slices[i];
        sah_status status = slice_beside(pass, of_d, slice, gates != NULL ? gates + slice->from : NULL,
                                         ups != NULL ? ups + slice->from : NULL, ff, input, to,
                                         !pass->records || i > 0, error);
        if (status != SAH_OK) return status;
    }
    if (pass->records && add) sah_site_add(pass, down, d, out);
    if (pass->records && !add) sah_copy_rows(pass, (sah_rows){to, d, NULL}, rows, d, out);
    sah_add_bias(pass, weights->down_bias, c->d_model, rows, out);
    return SAH_OK;
}

/* out [rows, d] = the MLP of normed rows, or += with `add`. */
static sah_status apply_dense(const sah_pass *pass, const sah_layer *weights, int64_t rows,
                              const float *normed, float *out, bool add, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const float *gates = c->gated ? weights->gate_up_bias : NULL, *ups = weights->gate_up_bias;
    const void *input =
        sah_product_input(pass->workspace, SAH_SLOT_INPUT, weights->slices[0].gate_up, rows, normed);
    if (input == NULL) return sah_fail_memory(error, "a block of rows");
    if (gates != NULL) ups += weights->kind.d_ff;
    for (int i = 0; i < weights->n_slices; i++) {
        const sah_mlp_slice *slice = &weights->slices[i];
        sah_status status = sah_mlp_slice_product(pass, slice, gates != NULL ? gates + slice->from : NULL,
                                                  ups != NULL ? ups + slice->from : NULL, rows, input, out,
                                                  add || i > 0, error);
        if (status != SAH_OK) return status;
    }
    sah_add_bias(pass, weights->down_bias, c->d_model, rows, out);
    return SAH_OK;
}

/* out [rows, d] = what the MLP and what the experts beside it make of rows x, each behind its norm; `normed` [rows, d]
 * is what the MLP is given, and is used up. */
static sah_status apply_both(const sah_pass *pass, const sah_layer *weights, int64_t rows, const float *x,
                             float *normed, float *out, sah_error *error)
{
    const sah_expert_layer *experts = &weights->experts;
    const int64_t d = pass->model->config.d_model, step = sah_pass_block(pass, rows);
    sah_workspace *ws = pass->workspace;
    float *beside = sah_workspace_scratch(ws, SAH_SLOT_BESIDE, (size_t)(rows * d));
    if (beside == NULL) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        const int64_t n = rows - from < step ? rows - from : step;
        sah_status status = apply_dense(pass, weights, n, normed + from * d, out + from * d, false, error);
        if (status != SAH_OK) return status;
    }
    sah_norm_rows(pass, out, &experts->dense_out_norm, rows, out);
    sah_norm_rows(pass, x, &experts->norm, rows, normed);
    ws->device->clear(ws, beside, rows * d);
    sah_status status = sah_experts_add(pass, experts, rows, x, normed, beside, error);
    if (status != SAH_OK) return status;
    sah_norm_rows(pass, beside, &experts->out_norm, rows, beside);
    ws->device->add(ws, (sah_rows){beside, d, NULL}, rows, (int)d, 1.0f, out);
    return SAH_OK;
}

/* out [rows, d] = what stands behind the norm of rows x: the MLP, experts, or both; or += with `add`, which both of
 * them never do. */
static sah_status apply_mlp(const sah_pass *pass, const sah_layer *weights, int64_t rows, const float *x,
                            float *normed, float *out, bool add, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    if (!weights->kind.experts) return apply_dense(pass, weights, rows, normed, out, add, error);
    if (c->experts.beside) return apply_both(pass, weights, rows, x, normed, out, error);
    if (!add) pass->workspace->device->clear(pass->workspace, out, rows * c->d_model);
    return sah_experts_add(pass, &weights->experts, rows, x, normed, out, error);
}

sah_status sah_mlp(const sah_pass *pass, int layer, int64_t rows, float *x, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    sah_workspace *ws = pass->workspace;
    int64_t d = pass->model->config.d_model;
    int64_t step = weights->kind.experts ? sah_experts_block(pass, rows) : sah_pass_block(pass, rows);
    bool both = weights->kind.experts && pass->model->config.experts.beside;
    bool plainly = !both && sah_joins_plainly(pass->model, &weights->mlp_out_norm);
    float *normed = sah_workspace_scratch(ws, SAH_SLOT_NORMED, (size_t)(step * d));
    float *branch = plainly ? NULL : sah_workspace_scratch(ws, SAH_SLOT_BRANCH, (size_t)(step * d));
    if (normed == NULL || (!plainly && branch == NULL)) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = x + from * d;
        sah_norm_rows(pass, block, &weights->mlp_norm, n, normed);
        float *out = branch != NULL ? branch : block;
        sah_status status = pass->record != NULL
                                ? mlp_beside(pass, layer, from, n, normed, out, branch == NULL, error)
                                : apply_mlp(pass, weights, n, block, normed, out, branch == NULL, error);
        if (status != SAH_OK) return status;
        if (branch != NULL) sah_join_rows(pass, &weights->mlp_out_norm, n, branch, block);
    }
    return SAH_OK;
}
