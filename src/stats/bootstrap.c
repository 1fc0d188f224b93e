/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/bootstrap.h"

#include <stdlib.h>

#include "util/alloc.h"
#include "util/error.h"
#include "util/splitmix.h"

sah_status sah_bootstrap_new(size_t n, uint64_t stream, sah_bootstrap *out, sah_error *error)
{
    *out = (sah_bootstrap){.n = n};
    if (n == 0 || n > UINT16_MAX)
        return sah_fail(error, SAH_FAILED, "intervals need 1 to 65535 queries, not %zu", n);
    out->counts = sah_alloc(SAH_RESAMPLES * n, sizeof *out->counts);
    if (out->counts == NULL) return sah_fail_memory(error, "the bootstrap");
    uint64_t state = stream;
    for (size_t r = 0; r < SAH_RESAMPLES; r++) {
        for (size_t i = 0; i < n; i++) out->counts[r * n + sah_splitmix_below(&state, n)]++;
    }
    return SAH_OK;
}

void sah_bootstrap_free(sah_bootstrap *plan)
{
    free(plan->counts);
    plan->counts = NULL;
}

void sah_bootstrap_means(const sah_bootstrap *plan, const double *values, double *means)
{
    for (size_t r = 0; r < SAH_RESAMPLES; r++) {
        const uint16_t *counts = plan->counts + r * plan->n;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < plan->n; i++) sum += counts[i] * values[i];
        means[r] = sum / (double)plan->n;
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sah_percentile(const double *sorted, size_t n, double share)
{
    double position = share * (double)(n - 1);
    size_t below = (size_t)position;
    if (below + 1 >= n) return sorted[n - 1];
    return sorted[below] + (position - (double)below) * (sorted[below + 1] - sorted[below]);
}

void sah_bootstrap_interval(double *values, double *low, double *high)
{
    qsort(values, SAH_RESAMPLES, sizeof *values, compare_doubles);
    *low = sah_percentile(values, SAH_RESAMPLES, 0.025);
    *high = sah_percentile(values, SAH_RESAMPLES, 0.975);
}
