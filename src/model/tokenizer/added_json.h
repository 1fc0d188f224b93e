/* SPDX-License-Identifier: Apache-2.0 */
/* The added tokens of tokenizer.json and of the files beside it. */
#ifndef SAH_MODEL_TOKENIZER_ADDED_JSON_H
#define SAH_MODEL_TOKENIZER_ADDED_JSON_H

#include "model/tokenizer/tokenizer_files.h"

/* `own` is tokenizer.json's list; behind the model's vocabulary and the normaliser. */
sah_status sah_json_added_tokens(const json_t *own, const sah_tokenizer_files *files,
                                 sah_tokenizer *tokenizer, const char *where, sah_error *error);

#endif
