/* SPDX-License-Identifier: Apache-2.0 */
/* gpt-oss: experts with biases and clamped gates, sinks beside the scores, windows in every other layer. Gate and up
 * of its experts take turns in one tensor: of four-bit floats as published, turned where a file keeps them whole. */
#include <math.h>

#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_ROUTER, "mlp.router", SAH_CUT_NONE, "ffn_gate_inp", SAH_CUT_NONE},
    {SAH_ROLE_EXPERT_GATE, "mlp.experts.gate_up_proj", SAH_CUT_EXPERT_TURNS, "ffn_gate_exps",
     SAH_CUT_EXPERT_BLOCK},
    {SAH_ROLE_EXPERT_UP, "mlp.experts.gate_up_proj", SAH_CUT_EXPERT_TURNS, "ffn_up_exps",
     SAH_CUT_EXPERT_BLOCK},
    {SAH_ROLE_EXPERT_DOWN, "mlp.experts.down_proj", SAH_CUT_EXPERT_TURNS, "ffn_down_exps",
     SAH_CUT_EXPERT_BLOCK},
    {0},
};
static const sah_vector_name vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_SINKS, "self_attn.sinks", "attn_sinks.weight", SAH_WIDTH_HEADS},
    {0},
};

/* What both containers leave to the family. */
static void set_experts(sah_config *c, int64_t n, int64_t active, int64_t width)
{
    c->experts = (sah_experts){.n = (int)n,
                               .active = (int)active,
                               .width = (int)width,
                               .router = SAH_ROUTER_TOP_SOFTMAX,
                               .scale = 1,
                               .bias = true};
    c->activation = SAH_ACT_CLAMPED_SWIGLU;
    c->activation_limit = 7;
    c->activation_alpha = 1.702F;
    for (int l = 0; l < c->n_layers && c->layer_kind != NULL; l++) c->layer_kind[l].experts = true;
}

static sah_status read_json(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t n, active;
    double limit, alpha;
    bool bias;
    sah_status status = sah_json_int(json, "num_local_experts", 128, 1, SAH_MAX_EXPERTS, &n, where, error);
    if (status == SAH_OK) status = sah_json_int(json, "num_experts", n, 1, SAH_MAX_EXPERTS, &n, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "num_experts_per_tok", 4, 1, SAH_MAX_EXPERTS, &active, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "swiglu_limit", 7, &limit, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "swiglu_alpha", 1.702, &alpha, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "attention_bias", true, &bias, where, error);
    if (status != SAH_OK) return status;
    if (!(limit > 0 && isfinite(limit)) || !isfinite(alpha))
        return sah_fail(error, SAH_FAILED, "%s: \"swiglu_limit\" is %g, \"swiglu_alpha\" %g", where, limit,
                        alpha);
    if (json_object_size(json_object_get(json, "rope_scaling")) == 0 &&
        json_object_size(json_object_get(json, "rope_parameters")) == 0)
        return sah_fail(error, SAH_FAILED, "%s: neither \"rope_scaling\" nor \"rope_parameters\" is there",
                        where);
    set_experts(c, n, active, c->d_ff);
    c->activation_limit = (float)limit;
    c->activation_alpha = (float)alpha;
    c->qkv_bias = c->o_bias = bias;
    return SAH_OK;
}

/* YaRN's bounds are whole pairs in llama.cpp, which is not how the model was trained; its files do not say. */
static sah_status read_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    int64_t n, active, width;
    sah_status status = sah_gguf_int(gguf, "gpt-oss.expert_count", 0, 1, SAH_MAX_EXPERTS, &n, error);
    if (status == SAH_OK)
        status = sah_gguf_int(gguf, "gpt-oss.expert_used_count", 4, 1, SAH_MAX_EXPERTS, &active, error);
    if (status == SAH_OK)
        status = sah_gguf_int(gguf, "gpt-oss.expert_feed_forward_length", c->d_ff, 1, SAH_MAX_WIDTH, &width,
                              error);
    if (status != SAH_OK) return status;
    if (n == 0) return sah_fail(error, SAH_FAILED, "%s: metadata key gpt-oss.expert_count is missing", where);
    set_experts(c, n, active, width);
    c->ropes[0].truncate = false;
    return SAH_OK;
}

const sah_family sah_family_gpt_oss = {
    .name = "gpt_oss",
    .title = "gpt-oss",
    .architectures = {"GptOssForCausalLM"},
    .model_types = {"gpt_oss"},
    .gguf = "gpt-oss",
    .kv_heads = 8,
    .head_dim = 64,
    .max_positions = 131072,
    .theta = 150000,
    .epsilon = 1e-5,
    .activation = "silu",
    .keys = {"num_local_experts", "num_experts"},
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 2,
    .default_window = 128,
    .read_json = read_json,
    .read_gguf = read_gguf,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};
