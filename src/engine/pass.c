/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/pass.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/elementwise.h"
#include "engine/donors.h"
#include "engine/inputs.h"
#include "util/alloc.h"
#include "util/error.h"

/* Products of whole tiles of rows are up to 3 % faster than others. */
enum { TILE_ROWS = 16 };

/* Blocks of nearly equal size, so that few different primitives are made. */
int64_t sah_pass_block(const sah_pass *pass, int64_t rows)
{
    int64_t most = pass->workspace->device->block_rows * pass->workspace->threads;
    int64_t blocks = (rows + most - 1) / most;
    int64_t even = blocks > 0 ? (rows + blocks - 1) / blocks : 1;
    int64_t tiles = (even + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return tiles < rows ? tiles : rows > 0 ? rows : 1;
}

static sah_status make_angles(const sah_device *device, const sah_rope *rope, int64_t n_positions,
                              sah_angles *out, sah_error *error)
{
    int64_t half = rope->dims / 2;
    size_t n = (size_t)(2 * n_positions * half);
    double *frequency = sah_alloc((size_t)half, sizeof *frequency);
    float *cosine = sah_alloc_aligned(n, sizeof *cosine);
    sah_status status =
        frequency != NULL && cosine != NULL ? SAH_OK : sah_fail_memory(error, "rotary angles");
    if (status == SAH_OK) {
        float *sine = cosine + n / 2;
        sah_rope_frequencies(rope, frequency);
        for (int64_t p = 0; p < n_positions; p++)
            for (int64_t i = 0; i < half; i++) {
                double angle = (double)p * frequency[i], factor = (double)rope->attention_factor;
                cosine[p * half + i] = (float)(factor * cos(angle));
                sine[p * half + i] = (float)(factor * sin(angle));
            }
        status = sah_device_move(device, &cosine, n, error);
    }
    free(frequency);
    if (status != SAH_OK) {
        free(cosine);
        return status;
    }
    *out = (sah_angles){cosine, cosine + n / 2};
    return SAH_OK;
}

sah_status sah_pass_begin(const sah_model *model, int64_t n_positions, sah_pass *out, sah_error *error)
{
    const sah_config *c = &model->config;
    sah_status status = SAH_OK;
    *out = (sah_pass){.model = model};
    if (model->positions != NULL && n_positions > c->max_positions)
        return sah_fail(error, SAH_BAD_ARGUMENT,
                        "%" PRId64 " tokens are too many: the model has learned %d positions", n_positions,
                        c->max_positions);
    for (int i = 0; i < c->n_ropes && status == SAH_OK; i++) {
        const sah_rope *rope = &c->ropes[i];
        if (rope->limit > 0 && n_positions > rope->limit)
            return sah_fail(error, SAH_BAD_ARGUMENT,
                            "%" PRId64
                            " tokens are too many: beyond %d the model's rotary scaling changes with "
                            "the length, which is not supported",
                            n_positions, rope->limit);
        status = make_angles(model->device, rope, n_positions, &out->angles[i], error);
    }
    return status;
}

void sah_pass_end(sah_pass *pass)
{
    if (pass->model == NULL) return;
    for (int i = 0; i < SAH_MAX_ROPES; i++) {
        sah_device_free(pass->model->device, pass->angles[i].cosine);
        pass->angles[i] = (sah_angles){0};
    }
    sah_view_forget(pass->model, &pass->nodes);
    sah_view_forget(pass->model, &pass->ends);
    free(pass->branch);
    pass->branch = NULL;
    sah_device_free(pass->model->device, pass->given);
    pass->given = NULL;
}

/* What layers are given of a forest's tokens. */
static sah_status make_inputs(const sah_model *model, const sah_forest *f, sah_pass *out, sah_error *error)
{
    const size_t n = (size_t)f->n_nodes, all = sah_inputs_width(&model->config);
    sah_workspace *ws = NULL;
    if (all == 0) return SAH_OK;
    float *x = sah_device_alloc(model->device, n * (size_t)model->config.d_model, sizeof *x);
    out->given = sah_device_alloc(model->device, n * all, sizeof *out->given);
    sah_status status = x != NULL && out->given != NULL
                            ? sah_workspace_new(model->device, model->threads, &ws, error)
                            : sah_fail_memory(error, "the layers' inputs");
    if (status == SAH_OK) status = sah_embed(model, f->token, f->depth, f->n_nodes, x, error);
    if (status == SAH_OK) status = sah_inputs_make(model, ws, f->token, f->n_nodes, x, out->given, error);
    sah_workspace_free(ws);
    sah_device_free(model->device, x);
    return status;
}

static bool has_states(const sah_config *c)
{
    for (int l = 0; l < c->n_layers; l++)
        if (sah_config_layer(c, l).mixer == SAH_MIXER_DELTA) return true;
    return false;
}

/* Numbers the nodes that segments begin behind by how many of them lie above on their path: since segments come depth
 * first, a state is needed no more when another takes its place. */
static sah_status number_branches(const sah_forest *f, int32_t **out, int32_t *n, sah_error *error)
{
    int32_t *branch = *out = sah_alloc((size_t)f->n_nodes, sizeof *branch);
    *n = 0;
    if (branch == NULL) return sah_fail_memory(error, "the rows of a pass");
    for (int32_t i = 0; i < f->n_nodes; i++) branch[i] = -1;
    for (int32_t k = 0; k < f->n_segments; k++) {
        const sah_segment *segment = &f->segments[k];
        if (segment->depth > 0) branch[segment->path[segment->depth - 1]] = 0;
    }
    for (int32_t k = 0; k < f->n_segments; k++) {
        const sah_segment *segment = &f->segments[k];
        int32_t above = 0;
        for (int d = 0; d < segment->depth + segment->n; d++)
            if (branch[segment->path[d]] >= 0) branch[segment->path[d]] = above++;
        if (above > *n) *n = above;
    }
    return SAH_OK;
}

sah_status sah_pass_over(const sah_model *model, const sah_forest *f, const int32_t *end_sequence,
                         sah_pass *out, sah_error *error)
{
    int32_t longest = f->longest, *branch = NULL;
    if (f->donors != NULL && f->donors->forest->longest > longest) longest = f->donors->forest->longest;
    sah_status status = sah_pass_begin(model, longest, out, error);
    sah_view nodes = {
        .n = f->n_nodes,
        .position = f->depth,
        .source = f->donors != NULL ? f->source : NULL,
        .segments = f->segments,
        .n_segments = f->n_segments,
    };
    const sah_view ends = {
        .n = f->n_ends,
        .position = f->end_depth,
        .source = f->donors != NULL ? f->end_source : NULL,
        .node = f->ends,
        .given = f->ends,
        .sequence = end_sequence,
        .segments = f->end_segments,
        .n_segments = f->n_end_segments,
    };
    if (status == SAH_OK && has_states(&model->config))
        status = number_branches(f, &branch, &nodes.n_branches, error);
    nodes.branch = branch;
    if (status == SAH_OK) status = sah_view_lend(model, &nodes, &out->nodes, error);
    if (status == SAH_OK) status = sah_view_lend(model, &ends, &out->ends, error);
    out->kept = out->nodes;
    if (model->device->host)
        out->branch = branch;
    else
        free(branch);
    return status == SAH_OK ? make_inputs(model, f, out, error) : status;
}

sah_status sah_view_lend(const sah_model *model, const sah_view *rows, sah_view *out, sah_error *error)
{
    const sah_device *device = model->device;
    const size_t n = (size_t)rows->n, size = sizeof *rows->position;
    const void *position = NULL, *source = NULL, *node = NULL, *given = NULL, *sequence = NULL,
               *branch = NULL;
    *out = *rows;
    out->segments = NULL;
    sah_status status = sah_device_lend(device, rows->position, n, size, &position, error);
    if (status == SAH_OK) status = sah_device_lend(device, rows->source, n, size, &source, error);
    if (status == SAH_OK) status = sah_device_lend(device, rows->node, n, size, &node, error);
    if (status == SAH_OK) status = sah_device_lend(device, rows->given, n, size, &given, error);
    if (status == SAH_OK) status = sah_device_lend(device, rows->sequence, n, size, &sequence, error);
    if (status == SAH_OK) status = sah_device_lend(device, rows->branch, n, size, &branch, error);
    if (status == SAH_OK)
        status = sah_device_lend_segments(device, rows->segments, rows->n_segments, &out->segments, error);
    out->position = position;
    out->source = source;
    out->node = node;
    out->given = given;
    out->sequence = sequence;
    out->branch = branch;
    return status;
}

void sah_view_forget(const sah_model *model, sah_view *view)
{
    sah_device_forget(model->device, view->position);
    sah_device_forget(model->device, view->source);
    sah_device_forget(model->device, view->node);
    sah_device_forget(model->device, view->given);
    sah_device_forget(model->device, view->sequence);
    sah_device_forget(model->device, view->branch);
    sah_device_forget(model->device, view->segments);
    *view = (sah_view){0};
}

const sah_view *sah_pass_view(const sah_pass *pass, int layer)
{
    return layer == pass->model->config.n_layers - 1 ? &pass->ends : &pass->nodes;
}

sah_status sah_embed(const sah_model *model, const int32_t *tokens, const int32_t *positions, int64_t n,
                     float *x, sah_error *error)
{
    const sah_matrix *embedding = &model->checkpoint->embedding;
    const size_t numbers = (size_t)n * (size_t)model->config.d_model;
    float scale = model->config.embedding_scale;
    float *rows = model->device->host ? x : sah_alloc_aligned(numbers, sizeof *rows);
    int d = model->config.d_model;
    if (rows == NULL) return sah_fail_memory(error, "embeddings");
#pragma omp parallel for schedule(static) if (n > 64) num_threads(model->threads)
    for (int64_t i = 0; i < n; i++) {
        float *row = rows + i * d;
        sah_matrix_read(embedding, (size_t)tokens[i], 1, row);
        if (scale < 1.0f || scale > 1.0f) sah_vector_scale(row, d, scale);
        if (model->positions) sah_vector_add(model->positions + (int64_t)positions[i] * d, d, row);
    }
    sah_status status = model->device->upload(rows, numbers * sizeof *rows, x, error);
    if (rows != x) free(rows);
    return status;
}

/* ---- Operations on rows -------------------------------------------------------------------------------- */

void sah_norm_rows(const sah_pass *pass, const float *x, const sah_norm *norm, int64_t rows, float *y)
{
    const sah_config *c = &pass->model->config;
    sah_workspace *ws = pass->workspace;
    if (norm->weight == NULL) {
        if (x != y) sah_copy_rows(pass, (sah_rows){x, c->d_model, NULL}, rows, c->d_model, y);
        return;
    }
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    ws->device->norm(ws, c, norm, x, rows, y);
    sah_workspace_enter(ws, before);
}

bool sah_joins_plainly(const sah_model *model, const sah_norm *norm)
{
    float scale = model->config.residual_scale;
    return norm->weight == NULL && !(scale < 1.0f || scale > 1.0f);
}

void sah_join_rows(const sah_pass *pass, const sah_norm *norm, int64_t rows, float *branch, float *y)
{
    sah_workspace *ws = pass->workspace;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    ws->device->join(ws, &pass->model->config, norm, branch, rows, y);
    sah_workspace_enter(ws, before);
}

void sah_add_bias(const sah_pass *pass, const float *bias, int width, int64_t rows, float *x)
{
    sah_workspace *ws = pass->workspace;
    if (bias == NULL) return;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ELEMENTWISE);
    ws->device->add(ws, (sah_rows){bias, 0, NULL}, rows, width, 1.0f, x);
    sah_workspace_enter(ws, before);
}

sah_status sah_attend(const sah_pass *pass, const sah_attention *attention, const sah_view *view,
                      sah_error *error)
{
    sah_workspace *ws = pass->workspace;
    sah_stage before = sah_workspace_enter(ws, SAH_STAGE_ATTENTION);
    sah_status status = ws->device->attend(ws, attention, view, error);
    sah_workspace_enter(ws, before);
    return status;
}

void sah_copy_rows(const sah_pass *pass, sah_rows from, int64_t rows, int64_t width, float *to)
{
    pass->workspace->device->copy(pass->workspace, from, rows, width, to, width, NULL);
}

void sah_final_norm(const sah_model *model, sah_workspace *workspace, const float *x, int64_t rows,
                    float *hidden)
{
    workspace->device->norm(workspace, &model->config, &model->final_norm, x, rows, hidden);
}
