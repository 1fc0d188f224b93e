/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen3-Next (experts), Qwen3.5 (dense, experts): layers of the gated delta rule between those of attention, whose
 * outputs have gates. */
#include <stdio.h>
#include <string.h>

#include "model/family/experts.h"
#include "util/error.h"

/* ---- Names --------------------------------------------------------------------------------------------- */

#define GATED_ATTENTION                                                                                      \
    {SAH_ROLE_Q, "self_attn.q_proj", SAH_CUT_Q_GATE, "attn_q", SAH_CUT_Q_GATE},                              \
        {SAH_ROLE_ATTENTION_GATE, "self_attn.q_proj", SAH_CUT_Q_GATE, "attn_q", SAH_CUT_Q_GATE},             \
        {SAH_ROLE_K, "self_attn.k_proj", SAH_CUT_NONE, "attn_k", SAH_CUT_NONE},                              \
        {SAH_ROLE_V, "self_attn.v_proj", SAH_CUT_NONE, "attn_v", SAH_CUT_NONE},                              \
    {                                                                                                        \
        SAH_ROLE_O, "self_attn.o_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE                            \
    }

#define DELTA                                                                                                \
    {SAH_ROLE_DELTA_Q, "linear_attn.in_proj_qkv", SAH_CUT_DELTA_QKV, "attn_qkv", SAH_CUT_DELTA_QKV},         \
        {SAH_ROLE_DELTA_K, "linear_attn.in_proj_qkv", SAH_CUT_DELTA_QKV, "attn_qkv", SAH_CUT_DELTA_QKV},     \
        {SAH_ROLE_DELTA_V, "linear_attn.in_proj_qkv", SAH_CUT_DELTA_QKV, "attn_qkv", SAH_CUT_DELTA_QKV},     \
        {SAH_ROLE_DELTA_GATE, "linear_attn.in_proj_z", SAH_CUT_NONE, "attn_gate", SAH_CUT_NONE},             \
        {SAH_ROLE_DELTA_WRITE, "linear_attn.in_proj_b", SAH_CUT_NONE, "ssm_beta", SAH_CUT_NONE},             \
        {SAH_ROLE_DELTA_KEEP, "linear_attn.in_proj_a", SAH_CUT_NONE, "ssm_alpha", SAH_CUT_NONE},             \
    {                                                                                                        \
        SAH_ROLE_DELTA_O, "linear_attn.out_proj", SAH_CUT_NONE, "ssm_out", SAH_CUT_NONE                      \
    }

#define DELTA_BY_HEAD                                                                                        \
    {SAH_ROLE_DELTA_Q, "linear_attn.in_proj_qkvz", SAH_CUT_DELTA_BY_HEAD, "attn_qkv", SAH_CUT_DELTA_QKV},    \
        {SAH_ROLE_DELTA_K, "linear_attn.in_proj_qkvz", SAH_CUT_DELTA_BY_HEAD, "attn_qkv",                    \
         SAH_CUT_DELTA_QKV},                                                                                 \
        {SAH_ROLE_DELTA_V, "linear_attn.in_proj_qkvz", SAH_CUT_DELTA_BY_HEAD, "attn_qkv",                    \
         SAH_CUT_DELTA_QKV},                                                                                 \
        {SAH_ROLE_DELTA_GATE, "linear_attn.in_proj_qkvz", SAH_CUT_DELTA_BY_HEAD, "attn_gate", SAH_CUT_NONE}, \
        {SAH_ROLE_DELTA_WRITE, "linear_attn.in_proj_ba", SAH_CUT_DELTA_BY_HEAD, "ssm_ba",                    \
         SAH_CUT_DELTA_BY_HEAD},                                                                             \
        {SAH_ROLE_DELTA_KEEP, "linear_attn.in_proj_ba", SAH_CUT_DELTA_BY_HEAD, "ssm_ba",                     \
         SAH_CUT_DELTA_BY_HEAD},                                                                             \
    {                                                                                                        \
        SAH_ROLE_DELTA_O, "linear_attn.out_proj", SAH_CUT_NONE, "ssm_out", SAH_CUT_NONE                      \
    }

static const sah_matrix_name dense_matrices[] = {GATED_ATTENTION, DELTA, SAH_LLAMA_MLP, {0}};
static const sah_matrix_name next_matrices[] = {GATED_ATTENTION,
                                                DELTA_BY_HEAD,
                                                SAH_LLAMA_MLP,
                                                SAH_FUSED_EXPERTS("mlp.experts"),
                                                SAH_QWEN_EXPERTS,
                                                SAH_QWEN_SHARED_EXPERT,
                                                {0}};
static const sah_matrix_name expert_matrices[] = {
    GATED_ATTENTION, DELTA, SAH_QWEN_EXPERTS, SAH_FUSED_EXPERTS("mlp.experts"), SAH_QWEN_SHARED_EXPERT, {0}};

static const sah_vector_name vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight", SAH_WIDTH_MODEL},
    SAH_HEAD_NORMS,
    {SAH_VECTOR_DELTA_RATE, "linear_attn.A_log", "ssm_a", SAH_WIDTH_HEADS},
    {SAH_VECTOR_DELTA_RATE_BIAS, "linear_attn.dt_bias", "ssm_dt.bias", SAH_WIDTH_HEADS},
    {SAH_VECTOR_DELTA_NORM, "linear_attn.norm.weight", "ssm_norm.weight", SAH_WIDTH_HEAD},
    {SAH_VECTOR_DELTA_KERNEL, "linear_attn.conv1d.weight", "ssm_conv1d.weight", SAH_WIDTH_DELTA_ROWS},
    {0},
};

/* ---- Settings ------------------------------------------------------------------------------------------ */

static void set_delta_layer(sah_config *c, int layer, int heads, int width)
{
    sah_layer_kind *kind = &c->layer_kind[layer];
    kind->mixer = SAH_MIXER_DELTA;
    kind->n_heads = kind->n_kv_heads = heads;
    kind->head_dim = width;
    kind->rope = -1;
}

/* The model's largest, behind what its layers took. */
static void widen(sah_config *c, int heads, int width)
{
    if (heads > c->n_heads) c->n_heads = heads;
    if (heads > c->n_kv_heads) c->n_kv_heads = heads;
    if (width > c->head_dim) c->head_dim = width;
}

/* Which layers have the delta rule: those that "layer_types" says, else all but every `interval`-th. */
static sah_status set_layers(const json_t *types, int64_t interval, int heads, int width, const char *where,
                             sah_config *c, sah_error *error)
{
    const size_t n = json_array_size(types);
    if (n > 0 && n != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED, "%s: \"layer_types\" has %zu entries for %d layers", where, n,
                        c->n_layers);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++) {
        const char *type = json_string_value(json_array_get(types, (size_t)l));
        const bool linear = type != NULL && strcmp(type, "linear_attention") == 0;
        if (n > 0 && !linear && (type == NULL || strcmp(type, "full_attention") != 0))
            return sah_fail(error, SAH_NOT_SUPPORTED, "%s: layer type %s is not supported", where,
                            type != NULL ? type : "?");
        if (n > 0 ? linear : (l + 1) % interval != 0) set_delta_layer(c, l, heads, width);
    }
    widen(c, heads, width);
    return SAH_OK;
}

/* The same of GGUF: those of the list "attention.recurrent_layers", else all but every `interval`-th. The list may be
 * longer, by the layers that predict further tokens. */
static sah_status set_layers_gguf(const sah_gguf *gguf, const char *family, int64_t interval, int heads,
                                  int width, const char *where, sah_config *c, sah_error *error)
{
    char key[96];
    snprintf(key, sizeof key, "%s.attention.recurrent_layers", family);
    const sah_gguf_value *list = sah_gguf_find(gguf, key);
    const size_t n = list != NULL && list->type == SAH_GGUF_ARRAY ? list->n : 0;
    if (n > 0 && n < (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED, "%s: %s has %zu entries for %d layers", where, key, n,
                        c->n_layers);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++) {
        int64_t delta = (l + 1) % interval != 0;
        sah_status status = SAH_OK;
        if (list != NULL) status = sah_gguf_int_of(gguf, key, (size_t)l, n, 0, 0, 1, &delta, error);
        if (status != SAH_OK) return status;
        if (delta) set_delta_layer(c, l, heads, width);
    }
    widen(c, heads, width);
    return SAH_OK;
}

static sah_status read_hybrid(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t kernel, key_heads, heads, key_dim, width, interval;
    sah_status status =
        sah_json_int(json, "linear_conv_kernel_dim", 4, 1, SAH_MAX_KERNEL, &kernel, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "linear_num_key_heads", 16, 1, SAH_MAX_HEADS, &key_heads, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "linear_num_value_heads", 32, 1, SAH_MAX_HEADS, &heads, where, error);
    if (status == SAH_OK)
        status =
            sah_json_int(json, "linear_key_head_dim", 128, 1, SAH_MAX_DELTA_WIDTH, &key_dim, where, error);
    if (status == SAH_OK)
        status =
            sah_json_int(json, "linear_value_head_dim", 128, 1, SAH_MAX_DELTA_WIDTH, &width, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "full_attention_interval", 4, 1, INT32_MAX, &interval, where, error);
    if (status != SAH_OK) return status;
    if (c->activation != SAH_ACT_SILU)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"hidden_act\" other than silu is not supported",
                        where);
    c->attention_gate = true;
    c->delta = (sah_delta){.key_heads = (int)key_heads, .key_dim = (int)key_dim, .kernel = (int)kernel};
    return set_layers(json_object_get(json, "layer_types"), interval, (int)heads, (int)width, where, c,
                      error);
}

/* The same of GGUF's keys under `family`. */
static sah_status read_hybrid_gguf(const sah_gguf *gguf, const char *family, const char *where, sah_config *c,
                                   sah_error *error)
{
    int64_t numbers[6], extra;
    char further[96];
    static const struct {
        const char *suffix;
        int64_t otherwise, high;
    } KEYS[] = {{"ssm.conv_kernel", 0, SAH_MAX_KERNEL},   {"ssm.group_count", 0, SAH_MAX_HEADS},
                {"ssm.time_step_rank", 0, SAH_MAX_HEADS}, {"ssm.state_size", 0, SAH_MAX_DELTA_WIDTH},
                {"ssm.inner_size", 0, SAH_MAX_WIDTH},     {"full_attention_interval", 4, INT32_MAX}};
    for (size_t i = 0; i < 6; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", family, KEYS[i].suffix);
        sah_status status = sah_gguf_int(gguf, key, KEYS[i].otherwise, 1, KEYS[i].high, &numbers[i], error);
        if (status != SAH_OK) return status;
        if (numbers[i] == 0) return sah_fail(error, SAH_FAILED, "%s: metadata key %s is missing", where, key);
    }
    snprintf(further, sizeof further, "%s.nextn_predict_layers", family);
    sah_status status = sah_gguf_int(gguf, further, 0, 0, c->n_layers - 1, &extra, error);
    if (status != SAH_OK) return status;
    c->n_layers -= (int)extra; /* they count among the blocks */
    const int64_t heads = numbers[2], inner = numbers[4];
    if (inner % heads != 0 || inner / heads > SAH_MAX_DELTA_WIDTH)
        return sah_fail(error, SAH_FAILED, "%s: %s.ssm.inner_size %lld of %lld heads", where, family,
                        (long long)inner, (long long)heads);
    c->attention_gate = true;
    c->delta =
        (sah_delta){.key_heads = (int)numbers[1], .key_dim = (int)numbers[3], .kernel = (int)numbers[0]};
    return set_layers_gguf(gguf, family, numbers[5], (int)heads, (int)(inner / heads), where, c, error);
}

/* ---- Qwen3.5 ------------------------------------------------------------------------------------------- */

static sah_status read_dense_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    return read_hybrid_gguf(gguf, "qwen35", where, c, error);
}

/* What these families share. */
#define HYBRID                                                                                               \
    .head_dim = 256, .max_positions = 32768, .theta = 10000, .epsilon = 1e-6, .activation = "silu",          \
    .partial_rotary = 0.25, .qkv_bias = SAH_BIAS_BY_KEY, .o_bias = SAH_BIAS_BY_KEY,                          \
    .qk_norm = SAH_QK_NORM_HEAD, .own_types = true, .norm_add = 1, .vectors = vectors, .extra_layers = true, \
    .ignored = {"mtp."}

const sah_family sah_family_qwen3_5 = {
    .name = "qwen3_5",
    .title = "Qwen3.5",
    .architectures = {"Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"},
    .model_types = {"qwen3_5_text", "qwen3_5"},
    .gguf = "qwen35",
    HYBRID,
    .kv_heads = 4,
    .keys = {"partial_rotary_factor", "num_nextn_predict_layers"},
    .read_json = read_hybrid,
    .read_gguf = read_dense_gguf,
    .in_turns = true,
    .prefixes = {"model.", ""},
    .matrices = dense_matrices,
};

/* ---- Experts ------------------------------------------------------------------------------------------- */

static sah_status read_next(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_status status =
        sah_read_experts(json, 512, NULL, 10, "moe_intermediate_size", 512, &c->experts, where, error);
    if (status == SAH_OK) status = sah_read_shared_expert(json, 512, &c->experts, where, error);
    if (status == SAH_OK) status = read_hybrid(json, where, c, error);
    return status == SAH_OK ? sah_read_qwen_experts(json, true, where, c, error) : status;
}

/* Of these all layers have experts, whose weights always add up to 1. */
static sah_status read_3_5_experts(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_status status =
        sah_read_experts(json, 256, NULL, 8, "moe_intermediate_size", 512, &c->experts, where, error);
    if (status == SAH_OK) status = sah_read_shared_expert(json, 512, &c->experts, where, error);
    if (status == SAH_OK) status = read_hybrid(json, where, c, error);
    if (status != SAH_OK) return status;
    c->experts.router = SAH_ROUTER_SOFTMAX_TOP;
    c->experts.normalise = true;
    for (int l = 0; l < c->n_layers; l++) c->layer_kind[l].experts = true;
    return SAH_OK;
}

static sah_status read_next_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_hybrid_gguf(gguf, "qwen3next", where, c, error);
    if (status != SAH_OK) return status;
    return sah_read_experts_gguf(gguf, "qwen3next", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_ALWAYS, where, c,
                                 error);
}

static sah_status read_3_5_experts_gguf(const sah_gguf *gguf, const char *where, sah_config *c,
                                        sah_error *error)
{
    sah_status status = read_hybrid_gguf(gguf, "qwen35moe", where, c, error);
    if (status != SAH_OK) return status;
    return sah_read_experts_gguf(gguf, "qwen35moe", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_ALWAYS, where, c,
                                 error);
}

const sah_family sah_family_qwen3_next = {
    .name = "qwen3_next",
    .title = "Qwen3-Next",
    .architectures = {"Qwen3NextForCausalLM"},
    .model_types = {"qwen3_next"},
    .gguf = "qwen3next",
    HYBRID,
    .kv_heads = 2,
    .keys = {"partial_rotary_factor", "num_experts", "num_local_experts", "num_nextn_predict_layers"},
    .read_json = read_next,
    .read_gguf = read_next_gguf,
    .prefixes = {"model.", ""},
    .matrices = next_matrices,
};

const sah_family sah_family_qwen3_5_moe = {
    .name = "qwen3_5_moe",
    .title = "Qwen3.5-MoE",
    .architectures = {"Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"},
    .model_types = {"qwen3_5_moe_text", "qwen3_5_moe"},
    .gguf = "qwen35moe",
    HYBRID,
    .kv_heads = 2,
    .ff_key = "moe_intermediate_size",
    .ff_times = 1,
    .keys = {"partial_rotary_factor", "num_experts", "num_local_experts", "num_nextn_predict_layers"},
    .read_json = read_3_5_experts,
    .read_gguf = read_3_5_experts_gguf,
    .in_turns = true,
    .prefixes = {"model.", ""},
    .matrices = expert_matrices,
};
