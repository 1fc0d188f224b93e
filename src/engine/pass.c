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

/* Rows of a block for each thread, at most. Weights stream through the second-level cache once a block:
 * blocks of 64 rows made the products 5 % slower, more than 256 gain 3 % on one machine and nothing on
 * another. Products of whole tiles of rows are up to 3 % faster than others. */
enum { BLOCK_ROWS = 256, TILE_ROWS = 16 };

/* Blocks of nearly equal size, so that few different primitives are made. */
int64_t sah_pass_block(const sah_pass *pass, int64_t rows)
{
    int64_t most = (int64_t)BLOCK_ROWS * sah_workspace_threads(pass->workspace);
    int64_t blocks = (rows + most - 1) / most;
    int64_t even = blocks > 0 ? (rows + blocks - 1) / blocks : 1;
    int64_t tiles = (even + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
    return tiles < rows ? tiles : rows > 0 ? rows : 1;
}

static sah_status make_angles(const sah_rope *rope, int64_t n_positions, sah_angles *out, sah_error *error)
{
    int64_t half = rope->dims / 2;
    double *frequency = sah_alloc((size_t)half, sizeof *frequency);
    out->cosine = sah_alloc_aligned((size_t)(2 * n_positions * half), sizeof *out->cosine);
    out->sine = out->cosine ? out->cosine + n_positions * half : NULL;
    if (!frequency || !out->cosine) {
        free(frequency);
        return sah_fail_memory(error, "rotary angles");
    }
    sah_rope_frequencies(rope, frequency);
    for (int64_t p = 0; p < n_positions; p++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * frequency[i], factor = (double)rope->attention_factor;
            out->cosine[p * half + i] = (float)(factor * cos(angle));
            out->sine[p * half + i] = (float)(factor * sin(angle));
        }
    free(frequency);
    return SAH_OK;
}

sah_status sah_pass_begin(const sah_model *model, int64_t n_positions, sah_pass *out, sah_error *error)
{
    const sah_config *c = &model->config;
    sah_status status = SAH_OK;
    *out = (sah_pass){.model = model};
    if (model->positions && n_positions > c->max_positions)
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
        status = make_angles(rope, n_positions, &out->angles[i], error);
    }
    return status;
}

void sah_pass_end(sah_pass *pass)
{
    for (int i = 0; i < SAH_MAX_ROPES; i++) {
        free(pass->angles[i].cosine);
        pass->angles[i] = (sah_angles){0};
    }
    free(pass->given);
    pass->given = NULL;
}

/* What layers are given of a forest's tokens. */
static sah_status make_inputs(const sah_model *model, const sah_forest *f, sah_pass *out, sah_error *error)
{
    const size_t n = (size_t)f->n_nodes, all = sah_inputs_width(&model->config);
    sah_workspace *ws = NULL;
    if (all == 0) return SAH_OK;
    float *x = sah_alloc_aligned(n * (size_t)model->config.d_model, sizeof *x);
    out->given = sah_alloc_aligned(n * all, sizeof *out->given);
    sah_status status = x && out->given ? sah_workspace_new(model->threads, &ws, error)
                                        : sah_fail_memory(error, "the layers' inputs");
    if (status == SAH_OK) {
        sah_embed(model, f->token, f->depth, f->n_nodes, x);
        status = sah_inputs_make(model, ws, f->token, f->n_nodes, x, out->given, error);
    }
    sah_workspace_free(ws);
    free(x);
    return status;
}

sah_status sah_pass_over(const sah_model *model, const sah_forest *f, sah_pass *out, sah_error *error)
{
    int32_t longest = f->longest;
    if (f->donors && f->donors->forest->longest > longest) longest = f->donors->forest->longest;
    sah_status status = sah_pass_begin(model, longest, out, error);
    out->nodes = (sah_view){
        .n = f->n_nodes,
        .position = f->depth,
        .source = f->source,
        .segments = f->segments,
        .n_segments = f->n_segments,
    };
    out->kept = out->nodes;
    out->ends = (sah_view){
        .n = f->n_ends,
        .position = f->end_depth,
        .source = f->end_source,
        .node = f->ends,
        .given = f->ends,
        .segments = f->end_segments,
        .n_segments = f->n_end_segments,
    };
    return status == SAH_OK ? make_inputs(model, f, out, error) : status;
}

const sah_view *sah_pass_view(const sah_pass *pass, int layer)
{
    return layer == pass->model->config.n_layers - 1 ? &pass->ends : &pass->nodes;
}

void sah_embed(const sah_model *model, const int32_t *tokens, const int32_t *positions, int64_t n, float *x)
{
    const sah_matrix *embedding = &model->checkpoint->embedding;
    float scale = model->config.embedding_scale;
    int d = model->config.d_model;
#pragma omp parallel for schedule(static) if (n > 64) num_threads(model->threads)
    for (int64_t i = 0; i < n; i++) {
        float *row = x + i * d;
        sah_matrix_read(embedding, (size_t)tokens[i], 1, row);
        if (scale < 1.0f || scale > 1.0f) sah_vector_scale(row, d, scale);
        if (model->positions) sah_vector_add(model->positions + (int64_t)positions[i] * d, d, row);
    }
}

/* Of one row. */
static void norm_row(const sah_config *c, const float *x, const sah_norm *norm, float *y)
{
    if (c->norm == SAH_NORM_LAYER)
        sah_layer_norm(x, norm->weight, norm->bias, c->norm_eps, c->d_model, y);
    else
        sah_rms_norm(x, norm->weight, c->norm_eps, c->d_model, y);
}

void sah_norm_rows(const sah_pass *pass, const float *x, const sah_norm *norm, int64_t rows, float *y)
{
    const sah_config *c = &pass->model->config;
    int threads = sah_workspace_threads(pass->workspace);
    int64_t d = c->d_model;
    if (!norm->weight) {
        if (x != y) memcpy(y, x, (size_t)(rows * d) * sizeof *y);
        return;
    }
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) norm_row(c, x + r * d, norm, y + r * d);
    sah_workspace_enter(pass->workspace, before);
}

bool sah_joins_plainly(const sah_model *model, const sah_norm *norm)
{
    float scale = model->config.residual_scale;
    return !norm->weight && !(scale < 1.0f || scale > 1.0f);
}

void sah_join_rows(const sah_pass *pass, const sah_norm *norm, int64_t rows, float *branch, float *y)
{
    const sah_config *c = &pass->model->config;
    int threads = sah_workspace_threads(pass->workspace), d = c->d_model;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        float *row = branch + r * d;
        if (norm->weight) norm_row(c, row, norm, row);
        sah_vector_add_scaled(row, d, c->residual_scale, y + r * d);
    }
    sah_workspace_enter(pass->workspace, before);
}

void sah_add_bias(const sah_pass *pass, const float *bias, int width, int64_t rows, float *x)
{
    int threads = sah_workspace_threads(pass->workspace);
    if (!bias) return;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) sah_vector_add(bias, width, x + r * width);
    sah_workspace_enter(pass->workspace, before);
}

void sah_final_norm(const sah_model *model, const float *x, int64_t rows, float *hidden)
{
    int64_t d = model->config.d_model;
    for (int64_t r = 0; r < rows; r++)
        norm_row(&model->config, x + r * d, &model->final_norm, hidden + r * d);
}
