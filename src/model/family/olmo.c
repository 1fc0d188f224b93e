/* SPDX-License-Identifier: Apache-2.0 */
/* OLMo 2 and 3: norms behind the branches alone, and of all heads' q and k together. */
#include "model/family/family.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_vector_name vectors[] = {
    {SAH_VECTOR_ATTENTION_OUT_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_OUT_NORM, "post_feedforward_layernorm.weight", "post_ffw_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", SAH_WIDTH_Q},
    {SAH_VECTOR_K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", SAH_WIDTH_KV},
    {0},
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
