/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json (Hugging Face tokenizers), with the files beside it. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_JSON_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_JSON_H

#include "model/tokenizer/tokenizer_build.h"
#include "util/json.h"

/* From a parsed tokenizer.json; `directory` holds the files beside it. */
sah_status sah_tokenizer_from_json(const json_t *json, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error);

/* The same of its text, which is faster where the vocabulary is large. */
sah_status sah_tokenizer_from_text(const char *text, size_t size, const char *directory, const char *where,
                                   sah_tokenizer **out, sah_error *error);

#endif
