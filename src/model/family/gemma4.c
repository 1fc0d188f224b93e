/* SPDX-License-Identifier: Apache-2.0 */
/* The text part of Gemma 4: Gemma 3's norms (stored whole), heads that are wider in layers without a window, where
 * values may be the keys; values normed; layers at the end that share keys and values with those below; inputs of each
 * token to every layer; in some models experts beside every MLP. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/family/experts.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {
    SAH_LLAMA_ATTENTION,
    SAH_LLAMA_MLP,
    {SAH_ROLE_INPUT_GATE, "per_layer_input_gate", SAH_CUT_NONE, "inp_gate", SAH_CUT_NONE},
    {SAH_ROLE_INPUT_OUT, "per_layer_projection", SAH_CUT_NONE, "proj", SAH_CUT_NONE},
    {SAH_ROLE_ROUTER, "router.proj", SAH_CUT_NONE, "ffn_gate_inp", SAH_CUT_NONE},
    {SAH_ROLE_EXPERT_GATE, "experts.gate_proj", SAH_CUT_EXPERT_BLOCK, "ffn_gate_exps", SAH_CUT_EXPERT_BLOCK},
    {SAH_ROLE_EXPERT_UP, "experts.up_proj", SAH_CUT_EXPERT_BLOCK, "ffn_up_exps", SAH_CUT_EXPERT_BLOCK},
    SAH_FUSED_EXPERTS("experts"),
    {0},
};
static const sah_vector_name vectors[] = {
    SAH_GEMMA_NORMS,
    SAH_HEAD_NORMS,
    {SAH_VECTOR_LAYER_SCALE, "layer_scalar", "layer_output_scale.weight", SAH_WIDTH_ONE},
    {SAH_VECTOR_INPUT_OUT_NORM, "post_per_layer_input_norm.weight", "post_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_ROUTER_NORM, "router.scale", "ffn_gate_inp.scale", SAH_WIDTH_MODEL},
    {SAH_VECTOR_EXPERT_NORM, "pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_EXPERT_OUT_NORM, "post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_DENSE_OUT_NORM, "post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_EXPERT_SCALE, "router.per_expert_scale", "ffn_down_exps.scale", SAH_WIDTH_EXPERTS},
    {0},
};

/* Layers without a window turn by the first setting. */
static bool is_full(const sah_config *c, int layer)
{
    return c->layer_kind[layer].rope == 0;
}

/* The last `shared` layers read the keys and values of the last layer of their kind before them. */
static sah_status share(sah_config *c, int64_t shared, const char *where, sah_error *error)
{
    const int first = c->n_layers - (int)shared;
    for (int l = first; l < c->n_layers; l++) {
        int from = first - 1;
        while (from >= 0 && is_full(c, from) != is_full(c, l)) from--;
        if (from < 0)
            return sah_fail(error, SAH_FAILED,
                            "%s: layer %d has no layer like it whose keys and values it could share", where,
                            l);
        c->layer_kind[l].borrows = l - from;
        c->layer_kind[l].v_is_k = false;
    }
    return SAH_OK;
}

/* What both containers leave to the family. */
static void set_rest(sah_config *c)
{
    c->embedding_scale = sqrtf((float)c->d_model);
    c->attention_scale = 1;
    c->v_norm = true;
    for (int l = 0; l < c->n_layers; l++) {
        const sah_layer_kind kind = sah_config_layer(c, l);
        if (kind.head_dim > c->head_dim) c->head_dim = kind.head_dim;
        if (kind.n_kv_heads > c->n_kv_heads) c->n_kv_heads = kind.n_kv_heads;
        if (kind.d_ff > c->d_ff) c->d_ff = kind.d_ff;
    }
}

/* Experts beside the MLP. */
static void set_experts(sah_config *c)
{
    c->experts.beside = true;
    c->experts.router = SAH_ROUTER_SOFTMAX_TOP;
    c->experts.normalise = true;
    c->experts.logit_scale = 1 / sqrtf((float)c->d_model);
}

/* ---- config.json --------------------------------------------------------------------------------------- */

/* Sizes that "per_layer_config" gives single layers. */
static sah_status read_overrides(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    for (int l = 0; l < c->n_layers; l++) {
        const char *key;
        json_t *value;
        char number[16];
        int64_t dim, heads;
        snprintf(number, sizeof number, "%d", l);
        const json_t *own = json_object_get(json_object_get(json, "per_layer_config"), number);
        sah_status status = sah_json_int(own, "head_dim", c->head_dim, 1, SAH_MAX_WIDTH, &dim, where, error);
        if (status == SAH_OK)
            status = sah_json_int(own, "num_key_value_heads", c->n_kv_heads, 1, SAH_MAX_HEADS, &heads, where,
                                  error);
        if (status != SAH_OK) return status;
        json_object_foreach((json_t *)(uintptr_t)own, key, value)
        {
            if (strcmp(key, "head_dim") != 0 && strcmp(key, "num_key_value_heads") != 0)
                return sah_fail(error, SAH_NOT_SUPPORTED,
                                "%s: \"per_layer_config\" with \"%.60s\" is not supported", where, key);
        }
        c->layer_kind[l].head_dim = (int)dim;
        c->layer_kind[l].n_kv_heads = (int)heads;
    }
    return SAH_OK;
}

/* Heads of the layers without a window, from keys of their own. */
static sah_status read_global(const json_t *json, const char *where, bool k_is_v, sah_config *c,
                              sah_error *error)
{
    int64_t dim, heads = c->n_kv_heads;
    sah_status status = sah_json_int(json, "global_head_dim", 512, 1, SAH_MAX_WIDTH, &dim, where, error);
    if (status == SAH_OK && k_is_v)
        status =
            sah_json_int(json, "num_global_key_value_heads", heads, 1, SAH_MAX_HEADS, &heads, where, error);
    for (int l = 0; l < c->n_layers && status == SAH_OK; l++) {
        if (!is_full(c, l)) continue;
        c->layer_kind[l].head_dim = (int)dim;
        c->layer_kind[l].n_kv_heads = (int)heads;
    }
    return status;
}

static sah_status read_json(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    const json_t *both_ways = json_object_get(json, "use_bidirectional_attention"),
                 *cap = json_object_get(json, "final_logit_softcapping");
    const int last = c->n_layers - 1, width = c->head_dim;
    int64_t shared, inputs = 0;
    bool k_is_v, wide, experts;
    double softcap = 0;
    sah_status status = sah_json_int(json, "num_kv_shared_layers", 0, 0, last, &shared, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "attention_k_eq_v", false, &k_is_v, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_double_wide_mlp", false, &wide, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "enable_moe_block", false, &experts, where, error);
    if (status == SAH_OK && !json_is_null(cap))
        status = sah_json_number(json, "final_logit_softcapping", 0, &softcap, where, error);
    if (status == SAH_OK && !json_is_null(json_object_get(json, "hidden_size_per_layer_input")))
        status = sah_json_int(json, "hidden_size_per_layer_input", 256, 0, SAH_MAX_WIDTH / c->n_layers,
                              &inputs, where, error);
    if (status != SAH_OK) return status;
    if (json_is_string(both_ways) && strcmp(json_string_value(both_ways), "all") == 0)
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: attention that is not causal is not supported", where);
    if (!(softcap >= 0 && isfinite(softcap)))
        return sah_fail(error, SAH_FAILED, "%s: \"final_logit_softcapping\" is %g", where, softcap);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    c->layer_kind[last].window = 0; /* whatever its type */
    c->layer_kind[last].rope = 0;
    if (json_is_object(json_object_get(json, "per_layer_config")))
        status = read_overrides(json, where, c, error);
    else
        status = read_global(json, where, k_is_v, c, error);
    for (int l = 0; l < c->n_layers; l++) {
        c->layer_kind[l].v_is_k = k_is_v && is_full(c, l);
        if (wide && l >= c->n_layers - shared) c->layer_kind[l].d_ff = 2 * c->d_ff;
    }
    if (status == SAH_OK) status = share(c, shared, where, error);
    if (status != SAH_OK) return status;
    sah_rope *full = &c->ropes[0];
    if (json_object_get(json, "rope_parameters") == NULL) full->share = 0.25;
    full->dims = full->share > 0 ? c->layer_kind[last].head_dim
                                 : (int)((int64_t)full->dims * c->layer_kind[last].head_dim / width);
    c->input_width = (int)inputs;
    c->final_softcap = (float)softcap;
    set_rest(c);
    if (!experts) return SAH_OK;
    set_experts(c);
    for (int l = 0; l < c->n_layers; l++) c->layer_kind[l].experts = true;
    return sah_read_experts(json, 0, "top_k_experts", 0, "moe_intermediate_size", 0, &c->experts, where,
                            error);
}

/* ---- GGUF ---------------------------------------------------------------------------------------------- */

static sah_status read_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    int64_t shared, inputs, width, dims;
    double softcap;
    sah_status status =
        sah_gguf_int(gguf, "gemma4.attention.shared_kv_layers", 0, 0, c->n_layers - 1, &shared, error);
    if (status == SAH_OK)
        status = sah_gguf_int(gguf, "gemma4.embedding_length_per_layer_input", 0, 0,
                              SAH_MAX_WIDTH / c->n_layers, &inputs, error);
    if (status == SAH_OK)
        status = sah_gguf_int(gguf, "gemma4.attention.key_length_swa", c->head_dim, 1, SAH_MAX_WIDTH, &width,
                              error);
    if (status == SAH_OK)
        status = sah_gguf_int(gguf, "gemma4.rope.dimension_count_swa", width, 1, width, &dims, error);
    if (status == SAH_OK)
        status = sah_gguf_number(gguf, "gemma4.final_logit_softcapping", 0, &softcap, error);
    if (status != SAH_OK) return status;
    if (!(softcap >= 0)) return sah_fail(error, SAH_FAILED, "%s: a soft cap below 0", where);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++) {
        sah_layer_kind *kind = &c->layer_kind[l];
        char name[32];
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", l);
        kind->head_dim = is_full(c, l) ? c->head_dim : (int)width;
        kind->v_is_k = sah_tensors_find(&gguf->tensors, name) == NULL;
    }
    status = share(c, shared, where, error);
    if (status != SAH_OK) return status;
    c->ropes[1].dims = (int)dims;
    c->input_width = (int)inputs;
    c->final_softcap = (float)softcap;
    set_rest(c);
    if (sah_gguf_find(gguf, "gemma4.expert_count") == NULL) return SAH_OK;
    set_experts(c);
    return sah_read_experts_gguf(gguf, "gemma4", SAH_ROUTER_SOFTMAX_TOP, SAH_NORMALISE_ALWAYS, where, c,
                                 error);
}

const sah_family sah_family_gemma4 = {
    .name = "gemma4",
    .title = "Gemma 4",
    .architectures = {"Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"},
    .model_types = {"gemma4_text", "gemma4"},
    .gguf = "gemma4",
    .kv_heads = 4,
    .head_dim = 256,
    .max_positions = 131072,
    .theta = 1e6,
    .local_theta = 10000,
    .epsilon = 1e-6,
    .tied = true,
    .activation = "gelu_pytorch_tanh",
    .activation_key = "hidden_activation",
    .keys = {"final_logit_softcapping", "partial_rotary_factor", "num_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 6,
    .default_window = 512,
    .layers_differ = true,
    .qk_norm = SAH_QK_NORM_HEAD,
    .read_json = read_json,
    .read_gguf = read_gguf,
    .prefixes = {"model.", ""},
    .inputs = {"embed_tokens_per_layer", "per_layer_model_projection", "per_layer_projection_norm"},
    .experts = "experts",
    .matrices = matrices,
    .vectors = vectors,
};
