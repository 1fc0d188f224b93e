/* SPDX-License-Identifier: Apache-2.0 */
/* The unigram language model of SentencePiece (Kudo 2018): of all ways to write a text as pieces the one with the
 * highest sum of scores, which are logarithms of probabilities. */
#ifndef SAH_MODEL_TOKENIZER_UNIGRAM_H
#define SAH_MODEL_TOKENIZER_UNIGRAM_H

#include "model/tokenizer/merge.h"

typedef struct sah_unigram {
    const sah_vocab *vocab;
    double *scores; /* [n], by id */
    int32_t *order; /* [n_order] ids of the pieces, by text */
    size_t n, n_order;
    size_t first[257]; /* pieces whose first byte is b: [first[b], first[b + 1]) of order */
    double unknown_score;
    int32_t unknown; /* -1: characters without a piece are dropped */
    bool byte_fallback; /* what has no piece becomes its UTF-8 bytes' tokens */
    int32_t bytes[256];
} sah_unigram;

/* From the scores of all tokens [vocab->n], which are copied. The pieces are the tokens that are in_model;
 * `lowest` is the lowest score of those that count for the score of an unknown character. */
sah_status sah_unigram_init(sah_unigram *unigram, const sah_vocab *vocab, const double *scores, double lowest,
                            sah_error *error);

typedef struct sah_unigram_step {
    double score; /* of the best way to here */
    uint32_t begin; /* of its last piece */
    int32_t id; /* of its last piece; -1: a character without one; -2: no way to here */
} sah_unigram_step;

/* Working memory, for one thread. Start from {0}. */
typedef struct sah_unigram_scratch {
    sah_unigram_step *steps;
    size_t capacity;
} sah_unigram_scratch;

/* Appends the ids of one word of valid UTF-8. Neighbouring characters without a piece make one unknown token. */
sah_status sah_unigram_word(const sah_unigram *unigram, const char *word, size_t size,
                            sah_unigram_scratch *scratch, sah_ids *ids, sah_error *error);

void sah_unigram_free(sah_unigram *unigram);
void sah_unigram_scratch_free(sah_unigram_scratch *scratch);

#endif
