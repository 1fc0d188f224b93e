/* SPDX-License-Identifier: Apache-2.0 */
/* LFM2: short convolutions in most layers, attention in the others; the first layers dense, experts in the rest, or
 * all dense. */
#include <stdio.h>
#include <string.h>

#include "model/family/experts.h"
#include "util/error.h"

#define MIXERS                                                                                               \
    {SAH_ROLE_Q, "self_attn.q_proj", SAH_CUT_NONE, "attn_q", SAH_CUT_NONE},                                  \
        {SAH_ROLE_K, "self_attn.k_proj", SAH_CUT_NONE, "attn_k", SAH_CUT_NONE},                              \
        {SAH_ROLE_V, "self_attn.v_proj", SAH_CUT_NONE, "attn_v", SAH_CUT_NONE},                              \
        {SAH_ROLE_O, "self_attn.out_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},                       \
        {SAH_ROLE_CONVOLUTION_IN, "conv.in_proj", SAH_CUT_NONE, "shortconv.in_proj", SAH_CUT_NONE},          \
        {SAH_ROLE_CONVOLUTION_O, "conv.out_proj", SAH_CUT_NONE, "shortconv.out_proj", SAH_CUT_NONE},         \
        {SAH_ROLE_GATE, "feed_forward.w1", SAH_CUT_NONE, "ffn_gate", SAH_CUT_NONE},                          \
        {SAH_ROLE_UP, "feed_forward.w3", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},                              \
    {                                                                                                        \
        SAH_ROLE_DOWN, "feed_forward.w2", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE                             \
    }
static const sah_matrix_name matrices[] = {MIXERS, {0}};
static const sah_matrix_name expert_matrices[] = {MIXERS, SAH_EXPERTS("feed_forward", "w1", "w3", "w2"), {0}};
#define VECTORS                                                                                              \
    {SAH_VECTOR_ATTENTION_NORM, "operator_norm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},                \
        {SAH_VECTOR_MLP_NORM, "ffn_norm.weight", "ffn_norm.weight", SAH_WIDTH_MODEL},                        \
        {SAH_VECTOR_Q_NORM, "self_attn.q_layernorm.weight", "attn_q_norm.weight", SAH_WIDTH_HEAD},           \
        {SAH_VECTOR_K_NORM, "self_attn.k_layernorm.weight", "attn_k_norm.weight", SAH_WIDTH_HEAD},           \
    {                                                                                                        \
        SAH_VECTOR_CONVOLUTION_KERNEL, "conv.conv.weight", "shortconv.conv.weight", SAH_WIDTH_MODEL          \
    }
static const sah_vector_name vectors[] = {VECTORS, {0}};
static const sah_vector_name expert_vectors[] = {
    VECTORS, {SAH_VECTOR_CORRECTION, "feed_forward.expert_bias", "exp_probs_b.bias", SAH_WIDTH_EXPERTS}, {0}};

/* The layer's output in front of its projection counts as one head. */
static void set_convolution(sah_config *c, int layer)
{
    sah_layer_kind *kind = &c->layer_kind[layer];
    kind->mixer = SAH_MIXER_CONVOLUTION;
    kind->n_heads = kind->n_kv_heads = 1;
    kind->head_dim = c->d_model;
    kind->rope = -1;
}

static sah_status check(const sah_config *c, const char *where, sah_error *error)
{
    if (c->n_heads * (int64_t)c->head_dim >= c->d_model) return SAH_OK;
    return sah_fail(
        error, SAH_NOT_SUPPORTED,
        "%s: %d heads of width %d are narrower than the model's %d values, which is not supported", where,
        c->n_heads, c->head_dim, c->d_model);
}

/* Files from before transformers had the family name the width of the MLP in their own way. */
static sah_status read_width(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t width, multiple;
    double times;
    bool adjust;
    sah_status status = sah_json_int(json, "block_ff_dim", c->d_ff, 1, SAH_MAX_WIDTH, &width, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "block_auto_adjust_ff_dim", true, &adjust, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "block_multiple_of", 256, 1, SAH_MAX_WIDTH, &multiple, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "block_ffn_dim_multiplier", 1, &times, where, error);
    if (status != SAH_OK) return status;
    if (adjust) {
        const bool none = json_is_null(json_object_get(json, "block_ffn_dim_multiplier"));
        width = 2 * width / 3;
        if (!(times > 0 && times * (double)width + (double)multiple < SAH_MAX_WIDTH))
            return sah_fail(error, SAH_FAILED, "%s: \"block_ffn_dim_multiplier\" is %g", where, times);
        if (!none) width = ((int64_t)(times * (double)width) + multiple - 1) / multiple * multiple;
    }
    if (width < 1) return sah_fail(error, SAH_FAILED, "%s: the MLP has no width", where);
    c->d_ff = (int)width;
    return SAH_OK;
}

static bool listed(const json_t *list, int layer)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_integer_value(json_array_get(list, i)) == layer) return true;
    return false;
}

static sah_status read_layers(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t kernel;
    bool bias;
    const json_t *types = json_object_get(json, "layer_types"),
                 *full = json_object_get(json, "full_attn_idxs");
    sah_status status = sah_json_int(json, "conv_L_cache", 3, 1, SAH_MAX_KERNEL, &kernel, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "conv_bias", false, &bias, where, error);
    if (status == SAH_OK && bias)
        status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"conv_bias\" is not supported", where);
    if (status == SAH_OK) status = sah_json_bool(json, "tie_embedding", c->tied, &c->tied, where, error);
    if (status != SAH_OK) return status;
    if (json_array_size(types) > 0 && json_array_size(types) != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED, "%s: \"layer_types\" has %zu entries for %d layers", where,
                        json_array_size(types), c->n_layers);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    c->delta.kernel = (int)kernel;
    for (int l = 0; l < c->n_layers; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        bool convolves = type != NULL ? strcmp(type, "conv") == 0 : full != NULL && !listed(full, l);
        if (!convolves && json_array_size(types) > 0 && (type == NULL || strcmp(type, "full_attention") != 0))
            return sah_fail(error, SAH_NOT_SUPPORTED, "%s: layer type %s is not supported", where,
                            type != NULL ? type : "?");
        if (convolves) set_convolution(c, l);
    }
    return check(c, where, error);
}

static sah_status read_json(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_width(json, where, c, error);
    return status == SAH_OK ? read_layers(json, where, c, error) : status;
}

/* Layers of convolutions have no key heads there, and the tensors of one. */
static sah_status read_layers_gguf(const sah_gguf *gguf, const char *key, const char *where, sah_config *c,
                                   sah_error *error)
{
    int64_t kernel;
    sah_status status = sah_gguf_int(gguf, key, 3, 1, SAH_MAX_KERNEL, &kernel, error);
    if (status != SAH_OK) return status;
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    c->delta.kernel = (int)kernel;
    for (int l = 0; l < c->n_layers; l++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.shortconv.conv.weight", l);
        if (sah_tensors_find(&gguf->tensors, name) != NULL)
            set_convolution(c, l);
        else
            c->layer_kind[l].n_kv_heads = c->n_kv_heads;
    }
    return check(c, where, error);
}

static sah_status read_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    return read_layers_gguf(gguf, "lfm2.shortconv.l_cache", where, c, error);
}

/* What these two share. */
#define LFM2                                                                                                 \
    .kv_heads = 8, .max_positions = 128000, .theta = 1e6, .epsilon = 1e-5, .tied = true,                     \
    .activation = "silu", .epsilon_key = "norm_eps", .ff_times = 4, .qk_norm = SAH_QK_NORM_HEAD,             \
    .own_types = true, .layers_differ = true, .prefixes = {"model.", ""}, .final_norm = "embedding_norm",    \
    .gguf_final_norm = "token_embd_norm"

const sah_family sah_family_lfm2 = {
    .name = "lfm2",
    .title = "LFM2",
    .architectures = {"Lfm2ForCausalLM"},
    .model_types = {"lfm2"},
    .gguf = "lfm2",
    LFM2,
    .read_json = read_json,
    .read_gguf = read_gguf,
    .matrices = matrices,
    .vectors = vectors,
};

/* ---- Experts ------------------------------------------------------------------------------------------- */

/* In transformers. llama.cpp takes 2^-14 for a sum that is less; the sum of real models is far above either. */
static const float SUM_ADD = 1e-6F;

static sah_status read_moe(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_experts *e = &c->experts;
    int64_t dense;
    double scale;
    bool correction;
    sah_status status = sah_read_experts(json, 32, NULL, 4, "moe_intermediate_size", 1792, e, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "num_dense_layers", 2, 0, INT32_MAX, &dense, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "norm_topk_prob", true, &e->normalise, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "routed_scaling_factor", 1, &scale, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_expert_bias", true, &correction, where, error);
    if (status == SAH_OK && !correction)
        status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"use_expert_bias\" false is not supported", where);
    if (status == SAH_OK) status = read_layers(json, where, c, error);
    if (status != SAH_OK) return status;
    e->router = SAH_ROUTER_SIGMOID;
    e->sum_add = SUM_ADD;
    e->scale = (float)scale;
    for (int l = 0; l < c->n_layers; l++) c->layer_kind[l].experts = l >= dense;
    return SAH_OK;
}

static sah_status read_moe_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_layers_gguf(gguf, "lfm2moe.shortconv.l_cache", where, c, error);
    if (status != SAH_OK) return status;
    c->experts.sum_add = SUM_ADD;
    return sah_read_experts_gguf(gguf, "lfm2moe", SAH_ROUTER_SIGMOID, SAH_NORMALISE_ALWAYS, where, c, error);
}

const sah_family sah_family_lfm2_moe = {
    .name = "lfm2_moe",
    .title = "LFM2-MoE",
    .architectures = {"Lfm2MoeForCausalLM"},
    .model_types = {"lfm2_moe"},
    .gguf = "lfm2moe",
    LFM2,
    .experts = "feed_forward.experts",
    .keys = {"num_experts", "num_local_experts"},
    .read_json = read_moe,
    .read_gguf = read_moe_gguf,
    .matrices = expert_matrices,
    .vectors = expert_vectors,
};
