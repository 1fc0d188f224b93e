/* SPDX-License-Identifier: Apache-2.0 */
/* Gemma 1, 2 and the text part of Gemma 3: norms stored less 1, embeddings times the root of their width; from the
 * second on norms behind either branch as well, and windows in some layers. */
#include <math.h>

#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_vector_name vectors1[] = {SAH_LLAMA_NORMS, {0}};
static const sah_vector_name vectors2[] = {SAH_GEMMA_NORMS, {0}};
static const sah_vector_name vectors3[] = {SAH_GEMMA_NORMS, SAH_HEAD_NORMS, {0}};

static void scale_embeddings(sah_config *c)
{
    c->embedding_scale = sqrtf((float)c->d_model);
}

static sah_status read_cap(const json_t *json, const char *key, double otherwise, const char *where,
                           float *out, sah_error *error)
{
    double cap = 0;
    const json_t *value = json_object_get(json, key);
    sah_status status = SAH_OK;
    if (!json_is_null(value)) status = sah_json_number(json, key, otherwise, &cap, where, error);
    if (status == SAH_OK && !(cap >= 0 && isfinite(cap)))
        status = sah_fail(error, SAH_FAILED, "%s: \"%s\" is %g", where, key, cap);
    *out = (float)cap;
    return status;
}

static sah_status read_json(const json_t *json, double attention_cap, double final_cap, const char *where,
                            sah_config *c, sah_error *error)
{
    double scalar;
    sah_status status = sah_json_number(json, "query_pre_attn_scalar", 256, &scalar, where, error);
    if (status == SAH_OK && !(scalar > 0))
        status = sah_fail(error, SAH_FAILED, "%s: \"query_pre_attn_scalar\" is %g", where, scalar);
    if (status == SAH_OK)
        status = read_cap(json, "attn_logit_softcapping", attention_cap, where, &c->attention_softcap, error);
    if (status == SAH_OK)
        status = read_cap(json, "final_logit_softcapping", final_cap, where, &c->final_softcap, error);
    if (status != SAH_OK) return status;
    if (json_is_true(json_object_get(json, "use_bidirectional_attention")))
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"use_bidirectional_attention\" is not supported",
                        where);
    c->attention_scale = (float)(1 / sqrt(scalar));
    scale_embeddings(c);
    return SAH_OK;
}

static sah_status read_json2(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    return read_json(json, 50, 30, where, c, error);
}

/* Gemma 3's class has "attn_logit_softcapping" too, and makes nothing of it. */
static sah_status read_json3(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_json(json, 0, 0, where, c, error);
    c->attention_softcap = 0;
    return status;
}

/* The files do not say by what queries are scaled; llama.cpp goes by the number of layers of the 27B models. */
static void scale_queries(sah_config *c, int layers_27b)
{
    double width = c->n_layers == layers_27b ? (double)c->d_model / c->n_heads : c->head_dim;
    c->attention_scale = (float)(1 / sqrt(width));
}

static sah_status read_gguf2(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    double attention, final;
    sah_status status = sah_gguf_number(gguf, "gemma2.attn_logit_softcapping", 50, &attention, error);
    if (status == SAH_OK) status = sah_gguf_number(gguf, "gemma2.final_logit_softcapping", 30, &final, error);
    if (status != SAH_OK) return status;
    if (!(attention >= 0 && final >= 0)) return sah_fail(error, SAH_FAILED, "%s: a soft cap below 0", where);
    c->attention_softcap = (float)attention;
    c->final_softcap = (float) final;
    scale_queries(c, 46);
    scale_embeddings(c);
    return SAH_OK;
}

static sah_status read_gguf3(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    double final;
    sah_status status = sah_gguf_number(gguf, "gemma3.final_logit_softcapping", 0, &final, error);
    if (status != SAH_OK) return status;
    if (!(final >= 0)) return sah_fail(error, SAH_FAILED, "%s: a soft cap below 0", where);
    c->final_softcap = (float) final;
    scale_queries(c, 62);
    scale_embeddings(c);
    return SAH_OK;
}

/* The first files say "gelu" and mean its approximation by tanh. */
static sah_status read_json1(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    if (json_is_true(json_object_get(json, "use_bidirectional_attention")))
        return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"use_bidirectional_attention\" is not supported",
                        where);
    if (c->activation == SAH_ACT_GELU) c->activation = SAH_ACT_GELU_TANH;
    scale_embeddings(c);
    return SAH_OK;
}

static sah_status read_gguf1(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    (void)gguf, (void)where, (void)error;
    scale_embeddings(c);
    return SAH_OK;
}

const sah_family sah_family_gemma = {
    .name = "gemma",
    .title = "Gemma",
    .architectures = {"GemmaForCausalLM"},
    .model_types = {"gemma"},
    .gguf = "gemma",
    .kv_heads = 16,
    .head_dim = 256,
    .max_positions = 8192,
    .theta = 10000,
    .epsilon = 1e-6,
    .tied = true,
    .activation = "gelu_pytorch_tanh",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .norm_add = 1,
    .read_json = read_json1,
    .read_gguf = read_gguf1,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors1,
};

const sah_family sah_family_gemma2 = {
    .name = "gemma2",
    .title = "Gemma 2",
    .architectures = {"Gemma2ForCausalLM"},
    .model_types = {"gemma2"},
    .gguf = "gemma2",
    .kv_heads = 4,
    .head_dim = 256,
    .max_positions = 8192,
    .theta = 10000,
    .epsilon = 1e-6,
    .tied = true,
    .activation = "gelu_pytorch_tanh",
    .activation_key = "hidden_activation",
    .keys = {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 2,
    .default_window = 4096,
    .norm_add = 1,
    .read_json = read_json2,
    .read_gguf = read_gguf2,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors2,
};

const sah_family sah_family_gemma3 = {
    .name = "gemma3",
    .title = "Gemma 3",
    .architectures = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
    .model_types = {"gemma3_text", "gemma3"},
    .gguf = "gemma3",
    .kv_heads = 4,
    .head_dim = 256,
    .max_positions = 131072,
    .theta = 1e6,
    .local_theta = 10000,
    .epsilon = 1e-6,
    .tied = true,
    .activation = "gelu_pytorch_tanh",
    .activation_key = "hidden_activation",
    .keys = {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar",
             "rope_local_base_freq"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 6,
    .default_window = 4096,
    .qk_norm = SAH_QK_NORM_HEAD,
    .norm_add = 1,
    .read_json = read_json3,
    .read_gguf = read_gguf3,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors3,
};
