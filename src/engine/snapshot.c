/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/snapshot.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

struct sah_base {
    sah_pass pass; /* without a workspace: each call brings its own */
    const sah_plan *plans;
    const bool *slice;
    int32_t *left; /* [n_layers] candidates that still need the layer */
    sah_snapshot **snapshots; /* [n_layers] */
    float *x; /* [n_nodes, d] residual entering layer `next` */
    float *ends; /* [n_ends, d] residual behind the last layer, once that is made */
    sah_lent lent; /* [n_nodes] rows of each layer that lends */
    float *marked; /* [n_nodes, d] x as it entered the layer `mark`, or NULL */
    int mark;
    int next;
    sah_status status; /* of the walk; what failed once stays failed */
    sah_error error;
    omp_lock_t walk; /* held while walking up; guards x, status, error */
    omp_lock_t books; /* held for a moment; guards next, snapshots, left */
};

static void snapshot_free(const sah_model *model, sah_snapshot *s)
{
    const sah_device *device = model->device;
    if (s == NULL) return;
    for (int h = 0; s->output != NULL && h < model->config.n_heads; h++) sah_weights_free(s->output[h]);
    free(s->output);
    if (s->z_base != s->z) sah_device_free(device, s->z_base);
    sah_device_free(device, s->z);
    sah_device_free(device, s->states.qkv);
    sah_device_free(device, s->states.q);
    sah_device_free(device, s->middle);
    sah_device_free(device, s->branch);
    free(s);
}

void sah_base_free(sah_base *base)
{
    if (base == NULL) return;
    for (int l = 0; base->snapshots != NULL && l < base->pass.model->config.n_layers; l++)
        snapshot_free(base->pass.model, base->snapshots[l]);
    free(base->snapshots);
    free(base->left);
    sah_device_free(base->pass.model->device, base->x);
    sah_device_free(base->pass.model->device, base->marked);
    sah_device_free(base->pass.model->device, base->ends);
    sah_lent_free(&base->lent);
    omp_destroy_lock(&base->walk);
    omp_destroy_lock(&base->books);
    free(base);
}

sah_status sah_base_new(const sah_pass *pass, const sah_forest *forest, const sah_plan *plans,
                        const int32_t *needed, const bool *slice, sah_base **out, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_device *device = pass->model->device;
    sah_base *base = sah_alloc(1, sizeof *base);
    if (base == NULL) return sah_fail_memory(error, "the base pass");
    omp_init_lock(&base->walk);
    omp_init_lock(&base->books);
    base->pass = *pass;
    base->plans = plans;
    base->slice = slice;
    base->left = sah_alloc((size_t)c->n_layers, sizeof *base->left);
    base->snapshots = sah_alloc((size_t)c->n_layers, sizeof(sah_snapshot *));
    base->x = sah_device_alloc(device, (size_t)forest->n_nodes * (size_t)c->d_model, sizeof *base->x);
    base->ends = sah_device_alloc(device, (size_t)forest->n_ends * (size_t)c->d_model, sizeof *base->ends);
    sah_status status = sah_lent_new(device, c, (size_t)forest->n_nodes, &base->lent, error);
    if (status == SAH_OK &&
        (base->left == NULL || base->snapshots == NULL || base->x == NULL || base->ends == NULL))
        status = sah_fail_memory(error, "the base pass");
    if (status == SAH_OK)
        status = sah_embed(pass->model, forest->token, forest->depth, forest->n_nodes, base->x, error);
    if (status != SAH_OK) {
        sah_base_free(base);
        return status;
    }
    memcpy(base->left, needed, (size_t)c->n_layers * sizeof *needed);
    *out = base;
    return SAH_OK;
}

uint64_t sah_snapshot_bytes(const sah_config *config, const sah_forest *forest)
{
    uint64_t row =
        (uint64_t)sah_qkv_width(config) + 2 * (uint64_t)sah_q_width(config) + (uint64_t)config->d_model;
    return (uint64_t)forest->n_nodes * row * sizeof(float);
}

static sah_snapshot *snapshot_alloc(const sah_base *base, int layer)
{
    const sah_config *c = &base->pass.model->config;
    const sah_device *device = base->pass.model->device;
    const sah_view *view = sah_pass_view(&base->pass, layer);
    const sah_layer *weights = &base->pass.model->layers[layer];
    size_t z_width = (size_t)weights->kind.n_heads * (size_t)weights->kind.head_dim, rows = (size_t)view->n,
           size = sizeof(float);
    bool apart = weights->apart, branches = sah_block_branches(&base->pass, layer);
    sah_snapshot *s = sah_alloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->layer = layer;
    s->view = view;
    s->lent = &base->lent;
    s->states.kept = sah_lent_kv(&base->lent, c, layer);
    s->states.qkv = sah_device_alloc(
        device, (size_t)base->pass.nodes.n * (size_t)sah_layer_qkv_width(c, &weights->kind), size);
    s->states.q = apart ? sah_device_alloc(device, rows * (size_t)sah_q_width(c), size) : NULL;
    s->z = sah_device_alloc(device, rows * z_width, size);
    s->z_base = base->plans[layer].n_edits ? sah_device_alloc(device, rows * z_width, size) : s->z;
    s->states.z = s->z_base;
    s->states.unedited = s->z;
    s->middle = sah_device_alloc(device, rows * (size_t)c->d_model, size);
    s->branch = branches ? sah_device_alloc(device, rows * (size_t)c->d_model, size) : NULL;
    s->output = sah_alloc((size_t)c->n_heads, sizeof(sah_weights *));
    if (s->states.qkv == NULL || (apart && s->states.q == NULL) || s->z == NULL || s->z_base == NULL ||
        s->middle == NULL || (branches && s->branch == NULL) || s->output == NULL) {
        snapshot_free(base->pass.model, s);
        return NULL;
    }
    return s;
}

/* Columns [column, column + width) of the output projection. */
typedef struct slice_source {
    const sah_matrix *matrix;
    size_t column, width;
    float *row; /* [threads, matrix columns] */
} slice_source;

static void read_slice(const void *source, size_t row, size_t n, float *out)
{
    const slice_source *s = source;
    float *whole = s->row + (size_t)omp_get_thread_num() * s->matrix->columns;
    for (size_t i = 0; i < n; i++, out += s->width) {
        sah_matrix_read(s->matrix, row + i, 1, whole);
        memcpy(out, whole + s->column, s->width * sizeof *out);
    }
}

static sah_status pack_slices(const sah_base *base, sah_snapshot *s, sah_error *error)
{
    const sah_model *model = base->pass.model;
    const sah_config *c = &model->config;
    const sah_matrix *o = &model->checkpoint->layers[s->layer].o;
    const size_t D = (size_t)model->layers[s->layer].kind.head_dim;
    sah_status status = SAH_OK;
    float *row = sah_alloc((size_t)omp_get_max_threads() * o->columns, sizeof *row);
    if (row == NULL) return sah_fail_memory(error, "a slice of the output projection");
    for (size_t h = 0; h < (size_t)model->layers[s->layer].kind.n_heads && status == SAH_OK; h++) {
        if (!base->slice[(size_t)(s->layer * c->n_heads) + h]) continue;
        slice_source source = {o, h * D, D, row};
        status = sah_weights_new(model->device, c->d_model, (int64_t)D,
                                 (sah_packing){.precision = model->precision}, read_slice, &source,
                                 &s->output[h], error);
    }
    free(row);
    sah_checkpoint_release(model->checkpoint, o->tensor);
    return status;
}

/* The branch, where it has yet to join, in scratch memory for a change; NULL otherwise, or without memory. */
static float *copy_branch(const sah_snapshot *s, const sah_pass *pass)
{
    const int64_t d = pass->model->config.d_model, n = s->view->n;
    float *copy =
        s->branch != NULL ? sah_workspace_scratch(pass->workspace, SAH_SLOT_BRANCH, (size_t)(n * d)) : NULL;
    if (copy != NULL) sah_copy_rows(pass, (sah_rows){s->branch, d, NULL}, n, d, copy);
    return copy;
}

/* Layer `next` of the base pass, its states kept in a snapshot; then one layer up. */
static sah_status step(sah_base *base, sah_workspace *workspace, sah_error *error)
{
    const sah_config *c = &base->pass.model->config;
    sah_pass pass = base->pass;
    int l = base->next;
    float *y = l < c->n_layers - 1 ? base->x : base->ends;
    sah_snapshot *s = snapshot_alloc(base, l);
    if (s == NULL) return sah_fail_memory(error, "the base pass");

    pass.workspace = workspace;
    if (base->marked != NULL && base->mark == l)
        sah_copy_rows(&pass, (sah_rows){base->x, c->d_model, NULL}, pass.nodes.n, c->d_model, base->marked);
    sah_status status = sah_layer_take(pass.model, l, sah_layer_next(pass.model, l), error);
    if (status != SAH_OK) {
        snapshot_free(base->pass.model, s);
        return status;
    }
    status = sah_block_attend(&pass, l, &base->plans[l], 1, &s->states, base->x, s->middle, s->branch, error);
    if (status == SAH_OK && base->left[l] > 0) status = pack_slices(base, s, error);
    if (status == SAH_OK) {
        sah_copy_rows(&pass, (sah_rows){s->middle, c->d_model, NULL}, s->view->n, c->d_model, y);
        float *branch = copy_branch(s, &pass);
        if (s->branch != NULL && branch == NULL) status = sah_fail_memory(error, "the base pass");
        if (branch != NULL) sah_block_join(&pass, l, s->view->n, branch, y);
    }
    if (status == SAH_OK) status = sah_block_finish(&pass, l, s->view->n, y, error);
    sah_layer_release(pass.model, l);
    if (status != SAH_OK || base->left[l] == 0) {
        snapshot_free(base->pass.model, s);
        s = NULL;
    }
    if (status == SAH_OK) {
        omp_set_lock(&base->books);
        base->snapshots[l] = s;
        base->next++;
        omp_unset_lock(&base->books);
    }
    return status;
}

static bool made(sah_base *base, int layer)
{
    omp_set_lock(&base->books);
    bool there = base->next > layer;
    omp_unset_lock(&base->books);
    return there;
}

/* With `walk` held. */
static void walk_to(sah_base *base, sah_workspace *workspace, int layer)
{
    while (base->status == SAH_OK && !made(base, layer)) base->status = step(base, workspace, &base->error);
}

void sah_base_ahead(sah_base *base, sah_workspace *workspace, int layer)
{
    if (made(base, layer) || !omp_test_lock(&base->walk)) return;
    walk_to(base, workspace, layer);
    omp_unset_lock(&base->walk);
}

sah_status sah_base_take(sah_base *base, sah_workspace *workspace, int layer, const sah_snapshot **out,
                         sah_error *error)
{
    sah_status status = SAH_OK;
    if (!made(base, layer)) {
        sah_stage before = sah_workspace_enter(workspace, SAH_STAGE_WAIT);
        omp_set_lock(&base->walk);
        sah_workspace_enter(workspace, before);
        walk_to(base, workspace, layer);
        status = base->status;
        if (status != SAH_OK && error != NULL) *error = base->error;
        omp_unset_lock(&base->walk);
    }
    if (status != SAH_OK) return status;
    omp_set_lock(&base->books);
    *out = base->snapshots[layer];
    omp_unset_lock(&base->books);
    return SAH_OK;
}

sah_status sah_base_mark(sah_base *base, int layer, sah_error *error)
{
    const sah_model *model = base->pass.model;
    const size_t numbers = (size_t)base->pass.nodes.n * (size_t)model->config.d_model;
    base->mark = layer;
    if (base->marked == NULL) base->marked = sah_device_alloc(model->device, numbers, sizeof *base->marked);
    return base->marked != NULL ? SAH_OK : sah_fail_memory(error, "the base pass");
}

void sah_base_return(sah_base *base, sah_workspace *workspace)
{
    sah_pass pass = base->pass;
    const int64_t d = pass.model->config.d_model;
    pass.workspace = workspace;
    sah_copy_rows(&pass, (sah_rows){base->marked, d, NULL}, pass.nodes.n, d, base->x);
    for (int l = base->mark; l < base->next; l++) {
        snapshot_free(pass.model, base->snapshots[l]);
        base->snapshots[l] = NULL;
    }
    base->next = base->mark;
}

const float *sah_base_ends(const sah_base *base)
{
    return base->ends;
}

void sah_base_release(sah_base *base, int layer, int32_t n)
{
    sah_snapshot *done = NULL;
    omp_set_lock(&base->books);
    base->left[layer] -= n;
    if (base->left[layer] == 0) {
        done = base->snapshots[layer];
        base->snapshots[layer] = NULL;
    }
    omp_unset_lock(&base->books);
    snapshot_free(base->pass.model, done);
}

sah_status sah_snapshot_candidate(const sah_snapshot *s, const sah_pass *pass, const sah_plan *plan,
                                  const sah_candidate *candidate, const sah_donor *donor, float *y,
                                  sah_error *error)
{
    const sah_config *c = &pass->model->config;
    sah_workspace *ws = pass->workspace;
    int64_t rows = s->view->n;
    sah_attention at = sah_block_states(pass, s->layer, &s->states, 0);
    sah_plan *extended = NULL;
    at.z = s->z;
    sah_copy_rows(pass, (sah_rows){s->middle, c->d_model, NULL}, rows, c->d_model, y);
    float *branch = copy_branch(s, pass);
    float *z = sah_workspace_scratch(ws, SAH_SLOT_EDITED, (size_t)(rows * at.head_dim));
    if (z == NULL || (s->branch != NULL && branch == NULL)) return sah_fail_memory(error, "an edited head");
    sah_status status = sah_plan_extend(c, plan, candidate->edits, candidate->n_edits, &extended, error);
    for (int h = 0; h < at.n_heads && status == SAH_OK; h++) {
        if (!sah_candidate_edits(candidate, c, h)) continue;
        status = sah_edited_head(pass, s->layer, extended, donor, &at, h, false, z, error);
        if (status != SAH_OK) break;
        const sah_rows of_base = {s->z_base + (int64_t)h * at.head_dim, at.z_stride, NULL};
        ws->device->add(ws, of_base, rows, at.head_dim, -1.0f, z);
        status = sah_product(ws, s->output[h], rows, z, branch != NULL ? branch : y, true, error);
    }
    if (status == SAH_OK && branch != NULL) sah_block_join(pass, s->layer, rows, branch, y);
    sah_plans_free(extended);
    return status;
}
