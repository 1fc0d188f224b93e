/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/chance.h"

#include <math.h>
#include <stdlib.h>

#include "stats/bootstrap.h"
#include "util/alloc.h"
#include "util/error.h"

/* With t = sqrt(v) tan a the density becomes cos(a)^(v - 1). Both integrals by Simpson's rule, in units of
 * the integrand at the lower end, so that far tails keep their digits. */
static double integral(double from, double power)
{
    enum { STEPS = 2000 };
    double width = (1.5707963267948966 - from) / STEPS, sum = 0;
    for (int i = 0; i <= STEPS; i++) {
        double value = pow(fmax(cos(from + i * width), 0) / cos(from), power);
        sum += value * (i == 0 || i == STEPS ? 1 : i % 2 == 1 ? 4 : 2);
    }
    return sum * width / 3;
}

double sah_student_tail(double t, double freedom)
{
    double angle = atan(fabs(t) / sqrt(freedom));
    double tail =
        0.5 * integral(angle, freedom - 1) / integral(0, freedom - 1) * pow(cos(angle), freedom - 1);
    return t >= 0 ? tail : 1 - tail;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* How far a value lies above the median of `others`, which are sorted here, in units of their spread: as a
 * probability for the largest of n + 1. `far` [n] is scratch. */
static double standing(double value, double *others, size_t n, double *far)
{
    qsort(others, n, sizeof *others, compare_doubles);
    double middle = sah_percentile(others, n, 0.5);
    for (size_t i = 0; i < n; i++) far[i] = fabs(others[i] - middle);
    qsort(far, n, sizeof *far, compare_doubles);
    /* The larger of two estimates of a normal's standard deviation: by all, and by the upper tail. */
    double spread =
        fmax(1.4826 * sah_percentile(far, n, 0.5), (sah_percentile(others, n, 0.9) - middle) / 1.2816);
    /* The median's deviation is 37 % efficient. */
    double freedom = fmax(1, 0.37 * (double)(n - 1));
    if (!(spread > 0)) return value > middle ? 0 : 1;
    return fmin(1, (double)(n + 1) * sah_student_tail((value - middle) / spread, freedom));
}

sah_status sah_outstanding_p(double gain, const double *others, size_t n, double *p, sah_error *error)
{
    /* Gains spread over orders of magnitude and may be negative behind the first step, where adding a head
     * turns the states back as easily as on: their size is what a head does. A gain of 0 (a head that does
     * nothing at all) counts as the smallest number. */
    static const double LEAST = 1e-12;
    *p = 1;
    if (n < 3 || !(gain > 0)) return SAH_OK;
    double *logs = sah_alloc(n, sizeof *logs), *far = sah_alloc(n, sizeof *far);
    sah_status status = logs != NULL && far != NULL ? SAH_OK : sah_fail_memory(error, "the gains");
    if (status == SAH_OK) {
        for (size_t i = 0; i < n; i++) logs[i] = log(fmax(fabs(others[i]), LEAST));
        *p = standing(log(gain), logs, n, far);
    }
    free(logs);
    free(far);
    return status;
}

sah_status sah_standing_p(double value, const double *others, size_t n, double *p, sah_error *error)
{
    *p = 1;
    if (n < 3) return SAH_OK;
    double *sorted = sah_alloc(n, sizeof *sorted), *far = sah_alloc(n, sizeof *far);
    sah_status status = sorted != NULL && far != NULL ? SAH_OK : sah_fail_memory(error, "the scores");
    if (status == SAH_OK) {
        for (size_t i = 0; i < n; i++) sorted[i] = others[i];
        *p = standing(value, sorted, n, far);
    }
    free(sorted);
    free(far);
    return status;
}

/* (values[at] - mean) / standard deviation of values [n]; 0 when they are all equal. */
static void standardise(const double *values, size_t n, double *out)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (values[i] - mean) * (values[i] - mean);
    double deviation = sqrt(squares / (double)n);
    for (size_t i = 0; i < n; i++) out[i] = deviation > 0 ? (values[i] - mean) / deviation : 0;
}

sah_status sah_permuted_p(const double *const *statistics, size_t n, size_t n_heads, double *p,
                          sah_error *error)
{
    double *scores = sah_alloc(n + 1, sizeof *scores), *most = sah_alloc(n + 1, sizeof *most);
    double *own = sah_alloc(n_heads, sizeof *own);
    sah_status status = SAH_OK;
    if (scores == NULL || most == NULL || own == NULL) {
        status = sah_fail_memory(error, "the permutations");
        goto done;
    }
    for (size_t r = 0; r <= n; r++) most[r] = -INFINITY;
    for (size_t h = 0; h < n_heads; h++) {
        standardise(statistics[h], n + 1, scores);
        own[h] = scores[0];
        for (size_t r = 1; r <= n; r++) most[r] = fmax(most[r], scores[r]);
    }
    for (size_t h = 0; h < n_heads; h++) {
        size_t reached = 1; /* the sets as they are, one of the permutations */
        for (size_t r = 1; r <= n; r++) reached += most[r] >= own[h];
        p[h] = (double)reached / (double)(n + 1);
    }

done:
    free(scores);
    free(most);
    free(own);
    return status;
}
