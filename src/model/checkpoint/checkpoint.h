/* SPDX-License-Identifier: Apache-2.0 */
/* A model's files opened and checked: config, every weight found with the right shape, tokenizer, chat
 * template. Both containers look the same from here on; nothing above this header knows about file formats.
 */
#ifndef SAH_MODEL_CHECKPOINT_CHECKPOINT_H
#define SAH_MODEL_CHECKPOINT_CHECKPOINT_H

#include "model/checkpoint/matrix.h"
#include "model/family/family.h"
#include "model/format/tensors.h"
#include "model/template/chat.h"
#include "model/tokenizer/tokenizer.h"

typedef struct sah_checkpoint {
    char *path;
    bool is_gguf;
    sah_config config;
    const sah_family *family;
    sah_gguf gguf; /* when is_gguf; its tensors are the checkpoint's */
    sah_tensors owned; /* else */
    const sah_tensors *tensors; /* the one of the two that is in use */
    sah_layer_files *layers; /* [n_layers] */
    sah_matrix embedding, lm_head; /* lm_head is the embedding when tied */
    sah_matrix positions; /* [max_positions, d] added to the embeddings; no tensor: none */
    const sah_tensor *final_norm, *final_norm_bias;
    /* What layers are given of each token, all layers beside one another: a table [V, L P], a projection of the
     * embedding [L P, d], and its norm [P]; no tensors: nothing. */
    sah_matrix input_table, input_projection;
    const sah_tensor *input_norm;
    float *rope_factors; /* [head_dim / 2], or NULL */
    sah_tokenizer *tokenizer;
    sah_chat chat; /* the model's own chat template */
    json_t *provenance; /* what surgery left beside or in the files (docs/files.md, "sahara.json"), or NULL */
    sah_tensor **views; /* [n_views] tensors that are read in another way than they lie there */
    size_t n_views, view_capacity;
    const sah_tensor ***blocks; /* [n_blocks] lists of the tensors of a layer's experts */
    size_t n_blocks, block_capacity;
    sah_lora *loras; /* adapters, one per adapted matrix */
    size_t n_loras;
    sah_model_info info; /* all but precision */
} sah_checkpoint;

/* Who is told of a load that takes its time, and may end it; NULL: nobody. */
typedef struct sah_watch {
    sah_progress_fn progress; /* or NULL */
    void *user;
} sah_watch;

/* Tells of it; SAH_INTERRUPTED when it is to end. */
sah_status sah_watch_show(const sah_watch *watch, const char *what, uint64_t done, uint64_t total,
                          sah_error *error);

/* sah_checkpoint_open() that is watched. */
sah_status sah_checkpoint_load(const char *path, const char *adapter, bool describe_only,
                               const sah_watch *watch, sah_checkpoint **out, sah_error *error);

/* `adapter` may be NULL. The checksum covers all weight files (and the adapter): it is computed here unless
 * `describe_only`. */
sah_status sah_checkpoint_open(const char *path, const char *adapter, bool describe_only,
                               sah_checkpoint **out, sah_error *error);
void sah_checkpoint_close(sah_checkpoint *checkpoint);

/* What is opened, for a person who asks which parts of a model are supported. */
typedef enum sah_checkpoint_part {
    SAH_CHECKPOINT_FILES, /* the containers */
    SAH_CHECKPOINT_WEIGHTS, /* configuration and weights */
    SAH_CHECKPOINT_ADAPTER,
    SAH_CHECKPOINT_TOKENIZER,
    SAH_CHECKPOINT_TEMPLATE,
    SAH_CHECKPOINT_PARTS
} sah_checkpoint_part;

typedef struct sah_examination {
    sah_error parts[SAH_CHECKPOINT_PARTS]; /* what opening each said */
    bool tokenizer; /* there is one */
    char chat_template[32]; /* as sah_model_info has it */
} sah_examination;

/* Opens each part for itself, as far as those that it needs could be, and closes everything. */
sah_status sah_checkpoint_examine(const char *path, const char *adapter, sah_examination *out,
                                  sah_error *error);

/* Lets the mapped pages of a tensor go. */
void sah_checkpoint_release(const sah_checkpoint *checkpoint, const sah_tensor *tensor);

#endif
