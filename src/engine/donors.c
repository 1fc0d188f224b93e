/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/donors.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/block.h"
#include "engine/snapshot.h"
#include "util/alloc.h"
#include "util/error.h"

/* ---- Donors -------------------------------------------------------------------------------------------- */

sah_status sah_donors_new(sah_donor_kind kind, const sah_prompt *prompts, size_t n, int32_t n_vocab,
                          sah_donors **out, sah_error *error)
{
    sah_donors *d = sah_alloc(1, sizeof *d);
    size_t *from_start = sah_alloc(n, sizeof *from_start);
    *out = d;
    if (d == NULL || from_start == NULL) {
        free(from_start);
        return sah_fail_memory(error, "the prompts that stand in");
    }
    d->kind = kind;
    d->n = n;
    d->lengths = sah_alloc(n, sizeof *d->lengths);
    d->first = sah_alloc(n, sizeof *d->first);
    sah_status status =
        d->lengths != NULL && d->first != NULL ? SAH_OK : sah_fail_memory(error, "the prompts that stand in");
    if (status == SAH_OK)
        status = sah_forest_new_positions(prompts, from_start, n, n_vocab, &d->forest, error);
    free(from_start);
    if (status != SAH_OK) {
        sah_donors_free(d);
        *out = NULL;
        return status;
    }
    for (size_t i = 0; i < n; d->n_positions += (int64_t)prompts[i++].n) {
        d->lengths[i] = prompts[i].n;
        d->first[i] = (size_t)d->n_positions;
    }
    d->n_rows = kind == SAH_DONOR_PARTNERS ? d->forest->n_nodes
                : kind == SAH_DONOR_MEANS  ? d->forest->longest
                                           : 1;
    return SAH_OK;
}

void sah_donors_free(sah_donors *donors)
{
    if (donors == NULL) return;
    sah_forest_free(donors->forest);
    free(donors->lengths);
    free(donors->first);
    free(donors);
}

int32_t sah_donors_beyond(const sah_donors *donors)
{
    return donors->kind == SAH_DONOR_MEAN ? 0 : -1;
}

void sah_donors_sources(const sah_donors *d, size_t donor, size_t length, size_t n, int32_t *source)
{
    const size_t theirs = d->kind == SAH_DONOR_PARTNERS ? d->lengths[donor] : (size_t)d->n_rows;
    for (size_t p = 0; p < n; p++) {
        const size_t back = length - 1 - p; /* from the end */
        source[p] = sah_donors_beyond(d);
        if (d->kind == SAH_DONOR_MEAN || p >= length || back >= theirs) continue;
        source[p] =
            d->kind == SAH_DONOR_MEANS ? (int32_t)back : d->forest->last[d->first[donor] + theirs - 1 - back];
    }
}

sah_status sah_donors_check(const sah_donors *donors, const sah_edit *edits, size_t n, sah_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const bool swap = edits[i].op == SAH_OP_SWAP;
        if (!sah_op_takes_donors(edits[i].op)) continue;
        if (donors != NULL && (donors->kind == SAH_DONOR_PARTNERS) == swap) continue;
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        swap ? "swap needs partners: prompts whose states stand in for the head's"
                             : "mean-data needs a reference list: queries whose mean stands in for the head");
    }
    return SAH_OK;
}

uint64_t sah_donor_bytes(const sah_config *config, const sah_donors *donors)
{
    return sah_snapshot_bytes(config, donors->forest);
}

/* ---- The walk ------------------------------------------------------------------------------------------ */

struct sah_donor_walk {
    const sah_donors *donors;
    sah_pass pass; /* over the donors' forest, without a workspace */
    sah_plan *plans;
    bool *no_slice;
    sah_base *base;
    int32_t *left; /* [n_layers] */
    sah_donor **layers; /* [n_layers] those that were taken and not let go */
    float **means; /* [n_layers] memory of theirs, the device's */
    pthread_mutex_t lock; /* guards the last three */
};

sah_status sah_donor_walk_new(const sah_model *model, const sah_donors *donors, const int32_t *needed,
                              sah_donor_walk **out, sah_error *error)
{
    const sah_config *c = &model->config;
    size_t layers = (size_t)c->n_layers;
    sah_donor_walk *w = sah_alloc(1, sizeof *w);
    *out = NULL;
    if (w == NULL) return sah_fail_memory(error, "the states that stand in");
    w->donors = donors;
    pthread_mutex_init(&w->lock, NULL);
    sah_status status = sah_pass_over(model, donors->forest, NULL, &w->pass, error);
    w->no_slice = sah_alloc(layers * (size_t)c->n_heads, sizeof *w->no_slice);
    w->left = sah_alloc(layers, sizeof *w->left);
    w->layers = sah_alloc(layers, sizeof(sah_donor *));
    w->means = sah_alloc(layers, sizeof *w->means);
    if (status == SAH_OK && (w->no_slice == NULL || w->left == NULL || w->layers == NULL || w->means == NULL))
        status = sah_fail_memory(error, "the states that stand in");
    if (status == SAH_OK) status = sah_plans_new(c, NULL, 0, &w->plans, error);
    if (status == SAH_OK)
        status = sah_base_new(&w->pass, donors->forest, w->plans, needed, w->no_slice, &w->base, error);
    if (status != SAH_OK) {
        sah_donor_walk_free(w);
        return status;
    }
    memcpy(w->left, needed, layers * sizeof *needed);
    *out = w;
    return SAH_OK;
}

static void let_go(sah_donor_walk *w, int layer)
{
    free(w->layers[layer]);
    sah_device_free(w->pass.model->device, w->means[layer]);
    w->layers[layer] = NULL;
    w->means[layer] = NULL;
}

void sah_donor_walk_free(sah_donor_walk *w)
{
    if (w == NULL) return;
    for (int l = 0; w->layers != NULL && w->means != NULL && l < w->pass.model->config.n_layers; l++)
        let_go(w, l);
    sah_base_free(w->base);
    sah_plans_free(w->plans);
    sah_pass_end(&w->pass);
    free(w->no_slice);
    free(w->left);
    free(w->layers);
    free(w->means);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* A layer's states as they lie in its snapshot. */
static sah_donor donor_of(const sah_donor_walk *w, const sah_snapshot *s, int layer)
{
    const sah_attention at = sah_block_states(&w->pass, layer, &s->states, 0);
    return (sah_donor){.q = at.q,
                       .k = at.k,
                       .z = s->z,
                       .q_stride = at.q_stride,
                       .k_stride = at.k_stride,
                       .z_stride = (int64_t)at.n_heads * at.head_dim,
                       .position = w->pass.nodes.position};
}

/* Where a layer's means are made: one head's states at all positions of the donors, and sums over them. */
typedef struct averaging {
    sah_workspace *workspace;
    const int32_t *source; /* [positions] the nodes, for the device */
    float *there, *states; /* [positions, D] on the device, and for the host */
    double *sum; /* [rows, D] */
    double *count; /* [rows] */
} averaging;

/* Sums of a head's states, the donors' `x` [nodes, n heads * D], and their number, row by row. */
static sah_status add_up(const sah_donor_walk *w, averaging *a, const sah_stand_in *states, sah_error *error)
{
    const sah_donors *d = w->donors;
    const sah_device *device = a->workspace->device;
    const size_t D = (size_t)states->states.width, rows = (size_t)d->n_rows,
                 all = (size_t)states->states.rows;
    device->stand_in(a->workspace, states, a->there);
    sah_status status = device->download(a->there, all * D * sizeof *a->states, a->states, error);
    if (status != SAH_OK) return status;
    memset(a->sum, 0, rows * D * sizeof *a->sum);
    memset(a->count, 0, rows * sizeof *a->count);
    for (size_t i = 0; i < d->n; i++)
        for (size_t p = 0; p < d->lengths[i]; p++) {
            const size_t row = d->kind == SAH_DONOR_MEAN ? 0 : d->lengths[i] - 1 - p;
            const float *one = a->states + (d->first[i] + p) * D;
            for (size_t j = 0; j < D; j++) a->sum[row * D + j] += (double)one[j];
            a->count[row] += 1;
        }
    return SAH_OK;
}

/* out [rows, heads * D] = means of states [nodes, heads * D] over the donors' positions of each row, turned to
 * position 0 where they are behind RoPE. */
static sah_status take_means(const sah_donor_walk *w, averaging *a, int layer, const float *states,
                             int64_t stride, int heads, bool turned, float *out, sah_error *error)
{
    const int D = w->pass.model->layers[layer].kind.head_dim;
    const size_t rows = (size_t)w->donors->n_rows, width = (size_t)heads * (size_t)D;
    sah_status status = SAH_OK;
    for (int h = 0; h < heads && status == SAH_OK; h++) {
        sah_stand_in in = {.states = {states, stride, w->donors->n_positions, h, heads, D},
                           .source = a->source,
                           .from = w->pass.nodes.position};
        if (turned) sah_turn_to(&w->pass, layer, &in);
        status = add_up(w, a, &in, error);
        for (size_t i = 0; i < rows * (size_t)D && status == SAH_OK; i++) {
            const size_t row = i / (size_t)D, column = (size_t)h * (size_t)D + i % (size_t)D;
            out[row * width + column] = (float)(a->sum[i] / a->count[row]);
        }
    }
    return status;
}

static void averaging_free(const sah_device *device, averaging *a)
{
    if (a->states != a->there) free(a->states);
    sah_device_free(device, a->there);
    sah_device_forget(device, a->source);
    free(a->sum);
    free(a->count);
}

static sah_status averaging_new(const sah_donor_walk *w, sah_workspace *workspace, size_t D, averaging *a,
                                sah_error *error)
{
    const sah_donors *d = w->donors;
    const sah_device *device = workspace->device;
    const size_t rows = (size_t)d->n_rows, all = (size_t)d->n_positions;
    const void *source = NULL;
    *a = (averaging){.workspace = workspace};
    sah_status status =
        sah_device_lend(device, d->forest->last, all, sizeof *d->forest->last, &source, error);
    a->source = source;
    a->there = sah_device_alloc(device, all * D, sizeof *a->there);
    a->states = device->host ? a->there : sah_alloc(all * D, sizeof *a->states);
    a->sum = sah_alloc(rows * D, sizeof *a->sum);
    a->count = sah_alloc(rows, sizeof *a->count);
    if (status == SAH_OK && (a->there == NULL || a->states == NULL || a->sum == NULL || a->count == NULL))
        status = sah_fail_memory(error, "means of states");
    return status;
}

/* The layer's means, in memory of their own. */
static sah_status make_means(sah_donor_walk *w, sah_workspace *workspace, const sah_snapshot *s, int layer,
                             sah_donor *out, sah_error *error)
{
    const sah_layer_kind *kind = &w->pass.model->layers[layer].kind;
    const sah_device *device = w->pass.model->device;
    const sah_donor all = donor_of(w, s, layer);
    const size_t rows = (size_t)w->donors->n_rows, D = (size_t)kind->head_dim,
                 heads = (size_t)kind->n_heads * D, keys = (size_t)kind->n_kv_heads * D,
                 each = 2 * heads + keys;
    averaging a;
    float *q = w->means[layer] = sah_device_alloc(device, rows * each, sizeof *q);
    float *host = device->host ? q : sah_alloc(rows * each, sizeof *host);
    sah_status status = averaging_new(w, workspace, D, &a, error);
    if (status == SAH_OK && (q == NULL || host == NULL)) status = sah_fail_memory(error, "means of states");
    if (status == SAH_OK)
        status = take_means(w, &a, layer, all.z, all.z_stride, kind->n_heads, false,
                            host + rows * (heads + keys), error);
    if (status == SAH_OK && kind->mixer == SAH_MIXER_ATTENTION) {
        status = take_means(w, &a, layer, all.q, all.q_stride, kind->n_heads, true, host, error);
        if (status == SAH_OK)
            status = take_means(w, &a, layer, all.k, all.k_stride, kind->n_kv_heads, true,
                                host + rows * heads, error);
    }
    if (status == SAH_OK) status = device->upload(host, rows * each * sizeof *q, q, error);
    if (status == SAH_OK)
        *out = (sah_donor){.q = q,
                           .k = q + rows * heads,
                           .z = q + rows * (heads + keys),
                           .q_stride = (int64_t)heads,
                           .k_stride = (int64_t)keys,
                           .z_stride = (int64_t)heads};
    averaging_free(device, &a);
    if (host != q) free(host);
    return status;
}

sah_status sah_donor_walk_take(sah_donor_walk *w, sah_workspace *workspace, int layer, const sah_donor **out,
                               sah_error *error)
{
    const sah_snapshot *s;
    sah_status status = sah_base_take(w->base, workspace, layer, &s, error);
    if (status != SAH_OK) return status;
    pthread_mutex_lock(&w->lock);
    if (w->layers[layer] == NULL) {
        sah_donor *made = sah_alloc(1, sizeof *made);
        if (made == NULL)
            status = sah_fail_memory(error, "the states that stand in");
        else if (w->donors->kind == SAH_DONOR_PARTNERS)
            *made = donor_of(w, s, layer);
        else
            status = make_means(w, workspace, s, layer, made, error);
        w->layers[layer] = made;
        if (status != SAH_OK) let_go(w, layer);
    }
    *out = w->layers[layer];
    pthread_mutex_unlock(&w->lock);
    return status;
}

void sah_donor_walk_ahead(sah_donor_walk *w, sah_workspace *workspace, int layer)
{
    sah_base_ahead(w->base, workspace, layer);
}

void sah_donor_walk_release(sah_donor_walk *w, int layer, int32_t n)
{
    pthread_mutex_lock(&w->lock);
    w->left[layer] -= n;
    if (w->left[layer] == 0) let_go(w, layer);
    pthread_mutex_unlock(&w->lock);
    sah_base_release(w->base, layer, n);
}

/* ---- All at once --------------------------------------------------------------------------------------- */

sah_status sah_donor_set_new(const sah_model *model, const sah_donors *donors, const sah_edit *edits,
                             size_t n_edits, sah_workspace *workspace, sah_donor_set *out, sah_error *error)
{
    size_t layers = (size_t)model->config.n_layers;
    bool any = false;
    *out = (sah_donor_set){0};
    sah_status status = sah_donors_check(donors, edits, n_edits, error);
    for (size_t i = 0; i < n_edits; i++) any = any || sah_op_takes_donors(edits[i].op);
    if (status != SAH_OK || !any) return status;
    out->needed = sah_alloc(layers, sizeof *out->needed);
    out->layers = sah_alloc(layers, sizeof(const sah_donor *));
    if (out->needed == NULL || out->layers == NULL) return sah_fail_memory(error, "the states that stand in");
    for (size_t i = 0; i < n_edits; i++)
        if (sah_op_takes_donors(edits[i].op)) out->needed[edits[i].layer] = 1;
    status = sah_donor_walk_new(model, donors, out->needed, &out->walk, error);
    for (int l = 0; l < model->config.n_layers && status == SAH_OK; l++)
        if (out->needed[l]) status = sah_donor_walk_take(out->walk, workspace, l, &out->layers[l], error);
    return status;
}

void sah_donor_set_free(sah_donor_set *set)
{
    sah_donor_walk_free(set->walk);
    free(set->needed);
    free(set->layers);
    *set = (sah_donor_set){0};
}
