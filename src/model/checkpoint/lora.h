/* SPDX-License-Identifier: Apache-2.0 */
/* LoRA adapters in PEFT's layout. */
#ifndef SAH_MODEL_CHECKPOINT_LORA_H
#define SAH_MODEL_CHECKPOINT_LORA_H

#include "model/checkpoint/checkpoint.h"

/* Attaches the pairs in `adapter` (adapter_model.safetensors of `directory`, which also holds
 * adapter_config.json) to the matrices they change. Nothing of `adapter` is needed afterwards. */
sah_status sah_lora_attach(sah_checkpoint *checkpoint, const char *directory, const sah_tensors *adapter,
                           sah_error *error);

/* out [n, columns] += what the adapter adds to rows [row, row + n). */
void sah_lora_add(const sah_lora *lora, size_t row, size_t n, size_t columns, float *out);

#endif
