/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/beside.h"

#include <stdlib.h>
#include <string.h>

#include "engine/difference.h"
#include "engine/donors.h"
#include "engine/forward.h"
#include "engine/snapshot.h"
#include "util/alloc.h"
#include "util/error.h"

/* The rows of the passes that go up together take as much as the weights, or this. */
enum { ROWS_BYTES = 256 << 20 };

/* One ablation on its way up. */
typedef struct lane {
    sah_plan *plans;
    float *x, *ends; /* [n_nodes, d], [n_ends, d] */
    sah_lent lent;
} lane;

typedef struct climb {
    const sah_model *model;
    const sah_forest *forest;
    sah_model *exact; /* of the base pass and the donors', where the model is not in float32; or NULL */
    sah_pass pass; /* of the ablations */
    sah_record record;
    sah_plan *none;
    sah_base *base;
    sah_donor_walk *walk; /* or NULL: no states stand in */
    int32_t *nobody, *needed; /* [n_layers] takes of the base pass's snapshots; 1 where states stand in */
    bool *no_slice; /* [n_layers, n_heads] */
    const sah_donor **donors; /* [n_layers] */
    sah_states states;
    lane *lanes; /* [n] */
    size_t n;
} climb;

static void climb_free(climb *c)
{
    const sah_device *device = c->model->device;
    for (size_t i = 0; c->lanes != NULL && i < c->n; i++) {
        sah_plans_free(c->lanes[i].plans);
        sah_device_free(device, c->lanes[i].x);
        sah_device_free(device, c->lanes[i].ends);
        sah_lent_free(&c->lanes[i].lent);
    }
    free(c->lanes);
    sah_donor_walk_free(c->walk);
    sah_base_free(c->base);
    sah_plans_free(c->none);
    if (c->record.device != NULL) sah_record_free(&c->record);
    sah_model_exact_free(c->exact);
    sah_workspace_free(c->pass.workspace);
    sah_pass_end(&c->pass);
    sah_device_free(device, c->states.qkv);
    sah_device_free(device, c->states.q);
    free(c->nobody);
    free(c->needed);
    free(c->no_slice);
    free(c->donors);
}

static sah_status lane_new(const climb *c, const sah_edit_list *ablation, lane *out, sah_error *error)
{
    const sah_model *model = c->model;
    const sah_forest *f = c->forest;
    const size_t d = (size_t)model->config.d_model, nodes = (size_t)f->n_nodes;
    out->x = sah_device_alloc(model->device, nodes * d, sizeof *out->x);
    out->ends = sah_device_alloc(model->device, (size_t)f->n_ends * d, sizeof *out->ends);
    if (out->x == NULL || out->ends == NULL) return sah_fail_memory(error, "passes of groups");
    sah_status status = sah_lent_new(model->device, &model->config, nodes, &out->lent, error);
    if (status == SAH_OK)
        status = sah_plans_new(&model->config, ablation->edits, ablation->n, &out->plans, error);
    return status == SAH_OK ? sah_embed(model, f->token, f->depth, f->n_nodes, out->x, error) : status;
}

/* The base pass, which is recorded, and the donors'. */
static sah_status base_new(climb *c, sah_error *error)
{
    sah_pass pass = c->pass;
    bool any = false;
    for (int l = 0; l < c->model->config.n_layers; l++) any = any || c->needed[l] > 0;
    pass.workspace = NULL;
    if (c->exact != NULL) pass.model = c->exact;
    pass.record = &c->record;
    pass.records = true;
    sah_status status = sah_base_new(&pass, c->forest, c->none, c->nobody, c->no_slice, &c->base, error);
    if (status == SAH_OK && any)
        status = sah_donor_walk_new(pass.model, c->forest->donors, c->needed, &c->walk, error);
    return status;
}

static sah_status climb_new(climb *c, const sah_edit_list *ablations, sah_error *error)
{
    const sah_model *model = c->model;
    const sah_config *config = &model->config;
    const size_t layers = (size_t)config->n_layers, nodes = (size_t)c->forest->n_nodes,
                 ends = (size_t)c->forest->n_ends;
    sah_status status = sah_pass_over(model, c->forest, NULL, &c->pass, error);
    c->nobody = sah_alloc(layers, sizeof *c->nobody);
    c->needed = sah_alloc(layers, sizeof *c->needed);
    c->no_slice = sah_alloc(layers * (size_t)config->n_heads, sizeof *c->no_slice);
    c->donors = sah_alloc(layers, sizeof(const sah_donor *));
    c->lanes = sah_alloc(c->n, sizeof *c->lanes);
    c->states.qkv =
        sah_device_alloc(model->device, nodes * (size_t)sah_qkv_width(config), sizeof *c->states.qkv);
    c->states.q = sah_device_alloc(model->device, ends * (size_t)sah_q_width(config), sizeof *c->states.q);
    if (status == SAH_OK &&
        (c->nobody == NULL || c->needed == NULL || c->no_slice == NULL || c->donors == NULL ||
         c->lanes == NULL || c->states.qkv == NULL || c->states.q == NULL))
        status = sah_fail_memory(error, "passes of groups");
    for (size_t i = 0; i < c->n && status == SAH_OK; i++) {
        const sah_edit_list *ablation = &ablations[i];
        status = sah_donors_check(c->forest->donors, ablation->edits, ablation->n, error);
        if (status == SAH_OK) status = lane_new(c, ablation, &c->lanes[i], error);
        for (size_t e = 0; e < ablation->n && status == SAH_OK; e++)
            if (sah_op_takes_donors(ablation->edits[e].op)) c->needed[ablation->edits[e].layer] = 1;
    }
    if (status == SAH_OK)
        status =
            sah_workspace_new(model->device, sah_threads_here(model->threads), &c->pass.workspace, error);
    if (status == SAH_OK) status = sah_model_exact(model, &c->exact, error);
    if (status == SAH_OK) status = sah_record_new(model, c->forest, &c->record, error);
    if (status == SAH_OK) status = sah_plans_new(config, NULL, 0, &c->none, error);
    return status == SAH_OK ? base_new(c, error) : status;
}

/* A layer of the base pass, then of all others. */
static sah_status climb_layer(climb *c, int l, sah_error *error)
{
    const sah_config *config = &c->model->config;
    const sah_snapshot *unused;
    sah_status status = sah_base_take(c->base, c->pass.workspace, l, &unused, error);
    if (status == SAH_OK && c->needed[l] > 0)
        status = sah_donor_walk_take(c->walk, c->pass.workspace, l, &c->donors[l], error);
    if (status == SAH_OK) status = sah_layer_take(c->model, l, sah_layer_next(c->model, l), error);
    if (status != SAH_OK) return status;
    for (size_t i = 0; i < c->n && status == SAH_OK; i++) {
        lane *own = &c->lanes[i];
        c->states.kept = sah_lent_kv(&own->lent, config, l);
        status = sah_block(&c->pass, l, &own->plans[l], &c->states, own->x,
                           l < config->n_layers - 1 ? own->x : own->ends, error);
    }
    sah_layer_release(c->model, l);
    if (c->needed[l] > 0) sah_donor_walk_release(c->walk, l, 1);
    return status;
}

static sah_status run(const sah_model *model, const sah_forest *forest, const sah_edit_list *ablations,
                      size_t n, float *hidden, sah_error *error)
{
    const int64_t d = model->config.d_model;
    climb c = {.model = model, .forest = forest, .n = n};
    sah_status status = climb_new(&c, ablations, error);
    c.pass.record = &c.record;
    c.pass.donors = c.donors;
    for (int l = 0; l < model->config.n_layers && status == SAH_OK; l++) status = climb_layer(&c, l, error);
    for (size_t i = 0; i < n && status == SAH_OK; i++) {
        float *ends = c.lanes[i].ends;
        sah_final_norm(model, c.pass.workspace, ends, forest->n_ends, ends);
        status = sah_spread_ends(model->device, forest, ends, d, hidden + (int64_t)i * forest->n_prompts * d,
                                 error);
    }
    climb_free(&c);
    return status;
}

sah_status sah_forward_beside(const sah_model *model, const sah_forest *forest,
                              const sah_edit_list *ablations, size_t n, float *hidden, sah_error *error)
{
    const sah_config *config = &model->config;
    const size_t d = (size_t)config->d_model;
    const uint64_t row = (uint64_t)d + (uint64_t)sah_lent_widths(config),
                   each = ((uint64_t)forest->n_nodes * row + (uint64_t)forest->n_ends * d) * sizeof(float);
    uint64_t most = sah_model_weight_bytes(model), fit;
    sah_status status = SAH_OK;
    if (most < ROWS_BYTES) most = ROWS_BYTES;
    most =
        sah_device_most(model->device, sah_record_bytes(config, forest) + sah_model_exact_bytes(model), most);
    fit = each < most ? most / each : 1;
    if (fit > SAH_MOST_BESIDE) fit = SAH_MOST_BESIDE;
    for (size_t from = 0; from < n && status == SAH_OK; from += fit) {
        const size_t now = n - from < fit ? n - from : (size_t)fit;
        status =
            run(model, forest, ablations + from, now, hidden + from * (size_t)forest->n_prompts * d, error);
    }
    return status;
}
