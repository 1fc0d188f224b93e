/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/projection.h"

#include <omp.h>

#include "engine/cpu/elementwise.h"
#include "engine/convolution.h"
#include "engine/delta.h"
#include "util/error.h"

int64_t sah_layer_q_width(const sah_config *config, const sah_layer_kind *kind)
{
    bool gated = config->attention_gate && kind->mixer == SAH_MIXER_ATTENTION;
    return (int64_t)kind->n_heads * kind->head_dim * (gated ? 2 : 1);
}

int64_t sah_layer_qkv_width(const sah_config *config, const sah_layer_kind *kind)
{
    if (kind->mixer == SAH_MIXER_DELTA) return sah_delta_width(config, kind);
    if (kind->mixer == SAH_MIXER_CONVOLUTION) return sah_convolution_width(kind);
    const int64_t kv = kind->borrows > 0 ? 0 : 2 * (int64_t)kind->n_kv_heads * kind->head_dim;
    return sah_layer_q_width(config, kind) + kv;
}

/* The largest of a width over the layers. */
static int64_t most(const sah_config *config, int64_t (*width)(const sah_config *, const sah_layer_kind *))
{
    int64_t largest = 0;
    for (int l = 0; l < (config->layer_kind ? config->n_layers : 1); l++) {
        const sah_layer_kind kind = sah_config_layer(config, l);
        int64_t here = width(config, &kind);
        if (here > largest) largest = here;
    }
    return largest;
}

int64_t sah_q_width(const sah_config *config)
{
    return most(config, sah_layer_q_width);
}

int64_t sah_qkv_width(const sah_config *config)
{
    return most(config, sah_layer_qkv_width);
}

/* One product, and what stands behind it: which heads it makes. */
typedef struct projection {
    const sah_layer *layer;
    const sah_weights *weights;
    const float *bias;
    int q_heads, k_heads, v_heads;
} projection;

/* `n` heads that lie side by side in a row: their norm, then RoPE of each. */
static void turn_heads(const sah_pass *pass, const sah_layer_kind *kind, float *states, int n,
                       const float *norm, int32_t position)
{
    const sah_config *c = &pass->model->config;
    int D = kind->head_dim;
    if (norm && n > 0 && c->qk_norm == SAH_QK_NORM_ROW)
        sah_rms_norm(states, norm, c->norm_eps, n * D, states);
    for (int h = 0; h < n; h++, states += D) {
        if (norm && c->qk_norm == SAH_QK_NORM_HEAD) sah_rms_norm(states, norm, c->norm_eps, D, states);
        if (kind->rope < 0) continue;
        const sah_rope *rope = &c->ropes[kind->rope];
        const sah_angles *angles = &pass->angles[kind->rope];
        int64_t at = (int64_t)position * (rope->dims / 2);
        (rope->neighbours ? sah_rotate_neighbours : sah_rotate)(states, angles->cosine + at,
                                                                angles->sine + at, rope->dims);
    }
}

void sah_turn_head(const sah_pass *pass, int layer, float *states, int32_t from, int32_t to)
{
    const sah_layer_kind *kind = &pass->model->layers[layer].kind;
    if (kind->rope < 0 || from == to) return;
    const sah_rope *rope = &pass->model->config.ropes[kind->rope];
    const sah_angles *angles = &pass->angles[kind->rope];
    int half = rope->dims / 2, next = rope->neighbours ? 1 : half, step = rope->neighbours ? 2 : 1;
    int64_t at = (int64_t)(to > from ? to - from : from - to) * half;
    /* both positions' states carry the factor already */
    float length = 1.0f / rope->attention_factor, sign = to > from ? length : -length;
    for (int i = 0; i < half; i++) {
        float c = length * angles->cosine[at + i], s = sign * angles->sine[at + i], *x = states + i * step;
        float a = x[0], b = x[next];
        x[0] = a * c - b * s;
        x[next] = b * c + a * s;
    }
}

/* The part behind the product, of rows [from, from + n) of the whole. */
static void finish_rows(const sah_pass *pass, const projection *p, const sah_view *view, int64_t from,
                        int64_t n, float *block)
{
    const sah_config *c = &pass->model->config;
    const sah_layer_kind *kind = &p->layer->kind;
    int threads = sah_workspace_threads(pass->workspace), D = kind->head_dim;
    int64_t width = sah_weights_outputs(p->weights);
    sah_stage before = sah_workspace_enter(pass->workspace, SAH_STAGE_ELEMENTWISE);
#pragma omp parallel for if (threads > 1 && n > 8) num_threads(threads)
    for (int64_t r = 0; r < n; r++) {
        float *q = block + r * width, *k = q + (c->attention_gate ? 2 : 1) * p->q_heads * D;
        float *v = k + p->k_heads * D;
        int32_t at = view->position[(from + r) % view->n];
        if (p->bias) sah_vector_add(p->bias, (int)width, q);
        turn_heads(pass, kind, q, p->q_heads, p->layer->q_norm, at);
        turn_heads(pass, kind, k, p->k_heads, p->layer->k_norm, at);
        for (int h = 0; h < p->v_heads && c->v_norm; h++, v += D) sah_rms_norm(v, NULL, c->norm_eps, D, v);
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
        sah_norm_rows(pass, x + from * d, &p->layer->attention_norm, n, normed);
        sah_status status = sah_product(pass->workspace, p->weights, n, normed, block, false, error);
        if (status != SAH_OK) return status;
        finish_rows(pass, p, view, from, n, block);
    }
    return SAH_OK;
}

sah_status sah_project(const sah_pass *pass, int layer, int64_t copies, const float *x, const float *y,
                       float *qkv, float *q, sah_error *error)
{
    const sah_layer *weights = &pass->model->layers[layer];
    const sah_layer_kind *kind = &weights->kind;
    int n_heads = kind->n_heads, n_kv_heads = kind->borrows > 0 ? 0 : kind->n_kv_heads;
    projection all = {weights, weights->qkv, weights->qkv_bias, n_heads, n_kv_heads, n_kv_heads};
    if (kind->mixer != SAH_MIXER_ATTENTION) /* delta.h or convolution.h goes on */
        all.q_heads = all.k_heads = all.v_heads = 0;
    if (!weights->apart) return project_rows(pass, &all, &pass->nodes, copies, x, qkv, error);
    projection q_alone = {weights, weights->q, weights->qkv_bias, n_heads, 0, 0};
    projection kv = {weights, weights->kv, NULL, 0, n_kv_heads, n_kv_heads};
    if (weights->qkv_bias) kv.bias = weights->qkv_bias + sah_layer_q_width(&pass->model->config, kind);
    sah_status status = SAH_OK;
    if (weights->kv) status = project_rows(pass, &kv, &pass->nodes, copies, x, qkv, error);
    if (status != SAH_OK) return status;
    return project_rows(pass, &q_alone, sah_pass_view(pass, layer), copies, y, q, error);
}
