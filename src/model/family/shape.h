/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of a decoder-only transformer: what its layers are made of and how large. Filled from config.json or
 * GGUF metadata by the description of its family. */
#ifndef SAH_MODEL_FAMILY_SHAPE_H
#define SAH_MODEL_FAMILY_SHAPE_H

#include <stdbool.h>

typedef enum sah_rope_scaling {
    SAH_ROPE_NONE,
    SAH_ROPE_LINEAR,
    SAH_ROPE_LLAMA3,
    SAH_ROPE_FACTORS, /* numbers that a file lists: `factors` */
    SAH_ROPE_DYNAMIC, /* as none up to `limit` */
    SAH_ROPE_YARN,
    SAH_ROPE_LONG /* LongRoPE: `factors`, the short ones, up to `limit` */
} sah_rope_scaling;

/* One setting of the rotary embedding. */
typedef struct sah_rope {
    double theta;
    int dims; /* the first so many values of a head are rotated; even */
    double share; /* of their pairs, from the first on, alone turns (Gemma 4); 0: all do */
    bool neighbours; /* pairs are (2i, 2i + 1); else (i, i + dims / 2) */
    sah_rope_scaling scaling;
    double factor, low_freq_factor, high_freq_factor;
    double beta_fast, beta_slow; /* YaRN: turns between which it goes over from keeping to stretching */
    bool truncate; /* YaRN: whole pairs as its bounds */
    int original_positions;
    const float *factors; /* [dims / 2] that divide the frequencies, or NULL */
    float attention_factor; /* cosines and sines times it */
    int limit; /* positions from here on would have other frequencies; 0: none */
} sah_rope;

enum { SAH_MAX_ROPES = 2 };

/* Larger sizes than these are taken for a damaged file. */
enum {
    SAH_MAX_LAYERS = 1 << 12,
    SAH_MAX_HEADS = 1 << 14,
    SAH_MAX_WIDTH = 1 << 22, /* of a head, of all heads, of the model or of an MLP */
    SAH_MAX_VOCAB = 1 << 24,
    SAH_MAX_EXPERTS = 1 << 12,
    SAH_MAX_EXPERT_GROUPS = 64,
    SAH_MAX_KERNEL = 16, /* positions of a convolution */
    SAH_MAX_DELTA_WIDTH = 1024 /* of a head of the delta rule */
};

typedef enum sah_norm_kind { SAH_NORM_RMS, SAH_NORM_LAYER } sah_norm_kind;

/* RMS norm of q and k before RoPE. */
typedef enum sah_qk_norm {
    SAH_QK_NORM_NONE,
    SAH_QK_NORM_HEAD, /* of each head, weights [D] (Qwen3) */
    SAH_QK_NORM_ROW /* of a position's heads together, weights [H D] and [Hkv D] (OLMo 2) */
} sah_qk_norm;

typedef enum sah_residual {
    SAH_RESIDUAL_SEQUENTIAL,
    SAH_RESIDUAL_PARALLEL /* x + attention(norm x) + MLP(norm x), each norm of the same x */
} sah_residual;

typedef enum sah_activation {
    SAH_ACT_SILU,
    SAH_ACT_GELU, /* x Phi(x), by erf */
    SAH_ACT_GELU_TANH, /* its approximation by tanh */
    SAH_ACT_RELU,
    SAH_ACT_RELU_SQUARED,
    SAH_ACT_CLAMPED_SWIGLU /* gpt-oss: g = min(g, limit), u in [-limit, limit]: (u + 1) g sigmoid(alpha g) */
} sah_activation;

/* What mixes positions in a layer. */
typedef enum sah_mixer { SAH_MIXER_ATTENTION, SAH_MIXER_DELTA, SAH_MIXER_CONVOLUTION } sah_mixer;

/* What a layer has of its own. */
typedef struct sah_layer_kind {
    sah_mixer mixer;
    int window; /* a position sees the last so many tokens, itself included; 0: all before it */
    int rope; /* which of the model's rotary settings; -1: no rotation */
    int n_heads; /* of a delta layer, its value heads; of a convolution 1, as wide as the model; 0 is taken for the
                    model's */
    int head_dim, n_kv_heads; /* where there is no attention as many n_kv_heads as n_heads */
    bool experts; /* a mixture of experts in place of the MLP, or beside it (sah_experts.beside) */
    bool
        v_is_k; /* values are what the projection of keys gives, before that is normed and turned (Gemma 4) */
    int d_ff; /* width of the MLP; 0 is taken for the model's */
    int borrows; /* it reads the keys and values of the layer so many below, which makes its own, and makes none;
                    0: its own */
} sah_layer_kind;

/* What layers of the gated delta rule have beside their value heads; and layers of convolutions. */
typedef struct sah_delta {
    int key_heads, key_dim; /* key_heads divides the value heads */
    int kernel; /* positions that a convolution sees, the own included */
} sah_delta;

/* How a router makes its choice and the weights of the chosen. */
typedef enum sah_router {
    SAH_ROUTER_SOFTMAX_TOP, /* softmax over all experts, then the highest (Qwen2-MoE, OLMoE) */
    SAH_ROUTER_TOP_SOFTMAX, /* the highest, then softmax over those (Mixtral, gpt-oss) */
    SAH_ROUTER_SIGMOID /* sigmoid; chosen with a bias added that the weights do not have (GLM-4-MoE) */
} sah_router;

typedef struct sah_experts {
    int n, active; /* experts, and how many a position takes; n 0: the model has none. With groups, those
                      of the active ones suffice, and there are SAH_MAX_EXPERT_GROUPS at most */
    int width; /* inner values of one */
    int shared_width; /* of the one that every position takes; 0: none */
    bool shared_gate; /* that one's output times sigmoid(x · w) */
    sah_router router;
    bool normalise; /* weights of the chosen add up to 1 */
    float sum_add; /* added to what they are divided by for that: where a score may be as small */
    float scale; /* of the weights, behind that */
    int groups, active_groups; /* experts are chosen in the best groups alone, by the sum of their two
                                  highest; 0: no groups */
    bool bias; /* the expert matrices add biases (gpt-oss) */
    bool
        beside; /* the MLP is there too. Either has norms in front and behind, the router one in front, and every
                    expert a factor of its own (Gemma 4) */
    float logit_scale; /* of the router's logits; 0: none */
} sah_experts;

typedef struct sah_config {
    char family[32]; /* its name in results: sah_family.name */
    bool is_part; /* the text part of a model of more parts */
    int n_layers, n_heads, n_kv_heads, head_dim, d_model, d_ff, n_vocab, max_positions;
    float norm_eps;
    bool tied; /* the LM head is the embedding */
    sah_qk_norm qk_norm;
    bool qkv_bias, o_bias, mlp_bias; /* which projections add a bias, in every layer */
    int sliding_window; /* a position sees the last so many tokens, itself included; 0: all before it */
    sah_rope ropes[SAH_MAX_ROPES];
    int n_ropes;
    sah_norm_kind norm;
    bool v_norm; /* RMS norm of every head's v, without weights (Gemma 4) */
    sah_residual residual;
    bool gated; /* the MLP is (act(g) * u) Wdownᵀ; else act(u) Wdownᵀ */
    sah_activation activation;
    float activation_limit, activation_alpha; /* of SAH_ACT_CLAMPED_SWIGLU */
    float embedding_scale; /* x = scale E[token] (Gemma: sqrt(d) in the weights' type) */
    float residual_scale; /* of every branch (Granite) */
    float attention_scale; /* of q kᵀ; 0: 1 / sqrt(D) */
    float logit_scale;
    float attention_softcap, final_softcap; /* x becomes cap tanh(x / cap); 0: none */
    sah_experts experts;
    bool attention_gate; /* the heads' outputs times sigmoid of a projection of the input (Qwen3.5) */
    sah_delta delta;
    int input_width; /* of what every layer is given of each token beside the residual (Gemma 4); 0: nothing */
    sah_layer_kind
        *layer_kind; /* [n_layers], or NULL: all are as the fields above say. Then n_heads, head_dim,
                                   n_kv_heads and d_ff above are the largest */
    float *rope_factors; /* of LongRoPE; these two are freed by sah_config_free() */
} sah_config;

/* What a config is before anything is read: the settings of most models. */
sah_config sah_config_neutral(void);
void sah_config_free(sah_config *config);

sah_layer_kind sah_config_layer(const sah_config *config, int layer);

/* Makes layer_kind from the fields that hold for all layers, so that single layers can differ. False: no memory. */
bool sah_config_by_layer(sah_config *config);

/* The angular frequency of each rotated pair [dims / 2]: theta^(-2i / dims), then the scaling. */
void sah_rope_frequencies(const sah_rope *rope, double *out);

#endif
