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

/* From DIR/tokenizer.json, or DIR/tokenizer.model (SentencePiece) where there is no such file, with the files beside
 * it where they are there: tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json,
 * config.json. *out is NULL where there is neither. A normaliser, pre-tokeniser or kind of model that is not
 * supported is refused by name. */
sah_status sah_tokenizer_from_directory(const char *directory, sah_tokenizer **out, sah_error *error);

#endif
