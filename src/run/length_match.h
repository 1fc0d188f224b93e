/* SPDX-License-Identifier: Apache-2.0 */
/* Matching by length (the public sah_match_lengths() samples queries by it). */
#ifndef SAH_RUN_LENGTH_MATCH_H
#define SAH_RUN_LENGTH_MATCH_H

#include "sahara.h"

typedef struct sah_length {
    size_t length, index;
} sah_length;

/* Tokens of each query in its template, out [queries->n]. */
sah_status sah_measure_prompts(const sah_model *model, const sah_strings *queries, const char *template_,
                               const char *system, sah_length *out, sah_error *error);

/* Chooses n of `from` [m], one for each of `wanted` [n], with the least sum of differences in length: chosen
 * [m], by `index`. All when m <= n. Sorts both arrays. */
sah_status sah_match(sah_length *wanted, size_t n, sah_length *from, size_t m, bool *chosen,
                     sah_error *error);

#endif
