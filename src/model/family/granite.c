/* SPDX-License-Identifier: Apache-2.0 */
/* Granite: Llama with multipliers. Granite 4 dense: the hybrid's class with attention in every layer, its shared MLP,
 * no experts, and rotation or none. */
#include <math.h>
#include <string.h>

#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_matrix_name shared_matrices[] = {
    SAH_LLAMA_ATTENTION,
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

static sah_status read_granite_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    double embedding, residual, attention, logits;
    bool rotates;
    sah_status status = sah_gguf_number(gguf, "granite.embedding_scale", 1, &embedding, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.residual_scale", 1, &residual, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.attention.scale", 0, &attention, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.logit_scale", 1, &logits, error);
    /* llama.cpp takes this key for whether there is a rotation. */
    if (status == SAH_OK)
        status = sah_gguf_bool(gguf, "granite.rope.scaling.finetuned", true, &rotates, error);
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

static sah_status read_granite4(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t experts;
    const char *positions = "";
    sah_status status =
        sah_json_int(json, "num_local_experts", 8, 0, SAH_MAX_EXPERTS, &experts, where, error);
    if (status == SAH_OK && !json_is_null(json_object_get(json, "position_embedding_type")))
        status = sah_json_string(json, "position_embedding_type", "", &positions, where, error);
    if (status != SAH_OK) return status;
    if (experts > 0)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: Granite 4 with %lld experts is not supported, only without", where,
                        (long long)experts);
    if (json_array_size(json_object_get(json, "layer_types")) != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED,
                        "%s: \"layer_types\" does not name attention for each of %d layers", where,
                        c->n_layers);
    if (strcmp(positions, "rope") != 0) c->n_ropes = 0;
    return read_granite(json, where, c, error);
}

const sah_family sah_family_granitemoehybrid = {
    .name = "granitemoehybrid",
    .title = "Granite 4 (dense)",
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
    .matrices = shared_matrices,
    .vectors = vectors,
};
