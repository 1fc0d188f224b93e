/* SPDX-License-Identifier: Apache-2.0 */
/* Does a step of find choose better than chance (method.md)? */
#ifndef SAH_ATTRIBUTION_FIND_JUDGE_H
#define SAH_ATTRIBUTION_FIND_JUDGE_H

#include "attribution/find_run.h"

/* How likely chance makes a step; < 0: nothing to say. */
typedef struct sah_find_judgement {
    double heads, random, labels;
    bool better; /* than chance */
} sah_find_judgement;

/* Of the step that chooses cells[best] among `cells` [n], which all have their lines. */
sah_status sah_find_judge(const sah_find_run *run, const size_t *cells, size_t n, size_t best,
                          sah_find_judgement *out, sah_error *error);

#endif
