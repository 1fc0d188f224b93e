/* SPDX-License-Identifier: Apache-2.0 */
/* A model ready to compute: the checkpoint's config and tokenizer, and its weights packed for the products.
 */
#ifndef SAH_ENGINE_MODEL_H
#define SAH_ENGINE_MODEL_H

#include "engine/layer.h"
#include "engine/stream.h"
#include "model/template/template.h"

struct sah_model {
    sah_checkpoint *checkpoint;
    const sah_device *device; /* that computes */
    sah_config config; /* = checkpoint->config */
    sah_precision precision; /* F32 or BF16 */
    bool tiles; /* float32 products on bfloat16 tiles where the processor has them */
    int threads;
    sah_layer *layers; /* [n_layers]; their matrices between sah_layer_take() and sah_layer_release() */
    sah_stream *stream; /* NULL: all are there */
    uint64_t memory; /* bytes for weights and all else; 0: no bound */
    sah_weights *lm_head; /* [V, d] */
    sah_norm final_norm; /* [d] */
    sah_weights *input_projection; /* [layers * P, d], float32 whatever the precision, or NULL (inputs.h) */
    float *input_norm; /* [P] */
    float *positions; /* [max_positions, d] added to the embeddings, or NULL */
    sah_template_settings template_settings;
    sah_model_info info;
};

/* A model of a checkpoint, which it closes, whatever comes, on a device. */
sah_status sah_model_of(sah_checkpoint *checkpoint, const sah_device *device,
                        const sah_model_options *options, sah_model **out, sah_error *error);

/* Rows of the LM head: logits [rows, V] in the device's memory of hidden [rows, d] in the host's. */
sah_status sah_lm_head(const sah_model *model, sah_workspace *workspace, const float *hidden, int64_t rows,
                       float *logits, sah_error *error);

/* By differences (difference.h): first logits [rows, V] of the base in float32, as they are before the model's factor
 * and cap; then, with those of its base in `logits`, those of a row that lies `rest` [rows, d] beside it; its own by
 * `rest` NULL. */
sah_status sah_lm_head_exact(const sah_model *model, sah_workspace *workspace, const float *hidden,
                             int64_t rows, float *logits, sah_error *error);
sah_status sah_lm_head_beside(const sah_model *model, sah_workspace *workspace, const float *rest,
                              int64_t rows, float *logits, sah_error *error);

/* sah_lm_head() to the host's memory. */
sah_status sah_lm_head_logits(const sah_model *model, sah_workspace *workspace, const float *hidden,
                              int64_t rows, float *logits, sah_error *error);

/* tokens [rows] = the token with the highest logit of each row, the first of equals; -1: a logit is not
 * finite. Where sah_product_knows_top() of the LM head. */
sah_status sah_lm_head_top(const sah_model *model, sah_workspace *workspace, const float *hidden,
                           int64_t rows, int32_t *tokens, sah_error *error);

/* What the weights leave of the model's memory for a run, by sizes that are the same on every machine; 0: no
 * bound. */
uint64_t sah_model_rows_memory(const sah_model *model);

/* Bytes of all packed matrices; where layers come and go, the most that are there at once. */
uint64_t sah_model_weight_bytes(const sah_model *model);

#endif
