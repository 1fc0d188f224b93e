/* SPDX-License-Identifier: Apache-2.0 */
#include "random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cpu/cpu.h"
#include "util/splitmix.h"

typedef struct maker {
    sah_checkpoint *c;
    uint64_t state;
    bool rounded; /* to 16 significant bits */
} maker;

/* In [from, to). */
static float draw(maker *m, double from, double to)
{
    int exponent;
    const double x = from + (to - from) * (double)(sah_splitmix(&m->state) >> 11) * 0x1p-53,
                 fraction = frexp(x, &exponent);
    return (float)(m->rounded ? ldexp(rint(fraction * 0x1p16), exponent - 16) : x);
}

static sah_tensor *tensor_of(maker *m, size_t rows, size_t columns, double from, double to)
{
    sah_tensor *t = sah_tensors_alloc(&m->c->owned, 1, sizeof *t);
    float *values = sah_tensors_alloc(&m->c->owned, rows * columns, sizeof *values);
    assert_true(t && values);
    for (size_t i = 0; i < rows * columns; i++) values[i] = draw(m, from, to);
    static char name[] = "random";
    *t = (sah_tensor){.name = name,
                      .type = SAH_F32,
                      .n_dims = columns > 1 ? 2 : 1,
                      .dims = {rows, columns},
                      .data = (const uint8_t *)values,
                      .bytes = rows * columns * sizeof *values};
    return t;
}

/* Products of normed rows come out of order 1. */
static sah_matrix matrix(maker *m, int rows, int columns)
{
    double size = sqrt(3.0 / columns);
    return (sah_matrix){.tensor = tensor_of(m, (size_t)rows, (size_t)columns, -size, size),
                        .rows = (size_t)rows,
                        .columns = (size_t)columns};
}

static const sah_tensor *norm(maker *m, bool wanted, int n)
{
    return wanted ? tensor_of(m, (size_t)n, 1, 0.5, 1.5) : NULL;
}

static const sah_tensor *bias(maker *m, bool wanted, int n)
{
    return wanted ? tensor_of(m, (size_t)n, 1, -0.3, 0.3) : NULL;
}

static void make_experts(maker *m, sah_layer_files *f)
{
    const sah_config *c = &m->c->config;
    const sah_experts *e = &c->experts;
    int d = c->d_model, all = e->n * e->width;
    f->router = matrix(m, e->n, d);
    f->expert_gate = matrix(m, all, d);
    f->expert_up = matrix(m, all, d);
    f->expert_down = matrix(m, e->n * d, e->width);
    f->router_bias = bias(m, e->bias, e->n);
    f->router_correction = bias(m, e->router == SAH_ROUTER_SIGMOID, e->n);
    f->expert_gate_bias = bias(m, e->bias, all);
    f->expert_up_bias = bias(m, e->bias, all);
    f->expert_down_bias = bias(m, e->bias, e->n * d);
    f->router_norm = norm(m, e->beside, d);
    f->expert_norm = norm(m, e->beside, d);
    f->expert_out_norm = norm(m, e->beside, d);
    f->dense_out_norm = norm(m, e->beside, d);
    f->expert_scale = norm(m, e->beside, e->n);
    if (e->shared_width == 0) return;
    f->shared_gate = matrix(m, e->shared_width, d);
    f->shared_up = matrix(m, e->shared_width, d);
    f->shared_down = matrix(m, d, e->shared_width);
    if (e->shared_gate) f->shared_router = matrix(m, 1, d);
}

static void make_delta(maker *m, const sah_layer_kind *kind, sah_layer_files *f)
{
    const sah_config *c = &m->c->config;
    int d = c->d_model, values = kind->n_heads * kind->head_dim;
    int keys = c->delta.key_heads * c->delta.key_dim, columns = 2 * keys + values;
    f->delta_q = matrix(m, keys, d);
    f->delta_k = matrix(m, keys, d);
    f->delta_v = matrix(m, values, d);
    f->delta_gate = matrix(m, values, d);
    f->delta_write = matrix(m, kind->n_heads, d);
    f->delta_keep = matrix(m, kind->n_heads, d);
    f->delta_kernel = tensor_of(m, (size_t)columns, (size_t)c->delta.kernel, -0.8, 0.8);
    f->delta_rate = tensor_of(m, (size_t)kind->n_heads, 1, -2, 1);
    f->delta_rate_bias = tensor_of(m, (size_t)kind->n_heads, 1, -1, 1);
    f->delta_norm = norm(m, true, kind->head_dim);
}

static void make_layer(maker *m, const random_shape *s, int l)
{
    const sah_config *c = &m->c->config;
    const sah_layer_kind kind = sah_config_layer(c, l);
    sah_layer_files *f = &m->c->layers[l];
    int d = c->d_model, q = kind.n_heads * kind.head_dim, kv = kind.n_kv_heads * kind.head_dim;
    bool row = c->qk_norm == SAH_QK_NORM_ROW, qk = c->qk_norm != SAH_QK_NORM_NONE;
    bool borrows = kind.borrows > 0;
    if (kind.mixer == SAH_MIXER_DELTA) {
        make_delta(m, &kind, f);
    } else if (kind.mixer == SAH_MIXER_CONVOLUTION) {
        f->convolution_in = matrix(m, 3 * d, d);
        f->convolution_kernel = tensor_of(m, (size_t)d, (size_t)c->delta.kernel, -0.8, 0.8);
    } else {
        f->q = matrix(m, q, d);
        if (!borrows) f->k = matrix(m, kv, d);
        if (!borrows && !kind.v_is_k) f->v = matrix(m, kv, d);
        if (c->attention_gate) f->attention_gate = matrix(m, q, d);
    }
    f->o = matrix(m, d, q);
    if (kind.experts) make_experts(m, f);
    if (!kind.experts || c->experts.beside) {
        if (c->gated) f->gate = matrix(m, kind.d_ff, d);
        f->up = matrix(m, kind.d_ff, d);
        f->down = matrix(m, d, kind.d_ff);
    }
    f->input_norm = norm(m, !s->no_norms_in_front, d);
    f->post_norm = norm(m, !s->no_norms_in_front, d);
    f->input_norm_bias = bias(m, s->norm_biases, d);
    f->post_norm_bias = bias(m, s->norm_biases, d);
    f->attention_out_norm = norm(m, s->norms_behind, d);
    f->mlp_out_norm = norm(m, s->norms_behind, d);
    f->q_norm = norm(m, qk, row ? q : kind.head_dim);
    f->k_norm = norm(m, qk && !borrows, row ? kv : kind.head_dim);
    f->q_bias = bias(m, c->qkv_bias, q);
    f->k_bias = bias(m, c->qkv_bias && !borrows, kv);
    f->v_bias = bias(m, c->qkv_bias && !borrows && !kind.v_is_k, kv);
    f->o_bias = bias(m, c->o_bias, d);
    if (c->input_width > 0) f->input_gate = matrix(m, c->input_width, d);
    if (c->input_width > 0) f->input_out = matrix(m, d, c->input_width);
    f->input_out_norm = norm(m, c->input_width > 0, d);
    f->gate_bias = bias(m, c->mlp_bias && c->gated, kind.d_ff);
    f->up_bias = bias(m, c->mlp_bias, kind.d_ff);
    f->down_bias = bias(m, c->mlp_bias, d);
    f->layer_scale = s->scales ? tensor_of(m, 1, 1, 0.3, 1.2) : NULL;
    f->attention_gate_bias = bias(m, c->attention_gate && c->qkv_bias, q);
    f->sinks = s->sinks ? tensor_of(m, (size_t)c->n_heads, 1, -2, 2) : NULL;
}

sah_config random_config(void)
{
    sah_config c = sah_config_neutral();
    c.n_layers = RANDOM_LAYERS;
    c.n_heads = 4;
    c.n_kv_heads = 2;
    c.head_dim = 12;
    c.d_model = 40;
    c.d_ff = 56;
    c.n_vocab = 50;
    c.max_positions = 64;
    c.norm_eps = 1e-5f;
    c.ropes[0].theta = 10000;
    c.ropes[0].dims = 12;
    return c;
}

sah_status random_model_on(const random_shape *s, const sah_device *device, const sah_model_options *options,
                           uint64_t seed, sah_model **out, sah_error *error)
{
    maker m = {calloc(1, sizeof *m.c), seed, options != NULL && options->generates};
    sah_checkpoint *c = m.c;
    c->config = s->config;
    c->tensors = &c->owned;
    c->owned.files = calloc(1, sizeof *c->owned.files); /* one without pages */
    c->owned.n_files = 1;
    c->layers = calloc((size_t)s->config.n_layers, sizeof *c->layers);
    if (s->kinds_differ) {
        sah_layer_kind *kinds = calloc(RANDOM_LAYERS, sizeof *kinds); /* the configuration frees it */
        memcpy(kinds, s->kinds, sizeof s->kinds);
        c->config.layer_kind = kinds;
    }
    const int given = c->config.input_width * c->config.n_layers;
    c->embedding = matrix(&m, c->config.n_vocab, c->config.d_model);
    c->lm_head = matrix(&m, c->config.n_vocab, c->config.d_model);
    if (s->positions) c->positions = matrix(&m, c->config.max_positions, c->config.d_model);
    if (given > 0) c->input_table = matrix(&m, c->config.n_vocab, given);
    if (given > 0) c->input_projection = matrix(&m, given, c->config.d_model);
    c->input_norm = norm(&m, given > 0, c->config.input_width);
    c->final_norm = norm(&m, true, c->config.d_model);
    c->final_norm_bias = bias(&m, s->norm_biases, c->config.d_model);
    for (int l = 0; l < c->config.n_layers; l++) make_layer(&m, s, l);
    return sah_model_of(c, device, options, out, error);
}

sah_model *random_model(const random_shape *s, const sah_model_options *options, uint64_t seed)
{
    sah_error error = {0};
    sah_model *model = NULL;
    if (random_model_on(s, sah_cpu(), options, seed, &model, &error) != SAH_OK) fail_msg("%s", error.message);
    return model;
}
