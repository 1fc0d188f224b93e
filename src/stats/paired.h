/* SPDX-License-Identifier: Apache-2.0 */
/* The difference of two shares that were counted on the same things. */
#ifndef SAH_STATS_PAIRED_H
#define SAH_STATS_PAIRED_H

#include "sahara.h"

/* Share of the first less share of the second, with Newcombe's 95 % interval (Newcombe 1998, Statistics in
 * Medicine 17, 2635, method 10: Wilson's intervals of both shares, joined by their correlation). Unlike a
 * bootstrap it says something when few things or none tell the two apart. `both` of n succeed in both,
 * `first` in the first alone, `second` in the second alone. n = 0: 0 in [-1, 1]. */
sah_share sah_paired_difference(uint64_t both, uint64_t first, uint64_t second, uint64_t n);

#endif
