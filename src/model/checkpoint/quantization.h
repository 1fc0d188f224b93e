/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of Hugging Face whose weights are quantised: which kinds are read, and their scales put beside the
 * tensors they belong to. Weights alone count: what a kind rounds of the activations at run time is left out. */
#ifndef SAH_MODEL_CHECKPOINT_QUANTIZATION_H
#define SAH_MODEL_CHECKPOINT_QUANTIZATION_H

#include "model/format/tensors.h"
#include "util/json.h"

typedef struct sah_quantization {
    bool any;
    size_t block_rows, block_columns; /* that share a scale; 0: not said */
} sah_quantization;

/* "quantization_config" of a config.json. Kinds that are not read are refused by name. */
sah_status sah_quantization_from_json(const json_t *config, const char *where, sah_quantization *out,
                                      sah_error *error);

/* FP8: the scales NAME_scale_inv or NAME_scale go to the tensor NAME and leave the list. MXFP4: NAME_blocks and
 * NAME_scales become one tensor NAME of type F4, its last size 32 for each block. Refuses what the names of tensors
 * tell of other kinds. */
sah_status sah_quantization_attach(const sah_quantization *quantization, sah_tensors *tensors,
                                   sah_error *error);

#endif
