/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers: byte pair encoding and unigram models, from tokenizer.json, SentencePiece's files or GGUF metadata. */
#ifndef SAH_MODEL_TOKENIZER_TOKENIZER_H
#define SAH_MODEL_TOKENIZER_TOKENIZER_H

#include "sahara.h"

typedef struct sah_tokenizer sah_tokenizer;

void sah_tokenizer_free(sah_tokenizer *tokenizer);

/* Ids of `text`; special tokens in the text become their ids; `add_special`: BOS (and EOS) as the model's
 * post-processor asks, BOS not twice. Invalid UTF-8 bytes count as U+FFFD. *ids for free(). */
sah_status sah_tokenizer_encode(const sah_tokenizer *tokenizer, const char *text, size_t length,
                                bool add_special, int32_t **ids, size_t *n, sah_error *error);
/* *text for free(). An id without a token (the embedding may have more rows) gives nothing; U+0000 becomes
 * U+FFFD. */
sah_status sah_tokenizer_decode(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                bool skip_special, char **text, sah_error *error);
/* The same of what a model says: special tokens are left out, but for those that mark its thinking
 * (model/template/thinking.h), and gpt-oss's between the parts of a message. */
sah_status sah_tokenizer_decode_response(const sah_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                         char **text, sah_error *error);

size_t sah_tokenizer_size(const sah_tokenizer *tokenizer); /* highest id + 1 */
int32_t sah_tokenizer_bos(const sah_tokenizer *tokenizer); /* -1: none */
int32_t
sah_tokenizer_eos(const sah_tokenizer *tokenizer); /* the first end token, EOS where named; -1: none */
const char *sah_tokenizer_token(const sah_tokenizer *tokenizer,
                                int32_t id); /* the token's text as stored; NULL out of range */
bool sah_tokenizer_is_end(const sah_tokenizer *tokenizer,
                          int32_t id); /* EOS, or an end-of-turn token of the model */
int32_t sah_tokenizer_id(const sah_tokenizer *tokenizer, const char *token); /* -1: no such token */

#endif
