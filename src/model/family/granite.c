/* SPDX-License-Identifier: Apache-2.0 */
/* Granite: Llama with multipliers, dense or of experts, beside which an MLP may stand that every position takes.
 * Granite 4: the hybrid's class with attention in every layer, with experts or its shared MLP alone, and rotation or
 * none. */
#include <math.h>
#include <string.h>

#include <stdio.h>

#include "model/family/experts.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
/* Those of all experts in two tensors; the names are whole. */
#define EXPERTS                                                                                              \
    {SAH_ROLE_ROUTER, "block_sparse_moe.router.layer", SAH_CUT_NONE, "ffn_gate_inp", SAH_CUT_NONE},          \
        {SAH_ROLE_EXPERT_GATE, "block_sparse_moe.input_linear.weight", SAH_CUT_EXPERT_GATE_UP,               \
         "ffn_gate_exps", SAH_CUT_EXPERT_BLOCK},                                                             \
        {SAH_ROLE_EXPERT_UP, "block_sparse_moe.input_linear.weight", SAH_CUT_EXPERT_GATE_UP, "ffn_up_exps",  \
         SAH_CUT_EXPERT_BLOCK},                                                                              \
        {SAH_ROLE_EXPERT_DOWN, "block_sparse_moe.output_linear.weight", SAH_CUT_EXPERT_BLOCK,                \
         "ffn_down_exps", SAH_CUT_EXPERT_BLOCK},                                                             \
        {SAH_ROLE_SHARED_GATE, "shared_mlp.input_linear", SAH_CUT_GATE_UP, "ffn_gate_shexp", SAH_CUT_NONE},  \
        {SAH_ROLE_SHARED_UP, "shared_mlp.input_linear", SAH_CUT_GATE_UP, "ffn_up_shexp", SAH_CUT_NONE},      \
    {                                                                                                        \
        SAH_ROLE_SHARED_DOWN, "shared_mlp.output_linear", SAH_CUT_NONE, "ffn_down_shexp", SAH_CUT_NONE       \
    }
static const sah_matrix_name expert_matrices[] = {SAH_LLAMA_ATTENTION, EXPERTS, {0}};
static const sah_matrix_name shared_matrices[] = {
    SAH_LLAMA_ATTENTION,
    EXPERTS,
    {SAH_ROLE_GATE, "shared_mlp.input_linear", SAH_CUT_GATE_UP, NULL, SAH_CUT_NONE},
    {SAH_ROLE_UP, "shared_mlp.input_linear", SAH_CUT_GATE_UP, NULL, SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "shared_mlp.output_linear", SAH_CUT_NONE, NULL, SAH_CUT_NONE},
    {0},
};
static const sah_vector_name vectors[] = {SAH_LLAMA_NORMS, {0}};

/* A factor that must be a number other than 0. */
static sah_status read_factor(const json_t *json, const char *key, const char *where, double *out,
                              sah_error *error)
{
    sah_status status = sah_json_number(json, key, 1, out, where, error);
    if (status == SAH_OK && (!isfinite(*out) || !(fabs(*out) > 0)))
        status = sah_fail(error, SAH_FAILED, "%s: \"%s\" is %g", where, key, *out);
    return status;
}

static sah_status read_granite(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    double embedding, residual, attention, logits;
    sah_status status = read_factor(json, "embedding_multiplier", where, &embedding, error);
    if (status == SAH_OK) status = read_factor(json, "residual_multiplier", where, &residual, error);
    if (status == SAH_OK) status = read_factor(json, "attention_multiplier", where, &attention, error);
    if (status == SAH_OK) status = read_factor(json, "logits_scaling", where, &logits, error);
    if (status != SAH_OK) return status;
    c->embedding_scale = (float)embedding;
    c->residual_scale = (float)residual;
    c->attention_scale = (float)attention;
    c->logit_scale = (float)(1 / logits);
    return SAH_OK;
}

/* GGUF's keys under `family`. */
static sah_status read_multipliers(const sah_gguf *gguf, const char *family, const char *where, sah_config *c,
                                   sah_error *error)
{
    double embedding = 1, residual = 1, attention = 0, logits = 1;
    const struct {
        const char *suffix;
        double *out;
    } KEYS[] = {{"embedding_scale", &embedding},
                {"residual_scale", &residual},
                {"attention.scale", &attention},
                {"logit_scale", &logits}};
    char key[96];
    bool rotates;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        snprintf(key, sizeof key, "%s.%s", family, KEYS[i].suffix);
        sah_status status = sah_gguf_number(gguf, key, *KEYS[i].out, KEYS[i].out, error);
        if (status != SAH_OK) return status;
    }
    /* llama.cpp takes this key for whether there is a rotation. */
    snprintf(key, sizeof key, "%s.rope.scaling.finetuned", family);
    sah_status status = sah_gguf_bool(gguf, key, true, &rotates, error);
    if (status != SAH_OK) return status;
    if (!(embedding > 0 && residual > 0 && attention >= 0 && logits > 0))
        return sah_fail(error, SAH_FAILED, "%s: a multiplier is not a positive number", where);
    c->embedding_scale = (float)embedding;
    c->residual_scale = (float)residual;
    c->attention_scale = (float)attention;
    c->logit_scale = (float)(1 / logits);
    if (!rotates) c->n_ropes = 0;
    return SAH_OK;
}

static sah_status read_granite_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    return read_multipliers(gguf, "granite", where, c, error);
}

const sah_family sah_family_granite = {
    .name = "granite",
    .title = "Granite",
    .architectures = {"GraniteForCausalLM"},
    .model_types = {"granite"},
    .gguf = "granite",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .keys = {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .permuted = true,
    .read_json = read_granite,
    .read_gguf = read_granite_gguf,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

/* ---- Experts ------------------------------------------------------------------------------------------- */

static sah_status read_moe(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t shared;
    c->experts.router = SAH_ROUTER_TOP_SOFTMAX;
    sah_status status =
        sah_read_experts(json, 8, NULL, 2, "intermediate_size", 11008, &c->experts, where, error);
    if (status == SAH_OK)
        status = sah_json_int(json, "shared_intermediate_size", 0, 0, SAH_MAX_WIDTH, &shared, where, error);
    if (status != SAH_OK) return status;
    c->experts.shared_width = (int)shared;
    return read_granite(json, where, c, error);
}

static sah_status read_moe_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_multipliers(gguf, "granitemoe", where, c, error);
    if (status != SAH_OK) return status;
    return sah_read_experts_gguf(gguf, "granitemoe", SAH_ROUTER_TOP_SOFTMAX, SAH_NORMALISE_NEVER, where, c,
                                 error);
}

const sah_family sah_family_granitemoe = {
    .name = "granitemoe",
    .title = "Granite MoE",
    .architectures = {"GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"},
    .model_types = {"granitemoe", "granitemoeshared"},
    .gguf = "granitemoe",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .keys = {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
             "num_local_experts", "num_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .permuted = true,
    .read_json = read_moe,
    .read_gguf = read_moe_gguf,
    .prefixes = {"model.", ""},
    .experts = "block_sparse_moe.experts",
    .matrices = expert_matrices,
    .vectors = vectors,
};

/* ---- Granite 4 ----------------------------------------------------------------------------------------- */

static sah_status read_granite4(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t experts;
    const char *positions = "";
    sah_status status =
        sah_json_int(json, "num_local_experts", 8, 0, SAH_MAX_EXPERTS, &experts, where, error);
    if (status == SAH_OK && !json_is_null(json_object_get(json, "position_embedding_type")))
        status = sah_json_string(json, "position_embedding_type", "", &positions, where, error);
    if (status != SAH_OK) return status;
    if (json_array_size(json_object_get(json, "layer_types")) != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED,
                        "%s: \"layer_types\" does not name attention for each of %d layers", where,
                        c->n_layers);
    if (strcmp(positions, "rope") != 0) c->n_ropes = 0;
    return experts > 0 ? read_moe(json, where, c, error) : read_granite(json, where, c, error);
}

const sah_family sah_family_granitemoehybrid = {
    .name = "granitemoehybrid",
    .title = "Granite 4 (without Mamba layers)",
    .architectures = {"GraniteMoeHybridForCausalLM"},
    .model_types = {"granitemoehybrid"},
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .ff_key = "shared_intermediate_size",
    .keys = {"embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
             "num_local_experts"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .read_json = read_granite4,
    .prefixes = {"model.", ""},
    .experts = "block_sparse_moe.experts",
    .matrices = shared_matrices,
    .vectors = vectors,
};
