/* SPDX-License-Identifier: Apache-2.0 */
#include "models/arrangements.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void layer_norms(random_shape *s)
{
    s->config.norm = SAH_NORM_LAYER;
    s->norm_biases = true;
}

static void norms_behind(random_shape *s)
{
    s->norms_behind = true;
}

static void norms_behind_alone(random_shape *s) /* OLMo 2 */
{
    s->norms_behind = s->no_norms_in_front = true;
    s->config.qk_norm = SAH_QK_NORM_ROW;
}

static void norms_of_heads(random_shape *s)
{
    s->config.qk_norm = SAH_QK_NORM_HEAD;
    s->config.v_norm = true;
}

static void caps_and_scales(random_shape *s)
{
    s->config.attention_softcap = 2;
    s->config.final_softcap = 1.5f;
    s->config.attention_scale = 0.4f;
    s->config.embedding_scale = 6.25f;
    s->config.residual_scale = 0.3f;
    s->config.logit_scale = 0.5f;
}

static void gemma(random_shape *s) /* 2: all norms, caps, a window in every other layer, gelu */
{
    caps_and_scales(s);
    norms_behind(s);
    s->config.residual_scale = 1;
    s->config.activation = SAH_ACT_GELU_TANH;
    s->config.sliding_window = 4;
    s->kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].window = l % 2 ? 0 : 4;
}

static void parts_of_heads_turn(random_shape *s)
{
    s->config.ropes[0].dims = 6;
    s->config.ropes[0].attention_factor = 1.25f;
}

static void neighbours_turn(random_shape *s)
{
    s->config.ropes[0].neighbours = true;
    s->config.ropes[0].dims = 8;
}

static void layers_differ(random_shape *s)
{
    s->config.n_ropes = 2;
    s->config.ropes[1] = s->config.ropes[0];
    s->config.ropes[1].theta = 50;
    s->config.ropes[1].dims = 6;
    s->config.sliding_window = 3;
    s->kinds_differ = true;
    s->kinds[0].window = 3;
    s->kinds[1].rope = 1;
    s->kinds[2].rope = -1;
    s->kinds[3].window = 3;
    s->kinds[1].head_dim = 8; /* Gemma 4: narrower heads, more of them for keys and values */
    s->kinds[1].n_kv_heads = 1;
    s->config.qk_norm = SAH_QK_NORM_HEAD;
}

static void last_layer_differs(random_shape *s)
{
    s->kinds_differ = true;
    s->kinds[3].head_dim = 8;
    s->kinds[3].n_kv_heads = 1;
    s->config.ropes[0].dims = 8;
    s->config.qkv_bias = true;
}

static void keys_are_shared(random_shape *s) /* Gemma 4 */
{
    layers_differ(s);
    s->config.v_norm = s->config.qkv_bias = true;
    s->kinds[2] = s->kinds[0];
    s->kinds[2].borrows = 2;
    s->kinds[3] = s->kinds[1];
    s->kinds[3].borrows = 2;
}

static void layers_are_given_inputs(random_shape *s)
{
    s->config.input_width = 6;
    s->config.activation = SAH_ACT_GELU_TANH;
}

static void gemma4(random_shape *s)
{
    keys_are_shared(s);
    norms_behind(s);
    layers_are_given_inputs(s);
    s->scales = true;
    s->kinds[1].v_is_k = true;
    s->config.ropes[0].share = 0.5;
    s->config.mlp_bias = true;
    s->config.d_ff = 80;
    s->kinds[2].d_ff = s->kinds[3].d_ff = 80;
    s->config.attention_scale = 1;
}

static void one_layer_makes_keys(random_shape *s)
{
    s->kinds_differ = true;
    for (int l = 1; l < RANDOM_LAYERS; l++) s->kinds[l].borrows = l;
}

static void plain_mlp(random_shape *s)
{
    s->config.gated = false;
    s->config.activation = SAH_ACT_GELU;
    s->config.mlp_bias = s->config.o_bias = s->config.qkv_bias = true;
}

static void relu_mlp(random_shape *s)
{
    s->config.gated = false;
    s->config.activation = SAH_ACT_RELU_SQUARED;
}

static void other_gates(random_shape *s)
{
    s->config.activation = SAH_ACT_CLAMPED_SWIGLU;
    s->config.activation_limit = 0.5f;
    s->config.activation_alpha = 1.702f;
    s->config.mlp_bias = true;
}

static void parallel(random_shape *s) /* GPT-NeoX */
{
    plain_mlp(s);
    layer_norms(s);
    s->config.residual = SAH_RESIDUAL_PARALLEL;
    s->config.ropes[0].dims = 4;
}

static void parallel_behind(random_shape *s)
{
    s->config.residual = SAH_RESIDUAL_PARALLEL;
    s->config.residual_scale = 0.5f;
    s->norms_behind = true;
}

static void learned_positions(random_shape *s) /* GPT-2 */
{
    plain_mlp(s);
    layer_norms(s);
    s->positions = true;
    s->kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].rope = -1;
}

static void sinks(random_shape *s)
{
    s->sinks = true;
    s->config.sliding_window = 3;
    s->kinds_differ = true;
    s->kinds[1].window = s->kinds[3].window = 3;
}

static void mixtral(random_shape *s)
{
    s->config.experts =
        (sah_experts){.n = 6, .active = 2, .width = 24, .router = SAH_ROUTER_TOP_SOFTMAX, .scale = 1};
    s->kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].experts = true;
}

static void shared_expert(random_shape *s) /* Qwen2-MoE, with a dense layer */
{
    mixtral(s);
    s->config.experts.router = SAH_ROUTER_SOFTMAX_TOP;
    s->config.experts.shared_width = 33;
    s->config.experts.shared_gate = true;
    s->kinds[1].experts = false;
}

static void gpt_oss(random_shape *s)
{
    mixtral(s);
    sinks(s);
    other_gates(s);
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].experts = true;
    s->config.experts.bias = true;
}

static void groups_of_experts(random_shape *s) /* GLM-4-MoE */
{
    mixtral(s);
    s->config.experts = (sah_experts){.n = 12,
                                      .active = 3,
                                      .width = 16,
                                      .shared_width = 20,
                                      .router = SAH_ROUTER_SIGMOID,
                                      .normalise = true,
                                      .scale = 1.5f,
                                      .groups = 4,
                                      .active_groups = 2};
    s->norms_behind = true;
    s->kinds[0].experts = false;
}

static void experts_beside(random_shape *s) /* Gemma 4, with a layer that has none */
{
    mixtral(s);
    s->config.experts.router = SAH_ROUTER_SOFTMAX_TOP;
    s->config.experts.normalise = true;
    s->config.experts.beside = true;
    s->config.experts.logit_scale = 0.7f;
    s->norms_behind = true;
    s->kinds[2].experts = false;
    s->kinds[3].d_ff = 48;
}

static void experts_beside_plainly(random_shape *s) /* with no norm behind both */
{
    experts_beside(s);
    s->norms_behind = false;
}

static void gated_heads(random_shape *s)
{
    s->config.attention_gate = true;
    s->config.qk_norm = SAH_QK_NORM_HEAD;
    s->config.qkv_bias = true;
    s->scales = true;
}

/* Qwen3.5: three layers of the delta rule to one of attention, with more heads of another width. */
static void delta_rule(random_shape *s)
{
    s->config.attention_gate = true;
    s->config.n_heads = 6; /* the most of any layer */
    s->config.delta = (sah_delta){.key_heads = 3, .key_dim = 10, .kernel = 4};
    s->kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++) {
        s->kinds[l].n_heads = 4;
        if (l == 2) continue;
        s->kinds[l].mixer = SAH_MIXER_DELTA;
        s->kinds[l].n_heads = s->kinds[l].n_kv_heads = 6;
        s->kinds[l].head_dim = 8;
    }
    s->config.n_kv_heads = 6;
}

static void delta_rule_with_experts(random_shape *s) /* Qwen3-Next */
{
    shared_expert(s);
    sah_experts experts = s->config.experts;
    delta_rule(s);
    s->config.experts = experts;
    for (int l = 0; l < RANDOM_LAYERS; l++) s->kinds[l].experts = true;
    s->kinds[3].mixer = SAH_MIXER_ATTENTION;
    s->kinds[3].n_heads = 4;
    s->kinds[3].n_kv_heads = 2;
    s->kinds[3].head_dim = 12;
}

/* LFM2: two layers of convolutions to one of attention. */
static void convolutions(random_shape *s)
{
    s->config.qk_norm = SAH_QK_NORM_HEAD;
    s->config.delta.kernel = 3;
    s->kinds_differ = true;
    for (int l = 0; l < RANDOM_LAYERS; l++) {
        if (l == 2) continue;
        s->kinds[l].mixer = SAH_MIXER_CONVOLUTION;
        s->kinds[l].n_heads = s->kinds[l].n_kv_heads = 1;
        s->kinds[l].head_dim = s->config.d_model;
    }
}

const arrangement ARRANGEMENTS[N_ARRANGEMENTS] = {
    {"layer norms", layer_norms},
    {"norms behind", norms_behind},
    {"norms behind alone", norms_behind_alone},
    {"norms of heads", norms_of_heads},
    {"caps and scales", caps_and_scales},
    {"gemma", gemma},
    {"parts of heads turn", parts_of_heads_turn},
    {"neighbours turn", neighbours_turn},
    {"layers differ", layers_differ},
    {"the last layer differs", last_layer_differs},
    {"keys are shared", keys_are_shared},
    {"layers are given inputs", layers_are_given_inputs},
    {"gemma 4", gemma4},
    {"one layer makes keys", one_layer_makes_keys},
    {"plain MLP", plain_mlp},
    {"relu MLP", relu_mlp},
    {"other gates", other_gates},
    {"parallel", parallel},
    {"parallel, norms behind", parallel_behind},
    {"learned positions", learned_positions},
    {"sinks", sinks},
    {"experts: mixtral", mixtral},
    {"experts: one shared", shared_expert},
    {"experts: gpt-oss", gpt_oss},
    {"experts: groups", groups_of_experts},
    {"experts: beside the MLP", experts_beside},
    {"experts: beside, no norm behind", experts_beside_plainly},
    {"gated heads", gated_heads},
    {"delta rule", delta_rule},
    {"delta rule with experts", delta_rule_with_experts},
    {"convolutions", convolutions},
};

random_shape arranged(const arrangement *a)
{
    random_shape shape = {.config = random_config()};
    for (int l = 0; l < RANDOM_LAYERS; l++) shape.kinds[l] = sah_config_layer(&shape.config, l);
    if (a != NULL) a->set(&shape);
    return shape;
}

const arrangement *arrangement_called(const char *name)
{
    for (const arrangement *a = ARRANGEMENTS; a < ARRANGEMENTS + N_ARRANGEMENTS; a++)
        if (strcmp(a->name, name) == 0) return a;
    fail_msg("no arrangement is called %s", name);
    return NULL;
}
