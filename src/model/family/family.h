/* SPDX-License-Identifier: Apache-2.0 */
/* One description a family of models: how its files name things, what its configuration class assumes, and how its
 * layers are arranged. Everything that reads, edits or describes checkpoints goes by these; no other file names a
 * family. docs/families.md lists them. */
#ifndef SAH_MODEL_FAMILY_FAMILY_H
#define SAH_MODEL_FAMILY_FAMILY_H

#include "model/family/roles.h"
#include "model/format/gguf.h"
#include "util/json.h"

/* Where a weight lies in the tensor of its name. */
typedef enum sah_cut {
    SAH_CUT_NONE, /* the tensor is the weight */
    SAH_CUT_QKV, /* q, k, v under one another */
    SAH_CUT_QKV_BY_HEAD, /* q, k, v of the first head, then of the second (GPT-NeoX) */
    SAH_CUT_GATE_UP, /* gate, then up */
    SAH_CUT_Q_GATE, /* of each head q, then its gate */
    SAH_CUT_DELTA_QKV, /* q and k of the key heads of the delta rule, then v */
    SAH_CUT_DELTA_BY_HEAD, /* of each key head q, k, and v and gate of its value heads; or write and keep of those */
    SAH_CUT_EXPERTS, /* a tensor an expert: %d in the name is its number */
    SAH_CUT_EXPERT_BLOCK, /* [experts, rows, columns] in one tensor */
    SAH_CUT_EXPERT_GATE_UP, /* [experts, gate and up, columns] in one tensor */
    SAH_CUT_EXPERT_TURNS, /* the same where rows of gate and up take turns, in a tensor without ".weight": of
                             four-bit floats as it stands here, else [experts, columns, gate and up] */
} sah_cut;

/* Name of a matrix in a layer, without ".weight"; its bias goes by the same name. NULL: the container has none. Of
 * several names for a role the first counts whose tensor is there. */
typedef struct sah_matrix_name {
    sah_role role;
    const char *hugging_face;
    sah_cut cut;
    const char *gguf;
    sah_cut gguf_cut;
} sah_matrix_name;

/* Name of a vector in a layer, with ".weight" where it has that, and its length. Of several names for a vector the
 * first counts whose tensor is there. */
typedef struct sah_vector_name {
    sah_vector vector;
    const char *hugging_face, *gguf;
    sah_width width;
} sah_vector_name;

typedef enum sah_biases {
    SAH_BIAS_NEVER,
    SAH_BIAS_ALWAYS,
    SAH_BIAS_BY_KEY,
    SAH_BIAS_BY_KEY_ELSE_YES /* without the key there are biases */
} sah_biases;

typedef enum sah_window_rule {
    SAH_WINDOW_NONE, /* the family knows none */
    SAH_WINDOW_ALL, /* "sliding_window" holds for every layer */
    SAH_WINDOW_OPTIONAL, /* where "use_sliding_window" says so, from "max_window_layers" on or by "layer_types" */
    SAH_WINDOW_PATTERN /* in layers whose "layer_types" is sliding_attention, else by `pattern` */
} sah_window_rule;

/* Shapes of an extra reader: what of a configuration only this family has. `c` has the sizes, the rotary setting and
 * the windows that all families share. */
typedef sah_status (*sah_read_json_fn)(const json_t *json, const char *where, sah_config *c,
                                       sah_error *error);
typedef sah_status (*sah_read_gguf_fn)(const sah_gguf *gguf, const char *where, sah_config *c,
                                       sah_error *error);

enum { SAH_FAMILY_NAMES = 6 };

typedef struct sah_family {
    const char *name; /* in results and messages */
    const char *title; /* for a person: "Llama" */
    const char *architectures[SAH_FAMILY_NAMES]; /* of config.json */
    const char *model_types[SAH_FAMILY_NAMES]; /* likewise, also of its "text_config" */
    const char *gguf; /* general.architecture; NULL: no such files */
    bool mixture; /* of files of that architecture those with experts, where another family has the rest */

    /* What the configuration class assumes when config.json is silent; 0: derived from the other sizes. */
    int kv_heads, head_dim, max_positions;
    double theta, local_theta;
    double epsilon;
    bool tied;
    const char *activation;
    double partial_rotary;
    int ff_times; /* the MLP's width in model widths where its key is absent or null; 0: the key is a must */
    /* Keys of config.json that differ from the usual ones, or NULL. Where one is absent and the usual one is there,
     * that counts (in transformers both stand for the same); not so of the MLP's width. */
    const char *epsilon_key, *activation_key;
    const char *width_key, *ff_key, *layers_key, *heads_key, *positions_key;
    const char *keys[8]; /* settings that other families refuse and this one understands */

    sah_biases qkv_bias, o_bias, mlp_bias;
    const char *qkv_bias_key, *o_bias_key, *mlp_bias_key; /* NULL: "attention_bias", and "mlp_bias" */
    sah_window_rule windows;
    int pattern; /* every so many-th layer sees all positions; 0: none by itself */
    int default_window;
    bool layers_differ; /* in key heads or the MLP's width */
    bool ungrouped; /* "num_key_value_heads" is no key of it: a key head each, or as read_json says */
    sah_qk_norm qk_norm;
    sah_norm_kind norm;
    bool bare_norms; /* layer norms add no biases */
    bool weightless; /* nor have they weights, those in front of the halves and the last (OLMo) */
    sah_residual residual;
    bool plain; /* the MLP has no gate */
    bool neighbours; /* rotary pairs are neighbours */
    bool permuted; /* GGUF keeps q's and k's rows in another rotary order */
    bool in_turns; /* GGUF keeps value heads of the delta rule so that key heads take turns */
    bool own_types; /* read_json reads "layer_types" */
    float norm_add; /* Hugging Face's norm weights are stored less this; not those of the delta rule */
    sah_read_json_fn read_json;
    sah_read_gguf_fn read_gguf;

    /* Tensors. Hugging Face: PREFIX LAYERS.l.NAME; prefixes are tried in order, "" last. */
    const char *prefixes[4];
    const char *layers; /* NULL: "layers" */
    const char *embedding, *final_norm, *head; /* NULL: "embed_tokens", "norm", "lm_head" (without prefix) */
    const char *gguf_final_norm; /* NULL: "output_norm" */
    const char *positions; /* learned positions, in place of a rotation; NULL: none */
    const char
        *inputs[3]; /* what layers are given of each token: a table, a projection of the embedding, and its
                              norm; NULL: nothing */
    const char *ignored[4]; /* beginnings of names of tensors that are no part of the model */
    const char *experts; /* the module of the experts in transformers 5, for adapters; NULL: "mlp.experts" */
    bool extra_layers; /* layers behind the last predict further tokens: no part of the model */
    bool transposed; /* Hugging Face's matrices are [inputs, outputs] */
    const sah_matrix_name *matrices; /* up to one whose hugging_face and gguf are NULL */
    const sah_vector_name *vectors;
} sah_family;

/* Names that most families share. */
#define SAH_LLAMA_ATTENTION                                                                                  \
    {SAH_ROLE_Q, "self_attn.q_proj", SAH_CUT_NONE, "attn_q", SAH_CUT_NONE},                                  \
        {SAH_ROLE_K, "self_attn.k_proj", SAH_CUT_NONE, "attn_k", SAH_CUT_NONE},                              \
        {SAH_ROLE_V, "self_attn.v_proj", SAH_CUT_NONE, "attn_v", SAH_CUT_NONE},                              \
    {                                                                                                        \
        SAH_ROLE_O, "self_attn.o_proj", SAH_CUT_NONE, "attn_output", SAH_CUT_NONE                            \
    }
#define SAH_LLAMA_MLP                                                                                        \
    {SAH_ROLE_GATE, "mlp.gate_proj", SAH_CUT_NONE, "ffn_gate", SAH_CUT_NONE},                                \
        {SAH_ROLE_UP, "mlp.up_proj", SAH_CUT_NONE, "ffn_up", SAH_CUT_NONE},                                  \
    {                                                                                                        \
        SAH_ROLE_DOWN, "mlp.down_proj", SAH_CUT_NONE, "ffn_down", SAH_CUT_NONE                               \
    }
#define SAH_LLAMA_NORMS                                                                                      \
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},              \
    {                                                                                                        \
        SAH_VECTOR_MLP_NORM, "post_attention_layernorm.weight", "ffn_norm.weight", SAH_WIDTH_MODEL           \
    }
#define SAH_HEAD_NORMS                                                                                       \
    {SAH_VECTOR_Q_NORM, "self_attn.q_norm.weight", "attn_q_norm.weight", SAH_WIDTH_HEAD},                    \
    {                                                                                                        \
        SAH_VECTOR_K_NORM, "self_attn.k_norm.weight", "attn_k_norm.weight", SAH_WIDTH_HEAD                   \
    }
#define SAH_GEMMA_NORMS                                                                                      \
    {SAH_VECTOR_ATTENTION_NORM, "input_layernorm.weight", "attn_norm.weight", SAH_WIDTH_MODEL},              \
        {SAH_VECTOR_ATTENTION_OUT_NORM, "post_attention_layernorm.weight", "post_attention_norm.weight",     \
         SAH_WIDTH_MODEL},                                                                                   \
        {SAH_VECTOR_MLP_NORM, "pre_feedforward_layernorm.weight", "ffn_norm.weight", SAH_WIDTH_MODEL},       \
    {                                                                                                        \
        SAH_VECTOR_MLP_OUT_NORM, "post_feedforward_layernorm.weight", "post_ffw_norm.weight",                \
            SAH_WIDTH_MODEL                                                                                  \
    }

#endif
