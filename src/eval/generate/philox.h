/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers by counter: the same key and counter give the same numbers, whatever was asked for before.
 */
#ifndef SAH_EVAL_GENERATE_PHILOX_H
#define SAH_EVAL_GENERATE_PHILOX_H

#include <stdint.h>

/* Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011). */
void sah_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* Uniform in [0, 1), 53 bits: number (a, b) of the stream of `seed`. */
double sah_uniform(uint64_t seed, uint64_t a, uint64_t b);

#endif
