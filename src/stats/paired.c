/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/paired.h"

#include <math.h>

/* Correlation of the two outcomes, positive ones corrected for continuity; 0 where an outcome never varies.
 */
static double correlation(double both, double first, double second, double neither)
{
    double n = both + first + second + neither;
    double margins = (both + first) * (second + neither) * (both + second) * (first + neither);
    double product = both * neither - first * second;
    if (!(margins > 0)) return 0;
    if (product > 0) product = fmax(product - n / 2, 0);
    return product / sqrt(margins);
}

/* Length of the third side of a triangle of sides a and b. */
static double joined(double a, double b, double phi)
{
    return sqrt(fmax(a * a - 2 * phi * a * b + b * b, 0));
}

sah_share sah_paired_difference(uint64_t both, uint64_t first, uint64_t second, uint64_t n)
{
    if (n == 0 || both + first + second > n) return (sah_share){0, -1, 1};
    sah_share p = sah_wilson(both + first, n), q = sah_wilson(both + second, n);
    double phi =
        correlation((double)both, (double)first, (double)second, (double)(n - both - first - second));
    double difference = ((double)first - (double)second) / (double)n;
    return (sah_share){difference, difference - joined(p.value - p.low, q.high - q.value, phi),
                       difference + joined(p.high - p.value, q.value - q.low, phi)};
}
