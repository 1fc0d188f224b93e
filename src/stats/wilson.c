/* SPDX-License-Identifier: Apache-2.0 */
/* Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession, and statistical
 * inference", JASA 22, 1927): the shares p whose normal approximation would not rule out what was seen.
 * Unlike the textbook interval it keeps inside [0, 1] and stays honest near 0 and 1, where attack success
 * rates live. */
#include <math.h>

#include "sahara.h"

/* 0.975 quantile of the standard normal distribution. */
static const double Z = 1.959963984540054;

sah_share sah_wilson(uint64_t successes, uint64_t n)
{
    if (n == 0 || successes > n) return (sah_share){0, 0, 1};
    double count = (double)n, share = (double)successes / count, z2 = Z * Z;
    double scale = 1 / (1 + z2 / count);
    double centre = scale * (share + z2 / (2 * count));
    double half = scale * Z * sqrt(share * (1 - share) / count + z2 / (4 * count * count));
    /* At 0 and n of n the bound is exactly 0 or 1; rounding must not move it. */
    return (sah_share){share, successes == 0 ? 0 : centre - half, successes == n ? 1 : centre + half};
}
