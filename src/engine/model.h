/* SPDX-License-Identifier: Apache-2.0 */
/* A model ready to compute: the checkpoint's config and tokenizer, and its weights packed for the products.
 */
#ifndef SAH_ENGINE_MODEL_H
#define SAH_ENGINE_MODEL_H

#include "engine/cpu/product.h"
#include "model/checkpoint/checkpoint.h"
#include "model/template/template.h"

/* A slice of the MLP: gate and up of some of its d_ff inner values, and what down makes of those. All that a
 * block of rows needs of a slice stays in a core's cache. */
typedef struct sah_mlp_slice {
    int64_t from, n; /* inner values [from, from + n) */
    sah_weights *gate_up; /* [2 n, d]; [n, d] where nothing is gated */
    sah_weights *down; /* [d, n] */
} sah_mlp_slice;

/* weight NULL: no norm stands there. */
typedef struct sah_norm {
    float *weight, *bias; /* bias NULL: none */
} sah_norm;

/* A mixture of experts. */
typedef struct sah_expert_layer {
    sah_weights *router; /* [n, d], float32 whatever the precision: it decides */
    float *router_bias, *correction; /* [n] or NULL; the second counts for the choice alone */
    sah_mlp_slice *experts; /* [n]; inner values counted through all of them */
    int n;
    float *gate_bias, *up_bias, *down_bias; /* [n, width], [n, width], [n, d], or NULL */
    sah_mlp_slice *shared; /* [n_shared] slices of the one that every row takes */
    int n_shared;
    float *shared_router; /* [d] or NULL */
} sah_expert_layer;

/* What a layer of the gated delta rule has beside its projections (delta.h). */
typedef struct sah_delta_layer {
    float *kernel; /* [kernel, columns]: of the convolution, by position first */
    float *rate, *rate_bias; /* [H] */
    float *norm; /* [D] */
} sah_delta_layer;

typedef struct sah_layer {
    sah_weights *qkv; /* [(H + 2 Hkv) D, d]; NULL in the last layer, which has the two apart: */
    sah_weights *q,
        *kv; /* [H D, d], [2 Hkv D, d]: there q is needed of the prompts' last tokens only. Gates of
                            the heads, where a model has them, lie behind q; layers that borrow keys and values
                            have q alone */
    sah_weights *o; /* [d, H D] */
    sah_mlp_slice *slices; /* [n_slices] of the MLP; none where there are experts */
    int n_slices;
    sah_expert_layer experts;
    sah_layer_kind kind;
    sah_norm attention_norm, mlp_norm; /* [d] in front of either half */
    sah_norm attention_out_norm, mlp_out_norm; /* [d] of its branch, before that is added */
    float *q_norm, *k_norm; /* [D], or [H D] and [Hkv D], or NULL */
    float *qkv_bias, *o_bias, *gate_up_bias, *down_bias; /* or NULL; gate and up as in the file */
    float *sinks; /* [H] or NULL */
    sah_delta_layer delta; /* whose rows, by qkv, are delta.h's */
    float *scale; /* [1] of all that leaves the layer, or NULL */
} sah_layer;

struct sah_model {
    sah_checkpoint *checkpoint;
    sah_config config; /* = checkpoint->config */
    sah_precision precision; /* F32 or BF16 */
    bool tiles; /* float32 products on bfloat16 tiles where the processor has them */
    int threads;
    sah_layer *layers;
    sah_weights *lm_head; /* [V, d] */
    sah_norm final_norm; /* [d] */
    float *positions; /* [max_positions, d] added to the embeddings, or NULL */
    sah_template_settings template_settings;
    sah_model_info info;
};

/* A model of a checkpoint, which it closes, whatever comes. */
sah_status sah_model_of(sah_checkpoint *checkpoint, const sah_model_options *options, sah_model **out,
                        sah_error *error);

/* Rows of the LM head: logits [rows, V] of hidden [rows, d], in the calling thread alone. */
sah_status sah_lm_head(const sah_model *model, sah_workspace *workspace, const float *hidden, int64_t rows,
                       float *logits, sah_error *error);

/* tokens [rows] = the token with the highest logit of each row, the first of equals; -1: a logit is not
 * finite. Where sah_product_knows_top() of the LM head. */
sah_status sah_lm_head_top(const sah_model *model, sah_workspace *workspace, const float *hidden,
                           int64_t rows, int32_t *tokens, sah_error *error);

/* Bytes of all packed matrices. */
uint64_t sah_model_weight_bytes(const sah_model *model);

#endif
