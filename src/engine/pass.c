#include "engine/pass.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#include "engine/cpu/elementwise.h"
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

sah_status sah_pass_begin(const sah_model *model, int64_t n_positions, sah_pass *out, sah_error *error)
{
    int64_t half = model->config.head_dim / 2;
    *out = (sah_pass){.model = model};
    out->cosine = sah_alloc_aligned((size_t)(2 * n_positions * half), sizeof *out->cosine);
    if (!out->cosine) return sah_fail_memory(error, "rotary angles");
    out->sine = out->cosine + n_positions * half;
    for (int64_t p = 0; p < n_positions; p++)
        for (int64_t i = 0; i < half; i++) {
            double angle = (double)p * model->rope[i];
            out->cosine[p * half + i] = (float)cos(angle);
            out->sine[p * half + i] = (float)sin(angle);
        }
    return SAH_OK;
}

void sah_pass_end(sah_pass *pass)
{
    free(pass->cosine);
    pass->cosine = pass->sine = NULL;
}

sah_status sah_pass_over(const sah_model *model, const sah_forest *f, sah_pass *out, sah_error *error)
{
    sah_status status = sah_pass_begin(model, f->longest, out, error);
    out->nodes = (sah_view){
        .n = f->n_nodes,
        .position = f->depth,
        .segments = f->segments,
        .n_segments = f->n_segments,
    };
    out->ends = (sah_view){
        .n = f->n_ends,
        .position = f->end_depth,
        .node = f->ends,
        .segments = f->end_segments,
        .n_segments = f->n_end_segments,
    };
    return status;
}

const sah_view *sah_pass_view(const sah_pass *pass, int layer)
{
    return layer == pass->model->config.n_layers - 1 ? &pass->ends : &pass->nodes;
}

void sah_embed(const sah_model *model, const int32_t *tokens, int64_t n, float *x)
{
    const sah_matrix *embedding = &model->checkpoint->embedding;
    int64_t d = model->config.d_model;
#pragma omp parallel for schedule(static) if (n > 64) num_threads(model->threads)
    for (int64_t i = 0; i < n; i++) sah_matrix_read(embedding, (size_t)tokens[i], 1, x + i * d);
}

void sah_norm_rows(const sah_pass *pass, const float *x, const float *weight, int64_t rows, float *y)
{
    int d = pass->model->config.d_model, threads = sah_workspace_threads(pass->workspace);
    float eps = pass->model->config.norm_eps;
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && rows > 8) num_threads(threads)
    for (int64_t r = 0; r < rows; r++) sah_rms_norm(x + r * d, weight, eps, d, y + r * d);
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
    int d = model->config.d_model;
    for (int64_t r = 0; r < rows; r++)
        sah_rms_norm(x + r * d, model->final_norm, model->config.norm_eps, d, hidden + r * d);
}
