/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a greedy step found more than chance would (method.md, "Significance"). */
#ifndef SAH_STATS_CHANCE_H
#define SAH_STATS_CHANCE_H

#include <stddef.h>

#include "sahara.h"

/* Upper tail of Student's t: P(T > t), with `freedom` >= 1 degrees of freedom (a real number). */
double sah_student_tail(double t, double freedom);

/* Probability that the largest of n + 1 gains stands out from the other n as `gain` does, if all came from
 * one distribution: how far ln |gain| lies above the median of the others' logarithms, in units of their
 * spread, against Student's t and for as many heads as were tried. Others like it do not hide it while they
 * are fewer than a tenth. 1 with fewer than three others, or when the gain is not positive. */
sah_status sah_outstanding_p(double gain, const double *others, size_t n, double *p, sah_error *error);

/* The same of a number as it is, of either sign, in place of a gain's logarithm: the probability that the largest of
 * n + 1 stands so far above the other n. */
sah_status sah_standing_p(double value, const double *others, size_t n, double *p, sah_error *error);

/* p [n_heads]: for every head the probability of so large a difference between harmful and harmless queries
 * by labels dealt out at random, adjusted for all heads at once: the share of n permutations, the labels as
 * they are included, in which any head's statistic reaches the head's own (Westfall and Young 1993, single
 * step). statistics[h] [1 + n]: a head's own, then those of the permutations; each counts in standard
 * deviations of the n + 1 from their mean. */
sah_status sah_permuted_p(const double *const *statistics, size_t n, size_t n_heads, double *p,
                          sah_error *error);

#endif
