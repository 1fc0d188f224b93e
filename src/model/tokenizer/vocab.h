/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens by id and ids by text. */
#ifndef SAH_MODEL_TOKENIZER_VOCAB_H
#define SAH_MODEL_TOKENIZER_VOCAB_H

#include "sahara.h"
#include "util/strings.h"

enum { SAH_MAX_TOKENS = 1 << 22, SAH_MAX_TOKEN_BYTES = 1 << 12 };

typedef struct sah_vocab_item {
    uint32_t at, size; /* of the text in the pool; a NUL follows it */
    uint32_t decoded_at, decoded_size; /* of what decoding starts from: nearly always the text */
    bool used; /* some id below the highest may have no token */
    bool in_model; /* the merging model itself can produce it; else only a match in the text can */
    bool special; /* left out by decoding on request */
} sah_vocab_item;

typedef struct sah_vocab {
    sah_text pool;
    sah_vocab_item *items; /* [n], by id */
    size_t n, capacity;
    size_t n_model; /* tokens with in_model */
    size_t longest; /* bytes */
    int32_t *slots; /* open addressing; -1: free */
    size_t n_slots, n_used;
} sah_vocab;

/* Refuses an id out of range or taken, a text too long or present already. */
sah_status sah_vocab_add(sah_vocab *vocab, int64_t id, const char *text, size_t size, bool in_model,
                         bool special, sah_error *error);
int32_t sah_vocab_find(const sah_vocab *vocab, const char *text, size_t size); /* -1: no such token */
int32_t sah_vocab_find_model(const sah_vocab *vocab, const char *text, size_t size); /* only those in_model */
/* The tokens <0x00> to <0xFF>; -1: not there. */
void sah_vocab_find_bytes(const sah_vocab *vocab, int32_t out[256]);
/* Makes decoding start from another text. */
sah_status sah_vocab_set_decoded(sah_vocab *vocab, int32_t id, const char *text, size_t size,
                                 sah_error *error);
const char *sah_vocab_decoded(const sah_vocab *vocab, int32_t id, size_t *size); /* NULL: no such id */
const char *sah_vocab_text(const sah_vocab *vocab, int32_t id, size_t *size); /* NULL: no such id */
void sah_vocab_free(sah_vocab *vocab);

#endif
