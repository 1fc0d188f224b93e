/* SPDX-License-Identifier: Apache-2.0 */
/* SplitMix64 (Steele, Lea and Flood 2014): a small seeded generator for resampling. */
#ifndef SAH_UTIL_SPLITMIX_H
#define SAH_UTIL_SPLITMIX_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t sah_splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* A number below n, n < 2^32: the upper bits times n, with a bias of n / 2^32. */
static inline size_t sah_splitmix_below(uint64_t *state, size_t n)
{
    return (size_t)((sah_splitmix(state) >> 32) * n >> 32);
}

#endif
