#include "engine/projection.h"

#include <omp.h>

#include "engine/cpu/elementwise.h"
#include "util/error.h"

int64_t sah_qkv_width(const sah_config *config)
{
    return (int64_t)(config->n_heads + 2 * config->n_kv_heads) * config->head_dim;
}

/* One block: norm, product, bias, then QK-norm and RoPE of the q and k heads that `weights` makes. */
typedef struct projection {
    const sah_weights *weights;
    const float *input_norm, *bias, *q_norm, *k_norm;
    int q_heads, k_heads;
} projection;

/* QK-norm and RoPE of n heads that lie side by side in a row. */
static void rotate_heads(const sah_pass *pass, float *states, int n, const float *norm, int32_t position)
{
    const sah_config *c = &pass->model->config;
    int64_t half = c->head_dim / 2;
    for (int h = 0; h < n; h++, states += c->head_dim) {
        if (norm) sah_rms_norm(states, norm, c->norm_eps, c->head_dim, states);
        sah_rotate(states, pass->cosine + position * half, pass->sine + position * half, c->head_dim);
    }
}

/* The part behind the product, of rows [from, from + n) of the whole. */
static void rotate_rows(const sah_pass *pass, const projection *p, const sah_view *view, int64_t from,
                        int64_t n, float *block)
{
    const sah_config *c = &pass->model->config;
    int threads = sah_workspace_threads(pass->workspace);
    int64_t width = sah_weights_outputs(p->weights);
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && n > 8) num_threads(threads)
    for (int64_t r = 0; r < n; r++) {
        float *row = block + r * width;
        int32_t at = view->position[(from + r) % view->n];
        if (p->bias) sah_vector_add(p->bias, (int)width, row);
        rotate_heads(pass, row, p->q_heads, p->q_norm, at);
        rotate_heads(pass, row + p->q_heads * c->head_dim, p->k_heads, p->k_norm, at);
    }
    sah_workspace_enter(pass->workspace, before);
}

static sah_status project_rows(const sah_pass *pass, const projection *p, const sah_view *view,
                               int64_t copies, const float *x, float *out, sah_error *error)
{
    int d = pass->model->config.d_model;
    int64_t rows = copies * view->n, width = sah_weights_outputs(p->weights),
            step = sah_pass_block(pass, rows);
    float *normed = sah_workspace_scratch(pass->workspace, SAH_SLOT_NORMED, (size_t)(step * d));
    if (!normed) return sah_fail_memory(error, "a block of rows");
    for (int64_t from = 0; from < rows; from += step) {
        int64_t n = rows - from < step ? rows - from : step;
        float *block = out + from * width;
        sah_norm_rows(pass, x + from * d, p->input_norm, n, normed);
        sah_status status = sah_product(pass->workspace, p->weights, n, normed, block, false, error);
        if (status != SAH_OK) return status;
        rotate_rows(pass, p, view, from, n, block);
    }
    return SAH_OK;
}

sah_status sah_project(const sah_pass *pass, int layer, int64_t copies, const float *x, const float *y,
                       float *qkv, float *q, sah_error *error)
{
    const sah_config *c = &pass->model->config;
    const sah_layer *weights = &pass->model->layers[layer];
    projection all = {
        .weights = weights->qkv ? weights->qkv : weights->kv,
        .input_norm = weights->input_norm,
        .bias = weights->qkv_bias,
        .q_norm = weights->q_norm,
        .k_norm = weights->k_norm,
        .q_heads = weights->qkv ? c->n_heads : 0,
        .k_heads = c->n_kv_heads,
    };
    projection q_alone = all;
    q_alone.weights = weights->q;
    q_alone.q_heads = c->n_heads;
    q_alone.k_heads = 0;
    if (!weights->qkv && all.bias) all.bias += c->n_heads * c->head_dim;
    sah_status status = project_rows(pass, &all, &pass->nodes, copies, x, qkv, error);
    if (status != SAH_OK || weights->qkv) return status;
    return project_rows(pass, &q_alone, sah_pass_view(pass, layer), copies, y, q, error);
}
