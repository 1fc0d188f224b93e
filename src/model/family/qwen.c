/* SPDX-License-Identifier: Apache-2.0 */
/* Qwen2, Qwen2.5 (biases of q, k and v) and Qwen3 (norms of q and k). */
#include "model/family/family.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_vector_name vectors2[] = {SAH_LLAMA_NORMS, {0}};
static const sah_vector_name vectors3[] = {SAH_LLAMA_NORMS, SAH_HEAD_NORMS, {0}};

const sah_family sah_family_qwen2 = {
    .name = "qwen2",
    .title = "Qwen2",
    .architectures = {"Qwen2ForCausalLM", "Qwen2VLForConditionalGeneration",
                      "Qwen2_5_VLForConditionalGeneration"},
    .model_types = {"qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_vl", "qwen2_5_vl"},
    .gguf = "qwen2",
    .kv_heads = 32,
    .max_positions = 32768,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_ALWAYS,
    .windows = SAH_WINDOW_OPTIONAL,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors2,
};

const sah_family sah_family_qwen3 = {
    .name = "qwen3",
    .title = "Qwen3",
    .architectures = {"Qwen3ForCausalLM"},
    .model_types = {"qwen3", "qwen3_vl_text"},
    .gguf = "qwen3",
    .kv_heads = 32,
    .head_dim = 128,
    .max_positions = 32768,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_OPTIONAL,
    .qk_norm = SAH_QK_NORM_HEAD,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors3,
};
