#include "engine/forward.h"

#include <stdlib.h>
#include <string.h>

#include "util/alloc.h"
#include "util/error.h"

void sah_embed(const sah_model *model, const int32_t *tokens, int64_t n, float *x)
{
    const sah_matrix *embedding = &model->checkpoint->embedding;
    int64_t d = model->config.d_model;
#pragma omp parallel for schedule(static) if (n > 64) num_threads(model->threads)
    for (int64_t i = 0; i < n; i++) sah_matrix_read(embedding, (size_t)tokens[i], 1, x + i * d);
}

void sah_take_ends(const sah_forest *forest, const float *x, int64_t d, float *out)
{
    for (int32_t i = 0; i < forest->n_ends; i++)
        memcpy(out + i * d, x + forest->ends[i] * d, (size_t)d * sizeof *x);
}

void sah_spread_ends(const sah_forest *forest, const float *ends, int64_t d, float *hidden)
{
    for (int32_t i = 0; i < forest->n_prompts; i++)
        memcpy(hidden + i * d, ends + forest->end_of[i] * d, (size_t)d * sizeof *ends);
}

int32_t *sah_end_positions(const sah_forest *forest)
{
    int32_t *positions = sah_alloc((size_t)forest->n_ends, sizeof *positions);
    for (int32_t i = 0; positions && i < forest->n_ends; i++) positions[i] = forest->depth[forest->ends[i]];
    return positions;
}

/* What a pass leaves behind beside its result, each NULL where it is not asked for. */
typedef struct sah_taps {
    float *const *kv; /* as for sah_forward_keep() */
    const sah_observer *observer;
} sah_taps;

/* Shows the ends among the rows of all nodes. */
static sah_status show_ends(const sah_taps *taps, const sah_forest *forest, sah_place place, int layer,
                            const float *states, int64_t stride, int64_t width, sah_error *error)
{
    return sah_show(taps->observer, place, layer, states, stride, width, forest->ends, forest->n_ends, error);
}

sah_attention sah_last_attention_of(const sah_config *config, float *kv, float *q)
{
    sah_attention at = sah_attention_of(config, kv);
    int64_t width = (int64_t)config->n_kv_heads * config->head_dim;
    at.q = at.z = q;
    at.q_stride = at.z_stride = (int64_t)config->n_heads * config->head_dim;
    at.k = kv;
    at.v = kv + width;
    at.k_stride = at.v_stride = 2 * width;
    return at;
}

/* The last layer: keys and values of every node, the rest for the ends alone; ends [n_ends, d] gets their
 * residual. */
static sah_status last_layer(const sah_pass *pass, const sah_forest *forest, const sah_plan *plan,
                             const float *x, float *kv, float *q, float *ends, const sah_observer *observer,
                             sah_error *error)
{
    const sah_config *c = &pass->model->config;
    int last = c->n_layers - 1;
    int64_t d = c->d_model;
    int32_t *positions = sah_end_positions(forest);
    if (!positions) return sah_fail_memory(error, "the forward pass");
    sah_attention at = sah_last_attention_of(c, kv, q);
    sah_take_ends(forest, x, d, ends);
    sah_status status = sah_show(observer, SAH_PLACE_INPUT, last, ends, d, d, NULL, forest->n_ends, error);
    if (status == SAH_OK)
        status = sah_layer_project(pass, last, x, forest->n_nodes, forest->depth, forest->n_nodes, kv, error);
    if (status == SAH_OK)
        status = sah_last_project_q(pass, ends, forest->n_ends, positions, forest->n_ends, q, error);
    if (status == SAH_OK)
        status = sah_layer_attend(pass, plan, &at, forest->end_segments, forest->n_end_segments,
                                  forest->n_ends, forest->n_nodes, error);
    if (status == SAH_OK)
        status = sah_show(observer, SAH_PLACE_HEADS, last, at.z, at.z_stride, at.z_stride, NULL,
                          forest->n_ends, error);
    if (status == SAH_OK)
        status = sah_layer_output(pass, last, at.z, at.z_stride, forest->n_ends, ends, error);
    if (status == SAH_OK)
        status = sah_show(observer, SAH_PLACE_MIDDLE, last, ends, d, d, NULL, forest->n_ends, error);
    if (status == SAH_OK) status = sah_layer_mlp(pass, last, forest->n_ends, ends, error);
    if (status == SAH_OK)
        status = sah_show(observer, SAH_PLACE_INPUT, c->n_layers, ends, d, d, NULL, forest->n_ends, error);
    free(positions);
    return status;
}

/* The keys and values of rows qkv, without q: kv [rows, 2 Hkv D]. */
static void keep_kv(const sah_config *c, const float *qkv, int64_t rows, float *kv)
{
    int64_t width = sah_qkv_width(c), kept = 2 * (int64_t)c->n_kv_heads * c->head_dim;
    for (int64_t r = 0; r < rows; r++)
        memcpy(kv + r * kept, qkv + (r + 1) * width - kept, (size_t)kept * sizeof *kv);
}

static sah_status run_layers(const sah_pass *pass, const sah_forest *forest, const sah_plan *plans, float *x,
                             float *qkv, float *q, float *ends, const sah_taps *taps, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    int64_t n = forest->n_nodes, d = c->d_model, z_width = (int64_t)c->n_heads * c->head_dim;
    float *const *kv = taps->kv;
    sah_attention at = sah_attention_of(c, qkv);
    for (int l = 0; l < c->n_layers - 1; l++) {
        sah_status status = show_ends(taps, forest, SAH_PLACE_INPUT, l, x, d, d, error);
        if (status == SAH_OK) status = sah_layer_project(pass, l, x, n, forest->depth, n, qkv, error);
        if (status == SAH_OK && kv) keep_kv(c, qkv, n, kv[l]);
        if (status == SAH_OK)
            status =
                sah_layer_attend(pass, &plans[l], &at, forest->segments, forest->n_segments, n, n, error);
        if (status == SAH_OK)
            status = show_ends(taps, forest, SAH_PLACE_HEADS, l, at.z, at.z_stride, z_width, error);
        if (status == SAH_OK) status = sah_layer_output(pass, l, at.z, at.z_stride, n, x, error);
        if (status == SAH_OK) status = show_ends(taps, forest, SAH_PLACE_MIDDLE, l, x, d, d, error);
        if (status == SAH_OK) status = sah_layer_mlp(pass, l, n, x, error);
        if (status != SAH_OK) return status;
    }
    return last_layer(pass, forest, &plans[c->n_layers - 1], x, kv ? kv[c->n_layers - 1] : qkv, q, ends,
                      taps->observer, error);
}

/* Final-norm states of the ends. */
static sah_status run_forest(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                             size_t n_edits, const sah_taps *taps, float *ends, sah_error *error)
{
    const sah_config *c = &model->config;
    size_t n = (size_t)forest->n_nodes, n_ends = (size_t)forest->n_ends, d = (size_t)c->d_model;
    sah_pass pass = {.model = model};
    sah_plan *plans = NULL;
    float *cosine = NULL, *sine = NULL;
    float *x = sah_alloc_aligned(n * d, sizeof *x);
    float *qkv = sah_alloc_aligned(n * (size_t)sah_qkv_width(c), sizeof *qkv);
    float *q = sah_alloc_aligned(n_ends * (size_t)(c->n_heads * c->head_dim), sizeof *q);
    sah_status status = x && qkv && q ? SAH_OK : sah_fail_memory(error, "the forward pass");
    if (status == SAH_OK) status = sah_plans_new(c, edits, n_edits, &plans, error);
    if (status == SAH_OK) status = sah_workspace_new(model->threads, &pass.workspace, error);
    if (status == SAH_OK && taps->kv) sah_workspace_fix_rows(pass.workspace); /* decoding goes on from it */
    if (status == SAH_OK) status = sah_angles_new(model, forest->longest, &cosine, &sine, error);
    pass.cosine = cosine;
    pass.sine = sine;
    if (status == SAH_OK) {
        sah_embed(model, forest->token, forest->n_nodes, x);
        status = run_layers(&pass, forest, plans, x, qkv, q, ends, taps, error);
    }
    if (status == SAH_OK) sah_final_norm(model, ends, forest->n_ends, ends);
    sah_workspace_free(pass.workspace);
    sah_plans_free(plans);
    free(cosine);
    free(x);
    free(qkv);
    free(q);
    return status;
}

sah_status sah_forward_ends(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                            size_t n_edits, float *ends, sah_error *error)
{
    return run_forest(model, forest, edits, n_edits, &(sah_taps){0}, ends, error);
}

/* The pass with the ends in memory of its own, spread over the prompts at `hidden` unless that is NULL. */
static sah_status run_prompts(const sah_model *model, const sah_forest *forest, const sah_edit *edits,
                              size_t n_edits, const sah_taps *taps, float *hidden, sah_error *error)
{
    size_t d = (size_t)model->config.d_model;
    float *ends = sah_alloc_aligned((size_t)forest->n_ends * d, sizeof *ends);
    if (!ends) return sah_fail_memory(error, "the forward pass");
    sah_status status = run_forest(model, forest, edits, n_edits, taps, ends, error);
    if (status == SAH_OK && hidden) sah_spread_ends(forest, ends, (int64_t)d, hidden);
    free(ends);
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
