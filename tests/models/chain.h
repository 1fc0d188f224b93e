/* SPDX-License-Identifier: Apache-2.0 */
/* Models that say what a test wants, word for word: the token that follows depends on the one before alone. For
 * whatever is done with responses, beginning with the tokenizer. */
#ifndef TESTS_MODELS_CHAIN_H
#define TESTS_MODELS_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

enum { CHAIN_MOST = 64 };

typedef struct chain_token {
    const char *text; /* may be a whole sentence; in a prompt it is found where it is one word, or special */
    int next; /* number of the token that follows it */
    bool special;
} chain_token;

/* Writes a model of n tokens, the first of which ends a response, to the directory `name` of this program's
 * scratch directory, and returns its path in a buffer as scratch() does. */
const char *chain_write(const char *name, const chain_token *tokens, size_t n, const char *chat_template);

#endif
