/* SPDX-License-Identifier: Apache-2.0 */
/* What the readers of tokenizer.json's steps share (tokenizer_steps.c). */
#ifndef SAH_MODEL_TOKENIZER_STEPS_JSON_H
#define SAH_MODEL_TOKENIZER_STEPS_JSON_H

#include "model/tokenizer/tokenizer_parts.h"

enum { SAH_DEEPEST_STEP = 8 }; /* Sequence in Sequence */

/* "normalizer \"X\" is not supported" */
sah_status sah_step_refuse(const char *where, const char *part, const char *what, sah_error *error);
/* Its "type", which must be there. */
sah_status sah_step_type(const json_t *json, const char *part, const char **type, const char *where,
                         sah_error *error);
/* A member that must be there. */
sah_status sah_step_string(const json_t *json, const char *key, const char **out, const char *where,
                           sah_error *error);
/* Its "pattern": {"String": text} or {"Regex": expression}. */
sah_status sah_step_pattern(const json_t *json, sah_pattern **out, const char *where, sah_error *error);

#endif
