/* SPDX-License-Identifier: Apache-2.0 */
/* Models of layer norms and plain MLPs: GPT-2 (learned positions, matrices kept turned), GPT-NeoX and Pythia
 * (q, k, v of each head together, both branches from the same residual), Falcon-7B (one key head, one norm for
 * both branches). */
#include <stdio.h>

#include "model/family/family.h"
#include "util/error.h"

/* ---- GPT-2 --------------------------------------------------------------------------------------------- */

static const sah_matrix_name gpt2_matrices[] = {
    {SAH_ROLE_Q, "attn.c_attn", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_K, "attn.c_attn", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_V, "attn.c_attn", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_O, "attn.c_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},
    {SAH_ROLE_UP, "mlp.c_fc", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.c_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name gpt2_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "ln_1.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "ln_2.weight", "ffn_norm.weight", SAH_WIDTH_MODEL},
    {0},
};

static sah_status read_gpt2(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    bool scaled, by_layer;
    (void)c;
    sah_status status = sah_json_bool(json, "scale_attn_weights", true, &scaled, where, error);
    if (status == SAH_OK)
        status = sah_json_bool(json, "scale_attn_by_inverse_layer_idx", false, &by_layer, where, error);
    if (status == SAH_OK && (!scaled || by_layer))
        status = sah_fail(error, SAH_NOT_SUPPORTED, "%s: this scaling of attention scores is not supported",
                          where);
    return status;
}

const sah_family sah_family_gpt2 = {
    .name = "gpt2",
    .title = "GPT-2",
    .architectures = {"GPT2LMHeadModel"},
    .model_types = {"gpt2"},
    .gguf = "gpt2",
    .max_positions = 1024,
    .epsilon = 1e-5,
    .tied = true,
    .activation = "gelu_new",
    .ff_times = 4,
    .epsilon_key = "layer_norm_epsilon",
    .activation_key = "activation_function",
    .width_key = "n_embd",
    .ff_key = "n_inner",
    .layers_key = "n_layer",
    .heads_key = "n_head",
    .positions_key = "n_positions",
    .qkv_bias = SAH_BIAS_ALWAYS,
    .o_bias = SAH_BIAS_ALWAYS,
    .mlp_bias = SAH_BIAS_ALWAYS,
    .norm = SAH_NORM_LAYER,
    .plain = true,
    .ungrouped = true,
    .read_json = read_gpt2,
    .prefixes = {"transformer.", ""},
    .layers = "h",
    .embedding = "wte",
    .final_norm = "ln_f",
    .positions = "wpe",
    .transposed = true,
    .matrices = gpt2_matrices,
    .vectors = gpt2_vectors,
};

/* ---- GPT-NeoX ------------------------------------------------------------------------------------------ */

static const sah_matrix_name neox_matrices[] = {
    {SAH_ROLE_Q, "attention.query_key_value", SAH_CUT_QKV_BY_HEAD, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_K, "attention.query_key_value", SAH_CUT_QKV_BY_HEAD, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_V, "attention.query_key_value", SAH_CUT_QKV_BY_HEAD, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_O, "attention.dense", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},
    {SAH_ROLE_UP, "mlp.dense_h_to_4h", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.dense_4h_to_h", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name neox_vectors[] = {SAH_LLAMA_NORMS, {0}};

static sah_status read_neox(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    bool parallel;
    double part, base;
    sah_rope *rope = &c->ropes[0];
    sah_status status = sah_json_bool(json, "use_parallel_residual", true, &parallel, where, error);
    /* Older files name the rotated part and the base in their own way. */
    if (status == SAH_OK) status = sah_json_number(json, "rotary_pct", 0, &part, where, error);
    if (status == SAH_OK) status = sah_json_number(json, "rotary_emb_base", rope->theta, &base, where, error);
    if (status != SAH_OK) return status;
    if (part > 0 && part <= 1) rope->dims = (int)(c->head_dim * part);
    rope->theta = base;
    if (rope->dims < 2 || rope->dims > c->head_dim || rope->dims % 2 != 0)
        return sah_fail(error, SAH_NOT_SUPPORTED,
                        "%s: %d of %d values of a head rotate, which is not supported", where, rope->dims,
                        c->head_dim);
    c->residual = parallel ? SAH_RESIDUAL_PARALLEL : SAH_RESIDUAL_SEQUENTIAL;
    return SAH_OK;
}

static sah_status read_neox_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    bool parallel;
    (void)where;
    sah_status status = sah_gguf_bool(gguf, "gptneox.use_parallel_residual", true, &parallel, error);
    c->residual = status == SAH_OK && parallel ? SAH_RESIDUAL_PARALLEL : SAH_RESIDUAL_SEQUENTIAL;
    return status;
}

const sah_family sah_family_gpt_neox = {
    .name = "gpt_neox",
    .title = "GPT-NeoX",
    .architectures = {"GPTNeoXForCausalLM"},
    .model_types = {"gpt_neox"},
    .gguf = "gptneox",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-5,
    .activation = "gelu",
    .partial_rotary = 0.25,
    .epsilon_key = "layer_norm_eps",
    .qkv_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .o_bias = SAH_BIAS_BY_KEY_ELSE_YES,
    .mlp_bias = SAH_BIAS_ALWAYS,
    .norm = SAH_NORM_LAYER,
    .plain = true,
    .ungrouped = true,
    .read_json = read_neox,
    .read_gguf = read_neox_gguf,
    .prefixes = {"gpt_neox.", ""},
    .embedding = "embed_in",
    .final_norm = "final_layer_norm",
    .head = "embed_out.weight",
    .matrices = neox_matrices,
    .vectors = neox_vectors,
};

/* ---- Falcon -------------------------------------------------------------------------------------------- */

static const sah_matrix_name falcon_matrices[] = {
    {SAH_ROLE_Q, "self_attention.query_key_value", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_K, "self_attention.query_key_value", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_V, "self_attention.query_key_value", SAH_CUT_QKV, "attn_qkv", SAH_CUT_QKV},
    {SAH_ROLE_O, "self_attention.dense", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE},
    {SAH_ROLE_UP, "mlp.dense_h_to_4h", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},
    {SAH_ROLE_DOWN, "mlp.dense_4h_to_h", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE},
    {0},
};
static const sah_vector_name falcon_vectors[] = {
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},
    {SAH_VECTOR_MLP_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL}, /* one for both */
    {0},
};

/* Only the arrangement of the 7B model: one key head, both branches from one norm, no biases, rotation. */
static sah_status read_falcon(const json_t *json, const char *where, sah_config *c, sah_error *error)
{
    static const struct {
        const char *key;
        bool otherwise, must;
    } FLAGS[] = {{"multi_query", true, true},
                 {"parallel_attn", true, true},
                 {"new_decoder_architecture", false, false},
                 {"alibi", false, false},
                 {"bias", false, false}};
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        bool value;
        sah_status status = sah_json_bool(json, FLAGS[i].key, FLAGS[i].otherwise, &value, where, error);
        if (status != SAH_OK) return status;
        if (value != FLAGS[i].must)
            return sah_fail(error, SAH_NOT_SUPPORTED, "%s: \"%s\" %s is not supported", where, FLAGS[i].key,
                            value ? "true" : "false");
    }
    c->n_kv_heads = 1;
    return SAH_OK;
}

static sah_status read_falcon_gguf(const sah_gguf *gguf, const char *where, sah_config *c, sah_error *error)
{
    if (c->n_kv_heads == 1 && sah_tensors_find(&gguf->tensors, "blk.0.attn_norm_2.weight") == NULL)
        return SAH_OK;
    return sah_fail(error, SAH_NOT_SUPPORTED,
                    "%s: a Falcon of another form than the 7B model is not supported", where);
}

const sah_family sah_family_falcon = {
    .name = "falcon",
    .title = "Falcon",
    .architectures = {"FalconForCausalLM"},
    .model_types = {"falcon"},
    .gguf = "falcon",
    .max_positions = 2048,
    .theta = 10000,
    .epsilon = 1e-5,
    .tied = true,
    .activation = "gelu",
    .ff_times = 4,
    .epsilon_key = "layer_norm_epsilon",
    .activation_key = "activation",
    .ff_key = "ffn_hidden_size",
    .keys = {"alibi"},
    .norm = SAH_NORM_LAYER,
    .residual = SAH_RESIDUAL_PARALLEL,
    .plain = true,
    .ungrouped = true,
    .read_json = read_falcon,
    .read_gguf = read_falcon_gguf,
    .prefixes = {"transformer.", ""},
    .layers = "h",
    .embedding = "word_embeddings",
    .final_norm = "ln_f",
    .matrices = falcon_matrices,
    .vectors = falcon_vectors,
};
