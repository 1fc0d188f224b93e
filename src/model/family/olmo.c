/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo: layer norms without weights. OLMo 2 and 3: norms behind the branches alone, and of all heads' q and k
 * together. */
#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_vector_name no_vectors[] = {{0}};
static const sah_vector_name vectors[] = {
    {SAH_VECTOR_ATTENTION_OUT_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_OUT_NORM, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", SAH_WIDTH_Q},
    {SAH_VECTOR_K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", SAH_WIDTH_KV},
    {0},
};

/* Files of OLMo 3 go by the same name: they have windows, in three layers of four where they do not say, and what
 * stretches the rotation does so in the others alone. */
static sah_status read_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    const sah_rope *full = &c->ropes[0];
    const int window = c->sliding_window;
    sah_rope local = {.attention_factor = 1, .dims = full->dims, .neighbours = full->neighbours};
    sah_status status = sah_gguf_number(gguf, "olmo2.rope.freq_base_swa", full->theta, &local.theta, error);
    if (status != SAH_OK || (window == 0 && c->layer_kind == NULL)) return status;
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    c->ropes[1] = local;
    c->n_ropes = 2;
    for (int l = 0; l < c->n_layers; l++) {
        if (window > 0 && (l + 1) % 4 == 0) c->layer_kind[l].window = 0; /* the file says nothing of layers */
        c->layer_kind[l].rope = c->layer_kind[l].window > 0;
    }
    return SAH_OK;
}

/* The class has no setting for the norms' epsilon. */
static sah_status read_olmo(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    (void)json, (void)where, (void)error;
    c->norm_eps = 1e-5f;
    return SAH_OK;
}

const sah_family sah_family_olmo = {
    .name = "olmo",
    .title = "OLMo",
    .architectures = {"OlmoForCausalLM"},
    .model_types = {"olmo"},
    .gguf = "olmo",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .norm = SAH_NORM_LAYER,
    .bare_norms = true,
    .weightless = true,
    .read_json = read_olmo,
    .permuted = true,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = no_vectors,
};

const sah_family sah_family_olmo2 = {
    .name = "olmo2",
    .title = "OLMo 2",
    .architectures = {"Olmo2ForCausalLM"},
    .model_types = {"olmo2"},
    .gguf = "olmo2",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .qk_norm = SAH_QK_NORM_ROW,
    .read_gguf = read_gguf,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

const sah_family sah_family_olmo3 = {
    .name = "olmo3",
    .title = "OLMo 3",
    .architectures = {"Olmo3ForCausalLM"},
    .model_types = {"olmo3"},
    .max_positions = 2048,
    .theta = 500000,
    .local_theta = 500000,
    .epsilon = 1e-5,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_PATTERN,
    .pattern = 4,
    .default_window = 4096,
    .qk_norm = SAH_QK_NORM_ROW,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};
