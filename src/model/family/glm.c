/* SPDX-License-Identifier: Apache-2.0 */
/* GLM-4 (dense): half of each head is rotated, neighbours in pairs; gate and up in one tensor. The later of the two
 * architectures has norms behind the branches as well. */
#include "model/family/family.h"

static const sah_matrix_name matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_GATE, "mlp.gate_up_proj", SAH_CUT_GATE_UP, "ffn_up", SAH_CUT_GATE_UP},
    {SAH_ROLE_UP, "mlp.gate_up_proj", SAH_CUT_GATE_UP, "ffn_up", SAH_CUT_GATE_UP},
    {SAH_ROLE_DOWN, "mlp.down_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name vectors[] = {SAH_LLAMA_NORMS, {0}};
static const sah_vector_name vectors4[] = {
    SAH_LLAMA_NORMS,
    {SAH_VECTOR_ATTENTION_OUT_NORM, "post_self_attn_layernorm.weight", "post_attention_norm.weight",
     SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_OUT_NORM, "post_mlp_layernorm.weight", "post_ffw_norm.weight", SAH_WIDTH_MODEL},
    {0},
};

const sah_family sah_family_glm = {
    .name = "glm",
    .title = "GLM",
    .architectures = {"GlmForCausalLM"},
    .model_types = {"glm"},
    .gguf = "chatglm",
    .kv_heads = 2,
    .head_dim = 128,
    .max_positions = 131072,
    .theta = 10000,
    .epsilon = 1.5625e-7,
    .activation = "silu",
    .partial_rotary = 0.5,
    .keys = {"partial_rotary_factor"},
    .qkv_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .neighbours = true,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

const sah_family sah_family_glm4 = {
    .name = "glm4",
    .title = "GLM-4",
    .architectures = {"Glm4ForCausalLM"},
    .model_types = {"glm4", "glm4v_text"},
    .gguf = "glm4",
    .kv_heads = 2,
    .head_dim = 128,
    .max_positions = 131072,
    .theta = 10000,
    .epsilon = 1.5625e-7,
    .activation = "silu",
    .partial_rotary = 0.5,
    .keys = {"partial_rotary_factor"},
    .qkv_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .neighbours = true,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors4,
};
