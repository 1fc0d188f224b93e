/* SPDX-License-Identifier: Apache-2.0 */
/* How texts are cut into words by the name in a GGUF file's tokenizer.ggml.pre: the names are llama.cpp's. */
#ifndef SAH_MODEL_TOKENIZER_WORD_RULES_H
#define SAH_MODEL_TOKENIZER_WORD_RULES_H

#include "sahara.h"

typedef enum sah_word_alphabet {
    SAH_WORDS_BYTES, /* words in GPT-2's byte alphabet */
    SAH_WORDS_PIECES /* words in characters, SentencePiece's blank for blanks, bytes as <0xNN> */
} sah_word_alphabet;

typedef struct sah_word_rule {
    const char *const
        *patterns; /* one after the other, each on what the one before it left; NULL ends them */
    const char *form; /* the Unicode normal form before them; NULL: none */
    sah_word_alphabet alphabet;
    bool ignore_merges; /* a word that is a token is that token */
    bool add_bos; /* where the file does not say */
    bool always_bos; /* also where the file says no */
} sah_word_rule;

/* The rule of that name; NULL: it is not known. */
const sah_word_rule *sah_word_rule_find(const char *name, size_t length);

#endif
