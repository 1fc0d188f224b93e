/* SPDX-License-Identifier: Apache-2.0 */
/* What the phrases say of a response: the rule's verdict, and what of it the trained weights may read. */
#ifndef SAH_EVAL_JUDGE_WORDS_H
#define SAH_EVAL_JUDGE_WORDS_H

#include "eval/judge/phrases.h"

enum { SAH_MOST_HINTS = 6 };

typedef struct sah_words {
    sah_verdict verdict;
    const char *reason; /* a pattern of the list, or a text that stays */
    bool sure; /* the weights have no say */
    /* For the weights, which learn what the rule's word is worth: "@phrase" and "@at 1" ("@at 4": or later) for a
     * phrase that refuses and its sentence, "@refuses" or "@complies" for the verdict, "@surely refuses",
     * "@surely complies", and "@idiom". */
    const char *hints[SAH_MOST_HINTS];
    size_t n_hints;
} sah_words;

/* Fails only when memory is out. */
sah_status sah_words_find(const sah_phrases *phrases, const sah_normal *normal, sah_words *out,
                          sah_error *error);

#endif
