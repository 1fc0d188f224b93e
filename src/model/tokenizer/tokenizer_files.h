/* SPDX-License-Identifier: Apache-2.0 */
/* The files beside tokenizer.json or tokenizer.model. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_FILES_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_FILES_H

#include "model/tokenizer/tokenizer_build.h"
#include "util/json.h"

/* An empty object for one that is not there. */
typedef struct sah_tokenizer_files {
    json_t *config; /* tokenizer_config.json */
    json_t *specials; /* special_tokens_map.json */
    json_t *added; /* added_tokens.json */
    json_t *generation; /* generation_config.json */
    json_t *model; /* config.json */
} sah_tokenizer_files;
sah_status sah_tokenizer_files_read(const char *directory, sah_tokenizer_files *out, sah_error *error);
void sah_tokenizer_files_free(sah_tokenizer_files *files);
/* Whether tokenizer_config.json names this class, with or without "Fast" behind it. */
bool sah_tokenizer_is_class(const json_t *config, const char *name);
/* The id of a token given as "text" or as {"content": "text"}; -1: it is not there, or no token. */
int32_t sah_tokenizer_named(const json_t *config, const char *key, const sah_tokenizer *tokenizer);
/* Which tokens begin a text and end an answer. */
sah_status sah_tokenizer_files_ends(const sah_tokenizer_files *files, sah_tokenizer *tokenizer,
                                    sah_error *error);

#endif
