/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/forward.h"

#include <stdlib.h>

#include "engine/block.h"
#include "engine/donors.h"
#include "engine/lent.h"
#include "util/alloc.h"
#include "util/error.h"

sah_status sah_spread_ends(const sah_device *device, const sah_forest *forest, const float *ends, int64_t d,
                           float *hidden, sah_error *error)
{
    sah_status status = SAH_OK;
    for (int32_t i = 0; i < forest->n_prompts && status == SAH_OK; i++)
        status =
            device->download(ends + forest->end_of[i] * d, (size_t)d * sizeof *ends, hidden + i * d, error);
    return status;
}

int32_t *sah_first_of_ends(const sah_forest *forest)
{
    int32_t *first = sah_alloc((size_t)forest->n_ends, sizeof *first);
    for (int32_t i = forest->n_prompts; first != NULL && i-- > 0;) first[forest->end_of[i]] = i;
    return first;
}

/* What a pass leaves behind beside its result, each NULL where it is not asked for. */
typedef struct sah_taps {
    float *const *kv; /* as for sah_forward_keep() */
    const sah_observer *observer;
} sah_taps;

/* x [n_nodes, d] through all layers; ends [n_ends, d] gets the residual that leaves the last. */
static sah_status run_layers(const sah_pass *pass, const sah_plan *plans, sah_states states,
                             const sah_lent *lent, float *const *kv, float *x, float *ends, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    sah_status status = SAH_OK;
    int n = c->n_layers;
    int64_t d = c->d_model;
    for (int l = 0; l < n && status == SAH_OK; l++) {
        states.kept = kv != NULL ? kv[sah_lent_from(c, l)] : sah_lent_kv(lent, c, l);
        status = sah_layer_take(pass->model, l, sah_layer_next(pass->model, l), error);
        if (status != SAH_OK) break;
        status = sah_block(pass, l, &plans[l], &states, x, l < n - 1 ? x : ends, error);
        sah_layer_release(pass->model, l);
    }
    if (status != SAH_OK) return status;
    return sah_show(pass->observer, pass->workspace, SAH_PLACE_INPUT, n, (sah_rows){ends, d, NULL},
                    (int32_t)pass->ends.n, d, error);
}

/* Final-norm states of the ends [n_ends, d], in the device's memory. */
static sah_status run_forest(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                             size_t n_edits, const sah_taps *taps, float *ends, sah_error *error)
{
    const sah_config *c = &model->config;
    size_t n = (size_t)forest->n_nodes, n_ends = (size_t)forest->n_ends, d = (size_t)c->d_model;
    sah_pass pass;
    sah_plan *plans = NULL;
    sah_states states = {0};
    sah_lent lent = {0};
    sah_donor_set set = {0};
    const sah_device *device = model->device;
    float *x = sah_device_alloc(device, n * d, sizeof *x);
    states.qkv = sah_device_alloc(device, n * (size_t)sah_qkv_width(c), sizeof *states.qkv);
    states.q = sah_device_alloc(device, n_ends * (size_t)sah_q_width(c), sizeof *states.q);
    int32_t *sequence = taps->kv != NULL ? sah_first_of_ends(forest) : NULL;
    sah_status status = sah_pass_over(model, forest, sequence, &pass, error);
    pass.observer = taps->observer;
    if (status == SAH_OK &&
        (x == NULL || states.qkv == NULL || states.q == NULL || (taps->kv != NULL && sequence == NULL)))
        status = sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK && taps->kv == NULL) status = sah_lent_new(device, c, n, &lent, error);
    if (status == SAH_OK) status = sah_plans_new(c, edits, n_edits, &plans, error);
    if (status == SAH_OK) status = sah_workspace_new(device, model->threads, &pass.workspace, error);
    if (status == SAH_OK && taps->kv != NULL)
        sah_workspace_fix_rows(pass.workspace); /* decoding goes on from it */
    if (status == SAH_OK)
        status = sah_donor_set_new(model, forest->donors, edits, n_edits, pass.workspace, &set, error);
    pass.donors = set.layers;
    if (status == SAH_OK) status = sah_embed(model, forest->token, forest->depth, forest->n_nodes, x, error);
    if (status == SAH_OK) status = run_layers(&pass, plans, states, &lent, taps->kv, x, ends, error);
    if (status == SAH_OK) sah_final_norm(model, pass.workspace, ends, forest->n_ends, ends);
    sah_workspace_free(pass.workspace);
    sah_pass_end(&pass);
    sah_plans_free(plans);
    sah_lent_free(&lent);
    sah_donor_set_free(&set);
    sah_device_free(device, x);
    sah_device_free(device, states.qkv);
    sah_device_free(device, states.q);
    free(sequence);
    return status;
}

sah_status sah_forward_ends(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *ends, sah_error *error)
{
    const sah_device *device = model->device;
    const size_t n = (size_t)forest->n_ends * (size_t)model->config.d_model;
    float *there = device->host ? ends : sah_device_alloc(device, n, sizeof *there);
    if (there == NULL) return sah_fail_memory(error, "the forward pass");
    sah_status status = run_forest(model, forest, edits, n_edits, &(sah_taps){0}, there, error);
    if (status == SAH_OK) status = device->download(there, n * sizeof *there, ends, error);
    if (there != ends) device->free(there);
    return status;
}

/* The pass with the ends in memory of its own, spread over the prompts at `hidden` unless that is NULL. */
static sah_status run_prompts(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                              size_t n_edits, const sah_taps *taps, float *hidden, sah_error *error)
{
    size_t d = (size_t)model->config.d_model;
    float *ends = sah_device_alloc(model->device, (size_t)forest->n_ends * d, sizeof *ends);
    if (ends == NULL) return sah_fail_memory(error, "the forward pass");
    sah_status status = run_forest(model, forest, edits, n_edits, taps, ends, error);
    if (status == SAH_OK && hidden != NULL)
        status = sah_spread_ends(model->device, forest, ends, (int64_t)d, hidden, error);
    sah_device_free(model->device, ends);
    return status;
}

sah_status sah_forward_observe(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                               size_t n_edits, const sah_observer *observer, sah_error *error)
{
    return run_prompts(model, forest, edits, n_edits, &(sah_taps){.observer = observer}, NULL, error);
}

sah_status sah_forward_keep(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *const *kv, float *hidden, sah_error *error)
{
    return run_prompts(model, forest, edits, n_edits, &(sah_taps){.kv = kv}, hidden, error);
}

sah_status sah_forward(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                       size_t n_edits, float *hidden, sah_error *error)
{
    return sah_forward_keep(model, forest, edits, n_edits, NULL, hidden, error);
}
