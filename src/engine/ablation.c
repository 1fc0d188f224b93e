/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/ablation.h"

#include <stdlib.h>
#include <string.h>

#include "engine/projection.h"
#include "util/alloc.h"
#include "util/error.h"

/* Query heads that read one key/value head. */
static int group_of(const sah_config *config, int layer)
{
    const sah_layer_kind kind = sah_config_layer(config, layer);
    return kind.n_heads / kind.n_kv_heads;
}

static void plan_add(sah_plan *plan, const sah_edit *edit)
{
    const sah_edit **place = edit->part == SAH_PART_Q   ? plan->q
                             : edit->part == SAH_PART_K ? plan->k
                                                        : plan->v;
    if (place[edit->head] != NULL) return;
    place[edit->head] = edit;
    plan->n_edits++;
}

/* `n` empty plans; their arrays lie behind them in one allocation. */
static sah_plan *plans_alloc(const sah_config *config, size_t n)
{
    size_t each = 2 * (size_t)config->n_heads + (size_t)config->n_kv_heads;
    sah_plan *plans = sah_alloc(1, n * sizeof *plans + n * each * sizeof(const sah_edit *));
    if (plans == NULL) return NULL;
    const sah_edit **places = (const sah_edit **)(void *)(plans + n);
    for (size_t l = 0; l < n; l++, places += each) {
        plans[l].q = places;
        plans[l].v = places + config->n_heads;
        plans[l].k = places + 2 * config->n_heads;
    }
    return plans;
}

sah_status sah_plans_new(const sah_config *config, const sah_edit *edits, size_t n, sah_plan **out,
                         sah_error *error)
{
    sah_status status = sah_edits_check(config, edits, n, error);
    if (status != SAH_OK) return status;
    sah_plan *plans = plans_alloc(config, (size_t)config->n_layers);
    if (plans == NULL) return sah_fail_memory(error, "the ablation");
    for (int l = 0; l < config->n_layers; l++) plans[l].group = group_of(config, l);
    for (size_t i = 0; i < n; i++) plan_add(&plans[edits[i].layer], &edits[i]);
    *out = plans;
    return SAH_OK;
}

sah_status sah_plan_extend(const sah_config *config, const sah_plan *plan, const sah_edit *more, int n,
                           sah_plan **out, sah_error *error)
{
    sah_plan *copy = plans_alloc(config, 1);
    if (copy == NULL) return sah_fail_memory(error, "the ablation");
    memcpy(copy->q, plan->q, (size_t)config->n_heads * sizeof *plan->q);
    memcpy(copy->v, plan->v, (size_t)config->n_heads * sizeof *plan->v);
    memcpy(copy->k, plan->k, (size_t)config->n_kv_heads * sizeof *plan->k);
    copy->n_edits = plan->n_edits;
    copy->group = plan->group;
    for (int i = 0; i < n; i++) plan_add(copy, &more[i]);
    *out = copy;
    return SAH_OK;
}

void sah_plans_free(sah_plan *plans)
{
    free(plans);
}

bool sah_plan_touches(const sah_plan *plan, int head)
{
    return plan->q[head] != NULL || plan->v[head] != NULL || plan->k[head / plan->group] != NULL;
}

static bool takes_donor(const sah_edit *edit)
{
    return edit != NULL && sah_op_takes_donors(edit->op);
}

/* Rows of `out` [rows, width] that have a donor become its states, `from`, of the same head; `turned`: they are
 * behind RoPE. */
static void stand_in(const sah_pass *pass, int layer, const sah_view *rows, const sah_donor *donor,
                     const float *from, int64_t stride, const sah_head_states *own, bool turned, float *out)
{
    sah_workspace *ws = pass->workspace;
    sah_stand_in in = {.states = *own, .source = rows->source, .from = donor->position, .to = rows->position};
    in.states.x = from;
    in.states.stride = stride;
    if (turned) sah_turn_to(pass, layer, &in);
    if (rows->source != NULL) ws->device->stand_in(ws, &in, out);
}

sah_status sah_edited_head(const sah_pass *pass, int layer, const sah_plan *plan, const sah_donor *donor,
                           const sah_attention *at, int head, bool kept, float *out, sah_error *error)
{
    int D = at->head_dim, kv = head / (at->n_heads / at->n_kv_heads);
    const sah_edit *q = plan->q[head], *k = plan->k[kv], *v = plan->v[head];
    const sah_view *view = sah_pass_view(pass, layer), *keys = kept ? &pass->kept : &pass->nodes;
    const sah_head_states of_q = {at->q, at->q_stride, view->n, head, at->n_heads, D},
                          of_k = {at->k, at->k_stride, keys->n, kv, at->n_kv_heads, D},
                          of_z = {at->z, at->z_stride, view->n, head, at->n_heads, D};
    sah_workspace *ws = pass->workspace;
    sah_status status = SAH_OK;
    if ((takes_donor(q) || takes_donor(k) || takes_donor(v)) && donor == NULL)
        return sah_fail(error, SAH_BAD_ARGUMENT, "nothing stands in for head %d-%d", layer, head);
    if ((v != NULL && v->op == SAH_OP_MEAN) || (q == NULL && k == NULL)) {
        ws->device->edit(ws, &of_z, v, out);
        if (takes_donor(v)) stand_in(pass, layer, view, donor, donor->z, donor->z_stride, &of_z, false, out);
        return SAH_OK;
    }

    sah_attention one = *at;
    one.n_heads = one.n_kv_heads = 1;
    one.q = at->q + head * D;
    one.k = at->k + kv * D;
    one.v = at->v + kv * D;
    one.sinks = at->sinks != NULL ? at->sinks + head : NULL;
    one.gate = at->gate != NULL ? at->gate + head * D : NULL;
    one.z = out;
    one.z_stride = D;
    if (q != NULL) {
        float *states = sah_workspace_scratch(ws, SAH_SLOT_EDITED_Q, (size_t)view->n * (size_t)D);
        if (states == NULL) return sah_fail_memory(error, "an edited head");
        ws->device->edit(ws, &of_q, q, states);
        if (takes_donor(q))
            stand_in(pass, layer, view, donor, donor->q, donor->q_stride, &of_q, true, states);
        one.q = states;
        one.q_stride = D;
    }
    if (k != NULL) {
        float *states = sah_workspace_scratch(ws, SAH_SLOT_EDITED_K, (size_t)keys->n * (size_t)D);
        if (states == NULL) return sah_fail_memory(error, "an edited head");
        ws->device->edit(ws, &of_k, k, states);
        if (takes_donor(k))
            stand_in(pass, layer, keys, donor, donor->k, donor->k_stride, &of_k, true, states);
        one.k = states;
        one.k_stride = D;
    }
    status = sah_attend(pass, &one, view, error);
    if (status == SAH_OK && v != NULL && v->op == SAH_OP_SCALE)
        ws->device->scale(ws, out, view->n * D, v->factor);
    if (status == SAH_OK && takes_donor(v))
        stand_in(pass, layer, view, donor, donor->z, donor->z_stride, &of_z, false, out);
    return status;
}
