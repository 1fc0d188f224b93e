/* SPDX-License-Identifier: Apache-2.0 */
/* Granite: Llama with multipliers. */
#include <math.h>

#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
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
    sah_status status = sah_gguf_number(gguf, "granite.embedding_scale", 1, &embedding, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.residual_scale", 1, &residual, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.attention.scale", 0, &attention, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "granite.logit_scale", 1, &logits, error);
    if (status != SAH_OK) return status;
    if (!(embedding > 0 && residual > 0 && attention >= 0 && logits > 0))
        return sah_fail(error, SAH_FAILED, "%s: a multiplier is not a positive number", where);
    c->embedding_scale = (float)embedding;
    c->residual_scale = (float)residual;
    c->attention_scale = (float)attention;
    c->logit_scale = (float)(1 / logits);
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
