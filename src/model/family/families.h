/* SPDX-License-Identifier: Apache-2.0 */
/* All families, and which of them a checkpoint is of. */
#ifndef SAH_MODEL_FAMILY_FAMILIES_H
#define SAH_MODEL_FAMILY_FAMILIES_H

#include "model/family/family.h"

/* All families; ends in NULL. */
extern const sah_family *const sah_all_families[];

/* By config.json's architecture (of several families that of its model_type), else its model_type; by GGUF's
 * architecture, with experts or without. NULL: none. */
const sah_family *sah_family_of_json(const char *architecture, const char *model_type);

/* By the model_type of the text part of a larger model of that architecture. */
const sah_family *sah_family_of_part(const char *architecture, const char *model_type);
const sah_family *sah_family_of_gguf(const char *name, size_t length, bool experts);

/* "Gemma 2, Llama, ... and Qwen3": for a message; with `gguf` those that GGUF knows. */
void sah_family_list(bool gguf, char *out, size_t size);

#endif
