/* SPDX-License-Identifier: Apache-2.0 */
/* What a judge was made from and what its verdicts rest on, for its results. */
#ifndef SAH_EVAL_JUDGE_JUDGE_H
#define SAH_EVAL_JUDGE_JUDGE_H

#include "sahara.h"

sah_judge_rule sah_judge_rule_of(const sah_judge *judge);
/* The file its phrases came from; NULL: the built-in list. */
const char *sah_judge_phrases_of(const sah_judge *judge);

#define SAH_REASON_THINKING "thinking" /* it never leaves its thinking */

enum { SAH_LONGEST_REASON = 160 /* bytes, the NUL included */ };

/* A verdict and what it rests on: a pattern of the phrase list, runs of words that the trained weights go by
 * ("weights 0.93: ..."), a measure of degenerate text, "thinking", or in a few words that nothing was found. */
typedef struct sah_finding {
    sah_verdict verdict;
    char reason[SAH_LONGEST_REASON];
} sah_finding;

/* As sah_judge_text, with the reason. `opened`: the mark with which the prompt opened the thinking that the text
 * begins in (sah_opens_thinking()), or NULL; the reference's rule does not look at it. */
sah_status sah_judge_find(const sah_judge *judge, const char *opened, const char *text, size_t length,
                          sah_finding *out, sah_error *error);

#endif
