/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation beside layer norms with biases: StableLM, whose branches may both start from one norm, StarCoder2, and
 * Nemotron, whose norms are stored less 1. */
#include "model/family/family.h"

static const sah_matrix_name gated_matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_matrix_name nemotron_matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_UP, "mlp.up_proj", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.down_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_matrix_name starcoder_matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_UP, "mlp.c_fc", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.c_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name vectors[] = {SAH_LLAMA_NORMS, {0}};
static const sah_vector_name stablelm_vectors[] = {
    SAH_LLAMA_NORMS,
    {SAH_VECTOR_MLP_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL}, /* one for both */
    {0},
};

/* ---- StableLM ------------------------------------------------------------------------------------------ */

static sah_status read_stablelm(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    bool parallel;
    sah_status status = sah_json_bool(json, "use_parallel_residual", false, &parallel, where, error);
    if (status == SAH_OK && parallel) c->residual = SAH_RESIDUAL_PARALLEL;
    return status;
}

/* llama.cpp goes by the norm, too. */
static sah_status read_stablelm_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    (void)where, (void)error;
    if (sah_tensors_find(&gguf->tensors, "blk.0.ffn_norm.weight") == NULL)
        c->residual = SAH_RESIDUAL_PARALLEL;
    return SAH_OK;
}

const sah_family sah_family_stablelm = {
    .name = "stablelm",
    .title = "StableLM",
    .architectures = {"StableLmForCausalLM"},
    .model_types = {"stablelm"},
    .gguf = "stablelm",
    .kv_heads = 32,
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .partial_rotary = 0.25,
    .epsilon_key = "layer_norm_eps",
    .keys = {"partial_rotary_factor"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .qkv_bias_key = "use_qkv_bias",
    .norm = SAH_NORM_LAYER,
    .read_json = read_stablelm,
    .read_gguf = read_stablelm_gguf,
    .prefixes = {"model.", ""},
    .matrices = gated_matrices,
    .vectors = stablelm_vectors,
};

/* ---- StarCoder2 ---------------------------------------------------------------------------------------- */

const sah_family sah_family_starcoder2 = {
    .name = "starcoder2",
    .title = "StarCoder2",
    .architectures = {"Starcoder2ForCausalLM"},
    .model_types = {"starcoder2"},
    .gguf = "starcoder2",
    .kv_heads = 2,
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .tied = true,
    .activation = "gelu_pytorch_tanh",
    .epsilon_key = "norm_epsilon",
    .qkv_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .o_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .mlp_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .qkv_bias_key = "use_bias",
    .o_bias_key = "use_bias",
    .mlp_bias_key = "use_bias",
    .windows = SAH_WINDOW_ALL,
    .norm = SAH_NORM_LAYER,
    .plain = true,
    .prefixes = {"model.", ""},
    .matrices = starcoder_matrices,
    .vectors = vectors,
};

/* ---- Nemotron ------------------------------------------------------------------------------------------ */

const sah_family sah_family_nemotron = {
    .name = "nemotron",
    .title = "Nemotron",
    .architectures = {"NemotronForCausalLM"},
    .model_types = {"nemotron"},
    .gguf = "nemotron",
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "relu2",
    .partial_rotary = 0.5,
    .epsilon_key = "norm_eps",
    .keys = {"partial_rotary_factor"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .norm = SAH_NORM_LAYER,
    .plain = true,
    .norm_add = 1,
    .prefixes = {"model.", ""},
    .matrices = nemotron_matrices,
    .vectors = vectors,
};
