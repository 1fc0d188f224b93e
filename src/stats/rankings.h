/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of rankings: overlap and what chance gives, rank correlation, inequality. */
#ifndef SAH_STATS_RANKINGS_H
#define SAH_STATS_RANKINGS_H

#include "sahara.h"

/* Size of the intersection over size of the union of two sets of k that share `shared`. */
double sah_jaccard(size_t k, size_t shared);

/* Two sets of k drawn at random from n >= k: the mean of their Jaccard index, and the probability that they
 * share at least `shared` (hypergeometric). */
void sah_overlap_chance(size_t n, size_t k, size_t shared, double *expected, double *p);

/* Spearman's correlation of x and y [n]: Pearson's of the ranks, equal values sharing their mean rank. NaN
 * when either has no two values that differ. */
sah_status sah_spearman(const double *x, const double *y, size_t n, double *rho, sah_error *error);

/* Gini coefficient of values [n], none negative: half the relative mean absolute difference over all pairs, 0
 * when all are equal, (n - 1) / n when one has all; 0 when all are 0. Sorts values, lowest first. */
double sah_gini(double *values, size_t n);

#endif
