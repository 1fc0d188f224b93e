/* SPDX-License-Identifier: Apache-2.0 */
/* One layer's weights. Its vectors are there as long as the model; its matrices, packed for the products, may
 * come and go (stream.h). */
#ifndef SAH_ENGINE_LAYER_H
#define SAH_ENGINE_LAYER_H

#include "engine/device.h"
#include "model/checkpoint/checkpoint.h"

/* A slice of the MLP: gate and up of some of its d_ff inner values, and what down makes of those. All that a
 * block of rows needs of a slice stays in a core's cache. */
typedef struct sah_mlp_slice {
    int64_t from, n; /* inner values [from, from + n) */
    sah_weights *gate_up; /* [2 n, d]; [n, d] where nothing is gated */
    sah_weights *down; /* [d, n] */
} sah_mlp_slice;

/* Vectors lie in the device's memory, but for what the choice of experts takes beside their logits, and the scale of
 * all that leaves a layer. */

/* A mixture of experts; its norms where it stands beside the MLP. */
typedef struct sah_expert_layer {
    sah_weights *router; /* [n, d], float32 whatever the precision: it decides */
    float *router_bias, *correction; /* [n] or NULL; the second, the host's, counts for the choice alone */
    sah_mlp_slice *experts; /* [n]; inner values counted through all of them */
    int n;
    float *gate_bias, *up_bias, *down_bias; /* [n, width], [n, width], [n, d], or NULL */
    sah_mlp_slice *shared; /* [n_shared] slices of the one that every row takes */
    int n_shared;
    float *shared_router; /* [d] or NULL */
    sah_norm router_norm, norm, out_norm,
        dense_out_norm; /* [d] in front of router and experts, behind these and
                                                             behind the MLP */
    float *scale; /* [n] of each expert's weight, the host's, or NULL */
} sah_expert_layer;

/* What a layer of the gated delta rule has beside its projections (delta.h); a convolution the kernel alone. */
typedef struct sah_delta_layer {
    float *kernel; /* [kernel, columns]: of the convolution, by position first */
    float *rate, *rate_bias; /* [H] */
    float *norm; /* [D] */
} sah_delta_layer;

typedef struct sah_layer {
    bool apart; /* the last layer, where it has attention: q is needed of the prompts' last tokens only */
    sah_weights *qkv; /* [(H + 2 Hkv) D, d], or where they are apart: */
    sah_weights *q,
        *kv; /* [H D, d], [2 Hkv D, d]. Gates of the heads, where a model has them, lie behind q; layers
                             that borrow keys and values have q alone */
    sah_weights *o; /* [d, H D] */
    sah_mlp_slice *slices; /* [n_slices] of the MLP; none where experts stand in its place */
    int n_slices;
    sah_expert_layer experts;
    sah_layer_kind kind;
    sah_norm attention_norm, mlp_norm; /* [d] in front of either half */
    sah_norm attention_out_norm, mlp_out_norm; /* [d] of its branch, before that is added */
    float *q_norm, *k_norm; /* [D], or [H D] and [Hkv D], or NULL */
    float *qkv_bias, *o_bias, *gate_up_bias, *down_bias; /* or NULL; gate and up as in the file */
    float *sinks; /* [H] or NULL */
    sah_delta_layer delta; /* whose rows, by qkv, are delta.h's or convolution.h's */
    sah_weights *input_gate, *input_out; /* [P, d], [d, P] (inputs.h), or NULL */
    sah_norm input_out_norm; /* [d] */
    float *scale; /* [1] of all that leaves the layer, or NULL */
} sah_layer;

/* Fills in everything but the matrices. */
sah_status sah_layer_read(const sah_model *model, int l, sah_layer *layer, sah_error *error);
/* Packs the matrices as the model has them; after a failure none are there. */
sah_status sah_layer_pack(const sah_model *model, int l, sah_layer *layer, sah_error *error);
/* The same vectors, without matrices; they stay the other's. */
sah_layer sah_layer_vectors(const sah_layer *layer);
/* Frees the matrices. */
void sah_layer_unpack(sah_layer *layer);
/* Frees all. */
void sah_layer_free(const sah_device *device, sah_layer *layer);

/* Bytes of the packed matrices that are there. */
uint64_t sah_layer_bytes(const sah_layer *layer);
/* The same at most, by shape and by the files' types, whether they are there or not; and what packing takes beside. */
uint64_t sah_layer_size(const sah_model *model, int l);
uint64_t sah_layer_packing(const sah_model *model, int l);
/* The same of the LM head and of what gives layers their inputs. */
uint64_t sah_ends_size(const sah_model *model);

/* The other weights of a model: the LM head, the last norm, learned positions, and what gives layers their inputs. */
sah_status sah_model_pack_ends(sah_model *model, sah_error *error);

#endif
