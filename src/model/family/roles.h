/* SPDX-License-Identifier: Apache-2.0 */
/* What the weights of a layer are for. A role has one place here and one row in a table; readers, adapters, surgery
 * and grafts go over the table. */
#ifndef SAH_MODEL_FAMILY_ROLES_H
#define SAH_MODEL_FAMILY_ROLES_H

#include "model/family/shape.h"
#include "model/format/tensors.h"

/* A LoRA pair of one matrix: W + scaling * B A, A [rank, columns], B [rows, rank], float32. */
typedef struct sah_lora {
    int rank;
    float scaling;
    float *a, *b;
    size_t
        block_rows; /* > 0, of experts: every so many rows have an A of their own, [blocks, rank, columns] */
} sah_lora;

/* Where the rows of a matrix lie among those of its tensor. They come in runs, as a head's: row r is number
 * r % run of run r / run, and runs begin `stride` rows apart, from row `first` on. All 0: they lie as they are. */
typedef struct sah_layout {
    size_t first, run, stride;
    bool halves; /* the two halves of a run lie interleaved: GGUF's rotary order of q and k */
    size_t groups, each; /* groups > 0: runs of so many groups of `each` take turns in the file, the first of
                            every group before the second of any */
} sah_layout;

/* A weight matrix [rows, columns] = [outputs, inputs]. */
typedef struct sah_matrix {
    const sah_tensor *tensor;
    size_t rows, columns;
    sah_layout layout; /* of rows */
    sah_layout columns_layout; /* of columns: runs in turns alone */
    bool turned; /* the tensor is [inputs, outputs]: what `layout` says of rows holds for its columns */
    const sah_tensor *const *blocks; /* of experts that have tensors of their own: block b holds rows
                                        [b * block_rows, ...); `tensor` is the first. NULL: all in `tensor` */
    size_t block_rows;
    const sah_lora *lora; /* NULL: none */
} sah_matrix;

typedef struct sah_layer_files {
    sah_matrix q, k, v, o, gate, up, down;
    /* Vectors; NULL where the model has none. The values of a matrix's bias lie in their tensor as its rows do. */
    const sah_tensor *input_norm, *post_norm, *q_norm, *k_norm;
    const sah_tensor *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
    const sah_tensor *input_norm_bias, *post_norm_bias;
    const sah_tensor *attention_out_norm, *mlp_out_norm; /* of a branch, before it is added */
    const sah_tensor *sinks; /* [H] one more score of each head */
    const sah_tensor *layer_scale; /* [1] of all that leaves the layer (Gemma 4) */
    sah_matrix input_gate,
        input_out; /* [input_width, d], [d, input_width]: how what the layer is given joins */
    const sah_tensor *input_out_norm; /* [d] */
    sah_matrix attention_gate; /* [H D, d] */
    const sah_tensor *attention_gate_bias;
    /* A layer of the gated delta rule has these for q, k and v: queries and keys of its key heads, values of its
     * heads, gates of the outputs, and one row a value head for how much is written and how much is kept. */
    sah_matrix delta_q, delta_k, delta_v, delta_gate, delta_write, delta_keep;
    const sah_tensor *delta_kernel; /* [2 key_heads key_dim + H D, kernel], of the rows of q, k and v */
    const sah_tensor *delta_rate, *delta_rate_bias; /* [H] A_log and dt_bias */
    const sah_tensor *delta_norm; /* [D] */
    /* A mixture of experts: those of all experts under one another. */
    sah_matrix convolution_in; /* [3 d, d]; what is in front of a convolution (convolution.h) */
    const sah_tensor *convolution_kernel; /* [d, kernel] */
    sah_matrix router, expert_gate, expert_up, expert_down;
    sah_matrix shared_gate, shared_up, shared_down, shared_router; /* the last [1, d] */
    const sah_tensor *router_bias, *router_correction; /* [n]; the second counts for the choice alone */
    const sah_tensor *expert_gate_bias, *expert_up_bias, *expert_down_bias;
    /* Experts beside the MLP: norms in front of the router and of them, behind them and behind the MLP, [d]; a
     * factor of each expert's weight, [n]. */
    const sah_tensor *router_norm, *expert_norm, *expert_out_norm, *dense_out_norm;
    const sah_tensor *expert_scale;
} sah_layer_files;

/* Matrices, in the order of the table. */
typedef enum sah_role {
    SAH_ROLE_Q,
    SAH_ROLE_K,
    SAH_ROLE_V,
    SAH_ROLE_O,
    SAH_ROLE_ATTENTION_GATE,
    SAH_ROLE_DELTA_Q,
    SAH_ROLE_DELTA_K,
    SAH_ROLE_DELTA_V,
    SAH_ROLE_DELTA_GATE,
    SAH_ROLE_DELTA_WRITE,
    SAH_ROLE_DELTA_KEEP,
    SAH_ROLE_DELTA_O, /* the same place as SAH_ROLE_O, which layers of attention have */
    SAH_ROLE_CONVOLUTION_IN,
    SAH_ROLE_CONVOLUTION_O, /* likewise */
    SAH_ROLE_GATE,
    SAH_ROLE_UP,
    SAH_ROLE_DOWN,
    SAH_ROLE_INPUT_GATE,
    SAH_ROLE_INPUT_OUT,
    SAH_ROLE_ROUTER,
    SAH_ROLE_EXPERT_GATE,
    SAH_ROLE_EXPERT_UP,
    SAH_ROLE_EXPERT_DOWN,
    SAH_ROLE_SHARED_GATE,
    SAH_ROLE_SHARED_UP,
    SAH_ROLE_SHARED_DOWN,
    SAH_ROLE_SHARED_ROUTER,
    SAH_N_ROLES
} sah_role;

/* Widths that shapes are made of. */
typedef enum sah_width {
    SAH_WIDTH_MODEL,
    SAH_WIDTH_Q, /* all query heads of the layer */
    SAH_WIDTH_KV, /* all its key/value heads */
    SAH_WIDTH_HEAD,
    SAH_WIDTH_HEADS, /* one number a query head */
    SAH_WIDTH_DELTA_KEY, /* all key heads of the delta rule */
    SAH_WIDTH_DELTA_ROWS, /* those twice, and all value heads */
    SAH_WIDTH_CONVOLUTION, /* three times the model */
    SAH_WIDTH_FF,
    SAH_WIDTH_INPUT,
    SAH_WIDTH_EXPERTS, /* one number an expert */
    SAH_WIDTH_EXPERTS_FF, /* the inner values of all experts */
    SAH_WIDTH_EXPERTS_MODEL, /* the outputs of all experts */
    SAH_WIDTH_EXPERT_FF,
    SAH_WIDTH_SHARED_FF,
    SAH_WIDTH_ONE
} sah_width;

typedef enum sah_half { SAH_HALF_ATTENTION, SAH_HALF_MLP } sah_half;

typedef struct sah_role_info {
    size_t matrix; /* place in sah_layer_files */
    size_t bias; /* likewise, of the bias that belongs to it */
    bool has_bias; /* there is such a place */
    sah_width rows, columns;
    sah_half half;
} sah_role_info;

const sah_role_info *sah_role_of(sah_role role);
/* Whether a layer has the role's matrix: attention or the delta rule, an MLP or experts, a shared one among them or
 * not. */
bool sah_layer_has(const sah_config *config, int layer, sah_role role);
size_t sah_width_of(const sah_config *config, int layer, sah_width width);
sah_matrix *sah_role_matrix(sah_layer_files *files, sah_role role);
const sah_tensor **sah_role_bias(sah_layer_files *files, sah_role role);

/* Vectors that are no matrix's bias. */
typedef enum sah_vector {
    SAH_VECTOR_ATTENTION_NORM,
    SAH_VECTOR_MLP_NORM,
    SAH_VECTOR_ATTENTION_OUT_NORM,
    SAH_VECTOR_MLP_OUT_NORM,
    SAH_VECTOR_Q_NORM,
    SAH_VECTOR_K_NORM,
    SAH_VECTOR_SINKS,
    SAH_VECTOR_LAYER_SCALE,
    SAH_VECTOR_INPUT_OUT_NORM,
    SAH_VECTOR_CORRECTION,
    SAH_VECTOR_ROUTER_NORM,
    SAH_VECTOR_EXPERT_NORM,
    SAH_VECTOR_EXPERT_OUT_NORM,
    SAH_VECTOR_DENSE_OUT_NORM,
    SAH_VECTOR_EXPERT_SCALE,
    SAH_VECTOR_DELTA_RATE,
    SAH_VECTOR_DELTA_RATE_BIAS,
    SAH_VECTOR_DELTA_NORM,
    SAH_VECTOR_DELTA_KERNEL,
    SAH_VECTOR_CONVOLUTION_KERNEL,
    SAH_N_VECTORS
} sah_vector;

typedef struct sah_vector_info {
    size_t place, bias;
    bool has_bias; /* in models of layer norms */
    sah_half half;
    bool grafted; /* goes along with its half; else it belongs to the rest of the model */
    bool centred; /* stored less sah_family.norm_add */
} sah_vector_info;

const sah_vector_info *sah_vector_of(sah_vector vector);
bool sah_layer_has_vector(const sah_config *config, int layer, sah_vector vector);
const sah_tensor **sah_vector_place(sah_layer_files *files, sah_vector vector);
const sah_tensor **sah_vector_bias(sah_layer_files *files, sah_vector vector);

#endif
