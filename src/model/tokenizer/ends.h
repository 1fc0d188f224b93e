/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that end an answer by their names. */
#ifndef SAH_MODEL_TOKENIZER_ENDS_H
#define SAH_MODEL_TOKENIZER_ENDS_H

#include "model/tokenizer/tokenizer_build.h"

/* What a token is by its name, whatever type a file gives it. */
typedef enum sah_known {
    SAH_KNOWN_NOT,
    SAH_KNOWN_END, /* ends an answer */
    SAH_KNOWN_CONTROL, /* a control token that ends nothing */
    SAH_KNOWN_SHOWN, /* found in texts, and part of them */
    SAH_KNOWN_BETWEEN, /* the same, and ends nothing even if the file says so */
    SAH_KNOWN_TEXT /* a token like any other, which ends nothing either */
} sah_known;
/* `given`: a bit for each role below that the file names a token for. The vocabulary must be there. */
sah_known sah_tokenizer_known(const sah_tokenizer *tokenizer, unsigned given, const char *text);
/* The roles of filling code in, by number: the key under which GGUF names the token, and whether it ends an answer;
 * NULL: no more. */
const char *sah_fill_role(size_t role, bool *ends);
/* Adds the tokens of the vocabulary that end an answer by their names. */
sah_status sah_tokenizer_add_known_ends(sah_tokenizer *tokenizer, unsigned given, sah_error *error);

#endif
