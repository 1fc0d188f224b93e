/* SPDX-License-Identifier: Apache-2.0 */
/* A text on its way to tokens, in pieces. */
#ifndef SAH_MODEL_TOKENIZER_PIECES_H
#define SAH_MODEL_TOKENIZER_PIECES_H

#include "util/strings.h"

/* A part of a text: characters still to be tokenised, or an added token. */
typedef struct sah_piece {
    size_t at, size; /* in the pieces' text */
    int32_t id; /* of the added token; -1: text */
    bool first; /* begins where the whole text begins, and nothing has been taken off there */
} sah_piece;

typedef struct sah_pieces {
    sah_text text;
    sah_piece *items;
    size_t n, capacity;
} sah_pieces;

sah_status sah_pieces_add(sah_pieces *pieces, sah_piece piece, sah_error *error);
void sah_pieces_free(sah_pieces *pieces);

#endif
