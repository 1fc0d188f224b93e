/* SPDX-License-Identifier: Apache-2.0 */
/* Llama 1 to 3, SmolLM2, Vicuna and all that is built like them; Mistral and Ministral, with windows; SmolLM3, with
 * layers that do not rotate; Seed-OSS, with biases of its own; ERNIE 4.5, which pairs neighbours; Arcee, without
 * gates; EXAONE 3, with names of its own. */
#include "model/family/family.h"
#include "util/error.h"

static const sah_matrix_name matrices[] = {SAH_LLAMA_ATTENTION, SAH_LLAMA_MLP, {0}};
static const sah_vector_name vectors[] = {SAH_LLAMA_NORMS, {0}};

const sah_family sah_family_llama = {
    .name = "llama",
    .title = "Llama",
    .architectures = {"LlamaForCausalLM"},
    .model_types = {"llama"},
    .gguf = "llama",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .permuted = true,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

const sah_family sah_family_mistral = {
    .name = "mistral",
    .title = "Mistral",
    .architectures = {"MistralForCausalLM"},
    .model_types = {"mistral"},
    .kv_heads = 8,
    .max_positions = 131072,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .windows = SAH_WINDOW_ALL,
    .default_window = 4096,
    .prefixes = {"model.", "language_model.model.", "model.language_model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

const sah_family sah_family_ministral = {
    .name = "ministral",
    .title = "Ministral",
    .architectures = {"MinistralForCausalLM"},
    .model_types = {"ministral"},
    .kv_heads = 8,
    .max_positions = 131072,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .windows = SAH_WINDOW_PATTERN,
    .default_window = 4096,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

/* Queries are scaled by 1 + beta ln(1 + floor(position / original positions)): by 1 up to there, and longer prompts
 * are refused. */
static void limit_to_original(sah_rope *rope)
{
    if (rope->scaling == SAH_ROPE_YARN && (rope->limit == 0 || rope->limit > rope->original_positions))
        rope->limit = rope->original_positions;
}

static sah_status read_ministral3(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    (void)json, (void)where, (void)error;
    limit_to_original(&c->ropes[0]);
    return SAH_OK;
}

/* Mistral's later models have the architecture's name too, without the scale. */
static sah_status read_ministral3_gguf(const sah_gguf *gguf, const char *where, sah_config *c,
                                       sah_error *error)
{
    double scale;
    (void)where;
    sah_status status = sah_gguf_number(gguf, "mistral3.attention.temperature_scale", 0, &scale, error);
    if (status == SAH_OK && scale != 0) limit_to_original(&c->ropes[0]);
    return status;
}

const sah_family sah_family_ministral3 = {
    .name = "ministral3",
    .title = "Ministral 3",
    .architectures = {"Ministral3ForCausalLM"},
    .model_types = {"ministral3"},
    .gguf = "mistral3",
    .kv_heads = 8,
    .head_dim = 128,
    .max_positions = 262144,
    .theta = 1e6,
    .epsilon = 1e-5,
    .activation = "silu",
    .windows = SAH_WINDOW_ALL,
    .permuted = true,
    .read_json = read_ministral3,
    .read_gguf = read_ministral3_gguf,
    .prefixes = {"model.", "language_model.model.", "model.language_model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

/* "no_rope_layers" has 0 for layers without rotation; without it every "no_rope_layer_interval"-th (4th) has none. */
static sah_status read_smollm3(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    const json_t *list = json_object_get(json, "no_rope_layers");
    int64_t interval;
    sah_status status =
        sah_json_int(json, "no_rope_layer_interval", 4, 1, INT32_MAX, &interval, where, error);
    if (status != SAH_OK) return status;
    if (json_array_size(list) > 0 && json_array_size(list) != (size_t)c->n_layers)
        return sah_fail(error, SAH_FAILED,
                        "%s: \"no_rope_layers\" does not have a number for each of %d layers", where,
                        c->n_layers);
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 0; l < c->n_layers; l++) {
        bool rotates = json_array_size(list) > 0 ? json_integer_value(json_array_get(list, (size_t)l)) != 0
                                                 : (l + 1) % interval != 0;
        if (!rotates) c->layer_kind[l].rope = -1;
    }
    return SAH_OK;
}

/* llama.cpp does not read which: every fourth. */
static sah_status read_smollm3_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    (void)gguf;
    if (!sah_config_by_layer(c)) return sah_fail_memory(error, where);
    for (int l = 3; l < c->n_layers; l += 4) c->layer_kind[l].rope = -1;
    return SAH_OK;
}

const sah_family sah_family_smollm3 = {
    .name = "smollm3",
    .title = "SmolLM3",
    .architectures = {"SmolLM3ForCausalLM"},
    .model_types = {"smollm3"},
    .gguf = "smollm3",
    .kv_heads = 4,
    .max_positions = 32768,
    .theta = 2e6,
    .epsilon = 1e-6,
    .tied = true,
    .activation = "silu",
    .keys = {"no_rope_layers"},
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .windows = SAH_WINDOW_OPTIONAL,
    .permuted = true,
    .read_json = read_smollm3,
    .read_gguf = read_smollm3_gguf,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

/* ---- Relatives ----------------------------------------------------------------------------------------- */

static const sah_vector_name seed_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight", SAH_WIDTH_MODEL},
    {0},
};

const sah_family sah_family_seed_oss = {
    .name = "seed_oss",
    .title = "Seed-OSS",
    .architectures = {"SeedOssForCausalLM"},
    .model_types = {"seed_oss"},
    .gguf = "seed_oss",
    .kv_heads = 8,
    .head_dim = 128,
    .max_positions = 524288,
    .theta = 10000,
    .epsilon = 1e-6,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .o_bias = SAH_BIAS_BY_KEY,
    .o_bias_key = "attention_out_bias",
    .mlp_bias = SAH_BIAS_BY_KEY,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = seed_vectors,
};

const sah_family sah_family_ernie4_5 = {
    .name = "ernie4_5",
    .title = "ERNIE 4.5",
    .architectures = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"},
    .model_types = {"ernie4_5"},
    .gguf = "ernie4_5",
    .kv_heads = 2,
    .head_dim = 128,
    .max_positions = 131072,
    .theta = 500000,
    .epsilon = 1e-5,
    .tied = true,
    .activation = "silu",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .qkv_bias_key = "use_bias",
    .o_bias_key = "use_bias",
    .mlp_bias_key = "use_bias",
    .neighbours = true,
    .prefixes = {"model.", ""},
    .matrices = matrices,
    .vectors = vectors,
};

static const sah_matrix_name arcee_matrices[] = {
    SAH_LLAMA_ATTENTION,
    {SAH_ROLE_UP, "mlp.up_proj", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.down_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};

const sah_family sah_family_arcee = {
    .name = "arcee",
    .title = "Arcee",
    .architectures = {"ArceeForCausalLM"},
    .model_types = {"arcee"},
    .gguf = "arcee",
    .max_positions = 4096,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "relu2",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .plain = true,
    .permuted = true,
    .prefixes = {"model.", ""},
    .matrices = arcee_matrices,
    .vectors = vectors,
};

static const sah_matrix_name exaone_matrices[] = {
    {SAH_ROLE_Q, "attn.attention.q_proj", SAH_CUT_NONE, "attn_q", SAH_CUT_NONE},
    {SAH_ROLE_K, "attn.attention.k_proj", SAH_CUT_NONE, "attn_k", SAH_CUT_NONE},
    {SAH_ROLE_V, "attn.attention.v_proj", SAH_CUT_NONE, "attn_v", SAH_CUT_NONE},
    {SAH_ROLE_O, "attn.attention.out_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},
    {SAH_ROLE_GATE, "mlp.c_fc_0", SAH_CUT_NONE, "ffn_gate", SAH_CUT_NONE},
    {SAH_ROLE_UP, "mlp.c_fc_1", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.c_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name exaone_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "ln_1.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "ln_2.weight", "ffn_norm.weight", SAH_WIDTH_MODEL},
    {0},
};

/* EXAONE 3 and 3.5. transformers 5 computes them with Llama's class. */
const sah_family sah_family_exaone = {
    .name = "exaone",
    .title = "EXAONE 3",
    .architectures = {"ExaoneForCausalLM", "LlamaForCausalLM"},
    .model_types = {"exaone"},
    .gguf = "exaone",
    .kv_heads = 8,
    .max_positions = 4096,
    .theta = 500000,
    .epsilon = 1e-5,
    .activation = "silu",
    .layers_key = "num_layers",
    .epsilon_key = "layer_norm_epsilon",
    .activation_key = "activation_function",
    .qkv_bias = SAH_BIAS_BY_KEY,
    .o_bias = SAH_BIAS_BY_KEY,
    .mlp_bias = SAH_BIAS_BY_KEY,
    .prefixes = {"transformer.", ""},
    .layers = "h",
    .embedding = "wte",
    .final_norm = "ln_f",
    .matrices = exaone_matrices,
    .vectors = exaone_vectors,
};
