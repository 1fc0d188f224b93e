// SPDX-License-Identifier: Apache-2.0
/* Mixtures of experts, a tensor an expert: Mixtral, Qwen2-MoE and Qwen3-MoE (dense layers among them), OLMoE, and
 * GLM-4-MoE (a shared expert, groups, the first layers dense). */
#include "model/family/experts.h"

#include <stdio.h>
#include <string.h>
#include "util/alloc.h"
#include "util/error.h"

static const sah_vector_name plain_norms[] = {SAH_LLAMA_NORMS, {0}};
static const sah_vector_name head_norms[] = {SAH_LLAMA_NORMS, SAH_HEAD_NORMS, {0}};

/* ---- What their settings share ------------------------------------------------------------------------- */

/* The number of experts goes by several names; two that differ are refused. */
static sah_status read_count(const json_t *json, int otherwise, int *out, const char *where, sah_error *error)
{
    static const char *const keys[] = {"num_local_experts", "num_experts", "n_routed_experts"};
    int64_t count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t n;
        sah_status status = sah_json_int(json, keys[i], 0, 1, SAH_MAX_EXPERTS, &n, where, error);
        if (status != SAH_OK) return status;
        if (n > 0 && count > 0 && n != count)
            return sah_fail(error, SAH_FAILED, "%s: \"%s\" is %lld, another key names %lld experts", where,
                            keys[i], (long long)n, (long long)count);
        if (n > 0) count = n;
    }
    *out = count > 0 ? (int)count : otherwise;
    return SAH_OK;
}

sah_status sah_read_experts(const json_t *json, int n, const char *active_key, int active,
                            const char *width_key, int width, sah_experts *e, const char *where,
                            sah_error *error)
{
    int64_t taken, wide;
    if (active_key == NULL) active_key = "num_experts_per_tok";
    sah_status status = read_count(json, n, &e->n, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, active_key, active, 1, SAH_MAX_EXPERTS, &taken, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, width_key, width, 1, SAH_MAX_WIDTH, &wide, where, error);
    if (status != SAH_OK) return status;
    if (e->n < 1 || taken < 1 || wide < 1)
        return sah_fail(error, SAH_FAILED, "%s: \"%s\" is missing", where,
                        e->n < 1    ? "num_experts"
                        : taken < 1 ? active_key
                                    : width_key);
    e->active = (int)taken;
    e->width = (int)wide;
    e->scale = 1;
    return SAH_OK;
}

static bool listed(const json_t *list, int layer)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (json_is_integer(value) && json_integer_value(value) == layer) return true;
    }
    return false;
}

/* Experts in every `step`-th layer from `first` on that `dense` does not list. */
static sah_status set_layers(sah_config *c, int64_t first, int64_t step, const json_t *dense,
                             const char *where, sah_error *error)
{
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++)
        c->layer_kind[l].experts = l >= first && (l + 1) % step == 0 && !listed(dense, l);
    return SAH_OK;
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

static const sah_tensor *layer_tensor(const sah_gguf *gguf, int layer, const char *own)
{
    char name[96];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, own);
    return sah_tensors_find(&gguf->tensors, name);
}

/* How wide an expert is: by its key, else by a tensor [experts, width, model]. */
static sah_status read_width(const sah_gguf *gguf, const char *prefix, int layer, const sah_config *c,
                             sah_experts *e, sah_error *error)
{
    char key[96];
    int64_t width;
    const sah_tensor *gates = layer_tensor(gguf, layer, "ffn_gate_exps");
    const bool known = gates != NULL && gates->n_dims == 3 && gates->dims[1] <= SAH_MAX_WIDTH;
    snprintf(key, sizeof key, "%s.expert_feed_forward_length", prefix);
    sah_status status =
        sah_gguf_int(gguf, key, known ? (int64_t)gates->dims[1] : c->d_ff, 1, SAH_MAX_WIDTH, &width, error);
    e->width = (int)width;
    return status;
}

/* The shared expert of a layer; those of all layers are alike. */
static void read_shared_gguf(const sah_gguf *gguf, int layer, sah_experts *e)
{
    const sah_tensor *gate = layer_tensor(gguf, layer, "ffn_gate_shexp");
    if (gate == NULL || gate->dims[0] > SAH_MAX_WIDTH) return;
    e->shared_width = (int)gate->dims[0];
    e->shared_gate = layer_tensor(gguf, layer, "ffn_gate_inp_shexp") != NULL;
}

sah_status sah_read_experts_gguf(const sah_gguf *gguf, const char *prefix, sah_router router,
                                 sah_normalise normalise, const char *where, sah_config *c, sah_error *error)
{
    static const struct {
        const char *suffix;
        int64_t otherwise, low, high;
    } KEYS[] = {{"expert_count", 0, 1, SAH_MAX_EXPERTS},
                {"expert_used_count", 0, 1, SAH_MAX_EXPERTS},
                {"expert_group_count", 1, 1, SAH_MAX_EXPERT_GROUPS},
                {"expert_group_used_count", 1, 1, SAH_MAX_EXPERT_GROUPS},
                {"expert_gating_func", 0, 0, 2}}; /* 1 softmax, 2 sigmoid; 0: the architecture's */
    sah_experts *e = &c->experts;
    int64_t numbers[5];
    double scale;
    char key[96];
    for (size_t i = 0; i < 5; i++) {
        snprintf(key, sizeof key, "%s.%s", prefix, KEYS[i].suffix);
        sah_status status =
            sah_gguf_int(gguf, key, KEYS[i].otherwise, KEYS[i].low, KEYS[i].high, &numbers[i], error);
        if (status != SAH_OK) return status;
        if (i < 2 && numbers[i] == 0)
            return sah_fail(error, SAH_FAILED, "%s: metadata key %s is missing", where, key);
    }
    const bool sigmoid = router == SAH_ROUTER_SIGMOID;
    if (numbers[4] != 0 && (numbers[4] == 2) != sigmoid)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: %s = %lld is not supported in this architecture",
                        where, key, (long long)numbers[4]);
    snprintf(key, sizeof key, "%s.expert_weights_scale", prefix);
    sah_status status = sah_gguf_number(gguf, key, 1, &scale, error);
    snprintf(key, sizeof key, "%s.expert_weights_norm", prefix);
    e->normalise = normalise == SAH_NORMALISE_ALWAYS;
    if (status == SAH_OK && normalise == SAH_NORMALISE_BY_KEY)
        status = sah_gguf_bool(gguf, key, false, &e->normalise, error);
    if (status == SAH_OK && !sah_config_by_layer(c)) status = sah_fail_memory(error, where);
    if (status != SAH_OK) return status;
    e->n = (int)numbers[0];
    e->active = (int)numbers[1];
    e->groups = numbers[2] > 1 ? (int)numbers[2] : 0;
    e->active_groups = numbers[2] > 1 ? (int)numbers[3] : 0;
    e->router = router;
    e->scale = scale > 0 || scale < 0 ? (float)scale : 1; /* 0 counts as absent, as there */
    int first = -1;
    for (int l = c->n_layers - 1; l >= 0; l--) {
        c->layer_kind[l].experts = layer_tensor(gguf, l, "ffn_gate_inp") != NULL;
        if (c->layer_kind[l].experts) first = l;
    }
    if (first < 0)
        return sah_fail(error, SAH_FAILED, "%s: %d experts, but no layer has a router", where, e->n);
    read_shared_gguf(gguf, first, e);
    return read_width(gguf, prefix, first, c, e, error);
}

#define READ_GGUF(name, prefix, router, normalise)                                                           \
    static sah_status name(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)         \
    {                                                                                                        \
        return sah_read_experts_gguf(gguf, prefix, router, normalise, where, c, error);                      \
    }
READ_GGUF(read_mixtral_gguf, "llama", SAH_ROUTER_TOP_SOFTMAX, SAH_NORMALISE_NEVER)
READ_GGUF(read_qwen2_gguf, "qwen2moe", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_NEVER)
READ_GGUF(read_qwen3_gguf, "qwen3moe", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_ALWAYS)
READ_GGUF(read_olmoe_gguf, "olmoe", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_NEVER)
#undef READ_GGUF

/* ---- Mixtral ------------------------------------------------------------------------------------------- */

static const sah_matrix_name mixtral_matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_ROUTER, "mlp.gate", SAH_CUT_NONE, "ffn_gate_inp", SAH_CUT_NONE},
    SAH_FUSED_EXPERTS("mlp.experts"),
    SAH_EXPERTS("block_sparse_moe", "w1", "w3", "w2"),
    {0},
};

static sah_status read_mixtral(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    c->experts.router = SAH_ROUTER_TOP_SOFTMAX;
    return sah_read_experts(json, 8, NULL, 2, "intermediate_size", c->d_ff, &c->experts, where, error);
}

const sah_family sah_family_mixtral = {
    .name = "mixtral",
    .title = "Mixtral",
    .architectures = {"MixtralForCausalLM"},
    .model_types = {"mixtral"},
    .kv_heads = 8,
    .max_positions = 131072,
    .theta = 1e6,
    .epsilon = 1e-5,
    .activation = "silu",
    .keys = {"num_local_experts", "num_experts"},
    .windows = SAH_WINDOW_ALL,
    .gguf = "llama",
    .mixture = true,
    .permuted = true,
    .read_json = read_mixtral,
    .read_gguf = read_mixtral_gguf,
    .prefixes = {"model.", ""},
    .matrices = mixtral_matrices,
    .vectors = plain_norms,
};

/* ---- Qwen ---------------------------------------------------------------------------------------------- */

static const sah_matrix_name qwen2_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP,          SAH_FUSED_EXPERTS("mlp.experts"),
    SAH_QWEN_EXPERTS,    SAH_QWEN_SHARED_EXPERT, {0},
};
static const sah_matrix_name qwen3_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, SAH_FUSED_EXPERTS("mlp.experts"), SAH_QWEN_EXPERTS, {0}};

sah_status sah_read_shared_expert(const json_t *json, int width, sah_experts *e, const char *where,
                                  sah_error *error)
{
    int64_t shared;
    sah_status status =
        sah_json_int(json, "shared_expert_intermediate_size", width, 1, SAH_MAX_WIDTH, &shared, where, error);
    if (status != SAH_OK) return status;
    e->shared_width = (int)shared;
    e->shared_gate = true;
    return SAH_OK;
}

sah_status sah_read_qwen_experts(const json_t *json, bool normalise, const char *where, sah_config *c,
                                 sah_error *error)
{
    int64_t step;
    const json_t *dense = json_object_get(json, "mlp_only_layers");
    sah_status status = sah_json_bool(json, "norm_topk_prob", normalise, &c->experts.normalise, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "decoder_sparse_step", 1, 1, INT32_MAX, &step, where, error);
    if (status != SAH_OK) return status;
    c->experts.router = SAH_ROUTER_SOFTMAX_TOP;
    return set_layers(c, 0, step, dense, where, error);
}

static sah_status read_qwen2(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    bool windows;
    sah_status status =
        sah_read_experts(json, 60, NULL, 4, "moe_intermediate_size", 1408, &c->experts, where, error);
    if (status == SAH_OK) status = sah_read_shared_expert(json, 5632, &c->experts, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "qkv_bias", true, &c->qkv_bias, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_sliding_window", false, &windows, where, error);
    if (status != SAH_OK) return status;
    if (windows && json_array_size(json_object_get(json, "layer_types")) == 0)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: \"use_sliding_window\" without \"layer_types\" is not supported", where);
    return sah_read_qwen_experts(json, false, where, c, error);
}

static sah_status read_qwen3(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    bool windows;
    int64_t window;
    sah_status status =
        sah_read_experts(json, 128, NULL, 8, "moe_intermediate_size", 768, &c->experts, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_sliding_window", false, &windows, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "sliding_window", 4096, 0, INT32_MAX, &window, where, error);
    if (status != SAH_OK) return status;
    if (windows) c->sliding_window = (int)window; /* in all layers, unlike in the dense models */
    status = sah_read_qwen_experts(json, false, where, c, error);
    const char *type = json_string_value(json_object_get(json, "model_type"));
    if (type != NULL && strcmp(type, "qwen3_vl_moe_text") == 0)
        c->experts.normalise = true; /* whatever the key */
    return status;
}

const sah_family sah_family_qwen2_moe = {
    .name = "qwen2_moe",
    .title = "Qwen2-MoE",
    .architectures = {"Qwen2MoeForCausalLM"},
    .model_types = {"qwen2_moe"},
    .kv_heads = 16,
    .max_positions = 32768,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .keys = {"num_experts", "num_local_experts"},
    .windows = SAH_WINDOW_OPTIONAL,
    .gguf = "qwen2moe",
    .read_json = read_qwen2,
    .read_gguf = read_qwen2_gguf,
    .prefixes = {"model.", ""},
    .matrices = qwen2_matrices,
    .vectors = plain_norms,
};

const sah_family sah_family_qwen3_moe = {
    .name = "qwen3_moe",
    .title = "Qwen3-MoE",
    .architectures = {"Qwen3MoeForCausalLM"},
    .model_types = {"qwen3_moe", "qwen3_vl_moe_text"},
    .kv_heads = 4,
    .max_positions = 32768,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .keys = {"num_experts", "num_local_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_HEAD,
    .gguf = "qwen3moe",
    .read_json = read_qwen3,
    .read_gguf = read_qwen3_gguf,
    .prefixes = {"model.", ""},
    .matrices = qwen3_matrices,
    .vectors = head_norms,
};

/* ---- OLMoE --------------------------------------------------------------------------------------------- */

static const sah_matrix_name olmoe_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_FUSED_EXPERTS("mlp.experts"), SAH_QWEN_EXPERTS, {0}};
static const sah_vector_name olmoe_vectors[] = {
    SAH_LLAMA_NORMS,
    {SAH_VECTOR_Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", SAH_WIDTH_Q},
    {SAH_VECTOR_K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", SAH_WIDTH_KV},
    {0},
};

static sah_status read_olmoe(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    c->experts.router = SAH_ROUTER_SOFTMAX_TOP;
    sah_status status = sah_json_bool(json, "norm_topk_prob", false, &c->experts.normalise, where, error);
    if (status != SAH_OK) return status;
    return sah_read_experts(json, 64, NULL, 8, "intermediate_size", c->d_ff, &c->experts, where, error);
}

const sah_family sah_family_olmoe = {
    .name = "olmoe",
    .title = "OLMoE",
    .architectures = {"OlmoeForCausalLM"},
    .model_types = {"olmoe"},
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .keys = {"num_experts", "num_local_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_ROW,
    .gguf = "olmoe",
    .read_json = read_olmoe,
    .read_gguf = read_olmoe_gguf,
    .prefixes = {"model.", ""},
    .matrices = olmoe_matrices,
    .vectors = olmoe_vectors,
};

/* ---- GLM-4-MoE ----------------------------------------------------------------------------------------- */

static const sah_matrix_name glm_matrices[] = {SAH_LLAMA_ATTENTION,
                                               SAH_LLAMA_MLP,
                                               SAH_FUSED_EXPERTS("mlp.experts"),
                                               SAH_QWEN_EXPERTS,
                                               SAH_SHARED_EXPERT("mlp.shared_experts"),
                                               {0}};
static const sah_vector_name glm_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight", SAH_WIDTH_MODEL},
    SAH_HEAD_NORMS,
    {SAH_VECTOR_CORRECTION, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias", SAH_WIDTH_EXPERTS},
    {0},
};

static sah_status read_groups(const json_t *json, sah_experts *e, const char *where, sah_error *error)
{
    int64_t groups, active;
    sah_status status = sah_json_int(json, "n_group", 1, 1, SAH_MAX_EXPERT_GROUPS, &groups, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "topk_group", 1, 1, SAH_MAX_EXPERT_GROUPS, &active, where, error);
    if (status != SAH_OK || groups == 1) return status;
    e->groups = (int)groups;
    e->active_groups = (int)active;
    return SAH_OK;
}

static sah_status read_glm(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_experts *e = &c->experts;
    int64_t shared, dense;
    bool norms;
    double scale;
    sah_status status = sah_read_experts(json, 128, NULL, 8, "moe_intermediate_size", 1408, e, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "n_shared_experts", 1, 0, SAH_MAX_EXPERTS, &shared, where, error);
    if (status == SAH_OK) status = read_groups(json, e, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "norm_topk_prob", true, &e->normalise, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "routed_scaling_factor", 1, &scale, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_qk_norm", false, &norms, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "first_k_dense_replace", 1, 0, INT32_MAX, &dense, where, error);
    if (status != SAH_OK) return status;
    if (shared * e->width > SAH_MAX_WIDTH)
        return sah_fail(error, SAH_FAILED, "%s: %lld shared experts of width %d are more than any model has",
                        where, (long long)shared, e->width);
    e->router = SAH_ROUTER_SIGMOID;
    e->sum_add = 1e-20F;
    e->scale = (float)scale;
    e->shared_width = (int)shared * e->width;
    if (!norms) c->qk_norm = SAH_QK_NORM_NONE;
    return set_layers(c, dense, 1, NULL, where, error);
}

/* Layers that predict further tokens count among the blocks; norms of q and k are there or not. */
static sah_status read_glm_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    int64_t extra;
    sah_status status =
        sah_gguf_int(gguf, "glm4moe.nextn_predict_layers", 0, 0, c->n_layers - 1, &extra, error);
    if (status != SAH_OK) return status;
    c->n_layers -= (int)extra;
    if (layer_tensor(gguf, 0, "attn_q_norm") == NULL) c->qk_norm = SAH_QK_NORM_NONE;
    c->experts.sum_add = 1e-20F;
    return sah_read_experts_gguf(gguf, "glm4moe", SAH_ROUTER_SIGMOID, SAH_NORMALISE_BY_KEY, where, c, error);
}

const sah_family sah_family_glm4_moe = {
    .name = "glm4_moe",
    .title = "GLM-4-MoE",
    .architectures = {"Glm4MoeForCausalLM"},
    .model_types = {"glm4_moe"},
    .kv_heads = 8,
    .max_positions = 131072,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .partial_rotary = 0.5,
    .keys = {"n_routed_experts", "num_local_experts", "num_experts", "partial_rotary_factor",
             "num_nextn_predict_layers"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_HEAD,
    .gguf = "glm4moe",
    .read_json = read_glm,
    .read_gguf = read_glm_gguf,
    .prefixes = {"model.", ""},
    .extra_layers = true,
    .matrices = glm_matrices,
    .vectors = glm_vectors,
};
