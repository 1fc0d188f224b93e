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
    for (size_t i = 0, at = 0; i < n; at += prompts[i++].n) {
        d->lengths[i] = prompts[i].n;
        d->first[i] = at;
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

sah_status sah_donors_check(const sah_model *model, const sah_donors *donors, const sah_edit *edits, size_t n,
                            sah_error *error)
{
    for (size_t i = 0; i < n; i++) {
        const bool swap = edits[i].op == SAH_OP_SWAP;
        if (!sah_op_takes_donors(edits[i].op)) continue;
        if (!model->device->host)
            return sah_fail(error, SAH_NOT_SUPPORTED,
                            "%s needs states of other prompts, which only the CPU takes, not %s",
                            swap ? "swap" : "mean-data", model->device->name);
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
    float **means; /* [n_layers] memory of theirs */
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
    free(w->means[layer]);
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
                       .position = w->donors->forest->depth};
}

/* out [rows, heads * D] = means of states [nodes, heads * D] over the donors' positions of each row, turned to
 * position 0 where they are behind RoPE; `one` [D]. False: no memory. */
static bool take_means(const sah_donor_walk *w, int layer, const float *states, int64_t stride, int heads,
                       bool turned, float *out)
{
    const sah_donors *d = w->donors;
    const int D = w->pass.model->layers[layer].kind.head_dim;
    const size_t width = (size_t)heads * (size_t)D, rows = (size_t)d->n_rows;
    double *sum = sah_alloc(rows * width, sizeof *sum);
    double *count = sah_alloc(rows, sizeof *count);
    float *one = sah_alloc(width, sizeof *one);
    bool good = sum != NULL && count != NULL && one != NULL;
    for (size_t i = 0; i < d->n && good; i++) {
        for (size_t p = 0; p < d->lengths[i]; p++) {
            const size_t row = d->kind == SAH_DONOR_MEAN ? 0 : d->lengths[i] - 1 - p;
            memcpy(one, states + d->forest->last[d->first[i] + p] * stride, width * sizeof *one);
            for (int h = 0; h < heads && turned; h++)
                sah_turn_head(&w->pass, layer, one + h * D, (int32_t)p, 0);
            for (size_t j = 0; j < width; j++) sum[row * width + j] += (double)one[j];
            count[row] += 1;
        }
    }
    for (size_t i = 0; i < rows * width && good; i++) out[i] = (float)(sum[i] / count[i / width]);
    free(sum);
    free(count);
    free(one);
    return good;
}

/* The layer's means, in memory of their own. */
static sah_status make_means(sah_donor_walk *w, const sah_snapshot *s, int layer, sah_donor *out,
                             sah_error *error)
{
    const sah_layer_kind *kind = &w->pass.model->layers[layer].kind;
    const sah_donor all = donor_of(w, s, layer);
    const size_t rows = (size_t)w->donors->n_rows, D = (size_t)kind->head_dim,
                 heads = (size_t)kind->n_heads * D, keys = (size_t)kind->n_kv_heads * D;
    float *q = sah_alloc(rows * (2 * heads + keys), sizeof *q), *k = q + rows * heads, *z = k + rows * keys;
    w->means[layer] = q;
    bool good = q != NULL && take_means(w, layer, all.z, all.z_stride, kind->n_heads, false, z);
    if (good && kind->mixer == SAH_MIXER_ATTENTION)
        good = take_means(w, layer, all.q, all.q_stride, kind->n_heads, true, q) &&
               take_means(w, layer, all.k, all.k_stride, kind->n_kv_heads, true, k);
    *out = (sah_donor){.q = q,
                       .k = k,
                       .z = z,
                       .q_stride = (int64_t)heads,
                       .k_stride = (int64_t)keys,
                       .z_stride = (int64_t)heads};
    return good ? SAH_OK : sah_fail_memory(error, "means of states");
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
            status = make_means(w, s, layer, made, error);
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
    sah_status status = sah_donors_check(model, donors, edits, n_edits, error);
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
