#include "engine/snapshot.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/forward.h"
#include "util/alloc.h"
#include "util/error.h"

struct sah_base {
    const sah_model *model;
    const sah_forest *forest;
    const sah_plan *plans;
    const float *cosine, *sine;
    const bool *slice;
    int32_t *left; /* [n_layers] candidates that still need the layer */
    int32_t *end_positions; /* [n_ends] */
    sah_snapshot **snapshots; /* [n_layers] */
    float *x; /* [n_nodes, d] residual entering layer `next` */
    float *ends; /* [n_ends, d] residual behind the last layer, once that is made */
    int next;
    sah_status status; /* of the walk; what failed once stays failed */
    sah_error error;
    omp_lock_t walk; /* held while walking up; guards x, status, error */
    omp_lock_t books; /* held for a moment; guards next, snapshots, left */
};

static void snapshot_free(sah_snapshot *s, int n_heads)
{
    if (!s) return;
    for (int h = 0; s->output && h < n_heads; h++) sah_weights_free(s->output[h]);
    free(s->output);
    if (s->z_base != s->z) free(s->z_base);
    free(s->z);
    free(s->qkv);
    free(s->q);
    free(s->middle);
    free(s);
}

void sah_base_free(sah_base *base)
{
    if (!base) return;
    for (int l = 0; base->snapshots && l < base->model->config.n_layers; l++)
        snapshot_free(base->snapshots[l], base->model->config.n_heads);
    free(base->snapshots);
    free(base->left);
    free(base->end_positions);
    free(base->x);
    free(base->ends);
    omp_destroy_lock(&base->walk);
    omp_destroy_lock(&base->books);
    free(base);
}

sah_status sah_base_new(const sah_model *model, const sah_forest *forest, const sah_plan *plans,
                        const int32_t *needed, const bool *slice, const float *cosine, const float *sine,
                        sah_base **out, sah_error *error)
{
    const sah_config *c = &model->config;
    sah_base *base = sah_alloc(1, sizeof *base);
    if (!base) return sah_fail_memory(error, "the base pass");
    omp_init_lock(&base->walk);
    omp_init_lock(&base->books);
    base->model = model;
    base->forest = forest;
    base->plans = plans;
    base->slice = slice;
    base->cosine = cosine;
    base->sine = sine;
    base->left = sah_alloc((size_t)c->n_layers, sizeof *base->left);
    base->snapshots = sah_alloc((size_t)c->n_layers, sizeof(sah_snapshot *));
    base->end_positions = sah_end_positions(forest);
    base->x = sah_alloc_aligned((size_t)forest->n_nodes * (size_t)c->d_model, sizeof *base->x);
    base->ends = sah_alloc_aligned((size_t)forest->n_ends * (size_t)c->d_model, sizeof *base->ends);
    if (!base->left || !base->snapshots || !base->end_positions || !base->x || !base->ends) {
        sah_base_free(base);
        return sah_fail_memory(error, "the base pass");
    }
    memcpy(base->left, needed, (size_t)c->n_layers * sizeof *needed);
    sah_embed(model, forest->token, forest->n_nodes, base->x);
    *out = base;
    return SAH_OK;
}

uint64_t sah_snapshot_bytes(const sah_config *config, const sah_forest *forest)
{
    uint64_t z = (uint64_t)config->n_heads * (uint64_t)config->head_dim;
    uint64_t row = (uint64_t)sah_qkv_width(config) + 2 * z + (uint64_t)config->d_model;
    return (uint64_t)forest->n_nodes * row * sizeof(float);
}

static sah_snapshot *snapshot_alloc(const sah_base *base, int layer)
{
    const sah_config *c = &base->model->config;
    const sah_forest *forest = base->forest;
    bool last = layer == c->n_layers - 1;
    size_t z_width = (size_t)(c->n_heads * c->head_dim),
           rows = (size_t)(last ? forest->n_ends : forest->n_nodes);
    sah_snapshot *s = sah_alloc(1, sizeof *s);
    if (!s) return NULL;
    s->layer = layer;
    s->rows = (int64_t)rows;
    s->segments = last ? forest->end_segments : forest->segments;
    s->n_segments = last ? forest->n_end_segments : forest->n_segments;
    s->qkv = sah_alloc_aligned((size_t)forest->n_nodes * (size_t)sah_qkv_width(c), sizeof *s->qkv);
    s->q = last ? sah_alloc_aligned(rows * z_width, sizeof *s->q) : NULL;
    s->z = sah_alloc_aligned(rows * z_width, sizeof *s->z);
    s->z_base = base->plans[layer].n_edits ? sah_alloc_aligned(rows * z_width, sizeof *s->z_base) : s->z;
    s->middle = sah_alloc_aligned(rows * (size_t)c->d_model, sizeof *s->middle);
    s->output = sah_alloc((size_t)c->n_heads, sizeof(sah_weights *));
    if (!s->qkv || (last && !s->q) || !s->z || !s->z_base || !s->middle || !s->output) {
        snapshot_free(s, c->n_heads);
        return NULL;
    }
    s->at = last ? sah_last_attention_of(c, s->qkv, s->q) : sah_attention_of(c, s->qkv);
    s->at.z = s->z;
    s->at.z_stride = (int64_t)z_width;
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
    const sah_model *model = base->model;
    const sah_config *c = &model->config;
    const sah_matrix *o = &model->checkpoint->layers[s->layer].o;
    sah_status status = SAH_OK;
    float *row = sah_alloc((size_t)omp_get_max_threads() * o->columns, sizeof *row);
    if (!row) return sah_fail_memory(error, "a slice of the output projection");
    for (int h = 0; h < c->n_heads && status == SAH_OK; h++) {
        if (!base->slice[s->layer * c->n_heads + h]) continue;
        slice_source source = {o, (size_t)h * (size_t)c->head_dim, (size_t)c->head_dim, row};
        status = sah_weights_new(c->d_model, c->head_dim, model->precision, false, read_slice, &source,
                                 &s->output[h], error);
    }
    free(row);
    return status;
}

/* Layer `next` of the base pass, its states kept in a snapshot; then one layer up. */
static sah_status step(sah_base *base, sah_workspace *workspace, sah_error *error)
{
    const sah_model *model = base->model;
    const sah_config *c = &model->config;
    const sah_forest *forest = base->forest;
    const sah_plan *plan = &base->plans[base->next];
    sah_pass pass = {model, workspace, base->cosine, base->sine};
    int l = base->next;
    int64_t n = forest->n_nodes;
    bool last = l == c->n_layers - 1;
    sah_snapshot *s = snapshot_alloc(base, l);
    if (!s) return sah_fail_memory(error, "the base pass");

    sah_status status = sah_layer_project(&pass, l, base->x, n, forest->depth, n, s->qkv, error);
    if (last) {
        sah_take_ends(forest, base->x, c->d_model, s->middle);
        if (status == SAH_OK)
            status = sah_last_project_q(&pass, s->middle, s->rows, base->end_positions, s->rows, s->q, error);
    } else {
        memcpy(s->middle, base->x, (size_t)n * (size_t)c->d_model * sizeof *s->middle);
    }
    static const sah_plan unedited;
    if (status == SAH_OK)
        status = sah_layer_attend(&pass, &unedited, &s->at, s->segments, s->n_segments, s->rows, n, error);
    if (status == SAH_OK && s->z_base != s->z) {
        sah_attention at = s->at;
        at.z = s->z_base;
        status = sah_layer_attend(&pass, plan, &at, s->segments, s->n_segments, s->rows, n, error);
    }
    if (status == SAH_OK)
        status = sah_layer_output(&pass, l, s->z_base, s->at.z_stride, s->rows, s->middle, error);
    if (status == SAH_OK && base->left[l] > 0) status = pack_slices(base, s, error);
    if (status == SAH_OK && !last) {
        memcpy(base->x, s->middle, (size_t)n * (size_t)c->d_model * sizeof *s->middle);
        status = sah_layer_mlp(&pass, l, n, base->x, error);
    }
    if (status == SAH_OK && last) {
        memcpy(base->ends, s->middle, (size_t)s->rows * (size_t)c->d_model * sizeof *s->middle);
        status = sah_layer_mlp(&pass, l, s->rows, base->ends, error);
    }
    if (status != SAH_OK || base->left[l] == 0) {
        snapshot_free(s, c->n_heads);
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
        if (status != SAH_OK && error) *error = base->error;
        omp_unset_lock(&base->walk);
    }
    if (status != SAH_OK) return status;
    omp_set_lock(&base->books);
    *out = base->snapshots[layer];
    omp_unset_lock(&base->books);
    return SAH_OK;
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
    snapshot_free(done, base->model->config.n_heads);
}
