/* SPDX-License-Identifier: Apache-2.0 */
/* How far an ablation turns the hidden states of a data set, and how sure that is: the shift (method.md,
 * "Generalized Ships"), its bootstrap interval over queries, and with harmless queries beside the harmful
 * ones the difference of both shifts, its interval, and the same difference with the labels dealt out anew.
 */
#ifndef SAH_ATTRIBUTION_SHIFT_H
#define SAH_ATTRIBUTION_SHIFT_H

#include "sahara.h"

/* Resamples of the queries, and permutations of their labels; the same ones for every ablation. */
enum { SAH_TURN_RESAMPLES = 200, SAH_TURN_PERMUTATIONS = 199 };

/* The unablated states and what is computed of them once. Read-only when made: threads may share it. */
typedef struct sah_turning sah_turning;

/* hidden [n + n_contrast, d], harmful queries first; n and n_contrast (unless that is 0) above rank. The
 * states of either set must span `rank` directions. */
sah_status sah_turning_new(const float *hidden, size_t n, size_t n_contrast, size_t d, size_t rank,
                           sah_variant variant, sah_turning **out, sah_error *error);
void sah_turning_free(sah_turning *turning);

/* Degrees. */
typedef struct sah_turn {
    double shift, shift_contrast, difference; /* the last two 0 without contrast queries */
} sah_turn;

typedef struct sah_turn_evidence {
    double shift_low, shift_high, difference_low, difference_high; /* 95 % */
    /* With contrast queries only: the difference over its standard error, then that of every permutation. */
    float statistics[1 + SAH_TURN_PERMUTATIONS];
} sah_turn_evidence;

/* The turn of ablated states [n + n_contrast, d]; angles [rank] are those of the harmful set, ascending.
 * `evidence` may be NULL. `what` names the ablation in messages. */
sah_status sah_turn_measure(const sah_turning *turning, const float *hidden, const char *what, sah_turn *turn,
                            double *angles, sah_turn_evidence *evidence, sah_error *error);

#endif
