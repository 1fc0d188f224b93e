/* SPDX-License-Identifier: Apache-2.0 */
/* The two ways of merging characters into tokens: byte pair encoding by ranked merges (Sennrich et al. 2016),
 * and SentencePiece's, by the score of the merged piece (Kudo and Richardson 2018). Both take the best pair
 * first, the leftmost of equals. */
#ifndef SAH_MODEL_TOKENIZER_MERGE_H
#define SAH_MODEL_TOKENIZER_MERGE_H

#include "model/tokenizer/vocab.h"

typedef struct sah_ids {
    int32_t *items;
    size_t n, capacity;
} sah_ids;

sah_status sah_ids_add(sah_ids *ids, int32_t id, sah_error *error);
bool sah_ids_has(const sah_ids *ids, int32_t id);

/* A merge of tokens (left, right): key = left << 32 | right. */
typedef struct sah_pair {
    uint64_t key;
    uint32_t rank;
    int32_t id; /* of the merged token; -1: a free slot */
} sah_pair;

typedef struct sah_merger {
    const sah_vocab *vocab;
    sah_pair *pairs; /* open addressing; by ranked merges */
    size_t n_slots, n_pairs;
    uint32_t *ranks; /* [vocab->n] by descending score; NULL: by ranked merges */
    bool *unused; /* [vocab->n] pieces that only serve as steps of a merge, or NULL when there are none */
    int32_t unknown; /* -1: characters without a token are dropped */
    bool fuse_unknown; /* neighbouring unknown characters make one token */
    bool ignore_merges; /* a word that is a token is that token */
    bool byte_fallback; /* a character without a token becomes its UTF-8 bytes' tokens */
    int32_t bytes[256];
} sah_merger;

/* Adds the merge of texts a and b with the next rank; all three tokens must be there. A pair that comes again
 * takes the later rank. */
sah_status sah_merger_add(sah_merger *merger, const char *a, size_t a_size, const char *b, size_t b_size,
                          uint32_t rank, sah_error *error);
/* The same of tokens by id. */
sah_status sah_merger_add_ids(sah_merger *merger, int32_t left, int32_t right, int32_t id, uint32_t rank,
                              sah_error *error);
/* Takes SentencePiece's scores [vocab->n]. */
sah_status sah_merger_score(sah_merger *merger, const float *scores, sah_error *error);

/* Working memory of merging, for one thread. Start from {0}. */
typedef struct sah_merge_scratch {
    struct sah_symbol *symbols;
    struct sah_candidate *heap;
    size_t n_symbols, symbols_capacity, n_heap, heap_capacity;
    uint32_t *splits; /* [vocab->n] bytes of the left part in the last pair seen that makes an unused piece */
} sah_merge_scratch;

/* Appends the ids of one word of valid UTF-8. Time grows as n log n. */
sah_status sah_merge_word(const sah_merger *merger, const char *word, size_t size, sah_merge_scratch *scratch,
                          sah_ids *ids, sah_error *error);

void sah_merger_free(sah_merger *merger);
void sah_merge_scratch_free(sah_merge_scratch *scratch);

#endif
