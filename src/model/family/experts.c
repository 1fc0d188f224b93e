// SPDX-License-Identifier: Apache-2.0
/* Mixtures of experts, a tensor an expert: Mixtral, Qwen2-MoE and Qwen3-MoE (dense layers among them), OLMoE, and
 * GLM-4-MoE (a shared expert, groups, the first layers dense). */
#include "model/family/experts.h"
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

sah_status sah_read_experts(const json_t *json, int n, int active, const char *width_key, int width,
                            sah_experts *e, const char *where, sah_error *error)
{
    int64_t taken, wide;
    sah_status status = read_count(json, n, &e->n, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "num_experts_per_tok", active, 1, SAH_MAX_EXPERTS, &taken, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, width_key, width, 1, SAH_MAX_WIDTH, &wide, where, error);
    if (status != SAH_OK) return status;
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

/* ---- Mixtral ------------------------------------------------------------------------------------------- */

static const sah_matrix_name mixtral_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_EXPERTS("block_sparse_moe", "w1", "w3", "w2"), {0}};

static sah_status read_mixtral(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    c->experts.router = SAH_ROUTER_TOP_SOFTMAX;
    return sah_read_experts(json, 8, 2, "intermediate_size", c->d_ff, &c->experts, where, error);
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
    .read_json = read_mixtral,
    .prefixes = {"model.", ""},
    .matrices = mixtral_matrices,
    .vectors = plain_norms,
};

/* ---- Qwen ---------------------------------------------------------------------------------------------- */

static const sah_matrix_name qwen2_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, SAH_QWEN_EXPERTS, SAH_QWEN_SHARED_EXPERT, {0},
};
static const sah_matrix_name qwen3_matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, SAH_QWEN_EXPERTS, {0}};

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
        sah_read_experts(json, 60, 4, "moe_intermediate_size", 1408, &c->experts, where, error);
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
        sah_read_experts(json, 128, 8, "moe_intermediate_size", 768, &c->experts, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_sliding_window", false, &windows, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "sliding_window", 4096, 0, INT32_MAX, &window, where, error);
    if (status != SAH_OK) return status;
    if (windows) c->sliding_window = (int)window; /* in all layers, unlike in the dense models */
    return sah_read_qwen_experts(json, false, where, c, error);
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
    .read_json = read_qwen2,
    .prefixes = {"model.", ""},
    .matrices = qwen2_matrices,
    .vectors = plain_norms,
};

const sah_family sah_family_qwen3_moe = {
    .name = "qwen3_moe",
    .title = "Qwen3-MoE",
    .architectures = {"Qwen3MoeForCausalLM"},
    .model_types = {"qwen3_moe"},
    .kv_heads = 4,
    .max_positions = 32768,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .keys = {"num_experts", "num_local_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_HEAD,
    .read_json = read_qwen3,
    .prefixes = {"model.", ""},
    .matrices = qwen3_matrices,
    .vectors = head_norms,
};

/* ---- OLMoE --------------------------------------------------------------------------------------------- */

static const sah_matrix_name olmoe_matrices[] = {SAH_LLAMA_ATTENTION, SAH_QWEN_EXPERTS, {0}};
static const sah_vector_name olmoe_vectors[] = {
    SAH_LLAMA_NORMS,
    {SAH_VECTOR_Q_NORM, "self_attn.q_norm.weight", NULL, SAH_WIDTH_Q},
    {SAH_VECTOR_K_NORM, "self_attn.k_norm.weight", NULL, SAH_WIDTH_KV},
    {0},
};

static sah_status read_olmoe(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    c->experts.router = SAH_ROUTER_SOFTMAX_TOP;
    sah_status status = sah_json_bool(json, "norm_topk_prob", false, &c->experts.normalise, where, error);
    if (status != SAH_OK) return status;
    return sah_read_experts(json, 64, 8, "intermediate_size", c->d_ff, &c->experts, where, error);
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
    .read_json = read_olmoe,
    .prefixes = {"model.", ""},
    .matrices = olmoe_matrices,
    .vectors = olmoe_vectors,
};

/* ---- GLM-4-MoE ----------------------------------------------------------------------------------------- */

static const sah_matrix_name glm_matrices[] = {
    SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, SAH_QWEN_EXPERTS, SAH_SHARED_EXPERT("mlp.shared_experts"), {0}};
static const sah_vector_name glm_vectors[] = {
    SAH_LLAMA_NORMS,
    SAH_HEAD_NORMS,
    {SAH_VECTOR_CORRECTION, "mlp.gate.e_score_correction_bias", NULL, SAH_WIDTH_EXPERTS},
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
    sah_status status = sah_read_experts(json, 128, 8, "moe_intermediate_size", 1408, e, where, error);
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
    e->scale = (float)scale;
    e->shared_width = (int)shared * e->width;
    if (!norms) c->qk_norm = SAH_QK_NORM_NONE;
    return set_layers(c, dense, 1, NULL, where, error);
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
    .keys = {"n_routed_experts", "num_local_experts", "partial_rotary_factor"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_HEAD,
    .read_json = read_glm,
    .prefixes = {"model.", ""},
    .extra_layers = true,
    .matrices = glm_matrices,
    .vectors = glm_vectors,
};
