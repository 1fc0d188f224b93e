/* The shape of a decoder-only transformer, from config.json or GGUF metadata. */
#ifndef SAH_MODEL_CHECKPOINT_CONFIG_H
#define SAH_MODEL_CHECKPOINT_CONFIG_H

#include "model/format/gguf.h"
#include "util/json.h"

typedef enum sah_rope_scaling {
    SAH_ROPE_NONE,
    SAH_ROPE_LINEAR,
    SAH_ROPE_LLAMA3,
    SAH_ROPE_FACTORS
} sah_rope_scaling;

/* Larger sizes than these are taken for a damaged file. */
enum {
    SAH_MAX_LAYERS = 1 << 12,
    SAH_MAX_HEADS = 1 << 14,
    SAH_MAX_WIDTH = 1 << 22, /* of a head, of all heads, of the model or of an MLP */
    SAH_MAX_VOCAB = 1 << 24
};

typedef struct sah_config {
    char family[32]; /* llama (Llama 1/2/3, SmolLM2, Vicuna), mistral, qwen2, qwen3 */
    int n_layers, n_heads, n_kv_heads, head_dim, d_model, d_ff, n_vocab, max_positions;
    float norm_eps;
    bool tied; /* the LM head is the embedding */
    bool qk_norm; /* RMS norm of every head's q and k before RoPE (Qwen3) */
    bool qkv_bias, o_bias, mlp_bias; /* which projections add a bias, in every layer */
    int sliding_window; /* a position sees the last so many tokens, itself included; 0: all before it */
    double rope_theta;
    sah_rope_scaling rope_scaling;
    double rope_factor, rope_low_freq_factor, rope_high_freq_factor;
    int rope_original_positions;
} sah_config;

/* From a parsed config.json: both forms of rope settings, `rope_theta` + `rope_scaling` and
 * `rope_parameters`. An architecture, activation or rope type that is not supported is refused by name. Sizes
 * are bounded, divisible where they must be. */
sah_status sah_config_from_json(const json_t *json, const char *where, sah_config *out, sah_error *error);
sah_status sah_config_from_gguf(const sah_gguf *gguf, sah_config *out, sah_error *error);

/* For the two readers above: what must hold between the sizes. */
sah_status sah_config_check(const sah_config *config, const char *where, sah_error *error);

/* The angular frequency of each rotated pair [head_dim / 2]: theta^(-2i/D), then the scaling. `factors`
 * [head_dim / 2] divide them (GGUF's rope_freqs.weight) or NULL. */
void sah_rope_frequencies(const sah_config *config, const float *factors, double *out);

#endif
