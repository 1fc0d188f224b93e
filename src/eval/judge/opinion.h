/* SPDX-License-Identifier: Apache-2.0 */
/* A trained second opinion beside the phrases: logistic regression on runs of up to three words of the opening
 * sentences, on those of up to two words of the first sentence apart, and on what the phrases found. Its weights are
 * a text file, one run a line, made by scripts/train-judge:
 *
 *   # a comment
 *   -1.25 bias                      the constant
 *   0.83 i can not                  words of normalise.h; ^ and $ are a sentence's begin and end
 *   -0.41 1:^ to                    a run of the first sentence
 *   0.77 @refuses                   a hint of words.h
 */
#ifndef SAH_EVAL_JUDGE_OPINION_H
#define SAH_EVAL_JUDGE_OPINION_H

#include "eval/judge/normalise.h"
#include "eval/judge/words.h"

enum {
    SAH_LONGEST_WORD = 24, /* bytes of a word that can have a line */
    SAH_OPINION_SENTENCES = 4 /* of the opening that are read */
};

/* ---- Runs of words ------------------------------------------------------------------------------------- */

typedef struct sah_run_reader {
    bool (*knows)(const void *ctx, const char *word); /* false: no run goes over the word */
    void (*take)(void *ctx, const char *run); /* once for each place where the run stands */
    void *ctx;
} sah_run_reader;

/* Reads the runs of known words of the opening sentences, and the hints (`words` may be NULL). Returns the share of
 * the words read that are known (0 when there are none). */
double sah_read_runs(const sah_normal *normal, const sah_words *words, const sah_run_reader *reader);

/* What a response's features are multiplied by, when it has n: its squares then sum to 1, whatever its length; but
 * one of a few words has little to go by, and counts for less. */
double sah_opinion_scale(size_t n);

/* ---- Weights ------------------------------------------------------------------------------------------- */

typedef struct sah_opinion sah_opinion;

sah_status sah_opinion_new(const char *text, size_t size, const char *where, sah_opinion **out,
                           sah_error *error);
void sah_opinion_free(sah_opinion *opinion);

/* How likely the response refuses; `said` gets the runs that speak most for the more likely side, as
 * "i can not, not appropriate" (cut to `room` bytes). -1 when most of its words are unknown (another language,
 * code) or there are fewer than three. Fails only when memory is out. */
sah_status sah_opinion_judge(const sah_opinion *opinion, const sah_normal *normal, const sah_words *words,
                             double *probability, char *said, size_t room, sah_error *error);

#endif
