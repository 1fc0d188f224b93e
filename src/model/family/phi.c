/* SPDX-License-Identifier: Apache-2.0 */
/* Phi-3 and Phi-4: q, k and v in one tensor, gate and up in another; LongRoPE, and rotation of a part of the head. */
#include "model/family/family.h"

static const sah_matrix_name matrices[] = {
    {SAH_ROLE_Q, "self_attn.qkv_proj", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_K, "self_attn.qkv_proj", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_V, "self_attn.qkv_proj", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_O, "self_attn.o_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},
    {SAH_ROLE_GATE, "mlp.gate_up_proj", SAH_CUT_GATE_UP, "ffn_up", SAH_CUT_GATE_UP},
    {SAH_ROLE_UP, "mlp.gate_up_proj", SAH_CUT_GATE_UP, "ffn_up", SAH_CUT_GATE_UP},
    {SAH_ROLE_DOWN, "mlp.down_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name vectors[] = {SAH_LLAMA_NORMS, {0}};

const sah_family sah_family_phi3 = {
    .name = "phi3",
    .title = "Phi-3",
    .architectures = {"Phi3ForCausalLM"},
    .model_types = {"phi3"},
    .gguf = "phi3",
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "silu",
    .keys = {"partial_rotary_factor"},
    .windows = SAH_WINDOW_ALL,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};
