/* SPDX-License-Identifier: Apache-2.0 */
#include "model/family/roles.h"

#define PLACE(member) offsetof(sah_layer_files, member)
static const sah_role_info roles[SAH_N_ROLES] = {
    [SAH_ROLE_Q] = {PLACE(q), PLACE(q_bias), true, SAH_WIDTH_Q, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_K] = {PLACE(k), PLACE(k_bias), true, SAH_WIDTH_KV, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_V] = {PLACE(v), PLACE(v_bias), true, SAH_WIDTH_KV, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_O] = {PLACE(o), PLACE(o_bias), true, SAH_WIDTH_MODEL, SAH_WIDTH_Q, SAH_HALF_ATTENTION},
    [SAH_ROLE_ATTENTION_GATE] = {PLACE(attention_gate), PLACE(attention_gate_bias), true, SAH_WIDTH_Q,
                                 SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_Q] = {PLACE(delta_q), 0, false, SAH_WIDTH_DELTA_KEY, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_K] = {PLACE(delta_k), 0, false, SAH_WIDTH_DELTA_KEY, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_V] = {PLACE(delta_v), 0, false, SAH_WIDTH_Q, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_GATE] = {PLACE(delta_gate), 0, false, SAH_WIDTH_Q, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_WRITE] = {PLACE(delta_write), 0, false, SAH_WIDTH_HEADS, SAH_WIDTH_MODEL,
                              SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_KEEP] = {PLACE(delta_keep), 0, false, SAH_WIDTH_HEADS, SAH_WIDTH_MODEL,
                             SAH_HALF_ATTENTION},
    [SAH_ROLE_DELTA_O] = {PLACE(o), 0, false, SAH_WIDTH_MODEL, SAH_WIDTH_Q, SAH_HALF_ATTENTION},
    [SAH_ROLE_CONVOLUTION_IN] = {PLACE(convolution_in), 0, false, SAH_WIDTH_CONVOLUTION, SAH_WIDTH_MODEL,
                                 SAH_HALF_ATTENTION},
    [SAH_ROLE_CONVOLUTION_O] = {PLACE(o), 0, false, SAH_WIDTH_MODEL, SAH_WIDTH_MODEL, SAH_HALF_ATTENTION},
    [SAH_ROLE_GATE] = {PLACE(gate), PLACE(gate_bias), true, SAH_WIDTH_FF, SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_UP] = {PLACE(up), PLACE(up_bias), true, SAH_WIDTH_FF, SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_DOWN] = {PLACE(down), PLACE(down_bias), true, SAH_WIDTH_MODEL, SAH_WIDTH_FF, SAH_HALF_MLP},
    [SAH_ROLE_INPUT_GATE] = {PLACE(input_gate), 0, false, SAH_WIDTH_INPUT, SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_INPUT_OUT] = {PLACE(input_out), 0, false, SAH_WIDTH_MODEL, SAH_WIDTH_INPUT, SAH_HALF_MLP},
    [SAH_ROLE_ROUTER] = {PLACE(router), PLACE(router_bias), true, SAH_WIDTH_EXPERTS, SAH_WIDTH_MODEL,
                         SAH_HALF_MLP},
    [SAH_ROLE_EXPERT_GATE] = {PLACE(expert_gate), PLACE(expert_gate_bias), true, SAH_WIDTH_EXPERTS_FF,
                              SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_EXPERT_UP] = {PLACE(expert_up), PLACE(expert_up_bias), true, SAH_WIDTH_EXPERTS_FF,
                            SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_EXPERT_DOWN] = {PLACE(expert_down), PLACE(expert_down_bias), true, SAH_WIDTH_EXPERTS_MODEL,
                              SAH_WIDTH_EXPERT_FF, SAH_HALF_MLP},
    [SAH_ROLE_SHARED_GATE] = {PLACE(shared_gate), 0, false, SAH_WIDTH_SHARED_FF, SAH_WIDTH_MODEL,
                              SAH_HALF_MLP},
    [SAH_ROLE_SHARED_UP] = {PLACE(shared_up), 0, false, SAH_WIDTH_SHARED_FF, SAH_WIDTH_MODEL, SAH_HALF_MLP},
    [SAH_ROLE_SHARED_DOWN] = {PLACE(shared_down), 0, false, SAH_WIDTH_MODEL, SAH_WIDTH_SHARED_FF,
                              SAH_HALF_MLP},
    [SAH_ROLE_SHARED_ROUTER] = {PLACE(shared_router), 0, false, SAH_WIDTH_ONE, SAH_WIDTH_MODEL, SAH_HALF_MLP},
};

static const sah_vector_info vectors[SAH_N_VECTORS] = {
    [SAH_VECTOR_ATTENTION_NORM] = {PLACE(input_norm), PLACE(input_norm_bias), true, SAH_HALF_ATTENTION, false,
                                   true},
    [SAH_VECTOR_MLP_NORM] = {PLACE(post_norm), PLACE(post_norm_bias), true, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_ATTENTION_OUT_NORM] = {PLACE(attention_out_norm), 0, false, SAH_HALF_ATTENTION, false, true},
    [SAH_VECTOR_MLP_OUT_NORM] = {PLACE(mlp_out_norm), 0, false, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_Q_NORM] = {PLACE(q_norm), 0, false, SAH_HALF_ATTENTION, true, true},
    [SAH_VECTOR_K_NORM] = {PLACE(k_norm), 0, false, SAH_HALF_ATTENTION, true, true},
    [SAH_VECTOR_SINKS] = {PLACE(sinks), 0, false, SAH_HALF_ATTENTION, true, false},
    [SAH_VECTOR_LAYER_SCALE] = {PLACE(layer_scale), 0, false, SAH_HALF_MLP, false, false},
    [SAH_VECTOR_INPUT_OUT_NORM] = {PLACE(input_out_norm), 0, false, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_CORRECTION] = {PLACE(router_correction), 0, false, SAH_HALF_MLP, true, false},
    [SAH_VECTOR_ROUTER_NORM] = {PLACE(router_norm), 0, false, SAH_HALF_MLP, true, false},
    [SAH_VECTOR_EXPERT_NORM] = {PLACE(expert_norm), 0, false, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_EXPERT_OUT_NORM] = {PLACE(expert_out_norm), 0, false, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_DENSE_OUT_NORM] = {PLACE(dense_out_norm), 0, false, SAH_HALF_MLP, false, true},
    [SAH_VECTOR_EXPERT_SCALE] = {PLACE(expert_scale), 0, false, SAH_HALF_MLP, true, false},
    [SAH_VECTOR_DELTA_RATE] = {PLACE(delta_rate), 0, false, SAH_HALF_ATTENTION, true, false},
    [SAH_VECTOR_DELTA_RATE_BIAS] = {PLACE(delta_rate_bias), 0, false, SAH_HALF_ATTENTION, true, false},
    [SAH_VECTOR_DELTA_NORM] = {PLACE(delta_norm), 0, false, SAH_HALF_ATTENTION, true, false},
    [SAH_VECTOR_DELTA_KERNEL] = {PLACE(delta_kernel), 0, false, SAH_HALF_ATTENTION, true, false},
    [SAH_VECTOR_CONVOLUTION_KERNEL] = {PLACE(convolution_kernel), 0, false, SAH_HALF_ATTENTION, true, false},
};
#undef PLACE

const sah_role_info *sah_role_of(sah_role role)
{
    return &roles[role];
}

bool sah_layer_has(const sah_config *c, int layer, sah_role role)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    const bool attention = kind.mixer == SAH_MIXER_ATTENTION;
    if ((role == SAH_ROLE_K || role == SAH_ROLE_V) && kind.borrows > 0) return false;
    if (role == SAH_ROLE_V && kind.v_is_k) return false;
    if (role == SAH_ROLE_INPUT_GATE || role == SAH_ROLE_INPUT_OUT) return c->input_width > 0;
    if (role == SAH_ROLE_ATTENTION_GATE) return attention && c->attention_gate;
    if (role >= SAH_ROLE_DELTA_Q && role <= SAH_ROLE_DELTA_O) return kind.mixer == SAH_MIXER_DELTA;
    if (role == SAH_ROLE_CONVOLUTION_IN || role == SAH_ROLE_CONVOLUTION_O)
        return kind.mixer == SAH_MIXER_CONVOLUTION;
    if (role == SAH_ROLE_SHARED_ROUTER && !c->experts.shared_gate) return false;
    if (role >= SAH_ROLE_SHARED_GATE) return kind.experts && c->experts.shared_width > 0;
    if (role >= SAH_ROLE_ROUTER) return kind.experts;
    return roles[role].half == SAH_HALF_ATTENTION ? attention : !kind.experts || c->experts.beside;
}

bool sah_layer_has_vector(const sah_config *c, int layer, sah_vector vector)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    const bool attention = kind.mixer == SAH_MIXER_ATTENTION;
    switch (vector) {
    case SAH_VECTOR_CORRECTION:
        return kind.experts;
    case SAH_VECTOR_ROUTER_NORM:
    case SAH_VECTOR_EXPERT_NORM:
    case SAH_VECTOR_EXPERT_OUT_NORM:
    case SAH_VECTOR_DENSE_OUT_NORM:
    case SAH_VECTOR_EXPERT_SCALE:
        return kind.experts && c->experts.beside;
    case SAH_VECTOR_INPUT_OUT_NORM:
        return c->input_width > 0;
    case SAH_VECTOR_K_NORM:
        if (kind.borrows > 0) return false;
        return attention && c->qk_norm != SAH_QK_NORM_NONE;
    case SAH_VECTOR_Q_NORM:
        return attention && c->qk_norm != SAH_QK_NORM_NONE;
    case SAH_VECTOR_DELTA_RATE:
    case SAH_VECTOR_DELTA_RATE_BIAS:
    case SAH_VECTOR_DELTA_NORM:
    case SAH_VECTOR_DELTA_KERNEL:
        return kind.mixer == SAH_MIXER_DELTA;
    case SAH_VECTOR_CONVOLUTION_KERNEL:
        return kind.mixer == SAH_MIXER_CONVOLUTION;
    default:
        return true;
    }
}

const sah_vector_info *sah_vector_of(sah_vector vector)
{
    return &vectors[vector];
}

static void *at(sah_layer_files *files, size_t place)
{
    return (char *)files + place;
}

sah_matrix *sah_role_matrix(sah_layer_files *files, sah_role role)
{
    return at(files, roles[role].matrix);
}

const sah_tensor **sah_role_bias(sah_layer_files *files, sah_role role)
{
    return roles[role].has_bias ? at(files, roles[role].bias) : NULL;
}

const sah_tensor **sah_vector_place(sah_layer_files *files, sah_vector vector)
{
    return at(files, vectors[vector].place);
}

const sah_tensor **sah_vector_bias(sah_layer_files *files, sah_vector vector)
{
    return vectors[vector].has_bias ? at(files, vectors[vector].bias) : NULL;
}

size_t sah_width_of(const sah_config *c, int layer, sah_width width)
{
    const sah_layer_kind kind = sah_config_layer(c, layer);
    const size_t head = (size_t)kind.head_dim, experts = (size_t)c->experts.n;
    const size_t keys = (size_t)c->delta.key_heads * (size_t)c->delta.key_dim;
    switch (width) {
    case SAH_WIDTH_MODEL:
        return (size_t)c->d_model;
    case SAH_WIDTH_Q:
        return head * (size_t)kind.n_heads;
    case SAH_WIDTH_KV:
        return head * (size_t)kind.n_kv_heads;
    case SAH_WIDTH_HEAD:
        return head;
    case SAH_WIDTH_HEADS:
        return (size_t)kind.n_heads;
    case SAH_WIDTH_DELTA_KEY:
        return keys;
    case SAH_WIDTH_DELTA_ROWS:
        return 2 * keys + head * (size_t)kind.n_heads;
    case SAH_WIDTH_CONVOLUTION:
        return 3 * (size_t)c->d_model;
    case SAH_WIDTH_FF:
        return (size_t)kind.d_ff;
    case SAH_WIDTH_INPUT:
        return (size_t)c->input_width;
    case SAH_WIDTH_EXPERTS:
        return experts;
    case SAH_WIDTH_EXPERTS_FF:
        return experts * (size_t)c->experts.width;
    case SAH_WIDTH_EXPERTS_MODEL:
        return experts * (size_t)c->d_model;
    case SAH_WIDTH_EXPERT_FF:
        return (size_t)c->experts.width;
    case SAH_WIDTH_SHARED_FF:
        return (size_t)c->experts.shared_width;
    case SAH_WIDTH_ONE:
        break;
    }
    return 1;
}
