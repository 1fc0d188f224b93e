/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/ablation.h"

#include <stdlib.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
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
    if (place[edit->head]) return;
    place[edit->head] = edit;
    plan->n_edits++;
}

/* `n` empty plans; their arrays lie behind them in one allocation. */
static sah_plan *plans_alloc(const sah_config *config, size_t n)
{
    size_t each = (size_t)(2 * config->n_heads + config->n_kv_heads);
    sah_plan *plans = sah_alloc(1, n * sizeof *plans + n * each * sizeof(const sah_edit *));
    if (!plans) return NULL;
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
    if (!plans) return sah_fail_memory(error, "the ablation");
    for (int l = 0; l < config->n_layers; l++) plans[l].group = group_of(config, l);
    for (size_t i = 0; i < n; i++) plan_add(&plans[edits[i].layer], &edits[i]);
    *out = plans;
    return SAH_OK;
}

sah_status sah_plan_extend(const sah_config *config, const sah_plan *plan, const sah_edit *more, int n,
                           sah_plan **out, sah_error *error)
{
    sah_plan *copy = plans_alloc(config, 1);
    if (!copy) return sah_fail_memory(error, "the ablation");
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
    return plan->q[head] || plan->v[head] || plan->k[head / plan->group];
}

/* out [rows, width] = one head's columns of x under an edit, or their mean over the n heads. */
static void edit_states(const sah_edit *edit, const float *x, int64_t stride, int head, int n, int width,
                        int64_t rows, float *out)
{
    for (int64_t r = 0; r < rows; r++, x += stride, out += width) {
        if (edit->op == SAH_OP_SCALE) {
            for (int i = 0; i < width; i++) out[i] = edit->factor * x[head * width + i];
            continue;
        }
        memcpy(out, x, (size_t)width * sizeof *out);
        for (int h = 1; h < n; h++) sah_vector_add(x + h * width, width, out);
        sah_vector_scale(out, width, 1.0f / (float)n);
    }
}

sah_status sah_edited_head(sah_workspace *workspace, const sah_plan *plan, const sah_attention *at, int head,
                           const sah_segment *segments, int32_t n_segments, int64_t rows, int64_t nodes,
                           float *out, sah_error *error)
{
    int D = at->head_dim, kv = head / (at->n_heads / at->n_kv_heads);
    const sah_edit *q = plan->q[head], *k = plan->k[kv], *v = plan->v[head];
    if (v && v->op == SAH_OP_MEAN) {
        edit_states(v, at->z, at->z_stride, head, at->n_heads, D, rows, out);
        return SAH_OK;
    }
    if (!q && !k) {
        sah_edit keep = {.op = SAH_OP_SCALE, .factor = v ? v->factor : 1.0f};
        edit_states(&keep, at->z, at->z_stride, head, at->n_heads, D, rows, out);
        return SAH_OK;
    }

    sah_attention one = *at;
    one.n_heads = one.n_kv_heads = 1;
    one.q = at->q + head * D;
    one.k = at->k + kv * D;
    one.v = at->v + kv * D;
    one.sinks = at->sinks ? at->sinks + head : NULL;
    one.gate = at->gate ? at->gate + head * D : NULL;
    one.z = out;
    one.z_stride = D;
    if (q) {
        float *states = sah_workspace_scratch(workspace, SAH_SLOT_EDITED_Q, (size_t)rows * (size_t)D);
        if (!states) return sah_fail_memory(error, "an edited head");
        edit_states(q, at->q, at->q_stride, head, at->n_heads, D, rows, states);
        one.q = states;
        one.q_stride = D;
    }
    if (k) {
        float *states = sah_workspace_scratch(workspace, SAH_SLOT_EDITED_K, (size_t)nodes * (size_t)D);
        if (!states) return sah_fail_memory(error, "an edited head");
        edit_states(k, at->k, at->k_stride, kv, at->n_kv_heads, D, nodes, states);
        one.k = states;
        one.k_stride = D;
    }
    sah_status status = sah_attend(workspace, &one, segments, n_segments, error);
    if (status == SAH_OK && v) sah_vector_scale(out, (int)(rows * D), v->factor);
    return status;
}
