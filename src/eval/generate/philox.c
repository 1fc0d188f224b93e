/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/generate/philox.h"

#include <math.h>

void sah_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9U, k1 += 0xbb67ae85U) {
        uint64_t a = (uint64_t)0xd2511f53U * c0, b = (uint64_t)0xcd9e8d57U * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double sah_uniform(uint64_t seed, uint64_t a, uint64_t b)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, bits[4];
    uint32_t counter[4] = {(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32)};
    sah_philox(key, counter, bits);
    return ldexp((double)(((uint64_t)bits[0] << 32 | bits[1]) >> 11), -53);
}
