/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/rankings.h"

#include <math.h>
#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"

double sah_jaccard(size_t k, size_t shared)
{
    return k > 0 ? (double)shared / (double)(2 * k - shared) : 0;
}

static double log_choose(size_t n, size_t k)
{
    return lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1);
}

void sah_overlap_chance(size_t n, size_t k, size_t shared, double *expected, double *p)
{
    size_t least = 2 * k > n ? 2 * k - n : 0; /* two sets of k out of n cannot share fewer */
    *expected = *p = 0;
    for (size_t m = least; m <= k; m++) {
        double chance = exp(log_choose(k, m) + log_choose(n - k, k - m) - log_choose(n, k));
        *expected += chance * sah_jaccard(k, m);
        if (m >= shared) *p += chance;
    }
    *p = fmin(*p, 1);
}

/* ---- Rank correlation ---------------------------------------------------------------------------------- */

typedef struct placed {
    double value;
    size_t index;
} placed;

static int compare_placed(const void *a, const void *b)
{
    double x = ((const placed *)a)->value, y = ((const placed *)b)->value;
    return (x > y) - (x < y);
}

/* ranks [n], from 0, less their mean. */
static void centred_ranks(const double *values, size_t n, placed *items, double *ranks)
{
    for (size_t i = 0; i < n; i++) items[i] = (placed){values[i], i};
    qsort(items, n, sizeof *items, compare_placed);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && compare_placed(&items[from], &items[to]) == 0;) to++;
        double rank = ((double)from + (double)to - 1) / 2;
        for (size_t i = from; i < to; i++) ranks[items[i].index] = rank - ((double)n - 1) / 2;
    }
}

sah_status sah_spearman(const double *x, const double *y, size_t n, double *rho, sah_error *error)
{
    placed *items = sah_alloc(n, sizeof *items);
    double *ranks = sah_alloc(n, 2 * sizeof *ranks);
    sah_status status = SAH_OK;
    if (items == NULL || ranks == NULL) {
        status = sah_fail_memory(error, "the ranks");
    } else {
        double xx = 0, yy = 0, xy = 0, *u = ranks, *v = ranks + n;
        centred_ranks(x, n, items, u);
        centred_ranks(y, n, items, v);
        for (size_t i = 0; i < n; i++) {
            xx += u[i] * u[i];
            yy += v[i] * v[i];
            xy += u[i] * v[i];
        }
        *rho = xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
    }
    free(items);
    free(ranks);
    return status;
}

/* ---- Inequality ---------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sah_gini(double *values, size_t n)
{
    double sum = 0, weighted = 0;
    qsort(values, n, sizeof *values, compare_doubles);
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
        weighted += (2 * (double)i + 1 - (double)n) * values[i];
    }
    return sum > 0 ? weighted / ((double)n * sum) : 0;
}
