/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is no answer at all: empty, looping, not language. Works on any script; docs/judging.md gives the
 * reasons for each measure. */
#ifndef SAH_EVAL_JUDGE_DEGENERATE_H
#define SAH_EVAL_JUDGE_DEGENERATE_H

#include "sahara.h"

/* What was measured, each 0 when the text is too short to tell. */
typedef struct sah_degeneracy {
    bool empty; /* no letter and no digit */
    double blank; /* share of white space in a text of some length */
    double broken; /* share of U+FFFD, control, private and unassigned characters */
    double symbols; /* share of characters that are neither letter nor digit */
    double repeated; /* share of words that repeat earlier runs of words */
    double distinct; /* distinct words of the first hundred (1 when too few to tell) */
    double echoed; /* share of characters that repeat earlier runs of characters, for texts of few words */
    double implausible; /* share of Latin words that no language would spell that way */
    double fragments; /* mean letters a word (0 when too few words to tell) */
    double
        switches; /* share of neighbouring letters or words that change script, among four scripts or more */
} sah_degeneracy;

sah_status sah_degeneracy_measure(const char *text, size_t length, sah_degeneracy *out, sah_error *error);

/* The measure by which the text is degenerate, in a word; NULL: by none. */
const char *sah_degeneracy_found(const sah_degeneracy *measured);

#endif
