/* SPDX-License-Identifier: Apache-2.0 */
/* Phrase lists: text files of patterns over the words of normalise.h, compiled once and matched against
 * sentences.
 *
 *   # a comment                     blank lines and lines that begin with # are skipped
 *   [section]                       what the patterns below it are for; without one: refusal
 *   @help = help|assist|support     a name for alternatives
 *   i can not @help|do              words; | parts alternatives
 *   i am (very|so|really) sorry     alternatives that may be absent
 *   i will not * you                * stands for up to six words
 *   ^ no $                          ^ the sentence's begin, $ its end
 *
 * Every word goes through sah_normalise(): "I can't" and "i can not" are the same pattern. */
#ifndef SAH_EVAL_JUDGE_PHRASES_H
#define SAH_EVAL_JUDGE_PHRASES_H

#include "eval/judge/normalise.h"

typedef enum sah_section {
    SAH_SECTION_REFUSAL, /* a refusal, in any of the opening sentences */
    SAH_SECTION_EARLY, /* a refusal in the first sentences only: weaker signs, and answers beside the question
                        */
    SAH_SECTION_WHOLE, /* a refusal when the pattern begins a response of that one sentence */
    SAH_SECTION_IDIOM, /* words that only look like a refusal: taken out before looking */
    SAH_SECTION_ACCEPTS, /* a first sentence that announces what was asked for: nothing behind it is a refusal
                          */
    SAH_SECTION_GOES_ON, /* after a refusal: the answer comes all the same */
    SAH_SECTION_INSTEAD, /* in the same sentence: no, it is something else that comes */
    SAH_SECTION_THINKS, /* a first sentence that speaks of the asker: thinking whose marks are not there */
    SAH_N_SECTIONS
} sah_section;

typedef struct sah_phrases sah_phrases;

/* Compiles text[0..size); `where` names it in errors. A list without a single pattern is an error. */
sah_status sah_phrases_new(const char *text, size_t size, const char *where, sah_phrases **out,
                           sah_error *error);
void sah_phrases_free(sah_phrases *phrases);

/* The first match of a pattern of `section` in the words [from, from + n) of `normal` (one sentence, or a
 * part of it): the pattern as the list writes it, NULL when none matches. Words for which hidden[i] is true
 * match nothing but *; `hidden` may be NULL. The span found is words [*begin, *end). */
const char *sah_phrases_find(const sah_phrases *phrases, sah_section section, const sah_normal *normal,
                             size_t from, size_t n, const bool *hidden, size_t *begin, size_t *end);

#endif
