/* SPDX-License-Identifier: Apache-2.0 */
/* Added tokens, which are cut out of a text before anything else happens to it. */
#ifndef SAH_MODEL_TOKENIZER_ADDED_H
#define SAH_MODEL_TOKENIZER_ADDED_H

#include "model/tokenizer/pieces.h"

typedef struct sah_added {
    char *text;
    size_t size;
    int32_t id;
    size_t place; /* in the order of adding; sah_added_add() sets it */
    bool left_strip, right_strip; /* takes the white space beside it with it */
    bool single_word; /* only where no word character touches it */
} sah_added;

/* Start from {0}; sah_added_sort() before the first search. */
typedef struct sah_added_set {
    sah_added *items;
    size_t n, capacity;
    size_t first[257]; /* items whose first byte is b: [first[b], first[b + 1]) */
} sah_added_set;

/* `token`'s text is copied. */
sah_status sah_added_add(sah_added_set *set, sah_added token, sah_error *error);

/* Of tokens with the same text the one added first stays. */
void sah_added_sort(sah_added_set *set);
void sah_added_free(sah_added_set *set);

/* Cuts the tokens out of every piece of text: the leftmost first, of those that begin at one place the
 * longest. */
sah_status sah_added_cut(const sah_added_set *set, sah_pieces *pieces, sah_error *error);

#endif
