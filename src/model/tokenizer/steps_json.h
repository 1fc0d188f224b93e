/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers and decoders of tokenizer.json, and what their readers and the normaliser's share. */
#ifndef SAH_MODEL_TOKENIZER_STEPS_JSON_H
#define SAH_MODEL_TOKENIZER_STEPS_JSON_H

#include "model/tokenizer/detokenize.h"
#include "model/tokenizer/pretokenize.h"
#include "util/json.h"

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

/* Adds what they say; `json` may be null. */
sah_status sah_json_words(const json_t *json, sah_steps *steps, const char *where, sah_error *error);
sah_status sah_json_decoder(const json_t *json, sah_decoder *decoder, const char *where, sah_error *error);

#endif
