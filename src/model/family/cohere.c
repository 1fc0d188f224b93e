/* SPDX-License-Identifier: Apache-2.0 */
/* Cohere's Command R (both branches from one layer norm without biases, neighbours in pairs, logits scaled), its
 * second generation, and EXAONE 4 (norms behind the branches alone): in these two, layers without a window do not
 * rotate. */
#include <math.h>

#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};

/* Windows are set; layers that have none do not rotate. */
static sah_status rotate_in_windows(const char *where, sah_config *c, sah_error *error)
{
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++)
        if (c->layer_kind[l].window == 0) c->layer_kind[l].rope = -1;
    return SAH_OK;
}

/* ---- Cohere -------------------------------------------------------------------------------------------- */

static const sah_vector_name cohere_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL}, /* one for both */
    {0},
};

static sah_status set_logit_scale(double scale, const char *where, sah_config *c, sah_error *error)
{
    if (!isfinite(scale) || !(fabs(scale) > 0))
        return sah_fail(error, SAH_FAILED, "%s: logits times %g", where, scale);
    c->logit_scale = (float)scale;
    return SAH_OK;
}

static sah_status read_cohere(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    double scale;
    bool norms;
    sah_status status = sah_json_number(json, "logit_scale", 0.0625, &scale, where, error);
    if (status == SAH_OK) status = sah_json_bool(json, "use_qk_norm", false, &norms, where, error);
    if (status == SAH_OK && norms)
        status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"use_qk_norm\" is not supported in %s models",
                          where, c->family);
    return status == SAH_OK ? set_logit_scale(scale, where, c, error) : status;
}

static sah_status read_cohere2(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    sah_status status = read_cohere(json, where, c, error);
    return status == SAH_OK ? rotate_in_windows(where, c, error) : status;
}

static sah_status read_cohere_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    double scale;
    sah_status status = sah_gguf_number(gguf, "command-r.logit_scale", 1, &scale, error);
    return status == SAH_OK ? set_logit_scale(scale, where, c, error) : status;
}

static sah_status read_cohere2_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    double scale;
    sah_status status = sah_gguf_number(gguf, "cohere2.logit_scale", 1, &scale, error);
    if (status == SAH_OK) status = set_logit_scale(scale, where, c, error);
    return status == SAH_OK ? rotate_in_windows(where, c, error) : status;
}

/* What these two share. */
#define COHERE                                                                                               \
    .max_positions = 8192, .epsilon = 1e-5, .tied = true, .activation = "silu",                              \
    .epsilon_key = "layer_norm_eps", .keys = {"logit_scale", "logits_scaling"}, .qkv_bias = SAH_BIAS_BY_KEY, \
    .o_bias = SAH_BIAS_BY_KEY, .norm = SAH_NORM_LAYER, .bare_norms = true,                                   \
    .residual = SAH_RESIDUAL_PARALLEL, .neighbours = true, .prefixes = {"model.", ""}, .matrices = matrices, \
    .vectors = cohere_vectors

const sah_family sah_family_cohere = {
    .name = "cohere",
    .title = "Cohere",
    .architectures = {"CohereForCausalLM"},
    .model_types = {"cohere"},
    .gguf = "command-r",
    COHERE,
    .theta = 500000,
    .read_json = read_cohere,
    .read_gguf = read_cohere_gguf,
};

const sah_family sah_family_cohere2 = {
    .name = "cohere2",
    .title = "Cohere 2",
    .architectures = {"Cohere2ForCausalLM"},
    .model_types = {"cohere2"},
    .gguf = "cohere2",
    COHERE,
    .theta = 10000,
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 4,
    .default_window = 4096,
    .read_json = read_cohere2,
    .read_gguf = read_cohere2_gguf,
};

/* ---- EXAONE 4 ------------------------------------------------------------------------------------------ */

static const sah_vector_name exaone_vectors[] = {
    {SAH_VECTOR_ATTENTION_OUT_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_OUT_NORM, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", SAH_WIDTH_MODEL},
    SAH_HEAD_NORMS,
    {0},
};

/* Models without any window rotate everywhere. */
static sah_status read_exaone(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    int64_t window;
    const bool silent = json_object_get(json, "sliding_window") == NULL;
    sah_status status =
        sah_json_int(json, "sliding_window", silent ? 4096 : 0, 0, INT32_MAX, &window, where, error);
    return status == SAH_OK && window > 0 ? rotate_in_windows(where, c, error) : status;
}

static sah_status read_exaone_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    int64_t window;
    sah_status status =
        sah_gguf_int(gguf, "exaone4.attention.sliding_window", 0, 0, INT32_MAX, &window, error);
    return status == SAH_OK && window > 0 ? rotate_in_windows(where, c, error) : status;
}

const sah_family sah_family_exaone4 = {
    .name = "exaone4",
    .title = "EXAONE 4",
    .architectures = {"Exaone4ForCausalLM"},
    .model_types = {"exaone4"},
    .gguf = "exaone4",
    .kv_heads = 32,
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 4,
    .default_window = 4096,
    .qk_norm = SAH_QK_NORM_HEAD,
    .read_json = read_exaone,
    .read_gguf = read_exaone_gguf,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = exaone_vectors,
};
