/* SPDX-License-Identifier: Apache-2.0 */
/* The normaliser of tokenizer.json. */
#ifndef SAH_MODEL_TOKENIZER_NORMALISER_JSON_H
#define SAH_MODEL_TOKENIZER_NORMALISER_JSON_H

#include "model/tokenizer/pretokenize.h"
#include "util/json.h"

/* Adds its steps; `json` may be null. */
sah_status sah_json_normaliser(const json_t *json, sah_steps *steps, const char *where, sah_error *error);

#endif
