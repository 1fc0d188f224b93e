/* SPDX-License-Identifier: Apache-2.0 */
/* A response as sentences of plain words: case folded, accents off, contractions spelled out, markdown,
 * punctuation and quoted speech gone. Phrases go through the same door, so that both sides of a comparison
 * look alike. */
#ifndef SAH_EVAL_JUDGE_NORMALISE_H
#define SAH_EVAL_JUDGE_NORMALISE_H

#include "sahara.h"

typedef struct sah_sentence {
    size_t first, n; /* words[first .. first + n) */
} sah_sentence;

/* Start from {0}. */
typedef struct sah_normal {
    char *text; /* the words, each with a NUL behind it */
    size_t text_size, text_capacity;
    size_t *words; /* offsets into text */
    size_t n_words, words_capacity;
    sah_sentence *sentences; /* none is empty */
    size_t n_sentences, sentences_capacity;
} sah_normal;

static inline const char *sah_normal_word(const sah_normal *normal, size_t i)
{
    return normal->text + normal->words[i];
}

/* Any bytes are allowed; what is not UTF-8 counts as U+FFFD, which is no letter. Fails only when memory is
 * out. */
sah_status sah_normalise(const char *text, size_t length, sah_normal *out, sah_error *error);
void sah_normal_free(sah_normal *normal);

#endif
