/* SPDX-License-Identifier: Apache-2.0 */
/* Bootstrap over queries: percentile intervals of means (Efron 1979). Seeded, so that the same scores give
 * the same interval; one plan of draws serves every head, so that heads are compared on the same resamples.
 */
#ifndef SAH_STATS_BOOTSTRAP_H
#define SAH_STATS_BOOTSTRAP_H

#include "sahara.h"

#define SAH_RESAMPLES 2000

/* How often each of n queries is drawn in each resample. */
typedef struct sah_bootstrap {
    size_t n;
    uint16_t *counts; /* [SAH_RESAMPLES, n] */
} sah_bootstrap;

/* 1 <= n <= 65535. `stream` tells apart plans that must be independent. */
sah_status sah_bootstrap_new(size_t n, uint64_t stream, sah_bootstrap *out, sah_error *error);
void sah_bootstrap_free(sah_bootstrap *plan);

/* means [SAH_RESAMPLES] of values [n] under the plan. */
void sah_bootstrap_means(const sah_bootstrap *plan, const double *values, double *means);

/* The value below which `share` of the ascending values [n] lie, linear between neighbours. n > 0. */
double sah_percentile(const double *sorted, size_t n, double share);

/* The 2.5th and 97.5th percentile of values [SAH_RESAMPLES]; sorts them. */
void sah_bootstrap_interval(double *values, double *low, double *high);

#endif
