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
    sah_weights *gate_up; /* [2 n, d] */
    sah_weights *down; /* [d, n] */
} sah_mlp_slice;

typedef struct sah_layer {
    sah_weights *qkv; /* [(H + 2 Hkv) D, d]; NULL in the last layer, which has the two apart: */
    sah_weights *q, *kv; /* [H D, d], [2 Hkv D, d]: there q is needed of the prompts' last tokens only */
    sah_weights *o; /* [d, H D] */
    sah_mlp_slice *slices; /* [n_slices] of the MLP */
    int n_slices;
    float *input_norm, *post_norm; /* [d] */
    float *q_norm, *k_norm; /* [D] or NULL */
    float *qkv_bias, *o_bias, *gate_up_bias, *down_bias; /* or NULL; gate and up as in the file */
} sah_layer;

struct sah_model {
    sah_checkpoint *checkpoint;
    sah_config config; /* = checkpoint->config */
    sah_precision precision; /* F32 or BF16 */
    bool tiles; /* float32 products on bfloat16 tiles where the processor has them */
    int threads;
    sah_layer *layers;
    sah_weights *lm_head; /* [V, d] */
    float *final_norm; /* [d] */
    double *rope; /* [D / 2] angular frequencies */
    sah_template_settings template_settings;
    sah_model_info info;
};

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
