/* SPDX-License-Identifier: Apache-2.0 */
/* Safety or general: the verdict on a head's scores on harmful and on harmless queries (docs/method.md,
 * "Selectivity"). */
#ifndef SAH_REPORT_SELECTIVITY_H
#define SAH_REPORT_SELECTIVITY_H

#include "sahara.h"

/* Chance that any head of a model without safety heads is called one. */
#define SAH_FAMILY_ERROR 0.05

/* Permutations of the queries between the two sets. */
#define SAH_PERMUTATIONS 2000

/* p [n_heads]: for every head the p-value of "its mean on the n_a queries is no higher than on the n_b
 * contrast queries", adjusted for all heads at once: the share of permutations of the queries in which the
 * largest Welch statistic of any head reaches the head's own (Westfall and Young 1993, single step). Seeded.
 * a [n_heads, n_a], b [n_heads, n_b]. All 1 when a set has fewer than two queries. */
sah_status sah_permutation_p(const double *a, size_t n_a, const double *b, size_t n_b, size_t n_heads,
                             double *p, sah_error *error);

/* The same from an interval alone: a normal statistic with the width of the 95 % interval, times the number
 * of heads (Bonferroni), at most 1. */
double sah_interval_p(double difference, double low, double high, size_t n_heads);

/* What a verdict rests on. */
typedef struct sah_evidence {
    double score, contrast; /* on harmful, on harmless queries */
    double p_adjusted;
    double general_high; /* upper end of the 95 % interval of score - 2 contrast */
    double least; /* scores below are negligible */
} sah_evidence;

sah_selectivity sah_judge_head(const sah_evidence *evidence);

#endif
