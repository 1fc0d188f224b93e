/* A model's files opened and checked: config, every weight found with the right shape, tokenizer, chat
 * template. Both containers look the same from here on; nothing above this header knows about file formats.
 */
#ifndef SAH_MODEL_CHECKPOINT_CHECKPOINT_H
#define SAH_MODEL_CHECKPOINT_CHECKPOINT_H

#include "model/checkpoint/config.h"
#include "model/format/tensors.h"
#include "model/template/chat.h"
#include "model/tokenizer/tokenizer.h"

/* A LoRA pair of one matrix: W + scaling * B A, A [rank, columns], B [rows, rank], float32. */
typedef struct sah_lora {
    int rank;
    float scaling;
    float *a, *b;
} sah_lora;

/* A weight matrix [rows, columns] = [outputs, inputs]. */
typedef struct sah_matrix {
    const sah_tensor *tensor;
    size_t rows, columns;
    int rotary_heads; /* > 0: a GGUF q or k matrix of so many heads whose rows are stored in GGUF's rotary
                         order */
    const sah_lora *lora; /* NULL: none */
} sah_matrix;

/* Rows [row, row + n) as float32 in Hugging Face's row order, adapter merged, out [n, columns]. */
void sah_matrix_read(const sah_matrix *matrix, size_t row, size_t n, float *out);
/* Where the file keeps a row of Hugging Face's order. */
size_t sah_matrix_file_row(const sah_matrix *matrix, size_t row);

typedef struct sah_layer_files {
    sah_matrix q, k, v, o, gate, up, down;
    /* Vectors; NULL where the model has none. Biases of q and k are stored in GGUF's rotary order as their
     * rows are. */
    const sah_tensor *input_norm, *post_norm, *q_norm, *k_norm;
    const sah_tensor *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
    const sah_tensor *input_norm_bias, *post_norm_bias;
    const sah_tensor *attention_out_norm, *mlp_out_norm; /* of a branch, before it is added */
    const sah_tensor *sinks; /* [H] one more score of each head */
    const sah_tensor *layer_scale; /* [1] of all that leaves the layer (Gemma 4) */
    sah_matrix attention_gate; /* [H D, d] */
    const sah_tensor *attention_gate_bias;
    /* A layer of the gated delta rule has these for q, k and v: queries, keys and values of its heads under one
     * another, gates of the outputs, and one row a value head for how much is written and how much is kept. */
    sah_matrix delta_qkv, delta_gate, delta_write, delta_keep;
    const sah_tensor *delta_kernel; /* [2 key_heads key_dim + H D, kernel], of the rows of delta_qkv */
    const sah_tensor *delta_rate, *delta_rate_bias; /* [H] A_log and dt_bias */
    const sah_tensor *delta_norm; /* [D] */
    /* A mixture of experts: those of all experts under one another. */
    sah_matrix router, expert_gate, expert_up, expert_down;
    sah_matrix shared_gate, shared_up, shared_down, shared_router; /* the last [1, d] */
    const sah_tensor *router_bias, *router_correction; /* [n]; the second counts for the choice alone */
    const sah_tensor *expert_gate_bias, *expert_up_bias, *expert_down_bias;
} sah_layer_files;

typedef struct sah_checkpoint {
    char *path;
    bool is_gguf;
    sah_config config;
    sah_gguf gguf; /* when is_gguf; its tensors are the checkpoint's */
    sah_tensors owned; /* else */
    const sah_tensors *tensors; /* the one of the two that is in use */
    sah_layer_files *layers; /* [n_layers] */
    sah_matrix embedding, lm_head; /* lm_head is the embedding when tied */
    sah_matrix positions; /* [max_positions, d] added to the embeddings; no tensor: none */
    const sah_tensor *final_norm, *final_norm_bias;
    float *rope_factors; /* [head_dim / 2], or NULL */
    sah_tokenizer *tokenizer;
    sah_chat chat; /* the model's own chat template */
    json_t *provenance; /* what surgery left beside or in the files (docs/files.md, "sahara.json"), or NULL */
    sah_lora *loras; /* adapters, one per adapted matrix */
    size_t n_loras;
    sah_model_info info; /* all but precision */
} sah_checkpoint;

/* `adapter` may be NULL. The checksum covers all weight files (and the adapter): it is computed here unless
 * `describe_only`. */
sah_status sah_checkpoint_open(const char *path, const char *adapter, bool describe_only,
                               sah_checkpoint **out, sah_error *error);
void sah_checkpoint_close(sah_checkpoint *checkpoint);

/* A vector tensor of n values as float32 (rotary_heads as in sah_matrix, 0 for none). */
void sah_vector_read(const sah_tensor *tensor, int rotary_heads, float *out);

/* Lets the mapped pages of a tensor go. */
void sah_checkpoint_release(const sah_checkpoint *checkpoint, const sah_tensor *tensor);

#endif
